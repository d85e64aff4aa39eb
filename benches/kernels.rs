//! Times single ops, and says how far each is from what the device could do.
//!
//! `cargo bench --bench kernels -- [NAMES] [--device D] [--repeats N]`, where NAMES is `all` (the default), `list`,
//! `samples` (every sample of the registry: small, so they show what a launch costs) or names with commas. One JSON
//! line per op on standard output, and a table on standard error.
//!
//! The time is that of the op's steps alone, by the clock of the device where it has timestamps and else by that of the
//! host around a step that is waited for; the best of the repeats. The roof is measured in the same run: bytes per
//! second of the sum of two large arrays, operations per second of the largest product. An op at 100 % of the roof
//! takes as long as moving its inputs and results once, or as its multiplications, whichever is longer.

use std::collections::HashMap;
use std::sync::Arc;

use wgrad::ops::lstm::{Lstm, LstmGrad};
use wgrad::ops::rnn::{Rnn, RnnGrad};
use wgrad::ops::{Conv2dOptions, Pool2dOptions, REGISTRY};
use wgrad::plan::profile::profile;
use wgrad::tensor::DType;
use wgrad::{Device, Result, Tensor, autodiff, eval, selftest};

type Record = Box<dyn Fn() -> Vec<Tensor>>;

/// An op at a size that occurs in training, and its multiplications and additions; 0 where bytes are all that counts.
struct Case {
    name: String,
    flops: f64,
    record: Record,
}

/// What one run of a case costs at best.
struct Cost {
    seconds: f64,
    bytes: f64,
    steps: usize,
}

fn measure(device: &Device, record: &Record, repeats: usize) -> Result<Cost> {
    let run = || -> Result<()> { eval(&record().iter().collect::<Vec<_>>()) };
    run()?;
    let mut cost = Cost { seconds: f64::INFINITY, bytes: 0.0, steps: 0 };
    for _ in 0..repeats.max(1) {
        let ((), profile) = profile(device, run)?;
        let seconds: f64 = profile.events().iter().map(|e| e.seconds).sum();
        if seconds < cost.seconds {
            let bytes = profile.events().iter().map(|e| e.bytes as f64).sum();
            cost = Cost { seconds, bytes, steps: profile.events().len() };
        }
    }
    Ok(cost)
}

/// Numbers in [-1, 1) that do not repeat soon.
fn numbers(device: &Device, shape: &[usize]) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let value = |i: usize| ((i as u32).wrapping_mul(0x9E37_79B9) >> 8) as f32 * (2.0 / (1u32 << 24) as f32) - 1.0;
    Tensor::from_slice(device, &(0..n).map(value).collect::<Vec<_>>(), shape)
}

