//! Deep Q-learning on the device: the memory, rounds that are replayed, what is saved, and that it learns what
//! Bellman's equation says.

use std::collections::BTreeMap;

use wgrad::env::cartpole::{self, Carts};
use wgrad::env::gridworld::{Mdp, Walks};
use wgrad::nn::{Init, Linear, Parameters, Sequential, settle};
use wgrad::ops::Rng;
use wgrad::optim::Adam;
use wgrad::train::dqn::{AgentOptions, Cost, DeviceAgent, Dqn, DqnOptions, Epsilon, Ring, Scale, Transitions, mlp};
use wgrad::train::planning::value_iteration;
use wgrad::train::{Loop, State, Task};
use wgrad::{Device, Tensor};

use crate::merge;
use crate::registry::under_test;

fn devices() -> [Device; 4] {
    [Device::cpu(), under_test(), merge::device(false, false), merge::device(true, false)]
}

// The memory

struct Remembering(Ring);
impl Parameters for Remembering {
    fn params<'a>(&'a self, _: &mut dyn FnMut(&str, &'a wgrad::nn::Param)) {}
    fn params_mut<'a>(&'a mut self, _: &mut dyn FnMut(&str, &'a mut wgrad::nn::Param)) {}
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a wgrad::nn::Buffer)) {
        visit("", self.0.buffer());
    }
}

/// What two lanes did in a round, told by its number: lane `i` of round `t` is transition `2 t + i`.
fn happened(d: &Device, t: u32) -> Transitions {
    let number = |i: u32| (2 * t + i) as f32;
    let list = |f: &dyn Fn(u32) -> f32| Tensor::from_slice(d, &[f(0), f(1)], 2).unwrap();
    Transitions {
        states: Tensor::stack(&[&list(&number), &list(&|i| -number(i))], 1),
        actions: Tensor::from_slice(d, &[2 * t + 5, 2 * t + 6], 2).unwrap(),
        rewards: list(&|i| number(i) * 10.0),
        next: Tensor::stack(&[&list(&|i| number(i) + 0.5), &list(&|_| 7.0)], 1),
        terminal: Tensor::from_slice(d, &[t % 3 % 2, 0], 2).unwrap().cast(wgrad::DType::Bool),
    }
}

/// How often each transition is drawn; each is held to what it was.
fn drawn(ring: &Ring, filled: u32, count: usize) -> BTreeMap<u32, usize> {
    let memory = ring.buffer().get();
    let d = memory.device();
    let batch = ring.sample(&memory, &Tensor::scalar(d, filled), count, 0.5, &mut Rng::new(u64::from(filled)));
    let read = |t: &Tensor| t.to_vec::<f32>().unwrap();
    let (states, next, rewards) = (read(&batch.states), read(&batch.next), read(&batch.rewards));
    let (discounts, actions) = (read(&batch.discounts), batch.actions.to_vec::<u32>().unwrap());
    let mut counts = BTreeMap::new();
    for i in 0..count {
        let number = states[2 * i];
        let (t, lane) = (number as u32 / 2, number as u32 % 2);
        assert_eq!((states[2 * i + 1], &next[2 * i..][..2]), (-number, &[number + 0.5, 7.0][..]));
        assert_eq!((actions[i], rewards[i]), (number as u32 + 5, number * 10.0));
        assert_eq!(discounts[i], if lane == 0 && t % 3 == 1 { 0.0 } else { 0.5 });
        *counts.entry(number as u32).or_default() += 1;
    }
    counts
}

#[test]
fn a_memory_gives_what_is_written_and_forgets_the_oldest() {
    for d in devices() {
        // Seven transitions are three rounds of two lanes.
        let ring = Remembering(Ring::new(&d, 7, 2, &[2].into()).unwrap());
        assert_eq!(ring.0.places().count(), 6);
        let write = |t: u32, place: u32| {
            ring.0.write(&happened(&d, t), &Tensor::scalar(&d, place));
            settle(&ring).unwrap();
        };
        for t in 0..8 {
            write(t, ring.0.places().of(u64::from(t)));
            if t == 2 {
                write(99, u32::MAX); // nowhere
            }
            let filled = ring.0.places().filled(u64::from(t) + 1);
            let counts = drawn(&ring.0, filled, 300);
            let held: Vec<u32> = (2 * (t + 1) - filled..2 * (t + 1)).collect();
            assert_eq!(counts.keys().copied().collect::<Vec<_>>(), held, "after round {t} on {d}");
        }
    }
}

