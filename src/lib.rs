//! Trains neural networks on any GPU through hand-readable WGSL kernels, with a CPU path that checks every one of them.
#![warn(missing_docs)]

pub mod autodiff;
pub mod data;
pub mod device;
pub mod error;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod reference;
pub mod tensor;

pub use device::Device;
pub use error::{Error, Result};
pub use plan::eval;
pub use tensor::{DType, Shape, Tensor};
