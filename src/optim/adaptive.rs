//! Optimizers that measure a step by the gradients before it: Adagrad, Adadelta, RMSprop.

use super::first_order::{FirstOrder, Now, Rule, optimizer, settings};
use crate::ops::update::Update;

optimizer! {
    /// Adagrad as `torch.optim.Adagrad` has it. Its usual rate is 0.01.
    Adagrad = AdagradRule AdagradRule { rate_decay: 0.0, initial_sum: 0.0, epsilon: 1e-10, weight_decay: 0.0 };
    /// Adadelta as `torch.optim.Adadelta` has it. Its usual rate is 1.
    Adadelta = AdadeltaRule AdadeltaRule { rho: 0.9, epsilon: 1e-6, weight_decay: 0.0 };
    /// RMSprop as `torch.optim.RMSprop` has it. Its usual rate is 0.01.
    RmsProp = RmsPropRule RmsPropRule { alpha: 0.99, epsilon: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0 };
}

/// The rule of [`Adagrad`].
#[derive(Debug, Clone)]
pub struct AdagradRule {
    rate_decay: f64,
    initial_sum: f64,
    epsilon: f64,
    weight_decay: f64,
}

settings!(AdagradRule {
    /// With the rate of step `t`, from 0, divided by `1 + rate_decay t`.
    rate_decay;
    /// With the sum of squares starting here (PyTorch's `initial_accumulator_value`).
    initial_sum;
    /// With another number than 1e-10 that keeps the step finite.
    epsilon;
    /// With an L2 penalty: `weight_decay p` is added to the gradient.
    weight_decay;
});

impl Rule for AdagradRule {
    fn update(&self) -> Update {
        Update::Adagrad
    }
    fn numbers(&self, now: &Now) -> Vec<f64> {
        let rate = now.rate / (1.0 + (now.step - 1) as f64 * self.rate_decay);
        vec![self.weight_decay, 0.0, rate, self.epsilon]
    }
    fn initial(&self, _: &str, _: f64) -> f64 {
        self.initial_sum
    }
}

/// The rule of [`Adadelta`].
#[derive(Debug, Clone)]
pub struct AdadeltaRule {
    rho: f64,
    epsilon: f64,
    weight_decay: f64,
}

settings!(AdadeltaRule {
    /// With another decay rate of the means than 0.9.
    rho;
    /// With another number than 1e-6 under both roots.
    epsilon;
    /// With an L2 penalty: `weight_decay p` is added to the gradient.
    weight_decay;
});

impl Rule for AdadeltaRule {
    fn update(&self) -> Update {
        Update::Adadelta
    }
    fn numbers(&self, now: &Now) -> Vec<f64> {
        vec![self.weight_decay, 0.0, now.rate, self.rho, 1.0 - self.rho, self.epsilon]
    }
}

/// The rule of [`RmsProp`].
#[derive(Debug, Clone)]
pub struct RmsPropRule {
    alpha: f64,
    epsilon: f64,
    momentum: f64,
    centered: bool,
    weight_decay: f64,
}

settings!(RmsPropRule {
    /// With another decay rate of the mean square than 0.99.
    alpha;
    /// With another number than 1e-8 that keeps the step finite.
    epsilon;
    /// With momentum: `b = momentum b + g / root; p -= rate b`.
    momentum;
    /// With an L2 penalty: `weight_decay p` is added to the gradient.
    weight_decay;
});

impl FirstOrder<RmsPropRule> {
    /// With the variance of the gradient in place of its mean square.
    pub fn centered(mut self) -> Self {
        self.rule.centered = true;
        self
    }
}

impl Rule for RmsPropRule {
    fn update(&self) -> Update {
        Update::RmsProp { centered: self.centered, momentum: self.momentum > 0.0 }
    }
    fn numbers(&self, now: &Now) -> Vec<f64> {
        let momentum = if self.momentum > 0.0 { now.momentum.unwrap_or(self.momentum) } else { 0.0 };
        let centered = self.centered as u8 as f64;
        vec![self.weight_decay, 0.0, now.rate, self.alpha, 1.0 - self.alpha, self.epsilon, momentum, centered]
    }
}
