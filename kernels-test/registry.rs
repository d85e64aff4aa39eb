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
use wgrad::tensor::{AnyOp, DType, Input, NoGrad, Sample, Tensor, Tolerance};

type AnySample = Sample<Arc<dyn AnyOp>>;

/// The software adapter. A machine without one fails, it does not skip: the error says what to install.
pub fn software() -> Device {
    Device::gpu(&GpuOptions { software: true, ..Default::default() }).unwrap_or_else(|e| panic!("{e}"))
}

/// The input as a tensor; a view of a larger buffer if the sample wants one.
pub fn tensor(device: &Device, input: &Input) -> Tensor {
    let shape = &input.meta.shape;
    let upload = |values: &[f64], shape: &[usize]| {
        let tensor = match input.meta.dtype {
            DType::F32 => Tensor::from_f64_slice(device, values, shape),
            DType::I32 => Tensor::from_slice(device, &values.iter().map(|&v| v as i32).collect::<Vec<_>>(), shape),
            _ => Tensor::from_slice(device, &values.iter().map(|&v| v as u32).collect::<Vec<_>>(), shape),
        };
        let tensor = tensor.unwrap_or_else(|e| panic!("{e}"));
        if input.meta.dtype == DType::Bool { tensor.cast(DType::Bool) } else { tensor }
    };
    if !input.as_view {
        return upload(&input.values, shape);
    }
    let (layout, len) = input.view_layout();
    let mut stored = vec![77.0; len];
    let mut at = Vec::new();
    wgrad::reference::for_each_position(&layout.shape, &layout.strides, layout.offset, |i| at.push(i));
    at.iter().zip(&input.values).for_each(|(&i, &v)| stored[i] = v);
    let rank = shape.rank();
    let mut outer = shape.to_vec();
    if rank >= 2 {
        outer.swap(rank - 2, rank - 1);
    }
    let whole = upload(&stored, &[len]).narrow(0, layout.offset, shape.elements()).reshape(outer);
    if rank >= 2 { whole.transpose(rank - 2, rank - 1) } else { whole }
}

fn array(input: &Input) -> Array<f64> {
    let data = match input.meta.dtype {
        DType::F32 => Data::Float(input.values.clone()),
        DType::I32 => Data::Int(input.values.iter().map(|&v| v as i32).collect()),
        _ => Data::Uint(input.values.iter().map(|&v| v as u32).collect()),
    };
    Array::new(input.meta.shape.to_vec(), data)
}

fn reference(op: &dyn AnyOp, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    op.reference_f64(&inputs.iter().map(|a| a.view()).collect::<Vec<_>>())
}

/// How far element `want` may be missed. The bounds are those of a dot product and of the built-in functions.
fn allowed(sample: &AnySample, want: f64, largest: f64) -> f64 {
    let u = 2f64.powi(-24);
    let tiny = 1.2e-38;
    match sample.tolerance {
        Tolerance::Exact => 0.0,
        Tolerance::Relative(r) => r * want.abs() + tiny,
        Tolerance::OfLargest(r) => r * largest + tiny,
        Tolerance::Dot(n) => {
            // |a||b| by the root mean squares of the operands, twice over for rows that are larger than the rest.
            let rms = |i: usize| match sample.inputs.get(i) {
                Some(x) => (x.values.iter().map(|v| v * v).sum::<f64>() / x.values.len().max(1) as f64).sqrt(),
                None => 1.0,
            };
            8.0 * u * (2.0 * n as f64 * rms(0) * rms(1) + (n as f64).sqrt() * want.abs()) + tiny
        }
    }
}

