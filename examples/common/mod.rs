//! What the examples share besides the networks: options, and what happens around the training: a progress bar, Ctrl-C,
//! logs, checkpoints and a report.
#![allow(dead_code, reason = "every example is a program of its own and leaves something out")]

mod bar;
pub mod verdict;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

pub use bar::{Bar, Interrupt};
use wgrad::data::Images;
use wgrad::nn::{Module, Parameters, Pass};
use wgrad::optim::{Adam, Constant, FirstOrder, InverseTime, LossScaling, Optimizer, Row, Rule, Schedule, Sgd};
use wgrad::train::checkpoint::{Checkpoints, latest};
use wgrad::train::report::Report;
use wgrad::train::summary::Summary;
use wgrad::train::{CsvLog, Event, JsonLog, Loop, Outcome, State, Supervised, Task};
use wgrad::{Device, Error, Result, Tensor};

/// The options of every example.
#[derive(clap::Args, Clone)]
#[group(id = "common")]
pub struct Options {
    /// auto, gpu, software, cpu or reference
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Seed of everything that is drawn: weights, order of the data, noise
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Steps of training
    #[arg(long)]
    pub steps: Option<u64>,
    /// Samples per step
    #[arg(long)]
    pub batch: Option<usize>,
    /// Learning rate
    #[arg(long)]
    pub lr: Option<f64>,
    /// Where the data are; without it they are looked for, then downloaded, then made up
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder for checkpoints, logs (CSV and JSON lines), pictures and the report
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Go on from this checkpoint, or from the last one in this folder; without a value, in the folder of --out
    #[arg(long)]
    pub resume: Option<Option<PathBuf>>,
    /// Save every so many steps, not only at the end
    #[arg(long)]
    pub save_every: Option<u64>,
    /// Read and log the figures every so many steps
    #[arg(long)]
    pub log_every: Option<u64>,
    /// Write events for TensorBoard into this folder; without a value, into OUT/tensorboard
    #[arg(long)]
    pub tensorboard: Option<Option<PathBuf>>,
}

/// The optimizer of a classifier.
#[derive(clap::Args)]
pub struct OptimizerOptions {
    /// adam, sgd, momentum or nesterov
    #[arg(long, default_value = "adam")]
    optimizer: String,
    /// Divide the rate by 1 + decay * step (Robbins and Monro)
    #[arg(long, default_value_t = 0.0)]
    decay: f64,
    /// Products in half precision, parameters in single, the loss scaled so that gradients stay within half's range
    #[arg(long)]
    pub mixed: bool,
}

impl OptimizerOptions {
    /// At this rate; without one 1e-3 with adam and 0.1 with the rest.
    ///
    /// # Errors
    /// If the optimizer is unknown.
    pub fn build(&self, rate: Option<f64>) -> Result<Box<dyn Optimizer>> {
        let rate = rate.unwrap_or(if self.optimizer == "adam" { 1e-3 } else { 0.1 });
        let schedule: Box<dyn Schedule> = match self.decay {
            0.0 => Box::new(Constant(rate)),
            decay => Box::new(InverseTime { initial: rate, decay }),
        };
        match &*self.optimizer {
            "adam" => Ok(self.scaled(Adam::scheduled(schedule))),
            "sgd" => Ok(self.scaled(Sgd::scheduled(schedule))),
            "momentum" => Ok(self.scaled(Sgd::scheduled(schedule).momentum(0.9))),
            "nesterov" => Ok(self.scaled(Sgd::scheduled(schedule).momentum(0.9).nesterov())),
            name => Err(Error::argument(format!("unknown optimizer {name:?}"), "use adam, sgd, momentum or nesterov")),
        }
    }

    /// With the loss scaled, if it is to be.
    fn scaled<R: Rule + 'static>(&self, optimizer: FirstOrder<R>) -> Box<dyn Optimizer> {
        Box::new(if self.mixed { optimizer.loss_scaling(LossScaling::default()) } else { optimizer })
    }

    /// Name, rate, decay and precision, for [`Loop::setting`].
    pub fn describe(&self, rate: Option<f64>) -> String {
        let rate = rate.map_or("default".into(), |r| r.to_string());
        format!("{} rate {rate} decay {}{}", self.optimizer, self.decay, if self.mixed { " mixed" } else { "" })
    }
}

