//! Steps of several optimizers as one program: the values of the steps one by one, and to the bit the same where they
//! are replayed.

use wgrad::device::Check;
use wgrad::nn::{BatchNorm1d, Init, Linear, Module, Param, Parameters, Pass, Sequential, Tanh};
use wgrad::optim::{Adam, Host, Learners, LossScaling, Optimizer, Program, RmsProp, Rounds, Sgd};
use wgrad::{Device, Result, Tensor};

use super::steps::{bits, devices};
use crate::merge;
use crate::registry::under_test;
use crate::train::Unforeseen;

type Figures = Vec<(&'static str, Tensor)>;

type Record = Box<dyn Fn(&mut Pair<Sequential>, &Tensor, &mut Program, &mut Pass) -> Result<Figures>>;

/// Two models, and an optimizer for each.
struct Pair<M> {
    models: Vec<M>,
    optimizers: [Box<dyn Optimizer>; 2],
}

impl<M: Parameters> Learners for Pair<M> {
    fn model(&self) -> &dyn Parameters {
        &self.models
    }
    fn optimizers(&mut self, visit: &mut dyn FnMut(&mut dyn Optimizer, &mut dyn Parameters)) {
        let [first, second] = &mut self.optimizers;
        visit(first, &mut self.models[0]);
        visit(second, &mut self.models[1]);
    }
}

impl<M: Parameters> Pair<M> {
    fn step(&mut self, program: &mut Program, which: usize, loss: &Tensor) -> Result<()> {
        program.step(&mut self.optimizers[which], &mut self.models[which], loss)
    }
}

fn number(device: &Device, value: f32) -> Param {
    Param::new(Tensor::from_slice(device, &[value], [1]).unwrap()).unwrap()
}

fn value(param: &Param) -> f32 {
    param.get().item().unwrap()
}

/// p goes half of the way to 8, then q half of the way to p as it is then, then p half of the way to q.
#[test]
fn each_step_builds_on_those_before_it() {
    for device in devices().into_iter().chain([Device::cpu(), Device::reference()]) {
        let rate = || -> Box<dyn Optimizer> { Box::new(Sgd::new(0.5)) };
        let models = vec![number(&device, 0.0), number(&device, 2.0)];
        let half = |from: &Param, to: &Tensor| &(from.get() - &to.detach()).square().sum_all() * 0.5;
        let record = |pair: &mut Pair<Param>, goal: &Tensor, program: &mut Program, _: &mut Pass| {
            let (first, seen) = (half(&pair.models[0], goal), pair.models[0].get() * 1.0);
            pair.step(program, 0, &first)?;
            let second = half(&pair.models[1], pair.models[0].get());
            pair.step(program, 1, &second)?;
            let third = half(&pair.models[0], pair.models[1].get());
            pair.step(program, 0, &third)?;
            Ok(vec![("first", first), ("seen", seen.sum_all()), ("second", second), ("third", third)])
        };
        let mut rounds = Rounds::new(Pair { models, optimizers: [rate(), rate()] }, Pass::train(0), record);
        let (mut p, mut q) = (0f32, 2f32);
        for round in 0..6u16 {
            let goal = 8.0 + f32::from(round);
            let figures = rounds.run(1, || Ok(Host::from(vec![goal]))).unwrap();
            let before = p;
            let first = 0.5 * (p - goal).powi(2);
            p += 0.5 * (goal - p);
            let second = 0.5 * (q - p).powi(2);
            q += 0.5 * (p - q);
            let third = 0.5 * (p - q).powi(2);
            p += 0.5 * (q - p);
            let found: Vec<f32> = figures.iter().map(|(_, figure)| figure.item().unwrap()).collect();
            assert_eq!(found, [first, before, second, third], "round {round} on {device}");
            let models = &rounds.learners().models;
            assert_eq!((value(&models[0]), value(&models[1])), (p, q), "round {round} on {device}");
        }
        assert_eq!(rounds.learners().optimizers.each_ref().map(|o| o.steps()), [12, 6]);
        assert_eq!(rounds.replayed().is_ok(), device.as_gpu().is_some(), "{:?} on {device}", rounds.replayed());
    }
}

/// What two optimizers are, and the order of their steps in a round.
struct Case {
    name: &'static str,
    optimizers: fn() -> [Box<dyn Optimizer>; 2],
    order: &'static [usize],
    mixed: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "one after the other",
        optimizers: || [Box::new(Adam::new(0.02)), Box::new(Sgd::new(0.05).momentum(0.9))],
        order: &[0, 1],
        mixed: false,
    },
    Case {
        name: "of one kind, in the other order than they are listed",
        optimizers: || [Box::new(Adam::new(0.02)), Box::new(Adam::new(0.001).clip_norm(0.1))],
        order: &[1, 0],
        mixed: false,
    },
    Case {
        name: "several of one to one of the other",
        optimizers: || [Box::new(RmsProp::new(0.01).clip_norm(0.5)), Box::new(Adam::new(0.02))],
        order: &[0, 0, 1, 0],
        mixed: false,
    },
    Case {
        name: "scaled losses",
        optimizers: || {
            let scaling = LossScaling { interval: 3, ..LossScaling::default() };
            [Box::new(Adam::new(0.01).loss_scaling(scaling)), Box::new(Adam::new(0.02).loss_scaling(scaling))]
        },
        order: &[0, 1, 0],
        mixed: true,
    },
    Case {
        name: "one that takes no step",
        optimizers: || [Box::new(Adam::new(0.02)), Box::new(Adam::new(0.02))],
        order: &[0],
        mixed: false,
    },
];