/// Pearson's test of equal chances: with 9 degrees of freedom a sum above 27.9 has a chance of 0.1 %.
#[test]
fn transitions_are_drawn_with_equal_chance() {
    for d in [Device::cpu(), under_test()] {
        let ring = Remembering(Ring::new(&d, 100, 2, &[2].into()).unwrap());
        for t in 0..5 {
            ring.0.write(&happened(&d, t), &Tensor::scalar(&d, ring.0.places().of(u64::from(t))));
            settle(&ring).unwrap();
        }
        let counts = drawn(&ring.0, ring.0.places().filled(5), 5000);
        let sum: f64 = counts.values().map(|&count| (count as f64 - 500.0).powi(2) / 500.0).sum();
        assert!(counts.len() == 10 && sum < 27.9, "{sum}: {counts:?} on {d}");
    }
}

#[test]
fn memories_and_options_that_cannot_be_are_named() {
    let d = Device::cpu();
    let fault = |ring: wgrad::Result<Ring>| ring.err().unwrap().to_string();
    assert!(fault(Ring::new(&d, 7, 8, &[2].into())).contains("7 transitions for 8 lanes"));
    assert!(fault(Ring::new(&d, 7, 0, &[2].into())).contains("at least one lane"));
    let text = try_agent(&d, AgentOptions { ahead: 3, ..options() }).err().unwrap().to_string();
    assert!(text.contains("3 steps ahead"), "{text}");
}

// The agent

const LANES: usize = 4;

fn options() -> AgentOptions {
    let epsilon = Epsilon { from: 1.0, to: 0.1, over: 400 };
    AgentOptions { batch: 16, discount: 0.99, ahead: 1, warmup: 30, updates: 1, epsilon, seed: 7 }
}

fn network(d: &Device, seed: u64) -> Sequential {
    let init = &mut Init::new(d, seed);
    let scale = Scale::new(init, &cartpole::SCALE).unwrap();
    Sequential::new().then(scale).then(mlp(init, 4, 12, 2, false).unwrap())
}

type CartAgent = DeviceAgent<Sequential, Carts>;

fn try_agent(d: &Device, options: AgentOptions) -> wgrad::Result<CartAgent> {
    let rules = DqnOptions { double: true, cost: Cost::Squared, target_every: 5 };
    let dqn = Dqn::new(network(d, 1), network(d, 2), Box::new(Adam::new(1e-2)), rules)?;
    DeviceAgent::new(dqn, Carts { limit: 30 }, LANES, 100, options)
}

fn agent(d: &Device, options: AgentOptions) -> CartAgent {
    try_agent(d, options).unwrap()
}

/// All that it is.
fn all<N: wgrad::nn::Module, E: wgrad::env::TensorEnv>(agent: &DeviceAgent<N, E>) -> State {
    let mut state = State::new();
    agent.save(&mut state).unwrap();
    state
}

fn floats(state: &State, name: &str) -> Vec<f32> {
    state.tensors[name].words.iter().map(|&word| f32::from_bits(word)).collect()
}

#[test]
fn replayed_rounds_are_the_ordinary_ones_to_the_bit() {
    for d in devices() {
        for updates in [1, 3] {
            let options = AgentOptions { updates, ..options() };
            let (mut replayed, mut ordinary) = (agent(&d, options), agent(&d, options).one_by_one());
            for (k, steps) in [3, 1, 5, 7].into_iter().enumerate() {
                let (loss, want) = (replayed.run(steps).unwrap(), ordinary.run(steps).unwrap());
                assert_eq!(loss.item().unwrap().to_bits(), want.item().unwrap().to_bits());
                assert!(all(&replayed) == all(&ordinary), "run {k} on {d}, {updates} updates");
                assert_eq!(replayed.replayed().is_ok(), d.as_gpu().is_some(), "{:?} on {d}", replayed.replayed());
                if k == 2 {
                    assert_eq!(replayed.returns().unwrap(), ordinary.returns().unwrap());
                }
            }
        }
    }
}

/// A round is few launches, of which a submission takes many; nothing is allocated, bound or planned for it.
#[test]
fn a_replayed_round_makes_nothing_anew() {
    for (d, most) in [(under_test(), 63), (merge::device(false, false), 63), (merge::device(true, false), 2)] {
        let mut agent = agent(&d, options());
        [4, 20, 20].into_iter().for_each(|steps| _ = agent.run(steps).unwrap());
        let before = d.counters();
        agent.run(20).unwrap();
        let made = d.counters().since(&before);
        assert_eq!((made.plans, made.pipelines, made.bind_groups, made.buffers), (0, 0, 0, 0), "{d}");
        assert!(made.dispatches <= 20 * most, "{} launches on {d}", made.dispatches as f64 / 20.0);
        assert_eq!(made.submissions, 20u64.div_ceil((64 / (made.dispatches / 20)).max(1)), "{d}");
        assert_eq!(made.bytes_read, 0, "{d}");
    }
}

