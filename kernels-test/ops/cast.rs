//! Known answers of casts.

use wgrad::{DType, Device, Tensor};

use crate::registry::under_test;

#[test]
fn floats_are_cut_toward_zero_and_saturate() {
    for d in [under_test(), Device::cpu()] {
        let x = Tensor::from_slice(&d, &[-1.9f32, -0.5, 0.0, 2.9, 3e9], 5).unwrap();
        let signed = x.cast(DType::I32).to_vec::<i32>().unwrap();
        assert_eq!(signed[..4], [-1, 0, 0, 2], "on {d}");
        assert!(signed[4] >= i32::MAX - 127, "{} on {d}", signed[4]);
        assert_eq!(x.cast(DType::Bool).to_vec::<u32>().unwrap(), [1, 1, 0, 1, 1], "on {d}");
    }
}

#[test]
fn truth_counts_as_one() {
    for d in [under_test(), Device::cpu()] {
        let x = Tensor::from_slice(&d, &[1.0f32, -1.0, 2.0], 3).unwrap();
        let positive = x.greater(&Tensor::scalar(&d, 0f32)).cast(DType::F32);
        assert_eq!(positive.sum_all().item().unwrap(), 2.0, "on {d}");
    }
}
