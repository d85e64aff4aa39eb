//! The doctor and a training, in a page: every kernel of the registry against its reference on the browser's GPU, and a
//! convolutional network on digits drawn by wgrad's own code. README.md beside this says how to open it.
//!
//! A page may not wait for its GPU: it opens the device and reads values with the `async` twins of what other programs
//! call.

use std::panic;

use wasm_bindgen::prelude::wasm_bindgen;
use wgrad::data::digits;
use wgrad::device::GpuOptions;
use wgrad::nn::{Conv2d, Flatten, Init, Linear, MaxPool2d, Module, Pass, Relu, Sequential};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions, REGISTRY};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Result, Tensor, selftest};

#[wasm_bindgen]
extern "C" {
    /// Adds a line to the page.
    fn show(line: &str);
}

/// Holds all samples of the registry against the reference, and says how many are wrong.
#[wasm_bindgen]
pub async fn check() -> String {
    summary(check_registry().await)
}

/// Trains a network, and says which part of the test digits it tells.
#[wasm_bindgen]
pub async fn train() -> String {
    summary(train_on_digits().await)
}

fn summary(outcome: Result<String>) -> String {
    outcome.unwrap_or_else(|fault| format!("failed: {fault}"))
}

async fn open() -> Result<Device> {
    panic::set_hook(Box::new(|fault| show(&fault.to_string())));
    let device = Device::gpu_async(&GpuOptions::default()).await?;
    show(&format!("on {device}"));
    Ok(device)
}

async fn check_registry() -> Result<String> {
    let device = open().await?;
    let (mut samples, mut wrong) = (0, 0);
    for entry in REGISTRY {
        let findings = selftest::run_async(&device, entry).await;
        samples += findings.samples;
        wrong += findings.faults.len();
        match findings.faults.is_empty() {
            true => show(&format!("{}: {} right", findings.name, findings.samples)),
            false => findings.faults.iter().for_each(|fault| show(fault)),
        }
    }
    Ok(format!("checked: {samples} samples, {wrong} wrong"))
}

async fn train_on_digits() -> Result<String> {
    const BATCH: usize = 50;
    let device = open().await?;
    let digits = digits::dataset(2000, 500, 1);
    let mut init = Init::new(&device, 42);
    let same = Conv2dOptions { padding: Padding::Same, ..Default::default() };
    let pool = || MaxPool2d(Pool2dOptions::new([2, 2]));
    let mut model = Sequential::new()
        .then(Conv2d::new(&mut init, 1, 16, [5, 5], same)?)
        .then(Relu)
        .then(pool())
        .then(Conv2d::new(&mut init, 16, 32, [5, 5], same)?)
        .then(Relu)
        .then(pool())
        .then(Flatten)
        .then(Linear::new(&mut init, 7 * 7 * 32, 10)?);
    let mut adam = Adam::new(1e-3);
    let mut batches = digits.train.batches(BATCH, 7)?;
    for step in 1..=200 {
        let (pixels, labels) = digits.train.gather(batches.next_batch());
        let x = Tensor::from_slice(&device, &pixels, [BATCH, 1, 28, 28])?;
        let y = Tensor::from_slice(&device, &labels, [BATCH])?;
        let loss = model.forward(&x, &mut Pass::train(step)).cross_entropy(&y);
        adam.step(&mut model, &loss)?;
        if step % 20 == 0 {
            show(&format!("step {step}: loss {:.4}", loss.to_vec_async::<f32>()?.await?[0]));
        }
    }
    let every: Vec<usize> = (0..digits.test.len()).collect();
    let (pixels, labels) = digits.test.gather(&every);
    let x = Tensor::from_slice(&device, &pixels, [labels.len(), 1, 28, 28])?;
    let told = model.forward(&x, &mut Pass::eval()).argmax(&[1]).to_vec_async::<u32>()?.await?;
    let right = told.iter().zip(&labels).filter(|(a, b)| a == b).count();
    Ok(format!("trained: test accuracy {:.1} %", 100.0 * right as f64 / labels.len() as f64))
}