fn models(device: &Device) -> Vec<Sequential> {
    let init = &mut Init::new(device, 3);
    let mut model = || {
        // Without a bias, whose gradient would be nothing but what is lost to rounding.
        let first = Linear::new(init, 5, 12).unwrap().without_bias();
        let model = Sequential::new().then(first);
        let model = model.then(BatchNorm1d::new(init, 12).unwrap()).then(Tanh);
        model.then(Linear::new(init, 12, 5).unwrap())
    };
    vec![model(), model()]
}

/// The first is to be at `x` where the second leads it, and the second is to be where the first is.
fn play(pair: &mut Pair<Sequential>, which: usize, x: &Tensor, pass: &mut Pass) -> Tensor {
    let noise = &Tensor::normal(x.device(), x.shape(), &mut pass.rng) * 0.1;
    let led = pair.models[1].forward(&(x + &noise), pass);
    let ours = pair.models[0].forward(&led, pass);
    if which == 0 { (&ours - x).square().mean_all() } else { (&led - &ours.detach()).square().mean_all() }
}

impl Case {
    fn rounds(&self, device: &Device) -> Rounds<Pair<Sequential>, Record> {
        let order = self.order;
        let record = move |pair: &mut Pair<Sequential>, x: &Tensor, program: &mut Program, pass: &mut Pass| {
            let mut figures = Figures::new();
            for &which in order {
                let loss = play(pair, which, x, pass);
                pair.step(program, which, &loss)?;
                figures.push((["first", "second"][which], loss));
            }
            Ok(figures)
        };
        let pass = if self.mixed { Pass::train(3).mixed() } else { Pass::train(3) };
        Rounds::new(Pair { models: models(device), optimizers: (self.optimizers)() }, pass, Box::new(record))
    }
}

/// All that a round changes, by name.
fn all(Pair { models, optimizers }: &Pair<Sequential>, figures: &Figures) -> Vec<(String, Vec<u32>)> {
    let mut all: Vec<_> = figures.iter().map(|(name, figure)| (name.to_string(), bits(figure))).collect();
    all.extend(models.named_parameters().into_iter().map(|(name, p)| (name, bits(p.get()))));
    all.extend(models.named_buffers().into_iter().map(|(name, b)| (name, bits(&b.get()))));
    for optimizer in optimizers {
        let state = optimizer.state().unwrap();
        all.extend(state.tensors.iter().map(|t| (format!("{} of {}", t.name, t.parameter), bits(&t.value))));
        all.extend(state.numbers.iter().map(|(name, x)| (name.clone(), vec![(*x as f32).to_bits()])));
        all.push(("steps".into(), vec![state.steps as u32]));
        all.extend(optimizer.gradient_norm().map(|norm| ("norm".to_string(), bits(norm))));
    }
    all
}

fn rows(from: u32) -> impl FnMut() -> Result<Host<f32>> {
    let mut step = from;
    move || {
        step += 1;
        Ok(Host::new((0..40).map(|i| ((i + 5 * step) as f32 * 0.3).cos()).collect(), [8, 5]))
    }
}

#[test]
fn a_replayed_round_is_the_ordinary_one_to_the_bit() {
    for device in devices() {
        for case in CASES {
            let (mut replayed, mut ordinary) = (case.rounds(&device), case.rounds(&device).one_by_one());
            let mut begun = 0;
            for count in [4, 1, 5, 3] {
                let figures = replayed.run(count, rows(begun)).unwrap();
                let wanted = ordinary.run(count, rows(begun)).unwrap();
                begun += count as u32;
                assert_eq!(
                    all(replayed.learners(), &figures),
                    all(ordinary.learners(), &wanted),
                    "{} on {device}",
                    case.name
                );
                assert_eq!(replayed.replayed(), Ok(()), "{} on {device}", case.name);
            }
            assert!(ordinary.replayed().is_err());
        }
    }
}

