//! Known answers of comparisons and of the choice by them.

use wgrad::autodiff::grad;
use wgrad::{DType, Device, Tensor};

use crate::registry::under_test;

#[test]
fn nan_compares_as_unequal_to_everything() {
    for d in [under_test(), Device::cpu()] {
        let x = Tensor::from_slice(&d, &[1.0f32, 2.0, 3.0], 3).unwrap();
        let y = Tensor::from_slice(&d, &[2.0f32, 2.0, 2.0], 3).unwrap();
        let truth = |t: Tensor| {
            assert_eq!(t.dtype(), DType::Bool);
            t.to_vec::<u32>().unwrap()
        };
        assert_eq!(truth(x.less(&y)), [1, 0, 0]);
        assert_eq!(truth(x.less_equal(&y)), [1, 1, 0]);
        assert_eq!(truth(x.greater(&y)), [0, 0, 1]);
        assert_eq!(truth(x.greater_equal(&y)), [0, 1, 1]);
        assert_eq!(truth(x.equal(&y)), [0, 1, 0]);
        assert_eq!(truth(x.not_equal(&y)), [1, 0, 1]);
    }
    let d = Device::cpu();
    let nan = Tensor::from_slice(&d, &[f32::NAN], 1).unwrap();
    assert_eq!(nan.equal(&nan).to_vec::<u32>().unwrap(), [0]);
    assert_eq!(nan.not_equal(&nan).to_vec::<u32>().unwrap(), [1]);
}

#[test]
fn gradients_go_where_the_value_came_from() {
    for d in [under_test(), Device::cpu()] {
        let a = Tensor::from_slice(&d, &[1.0f32, 5.0, 3.0], 3).unwrap();
        let b = Tensor::from_slice(&d, &[4.0f32, 2.0, 6.0], 3).unwrap();
        let larger = Tensor::select(&a.greater(&b), &a, &b);
        let slopes = grad(&(&larger * 2.0).sum_all(), &[&a, &b]);
        assert_eq!(larger.to_vec::<f32>().unwrap(), [4.0, 5.0, 6.0]);
        assert_eq!(slopes[0].to_vec::<f32>().unwrap(), [0.0, 2.0, 0.0]);
        assert_eq!(slopes[1].to_vec::<f32>().unwrap(), [2.0, 0.0, 2.0]);
    }
}

#[test]
#[should_panic(expected = "mask")]
fn a_mask_of_numbers_is_a_mistake() {
    let d = Device::cpu();
    let x = Tensor::from_slice(&d, &[1.0f32], 1).unwrap();
    Tensor::select(&x, &x, &x);
}
