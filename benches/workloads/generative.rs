//! Steps of models that generate: a VAE and a GAN.

use wgrad::nn::{Init, Parameters, Pass};
use wgrad::optim::{Adam, Optimizer};
use wgrad::train::Task;
use wgrad::train::gan::{Gan, GanOptions, GanTask};
use wgrad::train::vae::Vae;
use wgrad::{Device, Result, Tensor};

use super::{Work, Workload, floats};

/// 784-400-20, batch 100, fresh noise every step.
pub fn vae(device: &Device, replay: bool) -> Result<Workload> {
    let x = floats(device, [100, 784], 1, 0.5, 0.5)?;
    let model = Vae::mlp(&mut Init::new(device, 0), 784, 400, 20)?;
    let record = move |model: &Vae, pass: &mut Pass| model.drawn_elbo(&x, pass).loss();
    Ok(Workload::train(replay, model, Adam::new(1e-3), record))
}

impl Work for GanTask<'_, ()> {
    fn run(&mut self, steps: usize) -> Result<Vec<Tensor>> {
        let (mut left, mut last) = (steps, Vec::new());
        while left > 0 {
            let mut made = self.steps(left)?;
            left -= made.len();
            last = made.pop().unwrap_or_default();
        }
        let losses = last.into_iter().filter(|(name, _)| ["discriminator", "generator"].contains(name));
        Ok(losses.map(|(_, loss)| loss).collect())
    }

    fn is_replayed(&self) -> bool {
        self.replayed().is_ok()
    }
}

/// A DCGAN, batch 64: one pass of the generator, a step of the discriminator, a step of the generator through it.
pub fn gan(device: &Device, replay: bool) -> Result<Workload> {
    let x = floats(device, [64, 1, 28, 28], 1, 1.0, 0.0)?;
    let gan = Gan::dcgan(&mut Init::new(device, 0))?;
    let parameters = Some(gan.count_parameters());
    let adam = || -> Box<dyn Optimizer> { Box::new(Adam::new(2e-4)) };
    let samples = move |_: &(), _: &mut Pass| x.clone();
    let task = GanTask::with_samples(gan, [adam(), adam()], (64, 64, 0), |_| Ok(()), samples, GanOptions::default())?;
    let task = if replay { task } else { task.one_by_one() };
    Ok(Workload { work: Box::new(task), last: Vec::new(), parameters })
}
