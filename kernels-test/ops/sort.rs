//! Known answers of sorting: PyTorch's, with `stable=True`.

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

#[test]
fn values_and_positions_and_their_gradient() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[3f32, 1., 2., 2., 5., 4.], [2, 3])?.into_leaf(true)?;
    let (values, positions) = x.sort(-1, false);
    assert_eq!(values.to_vec::<f32>()?, [1., 2., 3., 2., 4., 5.]);
    assert_eq!(positions.to_vec::<u32>()?, [1, 2, 0, 0, 2, 1]);
    let weights = Tensor::from_slice(&device, &[1f32, 10., 100.], [3])?;
    let slope = grad(&(&values * &weights).sum_all(), &[&x]);
    assert_eq!(slope[0].to_vec::<f32>()?, [100., 1., 10., 1., 100., 10.]);
    let (values, positions) = x.sort(0, true);
    assert_eq!(values.to_vec::<f32>()?, [3., 5., 4., 2., 1., 2.]);
    assert_eq!(positions.to_vec::<u32>()?, [0, 1, 1, 1, 0, 0]);
    Ok(())
}

#[test]
fn nan_counts_as_the_largest_and_equal_ones_stay_in_order() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[1f32, f32::NAN, -0.0, 0.0, f32::INFINITY, 1.], [6])?;
    assert_eq!(x.argsort(0, false).to_vec::<u32>()?, [2, 3, 0, 5, 4, 1]);
    assert_eq!(x.argsort(0, true).to_vec::<u32>()?, [1, 4, 0, 5, 2, 3]);
    Ok(())
}

#[test]
fn the_largest_and_the_smallest() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[3f32, 1., 4., 1., 5., 9.], [6])?;
    let (values, positions) = x.topk(3, 0, true);
    assert_eq!((values.to_vec::<f32>()?, positions.to_vec::<u32>()?), (vec![9., 5., 4.], vec![5, 4, 2]));
    let (values, positions) = x.topk(2, 0, false);
    assert_eq!((values.to_vec::<f32>()?, positions.to_vec::<u32>()?), (vec![1., 1.], vec![1, 3]));
    assert_eq!(x.topk(0, 0, true).0.shape()[..], [0]);
    let one = Tensor::scalar(&device, 2f32);
    assert_eq!(one.sort(0, false).0.to_vec::<f32>()?, [2.]);
    Ok(())
}

#[test]
#[should_panic(expected = "topk: 4 of axis 1 of shape [2, 3]; it has 3 elements")]
fn more_than_there_are() {
    Tensor::zeros(&Device::cpu(), [2, 3]).topk(4, 1, true);
}
