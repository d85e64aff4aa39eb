//! Planning in a known world: Bellman's equations, and the iterations that solve them, as tensor programs.
//!
//! With `q(v) = r + discount P v` (what an action is worth if what follows is worth `v`), the value of a policy is the
//! fixed point of `v = sum_a policy q(v)`, and the best one that of `v = max_a q(v)`. Both maps bring any two guesses
//! closer by the discount, so repeating them converges (Bellman, 1957; Howard, 1960).

use crate::env::gridworld::Mdp;
use crate::error::{Error, Result};
use crate::plan::eval;
use crate::tensor::{DType, Tensor};

/// Sweeps between two looks at how far the values still move: a look waits for the device.
const SWEEPS: usize = 8;
/// After so many sweeps it will not converge: a policy that never ends an episode, without a discount.
const MOST_SWEEPS: usize = 100_000;

/// A solved process.
#[derive(Debug, Clone)]
pub struct Solution {
    /// The value of each state, `[states]`.
    pub values: Tensor,
    /// The chance of each action, `[states, actions]`.
    pub policy: Tensor,
    /// Sweeps over all states that it took, and rounds of improvement.
    pub sweeps: usize,
    /// Policies that were evaluated on the way.
    pub policies: usize,
}

/// The value of each action, `[states, actions]`, if what follows is worth `values [states]`.
#[track_caller]
pub fn action_values(mdp: &Mdp, values: &Tensor) -> Tensor {
    let (states, actions) = (mdp.states(), mdp.actions());
    let next = mdp.transitions.reshape([states * actions, states]).matmul(&values.unsqueeze(1));
    &mdp.rewards + &(&next.reshape([states, actions]) * mdp.discount)
}

/// Every action with equal chance.
#[track_caller]
pub fn equiprobable(mdp: &Mdp) -> Tensor {
    Tensor::full(mdp.rewards.device(), [mdp.states(), mdp.actions()], 1.0 / mdp.actions() as f32)
}

/// The best actions, with equal chance where several are within `1e-4` of the best.
#[track_caller]
pub fn greedy(q: &Tensor) -> Tensor {
    let best = q.greater_equal(&(&q.max_keep(&[1]) - 1e-4)).cast(DType::F32);
    &best / &best.sum_keep(&[1])
}

/// The value of a policy `[states, actions]`, and the sweeps it took: repeats Bellman's equation until no value moves
/// by more than `tolerance`.
///
/// # Errors
/// A fault of the device; [`Error::Argument`] if it does not converge.
pub fn policy_evaluation(mdp: &Mdp, policy: &Tensor, tolerance: f32) -> Result<(Tensor, usize)> {
    converge(mdp, tolerance, |q| (q * policy).sum(&[1]))
}

/// The value of a policy by solving its linear equations `(1 - discount P) v = r` on the host, in double precision:
/// what [`policy_evaluation`] converges to.
///
/// # Errors
/// A fault of the device; [`Error::Argument`] if the equations have no unique solution.
pub fn bellman_equation(mdp: &Mdp, policy: &Tensor) -> Result<Vec<f64>> {
    let (n, actions) = (mdp.states(), mdp.actions());
    let [moves, rewards, chances] = [&mdp.transitions, &mdp.rewards, policy].map(Tensor::to_f64_vec);
    let (moves, rewards, chances) = (moves?, rewards?, chances?);
    // Rows of the equations with their right sides.
    let mut rows = vec![vec![0.0; n + 1]; n];
    for (s, row) in rows.iter_mut().enumerate() {
        row[s] = 1.0;
        for a in 0..actions {
            let chance = chances[s * actions + a];
            row[n] += chance * rewards[s * actions + a];
            for (cell, p) in row.iter_mut().zip(&moves[(s * actions + a) * n..][..n]) {
                *cell -= f64::from(mdp.discount) * chance * p;
            }
        }
    }
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| rows[a][k].abs().total_cmp(&rows[b][k].abs())).unwrap_or(k);
        rows.swap(k, pivot);
        if rows[k][k].abs() < 1e-12 {
            return Err(never_ends());
        }
        let row = rows[k].clone();
        for other in (0..n).filter(|&other| other != k) {
            let factor = rows[other][k] / row[k];
            rows[other].iter_mut().zip(&row).for_each(|(cell, above)| *cell -= factor * above);
        }
    }
    Ok((0..n).map(|k| rows[k][n] / rows[k][k]).collect())
}

/// The best policy by evaluating one, taking the best action by its values everywhere, and so on until nothing changes.
///
/// # Errors
/// A fault of the device; [`Error::Argument`] if an evaluation does not converge.
pub fn policy_iteration(mdp: &Mdp, tolerance: f32) -> Result<Solution> {
    let mut policy = equiprobable(mdp);
    let (mut sweeps, mut policies) = (0, 0);
    loop {
        let (values, took) = policy_evaluation(mdp, &policy, tolerance)?;
        (sweeps, policies) = (sweeps + took, policies + 1);
        let better = greedy(&action_values(mdp, &values));
        if better.to_vec::<f32>()? == policy.to_vec::<f32>()? {
            return Ok(Solution { values, policy, sweeps, policies });
        }
        policy = better;
    }
}

/// The best policy by repeating Bellman's equation of optimality until no value moves by more than `tolerance`.
///
/// # Errors
/// A fault of the device; [`Error::Argument`] if it does not converge.
pub fn value_iteration(mdp: &Mdp, tolerance: f32) -> Result<Solution> {
    let (values, sweeps) = converge(mdp, tolerance, |q| q.max(&[1]))?;
    let policy = greedy(&action_values(mdp, &values));
    Ok(Solution { values, policy, sweeps, policies: 1 })
}

fn converge(mdp: &Mdp, tolerance: f32, backup: impl Fn(&Tensor) -> Tensor) -> Result<(Tensor, usize)> {
    let mut values = Tensor::zeros(mdp.rewards.device(), [mdp.states()]).into_leaf(false)?;
    for sweeps in 1..=MOST_SWEEPS {
        let next = backup(&action_values(mdp, &values));
        let moved = sweeps.is_multiple_of(SWEEPS).then(|| (&next - &values).abs().max(&[0]));
        eval(&[&next])?;
        values = next;
        if let Some(moved) = moved
            && moved.item()? <= tolerance
        {
            return Ok((values, sweeps));
        }
    }
    Err(never_ends())
}

fn never_ends() -> Error {
    Error::argument(
        "the value of this policy has no end",
        "use a discount below 1, or a policy that ends every episode",
    )
}
