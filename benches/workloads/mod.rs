//! The workloads: the same shapes, inputs and losses that other libraries are timed on.

mod generative;
mod pictures;
mod playing;

use wgrad::autodiff;
use wgrad::functional::Reduction;
use wgrad::nn::{Flatten, Init, Linear, Lstm, Module, Parameters, Pass, RecurrentOptions, Relu, Rnn, Sequential};
use wgrad::ops::{Conv2dOptions, Padding};
use wgrad::optim::{Adam, Optimizer, Sgd, Steps};
use wgrad::{DType, Device, Error, Result, Tensor, eval};

pub const NAMES: &[&str] = &[
    "matmul_256",
    "matmul_1024",
    "matmul_2048",
    "add_16m",
    "reduce_16m",
    "softmax_4096x1000",
    "xent_4096x1000",
    "conv_fwd_bwd",
    "lr_step",
    "cnn_cpcpff_step",
    "cnn_svhn_step",
    "dqn_step",
    "dqn_round",
    "vae_step",
    "gan_step",
    "rnn_step_b1",
    "rnn_step_b50",
    "lstm_step",
    "lstm2_step",
    "resnet18_cifar_step",
];

/// What a step runs, and the results of the last one.
pub struct Workload {
    work: Box<dyn Work>,
    last: Vec<Tensor>,
    parameters: Option<usize>,
}

/// What is done in so many steps; gives the results of the last.
trait Work {
    fn run(&mut self, steps: usize) -> Result<Vec<Tensor>>;

    /// Whether steps are replayed.
    fn is_replayed(&self) -> bool;
}

/// Each step by itself.
struct Each<F>(F);

impl<F: FnMut() -> Result<Vec<Tensor>>> Work for Each<F> {
    fn run(&mut self, steps: usize) -> Result<Vec<Tensor>> {
        (1..steps).try_for_each(|_| (self.0)().map(drop))?;
        (self.0)()
    }

    fn is_replayed(&self) -> bool {
        false
    }
}

impl<M: Parameters, O: Optimizer, F: Fn(&M, &mut Pass) -> Tensor> Work for Steps<M, O, F> {
    fn run(&mut self, steps: usize) -> Result<Vec<Tensor>> {
        Ok(vec![Steps::run(self, steps)?])
    }

    fn is_replayed(&self) -> bool {
        self.replayed().is_ok()
    }
}

impl Workload {
    pub fn step(&mut self) -> Result<()> {
        self.steps(1)
    }

    pub fn steps(&mut self, steps: usize) -> Result<()> {
        self.last = self.work.run(steps)?;
        Ok(())
    }

    pub fn is_replayed(&self) -> bool {
        self.work.is_replayed()
    }

    /// Of a training step the loss; of an op the first result if it is a number, then the mean square of each.
    pub fn check(&self) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for t in &self.last {
            let values = t.to_vec::<f32>()?;
            all.push(match values.len() {
                1 => values[0] as f64,
                n => values.iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / n as f64,
            });
        }
        Ok(all)
    }

    /// Trainable numbers; `None` for an op.
    pub fn parameters(&self) -> Option<usize> {
        self.parameters
    }

    fn op(mut record: impl FnMut() -> Vec<Tensor> + 'static) -> Workload {
        let run = move || {
            let results = record();
            eval(&results.iter().collect::<Vec<_>>())?;
            Ok(results)
        };
        Workload { work: Box::new(Each(run)), last: Vec::new(), parameters: None }
    }

    /// Training steps, replayed where they can be if `replay`.
    fn train<M: Parameters + 'static>(
        replay: bool,
        model: M,
        optimizer: impl Optimizer + 'static,
        record: impl Fn(&M, &mut Pass) -> Tensor + 'static,
    ) -> Workload {
        let parameters = Some(model.count_parameters());
        let steps = Steps::new(model, optimizer, Pass::train(0), record);
        let steps = if replay { steps } else { steps.one_by_one() };
        Workload { work: Box::new(steps), last: Vec::new(), parameters }
    }

    fn classify(
        replay: bool,
        model: Sequential,
        optimizer: impl Optimizer + 'static,
        x: Tensor,
        labels: Tensor,
    ) -> Workload {
        Workload::train(replay, model, optimizer, move |model: &Sequential, pass| {
            let scores = model.forward(&x, pass);
            // One row per label, also where a network scores every step of a sequence.
            let classes = scores.elements() / labels.elements();
            scores.reshape([labels.elements(), classes]).cross_entropy(&labels)
        })
    }
}

