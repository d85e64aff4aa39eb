//! Optimizers against PyTorch's trajectories, and what they do beside the step.

mod rounds;
mod schedule;
mod steps;
mod trajectory;

use wgrad::nn::{Init, Linear, Module, Param, Parameters, Pass, Sequential, Tanh};
use wgrad::optim::Sequential as Sequence;
use wgrad::optim::{Adagrad, Adam, LinearFactor, Optimizer, OptimizerState, ReduceOnPlateau, RmsProp, Rprop, Sgd};
use wgrad::{Device, Tensor};

use crate::registry::under_test;

fn net(device: &Device) -> Sequential {
    let init = &mut Init::new(device, 5);
    let hidden = Linear::new(init, 3, 4).unwrap();
    Sequential::new().then(hidden).then(Tanh).then(Linear::new(init, 4, 2).unwrap())
}

fn batch(device: &Device, step: u64) -> Tensor {
    let values: Vec<f32> = (0..12).map(|i| ((i + 7 * step) as f32 * 0.77).sin()).collect();
    Tensor::from_slice(device, &values, [4, 3]).unwrap()
}

fn loss(net: &Sequential, x: &Tensor) -> Tensor {
    net.forward(x, &mut Pass::eval()).square().mean_all()
}

fn train(net: &mut Sequential, optimizer: &mut dyn Optimizer, steps: std::ops::Range<u64>) {
    for step in steps {
        let x = batch(net.named_parameters()[0].1.get().device(), step);
        let loss = loss(net, &x);
        optimizer.step(net, &loss).unwrap();
    }
}

fn values(model: &dyn Parameters) -> Vec<f32> {
    model.named_parameters().iter().flat_map(|(_, p)| p.get().to_vec::<f32>().unwrap()).collect()
}

/// A copy of the model's values in a new model.
fn copy(net: &Sequential, device: &Device) -> Sequential {
    let mut all: Vec<Vec<f32>> = net.named_parameters().iter().map(|(_, p)| p.get().to_vec().unwrap()).collect();
    let mut new = self::net(device);
    new.params_mut(&mut |_, p| {
        let shape = p.get().shape().clone();
        p.set(Tensor::from_slice(device, &all.remove(0), shape).unwrap()).unwrap();
    });
    new
}

type Make = fn() -> Box<dyn Optimizer>;

const MADE: [Make; 4] = [
    || Box::new(Sgd::new(0.1).momentum(0.9).dampening(0.5)),
    || Box::new(Adam::new(0.05).amsgrad()),
    || Box::new(RmsProp::new(0.01).centered().momentum(0.5)),
    || Box::new(Rprop::new(0.01)),
];

#[test]
fn a_resumed_run_goes_on_bit_for_bit() {
    for device in [under_test(), Device::cpu()] {
        for make in MADE {
            let (mut whole, mut optimizer) = (net(&device), make());
            train(&mut whole, &mut *optimizer, 0..4);
            let (mut resumed, state) = (copy(&whole, &device), optimizer.state().unwrap());
            train(&mut whole, &mut *optimizer, 4..9);

            let mut fresh = make();
            fresh.load_state(&mut resumed, &state).unwrap();
            assert_eq!(fresh.steps(), 4);
            train(&mut resumed, &mut *fresh, 4..9);
            assert_eq!(values(&whole), values(&resumed), "on {device}");
        }
    }
}

#[test]
fn a_state_has_pytorchs_names_and_outlives_steps() {
    let device = Device::cpu();
    let mut net = net(&device);
    let mut adam = Adam::new(0.05);
    assert!(adam.state().unwrap().tensors.is_empty());
    train(&mut net, &mut adam, 0..1);
    let state = adam.state().unwrap();
    let names: Vec<String> =
        state.tensors.iter().map(|t| format!("{} {} {}", t.parameter, t.name, t.value.shape())).collect();
    assert_eq!(names[..3], ["0.weight exp_avg [4, 3]", "0.weight exp_avg_sq [4, 3]", "0.bias exp_avg [4]"]);
    assert_eq!((names.len(), state.steps), (8, 1));
    let before = state.tensors[0].value.to_vec::<f32>().unwrap();
    let after_one = state.tensors[2].value.to_vec::<f32>().unwrap();
    train(&mut net, &mut adam, 1..3);
    assert_eq!(state.tensors[0].value.to_vec::<f32>().unwrap(), before);
    assert_ne!(adam.state().unwrap().tensors[2].value.to_vec::<f32>().unwrap(), after_one);
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let device = Device::cpu();
    let (mut net, mut adam) = (net(&device), Adam::new(0.05));
    train(&mut net, &mut adam, 0..2);
    let good = adam.state().unwrap();
    let refused = |change: &dyn Fn(&mut OptimizerState), word: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        let mut fresh = Adam::new(0.05);
        let fault = fresh.load_state(&mut copy(&net, &device), &bad).unwrap_err().to_string();
        assert!(fault.contains(word), "{fault}");
        assert_eq!(fresh.steps(), 0);
    };
    refused(&|s| s.tensors[0].parameter = "body.weight".into(), "body.weight");
    refused(&|s| s.tensors[1].name = "square_avg".into(), "square_avg");
    refused(&|s| s.tensors[0].value = Tensor::zeros(&device, [3, 4]), "[3, 4]");
    refused(&|s| s.tensors.truncate(7), "lacks exp_avg_sq");
    let fault = Sgd::new(0.1).load_state(&mut copy(&net, &device), &good).unwrap_err().to_string();
    assert!(fault.contains("exp_avg"), "{fault}");
}

