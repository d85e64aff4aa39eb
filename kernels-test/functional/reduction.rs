//! Reductions and running results against PyTorch's answers: values, positions and gradients.

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

use super::torch::{Case, check};
use crate::registry::under_test;

fn axes(case: &Case) -> Vec<isize> {
    case.args["axes"].as_array().map_or(Vec::new(), |a| a.iter().map(|v| v.as_i64().unwrap() as isize).collect())
}

fn run(case: &Case) -> Vec<Tensor> {
    let (x, axes) = (&case.inputs[0], axes(case));
    let axis = || case.args["axis"].as_i64().expect("an axis") as isize;
    let both = |(values, positions): (Tensor, Tensor)| match case.args["values"].is_null() {
        true => vec![values, positions],
        false => vec![values],
    };
    match case.op {
        "prod" => vec![x.prod(&axes)],
        "var" => vec![x.var(&axes, case.number("correction"))],
        "std" => vec![x.std(&axes, case.number("correction"))],
        "logsumexp" => vec![x.logsumexp(&axes)],
        "norm" => vec![x.norm(&axes, case.args["p"].as_str().unwrap().parse().unwrap())],
        "nansum" => vec![x.nansum(&axes)],
        "nanmean" => vec![x.nanmean(&axes)],
        "any" => vec![x.any(&axes)],
        "all" => vec![x.all(&axes)],
        "count_nonzero" => vec![x.count_nonzero(&axes)],
        "max" => both(x.max_with_index(axis())),
        "min" => both(x.min_with_index(axis())),
        "median" => both(x.median(axis())),
        "mode" => both(x.mode(axis())),
        "cummax" => both(x.cummax(axis())),
        "cummin" => both(x.cummin(axis())),
        "kthvalue" => both(x.kthvalue(case.size("k"), axis())),
        "quantile" => vec![x.quantile(case.args["q"].as_f64().unwrap(), axis())],
        "cumprod" => vec![x.cumprod(axis())],
        "logcumsumexp" => vec![x.logcumsumexp(axis())],
        "cumsum_exclusive" => vec![x.cumsum_exclusive(axis())],
        other => panic!("no reduction {other}"),
    }
}

#[test]
fn reductions_are_pytorchs_on_the_cpu_path() {
    check("reduction.json", &Device::cpu(), 2e-5, run);
}

#[test]
fn reductions_are_pytorchs_on_the_gpu() {
    check("reduction.json", &under_test(), 4e-5, run);
}

#[test]
fn kept_axes_and_whole_numbers() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[1f32, 2., 3., 4., 5., 6.], [2, 3])?;
    assert_eq!(x.var_keep(&[1], 1.0).shape()[..], [2, 1]);
    assert_eq!(x.norm_keep(&[0, 1], 2.0).shape()[..], [1, 1]);
    assert_eq!(x.prod(&x.all_axes()).item()?, 720.0);
    let (var, mean) = x.var_mean(&[1], 0.0, true);
    assert_eq!((mean.to_vec::<f32>()?, var.shape()[..].to_vec()), (vec![2., 5.], vec![2, 1]));
    let whole = Tensor::from_slice(&device, &[3i32, -7, 2, 2], [2, 2])?;
    assert_eq!(whole.prod(&[1]).to_vec::<i32>()?, [-21, 4]);
    assert_eq!(whole.max(&[1]).to_vec::<i32>()?, [3, 2]);
    assert_eq!(whole.argmin(&[0, 1]).to_vec::<u32>()?, [1]);
    let (values, positions) = whole.min_with_index(1);
    assert_eq!((values.to_vec::<i32>()?, positions.to_vec::<u32>()?), (vec![-7, 2], vec![1, 0]));
    assert_eq!(whole.cumprod(1).to_vec::<i32>()?, [3, -21, 2, 4]);
    Ok(())
}

#[test]
fn truth_values_and_numbers_without_axes() -> Result<()> {
    let device = Device::cpu();
    let truth = Tensor::from_slice(&device, &[1u32, 0, 1, 1], [2, 2])?.cast(wgrad::DType::Bool);
    assert_eq!(truth.sum(&[1]).to_vec::<u32>()?, [1, 2]);
    assert_eq!((truth.min(&[1]).dtype(), truth.min(&[1]).to_vec::<u32>()?), (wgrad::DType::Bool, vec![0, 1]));
    assert_eq!(truth.prod(&[1]).to_vec::<u32>()?, [0, 1]);
    let one = Tensor::from_slice(&device, &[3f32], [])?;
    assert_eq!((one.sum(&[0]).item()?, one.mean(&[-1]).item()?, one.norm(&[0], 2.0).item()?), (3., 3., 3.));
    assert_eq!((one.cumsum(0).item()?, one.max_with_index(-1).0.item()?, one.median(0).0.item()?), (3., 3., 3.));
    Ok(())
}

/// The product of the others, where one or two of them are 0, and the slope of that.
#[test]
fn a_product_with_zeros_has_slopes_of_any_order() -> Result<()> {
    let device = Device::reference();
    let x = Tensor::from_slice(&device, &[0f32, 0., 3., 5.], [4])?.into_leaf(true)?;
    let first = grad(&x.prod(&[0]), &[&x]).swap_remove(0);
    assert_eq!(first.to_vec::<f32>()?, [0., 0., 0., 0.]);
    let of_first = grad(&first.narrow(0, 0, 1).sum_all(), &[&x]).swap_remove(0);
    assert_eq!(of_first.to_vec::<f32>()?, [0., 15., 0., 0.]);
    let running = grad(&grad(&x.cumprod(0).sum_all(), &[&x])[0].narrow(0, 1, 1).sum_all(), &[&x]).swap_remove(0);
    assert_eq!(running.to_vec::<f32>()?, [1. + 3. + 15., 0., 0., 0.]);
    Ok(())
}

#[test]
#[should_panic(expected = "kthvalue: 4 of axis 1 of shape [2, 3]; it has 3 elements")]
fn a_place_that_is_not_there() {
    Tensor::zeros(&Device::cpu(), [2, 3]).kthvalue(4, 1);
}
