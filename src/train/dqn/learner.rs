//! A round of deep Q-learning as one program: what it reads, what it changes, and how it is recorded.

use std::sync::Mutex;

use super::{DqnOptions, Ring, Transitions};
use crate::device::Device;
use crate::env::{TensorEnv, advance};
use crate::error::Result;
use crate::functional::columns;
use crate::nn::{Buffer, Module, Param, Parameters, Pass, functional_call};
use crate::ops::Rng;
use crate::optim::Host;
use crate::tensor::{DType, Tensor};

/// Beyond every place: what is to be written there is not.
const NOWHERE: u32 = u32::MAX;

/// What the host says of a step. Everything else is on the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Turn {
    /// The chance of a random action.
    pub epsilon: f64,
    /// Where the transitions of the round are written; none is played without.
    pub place: Option<u32>,
    /// Places that are written after it.
    pub filled: u32,
    /// Whether the slow network takes over the weights of the learning one before the step.
    pub copies: bool,
    /// Whether the sums of returns begin anew.
    pub clears: bool,
}

/// Chances are in steps of 2^-31, as the random numbers are with which they are compared.
const CHANCES: u32 = 1 << 31;

impl Turn {
    /// A row of numbers that [`Row`] reads.
    pub fn row(&self) -> Host<u32> {
        let at = |holds: bool| if holds { 0 } else { NOWHERE };
        Host::from(vec![
            (self.epsilon * f64::from(CHANCES)).round() as u32,
            self.place.unwrap_or(NOWHERE),
            self.filled,
            at(self.place.is_some()),
            at(self.copies),
            u32::from(self.clears),
        ])
    }
}

/// The numbers of a [`Turn`] on the device, one element each.
struct Row<'a>(&'a Tensor);

impl Row<'_> {
    fn number(&self, k: usize) -> Tensor {
        self.0.narrow(0, k, 1)
    }
    /// In units of 1 / [`CHANCES`].
    fn epsilon(&self) -> Tensor {
        self.number(0)
    }
    fn place(&self) -> Tensor {
        self.number(1)
    }
    fn filled(&self) -> Tensor {
        self.number(2)
    }
    /// 0 where the lanes move, else nowhere.
    fn moves(&self) -> Tensor {
        self.number(3)
    }
    /// 0 where the weights are copied, else nowhere.
    fn copies(&self) -> Tensor {
        self.number(4)
    }
    fn clears(&self) -> Tensor {
        self.number(5).cast(DType::Bool)
    }
}

/// The networks, the lanes and the memory. Its parameters are those of the learning network, under their own names; all
/// else that a round changes is a buffer, written over in place.
pub(super) struct Learner<N, E> {
    pub online: N,
    /// The form of the slow network; its weights are `target`.
    slow: Mutex<N>,
    pub target: Vec<(String, Buffer)>,
    pub env: E,
    pub memory: Ring,
    /// Where the lanes are.
    states: Buffer,
    /// The steps of their episodes, `u32 [n]`, and the rewards so far, `[n]`.
    clock: Buffer,
    returns: Buffer,
    /// The sum of the returns of the episodes that ended, and how many.
    totals: Buffer,
    /// The two of them, counted from 0.
    numbers: Tensor,
    pub lanes: usize,
    pub rules: DqnOptions,
    pub batch: usize,
    pub discount: f32,
}

impl<N: Module, E: TensorEnv> Learner<N, E> {
    /// Begins an episode in every lane.
    pub fn new(
        (online, slow): (N, N),
        (env, lanes, memory): (E, usize, usize),
        rules: DqnOptions,
        (batch, discount): (usize, f32),
        rng: &mut Rng,
    ) -> Result<Learner<N, E>> {
        let named = online.named_parameters();
        let device = named.first().expect("Dqn: a network without parameters").1.get().device().clone();
        // Memory of their own: the first turn copies the weights there.
        let zeros = |param: &Param| Buffer::new(Tensor::zeros(&device, param.get().shape()));
        let target = named.iter().map(|(name, param)| Ok((name.clone(), zeros(param)?))).collect::<Result<_>>()?;
        Ok(Learner {
            target,
            memory: Ring::new(&device, memory, lanes, &env.observation())?,
            states: Buffer::new(env.starts(&device, lanes, rng))?,
            clock: Buffer::new(Tensor::full(&device, [lanes], 0u32))?,
            returns: Buffer::new(Tensor::zeros(&device, [lanes]))?,
            totals: Buffer::new(Tensor::zeros(&device, [2]))?,
            numbers: Tensor::iota(&device, 2, 0u32, 1u32).into_leaf(false)?,
            online,
            slow: Mutex::new(slow),
            env,
            lanes,
            rules,
            batch,
            discount,
        })
    }

    pub fn device(&self) -> Device {
        self.totals.get().device().clone()
    }

