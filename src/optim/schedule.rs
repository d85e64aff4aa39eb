//! Learning rates that change as training goes on, with the values of `torch.optim.lr_scheduler` at every step. The
//! optimizer gives them to the device as inputs, so a rate that changes every step makes no new plan.
//!
//! PyTorch's schedulers count what the program counts, mostly epochs. These count steps of the optimizer;
//! [`Schedule::every`] makes a schedule count epochs.

use std::f64::consts::PI;

/// The learning rate of each step.
pub trait Schedule: Send + Sync {
    /// The rate of step `step`; the first is step 0.
    fn rate(&self, step: u64) -> f64;

    /// The momentum (the first beta of Adam) of that step, if the schedule moves it.
    fn momentum(&self, _step: u64) -> Option<f64> {
        None
    }

    /// What a checkpoint must keep beyond the number of steps.
    fn state(&self) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// Goes on from such a state.
    fn load_state(&self, _state: &[(String, f64)]) {}

    /// The same schedule, moving on once in `steps` steps: `StepDecay::new(0.1, 30, 0.1).every(batches)` falls after
    /// every 30 epochs of `batches` steps.
    ///
    /// # Panics
    /// If `steps` is 0.
    #[track_caller]
    fn every(self, steps: u64) -> Every<Self>
    where
        Self: Sized,
    {
        assert!(steps > 0, "every: 0 steps");
        Every(self, steps)
    }
}

impl Schedule for Box<dyn Schedule> {
    fn rate(&self, step: u64) -> f64 {
        (**self).rate(step)
    }
    fn momentum(&self, step: u64) -> Option<f64> {
        (**self).momentum(step)
    }
    fn state(&self) -> Vec<(String, f64)> {
        (**self).state()
    }
    fn load_state(&self, state: &[(String, f64)]) {
        (**self).load_state(state);
    }
}

/// A schedule that moves on once in some steps. Made by [`Schedule::every`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Every<S>(S, u64);

impl<S: Schedule> Schedule for Every<S> {
    fn rate(&self, step: u64) -> f64 {
        self.0.rate(step / self.1)
    }
    fn momentum(&self, step: u64) -> Option<f64> {
        self.0.momentum(step / self.1)
    }
    fn state(&self) -> Vec<(String, f64)> {
        self.0.state()
    }
    fn load_state(&self, state: &[(String, f64)]) {
        self.0.load_state(state);
    }
}

/// The same rate at every step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant(pub f64);

impl Schedule for Constant {
    fn rate(&self, _: u64) -> f64 {
        self.0
    }
}

/// The rate that a function gives to each step: PyTorch's `LambdaLR`, with the initial rate in the function.
#[derive(Debug, Clone, Copy)]
pub struct Lambda<F>(pub F);

impl<F: Fn(u64) -> f64 + Send + Sync> Schedule for Lambda<F> {
    fn rate(&self, step: u64) -> f64 {
        (self.0)(step)
    }
}

/// `initial / (1 + decay * step)`: half the initial rate after `1 / decay` steps.
///
/// With `decay > 0` it meets the two conditions of Robbins and Monro ("A Stochastic Approximation Method", 1951) under
/// which stochastic gradient descent converges in spite of the noise of its batches: the rates sum to infinity, so that
/// any distance can be covered, and their squares to a finite number, so that the noise dies out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InverseTime {
    /// The rate of step 0.
    pub initial: f64,
    /// How fast it falls.
    pub decay: f64,
}

impl Schedule for InverseTime {
    fn rate(&self, step: u64) -> f64 {
        self.initial / (1.0 + self.decay * step as f64)
    }
}

/// `initial * gamma^(step / size)`, whole numbers: the rate falls after every `size` steps. PyTorch's `StepLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepDecay {
    /// The rate of step 0.
    pub initial: f64,
    /// Steps between falls.
    pub size: u64,
    /// The factor of a fall.
    pub gamma: f64,
}

impl Schedule for StepDecay {
    fn rate(&self, step: u64) -> f64 {
        self.initial * power(self.gamma, step / self.size)
    }
}

/// The rate falls by the factor `gamma` at each milestone. PyTorch's `MultiStepLR`.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiStep {
    /// The rate of step 0.
    pub initial: f64,
    /// The steps at which it falls, in any order; one that is named twice counts twice.
    pub milestones: Vec<u64>,
    /// The factor of a fall.
    pub gamma: f64,
}

