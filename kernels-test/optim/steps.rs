//! Replayed steps are the ordinary ones, to the bit; and where a step cannot be replayed it is ordinary, and right.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use wgrad::data::Batches;
use wgrad::device::Check;
use wgrad::nn::{
    BatchNorm2d, Conv2d, Dropout, Flatten, Init, Linear, MaxPool2d, Module, Parameters, Pass, Relu, Sequential,
    SpectralNorm, Tanh,
};
use wgrad::ops::{Conv2dOptions, Pool2dOptions, Rng};
use wgrad::optim::{Adam, CosineAnnealing, Host, LossScaling, NAdam, Optimizer, RmsProp, Sgd, Steps};
use wgrad::{Device, Tensor};

use crate::merge;
use crate::registry::under_test;

type Record = Box<dyn Fn(&Sequential, &mut Pass) -> Tensor>;

/// Makes a model, and how its loss is recorded.
type Make = fn(&Device) -> (Sequential, Record);

/// The same, and its optimizer.
struct Case {
    name: &'static str,
    make: Make,
    optimizer: fn() -> Box<dyn Optimizer>,
    mixed: bool,
}

fn numbers(device: &Device, shape: &[usize], seed: usize) -> Tensor {
    let n = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7 + seed) as f32 * 0.77).sin()).collect();
    Tensor::from_slice(device, &values, shape).unwrap()
}

fn classes(device: &Device, n: usize) -> Tensor {
    Tensor::from_slice(device, &(0..n as u32).map(|i| i * 5 % 3).collect::<Vec<_>>(), [n]).unwrap()
}

fn plain(device: &Device) -> (Sequential, Record) {
    let init = &mut Init::new(device, 5);
    let model = Sequential::new().then(Linear::new(init, 6, 9).unwrap()).then(Tanh);
    let model = model.then(Linear::new(init, 9, 3).unwrap());
    let (x, y) = (numbers(device, &[8, 6], 1), classes(device, 8));
    (model, Box::new(move |model, pass| model.forward(&x, pass).cross_entropy(&y)))
}

/// Dropout, noise on the input, and a batch drawn from data on the device.
fn drawing(device: &Device) -> (Sequential, Record) {
    let init = &mut Init::new(device, 6);
    let model = Sequential::new().then(Linear::new(init, 6, 16).unwrap()).then(Relu).then(Dropout::new(0.3));
    let model = model.then(Linear::new(init, 16, 3).unwrap());
    let (x, y) = (numbers(device, &[40, 6], 1), classes(device, 40));
    let record = move |model: &Sequential, pass: &mut Pass| {
        let picked = (&Tensor::uniform(x.device(), [8], &mut pass.rng) * 40.0).cast(wgrad::DType::U32);
        let noise = &Tensor::normal(x.device(), [8, 6], &mut pass.rng) * 0.1;
        let batch = &x.index_select(0, &picked) + &noise;
        model.forward(&batch, pass).cross_entropy(&y.index_select(0, &picked))
    };
    (model, Box::new(record))
}

fn pictures(device: &Device) -> (Sequential, Record) {
    let init = &mut Init::new(device, 7);
    let conv = Conv2d::new(init, 1, 4, [3, 3], Conv2dOptions::default()).unwrap();
    let model = Sequential::new().then(conv).then(BatchNorm2d::new(init, 4).unwrap()).then(Relu);
    let model = model.then(MaxPool2d(Pool2dOptions::new([2, 2]))).then(Flatten).then(Linear::new(init, 36, 3).unwrap());
    let (x, y) = (numbers(device, &[6, 1, 8, 8], 1), classes(device, 6));
    (model, Box::new(move |model, pass| model.forward(&x, pass).cross_entropy(&y)))
}

