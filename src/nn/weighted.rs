//! Layers that are a product with one weight, for whoever reparametrises it.

use super::{Module, Param, Pass};
use crate::tensor::Tensor;

/// A layer that multiplies its input by one weight, and can be given another in its place.
pub trait Weighted: Module {
    /// The weight.
    fn weight(&self) -> &Param;

    /// The axis of [`Weighted::weight`] that counts outputs.
    fn outputs(&self) -> usize;

    /// [`Module::forward`] with this weight instead of its own.
    #[track_caller]
    fn forward_with(&self, weight: &Tensor, x: &Tensor, pass: &mut Pass) -> Tensor;
}

/// Makes a layer of a struct with a field `weight` and a method `apply(weight, x, pass)`; the number is the axis of
/// outputs.
macro_rules! weighted {
    ($name:ident, $outputs:literal) => {
        impl super::Module for $name {
            #[track_caller]
            fn forward(&self, x: &crate::tensor::Tensor, pass: &mut super::Pass) -> crate::tensor::Tensor {
                self.apply(self.weight.get(), x, pass)
            }
        }

        impl super::Weighted for $name {
            fn weight(&self) -> &super::Param {
                &self.weight
            }
            fn outputs(&self) -> usize {
                $outputs
            }
            #[track_caller]
            fn forward_with(
                &self,
                weight: &crate::tensor::Tensor,
                x: &crate::tensor::Tensor,
                pass: &mut super::Pass,
            ) -> crate::tensor::Tensor {
                self.apply(weight, x, pass)
            }
        }
    };
}
pub(super) use weighted;
