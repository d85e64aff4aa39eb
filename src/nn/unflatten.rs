//! From rows to pictures.

use super::{Module, Pass};
use crate::tensor::{Shape, Tensor};

/// Gives every row a shape: `[N, C H W]` to `[N, C, H, W]`.
#[derive(Debug, Clone)]
pub struct Unflatten {
    shape: Shape,
}

crate::parameters!(Unflatten {});

impl Unflatten {
    /// Each row of this shape.
    pub fn new(shape: impl Into<Shape>) -> Unflatten {
        Unflatten { shape: shape.into() }
    }
}

impl Module for Unflatten {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        let first = *x.shape().first().unwrap_or_else(|| panic!("unflatten: a tensor of shape [] has no rows"));
        x.reshape([&[first], &self.shape[..]].concat())
    }
}