const CASES: &[Case] = &[
    Case {
        name: "momentum under a schedule",
        make: plain,
        optimizer: || {
            Box::new(Sgd::scheduled(CosineAnnealing { initial: 0.1, lowest: 0.001, steps: 12 }).momentum(0.9))
        },
        mixed: false,
    },
    Case {
        name: "groups, clipped",
        make: plain,
        optimizer: || {
            Box::new(RmsProp::new(0.01).momentum(0.5).group("0.", RmsProp::new(0.02).centered()).clip_norm(0.1))
        },
        mixed: false,
    },
    Case { name: "a product of momenta", make: plain, optimizer: || Box::new(NAdam::new(0.01)), mixed: false },
    Case { name: "random numbers", make: drawing, optimizer: || Box::new(Adam::new(0.01)), mixed: false },
    Case { name: "running statistics", make: pictures, optimizer: || Box::new(Adam::new(0.01)), mixed: false },
    Case {
        name: "a scaled loss",
        make: plain,
        optimizer: || Box::new(Adam::new(0.01).loss_scaling(LossScaling { interval: 3, ..LossScaling::default() })),
        mixed: true,
    },
];

impl Case {
    fn steps(&self, device: &Device) -> Steps<Sequential, Box<dyn Optimizer>, Record> {
        let (model, record) = (self.make)(device);
        let pass = if self.mixed { Pass::train(3).mixed() } else { Pass::train(3) };
        Steps::new(model, (self.optimizer)(), pass, record)
    }
}

pub(super) fn bits(tensor: &Tensor) -> Vec<u32> {
    match tensor.dtype() {
        wgrad::DType::F32 => tensor.to_vec::<f32>().unwrap().iter().map(|x| x.to_bits()).collect(),
        _ => tensor.to_vec::<u32>().unwrap(),
    }
}

/// All that a step changes, by name.
fn all<O: Optimizer, F>(steps: &Steps<Sequential, O, F>, loss: &Tensor) -> Vec<(String, Vec<u32>)> {
    let mut all = vec![("loss".to_string(), bits(loss))];
    all.extend(steps.model().named_parameters().into_iter().map(|(name, p)| (name, bits(p.get()))));
    all.extend(steps.model().named_buffers().into_iter().map(|(name, b)| (name, bits(&b.get()))));
    let state = steps.optimizer().state().unwrap();
    all.extend(state.tensors.iter().map(|t| (format!("{} of {}", t.name, t.parameter), bits(&t.value))));
    all.extend(state.numbers.iter().map(|(name, x)| (name.clone(), vec![(*x as f32).to_bits()])));
    all.push(("steps".into(), vec![state.steps as u32]));
    all.push(("counter".into(), vec![steps.pass().rng.counter()]));
    all.extend(steps.optimizer().gradient_norm().map(|norm| ("norm".to_string(), bits(norm))));
    all
}

pub(super) fn devices() -> [Device; 4] {
    [under_test(), merge::device(false, false), merge::device(true, false), merge::device(true, true)]
}

#[test]
fn a_replayed_step_is_the_ordinary_one_to_the_bit() {
    for (first, device) in devices().into_iter().enumerate() {
        // More than one submission holds.
        let many = if first == 0 { 67 } else { 6 };
        for case in CASES {
            let (mut replayed, mut ordinary) = (case.steps(&device), case.steps(&device).one_by_one());
            for (k, steps) in [3, 1, 5, 2, many].into_iter().enumerate() {
                let (loss, want) = (replayed.run(steps).unwrap(), ordinary.run(steps).unwrap());
                let refusal = format!("{} on {device}, run {k}", case.name);
                assert_eq!(replayed.replayed(), Ok(()), "{refusal}");
                assert!(ordinary.replayed().is_err());
                assert_eq!(all(&replayed, &loss), all(&ordinary, &want), "{refusal}");
                if k == 2 {
                    // A step in between that `Steps` does not know of.
                    for steps in [&mut replayed, &mut ordinary] {
                        let (_, record) = (case.make)(&device);
                        let (model, optimizer, pass) = steps.parts_mut();
                        let loss = record(model, pass);
                        optimizer.step(model, &loss).unwrap();
                    }
                    assert!(replayed.replayed().is_err());
                    replayed.run(3).unwrap();
                    ordinary.run(3).unwrap();
                }
            }
        }
    }
}

