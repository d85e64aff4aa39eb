//! Environments as tensor programs: all lanes take a step at once, where the network that plays them is.
//!
//! An environment on the host waits for the actions of every round and sends the next observations back, and on a GPU
//! that journey is most of the round. What is only arithmetic need not make it: the dynamics are recorded like a
//! network, and the lanes whose episode is over begin another by a selection, so that a round is one program, however
//! many lanes there are and whatever happens in them. (Brax and gymnax do so in JAX.)

use super::End;
use crate::device::Device;
use crate::error::Result;
use crate::ops::Rng;
use crate::plan::eval;
use crate::tensor::{DType, Shape, Tensor};

/// Steps of all lanes between two looks at whether one still plays: a look waits for the device.
const LOOK: usize = 20;

/// A game of one player, for any number of lanes. Its methods record; nothing is computed or read.
pub trait TensorEnv: Send + Sync {
    /// The shape of one observation.
    fn observation(&self) -> Shape;
    /// How many actions there are.
    fn actions(&self) -> usize;
    /// Steps after which an episode ends by the clock.
    fn limit(&self) -> usize;
    /// The states `[n, ..]` in which `n` episodes begin.
    fn starts(&self, device: &Device, n: usize, rng: &mut Rng) -> Tensor;
    /// What the players see: states to `f32 [n, observation ..]`.
    fn observe(&self, states: &Tensor) -> Tensor;
    /// Takes the actions `u32 [n]`, each of which is one that there is.
    ///
    /// # Panics
    /// If there are not as many actions as states.
    #[track_caller]
    fn step(&self, states: &Tensor, actions: &Tensor, rng: &mut Rng) -> Moved;
}

/// What an action in every lane led to.
#[derive(Debug, Clone)]
pub struct Moved {
    /// The next states.
    pub states: Tensor,
    /// The rewards, `[n]`.
    pub rewards: Tensor,
    /// Where the episode is over by the rules ([`End::Terminal`]), `bool [n]`.
    pub terminal: Tensor,
}

/// A step in every lane, and what follows where an episode ended with it.
#[derive(Debug, Clone)]
pub struct Round {
    /// What the actions led to: the last state of an episode that ended.
    pub moved: Moved,
    /// Where the clock ended an episode that the rules did not ([`End::TimeLimit`]), `bool [n]`.
    pub time_limit: Tensor,
    /// Where an episode ended in either way, `bool [n]`.
    pub ended: Tensor,
    /// The states in which the lanes go on: those of new episodes where one ended.
    pub states: Tensor,
    /// The steps of the episodes that go on, `u32 [n]`: 0 where one begins.
    pub clock: Tensor,
}

impl Round {
    /// How the episode of each lane ended, if it did, for the host. The round is computed and read.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn ends(&self) -> Result<Vec<Option<End>>> {
        eval(&[&self.moved.terminal, &self.ended])?;
        let (terminal, ended) = (self.moved.terminal.to_vec::<u32>()?, self.ended.to_vec::<u32>()?);
        let end = |(&terminal, &ended): (&u32, &u32)| match (terminal, ended) {
            (0, 0) => None,
            (0, _) => Some(End::TimeLimit),
            _ => Some(End::Terminal),
        };
        Ok(terminal.iter().zip(&ended).map(end).collect())
    }
}

/// Records a step in every lane: from states, the steps `u32 [n]` of their episodes so far, and actions `u32 [n]`.
///
/// # Panics
/// If there are not as many of each.
#[track_caller]
pub fn advance<E: TensorEnv>(env: &E, states: &Tensor, clock: &Tensor, actions: &Tensor, rng: &mut Rng) -> Round {
    let n = states.shape()[0];
    assert!(
        *clock.shape() == Shape::from([n]) && *actions.shape() == Shape::from([n]),
        "advance: states {}, a clock {} and actions {}; there must be as many of each",
        states.shape(),
        clock.shape(),
        actions.shape()
    );
    let device = states.device();
    let moved = env.step(states, actions, rng);
    let clock = clock + &Tensor::scalar(device, 1u32);
    let limit = u32::try_from(env.limit()).unwrap_or(u32::MAX);
    let late = clock.greater_equal(&Tensor::scalar(device, limit));
    let ended = moved.terminal.logical_or(&late);
    let time_limit = late.logical_and(&moved.terminal.logical_not());
    let lanes = [&[n], &vec![1; states.rank() - 1][..]].concat();
    let next = Tensor::select(&ended.reshape(lanes), &env.starts(device, n, rng), &moved.states);
    let clock = Tensor::select(&ended, &Tensor::scalar(device, 0u32), &clock);
    Round { moved, time_limit, ended, states: next, clock }
}

/// One episode from each of these states, all at once on their device, by a policy that gives actions `u32 [n]` for
/// observations: the returns `[n]`. Nothing is read back but, now and then, whether any episode still goes on.
///
/// # Errors
/// A fault of the device.
///
/// # Panics
/// If the shapes do not fit.
#[track_caller]
pub fn play<E: TensorEnv>(
    env: &E,
    starts: &Tensor,
    rng: &mut Rng,
    policy: impl Fn(&Tensor) -> Tensor,
) -> Result<Tensor> {
    let mut states = starts.clone();
    let mut returns = Tensor::zeros(states.device(), [states.shape()[0]]);
    let mut playing = Tensor::ones(states.device(), [states.shape()[0]]);
    for t in 0..env.limit() {
        let moved = env.step(&states, &policy(&env.observe(&states)), rng);
        returns = &returns + &(&moved.rewards * &playing);
        playing = &playing * &moved.terminal.logical_not().cast(DType::F32);
        states = moved.states;
        eval(&[&states, &returns, &playing])?;
        if t % LOOK == LOOK - 1 && playing.max(&[0]).item()? == 0.0 {
            break;
        }
    }
    Ok(returns)
}
