//! The samples of the registry, run on a device and held against the double-precision reference: what the tests do on
//! the adapters of the project's machines, a user can do on their own (`cargo run --example doctor`).

use std::sync::Arc;

use crate::autodiff::try_vjp;
use crate::device::{Device, GpuOptions};
use crate::error::Result;
use crate::ops::{REGISTRY, conv2d, matmul};
use crate::reference::cast::half as round_to_half;
use crate::reference::{Array, Data, for_each_position};
use crate::tensor::{AnyOp, DType, Element, Entry, Input, NoGrad, Sample, Tensor, Tolerance};

/// A sample of any op.
pub type AnySample = Sample<Arc<dyn AnyOp>>;

/// What was found of one op.
#[derive(Debug, Clone)]
pub struct Findings {
    /// Its name.
    pub name: &'static str,
    /// How many samples were run.
    pub samples: usize,
    /// The largest error, as a part of what is allowed.
    pub worst: f64,
    /// What is wrong, sample by sample.
    pub faults: Vec<String>,
}

/// How often an op can be differentiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// No gradient flows, and why.
    Never(NoGrad),
    /// Once: the gradient of its rule is not that of its slope.
    Once,
    /// Twice or more.
    Twice,
}

/// Runs all samples of an op on a device.
pub fn run(device: &Device, entry: &Entry) -> Findings {
    pollster::block_on(run_async(device, entry))
}

/// [`run`] without blocking, for a page.
pub async fn run_async(device: &Device, entry: &Entry) -> Findings {
    let mut findings = Findings { name: entry.name, samples: 0, worst: 0.0, faults: Vec::new() };
    for sample in (entry.samples)() {
        findings.samples += 1;
        match check_async(device, entry.name, &sample).await {
            Ok(worst) => findings.worst = findings.worst.max(worst),
            Err(fault) => findings.faults.push(fault),
        }
    }
    findings
}

/// The sample with its floats as halves: their values rounded, their type half.
pub fn halved(sample: &AnySample) -> AnySample {
    let mut sample = sample.clone();
    for input in sample.inputs.iter_mut().filter(|input| input.meta.dtype == DType::F32) {
        *input = input.clone().of(DType::F16);
    }
    sample
}

/// The input as a tensor; a view of a larger buffer if the sample wants one.
///
/// # Errors
/// A fault of the device.
pub fn tensor(device: &Device, input: &Input) -> Result<Tensor> {
    let shape = &input.meta.shape;
    let upload = |values: &[f64], shape: &[usize]| {
        let tensor = match input.meta.dtype {
            DType::F32 => Tensor::from_f64_slice(device, values, shape),
            DType::F16 => Tensor::from_slice(
                device,
                &values.iter().map(|&v| half::f16::from_f64(round_to_half(v))).collect::<Vec<_>>(),
                shape,
            ),
            DType::I32 => Tensor::from_slice(device, &values.iter().map(|&v| v as i32).collect::<Vec<_>>(), shape),
            _ => Tensor::from_slice(device, &values.iter().map(|&v| v as u32).collect::<Vec<_>>(), shape),
        }?;
        Ok(if input.meta.dtype == DType::Bool { tensor.cast(DType::Bool) } else { tensor })
    };
    if !input.as_view {
        return upload(&input.values, shape);
    }
    let (layout, len) = input.view_layout();
    let mut stored = vec![77.0; len];
    let mut at = Vec::new();
    for_each_position(&layout.shape, &layout.strides, layout.offset, |i| at.push(i));
    at.iter().zip(&input.values).for_each(|(&i, &v)| stored[i] = v);
    let rank = shape.rank();
    let mut outer = shape.to_vec();
    if rank >= 2 {
        outer.swap(rank - 2, rank - 1);
    }
    let whole = upload(&stored, &[len])?.narrow(0, layout.offset, shape.elements()).reshape(outer);
    Ok(if rank >= 2 { whole.transpose(rank - 2, rank - 1) } else { whole })
}

/// The input as the reference reads it.
pub fn array(input: &Input) -> Array<f64> {
    let data = match input.meta.dtype {
        DType::F32 | DType::F16 => Data::Float(input.values.clone()),
        DType::I32 => Data::Int(input.values.iter().map(|&v| v as i32).collect()),
        _ => Data::Uint(input.values.iter().map(|&v| v as u32).collect()),
    };
    Array::new(input.meta.shape.to_vec(), data)
}

/// What the op makes of these inputs, in double precision.
pub fn reference(op: &dyn AnyOp, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    op.reference_f64(&inputs.iter().map(|a| a.view()).collect::<Vec<_>>())
}

