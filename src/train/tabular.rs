//! Learning from experience with a table: temporal differences, SARSA and Q-learning (Sutton and Barto, chapter 6).
//!
//! Every update waits for the one before, on a number or two: this is host code, in double precision.

use crate::ops::Rng;

/// TD(0): moves the value of each state of an episode towards the reward and the value of the next state. A step is
/// state, reward and next state, which the last step has none of.
pub fn td0(values: &mut [f64], episode: &[(usize, f64, Option<usize>)], rate: f64, discount: f64) {
    for &(state, reward, next) in episode {
        let target = reward + discount * next.map_or(0.0, |next| values[next]);
        values[state] += rate * (target - values[state]);
    }
}

/// What each action is worth in each state.
#[derive(Debug, Clone, PartialEq)]
pub struct QTable {
    values: Vec<f64>,
    actions: usize,
}

impl QTable {
    /// All zero.
    pub fn new(states: usize, actions: usize) -> QTable {
        QTable { values: vec![0.0; states * actions], actions }
    }

    /// The values of the actions in a state.
    pub fn row(&self, state: usize) -> &[f64] {
        &self.values[state * self.actions..][..self.actions]
    }

    /// The best action in a state, the first of several.
    pub fn greedy(&self, state: usize) -> usize {
        let row = self.row(state);
        (1..self.actions).fold(0, |best, a| if row[a] > row[best] { a } else { best })
    }

    /// The best action, but any with probability `epsilon`.
    pub fn epsilon_greedy(&self, state: usize, epsilon: f64, rng: &mut Rng) -> usize {
        if unit(rng) < epsilon { (unit(rng) * self.actions as f64) as usize } else { self.greedy(state) }
    }

    /// SARSA: moves `Q(state, action)` towards the reward and the value of the action that *will be taken* next, `None`
    /// at the end.
    pub fn sarsa(&mut self, at: (usize, usize), reward: f64, next: Option<(usize, usize)>, rate: f64, discount: f64) {
        let after = next.map_or(0.0, |(state, action)| self.row(state)[action]);
        self.toward(at, reward + discount * after, rate);
    }

    /// Q-learning: towards the reward and the value of the *best* action in the next state, `None` at the end (Watkins,
    /// 1989).
    pub fn q_learning(&mut self, at: (usize, usize), reward: f64, next: Option<usize>, rate: f64, discount: f64) {
        let after = next.map_or(0.0, |state| self.row(state)[self.greedy(state)]);
        self.toward(at, reward + discount * after, rate);
    }

    fn toward(&mut self, (state, action): (usize, usize), target: f64, rate: f64) {
        let value = &mut self.values[state * self.actions + action];
        *value += rate * (target - *value);
    }
}

fn unit(rng: &mut Rng) -> f64 {
    f64::from(rng.words(1)[0]) / (1u64 << 32) as f64
}

/// Numbers to states: each coordinate is cut into equal parts of an interval, the outer ones open.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets(Vec<(f64, f64, usize)>);

impl Buckets {
    /// Low end, high end and number of parts of each coordinate; one part ignores the coordinate.
    ///
    /// # Panics
    /// If there are no parts, or an interval has no length.
    #[track_caller]
    pub fn new(coordinates: &[(f64, f64, usize)]) -> Buckets {
        for &(low, high, parts) in coordinates {
            assert!(parts > 0 && low < high, "Buckets: {parts} parts of the interval from {low} to {high}");
        }
        Buckets(coordinates.to_vec())
    }

    /// How many states there are.
    pub fn states(&self) -> usize {
        self.0.iter().map(|(_, _, parts)| parts).product()
    }

    /// The state of an observation.
    ///
    /// # Panics
    /// If it has more or fewer coordinates.
    #[track_caller]
    pub fn state(&self, observation: &[f32]) -> usize {
        assert!(observation.len() == self.0.len(), "Buckets: {} of {} coordinates", observation.len(), self.0.len());
        self.0.iter().zip(observation).fold(0, |state, (&(low, high, parts), &x)| {
            let part = (f64::from(x) - low) / (high - low) * parts as f64;
            state * parts + (part.max(0.0) as usize).min(parts - 1)
        })
    }
}
