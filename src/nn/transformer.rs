//! The transformer (Vaswani et al. 2017): layers of encoder and decoder, and both in a stack.
//!
//! Batch first everywhere: `[n, length, width]`, or `[length, width]` of one sequence alone. A layer is made of
//! sublayers, each with dropout, a shortcut around it, and a normalisation behind it or before it.

use super::{Dropout, Init, LayerNorm, Linear, Module, MultiheadAttention, Pass};
use crate::error::Result;
use crate::functional::AttentionOptions;
use crate::tensor::Tensor;

/// What layers of encoder and decoder have in common. The defaults are PyTorch's.
#[derive(Debug, Clone, Copy)]
pub struct TransformerOptions {
    /// Heads of the attention.
    pub heads: usize,
    /// The width inside the network of two layers.
    pub inner: usize,
    /// The probability of dropping a value in training.
    pub dropout: f32,
    /// Whether normalisations stand before attention and network instead of behind them.
    pub norm_first: bool,
    /// Whether GELU is between the network's two layers, instead of ReLU.
    pub gelu: bool,
    /// Whether linear layers and normalisations have biases.
    pub bias: bool,
    /// What is added to variances.
    pub eps: f32,
}

impl Default for TransformerOptions {
    fn default() -> Self {
        TransformerOptions {
            heads: 8,
            inner: 2048,
            dropout: 0.1,
            norm_first: false,
            gelu: false,
            bias: true,
            eps: 1e-5,
        }
    }
}

impl TransformerOptions {
    #[track_caller]
    fn attention(&self, init: &mut Init, width: usize) -> Result<MultiheadAttention> {
        let layer = MultiheadAttention::new(init, width, self.heads)?.dropout(self.dropout);
        Ok(if self.bias { layer } else { layer.without_bias() })
    }

    fn linear(&self, init: &mut Init, inputs: usize, outputs: usize) -> Result<Linear> {
        let layer = Linear::new(init, inputs, outputs)?;
        Ok(if self.bias { layer } else { layer.without_bias() })
    }

    fn norm(&self, init: &mut Init, width: usize) -> Result<LayerNorm> {
        let layer = LayerNorm::new(init, [width])?.with(self.eps);
        Ok(if self.bias { layer } else { layer.without_bias() })
    }

    /// A sublayer with dropout, its shortcut and its normalisation.
    #[track_caller]
    fn sublayer(
        &self,
        x: &Tensor,
        norm: &LayerNorm,
        pass: &mut Pass,
        f: impl FnOnce(&Tensor, &mut Pass) -> Tensor,
    ) -> Tensor {
        let dropout = Dropout::new(self.dropout);
        if self.norm_first {
            let y = f(&norm.forward(x, pass), pass);
            return x + &dropout.forward(&y, pass);
        }
        let y = f(x, pass);
        norm.forward(&(x + &dropout.forward(&y, pass)), pass)
    }

    /// The network of two layers.
    #[track_caller]
    fn network(&self, x: &Tensor, [first, second]: [&Linear; 2], pass: &mut Pass) -> Tensor {
        let inner = first.forward(x, pass);
        let inner = if self.gelu { inner.gelu() } else { inner.relu() };
        second.forward(&Dropout::new(self.dropout).forward(&inner, pass), pass)
    }
}

/// Attention to itself and a network of two layers: `torch.nn.TransformerEncoderLayer`.
#[derive(Debug)]
pub struct TransformerEncoderLayer {
    /// Every place looks at every other.
    pub self_attn: MultiheadAttention,
    /// Up to the inner width.
    pub linear1: Linear,
    /// And back.
    pub linear2: Linear,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the network.
    pub norm2: LayerNorm,
    options: TransformerOptions,
}

crate::parameters!(TransformerEncoderLayer { self_attn, linear1, linear2, norm1, norm2 });

impl TransformerEncoderLayer {
    /// A layer with PyTorch's first values.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    ///
    /// # Panics
    /// If the heads do not divide the width, or the dropout is no probability.
    #[track_caller]
    pub fn new(init: &mut Init, width: usize, options: &TransformerOptions) -> Result<Self> {
        Ok(TransformerEncoderLayer {
            self_attn: options.attention(init, width)?,
            linear1: options.linear(init, width, options.inner)?,
            linear2: options.linear(init, options.inner, width)?,
            norm1: options.norm(init, width)?,
            norm2: options.norm(init, width)?,
            options: *options,
        })
    }

    /// `[n, length, width]` to the same shape, with a choice of what each place may look at.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward_masked(&self, x: &Tensor, seen: &AttentionOptions, pass: &mut Pass) -> Tensor {
        let o = &self.options;
        let x = o.sublayer(x, &self.norm1, pass, |x, pass| self.self_attn.forward(x, x, x, seen, pass));
        o.sublayer(&x, &self.norm2, pass, |x, pass| o.network(x, [&self.linear1, &self.linear2], pass))
    }
}

impl Module for TransformerEncoderLayer {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        self.forward_masked(x, &AttentionOptions::default(), pass)
    }
}

