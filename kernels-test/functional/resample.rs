//! Images read at other places against PyTorch.

use wgrad::functional::Interpolation;
use wgrad::{Device, Tensor};

use super::torch::{Case, check};
use crate::registry::under_test;

fn run(case: &Case) -> Vec<Tensor> {
    let x = &case.inputs[0];
    let list = |name: &str| case.args[name].as_array().expect("a list").clone();
    let mode = match case.args["mode"].as_str() {
        Some("nearest-exact") => Interpolation::NearestExact,
        Some("bilinear") => Interpolation::Linear,
        Some("aligned") => Interpolation::LinearAligned,
        _ => Interpolation::Nearest,
    };
    vec![match case.op {
        "to" => x.interpolate_to(&list("size").iter().map(|v| v.as_u64().unwrap() as usize).collect::<Vec<_>>(), mode),
        "by" => x.interpolate_by(&list("scale").iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>(), mode),
        "pixel_shuffle" => x.pixel_shuffle(case.size("r")),
        "pixel_unshuffle" => x.pixel_unshuffle(case.size("r")),
        other => panic!("no such op: {other}"),
    }]
}

#[test]
fn as_pytorch_has_it() {
    check("resample.json", &Device::cpu(), 4e-6, run);
    check("resample.json", &under_test(), 4e-6, run);
}
