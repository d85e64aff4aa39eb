//! Gradients held within bounds, for a program that takes them by itself; an optimizer clips by
//! [`clip_norm`](super::FirstOrder::clip_norm).

use super::slab::norm_and_scale;
use crate::ops::pack::Pack;
use crate::tensor::Tensor;

/// The gradients, scaled so that their norm of this order, taken together, is at most `largest`, and the norm before:
/// as `torch.nn.utils.clip_grad_norm_`. Nothing is computed yet.
///
/// # Panics
/// If there are no gradients, or the order is not above 0.
#[track_caller]
pub fn clip_grad_norm(gradients: &[Tensor], largest: f64, order: f64) -> (Vec<Tensor>, Tensor) {
    assert!(order > 0.0, "clip_grad_norm: a norm of order {order}; it must be above 0");
    let all =
        Tensor::apply(Pack::of_sizes(gradients.iter().map(Tensor::elements)), &gradients.iter().collect::<Vec<_>>());
    let (norm, scale) = norm_and_scale(&all, largest, order);
    (gradients.iter().map(|g| g * &scale).collect(), norm)
}

/// The gradients with each number held within `-largest` and `largest`, as `torch.nn.utils.clip_grad_value_`.
#[track_caller]
pub fn clip_grad_value(gradients: &[Tensor], largest: f64) -> Vec<Tensor> {
    gradients.iter().map(|g| g.clamp(-largest as f32, largest as f32)).collect()
}
