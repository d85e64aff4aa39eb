//! The loop of [`Agent`](super::Agent) without the host: whole rounds are replayed, and only their numbers are sent.

use super::learner::{Learner, Turn};
use super::{AgentOptions, Dqn, Places, restore};
use crate::env::{TensorEnv, play};
use crate::error::{Error, Result};
use crate::nn::{Module, Param, Pass, settle};
use crate::ops::Rng;
use crate::optim::{Optimizer, Replays, Row, Trained};
use crate::tensor::Tensor;
use crate::train::{Figures, Saved, State, Task};

/// Rounds between two looks at the returns: a look waits for the device.
const LOOK: u64 = 100;

/// An agent whose environments and whose memory are on the device of its network. A step of learning is one program
/// with the action in every lane before it, which is replayed on a GPU as [`Steps`](crate::optim::Steps) are: nothing
/// crosses the bus but six numbers for each step.
///
/// It learns as an [`Agent`](super::Agent) with the same options does, but for the random numbers, and for dynamics in
/// single precision. As a [`Task`], a step is one action in every lane and then the steps of learning; the warm-up is
/// part of the first. Figures are the loss, and after every 100 steps the mean return of the episodes that ended in
/// them, where some did.
///
/// With several steps of learning for each action ([`AgentOptions::updates`]) all of them are the same program, and
/// those after the first throw away what their lanes did. More lanes cost a GPU less.
pub struct DeviceAgent<N, E> {
    learner: Learner<N, E>,
    optimizer: Box<dyn Optimizer>,
    pass: Pass,
    replays: Replays,
    course: Course,
    /// Whether the warm-up was played.
    warm: bool,
    /// Whether the sums of returns are to begin anew.
    clears: bool,
    tests: usize,
    best: Option<(f64, Vec<Saved>)>,
}

/// What follows from the number of a step.
#[derive(Clone, Copy)]
struct Course {
    options: AgentOptions,
    lanes: u64,
    places: Places,
    target_every: u64,
    /// Rounds before the first step of learning.
    warmup: u64,
}

impl Course {
    /// The turn of a round that is played, and learned from by nobody.
    fn played(&self, round: u64) -> Turn {
        Turn {
            epsilon: self.options.epsilon.at(round * self.lanes),
            place: Some(self.places.of(round)),
            filled: self.places.filled(round + 1),
            copies: false,
            clears: false,
        }
    }

    /// The turn of the step of learning after so many others.
    fn learned(&self, steps: u64) -> Turn {
        let updates = self.options.updates as u64;
        let turn = self.played(self.warmup + steps / updates);
        let place = turn.place.filter(|_| steps.is_multiple_of(updates));
        Turn { place, copies: steps.is_multiple_of(self.target_every), ..turn }
    }
}

impl<N: Module, E: TensorEnv> DeviceAgent<N, E> {
    /// Begins an episode in each of `lanes` lanes; the last `memory` transitions are remembered.
    ///
    /// # Errors
    /// [`Error::Argument`] if the memory does not hold a step of all lanes, or if the options ask for something else
    /// than one step [`ahead`](AgentOptions::ahead); a fault of the device.
    pub fn new(dqn: Dqn<N>, env: E, lanes: usize, memory: usize, options: AgentOptions) -> Result<Self> {
        if options.ahead != 1 || options.updates == 0 || options.batch == 0 {
            return Err(Error::argument(
                format!("{} steps ahead, {} updates, a batch of {}", options.ahead, options.updates, options.batch),
                "on the device rewards are taken one step ahead; give at least one update, and one transition in a batch",
            ));
        }
        let mut pass = Pass::train(options.seed);
        let Dqn { online, target, optimizer, options: rules, .. } = dqn;
        let form = (options.batch, options.discount);
        let learner = Learner::new((online, target), (env, lanes, memory), rules, form, &mut pass.rng)?;
        let course = Course {
            options,
            lanes: lanes as u64,
            places: learner.memory.places(),
            target_every: rules.target_every.max(1),
            // The first step plays a round as well.
            warmup: options.warmup.div_ceil(lanes as u64).saturating_sub(1),
        };
        Ok(DeviceAgent {
            learner,
            optimizer,
            pass,
            replays: Replays::new(),
            course,
            warm: false,
            clears: false,
            tests: 0,
            best: None,
        })
    }