/// What goes on around a run.
pub struct Session {
    /// What the run's report will say; the events of the run go in by themselves.
    pub report: Rc<RefCell<Report>>,
    /// The event file for TensorBoard, if one is wanted.
    pub summary: Option<Rc<RefCell<Summary>>>,
    options: Options,
    resumed: Option<State>,
    /// Of the weights at the end.
    digest: Rc<RefCell<Option<String>>>,
}

impl Session {
    /// Reads what is to be resumed, and makes the folders and files that are to be written, before the work begins.
    ///
    /// # Errors
    /// If one of them cannot be used, or the folder holds the checkpoints of another run.
    pub fn start(title: &str, options: &Options) -> Result<Session> {
        let resumed = match (&options.resume, &options.out) {
            (None, _) => None,
            (Some(Some(path)), _) | (Some(None), Some(path)) => Some(latest(path)?),
            (Some(None), None) => {
                return Err(Error::argument("--resume names no checkpoint", "name one, or its folder with --out"));
            }
        };
        if let Some(out) = &options.out {
            Checkpoints::new(out)?;
            if resumed.is_none() && latest(out).is_ok() {
                let remedy = "Go on with --resume, or name another folder; nothing in it is overwritten";
                return Err(Error::file(out, "holds the checkpoints of an earlier run", remedy));
            }
        }
        let folder = match (&options.tensorboard, &options.out) {
            (None, _) => None,
            (Some(Some(folder)), _) => Some(folder.clone()),
            (Some(None), Some(out)) => Some(out.join("tensorboard")),
            (Some(None), None) => {
                return Err(Error::argument("--tensorboard names no folder", "name one, or give --out"));
            }
        };
        let summary = folder.map(Summary::create).transpose()?.map(|s| Rc::new(RefCell::new(s)));
        if let Some(summary) = &summary {
            summary.borrow_mut().text("command", 0, &command())?;
        }
        let report = Rc::new(RefCell::new(Report::new(title)));
        Ok(Session { report, summary, options: options.clone(), resumed, digest: Rc::default() })
    }

