//! Deep Q-learning: the memory, the loss against hand-computed values, 20 steps on the GPU path against the CPU path.

use wgrad::env::{CartPole, End, Env, Step, Watch, cartpole, draw::Canvas};
use wgrad::nn::{Init, Linear, Module, Param, Parameters, Pass, Sequential};
use wgrad::ops::Rng;
use wgrad::optim::{Adam, Host, Optimizer, Row, Sgd};
use wgrad::train::dqn::{
    Agent, AgentOptions, Batch, Cost, Dqn, DqnOptions, Drawn, Dueling, Epsilon, Keep, Replay, Scale, Size, conv, mlp,
    restore, snapshot,
};
use wgrad::train::{Goal, Loop, State, Task};
use wgrad::{Device, Shape, Tensor};

use crate::registry::under_test;

/// One device for all tests: tensors of two do not meet.
fn cpu() -> Device {
    static CPU: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    CPU.get_or_init(Device::cpu).clone()
}

fn step(reward: f32, end: Option<End>) -> Step {
    Step { reward, end }
}

// The memory

/// State, action, reward, next state and what its value counts.
type Transition = (Vec<f32>, u32, f32, Vec<f32>, f32);

/// Every transition that a memory can give.
fn drawn(replay: &mut Replay, ahead: usize) -> Vec<Transition> {
    let batch = replay.sample(400, ahead, 0.5).unwrap().upload(&cpu()).unwrap();
    let whole = batch.states.elements() / 400;
    let (states, next) = (batch.states.to_vec::<f32>().unwrap(), batch.next.to_vec::<f32>().unwrap());
    let (actions, rewards) = (batch.actions.to_vec::<u32>().unwrap(), batch.rewards.to_vec::<f32>().unwrap());
    let discounts = batch.discounts.to_vec::<f32>().unwrap();
    let mut all: Vec<_> = (0..400)
        .map(|i| {
            let of = |v: &[f32]| v[i * whole..(i + 1) * whole].to_vec();
            (of(&states), actions[i], rewards[i], of(&next), discounts[i])
        })
        .collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all.dedup();
    all
}

fn two_frames(capacity: usize) -> Replay {
    Replay::new(capacity, 1, &Shape::from([2]), 2, Keep::Floats, 1).unwrap()
}

#[test]
fn a_memory_gives_back_what_happened() {
    let mut replay = two_frames(100);
    replay.began(0, &[1.0]);
    replay.stepped(0, 7, step(10.0, None), &[2.0]);
    replay.stepped(0, 8, step(20.0, Some(End::Terminal)), &[3.0]);
    replay.began(0, &[4.0]);
    replay.stepped(0, 9, step(30.0, Some(End::TimeLimit)), &[5.0]);
    replay.began(0, &[6.0]);
    let one = [
        (vec![1., 1.], 7, 10.0, vec![1., 2.], 0.5),
        (vec![1., 2.], 8, 20.0, vec![2., 3.], 0.0), // over by the rules: nothing follows
        (vec![4., 4.], 9, 30.0, vec![4., 5.], 0.5), // over by the clock: something would have followed
    ];
    assert_eq!(drawn(&mut replay, 1), one);
    let two = [
        (vec![1., 1.], 7, 20.0, vec![2., 3.], 0.0),
        (vec![1., 2.], 8, 20.0, vec![2., 3.], 0.0),
        (vec![4., 4.], 9, 30.0, vec![4., 5.], 0.5),
    ];
    assert_eq!(drawn(&mut replay, 2), two);
}

#[test]
fn a_full_memory_forgets_the_oldest_and_never_mixes() {
    let mut replay = two_frames(6);
    replay.began(0, &[0.0]);
    for t in 1..=20 {
        replay.stepped(0, t, step(t as f32, None), &[t as f32]);
    }
    assert_eq!(replay.len(), 6);
    // Frames 15 to 20 are there; the state at 15 would need frame 14.
    let expected: Vec<_> = (16..20)
        .map(|t| (vec![t as f32 - 1., t as f32], t + 1, t as f32 + 1., vec![t as f32, t as f32 + 1.], 0.5))
        .collect();
    assert_eq!(drawn(&mut replay, 1), expected);
}