/// On the oracle, which runs each op as it was recorded, a program is what its steps are one by one.
#[test]
fn a_program_is_its_steps_one_by_one() {
    let device = Device::reference();
    for case in CASES {
        let mut together = case.rounds(&device);
        let (mut apart, mut pass) = case.rounds(&device).into_parts();
        let (mut next, mut same) = (rows(0), rows(0));
        for round in 0..3 {
            let figures = together.run(1, &mut next).unwrap();
            let x = wgrad::optim::Row::upload(&same().unwrap(), &device).unwrap();
            let mut wanted = Figures::new();
            for &which in case.order {
                let loss = play(&mut apart, which, &x, &mut pass);
                let Pair { models, optimizers } = &mut apart;
                optimizers[which].step(&mut models[which], &loss).unwrap();
                wanted.push((["first", "second"][which], loss));
            }
            assert_eq!(all(together.learners(), &figures), all(&apart, &wanted), "{}, round {round}", case.name);
        }
    }
}

/// Each launch against the f64 reference: of several steps of one optimizer, the later ones overwrite what the first
/// wrote in place.
#[test]
fn every_kernel_of_a_round_is_right() {
    for device in [under_test(), merge::device(true, false)] {
        device.set_check(Check::Values);
        // A loss that finds its scale overflows on the way.
        for case in CASES.iter().filter(|case| !case.mixed) {
            let mut rounds = case.rounds(&device);
            rounds.run(3, rows(0)).unwrap();
            assert!(rounds.replayed().unwrap_err().contains("checked"), "{}", case.name);
        }
    }
}

/// An optimizer that cannot record a step takes it at once; what follows builds on it all the same.
#[test]
fn a_step_that_cannot_be_recorded_is_taken_at_once() {
    let device = under_test();
    let rounds = |first: Box<dyn Optimizer>| {
        let case = Case { optimizers: || [Box::new(Sgd::new(0.1)), Box::new(Sgd::new(0.1))], ..CASES[0] };
        let mut rounds = case.rounds(&device);
        rounds.parts_mut().0.optimizers[0] = first;
        rounds
    };
    let (mut at_once, mut recorded) =
        (rounds(Box::new(Unforeseen(Adam::new(0.02)))), rounds(Box::new(Adam::new(0.02))).one_by_one());
    for round in 0..5 {
        let (some, same) = (at_once.run(1, rows(round)).unwrap(), recorded.run(1, rows(round)).unwrap());
        for ((name, a), (_, b)) in some.iter().zip(&same) {
            let (a, b) = (a.item().unwrap(), b.item().unwrap());
            assert!((a - b).abs() <= 1e-5 * b.abs(), "round {round}, {name}: {a} and {b}");
        }
    }
    assert!(at_once.replayed().unwrap_err().contains("does not say"));
}

/// A fault between two steps leaves the first one taken, though nothing of it was computed yet.
#[test]
fn a_fault_between_two_steps_leaves_those_before_it() {
    for device in [under_test(), Device::cpu()] {
        let models = vec![number(&device, 0.0), number(&device, 2.0)];
        let rate = || -> Box<dyn Optimizer> { Box::new(Sgd::new(0.5)) };
        let record = |pair: &mut Pair<Param>, fails: &Tensor, program: &mut Program, _: &mut Pass| {
            let loss = &(pair.models[0].get() - 8.0).square().sum_all() * 0.5;
            pair.step(program, 0, &loss)?;
            // The second model has no part in it, where it fails.
            let other = if fails.shape()[0] == 2 { fails.sum_all() } else { pair.models[1].get().square().sum_all() };
            pair.step(program, 1, &other)?;
            Ok(vec![("loss", loss)])
        };
        let mut rounds = Rounds::new(Pair { models, optimizers: [rate(), rate()] }, Pass::train(0), record);
        rounds.run(3, || Ok(Host::from(vec![1f32]))).unwrap();
        assert_eq!(value(&rounds.learners().models[0]), 7.0);
        let error = rounds.run(1, || Ok(Host::from(vec![1f32, 2.0]))).unwrap_err().to_string();
        assert!(error.contains("no part in the loss"), "{error}");
        assert_eq!((value(&rounds.learners().models[0]), value(&rounds.learners().models[1])), (7.5, 0.0));
        rounds.run(2, || Ok(Host::from(vec![1f32]))).unwrap();
        assert_eq!(value(&rounds.learners().models[0]), 7.875);
    }
}

#[test]
#[should_panic(expected = "0 rounds have no figures")]
fn no_rounds_have_no_figures() {
    let _ = CASES[0].rounds(&Device::cpu()).run(0, rows(0));
}