/// The ops and sizes, the two that measure the roof first.
fn cases(device: &Device, largest: usize, long: usize) -> Result<Vec<Case>> {
    let mut all: Vec<Case> = Vec::new();
    let mut case =
        |name: &str, flops: usize, record: Record| all.push(Case { name: name.into(), flops: flops as f64, record });
    let x = |shape: &[usize]| numbers(device, shape);
    let labels = |n: usize, classes: u32| {
        Tensor::from_slice(device, &(0..n as u32).map(|i| i * 7 % classes).collect::<Vec<_>>(), [n])
    };

    let (a, b) = (x(&[long])?, x(&[long])?);
    let c = a.clone();
    case(&format!("add_{}m", long >> 20), 0, Box::new(move || vec![&a + &b]));
    let (a, b) = (x(&[largest, largest])?, x(&[largest, largest])?);
    case("matmul", 2 * largest.pow(3), Box::new(move || vec![a.matmul(&b)]));
    case(&format!("sum_{}m", long >> 20), 0, Box::new(move || vec![c.sum_all()]));
    let (a, b) = (
        numbers(device, &[largest, largest])?.cast(DType::F16),
        numbers(device, &[largest, largest])?.cast(DType::F16),
    );
    let (a, b) = (a.into_leaf(false)?, b.into_leaf(false)?);
    case("matmul_halves", 2 * largest.pow(3), Box::new(move || vec![a.matmul(&b)]));
    for n in [largest / 4, largest / 2] {
        let (a, b) = (x(&[n, n])?, x(&[n, n])?);
        case(&format!("matmul_{n}"), 2 * n.pow(3), Box::new(move || vec![a.matmul(&b)]));
    }

    let (a, w) = (x(&[50, 3136])?, x(&[1024, 3136])?);
    case("linear_50x3136x1024", 2 * 50 * 3136 * 1024, Box::new(move || vec![a.matmul(&w.transpose(0, 1))]));
    let (a, b) = (x(&[256, 64, 64])?, x(&[256, 64, 64])?);
    case("matmul_256_of_64", 2 * 256 * 64usize.pow(3), Box::new(move || vec![a.matmul(&b)]));

    for (name, shape, weight, stride) in [
        ("conv_5x5", [50, 32, 14, 14], [64, 32, 5, 5], 1),
        ("conv_3x3", [16, 64, 32, 32], [64, 64, 3, 3], 1),
        ("conv_4x4_stride_2", [64, 64, 14, 14], [128, 64, 4, 4], 2),
    ] {
        let options =
            Conv2dOptions { stride: [stride; 2], padding: ((weight[2] - 1) / 2).into(), ..Conv2dOptions::default() };
        let (x, w) = (x(&shape)?, x(&weight)?);
        let y = x.conv2d(&w, None, &options).into_leaf(false)?;
        let flops = 2 * y.elements() * weight[1] * weight[2] * weight[3];
        let gradient = |to: usize| -> Record {
            let (x, w, y) = (x.clone(), w.clone(), y.clone());
            Box::new(move || {
                let loss = (&x.conv2d(&w, None, &options) * &y).sum_all();
                autodiff::grad(&loss, &[[&x, &w][to]])
            })
        };
        case(&format!("{name}_input_grad"), flops, gradient(0));
        case(&format!("{name}_weight_grad"), flops, gradient(1));
        case(name, flops, Box::new(move || vec![x.conv2d(&w, None, &options)]));
    }

    // Fifty steps of fifty rows, both ways: a weight that a workgroup holds, one of which it reads a part again in
    // every step, and one that takes a launch per step.
    for h in [64, 128, 256] {
        let (wide, states, state) = (x(&[50, 50, 4 * h])?, x(&[50, 50, h])?, x(&[50, h])?);
        let (w, bias, reverse, flops) = (x(&[4 * h, h])?, x(&[4 * h])?, false, 8 * 50 * 50 * h * h);
        let given = [&wide, &w, &bias, &bias, &state, &state].map(Tensor::clone);
        let known = [&wide, &states, &state, &w, &states, &states].map(Tensor::clone);
        let forward = move || Tensor::apply_all(Lstm { reverse }, &given.each_ref());
        let backward = move || Tensor::apply_all(LstmGrad { reverse }, &known.each_ref());
        case(&format!("lstm_{h}"), flops, Box::new(forward));
        case(&format!("lstm_{h}_grad"), flops, Box::new(backward));
        let (w, bias, relu) = (x(&[h, h])?, x(&[h])?, false);
        let given = [&states, &w, &bias, &bias, &state].map(Tensor::clone);
        let known = [&states, &w, &states].map(Tensor::clone);
        let forward = move || Tensor::apply_all(Rnn { reverse, relu }, &given.each_ref());
        let backward = move || Tensor::apply_all(RnnGrad { reverse, relu }, &known.each_ref());
        case(&format!("rnn_{h}"), flops / 4, Box::new(forward));
        case(&format!("rnn_{h}_grad"), flops / 4, Box::new(backward));
    }

    let a = x(&[4096, 1000])?;
    let (b, c, y) = (a.clone(), a.clone(), labels(4096, 1000)?);
    case("softmax_4096x1000", 0, Box::new(move || vec![a.softmax(1)]));
    case("cross_entropy_4096x1000", 0, Box::new(move || vec![b.cross_entropy(&y)]));
    case("sum_columns_4096x1000", 0, Box::new(move || vec![c.sum(&[0])]));
    let a = x(&[50, 32, 28, 28])?;
    let b = a.clone();
    case("max_pool_2x2", 0, Box::new(move || vec![a.max_pool2d(&Pool2dOptions::new([2, 2]))]));
    case("gelu", 0, Box::new(move || vec![b.gelu()]));
    let a = x(&[64, 64, 56, 56])?;
    let (b, c) = (a.clone(), a.clone());
    case("batch_statistics_64x64x56x56", 0, Box::new(move || vec![b.var(&[0, 2, 3], 0.0)]));
    case("exp_transposed_64x64x3136", 0, Box::new(move || vec![c.reshape([64, 64, 3136]).transpose(1, 2).exp()]));
    let (table, places) = (x(&[20_000, 256])?, labels(4096, 20_000)?);
    case("embedding_4096x256", 0, Box::new(move || vec![table.embedding(&places, None)]));
    Ok(all)
}