    /// Validates by so many episodes without exploring, the same ones each time, and keeps the weights that did best.
    pub fn validate_in(self, tests: usize) -> Self {
        DeviceAgent { tests, ..self }
    }

    /// With every step recorded anew: to find out what replaying changes.
    pub fn one_by_one(self) -> Self {
        DeviceAgent { replays: Replays::none("each step is recorded anew, as was asked for"), ..self }
    }

    /// Whether the next steps are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        self.replays.replayed()
    }

    /// The network that learns.
    pub fn network(&self) -> &N {
        &self.learner.online
    }

    /// Steps of learning done.
    pub fn learned(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Steps played, over all lanes.
    pub fn played(&self) -> u64 {
        let Course { options, lanes, warmup, .. } = self.course;
        let rounds = self.learned().div_ceil(options.updates as u64);
        (rounds + if self.warm { warmup } else { 0 }) * lanes
    }

    /// The chance of a random action now.
    pub fn epsilon(&self) -> f64 {
        self.course.options.epsilon.at(self.played())
    }

    /// Does so many steps of learning, with an action in every lane before each, or before the first of as many as
    /// [`AgentOptions::updates`] says. Gives the loss of the last, on the device.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If `steps` is 0.
    #[track_caller]
    pub fn run(&mut self, steps: usize) -> Result<Tensor> {
        assert!(steps > 0, "run: 0 steps have no loss");
        let made = self.take(steps, false)?;
        Ok(made.into_iter().next_back().expect("a step was taken").swap_remove(0).1)
    }

    /// Takes up to `most` steps of learning. `each`: those of one submission, and the figures of each; else all, and
    /// those of the last.
    #[track_caller]
    fn take(&mut self, most: usize, each: bool) -> Result<Vec<Figures>> {
        self.warm_up()?;
        let DeviceAgent { learner, optimizer, pass, replays, course, clears, .. } = self;
        let mut steps = optimizer.steps()..;
        let mut next = || {
            let turn = course.learned(steps.next().expect("there is no end of numbers"));
            let clears = turn.place.is_some() && std::mem::take(clears);
            Ok(Turn { clears, ..turn }.row())
        };
        let record = |learner: &Learner<N, E>, row: &Tensor, pass: &mut Pass| vec![("loss", learner.step(row, pass))];
        replays.take(Trained { model: learner, optimizer, pass }, (most, each), &mut next, &record)
    }

    /// The mean return of the episodes that ended since this was asked for, and how many they were; `None` if none did.
    /// It waits for the device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn returns(&mut self) -> Result<Option<(f32, u32)>> {
        if self.clears {
            return Ok(None);
        }
        let [sum, count] = self.learner.totals()?;
        self.clears = true;
        Ok((count > 0.0).then(|| (sum / count, count as u32)))
    }

    /// The returns of `n` episodes without exploring, all at once on the device.
    ///
    /// # Errors
    /// A fault of the device.
    #[track_caller]
    pub fn evaluate(&self, n: usize, seed: u64) -> Result<Vec<f32>> {
        let (learner, mut rng) = (&self.learner, Rng::new(seed));
        let starts = learner.env.starts(&learner.device(), n, &mut rng).into_leaf(false)?;
        play(&learner.env, &starts, &mut rng, |seen| learner.greedy(seen))?.to_vec()
    }

    /// Goes back to the weights that did best in a validation, and gives their mean return; `None` if there was none.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn restore_best(&mut self) -> Result<Option<f64>> {
        let Some((value, weights)) = &self.best else { return Ok(None) };
        let device = self.learner.device();
        let weights = weights.iter().map(|saved| saved.on(&device)).collect::<Result<Vec<_>>>()?;
        restore(&mut self.learner.online, &weights)?;
        self.replays.forget();
        Ok(Some(*value))
    }

    /// The networks and their optimizer, to go on otherwise.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn into_dqn(self) -> Result<Dqn<N>> {
        let DeviceAgent { learner, optimizer, .. } = self;
        let (options, device) = (learner.rules, learner.device());
        let (online, target) = learner.into_networks()?;
        Ok(Dqn { online, target, optimizer, replays: Replays::new(), options, device })
    }

    /// Plays the rounds before the first step of learning.
    fn warm_up(&mut self) -> Result<()> {
        let device = self.learner.device();
        let rounds = if self.warm { 0 } else { self.course.warmup };
        for round in 0..rounds {
            let row = self.course.played(round).row().upload(&device)?;
            self.learner.play(&row, &mut self.pass.rng);
            settle(&self.learner)?;
        }
        self.warm = true;
        Ok(())
    }
}