#[test]
fn a_plateau_is_part_of_the_state() {
    let device = Device::cpu();
    let plateau = ReduceOnPlateau::new(0.1).patience(0);
    let warm = || Sequence::new(LinearFactor::warm_up(0.1, 1));
    let (mut net, mut sgd) = (net(&device), Sgd::scheduled(warm().then(1, plateau.clone())));
    train(&mut net, &mut sgd, 0..1);
    [1.0, 1.0].iter().for_each(|&metric| plateau.observe(metric));
    assert!((sgd.rate() - 0.01).abs() < 1e-12);
    let state = sgd.state().unwrap();
    let mut fresh = Sgd::scheduled(warm().then(1, ReduceOnPlateau::new(0.1).patience(0)));
    fresh.load_state(&mut net, &state).unwrap();
    assert_eq!((fresh.rate(), fresh.steps()), (sgd.rate(), 1));
}

#[test]
fn micro_batches_add_up_to_a_batch() {
    for device in [under_test(), Device::cpu()] {
        let (mut whole, mut parts) = (net(&device), net(&device));
        let (mut once, mut thrice) = (Adam::new(0.05), Adam::new(0.05));
        for step in 0..3 {
            let xs = [0, 1, 2].map(|part| batch(&device, 3 * step + part));
            let sum = xs.iter().map(|x| &loss(&whole, x) * (1.0 / 3.0)).reduce(|a, b| &a + &b).unwrap();
            once.step(&mut whole, &sum).unwrap();
            for x in &xs[..2] {
                let part = &loss(&parts, x) * (1.0 / 3.0);
                thrice.accumulate(&mut parts, &part).unwrap();
                assert!(part.item().unwrap() > 0.0);
            }
            let last = &loss(&parts, &xs[2]) * (1.0 / 3.0);
            thrice.step(&mut parts, &last).unwrap();
        }
        assert_eq!(thrice.steps(), 3);
        let near = values(&whole).iter().zip(values(&parts)).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near, "{:?}\n{:?}\non {device}", values(&whole), values(&parts));
    }
}

#[test]
fn groups_have_settings_of_their_own() {
    for device in [under_test(), Device::cpu()] {
        let mut model = net(&device);
        let before = values(&model);
        let sgd =
            Sgd::new(0.1).group("0.", Sgd::new(0.0)).group_where(|n| n.ends_with("bias"), Sgd::new(0.2).momentum(0.9));
        let mut sgd = sgd.weight_decay(0.5);
        let x = batch(&device, 0);
        let (plain, alone) = (loss(&model, &x), model.named_parameters());
        let params: Vec<&Tensor> = alone.iter().map(|(_, p)| p.get()).collect();
        let slopes = wgrad::autodiff::grad(&plain, &params);
        let slopes: Vec<Vec<f32>> = slopes.iter().map(|g| g.to_vec().unwrap()).collect();
        train(&mut model, &mut sgd, 0..1);
        let after = values(&model);
        // 12 + 4 of the first layer stay, 8 weights decay, 2 biases move twice as fast and do not.
        assert_eq!(before[..16], after[..16], "on {device}");
        for i in 0..8 {
            let want = before[16 + i] - 0.1 * (slopes[2][i] + 0.5 * before[16 + i]);
            assert!((after[16 + i] - want).abs() < 1e-6, "{} not {want} on {device}", after[16 + i]);
        }
        for i in 0..2 {
            let want = before[24 + i] - 0.2 * slopes[3][i];
            assert!((after[24 + i] - want).abs() < 1e-6, "{} not {want} on {device}", after[24 + i]);
        }
        let names: Vec<String> = sgd.state().unwrap().tensors.iter().map(|t| t.name.clone()).collect();
        assert_eq!(names, ["momentum_buffer"; 4]);
    }
}

