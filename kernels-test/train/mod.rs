//! Training runs: the loop, what is saved and told, and the model families.

mod checkpoint;
mod cnn;
mod gan;
mod report;
mod rnn;
mod run;
mod summary;
mod vae;

use wgrad::Device;
use wgrad::data::{Images, digits};
use wgrad::nn::{Dropout, Flatten, Init, Linear, Relu, Sequential};
use wgrad::optim::Adam;
use wgrad::train::{Labelled, Supervised, Task};

use crate::registry::under_test;

/// A network with everything that a resumed run could forget: a random draw, moments, an order of data.
fn mlp(device: &Device, seed: u64) -> Sequential {
    let mut init = Init::new(device, seed);
    let net = Sequential::new().then(Flatten).then(Linear::new(&mut init, 784, 16).unwrap()).then(Relu);
    net.then(Dropout::new(0.25)).then(Linear::new(&mut init, 16, 10).unwrap())
}

fn pictures() -> Images {
    digits::generate(60, 3)
}

fn task<'a>(device: &Device, set: &'a Images) -> Supervised<'a, Sequential, Labelled> {
    Supervised::classifier(mlp(device, 1), Box::new(Adam::new(1e-2).clip_norm(0.5)), set, 16, 5).unwrap()
}

/// Numbers in [-scale, scale) by a hash of their index, as the benchmarks and the scripts of PyTorch make them.
fn numbers(count: usize, seed: u32, scale: f32) -> Vec<f32> {
    let hash = |i: u32| {
        let mut x = i.wrapping_mul(0x9E37_79B9).wrapping_add(seed.wrapping_mul(0x85EB_CA6B));
        x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
        x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
        x ^ (x >> 16)
    };
    (0..count as u32).map(|i| ((hash(i) >> 8) as f32 * (2.0 / (1u32 << 24) as f32) - 1.0) * scale).collect()
}

/// Runs a task on the software GPU and on the CPU path from the same weights; every figure of every step must agree.
fn same_losses<T: Task>(steps: usize, tolerance: f32, make: impl Fn(&Device) -> T) {
    let run = |device: &Device| {
        let mut task = make(device);
        let mut all = Vec::new();
        for step in 0..steps {
            for (name, figure) in task.step().unwrap() {
                all.push((step, name, figure.item().unwrap()));
            }
        }
        all
    };
    let (gpu, cpu) = (run(&under_test()), run(&Device::cpu()));
    assert_eq!(gpu.len(), cpu.len());
    for ((step, name, g), (.., c)) in gpu.into_iter().zip(cpu) {
        assert!((g - c).abs() <= tolerance * c.abs(), "step {step}, {name}: {g} on the GPU, {c} on the CPU path");
    }
}