/// A step of a cart is worth 1: what was played is in the returns of the episodes that ended and of those that go on.
#[test]
fn no_reward_is_lost() {
    for d in devices() {
        let mut agent = agent(&d, options());
        for steps in [1, 30, 9] {
            agent.run(steps).unwrap();
            let state = all(&agent);
            let (totals, returns) = (floats(&state, "totals"), floats(&state, "returns"));
            assert_eq!(totals[0] + returns.iter().sum::<f32>(), agent.played() as f32, "on {d}");
            let clock: Vec<f32> = state.tensors["clock"].words.iter().map(|&steps| steps as f32).collect();
            assert_eq!(returns, clock);
            // 30 steps of warm-up are eight rounds of four, the last of which is part of the first step.
            assert_eq!(agent.played(), (7 + agent.learned()) * LANES as u64);
        }
        let (mean, count) = agent.returns().unwrap().unwrap();
        let totals = floats(&all(&agent), "totals");
        assert!(count >= 4 && (mean - totals[0] / totals[1]).abs() < 1e-5 && mean <= 30.0);
        assert_eq!(agent.returns().unwrap(), None);
        agent.run(1).unwrap();
        assert!(floats(&all(&agent), "totals")[1] <= LANES as f32, "the sums begin anew");
    }
}

/// The memory holds the last rounds in order: where no episode ended, what follows is what comes next in the lane.
#[test]
fn the_memory_is_what_was_played() {
    for d in devices() {
        let mut agent = agent(&d, options());
        agent.run(12).unwrap();
        let state = all(&agent);
        let (memory, now) = (floats(&state, "memory"), floats(&state, "states"));
        let rounds = agent.played() as usize / LANES;
        let row = |round: usize, lane: usize| &memory[(round % 25 * LANES + lane) * 11..][..11];
        assert!(rounds == 19 && (rounds..25).all(|round| row(round, 0).iter().all(|&x| x == 0.0)));
        let mut ended = 0;
        for (round, lane) in (0..rounds).flat_map(|round| (0..LANES).map(move |lane| (round, lane))) {
            let seen = row(round, lane);
            let after = if round + 1 < rounds { &row(round + 1, lane)[..4] } else { &now[lane * 4..][..4] };
            let (action, reward, more) = (seen[8], seen[9], seen[10]);
            assert!((action == 0.0 || action == 1.0) && reward == 1.0);
            // The wheels: position moves by velocity.
            assert!((seen[4] - seen[0] - 0.02 * seen[1]).abs() < 1e-6);
            match more {
                1.0 => assert_eq!(&seen[4..8], after, "round {round}, lane {lane} on {d}"),
                _ => {
                    assert!(seen[4].abs() > 2.4 || seen[6].abs() > 0.2094, "{seen:?}");
                    assert!(after.iter().all(|x| x.abs() <= 0.05));
                    ended += 1;
                }
            }
        }
        assert!(ended > 1, "no pole fell");
    }
}

/// The slow network stands still for five steps, and then takes over the weights that five steps before had made.
#[test]
fn the_slow_network_is_copied_every_so_many_steps() {
    for d in devices() {
        let mut agent = agent(&d, options());
        let part = |state: &State, name: &str| state.part(name).tensors;
        agent.run(1).unwrap();
        let first = part(&all(&agent), "target");
        assert!(first.iter().all(|(name, saved)| {
            let before = network(&d, 1);
            let param = before.named_parameters().into_iter().find(|(n, _)| n == name).unwrap().1.get().clone();
            saved.words == param.to_vec::<f32>().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        }));
        agent.run(4).unwrap();
        let state = all(&agent);
        assert!(part(&state, "target") == first && part(&state, "model") != first, "{d}");
        for _ in 0..2 {
            let after_five = part(&all(&agent), "model");
            agent.run(1).unwrap();
            assert!(part(&all(&agent), "target") == after_five, "{d}");
            agent.run(4).unwrap();
            assert!(part(&all(&agent), "target") == after_five && part(&all(&agent), "model") != after_five, "{d}");
        }
        let (learned, weights) = (agent.learned(), part(&all(&agent), "model"));
        let dqn = agent.into_dqn().unwrap();
        let mut state = State::new();
        dqn.save(&mut state).unwrap();
        assert!(dqn.steps() == learned && state.part("model").tensors == weights);
        assert!(state.part("target").tensors != weights);
    }
}

