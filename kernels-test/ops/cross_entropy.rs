//! Cross-entropy against PyTorch 2.15 in double precision, and where it does better.

#![allow(clippy::excessive_precision, reason = "digits as PyTorch prints them")]

use std::sync::LazyLock;

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

const INF: f32 = f32::INFINITY;

static CPU: LazyLock<Device> = LazyLock::new(Device::cpu);

#[track_caller]
fn assert_close(got: &Tensor, want: &[f32]) {
    let got = got.to_vec::<f32>().expect("the device works");
    let near = |a: f32, b: f32| a == b || (a - b).abs() <= 2e-6 * b.abs().max(1.0) || (a.is_nan() && b.is_nan());
    assert!(got.len() == want.len() && got.iter().zip(want).all(|(&a, &b)| near(a, b)), "{got:?}, expected {want:?}");
}

fn tensor(values: &[f32], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(&CPU, values, shape)?.into_leaf(true)
}

fn labels(values: &[u32], shape: &[usize]) -> Result<Tensor> {
    Tensor::from_slice(&CPU, values, shape)
}

#[test]
fn labels_and_their_gradients() -> Result<()> {
    let x = tensor(&[1., 2., 3., 0., -1., 4.], &[2, 3])?;
    let y = labels(&[2, 0], &[2])?;
    assert_close(&x.cross_entropy_none(&y), &[0.40760596, 4.02474489]);
    let loss = x.cross_entropy(&y);
    assert_close(&loss, &[2.21617543]);
    let slope = grad(&loss, &[&x]).swap_remove(0);
    assert_close(&slope, &[0.04501529, 0.12236424, -0.16737952, -0.49106601, 0.00328663, 0.48777938]);
    let w = tensor(&[1., -2., 0.5, 3., 0., -1.], &[2, 3])?;
    let curve = grad(&(&slope * &w).sum_all(), &[&x]).swap_remove(0);
    assert_close(&curve, &[0.04802257, -0.23655382, 0.18853125, 0.03503871, 0.00303013, -0.03806883]);
    let signed = Tensor::from_slice(&CPU, &[2i32, 0], [2])?;
    assert_close(&x.cross_entropy(&signed), &[2.21617543]);
    Ok(())
}

#[test]
fn probabilities_and_their_gradients() -> Result<()> {
    let x = tensor(&[1., 2., 3., 0., -1., 4.], &[2, 3])?;
    let t = tensor(&[0.2, 0.3, 0.5, 0.9, 0.1, 0.], &[2, 3])?;
    assert_close(&x.cross_entropy_none(&t), &[1.10760596, 4.12474489]);
    let loss = x.cross_entropy(&t);
    assert_close(&loss, &[2.61617543]);
    let slopes = grad(&loss, &[&x, &t]);
    assert_close(&slopes[0], &[-0.05498471, -0.02763576, 0.08262048, -0.44106601, -0.04671337, 0.48777938]);
    assert_close(&slopes[1], &[1.20380298, 0.70380298, 0.20380298, 2.01237245, 2.51237245, 0.01237245]);
    Ok(())
}

#[test]
fn classes_before_places() -> Result<()> {
    // torch.arange(12.).view(1, 3, 2, 2).sin() with labels [[[0, 1], [2, 1]]]
    let x = tensor(&(0..12).map(|i| (i as f32).sin()).collect::<Vec<_>>(), &[1, 3, 2, 2])?;
    let y = labels(&[0, 1, 2, 1], &[1, 2, 2])?;
    let losses = x.cross_entropy_none(&y);
    assert_eq!(losses.shape()[..], [1, 2, 2]);
    assert_close(&losses, &[1.4251958, 2.3971218, 1.8840655, 0.5809286]);
    #[rustfmt::skip]
    let want = [
        -0.18988466, 0.13765277, 0.16250584, 0.0834849,
        0.02820397, -0.22725514, 0.0495014, -0.11015533,
        0.16168069, 0.08960238, -0.21200725, 0.02667043,
    ];
    assert_close(&grad(&x.cross_entropy(&y), &[&x])[0], &want);
    let row = tensor(&[1., 2., 3.], &[3])?;
    assert_close(&row.cross_entropy(&labels(&[2], &[])?), &[0.40760596]);
    Ok(())
}

#[test]
fn logits_of_any_size() -> Result<()> {
    let x = tensor(&[1e4, -1e4, 0., -1e4, 1e4, 0.], &[2, 3])?;
    let loss = x.cross_entropy_none(&labels(&[0, 0], &[2])?);
    assert_close(&loss, &[0., 2e4]);
    assert_close(&grad(&loss.sum_all(), &[&x])[0], &[0., 0., 0., -1., 1., 0.]);
    // A loss far below the precision of 1 + loss would be rounded to 0; ln(1 + 2 e^-8) is not.
    let x = tensor(&[8., 0., 0.], &[1, 3])?;
    assert_close(&x.cross_entropy(&labels(&[0], &[1])?), &[6.7069e-4]);
    Ok(())
}

#[test]
fn masked_classes() -> Result<()> {
    let x = tensor(&[-INF, 2., 1.], &[1, 3])?;
    let loss = x.cross_entropy(&labels(&[1], &[1])?);
    assert_close(&loss, &[0.31326169]);
    assert_close(&grad(&loss, &[&x])[0], &[0., -0.26894142, 0.26894142]);
    assert_close(&x.cross_entropy(&labels(&[0], &[1])?), &[INF]);
    // PyTorch gives NaN here, 0 times inf; a class that is masked and not wanted costs nothing.
    let t = tensor(&[0., 1., 0.], &[1, 3])?;
    let loss = x.cross_entropy(&t);
    assert_close(&loss, &[0.31326169]);
    assert_close(&grad(&loss, &[&x])[0], &[0., -0.26894142, 0.26894142]);
    let nothing_left = tensor(&[-INF; 3], &[1, 3])?;
    assert_close(&nothing_left.cross_entropy(&t), &[f32::NAN]);
    Ok(())
}

#[test]
fn a_label_that_names_no_class_is_seen() -> Result<()> {
    let x = tensor(&[1., 2., 3., 4., 5., 6.], &[3, 2])?;
    let y = Tensor::from_slice(&CPU, &[2i32, -1, 1], [3])?;
    let loss = x.cross_entropy_none(&y);
    assert_close(&loss, &[f32::NAN, f32::NAN, 0.31326169]);
    let slope = grad(&loss.sum_all(), &[&x])[0].to_vec::<f32>()?;
    assert!(slope[..4].iter().all(|s| s.is_nan()) && slope[4..].iter().all(|s| s.is_finite()));
    Ok(())
}

#[test]
fn no_rows_have_no_mean() -> Result<()> {
    let x = tensor(&[], &[0, 3])?;
    assert_close(&x.cross_entropy_none(&labels(&[], &[0])?), &[]);
    assert_close(&x.cross_entropy(&labels(&[], &[0])?), &[f32::NAN]);
    Ok(())
}

#[test]
#[should_panic(expected = "logits [4, 3] with targets u32 [3]; it takes labels u32 or i32 [4]")]
fn labels_of_another_batch() {
    Tensor::zeros(&CPU, [4, 3]).cross_entropy(&Tensor::full(&CPU, [3], 0u32));
}

#[test]
fn a_mistake_as_an_error() {
    let refused = Tensor::zeros(&CPU, [4, 3]).try_cross_entropy(&Tensor::zeros(&CPU, [4, 2]));
    assert!(refused.unwrap_err().to_string().contains("probabilities f32 [4, 3]"));
}
