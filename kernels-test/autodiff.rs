//! Derivatives with known answers: the course's worked example, second derivatives, forward mode.

use wgrad::autodiff::{grad, jvp, vjp};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

fn number(device: &Device, x: f64) -> Tensor {
    Tensor::from_f64_slice(device, &[x], []).unwrap()
}

/// y = ln(x1) + x1 x2 - sin(x2)
fn course(x1: &Tensor, x2: &Tensor) -> Tensor {
    &(&x1.ln() + &(x1 * x2)) - &x2.sin()
}

fn value(t: &Tensor) -> f64 {
    t.to_f64_vec().unwrap()[0]
}

#[test]
fn the_worked_example_of_the_course() {
    for (device, tolerance) in [(under_test(), 1e-5), (Device::cpu(), 1e-5), (Device::reference(), 1e-12)] {
        let (x1, x2) = (number(&device, 2.0), number(&device, 5.0));
        let y = course(&x1, &x2);
        let slopes = grad(&y, &[&x1, &x2]);
        let close =
            |got: f64, want: f64| assert!((got - want).abs() < tolerance * 10.0, "{got}, not {want}, on {device}");
        close(value(&y), 2f64.ln() + 10.0 - 5f64.sin());
        assert!((value(&y) - 11.652).abs() < 5e-4);
        close(value(&slopes[0]), 5.5);
        close(value(&slopes[1]), 2.0 - 5f64.cos());
    }
}

#[test]
fn forward_mode_gives_the_same_slopes() {
    let device = Device::reference();
    let (x1, x2) = (number(&device, 2.0), number(&device, 5.0));
    let y = course(&x1, &x2);
    let (one, zero) = (number(&device, 1.0), number(&device, 0.0));
    assert!((value(&jvp(&[&y], &[&x1, &x2], &[&one, &zero])[0]) - 5.5).abs() < 1e-12);
    assert!((value(&jvp(&[&y], &[&x1, &x2], &[&zero, &one])[0]) - (2.0 - 5f64.cos())).abs() < 1e-12);
}

#[test]
fn second_derivatives_are_gradients_of_gradients() {
    let device = Device::reference();
    let (x1, x2) = (number(&device, 2.0), number(&device, 5.0));
    let slopes = grad(&course(&x1, &x2), &[&x1, &x2]);
    let first = grad(&slopes[0], &[&x1, &x2]);
    assert!((value(&first[0]) + 0.25).abs() < 1e-12, "d2y/dx1^2 = -1/x1^2");
    assert!((value(&first[1]) - 1.0).abs() < 1e-12, "d2y/dx1 dx2 = 1");
    assert!((value(&grad(&slopes[1], &[&x2])[0]) - 5f64.sin()).abs() < 1e-12, "d2y/dx2^2 = sin x2");
}

#[test]
fn the_vjp_of_a_product_is_that_of_the_matrix() {
    let device = under_test();
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0], 3).unwrap();
    let (square, cube) = (x.square(), &x.square() * &x);
    let seed = Tensor::from_slice(&device, &[1.0f32, 10.0, 100.0], 3).unwrap();
    let dx = vjp(&[&square, &cube], &[&seed, &seed], &[&x]).swap_remove(0);
    assert_eq!(dx.to_vec::<f32>().unwrap(), [2.0 + 3.0, 40.0 + 120.0, 600.0 + 2700.0]);
}

#[test]
#[should_panic(expected = "no gradient reaches")]
fn a_tensor_outside_the_function_is_a_mistake() {
    let device = Device::cpu();
    let (x, other) = (number(&device, 2.0), number(&device, 3.0));
    grad(&x.square(), &[&other]);
}

#[test]
fn detached_values_are_constants() {
    let device = Device::cpu();
    let x = number(&device, 3.0);
    assert_eq!(value(&grad(&(&x * &x.detach()), &[&x])[0]), 3.0);
}
