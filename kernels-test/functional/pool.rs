//! Pooling in all dimensions against PyTorch.

use wgrad::functional::{Pool1dOptions, Pool3dOptions};
use wgrad::ops::{Pool2dOptions, Rng};
use wgrad::{Device, Tensor};

use super::torch::{Case, check};
use crate::registry::under_test;

fn sizes<const N: usize>(case: &Case, name: &str, default: usize) -> [usize; N] {
    match &case.args[name] {
        serde_json::Value::Array(all) => std::array::from_fn(|i| all[i].as_u64().expect("a whole number") as usize),
        serde_json::Value::Null => [default; N],
        one => [one.as_u64().expect("a whole number") as usize; N],
    }
}

fn run(case: &Case) -> Vec<Tensor> {
    let x = &case.inputs[0];
    let flag = |name: &str, default: bool| case.args[name].as_bool().unwrap_or(default);
    let (ceil_mode, count_include_pad) = (flag("ceil_mode", false), flag("count_include_pad", true));
    let divisor_override = case.args["divisor_override"].as_u64().map(|d| d as usize);
    let one = || Pool1dOptions {
        stride: case.size("stride"),
        padding: sizes::<1>(case, "padding", 0)[0],
        dilation: sizes::<1>(case, "dilation", 1)[0],
        ceil_mode,
        count_include_pad,
        ..Pool1dOptions::new(case.size("kernel"))
    };
    let two = || Pool2dOptions {
        stride: sizes(case, "stride", 1),
        padding: sizes::<2>(case, "padding", 0).into(),
        dilation: sizes(case, "dilation", 1),
        ceil_mode,
        count_include_pad,
        divisor_override,
        ..Pool2dOptions::new(sizes(case, "kernel", 1))
    };
    let three = || Pool3dOptions {
        stride: sizes(case, "stride", 1),
        padding: sizes(case, "padding", 0),
        dilation: sizes(case, "dilation", 1),
        ceil_mode,
        count_include_pad,
        divisor_override,
        ..Pool3dOptions::new(sizes(case, "kernel", 1))
    };
    let both = |(y, at): (Tensor, Tensor)| vec![y, at];
    match case.op {
        "max_pool1d" => both(x.max_pool1d_with_indices(&one())),
        "avg_pool1d" => vec![x.avg_pool1d(&one())],
        "lp_pool1d" => vec![x.lp_pool1d(case.number("p"), &one())],
        "max_pool2d" => both(x.max_pool2d_with_indices(&two())),
        "avg_pool2d" => vec![x.avg_pool2d(&two())],
        "lp_pool2d" => vec![x.lp_pool2d(case.number("p"), &two())],
        "max_pool3d" => both(x.max_pool3d_with_indices(&three())),
        "avg_pool3d" => vec![x.avg_pool3d(&three())],
        "adaptive_avg_pool1d" => vec![x.adaptive_avg_pool1d(case.size("size"))],
        "adaptive_max_pool1d" => both(x.adaptive_max_pool1d_with_indices(case.size("size"))),
        "adaptive_avg_pool2d" => vec![x.adaptive_avg_pool2d(case.pair("size"))],
        "adaptive_max_pool2d" => both(x.adaptive_max_pool2d_with_indices(case.pair("size"))),
        "adaptive_avg_pool3d" => vec![x.adaptive_avg_pool3d(sizes(case, "size", 1))],
        "adaptive_max_pool3d" => both(x.adaptive_max_pool3d_with_indices(sizes(case, "size", 1))),
        "max_unpool2d" => {
            let (y, at) = x.max_pool2d_with_indices(&Pool2dOptions::new([2, 2]));
            vec![y.max_unpool2d(&at, [x.shape()[2], x.shape()[3]])]
        }
        other => panic!("no such op: {other}"),
    }
}

#[test]
fn as_pytorch_has_it() {
    check("pool.json", &Device::cpu(), 4e-6, run);
    check("pool.json", &under_test(), 4e-6, run);
}

#[test]
fn global_pools_see_every_place() {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[1f32, 5., 3., 3., -2., -2., -8., 0.], [1, 2, 2, 2]).unwrap();
    let (mean, max) = (x.global_avg_pool(), x.global_max_pool());
    assert_eq!((mean.shape().to_vec(), mean.to_vec::<f32>().unwrap()), (vec![1, 2, 1, 1], vec![3., -3.]));
    assert_eq!((max.shape().to_vec(), max.to_vec::<f32>().unwrap()), (vec![1, 2, 1, 1], vec![5., 0.]));
}

#[test]
fn channels_are_dropped_as_a_whole() {
    let device = Device::cpu();
    let x = Tensor::ones(&device, [20, 30, 2, 2]);
    let y = x.dropout_channels(0.25, &mut Rng::new(5)).to_vec::<f32>().unwrap();
    let channels: Vec<f32> = y.chunks(4).map(|c| c[0]).collect();
    assert!(y.chunks(4).all(|c| c.iter().all(|v| *v == c[0])));
    let kept = channels.iter().filter(|v| **v != 0.0).count();
    assert!((400..500).contains(&kept) && channels.iter().all(|v| *v == 0.0 || (v - 4. / 3.).abs() < 1e-6), "{kept}");
}
