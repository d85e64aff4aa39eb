//! Generative adversarial networks on handwritten digits, with figures that tell health from collapse.
//!
//! A classifier is trained first; its opinion of the samples gives a histogram of classes and, from its features, a
//! Fréchet distance to the test digits, which falls as training goes on. With `--model line` the game is played on
//! single numbers, where theory says what the discriminator should answer: p_data / (p_data + p_G). Pictures, a film
//! over time and the figures go into `--out` (`gan-out` unless told otherwise).

mod common;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use clap::Parser;
use common::Session;
use wgrad::data::{Dataset, Images, mnist};
use wgrad::nn::{Conv2d, Flatten, Init, Linear, Module, Parameters, Pass, Relu, Sequential};
use wgrad::ops::{Conv2dOptions, Padding, Rng};
use wgrad::optim::{Adam, Host, Optimizer, Row};
use wgrad::train::gan::{Gan, GanOptions, GanTask, Objective};
use wgrad::train::picture::{Picture, save_gif};
use wgrad::train::quality::{Moments, histogram, nearest};
use wgrad::train::vae::pictures_of;
use wgrad::train::{Event, Loop, Outcome, Supervised, checkpoint};
use wgrad::{Device, Error, Result, Tensor};

#[derive(Parser)]
#[command(about = "Trains a generative adversarial network", args_override_self = true)]
#[command(after_help = "Unless told otherwise: 3000 steps of 64 images, at a rate of 2e-4.")]
struct Options {
    /// dcgan, mlp, or line (single numbers)
    #[arg(long, default_value = "dcgan")]
    model: String,
    /// Train the generator on log(1 - D(G(z))), as in the paper's game, instead of -log D(G(z))
    #[arg(long)]
    saturating: bool,
    /// Real samples count as 1 less this
    #[arg(long, default_value_t = 0.0)]
    smoothing: f32,
    /// Weight of the penalty on the discriminator's slope at real samples; a dcgan needs --spectral with it
    #[arg(long, default_value_t = 0.0)]
    penalty: f32,
    /// Divide the weights of the discriminator by their largest singular values (mlp and dcgan)
    #[arg(long)]
    spectral: bool,
    /// First decay rate of Adam's moments
    #[arg(long, default_value_t = 0.5)]
    beta1: f64,
    /// Look at the samples every so many steps
    #[arg(long, default_value_t = 250)]
    look_every: u64,
    /// Weights of the classifier, to be loaded if the file is there and written if it is not
    #[arg(long)]
    classifier: Option<PathBuf>,
    #[command(flatten)]
    common: common::Options,
}

impl Options {
    fn rules(&self) -> GanOptions {
        let objective = if self.saturating { Objective::Saturating } else { Objective::NonSaturating };
        GanOptions { objective, smoothing: self.smoothing, penalty: self.penalty }
    }

    fn adam(&self) -> Box<dyn Optimizer> {
        Box::new(Adam::new(self.common.lr.unwrap_or(2e-4)).betas(self.beta1, 0.999))
    }
}

// ---------------------------------------------------------------------------------------------------- the classifier

/// Features of digits, and the digits they speak for.
struct Classifier {
    features: Sequential,
    head: Linear,
}
wgrad::parameters!(Classifier { features, head });

impl Module for Classifier {
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        self.head.forward(&self.features.forward(x, pass), pass)
    }
}

const FEATURES: usize = 64;

/// The classifier of these digits: from the file, or trained now.
fn classifier(file: &Path, device: &Device, data: &Dataset) -> Result<Classifier> {
    let init = &mut Init::new(device, 7);
    let half = || Conv2dOptions { stride: [2, 2], padding: Padding::Explicit([2; 4]), ..Default::default() };
    let features = Sequential::new().then(Conv2d::new(init, 1, 16, [5, 5], half())?).then(Relu);
    let features = features.then(Conv2d::new(init, 16, 32, [5, 5], half())?).then(Relu).then(Flatten);
    let features = features.then(Linear::new(init, 32 * 7 * 7, FEATURES)?).then(Relu);
    let mut model = Classifier { features, head: Linear::new(init, FEATURES, 10)? };
    if file.exists() {
        checkpoint::load_weights(file, &mut model)?;
        return Ok(model);
    }
    let task = Supervised::classifier(model, Box::new(Adam::new(1e-3)), &data.train, 64, 7)?;
    let mut task = task.validate_on(&data.test);
    let outcome = Loop::new(1500).validate_every(1500).run(&mut task)?;
    let right = 100.0 * outcome.validation("accuracy").unwrap_or_default();
    println!("the classifier knows {right:.2} % of the test digits, after {:.0} s", outcome.seconds);
    checkpoint::save_weights(file, &task.model)?;
    Ok(task.model)
}

