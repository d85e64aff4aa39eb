//! Times ops and training steps, and prints one JSON line per workload.
//!
//! `cargo bench --bench train_step -- WORKLOADS [--device D] [--warmup N] [--steps N] [--sync-every K] [--min-seconds
//! S] [--max-seconds S] [--gpu-variants] [--tune] [--replay]`, where WORKLOADS is `all`, `list`, or names with commas.
//! `--tune` measures the variants of its products and convolutions first, prints them on standard error, and goes on
//! with the fastest. `--replay` takes the K training steps between two synchronisations at once (`optim::Steps`), and a
//! line notes whether they were replayed. Inputs come from a hash of the index, so that other libraries can be given
//! the same numbers; data are on the device before the clock starts; a training step is timed over K steps between
//! synchronisations, an op by itself. Besides the times a line has the counters of one steady step (launches,
//! submissions, bytes bound, the most memory held) and `host_us`, what the thread that records and submits a step needs
//! of a processor: on the CPU path its share of the work too.

mod workloads;

use std::time::Instant;

use wgrad::device::{GpuOptions, Kind};
use wgrad::plan::Measured;
use wgrad::{Device, Result};
use workloads::Workload;

struct Args {
    names: String,
    device: String,
    warmup: usize,
    steps: usize,
    sync_every: usize,
    min_seconds: f64,
    max_seconds: f64,
    gpu_variants: bool,
    tune: bool,
    replay: bool,
}

fn parse() -> std::result::Result<Args, String> {
    let mut args = Args {
        names: String::new(),
        device: "auto".into(),
        warmup: 5,
        steps: 30,
        sync_every: 10,
        min_seconds: 0.5,
        max_seconds: 10.0,
        gpu_variants: false,
        tune: false,
        replay: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.parse::<f64>().map_err(|_| format!("{text:?} is not a number"));
        match word.as_str() {
            "--device" => args.device = value()?,
            "--warmup" => args.warmup = number(value()?)? as usize,
            "--steps" => args.steps = number(value()?)? as usize,
            "--sync-every" => args.sync_every = number(value()?)? as usize,
            "--min-seconds" => args.min_seconds = number(value()?)?,
            "--max-seconds" => args.max_seconds = number(value()?)?,
            "--gpu-variants" => args.gpu_variants = true,
            "--tune" => args.tune = true,
            "--replay" => args.replay = true,
            "--bench" => {} // cargo adds it
            other if other.starts_with('-') => return Err(format!("unknown option {other}")),
            other => args.names = other.into(),
        }
    }
    if args.names.is_empty() {
        args.names = "all".into()
    }
    Ok(args)
}

/// The device that is wanted; with the kernels and the plans of real GPUs on a software rasteriser, if they are.
fn open(args: &Args) -> Result<Device> {
    match args.gpu_variants {
        true => Device::gpu(&GpuOptions { software: true, gpu_variants: true, ..Default::default() }),
        false => Device::named(&args.device),
    }
}

fn sync(device: &Device) -> Result<()> {
    match device.kind() {
        Kind::Gpu(gpu) => gpu.wait(),
        _ => Ok(()),
    }
}

/// (CPU seconds of this process, busy CPU seconds of the machine, now); Linux only.
fn cpu_seconds() -> Option<(f64, f64, Instant)> {
    const TICK: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let all: Vec<f64> = stat.lines().next()?.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = own[own.rfind(')')? + 2..].split(' ').collect();
    let own = (fields[11].parse::<f64>().ok()? + fields[12].parse::<f64>().ok()?) / TICK;
    Some((own, (all.iter().sum::<f64>() - all[3] - all[4]) / TICK, Instant::now()))
}

/// Seconds that this thread has had of a processor; Linux only.
fn thread_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