#[test]
fn bytes_keep_pixels_exactly() {
    let mut replay = Replay::new(10, 2, &Shape::from([3, 1, 2]), 3, Keep::Bytes, 1).unwrap();
    replay.began(1, &[0.0, 1.0]);
    replay.stepped(1, 2, step(0.0, None), &[1.0, 128.0 / 255.0]);
    let all = drawn(&mut replay, 1);
    assert_eq!(all, [(vec![0., 1., 0., 1., 0., 1.], 2, 0.0, vec![0., 1., 0., 1., 1., 128. / 255.], 0.5)]);
}

#[test]
fn bad_memories_and_networks_are_named() {
    let fault = |r: wgrad::Result<Replay>| r.err().unwrap().to_string();
    let shape = Shape::from([4]);
    assert!(fault(Replay::new(5, 8, &shape, 1, Keep::Floats, 0)).contains("5 frames for 8 environments"));
    assert!(fault(Replay::new(50, 1, &shape, 3, Keep::Floats, 0)).contains("[4] of 3 frames"));
    let mut empty = Replay::new(50, 1, &shape, 1, Keep::Floats, 0).unwrap();
    assert!(empty.sample(4, 1, 0.9).err().unwrap().to_string().contains("after the first step"));
    let mut init = Init::new(&cpu(), 0);
    let text = conv(&mut init, &shape, Size::Small, 2, false).err().unwrap().to_string();
    assert!(text.contains("shape [4]") && text.contains("36 x 36"), "{text}");
}

// The loss

fn tensor(values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(&cpu(), values, shape).unwrap()
}

/// A network whose values are the state times these weights.
fn linear(weights: &[f32]) -> Linear {
    Linear { weight: Param::new(tensor(weights, &[2, 1])).unwrap(), bias: None }
}

fn drawn_batch(discounts: [f32; 3]) -> Drawn {
    Drawn {
        states: Host::new(vec![1., 2., 3.], [3, 1]),
        actions: Host::from(vec![0, 1, 1]),
        rewards: Host::from(vec![1., 0., 5.]),
        next: Host::new(vec![2., -1., 9.], [3, 1]),
        discounts: Host::from(discounts.to_vec()),
    }
}

fn one_batch() -> Batch {
    drawn_batch([0.5, 0.5, 0.]).upload(&cpu()).unwrap()
}

/// A network Q(s) = [2 s, -s] whose slow twin still says Q(s) = [s, 3 s].
fn pair(double: bool, cost: Cost) -> Dqn<Linear> {
    let options = DqnOptions { double, cost, target_every: 1000 };
    let slow = linear(&[1., 3.]);
    let mut dqn = Dqn::new(linear(&[1., 3.]), slow, Box::new(Sgd::new(0.1)), options).unwrap();
    restore(dqn.network_mut(), &[tensor(&[2., -1.], &[2, 1])]).unwrap();
    dqn
}

#[test]
fn the_loss_is_that_of_the_papers() {
    // Values of what was done: 2, -2, -3. Plain: the slow twin's best of what follows is 6 (of 2 and 6), -1 (of -1 and
    // -3), 0 at the end; goals 4, -0.5, 5; errors -2, -1.5, -8.
    let loss = |double, cost| pair(double, cost).loss(&one_batch()).item().unwrap();
    assert!((loss(false, Cost::Squared) - (4. + 2.25 + 64.) / 3.).abs() < 1e-5);
    assert!((loss(false, Cost::Huber) - (1.5 + 1.0 + 7.5) / 3.).abs() < 1e-5);
    // Double: the learning network chooses 0 (of 4 and -2) and 1 (of -2 and 1); the twin values them 2 and -3; goals 2,
    // -1.5, 5; errors 0, -0.5, -8.
    assert!((loss(true, Cost::Squared) - (0. + 0.25 + 64.) / 3.).abs() < 1e-5);
    assert!((loss(true, Cost::Huber) - (0. + 0.125 + 7.5) / 3.).abs() < 1e-5);
}

