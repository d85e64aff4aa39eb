//! Attention layers and embeddings beside PyTorch's (`kernels-test/fixtures/attention.py`).

use serde_json::Value as Json;
use wgrad::functional::AttentionOptions;
use wgrad::nn::{
    Embedding, Init, Module, MultiheadAttention, Parameters, Pass, Transformer, TransformerEncoderLayer,
    TransformerOptions,
};
use wgrad::optim::{Optimizer, Sgd};
use wgrad::{Device, Tensor, autodiff};

use crate::registry::under_test;

pub fn values(json: &Json) -> Vec<f64> {
    json["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

pub fn tensor(device: &Device, json: &Json) -> Tensor {
    let shape: Vec<usize> = json["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
    Tensor::from_f64_slice(device, &values(json), shape).unwrap()
}

#[track_caller]
pub fn near(what: &str, got: &Tensor, want: &Json) {
    let (got, want) = (got.to_f64_vec().unwrap(), values(want));
    let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
    assert_eq!(got.len(), want.len(), "{what}");
    for (g, w) in got.iter().zip(&want) {
        assert!((g - w).abs() <= 2e-5 * largest + 1e-6, "{what}: {got:?}, not {want:?}");
    }
}

fn check(device: &Device, case: &Json) {
    let flag = |key: &str, default: bool| case["options"].get(key).and_then(Json::as_bool).unwrap_or(default);
    let init = &mut Init::new(device, 0);
    let pass = &mut Pass::eval();
    let options = AttentionOptions { causal: flag("causal", false), ..Default::default() };
    let x = tensor(device, &case["x"]).into_leaf(true).unwrap();
    let set = |model: &mut dyn Parameters| {
        let known = case["params"].as_object().unwrap();
        let mut names = Vec::new();
        model.params_mut(&mut |name, param| {
            names.push(name.to_string());
            param.set(tensor(device, &known[name]["value"])).unwrap();
        });
        assert_eq!(names.len(), known.len(), "{names:?}");
    };
    let compare = |model: &dyn Parameters, y: &Tensor| {
        near("result", y, &case["y"]);
        let n = y.elements();
        let cotangent: Vec<f64> = (0..n).map(|i| 2.0 * i as f64 / (n - 1) as f64 - 1.0).collect();
        let cotangent = Tensor::from_f64_slice(device, &cotangent, y.shape()).unwrap();
        let named = model.named_parameters();
        let mut wrt = vec![&x];
        wrt.extend(named.iter().map(|(_, p)| p.get()));
        let slopes = autodiff::vjp(&[y], &[&cotangent], &wrt);
        near("dx", &slopes[0], &case["dx"]);
        for ((name, _), slope) in named.iter().zip(&slopes[1..]) {
            near(name, slope, &case["params"][name]["grad"]);
        }
    };
    if case["name"] == "attention" || case["name"] == "widths" {
        let (width, widths) = (x.shape()[x.rank() - 1], case["name"] == "widths");
        let heads = if flag("bias", true) { 2 } else { 1 };
        let mut layer = MultiheadAttention::new(init, width, heads).unwrap();
        layer = if widths { layer.key_value_widths(init, 2, 3).unwrap() } else { layer };
        layer = if flag("bias", true) { layer } else { layer.without_bias() };
        layer = if flag("bias_kv", false) { layer.bias_kv(init).unwrap() } else { layer };
        layer = if flag("zero", false) { layer.zero_attention() } else { layer };
        set(&mut layer);
        let part = |start, n| if widths { x.narrow(2, start, n) } else { x.clone() };
        let (keys, values) = (part(0, 2), part(1, 3));
        // Values that were read would be forgotten how they came to be.
        let y = layer.forward(&x, &keys, &values, &options, pass);
        let heads = layer.forward_with_weights(&x, &keys, &values, &options, pass).1;
        near("weights", &heads.mean(&[-3]), &case["weights"]);
        compare(&layer, &y);
    } else if case["name"] == "transformer" {
        let options = TransformerOptions { heads: 2, inner: 6, dropout: 0.0, ..Default::default() };
        let mut model = Transformer::new(init, 4, [1, 2], &options).unwrap();
        set(&mut model);
        let seen = [false, true, false].map(|causal| AttentionOptions { causal, ..Default::default() });
        compare(&model, &model.forward(&x, &(x.narrow(1, 0, 2) + 1.0), &seen, pass));
    } else {
        let options = TransformerOptions {
            heads: 2,
            inner: 6,
            dropout: 0.0,
            norm_first: flag("norm_first", false),
            gelu: flag("gelu", false),
            bias: flag("bias", true),
            eps: if flag("gelu", false) { 1e-3 } else { 1e-5 },
        };
        let mut layer = TransformerEncoderLayer::new(init, 4, &options).unwrap();
        set(&mut layer);
        compare(&layer, &layer.forward(&x, pass));
    }
}

#[test]
fn attention_layers_are_pytorchs() {
    let cases: Vec<Json> = serde_json::from_str(include_str!("fixtures/attention.json")).unwrap();
    cases.iter().for_each(|case| check(&Device::cpu(), case));
    [4, 5, 9].iter().for_each(|&k| check(&under_test(), &cases[k]));
}

/// `xavier_uniform_` of `[3 width, width]`, and biases of zero.
#[test]
fn attention_starts_as_in_pytorch() {
    let layer = MultiheadAttention::new(&mut Init::new(&Device::cpu(), 0), 64, 4).unwrap();
    let weight = layer.in_proj_weight.as_ref().unwrap().get().to_vec::<f32>().unwrap();
    let (bound, largest) = ((6.0f32 / 256.0).sqrt(), weight.iter().fold(0f32, |m, w| m.max(w.abs())));
    assert!(largest <= bound && largest > 0.99 * bound, "{largest} of {bound}");
    for bias in [layer.in_proj_bias.as_ref(), layer.out_proj.bias.as_ref()] {
        assert!(bias.unwrap().get().to_vec::<f32>().unwrap().iter().all(|&b| b == 0.0));
    }
}

#[test]
fn heads_must_divide_the_width() {
    let caught = std::panic::catch_unwind(|| MultiheadAttention::new(&mut Init::new(&Device::cpu(), 0), 5, 2));
    let message = *caught.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("2 heads") && message.contains('5'), "{message}");
}

#[test]
fn an_embedding_learns_the_rows_it_reads() {
    for device in [under_test(), Device::cpu()] {
        let mut table = Embedding::new(&mut Init::new(&device, 3), 5, 3).unwrap().padding(2).unwrap();
        let before = table.weight.get().to_vec::<f32>().unwrap();
        assert_eq!(before[6..9], [0.0; 3]);
        let index = Tensor::from_slice(&device, &[4u32, 0, 2, 0], [2, 2]).unwrap();
        let rows = table.forward(&index);
        assert_eq!(rows.shape()[..], [2, 2, 3]);
        let loss = rows.sum_all();
        Sgd::new(1.0).step(&mut table, &loss).unwrap();
        let after = table.weight.get().to_vec::<f32>().unwrap();
        let moved: Vec<f32> = before.iter().zip(&after).map(|(b, a)| (b - a).round()).collect();
        assert_eq!(moved, [2., 2., 2., 0., 0., 0., 0., 0., 0., 0., 0., 0., 1., 1., 1.], "on {device}");
    }
}