impl Schedule for MultiStep {
    fn rate(&self, step: u64) -> f64 {
        let falls = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
        self.initial * power(self.gamma, falls as u64)
    }
}

/// `initial * gamma^step`. PyTorch's `ExponentialLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    /// The rate of step 0.
    pub initial: f64,
    /// The factor of a step.
    pub gamma: f64,
}

impl Schedule for Exponential {
    fn rate(&self, step: u64) -> f64 {
        self.initial * power(self.gamma, step)
    }
}

/// `initial * (1 - step / steps)^power`, and 0 from step `steps` on. PyTorch's `PolynomialLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Polynomial {
    /// The rate of step 0.
    pub initial: f64,
    /// Where it reaches 0.
    pub steps: u64,
    /// 1 is a straight line.
    pub power: f64,
}

impl Schedule for Polynomial {
    fn rate(&self, step: u64) -> f64 {
        self.initial * (1.0 - step.min(self.steps) as f64 / self.steps as f64).powf(self.power)
    }
}

/// `rate * factor` for the first `steps` steps, then `rate`. PyTorch's `ConstantLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConstantFactor {
    /// The rate from step `steps` on.
    pub rate: f64,
    /// What it is multiplied by before.
    pub factor: f64,
    /// Where that ends.
    pub steps: u64,
}

impl Schedule for ConstantFactor {
    fn rate(&self, step: u64) -> f64 {
        if step < self.steps { self.rate * self.factor } else { self.rate }
    }
}

/// From `rate * start` in a straight line to `rate * end` at step `steps`, and so on: a linear warm-up if `start` is
/// small. PyTorch's `LinearLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearFactor {
    /// What the factors multiply.
    pub rate: f64,
    /// The factor of step 0.
    pub start: f64,
    /// The factor from step `steps` on.
    pub end: f64,
    /// The length of the way.
    pub steps: u64,
}

impl LinearFactor {
    /// A linear warm-up over `steps` steps: `rate / steps` at step 0, `rate` from step `steps - 1` on.
    pub fn warm_up(rate: f64, steps: u64) -> LinearFactor {
        LinearFactor { rate, start: 1.0 / steps.max(1) as f64, end: 1.0, steps: steps.saturating_sub(1) }
    }
}

impl Schedule for LinearFactor {
    fn rate(&self, step: u64) -> f64 {
        let way = if self.steps == 0 { 1.0 } else { step.min(self.steps) as f64 / self.steps as f64 };
        self.rate * (self.start + (self.end - self.start) * way)
    }
}

/// Half a period of a cosine from `initial` down to `lowest` at step `steps`, and back up after it. PyTorch's
/// `CosineAnnealingLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineAnnealing {
    /// The rate of step 0.
    pub initial: f64,
    /// The rate of step `steps`.
    pub lowest: f64,
    /// The length of the way down.
    pub steps: u64,
}

impl Schedule for CosineAnnealing {
    fn rate(&self, step: u64) -> f64 {
        cosine(self.initial, self.lowest, step as f64 / self.steps as f64)
    }
}

/// Half a period of a cosine from `initial` towards `lowest`, again and again, each `stretch` times as long as the one
/// before. PyTorch's `CosineAnnealingWarmRestarts`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineWarmRestarts {
    /// The rate at every start.
    pub initial: f64,
    /// The rate that each way leads to.
    pub lowest: f64,
    /// The length of the first way.
    pub steps: u64,
    /// How much longer each way is than the one before; 1 for all the same.
    pub stretch: u64,
}

impl Schedule for CosineWarmRestarts {
    fn rate(&self, step: u64) -> f64 {
        let (mut length, mut at) = (self.steps.max(1), step);
        if self.stretch <= 1 {
            at %= length;
        }
        while at >= length {
            at -= length;
            length *= self.stretch;
        }
        cosine(self.initial, self.lowest, at as f64 / length as f64)
    }
}

/// The way between two values of a [`OneCycle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anneal {
    /// Half a period of a cosine.
    #[default]
    Cosine,
    /// A straight line.
    Linear,
}

impl Anneal {
    fn between(self, from: f64, to: f64, way: f64) -> f64 {
        match self {
            Anneal::Cosine => cosine(from, to, way),
            Anneal::Linear => from + (to - from) * way,
        }
    }
}