#[test]
fn only_the_value_of_what_was_done_learns() {
    let mut dqn = pair(false, Cost::Huber);
    dqn.learn(1, || Ok(drawn_batch([0.5, 0.5, 0.]))).unwrap();
    // Slopes of the Huber cost are -1 each, over 3: action 0 in state 1, action 1 in states 2 and 3. Rate 0.1.
    let weights: Vec<f32> = dqn.network().weight.get().to_vec().unwrap();
    let expected = [2. + 0.1 / 3., -1. + 0.1 * 5. / 3.];
    assert!(weights.iter().zip(expected).all(|(w, e)| (w - e).abs() < 1e-6), "{weights:?}");
}

#[test]
fn the_slow_twin_follows_when_its_time_comes() {
    let options = DqnOptions { target_every: 2, double: false, cost: Cost::Squared };
    let mut dqn = Dqn::new(linear(&[1., 3.]), linear(&[7., 7.]), Box::new(Sgd::new(0.1)), options).unwrap();
    // A goal that the learning network never reaches, as long as it is asked of the twin.
    let drawn = || Ok(drawn_batch([1.; 3]));
    let batch = drawn().unwrap().upload(&cpu()).unwrap();
    let goal = |dqn: &Dqn<Linear>| {
        // The loss at a network of zeros is the mean square of the goals.
        let mut probe = Dqn::new(linear(&[0., 0.]), linear(&[0., 0.]), Box::new(Sgd::new(0.1)), options).unwrap();
        restore(probe.network_mut(), &snapshot(dqn.network())).unwrap();
        probe.copy_to_target().unwrap();
        restore(probe.network_mut(), &[tensor(&[0., 0.], &[2, 1])]).unwrap();
        probe.loss(&batch).item().unwrap()
    };
    let at_zero = |dqn: &mut Dqn<Linear>| {
        let kept = snapshot(dqn.network());
        restore(dqn.network_mut(), &[tensor(&[0., 0.], &[2, 1])]).unwrap();
        let loss = dqn.loss(&batch).item().unwrap();
        restore(dqn.network_mut(), &kept).unwrap();
        loss
    };
    let first = at_zero(&mut dqn);
    assert_eq!(first, goal(&dqn), "the twin begins as a copy");
    dqn.learn(1, drawn).unwrap();
    assert_eq!(at_zero(&mut dqn), first, "it stands still");
    assert_ne!(goal(&dqn), first);
    dqn.learn(1, drawn).unwrap();
    assert_eq!(at_zero(&mut dqn), goal(&dqn), "it was copied after two steps");
}

/// On a GPU, with copies to the slow network on the way.
#[test]
fn replayed_steps_of_learning_are_the_ordinary_ones_to_the_bit() {
    for device in [under_test(), crate::merge::device(true, false)] {
        let learn = |optimizer: Box<dyn Optimizer>| {
            let network = |seed| mlp(&mut Init::new(&device, seed), 4, 12, 2, true).unwrap();
            let options = DqnOptions { target_every: 10, ..DqnOptions::default() };
            let mut dqn = Dqn::new(network(1), network(2), optimizer, options).unwrap();
            let mut rng = Rng::new(3);
            let mut next = || {
                let mut numbers = |n: usize| rng.words(n).iter().map(|&w| w as f32 / 2f32.powi(32)).collect::<Vec<_>>();
                let (states, after) = (Host::new(numbers(20), [5, 4]), Host::new(numbers(20), [5, 4]));
                let (rewards, discounts) = (Host::from(numbers(5)), Host::from(numbers(5)));
                let actions = Host::from(rng.words(5).iter().map(|w| w % 2).collect::<Vec<_>>());
                Ok(Drawn { states, actions, rewards, next: after, discounts })
            };
            let mut losses: Vec<u32> = Vec::new();
            for steps in [3, 1, 25, 6] {
                losses.push(dqn.learn(steps, &mut next).unwrap().item().unwrap().to_bits());
            }
            let weights = snapshot(dqn.network()).iter().flat_map(|w| w.to_vec::<f32>().unwrap()).collect::<Vec<_>>();
            (losses, weights, dqn.steps(), dqn.replayed().is_ok())
        };
        let replayed = learn(Box::new(Adam::new(0.01)));
        let ordinary = learn(Box::new(crate::train::Unforeseen(Adam::new(0.01))));
        assert_eq!((&replayed.0, &replayed.1, replayed.2), (&ordinary.0, &ordinary.1, 35), "on {device}");
        assert!(replayed.3 && !ordinary.3, "on {device}");
    }
}

