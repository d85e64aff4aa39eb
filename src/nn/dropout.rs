//! Dropout.

use super::{Module, Pass};
use crate::tensor::Tensor;

/// In training, zeroes each element with probability `p` and scales the others by `1 / (1 - p)`; else does nothing.
///
/// Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014; the scaling in
/// training instead of in evaluation is what every framework does since.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    p: f32,
}

crate::parameters!(Dropout {});

impl Dropout {
    /// Drops with probability `p`.
    ///
    /// # Panics
    /// If `p` is not in `[0, 1)`.
    #[track_caller]
    pub fn new(p: f32) -> Dropout {
        assert!((0.0..1.0).contains(&p), "dropout: a probability of {p}; it must be from 0 to below 1");
        Dropout { p }
    }
}

impl Module for Dropout {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        if pass.training && self.p > 0.0 { x.dropout(self.p, &mut pass.rng) } else { x.clone() }
    }
}