/// Classes and features of pictures in 0 to 1.
fn opinion(model: &Classifier, pictures: &Tensor) -> Result<(Vec<u32>, Vec<f32>)> {
    let features = model.features.forward(pictures, &mut Pass::eval());
    let classes = model.head.forward(&features, &mut Pass::eval()).argmax(&[1]);
    wgrad::eval(&[&classes, &features])?;
    Ok((classes.to_vec()?, features.to_vec()?))
}

/// Samples in 0 to 1; the networks speak of -1 to 1.
fn samples(gan: &Gan, device: &Device, count: usize, seed: u64) -> Tensor {
    &(&gan.samples(device, count, &mut Rng::new(seed)) * 0.5) + 0.5
}

// ----------------------------------------------------------------------------------------------------------- digits

/// What the samples of a step amount to.
struct Look {
    frame: Picture,
    distance: f64,
    classes: Vec<usize>,
}

const JUDGED: usize = 2000;

fn look(gan: &Gan, device: &Device, judge: &Classifier, real: &Moments, seed: u64) -> Result<Look> {
    let shown = samples(gan, device, 100, seed).to_vec()?;
    let (mut classes, mut features) = (Vec::new(), Vec::new());
    for part in 0..JUDGED / 250 {
        let (c, f) = opinion(judge, &samples(gan, device, 250, seed + 1 + part as u64))?;
        classes.extend(c);
        features.extend(f);
    }
    let distance = Moments::of(&features, FEATURES).distance(real);
    Ok(Look { frame: Picture::grid(&shown, [100, 1, 28, 28], 10), distance, classes: histogram(&classes, 10) })
}