// The networks

#[test]
fn networks_are_those_of_the_papers() {
    let mut init = Init::new(&cpu(), 0);
    assert_eq!(mlp(&mut init, 4, 60, 2, false).unwrap().count_parameters(), 422);
    assert_eq!(mlp(&mut init, 4, 60, 2, true).unwrap().count_parameters(), 422 + 61);
    let pictures = Shape::from([4, 84, 84]);
    // 8,224 + 32,832 + 36,928 + 1,606,144 + 513 per action.
    let full = conv(&mut init, &pictures, Size::Full, 6, false).unwrap();
    assert_eq!(full.count_parameters(), 1_684_128 + 6 * 513);
    let small = conv(&mut init, &pictures, Size::Small, 3, true).unwrap();
    let x = Tensor::zeros(&cpu(), [2, 4, 84, 84]);
    assert_eq!(**small.forward(&x, &mut Pass::eval()).shape(), [2, 3]);
}

#[test]
fn a_dueling_head_adds_advantages_without_their_mean() {
    let head = Dueling {
        value: Linear { weight: Param::new(tensor(&[10.], &[1, 1])).unwrap(), bias: None },
        advantage: linear(&[1., 3.]),
    };
    let q = head.forward(&tensor(&[1., 2.], &[2, 1]), &mut Pass::eval());
    assert_eq!(q.to_vec::<f32>().unwrap(), [9., 11., 18., 22.]);
}

// Training

fn agent(device: &Device, seed: u64, double: bool, dueling: bool) -> Agent<'static, Sequential, CartPole> {
    let mut init = Init::new(device, seed);
    let [online, target] = [(); 2].map(|()| {
        let scale = Scale::new(&init, &cartpole::SCALE).unwrap();
        Sequential::new().then(scale).then(mlp(&mut init, 4, 60, 2, dueling).unwrap())
    });
    let options = DqnOptions { double, target_every: 7, cost: Cost::Squared };
    let dqn = Dqn::new(online, target, Box::new(Adam::new(1e-3)), options).unwrap();
    let envs = (0..4).map(|k| CartPole::new(200, 100 * seed + k)).collect();
    let replay = Replay::new(10_000, 4, &Shape::from([4]), 1, Keep::Floats, seed).unwrap();
    let epsilon = Epsilon { from: 1.0, to: 0.1, over: 3000 };
    let options = AgentOptions { batch: 32, discount: 0.99, ahead: 1, warmup: 40, updates: 1, epsilon, seed };
    Agent::new(dqn, envs, 1, replay, options)
}

/// The losses of `steps` steps of learning.
fn losses(device: &Device, seed: u64, steps: usize, double: bool, dueling: bool) -> Vec<f32> {
    let mut agent = agent(device, seed, double, dueling);
    (0..steps).map(|_| agent.step().unwrap()[0].1.item().unwrap()).collect()
}

