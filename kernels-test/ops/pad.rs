//! Padding against worked examples.

use std::sync::LazyLock;

use wgrad::autodiff::grad;
use wgrad::ops::pad::Pad;
use wgrad::{DType, Device, Result, Tensor};

static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);

#[test]
fn on_every_side() -> Result<()> {
    let x = Tensor::from_slice(&CPU, &[1f32, 2., 3., 4.], [2, 2])?;
    // torch.nn.functional.pad(x, (1, 0, 0, 1), value=9)
    let y = x.pad(&[(0, 1), (1, 0)], 9.0);
    assert_eq!((&y.shape()[..], y.to_vec::<f32>()?), (&[3, 3][..], vec![9., 1., 2., 9., 3., 4., 9., 9., 9.]));
    assert_eq!(x.transpose(0, 1).pad(&[(0, 0), (0, 1)], 0.0).to_vec::<f32>()?, [1., 3., 0., 2., 4., 0.]);
    assert_eq!(x.pad(&[(0, 0), (0, 0)], 5.0).to_vec::<f32>()?, [1., 2., 3., 4.]);
    Ok(())
}

#[test]
fn every_type() -> Result<()> {
    let whole = Tensor::from_slice(&CPU, &[1i32, -2], [2])?;
    assert_eq!(whole.pad(&[(1, 1)], -3.0).to_vec::<i32>()?, [-3, 1, -2, -3]);
    let count = Tensor::from_slice(&CPU, &[1u32], [1])?;
    assert_eq!(count.pad(&[(0, 2)], 7.0).to_vec::<u32>()?, [1, 7, 7]);
    assert_eq!(count.cast(DType::Bool).pad(&[(1, 1)], 0.0).to_vec::<u32>()?, [0, 1, 0]);
    Ok(())
}

#[test]
fn nothing_becomes_something() -> Result<()> {
    let x = Tensor::zeros(&CPU, [0, 2]);
    assert_eq!(x.pad(&[(1, 1), (0, 0)], 4.0).to_vec::<f32>()?, [4.; 4]);
    Ok(())
}

#[test]
fn gradients_of_the_inside_and_of_the_value() -> Result<()> {
    let x = Tensor::from_slice(&CPU, &[1f32, 2.], [2])?.into_leaf(true)?;
    let value = Tensor::from_slice(&CPU, &[5f32], [])?.into_leaf(true)?;
    let w = Tensor::from_slice(&CPU, &[1f32, 2., 3., 4., 5.], [5])?;
    let y = Tensor::apply(Pad { before: vec![1], after: vec![2] }, &[&x, &value]);
    let slopes = grad(&(&y * &w).sum_all(), &[&x, &value]);
    assert_eq!(slopes[0].to_vec::<f32>()?, [2., 3.]);
    assert_eq!(slopes[1].to_vec::<f32>()?, [1. + 4. + 5.]);
    Ok(())
}

#[test]
#[should_panic(expected = "pad: 1 pairs for shape [2, 3]; give one, (before, after), per axis")]
fn a_pair_per_axis() {
    Tensor::zeros(&CPU, [2, 3]).pad(&[(1, 1)], 0.0);
}
