//! PyTorch's recurrent layers and cells, with PyTorch's names of parameters, as ours.

use std::collections::BTreeMap;

use wgrad::Tensor;
use wgrad::nn::{Gru, GruCell, Init, Lstm, LstmCell, Parameters, Pass, RecurrentOptions, Rnn, RnnCell};

use crate::attention;
use crate::call::{Arg, Call};
use crate::judge::Unsupported;

/// A class and the parameters of its constructor.
pub struct Layer {
    class: &'static str,
    /// See [`Call::bind`].
    pub signature: &'static str,
    /// The parameters of its call.
    pub forward: &'static str,
}

const STACK: &str = "input_size hidden_size num_layers nonlinearity bias batch_first dropout bidirectional proj_size";
const GATED: &str = "input_size hidden_size num_layers bias batch_first dropout bidirectional proj_size";
const CELL: &str = "input_size hidden_size bias nonlinearity";

/// The class of this name.
pub fn layer(op: &str) -> Option<Layer> {
    let (class, signature) = match op {
        "nn.RNN" => ("nn.RNN", STACK),
        "nn.LSTM" => ("nn.LSTM", GATED),
        "nn.GRU" => ("nn.GRU", GATED),
        "nn.RNNCell" => ("nn.RNNCell", CELL),
        "nn.LSTMCell" => ("nn.LSTMCell", CELL),
        "nn.GRUCell" => ("nn.GRUCell", CELL),
        "nn.MultiheadAttention" => ("nn.MultiheadAttention", attention::MULTIHEAD),
        "nn.TransformerEncoderLayer" => ("nn.TransformerEncoderLayer", attention::LAYER),
        "nn.TransformerDecoderLayer" => ("nn.TransformerDecoderLayer", attention::LAYER),
        "nn.Transformer" => ("nn.Transformer", attention::STACK),
        _ => return None,
    };
    let forward = match class {
        "nn.MultiheadAttention" => {
            "query key value key_padding_mask need_weights attn_mask average_attn_weights is_causal"
        }
        "nn.TransformerEncoderLayer" => "src src_mask src_key_padding_mask is_causal",
        "nn.TransformerDecoderLayer" => {
            "tgt memory tgt_mask memory_mask tgt_key_padding_mask memory_key_padding_mask tgt_is_causal memory_is_causal"
        }
        "nn.Transformer" => {
            "src tgt src_mask tgt_mask memory_mask src_key_padding_mask tgt_key_padding_mask memory_key_padding_mask \
             src_is_causal tgt_is_causal memory_is_causal"
        }
        _ => "input hx",
    };
    Some(Layer { class, signature, forward })
}

/// The leaves of a model by name.
pub type Leaves = BTreeMap<String, Tensor>;

/// Puts the tensors of a case in the place of a model's parameters.
pub fn load<M: Parameters>(model: &mut M, params: &dyn Fn(&str) -> Option<Tensor>) -> Result<Leaves, Unsupported> {
    let mut result = Ok(());
    model.params_mut(&mut |name, p| {
        if result.is_err() {
            return;
        }
        result = match params(name) {
            Some(value) if value.meta() == p.get().meta() => p.set(value).map_err(|e| Unsupported(e.to_string())),
            Some(value) => Err(Unsupported(format!("{name} has shape {}", value.shape()))),
            None => Err(Unsupported(format!("no {name}"))),
        };
    });
    result?;
    Ok(model.named_parameters().into_iter().map(|(name, p)| (name, p.get().clone())).collect())
}

