//! Handwritten digits: with no option at all, 98 % of the built-in digits in 500 steps, under a minute on two CPU cores.
//!
//! On MNIST, `--lr 1e-4 --steps 10000` is the course's setting; the README has the accuracies reached. `--help` lists the
//! models and options. Press Enter while it trains to see the test accuracy so far; Ctrl-C ends the training with what
//! was reached.

mod common;

use clap::Parser;
use common::{Bar, Interrupt, OptimizerOptions};
use wgrad::data::{Images, mnist};
use wgrad::nn::{Conv2d, Dropout, Flatten, Init, Linear, MaxPool2d, Module, Parameters, Pass, Relu, Sequential};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};
use wgrad::{DType, Device, Error, Result, Tensor};

#[derive(Parser)]
#[command(about = "Trains a network on handwritten digits", args_override_self = true)]
struct Options {
    /// The network: lr, cnn_cf, cnn_cpcpff, or cnn_cpcpfdf (with dropout). c: convolution 5x5, p: pooling, f: fully
    /// connected, d: dropout
    #[arg(long, default_value = "cnn_cpcpff")]
    model: String,
    #[command(flatten)]
    optimizer: OptimizerOptions,
    /// Batches to train on
    #[arg(long, default_value_t = 500)]
    steps: u64,
    /// Images in a batch
    #[arg(long, default_value_t = 50)]
    batch: usize,
    /// Seed of the weights, the order of the images, and dropout
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// auto, gpu, software, cpu or reference
    #[arg(long, default_value = "auto")]
    device: String,
    /// Folder with the four files of MNIST; without it they are looked for, then downloaded, then replaced by drawn digits
    #[arg(long)]
    data: Option<std::path::PathBuf>,
    /// Test every so many steps
    #[arg(long)]
    test_every: Option<u64>,
    /// Write the loss of every step to this file, as CSV
    #[arg(long)]
    log: Option<std::path::PathBuf>,
    /// Fail unless the test accuracy reaches this many percent
    #[arg(long)]
    expect: Option<f32>,
}

// ---------------------------------------------------------------------------------------------------- the networks

/// A network that maps images `[n, 1, 28, 28]` to logits `[n, 10]`.
fn network(name: &str, init: &mut Init) -> Result<Sequential> {
    // "Same" padding keeps 28 x 28; each pooling halves it: 14 x 14, 7 x 7.
    let same = || Conv2dOptions { padding: Padding::Same, ..Default::default() };
    let pool = || MaxPool2d(Pool2dOptions::new([2, 2]));
    let features = |init: &mut Init| -> Result<Sequential> {
        let net = Sequential::new().then(Conv2d::new(init, 1, 32, [5, 5], same())?).then(Relu).then(pool());
        let net = net.then(Conv2d::new(init, 32, 64, [5, 5], same())?).then(Relu).then(pool());
        Ok(net.then(Flatten).then(Linear::new(init, 7 * 7 * 64, 1024)?).then(Relu))
    };
    match name {
        "lr" => Ok(Sequential::new().then(Flatten).then(Linear::new(init, 784, 10)?)),
        "cnn_cf" => {
            let net = Sequential::new().then(Conv2d::new(init, 1, 64, [5, 5], same())?).then(Relu);
            Ok(net.then(Flatten).then(Linear::new(init, 28 * 28 * 64, 10)?))
        }
        "cnn_cpcpff" => Ok(features(init)?.then(Linear::new(init, 1024, 10)?)),
        "cnn_cpcpfdf" => Ok(features(init)?.then(Dropout::new(0.5)).then(Linear::new(init, 1024, 10)?)),
        _ => Err(Error::argument(format!("unknown model {name:?}"), "use lr, cnn_cf, cnn_cpcpff or cnn_cpcpfdf")),
    }
}

// ------------------------------------------------------------------------------------------------------ the training

fn run(options: &Options) -> Result<()> {
    let device = Device::named(&options.device)?;
    let mut model = network(&options.model, &mut Init::new(&device, options.seed))?;
    let mut optimizer = options.optimizer.build()?;
    let data = mnist::auto(options.data.as_deref())?;
    println!("{} with {} parameters on {device}\n{}", options.model, model.count_parameters(), data.source);

    let mut batches = data.train.batches(options.batch, options.seed)?;
    let mut pass = Pass::train(options.seed);
    let mut log = common::Log::create(options.log.as_deref())?;
    let mut bar = Bar::new(options.steps);
    let interrupt = Interrupt::listen();
    for step in 1..=options.steps {
        let (images, labels) = upload(&device, &data.train, batches.next_batch())?;
        let loss = model.forward(&images, &mut pass).cross_entropy(&labels);
        optimizer.step(&mut model, &loss)?;
        log.write(step, &loss)?;
        bar.advance(&loss)?;
        if interrupt.wants_test() || options.test_every.is_some_and(|n| step % n == 0) {
            bar.say(format!("step {step}: {:.2} % of the test images", accuracy(&model, &device, &data.test)?));
        }
        if interrupt.wants_stop() {
            break;
        }
    }
    bar.finish();
    let reached = accuracy(&model, &device, &data.test)?;
    let (images, steps) = (data.test.len(), optimizer.steps());
    println!("test accuracy: {reached:.2} % of {images} images of {}, after {steps} steps", data.name);
    common::expect(reached, options.expect)
}

/// The share of images whose largest logit is that of the label, in percent.
fn accuracy(model: &Sequential, device: &Device, set: &Images) -> Result<f32> {
    let mut right = 0.0;
    for batch in (0..set.len()).collect::<Vec<_>>().chunks(250) {
        let (images, labels) = upload(device, set, batch)?;
        let guess = model.forward(&images, &mut Pass::eval()).argmax(&[1]);
        right += guess.equal(&labels).cast(DType::F32).sum_all().item()?;
    }
    Ok(100.0 * right / set.len() as f32)
}

fn upload(device: &Device, set: &Images, batch: &[usize]) -> Result<(Tensor, Tensor)> {
    let (pixels, labels) = set.gather(batch);
    let [c, h, w] = set.shape;
    Ok((
        Tensor::from_slice(device, &pixels, [batch.len(), c, h, w])?,
        Tensor::from_slice(device, &labels, batch.len())?,
    ))
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Options::parse()))
}
