//! Adam.

use super::slab::Slab;
use super::{Constant, Optimizer, Schedule};
use crate::error::Result;
use crate::nn::Parameters;
use crate::ops::adam::AdamStep;
use crate::tensor::Tensor;

/// Adam as `torch.optim.Adam` has it; with [`Adam::decoupled_decay`], AdamW.
pub struct Adam {
    schedule: Box<dyn Schedule>,
    betas: (f64, f64),
    epsilon: f64,
    decay: f64,
    decoupled: f64,
    steps: u64,
    slab: Option<Slab>,
}

impl Adam {
    /// At a constant rate, with PyTorch's defaults: betas 0.9 and 0.999, epsilon 1e-8.
    pub fn new(rate: f64) -> Adam {
        Adam::scheduled(Constant(rate))
    }

    /// At a rate that changes from step to step.
    pub fn scheduled(schedule: impl Schedule + 'static) -> Adam {
        let (betas, epsilon) = ((0.9, 0.999), 1e-8);
        Adam { schedule: Box::new(schedule), betas, epsilon, decay: 0.0, decoupled: 0.0, steps: 0, slab: None }
    }

    /// With other decay rates of the moments.
    pub fn betas(mut self, first: f64, second: f64) -> Adam {
        self.betas = (first, second);
        self
    }

    /// With another number that keeps the step finite where the second moment is zero.
    pub fn epsilon(mut self, epsilon: f64) -> Adam {
        self.epsilon = epsilon;
        self
    }

    /// With an L2 penalty: `decay p` is added to the gradient.
    pub fn weight_decay(mut self, decay: f64) -> Adam {
        self.decay = decay;
        self
    }

    /// With AdamW's decay: `rate decay p` is taken off beside the step.
    pub fn decoupled_decay(mut self, decay: f64) -> Adam {
        self.decoupled = decay;
        self
    }
}

impl Optimizer for Adam {
    #[track_caller]
    fn step(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        let t = self.steps + 1;
        let hyper = AdamStep::hyper(self.rate(), self.betas, self.epsilon, self.decay, self.decoupled, t);
        Slab::step(&mut self.slab, 2, model, loss, AdamStep, &hyper)?;
        self.steps = t;
        Ok(())
    }
    fn steps(&self) -> u64 {
        self.steps
    }
    fn rate(&self) -> f64 {
        self.schedule.rate(self.steps)
    }
}
