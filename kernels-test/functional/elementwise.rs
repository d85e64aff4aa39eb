//! Activations and arithmetic against PyTorch's answers, values and slopes, at kinks and extremes too
//! (`fixtures/functional.py` made them).

use serde_json::Value;
use wgrad::autodiff::{grad, try_vjp};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

fn unary(name: &str, x: &Tensor) -> Tensor {
    match name {
        "relu6" => x.relu6(),
        "hardtanh" => x.hardtanh(-1.0, 1.0),
        "hardtanh(-2,0.5)" => x.hardtanh(-2.0, 0.5),
        "hardsigmoid" => x.hardsigmoid(),
        "hardswish" => x.hardswish(),
        "hardshrink" => x.hardshrink(0.5),
        "softshrink" => x.softshrink(0.5),
        "elu" => x.elu(1.0),
        "elu(0.5)" => x.elu(0.5),
        "selu" => x.selu(),
        "celu" => x.celu(1.0),
        "celu(2)" => x.celu(2.0),
        "leaky_relu" => x.leaky_relu(0.01),
        "silu" => x.silu(),
        "mish" => x.mish(),
        "gelu" => x.gelu(),
        "gelu_tanh" => x.gelu_tanh(),
        "logsigmoid" => x.logsigmoid(),
        "softplus" => x.softplus(1.0, 20.0),
        "softplus(2,5)" => x.softplus(2.0, 5.0),
        "softsign" => x.softsign(),
        "tanhshrink" => x.tanhshrink(),
        "threshold(1,7)" => x.threshold(1.0, 7.0),
        "rrelu(0.1,0.3)" => x.rrelu_eval(0.1, 0.3),
        "prelu(0.25)" => x.prelu(&Tensor::full(x.device(), 1, 0.25f32)),
        "sinc" => x.sinc(),
        "logit" => x.logit(None),
        "logit(0.1)" => x.logit(Some(0.1)),
        "frac" => x.frac(),
        "clamp(-1,1)" => x.clamp(-1.0, 1.0),
        "clamp(2,1)" => x.clamp(2.0, 1.0),
        "clamp_min(0)" => x.clamp_min(0.0),
        "clamp_max(0)" => x.clamp_max(0.0),
        "nan_to_num" => x.nan_to_num(),
        "round_decimals(1)" => x.round_decimals(1),
        "round_decimals(-1)" => x.round_decimals(-1),
        "deg2rad" => x.deg2rad(),
        "rad2deg" => x.rad2deg(),
        "relu" => x.relu(),
        "abs" => x.abs(),
        "sign" => x.sign(),
        "sigmoid" => x.sigmoid(),
        "tanh" => x.tanh(),
        "entr" => x.entr(),
        "erfcx" => x.erfcx(),
        "ndtr" => x.ndtr(),
        "log_ndtr" => x.log_ndtr(),
        _ => match name.strip_prefix("powf(").and_then(|n| n.strip_suffix(')')) {
            Some(n) => x.powf(n.parse().unwrap()),
            None => panic!("no function {name}"),
        },
    }
}

fn binary(name: &str, a: &Tensor, b: &Tensor) -> Tensor {
    match name {
        "maximum" => a.maximum(b),
        "minimum" => a.minimum(b),
        "fmax" => a.fmax(b),
        "fmin" => a.fmin(b),
        "rem" => a.rem(b),
        "remainder" => a.remainder(b),
        "atan2" => a.atan2(b),
        "hypot" => a.hypot(b),
        "logaddexp" => a.logaddexp(b),
        "logaddexp2" => a.logaddexp2(b),
        "xlogy" => a.xlogy(b),
        "pow" => a.pow(b),
        "copysign" => a.copysign(b),
        "floor_divide" => a.floor_divide(b),
        "trunc_divide" => a.trunc_divide(b),
        "heaviside" => a.heaviside(b),
        _ => panic!("no function {name}"),
    }
}

