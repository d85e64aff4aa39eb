//! Trains neural networks on any GPU (Vulkan, Metal, DX12, WebGPU) through hand-readable WGSL kernels, with a CPU path
//! that computes the same things and checks every kernel.
//!
//! Methods of [`Tensor`] record a graph and compute nothing. [`optim::Optimizer::step`] differentiates a loss over the
//! registry of [`ops`], and [`plan`] turns the whole step (forward, backward, update) into one list of launches that is
//! kept and replayed. A [`Device`] is a GPU, the CPU path, or the double-precision reference.
//!
//! ```
//! use wgrad::{Device, Tensor, autodiff};
//!
//! let device = Device::cpu();
//! let x1 = Tensor::from_slice(&device, &[2f32], [])?;
//! let x2 = Tensor::from_slice(&device, &[5f32], [])?;
//! let y = &(&x1.ln() + &(&x1 * &x2)) - &x2.sin();
//! let slopes = autodiff::grad(&y, &[&x1, &x2]);
//! assert!((y.item()? - 11.652).abs() < 1e-3);
//! assert!((slopes[0].item()? - 5.5).abs() < 1e-5);
//! # Ok::<(), wgrad::Error>(())
//! ```
#![warn(missing_docs)]

pub mod autodiff;
pub mod data;
pub mod device;
pub mod env;
pub mod error;
pub mod functional;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod reference;
pub mod selftest;
pub mod tensor;
pub mod train;

pub use device::Device;
pub use error::{Error, Result};
pub use half::f16;
pub use plan::eval;
pub use tensor::{DType, Shape, Tensor};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
