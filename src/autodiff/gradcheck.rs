//! Whether gradients are right: on any device, against the slope of the same function in double precision.
//!
//! The function is recorded twice, once on the device of its inputs, where its backward rules give the gradient, and
//! once on the reference device, where each element of each input is moved a little both ways. Nothing of the rules is
//! used for the slope, so a mistake cannot be made twice.

use super::try_vjp;
use crate::device::{Device, Kind};
use crate::error::{Error, Result};
use crate::tensor::{DType, Input, Tensor};

/// What a check found when it found no fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gradcheck {
    /// Elements whose slope was compared.
    pub elements: usize,
    /// The largest deviation, as a part of what is allowed.
    pub worst: f64,
}

/// Compares the gradient of `f` with respect to its float inputs with the slope of `f` in double precision.
///
/// `f` gets the inputs again, on their device or on another, and must record the same function every time, made of its
/// arguments alone. What it returns is weighted with fixed random numbers and summed. Where the slope does not exist
/// (at a kink, at a tie) the check fails, rightly: move the input.
///
/// # Errors
/// [`Error::Check`] names the input and element that deviates most, with both slopes. Faults of the device.
///
/// ```
/// use wgrad::{Device, Tensor, autodiff};
///
/// let x = Tensor::from_slice(&Device::cpu(), &[0.3f32, -1.2, 2.0], 3)?;
/// autodiff::gradcheck(&[&x], |x| &x[0].tanh() * &x[0].exp())?;
/// let wrong = autodiff::gradcheck(&[&x], |x| &x[0] * &x[0].detach());
/// assert!(wrong.unwrap_err().to_string().contains("input 0, element [2]"));
/// # Ok::<(), wgrad::Error>(())
/// ```
pub fn gradcheck(inputs: &[&Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Result<Gradcheck> {
    let names: Vec<String> = (0..inputs.len()).map(|i| format!("input {i}")).collect();
    let held: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
    let analytic = || {
        let y = f(&held);
        let weights = weights_of(&y)?;
        let floats: Vec<&Tensor> = held.iter().filter(|x| x.dtype() == DType::F32).collect();
        let found = try_vjp(&[&y], &[&weights], &floats);
        let mut found = found.into_iter();
        held.iter()
            .map(|x| match x.dtype() {
                DType::F32 => gradient(x, found.next().flatten()),
                _ => Ok(Vec::new()),
            })
            .collect()
    };
    compare(&Device::reference(), &names, inputs, analytic, &f)
}

/// [`gradcheck`] of the gradient of `f`: whether its second derivatives are right.
///
/// # Errors
/// As [`gradcheck`].
pub fn gradgradcheck(inputs: &[&Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Result<Gradcheck> {
    gradcheck(inputs, |x| {
        let y = f(x);
        let weights = weights_of(&y).unwrap_or_else(|e| panic!("{e}"));
        let floats: Vec<&Tensor> = x.iter().filter(|x| x.dtype() == DType::F32).collect();
        let slopes = try_vjp(&[&y], &[&weights], &floats);
        let weighted = |(i, dx): (usize, &Tensor)| -> Tensor {
            let v = noise(dx.device(), dx.shape(), 200 + i as u64).unwrap_or_else(|e| panic!("{e}"));
            (dx * &v).sum_all()
        };
        let terms = slopes.iter().flatten().enumerate().map(weighted);
        terms.reduce(|a, b| &a + &b).unwrap_or_else(|| Tensor::zeros(x[0].device(), crate::tensor::Shape::default()))
    })
}

/// The weight of each element of an output: fixed numbers of both signs.
pub fn weights_of(y: &Tensor) -> Result<Tensor> {
    noise(y.device(), y.shape(), 100)
}

fn noise(device: &Device, shape: &crate::tensor::Shape, seed: u64) -> Result<Tensor> {
    Tensor::from_f64_slice(device, &Input::uniform(shape.clone(), -1.0, 1.0, seed).values, shape)
}

/// A gradient's numbers; what the function does not depend on has a gradient of zeros.
pub fn gradient(x: &Tensor, dx: Option<Tensor>) -> Result<Vec<f64>> {
    match dx {
        Some(dx) => dx.to_f64_vec(),
        None => Ok(vec![0.0; x.elements()]),
    }
}

/// Holds the gradients that `analytic` computes against the slopes of `f` on this reference device. Empty gradients are
/// not compared.
///
/// # Errors
/// [`Error::Check`], or a fault of the device.
pub fn compare(
    reference: &Device,
    names: &[String],
    inputs: &[&Tensor],
    analytic: impl FnOnce() -> Result<Vec<Vec<f64>>>,
    f: &dyn Fn(&[Tensor]) -> Tensor,
) -> Result<Gradcheck> {
    let exact = inputs.iter().all(|x| matches!(x.device().kind(), Kind::Reference(_)));
    // In single precision the gradient itself is only so good.
    let tolerance = if exact { 1e-6 } else { 1e-3 };
    let found = analytic()?;
    let values: Vec<Vec<f64>> = inputs
        .iter()
        .map(|x| if x.dtype() == DType::F32 { x.to_f64_vec() } else { Ok(Vec::new()) })
        .collect::<Result<_>>()?;
    let fixed: Vec<Tensor> = inputs.iter().map(|x| x.to_device(reference)).collect::<Result<_>>()?;
    let value = |i: usize, moved: &[f64]| -> Result<f64> {
        let mut args = fixed.clone();
        args[i] = Tensor::from_f64_slice(reference, moved, inputs[i].shape())?;
        let y = f(&args);
        let weights = weights_of(&y)?.to_f64_vec()?;
        Ok(y.to_f64_vec()?.iter().zip(weights).map(|(y, w)| y * w).sum())
    };
    let mut report = Gradcheck { elements: 0, worst: 0.0 };
    let mut fault = String::new();
    for (i, (x, dx)) in inputs.iter().zip(&found).enumerate() {
        let mut slopes = Vec::new();
        for e in 0..dx.len() {
            let at = |step: f64| {
                let mut moved = values[i].clone();
                moved[e] += step;
                value(i, &moved)
            };
            let h = 1e-4 * values[i][e].abs().max(1.0);
            // Of fourth order: the truncation is far below what is compared.
            slopes.push((8.0 * (at(h)? - at(-h)?) - (at(2.0 * h)? - at(-2.0 * h)?)) / (12.0 * h));
        }
        let largest = slopes.iter().fold(1e-2f64, |m, s| m.max(s.abs()));
        for (e, (&got, &want)) in dx.iter().zip(&slopes).enumerate() {
            report.elements += 1;
            let off = (got - want).abs() / (tolerance * largest);
            let off = if off.is_nan() { f64::INFINITY } else { off };
            if off > report.worst {
                report.worst = off;
                fault = format!(
                    "{}, element {:?} of {}: the backward rules give {got:e}, the slope is {want:e}; allowed is a \
                     difference of {:e}",
                    names[i],
                    index(x.shape(), e),
                    x.shape(),
                    tolerance * largest
                );
            }
        }
    }
    if report.worst > 1.0 {
        Err(Error::Check(format!("gradcheck on {}: {fault}", inputs[0].device())))
    } else {
        Ok(report)
    }
}

/// The coordinates of element `e`.
fn index(shape: &[usize], mut e: usize) -> Vec<usize> {
    let mut at: Vec<usize> = Vec::new();
    for &n in shape.iter().rev() {
        at.push(e % n);
        e /= n;
    }
    at.reverse();
    at
}
