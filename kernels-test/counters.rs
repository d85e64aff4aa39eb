//! What a steady training step costs, counted: a rise fails. The steps are those that are timed against other
//! libraries.

#[path = "../benches/workloads/mod.rs"]
pub mod workloads;

use wgrad::Device;
use workloads::{NAMES, make};

use crate::merge::merging;

/// The most that a step may cost.
struct Most {
    workload: &'static str,
    dispatches: u64,
    submissions: u64,
    /// Kilobytes of the buffers bound.
    kilobytes: u64,
}

/// All workloads that train. Where a change makes one cheaper, lower its numbers.
const STEPS: &[Most] = &[
    Most { workload: "lr_step", dispatches: 4, submissions: 1, kilobytes: 460 },
    Most { workload: "dqn_step", dispatches: 1, submissions: 1, kilobytes: 12 },
    Most { workload: "dqn_round", dispatches: 11, submissions: 1, kilobytes: 2653 },
    Most { workload: "vae_step", dispatches: 26, submissions: 1, kilobytes: 30487 },
    Most { workload: "rnn_step_b1", dispatches: 13, submissions: 1, kilobytes: 618 },
    Most { workload: "rnn_step_b50", dispatches: 220, submissions: 1, kilobytes: 182559 },
    Most { workload: "lstm_step", dispatches: 272, submissions: 1, kilobytes: 2948761 },
    Most { workload: "cnn_cpcpff_step", dispatches: 22, submissions: 1, kilobytes: 167456 },
    Most { workload: "cnn_svhn_step", dispatches: 32, submissions: 1, kilobytes: 210686 },
    Most { workload: "gan_step", dispatches: 81, submissions: 1, kilobytes: 368459 },
    Most { workload: "lstm2_step", dispatches: 635, submissions: 1, kilobytes: 15804664 },
    Most { workload: "resnet18_cifar_step", dispatches: 157, submissions: 1, kilobytes: 1083514 },
];

#[test]
fn a_step_of_a_workload_does_not_become_dearer() {
    let mut failures = Vec::new();
    for most in STEPS {
        let (name, device) = (most.workload, merging());
        let mut work = make(name, &device, false).unwrap();
        // The steps of two optimizers find memory that changes places until the fourth; after it nothing is new.
        let warmup = if name == "gan_step" { 4 } else { 2 };
        (0..warmup).for_each(|_| work.step().unwrap());
        let before = device.counters();
        work.step().unwrap();
        let made = device.counters().since(&before);
        // Those of a GPU's plans are held in `merge.rs`.
        let most_of = |most: u64| if device.as_gpu().unwrap().wants_software_variants() { most } else { u64::MAX };
        for (what, count, most) in [
            ("dispatches", made.dispatches, most_of(most.dispatches)),
            ("submissions", made.submissions, most.submissions),
            ("kilobytes bound", made.bytes_bound / 1000, most_of(most.kilobytes)),
            ("plans", made.plans, 0),
            ("pipelines", made.pipelines, 0),
            ("bind groups", made.bind_groups, 0),
            ("buffers", made.buffers, 0),
        ] {
            if count > most {
                failures.push(format!("{name}: {count} {what} in a steady step, {most} before"));
            }
        }
        assert!(work.parameters().is_some() && work.check().unwrap()[0].is_finite(), "{name} is no training step");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Of steps that are replayed, only launches are left of a step, and a submission for many of them.
#[test]
fn a_replayed_step_of_a_workload_makes_nothing_anew() {
    for most in STEPS.iter().filter(|most| most.kilobytes < 50_000) {
        let (name, device) = (most.workload, merging());
        let mut work = make(name, &device, true).unwrap();
        // Two are compared, ten make the bind groups of ten rows of numbers, and what is read of a loss comes from the
        // pool.
        [1, 1, 10, 10].into_iter().for_each(|steps| work.steps(steps).unwrap());
        assert!(work.is_replayed(), "{name}");
        let before = device.counters();
        work.steps(10).unwrap();
        let made = device.counters().since(&before);
        assert_eq!((made.plans, made.pipelines, made.bind_groups, made.buffers), (0, 0, 0, 0), "{name}");
        let together = (64 / (made.dispatches / 10)).max(1);
        assert_eq!(made.submissions, 10u64.div_ceil(together), "{name}");
        if device.as_gpu().unwrap().wants_software_variants() {
            assert!(made.dispatches <= 10 * most.dispatches, "{name}: {} launches", made.dispatches);
        }
        assert!(work.check().unwrap()[0].is_finite(), "{name}");
    }
}

/// On a GPU a launch that waits for the one before is what a step of a recurrent network costs. A layer takes one in
/// each direction where its weight is small and one per step of the sequence where it is not, and the rest is merged
/// where it is small.
#[test]
fn a_sequence_on_a_gpu_is_few_launches() {
    for (name, apart, merged) in [("lstm_step", 129, 125), ("rnn_step_b50", 25, 23)] {
        for (merge, most) in [(false, apart), (true, merged)] {
            let device = crate::merge::device(merge, false);
            let mut work = make(name, &device, false).unwrap();
            work.step().unwrap();
            let before = device.counters();
            work.step().unwrap();
            let made = device.counters().since(&before).dispatches;
            assert!(made <= most, "{name}, merged {merge}: {made} launches, {most} before");
        }
    }
}

/// The gradient of a bias is made by the launches of the weight's.
#[test]
fn a_step_of_a_network_with_biases_on_a_gpu_sums_on_the_way() {
    for (name, most) in
        [("cnn_cpcpff_step", 23), ("cnn_svhn_step", 34), ("vae_step", 27), ("lr_step", 4), ("gan_step", 77)]
    {
        let device = crate::merge::device(true, false);
        let mut work = make(name, &device, false).unwrap();
        work.step().unwrap();
        let before = device.counters();
        work.step().unwrap();
        let made = device.counters().since(&before).dispatches;
        assert!(made <= most, "{name}: {made} launches, {most} before");
        assert!(work.check().unwrap()[0].is_finite(), "{name}");
    }
}

/// A step on the CPU path is one program, planned once.
#[test]
fn the_cpu_path_plans_a_step_once() {
    for most in STEPS.iter().filter(|most| most.kilobytes < 1_000_000) {
        assert!(NAMES.contains(&most.workload));
        let device = Device::cpu();
        let mut work = make(most.workload, &device, false).unwrap();
        (0..2).for_each(|_| work.step().unwrap());
        let before = device.counters();
        (0..3).for_each(|_| work.step().unwrap());
        let made = device.counters().since(&before);
        assert_eq!((made.plans, made.submissions), (0, 3 * most.submissions), "{}", most.workload);
    }
}

/// How often this thread has waited for another.
#[cfg(target_os = "linux")]
fn waits() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

/// A thread that sleeps takes longer to wake, some 70 us, than the whole step of a small network.
#[cfg(target_os = "linux")]
#[test]
fn a_small_step_on_the_cpu_wakes_no_thread() {
    for name in ["lr_step", "dqn_step", "rnn_step_b1"] {
        let mut work = make(name, &Device::cpu(), false).unwrap();
        work.steps(3).unwrap();
        let before = waits();
        work.steps(100).unwrap();
        let waited = waits() - before;
        assert!(waited < 50, "{name}: waited {waited} times in 100 steps");
    }
}