/// The share of the machine that others used meanwhile: how far the times can be trusted.
fn others(before: Option<(f64, f64, Instant)>, after: Option<(f64, f64, Instant)>) -> String {
    match (before, after) {
        (Some(a), Some(b)) if (b.2 - a.2).as_secs_f64() > 0.2 => {
            let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
            let share = ((b.1 - a.1) - (b.0 - a.0)).max(0.0) / ((b.2 - a.2).as_secs_f64() * cores);
            format!("{share:.3}")
        }
        _ => "null".into(),
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n % 2 == 1 { sorted[n / 2] } else { (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0 }
}

fn measure(work: &mut Workload, device: &Device, args: &Args) -> Result<String> {
    let ms = |t: Instant| t.elapsed().as_secs_f64() * 1e3;
    sync(device)?;
    let begun = Instant::now();
    work.step()?;
    sync(device)?;
    let first = ms(begun);
    if args.tune {
        for Measured { class, times, table, chosen } in device.tune()? {
            let times: Vec<String> = times.iter().map(|(name, s)| format!("{name} {:.1}", s * 1e6)).collect();
            eprintln!("{class}: {} us; the table takes {table}, the fastest is {chosen}", times.join(", "));
        }
    }
    let mut check = work.check()?;
    work.step()?;
    sync(device)?;
    let together = if args.replay && work.parameters().is_some() { args.sync_every } else { 1 };
    work.steps(together)?;
    let before = device.counters();
    work.steps(together)?;
    sync(device)?;
    let steady = device.counters().since(&before);
    let per_step = |count: u64| count as f64 / together as f64;
    let begun = Instant::now();
    for _ in 2..args.warmup {
        work.step()?;
        sync(device)?;
        if begun.elapsed().as_secs_f64() > args.max_seconds / 2.0 {
            break;
        }
    }
    let more = |samples: usize, k: usize, begun: Instant| {
        let t = begun.elapsed().as_secs_f64();
        samples == 0
            || (samples < 3 && t < 3.0 * args.max_seconds)
            || ((samples * k < args.steps || t < args.min_seconds) && t < args.max_seconds)
    };
    let (cpu, mut thread) = (cpu_seconds(), thread_seconds());
    let (mut each, begun) = (Vec::new(), Instant::now());
    while more(each.len(), 1, begun) {
        let t = Instant::now();
        work.step()?;
        sync(device)?;
        each.push(ms(t));
    }
    let mut k = 1;
    let mut samples = each.clone();
    if work.parameters().is_some() {
        k = ((args.max_seconds / (3.0 * median(&each) / 1e3)) as usize).clamp(1, args.sync_every);
        if k > 1 {
            samples.clear();
            thread = thread_seconds();
            let begun = Instant::now();
            while more(samples.len(), k, begun) {
                let t = Instant::now();
                match args.replay {
                    true => work.steps(k)?,
                    false => (0..k).try_for_each(|_| work.step())?,
                }
                sync(device)?;
                samples.push(ms(t) / k as f64);
            }
        }
    }
    let steps = samples.len() * k;
    let host = thread.zip(thread_seconds()).map(|(a, b)| (b - a) / steps as f64 * 1e6);
    if work.parameters().is_some() {
        check.extend(work.check()?);
    }
    let check: Vec<String> =
        check.iter().map(|v| if v.is_finite() { format!("{v:e}") } else { "null".into() }).collect();
    Ok(format!(
        "\"median_ms\": {:.4}, \"min_ms\": {:.4}, \"steps\": {}, \"sync_every\": {k}, \"sync_each_ms\": {:.4}, \
         \"first_step_ms\": {first:.4}, \"others_cpu\": {}, \"params\": {}, \"check\": [{}], \"dispatches\": {}, \
         \"submissions\": {}, \"bytes_bound\": {}, \"peak_bytes\": {}, \"host_us\": {}",
        median(&samples),
        samples.iter().copied().fold(f64::INFINITY, f64::min),
        steps,
        median(&each),
        others(cpu, cpu_seconds()),
        work.parameters().map_or("null".into(), |p| p.to_string()),
        check.join(", "),
        per_step(steady.dispatches),
        per_step(steady.submissions),
        per_step(steady.bytes_bound),
        steady.peak_bytes,
        host.map_or("null".into(), |us| format!("{us:.2}")),
    ))
}

fn main() -> std::process::ExitCode {
    let args = match parse() {
        Ok(args) => args,
        Err(fault) => {
            eprintln!("error: {fault}");
            return std::process::ExitCode::from(2);
        }
    };
    if args.names == "list" {
        println!("{}", workloads::NAMES.join("\n"));
        return std::process::ExitCode::SUCCESS;
    }
    let names: Vec<&str> =
        if args.names == "all" { workloads::NAMES.to_vec() } else { args.names.split(',').collect() };
    let mut failed = false;
    for name in names {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or("0").to_string();
        let result = open(&args).and_then(|device| {
            let mut work = workloads::make(name, &device, args.replay)?;
            let body = measure(&mut work, &device, &args)?;
            Ok((body, format!("{device}{}", if work.is_replayed() { "; replayed" } else { "" })))
        });
        let (body, note) = result.unwrap_or_else(|fault| {
            failed = true;
            (format!("\"error\": {:?}", fault.to_string()), String::new())
        });
        println!(
            "{{\"peer\": \"wgrad\", \"device\": {:?}, \"workload\": {name:?}, {body}, \"load1\": {}, \"note\": {note:?}}}",
            args.device,
            if load.is_empty() { "0" } else { &load },
        );
    }
    std::process::ExitCode::from(failed as u8)
}