/// Every sample of the registry.
fn samples(device: &Device) -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for entry in REGISTRY {
        for (number, sample) in (entry.samples)().into_iter().enumerate() {
            let inputs = sample.inputs.iter().map(|i| selftest::tensor(device, i)).collect::<Result<Vec<_>>>()?;
            let op = sample.op;
            let record: Record = Box::new(move || {
                let inputs: Vec<&Tensor> = inputs.iter().collect();
                Tensor::try_apply_any(Arc::clone(&op), &inputs).expect("a sample fits")
            });
            all.push(Case { name: format!("{}_{number}", entry.name), flops: 0.0, record });
        }
    }
    Ok(all)
}

/// What the device can do.
struct Roof {
    bytes: f64,
    flops: f64,
}

fn report(device: &Device, case: &Case, cost: &Cost, roof: &Roof) {
    let Cost { seconds, bytes, steps } = *cost;
    let best = (bytes / roof.bytes).max(case.flops / roof.flops);
    let (us, rate, flops, share) = (seconds * 1e6, bytes / seconds / 1e9, case.flops / seconds / 1e9, best / seconds);
    println!(
        "{{\"peer\": \"wgrad\", \"device\": {:?}, \"op\": {:?}, \"us\": {us:.2}, \"steps\": {steps}, \"gb_per_s\": {rate:.3}, \
         \"gflop_per_s\": {flops:.3}, \"of_roof\": {share:.4}}}",
        device.to_string(),
        case.name,
    );
    eprintln!("{:32} {us:>12.2} {rate:>9.2} {flops:>10.2} {:>7.1}%", case.name, 100.0 * share);
}

fn run(names: &str, device: &str, repeats: usize) -> Result<()> {
    let device = Device::named(device)?;
    // What a GPU needs to be busy would take a software rasteriser minutes, and the CPU path seconds.
    let (largest, long) = match device.as_gpu() {
        Some(gpu) if gpu.summary().software => (256, 1 << 24),
        Some(_) => (4096, 1 << 27),
        None => (1024, 1 << 24),
    };
    let mut all = cases(&device, largest, long)?;
    if names == "list" {
        all.iter().for_each(|case| println!("{}", case.name));
        return Ok(());
    }
    let copy = measure(&device, &all[0].record, repeats)?;
    let product = measure(&device, &all[1].record, repeats)?;
    let roof = Roof { bytes: copy.bytes / copy.seconds, flops: all[1].flops / product.seconds };
    eprintln!("{device}: {:.1} GB/s, {:.1} GFLOP/s", roof.bytes / 1e9, roof.flops / 1e9);
    eprintln!("{:32} {:>12} {:>9} {:>10} {:>8}", "op", "us", "GB/s", "GFLOP/s", "of roof");
    if names == "samples" {
        all = samples(&device)?;
    }
    let wanted: HashMap<&str, ()> = names.split(',').map(|name| (name, ())).collect();
    for case in &all {
        if ["all", "samples"].contains(&names) || wanted.contains_key(&case.name[..]) {
            report(&device, case, &measure(&device, &case.record, repeats)?, &roof);
        }
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    let (mut names, mut device, mut repeats) = ("all".to_string(), "auto".to_string(), 10);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        match &word[..] {
            "--device" => device = value(),
            "--repeats" => repeats = value().parse().unwrap_or(repeats),
            "--bench" => {} // cargo adds it
            _ => names = word,
        }
    }
    match run(&names, &device, repeats) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            std::process::ExitCode::FAILURE
        }
    }
}
