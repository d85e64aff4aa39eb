//! Activations as layers, for a [`Sequential`](super::Sequential); elsewhere the method of the tensor is shorter.

use super::{Module, Pass};
use crate::tensor::Tensor;

macro_rules! activation {
    ($($(#[$doc:meta])* $name:ident $method:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        crate::parameters!($name {});
        impl Module for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
                x.$method()
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
}
