//! What this machine has and whether it can be trusted: adapters, drivers and limits; what is missing and how to
//! install it; every kernel run on every sample and held against the double-precision reference; and how fast it is,
//! with the size of work from which a GPU beats the CPU.
//!
//! `cargo run --release --example doctor`; `--device software` for one device, `--ops` for the registry with the order
//! of differentiability of each op. The exit code is not zero if a kernel is wrong.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use wgrad::device::{Device, GpuOptions, Kind, adapters};
use wgrad::ops::{Conv2dOptions, REGISTRY};
use wgrad::plan::Measured;
use wgrad::selftest::{self, Order};
use wgrad::tensor::DType;
use wgrad::{Error, Result, Tensor};

#[derive(Parser)]
#[command(about = "Says what this machine has and whether its kernels are right")]
struct Options {
    /// Only this device: gpu, software, cpu or reference
    #[arg(long)]
    device: Option<String>,
    /// Only ops whose name starts so
    #[arg(long)]
    only: Option<String>,
    /// Also how often each op can be differentiated
    #[arg(long)]
    ops: bool,
    /// No self-test, only what there is and how fast
    #[arg(long)]
    no_selftest: bool,
    /// Also time the kernels of products and convolutions of some sizes, and keep the choice for later processes
    #[arg(long)]
    tune: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    println!("wgrad {}", env!("CARGO_PKG_VERSION"));
    let seen = adapters();
    for adapter in &seen {
        println!("adapter: {adapter}{}", if adapter.software { ", a software rasteriser" } else { "" });
    }
    let mut devices = Vec::new();
    let names: Vec<&str> = match &options.device {
        Some(name) => vec![name],
        None => vec!["gpu", "software", "cpu"],
    };
    for name in names {
        // The first test of an adapter is with wgpu's checks, whatever was found before.
        let opened = match name {
            "gpu" => Device::gpu(&GpuOptions { trusted: Some(false), ..Default::default() }),
            other => Device::named(other),
        };
        match opened {
            Ok(device) => devices.push(device),
            // Not every machine has all of them; the message says what to install.
            Err(fault @ Error::NoAdapter { .. }) if options.device.is_none() => {
                println!("missing: {fault}");
                install_line().into_iter().for_each(|line| println!("on this system: {line}"));
            }
            Err(fault) => return Err(fault),
        }
    }
    let mut well = true;
    for device in &devices {
        println!("\n== {device}");
        describe(device);
        let right = options.no_selftest || self_test(device, options)?;
        well &= right && (options.no_selftest || matrix_units(device)?);
        speed(device)?;
        if options.tune {
            tune(device)?;
        }
        if let Some(gpu) = device.as_gpu().filter(|gpu| !options.no_selftest && !gpu.summary().software) {
            gpu.set_trusted(right && without_checks(options)?);
        }
    }
    let cpu = Device::cpu();
    for device in devices.iter().filter(|d| d.as_gpu().is_some()) {
        break_even(device, &cpu)?;
    }
    Ok(well)
}

/// What installs Vulkan drivers, llvmpipe among them, on the distribution that this is.
fn install_line() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let field = |name: &str| {
        let line = release.lines().find_map(|l| l.strip_prefix(name))?;
        Some(line.trim_matches('"').to_string())
    };
    let (id, like) = (field("ID=")?, field("ID_LIKE=").unwrap_or_default());
    let is = |name: &str| id == name || like.split(' ').any(|l| l == name);
    let line = match () {
        _ if is("debian") || is("ubuntu") => "apt-get install mesa-vulkan-drivers",
        _ if is("fedora") || is("rhel") => "dnf install mesa-vulkan-drivers",
        _ if is("arch") => {
            "pacman -S vulkan-icd-loader vulkan-swrast (and vulkan-radeon, vulkan-intel or nvidia-utils)"
        }
        _ if is("suse") || is("opensuse") => "zypper install Mesa-vulkan-device-select libvulkan_lvp",
        _ if is("alpine") => "apk add mesa-vulkan-swrast vulkan-loader",
        _ => return None,
    };
    Some(format!("{line}    ({id})"))
}

