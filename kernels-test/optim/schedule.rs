//! Learning rates by step.

use wgrad::optim::{
    Anneal, Chained, Constant, ConstantFactor, CosineAnnealing, CosineWarmRestarts, Cycle, Cyclic, Exponential,
    InverseTime, Lambda, LinearFactor, MultiStep, OneCycle, Polynomial, ReduceOnPlateau, Schedule, Sequential,
    StepDecay,
};

use super::trajectory::{fixtures, numbers};

/// The rates and momenta that PyTorch gives for a schedule of this name.
fn check(name: &str, schedule: impl Schedule) {
    let case = &fixtures()["schedules"][name];
    for (key, rates) in [("rates", true), ("momenta", false)] {
        let Some(want) = case.get(key).map(numbers) else { continue };
        for (step, want) in (0..).zip(want) {
            let got = if rates { schedule.rate(step) } else { schedule.momentum(step).unwrap() };
            assert!((got - want).abs() <= 1e-8 * want.abs() + 1e-12, "{name}: {got} at step {step}, not {want}");
        }
    }
}

#[test]
fn schedules_are_pytorchs() {
    let initial = 0.1;
    check("step", StepDecay { initial, size: 5, gamma: 0.5 });
    check("multi_step", MultiStep { initial, milestones: vec![3, 7, 7, 15], gamma: 0.3 });
    check("exponential", Exponential { initial, gamma: 0.9 });
    check("polynomial", Polynomial { initial, steps: 12, power: 2.0 });
    check("constant_factor", ConstantFactor { rate: 0.1, factor: 0.25, steps: 6 });
    check("linear_factor", LinearFactor { rate: 0.1, start: 0.2, end: 0.9, steps: 8 });
    check("cosine", CosineAnnealing { initial, lowest: 0.01, steps: 9 });
    check("warm_restarts", CosineWarmRestarts { initial, lowest: 0.01, steps: 4, stretch: 1 });
    check("warm_restarts_longer", CosineWarmRestarts { initial, lowest: 0.005, steps: 3, stretch: 2 });
    check("one_cycle", OneCycle::new(0.5, 30));
    let linear = OneCycle {
        rising: 0.37,
        anneal: Anneal::Linear,
        three_phases: true,
        start_divisor: 10.0,
        end_divisor: 100.0,
        momentum: Some((0.7, 0.9)),
        ..OneCycle::new(0.5, 25)
    };
    check("one_cycle_linear", linear);
    let cyclic = Cyclic { up: 5, down: 5, ..Cyclic::new(0.01, 0.1) };
    check("cyclic", Cyclic { up: 4, down: 7, ..cyclic });
    check("cyclic2", Cyclic { cycle: Cycle::Triangular2, ..cyclic });
    check("cyclic_exponential", Cyclic { cycle: Cycle::Exponential(0.9), ..cyclic });
    check("lambda", Lambda(|step| 0.1 / (step as f64 + 1.0).sqrt()));
    let sequential = Sequential::new(LinearFactor { rate: 0.1, start: 0.1, end: 1.0, steps: 5 });
    let sequential = sequential.then(5, Exponential { initial, gamma: 0.9 });
    check("sequential", sequential.then(11, CosineAnnealing { initial, lowest: 0.0, steps: 6 }));
    let chained = Chained::new(0.1).times(ConstantFactor { rate: 1.0, factor: 0.1, steps: 4 });
    check("chained", chained.times(Exponential { initial: 1.0, gamma: 0.9 }));
}

#[test]
fn a_plateau_is_pytorchs() {
    let metrics = [
        1.0, 0.9, 0.91, 0.9, 0.89995, 0.95, 0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.7, 0.71, 0.71, 0.71, 0.71, 0.71, 0.71,
        0.71,
    ];
    let falling = ReduceOnPlateau::new(0.1).factor(0.5).patience(2);
    let rising = ReduceOnPlateau::new(0.1).rising().patience(1).absolute_threshold(0.05).cooldown(2).lowest(0.002);
    for (name, schedule) in [("plateau", falling), ("plateau_rising", rising)] {
        let want = numbers(&fixtures()["schedules"][name]["rates"]);
        for (step, (metric, want)) in metrics.into_iter().zip(want).enumerate() {
            let got = schedule.rate(0);
            assert!((got - want).abs() <= 1e-8 * want, "{name}: {got} at step {step}, not {want}");
            schedule.observe(metric);
        }
    }
}

#[test]
fn a_schedule_may_count_epochs() {
    let schedule = StepDecay { initial: 1.0, size: 2, gamma: 0.5 }.every(10);
    assert_eq!([0, 19, 20, 39, 40].map(|step| schedule.rate(step)), [1.0, 1.0, 0.5, 0.5, 0.25]);
    let warm = LinearFactor::warm_up(0.4, 4);
    assert_eq!([0, 1, 2, 3, 9].map(|step| (warm.rate(step) * 1e9).round() / 1e9), [0.1, 0.2, 0.3, 0.4, 0.4]);
}

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