pub fn numbers(values: &Value) -> Vec<f32> {
    let number = |v: &Value| match v.as_str() {
        Some(text) => text.parse().unwrap(),
        None => v.as_f64().unwrap() as f32,
    };
    values.as_array().unwrap().iter().map(number).collect()
}

/// What differs from what is wanted, by more than a few units in the last place of a number of that size or of 1.
fn compare(what: &str, at: &[&[f32]], want: &[f32], got: &[f32], faults: &mut Vec<String>) {
    for (i, (w, g)) in want.iter().zip(got).enumerate() {
        let near = (w.is_nan() && g.is_nan()) || w == g || (w - g).abs() <= 4e-6 * w.abs().max(0.1);
        if !near {
            let at: Vec<f32> = at.iter().map(|x| x[i]).collect();
            faults.push(format!("{what} at {at:?} is {g}, should be {w}"));
        }
    }
}

#[test]
fn values_and_slopes_are_pytorchs() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/functional.json")).unwrap();
    let (x, a, b) = (numbers(&fixture["x"]), numbers(&fixture["a"]), numbers(&fixture["b"]));
    let mut faults = Vec::new();
    let mut count = 0;
    for device in [under_test(), Device::cpu()] {
        let leaf = |v: &[f32]| Tensor::from_slice(&device, v, v.len()).unwrap().into_leaf(true).unwrap();
        let call = |group: &str, name: &str| {
            let inputs: Vec<&[f32]> = if group == "unary" { vec![&x] } else { vec![&a, &b] };
            let leaves: Vec<Tensor> = inputs.iter().map(|v| leaf(v)).collect();
            let y = if group == "unary" { unary(name, &leaves[0]) } else { binary(name, &leaves[0], &leaves[1]) };
            (inputs, leaves, y)
        };
        for group in ["unary", "binary"] {
            for (name, want_all) in fixture[group].as_object().unwrap() {
                count += 1;
                let (inputs, leaves, y) = call(group, name);
                let got = y.to_vec::<f32>().unwrap();
                compare(&format!("{name} on {device}"), &inputs, &numbers(&want_all["y"]), &got, &mut faults);
                let Some(slopes) = want_all["d"].as_array() else { continue };
                let ones = Tensor::ones(&device, y.shape());
                let found = try_vjp(&[&y], &[&ones], &leaves.iter().collect::<Vec<_>>());
                for (k, (want, got)) in slopes.iter().zip(&found).enumerate() {
                    let got = got.as_ref().map_or(vec![0.0; ones.elements()], |got| got.to_vec::<f32>().unwrap());
                    // Beyond the finite numbers PyTorch's closed forms and the rules of the parts differ in where NaN
                    // is.
                    let values = numbers(&want_all["y"]);
                    let finite = |v: Vec<f32>| -> Vec<f32> {
                        let all = |i: usize| inputs.iter().all(|x| x[i].is_finite()) && !values[i].is_nan();
                        v.into_iter().enumerate().map(|(i, v)| if all(i) { v } else { 0.0 }).collect()
                    };
                    let (want, got) = (finite(numbers(want)), finite(got));
                    compare(&format!("slope {k} of {name} on {device}"), &inputs, &want, &got, &mut faults);
                }
            }
        }
    }
    assert!(count > 100, "only {count} functions were compared");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn gamma_and_its_logarithmic_slope() {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/functional.json")).unwrap();
    let at = numbers(&fixture["g"]);
    for device in [under_test(), Device::cpu()] {
        for (name, f) in [("lgamma", Tensor::lgamma as fn(&Tensor) -> Tensor), ("digamma", Tensor::digamma)] {
            let x = Tensor::from_slice(&device, &at, at.len()).unwrap().into_leaf(true).unwrap();
            let y = f(&x);
            let near = |what: &str, want: &Value, got: Vec<f32>| {
                for ((x, w), g) in at.iter().zip(numbers(want)).zip(got) {
                    assert!(
                        (w - g).abs() <= 1e-5 * w.abs().max(1.0),
                        "{what} of {x} on {device} is {g}, should be {w}"
                    );
                }
            };
            near(name, &fixture["gamma"][name]["y"], y.to_vec().unwrap());
            let slope = grad(&y.sum_all(), &[&x]).swap_remove(0);
            near(&format!("the slope of {name}"), &fixture["gamma"][name]["d"][0], slope.to_vec().unwrap());
        }
        let edges = Tensor::from_slice(&device, &[0.0, -0.0, -1.0, f32::INFINITY], 4).unwrap();
        assert_eq!(edges.lgamma().to_vec::<f32>().unwrap(), [f32::INFINITY; 4], "on {device}");
        let slopes = edges.digamma().to_vec::<f32>().unwrap();
        assert!(slopes[0] == f32::NEG_INFINITY && slopes[1] == f32::INFINITY && slopes[2].is_nan(), "{slopes:?}");
    }
}

