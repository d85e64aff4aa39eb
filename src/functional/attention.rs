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
}

impl Tensor {
    /// `softmax(q k^T scale + mask) v`: attention of these queries `[.., queries, width]` over keys `[.., keys, width]` and
    /// values `[.., keys, out]`, which gives `[.., queries, out]` (Vaswani et al. 2017). PyTorch's
    /// `scaled_dot_product_attention`; a query that may look at nothing gives 0.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn scaled_dot_product_attention(&self, keys: &Tensor, values: &Tensor, options: &AttentionOptions) -> Tensor {
        self.attention_weights(keys, options).matmul(values)
    }

    /// The weights of [`Tensor::scaled_dot_product_attention`], `[.., queries, keys]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn attention_weights(&self, keys: &Tensor, options: &AttentionOptions) -> Tensor {
        let device = self.device();
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
        let lowest = Tensor::scalar(device, f32::NEG_INFINITY);
        let mut masked = false;
        if options.causal {
            let (i, j) = (Tensor::ones(device, [queries, 1]).cumsum(0), Tensor::ones(device, [1, count]).cumsum(1));
            let upto = j.less_equal(&i);
            scores = Tensor::select(&upto, &scores, &lowest);
        }
        if let Some(mask) = &options.mask {
            masked = true;
            scores = match mask.dtype() {
                DType::Bool => Tensor::select(mask, &scores, &lowest),
                _ => &scores + mask,
            };
        }
        let last = scores.rank() as isize - 1;
        if !masked {
            return scores.softmax(last);
        }
        // A row without a key has no softmax; its scores are made harmless, and its weights are 0.
        let blind = scores.max_keep(&[last]).equal(&lowest);
        let zero = Tensor::scalar(device, 0f32);
        Tensor::select(&blind, &zero, &Tensor::select(&blind, &zero, &scores).softmax(last))
    }
}
