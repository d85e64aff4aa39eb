//! Normalisation against PyTorch, and its second derivatives against the slope of the first.

use wgrad::autodiff::grad;
use wgrad::{Device, Tensor};

use super::torch::{Case, check};
use crate::registry::under_test;

fn run(case: &Case) -> Vec<Tensor> {
    let (x, w, b) = (&case.inputs[0], case.input(1), case.input(2));
    let eps = case.args["eps"].as_f64().unwrap_or(0.0) as f32;
    let statistics = || [case.tensor("mean"), case.tensor("var")];
    match case.op {
        "batch_norm" => vec![x.batch_norm(w, b, eps)],
        "batch_norm_running" => {
            let [mean, var] = statistics();
            let (y, [mean, var]) = x.batch_norm_running([&mean, &var], case.number("momentum"), w, b, eps);
            vec![y, mean.detach(), var.detach()]
        }
        "batch_norm_with" => {
            let [mean, var] = statistics();
            vec![x.batch_norm_with([&mean, &var], w, b, eps)]
        }
        "layer_norm" => vec![x.layer_norm(case.size("axes"), w, b, eps)],
        "rms_norm" => vec![x.rms_norm(case.size("axes"), w, eps)],
        "group_norm" => vec![x.group_norm(case.size("groups"), w, b, eps)],
        "instance_norm" => vec![x.instance_norm(w, b, eps)],
        "lrn" => {
            vec![x.local_response_norm(case.size("size"), case.number("alpha"), case.number("beta"), case.number("k"))]
        }
        other => panic!("no such op: {other}"),
    }
}

#[test]
fn as_pytorch_has_it() {
    check("norm.json", &Device::cpu(), 4e-6, run);
    check("norm.json", &Device::reference(), 1e-6, run);
}

/// Equal numbers have no variance, however large they are; a large mean costs no digits.
#[test]
fn equal_and_large_numbers() {
    for device in [Device::cpu(), under_test()] {
        let x = Tensor::from_slice(&device, &[12345.67f32; 96], [1, 96]).unwrap();
        assert_eq!(x.layer_norm(1, None, None, 1e-5).to_vec::<f32>().unwrap(), [0.0; 96], "on {device}");
        let values: Vec<f32> = (0..96).map(|i| 1e6 + i as f32).collect();
        let y = Tensor::from_slice(&device, &values, [1, 96]).unwrap().layer_norm(1, None, None, 1e-5);
        let scale = ((96f64 * 96. - 1.) / 12.).sqrt();
        for (i, y) in y.to_vec::<f32>().unwrap().into_iter().enumerate() {
            let want = (i as f64 - 47.5) / scale;
            assert!((y as f64 - want).abs() < 1e-5, "element {i} is {y}, should be {want}, on {device}");
        }
    }
}

/// The derivative of the sum of the gradient's cubes, against the difference of two such sums.
#[test]
fn second_derivatives() {
    let device = Device::reference();
    let values: Vec<f64> = (0..24).map(|i| (i as f64 * 1.37).sin()).collect();
    type Norm = fn(&Tensor) -> Tensor;
    let kinds: [(&str, Norm); 4] = [
        ("batch", |x| x.batch_norm(None, None, 1e-3)),
        ("layer", |x| x.layer_norm(2, None, None, 1e-3)),
        ("rms", |x| x.rms_norm(1, None, 1e-3)),
        ("response", |x| x.local_response_norm(3, 0.5, 0.75, 1.0)),
    ];
    for (name, norm) in kinds {
        let slope_cubed = |values: &[f64]| {
            let x = Tensor::from_f64_slice(&device, values, [2, 3, 4]).unwrap().into_leaf(true).unwrap();
            let y = norm(&x);
            let dx = grad(&(&y.square() * &y).sum_all(), &[&x]).swap_remove(0);
            let total = (&dx.square() * &dx).sum_all();
            (grad(&total, &[&x]).swap_remove(0).to_f64_vec().unwrap(), total.to_f64_vec().unwrap()[0])
        };
        let (second, _) = slope_cubed(&values);
        for i in [0, 7, 23] {
            let moved = |by: f64| {
                let mut values = values.clone();
                values[i] += by;
                slope_cubed(&values).1
            };
            let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((second[i] - want).abs() < 1e-5 * want.abs().max(1.0), "{name} {i}: {} for {want}", second[i]);
        }
    }
}

#[test]
fn mistakes_say_what_would_fit() {
    let x = Tensor::zeros(&Device::cpu(), [1, 6]);
    let problem = |f: &dyn Fn() -> Tensor| {
        let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
        fault.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    assert!(problem(&|| x.batch_norm(None, None, 1e-5)).contains("more than one value"));
    assert!(problem(&|| x.group_norm(4, None, None, 1e-5)).contains("4 groups of the 6 channels"));
    let w = Tensor::ones(&Device::cpu(), [5]);
    assert!(
        problem(&|| x.layer_norm(1, Some(&w), None, 1e-5))
            .contains("the weight is [5], the input [1, 6]; [6] would fit")
    );
}
