//! Handwritten digits: with no option at all, 98 % of the built-in digits in 500 steps, under a minute on two CPU
//! cores.
//!
//! On MNIST, `--lr 1e-4 --steps 10000` is the course's setting; the README has the accuracies reached. `--help` lists
//! the models and options. Press Enter while it trains to see the test accuracy so far; Ctrl-C saves and ends the
//! training with what was reached. With `--out FOLDER` it keeps checkpoints, logs, and a report with the confusion
//! matrix, the digits it got wrong, and its first filters.

mod common;

use clap::Parser;
use common::verdict::Verdict;
use common::{OptimizerOptions, Session};
use wgrad::data::mnist;
use wgrad::nn::{Conv2d, Dropout, Flatten, Init, Linear, MaxPool2d, Module, Normalize, Parameters, Relu, Sequential};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};
use wgrad::train::picture::Picture;
use wgrad::train::{Goal, Loop, Supervised, cnn};
use wgrad::{Device, Result};

#[derive(Parser)]
#[command(about = "Trains a network on handwritten digits", args_override_self = true)]
#[command(
    after_help = "Unless told otherwise: 500 steps of 50 images, at a rate of 1e-3 with adam and 0.1 with the rest."
)]
struct Options {
    /// The network: lr, cnn_cf, cnn_cpcpff, cnn_cpcpfdf (c: convolution 5x5, p: pooling, f: fully connected, d:
    /// dropout), or another of `train::cnn`: cnn_cnf, cnn_cpncpnff, cnn_cpncpnfdf (n: normalisation), lenet5, resnet20
    /// ..
    #[arg(long, default_value = "cnn_cpcpff")]
    model: String,
    #[command(flatten)]
    common: common::Options,
    #[command(flatten)]
    optimizer: OptimizerOptions,
    /// Bring the pixels to mean 0 and deviation 1 over the training set: the first layer learns faster
    #[arg(long)]
    standardize: bool,
    /// Test every so many steps
    #[arg(long)]
    test_every: Option<u64>,
    /// Write the figures to this file, as CSV
    #[arg(long)]
    log: Option<std::path::PathBuf>,
    /// Fail unless the test accuracy reaches this many percent
    #[arg(long)]
    expect: Option<f32>,
}

// ---------------------------------------------------------------------------------------------------- the networks

/// A network that maps images `[n, 1, 28, 28]` to logits `[n, 10]`.
fn network(name: &str, init: &mut Init) -> Result<Box<dyn Module>> {
    // "Same" padding keeps 28 x 28; each pooling halves it: 14 x 14, 7 x 7.
    let same = || Conv2dOptions { padding: Padding::Same, ..Default::default() };
    let pool = || MaxPool2d(Pool2dOptions::new([2, 2]));
    let features = |init: &mut Init| -> Result<Sequential> {
        let net = Sequential::new().then(Conv2d::new(init, 1, 32, [5, 5], same())?).then(Relu).then(pool());
        let net = net.then(Conv2d::new(init, 32, 64, [5, 5], same())?).then(Relu).then(pool());
        Ok(net.then(Flatten).then(Linear::new(init, 7 * 7 * 64, 1024)?).then(Relu))
    };
    let net = match name {
        "lr" => Sequential::new().then(Flatten).then(Linear::new(init, 784, 10)?),
        "cnn_cf" => {
            let net = Sequential::new().then(Conv2d::new(init, 1, 64, [5, 5], same())?).then(Relu);
            net.then(Flatten).then(Linear::new(init, 28 * 28 * 64, 10)?)
        }
        "cnn_cpcpff" => features(init)?.then(Linear::new(init, 1024, 10)?),
        "cnn_cpcpfdf" => features(init)?.then(Dropout::new(0.5)).then(Linear::new(init, 1024, 10)?),
        _ => return cnn::by_name(name, init, [1, 28, 28], 10),
    };
    Ok(Box::new(net))
}

// ------------------------------------------------------------------------------------------------------ the training

fn run(options: &Options) -> Result<()> {
    let common = &options.common;
    let device = Device::named(&common.device)?;
    let (steps, batch) = (common.steps.unwrap_or(500), common.batch.unwrap_or(50));
    let mut model = network(&options.model, &mut Init::new(&device, common.seed))?;
    let optimizer = options.optimizer.build(common.lr)?;
    let mut session = Session::start(&format!("{} on handwritten digits", options.model), common)?;
    let mut csv = common::csv(options.log.as_deref())?;
    let data = mnist::auto(common.data.as_deref())?;
    if options.standardize {
        let (mean, deviation) = data.train.channel_statistics();
        model = Box::new(Sequential::new().then(Normalize::new(&device, &mean, &deviation)?).then(model));
    }
    println!("{} with {} parameters on {device}\n{}", options.model, model.count_parameters(), data.source);

    let mut task = Supervised::classifier(model, optimizer, &data.train, batch, common.seed)?;
    task.pass.mixed = options.optimizer.mixed;
    let mut task = task.validate_on(&data.test);
    let mut run =
        Loop::new(steps).goal(Goal::Most("accuracy".into())).validate_every(options.test_every.unwrap_or(steps));
    run = run.setting("model", &options.model).setting("batch", batch).setting("data", &data.name);
    run = run.setting("optimizer", options.optimizer.describe(common.lr));
    if let Some(csv) = &mut csv {
        run = run.observe(|event, progress, _| csv.record(event, progress));
    }
    run = session.watch(run, |model, summary, step| {
        common::logits(summary, step, model, &device, &data.test)?;
        match filters(model)? {
            Some(picture) => summary.picture("first filters", step, &picture),
            None => Ok(()),
        }
    });
    let outcome = session.equip(run, steps)?.run(&mut task)?;
    let reached = 100.0 * outcome.validation("accuracy").unwrap_or_default() as f32;
    let (images, steps) = (data.test.len(), outcome.steps);
    println!("test accuracy: {reached:.2} % of {images} images of {}, after {steps} steps", data.name);
    if session.path("").is_some() {
        let names = (0..data.test.classes).map(|digit| digit.to_string()).collect();
        let verdict = Verdict::of(&task.model, &device, &data.test, names, &[0.0])?;
        verdict.print();
        let mut report = session.report.borrow_mut();
        verdict.add_to(&mut report, "Digits");
        if let Some(picture) = filters(&task.model)? {
            let caption = "each from black, its least weight, to white";
            report.pictures("First filters", &[(caption.into(), picture)], 5);
        }
        drop(report);
        session.save_report(&outcome, &device, &[("model", options.model.clone()), ("data", data.source.clone())])?;
    }
    common::expect(reached, options.expect)
}

// -------------------------------------------------------------------------------------------------------- the report

/// The filters of the first layer, if it is a convolution.
fn filters(model: &(impl Parameters + ?Sized)) -> Result<Option<Picture>> {
    let Some((_, filters)) = model.named_parameters().into_iter().find(|(_, p)| p.get().rank() == 4) else {
        return Ok(None);
    };
    let shape = filters.get().shape();
    Ok(Some(Picture::stretched_grid(&filters.get().to_vec()?, [shape[0], 1, shape[2], shape[3]], 8)))
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Options::parse()))
}
