//! Multi-head attention, and the layer of an encoder that is built on it.

use super::{Dropout, Init, LayerNorm, Linear, Module, Param, Pass};
use crate::error::Result;
use crate::functional::AttentionOptions;
use crate::tensor::Tensor;

/// Attention of several heads, each on a part of the width (Vaswani et al. 2017): `torch.nn.MultiheadAttention`.
///
/// Tensors have the batch first: queries `[n, queries, width]`, keys and values `[n, keys, width]`, or without `n`. Masks
/// are those of [`AttentionOptions`], where true is what may be seen; in `torch.nn.MultiheadAttention` it is what may not.
#[derive(Debug)]
pub struct MultiheadAttention {
    /// `[3 width, width]`: of queries, keys and values, one below the other.
    pub in_proj_weight: Param,
    /// `[3 width]`
    pub in_proj_bias: Option<Param>,
    /// From all heads' results to the output.
    pub out_proj: Linear,
    heads: usize,
    dropout: f32,
}

crate::parameters!(MultiheadAttention { in_proj_weight, in_proj_bias, out_proj });

impl MultiheadAttention {
    /// A layer with PyTorch's first values.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    #[track_caller]
    pub fn new(init: &mut Init, width: usize, heads: usize) -> Result<MultiheadAttention> {
        assert!(heads > 0 && width.is_multiple_of(heads), "attention: {heads} heads do not divide a width of {width}");
        // Glorot and Bengio's uniform, whatever the scheme: the bound is sqrt(6 / (fan_in + fan_out)).
        let in_proj_weight = init.uniform([3 * width, width], (1.5 / width.max(1) as f64).sqrt() as f32)?;
        let in_proj_bias = Some(init.constant([3 * width], 0.0)?);
        let mut out_proj = Linear::new(init, width, width)?;
        out_proj.bias = Some(init.constant([width], 0.0)?);
        Ok(MultiheadAttention { in_proj_weight, in_proj_bias, out_proj, heads, dropout: 0.0 })
    }

    /// The same layer without its biases.
    pub fn without_bias(mut self) -> MultiheadAttention {
        self.in_proj_bias = None;
        self.out_proj = self.out_proj.without_bias();
        self
    }

    /// The same layer, which in training drops weights with this probability.
    pub fn dropout(mut self, p: f32) -> MultiheadAttention {
        self.dropout = p;
        self
    }

    /// What the queries find among the keys, in the shape of the queries.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        options: &AttentionOptions,
        pass: &mut Pass,
    ) -> Tensor {
        self.forward_with_weights(queries, keys, values, options, pass).0
    }

    /// [`MultiheadAttention::forward`], and the mean of the heads' weights, `[n, queries, keys]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward_with_weights(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        options: &AttentionOptions,
        pass: &mut Pass,
    ) -> (Tensor, Tensor) {
        let width = self.in_proj_weight.get().shape()[1];
        let fits = |x: &Tensor| x.rank() == queries.rank() && x.shape().last() == Some(&width);
        assert!(
            matches!(queries.rank(), 2 | 3) && fits(queries) && fits(keys) && fits(values),
            "attention: queries {}, keys {} and values {} must be [n, length, {width}] or [length, {width}]",
            queries.shape(),
            keys.shape(),
            values.shape()
        );
        let q = self.heads_of(queries, 0, width);
        let (k, v) = (self.heads_of(keys, 1, width), self.heads_of(values, 2, width));
        let mut weights = q.attention_weights(&k, options);
        let mean = weights.mean(&[1]);
        if pass.training && self.dropout > 0.0 {
            weights = weights.dropout(self.dropout, &mut pass.rng);
        }
        let joined = weights.matmul(&v).permute(&[0, 2, 1, 3]).reshape(queries.shape());
        let mean = if queries.rank() == 2 { mean.squeeze(0) } else { mean };
        (self.out_proj.forward(&joined, pass), mean)
    }

    /// `[n, length, width]` through part `which` of the projection, cut into heads: `[n, heads, length, width / heads]`.
    fn heads_of(&self, x: &Tensor, which: usize, width: usize) -> Tensor {
        let weight = self.in_proj_weight.get().narrow(0, which * width, width);
        let (length, rows) = (x.shape()[x.rank() - 2], x.elements() / width.max(1));
        let mut y = x.reshape([rows, width]).matmul(&weight.transpose(0, 1));
        if let Some(bias) = &self.in_proj_bias {
            y = &y + &bias.get().narrow(0, which * width, width);
        }
        let n = if x.rank() == 3 { x.shape()[0] } else { 1 };
        y.reshape([n, length, self.heads, width / self.heads]).permute(&[0, 2, 1, 3])
    }
}

/// Attention to itself and a network of two layers, each with dropout, a shortcut and a normalisation:
/// `torch.nn.TransformerEncoderLayer`, batch first, with ReLU.
#[derive(Debug)]
pub struct TransformerEncoderLayer {
    /// Every place looks at every other.
    pub self_attn: MultiheadAttention,
    /// Up to the inner width.
    pub linear1: Linear,
    /// And back.
    pub linear2: Linear,
    /// Behind the attention, or before it.
    pub norm1: LayerNorm,
    /// Behind the network, or before it.
    pub norm2: LayerNorm,
    dropout: Dropout,
    norm_first: bool,
}

crate::parameters!(TransformerEncoderLayer { self_attn, linear1, linear2, norm1, norm2 });

impl TransformerEncoderLayer {
    /// A layer with PyTorch's first values; its usual inner width is 2048, its dropout 0.1.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    ///
    /// # Panics
    /// If the heads do not divide the width, or the dropout is no probability.
    #[track_caller]
    pub fn new(init: &mut Init, width: usize, heads: usize, inner: usize, dropout: f32) -> Result<Self> {
        Ok(TransformerEncoderLayer {
            self_attn: MultiheadAttention::new(init, width, heads)?.dropout(dropout),
            linear1: Linear::new(init, width, inner)?,
            linear2: Linear::new(init, inner, width)?,
            norm1: LayerNorm::new(init, [width])?,
            norm2: LayerNorm::new(init, [width])?,
            dropout: Dropout::new(dropout),
            norm_first: false,
        })
    }

    /// The same layer with the normalisations before attention and network instead of behind them.
    pub fn norm_first(mut self) -> Self {
        self.norm_first = true;
        self
    }

    /// `[n, length, width]` to the same shape, with a choice of what each place may look at.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward_masked(&self, x: &Tensor, options: &AttentionOptions, pass: &mut Pass) -> Tensor {
        let attend = |x: &Tensor, pass: &mut Pass| {
            let y = self.self_attn.forward(x, x, x, options, pass);
            self.dropout.forward(&y, pass)
        };
        let network = |x: &Tensor, pass: &mut Pass| {
            let inner = self.linear1.forward(x, pass).relu();
            let y = self.linear2.forward(&self.dropout.forward(&inner, pass), pass);
            self.dropout.forward(&y, pass)
        };
        if self.norm_first {
            let x = x + &attend(&self.norm1.forward(x, pass), pass);
            return &x + &network(&self.norm2.forward(&x, pass), pass);
        }
        let x = self.norm1.forward(&(x + &attend(x, pass)), pass);
        self.norm2.forward(&(&x + &network(&x, pass)), pass)
    }
}

impl Module for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        self.forward_masked(x, &AttentionOptions::default(), pass)
    }
}
