//! Decision processes small enough to write down, as tensors: what every action in every state leads to.
//!
//! With transitions `P [s, a, s']` and rewards `r [s, a]`, the value of what an action leads to is one product, and
//! Bellman's equations are a line each (`train::planning`).

use super::{Moved, TensorEnv};
use crate::device::Device;
use crate::error::Result;
use crate::ops::Rng;
use crate::tensor::{DType, Shape, Tensor};

/// A finite Markov decision process.
#[derive(Debug, Clone)]
pub struct Mdp {
    /// Chance of each next state: `[states, actions, states]`. A row that sums to less than 1 ends the episode with the
    /// rest.
    pub transitions: Tensor,
    /// Expected reward: `[states, actions]`.
    pub rewards: Tensor,
    /// What a reward is worth that comes a step later.
    pub discount: f32,
}

impl Mdp {
    /// A process whose actions lead to one state each: `step(state, action)` gives it, or `None` where the episode
    /// ends, and the reward.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If `step` leads to a state that is not there.
    #[track_caller]
    pub fn deterministic(
        device: &Device,
        states: usize,
        actions: usize,
        discount: f32,
        step: impl Fn(usize, usize) -> (Option<usize>, f32),
    ) -> Result<Mdp> {
        let mut transitions = vec![0f32; states * actions * states];
        let mut rewards = Vec::with_capacity(states * actions);
        for state in 0..states {
            for action in 0..actions {
                let (next, reward) = step(state, action);
                rewards.push(reward);
                if let Some(next) = next {
                    assert!(next < states, "Mdp: action {action} in state {state} leads to {next} of {states} states");
                    transitions[(state * actions + action) * states + next] = 1.0;
                }
            }
        }
        let transitions = Tensor::from_slice(device, &transitions, [states, actions, states])?;
        Ok(Mdp { transitions, rewards: Tensor::from_slice(device, &rewards, [states, actions])?, discount })
    }

    /// The number of states.
    pub fn states(&self) -> usize {
        self.rewards.shape()[0]
    }

    /// The number of actions.
    pub fn actions(&self) -> usize {
        self.rewards.shape()[1]
    }

    /// The 5 x 5 grid of Sutton and Barto's examples 3.5 and 3.8: north, south, west and east move by a cell and cost
    /// nothing; who would leave the grid stays and pays 1; every action in A (top row, second cell) leads to the cell
    /// at the bottom of its column and brings 10, every action in B (fourth cell) leads two cells down and brings 5.
    /// Discount 0.9.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn five_by_five(device: &Device) -> Result<Mdp> {
        Mdp::deterministic(device, 25, 4, 0.9, |state, action| match state {
            1 => (Some(21), 10.0),
            3 => (Some(13), 5.0),
            _ => match neighbour(state, action, 5) {
                Some(next) => (Some(next), 0.0),
                None => (Some(state), -1.0),
            },
        })
    }

    /// The 4 x 4 grid of example 4.1: two opposite corners end the episode, every step costs 1, nothing is discounted.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn four_by_four(device: &Device) -> Result<Mdp> {
        Mdp::deterministic(device, 16, 4, 1.0, |state, action| match state {
            0 | 15 => (None, 0.0),
            _ => (Some(neighbour(state, action, 4).unwrap_or(state)), -1.0),
        })
    }
}

/// Walks through a finite decision process as a tensor program. A state is its number, an observation is 1 in its place
/// and 0 in the others, so that a linear layer on it is a table.
#[derive(Debug, Clone)]
pub struct Walks {
    /// Sums of the chances up to each next state, for each state and action: `[states * actions, states]`.
    sums: Tensor,
    /// `[states * actions]`
    rewards: Tensor,
    starts: Tensor,
    actions: usize,
    limit: usize,
}

