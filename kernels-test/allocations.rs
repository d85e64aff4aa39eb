//! What a steady step takes from the allocator of the host, counted: a test binary of its own, for it counts all
//! threads.

#[path = "../benches/workloads/mod.rs"]
mod workloads;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wgrad::device::{GpuOptions, Kind};
use wgrad::functional::RecurrentWeights;
use wgrad::nn::{Buffer, settle};
use wgrad::{Device, Tensor, eval};
use workloads::{NAMES, make};

/// The system's allocator, and how often it was asked for memory.
struct Counting;

static ASKED: AtomicU64 = AtomicU64::new(0);
/// The bytes it was asked for.
static BYTES: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it is; the counter is apart from it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Relaxed);
        BYTES.fetch_add(size as u64, Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The fewest allocations of several runs: caches grow in some of them.
fn allocations(device: &Device, mut run: impl FnMut()) -> u64 {
    let wait = || {
        if let Kind::Gpu(gpu) = device.kind() {
            gpu.wait().unwrap();
        }
    };
    let counted = (0..8).map(|_| {
        wait();
        let before = ASKED.load(Relaxed);
        run();
        wait();
        ASKED.load(Relaxed) - before
    });
    counted.skip(3).min().unwrap()
}

/// The most allocations of a step, on llvmpipe and on the CPU path. Where a change needs fewer, lower its numbers.
const STEPS: &[(&str, u64, u64)] =
    &[("lr_step", 800, 630), ("dqn_step", 1820, 1480), ("vae_step", 3950, 3200), ("rnn_step_b1", 7080, 1480)];

/// The most allocations of a replayed step, as on a real GPU, its share of the submission included.
const REPLAYED: &[(&str, f64)] = &[("lr_step", 25.0), ("dqn_step", 40.0)];

/// Allocations of one launch of a known plan: those of wgpu, where it records and submits it.
const PER_LAUNCH: f64 = 1.1;

/// The allocations of evaluating a known plan, and its launches: `rnn` is one op of two launches per step of its
/// sequence.
fn evaluation(device: &Device, steps: usize) -> (u64, u64) {
    let floats = |shape: &[usize]| {
        let n = shape.iter().product::<usize>();
        Tensor::from_slice(device, &vec![0.01f32; n], shape).unwrap()
    };
    let w = RecurrentWeights::new(&floats(&[32, 3]), &floats(&[32, 32]));
    let x = floats(&[steps, 64, 3]);
    let mut launches = 0;
    let mut results = Vec::new();
    let counted = allocations(device, || {
        let y = x.rnn(&w, None, false, false).0;
        let (before, asked) = (device.counters(), ASKED.load(Relaxed));
        eval(&[&y]).unwrap();
        launches = device.counters().since(&before).dispatches;
        results.push(ASKED.load(Relaxed) - asked);
    });
    assert!(counted > 0);
    (*results[3..].iter().min().unwrap(), launches)
}

struct Ring {
    kept: Buffer,
}
wgrad::parameters!(Ring { kept });

/// The bytes that writing four numbers into a buffer of a million takes on the CPU path.
fn bytes_of_a_slice() -> u64 {
    let device = Device::cpu();
    let ring = Ring { kept: Buffer::new(Tensor::zeros(&device, [1 << 20])).unwrap() };
    let src = Tensor::from_slice(&device, &[1f32, 2.0, 3.0, 4.0], 4).unwrap();
    let counted = (0..8u32).map(|k| {
        let before = BYTES.load(Relaxed);
        ring.kept.record(&ring.kept.get().dynamic_update_slice(0, &src, &Tensor::scalar(&device, 4 * k)));
        settle(&ring).unwrap();
        BYTES.load(Relaxed) - before
    });
    let least = counted.skip(1).min().unwrap();
    assert_eq!(ring.kept.get().to_vec::<f32>().unwrap()[28..33], [1.0, 2.0, 3.0, 4.0, 0.0]);
    least
}

// One test, since a second would run beside it and be counted.
#[test]
fn a_steady_step_takes_no_more_memory_than_before() {
    let mut failures = Vec::new();
    let software = |gpu_variants, variant| {
        let options = GpuOptions { software: true, gpu_variants, variant, ..GpuOptions::default() };
        Device::gpu(&options).unwrap_or_else(|e| panic!("{e}"))
    };
    for &(name, on_gpu, on_cpu) in STEPS {
        for (device, most) in [(software(false, None), on_gpu), (Device::cpu(), on_cpu)] {
            assert!(NAMES.contains(&name));
            let mut work = make(name, &device, false).unwrap();
            let counted = allocations(&device, || work.step().unwrap());
            if counted > most {
                failures.push(format!("{name} on {device}: {counted} allocations in a steady step, {most} before"));
            }
            assert!(work.parameters().is_some() && work.check().unwrap()[0].is_finite(), "{name} is no training step");
        }
    }
    // As on a real GPU: one pass, no textures.
    let device = software(true, None);
    for &(name, most) in REPLAYED {
        let mut work = make(name, &device, true).unwrap();
        work.steps(10).unwrap();
        let (few, many) = [10, 40].map(|steps| allocations(&device, || work.steps(steps).unwrap())).into();
        let each = many.saturating_sub(few) as f64 / 30.0;
        println!("{name}: {few} allocations for 10 replayed steps, {many} for 40: {each} each");
        if !work.is_replayed() || each > most {
            failures.push(format!("{name}: {each:.2} allocations for each replayed step, {most} before"));
        }
    }
    // By the product that is asked for: else all steps of the sequence are one launch.
    let device = software(true, Some("tile32"));
    let (short, long) = (evaluation(&device, 20), evaluation(&device, 120));
    assert!(long.1 >= short.1 + 100, "{} launches for 20 steps, {} for 120", short.1, long.1);
    let per_launch = long.0.saturating_sub(short.0) as f64 / (long.1 - short.1) as f64;
    println!("{} allocations for {} launches, {} for {}: {per_launch} each", short.0, short.1, long.0, long.1);
    if per_launch > PER_LAUNCH {
        failures.push(format!("each launch of a known plan takes {per_launch:.2} allocations, {PER_LAUNCH} before"));
    }
    let bytes = bytes_of_a_slice();
    if bytes > 100_000 {
        failures.push(format!("a slice of 16 bytes written into a buffer of 4 MiB took {bytes} bytes: it is copied"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
