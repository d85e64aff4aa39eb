//! Multi-head attention.

use super::{Init, Linear, Module, Param, Pass};
use crate::error::Result;
use crate::functional::AttentionOptions;
use crate::tensor::Tensor;

/// Attention of several heads, each on a part of the width (Vaswani et al. 2017): `torch.nn.MultiheadAttention`.
///
/// Tensors have the batch first: queries `[n, queries, width]`, keys and values `[n, keys, width]`, or without `n`.
/// Masks are those of [`AttentionOptions`], where true is what may be seen; in `torch.nn.MultiheadAttention` it is what
/// may not.
#[derive(Debug)]
pub struct MultiheadAttention {
    /// `[3 width, width]`: of queries, keys and values, one below the other; absent if keys or values have other
    /// widths.
    pub in_proj_weight: Option<Param>,
    /// `[width, width]`: of queries, where keys or values have other widths.
    pub q_proj_weight: Option<Param>,
    /// `[width, key width]`
    pub k_proj_weight: Option<Param>,
    /// `[width, value width]`
    pub v_proj_weight: Option<Param>,
    /// `[3 width]`
    pub in_proj_bias: Option<Param>,
    /// `[1, 1, width]`: one more key that every query may see.
    pub bias_k: Option<Param>,
    /// `[1, 1, width]`: its value.
    pub bias_v: Option<Param>,
    /// From all heads' results to the output.
    pub out_proj: Linear,
    width: usize,
    heads: usize,
    dropout: f32,
    zero_attention: bool,
}

crate::parameters!(MultiheadAttention {
    in_proj_weight,
    q_proj_weight,
    k_proj_weight,
    v_proj_weight,
    in_proj_bias,
    bias_k,
    bias_v,
    out_proj
});

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
        let mut out_proj = Linear::new(init, width, width)?;
        out_proj.bias = Some(init.constant([width], 0.0)?);
        Ok(MultiheadAttention {
            in_proj_weight: Some(glorot(init, 3 * width, width)?),
            q_proj_weight: None,
            k_proj_weight: None,
            v_proj_weight: None,
            in_proj_bias: Some(init.constant([3 * width], 0.0)?),
            bias_k: None,
            bias_v: None,
            out_proj,
            width,
            heads,
            dropout: 0.0,
            zero_attention: false,
        })
    }

    /// The same layer for keys and values of other widths than the queries (PyTorch's `kdim` and `vdim`).
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn key_value_widths(mut self, init: &mut Init, keys: usize, values: usize) -> Result<MultiheadAttention> {
        self.in_proj_weight = None;
        self.q_proj_weight = Some(glorot(init, self.width, self.width)?);
        self.k_proj_weight = Some(glorot(init, self.width, keys)?);
        self.v_proj_weight = Some(glorot(init, self.width, values)?);
        Ok(self)
    }

    /// The same layer with one more key and value, which it learns (PyTorch's `add_bias_kv`).
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn bias_kv(mut self, init: &mut Init) -> Result<MultiheadAttention> {
        let deviation = (1.0 / self.width.max(1) as f64).sqrt() as f32;
        self.bias_k = Some(init.normal([1, 1, self.width], deviation, f64::INFINITY)?);
        self.bias_v = Some(init.normal([1, 1, self.width], deviation, f64::INFINITY)?);
        Ok(self)
    }

    /// The same layer with one more key and value of zeros (PyTorch's `add_zero_attn`).
    pub fn zero_attention(mut self) -> MultiheadAttention {
        self.zero_attention = true;
        self
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

    /// [`MultiheadAttention::forward`], and the weights of each head, `[n, heads, queries, keys]`. PyTorch's weights
    /// are their mean over the heads. The keys that the layer adds stand at the end.
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
        let [q, k, v] = [queries, keys, values].map(|x| if x.rank() == 2 { x.unsqueeze(0) } else { x.clone() });
        let fits = |x: &Tensor, given: &Tensor| {
            x.rank() == 3 && given.rank() == queries.rank() && x.shape()[0] == q.shape()[0]
        };
        assert!(
            fits(&q, queries) && fits(&k, keys) && fits(&v, values),
            "attention: queries {}, keys {} and values {} must be [n, length, width] or [length, width]",
            queries.shape(),
            keys.shape(),
            values.shape()
        );
        let mut all = [self.projected(&q, 0, pass), self.projected(&k, 1, pass), self.projected(&v, 2, pass)];
        for (own, x) in [&self.bias_k, &self.bias_v].into_iter().zip(&mut all[1..]) {
            if let Some(own) = own {
                *x = Tensor::concat(&[x, &own.get().broadcast_to([x.shape()[0], 1, self.width])], 1);
            }
        }
        if self.zero_attention {
            all[1..].iter_mut().for_each(|x| *x = x.pad(&[(0, 0), (0, 1), (0, 0)], 0.0));
        }
        let added = all[1].shape()[1] - k.shape()[1];
        let [q, k, v] = all.map(|x| {
            let (n, length) = (x.shape()[0], x.shape()[1]);
            x.reshape([n, length, self.heads, self.width / self.heads]).permute(&[0, 2, 1, 3])
        });
        let weights = q.attention_weights(&k, &options.seeing(added, &q, &k));
        let mut kept = weights.clone();
        if pass.training && self.dropout > 0.0 {
            kept = weights.dropout(self.dropout, &mut pass.rng);
        }
        let joined = pass.operand(&kept).matmul(&v).permute(&[0, 2, 1, 3]).reshape(queries.shape());
        let weights = if queries.rank() == 2 { weights.squeeze(0) } else { weights };
        (self.out_proj.forward(&joined, pass), weights)
    }

    /// `[n, length, ..]` through the projection of queries, keys or values: `[n, length, width]`.
    #[track_caller]
    fn projected(&self, x: &Tensor, which: usize, pass: &Pass) -> Tensor {
        let own = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight][which];
        let weight = match (own, &self.in_proj_weight) {
            (Some(own), _) => own.get().clone(),
            (None, Some(all)) => all.get().narrow(0, which * self.width, self.width),
            (None, None) => unreachable!("a layer has one weight for all, or one for each"),
        };
        let bias = self.in_proj_bias.as_ref().map(|b| b.get().narrow(0, which * self.width, self.width));
        // One product of all rows, not one for each sequence.
        let (rows, inputs) = (x.shape()[0] * x.shape()[1], x.shape()[2]);
        let (x, bias) = (&pass.operand(x), bias.map(|b| pass.operand(&b)));
        let y = x.reshape([rows, inputs]).linear(&pass.operand(&weight), bias.as_ref());
        y.reshape([x.shape()[0], x.shape()[1], self.width])
    }
}

/// Glorot and Bengio's uniform, whatever the scheme: the bound is sqrt(6 / (fan_in + fan_out)).
fn glorot(init: &mut Init, outputs: usize, inputs: usize) -> Result<Param> {
    init.uniform([outputs, inputs], (6.0 / (inputs + outputs).max(1) as f64).sqrt() as f32)
}
