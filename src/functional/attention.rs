//! Attention.

use crate::tensor::{DType, Tensor};

/// What a query may look at, and how sharply.
#[derive(Debug, Clone, Default)]
pub struct AttentionOptions {
    /// `bool`, true where a query may look; or `f32`, added to the scores. It broadcasts to `[.., queries, keys]`.
    pub mask: Option<Tensor>,
    /// Whether query `i` looks only at keys up to `i`.
    pub causal: bool,
    /// What the scores are multiplied by; `1 / sqrt(width)` if absent.
    pub scale: Option<f32>,
    /// A bound `c` that scores stay below, as `c tanh(score / c)`, before the mask (Gemma 2).
    pub softcap: Option<f32>,
    /// Whether keys and values may have fewer heads (the axis before their length) than the queries, each of which then
    /// serves as many queries' heads in a row: grouped-query attention (Ainslie et al. 2023), PyTorch's `enable_gqa`.
    pub grouped: bool,
}

impl AttentionOptions {
    /// The same for keys behind which `added` more stand, which every query may look at.
    #[track_caller]
    pub(crate) fn seeing(&self, added: usize, queries: &Tensor, keys: &Tensor) -> AttentionOptions {
        let (q, k) = (queries.shape()[queries.rank() - 2], keys.shape()[keys.rank() - 2] - added);
        let mut masks: Vec<Tensor> = self.mask.iter().cloned().collect();
        if added == 0 || (masks.is_empty() && !self.causal) {
            return self.clone();
        }
        if self.causal {
            masks.push(upto(queries, q, k));
        }
        let open = |mask: &Tensor| {
            let shape = [&mask.shape()[..mask.rank() - 1], &[k]].concat();
            let mut sides = vec![(0, 0); mask.rank()];
            sides[mask.rank() - 1].1 = added;
            let wide = mask.broadcast_to(shape);
            match mask.dtype() {
                DType::Bool => wide.cast(DType::U32).pad(&sides, 1.0).cast(DType::Bool),
                _ => wide.pad(&sides, 0.0),
            }
        };
        let both = masks.iter().map(open).reduce(|a, b| match a.dtype() {
            DType::Bool => a.bitwise_and(&b),
            _ => a.masked_fill(&b.bitwise_not(), f32::NEG_INFINITY),
        });
        AttentionOptions { mask: both, causal: false, ..self.clone() }
    }
}

/// Whether key `j` is at or before query `i`.
fn upto(like: &Tensor, queries: usize, keys: usize) -> Tensor {
    let place = |n: usize| Tensor::iota(like.device(), n, 0i32, 1i32);
    place(keys).less_equal(&place(queries).unsqueeze(1))
}

/// Keys or values with each head as often as queries' heads share it.
#[track_caller]
fn shared(x: &Tensor, queries: &Tensor) -> Tensor {
    let heads = |t: &Tensor| if t.rank() >= 3 { t.shape()[t.rank() - 3] } else { 1 };
    let (own, wanted) = (heads(x), heads(queries));
    assert!(
        x.rank() >= 3 && own > 0 && wanted.is_multiple_of(own),
        "attention: {wanted} heads of queries {} in groups for those of {}; the latter must divide them",
        queries.shape(),
        x.shape()
    );
    x.repeat_interleave(wanted / own, Some(x.rank() as isize - 3))
}

