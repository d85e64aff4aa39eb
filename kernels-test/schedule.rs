//! Learning rates by step.

use wgrad::optim::{Constant, InverseTime, Schedule};

#[test]
fn constant_stays() {
    assert_eq!([0, 1, u64::MAX].map(|step| Constant(0.1).rate(step)), [0.1; 3]);
}

#[test]
fn inverse_time_starts_at_the_initial_rate_and_halves_after_one_over_decay() {
    let schedule = InverseTime { initial: 0.5, decay: 0.01 };
    assert_eq!([0, 100, 300].map(|step| schedule.rate(step)), [0.5, 0.25, 0.125]);
    let flat = InverseTime { initial: 0.5, decay: 0.0 };
    assert_eq!(flat.rate(1_000_000), 0.5);
}

/// The conditions of Robbins and Monro, as far as a sum can show them: doubling the number of steps goes on adding the
/// same `initial / decay * ln 2` to the sum of rates, and less and less to the sum of squares.
#[test]
fn inverse_time_meets_robbins_and_monro() {
    let schedule = InverseTime { initial: 0.5, decay: 0.1 };
    let sum = |from: u64, f: fn(f64) -> f64| (from..2 * from).map(|step| f(schedule.rate(step))).sum::<f64>();
    for steps in [10_000, 100_000, 1_000_000] {
        assert!((sum(steps, |r| r) - 5.0 * f64::ln(2.0)).abs() < 0.01);
        assert!(sum(steps, |r| r * r) < 0.51 * sum(steps / 2, |r| r * r));
    }
}