/// The shapes of a sample's inputs, for messages.
pub fn shapes(sample: &AnySample) -> Vec<String> {
    sample.inputs.iter().map(|i| format!("{}{}", i.meta.shape, if i.as_view { " view" } else { "" })).collect()
}

/// Runs one sample: the largest error as a part of what is allowed, or what is wrong.
///
/// # Errors
/// What is wrong, in words.
pub fn check(device: &Device, name: &str, sample: &AnySample) -> std::result::Result<f64, String> {
    pollster::block_on(check_async(device, name, sample))
}

/// [`check`] without blocking, for a page.
///
/// # Errors
/// As [`check`].
pub async fn check_async(device: &Device, name: &str, sample: &AnySample) -> std::result::Result<f64, String> {
    let describe = || format!("{name} {:?} on {device}, inputs {:?}", sample.op, shapes(sample));
    let want = reference(&*sample.op, &sample.inputs.iter().map(array).collect::<Vec<_>>());
    let inputs: Result<Vec<Tensor>> = sample.inputs.iter().map(|i| tensor(device, i)).collect();
    let inputs = inputs.map_err(|e| format!("{}: {e}", describe()))?;
    let outputs = Tensor::try_apply_any(Arc::clone(&sample.op), &inputs.iter().collect::<Vec<_>>());
    let outputs = outputs.map_err(|e| format!("{}: {e}", describe()))?;
    if want.len() != outputs.len() {
        return Err(format!("{}: {} outputs inferred, {} produced", describe(), outputs.len(), want.len()));
    }
    crate::eval(&outputs.iter().collect::<Vec<_>>()).map_err(|e| format!("{}: {e}", describe()))?;
    let mut worst = 0f64;
    for (k, (output, want)) in outputs.iter().zip(&want).enumerate() {
        if want.shape != **output.shape() {
            return Err(format!(
                "{}: output {k} inferred as {}, produced {:?}",
                describe(),
                output.shape(),
                want.shape
            ));
        }
        let found = match (&want.data, output.dtype()) {
            (Data::Float(want), DType::F32) => floats(sample, &read::<f32>(output).await?, want, false),
            (Data::Float(want), DType::F16) => {
                let got = read::<half::f16>(output).await?;
                floats(sample, &got.into_iter().map(f32::from).collect::<Vec<_>>(), want, true)
            }
            (Data::Int(want), DType::I32) => equal(&read::<i32>(output).await?, want),
            (Data::Uint(want), DType::U32 | DType::Bool) => equal(&read::<u32>(output).await?, want),
            (_, inferred) => Err(format!("inferred as {inferred}, which is not what was produced")),
        };
        worst = worst.max(found.map_err(|fault| format!("{}: output {k}: {fault}", describe()))?);
    }
    Ok(worst)
}

async fn read<E: Element>(output: &Tensor) -> std::result::Result<Vec<E>, String> {
    output.to_vec_async().map_err(|e| e.to_string())?.await.map_err(|e| e.to_string())
}