/// Rows of numbers: indices of a batch in data on the device, and a batch itself.
#[test]
fn each_step_is_given_its_row() {
    for device in [under_test(), merge::device(true, false)] {
        let (x, y) = (numbers(&device, &[40, 6], 1), classes(&device, 40));
        let picking = move |model: &Sequential, picked: &Tensor, pass: &mut Pass| {
            model.forward(&x.index_select(0, picked), pass).cross_entropy(&y.index_select(0, picked))
        };
        let of = |model| Steps::with_rows(model, Adam::new(0.01), Pass::train(3), &picking);
        let (mut replayed, mut ordinary) = (of(drawing(&device).0), of(drawing(&device).0).one_by_one());
        let (mut some, mut same) = (Batches::new(40, 9, 5).unwrap(), Batches::new(40, 9, 5).unwrap());
        let next =
            |batches: &mut Batches| Ok(Host::from(batches.next_batch().iter().map(|&i| i as u32).collect::<Vec<_>>()));
        for n in [3, 1, 20] {
            let loss = replayed.run_rows(n, || next(&mut some)).unwrap();
            let want = ordinary.run_rows(n, || next(&mut same)).unwrap();
            assert_eq!(all(&replayed, &loss), all(&ordinary, &want), "{n} on {device}");
        }
        assert_eq!((replayed.replayed(), some.step()), (Ok(()), 24));

        let goal = classes(&device, 4);
        let reading = move |model: &Sequential, row: &Tensor, pass: &mut Pass| {
            model.forward(&row.reshape([4, 6]), pass).cross_entropy(&goal)
        };
        let of = |model| Steps::with_rows(model, Sgd::new(0.1), Pass::train(3), &reading);
        let (mut replayed, mut ordinary) = (of(plain(&device).0), of(plain(&device).0).one_by_one());
        let row =
            |step: usize| Ok(Host::from((0..24).map(|i| ((i + 5 * step) as f32 * 0.3).cos()).collect::<Vec<f32>>()));
        for begin in [0, 7, 14] {
            let (mut a, mut b) = (begin..begin + 7, begin..begin + 7);
            let loss = replayed.run_rows(7, || row(a.next().unwrap())).unwrap();
            let want = ordinary.run_rows(7, || row(b.next().unwrap())).unwrap();
            assert_eq!(all(&replayed, &loss), all(&ordinary, &want), "from {begin} on {device}");
        }
        assert_eq!(replayed.replayed(), Ok(()));
    }
}

/// Of a batch that is smaller, the last of an epoch, the step is ordinary, and those after it are replayed again.
#[test]
fn a_row_of_another_length_is_an_ordinary_step() {
    let device = under_test();
    let reading =
        |model: &Sequential, (x, y): &(Tensor, Tensor), pass: &mut Pass| model.forward(x, pass).cross_entropy(y);
    let of = |model| Steps::with_rows(model, Adam::new(0.01), Pass::train(3), reading);
    let (mut replayed, mut ordinary) = (of(drawing(&device).0), of(drawing(&device).0).one_by_one());
    let row = |step: usize| {
        let n = if step % 5 == 4 { 3 } else { 8 };
        let x = (0..6 * n).map(|i| ((i + 5 * step) as f32 * 0.3).cos()).collect::<Vec<f32>>();
        Ok((Host::new(x, [n, 6]), Host::from((0..n as u32).map(|i| i % 3).collect::<Vec<_>>())))
    };
    let (mut a, mut b) = (0.., 0..);
    for n in [5, 1, 13, 1, 6] {
        let loss = replayed.run_rows(n, || row(a.next().unwrap())).unwrap();
        let want = ordinary.run_rows(n, || row(b.next().unwrap())).unwrap();
        assert_eq!(all(&replayed, &loss), all(&ordinary, &want), "{n} steps up to {a:?}");
        assert_eq!(replayed.replayed(), Ok(()));
    }
    assert_eq!(a, b);
}

/// The steps before a batch that cannot be read are done, and the fault is told.
#[test]
fn a_row_that_fails_ends_the_steps_before_it() {
    let device = under_test();
    let reading =
        |model: &Sequential, x: &Tensor, pass: &mut Pass| model.forward(&x.reshape([8, 6]), pass).square().mean_all();
    let mut steps = Steps::with_rows(plain(&device).0, Sgd::new(0.1), Pass::train(3), reading);
    let mut left = 9;
    let mut next = || {
        left -= 1;
        match left {
            0 => Err(wgrad::Error::argument("no more", "stop")),
            _ => Ok(Host::from(vec![0.5f32; 48])),
        }
    };
    let error = steps.run_rows(20, &mut next).unwrap_err().to_string();
    assert!(error.contains("no more"), "{error}");
    assert_eq!((steps.optimizer().steps(), steps.replayed()), (8, Ok(())));
}

