//! Concatenation and stacking against worked examples.

use std::sync::LazyLock;

use wgrad::autodiff::grad;
use wgrad::{DType, Device, Result, Tensor};

static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);

fn tensor(values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(&CPU, values, shape)?.into_leaf(true)
}

#[test]
fn along_each_axis() -> Result<()> {
    let (a, b) = (tensor(&[1., 2., 3., 4.], &[2, 2])?, tensor(&[5., 6.], &[1, 2])?);
    assert_eq!(Tensor::concat(&[&a, &b], 0).to_vec::<f32>()?, [1., 2., 3., 4., 5., 6.]);
    let b = tensor(&[5., 6.], &[2, 1])?;
    assert_eq!(Tensor::concat(&[&a, &b, &a], -1).to_vec::<f32>()?, [1., 2., 5., 1., 2., 3., 4., 6., 3., 4.]);
    assert_eq!(Tensor::concat(&[&a.transpose(0, 1), &b], 1).to_vec::<f32>()?, [1., 3., 5., 2., 4., 6.]);
    assert_eq!(Tensor::concat(&[&a], 0).to_vec::<f32>()?, a.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn stacked_on_a_new_axis() -> Result<()> {
    let (a, b) = (tensor(&[1., 2.], &[2])?, tensor(&[3., 4.], &[2])?);
    let rows = Tensor::stack(&[&a, &b], 0);
    assert_eq!((&rows.shape()[..], rows.to_vec::<f32>()?), (&[2, 2][..], vec![1., 2., 3., 4.]));
    assert_eq!(Tensor::stack(&[&a, &b], -1).to_vec::<f32>()?, [1., 3., 2., 4.]);
    let scalars = [Tensor::scalar(&CPU, 7u32), Tensor::scalar(&CPU, 8u32)];
    let pair = Tensor::stack(&[&scalars[0], &scalars[1]], 0);
    assert_eq!((pair.dtype(), pair.to_vec::<u32>()?), (DType::U32, vec![7, 8]));
    Ok(())
}

#[test]
fn each_input_gets_its_part_of_the_gradient() -> Result<()> {
    let (a, b) = (tensor(&[1., 2.], &[1, 2])?, tensor(&[3., 4., 5., 6.], &[2, 2])?);
    let w = tensor(&[1., 2., 3., 4., 5., 6.], &[3, 2])?;
    let slopes = grad(&(&Tensor::concat(&[&a, &b], 0) * &w).sum_all(), &[&a, &b]);
    assert_eq!(slopes[0].to_vec::<f32>()?, [1., 2.]);
    assert_eq!(slopes[1].to_vec::<f32>()?, [3., 4., 5., 6.]);
    // The same tensor twice: both parts add up.
    let slope = grad(&(&Tensor::concat(&[&a, &a, &a], 0) * &w).sum_all(), &[&a]).swap_remove(0);
    assert_eq!(slope.to_vec::<f32>()?, [9., 12.]);
    Ok(())
}

#[test]
#[should_panic(expected = "concat: f32 [2, 3] and f32 [2, 2] do not join along axis 0")]
fn other_axes_must_be_equal() {
    Tensor::concat(&[&Tensor::zeros(&CPU, [2, 3]), &Tensor::zeros(&CPU, [2, 2])], 0);
}

#[test]
fn mistakes_as_errors() {
    assert!(Tensor::try_concat(&[], 0).is_err());
    assert!(Tensor::try_concat(&[&Tensor::zeros(&CPU, [2])], 1).is_err());
    let other = Tensor::full(&CPU, [2], 0u32);
    assert!(Tensor::try_concat(&[&Tensor::zeros(&CPU, [2]), &other], 0).is_err());
}
