//! The loop of a training run, whatever is trained.
//!
//! It is short because it knows so little: a [`Task`] does the steps, and whoever wants to watch is told [`Event`]s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use super::{Figures, State, Window};
use crate::error::Result;

/// Something that is trained: a model with its loss, its optimizer and its data, or several of each.
pub trait Task {
    /// Does one step: forward, backward, update. The first of its figures is the loss; none of them needs to be
    /// computed yet.
    ///
    /// # Errors
    /// A fault of the device or the data.
    fn step(&mut self) -> Result<Figures>;

    /// Does one step or more, up to `most`, and gives the figures of each: as many as are one submission, where the
    /// task replays its steps ([`Steps`](crate::optim::Steps)).
    ///
    /// # Errors
    /// Those of [`Task::step`].
    fn steps(&mut self, most: usize) -> Result<Vec<Figures>> {
        let _ = most;
        Ok(vec![self.step()?])
    }

    /// Judges the model on data it was not trained on; no figures if there are none.
    ///
    /// # Errors
    /// A fault of the device or the data.
    fn validate(&mut self) -> Result<Vec<(String, f64)>>;

    /// Adds everything that a step changes.
    ///
    /// # Errors
    /// A fault of the device.
    fn save(&self, state: &mut State) -> Result<()>;

    /// Takes over what [`Task::save`] added, so that the next step is the one that would have followed.
    ///
    /// # Errors
    /// If the state is that of another task; a fault of the device.
    fn load(&mut self, state: &State) -> Result<()>;
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps done, those before a resumption included.
    pub step: u64,
    /// Steps wanted.
    pub of: u64,
    /// Steps per second since the run was started or resumed, validation and saving included.
    pub per_second: f64,
}

