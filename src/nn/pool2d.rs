//! Pooling layers.

use super::{Module, Pass};
use crate::ops::Pool2dOptions;
use crate::tensor::Tensor;

/// The largest value of each window.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool2d(pub Pool2dOptions);

/// The mean of each window.
#[derive(Debug, Clone, Copy)]
pub struct AvgPool2d(pub Pool2dOptions);

crate::parameters!(MaxPool2d {});
crate::parameters!(AvgPool2d {});

impl Module for MaxPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        x.max_pool2d(&self.0)
    }
}

impl Module for AvgPool2d {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        x.avg_pool2d(&self.0)
    }
}