#[test]
fn a_seed_repeats_a_run_to_the_bit() {
    let device = cpu();
    let bits = |seed| losses(&device, seed, 40, true, false).iter().map(|l| l.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(3), bits(3));
    assert_ne!(bits(3), bits(4));
}

/// From the same seed the two paths play the same episodes, as long as no two values are closer than rounding.
#[test]
fn twenty_steps_on_a_gpu_are_those_of_the_cpu_path() {
    let gpu = crate::registry::under_test();
    for (double, dueling) in [(false, false), (true, true)] {
        let (a, b) = (losses(&gpu, 1, 20, double, dueling), losses(&cpu(), 1, 20, double, dueling));
        for (k, (a, b)) in a.iter().zip(&b).enumerate() {
            assert!((a - b).abs() <= 1e-4 * b.abs(), "double {double}, step {k}: {a} on llvmpipe, {b} on the CPU path");
        }
    }
}

#[test]
fn learning_makes_a_cart_last_longer() {
    let tests = || (0..20).map(|k| CartPole::new(200, 1_000_000 + k)).collect::<Vec<_>>();
    let mut agent = agent(&cpu(), 5, true, false).validate_in(tests);
    let before = agent.validate().unwrap()[0].1;
    let mut run = Loop::new(3000).validate_every(300).goal(Goal::Most("return".into())).enough(150.0);
    let outcome = run.run(&mut agent).unwrap();
    assert!(before < 60.0 && outcome.met, "{before} before, {outcome:?}");
    // The best weights are kept, whatever came after.
    let best = agent.restore_best().unwrap();
    assert_eq!(best, outcome.best.map(|(_, value)| value));
    assert_eq!(agent.validate().unwrap()[0].1, best.unwrap());
}

/// A game of six columns: a square falls a row a step, and a bar at the bottom has five steps to get below it.
struct Catch {
    square: [usize; 2],
    bar: usize,
    rng: Rng,
}

impl Catch {
    const SIDE: usize = 36;

    fn new(seed: u64) -> Catch {
        let mut game = Catch { square: [0; 2], bar: 0, rng: Rng::new(seed) };
        game.reset();
        game
    }
}

impl Env for Catch {
    fn frame(&self) -> Shape {
        [1, Self::SIDE, Self::SIDE].into()
    }
    fn actions(&self) -> usize {
        3
    }
    fn reset(&mut self) {
        let [a, b] = self.rng.words(2)[..] else { unreachable!() };
        (self.square, self.bar) = ([0, a as usize % 6], b as usize % 6);
    }
    fn show(&self, frame: &mut [f32]) {
        frame.fill(0.0);
        for [row, column] in [self.square, [5, self.bar]] {
            for y in 6 * row..6 * row + 6 {
                frame[y * Self::SIDE + 6 * column..][..6].fill(1.0);
            }
        }
    }
    fn step(&mut self, action: usize) -> Step {
        self.bar = [self.bar, self.bar.saturating_sub(1), (self.bar + 1).min(5)][action];
        self.square[0] += 1;
        match self.square[0] {
            5 => step(if self.square[1] == self.bar { 1.0 } else { -1.0 }, Some(End::Terminal)),
            _ => step(0.0, None),
        }
    }
    fn draw(&self) -> Canvas {
        Canvas::new(1, 1, [0; 3])
    }
    fn save(&self) -> Vec<f64> {
        Vec::new()
    }
    fn load(&mut self, _: &[f64]) {}
}

