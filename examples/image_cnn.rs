//! Small colour pictures, CIFAR-10 or SVHN: `--data FOLDER` with the files as they are published, `.bin` or `.mat`.
//!
//! The mean of each channel is taken off, part of the training set is kept for validation, and the table at the end
//! counts what was got right of each class. The default network is the residual one of 20 layers; `--model plain20` and
//! `plain56` show why the shortcuts are there. With `--weights FILE` it starts from weights saved before, as far as
//! names fit; with `--freeze` only the layers that were not in the file are trained.

mod common;

use clap::{Parser, ValueEnum};
use common::verdict::Verdict;
use common::{OptimizerOptions, Session};
use wgrad::data::{Dataset, cifar, svhn};
use wgrad::nn::{Init, Module, Parameters, RandomCrop, RandomHorizontalFlip};
use wgrad::train::{Goal, Loop, Supervised, checkpoint, cnn};
use wgrad::{Device, Error, Result};

#[derive(Clone, Copy, ValueEnum)]
enum Set {
    Cifar,
    Svhn,
}

#[derive(Parser)]
#[command(about = "Trains a network on small colour pictures", args_override_self = true)]
#[command(
    after_help = "Unless told otherwise: 1000 steps of 64 pictures, at a rate of 1e-3 with adam and 0.1 with the rest."
)]
struct Options {
    /// The network: resnet20, resnet56, plain20, plain56, resnet18, resnet34, resnet50, lenet5, or one of those for
    /// MNIST
    #[arg(long, default_value = "resnet20")]
    model: String,
    /// What lies in the folder of --data; without it, what the name of the folder says
    #[arg(long)]
    set: Option<Set>,
    #[command(flatten)]
    common: common::Options,
    #[command(flatten)]
    optimizer: OptimizerOptions,
    /// Pictures kept out of the training set for validation; without it a tenth
    #[arg(long)]
    validate: Option<usize>,
    /// Make the mean of so many pixels each way one: 2 for a quarter of the work
    #[arg(long, default_value_t = 1)]
    shrink: usize,
    /// Shift each picture by up to so many pixels, anew each time it is seen
    #[arg(long, default_value_t = 0)]
    shift: usize,
    /// Mirror every second picture, anew each time it is seen (CIFAR; a mirrored digit is none)
    #[arg(long)]
    mirror: bool,
    /// Start from the weights of this safetensors file where names fit
    #[arg(long)]
    weights: Option<std::path::PathBuf>,
    /// Take only weights whose names begin so, such as "layer"; the rest starts anew
    #[arg(long, default_value = "")]
    prefix: String,
    /// Keep the weights that were taken as they are
    #[arg(long)]
    freeze: bool,
    /// Fail unless the test accuracy reaches this many percent
    #[arg(long)]
    expect: Option<f32>,
}

/// The pictures, and the names of their classes.
fn pictures(options: &Options) -> Result<(Dataset, Vec<String>)> {
    let Some(folder) = &options.common.data else {
        let remedy = "--data FOLDER with cifar-10-batches-bin or *.bin, or with train_32x32.mat and test_32x32.mat";
        return Err(Error::argument("no pictures to train on", remedy));
    };
    let is_svhn = folder.to_string_lossy().to_lowercase().contains("svhn");
    match options.set.unwrap_or(if is_svhn { Set::Svhn } else { Set::Cifar }) {
        Set::Cifar => Ok((cifar::load(folder)?, cifar::CLASSES.map(String::from).to_vec())),
        Set::Svhn => Ok((svhn::load(folder)?, (0..10).map(|digit| digit.to_string()).collect())),
    }
}