fn describe(device: &Device) {
    let Some(gpu) = device.as_gpu() else {
        return println!("{} threads", std::thread::available_parallelism().map_or(1, |n| n.get()));
    };
    let l = gpu.limits();
    let mb = |bytes: u64| bytes >> 20;
    println!("driver: {}", gpu.summary().driver);
    println!(
        "limits: buffers of {} MB, bindings of {} MB, {} storage buffers per kernel, {} bytes of workgroup memory, workgroups of {}",
        mb(l.max_buffer_size),
        mb(l.max_storage_buffer_binding_size),
        l.max_storage_buffers_per_shader_stage,
        l.max_compute_workgroup_storage_size,
        l.max_compute_invocations_per_workgroup
    );
    let subgroup = match gpu.subgroup_size() {
        0 => String::from("no one subgroup size"),
        n => format!("subgroups of {n}"),
    };
    println!("features: {}, {subgroup}", if gpu.has_immediates() { "immediates" } else { "no immediates" });
}

/// The same on the GPU without checks of bounds in the kernels; whether they are right, all of them.
fn without_checks(options: &Options) -> Result<bool> {
    let device = Device::gpu(&GpuOptions { trusted: Some(true), ..Default::default() })?;
    println!("\n== {device}, kernels without checks of bounds");
    let right = self_test(&device, options)?;
    speed(&device)?;
    let trusted = right && options.only.is_none();
    println!("from now on kernels run {} on this adapter", if trusted { "without checks" } else { "with checks" });
    Ok(trusted)
}

/// Products of halves on matrix units, where there are any: used from the next process on if all are right.
fn matrix_units(device: &Device) -> Result<bool> {
    let Some(gpu) = device.as_gpu() else { return Ok(true) };
    let software = gpu.summary().software;
    let Some(faults) = selftest::cooperative(&GpuOptions { software, ..Default::default() })? else {
        println!("cooperative matrices: none that the kernels can use");
        return Ok(true);
    };
    let right = faults.is_empty();
    println!(
        "cooperative matrices: products are {}",
        if right { "right, and used from now on" } else { "WRONG, not used" }
    );
    faults.iter().for_each(|fault| println!("    {fault}"));
    gpu.set_cooperative(right);
    Ok(right)
}

/// Every kernel on every sample.
fn self_test(device: &Device, options: &Options) -> Result<bool> {
    let wanted = |name: &str| options.only.as_ref().is_none_or(|o| name.starts_with(o.as_str()));
    let (mut samples, mut faults) = (0, 0);
    println!(
        "{:<34}{:>8}{:>16}{}",
        "op",
        "samples",
        "error/allowed",
        if options.ops { "  inputs with gradients, order" } else { "" }
    );
    for entry in REGISTRY.iter().filter(|e| wanted(e.name)) {
        let found = selftest::run(device, entry);
        samples += found.samples;
        faults += found.faults.len();
        let verdict = if found.faults.is_empty() { format!("{:.3}", found.worst) } else { "FAILED".into() };
        let extra = if options.ops {
            let (floats, all) = selftest::float_inputs(entry);
            match selftest::order(entry)? {
                Order::Never(why) => format!("  0 of {all}: {why:?}"),
                Order::Once => format!("  {floats} of {all}, once"),
                Order::Twice => format!("  {floats} of {all}, twice or more"),
            }
        } else {
            String::new()
        };
        println!("{:<34}{:>8}{verdict:>16}{extra}", found.name, found.samples);
        found.faults.iter().for_each(|f| println!("    {f}"));
    }
    println!("{samples} samples of {} ops, {faults} wrong", REGISTRY.iter().filter(|e| wanted(e.name)).count());
    Ok(faults == 0)
}

