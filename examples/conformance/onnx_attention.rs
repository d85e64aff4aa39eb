//! ONNX's attention and rotary embedding, and ours.

use wgrad::functional::AttentionOptions;
use wgrad::{DType, Tensor};

use crate::judge::Unsupported;
use crate::onnx::{Node, Outputs, Row, one, unsupported};

fn fault(e: wgrad::Error) -> Unsupported {
    Unsupported(e.to_string())
}

/// `[n, length, heads width]` as `[n, heads, length, width]`.
fn heads(x: &Tensor, count: i64) -> Tensor {
    if x.rank() == 4 {
        return x.clone();
    }
    let (n, length, count) = (x.shape()[0], x.shape()[1], count as usize);
    x.reshape([n, length, count, x.shape()[2] / count]).transpose(1, 2)
}

/// Which keys a query may see by its place: up to itself, in a window around it, and not in the padding.
fn seen(n: &Node, queries: usize, keys: usize, past: usize) -> Result<Option<Tensor>, Unsupported> {
    let (left, right) = (n.i("left_window_size", -1), n.i("right_window_size", -1));
    let causal = n.i("is_causal", 0) != 0;
    let lengths = n.host(6)?.map(|h| h.ints());
    if !causal && left < 0 && right < 0 && lengths.is_none() {
        return Ok(None);
    }
    // Where the block of queries starts, of each batch if their keys differ in number.
    let starts = match &lengths {
        Some(lengths) => lengths.iter().map(|l| l - queries as i64).collect(),
        None => vec![past as i64],
    };
    let mut allowed = Vec::new();
    for (b, start) in starts.iter().enumerate() {
        for i in 0..queries as i64 {
            for j in 0..keys as i64 {
                let ahead = j - (i + start);
                let mut sees = !causal || ahead <= 0;
                sees &= (left < 0 || -ahead <= left) && (right < 0 || ahead <= right);
                sees &= lengths.as_ref().is_none_or(|l| j < l[b]);
                allowed.push(sees as u32);
            }
        }
    }
    let mask = Tensor::from_slice(n.device, &allowed, [starts.len(), 1, queries, keys]).map_err(fault)?;
    Ok(Some(mask.cast(DType::Bool)))
}

fn attention(n: &Node) -> Outputs {
    n.ignore("softmax_precision");
    let flat = n.x(0)?.rank() == 3;
    let q = heads(&n.fx(0)?, n.i("q_num_heads", 1));
    let (mut k, mut v) = (heads(&n.fx(1)?, n.i("kv_num_heads", 1)), heads(&n.fx(2)?, n.i("kv_num_heads", 1)));
    let past = n.opt(4).map_or(0, |p| p.shape()[2]);
    if let (Some(keys), Some(values)) = (n.opt(4), n.opt(5)) {
        (k, v) = (Tensor::concat(&[&keys, &k], 2), Tensor::concat(&[&values, &v], 2));
    }
    let (queries, keys) = (q.shape()[2], k.shape()[2]);
    let lowest = f32::NEG_INFINITY;
    let as_number = |m: &Tensor| match m.dtype() {
        DType::Bool => m.cast(DType::F32).mul(&Tensor::scalar(n.device, 0f32)).masked_fill(&m.logical_not(), lowest),
        _ => m.clone(),
    };
    let given = n.opt(3).map(|m| {
        let m = as_number(&m);
        // A mask that is too short hides the keys behind it.
        let mut sides = vec![(0, 0); m.rank()];
        sides[m.rank() - 1].1 = keys - m.shape()[m.rank() - 1].min(keys);
        m.pad(&sides, lowest)
    });
    let places = seen(n, queries, keys, past)?;
    let mask = match (given, places) {
        (Some(m), Some(p)) => Some(m.add(&as_number(&p))),
        (m, p) => m.or(p.map(|p| as_number(&p))),
    };
    let softcap = n.f("softcap", 0.0) as f32;
    let options = AttentionOptions {
        mask: mask.clone(),
        scale: n.get("scale").and_then(crate::case::number).map(|s| s as f32),
        softcap: (softcap > 0.0).then_some(softcap),
        grouped: q.shape()[1] != k.shape()[1],
        ..Default::default()
    };
    let y = q.scaled_dot_product_attention(&k, &v, &options);
    let y = match flat {
        true => {
            let y = y.transpose(1, 2);
            y.reshape([y.shape()[0], y.shape()[1], y.shape()[2] * y.shape()[3]])
        }
        false => y,
    };
    let mut outputs = vec![y, k.clone(), v];
    let mode = n.i("qk_matmul_output_mode", 0);
    if n.outputs > 3 {
        let bare = AttentionOptions { mask: None, ..options.clone() };
        outputs.push(match mode {
            0 => q.attention_scores(&k, &AttentionOptions { softcap: None, ..bare }),
            1 => q.attention_scores(&k, &bare),
            2 => q.attention_scores(&k, &options),
            3 => q.attention_weights(&k, &options),
            other => return unsupported(format!("qk_matmul_output_mode {other}")),
        });
    }
    Ok(outputs)
}

fn rotary(n: &Node) -> Outputs {
    let x = n.fx(0)?;
    let flat = x.rank() == 3;
    let count = n.i("num_heads", 0);
    if flat && count == 0 {
        return unsupported("no num_heads");
    }
    let (mut cos, mut sin) = (n.fx(1)?, n.fx(2)?);
    if n.opt(3).is_some() {
        let places = n.index(3, cos.shape()[0])?;
        (cos, sin) = (cos.index_select(0, &places), sin.index_select(0, &places));
    }
    let width = n.i("rotary_embedding_dim", 0);
    if width != 0 && cos.shape()[cos.rank() - 1] as i64 * 2 != width {
        return unsupported("caches of another width");
    }
    let over_heads = |t: &Tensor| t.unsqueeze(1);
    let y = heads(&x, count).rotary_embedding(&over_heads(&cos), &over_heads(&sin), n.i("interleaved", 0) != 0);
    one(if flat { y.transpose(1, 2).reshape(x.shape()) } else { y })
}

/// The rows.
pub const ROWS: &[Row] = &[("Attention", attention), ("RotaryEmbedding", rotary)];