/// Takes the weights of `--weights` that have their name in the model.
fn transfer(options: &Options, model: &mut dyn Module) -> Result<()> {
    let Some(path) = &options.weights else { return Ok(()) };
    let saved = checkpoint::read(path)?;
    // The checkpoint of a run holds more than weights.
    let weights = saved.part("task.model");
    let saved = if weights.tensors.is_empty() { saved } else { weights };
    let saved = saved.only(|name| name.starts_with(&options.prefix));
    let new = saved.fill("", model)?;
    let all = model.state().len();
    if new.len() == all {
        let problem = format!("has no weight of {} whose name begins with {:?}", options.model, options.prefix);
        return Err(saved.fault(problem, "Use the model it was saved from, or another --prefix"));
    }
    println!("{} of {all} tensors from {}; new: {}", all - new.len(), path.display(), new.join(", "));
    let mut result = Ok(());
    model.params_mut(&mut |name, param| {
        if options.freeze && !new.iter().any(|n| n == name) && result.is_ok() {
            result = param.freeze(true);
        }
    });
    result
}

fn run(options: &Options) -> Result<()> {
    let common = &options.common;
    let device = Device::named(&common.device)?;
    let (steps, batch) = (common.steps.unwrap_or(1000), common.batch.unwrap_or(64));
    let (mut data, classes) = pictures(options)?;
    let [_, height, width] = data.train.shape;
    if options.shrink == 0 || height % options.shrink > 0 || width % options.shrink > 0 {
        let what = format!("pictures of {height}x{width} shrunk by {}", options.shrink);
        return Err(Error::argument(what, "use 1, 2, 4 or 8"));
    }
    (data.train, data.test) = (data.train.shrunk(options.shrink), data.test.shrunk(options.shrink));
    let means = data.train.channel_statistics().0;
    data.train.subtract(&means);
    data.test.subtract(&means);
    let held_out = options.validate.unwrap_or(data.train.len() / 10);
    if held_out == 0 || held_out >= data.train.len() {
        let what = format!("{held_out} of {} pictures for validation", data.train.len());
        return Err(Error::argument(what, "keep at least one, and at least one to train on"));
    }
    let (train, validation) = data.train.split(held_out, common.seed);

    let mut model = cnn::by_name(&options.model, &mut Init::new(&device, common.seed), train.shape, train.classes)?;
    transfer(options, &mut *model)?;
    let optimizer = options.optimizer.build(common.lr)?;
    let mut session = Session::start(&format!("{} on {}", options.model, data.name), common)?;
    println!("{} with {} parameters on {device}\n{}", options.model, model.count_parameters(), data.source);
    println!("channel means {means:.4?}; {} pictures for validation; of each class:", validation.len());
    for ((name, train), validation) in classes.iter().zip(train.class_counts()).zip(validation.class_counts()) {
        println!("  {name:12} {train:6} to train on, {validation:5} to validate on");
    }

    let mut task = Supervised::classifier(model, optimizer, &train, batch, common.seed)?;
    if options.shift > 0 {
        task = task.augment(RandomCrop { padding: options.shift });
    }
    if options.mirror {
        task = task.augment(RandomHorizontalFlip { p: 0.5 });
    }
    task.pass.mixed = options.optimizer.mixed;
    let mut task = task.validate_on(&validation);
    let mut run = Loop::new(steps).goal(Goal::Most("accuracy".into())).validate_every((steps / 10).max(1));
    run = run.setting("model", &options.model).setting("batch", batch).setting("data", &data.name);
    run = run.setting("optimizer", options.optimizer.describe(common.lr));
    run = run.setting("shrink", options.shrink).setting("shift", options.shift).setting("mirror", options.mirror);
    let run = session.watch(run, |model, summary, step| common::logits(summary, step, model, &device, &validation));
    let outcome = session.equip(run, steps)?.run(&mut task)?;

    let verdict = Verdict::of(&task.model, &device, &data.test, classes, &means)?;
    verdict.print();
    verdict.add_to(&mut session.report.borrow_mut(), "Pictures");
    let figure = |name| outcome.figure(name).unwrap_or(f64::NAN);
    println!("in training at the end: loss {:.4}, accuracy {:.2} %", figure("loss"), 100.0 * figure("accuracy"));
    let (reached, (all, right)) = (verdict.accuracy(), verdict.right());
    println!(
        "test accuracy: {reached:.2} %, {right} of {all} pictures, after {} steps in {:.0} s",
        outcome.steps, outcome.seconds
    );
    session.save_report(&outcome, &device, &[("model", options.model.clone()), ("data", data.source.clone())])?;
    common::expect(reached, options.expect)
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Options::parse()))
}
