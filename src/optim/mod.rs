//! Optimizers: rules that turn gradients into steps, and the schedules of their rates.
//!
//! The first step of an optimizer gathers the trainable parameters of the model into one buffer, a slab; gradients and
//! state lie in slabs of the same order. So one launch updates the whole model, in place, and the whole step, forward
//! and backward pass included, is one plan and one submission.

mod adam;
mod schedule;
mod sgd;
mod slab;

pub use adam::Adam;
pub use schedule::{Constant, InverseTime, Schedule};
pub use sgd::Sgd;

use crate::error::Result;
use crate::nn::Parameters;
use crate::tensor::Tensor;

/// A rule that changes parameters to make a loss smaller.
pub trait Optimizer {
    /// Differentiates `loss` and updates every trainable parameter of `model`. The loss is computed on the way, and its
    /// history is released: read it after the step, not before, so that nothing is computed twice.
    ///
    /// # Errors
    /// A fault of the device; [`crate::Error::Argument`] if a trainable parameter has no part in the loss. The model is
    /// then as it was.
    ///
    /// # Panics
    /// If `loss` is not one number.
    fn step(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()>;

    /// The number of steps done.
    fn steps(&self) -> u64;

    /// The learning rate of the next step.
    fn rate(&self) -> f64;
}
