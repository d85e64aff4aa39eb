//! Losses and attention, with their gradients, beside PyTorch's in double precision (`kernels-test/fixtures/loss.py`).

use std::collections::HashSet;

use serde_json::Value as Json;
use wgrad::functional::{AttentionOptions, ClassLoss, Reduction};
use wgrad::{DType, Device, Tensor, autodiff};

use crate::registry::under_test;

/// A number, or one of the three that JSON has not.
fn number(json: &Json) -> f64 {
    json.as_f64().unwrap_or_else(|| json.as_str().unwrap().parse().unwrap())
}

fn values(json: &Json) -> Vec<f64> {
    json["values"].as_array().unwrap().iter().map(number).collect()
}

fn shape(json: &Json) -> Vec<usize> {
    json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn input(device: &Device, json: &Json) -> Tensor {
    let (values, shape) = (values(json), shape(json));
    let whole: Vec<i32> = values.iter().map(|&v| v as i32).collect();
    match json["kind"].as_str().unwrap() {
        "f32" => Tensor::from_f64_slice(device, &values, shape).unwrap(),
        "i32" => Tensor::from_slice(device, &whole, shape).unwrap(),
        _ => Tensor::from_slice(device, &whole, shape).unwrap().cast(DType::Bool),
    }
}

/// The call that PyTorch's name and arguments stand for.
fn call(name: &str, options: &Json, inputs: &[Tensor]) -> Tensor {
    let get = |key: &str, default: f64| options.get(key).map_or(default, number) as f32;
    let flag = |key: &str| options.get(key).and_then(Json::as_bool).unwrap_or(false);
    let r = match options.get("reduction").and_then(Json::as_str) {
        None | Some("mean") => Reduction::Mean,
        Some("sum") => Reduction::Sum,
        Some("batchmean") => Reduction::BatchMean,
        Some(_) => Reduction::None,
    };
    let classes = || ClassLoss {
        weight: inputs.get(2).cloned(),
        ignore_index: Some(options.get("ignore_index").map_or(-100, |i| i.as_i64().unwrap() as i32)),
        label_smoothing: get("label_smoothing", 0.0),
        reduction: r,
    };
    let (x, third) = (&inputs[0], inputs.get(2));
    let y = inputs.get(1).unwrap_or(x);
    match name {
        "cross_entropy" => x.cross_entropy_with(y, &classes()),
        "nll_loss" => x.nll_loss(y, &classes()),
        "binary_cross_entropy" => x.binary_cross_entropy(y, third, r),
        "bce_with_logits" => {
            let (weight, pos) = (third.filter(|_| flag("weight")), third.filter(|_| flag("pos_weight")));
            x.binary_cross_entropy_with_logits(y, weight, pos, r)
        }
        "mse_loss" => x.mse_loss(y, r),
        "l1_loss" => x.l1_loss(y, r),
        "smooth_l1_loss" => x.smooth_l1_loss(y, get("beta", 1.0), r),
        "huber_loss" => x.huber_loss(y, get("delta", 1.0), r),
        "kl_div" => x.kl_div(y, flag("log_target"), r),
        "gaussian_kl" => x.gaussian_kl(y, r),
        "gaussian_nll_loss" => x.gaussian_nll_loss(y, &inputs[2], flag("full"), get("eps", 1e-6), r),
        "poisson_nll_loss" => x.poisson_nll_loss(y, flag("log_input"), flag("full"), 1e-8, r),
        "hinge_embedding_loss" => x.hinge_embedding_loss(y, get("margin", 1.0), r),
        "margin_ranking_loss" => x.margin_ranking_loss(y, &inputs[2], get("margin", 0.0), r),
        "soft_margin_loss" => x.soft_margin_loss(y, r),
        "multi_margin_loss" => x.multi_margin_loss(y, get("p", 1.0), get("margin", 1.0), third, r),
        "multilabel_margin_loss" => x.multilabel_margin_loss(y, r),
        "multilabel_soft_margin_loss" => x.multilabel_soft_margin_loss(y, third, r),
        "cosine_embedding_loss" => x.cosine_embedding_loss(y, &inputs[2], get("margin", 0.0), r),
        "cosine_similarity" => x.cosine_similarity(y, get("axis", 1.0) as isize, 1e-8),
        "pairwise_distance" => x.pairwise_distance(y, get("p", 2.0), 1e-6),
        "triplet_margin_loss" => x.triplet_margin_loss(y, &inputs[2], 1.0, 2.0, 1e-6, flag("swap"), r),
        "softmin" => x.softmin(get("axis", 0.0) as isize),
        "attention" => {
            let scale = options.get("scale").map(|s| number(s) as f32);
            let options =
                AttentionOptions { mask: inputs.get(3).cloned(), causal: flag("causal"), scale, ..Default::default() };
            x.scaled_dot_product_attention(y, &inputs[2], &options)
        }
        _ => panic!("{name}?"),
    }
}

/// What is off by more than `tolerance` of the largest, if anything is.
fn fault(got: &[f64], want: &[f64], tolerance: f64) -> Option<String> {
    let largest = want.iter().filter(|w| w.is_finite()).fold(0f64, |m, w| m.max(w.abs()));
    let near = |g: f64, w: f64| match w.is_finite() {
        true => (g - w).abs() <= tolerance * largest + 1e-7,
        false => g == w || (g.is_nan() && w.is_nan()),
    };
    let i = got.iter().zip(want).position(|(&g, &w)| !near(g, w))?;
    Some(format!("element {i} is {:e}, should be {:e}", got[i], want[i]))
}

fn check(device: &Device, only_first: bool, tolerance: f64) {
    let all: Json = serde_json::from_str(include_str!("../fixtures/loss.json")).unwrap();
    let mut faults = Vec::new();
    let mut seen = HashSet::new();
    for case in all.as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        if !seen.insert(name) && only_first {
            continue;
        }
        let inputs: Vec<Tensor> = case["inputs"].as_array().unwrap().iter().map(|i| input(device, i)).collect();
        let y = call(name, &case["options"], &inputs);
        let mut complain = |what: &str, fault: Option<String>| {
            faults.extend(fault.map(|f| format!("{name} {}: {what}: {f}", case["options"])));
        };
        if **y.shape() != shape(&case["out"])[..] {
            complain("result", Some(format!("shape {}", y.shape())));
            continue;
        }
        let cotangent: Vec<f32> = (0..y.elements()).map(|i| (7 * i % 5) as f32 / 4.0 - 0.3).collect();
        let cotangent = Tensor::from_slice(device, &cotangent, y.shape()).unwrap();
        let wanted = case["grads"].as_object().unwrap();
        let xs: Vec<&Tensor> = wanted.keys().map(|i| &inputs[i.parse::<usize>().unwrap()]).collect();
        let slopes = autodiff::vjp(&[&y], &[&cotangent], &xs);
        wgrad::eval(&slopes.iter().chain([&y]).collect::<Vec<_>>()).unwrap();
        complain("result", fault(&y.to_f64_vec().unwrap(), &values(&case["out"]), tolerance));
        for ((i, want), slope) in wanted.iter().zip(&slopes) {
            let what = format!("gradient of input {i}");
            complain(&what, fault(&slope.to_f64_vec().unwrap(), &values(want), tolerance));
        }
    }
    assert!(seen.len() > 20, "only {} losses", seen.len());
    assert!(faults.is_empty(), "on {device}:\n{}", faults.join("\n"));
}

