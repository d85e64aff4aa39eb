//! Convolutions of other forms against PyTorch.

use wgrad::functional::{Conv1dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions, PadMode};
use wgrad::nn::{Conv1d, Conv2d, Init, Module, Param, Pass};
use wgrad::ops::{Conv2dOptions, Padding};
use wgrad::{Device, Tensor};

use super::torch::{Case, check};
use crate::registry::under_test;

fn run(case: &Case) -> Vec<Tensor> {
    if case.op.starts_with("layer") {
        return vec![layer(case)];
    }
    let (x, w, b) = (&case.inputs[0], &case.inputs[1], case.input(2));
    let groups = case.size("groups");
    let triple = |name: &str| [0, 1, 2].map(|i| case.args[name][i].as_u64().expect("three whole numbers") as usize);
    vec![match case.op {
        "conv1d" => {
            let (stride, dilation, padding) =
                (case.size("stride"), case.size("dilation"), Padding::from(case.size("padding")));
            x.conv1d(w, b, &Conv1dOptions { stride, padding, dilation, groups })
        }
        "conv_transpose2d" => {
            let (stride, dilation, padding) =
                (case.pair("stride"), case.pair("dilation"), Padding::from(case.pair("padding")));
            let output_padding = case.pair("output_padding");
            x.conv_transpose2d(w, b, &ConvTranspose2dOptions { stride, padding, output_padding, dilation, groups })
        }
        "conv_transpose1d" => {
            let (stride, dilation, padding) = (case.size("stride"), case.size("dilation"), case.size("padding"));
            let output_padding = case.size("output_padding");
            x.conv_transpose1d(w, b, &ConvTranspose1dOptions { stride, padding, output_padding, dilation, groups })
        }
        "conv3d" => {
            let (stride, padding, dilation) = (triple("stride"), triple("padding"), triple("dilation"));
            x.conv3d(w, b, &Conv3dOptions { stride, padding, dilation, groups })
        }
        "conv_transpose3d" => {
            let (stride, padding, dilation) = (triple("stride"), triple("padding"), triple("dilation"));
            let options = Conv3dOptions { stride, padding, dilation, groups };
            x.conv_transpose3d(w, b, triple("output_padding"), &options)
        }
        other => panic!("no such op: {other}"),
    }]
}

/// A layer with padding of another kind.
fn layer(case: &Case) -> Tensor {
    let x = &case.inputs[0];
    let init = &mut Init::new(x.device(), 0);
    let [w, b] = ["weight", "bias"].map(|name| Param::new(case.tensor(name)).unwrap());
    let mode = match case.args["mode"].as_str() {
        Some("reflect") => PadMode::Reflect,
        Some("replicate") => PadMode::Replicate,
        _ => PadMode::Circular,
    };
    if case.op == "layer1d" {
        let options = Conv1dOptions { padding: 2.into(), ..Default::default() };
        let mut layer = Conv1d::new(init, 2, 3, 3, options).unwrap().padded_with(mode);
        (layer.weight, layer.bias) = (w, Some(b));
        return layer.forward(x, &mut Pass::eval());
    }
    let options = Conv2dOptions { stride: [2, 1], padding: [2, 1].into(), ..Default::default() };
    let mut layer = Conv2d::new(init, 2, 3, [3, 2], options).unwrap().padded_with(mode);
    (layer.weight, layer.bias) = (w, Some(b));
    layer.forward(x, &mut Pass::eval())
}

#[test]
fn as_pytorch_has_it() {
    check("conv.json", &Device::cpu(), 4e-6, run);
    check("conv.json", &under_test(), 4e-6, run);
}

/// "Same" padding makes the result `stride` times as large.
#[test]
fn a_transposed_convolution_can_keep_the_ratio_of_sizes() {
    let device = Device::cpu();
    let x = Tensor::ones(&device, [1, 2, 5, 4]);
    for (kernel, stride) in [(3, 2), (4, 2), (2, 3), (5, 1), (1, 2)] {
        let w = Tensor::ones(&device, [2, 3, kernel, kernel]);
        let options = ConvTranspose2dOptions { stride: [stride; 2], padding: Padding::Same, ..Default::default() };
        assert_eq!(
            x.conv_transpose2d(&w, None, &options).shape()[..],
            [1, 3, 5 * stride, 4 * stride],
            "{kernel} {stride}"
        );
    }
}

#[test]
fn mistakes_say_what_would_fit() {
    let device = Device::cpu();
    let (x, w) = (Tensor::zeros(&device, [1, 2, 3, 3]), Tensor::zeros(&device, [2, 4, 3, 3]));
    let problem = |o: ConvTranspose2dOptions, w: &Tensor| x.try_conv_transpose2d(w, None, &o).unwrap_err().to_string();
    let plain = ConvTranspose2dOptions::default();
    assert!(problem(ConvTranspose2dOptions { output_padding: [0, 1], ..plain }, &w).contains("output padding of 1"));
    assert!(problem(ConvTranspose2dOptions { padding: 9.into(), ..plain }, &w).contains("make it smaller"));
    assert!(problem(plain, &Tensor::zeros(&device, [3, 4, 3, 3])).contains("2 channels"));
}