impl<N: Module, E: TensorEnv> Task for DeviceAgent<N, E> {
    fn step(&mut self) -> Result<Figures> {
        self.steps(1).map(|mut made| made.swap_remove(0))
    }

    fn steps(&mut self, most: usize) -> Result<Vec<Figures>> {
        let updates = self.course.options.updates;
        let until = |steps: u64, every: u64| every - steps % every;
        let mut made = match updates {
            1 => self.take(most.min(until(self.learned(), LOOK) as usize), true)?,
            _ => self.take(updates, false)?,
        };
        if self.learned().is_multiple_of(LOOK * updates as u64)
            && let Some((mean, _)) = self.returns()?
            && let Some(figures) = made.last_mut()
        {
            figures.push(("return", Tensor::scalar(&self.learner.device(), mean)));
        }
        Ok(made)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>> {
        if self.tests == 0 {
            return Ok(Vec::new());
        }
        // Another generator than that of practice.
        let returns = self.evaluate(self.tests, !self.course.options.seed)?;
        let mean = returns.iter().map(|&r| f64::from(r)).sum::<f64>() / returns.len() as f64;
        if self.best.as_ref().is_none_or(|(best, _)| mean > *best) {
            // On the host: a handle on the weights would keep the next step from writing over them.
            let weights = self.network().named_parameters().into_iter().map(|(_, param)| Saved::of(param.get()));
            self.best = Some((mean, weights.collect::<Result<_>>()?));
        }
        let least = returns.iter().copied().fold(f32::INFINITY, f32::min);
        Ok(vec![("return".into(), mean), ("least".into(), f64::from(least))])
    }

    fn save(&self, state: &mut State) -> Result<()> {
        let learner = &self.learner;
        state.put_model("model", &learner.online)?;
        state.put_optimizer("optimizer", &*self.optimizer)?;
        for (name, buffer) in learner.own_buffers() {
            state.put_tensor(&name, &buffer.get())?;
        }
        if let Some((value, weights)) = &self.best {
            state.put_note("best.return", value.to_bits());
            for ((name, _), weight) in self.network().named_parameters().into_iter().zip(weights) {
                state.tensors.insert(format!("best.{name}"), weight.clone());
            }
        }
        state.put_rng("pass", &self.pass.rng);
        state.put_note("warm", self.warm);
        state.put_note("clears", self.clears);
        Ok(())
    }

    fn load(&mut self, state: &State) -> Result<()> {
        let DeviceAgent { learner, optimizer, pass, replays, .. } = self;
        let device = learner.device();
        state.model("model", &mut learner.online)?;
        state.optimizer("optimizer", &mut **optimizer, learner)?;
        for (name, buffer) in learner.own_buffers() {
            buffer.set(state.tensor(&name, buffer.get().shape(), &device)?)?;
        }
        pass.rng = state.rng("pass")?;
        replays.forget();
        self.best = None;
        if state.notes.contains_key("best.return") {
            let part = state.part("best");
            let weights = learner.online.named_parameters().into_iter();
            let saved =
                |(name, param): (String, &Param)| Saved::of(&part.tensor(&name, param.get().shape(), &device)?);
            self.best = Some((f64::from_bits(part.note("return")?), weights.map(saved).collect::<Result<_>>()?));
        }
        (self.warm, self.clears) = (state.note("warm")?, state.note("clears")?);
        Ok(())
    }
}