    /// A path in the output folder, if there is one.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.options.out.as_ref().map(|out| out.join(name))
    }

    /// The loop of this run with all that the options ask for. What a run depends on goes in as its settings first.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn equip<'a, T: Task + 'a>(&mut self, run: Loop<'a, T>, steps: u64) -> Result<Loop<'a, T>> {
        let options = &self.options;
        let interrupt = Interrupt::listen();
        let log_every = options.log_every.unwrap_or((steps / 20).max(1));
        let mut run = run.log_every(log_every).setting("seed", options.seed).stop_when(interrupt.stop_flag());
        let step = self.resumed.as_ref().map(|state| state.note::<u64>("loop.step")).transpose()?;
        if let Some(out) = &options.out {
            let mut checkpoints = Checkpoints::new(out)?;
            if let Some(steps) = options.save_every {
                checkpoints = checkpoints.every(steps);
            }
            run = run.checkpoints(checkpoints);
            let mut csv = CsvLog::create(out.join("log.csv"), step)?;
            let mut json = JsonLog::create(out.join("log.jsonl"), step)?;
            run = run.observe(move |event, progress, _| {
                csv.record(event, progress)?;
                json.record(event, progress)
            });
        }
        if let Some(summary) = self.summary.clone() {
            run = run.observe(move |event, progress, _| summary.borrow_mut().record(event, progress));
        }
        let (report, digest, is_kept) = (Rc::clone(&self.report), Rc::clone(&self.digest), options.out.is_some());
        let mut bar = Bar::new(steps, step.unwrap_or(0));
        run = run.observe(move |event, progress, task| {
            report.borrow_mut().record(event, progress);
            bar.show(event, progress);
            if matches!(event, Event::End) && is_kept {
                let mut state = State::new();
                task.save(&mut state)?;
                *digest.borrow_mut() = Some(state.part("model").digest());
            }
            if matches!(event, Event::Step) && interrupt.wants_test() {
                bar.say(format!("step {}: {}", progress.step, bar::list(&task.validate()?)));
            }
            Ok(())
        });
        Ok(match self.resumed.take() {
            Some(state) => run.resume(state),
            None => run,
        })
    }

    /// Tells TensorBoard, if events are wanted, how weights and gradients are distributed at each validation, and
    /// whatever `more` adds.
    pub fn watch<'a, M: Parameters + 'a, B: Row + 'a>(
        &self,
        run: Loop<'a, Supervised<'a, M, B>>,
        mut more: impl FnMut(&M, &mut Summary, u64) -> Result<()> + 'a,
    ) -> Loop<'a, Supervised<'a, M, B>> {
        let Some(summary) = self.summary.clone() else { return run };
        run.observe(move |event, progress, task: &mut Supervised<M, B>| {
            if !matches!(event, Event::Validation(..)) {
                return Ok(());
            }
            let (mut summary, step) = (summary.borrow_mut(), progress.step);
            for (name, param) in task.model.named_parameters() {
                summary.histogram(&format!("weights/{name}"), step, param.get())?;
            }
            for (name, slope) in task.gradients()? {
                summary.histogram(&format!("gradients/{name}"), step, &slope)?;
            }
            more(&task.model, &mut summary, step)
        })
    }

    /// Writes the report into the output folder, if there is one. `more` are the rows of its first table.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save_report(&self, outcome: &Outcome, device: &Device, more: &[(&str, String)]) -> Result<()> {
        let Some(path) = self.path("report.html") else { return Ok(()) };
        let mut rows = vec![
            ("command".to_string(), command()),
            ("device".to_string(), device.to_string()),
            ("seed".to_string(), self.options.seed.to_string()),
        ];
        rows.extend(more.iter().map(|(name, value)| (name.to_string(), value.clone())));
        rows.extend(self.digest.borrow().iter().map(|digest| ("digest of the weights".to_string(), digest.clone())));
        let mut report = self.report.borrow_mut();
        report.outcome(outcome).table("Settings", &rows).curves();
        report.save(&path)?;
        println!("report: {}", path.display());
        Ok(())
    }
}

/// How this program was called.
fn command() -> String {
    std::env::args().collect::<Vec<_>>().join(" ")
}

/// Tells TensorBoard how the logits of the first pictures of a set are distributed.
///
/// # Errors
/// If it cannot be written; a fault of the device.
pub fn logits(summary: &mut Summary, step: u64, model: &dyn Module, device: &Device, set: &Images) -> Result<()> {
    let some: Vec<usize> = (0..set.len().min(250)).collect();
    let [c, h, w] = set.shape;
    let pictures = Tensor::from_slice(device, &set.gather(&some).0, [some.len(), c, h, w])?;
    summary.histogram("logits", step, &model.forward(&pictures, &mut Pass::eval()))
}

/// # Errors
/// If the accuracy stayed below what was expected.
pub fn expect(reached: f32, expected: Option<f32>) -> Result<()> {
    match expected {
        Some(expected) if reached < expected => Err(Error::argument(
            format!("the accuracy of {reached:.2} % is below the expected {expected:.2} %"),
            "train for more steps, or expect less",
        )),
        _ => Ok(()),
    }
}

/// A folder for results.
///
/// # Errors
/// If it cannot be made.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|e| Error::file(path, format!("cannot be made: {e}"), "Name a folder that can be written"))
}

/// A log file of every figure, if one was named.
///
/// # Errors
/// If it cannot be written.
pub fn csv(path: Option<&Path>) -> Result<Option<CsvLog>> {
    path.map(|path| CsvLog::create(path, None)).transpose()
}

/// The exit code of a program that ended so; a fault is printed on one line.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}