impl Walks {
    /// Walks that begin in one of the states `starts`, with equal chance, and end after `limit` steps if not before.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// Without starts, or with one that is no state.
    #[track_caller]
    pub fn new(mdp: &Mdp, starts: &[u32], limit: usize) -> Result<Walks> {
        let (states, actions) = (mdp.states(), mdp.actions());
        assert!(
            !starts.is_empty() && starts.iter().all(|&s| (s as usize) < states),
            "Walks: starts {starts:?} in a process of {states} states; there must be one, and all of them states"
        );
        let mut sums = mdp.transitions.to_vec::<f32>()?;
        for chances in sums.chunks_mut(states) {
            let mut sum = 0.0;
            for chance in chances.iter_mut() {
                sum += f64::from(*chance);
                // A sum of 1 that is rounded down must not end episodes.
                *chance = if sum > 1.0 - 1e-6 { 1.0 } else { sum as f32 };
            }
        }
        let device = mdp.rewards.device();
        Ok(Walks {
            sums: Tensor::from_slice(device, &sums, [states * actions, states])?,
            rewards: mdp.rewards.reshape(states * actions).into_leaf(false)?,
            starts: Tensor::from_slice(device, starts, starts.len())?,
            actions,
            limit,
        })
    }

    fn states(&self) -> usize {
        self.sums.shape()[1]
    }
}

impl TensorEnv for Walks {
    fn observation(&self) -> Shape {
        [self.states()].into()
    }
    fn actions(&self) -> usize {
        self.actions
    }
    fn limit(&self) -> usize {
        self.limit
    }
    fn starts(&self, device: &Device, n: usize, rng: &mut Rng) -> Tensor {
        let count = Tensor::scalar(device, self.starts.elements() as u32);
        self.starts.index_select(0, &(&Tensor::random_bits(device, n, rng) % &count))
    }
    fn observe(&self, states: &Tensor) -> Tensor {
        let numbers = Tensor::iota(states.device(), self.states(), 0u32, 1u32);
        states.unsqueeze(1).equal(&numbers).cast(DType::F32)
    }
    /// The next state is the first up to which the chances sum up to more than a number drawn from [0, 1).
    #[track_caller]
    fn step(&self, states: &Tensor, actions: &Tensor, rng: &mut Rng) -> Moved {
        let (device, n) = (states.device(), states.elements());
        let taken = &(states * &Tensor::scalar(device, self.actions as u32)) + actions;
        let drawn = Tensor::uniform(device, [n, 1], rng);
        let before = self.sums.index_select(0, &taken).less_equal(&drawn).cast(DType::F32);
        let next = before.sum(&[1]).cast(DType::U32);
        let last = Tensor::scalar(device, self.states() as u32 - 1);
        Moved {
            terminal: next.greater(&last),
            states: next.minimum(&last),
            rewards: self.rewards.index_select(0, &taken),
        }
    }
}

/// The cell north, south, west or east of a cell in a square grid.
fn neighbour(state: usize, action: usize, side: usize) -> Option<usize> {
    let (row, column) = (state / side, state % side);
    match action {
        0 => (row > 0).then(|| state - side),
        1 => (row + 1 < side).then(|| state + side),
        2 => (column > 0).then(|| state - 1),
        _ => (column + 1 < side).then(|| state + 1),
    }
}

/// Columns and rows of the cliff walk.
pub const CLIFF: [usize; 2] = [12, 4];

/// The cliff walk of example 6.6, from the bottom left to the bottom right cell of a grid 12 wide and 4 high: a step
/// costs 1, a step off the cliff between the two costs 100 and leads back to the start. Next state and reward; no state
/// at the goal.
pub fn cliff(state: usize, action: usize) -> (Option<usize>, f64) {
    let [width, height] = CLIFF;
    let start = (height - 1) * width;
    let (row, column) = (state / width, state % width);
    let next = match action {
        0 if row > 0 => state - width,
        1 if row + 1 < height => state + width,
        2 if column > 0 => state - 1,
        3 if column + 1 < width => state + 1,
        _ => state,
    };
    match next {
        n if n == start + width - 1 => (None, -1.0),
        n if n > start => (Some(start), -100.0),
        n => (Some(n), -1.0),
    }
}