fn digits(options: &mut Options) -> Result<()> {
    let out = options.common.out.get_or_insert_with(|| "gan-out".into()).clone();
    let common = &options.common;
    let device = Device::named(&common.device)?;
    let init = &mut Init::new(&device, common.seed);
    let gan = match (&*options.model, options.spectral) {
        // Its batch normalisation makes a sample's verdict depend on the others: it has no slope of its own.
        ("dcgan", false) if options.penalty > 0.0 => {
            return Err(Error::argument("--penalty with batch normalisation", "use --spectral, or --model mlp"));
        }
        ("dcgan", false) => Gan::dcgan(init)?,
        ("dcgan", true) => Gan::dcgan_spectral(init)?,
        ("mlp", false) => Gan::mlp(init)?,
        ("mlp", true) => Gan::mlp_spectral(init)?,
        (name, _) => return Err(Error::argument(format!("unknown model {name:?}"), "use dcgan, mlp or line")),
    };
    let mut session = Session::start(&format!("{} on handwritten digits", options.model), common)?;
    let data = mnist::auto(common.data.as_deref())?;
    println!("{} parameters on {device}\n{}", gan.count_parameters(), data.source);
    let file = options.classifier.clone().unwrap_or_else(|| out.join("classifier.safetensors"));
    let judge = classifier(&file, &device, &data)?;
    let real = real_moments(&judge, &device, &data.test)?;

    let (steps, batch) = (common.steps.unwrap_or(3000), common.batch.unwrap_or(64));
    let fetch = pictures_of(&data.train);
    let signed = |pixels: &Tensor, _: &mut Pass| &(pixels * 2.0) - 1.0;
    let optimizers = [options.adam(), options.adam()];
    let shape = (data.train.len(), batch, common.seed);
    let mut task = GanTask::with_samples(gan, optimizers, shape, fetch, signed, options.rules())?;
    let looks = RefCell::new(vec![(0, look(&task.gan, &device, &judge, &real, common.seed)?)]);
    let run = Loop::new(steps).setting("model", &options.model).setting("batch", batch).setting("data", &data.name);
    let run = run.setting("rate", common.lr.unwrap_or(2e-4)).setting("spectral", options.spectral);
    let run = run.setting("rules", format!("{:?}", options.rules()));
    let run = run.observe(|event, progress, task: &mut GanTask<_>| {
        let due = matches!(event, Event::Step) && progress.step.is_multiple_of(options.look_every);
        if due || (matches!(event, Event::End) && looks.borrow().last().is_some_and(|(at, _)| *at != progress.step)) {
            let look = look(&task.gan, &device, &judge, &real, common.seed)?;
            println!("step {}: Fréchet distance {:.2}, classes {:?}", progress.step, look.distance, look.classes);
            look.frame.save(out.join(format!("step-{:06}.png", progress.step)))?;
            looks.borrow_mut().push((progress.step, look));
        }
        Ok(())
    });
    let outcome = session.equip(run, steps)?.run(&mut task)?;

    checkpoint::save_weights(out.join("weights.safetensors"), &task.gan)?;
    let looks = looks.into_inner();
    let frames: Vec<Picture> = looks.iter().map(|(_, look)| look.frame.clone()).collect();
    save_gif(out.join("training.gif"), &frames, 400)?;
    let neighbours = neighbours(&task.gan, &device, &data.train, common.seed)?;
    neighbours.scaled(2).save(out.join("neighbours.png"))?;
    let (first, last) = (&looks[0].1, &looks[looks.len() - 1].1);
    let present = last.classes.iter().filter(|&&n| n > 0).count();
    println!(
        "Fréchet distance: {:.2} at first, {:.2} at the end; {present} classes of 10 in {JUDGED} samples, after {} steps",
        first.distance, last.distance, outcome.steps
    );
    let mut report = session.report.borrow_mut();
    let distances = looks.iter().map(|(step, look)| (*step as f64, look.distance)).collect();
    report.chart("Fréchet distance to the test digits", "step", &[("distance".into(), distances)]);
    let classes = last.classes.iter().enumerate().map(|(c, n)| (c.to_string(), n.to_string())).collect::<Vec<_>>();
    report.table(&format!("Classes of {JUDGED} samples"), &classes);
    report.pictures("Samples", &[("at the end".into(), last.frame.clone())], 2);
    report.pictures("Samples, and the nearest digit it was trained on below each", &[(String::new(), neighbours)], 2);
    drop(report);
    session.save_report(&outcome, &device, &[("model", options.model.clone()), ("data", data.source.clone())])
}

fn real_moments(judge: &Classifier, device: &Device, set: &Images) -> Result<Moments> {
    let fetch = pictures_of(set);
    let mut features = Vec::new();
    for batch in (0..set.len()).collect::<Vec<_>>().chunks(250) {
        features.extend(opinion(judge, &fetch(batch)?.upload(device)?)?.1);
    }
    Ok(Moments::of(&features, FEATURES))
}

/// Samples in the upper row, the nearest training digits below: a generator that copies shows here.
fn neighbours(gan: &Gan, device: &Device, train: &Images, seed: u64) -> Result<Picture> {
    let mut both = samples(gan, device, 16, seed).to_vec::<f32>()?;
    let found = nearest(&both, &train.pixels, 784);
    both.extend(train.gather(&found).0);
    Ok(Picture::grid(&both, [32, 1, 28, 28], 16))
}

// ----------------------------------------------------------------------------------------------------- single numbers

const MEAN: f32 = 4.0;
const SPREAD: f32 = 0.8;