/// PyTorch's slopes where numbers end, as its loops over vectors have them: what is not left out passes NaN on, and
/// what is held between bounds has no slope there.
#[test]
fn slopes_at_nan_and_infinity() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for d in [under_test(), Device::cpu()] {
        let both = |f: &dyn Fn(&Tensor) -> Tensor, at: f32| {
            let x = Tensor::from_slice(&d, &[at], 1).unwrap().into_leaf(true).unwrap();
            let y = f(&x);
            let slope = grad(&y.sum_all(), &[&x]).swap_remove(0).to_vec::<f32>().unwrap()[0];
            (y.to_vec::<f32>().unwrap()[0], slope)
        };
        type Function<'a> = &'a dyn Fn(&Tensor) -> Tensor;
        let nans: [Function; 3] = [&|x| x.elu(1.0), &|x| x.selu(), &|x| x.celu(2.0)];
        assert!(nans.iter().map(|f| both(f, nan)).all(|(y, slope)| y.is_nan() && slope.is_nan()), "on {d}");
        let still: [Function; 3] = [&|x| x.relu6(), &|x| x.hardtanh(-2.0, 3.0), &|x| x.softshrink(0.5)];
        assert!(still.iter().map(|f| both(f, nan)).all(|(y, slope)| y.is_nan() && slope == 0.0), "on {d}");
        assert_eq!(both(&|x| x.lgamma(), inf), (inf, inf), "on {d}");
        assert_eq!(both(&|x| x.digamma(), inf), (inf, 0.0), "on {d}");
        assert!(both(&|x| x.lgamma(), -inf).1.is_nan(), "on {d}");
        for zero in [1.0, 2.0] {
            assert_eq!(both(&|x| x.lgamma(), zero).0, 0.0, "on {d}");
        }
    }
}

/// C's `frexp`, at the ends of the numbers too.
#[test]
fn fraction_and_exponent() {
    for d in [under_test(), Device::cpu()] {
        let at = [1.0, 0.75, -6.0, 8.0, 7.999_999_5, f32::MAX, f32::MIN_POSITIVE, 0.0, f32::INFINITY];
        let x = Tensor::from_slice(&d, &at, at.len()).unwrap().into_leaf(true).unwrap();
        let (fraction, exponent) = x.frexp();
        let (f, e) = (fraction.to_vec::<f32>().unwrap(), exponent.to_vec::<i32>().unwrap());
        let largest = f32::MAX / f32::exp2(127.0) / 2.0;
        assert_eq!(f, [0.5, 0.75, -0.75, 0.5, 0.999_999_94, largest, 0.5, 0.0, f32::INFINITY], "on {d}");
        assert_eq!(e, [1, 0, 3, 4, 3, 128, -125, 0, 0], "on {d}");
        let slope = grad(&fraction.narrow(0, 0, 4).sum_all(), &[&x]).swap_remove(0).to_vec::<f32>().unwrap();
        assert_eq!(slope[..4], [0.5, 1.0, 0.125, 0.0625], "on {d}");
        let powers = Tensor::from_slice(&d, &[2f32, -1.0], 2).unwrap().vander(4);
        assert_eq!(powers.to_vec::<f32>().unwrap(), [1.0, 2.0, 4.0, 8.0, 1.0, -1.0, 1.0, -1.0], "on {d}");
        assert_eq!(Tensor::logspace(&d, 0.0, 3.0, 4, 2.0).to_vec::<f32>().unwrap(), [1.0, 2.0, 4.0, 8.0], "on {d}");
    }
}

