//! Activations as layers, for a [`Sequential`](super::Sequential); elsewhere the method of the tensor is shorter.
//!
//! A layer with numbers holds them in order: `LeakyRelu(0.01)`. Its `default()` holds PyTorch's.

use super::{Init, Module, Param, Pass};
use crate::error::Result;
use crate::tensor::Tensor;

macro_rules! activation {
    ($($(#[$doc:meta])* $name:ident $method:ident $(($($(#[$what:meta])* $field:ident: $ty:ty = $default:expr),+))?;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name$(($($(#[$what])* pub $ty),+))?;
        crate::parameters!($name {});
        impl Default for $name {
            fn default() -> Self {
                $name$(($($default),+))?
            }
        }
        impl Module for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
                let $name$(($($field),+))? = *self;
                x.$method($($($field),+)?)
            }
        }
    )* };
}

activation! {
    /// max(x, 0)
    Relu relu;
    /// Hyperbolic tangent.
    Tanh tanh;
    /// 1 / (1 + e^-x)
    Sigmoid sigmoid;
    /// max(x, 0), at most 6.
    Relu6 relu6;
    /// x, and a multiple of x below 0.
    LeakyRelu leaky_relu(/** The slope below 0. */ slope: f32 = 0.01);
    /// x, and alpha (e^x - 1) below 0.
    Elu elu(/** How far down it goes. */ alpha: f32 = 1.0);
    /// ELU scaled so that mean 0 and variance 1 reproduce themselves from layer to layer.
    Selu selu;
    /// x, and alpha (e^(x / alpha) - 1) below 0.
    Celu celu(/** How far down it goes. */ alpha: f32 = 1.0);
    /// x times the distribution function of the normal distribution.
    Gelu gelu;
    /// The approximation of [`Gelu`] by a hyperbolic tangent.
    GeluTanh gelu_tanh;
    /// x / (1 + e^-x), also called swish.
    Silu silu;
    /// x tanh(log(1 + e^x))
    Mish mish;
    /// log(1 + e^(beta x)) / beta, and x where beta x is above a threshold.
    Softplus softplus(/** How sharp the bend is. */ beta: f32 = 1.0, /** Where it becomes x. */ threshold: f32 = 20.0);
    /// log(1 / (1 + e^-x))
    LogSigmoid logsigmoid;
    /// x / (1 + |x|)
    Softsign softsign;
    /// x - tanh(x)
    Tanhshrink tanhshrink;
    /// x between two bounds.
    Hardtanh hardtanh(/** The lower bound. */ low: f32 = -1.0, /** The upper bound. */ high: f32 = 1.0);
    /// (x + 3) / 6 between 0 and 1.
    Hardsigmoid hardsigmoid;
    /// x times [`Hardsigmoid`].
    Hardswish hardswish;
    /// x, and 0 near 0.
    Hardshrink hardshrink(/** How near. */ lambda: f32 = 0.5);
    /// x nearer to 0, and 0 near it.
    Softshrink softshrink(/** By how much. */ lambda: f32 = 0.5);
    /// x, and a value where it is not above a threshold.
    Threshold threshold(/** The threshold. */ threshold: f32 = 0.0, /** The value. */ value: f32 = 0.0);
    /// The first half of an axis times the sigmoid of the second.
    Glu glu(/** The axis. */ axis: isize = -1);
    /// Probabilities along an axis.
    Softmax softmax(/** The axis. */ axis: isize = -1);
    /// Logarithms of probabilities along an axis.
    LogSoftmax log_softmax(/** The axis. */ axis: isize = -1);
}

/// x, and learned multiples of x below 0: one for all, or one for each channel (axis 1).
#[derive(Debug)]
pub struct Prelu {
    /// The slopes below 0.
    pub weight: Param,
}

crate::parameters!(Prelu { weight });

impl Prelu {
    /// A layer with this many slopes, 0.25 at first.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn new(init: &mut Init, slopes: usize) -> Result<Prelu> {
        Ok(Prelu { weight: init.constant(slopes, 0.25)? })
    }
}

impl Module for Prelu {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        x.prelu(self.weight.get())
    }
}
