//! The ends of the numbers: logits of ten thousand, masks of -inf, equal rows, 1e38 and subnormals. Finite where
//! PyTorch is finite in single precision, and then the same; infinite or no number where it is
//! (`fixtures/extremes.py`).

use serde_json::Value;
use wgrad::autodiff::grad;
use wgrad::functional::{ClassLoss, Reduction};
use wgrad::{Device, Tensor};

use super::elementwise::numbers;
use crate::registry::under_test;

fn call(name: &str, x: &Tensor) -> Tensor {
    let device = x.device();
    let row = x.reshape([1, 4]);
    let label = || Tensor::from_slice(device, &[1u32], 1).unwrap();
    let ones = || Tensor::from_slice(device, &[1f32, 0.0, 1.0, 0.0], 4).unwrap();
    match name {
        "softmax" => x.softmax(0),
        "log_softmax" => x.log_softmax(0),
        "logsumexp" => x.logsumexp(&[0]),
        "cross_entropy" => row.cross_entropy(&label()),
        "smoothed" => row.cross_entropy_with(&label(), &ClassLoss { label_smoothing: 0.1, ..Default::default() }),
        "bce_with_logits" => x.binary_cross_entropy_with_logits(&ones(), None, None, Reduction::None),
        "sigmoid" => x.sigmoid(),
        "logsigmoid" => x.logsigmoid(),
        "softplus" => x.softplus(1.0, 20.0),
        "tanh" => x.tanh(),
        "silu" => x.silu(),
        "gelu" => x.gelu(),
        "elu" => x.elu(1.0),
        "exp" => x.exp(),
        "expm1" => x.expm1(),
        "sqrt" => x.abs().sqrt(),
        "sum" => x.sum(&[0]),
        "mean" => x.mean(&[0]),
        "max" => x.max(&[0]),
        "min" => x.min(&[0]),
        "var" => x.var(&[0], 1.0),
        "norm" => x.norm(&[0], 2.0),
        "cumsum" => x.cumsum(0),
        "layer_norm" => x.layer_norm(1, None, None, 1e-5),
        "smooth_l1" => x.smooth_l1_loss(&ones(), 1.0, Reduction::None),
        "square" => x.square(),
        "hypot" => x.hypot(&x.flip(0)),
        "atan2" => x.atan2(&x.flip(0)),
        _ => panic!("no function {name}"),
    }
}

/// What differs. GPUs may flush subnormals, so what is below the normal numbers counts as 0.
fn differs(got: f32, want: f32) -> bool {
    match want.is_finite() {
        true => !got.is_finite() || (got - want).abs() > 1e-5 * want.abs() + 4.0 * f32::MIN_POSITIVE,
        false => got.is_nan() != want.is_nan() || (got != want && !want.is_nan()),
    }
}

#[test]
fn the_ends_of_the_numbers_are_pytorchs() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/extremes.json")).unwrap();
    let (mut faults, mut count) = (Vec::new(), 0);
    let is_real = |device: &Device| device.as_gpu().is_some_and(|gpu| !gpu.summary().software);
    let least = if is_real(&under_test()) { 850 } else { 900 };
    for device in [under_test(), Device::cpu()] {
        // A real GPU may take a subnormal argument for 0 too.
        let real = is_real(&device);
        let smallest = Tensor::from_slice(&device, &[1e-40f32], 1).unwrap();
        let flushes = real && (&smallest * 2.0).item().unwrap() == 0.0;
        // Where a variance overflows, whether it ends in NaN is up to what rounding leaves of the mean.
        let overflows = |name: &str, row: &str| real && name == "layer_norm" && row == "huge";
        for (name, answers) in fixture["functions"].as_object().unwrap() {
            for (row, want) in answers.as_object().unwrap() {
                let at = numbers(&fixture["rows"][row]);
                if (flushes && at.iter().any(|x| x.is_subnormal())) || overflows(name, row) {
                    continue;
                }
                let x = Tensor::from_slice(&device, &at, 4).unwrap().into_leaf(true).unwrap();
                let y = call(name, &x);
                let slope = grad(&y.sum_all(), &[&x]).swap_remove(0);
                for (what, got, want) in [("value", &y, &want["y"]), ("slope", &slope, &want["d"])] {
                    count += 1;
                    let (got, want) = (got.to_vec::<f32>().unwrap(), numbers(want));
                    let off = got.iter().zip(&want).any(|(&g, &w)| {
                        // Where PyTorch's slope is no number there is nothing to be equal to.
                        if what == "slope" && !w.is_finite() { false } else { differs(g, w) }
                    });
                    if off {
                        faults.push(format!("{what} of {name}, {row}, on {device}: {got:?}, should be {want:?}"));
                    }
                }
            }
        }
    }
    assert!(count > least, "only {count} answers were compared");
    assert!(faults.is_empty(), "{} of {count}:\n{}", faults.len(), faults.join("\n"));
}
