//! Whole Jacobians and Hessians of small functions, and products with Hessians of large ones.

use super::{grad, try_vjp, vjp};
use crate::error::Result;
use crate::tensor::Tensor;

/// The derivative of each element of `y` with respect to each element of `x`, of shape `y.shape ++ x.shape`. It takes a
/// backward pass for each element of `y`: for small ones.
///
/// # Errors
/// A fault of the device.
///
/// # Panics
/// As [`vjp`].
#[track_caller]
pub fn jacobian(y: &Tensor, x: &Tensor) -> Result<Tensor> {
    let n = y.elements();
    let mut shape = y.shape().to_vec();
    shape.extend_from_slice(x.shape());
    if n == 0 || x.elements() == 0 {
        return Tensor::from_f64_slice(y.device(), &[], shape);
    }
    let mut rows = Vec::with_capacity(n);
    for i in 0..n {
        let mut one = vec![0f32; n];
        one[i] = 1.0;
        let seed = Tensor::from_slice(y.device(), &one, y.shape())?;
        rows.push(vjp(&[y], &[&seed], &[x]).swap_remove(0).reshape([1, x.elements()]));
    }
    Ok(Tensor::concat(&rows.iter().collect::<Vec<_>>(), 0).reshape(shape))
}

/// The second derivatives of a one-element tensor with respect to `x`, of shape `x.shape ++ x.shape`: for small ones.
///
/// # Errors
/// A fault of the device.
///
/// # Panics
/// As [`grad`].
#[track_caller]
pub fn hessian(y: &Tensor, x: &Tensor) -> Result<Tensor> {
    let slope = grad(y, &[x]).swap_remove(0);
    // Of a linear function nothing is left to differentiate.
    let seed = Tensor::ones(slope.device(), slope.shape());
    if try_vjp(&[&slope], &[&seed], &[x])[0].is_none() {
        let shape = [&x.shape()[..], &x.shape()[..]].concat();
        return Tensor::from_slice(x.device(), &vec![0f32; x.elements() * x.elements()], shape);
    }
    jacobian(&slope, x)
}

/// The product of the Hessian of a one-element tensor with a vector, part by part of `xs`, without the Hessian: two
/// backward passes whatever the size.
///
/// # Panics
/// As [`grad`], or if a part of the vector does not have its tensor's shape.
#[track_caller]
pub fn hvp(y: &Tensor, xs: &[&Tensor], vector: &[&Tensor]) -> Vec<Tensor> {
    let slopes = grad(y, xs);
    let found = try_vjp(&slopes.iter().collect::<Vec<_>>(), vector, xs);
    found.into_iter().zip(xs).map(|(h, x)| h.unwrap_or_else(|| Tensor::zeros(x.device(), x.shape()))).collect()
}
