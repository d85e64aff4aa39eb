//! Positions of the largest pixels of bins, by hand.

use wgrad::ops::adaptive_max::AdaptiveMax;
use wgrad::{Device, Tensor};

use crate::registry::under_test;

/// Three columns in two bins share the middle one.
#[test]
fn bins_may_share_pixels() {
    for device in [Device::cpu(), under_test()] {
        let x = Tensor::from_slice(&device, &[1f32, 9., 2., 3., 4., 5.], [1, 1, 2, 3]).unwrap();
        let at = Tensor::apply(AdaptiveMax { size: [1, 2] }, &[&x]);
        assert_eq!(at.to_vec::<u32>().unwrap(), [1, 1], "on {device}");
        let at = Tensor::apply(AdaptiveMax { size: [2, 2] }, &[&x]);
        assert_eq!(at.to_vec::<u32>().unwrap(), [1, 1, 4, 5]);
    }
}