/// Up to the highest rate and down to almost none, once in a run, while the momentum moves the other way (Smith and
/// Topin, "Super-Convergence", 2017). PyTorch's `OneCycleLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OneCycle {
    /// The highest rate.
    pub highest: f64,
    /// Steps of the run.
    pub steps: u64,
    /// The share of the run in which the rate rises; 0.3 by default.
    pub rising: f64,
    /// The form of the ways; a cosine by default.
    pub anneal: Anneal,
    /// The lowest and highest momentum, if it moves; 0.85 and 0.95 by default.
    pub momentum: Option<(f64, f64)>,
    /// The highest rate over the first; 25 by default.
    pub start_divisor: f64,
    /// The first rate over the last; 1e4 by default.
    pub end_divisor: f64,
    /// Whether the rate falls as it rose, to the first rate, and only then on to the last.
    pub three_phases: bool,
}

impl OneCycle {
    /// PyTorch's defaults.
    pub fn new(highest: f64, steps: u64) -> OneCycle {
        OneCycle {
            highest,
            steps,
            rising: 0.3,
            anneal: Anneal::Cosine,
            momentum: Some((0.85, 0.95)),
            start_divisor: 25.0,
            end_divisor: 1e4,
            three_phases: false,
        }
    }

    /// How far step `step` is in its phase, and the values that the phase leads from and to.
    fn at(&self, step: u64, values: [f64; 4]) -> f64 {
        let [start, top, middle, end] = values;
        let (run, step) = (self.steps as f64, step as f64);
        let first = self.rising * run - 1.0;
        let phases = match self.three_phases {
            true => vec![(first, start, top), (2.0 * self.rising * run - 2.0, top, middle), (run - 1.0, middle, end)],
            false => vec![(first, start, top), (run - 1.0, top, end)],
        };
        let mut begin = 0.0;
        for (k, &(until, from, to)) in phases.iter().enumerate() {
            if step <= until || k + 1 == phases.len() {
                return self.anneal.between(from, to, ((step - begin) / (until - begin)).min(1.0));
            }
            begin = until;
        }
        end
    }
}

impl Schedule for OneCycle {
    fn rate(&self, step: u64) -> f64 {
        let start = self.highest / self.start_divisor;
        self.at(step, [start, self.highest, start, start / self.end_divisor])
    }
    fn momentum(&self, step: u64) -> Option<f64> {
        let (low, high) = self.momentum?;
        Some(self.at(step, [high, low, high, high]))
    }
}

/// How the height of a [`Cyclic`] schedule changes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Cycle {
    /// It does not.
    #[default]
    Triangular,
    /// It halves from cycle to cycle.
    Triangular2,
    /// It is multiplied by this at every step.
    Exponential(f64),
}

/// Between two rates, up and down, again and again, while the momentum moves the other way (Smith, "Cyclical Learning
/// Rates", 2017). PyTorch's `CyclicLR`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cyclic {
    /// The lowest rate.
    pub lowest: f64,
    /// The highest rate.
    pub highest: f64,
    /// Steps up; 2000 by default.
    pub up: u64,
    /// Steps down; as many by default.
    pub down: u64,
    /// How the height changes.
    pub cycle: Cycle,
    /// The lowest and highest momentum, if it moves; 0.8 and 0.9 by default.
    pub momentum: Option<(f64, f64)>,
}

impl Cyclic {
    /// PyTorch's defaults.
    pub fn new(lowest: f64, highest: f64) -> Cyclic {
        Cyclic { lowest, highest, up: 2000, down: 2000, cycle: Cycle::Triangular, momentum: Some((0.8, 0.9)) }
    }

    /// The height of step `step`, from 0 to 1.
    fn height(&self, step: u64) -> f64 {
        let period = (self.up + self.down) as f64;
        let cycle = (1.0 + step as f64 / period).floor();
        let (way, share) = (1.0 + step as f64 / period - cycle, self.up as f64 / period);
        let height = if way <= share { way / share } else { (way - 1.0) / (share - 1.0) };
        height
            * match self.cycle {
                Cycle::Triangular => 1.0,
                Cycle::Triangular2 => 0.5f64.powf(cycle - 1.0),
                Cycle::Exponential(gamma) => power(gamma, step),
            }
    }
}

