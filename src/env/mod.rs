//! Environments for reinforcement learning: what an agent acts in.
//!
//! An [`Env`] is a game of one player on the host: it shows a *frame*, takes an action, answers with a reward. The
//! dynamics are computed in double precision and drawn from a seed, so a run can be repeated to the bit and checked
//! against any other implementation. [`Lanes`] plays many copies at once, so that a network sees one batch per step and
//! not one picture; it also stacks the last frames into an observation, since one picture of a ball does not say where
//! it flies.
//!
//! What has no dynamics worth a loop is a tensor from the start: the arms of [`bandits`], the transitions of
//! [`gridworld`].
//!
//! A [`TensorEnv`] is an environment as a tensor program, for any number of lanes on the device where the player is:
//! [`cartpole::Carts`], and a walk through any finite decision process, [`gridworld::Walks`].

pub mod bandits;
pub mod cartpole;
pub mod draw;
pub mod gridworld;
mod lanes;
pub mod pong;
pub mod random_walk;
mod tensor_env;

pub use cartpole::CartPole;
pub use lanes::{Episode, Lanes, Watch, observation_shape};
pub use pong::Pong;
pub use tensor_env::{Moved, Round, TensorEnv, advance, play};

use crate::ops::Rng;
use crate::tensor::Shape;

/// A game of one player.
pub trait Env {
    /// The shape of one frame.
    fn frame(&self) -> Shape;
    /// How many actions there are.
    fn actions(&self) -> usize;
    /// Starts an episode. The seed of the environment and the number of earlier episodes say which.
    fn reset(&mut self);
    /// Writes what the player sees, row-major. A pixel is in steps of 1/255 from 0 to 1.
    fn show(&self, frame: &mut [f32]);
    /// Takes an action.
    ///
    /// # Panics
    /// If there is no such action.
    fn step(&mut self, action: usize) -> Step;
    /// A picture for people.
    fn draw(&self) -> draw::Canvas;
    /// Everything that steps and resets change.
    fn save(&self) -> Vec<f64>;
    /// Takes over what [`Env::save`] of an environment with the same seed and options gave.
    ///
    /// # Panics
    /// If it is of another kind of environment.
    fn load(&mut self, saved: &[f64]);
}

/// What an action led to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The reward.
    pub reward: f32,
    /// Whether, and how, the episode ended with it.
    pub end: Option<End>,
}

/// How an episode ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By the rules: nothing comes after it.
    Terminal,
    /// By the clock: had it gone on, there would have been more to gain, and a value function has to know.
    TimeLimit,
}

#[track_caller]
fn assert_action(env: &str, action: usize, actions: usize) {
    assert!(action < actions, "{env}: action {action}; there are {actions}, 0 to {}", actions - 1);
}

/// Uniform in `[low, high)`, with all 53 bits of a double.
fn uniform(rng: &mut Rng, low: f64, high: f64) -> f64 {
    let words = rng.words(2);
    let bits = u64::from(words[0]) << 21 ^ u64::from(words[1] >> 11);
    low + (high - low) * bits as f64 / (1u64 << 53) as f64
}

/// What [`Env::save`] gave, as so many numbers.
#[track_caller]
fn saved<const N: usize>(env: &str, saved: &[f64]) -> [f64; N] {
    saved.try_into().unwrap_or_else(|_| panic!("{env}: a saved state of {} numbers; it has {N}", saved.len()))
}
