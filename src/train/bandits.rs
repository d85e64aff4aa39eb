//! Which arm to pull: the strategies that every text on exploration begins with, on all bandits of a testbed at once.
//!
//! A round (choose, pull, learn, account) is one graph, so it is planned once and replayed; its figures stay on the
//! device until the last round is played.

use crate::device::Device;
use crate::env::bandits::Testbed;
use crate::error::Result;
use crate::ops::Rng;
use crate::plan::eval;
use crate::tensor::{DType, Tensor};

/// How an arm is chosen. What an arm is worth is estimated by the mean of its rewards, 0 before the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// The arm that looks best.
    Greedy,
    /// The arm that looks best, but any arm with this probability.
    EpsilonGreedy(f32),
    /// The arm that may be best: its estimate plus `c sqrt(ln t / n)`, where `n` counts its pulls (Auer et al., 2002).
    /// Every arm is pulled once first.
    UpperConfidence(f32),
    /// An arm with the probability that it is the best one, given what was seen (Thompson, 1933), for normal rewards of
    /// variance 1 and the prior N(0, 1).
    Thompson,
}

/// What a player knows of its bandits.
struct Player {
    strategy: Strategy,
    /// Pulls of each arm, `[runs, arms]`.
    pulls: Tensor,
    /// Mean reward of each arm.
    means: Tensor,
    rounds: u32,
}

impl Player {
    /// The arms to pull, `u32 [runs]`.
    fn choose(&self, rng: &mut Rng) -> Tensor {
        let (device, shape) = (self.pulls.device(), self.pulls.shape());
        let best = || self.means.argmax(&[1]);
        match self.strategy {
            Strategy::Greedy => best(),
            Strategy::EpsilonGreedy(epsilon) => {
                let explore = Tensor::bernoulli(device, [shape[0]], epsilon, rng);
                let any = (&Tensor::uniform(device, [shape[0]], rng) * shape[1] as f32).cast(DType::U32);
                Tensor::select(&explore, &any, &best())
            }
            Strategy::UpperConfidence(c) => {
                let rounds = Tensor::scalar(device, (self.rounds as f32).ln());
                let bound = &self.means + &(&(&rounds / &self.pulls).sqrt() * c);
                let never = self.pulls.equal(&Tensor::scalar(device, 0f32));
                Tensor::select(&never, &Tensor::scalar(device, f32::MAX), &bound).argmax(&[1])
            }
            Strategy::Thompson => {
                // The posterior after n rewards of mean m is N(m n / (n + 1), 1 / (n + 1)).
                let known = &self.pulls + 1.0;
                let mean = &(&self.means * &self.pulls) / &known;
                let draw = Tensor::normal(device, shape, rng);
                (&mean + &(&draw * &known.rsqrt())).argmax(&[1])
            }
        }
    }

    /// One pull more per run: moves the estimate of the arm towards the reward by its `1 / n`.
    fn learn(&mut self, one_hot: &Tensor, rewards: &Tensor) {
        self.pulls = &self.pulls + one_hot;
        let surprise = &(&rewards.unsqueeze(1) - &self.means) * one_hot;
        let one = Tensor::scalar(rewards.device(), 1f32);
        self.means = &self.means + &(&surprise / &self.pulls.maximum(&one));
        self.rounds += 1;
    }
}

/// How a strategy fared, averaged over the runs, round by round.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// Mean reward of each round.
    pub reward: Vec<f32>,
    /// Share of the runs that pulled their best arm.
    pub best: Vec<f32>,
    /// What has been missed so far against pulling the best arm always.
    pub regret: Vec<f32>,
}

/// Plays `rounds` rounds on all bandits of a testbed.
///
/// # Errors
/// A fault of the device.
pub fn play(testbed: &Testbed, strategy: Strategy, rounds: usize, rng: &mut Rng) -> Result<Curves> {
    let device: &Device = testbed.means().device();
    let nothing = || Tensor::zeros(device, testbed.means().shape()).into_leaf(false);
    let mut player = Player { strategy, pulls: nothing()?, means: nothing()?, rounds: 1 };
    let mut figures = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let pulled = player.choose(rng);
        let rewards = testbed.pull(&pulled, rng);
        let best = testbed.is_best(&pulled).cast(DType::F32).mean_all();
        let regret = testbed.regret(&pulled).mean_all();
        let row = Tensor::stack(&[&rewards.mean_all(), &best, &regret], 0);
        player.learn(&testbed.one_hot(&pulled), &rewards);
        eval(&[&player.pulls, &player.means, &row])?;
        figures.push(row);
    }
    let mut curves = Curves { reward: Vec::new(), best: Vec::new(), regret: Vec::new() };
    let mut missed = 0.0;
    for row in figures {
        let row = row.to_vec::<f32>()?;
        missed += row[2];
        curves.reward.push(row[0]);
        curves.best.push(row[1]);
        curves.regret.push(missed);
    }
    Ok(curves)
}