/// lowbias32 of the element's index.
fn hash(i: u32, seed: u32) -> u32 {
    let mut x = i.wrapping_mul(0x9E37_79B9).wrapping_add(seed.wrapping_mul(0x85EB_CA6B));
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// Numbers in [-1, 1), scaled and shifted.
fn floats<const R: usize>(device: &Device, shape: [usize; R], seed: u32, scale: f32, shift: f32) -> Result<Tensor> {
    let n = shape.iter().product::<usize>() as u32;
    let value = |i| (hash(i, seed) >> 8) as f32 * (2.0 / (1u32 << 24) as f32) - 1.0;
    Tensor::from_slice(device, &(0..n).map(|i| value(i) * scale + shift).collect::<Vec<_>>(), shape)
}

fn labels(device: &Device, n: usize, classes: u32, seed: u32) -> Result<Tensor> {
    Tensor::from_slice(device, &(0..n as u32).map(|i| hash(i, seed) % classes).collect::<Vec<_>>(), n)
}

/// A step of deep Q-learning, 4-60-2: the goal is asked of the same network, without gradient.
fn dqn(d: &Device, replay: bool) -> Result<Workload> {
    let mut init = Init::new(d, 0);
    let model = Sequential::new().then(Linear::new(&mut init, 4, 60)?).then(Relu).then(Linear::new(&mut init, 60, 2)?);
    let (states, next) = (floats(d, [50, 4], 1, 1.0, 0.0)?, floats(d, [50, 4], 2, 1.0, 0.0)?);
    let (actions, rewards) = (labels(d, 50, 2, 3)?, floats(d, [50], 4, 0.5, 0.5)?);
    let live = labels(d, 50, 2, 5)?.cast(DType::F32).into_leaf(false)?;
    Ok(Workload::train(replay, model, Adam::new(1e-4), move |model: &Sequential, pass| {
        let best = model.forward(&next, pass).max(&[1]);
        let goal = (&rewards + &(&(&live * &best) * 0.99)).detach();
        let taken = model.forward(&states, pass).gather(1, &actions.unsqueeze(1)).squeeze(1);
        taken.mse_loss(&goal, Reduction::Mean)
    }))
}

/// The workload of this name; its training steps are replayed where they can be, if `replay`.
pub fn make(name: &str, device: &Device, replay: bool) -> Result<Workload> {
    let d = device;
    Ok(match name {
        "matmul_256" | "matmul_1024" | "matmul_2048" => {
            let n: usize = name["matmul_".len()..].parse().unwrap_or(256);
            let (a, b) = (floats(d, [n, n], 1, 1.0, 0.0)?, floats(d, [n, n], 2, 1.0, 0.0)?);
            Workload::op(move || vec![a.matmul(&b)])
        }
        "add_16m" => {
            let (a, b) = (floats(d, [1 << 24], 1, 1.0, 0.0)?, floats(d, [1 << 24], 2, 1.0, 0.0)?);
            Workload::op(move || vec![&a + &b])
        }
        "reduce_16m" => {
            let a = floats(d, [1 << 24], 1, 0.5, 0.5)?;
            Workload::op(move || vec![a.sum_all()])
        }
        "softmax_4096x1000" => {
            let x = floats(d, [4096, 1000], 1, 1.0, 0.0)?;
            Workload::op(move || vec![x.softmax(1)])
        }
        "xent_4096x1000" => {
            let (x, y) = (floats(d, [4096, 1000], 1, 1.0, 0.0)?, labels(d, 4096, 1000, 2)?);
            Workload::op(move || {
                let loss = x.cross_entropy(&y);
                let dx = autodiff::grad(&loss, &[&x]).swap_remove(0);
                vec![loss, dx]
            })
        }
        "conv_fwd_bwd" => {
            let x = floats(d, [50, 32, 14, 14], 1, 1.0, 0.0)?;
            let w = floats(d, [64, 32, 5, 5], 2, 1.0, 0.0)?;
            let b = floats(d, [64], 3, 1.0, 0.0)?;
            let g = floats(d, [50, 64, 14, 14], 4, 1.0, 0.0)?;
            let options = Conv2dOptions { padding: Padding::Explicit([2; 4]), ..Default::default() };
            Workload::op(move || {
                let loss = (&x.conv2d(&w, Some(&b), &options) * &g).sum_all();
                let mut results = autodiff::grad(&loss, &[&x, &w, &b]);
                results.insert(0, loss);
                results
            })
        }
        "lr_step" => {
            let net = Sequential::new().then(Flatten).then(Linear::new(&mut Init::new(d, 0), 784, 10)?);
            let (x, y) = (floats(d, [50, 1, 28, 28], 1, 0.5, 0.5)?, labels(d, 50, 10, 2)?);
            Workload::classify(replay, net, Sgd::new(0.1), x, y)
        }
        "cnn_cpcpff_step" => pictures::cpcpff(d, replay)?,
        "cnn_svhn_step" => pictures::svhn(d, replay)?,
        "resnet18_cifar_step" => pictures::resnet18(d, replay)?,
        "dqn_step" => dqn(d, replay)?,
        "dqn_round" => playing::dqn_round(d, replay)?,
        "vae_step" => generative::vae(d, replay)?,
        "gan_step" => generative::gan(d, replay)?,
        "rnn_step_b1" | "rnn_step_b50" | "lstm_step" | "lstm2_step" => {
            let (vocabulary, steps) = (67, 50);
            let (batch, hidden, layers) = match name {
                "rnn_step_b1" => (1, 64, 1),
                "rnn_step_b50" => (50, 64, 1),
                "lstm_step" => (50, 256, 1),
                _ => (64, 512, 2),
            };
            let options = RecurrentOptions { layers, batch_first: true, ..Default::default() };
            let init = &mut Init::new(d, 0);
            let net = match name.starts_with("rnn") {
                true => Sequential::new().then(Rnn::new(init, vocabulary, hidden, &options)?),
                false => Sequential::new().then(Lstm::new(init, vocabulary, hidden, &options)?),
            };
            let net = net.then(Linear::new(init, hidden, vocabulary)?);
            let each = (0..(batch * steps * vocabulary) as u32).map(|i| {
                let (place, character) = (i / vocabulary as u32, i % vocabulary as u32);
                (hash(place, 1) % vocabulary as u32 == character) as u32 as f32
            });
            let x = Tensor::from_slice(d, &each.collect::<Vec<_>>(), [batch, steps, vocabulary])?;
            Workload::classify(replay, net, Adam::new(1e-3), x, labels(d, batch * steps, vocabulary as u32, 2)?)
        }
        _ => return Err(Error::argument(format!("unknown workload {name:?}"), "see --bench train_step -- list")),
    })
}
