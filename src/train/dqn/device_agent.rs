//! The loop of [`Agent`](super::Agent) without the host: whole rounds are replayed, and only their numbers are sent.

use super::learner::{Learner, Turn};
use super::{AgentOptions, Dqn, restore};
use crate::env::{TensorEnv, play};
use crate::error::{Error, Result};
use crate::nn::{Module, Param, Pass, settle};
use crate::ops::Rng;
use crate::optim::{Optimizer, Steps};
use crate::tensor::Tensor;
use crate::train::{Figures, Saved, State, Task};

/// How a step is recorded.
type Record<N, E> = fn(&Learner<N, E>, &Tensor, &mut Pass) -> Tensor;

/// Rounds between two looks at the returns: a look waits for the device.
const LOOK: u64 = 100;

/// An agent whose environments and whose memory are on the device of its network. A step of learning is one program with the action
/// in every lane before it, which [`Steps`] replays on a GPU: nothing crosses the bus but six numbers for each step.
///
/// It learns as an [`Agent`](super::Agent) with the same options does, but for the random numbers, and for dynamics in single
/// precision. As a [`Task`], a step is one action in every lane and then the steps of learning; the warm-up is part of the first.
/// Figures are the loss, and after every 100 steps the mean return of the episodes that ended in them, where some did.
///
/// With several steps of learning for each action ([`AgentOptions::updates`]) all of them are the same program, and those after the first
/// throw away what their lanes did. More lanes cost a GPU less.
pub struct DeviceAgent<N, E> {
    steps: Steps<Learner<N, E>, Box<dyn Optimizer>, Record<N, E>>,
    options: AgentOptions,
    /// Rounds of the warm-up, and whether they were played.
    warmup: u64,
    warm: bool,
    /// Whether the sums of returns are to begin anew.
    clears: bool,
    tests: usize,
    best: Option<(f64, Vec<Saved>)>,
}