/// With three steps of learning for each action the lanes move in every third.
#[test]
fn several_updates_are_learned_from_one_round() {
    for d in devices() {
        let mut agent = agent(&d, AgentOptions { updates: 3, ..options() });
        let lanes = |agent: &CartAgent| {
            let state = all(agent);
            ["states", "clock", "returns", "memory", "totals"].map(|name| state.tensors[name].clone())
        };
        agent.run(1).unwrap();
        for _ in 0..3 {
            let (moved, weights) = (lanes(&agent), all(&agent).part("model").tensors);
            agent.run(2).unwrap();
            assert!(lanes(&agent) == moved && all(&agent).part("model").tensors != weights, "{d}");
            agent.run(1).unwrap();
            assert!(lanes(&agent) != moved, "{d}");
        }
        assert_eq!((agent.learned(), agent.played()), (10, (7 + 4) * LANES as u64));
    }
}

#[test]
fn a_resumed_run_goes_on_to_the_bit() {
    for d in [Device::cpu(), under_test(), merge::device(true, false)] {
        let options = AgentOptions { updates: 2, ..options() };
        let mut whole = agent(&d, options).validate_in(5);
        whole.run(11).unwrap();
        whole.validate().unwrap();
        whole.returns().unwrap();
        let saved = all(&whole);
        let mut resumed = agent(&d, AgentOptions { seed: 8, ..options }).validate_in(5);
        // What it did before does not matter.
        resumed.run(3).unwrap();
        resumed.load(&saved).unwrap();
        assert!(all(&resumed) == saved, "{d}");
        for steps in [1, 6] {
            let (loss, want) = (resumed.run(steps).unwrap().item().unwrap(), whole.run(steps).unwrap().item().unwrap());
            assert_eq!(loss.to_bits(), want.to_bits(), "{d}");
            assert!(all(&resumed) == all(&whole), "{d}");
        }
        assert_eq!((resumed.played(), resumed.learned()), (whole.played(), whole.learned()));
        assert_eq!(resumed.restore_best().unwrap(), whole.restore_best().unwrap());
        assert!(all(&resumed) == all(&whole));
    }
}

/// As a task of the loop: figures are the loss, and a return in every hundredth step.
#[test]
fn the_loop_is_told_loss_and_return() {
    let d = Device::cpu();
    let mut agent = agent(&d, options()).validate_in(3);
    let outcome = Loop::new(100).validate_every(50).run(&mut agent).unwrap();
    let value = outcome.figure("return").unwrap();
    assert!(outcome.figure("loss").unwrap() > 0.0 && (8.0..=30.0).contains(&value), "{:?}", outcome.figures);
    assert!((1.0..=30.0).contains(&outcome.validation("least").unwrap()));
    let returns = agent.evaluate(3, !7).unwrap();
    assert_eq!(outcome.validation("return").unwrap(), f64::from(returns.iter().sum::<f32>()) / 3.0);
}

/// A table (a linear layer on a one-hot state) finds the values of the small grid that Bellman's equation has.
#[test]
fn a_table_learns_the_values_of_a_grid() {
    let d = Device::cpu();
    let mdp = Mdp::four_by_four(&d).unwrap();
    let walks = Walks::new(&mdp, &(1..15).collect::<Vec<u32>>(), 30).unwrap();
    let table = || {
        let mut layer = Linear::new(&mut Init::new(&d, 0), 16, 4).unwrap();
        layer.weight.set(Tensor::zeros(&d, [4, 16])).unwrap();
        Linear { bias: None, ..layer }
    };
    let rules = DqnOptions { double: false, cost: Cost::Squared, target_every: 20 };
    let dqn = Dqn::new(table(), table(), Box::new(Adam::new(0.05)), rules).unwrap();
    let epsilon = Epsilon { from: 1.0, to: 1.0, over: 1 };
    let options = AgentOptions { batch: 128, discount: 1.0, ahead: 1, warmup: 2000, updates: 1, epsilon, seed: 3 };
    let mut agent = DeviceAgent::new(dqn, walks, 50, 5000, options).unwrap();
    agent.run(300).unwrap();
    let best = value_iteration(&mdp, 1e-5).unwrap().values.to_vec::<f32>().unwrap();
    let learned = agent.network().weight.get().max(&[0]).to_vec::<f32>().unwrap();
    for state in 1..15 {
        assert!((learned[state] - best[state]).abs() < 0.1, "{state}: {learned:?} instead of {best:?}");
    }
    // Without exploring it takes the shortest way.
    assert!(agent.evaluate(40, 5).unwrap().iter().all(|&r| (-3.0..=-1.0).contains(&r)));
}
