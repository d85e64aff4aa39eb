//! PyTorch's attention and the layers of transformers, with PyTorch's names of parameters, as ours.

use wgrad::functional::AttentionOptions;
use wgrad::nn::{
    Init, MultiheadAttention, Pass, Transformer, TransformerDecoderLayer, TransformerEncoderLayer, TransformerOptions,
};
use wgrad::{DType, Tensor};

use crate::call::{Arg, Call};
use crate::judge::Unsupported;
use crate::recurrent::{Leaves, load};

/// The constructor's parameters of `nn.MultiheadAttention`.
pub const MULTIHEAD: &str =
    "embed_dim num_heads dropout bias add_bias_kv add_zero_attn kdim vdim batch_first device dtype";
/// Of the layers of encoder and decoder.
pub const LAYER: &str =
    "d_model nhead dim_feedforward dropout activation layer_norm_eps batch_first norm_first bias device dtype";
/// Of the whole.
pub const STACK: &str = "d_model nhead num_encoder_layers num_decoder_layers dim_feedforward dropout activation \
                         custom_encoder custom_decoder layer_norm_eps batch_first norm_first bias device dtype";

/// The parameters of a case by name.
type Params<'a> = &'a dyn Fn(&str) -> Option<Tensor>;

fn fault(e: wgrad::Error) -> Unsupported {
    Unsupported(e.to_string())
}

/// Sequences batch first, and whether that turned them.
fn sequences(forward: &Call, name: &str, batch_first: bool) -> Result<(Tensor, bool), Unsupported> {
    let x = forward.ft(name)?;
    let turned = x.rank() == 3 && !batch_first;
    Ok((if turned { x.transpose(0, 1) } else { x }, turned))
}

/// PyTorch's masks, whose truth says what may not be seen, as numbers to add: `[n, heads, queries, keys]`.
fn seen(
    forward: &Call,
    [mask, padding]: [&str; 2],
    [queries, keys]: [&Tensor; 2],
    heads: usize,
) -> Result<AttentionOptions, Unsupported> {
    let number = |mask: Tensor| match mask.dtype() {
        DType::Bool => mask.cast(DType::F32).masked_fill(&mask, f32::NEG_INFINITY),
        _ => mask,
    };
    let (queries, keys) = (queries.shape()[queries.rank() - 2], keys.shape()[keys.rank() - 2]);
    let padding = forward.opt(padding)?.map(|m| {
        let n = m.elements() / keys;
        number(m).reshape([n, 1, 1, keys])
    });
    let mask = forward.opt(mask)?.map(|m| match m.rank() {
        3 => number(m.clone()).reshape([m.shape()[0] / heads, heads, queries, keys]),
        _ => number(m),
    });
    let mask = match (padding, mask) {
        (Some(a), Some(b)) => Some(a.add(&b)),
        (a, b) => a.or(b),
    };
    Ok(AttentionOptions { mask, ..Default::default() })
}

/// Multi-head attention.
pub fn multihead(ctor: &Call, forward: &Call, params: Params) -> Result<(Vec<Tensor>, Leaves), Unsupported> {
    let (width, heads) = (ctor.i("embed_dim", 1)? as usize, ctor.i("num_heads", 1)? as usize);
    if ctor.f("dropout", 0.0)? != 0.0 {
        return Err(Unsupported("random numbers".into()));
    }
    let init = &mut Init::new(forward.device, 0);
    let mut layer = MultiheadAttention::new(init, width, heads).map_err(fault)?;
    let (keys, values) = (ctor.i("kdim", width as i64)? as usize, ctor.i("vdim", width as i64)? as usize);
    if [keys, values] != [width, width] {
        layer = layer.key_value_widths(init, keys, values).map_err(fault)?;
    }
    if ctor.b("add_bias_kv", false)? {
        layer = layer.bias_kv(init).map_err(fault)?;
    }
    layer = if ctor.b("add_zero_attn", false)? { layer.zero_attention() } else { layer };
    layer = if ctor.b("bias", true)? { layer } else { layer.without_bias() };
    // With it, PyTorch wants the mask too, which says the same.
    forward.ignore("is_causal");
    let leaves = load(&mut layer, params)?;
    let batch_first = ctor.b("batch_first", false)?;
    let [(q, turned), (k, _), (v, _)] = [
        sequences(forward, "query", batch_first)?,
        sequences(forward, "key", batch_first)?,
        sequences(forward, "value", batch_first)?,
    ];
    let options = seen(forward, ["attn_mask", "key_padding_mask"], [&q, &k], heads)?;
    let (y, mut weights) = layer.forward_with_weights(&q, &k, &v, &options, &mut Pass::eval());
    let y = if turned { y.transpose(0, 1) } else { y };
    if forward.b("average_attn_weights", true)? {
        weights = weights.mean(&[-3]);
    }
    Ok((if forward.b("need_weights", true)? { vec![y, weights] } else { vec![y] }, leaves))
}

