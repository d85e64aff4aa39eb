//! Normalisation of rows by hand.

use wgrad::ops::norm::{Affine, Norm};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

/// Rows (1, 3) and (5, 5, ..): mean 2 and variance 1, and a row without variance. The running statistics move halfway.
#[test]
fn rows_statistics_and_their_averages() {
    for device in [Device::cpu(), under_test()] {
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(&device, values, shape).unwrap();
        let x = tensor(&[1., 5., 3., 5.], &[2, 2, 1]);
        let op = Norm { eps: 0f32.to_bits(), center: true, affine: Affine::PerRow, bias: true, running: true };
        let op = Norm { eps: 3f32.to_bits(), ..op };
        let (mean, var, half) = (tensor(&[0., 1.], &[2]), tensor(&[0., 4.], &[2]), tensor(&[0.5], &[]));
        let (weight, bias) = (tensor(&[4., 1.], &[2]), tensor(&[1., -1.], &[2]));
        let outputs = Tensor::apply_all(op, &[&x, &mean, &var, &half, &weight, &bias]);
        let values = |k: usize| outputs[k].to_vec::<f32>().unwrap();
        assert_eq!(values(0), [-1., -1., 3., -1.], "on {device}");
        assert_eq!(values(1)[..3], [2., 5., 0.5]);
        assert_eq!((values(2), values(3)), (vec![1., 3.], vec![1., 2.]));
        assert_eq!(mean.to_vec::<f32>().unwrap(), [0., 1.], "a held statistic is as it was");
    }
}
