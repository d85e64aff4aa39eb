//! A row of pixels read at other places, by hand.

use wgrad::ops::resample2d::{Axis, Resample2d, Rule};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

#[test]
fn a_row_by_each_rule() {
    for device in [Device::cpu(), under_test()] {
        let x = Tensor::from_slice(&device, &[0f32, 3., 6.], [1, 1, 1, 3]).unwrap();
        let read = |rule, to: usize, num, den| {
            let rows = Axis { from: 1, to: 1, rule: Rule::Nearest, num: 1, den: 1 };
            let op = Resample2d { rows, columns: Axis { from: 3, to, rule, num, den } };
            Tensor::apply(op, &[&x]).to_vec::<f32>().unwrap()
        };
        assert_eq!(read(Rule::Nearest, 6, 3, 6), [0., 0., 3., 3., 6., 6.], "on {device}");
        assert_eq!(read(Rule::Nearest, 2, 3, 2), [0., 3.]);
        assert_eq!(read(Rule::NearestExact, 2, 3, 2), [0., 6.]);
        assert_eq!(read(Rule::Linear, 6, 3, 6), [0., 0.75, 2.25, 3.75, 5.25, 6.]);
        assert_eq!(read(Rule::LinearAligned, 5, 2, 4), [0., 1.5, 3., 4.5, 6.]);
        assert_eq!(read(Rule::Bins, 2, 3, 2), [1.5, 4.5]);
    }
}