/// From pixels to actions: who does not look catches one square in six to one in two, who looks catches all.
#[test]
fn a_small_game_of_pixels_is_learned() {
    let mut init = Init::new(&cpu(), 1);
    let [online, target] = [(); 2].map(|()| conv(&mut init, &Catch::new(0).frame(), Size::Small, 3, false).unwrap());
    let options = DqnOptions { double: true, target_every: 20, cost: Cost::Huber };
    let dqn = Dqn::new(online, target, Box::new(Adam::new(2e-3)), options).unwrap();
    let replay = Replay::new(5000, 8, &Catch::new(0).frame(), 1, Keep::Bytes, 1).unwrap();
    let epsilon = Epsilon { from: 1.0, to: 0.1, over: 2000 };
    let options = AgentOptions { batch: 32, discount: 0.9, ahead: 1, warmup: 200, updates: 1, epsilon, seed: 1 };
    let tests = || (0..60).map(|k| Catch::new(1000 + k)).collect::<Vec<_>>();
    let mut agent = Agent::new(dqn, (0..8).map(Catch::new).collect(), 1, replay, options).validate_in(tests);
    let before = agent.validate().unwrap()[0].1;
    let mut run = Loop::new(600).validate_every(50).goal(Goal::Most("return".into())).enough(0.95);
    let outcome = run.run(&mut agent).unwrap();
    assert!(before < 0.3 && outcome.met, "{before} before, {outcome:?}");
}

#[test]
fn a_snapshot_keeps_the_weights_of_its_time() {
    let mut agent = agent(&cpu(), 2, false, false);
    let values = |agent: &Agent<Sequential, CartPole>| {
        agent.dqn.values(&tensor(&[0.1, 0.2, 0.03, 0.4], &[1, 4])).to_vec::<f32>().unwrap()
    };
    agent.step().unwrap();
    let (kept, then) = (snapshot(agent.dqn.network()), values(&agent));
    (0..10).for_each(|_| drop(agent.step().unwrap()));
    assert_ne!(values(&agent), then);
    restore(agent.dqn.network_mut(), &kept).unwrap();
    assert_eq!(values(&agent), then);
    // And learning goes on from there.
    assert!(agent.step().unwrap()[0].1.item().unwrap().is_finite());
}

/// 60 steps at once, and 30 steps, a checkpoint in another agent, and 30 more: the same losses to the bit.
#[test]
fn a_resumed_agent_goes_on_bit_for_bit() {
    let played = |steps| {
        let mut agent = agent(&cpu(), 8, true, true);
        (0..steps).for_each(|_| drop(agent.step().unwrap()));
        agent
    };
    let go_on = |agent: &mut Agent<Sequential, CartPole>| {
        (0..30).map(|_| agent.step().unwrap()[0].1.item().unwrap().to_bits()).collect::<Vec<_>>()
    };
    let mut whole = played(30);
    whole.validate().unwrap();
    let mut state = State::new();
    whole.save(&mut state).unwrap();
    let mut resumed = played(3);
    resumed.load(&state).unwrap();
    assert_eq!(go_on(&mut resumed), go_on(&mut whole));
    assert_eq!(resumed.steps(), whole.steps());

    let mut other = agent(&cpu(), 8, true, false);
    let fault = other.load(&state).unwrap_err().to_string();
    assert!(fault.contains("another model"), "{fault}");
}

/// A memory that was saved goes on as the one it was saved from, pixels and floats alike.
#[test]
fn a_resumed_memory_draws_the_same() {
    for keep in [Keep::Bytes, Keep::Floats] {
        let new = || Replay::new(14, 2, &Shape::from([2, 1, 3]), 2, keep, 1).unwrap();
        let mut replay = new();
        for lane in 0..2 {
            replay.began(lane, &[0.0; 3]);
            for t in 1..=9 + lane as u32 {
                replay.stepped(lane, t, step(t as f32, (t == 4).then_some(End::TimeLimit)), &[t as f32 / 255.0; 3]);
                if t == 4 {
                    replay.began(lane, &[0.0; 3]);
                }
            }
        }
        let mut state = State::new();
        replay.save(&mut state).unwrap();
        let mut resumed = new();
        resumed.load(&state).unwrap();
        assert_eq!(drawn(&mut resumed, 2), drawn(&mut replay, 2));
        let mut other = Replay::new(40, 2, &Shape::from([2, 1, 3]), 2, keep, 1).unwrap();
        assert!(other.load(&state).unwrap_err().to_string().contains("another form"));
    }
}
