//! Softmax and its logarithm against PyTorch 2.15 in double precision.

#![allow(clippy::excessive_precision, reason = "digits as PyTorch prints them")]

use std::sync::LazyLock;

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

const INF: f32 = f32::INFINITY;

static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);

#[track_caller]
fn assert_close(got: &Tensor, want: &[f32]) {
    let got = got.to_vec::<f32>().expect("the device works");
    let near = |a: f32, b: f32| a == b || (a - b).abs() <= 1e-6 * b.abs().max(1.0) || (a.is_nan() && b.is_nan());
    assert!(got.len() == want.len() && got.iter().zip(want).all(|(&a, &b)| near(a, b)), "{got:?}, expected {want:?}");
}

fn tensor(values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(&CPU, values, shape)?.into_leaf(true)
}

#[test]
fn along_either_axis() -> Result<()> {
    let x = tensor(&[1., 2., 3., 0., -1., 4.], &[2, 3])?;
    assert_close(&x.softmax(1), &[0.09003057, 0.24472847, 0.66524096, 0.01786798, 0.00657326, 0.97555875]);
    assert_close(&x.softmax(-2), &[0.73105858, 0.95257413, 0.26894142, 0.26894142, 0.04742587, 0.73105858]);
    assert_close(&x.log_softmax(-1), &[-2.40760596, -1.40760596, -0.40760596, -4.02474489, -5.02474489, -0.02474489]);
    Ok(())
}

#[test]
fn masks_and_extremes() -> Result<()> {
    let x = tensor(&[-INF, 2., -INF, 1.], &[4])?;
    assert_close(&x.softmax(0), &[0., 0.7310586, 0., 0.26894143]);
    assert_close(&x.log_softmax(0), &[-INF, -0.31326166, -INF, -1.31326163]);
    let x = tensor(&[1e4, -1e4, 9999.], &[3])?;
    assert_close(&x.softmax(0), &[0.7310586, 0., 0.26894143]);
    assert_close(&x.log_softmax(0), &[-0.31326166, -20000.313, -1.3132616]);
    let nan = f32::NAN;
    for row in [[-INF, -INF, -INF], [INF, 1., 2.], [nan, 1., 2.]] {
        assert_close(&tensor(&row, &[1, 3])?.softmax(1), &[nan; 3]);
        assert_close(&tensor(&row, &[1, 3])?.log_softmax(1), &[nan; 3]);
    }
    Ok(())
}

#[test]
fn a_masked_number_has_no_slope() -> Result<()> {
    let x = tensor(&[-INF, 2., 1.], &[3])?;
    let w = tensor(&[5., 1., 2.], &[3])?;
    assert_close(&grad(&(&x.softmax(0) * &w).sum_all(), &[&x])[0], &[0., -0.19661193, 0.19661193]);
    assert_close(&grad(&x.log_softmax(0).narrow(0, 1, 2).sum_all(), &[&x])[0], &[0., -0.46211716, 0.46211716]);
    Ok(())
}

#[test]
fn first_and_second_derivatives() -> Result<()> {
    let x = tensor(&[1., 2., 3., 0., -1., 4.], &[2, 3])?;
    let w = tensor(&[1., -2., 0.5, 3., 0., -1.], &[2, 3])?;
    let slope = grad(&(&x.softmax(1) * &w).sum_all(), &[&x]).swap_remove(0);
    assert_close(&slope, &[0.09604515, -0.47310764, 0.37706249, 0.07007742, 0.00606025, -0.07613767]);
    let curve = grad(&(&slope * &w).sum_all(), &[&x]).swap_remove(0);
    assert_close(&curve, &[-0.00834735, 0.61339914, -0.60505178, 0.26972361, 0.00370489, -0.27342851]);
    let slope = grad(&(&x.log_softmax(1) * &w).sum_all(), &[&x]).swap_remove(0);
    assert_close(&slope, &[1.04501529, -1.87763576, 0.83262048, 2.96426404, -0.01314653, -2.95111751]);
    let curve = grad(&(&slope * &w).sum_all(), &[&x]).swap_remove(0);
    assert_close(&curve, &[0.04802257, -0.23655382, 0.18853125, -0.14015483, -0.0121205, 0.15227534]);
    Ok(())
}

#[test]
#[should_panic(expected = "softmax: there is no axis 1: it has 1 axes, -1 to 0")]
fn an_axis_that_is_not_there() {
    Tensor::zeros(&CPU, [3]).softmax(1);
}
