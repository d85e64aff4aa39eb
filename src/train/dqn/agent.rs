//! The loop: play in all lanes, remember, learn.

use super::{Dqn, Replay, restore, snapshot};
use crate::device::Device;
use crate::env::{Env, Episode, Lanes};
use crate::error::Result;
use crate::nn::Module;
use crate::ops::Rng;
use crate::tensor::Tensor;
use crate::train::{Figures, State, Task};

/// The chance of a random action, falling in a straight line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epsilon {
    /// At the start.
    pub from: f64,
    /// From step `over` on.
    pub to: f64,
    /// Steps, over all lanes.
    pub over: u64,
}

impl Epsilon {
    /// At a step.
    pub fn at(&self, step: u64) -> f64 {
        let share = if self.over == 0 { 1.0 } else { (step as f64 / self.over as f64).min(1.0) };
        self.from + (self.to - self.from) * share
    }
}

/// How an agent gathers experience and how much it learns from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AgentOptions {
    /// Transitions in a batch.
    pub batch: usize,
    /// What a reward is worth that comes a step later.
    pub discount: f32,
    /// Rewards that are taken as they came before the network is asked what follows.
    pub ahead: usize,
    /// Steps, over all lanes, before it learns.
    pub warmup: u64,
    /// Steps of learning per round of one action in every lane.
    pub updates: usize,
    /// Exploration.
    pub epsilon: Epsilon,
    /// Of the random actions.
    pub seed: u64,
}

/// An agent in its environments. As a [`Task`], a step is one action in every lane and then some steps of learning; the
/// warm-up is part of the first. Figures are the loss, and the mean return of the episodes that ended, where some did.
pub struct Agent<'a, N, E> {
    /// What it learns.
    pub dqn: Dqn<N>,
    lanes: Lanes<E>,
    replay: Replay,
    options: AgentOptions,
    rng: Rng,
    steps: u64,
    tests: Option<Box<dyn Fn() -> Vec<E> + 'a>>,
    best: Option<(f64, Vec<Tensor>)>,
}

impl<'a, N: Module, E: Env> Agent<'a, N, E> {
    /// Begins an episode in every environment. An observation is the last `stack` frames; `replay` must be for as many
    /// lanes as there are environments.
    #[track_caller]
    pub fn new(dqn: Dqn<N>, envs: Vec<E>, stack: usize, mut replay: Replay, options: AgentOptions) -> Self {
        let lanes = Lanes::new(envs, stack, &mut replay);
        Agent { dqn, lanes, replay, options, rng: Rng::new(options.seed), steps: 0, tests: None, best: None }
    }

    /// Validates by an episode in each of these environments, and keeps the weights that did best.
    pub fn validate_in(mut self, tests: impl Fn() -> Vec<E> + 'a) -> Self {
        self.tests = Some(Box::new(tests));
        self
    }

    /// Steps played, over all lanes.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The chance of a random action now.
    pub fn epsilon(&self) -> f64 {
        self.options.epsilon.at(self.steps)
    }

    /// One action in every lane. Gives the episodes that ended.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn play(&mut self) -> Result<Vec<Episode>> {
        let actions = self.choose()?;
        self.steps += actions.len() as u64;
        Ok(self.lanes.step(&actions, &mut self.replay))
    }

    /// Some steps of learning. Gives the loss of the last, on the device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn learn(&mut self) -> Result<Tensor> {
        let AgentOptions { batch, ahead, discount, updates, .. } = self.options;
        self.dqn.learn(updates.max(1), || self.replay.sample(batch, ahead, discount))
    }

    /// Goes back to the weights that did best in a validation, and gives their mean return; `None` if there was none.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn restore_best(&mut self) -> Result<Option<f64>> {
        let Some((value, weights)) = &self.best else { return Ok(None) };
        restore(self.dqn.network_mut(), weights)?;
        Ok(Some(*value))
    }

    /// The best action of each lane, some replaced by random ones. The network is not asked where all are random.
    fn choose(&mut self) -> Result<Vec<u32>> {
        let epsilon = self.epsilon();
        let count = self.lanes.env(0).actions() as u64;
        let words = self.rng.words(2 * self.lanes.len());
        // The first word of a lane says whether it explores, the second where.
        let explore = |w: &[u32]| f64::from(w[0]) < epsilon * (1u64 << 32) as f64;
        let random: Vec<Option<u32>> =
            words.chunks(2).map(|w| explore(w).then(|| ((u64::from(w[1]) * count) >> 32) as u32)).collect();
        if random.iter().all(Option::is_some) {
            return Ok(random.into_iter().flatten().collect());
        }
        let best = self.dqn.act(self.lanes.observations(), &self.lanes.shape())?;
        Ok(random.into_iter().zip(best).map(|(random, best)| random.unwrap_or(best)).collect())
    }
}

