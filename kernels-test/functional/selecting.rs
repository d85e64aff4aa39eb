//! Indexing by several tensors, quantiles, bags, grids, resizing, attention and statistics against PyTorch's answers.

use serde_json::Value;
use wgrad::autodiff::grad;
use wgrad::functional::{
    AttentionOptions, Bag, BagOptions, Between, CtcOptions, GridMode, GridPadding, Interpolation, Pool3dOptions,
    Reduction, ScatterReduction,
};
use wgrad::{DType, Device, Result, Tensor};

use super::torch::{Case, check};
use crate::registry::under_test;

fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().expect("a list").iter().map(|v| v.as_u64().expect("a size") as usize).collect()
}

/// The index tensors of a case; null is a whole axis.
fn named(case: &Case) -> Vec<Option<Tensor>> {
    let tensor = |v: &Value| {
        let values: Vec<i32> = v["values"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap() as i32).collect();
        Tensor::from_slice(case.inputs[0].device(), &values, sizes(&v["shape"])).unwrap()
    };
    let all = case.args["index"].as_array().expect("a list");
    all.iter().map(|v| if v.is_null() { None } else { Some(tensor(v)) }).collect()
}

fn bag(case: &Case) -> BagOptions {
    let offsets = &case.args["offsets"];
    BagOptions {
        mode: match case.args["mode"].as_str() {
            Some("sum") => Bag::Sum,
            Some("max") => Bag::Max,
            _ => Bag::Mean,
        },
        offsets: (!offsets.is_null()).then(|| case.tensor("offsets").cast(DType::U32)),
        weights: case.input(1).cloned(),
        padding: case.args["padding"].as_u64().map(|p| p as u32),
        scale_grad_by_freq: case.args["frequent"].as_bool().unwrap_or(false),
        ..Default::default()
    }
}

fn run(case: &Case) -> Vec<Tensor> {
    let x = &case.inputs[0];
    let text = |name: &str| case.args[name].as_str().unwrap_or("");
    let flag = |name: &str| case.args[name].as_bool().unwrap_or(false);
    let axis = || case.args["axis"].as_i64().expect("an axis") as isize;
    let other = || case.input(1).expect("a second input");
    let index = || case.tensor("index").cast(DType::U32);
    let between = || match text("between") {
        "lower" => Between::Lower,
        "higher" => Between::Higher,
        "midpoint" => Between::Midpoint,
        "nearest" => Between::Nearest,
        _ => Between::Linear,
    };
    let q = || case.args["q"].as_f64().expect("q");
    vec![match case.op {
        "index" => x.index(&named(case).iter().map(Option::as_ref).collect::<Vec<_>>()),
        "index_put" => {
            x.index_put(&named(case).iter().map(Option::as_ref).collect::<Vec<_>>(), other(), flag("accumulate"))
        }
        "put" => x.put(&index(), other(), flag("accumulate")),
        "masked_scatter" => x.masked_scatter(&case.tensor("mask").cast(DType::Bool), other()),
        "masked_select" => x.masked_select(&case.tensor("mask").cast(DType::Bool)).unwrap(),
        "index_reduce" => x.index_reduce(axis(), &index(), other(), ScatterReduction::Max, false),
        "nanmedian" => return <[Tensor; 2]>::from(x.nanmedian(axis())).to_vec(),
        "quantile" => x.quantile_between(q(), axis(), between()),
        "nanquantile" => x.nanquantile(q(), axis(), between()),
        "embedding_bag" => x.embedding_bag(&index(), &bag(case)),
        "embedding_renorm" => x.embedding_renorm(&index(), case.number("max_norm"), 2.0),
        "grid_sample" => {
            let mode = match text("mode") {
                "nearest" => GridMode::Nearest,
                "bicubic" => GridMode::Cubic,
                _ => GridMode::Linear,
            };
            let padding = match text("padding") {
                "border" => GridPadding::Border,
                "reflection" => GridPadding::Reflection,
                _ => GridPadding::Zeros,
            };
            x.grid_sample(other(), mode, padding, flag("aligned"))
        }
        "affine_grid" => x.affine_grid(&sizes(&case.args["size"]), flag("aligned")),
        "interpolate" => {
            let mode = match (text("mode"), flag("aligned")) {
                ("bicubic", false) => Interpolation::Cubic,
                ("bicubic", true) => Interpolation::CubicAligned,
                ("trilinear", false) => Interpolation::Linear,
                ("trilinear", true) => Interpolation::LinearAligned,
                ("nearest-exact", _) => Interpolation::NearestExact,
                ("area", _) => Interpolation::Area,
                _ => Interpolation::Nearest,
            };
            x.interpolate_to(&sizes(&case.args["size"]), mode)
        }
        "attention" => {
            let softcap = case.args["softcap"].as_f64().map(|c| c as f32);
            let options = AttentionOptions { softcap, grouped: softcap.is_none(), ..Default::default() };
            x.scaled_dot_product_attention(other(), &case.inputs[2], &options)
        }
        "ctc_loss" => {
            let options = CtcOptions {
                blank: case.size("blank") as u32,
                reduction: match text("how") {
                    "none" => Reduction::None,
                    "sum" => Reduction::Sum,
                    _ => Reduction::Mean,
                },
                zero_infinity: case.size("blank") == 0,
            };
            let whole = |name: &str| case.tensor(name).cast(DType::I32);
            x.ctc_loss(&whole("labels"), &whole("lengths"), &whole("counts"), &options)
        }
        "rotary" => {
            let angle = case.tensor("angle");
            x.rotary_embedding(&angle.cos(), &angle.sin(), flag("interleaved"))
        }
        "cov" => match case.input(1) {
            Some(weights) => x.cov(0.0, None, Some(weights)),
            None => x.cov(1.0, None, None),
        },
        "corrcoef" => x.corrcoef(),
        "cross" => x.cross(other(), axis()),
        "renorm" => x.renorm(case.number("p"), axis(), case.number("max_norm")),
        "trapezoid" => x.trapezoid(case.input(1), 0.5, -1),
        "cumulative_trapezoid" => x.cumulative_trapezoid(None, 0.5, -1),
        "channel_shuffle" => x.channel_shuffle(case.size("groups")),
        "lp_pool3d" => {
            let three = |name: &str| <[usize; 3]>::try_from(sizes(&case.args[name])).unwrap();
            x.lp_pool3d(
                case.number("p"),
                &Pool3dOptions { stride: three("stride"), ..Pool3dOptions::new(three("kernel")) },
            )
        }
        "max_unpool1d" => x.max_unpool1d(&index(), case.size("size")),
        "max_unpool3d" => {
            let size = sizes(&case.args["size"]);
            x.max_unpool3d(&index(), [size[0], size[1], size[2]])
        }
        name => panic!("no function {name}"),
    }]
}