/// The median time of a call, after two to warm up.
fn time(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < 5 || (times.len() < 50 && begun.elapsed().as_secs_f64() < 0.5) {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    let mut timed = times.split_off(2);
    timed.sort_by(f64::total_cmp);
    Ok(timed[timed.len() / 2])
}

/// Computes a tensor and waits for it, without reading it back.
fn finish(device: &Device, y: &Tensor) -> Result<()> {
    wgrad::eval(&[y])?;
    match device.kind() {
        Kind::Gpu(gpu) => gpu.wait(),
        _ => Ok(()),
    }
}

fn speed(device: &Device) -> Result<()> {
    let small = Tensor::from_slice(device, &[1f32; 64], 64)?;
    let latency = time(|| finish(device, &small.exp()))?;
    println!("a launch and its wait: {:.1} us", latency * 1e6);
    let n = 1 << 22;
    let host = vec![1f32; n];
    let up = time(|| Tensor::from_slice(device, &host, n).and_then(|x| finish(device, &x)))?;
    let large = Tensor::from_slice(device, &host, n)?;
    let down = time(|| large.to_vec::<f32>().map(drop))?;
    let copy = time(|| finish(device, &(&large + 1.0)))?;
    let rate = |bytes: usize, seconds: f64| bytes as f64 / seconds / 1e9;
    println!(
        "{} MB: up {:.2} GB/s, down {:.2} GB/s, read and written by a kernel {:.2} GB/s",
        (n * 4) >> 20,
        rate(n * 4, up),
        rate(n * 4, down),
        rate(n * 8, copy)
    );
    let m = 512;
    let (a, b) = (large.narrow(0, 0, m * m).reshape([m, m]), large.narrow(0, m * m, m * m).reshape([m, m]));
    let product = time(|| finish(device, &a.matmul(&b)))?;
    println!("matmul {m}: {:.2} GFLOP/s", 2.0 * (m * m * m) as f64 / product / 1e9);
    Ok(())
}

/// What the table of choices takes for some products and convolutions, and what is the fastest.
fn tune(device: &Device) -> Result<()> {
    let noise = |shape: &[usize]| Tensor::from_f64_slice(device, &selftest::noise(shape.iter().product(), 1), shape);
    // Rows, columns and depth: square ones, one of a classifier's, a long sum, a few rows.
    for [m, n, k] in [[128, 128, 128], [512, 512, 512], [64, 10, 128], [64, 512, 4096], [2, 512, 512]] {
        let (a, b) = (noise(&[m, k])?, noise(&[k, n])?);
        finish(device, &a.matmul(&b))?;
        finish(device, &a.cast(DType::F16).matmul(&b.cast(DType::F16)))?;
    }
    // Images, channels and size; output channels and window.
    for ([images, channels, size], [outs, window]) in
        [([32, 1, 28], [8, 5]), ([32, 16, 14], [32, 3]), ([8, 64, 14], [64, 1])]
    {
        let x = noise(&[images, channels, size, size])?.into_leaf(true)?;
        let weight = noise(&[outs, channels, window, window])?.into_leaf(true)?;
        let loss = x.conv2d(&weight, None, &Conv2dOptions::default()).sum_all();
        for gradient in wgrad::autodiff::grad(&loss, &[&x, &weight]) {
            finish(device, &gradient)?;
        }
        finish(device, &loss)?;
    }
    println!("kernels of products and convolutions, us (the table's choice first):");
    for Measured { class, times, table, chosen } in device.tune()? {
        let times: Vec<String> = times.iter().map(|(name, s)| format!("{name} {:.1}", s * 1e6)).collect();
        println!("{class}\n    {} -> {chosen}\n    table is {table}", times.join(", "));
    }
    Ok(())
}

/// The smallest of some sizes from which the GPU is faster.
fn break_even(gpu: &Device, cpu: &Device) -> Result<()> {
    println!("\n== {gpu} against the CPU path");
    let elementwise = |device: &Device, n: usize| -> Result<f64> {
        let x = Tensor::from_slice(device, &vec![1f32; n], n)?;
        time(|| finish(device, &(&x.tanh() * &x)))
    };
    let matmul = |device: &Device, n: usize| -> Result<f64> {
        let x = Tensor::from_slice(device, &vec![1f32; n * n], [n, n])?;
        time(|| finish(device, &x.matmul(&x)))
    };
    report("tanh of n numbers", &[1 << 10, 1 << 14, 1 << 18, 1 << 22], |n| {
        Ok((elementwise(gpu, n)?, elementwise(cpu, n)?))
    })?;
    report("products of n x n", &[16, 64, 256, 1024], |n| Ok((matmul(gpu, n)?, matmul(cpu, n)?)))
}

fn report(what: &str, sizes: &[usize], times: impl Fn(usize) -> Result<(f64, f64)>) -> Result<()> {
    let mut even = None;
    let mut line = String::new();
    for &n in sizes {
        let (gpu, cpu) = times(n)?;
        line += &format!("  {n}: {:.3} / {:.3} ms", gpu * 1e3, cpu * 1e3);
        if gpu < cpu && even.is_none() {
            even = Some(n);
        }
    }
    let verdict = even.map_or("never among these".into(), |n| format!("from {n} on"));
    println!("{what}: the GPU is faster {verdict} (GPU / CPU:{line})");
    Ok(())
}
