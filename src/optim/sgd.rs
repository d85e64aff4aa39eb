//! Gradient descent: plain, with momentum, averaged, and resilient propagation.

use super::first_order::{Now, Rule, optimizer, settings};
use crate::ops::update::Update;

optimizer! {
    /// `p -= rate g`, with momentum and Nesterov's variant as `torch.optim.SGD` has them.
    Sgd = SgdRule SgdRule { momentum: 0.0, dampening: 0.0, nesterov: false, weight_decay: 0.0 };
    /// Averaged stochastic gradient descent as `torch.optim.ASGD` has it: the mean of the last parameters is its state
    /// "ax".
    Asgd = AsgdRule AsgdRule { lambda: 1e-4, alpha: 0.75, start: 1e6, weight_decay: 0.0 };
    /// Resilient propagation, for whole batches, as `torch.optim.Rprop` has it: only signs of gradients count.
    Rprop = RpropRule RpropRule { factors: (0.5, 1.2), sizes: (1e-6, 50.0) };
}

/// The rule of [`Sgd`].
#[derive(Debug, Clone)]
pub struct SgdRule {
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
}

settings!(SgdRule {
    /// With momentum (PyTorch's `momentum`, 0.9 is usual): `b = momentum b + (1 - dampening) g; p -= rate b`.
    momentum;
    /// With this share of each gradient but the first kept out of the momentum.
    dampening;
    /// With an L2 penalty: `weight_decay p` is added to the gradient.
    weight_decay;
});

impl Sgd {
    /// With Nesterov's look along the momentum; needs a momentum above 0.
    ///
    /// # Panics
    /// Without momentum.
    #[track_caller]
    pub fn nesterov(mut self) -> Sgd {
        assert!(self.rule.momentum > 0.0, "nesterov: set a momentum above 0 first");
        self.rule.nesterov = true;
        self
    }
}

impl Rule for SgdRule {
    fn update(&self) -> Update {
        if self.momentum > 0.0 { Update::Momentum } else { Update::Sgd }
    }
    fn numbers(&self, now: &Now) -> Vec<f64> {
        let momentum = if self.momentum > 0.0 { now.momentum.unwrap_or(self.momentum) } else { 0.0 };
        // PyTorch's buffer starts as the first gradient, whatever the dampening.
        let keep = if now.step == 1 || momentum == 0.0 { 1.0 } else { 1.0 - self.dampening };
        let (of_gradient, of_buffer) = if self.nesterov { (1.0, momentum) } else { (0.0, 1.0) };
        vec![self.weight_decay, 0.0, now.rate, momentum, keep, of_gradient, of_buffer]
    }
}

/// The rule of [`Asgd`].
#[derive(Debug, Clone)]
pub struct AsgdRule {
    lambda: f64,
    alpha: f64,
    start: f64,
    weight_decay: f64,
}

settings!(AsgdRule {
    /// With another decay of the parameters, 1e-4 by default; it slows the rate too (PyTorch's `lambd`).
    lambda;
    /// With another power of the falling rate, 0.75 by default.
    alpha;
    /// With the mean taken from this step on, 1e6 by default (PyTorch's `t0`).
    start;
    /// With an L2 penalty: `weight_decay p` is added to the gradient.
    weight_decay;
});

impl Rule for AsgdRule {
    fn update(&self) -> Update {
        Update::Asgd
    }
    fn numbers(&self, now: &Now) -> Vec<f64> {
        let done = (now.step - 1) as f64;
        let rate = now.rate / (1.0 + self.lambda * now.rate * done).powf(self.alpha);
        vec![self.weight_decay, self.lambda * rate, rate, 1.0 / (done - self.start).max(1.0)]
    }
}

/// The rule of [`Rprop`].
#[derive(Debug, Clone)]
pub struct RpropRule {
    factors: (f64, f64),
    sizes: (f64, f64),
}

impl Rprop {
    /// With other factors of the step where the gradient turns, and where it keeps its sign; 0.5 and 1.2 by default.
    pub fn factors(mut self, turned: f64, kept: f64) -> Rprop {
        self.rule.factors = (turned, kept);
        self
    }

    /// With other bounds of the step; 1e-6 and 50 by default.
    pub fn sizes(mut self, smallest: f64, largest: f64) -> Rprop {
        self.rule.sizes = (smallest, largest);
        self
    }
}

impl Rule for RpropRule {
    fn update(&self) -> Update {
        Update::Rprop
    }
    fn numbers(&self, _: &Now) -> Vec<f64> {
        vec![0.0, 0.0, self.factors.0, self.factors.1, self.sizes.0, self.sizes.1]
    }
    fn initial(&self, state: &str, rate: f64) -> f64 {
        if state == "step_size" { rate } else { 0.0 }
    }
}