#[test]
fn selecting_is_pytorchs_on_the_cpu_path() {
    check("selecting.json", &Device::cpu(), 1e-5, run);
}

#[test]
fn selecting_is_pytorchs_on_the_gpu() {
    check("selecting.json", &under_test(), 2e-5, run);
}

#[test]
fn masks_are_read_back_as_places() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[0f32, 3., 0., f32::NAN, 0., -1.], [2, 3])?;
    let places = x.nonzero()?;
    assert_eq!((&places.shape()[..], places.to_vec::<u32>()?), (&[3, 2][..], vec![0, 1, 1, 0, 1, 2]));
    // `x[mask]` is `x` at the places of the mask.
    let [rows, columns] = [0, 1].map(|i| places.narrow(1, i, 1).squeeze(1));
    let chosen = x.index(&[Some(&rows), Some(&columns)]).to_vec::<f32>()?;
    assert_eq!(chosen[0], 3.0);
    assert!(chosen[1].is_nan() && chosen[2] == -1.0);
    assert_eq!(Tensor::zeros(&device, [4]).nonzero()?.shape()[..], [0, 1]);
    Ok(())
}

#[test]
#[should_panic(expected = "index: a mask has no indices")]
fn a_mask_is_no_index() {
    let x = Tensor::zeros(&Device::cpu(), [2, 2]);
    let mask = x.cast(DType::Bool);
    x.index(&[Some(&mask)]);
}

#[test]
#[should_panic(expected = "interpolate: 1 sizes for the input [2, 3, 4, 5]")]
fn a_size_for_each_axis() {
    Tensor::zeros(&Device::cpu(), [2, 3, 4, 5]).interpolate_to(&[7], Interpolation::Cubic);
}

/// torch.quantile of [1, 3, 2, 7] at [0, 0.25, 0.5, 1]: values, and the slopes of their sum by elements and by places.
#[test]
fn quantiles_at_places_that_have_gradients() {
    for d in [under_test(), Device::cpu()] {
        let leaf = |v: &[f32]| Tensor::from_slice(&d, v, v.len()).unwrap().into_leaf(true).unwrap();
        let (x, q) = (leaf(&[1.0, 3.0, 2.0, 7.0]), leaf(&[0.0, 0.25, 0.5, 1.0]));
        let y = x.quantiles(&q, 0, Between::Linear);
        assert_eq!(y.to_vec::<f32>().unwrap(), [1.0, 1.75, 2.5, 7.0], "on {d}");
        let slopes = grad(&y.sum_all(), &[&x, &q]);
        assert_eq!(slopes[0].to_vec::<f32>().unwrap(), [1.25, 0.5, 1.25, 1.0], "on {d}");
        assert_eq!(slopes[1].to_vec::<f32>().unwrap(), [0.0, 3.0, 3.0, 0.0], "on {d}");
        let wide = Tensor::stack(&[&x, &leaf(&[0.0, f32::NAN, 4.0, 2.0])], 1);
        let y = wide.quantiles(&q, 0, Between::Lower);
        assert_eq!(y.shape()[..], [4, 2]);
        assert!(y.to_vec::<f32>().unwrap().iter().skip(1).step_by(2).all(|v| v.is_nan()), "on {d}");
        let known = wide.nanquantiles(&q, 0, Between::Linear).to_vec::<f32>().unwrap();
        assert_eq!(known, [1.0, 0.0, 1.75, 1.0, 2.5, 2.0, 7.0, 4.0], "on {d}");
    }
}
