//! Numbers in a row, of every type, and their slopes.

use wgrad::autodiff::grad;
use wgrad::ops::iota::Iota;
use wgrad::{Device, Result, Tensor};

use crate::registry::under_test;

#[test]
fn counts_up_and_down() -> Result<()> {
    for d in [under_test(), Device::cpu()] {
        assert_eq!(Tensor::iota(&d, 4, 0u32, 1u32).to_vec::<u32>()?, [0, 1, 2, 3]);
        assert_eq!(Tensor::iota(&d, 3, 1i32, -2i32).to_vec::<i32>()?, [1, -1, -3]);
        assert_eq!(Tensor::iota(&d, 3, 0.5f32, 0.25f32).to_vec::<f32>()?, [0.5, 0.75, 1.0]);
        assert_eq!(Tensor::iota(&d, 0, 0f32, 1f32).to_vec::<f32>()?, [0f32; 0]);
    }
    Ok(())
}

#[test]
fn slopes_of_start_and_step() -> Result<()> {
    let d = Device::cpu();
    let number = |v: f32| Tensor::from_slice(&d, &[v], [])?.into_leaf(true);
    let (start, step) = (number(1.0)?, number(2.0)?);
    let y = Tensor::apply(Iota { n: 4 }, &[&start, &step]);
    let slopes = grad(&y.sum_all(), &[&start, &step]);
    assert_eq!((slopes[0].item()?, slopes[1].item()?), (4.0, 6.0));
    Ok(())
}