impl Tensor {
    /// `softmax(q k^T scale + mask) v`: attention of these queries `[.., queries, width]` over keys `[.., keys, width]`
    /// and values `[.., keys, out]`, which gives `[.., queries, out]` (Vaswani et al. 2017). PyTorch's
    /// `scaled_dot_product_attention`; a query that may look at nothing gives 0.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn scaled_dot_product_attention(&self, keys: &Tensor, values: &Tensor, options: &AttentionOptions) -> Tensor {
        let weights = self.attention_weights(keys, options);
        if options.grouped { weights.matmul(&shared(values, self)) } else { weights.matmul(values) }
    }

    /// The weights of [`Tensor::scaled_dot_product_attention`], `[.., queries, keys]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn attention_weights(&self, keys: &Tensor, options: &AttentionOptions) -> Tensor {
        let scores = self.attention_scores(keys, options);
        let last = scores.rank() as isize - 1;
        if options.mask.is_none() {
            return scores.softmax(last);
        }
        // A row without a key has no softmax; its scores are made harmless, and its weights are 0.
        let lowest = Tensor::scalar(self.device(), f32::NEG_INFINITY);
        let blind = scores.max_keep(&[last]).equal(&lowest);
        let zero = Tensor::scalar(self.device(), 0f32);
        Tensor::select(&blind, &zero, &Tensor::select(&blind, &zero, &scores).softmax(last))
    }

    /// What [`Tensor::attention_weights`] takes the softmax of, `[.., queries, keys]`: `q k^T scale`, bounded, and
    /// masked with -inf.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn attention_scores(&self, keys: &Tensor, options: &AttentionOptions) -> Tensor {
        if options.grouped {
            let options = AttentionOptions { grouped: false, ..options.clone() };
            return self.attention_scores(&shared(keys, self), &options);
        }
        let (rank, key_rank) = (self.rank(), keys.rank());
        assert!(
            rank >= 2 && key_rank >= 2 && self.shape()[rank - 1] == keys.shape()[key_rank - 1],
            "attention: queries {} and keys {} must be [.., queries, width] and [.., keys, width]",
            self.shape(),
            keys.shape()
        );
        let (queries, count, width) = (self.shape()[rank - 2], keys.shape()[key_rank - 2], self.shape()[rank - 1]);
        let scale = options.scale.unwrap_or(1.0 / (width as f32).sqrt());
        let mut scores = &self.matmul(&keys.transpose(key_rank - 2, key_rank - 1)) * scale;
        if let Some(cap) = options.softcap {
            scores = (scores / cap).tanh() * cap;
        }
        let lowest = Tensor::scalar(self.device(), f32::NEG_INFINITY);
        if options.causal {
            scores = Tensor::select(&upto(self, queries, count), &scores, &lowest);
        }
        match &options.mask {
            Some(mask) if mask.dtype() == DType::Bool => Tensor::select(mask, &scores, &lowest),
            Some(mask) => &scores + mask,
            None => scores,
        }
    }

    /// The pairs of numbers along the last axis turned by angles of these cosines and sines, `[.., width / 2]`, which
    /// broadcast: rotary position embedding (Su et al. 2021). A pair is element `i` of each half, or two neighbours if
    /// `interleaved`. What the last axis has beyond `width` stays.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn rotary_embedding(&self, cos: &Tensor, sin: &Tensor, interleaved: bool) -> Tensor {
        let (axis, half) = (self.rank() - 1, cos.shape().last().copied().unwrap_or(0));
        assert!(
            cos.shape() == sin.shape() && 2 * half <= self.shape()[axis],
            "rotary_embedding: cosines {} and sines {} for {}; they have one shape, and at most half of the last axis",
            cos.shape(),
            sin.shape(),
            self.shape()
        );
        let lead = &self.shape()[..axis];
        let turned = self.narrow(axis, 0, 2 * half);
        let (pairs, along) = match interleaved {
            true => (turned.reshape([lead, &[half, 2]].concat()), axis + 1),
            false => (turned.reshape([lead, &[2, half]].concat()), axis),
        };
        let (a, b) = (pairs.narrow(along, 0, 1).squeeze(along), pairs.narrow(along, 1, 1).squeeze(along));
        let (x, y) = (&(&a * cos) - &(&b * sin), &(&a * sin) + &(&b * cos));
        let turned = Tensor::stack(&[&x, &y], along as isize).reshape(turned.shape());
        let rest = self.shape()[axis] - 2 * half;
        if rest == 0 { turned } else { Tensor::concat(&[&turned, &self.narrow(axis, 2 * half, rest)], axis as isize) }
    }
}