fn check_forward(device: &Device, name: &str, sample: &AnySample) -> Result<(), String> {
    let describe = || format!("{name} {:?} on {device}, inputs {:?}", sample.op, shapes(sample));
    let metas: Vec<_> = sample.inputs.iter().map(|i| i.meta.clone()).collect();
    let inferred = sample.op.infer(&metas).map_err(|e| format!("{}: {e}", describe()))?;
    let want = reference(&*sample.op, &sample.inputs.iter().map(array).collect::<Vec<_>>());
    if want.len() != inferred.len() {
        return Err(format!("{}: {} outputs inferred, {} produced", describe(), inferred.len(), want.len()));
    }
    let inputs: Vec<Tensor> = sample.inputs.iter().map(|i| tensor(device, i)).collect();
    let outputs = Tensor::try_apply_any(Arc::clone(&sample.op), &inputs.iter().collect::<Vec<_>>());
    let outputs = outputs.map_err(|e| format!("{}: {e}", describe()))?;
    wgrad::eval(&outputs.iter().collect::<Vec<_>>()).map_err(|e| format!("{}: {e}", describe()))?;
    for (k, ((output, want), meta)) in outputs.iter().zip(&want).zip(&inferred).enumerate() {
        if want.shape != **output.shape() {
            return Err(format!("{}: output {k} inferred as {}, produced {:?}", describe(), meta.shape, want.shape));
        }
        let fault = match (&want.data, output.dtype()) {
            (Data::Float(want), DType::F32) => {
                let got = output.to_vec::<f32>().map_err(|e| e.to_string())?;
                worst_float(sample, &got, want)
            }
            (Data::Int(want), DType::I32) => worst(&output.to_vec::<i32>().map_err(|e| e.to_string())?, want),
            (Data::Uint(want), DType::U32 | DType::Bool) => {
                worst(&output.to_vec::<u32>().map_err(|e| e.to_string())?, want)
            }
            (_, inferred) => Some(format!("inferred as {inferred}, which is not what was produced")),
        };
        if let Some(fault) = fault {
            return Err(format!("{}: output {k}: {fault}", describe()));
        }
    }
    Ok(())
}

fn worst<T: PartialEq + std::fmt::Debug>(got: &[T], want: &[T]) -> Option<String> {
    let i = got.iter().zip(want).position(|(g, w)| g != w)?;
    Some(format!("element {i} is {:?}, should be {:?}", got[i], want[i]))
}

fn worst_float(sample: &AnySample, got: &[f32], want: &[f64]) -> Option<String> {
    let largest = want.iter().filter(|w| w.is_finite()).fold(0f64, |m, w| m.max(w.abs()));
    let excess = |i: usize| {
        let (g, w) = (got[i], want[i]);
        if g.is_nan() || w.is_nan() {
            return if g.is_nan() && w.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if g as f64 == w || g == w as f32 {
            return 0.0;
        }
        (g as f64 - w).abs() / allowed(sample, w, largest).max(f64::MIN_POSITIVE)
    };
    let i = (0..want.len()).max_by(|&a, &b| excess(a).total_cmp(&excess(b)))?;
    let e = excess(i);
    (e > 1.0).then(|| {
        let limit = allowed(sample, want[i], largest);
        format!("element {i} is {:e}, should be {:e}: {e:.1} times the allowed error {limit:e}", got[i], want[i])
    })
}

fn shapes(sample: &AnySample) -> Vec<String> {
    sample.inputs.iter().map(|i| format!("{}{}", i.meta.shape, if i.as_view { " view" } else { "" })).collect()
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
    let device = software();
    over_samples(|name, sample| check_forward(&device, name, sample));
}

/// The kernels that real GPUs get, run on the software adapter: tiles in workgroup memory, barriers, trees.
#[test]
fn every_gpu_variant_matches_its_reference() {
    let options = GpuOptions { software: true, gpu_variants: true, ..Default::default() };
    let device = Device::gpu(&options).unwrap_or_else(|e| panic!("{e}"));
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

fn noise(n: usize, seed: u64) -> Vec<f64> {
    Input::uniform([n], -1.0, 1.0, seed).values
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
    let device = software();
    over_samples(|name, sample| check_gradient(&device, 2e-4, name, sample));
}
