//! Reductions against worked examples and PyTorch's published behaviour.

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

fn tensor(device: &Device, values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(device, values, shape)
}

#[test]
fn sums_over_any_axes() -> Result<()> {
    let device = Device::cpu();
    let x = tensor(&device, &(0..24).map(|i| i as f32).collect::<Vec<_>>(), &[2, 3, 4])?;
    // torch.arange(24.).view(2, 3, 4).sum(...)
    assert_eq!(x.sum(&[0]).to_vec::<f32>()?, [12., 14., 16., 18., 20., 22., 24., 26., 28., 30., 32., 34.]);
    assert_eq!(x.sum(&[-1]).to_vec::<f32>()?, [6., 22., 38., 54., 70., 86.]);
    assert_eq!(x.sum(&[0, 2]).to_vec::<f32>()?, [60., 92., 124.]);
    assert_eq!(x.sum(&[2, 0]).to_vec::<f32>()?, [60., 92., 124.], "the order of the axes does not matter");
    assert_eq!(x.sum_all().to_vec::<f32>()?, [276.]);
    assert_eq!(x.mean(&[0, 2]).to_vec::<f32>()?, [7.5, 11.5, 15.5]);
    assert_eq!(x.mean_all().to_vec::<f32>()?, [11.5]);
    assert_eq!(x.max(&[1]).to_vec::<f32>()?, [8., 9., 10., 11., 20., 21., 22., 23.]);
    assert_eq!(x.min(&[-3, -1]).to_vec::<f32>()?, [0., 4., 8.]);
    assert_eq!(x.sum_keep(&[1]).shape()[..], [2, 1, 4]);
    assert_eq!(x.mean_keep(&[-1]).shape()[..], [2, 3, 1]);
    assert_eq!(x.sum(&[]).to_vec::<f32>()?, x.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn views_are_reduced_where_they_lie() -> Result<()> {
    let device = Device::cpu();
    let x = tensor(&device, &[1., 2., 3., 4., 5., 6.], &[2, 3])?;
    assert_eq!(x.transpose(0, 1).sum(&[0]).to_vec::<f32>()?, [6., 15.]);
    assert_eq!(x.flip(1).argmax(&[1]).to_vec::<u32>()?, [0, 0]);
    assert_eq!(x.narrow(1, 1, 2).sum_all().to_vec::<f32>()?, [16.]);
    assert_eq!(x.broadcast_to([4, 2, 3]).sum(&[0, 1]).to_vec::<f32>()?, [20., 28., 36.]);
    Ok(())
}

#[test]
fn whole_numbers_wrap() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[u32::MAX, 2, 3], [3])?;
    assert_eq!(x.sum_all().to_vec::<u32>()?, [4]);
    let x = Tensor::from_slice(&device, &[i32::MAX, 1, -5], [3])?;
    assert_eq!(x.sum_all().to_vec::<i32>()?, [i32::MAX.wrapping_add(1).wrapping_sub(5)]);
    Ok(())
}

#[test]
fn nan_wins_and_the_first_of_equals_is_named() -> Result<()> {
    let device = Device::cpu();
    let x = tensor(&device, &[1., f32::NAN, 3., 2., 7., 7., -0.0, 0.0, 0.0], &[3, 3])?;
    // torch.amax, torch.argmax
    let max = x.max(&[1]).to_vec::<f32>()?;
    assert!(max[0].is_nan() && max[1..] == [7., 0.]);
    assert_eq!(x.argmax(&[1]).to_vec::<u32>()?, [1, 1, 0]);
    assert_eq!(x.argmin(&[1]).to_vec::<u32>()?, [1, 0, 0]);
    assert_eq!(x.argmax(&[0, 1]).to_vec::<u32>()?, [1]);
    let low = tensor(&device, &[f32::NEG_INFINITY; 3], &[3])?;
    assert_eq!(low.argmax(&[0]).to_vec::<u32>()?, [0]);
    assert_eq!(low.max(&[0]).to_vec::<f32>()?, [f32::NEG_INFINITY]);
    Ok(())
}

#[test]
fn nothing_sums_to_zero_and_has_no_mean() -> Result<()> {
    let device = Device::cpu();
    let x = tensor(&device, &[], &[0, 2])?;
    assert_eq!(x.sum(&[0]).to_vec::<f32>()?, [0., 0.]);
    assert!(x.mean(&[0]).to_vec::<f32>()?.iter().all(|m| m.is_nan()));
    assert_eq!(x.sum(&[1]).to_vec::<f32>()?, [0f32; 0]);
    Ok(())
}

#[test]
fn gradients() -> Result<()> {
    let device = Device::cpu();
    let x = tensor(&device, &[1., 5., 5., 2., 3., 4.], &[2, 3])?.into_leaf(true)?;
    assert_eq!(grad(&x.sum_all(), &[&x])[0].to_vec::<f32>()?, [1.; 6]);
    assert_eq!(grad(&x.mean(&[1]).sum_all(), &[&x])[0].to_vec::<f32>()?, [1. / 3.; 6]);
    // torch.amax(x, 1).sum().backward(): ties share
    assert_eq!(grad(&x.max(&[1]).sum_all(), &[&x])[0].to_vec::<f32>()?, [0., 0.5, 0.5, 0., 0., 1.]);
    assert_eq!(grad(&x.min_keep(&[1]).sum_all(), &[&x])[0].to_vec::<f32>()?, [1., 0., 0., 1., 0., 0.]);
    Ok(())
}

#[test]
fn a_sum_in_single_precision_keeps_its_digits() -> Result<()> {
    // Added up one by one, ten million tenths stop at 1087937.
    let x = Tensor::scalar(&Device::cpu(), 0.1f32).broadcast_to([10_000_000]);
    let sum = x.sum_all().to_vec::<f32>()?[0];
    assert!((sum - 1e6).abs() < 1.0, "{sum}");
    Ok(())
}

#[test]
#[should_panic(expected = "there is no axis 2: it has 2 axes, -2 to 1")]
fn an_axis_that_is_not_there() {
    let x = Tensor::zeros(&Device::cpu(), [2, 3]);
    x.sum(&[2]);
}

#[test]
#[should_panic(expected = "name each at most once")]
fn an_axis_named_twice() {
    let x = Tensor::zeros(&Device::cpu(), [2, 3]);
    x.sum(&[1, -1]);
}

#[test]
#[should_panic(expected = "hold no element; it needs at least one")]
fn the_largest_of_nothing() {
    let x = Tensor::zeros(&Device::cpu(), [0, 3]);
    x.max(&[0]);
}
