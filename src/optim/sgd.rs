//! Stochastic gradient descent.

use super::slab::Slab;
use super::{Constant, Optimizer, Schedule};
use crate::error::Result;
use crate::nn::Parameters;
use crate::ops::sgd::SgdStep;
use crate::tensor::Tensor;

/// `p -= rate g`, with momentum and Nesterov's variant as `torch.optim.SGD` has them.
pub struct Sgd {
    schedule: Box<dyn Schedule>,
    momentum: f64,
    nesterov: bool,
    decay: f64,
    steps: u64,
    slab: Option<Slab>,
}

impl Sgd {
    /// Plain descent at a constant rate.
    pub fn new(rate: f64) -> Sgd {
        Sgd::scheduled(Constant(rate))
    }

    /// Plain descent at a rate that changes from step to step.
    pub fn scheduled(schedule: impl Schedule + 'static) -> Sgd {
        Sgd { schedule: Box::new(schedule), momentum: 0.0, nesterov: false, decay: 0.0, steps: 0, slab: None }
    }

    /// With momentum (PyTorch's `momentum`, 0.9 is usual).
    pub fn momentum(mut self, momentum: f64) -> Sgd {
        self.momentum = momentum;
        self
    }

    /// With Nesterov's look along the momentum; needs a momentum above 0.
    ///
    /// # Panics
    /// Without momentum.
    #[track_caller]
    pub fn nesterov(mut self) -> Sgd {
        assert!(self.momentum > 0.0, "nesterov: set a momentum above 0 first");
        self.nesterov = true;
        self
    }

    /// With an L2 penalty: `decay p` is added to the gradient.
    pub fn weight_decay(mut self, decay: f64) -> Sgd {
        self.decay = decay;
        self
    }
}

impl Optimizer for Sgd {
    #[track_caller]
    fn step(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        let hyper = [self.rate(), self.momentum, 1.0, self.decay].map(|x| x as f32);
        let momentum = self.momentum > 0.0;
        let op = SgdStep { momentum, nesterov: self.nesterov };
        Slab::step(&mut self.slab, momentum as usize, model, loss, op, &hyper)?;
        self.steps += 1;
        Ok(())
    }
    fn steps(&self) -> u64 {
        self.steps
    }
    fn rate(&self) -> f64 {
        self.schedule.rate(self.steps)
    }
}