/// The game on a normal distribution, and the discriminator's answers beside those of the theory.
fn line(options: &mut Options) -> Result<()> {
    let common = &options.common;
    if options.spectral {
        return Err(Error::argument("--spectral with --model line", "the theory's D(x) is steeper; use mlp or dcgan"));
    }
    let device = Device::named(&common.device)?;
    let mut session = Session::start("A GAN on single numbers", common)?;
    let gan = Gan::line(&mut Init::new(&device, common.seed), 32)?;
    let values = &(&Tensor::normal(&device, [20_000, 1], &mut Rng::new(common.seed)) * SPREAD) + MEAN;
    let values = values.to_vec::<f32>()?;
    let fetch = |indices: &[usize]| {
        let chosen: Vec<f32> = indices.iter().map(|&i| values[i]).collect();
        Ok(Host::new(chosen, [indices.len(), 1]))
    };
    let (steps, batch) = (common.steps.unwrap_or(3000), common.batch.unwrap_or(256));
    let adam = || -> Box<dyn Optimizer> { Box::new(Adam::new(common.lr.unwrap_or(1e-3)).betas(options.beta1, 0.999)) };
    let mut task = GanTask::new(gan, [adam(), adam()], (values.len(), batch, common.seed), fetch, options.rules())?;

    // First only the discriminator, against the generator as it was drawn: the theory's answer is known.
    let forger = task.forger.take();
    Loop::new(1000).run(&mut task)?;
    let before = compare(&task.gan, &device, &session, "before the generator learns")?;
    task.forger = forger;
    let outcome: Outcome = session.equip(Loop::new(steps).setting("model", "line"), steps)?.run(&mut task)?;
    task.forger = None;
    Loop::new(1000).run(&mut task)?;
    let after = compare(&task.gan, &device, &session, "at the end")?;
    println!("mean difference of D(x) from p_data / (p_data + p_G): {before:.3} before, {after:.3} at the end");
    session.save_report(&outcome, &device, &[("model", options.model.clone())])
}

/// Prints D(x) beside the theory's answer, and returns their mean difference over real and false numbers.
fn compare(gan: &Gan, device: &Device, session: &Session, when: &str) -> Result<f64> {
    let drawn = gan.samples(device, 100_000, &mut Rng::new(1)).to_vec::<f32>()?;
    let (mean, width) = (drawn.iter().map(|&v| f64::from(v)).sum::<f64>() / drawn.len() as f64, 0.1);
    let variance = drawn.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
    println!("{when}: samples of mean {mean:.3} and spread {:.3}; the data have {MEAN} and {SPREAD}", variance.sqrt());
    let xs: Vec<f32> = (-20..90).map(|i| i as f32 * width as f32).collect();
    let answers = gan.verdicts(&Tensor::from_slice(device, &xs, [xs.len(), 1])?).to_vec::<f32>()?;
    let (mut off, mut total) = (0.0, 0.0);
    let mut lines = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for (&x, &answer) in xs.iter().zip(&answers) {
        let near = drawn.iter().filter(|&&v| (v - x).abs() <= 0.5 * width as f32).count();
        let false_density = near as f64 / (drawn.len() as f64 * width);
        let z = f64::from((x - MEAN) / SPREAD);
        let real_density = (-0.5 * z * z).exp() / (f64::from(SPREAD) * std::f64::consts::TAU.sqrt());
        let both = real_density + false_density;
        let theory = if both > 1e-9 { real_density / both } else { f64::NAN };
        if both > 1e-3 {
            off += both * (f64::from(answer) - theory).abs();
            total += both;
            [f64::from(answer), theory, real_density, false_density]
                .into_iter()
                .zip(&mut lines)
                .for_each(|(y, line)| line.push((f64::from(x), y)));
        }
    }
    let names = ["D(x)", "theory", "p_data", "p_G"].map(String::from);
    let lines: Vec<_> = names.into_iter().zip(lines).collect();
    session.report.borrow_mut().chart(&format!("The discriminator {when}"), "x", &lines);
    for ((x, answer), (_, theory)) in lines[0].1.iter().zip(&lines[1].1).step_by(5) {
        println!("  x {x:5.1}: D(x) {answer:.3}, theory {theory:.3}");
    }
    Ok(off / total)
}

fn main() -> std::process::ExitCode {
    let mut options = Options::parse();
    common::exit(if options.model == "line" { line(&mut options) } else { digits(&mut options) })
}