/// A model whose loss is recorded otherwise in each step; `part` is told which step it is.
fn changing(device: &Device, part: impl Fn(&Tensor, u32, &mut Pass) -> Tensor + 'static) -> (Sequential, Record) {
    let (model, record) = plain(device);
    let count = AtomicU32::new(0);
    (model, Box::new(move |model, pass| part(&record(model, pass), count.fetch_add(1, Relaxed), pass)))
}

/// Steps that differ, and a word of the reason why they are not replayed.
const REFUSED: &[(&str, Make)] = &[
    ("uploaded", |device| {
        changing(device, |loss, step, _| loss * &Tensor::from_slice(loss.device(), &[step as f32], []).unwrap())
    }),
    ("a number of the host differs", |device| changing(device, |loss, step, _| loss * (1.0 + step as f32))),
    ("on the host", |device| {
        changing(device, |loss, _, pass| loss * if pass.rng.words(1)[0] % 4 < 4 { 1.0 } else { 2.0 })
    }),
    ("another generator", |device| {
        let rng = Mutex::new(Rng::new(9));
        changing(device, move |loss, _, _| loss * &Tensor::uniform(loss.device(), [], &mut rng.lock().unwrap()))
    }),
    ("more than one program", |device| {
        changing(device, |loss, _, _| loss * (1.0 / (1.0 + (loss * 1.0).item().unwrap())))
    }),
    ("same program", |device| changing(device, |loss, step, _| if step % 2 == 0 { loss.square() } else { loss.exp() })),
    ("not kept in place", |device| {
        let init = &mut Init::new(device, 5);
        let layer = Linear::new(init, 6, 3).unwrap();
        let model = Sequential::new().then(SpectralNorm::new(init, layer).unwrap());
        let (x, y) = (numbers(device, &[8, 6], 1), classes(device, 8));
        (model, Box::new(move |model, pass| model.forward(&x, pass).cross_entropy(&y)))
    }),
];

#[test]
fn a_step_that_differs_is_ordinary_and_right() {
    let device = under_test();
    for (why, make) in REFUSED {
        let steps = || {
            let (model, record) = make(&device);
            Steps::new(model, Adam::new(0.01), Pass::train(3), record)
        };
        let (mut watched, mut ordinary) = (steps(), steps().one_by_one());
        for n in [2, 3, 4] {
            let (loss, want) = (watched.run(n).unwrap(), ordinary.run(n).unwrap());
            assert_eq!(all(&watched, &loss), all(&ordinary, &want), "{why}");
        }
        let refusal = watched.replayed().unwrap_err();
        assert!(refusal.contains(why), "{refusal:?}, not {why:?}");
    }
}

#[test]
fn the_cpu_path_takes_each_step_by_itself() {
    let device = Device::cpu();
    let (mut watched, mut ordinary) = (CASES[3].steps(&device), CASES[3].steps(&device).one_by_one());
    let (loss, want) = (watched.run(6).unwrap(), ordinary.run(6).unwrap());
    assert_eq!(all(&watched, &loss), all(&ordinary, &want));
    assert!(watched.replayed().unwrap_err().contains("no GPU"));
}