#[test]
fn gradients_read_where_they_lie_are_those_of_a_pack() {
    // Of a checked step every value is made, the pack of the gradients too. Places with gaps behind them, one of more
    // elements than a thread takes at a time, and settings that change within it.
    let trained = |device: Device, make: Make| {
        let init = &mut Init::new(&device, 5);
        let hidden = Linear::new(init, 3, 190).unwrap();
        let middle = Linear::new(init, 190, 201).unwrap();
        let last = Linear::new(init, 201, 2).unwrap();
        let mut net = Sequential::new().then(hidden).then(Tanh).then(middle).then(Tanh).then(last);
        train(&mut net, &mut *make(), 0..3);
        let mut all = values(&net);
        let before = all.clone();
        let mut grouped = Adam::new(0.01).group_where(|name| name.ends_with("bias"), Adam::new(0.1).weight_decay(0.1));
        train(&mut net, &mut grouped, 0..3);
        all.extend(values(&net));
        assert!(before.iter().zip(&all[before.len()..]).filter(|(a, b)| a == b).count() < before.len() / 100);
        all
    };
    for make in MADE {
        assert_eq!(trained(Device::cpu(), make), trained(Device::cpu().checked(), make), "{:?}", make().state());
    }
}

#[test]
fn clipping_costs_a_few_launches_and_no_readback() {
    let device = under_test();
    let count = |optimizer: &mut dyn Optimizer| {
        let mut model = net(&device);
        train(&mut model, optimizer, 0..2);
        let before = device.counters();
        train(&mut model, optimizer, 2..3);
        let made = device.counters().since(&before);
        assert_eq!((made.plans, made.submissions), (0, 1));
        made.dispatches
    };
    let plain = count(&mut Adam::new(0.1));
    assert!(count(&mut Adam::new(0.1).clip_norm(0.1)) <= plain + 4);
    assert!(count(&mut Adam::new(0.1).clip_value(0.1)) <= plain + 1);
    let mut adam = Adam::new(0.1).clip_norm_of_order(1e-3, f64::INFINITY);
    assert!(adam.gradient_norm().is_none());
    assert!(count(&mut adam) <= plain + 4);
    assert!(adam.gradient_norm().unwrap().item().unwrap() > 0.0);
}

/// A figure that reads parameters is computed before they are overwritten: nothing is copied for it.
#[test]
fn a_figure_of_parameters_is_of_those_before_the_step() {
    for device in [under_test(), Device::cpu()] {
        let launches = |figure: bool| {
            let (mut model, mut optimizer) = (net(&device), Adam::new(0.1));
            let mut made = 0;
            for step in 0..3 {
                let loss = loss(&model, &batch(&device, step));
                let weight = model.named_parameters()[0].1.get().clone();
                let wanted: f32 = weight.to_vec::<f32>().unwrap().iter().map(|w| w * w).sum();
                let figures = if figure { vec![weight.square().sum_all()] } else { Vec::new() };
                drop(weight);
                let before = device.counters();
                optimizer.step_with_figures(&mut model, &loss, &figures.iter().collect::<Vec<_>>()).unwrap();
                made = device.counters().since(&before).dispatches;
                figures.iter().for_each(|f| assert!((f.item().unwrap() - wanted).abs() <= 1e-5 * wanted));
            }
            made
        };
        let (plain, with) = (launches(false), launches(true));
        // The CPU path counts the squares apart from their sum.
        let figure = if device.as_gpu().is_some() { 1 } else { 2 };
        assert_eq!(with, plain + figure, "launches with a figure, and without, on {device}");
    }
}

#[test]
fn values_are_clipped_one_by_one() {
    let device = Device::cpu();
    let mut p = Param::new(Tensor::zeros(&device, [3])).unwrap();
    let gradient = Tensor::from_slice(&device, &[0.5f32, -3.0, 0.1], [3]).unwrap();
    Sgd::new(1.0).clip_value(0.25).step_with_gradients(&mut p, &[gradient]).unwrap();
    assert_eq!(p.get().to_vec::<f32>().unwrap(), [-0.25, 0.25, -0.1]);
}

#[test]
fn what_is_remembered_follows_a_parameter_that_is_set_or_frozen() {
    let device = Device::cpu();
    let (mut model, mut sgd) = (net(&device), Adagrad::new(0.1).initial_sum(1.0));
    train(&mut model, &mut sgd, 0..1);
    let sums = |sgd: &Adagrad| -> Vec<(String, Vec<f32>)> {
        sgd.state().unwrap().tensors.iter().map(|t| (t.parameter.clone(), t.value.to_vec().unwrap())).collect()
    };
    let first = sums(&sgd);
    let mut k = 0;
    model.params_mut(&mut |_, p| {
        p.freeze(k == 0).unwrap();
        k += 1;
    });
    let zeros: Vec<Tensor> = first[1..].iter().map(|(_, v)| Tensor::zeros(&device, [v.len()])).collect();
    let zeros = [zeros[0].clone(), zeros[1].reshape([2, 4]), zeros[2].clone()];
    sgd.step_with_gradients(&mut model, &zeros).unwrap();
    assert_eq!(sums(&sgd), first[1..]);
}

#[test]
fn gradients_from_outside_must_fit() {
    let device = Device::cpu();
    let mut model = net(&device);
    let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Sgd::new(0.1).step_with_gradients(&mut model, &[Tensor::zeros(&device, [4, 3])]).unwrap();
    }));
    let message = *fault.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("1 gradients for 4"), "{message}");
}