/// What observers of a run are told.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was submitted; nothing was read. Where several are one submission, all of them were submitted before the
    /// first is told.
    Step,
    /// The means of the figures since the last of these events.
    Train(&'a [(String, f64)]),
    /// What [`Task::validate`] found, and whether it is the best so far.
    Validation(&'a [(String, f64)], bool),
    /// A checkpoint was written.
    Saved(&'a std::path::Path),
    /// The run is over.
    End,
}

/// Which validation is the best.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// The one with the smallest value of this figure.
    Least(String),
    /// The one with the largest.
    Most(String),
}

impl Goal {
    fn better(&self, figures: &[(String, f64)], best: Option<f64>) -> Option<f64> {
        let (Goal::Least(name) | Goal::Most(name)) = self;
        let value = figures.iter().find(|(n, _)| n == name)?.1;
        let better = match (self, best) {
            (_, None) => !value.is_nan(),
            (Goal::Least(_), Some(best)) => value < best,
            (Goal::Most(_), Some(best)) => value > best,
        };
        better.then_some(value)
    }

    fn met(&self, figures: &[(String, f64)], enough: f64) -> bool {
        match self {
            Goal::Least(name) => find(figures, name).is_some_and(|value| value <= enough),
            Goal::Most(name) => find(figures, name).is_some_and(|value| value >= enough),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// Steps done, those before a resumption included.
    pub steps: u64,
    /// The last means of the training figures.
    pub figures: Vec<(String, f64)>,
    /// The last figures of the validation.
    pub validation: Vec<(String, f64)>,
    /// The best validation: its step and its value.
    pub best: Option<(u64, f64)>,
    /// Whether somebody asked it to stop before the last step.
    pub stopped: bool,
    /// Whether the validation had not improved for too long.
    pub stale: bool,
    /// Whether a validation was as good as was asked for.
    pub met: bool,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl Outcome {
    /// A training figure by name.
    pub fn figure(&self, name: &str) -> Option<f64> {
        find(&self.figures, name)
    }

    /// A validation figure by name.
    pub fn validation(&self, name: &str) -> Option<f64> {
        find(&self.validation, name)
    }
}

fn find(figures: &[(String, f64)], name: &str) -> Option<f64> {
    figures.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
}

type Observer<'a, T> = Box<dyn FnMut(&Event, &Progress, &mut T) -> Result<()> + 'a>;

/// The loop: how many steps, and what happens how often.
pub struct Loop<'a, T: Task> {
    steps: u64,
    log_every: u64,
    validate_every: Option<u64>,
    goal: Goal,
    enough: Option<f64>,
    patience: Option<u64>,
    stop: Arc<AtomicBool>,
    settings: Vec<(String, String)>,
    observers: Vec<Observer<'a, T>>,
    resume: Option<State>,
    #[cfg(feature = "checkpoint")]
    checkpoints: Option<super::checkpoint::Checkpoints>,
}

/// What of the loop itself outlives an interruption.
#[derive(Default)]
struct Standing {
    step: u64,
    best: Option<(u64, f64)>,
    /// Validations since the best.
    stale: u64,
}

impl<'a, T: Task> Loop<'a, T> {
    /// A run of so many steps that reads its figures every 100.
    pub fn new(steps: u64) -> Loop<'a, T> {
        Loop {
            steps,
            log_every: 100,
            validate_every: None,
            goal: Goal::Least("loss".into()),
            enough: None,
            patience: None,
            stop: Arc::default(),
            settings: Vec::new(),
            observers: Vec::new(),
            resume: None,
            #[cfg(feature = "checkpoint")]
            checkpoints: None,
        }
    }

    /// Reads the figures every so many steps, which waits for the device.
    pub fn log_every(mut self, steps: u64) -> Self {
        self.log_every = steps.max(1);
        self
    }

    /// Validates every so many steps and at the end.
    pub fn validate_every(mut self, steps: u64) -> Self {
        self.validate_every = Some(steps.max(1));
        self
    }

    /// Which validation is the best: that of the least loss, unless told otherwise.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = goal;
        self
    }

    /// Ends the run when a validation is as good as this.
    pub fn enough(mut self, value: f64) -> Self {
        self.enough = Some(value);
        self
    }

    /// Ends the run when so many validations in a row were no better than the best.
    pub fn patience(mut self, validations: u64) -> Self {
        self.patience = Some(validations);
        self
    }

    /// Ends the run, saved, after the step during which this becomes true; of steps that are one submission, after the
    /// last.
    pub fn stop_when(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = flag;
        self
    }

    /// A setting on which the figures depend. It is saved, and a run that is resumed with another value is refused.
    pub fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Tells `observer` of every event, and lends it the task.
    pub fn observe(mut self, observer: impl FnMut(&Event, &Progress, &mut T) -> Result<()> + 'a) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Goes on from a state that an earlier run saved.
    pub fn resume(mut self, state: State) -> Self {
        self.resume = Some(state);
        self
    }

    /// Saves checkpoints, the best one included, and one when the run ends.
    #[cfg(feature = "checkpoint")]
    pub fn checkpoints(mut self, checkpoints: super::checkpoint::Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints);
        self
    }

    /// Runs the task.
    ///
    /// # Errors
    /// What a step, a validation, an observer or a checkpoint reports; a loss that is not a finite number, naming the
    /// step, or weights (what the task saves as `model`) that are none, neither of which is saved; a state to resume
    /// from that is not of this task and these settings.
    pub fn run(&mut self, task: &mut T) -> Result<Outcome> {
        let mut at = self.begin(task)?;
        let mut outcome = Outcome::default();
        let (begun, first) = (Instant::now(), at.step);
        let mut window = Window::new();
        let mut saved = at.step;
        while at.step < self.steps && !outcome.stopped && !outcome.stale && !outcome.met {
            let made = task.steps(self.undisturbed(at.step))?;
            let done = at.step + made.len() as u64;
            let per_second = (done - first) as f64 / begun.elapsed().as_secs_f64();
            let progress = Progress { step: done, of: self.steps, per_second };
            for figures in &made {
                at.step += 1;
                window.add(at.step, 1.0, figures)?;
                self.tell(Event::Step, &Progress { step: at.step, ..progress }, task)?;
            }
            outcome.stopped = self.stop.load(Relaxed);
            let last = at.step == self.steps || outcome.stopped;
            if (last || at.step.is_multiple_of(self.log_every)) && !window.is_empty() {
                outcome.figures = window.read()?;
                self.tell(Event::Train(&outcome.figures), &progress, task)?;
            }
            if self.validate_every.is_some_and(|every| at.step.is_multiple_of(every) || last) {
                outcome.validation = task.validate()?;
                let better = self.goal.better(&outcome.validation, at.best.map(|(_, value)| value));
                match better {
                    Some(value) => (at.best, at.stale) = (Some((at.step, value)), 0),
                    None => at.stale += 1,
                }
                self.tell(Event::Validation(&outcome.validation, better.is_some()), &progress, task)?;
                if better.is_some() {
                    self.save_best(&at, task)?;
                }
                outcome.stale = self.patience.is_some_and(|patience| at.stale >= patience);
                outcome.met = self.enough.is_some_and(|enough| self.goal.met(&outcome.validation, enough));
            }
            if self.save_due(at.step, last || outcome.stale || outcome.met) && saved != at.step {
                // What is saved pushes out what was: it must not be the ruin of a run.
                window.peek()?;
                self.save(&at, &progress, task)?;
                saved = at.step;
            }
        }
        if at.step == first && self.validate_every.is_some() {
            // Resumed at its end: there was nothing to do, but it may still be judged.
            outcome.validation = task.validate()?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let per_second = (at.step - first) as f64 / seconds.max(1e-9);
        self.tell(Event::End, &Progress { step: at.step, of: self.steps, per_second }, task)?;
        Ok(Outcome { steps: at.step, best: at.best, seconds, ..outcome })
    }

    /// How many steps after this one are taken before something else is to be done.
    fn undisturbed(&self, step: u64) -> usize {
        let next = |every: u64| every - step % every;
        let validated = self.validate_every.map_or(u64::MAX, next);
        let ahead = (self.steps - step).min(next(self.log_every)).min(validated).min(self.save_ahead(step));
        ahead.try_into().unwrap_or(usize::MAX)
    }

    fn tell(&mut self, event: Event, progress: &Progress, task: &mut T) -> Result<()> {
        self.observers.iter_mut().try_for_each(|observer| observer(&event, progress, task))
    }

    /// Step 0, or where the state to resume from stood.
    fn begin(&mut self, task: &mut T) -> Result<Standing> {
        let Some(state) = self.resume.take() else { return Ok(Standing::default()) };
        for (name, value) in &self.settings {
            let saved: String = state.note(&format!("setting.{name}"))?;
            if saved != *value {
                return Err(state.fault(
                    format!("was saved by a run with {name} {saved}, and this one has {name} {value}"),
                    format!("Resume with {name} {saved}, or start a new run in another folder"),
                ));
            }
        }
        let step = state.note("loop.step")?;
        if step > self.steps {
            let problem = format!("stands at step {step}, beyond the {} that were asked for", self.steps);
            return Err(state.fault(problem, "Ask for more steps"));
        }
        let best = match state.notes.contains_key("loop.best") {
            true => Some((state.note("loop.best_step")?, f64::from_bits(state.note("loop.best")?))),
            false => None,
        };
        let stale = state.note("loop.stale")?;
        task.load(&state.part("task"))?;
        Ok(Standing { step, best, stale })
    }

    /// Everything that the run consists of now.
    #[cfg_attr(not(feature = "checkpoint"), allow(dead_code, reason = "nobody else saves"))]
    fn state(&self, at: &Standing, task: &T) -> Result<State> {
        let mut parts = State::new();
        task.save(&mut parts)?;
        let mut state = State::new();
        state.tensors.extend(parts.tensors.into_iter().map(|(k, v)| (format!("task.{k}"), v)));
        state.notes.extend(parts.notes.into_iter().map(|(k, v)| (format!("task.{k}"), v)));
        state.put_note("loop.step", at.step);
        state.put_note("loop.stale", at.stale);
        if let Some((step, value)) = at.best {
            state.put_note("loop.best_step", step);
            state.put_note("loop.best", value.to_bits());
        }
        for (name, value) in &self.settings {
            state.put_note(&format!("setting.{name}"), value);
        }
        Ok(state)
    }

    #[cfg(feature = "checkpoint")]
    fn save_due(&self, step: u64, last: bool) -> bool {
        self.checkpoints.as_ref().is_some_and(|c| last || c.due(step))
    }

    #[cfg(feature = "checkpoint")]
    fn save_ahead(&self, step: u64) -> u64 {
        self.checkpoints.as_ref().map_or(u64::MAX, |c| c.ahead(step))
    }

    #[cfg(feature = "checkpoint")]
    fn save(&mut self, at: &Standing, progress: &Progress, task: &mut T) -> Result<()> {
        let state = self.state(at, task)?;
        if let Some(name) = state.part("task.model").not_finite() {
            return Err(crate::error::Error::argument(
                format!(
                    "the parameter {name:?} is no number any more after step {}, and the step is not saved",
                    at.step
                ),
                "lower the learning rate or clip the gradients; what was saved before is whole",
            ));
        }
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        let path = checkpoints.save(at.step, &state)?;
        self.tell(Event::Saved(&path), progress, task)
    }

    #[cfg(feature = "checkpoint")]
    fn save_best(&mut self, at: &Standing, task: &T) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else { return Ok(()) };
        checkpoints.save_best(&self.state(at, task)?)
    }

    #[cfg(not(feature = "checkpoint"))]
    fn save_due(&self, _: u64, _: bool) -> bool {
        false
    }

    #[cfg(not(feature = "checkpoint"))]
    fn save_ahead(&self, _: u64) -> u64 {
        u64::MAX
    }

    #[cfg(not(feature = "checkpoint"))]
    fn save(&mut self, _: &Standing, _: &Progress, _: &mut T) -> Result<()> {
        Ok(())
    }

    #[cfg(not(feature = "checkpoint"))]
    fn save_best(&mut self, _: &Standing, _: &T) -> Result<()> {
        Ok(())
    }
}
