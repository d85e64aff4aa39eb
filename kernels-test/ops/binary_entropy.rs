//! The edges of PyTorch's `binary_cross_entropy`; more of it is in `kernels-test/functional/loss.rs`.

use wgrad::{Device, Tensor, autodiff};

#[test]
fn a_certainty_that_is_wrong_costs_100_and_has_a_slope() {
    let d = Device::cpu();
    let p = Tensor::from_slice(&d, &[0f32, 1.0, 0.0, 0.25], 4).unwrap();
    let t = Tensor::from_slice(&d, &[1f32, 0.0, 0.0, 1.0], 4).unwrap();
    let losses = p.binary_entropy(&t);
    let slopes = autodiff::grad(&losses.sum_all(), &[&p]).swap_remove(0).to_vec::<f32>().unwrap();
    let got = losses.to_vec::<f32>().unwrap();
    assert_eq!(got[..3], [100.0, 100.0, 0.0]);
    assert!((got[3] - 4f32.ln()).abs() < 1e-6, "{got:?}");
    assert!((slopes[0] + 1e12).abs() < 1e6 && (slopes[1] - 1e12).abs() < 1e6, "{slopes:?}");
    assert!(slopes[2] == 0.0 && (slopes[3] + 4.0).abs() < 1e-5, "{slopes:?}");
}