/// What a program does between two runs, and what must be so after it.
#[test]
fn what_others_hold_is_not_overwritten() {
    let device = under_test();
    let case = &CASES[4];
    let (mut replayed, mut ordinary) = (case.steps(&device), case.steps(&device).one_by_one());
    let mut both = |steps: usize, what: &str| {
        let (loss, want) = (replayed.run(steps).unwrap(), ordinary.run(steps).unwrap());
        assert_eq!(all(&replayed, &loss), all(&ordinary, &want), "{what}");
        assert_eq!(replayed.replayed(), Ok(()), "{what}");
        let weight = replayed.model().named_parameters()[0].1.get().clone();
        let mean = replayed.model().named_buffers()[0].1.get();
        let state = replayed.optimizer().state().unwrap().tensors.swap_remove(0).value;
        // A pass of somebody else records the next running statistics of both.
        for model in [replayed.model(), ordinary.model()] {
            drop(model.forward(&numbers(&device, &[2, 1, 8, 8], 4), &mut Pass::train(0)));
        }
        (loss, weight, mean, state)
    };
    let kept = both(4, "at first");
    let before = [&kept.0, &kept.1, &kept.2, &kept.3].map(bits);
    let mut held = vec![kept];
    for run in ["all of it held", "held still", "held twice"] {
        held.push(both(7, run));
        let first = &held[0];
        assert_eq!([&first.0, &first.1, &first.2, &first.3].map(bits), before, "{run}");
    }
    held.clear();
    both(5, "nothing held");
}

#[test]
fn the_counter_of_random_numbers_may_begin_anew() {
    let device = under_test();
    let steps = || {
        let mut steps = CASES[3].steps(&device);
        steps.parts_mut().2.rng.set_counter(u32::MAX - 40);
        steps
    };
    let (mut replayed, mut ordinary) = (steps(), steps().one_by_one());
    for n in [4, 5, 9, 4] {
        let (loss, want) = (replayed.run(n).unwrap(), ordinary.run(n).unwrap());
        assert_eq!(all(&replayed, &loss), all(&ordinary, &want));
        assert_eq!(replayed.pass().rng.seed(), ordinary.pass().rng.seed());
    }
    assert!(replayed.pass().rng.counter() < 40 && replayed.replayed() == Ok(()));
}

#[test]
fn checked_and_profiled_steps_are_ordinary() {
    let device = under_test();
    let (mut replayed, mut ordinary) = (CASES[0].steps(&device), CASES[0].steps(&device).one_by_one());
    let mut both = |device: &Device, check: Check| {
        device.set_check(check);
        let (loss, want) = (replayed.run(4).unwrap(), ordinary.run(4).unwrap());
        assert_eq!(all(&replayed, &loss), all(&ordinary, &want));
        replayed.replayed()
    };
    assert_eq!(both(&device, Check::Off), Ok(()));
    let refusal = both(&device, Check::Values).unwrap_err();
    assert!(refusal.contains("checked"), "{refusal}");
    device.set_check(Check::Off);
    let mut timed = CASES[0].steps(&device);
    timed.run(3).unwrap();
    let before = device.counters();
    let (_, profile) = wgrad::plan::profile::profile(&device, || timed.run(2)).unwrap();
    let launches = device.counters().since(&before).dispatches;
    assert_eq!(profile.events().iter().filter(|e| e.name == "Momentum").count(), 2, "{launches} launches, {profile}");
}

#[test]
#[should_panic(expected = "0 steps have no loss")]
fn no_steps_have_no_loss() {
    let _ = CASES[0].steps(&Device::cpu()).run(0);
}

/// What replayed steps cost: launches, one submission for up to 64 of them, the numbers of each step, and nothing made
/// anew.
#[test]
fn a_replayed_step_is_its_launches_and_its_numbers() {
    for device in devices() {
        let mut steps = CASES[3].steps(&device);
        steps.run(2).unwrap();
        let before = device.counters();
        steps.parts_mut();
        steps.run(1).unwrap();
        let one = device.counters().since(&before);
        steps.run(1 + 64 + 64).unwrap();
        let together = (64 / one.dispatches).max(1);
        for count in [10, 64, 150] {
            let before = device.counters();
            steps.run(count).unwrap();
            let made = device.counters().since(&before);
            assert_eq!(
                (made.plans, made.pipelines, made.bind_groups, made.buffers),
                (0, 0, 0, 0),
                "{count} on {device}"
            );
            assert_eq!(made.submissions, (count as u64).div_ceil(together), "{count} on {device}");
            assert_eq!(made.dispatches, count as u64 * one.dispatches, "{count} on {device}");
            assert_eq!(made.bytes_bound, count as u64 * one.bytes_bound, "{count} on {device}");
        }
    }
}