impl<N: Module, E: Env> Task for Agent<'_, N, E> {
    fn step(&mut self) -> Result<Figures> {
        let mut episodes = self.play()?;
        while self.steps < self.options.warmup {
            episodes.append(&mut self.play()?);
        }
        let mut figures = vec![("loss", self.learn()?)];
        if !episodes.is_empty() {
            let mean = episodes.iter().map(|e| e.ret).sum::<f32>() / episodes.len() as f32;
            figures.push(("return", Tensor::scalar(self.dqn.device(), mean)));
        }
        Ok(figures)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>> {
        let Some(tests) = &self.tests else { return Ok(Vec::new()) };
        let returns = evaluate(&self.dqn, tests(), self.lanes.stack())?;
        let mean = returns.iter().map(|&r| f64::from(r)).sum::<f64>() / returns.len() as f64;
        if self.best.as_ref().is_none_or(|(best, _)| mean > *best) {
            self.best = Some((mean, snapshot(self.dqn.network())));
        }
        let least = returns.iter().copied().fold(f32::INFINITY, f32::min);
        Ok(vec![("return".into(), mean), ("least".into(), f64::from(least))])
    }

    fn save(&self, state: &mut State) -> Result<()> {
        self.dqn.save(state)?;
        if let Some((value, weights)) = &self.best {
            state.put_note("best.return", value.to_bits());
            for ((name, _), weight) in self.dqn.network().named_parameters().into_iter().zip(weights) {
                state.put_tensor(&format!("best.{name}"), weight)?;
            }
        }
        state.put_note("steps", self.steps);
        state.put_rng("actions", &self.rng);
        let observations = Tensor::from_slice(&Device::cpu(), self.lanes.observations(), self.lanes.shape())?;
        state.put_tensor("observations", &observations)?;
        for (lane, numbers) in self.lanes.save().into_iter().enumerate() {
            let bits: Vec<String> = numbers.iter().map(|x| x.to_bits().to_string()).collect();
            state.put_note(&format!("lane.{lane}"), bits.join(" "));
        }
        self.replay.save(state)
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.dqn.load(state)?;
        self.best = None;
        if state.notes.contains_key("best.return") {
            let part = state.part("best");
            let weights = self.dqn.network().named_parameters().into_iter();
            let weights = weights.map(|(name, p)| part.tensor(&name, p.get().shape(), self.dqn.device()));
            self.best = Some((f64::from_bits(part.note("return")?), weights.collect::<Result<_>>()?));
        }
        self.steps = state.note("steps")?;
        self.rng = state.rng("actions")?;
        let observations = state.tensor("observations", self.lanes.shape(), &Device::cpu())?.to_vec()?;
        let mut lanes = Vec::new();
        for lane in 0..self.lanes.len() {
            let bits: String = state.note(&format!("lane.{lane}"))?;
            let numbers: Option<Vec<f64>> = bits.split(' ').map(|b| b.parse().ok().map(f64::from_bits)).collect();
            lanes.push(numbers.ok_or_else(|| {
                state.fault(format!("the note \"lane.{lane}\" is {bits:?}"), "The file is damaged; use another")
            })?);
        }
        self.lanes.load(observations, &lanes);
        self.replay.load(state)
    }
}

/// Plays one episode in each environment without exploring, all side by side, and gives their returns.
///
/// # Errors
/// A fault of the device.
#[track_caller]
pub fn evaluate<N: Module, E: Env>(dqn: &Dqn<N>, envs: Vec<E>, stack: usize) -> Result<Vec<f32>> {
    let mut returns = vec![None; envs.len()];
    let mut lanes = Lanes::new(envs, stack, &mut ());
    while returns.iter().any(Option::is_none) {
        let actions = dqn.act(lanes.observations(), &lanes.shape())?;
        for episode in lanes.step(&actions, &mut ()) {
            // The first of each lane: who counted all that end early would count the short ones more often.
            returns[episode.lane].get_or_insert(episode.ret);
        }
    }
    Ok(returns.into_iter().flatten().collect())
}
