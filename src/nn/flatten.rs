//! From pictures to rows.

use super::{Module, Pass};
use crate::tensor::Tensor;

/// Joins all axes but the first: `[N, C, H, W]` to `[N, C H W]`.
#[derive(Debug, Clone, Copy)]
pub struct Flatten;

crate::parameters!(Flatten {});

impl Module for Flatten {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        let rest = x.shape().iter().skip(1).product();
        let first = *x.shape().first().unwrap_or_else(|| panic!("flatten: a tensor of shape [] has no axis to keep"));
        x.reshape([first, rest])
    }
}
