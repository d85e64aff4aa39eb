//! The random walk on which temporal differences are explained (Sutton and Barto, "Reinforcement Learning", example
//! 6.2): states in a row, a step to either side with equal chance, 1 for leaving at the right end and 0 at the left.

use super::uniform;
use crate::ops::Rng;

/// A row of states; the walk starts in the middle one.
#[derive(Debug, Clone)]
pub struct RandomWalk {
    states: usize,
    rng: Rng,
}

impl RandomWalk {
    /// A walk over `states` states.
    ///
    /// # Panics
    /// Without states.
    #[track_caller]
    pub fn new(states: usize, seed: u64) -> RandomWalk {
        assert!(states > 0, "RandomWalk: there must be a state to start in");
        RandomWalk { states, rng: Rng::new(seed) }
    }

    /// One episode: state, reward and next state of each step; the last step has no next state.
    pub fn episode(&mut self) -> Vec<(usize, f64, Option<usize>)> {
        let mut steps = Vec::new();
        let mut state = self.states / 2;
        loop {
            let right = uniform(&mut self.rng, 0.0, 1.0) < 0.5;
            let next = if right { Some(state + 1).filter(|&s| s < self.states) } else { state.checked_sub(1) };
            steps.push((state, f64::from(u8::from(right && next.is_none())), next));
            match next {
                Some(next) => state = next,
                None => return steps,
            }
        }
    }

    /// The chance to leave at the right end from each state, which is its value: 1/6 to 5/6 for five states.
    pub fn values(&self) -> Vec<f64> {
        (1..=self.states).map(|s| s as f64 / (self.states + 1) as f64).collect()
    }
}