/// The layers of encoder and decoder, and the whole.
pub fn transformer(
    class: &str,
    ctor: &Call,
    forward: &Call,
    params: Params,
) -> Result<(Vec<Tensor>, Leaves), Unsupported> {
    let width = ctor.i("d_model", 512)? as usize;
    let gelu = match ctor.get("activation") {
        None => false,
        Some(Arg::Text(t)) if t == "relu" || t == "gelu" => t == "gelu",
        Some(other) => return Err(Unsupported(format!("activation {other:?}"))),
    };
    let options = TransformerOptions {
        heads: ctor.i("nhead", 8)? as usize,
        inner: ctor.i("dim_feedforward", 2048)? as usize,
        dropout: ctor.f("dropout", 0.1)? as f32,
        norm_first: ctor.b("norm_first", false)?,
        gelu,
        bias: ctor.b("bias", true)?,
        eps: ctor.f("layer_norm_eps", 1e-5)? as f32,
    };
    let batch_first = ctor.b("batch_first", false)?;
    forward.ignore("is_causal src_is_causal tgt_is_causal memory_is_causal");
    let (init, pass) = (&mut Init::new(forward.device, 0), &mut Pass::eval());
    let back = |y: Tensor, turned: bool| vec![if turned { y.transpose(0, 1) } else { y }];
    match class {
        "nn.TransformerEncoderLayer" => {
            let mut layer = TransformerEncoderLayer::new(init, width, &options).map_err(fault)?;
            let leaves = load(&mut layer, params)?;
            let (x, turned) = sequences(forward, "src", batch_first)?;
            let own = seen(forward, ["src_mask", "src_key_padding_mask"], [&x, &x], options.heads)?;
            Ok((back(layer.forward_masked(&x, &own, pass), turned), leaves))
        }
        "nn.TransformerDecoderLayer" => {
            let mut layer = TransformerDecoderLayer::new(init, width, &options).map_err(fault)?;
            let leaves = load(&mut layer, params)?;
            let (x, turned) = sequences(forward, "tgt", batch_first)?;
            let (memory, _) = sequences(forward, "memory", batch_first)?;
            let own = seen(forward, ["tgt_mask", "tgt_key_padding_mask"], [&x, &x], options.heads)?;
            let there = seen(forward, ["memory_mask", "memory_key_padding_mask"], [&x, &memory], options.heads)?;
            Ok((back(layer.forward(&x, &memory, &own, &there, pass), turned), leaves))
        }
        _ => {
            if ctor.has("custom_encoder") || ctor.has("custom_decoder") {
                return Err(Unsupported("custom_encoder or custom_decoder".into()));
            }
            let layers = [ctor.i("num_encoder_layers", 6)? as usize, ctor.i("num_decoder_layers", 6)? as usize];
            let mut model = Transformer::new(init, width, layers, &options).map_err(fault)?;
            let leaves = load(&mut model, params)?;
            let (source, _) = sequences(forward, "src", batch_first)?;
            let (target, turned) = sequences(forward, "tgt", batch_first)?;
            let heads = options.heads;
            let all = [
                seen(forward, ["src_mask", "src_key_padding_mask"], [&source, &source], heads)?,
                seen(forward, ["tgt_mask", "tgt_key_padding_mask"], [&target, &target], heads)?,
                seen(forward, ["memory_mask", "memory_key_padding_mask"], [&target, &source], heads)?,
            ];
            Ok((back(model.forward(&source, &target, &all, pass), turned), leaves))
        }
    }
}
