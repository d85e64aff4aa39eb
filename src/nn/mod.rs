//! Layers, and the parameters in them.
//!
//! A model is a struct of layers. [`parameters!`](crate::parameters) lists its fields once; from that list come the
//! names of its parameters ("conv1.weight", as in PyTorch's `state_dict`), their count, and what an optimizer
//! updates. What a model computes is an ordinary method: of [`Module`] if it maps one tensor to one, of any form if
//! it does not (a recurrent cell, a VAE with a latent draw), and it still has named parameters.
//!
//! ```
//! use wgrad::nn::{Flatten, Init, Linear, Module, Parameters, Pass};
//! use wgrad::{Device, Tensor};
//!
//! struct Mlp {
//!     hidden: Linear,
//!     out: Linear,
//! }
//! wgrad::parameters!(Mlp { hidden, out });
//!
//! impl Module for Mlp {
//!     fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
//!         let x = Flatten.forward(x, pass);
//!         self.out.forward(&self.hidden.forward(&x, pass).relu(), pass)
//!     }
//! }
//!
//! let mut init = Init::new(&Device::cpu(), 42);
//! let model = Mlp { hidden: Linear::new(&mut init, 784, 100)?, out: Linear::new(&mut init, 100, 10)? };
//! let names: Vec<_> = model.state().into_iter().map(|(name, shape)| format!("{name} {shape}")).collect();
//! assert_eq!(names, ["hidden.weight [100, 784]", "hidden.bias [100]", "out.weight [10, 100]", "out.bias [10]"]);
//! assert_eq!(model.count_parameters(), 79_510);
//! # Ok::<(), wgrad::Error>(())
//! ```

mod activation;
mod attention;
mod augment;
mod batch_norm;
mod buffer;
mod conv1d;
mod conv2d;
mod conv_transpose;
mod dropout;
mod embedding;
mod flatten;
mod gradcheck;
mod init;
mod linear;
mod norm;
mod normalize;
mod param;
mod pool;
mod recurrent;
mod recurrent_cell;
mod sequential;
mod spectral_norm;
mod transformer;
mod unflatten;
mod weighted;

pub use activation::{
    Celu, Elu, Gelu, GeluTanh, Glu, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, LeakyRelu, LogSigmoid, LogSoftmax,
    Mish, Prelu, Relu, Relu6, Selu, Sigmoid, Silu, Softmax, Softplus, Softshrink, Softsign, Tanh, Tanhshrink,
    Threshold,
};
pub use attention::MultiheadAttention;
pub use augment::{RandomCrop, RandomHorizontalFlip};
pub use batch_norm::{BatchNorm1d, BatchNorm2d, BatchNorm3d};
pub use buffer::{Buffer, settle};
pub(crate) use buffer::{Recorded, computed, count_on, counts};
pub use conv_transpose::{ConvTranspose1d, ConvTranspose2d};
pub use conv1d::Conv1d;
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use flatten::Flatten;
pub use gradcheck::gradcheck;
pub use init::{Init, Scheme};
pub use linear::Linear;
pub use norm::{GroupNorm, InstanceNorm1d, InstanceNorm2d, LayerNorm, LocalResponseNorm, RmsNorm};
pub use normalize::Normalize;
pub use param::{Param, Parameters, functional_call};
pub use pool::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, AvgPool3d,
    DropoutChannels, LpPool1d, LpPool2d, MaxPool1d, MaxPool2d, MaxPool3d, PixelShuffle, PixelUnshuffle, Upsample,
    UpsampleTo,
};
pub use recurrent::{Gru, Lstm, RecurrentOptions, Rnn};
pub use recurrent_cell::{GruCell, LstmCell, RnnCell};
pub use sequential::Sequential;
pub use spectral_norm::SpectralNorm;
pub use transformer::{
    Transformer, TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
    TransformerOptions,
};
pub use unflatten::Unflatten;
pub use weighted::Weighted;

use crate::ops::Rng;
use crate::tensor::{DType, Tensor};

/// A layer or a model that maps one tensor to one tensor.
pub trait Module: Parameters {
    /// Records what it computes.
    ///
    /// # Panics
    /// If the shape of `x` does not fit, naming both shapes.
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor;
}

impl<M: Module + ?Sized> Module for Box<M> {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        (**self).forward(x, pass)
    }
}

/// One way through a model: whether it is training, and the random numbers that training draws.
///
/// Keep one for all steps of a run: its generator moves on, so that every step drops other units.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Whether layers that behave otherwise in training (dropout) do so.
    pub training: bool,
    /// Where they draw from.
    pub rng: Rng,
    /// Whether products run in half precision (see [`Pass::mixed`]).
    pub mixed: bool,
}

impl Pass {
    /// A pass that trains.
    pub fn train(seed: u64) -> Self {
        Pass { training: true, rng: Rng::new(seed), mixed: false }
    }

    /// A pass that evaluates: nothing is drawn.
    pub fn eval() -> Self {
        Pass { training: false, rng: Rng::new(0), mixed: false }
    }

    /// The same pass in mixed precision, as under `torch.autocast`: layers that multiply (linear, convolution,
    /// attention, whole sequences of recurrent layers) round what they read to half, weights and states included, and
    /// give halves; sums are in single precision everywhere, and so is the state from step to step of a sequence;
    /// normalisations, softmax and losses stay in it. Parameters are kept in single precision, and so are their
    /// gradients; train them by an optimizer with [`loss_scaling`](crate::optim::FirstOrder::loss_scaling).
    pub fn mixed(mut self) -> Self {
        self.mixed = true;
        self
    }

    /// An operand of a product, as this pass has it.
    pub(crate) fn operand(&self, x: &Tensor) -> Tensor {
        if self.mixed && x.dtype() == DType::F32 { x.cast(DType::F16) } else { x.clone() }
    }

    /// Likewise, of a parameter.
    pub(crate) fn param(&self, param: &Option<Param>) -> Option<Tensor> {
        param.as_ref().map(|param| self.operand(param.get()))
    }
}
