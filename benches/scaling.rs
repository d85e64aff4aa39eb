//! Whether the time of a training step grows linearly in batch, length and width: a table, and a plot of each.
//!
//! `cargo bench --bench scaling -- [--device D] [--largest N] [--seconds S] [--report FILE.html]`. Each of the three is
//! doubled from a small value up to `N` times it, everything else held still. A device that is not full yet takes the
//! same time for twice the work, so the growth is told for the largest four sizes: the slope of log time over log size,
//! 1 where the time is proportional. A time is the median of at least five steps and `S` seconds.

use std::time::Instant;

use wgrad::device::Kind;
use wgrad::nn::{Init, Linear, Lstm, Module, Pass, RecurrentOptions, Relu, Sequential};
use wgrad::optim::{Adam, Optimizer};
use wgrad::train::report::Report;
use wgrad::{Device, Error, Result, Tensor};

struct Args {
    device: String,
    largest: usize,
    seconds: f64,
    report: Option<String>,
}

fn parse() -> Result<Args> {
    let mut args = Args { device: "auto".into(), largest: 32, seconds: 0.3, report: None };
    let mut words = std::env::args().skip(1);
    let usage = || Error::argument("an unknown option, or one without its value", "see the head of benches/scaling.rs");
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(usage);
        match word.as_str() {
            "--device" => args.device = value()?,
            "--largest" => args.largest = value()?.parse().map_err(|_| usage())?,
            "--seconds" => args.seconds = value()?.parse().map_err(|_| usage())?,
            "--report" => args.report = Some(value()?),
            "--bench" => {} // cargo adds it
            _ => return Err(usage()),
        }
    }
    Ok(args)
}

/// A step of training, at a size.
type Step = Box<dyn FnMut() -> Result<()>>;

fn train(device: &Device, mut net: Sequential, shape: &[usize], classes: usize) -> Result<Step> {
    let n: usize = shape.iter().product();
    let x = Tensor::from_slice(device, &(0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>(), shape)?;
    let rows = n / shape[shape.len() - 1];
    let labels: Vec<u32> = (0..rows).map(|i| (i * 7 % classes) as u32).collect();
    let labels = Tensor::from_slice(device, &labels, rows)?;
    let (mut adam, mut pass) = (Adam::new(1e-3), Pass::train(0));
    Ok(Box::new(move || {
        let loss = net.forward(&x, &mut pass).reshape([rows, classes]).cross_entropy(&labels);
        adam.step(&mut net, &loss)
    }))
}

/// Two linear layers, 256 to `width` to 10.
fn perceptron(device: &Device, batch: usize, width: usize) -> Result<Step> {
    let init = &mut Init::new(device, 0);
    let net = Sequential::new().then(Linear::new(init, 256, width)?).then(Relu).then(Linear::new(init, width, 10)?);
    train(device, net, &[batch, 256], 10)
}

/// An LSTM of 64 units over a batch of 16 sequences.
fn sequence(device: &Device, length: usize) -> Result<Step> {
    let init = &mut Init::new(device, 0);
    let options = RecurrentOptions { batch_first: true, ..Default::default() };
    let net = Sequential::new().then(Lstm::new(init, 32, 64, &options)?).then(Linear::new(init, 64, 32)?);
    train(device, net, &[16, length, 32], 32)
}

fn sync(device: &Device) -> Result<()> {
    match device.kind() {
        Kind::Gpu(gpu) => gpu.wait(),
        _ => Ok(()),
    }
}

/// Milliseconds of a step.
fn time(device: &Device, mut step: Step, seconds: f64) -> Result<f64> {
    for _ in 0..3 {
        step()?;
    }
    sync(device)?;
    let (mut times, begun) = (Vec::new(), Instant::now());
    while times.len() < 5 || begun.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        step()?;
        sync(device)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// The slope of log time over log size, by least squares over the largest four sizes.
fn growth(points: &[(f64, f64)]) -> f64 {
    let last: Vec<(f64, f64)> = points[points.len().saturating_sub(4)..].iter().map(|p| (p.0.ln(), p.1.ln())).collect();
    let n = last.len() as f64;
    let (x, y) = (last.iter().map(|p| p.0).sum::<f64>() / n, last.iter().map(|p| p.1).sum::<f64>() / n);
    let (above, below) = last.iter().fold((0.0, 0.0), |(a, b), p| (a + (p.0 - x) * (p.1 - y), b + (p.0 - x).powi(2)));
    above / below
}

/// What grows, its smallest value, and a step of a network of that size.
type Axis = (&'static str, usize, fn(&Device, usize) -> Result<Step>);

fn main() -> Result<()> {
    let args = parse()?;
    let device = Device::named(&args.device)?;
    let axes: [Axis; 3] = [
        ("batch", 64, |d, n| perceptron(d, n, 256)),
        ("length", 8, sequence),
        ("width", 64, |d, n| perceptron(d, 64, n)),
    ];
    let mut report = Report::new("Time of a training step");
    report.text("Device", &device.to_string());
    for (name, smallest, make) in axes {
        let mut points = Vec::new();
        let mut size = smallest;
        while size <= smallest * args.largest {
            let ms = time(&device, make(&device, size)?, args.seconds)?;
            println!("{{\"device\": {:?}, {name:?}: {size}, \"ms\": {ms:.4}}}", args.device);
            points.push((size as f64, ms));
            size *= 2;
        }
        let slope = growth(&points);
        println!("{{\"device\": {:?}, \"axis\": {name:?}, \"growth\": {slope:.3}}}", args.device);
        let title = format!("{name}: time grows with its power {slope:.2}");
        report.chart(&title, name, &[("milliseconds".into(), points)]);
    }
    match &args.report {
        Some(file) => report.save(file),
        None => Ok(()),
    }
}
