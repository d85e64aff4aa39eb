//! Training runs: the loop, what is saved and told, and the model families.

mod checkpoint;
mod cnn;
mod gan;
mod report;
mod rnn;
mod run;
mod summary;
mod vae;

use wgrad::data::{Images, digits};
use wgrad::nn::{Dropout, Flatten, Init, Linear, Parameters, Relu, Sequential};
use wgrad::optim::{Adam, Optimizer, OptimizerState};
use wgrad::train::{Labelled, Supervised, Task};
use wgrad::{Device, Result, Tensor};

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

/// An optimizer that does not say what its next steps are, so that each is an ordinary one.
pub struct Unforeseen(pub Adam);

impl Optimizer for Unforeseen {
    fn step(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        self.0.step(model, loss)
    }
    fn step_with_gradients(&mut self, model: &mut dyn Parameters, gradients: &[Tensor]) -> Result<()> {
        self.0.step_with_gradients(model, gradients)
    }
    fn accumulate(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        self.0.accumulate(model, loss)
    }
    fn gradient_norm(&self) -> Option<&Tensor> {
        self.0.gradient_norm()
    }
    fn loss_scale(&self) -> Option<Tensor> {
        self.0.loss_scale()
    }
    fn steps(&self) -> u64 {
        self.0.steps()
    }
    fn rate(&self) -> f64 {
        self.0.rate()
    }
    fn state(&self) -> Result<OptimizerState> {
        self.0.state()
    }
    fn load_state(&mut self, model: &mut dyn Parameters, state: &OptimizerState) -> Result<()> {
        self.0.load_state(model, state)
    }
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
