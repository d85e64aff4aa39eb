//! Known answers of running sums and extremes: PyTorch's.

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

#[test]
fn running_sums_and_their_gradient() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[1f32, 2., 3., 4., 5., 6.], [2, 3])?.into_leaf(true)?;
    assert_eq!(x.cumsum(1).to_vec::<f32>()?, [1., 3., 6., 4., 9., 15.]);
    assert_eq!(x.cumsum(-2).to_vec::<f32>()?, [1., 2., 3., 5., 7., 9.]);
    assert_eq!(grad(&x.cumsum(1).sum_all(), &[&x])[0].to_vec::<f32>()?, [3., 2., 1., 3., 2., 1.]);
    let truth = x.greater(&Tensor::scalar(&device, 2f32));
    assert_eq!(truth.cumsum(1).to_vec::<u32>()?, [0, 0, 1, 1, 2, 3]);
    Ok(())
}

#[test]
fn running_extremes() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[2f32, 1., 2., 3., f32::NAN, 9.], [6])?.into_leaf(true)?;
    // torch.cummax names the last of equal ones, and keeps NaN
    let (values, positions) = x.cummax(0);
    assert_eq!(positions.to_vec::<u32>()?, [0, 0, 2, 3, 4, 4]);
    let values = values.to_vec::<f32>()?;
    assert!(values[..4] == [2., 2., 2., 3.] && values[4].is_nan() && values[5].is_nan());
    let (values, positions) = x.narrow(0, 0, 4).cummin(0);
    assert_eq!((values.to_vec::<f32>()?, positions.to_vec::<u32>()?), (vec![2., 1., 1., 1.], vec![0, 1, 1, 1]));
    assert_eq!(grad(&values.sum_all(), &[&x])[0].to_vec::<f32>()?, [1., 3., 0., 0., 0., 0.]);
    Ok(())
}

/// A line of many chunks, of which the totals are scanned too.
#[test]
fn a_long_line() -> Result<()> {
    for device in [Device::cpu(), crate::registry::under_test()] {
        let n = 1_100_000;
        let ones = Tensor::full(&device, [n], 1u32);
        let sums = ones.cumsum(0).to_vec::<u32>()?;
        assert!(sums.iter().enumerate().all(|(i, &s)| s as usize == i + 1));
    }
    Ok(())
}