#[test]
fn a_line_is_exact_at_both_ends() {
    for d in [under_test(), Device::cpu()] {
        let t = |v: &[f32]| Tensor::from_slice(&d, v, v.len()).unwrap().into_leaf(true).unwrap();
        let (a, b, w) = (t(&[1e8, 1.0, 1.0]), t(&[1.0, 3.0, 3.0]), t(&[1.0, 0.25, 0.75]));
        let y = a.lerp(&b, &w);
        assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 1.5, 2.5], "on {d}");
        let slopes = grad(&y.sum_all(), &[&a, &b, &w]);
        assert_eq!(slopes[0].to_vec::<f32>().unwrap(), [0.0, 0.75, 0.25], "on {d}");
        assert_eq!(slopes[2].to_vec::<f32>().unwrap()[1..], [2.0, 2.0], "on {d}");
        assert_eq!(a.lerp_scalar(&b, 0.75).to_vec::<f32>().unwrap()[1], 2.5, "on {d}");
        assert_eq!(b.addcmul(&b, &b, 2.0).to_vec::<f32>().unwrap(), [3.0, 21.0, 21.0], "on {d}");
        assert_eq!(b.addcdiv(&b, &b, 2.0).to_vec::<f32>().unwrap(), [3.0, 5.0, 5.0], "on {d}");
    }
}

#[test]
fn gates_and_weights_by_channel() {
    let d = Device::cpu();
    let x = Tensor::from_slice(&d, &[1f32, -2.0, 0.0, 100.0], [2, 2]).unwrap();
    assert_eq!(x.glu(1).to_vec::<f32>().unwrap(), [1.0 / (1.0 + 2f32.exp()), 0.0]);
    assert_eq!(x.glu(0).shape()[..], [1, 2]);
    let w = Tensor::from_slice(&d, &[5f32, 0.5], [2]).unwrap();
    assert_eq!(x.prelu(&w).to_vec::<f32>().unwrap(), [1.0, -1.0, 0.0, 100.0]);
}

#[test]
#[should_panic(expected = "axis 1 of [2, 3] is 3; it must be even")]
fn half_of_an_odd_axis_is_a_mistake() {
    Tensor::zeros(&Device::cpu(), [2, 3]).glu(-1);
}

#[test]
fn bounds_that_are_tensors_share_the_gradient() {
    for d in [under_test(), Device::cpu()] {
        let t = |v: &[f32]| Tensor::from_slice(&d, v, v.len()).unwrap().into_leaf(true).unwrap();
        // torch.clamp(x, low, high) of 2.15
        let (x, low, high) = (t(&[-1.0, 1.0, 2.0, 0.0, 3.0]), t(&[-1.0, -1.0, -1.0, 2.0, 2.0]), t(&[1.0; 5]));
        let y = x.clamp_by(Some(&low), Some(&high));
        assert_eq!(y.to_vec::<f32>().unwrap(), [-1.0, 1.0, 1.0, 1.0, 1.0], "on {d}");
        let slopes = grad(&y.sum_all(), &[&x, &low, &high]);
        let slopes: Vec<Vec<f32>> = slopes.iter().map(|s| s.to_vec().unwrap()).collect();
        assert_eq!(slopes, [[0.5, 0.5, 0.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.0, 0.0], [0.0, 0.5, 1.0, 1.0, 1.0]], "on {d}");
    }
}
