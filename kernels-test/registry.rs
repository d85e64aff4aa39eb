//! Loops over the registry: an op cannot exist without passing them.
//!
//! Every sample runs through the planner on the software adapter and on the CPU path, and is held against the op's
//! reference in double precision; every backward rule is held against the numerical slope of that reference, so that
//! no second derivation by hand can repeat a mistake; every claim that no gradient flows is verified.

use std::sync::Arc;

use wgrad::autodiff;
use wgrad::device::{Device, GpuOptions};
use wgrad::ops::REGISTRY;
use wgrad::reference::{Array, Data};
use wgrad::selftest::{self, AnySample, Order, array, noise, reference, shapes};
use wgrad::tensor::{DType, Input, NoGrad, Tensor};

/// The adapter under test: the software rasteriser, which every machine can have. With `WGRAD_TEST_DEVICE=gpu` the GPU
/// of this one; with `variants` the software rasteriser again, but with the kernels of GPUs. Small launches are not
/// merged, so that they can be counted.
pub fn adapter() -> GpuOptions {
    let device = std::env::var("WGRAD_TEST_DEVICE").unwrap_or_default();
    let (software, gpu_variants) = (device != "gpu", device == "variants");
    GpuOptions { software, gpu_variants, merge: Some(false), ..Default::default() }
}

/// The adapter under test, opened. A machine without one fails, it does not skip: the error says what to install.
pub fn under_test() -> Device {
    Device::gpu(&adapter()).unwrap_or_else(|e| panic!("{e}"))
}

/// Whether the adapter under test runs the kernels that hand operands round by broadcasts.
pub fn broadcasts() -> bool {
    under_test().as_gpu().is_some_and(|gpu| gpu.subgroup_size() == 8)
}

/// The input as a tensor; a view of a larger buffer if the sample wants one.
pub fn tensor(device: &Device, input: &Input) -> Tensor {
    selftest::tensor(device, input).unwrap_or_else(|e| panic!("{e}"))
}

fn check_forward(device: &Device, name: &str, sample: &AnySample) -> Result<(), String> {
    selftest::check(device, name, sample).map(drop)
}