/// Runs a layer: its outputs, and its parameters.
pub fn run(
    layer: &Layer,
    ctor: &Call,
    forward: &Call,
    params: &dyn Fn(&str) -> Option<Tensor>,
) -> Result<(Vec<Tensor>, Leaves), Unsupported> {
    match layer.class {
        "nn.MultiheadAttention" => return attention::multihead(ctor, forward, params),
        class if class.starts_with("nn.Transformer") => return attention::transformer(class, ctor, forward, params),
        _ => {}
    }
    let fault = |e: wgrad::Error| Unsupported(e.to_string());
    let (inputs, hidden) = (ctor.i("input_size", 1)? as usize, ctor.i("hidden_size", 1)? as usize);
    let x = forward.ft("input")?;
    let states: Vec<Tensor> = match forward.get("hx") {
        Some(Arg::List(_)) => forward.list("hx")?,
        Some(arg) => vec![forward.tensor(arg, "hx")?],
        None => Vec::new(),
    };
    let init = &mut Init::new(forward.device, 0);
    let pass = &mut Pass::eval();
    let relu = ctor.s("nonlinearity", "tanh")? == "relu";
    if layer.class.ends_with("Cell") {
        let alone = x.rank() == 1;
        let batched = |t: &Tensor| if alone { t.unsqueeze(0) } else { t.clone() };
        let back = |t: Tensor| if alone { t.squeeze(0) } else { t };
        let (x, states): (Tensor, Vec<Tensor>) = (batched(&x), states.iter().map(batched).collect());
        let bias = ctor.b("bias", true)?;
        return match layer.class {
            "nn.RNNCell" => {
                let cell = RnnCell::new(init, inputs, hidden).map_err(fault)?;
                let cell = if bias { cell } else { cell.without_bias() };
                let mut cell = if relu { cell.relu() } else { cell };
                let leaves = load(&mut cell, params)?;
                Ok((vec![back(cell.step(&x, states.first()))], leaves))
            }
            "nn.GRUCell" => {
                let cell = GruCell::new(init, inputs, hidden).map_err(fault)?;
                let mut cell = if bias { cell } else { cell.without_bias() };
                let leaves = load(&mut cell, params)?;
                Ok((vec![back(cell.step(&x, states.first()))], leaves))
            }
            _ => {
                let cell = LstmCell::new(init, inputs, hidden).map_err(fault)?;
                let mut cell = if bias { cell } else { cell.without_bias() };
                let leaves = load(&mut cell, params)?;
                let state = if states.len() == 2 { Some([&states[0], &states[1]]) } else { None };
                Ok((cell.step(&x, state).into_iter().map(back).collect(), leaves))
            }
        };
    }
    let options = RecurrentOptions {
        layers: ctor.i("num_layers", 1)? as usize,
        bidirectional: ctor.b("bidirectional", false)?,
        dropout: 0.0,
        batch_first: ctor.b("batch_first", false)?,
        bias: ctor.b("bias", true)?,
        projection: ctor.i("proj_size", 0)? as usize,
    };
    if ctor.f("dropout", 0.0)? != 0.0 {
        return Err(Unsupported("random numbers".into()));
    }
    // A sequence by itself is a batch of one.
    let alone = x.rank() == 2;
    let at = if options.batch_first { 0 } else { 1 };
    let x = if alone { x.unsqueeze(at) } else { x };
    let states: Vec<Tensor> = states.iter().map(|h| if alone { h.unsqueeze(1) } else { h.clone() }).collect();
    let back = |y: Tensor, last: Vec<Tensor>| {
        let all = std::iter::once(if alone { y.squeeze(at) } else { y });
        all.chain(last.into_iter().map(|h| if alone { h.squeeze(1) } else { h })).collect()
    };
    match layer.class {
        "nn.RNN" => {
            let rnn = Rnn::new(init, inputs, hidden, &options).map_err(fault)?;
            let mut rnn = if relu { rnn.relu() } else { rnn };
            let leaves = load(&mut rnn, params)?;
            let (y, h) = rnn.forward_from(&x, states.first(), pass);
            Ok((back(y, vec![h]), leaves))
        }
        "nn.GRU" => {
            let mut gru = Gru::new(init, inputs, hidden, &options).map_err(fault)?;
            let leaves = load(&mut gru, params)?;
            let (y, h) = gru.forward_from(&x, states.first(), pass);
            Ok((back(y, vec![h]), leaves))
        }
        _ => {
            let mut lstm = Lstm::new(init, inputs, hidden, &options).map_err(fault)?;
            let leaves = load(&mut lstm, params)?;
            let state = if states.len() == 2 { Some([&states[0], &states[1]]) } else { None };
            let (y, last) = lstm.forward_from(&x, state, pass);
            Ok((back(y, last.to_vec()), leaves))
        }
    }
}