fn equal<T: PartialEq + std::fmt::Debug>(got: &[T], want: &[T]) -> std::result::Result<f64, String> {
    match got.iter().zip(want).position(|(g, w)| g != w) {
        Some(i) => Err(format!("element {i} is {:?}, should be {:?}", got[i], want[i])),
        None => Ok(0.0),
    }
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

/// Halves may be wrong by what their op may be wrong, and by half a digit for being rounded.
fn floats(sample: &AnySample, got: &[f32], want: &[f64], halves: bool) -> std::result::Result<f64, String> {
    let largest = want.iter().filter(|w| w.is_finite()).fold(0f64, |m, w| m.max(w.abs()));
    let limit = |w: f64| {
        let exact = allowed(sample, w, largest);
        // What an exact op makes is rounded exactly.
        let digit = if halves && exact > 0.0 { f64::exp2(-11.0) * w.abs() + f64::exp2(-25.0) } else { 0.0 };
        (exact + digit).max(f64::MIN_POSITIVE)
    };
    let excess = |i: usize| {
        let (g, w) = (got[i], want[i]);
        if g.is_nan() || w.is_nan() {
            return if g.is_nan() && w.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if g as f64 == w || g == w as f32 || (halves && g as f64 == round_to_half(w)) {
            return 0.0;
        }
        (g as f64 - w).abs() / limit(w)
    };
    let Some(i) = (0..want.len()).max_by(|&a, &b| excess(a).total_cmp(&excess(b))) else { return Ok(0.0) };
    let e = excess(i);
    if e <= 1.0 {
        return Ok(e);
    }
    let limit = limit(want[i]);
    Err(format!("element {i} is {:e}, should be {:e}: {e:.1} times the allowed error {limit:e}", got[i], want[i]))
}

/// Products and convolutions of halves on the cooperative matrices of the adapter that `options` choose, by each kernel
/// that uses them: what is wrong, or `None` if it has none that can be used. Products of small whole numbers must be
/// exact, those of noise within the error bound of their sums, as must the samples of convolutions.
///
/// # Errors
/// A fault of the device.
pub fn cooperative(options: &GpuOptions) -> Result<Option<Vec<String>>> {
    // Batch, rows, columns, depth: a part of a matrix; whole tiles; parts of tiles; a batch; a sum that is cut into
    // slices.
    let sizes = [[1, 4, 4, 4], [1, 256, 128, 64], [1, 132, 260, 40], [3, 36, 44, 20], [2, 8, 12, 1100]];
    let mut faults = Vec::new();
    let pinned = |variant| {
        let (cooperative, variant) = (Some(true), Some(variant));
        Device::gpu(&GpuOptions { cooperative, gpu_variants: true, variant, ..options.clone() })
    };
    for variant in matmul::variant_names().filter(|name| name.contains("coop")) {
        let device = pinned(variant)?;
        if device.as_gpu().is_none_or(|gpu| gpu.matrix_size() == 0) {
            return Ok(None);
        }
        for size in sizes {
            for case in 0..8 {
                let [a_turned, b_turned, whole] = [case & 1 != 0, case & 2 != 0, case & 4 != 0];
                if let Some(fault) = product_of_halves(&device, size, [a_turned, b_turned], whole)? {
                    faults.push(format!(
                        "{variant}, {size:?}, turned {a_turned} {b_turned}, whole numbers {whole}: {fault}"
                    ));
                }
            }
        }
    }
    for variant in conv2d::variant_names().filter(|name| name.contains("coop")) {
        let device = pinned(variant)?;
        for entry in REGISTRY.iter().filter(|entry| entry.name.starts_with("conv2d")) {
            let samples = (entry.samples)();
            let found = samples.iter().filter_map(|sample| check(&device, entry.name, &halved(sample)).err());
            faults.extend(found.map(|fault| format!("{variant}: {fault}")));
        }
    }
    Ok(Some(faults))
}

/// Holds one product of halves against sums in double precision. A turned operand is stored column by column.
fn product_of_halves(
    device: &Device,
    [batch, m, n, k]: [usize; 4],
    [a_turned, b_turned]: [bool; 2],
    whole: bool,
) -> Result<Option<String>> {
    let numbers = |count: usize, seed: u64| -> Vec<f64> {
        let range = if whole { 8.0 } else { 1.0 };
        let values = Input::uniform([count], -range, range, seed).values;
        values.into_iter().map(|v| if whole { v.round() } else { round_to_half(v) }).collect()
    };
    let (a, b) = (numbers(batch * m * k, 1), numbers(batch * k * n, 2));
    let tensor = |values: &[f64], rows: usize, columns: usize, turned: bool| -> Result<Tensor> {
        let halves: Vec<half::f16> = values.iter().map(|&v| half::f16::from_f64(v)).collect();
        if !turned {
            return Tensor::from_slice(device, &halves, [batch, rows, columns]);
        }
        let at = |i: usize| i / (rows * columns) * rows * columns + i % rows * columns + i / rows % columns;
        let stored: Vec<half::f16> = (0..halves.len()).map(|i| halves[at(i)]).collect();
        Ok(Tensor::from_slice(device, &stored, [batch, columns, rows])?.transpose(1, 2))
    };
    let (x, y) = (tensor(&a, m, k, a_turned)?, tensor(&b, k, n, b_turned)?);
    let c = x.cast(DType::F32).matmul(&y.cast(DType::F32)).to_vec::<f32>()?;
    for (i, &got) in c.iter().enumerate() {
        let (row, column, matrix) = (i / n % m, i % n, i / n / m);
        let terms = (0..k).map(|l| (a[(matrix * m + row) * k + l], b[(matrix * k + l) * n + column]));
        let (mut sum, mut aa, mut bb) = (0.0, 0.0, 0.0);
        terms.for_each(|(x, y)| (sum, aa, bb) = (sum + x * y, aa + x * x, bb + y * y));
        let bound = 8.0 * f64::exp2(-24.0) * (f64::sqrt(aa * bb) + (k as f64).sqrt() * f64::abs(sum));
        let limit = if whole { 0.0 } else { bound };
        if (got as f64 - sum).abs() > limit || got.is_nan() {
            return Ok(Some(format!("element {i} is {got:e}, should be {sum:e} within {limit:e}")));
        }
    }
    Ok(None)
}

/// Numbers of both signs, by a fixed rule.
pub fn noise(n: usize, seed: u64) -> Vec<f64> {
    Input::uniform([n], -1.0, 1.0, seed).values
}

/// Which inputs of an op are floats, and so may have gradients, in the sample that has the most.
pub fn float_inputs(entry: &Entry) -> (usize, usize) {
    let samples = (entry.samples)();
    let floats = |inputs: &[Input]| inputs.iter().filter(|i| i.meta.dtype.is_float()).count();
    // Of samples with as many inputs, one of floats: most ops also move whole numbers.
    let inputs = samples.iter().map(|s| &s.inputs[..]).max_by_key(|i| (i.len(), floats(i))).unwrap_or(&[]);
    (floats(inputs), inputs.len())
}

/// How often an op can be differentiated: whether the gradient of its rule is the slope of its rule, on its small
/// samples.
///
/// # Errors
/// A fault of the device, or a rule that does not fit its op.
pub fn order(entry: &Entry) -> Result<Order> {
    let device = Device::reference();
    let samples = (entry.samples)();
    if let Some(why) =
        samples.iter().map(|s| s.op.no_grad()).reduce(|a, b| if b.is_none() { None } else { a }).flatten()
    {
        return Ok(Order::Never(why));
    }
    for sample in samples.iter().filter(|s| s.smooth && s.op.no_grad().is_none()) {
        if sample.inputs.iter().map(|i| i.values.len()).sum::<usize>() > 400 {
            continue;
        }
        if !twice(&device, sample)? {
            return Ok(Order::Once);
        }
    }
    Ok(Order::Twice)
}

/// Compares, along one direction of all float inputs, the gradient of the rule's gradient with its slope.
fn twice(device: &Device, sample: &AnySample) -> Result<bool> {
    let float: Vec<usize> = (0..sample.inputs.len()).filter(|&i| sample.inputs[i].meta.dtype == DType::F32).collect();
    // The weighted sum of all gradients: a function of the inputs, made of the rule.
    let weighted = |inputs: &[Tensor]| -> Result<Option<Tensor>> {
        let outputs = Tensor::try_apply_any(Arc::clone(&sample.op), &inputs.iter().collect::<Vec<_>>())?;
        let ys: Vec<&Tensor> = outputs.iter().filter(|y| y.dtype() == DType::F32).collect();
        let seeds = ys
            .iter()
            .enumerate()
            .map(|(k, y)| Tensor::from_f64_slice(device, &noise(y.elements(), 100 + k as u64), y.shape()));
        let seeds = seeds.collect::<Result<Vec<_>>>()?;
        let xs: Vec<&Tensor> = float.iter().map(|&i| &inputs[i]).collect();
        let slopes = try_vjp(&ys, &seeds.iter().collect::<Vec<_>>(), &xs);
        let mut sum: Option<Tensor> = None;
        for (i, dx) in slopes.iter().enumerate() {
            let Some(dx) = dx else { continue };
            let v = Tensor::from_f64_slice(device, &noise(dx.elements(), 200 + i as u64), dx.shape())?;
            let term = (dx * &v).sum_all();
            sum = Some(sum.map_or(term.clone(), |sum| &sum + &term));
        }
        Ok(sum)
    };
    let inputs: Vec<Tensor> = sample.inputs.iter().map(|i| tensor(device, i)).collect::<Result<_>>()?;
    let Some(first) = weighted(&inputs)? else { return Ok(true) };
    let xs: Vec<&Tensor> = float.iter().map(|&i| &inputs[i]).collect();
    let second = try_vjp(&[&first], &[&Tensor::ones(device, first.shape())], &xs);
    let (mut got, mut scale) = (0f64, 1e-3f64);
    for (&i, d) in float.iter().zip(&second) {
        let Some(d) = d else { continue };
        let direction = noise(sample.inputs[i].values.len(), 300 + i as u64);
        for (a, b) in d.to_f64_vec()?.iter().zip(&direction) {
            got += a * b;
            scale += (a * b).abs();
        }
    }
    let at = |step: f64| -> Result<f64> {
        let moved: Vec<Tensor> = sample
            .inputs
            .iter()
            .enumerate()
            .map(|(i, input)| {
                let mut input = input.clone();
                if float.contains(&i) {
                    let direction = noise(input.values.len(), 300 + i as u64);
                    input.values.iter_mut().zip(direction).for_each(|(x, d)| *x += step * d);
                }
                tensor(device, &input)
            })
            .collect::<Result<_>>()?;
        weighted(&moved)?.map_or(Ok(0.0), |t| Ok(t.to_f64_vec()?[0]))
    };
    let h = 1e-5;
    let want = (8.0 * (at(h)? - at(-h)?) - (at(2.0 * h)? - at(-2.0 * h)?)) / (12.0 * h);
    Ok((got - want).abs() <= 1e-5 * scale.max(want.abs()))
}