/// Attention to itself, attention to what an encoder made, and a network of two layers:
/// `torch.nn.TransformerDecoderLayer`.
#[derive(Debug)]
pub struct TransformerDecoderLayer {
    /// Every place looks at the others, usually at those before it.
    pub self_attn: MultiheadAttention,
    /// Every place looks at the encoder's.
    pub multihead_attn: MultiheadAttention,
    /// Up to the inner width.
    pub linear1: Linear,
    /// And back.
    pub linear2: Linear,
    /// Of the attention to itself.
    pub norm1: LayerNorm,
    /// Of the attention to the encoder.
    pub norm2: LayerNorm,
    /// Of the network.
    pub norm3: LayerNorm,
    options: TransformerOptions,
}

crate::parameters!(TransformerDecoderLayer { self_attn, multihead_attn, linear1, linear2, norm1, norm2, norm3 });

impl TransformerDecoderLayer {
    /// A layer with PyTorch's first values.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    ///
    /// # Panics
    /// If the heads do not divide the width, or the dropout is no probability.
    #[track_caller]
    pub fn new(init: &mut Init, width: usize, options: &TransformerOptions) -> Result<Self> {
        Ok(TransformerDecoderLayer {
            self_attn: options.attention(init, width)?,
            multihead_attn: options.attention(init, width)?,
            linear1: options.linear(init, width, options.inner)?,
            linear2: options.linear(init, options.inner, width)?,
            norm1: options.norm(init, width)?,
            norm2: options.norm(init, width)?,
            norm3: options.norm(init, width)?,
            options: *options,
        })
    }

    /// `[n, length, width]` to the same shape, beside the encoder's `memory` `[n, source length, width]`. `seen` says
    /// what a place may look at among its own kind, `seen_memory` what in the memory.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Tensor,
        memory: &Tensor,
        seen: &AttentionOptions,
        seen_memory: &AttentionOptions,
        pass: &mut Pass,
    ) -> Tensor {
        let o = &self.options;
        let x = o.sublayer(x, &self.norm1, pass, |x, pass| self.self_attn.forward(x, x, x, seen, pass));
        let x = o.sublayer(&x, &self.norm2, pass, |x, pass| {
            self.multihead_attn.forward(x, memory, memory, seen_memory, pass)
        });
        o.sublayer(&x, &self.norm3, pass, |x, pass| o.network(x, [&self.linear1, &self.linear2], pass))
    }
}

/// Encoder layers in a row, and a normalisation: `torch.nn.TransformerEncoder`.
#[derive(Debug)]
pub struct TransformerEncoder {
    /// The layers.
    pub layers: Vec<TransformerEncoderLayer>,
    /// Behind the last.
    pub norm: Option<LayerNorm>,
}

crate::parameters!(TransformerEncoder { layers, norm });

/// Decoder layers in a row, and a normalisation: `torch.nn.TransformerDecoder`.
#[derive(Debug)]
pub struct TransformerDecoder {
    /// The layers.
    pub layers: Vec<TransformerDecoderLayer>,
    /// Behind the last.
    pub norm: Option<LayerNorm>,
}

crate::parameters!(TransformerDecoder { layers, norm });

/// Encoder and decoder: `torch.nn.Transformer`.
#[derive(Debug)]
pub struct Transformer {
    /// Of the source.
    pub encoder: TransformerEncoder,
    /// Of the target.
    pub decoder: TransformerDecoder,
}

crate::parameters!(Transformer { encoder, decoder });

impl Transformer {
    /// As many layers of each, with PyTorch's first values.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    ///
    /// # Panics
    /// If the heads do not divide the width, or the dropout is no probability.
    #[track_caller]
    pub fn new(
        init: &mut Init,
        width: usize,
        [encoders, decoders]: [usize; 2],
        options: &TransformerOptions,
    ) -> Result<Self> {
        let encoders =
            (0..encoders).map(|_| TransformerEncoderLayer::new(init, width, options)).collect::<Result<_>>()?;
        let decoders =
            (0..decoders).map(|_| TransformerDecoderLayer::new(init, width, options)).collect::<Result<_>>()?;
        Ok(Transformer {
            encoder: TransformerEncoder { layers: encoders, norm: Some(options.norm(init, width)?) },
            decoder: TransformerDecoder { layers: decoders, norm: Some(options.norm(init, width)?) },
        })
    }

    /// What becomes of the target `[n, length, width]` beside the source `[n, source length, width]`: `[n, length,
    /// width]`. The choices are of what may be seen by the source, by the target, and by the target in what became of
    /// the source.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward(&self, source: &Tensor, target: &Tensor, seen: &[AttentionOptions; 3], pass: &mut Pass) -> Tensor {
        let last = |norm: &Option<LayerNorm>, x: Tensor, pass: &mut Pass| match norm {
            Some(norm) => norm.forward(&x, pass),
            None => x,
        };
        let layers = self.encoder.layers.iter();
        let memory = layers.fold(source.clone(), |x, layer| layer.forward_masked(&x, &seen[0], pass));
        let memory = last(&self.encoder.norm, memory, pass);
        let layers = self.decoder.layers.iter();
        let y = layers.fold(target.clone(), |x, layer| layer.forward(&x, &memory, &seen[1], &seen[2], pass));
        last(&self.decoder.norm, y, pass)
    }
}