impl<N: Module, E: TensorEnv> DeviceAgent<N, E> {
    /// Begins an episode in each of `lanes` lanes; the last `memory` transitions are remembered.
    ///
    /// # Errors
    /// [`Error::Argument`] if the memory does not hold a step of all lanes, or if the options ask for something else than one step
    /// [`ahead`](AgentOptions::ahead); a fault of the device.
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
        // The first step plays a round as well.
        let warmup = options.warmup.div_ceil(lanes as u64).saturating_sub(1);
        let steps = Steps::with_rows(learner, optimizer, pass, Learner::step as Record<N, E>);
        Ok(DeviceAgent { steps, options, warmup, warm: false, clears: false, tests: 0, best: None })
    }

    /// Validates by so many episodes without exploring, the same ones each time, and keeps the weights that did best.
    pub fn validate_in(self, tests: usize) -> Self {
        DeviceAgent { tests, ..self }
    }

    /// With every step recorded anew: to find out what replaying changes.
    pub fn one_by_one(self) -> Self {
        DeviceAgent { steps: self.steps.one_by_one(), ..self }
    }

    /// Whether the next steps are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        self.steps.replayed()
    }

    /// The network that learns.
    pub fn network(&self) -> &N {
        &self.steps.model().online
    }

    /// Steps of learning done.
    pub fn learned(&self) -> u64 {
        self.steps.optimizer().steps()
    }

    /// Steps played, over all lanes.
    pub fn played(&self) -> u64 {
        let rounds = self.learned().div_ceil(self.options.updates as u64);
        (rounds + if self.warm { self.warmup } else { 0 }) * self.steps.model().lanes as u64
    }

    /// The chance of a random action now.
    pub fn epsilon(&self) -> f64 {
        self.options.epsilon.at(self.played())
    }

    /// Does so many steps of learning, with an action in every lane before each, or before as many of them as
    /// [`AgentOptions::updates`] says. Gives the loss of the last, on the device.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If `steps` is 0.
    #[track_caller]
    pub fn run(&mut self, steps: usize) -> Result<Tensor> {
        self.warm_up()?;
        let (first, clears) = (self.learned(), self.clears);
        let turns = (first..).map(|step| self.turn(step));
        let mut rows = turns.take(steps).collect::<Vec<_>>();
        // The first that plays after the sums were read.
        if clears && let Some(turn) = rows.iter_mut().find(|turn| turn.place.is_some()) {
            (turn.clears, self.clears) = (true, false);
        }
        let mut rows = rows.iter().map(Turn::row);
        self.steps.run_rows(steps, || rows.next().expect("a row for each step"))
    }

    /// The mean return of the episodes that ended since this was asked for, and how many they were; `None` if none did. It waits for the
    /// device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn returns(&mut self) -> Result<Option<(f32, u32)>> {
        if self.clears {
            return Ok(None);
        }
        let [sum, count] = self.steps.model().totals()?;
        self.clears = true;
        Ok((count > 0.0).then(|| (sum / count, count as u32)))
    }

    /// The returns of `n` episodes without exploring, all at once on the device.
    ///
    /// # Errors
    /// A fault of the device.
    #[track_caller]
    pub fn evaluate(&self, n: usize, seed: u64) -> Result<Vec<f32>> {
        let (learner, mut rng) = (self.steps.model(), Rng::new(seed));
        let starts = learner.env.starts(&learner.device(), n, &mut rng).into_leaf(false)?;
        play(&learner.env, &starts, &mut rng, |seen| learner.greedy(seen))?.to_vec()
    }

    /// Goes back to the weights that did best in a validation, and gives their mean return; `None` if there was none.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn restore_best(&mut self) -> Result<Option<f64>> {
        let Some((value, weights)) = &self.best else { return Ok(None) };
        let device = self.steps.model().device();
        let weights = weights.iter().map(|saved| saved.on(&device)).collect::<Result<Vec<_>>>()?;
        restore(&mut self.steps.parts_mut().0.online, &weights)?;
        Ok(Some(*value))
    }

    /// The networks and their optimizer, to go on otherwise.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn into_dqn(self) -> Result<Dqn<N>> {
        let (learner, optimizer, _) = self.steps.into_parts();
        let (options, device) = (learner.rules, learner.device());
        let (online, target) = learner.into_networks()?;
        Ok(Dqn { online, target, optimizer, options, device })
    }

    /// The turn of the step of learning after so many others.
    fn turn(&self, learned: u64) -> Turn {
        let updates = self.options.updates as u64;
        self.turn_of(self.warmup + learned / updates, learned.is_multiple_of(updates), Some(learned))
    }

    /// A turn in this round, which is played in it or was, and before which so many steps were learned.
    fn turn_of(&self, round: u64, plays: bool, learned: Option<u64>) -> Turn {
        let Learner { memory, lanes, rules, .. } = self.steps.model();
        Turn {
            epsilon: self.options.epsilon.at(round * *lanes as u64),
            place: plays.then(|| memory.place(round)),
            filled: memory.filled(round + 1),
            copies: learned.is_some_and(|learned| learned.is_multiple_of(rules.target_every.max(1))),
            clears: false,
        }
    }

    /// Plays the rounds before the first step of learning.
    fn warm_up(&mut self) -> Result<()> {
        if self.warm {
            return Ok(());
        }
        let turns: Vec<Turn> = (0..self.warmup).map(|round| self.turn_of(round, true, None)).collect();
        let (learner, _, pass) = self.steps.parts_mut();
        let device = learner.device();
        for turn in turns {
            let row = turn.row();
            learner.play(&Tensor::from_slice(&device, &row, row.len())?, &mut pass.rng);
            settle(learner)?;
        }
        self.warm = true;
        Ok(())
    }
}

impl<N: Module, E: TensorEnv> Task for DeviceAgent<N, E> {
    fn step(&mut self) -> Result<Figures> {
        let updates = self.options.updates;
        let mut figures = vec![("loss", self.run(updates)?)];
        if self.learned().is_multiple_of(LOOK * updates as u64)
            && let Some((mean, _)) = self.returns()?
        {
            figures.push(("return", Tensor::scalar(&self.steps.model().device(), mean)));
        }
        Ok(figures)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>> {
        if self.tests == 0 {
            return Ok(Vec::new());
        }
        // Another generator than that of practice.
        let returns = self.evaluate(self.tests, !self.options.seed)?;
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
        let learner = self.steps.model();
        state.put_model("model", &learner.online)?;
        state.put_optimizer("optimizer", self.steps.optimizer())?;
        for (name, buffer) in learner.own_buffers() {
            state.put_tensor(&name, &buffer.get())?;
        }
        if let Some((value, weights)) = &self.best {
            state.put_note("best.return", value.to_bits());
            for ((name, _), weight) in self.network().named_parameters().into_iter().zip(weights) {
                state.tensors.insert(format!("best.{name}"), weight.clone());
            }
        }
        state.put_rng("pass", &self.steps.pass().rng);
        state.put_note("warm", self.warm);
        state.put_note("clears", self.clears);
        Ok(())
    }

    fn load(&mut self, state: &State) -> Result<()> {
        let (learner, optimizer, pass) = self.steps.parts_mut();
        let device = learner.device();
        state.model("model", &mut learner.online)?;
        state.optimizer("optimizer", &mut **optimizer, learner)?;
        for (name, buffer) in learner.own_buffers() {
            buffer.set(state.tensor(&name, buffer.get().shape(), &device)?)?;
        }
        pass.rng = state.rng("pass")?;
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