fn over_samples(check: impl Fn(&str, &AnySample) -> Result<(), String>) {
    let only = std::env::var("WGRAD_TEST_OP").ok();
    let mut faults = Vec::new();
    let mut count = 0;
    for entry in REGISTRY.iter().filter(|e| only.as_ref().is_none_or(|o| e.name.starts_with(o.as_str()))) {
        let samples = (entry.samples)();
        assert!(!samples.is_empty(), "{} has no samples", entry.name);
        for sample in &samples {
            count += 1;
            if let Err(fault) = check(entry.name, sample) {
                faults.push(fault);
            }
        }
    }
    assert!(count > 0, "no sample was checked");
    assert!(faults.is_empty(), "{} of {count} samples fail:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_kernel_matches_its_reference() {
    let device = under_test();
    over_samples(|name, sample| check_forward(&device, name, sample));
}

/// The kernels that real GPUs get, run on the software adapter: tiles in workgroup memory, barriers, trees.
#[test]
fn every_gpu_variant_matches_its_reference() {
    let options = GpuOptions { gpu_variants: true, ..adapter() };
    let device = Device::gpu(&options).unwrap_or_else(|e| panic!("{e}"));
    over_samples(|name, sample| check_forward(&device, name, sample));
}

/// The same with small launches merged, within the limits of a browser: a workgroup of 256, eight buffers.
#[test]
fn every_merged_launch_matches_its_reference() {
    let device = crate::merge::device(true, true);
    over_samples(|name, sample| check_forward(&device, name, sample));
}

#[test]
fn the_cpu_path_matches_the_oracle() {
    let device = Device::cpu();
    over_samples(|name, sample| check_forward(&device, name, sample));
}

#[test]
fn the_reference_device_is_the_oracle() {
    let device = Device::reference();
    over_samples(|name, sample| check_forward(&device, name, sample));
}

/// The slope of `sum(output * cotangent)` in direction `d` of input `i`, by central difference in double precision.
fn slope(sample: &AnySample, i: usize, direction: &[f64], cotangents: &[Vec<f64>]) -> f64 {
    let at = |step: f64| -> f64 {
        let mut inputs: Vec<Array<f64>> = sample.inputs.iter().map(array).collect();
        let moved = sample.inputs[i].values.iter().zip(direction).map(|(x, d)| x + step * d).collect();
        inputs[i].data = Data::Float(moved);
        let outputs = reference(&*sample.op, &inputs);
        outputs.iter().zip(cotangents).map(|(y, c)| dot(y, c)).sum()
    };
    let h = 1e-5;
    // Fourth order, so that the truncation error is far below what is compared.
    (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h)
}

fn dot(y: &Array<f64>, c: &[f64]) -> f64 {
    match &y.data {
        Data::Float(y) => y.iter().zip(c).map(|(y, c)| y * c).sum(),
        _ => 0.0,
    }
}

fn check_gradient(device: &Device, tolerance: f64, name: &str, sample: &AnySample) -> Result<(), String> {
    let metas: Vec<_> = sample.inputs.iter().map(|i| i.meta.clone()).collect();
    let outputs = sample.op.infer(&metas).map_err(|e| format!("{name}: {e}"))?;
    let float: Vec<usize> = (0..metas.len()).filter(|&i| metas[i].dtype == DType::F32).collect();
    let cotangents: Vec<Vec<f64>> =
        outputs.iter().enumerate().map(|(k, m)| noise(m.shape.elements(), 100 + k as u64)).collect();
    match sample.op.no_grad() {
        Some(NoGrad::ZeroAlmostEverywhere) if sample.smooth => {
            for &i in &float {
                let found = slope(sample, i, &noise(sample.inputs[i].values.len(), 7), &cotangents);
                if found.abs() > 1e-9 {
                    return Err(format!("{name} {:?} claims a slope of zero, it is {found}", sample.op));
                }
            }
            return Ok(());
        }
        Some(NoGrad::Source) => {
            let no_floats = float.is_empty() || outputs.iter().all(|m| m.dtype != DType::F32);
            return if no_floats {
                Ok(())
            } else {
                Err(format!("{name} {:?} is no source: floats go in and out", sample.op))
            };
        }
        Some(_) => return Ok(()),
        None if !sample.smooth => return Ok(()),
        None => {}
    }
    let inputs: Vec<Tensor> = sample.inputs.iter().map(|i| tensor(device, i)).collect();
    let results = Tensor::try_apply_any(Arc::clone(&sample.op), &inputs.iter().collect::<Vec<_>>());
    let results = results.map_err(|e| format!("{name}: {e}"))?;
    let smooth: Vec<usize> = (0..results.len()).filter(|&k| results[k].dtype() == DType::F32).collect();
    let seeds: Vec<Tensor> = smooth
        .iter()
        .map(|&k| Tensor::from_f64_slice(device, &cotangents[k], results[k].shape()).unwrap_or_else(|e| panic!("{e}")))
        .collect();
    let ys: Vec<&Tensor> = smooth.iter().map(|&k| &results[k]).collect();
    let xs: Vec<&Tensor> = float.iter().map(|&i| &inputs[i]).collect();
    let found = autodiff::try_vjp(&ys, &seeds.iter().collect::<Vec<_>>(), &xs);
    let present: Vec<&Tensor> = found.iter().flatten().collect();
    wgrad::eval(&present).map_err(|e| format!("{name} {:?}: {e}", sample.op))?;
    for (&i, dx) in float.iter().zip(&found) {
        let dx = match dx {
            Some(dx) => dx.to_f64_vec().map_err(|e| e.to_string())?,
            None => vec![0.0; metas[i].shape.elements()],
        };
        for round in 0..2 {
            let direction = noise(dx.len(), 1000 + round);
            let want = slope(sample, i, &direction, &cotangents);
            let got: f64 = dx.iter().zip(&direction).map(|(a, b)| a * b).sum();
            // The scale of a sum of signed terms is that of the terms.
            let scale = dx.iter().zip(&direction).map(|(a, b)| (a * b).abs()).sum::<f64>().max(want.abs()).max(1e-3);
            if (got - want).abs() > tolerance * scale || !got.is_finite() {
                return Err(format!(
                    "{name} {:?} on {device}, inputs {:?}: the rule gives {got} along a direction of input {i}, the slope is {want}",
                    sample.op,
                    shapes(sample)
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn every_rule_matches_the_slope_of_the_reference() {
    let device = Device::reference();
    over_samples(|name, sample| check_gradient(&device, 1e-6, name, sample));
}

#[test]
fn every_rule_matches_the_slope_on_the_gpu() {
    let device = under_test();
    over_samples(|name, sample| check_gradient(&device, 2e-4, name, sample));
}

/// What the doctor prints of an op with a gradient names the inputs that have one.
#[test]
fn ops_with_gradients_say_for_which_inputs() {
    for entry in REGISTRY.iter().filter(|e| (e.samples)().iter().any(|s| s.op.no_grad().is_none())) {
        let (floats, all) = selftest::float_inputs(entry);
        assert!(floats > 0 && floats <= all, "{}: {floats} of {all}", entry.name);
        let known = match entry.name {
            "gather" => (1, 2),
            "compare_select" => (2, 3),
            "matmul" => (2, 2),
            "reduce" | "view_permute" => (1, 1),
            _ => continue,
        };
        assert_eq!((floats, all), known, "{}", entry.name);
    }
}

/// Ops whose gradient is right and whose gradient's gradient is not, and why.
const ONCE: &[(&str, &str)] = &[(
    "scatter",
    "the rule of products tells elements that are exactly 0 from others, so between two of them the second slope is missing",
)];

#[test]
fn ops_that_are_not_twice_differentiable_are_listed_with_the_reason() {
    let only = std::env::var("WGRAD_TEST_OP").ok();
    let mut found = Vec::new();
    for entry in REGISTRY.iter().filter(|e| only.as_ref().is_none_or(|o| e.name.starts_with(o.as_str()))) {
        if selftest::order(entry).unwrap_or_else(|e| panic!("{}: {e}", entry.name)) == Order::Once {
            found.push(entry.name);
        }
    }
    let listed: Vec<&str> = ONCE
        .iter()
        .map(|(name, _)| *name)
        .filter(|n| only.as_ref().is_none_or(|o| n.starts_with(o.as_str())))
        .collect();
    assert_eq!(found, listed, "what is not twice differentiable, and what ONCE says");
}
