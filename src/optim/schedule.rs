//! Learning rates that change as training goes on.

/// The learning rate of each step. The optimizer gives it to the device as an input, so a rate that changes every step
/// makes no new plan.
pub trait Schedule: Send + Sync {
    /// The rate of step `step`; the first is step 0.
    fn rate(&self, step: u64) -> f64;
}

impl Schedule for Box<dyn Schedule> {
    fn rate(&self, step: u64) -> f64 {
        (**self).rate(step)
    }
}

/// The same rate at every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant(pub f64);

impl Schedule for Constant {
    fn rate(&self, _: u64) -> f64 {
        self.0
    }
}

/// `initial / (1 + decay * step)`: half the initial rate after `1 / decay` steps.
///
/// With `decay > 0` it meets the two conditions of Robbins and Monro ("A Stochastic Approximation Method", 1951) under
/// which stochastic gradient descent converges in spite of the noise of its batches: the rates sum to infinity, so that
/// any distance can be covered, and their squares to a finite number, so that the noise dies out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InverseTime {
    /// The rate of step 0.
    pub initial: f64,
    /// How fast it falls.
    pub decay: f64,
}

impl Schedule for InverseTime {
    fn rate(&self, step: u64) -> f64 {
        self.initial / (1.0 + self.decay * step as f64)
    }
}