#[test]
fn losses_are_pytorchs_on_the_cpu_path() {
    check(&Device::cpu(), false, 1e-5);
}

/// One case of each: what is new on the GPU are the fused kernels, and compiling those takes most of the time.
#[test]
fn losses_are_pytorchs_on_the_gpu() {
    check(&under_test(), true, 2e-5);
}

#[test]
fn labels_of_no_class_are_seen() {
    let d = Device::cpu();
    let x = Tensor::from_slice(&d, &[0.5f32; 6], [2, 3]).unwrap();
    let labels = Tensor::from_slice(&d, &[1i32, 3], [2]).unwrap();
    let options = ClassLoss { reduction: Reduction::None, ..Default::default() };
    for losses in [x.cross_entropy_with(&labels, &options), x.nll_loss(&labels, &options)] {
        let losses = losses.to_vec::<f32>().unwrap();
        assert!(losses[0].is_finite() && losses[1].is_nan(), "{losses:?}");
    }
    // Nothing that counts: 0 / 0, as in PyTorch.
    let none = Tensor::from_slice(&d, &[-100i32; 2], [2]).unwrap();
    assert!(x.cross_entropy_with(&none, &ClassLoss::default()).item().unwrap().is_nan());
    // Unsigned labels may be ignored too.
    let labels = Tensor::from_slice(&d, &[1u32, 2], [2]).unwrap();
    let options = ClassLoss { ignore_index: Some(2), ..Default::default() };
    assert!((x.cross_entropy_with(&labels, &options).item().unwrap() - 3f32.ln()).abs() < 1e-6);
}

#[test]
fn a_weight_must_fit_the_classes() {
    let d = Device::cpu();
    let (x, labels) = (Tensor::zeros(&d, [2, 3]), Tensor::from_slice(&d, &[1u32, 2], [2]).unwrap());
    let options = ClassLoss { weight: Some(Tensor::ones(&d, [4])), ..Default::default() };
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| x.cross_entropy_with(&labels, &options)));
    let message = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("[4]") && message.contains("[2, 3]"), "{message}");
}
