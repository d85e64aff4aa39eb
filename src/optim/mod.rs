//! Optimizers: rules that turn gradients into steps, and the schedules of their rates.
//!
//! The first step of an optimizer gathers the trainable parameters of the model into one buffer, a slab; gradients and
//! state lie in slabs of the same order. So one launch updates the whole model, in place, and the whole step, forward
//! and backward pass included, is one plan and one submission.

mod adam;
mod adaptive;
mod clip;
mod first_order;
mod loss_scale;
mod plateau;
mod program;
mod replays;
mod rounds;
mod row;
mod schedule;
mod sgd;
mod slab;
mod state;
mod steps;

pub use adam::{Adam, AdamRule, AdamW, AdamWRule, Adamax, AdamaxRule, NAdam, NAdamRule, RAdam, RAdamRule};
pub use adaptive::{Adadelta, AdadeltaRule, Adagrad, AdagradRule, RmsProp, RmsPropRule};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use first_order::{FirstOrder, Now, Rule};
pub use loss_scale::LossScaling;
pub use plateau::ReduceOnPlateau;
pub use program::{Learners, Program};
pub(crate) use replays::{Replays, Trained, device_of};
pub use rounds::Rounds;
pub use row::{Host, Row};
pub use schedule::{
    Anneal, Chained, Constant, ConstantFactor, CosineAnnealing, CosineWarmRestarts, Cycle, Cyclic, Every, Exponential,
    InverseTime, Lambda, LinearFactor, MultiStep, OneCycle, Polynomial, Schedule, Sequential, StepDecay,
};
pub use sgd::{Asgd, AsgdRule, Rprop, RpropRule, Sgd, SgdRule};
pub use state::{OptimizerState, ParameterState};
pub use steps::Steps;

use crate::error::Result;
use crate::nn::Parameters;
use crate::plan::eval;
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
    #[track_caller]
    fn step(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()>;

    /// [`Optimizer::step`], which computes other numbers with the loss, such as an accuracy, in the same program: their
    /// history is released too.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    ///
    /// # Panics
    /// As [`Optimizer::step`].
    #[track_caller]
    fn step_with_figures(&mut self, model: &mut dyn Parameters, loss: &Tensor, figures: &[&Tensor]) -> Result<()> {
        self.step(model, loss)?;
        eval(figures)?;
        figures.iter().for_each(|figure| figure.release_history());
        Ok(())
    }

    /// The step for gradients that come from elsewhere: one for each parameter that is not frozen, in the order of
    /// [`Parameters::named_parameters`].
    ///
    /// # Errors
    /// A fault of the device. The model is then as it was.
    ///
    /// # Panics
    /// If their number or a shape does not fit.
    #[track_caller]
    fn step_with_gradients(&mut self, model: &mut dyn Parameters, gradients: &[Tensor]) -> Result<()>;

    /// Differentiates the loss of a micro-batch and keeps its gradients; the next step adds them to its own. Only
    /// one batch's activations are in memory at a time. For the mean over all batches divide each loss by their number:
    ///
    /// ```
    /// # use wgrad::nn::Param;
    /// # use wgrad::optim::{Optimizer, Sgd};
    /// # use wgrad::{Device, Tensor};
    /// # let mut model = Param::new(Tensor::ones(&Device::cpu(), [2]))?;
    /// # let mut optimizer = Sgd::new(0.1);
    /// # let loss_of = |model: &Param, part: usize| model.get().square().sum_all();
    /// let parts = 4;
    /// for part in 0..parts {
    ///     let loss = &loss_of(&model, part) * (1.0 / parts as f32);
    ///     if part + 1 < parts {
    ///         optimizer.accumulate(&mut model, &loss)?;
    ///     } else {
    ///         optimizer.step(&mut model, &loss)?;
    ///     }
    /// }
    /// # assert_eq!(model.get().to_vec::<f32>()?, [0.8, 0.8]);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    ///
    /// # Panics
    /// If `loss` is not one number.
    #[track_caller]
    fn accumulate(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()>;

    /// The norm of all gradients of the last step before they were clipped, if the optimizer clips by it. It lies on
    /// the device until it is read.
    fn gradient_norm(&self) -> Option<&Tensor>;

    /// What the loss of the next step is multiplied by, if the optimizer scales it: one number, which lies on the
    /// device until it is read.
    fn loss_scale(&self) -> Option<Tensor>;

    /// The number of steps done, skipped ones included.
    fn steps(&self) -> u64;

    /// The learning rate of the next step.
    fn rate(&self) -> f64;

    /// What it remembers, for a checkpoint; gradients that wait for a step are not part of it.
    ///
    /// # Errors
    /// A fault of the device.
    fn state(&self) -> Result<OptimizerState>;

    /// Goes on from a state of an optimizer of the same kind and a model of the same form.
    ///
    /// # Errors
    /// A fault of the device; [`crate::Error::Argument`] if the state does not fit. The optimizer is then as it was.
    fn load_state(&mut self, model: &mut dyn Parameters, state: &OptimizerState) -> Result<()>;

    /// [`Optimizer::step`], recorded and not computed: the model has what the step will make of it. `before` takes the
    /// last handles on what may be overwritten. An optimizer that does not do so takes the step at once.
    #[doc(hidden)]
    #[track_caller]
    fn record_step(&mut self, model: &mut dyn Parameters, loss: &Tensor, _before: &mut Vec<Tensor>) -> Result<()> {
        self.step(model, loss)
    }

    /// What lets [`Steps`] replay its steps; an optimizer without takes each by itself.
    #[doc(hidden)]
    fn ahead(&mut self) -> Option<&mut dyn replays::Ahead> {
        None
    }
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    #[track_caller]
    fn step(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        (**self).step(model, loss)
    }
    #[track_caller]
    fn step_with_figures(&mut self, model: &mut dyn Parameters, loss: &Tensor, figures: &[&Tensor]) -> Result<()> {
        (**self).step_with_figures(model, loss, figures)
    }
    #[track_caller]
    fn step_with_gradients(&mut self, model: &mut dyn Parameters, gradients: &[Tensor]) -> Result<()> {
        (**self).step_with_gradients(model, gradients)
    }
    #[track_caller]
    fn accumulate(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        (**self).accumulate(model, loss)
    }
    fn gradient_norm(&self) -> Option<&Tensor> {
        (**self).gradient_norm()
    }
    fn loss_scale(&self) -> Option<Tensor> {
        (**self).loss_scale()
    }
    fn steps(&self) -> u64 {
        (**self).steps()
    }
    fn rate(&self) -> f64 {
        (**self).rate()
    }
    fn state(&self) -> Result<OptimizerState> {
        (**self).state()
    }
    fn load_state(&mut self, model: &mut dyn Parameters, state: &OptimizerState) -> Result<()> {
        (**self).load_state(model, state)
    }
    #[track_caller]
    fn record_step(&mut self, model: &mut dyn Parameters, loss: &Tensor, before: &mut Vec<Tensor>) -> Result<()> {
        (**self).record_step(model, loss, before)
    }
    fn ahead(&mut self) -> Option<&mut dyn replays::Ahead> {
        (**self).ahead()
    }
}