impl Schedule for Cyclic {
    fn rate(&self, step: u64) -> f64 {
        self.lowest + (self.highest - self.lowest) * self.height(step)
    }
    fn momentum(&self, step: u64) -> Option<f64> {
        let (low, high) = self.momentum?;
        Some(high - (high - low) * self.height(step))
    }
}

/// One schedule after the other, each starting from its own step 0. PyTorch's `SequentialLR`.
pub struct Sequential {
    first: Box<dyn Schedule>,
    rest: Vec<(u64, Box<dyn Schedule>)>,
}

impl Sequential {
    /// Starts with this schedule.
    pub fn new(first: impl Schedule + 'static) -> Sequential {
        Sequential { first: Box::new(first), rest: Vec::new() }
    }

    /// From step `milestone` on this schedule.
    ///
    /// # Panics
    /// If the milestones do not rise.
    #[track_caller]
    pub fn then(mut self, milestone: u64, schedule: impl Schedule + 'static) -> Sequential {
        let last = self.rest.last().map_or(0, |r| r.0);
        assert!(milestone > last, "then: a milestone at step {milestone} does not come after step {last}");
        self.rest.push((milestone, Box::new(schedule)));
        self
    }

    fn parts(&self) -> impl Iterator<Item = &dyn Schedule> {
        std::iter::once(&*self.first).chain(self.rest.iter().map(|(_, schedule)| &**schedule))
    }

    fn at(&self, step: u64) -> (&dyn Schedule, u64) {
        let found = self.rest.iter().rev().find(|(milestone, _)| *milestone <= step);
        found.map_or((&*self.first, step), |(milestone, schedule)| (&**schedule, step - milestone))
    }
}

impl Schedule for Sequential {
    fn rate(&self, step: u64) -> f64 {
        let (schedule, step) = self.at(step);
        schedule.rate(step)
    }
    fn momentum(&self, step: u64) -> Option<f64> {
        let (schedule, step) = self.at(step);
        schedule.momentum(step)
    }
    fn state(&self) -> Vec<(String, f64)> {
        state_of(self.parts())
    }
    fn load_state(&self, state: &[(String, f64)]) {
        load_into(self.parts(), state);
    }
}

/// `initial` times the rates of all these schedules, which start at 1 themselves. PyTorch's `ChainedScheduler`.
pub struct Chained {
    initial: f64,
    factors: Vec<Box<dyn Schedule>>,
}

impl Chained {
    /// A rate that nothing changes yet.
    pub fn new(initial: f64) -> Chained {
        Chained { initial, factors: Vec::new() }
    }

    /// Times the rates of this schedule.
    pub fn times(mut self, factor: impl Schedule + 'static) -> Chained {
        self.factors.push(Box::new(factor));
        self
    }
}

impl Schedule for Chained {
    fn rate(&self, step: u64) -> f64 {
        self.factors.iter().fold(self.initial, |rate, factor| rate * factor.rate(step))
    }
    fn state(&self) -> Vec<(String, f64)> {
        state_of(self.factors.iter().map(|factor| &**factor))
    }
    fn load_state(&self, state: &[(String, f64)]) {
        load_into(self.factors.iter().map(|factor| &**factor), state);
    }
}

/// The states of parts, by their number.
fn state_of<'a>(parts: impl Iterator<Item = &'a dyn Schedule>) -> Vec<(String, f64)> {
    let named = |(i, part): (usize, &dyn Schedule)| {
        part.state().into_iter().map(|(name, x)| (format!("{i}.{name}"), x)).collect::<Vec<_>>()
    };
    parts.enumerate().flat_map(named).collect()
}

fn load_into<'a>(parts: impl Iterator<Item = &'a dyn Schedule>, state: &[(String, f64)]) {
    for (i, part) in parts.enumerate() {
        let prefix = format!("{i}.");
        let mine = state.iter().filter_map(|(name, x)| Some((name.strip_prefix(&prefix)?.to_string(), *x)));
        part.load_state(&mine.collect::<Vec<_>>());
    }
}

/// Half a period of a cosine: `from` where `way` is 0, `to` where it is 1.
fn cosine(from: f64, to: f64, way: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * way).cos()) / 2.0
}

fn power(base: f64, exponent: u64) -> f64 {
    base.powf(exponent as f64)
}