    /// The best actions for observations, `u32 [n]`.
    #[track_caller]
    pub fn greedy(&self, observations: &Tensor) -> Tensor {
        self.online.forward(observations, &mut Pass::eval()).argmax(&[1])
    }

    /// The sum of the returns of the episodes that ended since it was cleared, and how many.
    pub fn totals(&self) -> Result<[f32; 2]> {
        let totals = self.totals.get().to_vec::<f32>()?;
        Ok([totals[0], totals[1]])
    }

    /// The networks, the slow one with the weights it has now.
    pub fn into_networks(self) -> Result<(N, N)> {
        let mut slow = self.slow.into_inner().unwrap_or_else(|e| e.into_inner());
        let weights: Vec<Tensor> = self.target.iter().map(|(_, buffer)| buffer.get()).collect();
        super::restore(&mut slow, &weights)?;
        Ok((self.online, slow))
    }

    /// Records an action in every lane, and gives the memory with what came of it.
    #[track_caller]
    pub fn play(&self, row: &Tensor, rng: &mut Rng) -> Tensor {
        let (row, n) = (Row(row), self.lanes);
        let states = self.states.get();
        let device = states.device();
        let seen = self.env.observe(&states);
        // The first word of a lane says whether it explores, the second where.
        let words = Tensor::random_bits(device, [2, n], rng);
        let below = |k: usize, most: u32| &words.narrow(0, k, 1).squeeze(0) % &Tensor::scalar(device, most);
        let explores = below(0, CHANCES).less(&row.epsilon());
        let random = below(1, self.env.actions() as u32);
        let actions = Tensor::select(&explores, &random, &self.greedy(&seen));
        let round = advance(&self.env, &states, &self.clock.get(), &actions, rng);
        let returns = &self.returns.get() + &round.moved.rewards;
        let memory = self.memory.write(
            &Transitions {
                next: self.env.observe(&round.moved.states),
                states: seen,
                actions,
                rewards: round.moved.rewards,
                terminal: round.moved.terminal,
            },
            &row.place(),
        );
        let zero = Tensor::scalar(device, 0f32);
        let moves = row.moves();
        let over =
            |buffer: &Buffer, value: &Tensor| buffer.record(&buffer.get().dynamic_update_slice(0, value, &moves));
        let ended = round.ended.cast(DType::F32);
        let finished =
            (&columns(&self.numbers, &[&returns, &Tensor::ones_like(&returns)]) * &ended.unsqueeze(1)).sum(&[0]);
        over(&self.totals, &(&Tensor::select(&row.clears(), &zero, &self.totals.get()) + &finished));
        over(&self.returns, &Tensor::select(&round.ended, &zero, &returns));
        over(&self.clock, &round.clock);
        over(&self.states, &round.states);
        memory
    }

    /// Records what a batch of the memory costs.
    #[track_caller]
    fn learn(&self, memory: &Tensor, row: &Tensor, rng: &mut Rng) -> Tensor {
        let row = Row(row);
        let batch = self.memory.sample(memory, &row.filled(), self.batch, self.discount, rng);
        let copies = row.copies();
        let mut weights = Vec::new();
        let mut names = self.target.iter();
        self.online.params(&mut |_, param| {
            if let Some((_, buffer)) = names.next() {
                weights.push(buffer.get().dynamic_update_slice(0, &param.get().detach(), &copies));
                buffer.record(&weights[weights.len() - 1]);
            }
        });
        let mut slow = self.slow.lock().unwrap_or_else(|e| e.into_inner());
        let next = functional_call(&mut *slow, &weights, |slow| slow.forward(&batch.next, &mut Pass::eval()));
        self.rules.loss(|states| self.online.forward(states, &mut Pass::eval()), &next, &batch)
    }

    /// Records a step: an action in every lane, and the loss of a batch.
    #[track_caller]
    pub fn step(&self, row: &Tensor, pass: &mut Pass) -> Tensor {
        let memory = self.play(row, &mut pass.rng);
        self.learn(&memory, row, &mut pass.rng)
    }
}

impl<N: Module, E> Learner<N, E> {
    /// Its buffers but for those of the network, in the order in which they are computed: what is written over is read
    /// by nobody after it.
    pub fn own_buffers(&self) -> Vec<(String, &Buffer)> {
        let target = self.target.iter().map(|(name, buffer)| (Param::join("target", name), buffer));
        let lanes =
            [("totals", &self.totals), ("returns", &self.returns), ("states", &self.states), ("clock", &self.clock)];
        std::iter::once(("memory".to_string(), self.memory.buffer()))
            .chain(target)
            .chain(lanes.map(|(name, buffer)| (name.to_string(), buffer)))
            .collect()
    }
}

impl<N: Module, E: TensorEnv> Parameters for Learner<N, E> {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        self.online.params(visit);
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        self.online.params_mut(visit);
    }
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
        self.online.buffers(visit);
        self.own_buffers().into_iter().for_each(|(name, buffer)| visit(&name, buffer));
    }
}
