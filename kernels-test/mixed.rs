//! Training in mixed precision: products in half, the loss scaled, and bad steps skipped on the device.

use wgrad::device::GpuOptions;
use wgrad::nn::{
    Conv2d, Flatten, Gru, Init, LayerNorm, Linear, Lstm, MaxPool2d, Module, MultiheadAttention, Param, Pass,
    RecurrentOptions, Relu, Rnn, Sequential,
};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};
use wgrad::optim::{Adam, InverseTime, LossScaling, Optimizer, OptimizerState, Sgd};
use wgrad::tensor::{Caps, Input};
use wgrad::train::cnn;
use wgrad::{DType, Device, Tensor};

use crate::launches::{ADAPTERS, Adapter};
use crate::registry::{adapter, tensor, under_test};

fn network(device: &Device) -> Sequential {
    let init = &mut Init::new(device, 3);
    let same = Conv2dOptions { padding: Padding::Same, ..Default::default() };
    Sequential::new()
        .then(Conv2d::new(init, 1, 4, [3, 3], same).unwrap())
        .then(Relu)
        .then(MaxPool2d(Pool2dOptions::new([2, 2])))
        .then(Conv2d::new(init, 4, 8, [3, 3], same).unwrap())
        .then(Relu)
        .then(Flatten)
        .then(Linear::new(init, 8 * 4 * 4, 16).unwrap())
        .then(LayerNorm::new(init, [16]).unwrap())
        .then(Linear::new(init, 16, 5).unwrap())
}

/// Losses of so many steps on two batches in turn.
fn losses(device: &Device, optimizer: &mut dyn Optimizer, pass: &mut Pass, steps: u64) -> Vec<f32> {
    let mut model = network(device);
    let batches: Vec<(Tensor, Tensor)> = (0..2)
        .map(|k| {
            let x = tensor(device, &Input::uniform([6, 1, 8, 8], -1.0, 1.0, 10 + k));
            (x, tensor(device, &Input::below([6], 5, 20 + k)))
        })
        .collect();
    let step = |i: u64| {
        let (x, labels) = &batches[i as usize % 2];
        let loss = model.forward(x, pass).cross_entropy(labels);
        assert_eq!(loss.dtype(), DType::F32, "losses are in single precision");
        optimizer.step(&mut model, &loss).unwrap();
        loss.item().unwrap()
    };
    (0..steps).map(step).collect()
}

#[test]
fn mixed_training_goes_where_single_precision_goes() {
    let packed = GpuOptions { native_half: false, ..adapter() };
    for device in [Device::cpu(), under_test(), Device::gpu(&packed).unwrap()] {
        let single = losses(&device, &mut Adam::new(3e-3), &mut Pass::train(1), 30);
        let mut adam = Adam::new(3e-3).loss_scaling(LossScaling { initial: 1024.0, ..Default::default() });
        let mixed = losses(&device, &mut adam, &mut Pass::train(1).mixed(), 30);
        assert!(single[29] < 0.3 * single[0], "nothing was learned: {single:?}");
        // Half has three digits; the first loss shows them, and that half was used at all.
        assert!((mixed[0] - single[0]).abs() < 5e-3 * single[0], "{} and {} on {device}", mixed[0], single[0]);
        assert_ne!(mixed[0], single[0], "on {device}");
        for (step, (m, s)) in mixed.iter().zip(&single).enumerate() {
            assert!((m - s).abs() < 0.05 * s.max(0.2), "step {step}: {m} mixed, {s} single on {device}");
        }
        assert_eq!(adam.loss_scale().unwrap().item().unwrap(), 1024.0, "no step overflowed on {device}");
    }
}

/// The same bits on every run, and the same scale history.
#[test]
fn mixed_training_repeats_to_the_bit() {
    for device in [Device::cpu(), under_test()] {
        let run = || {
            let scaling = LossScaling { initial: f64::exp2(30.0), ..Default::default() };
            let mut sgd = Sgd::new(0.05).momentum(0.9).loss_scaling(scaling);
            let losses = losses(&device, &mut sgd, &mut Pass::train(1).mixed(), 20);
            (losses, sgd.loss_scale().unwrap().item().unwrap())
        };
        let (first, scale) = run();
        assert_eq!((first, scale), run(), "on {device}");
        assert!(scale < f32::exp2(30.0), "so large a scale overflows halves, and falls: it is {scale}");
    }
}

/// A model of one parameter, whose gradient is whatever it is multiplied by.
fn gradient_of(model: &Param, x: &[f32]) -> Tensor {
    let x = Tensor::from_slice(model.get().device(), x, x.len()).unwrap();
    (model.get() * &x).sum_all()
}

fn number(state: &OptimizerState, name: &str) -> f64 {
    state.numbers.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no {name}")).1
}

/// A step with an infinite gradient changes nothing but the scale, and Adam goes on as if it had not been: its
/// corrections count the steps that were made.
#[test]
fn an_overflow_skips_the_step_and_halves_the_scale() {
    for device in [Device::cpu(), under_test(), Device::reference()] {
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 3e38] {
            if bad == 3e38 && device.to_string().contains("f64") {
                continue; // no overflow there
            }
            let run = |steps: &[&[f32]]| {
                let mut model = Param::new(Tensor::ones(&device, [3])).unwrap();
                let mut adam = Adam::new(0.1).weight_decay(0.01).loss_scaling(LossScaling::default());
                for x in steps {
                    let loss = gradient_of(&model, x);
                    adam.step(&mut model, &loss).unwrap();
                }
                let state = adam.state().unwrap();
                let moments: Vec<Vec<f32>> = state.tensors.iter().map(|t| t.value.to_vec().unwrap()).collect();
                (model.get().to_vec::<f32>().unwrap(), moments, state)
            };
            let (a, b, c) = (&[1.0, -2.0, 0.5][..], &[0.25, 1.0, 3.0][..], &[-1.0, 0.125, 1.0][..]);
            let overflow = [1.0, bad, 2.0];
            let (with, with_moments, state) = run(&[a, &overflow, b, &overflow, c]);
            let (without, without_moments, clean) = run(&[a, b, c]);
            assert_eq!((&with, &with_moments), (&without, &without_moments), "gradients with {bad} on {device}");
            assert_eq!(number(&state, "loss_scale.scale"), 16384.0);
            assert_eq!(number(&state, "loss_scale.skipped"), 2.0);
            assert_eq!(number(&state, "loss_scale.good"), 1.0);
            assert_eq!(number(&clean, "loss_scale.scale"), 65536.0);
            assert_eq!((state.steps, clean.steps), (5, 3));
        }
    }
}

#[test]
fn good_steps_double_the_scale() {
    for device in [Device::cpu(), under_test()] {
        let mut model = Param::new(Tensor::ones(&device, [3])).unwrap();
        let scaling = LossScaling { initial: 8.0, interval: 4, ..Default::default() };
        let mut sgd = Sgd::new(0.5).loss_scaling(scaling);
        let mut scales = Vec::new();
        for _ in 0..9 {
            let loss = gradient_of(&model, &[1.0, 2.0, 3.0]);
            sgd.step(&mut model, &loss).unwrap();
            scales.push(sgd.loss_scale().unwrap().item().unwrap());
        }
        assert_eq!(scales, [8.0, 8.0, 8.0, 16.0, 16.0, 16.0, 16.0, 32.0, 32.0], "on {device}");
        assert_eq!(model.get().to_vec::<f32>().unwrap(), [-3.5, -8.0, -12.5], "gradients are unscaled on {device}");
    }
}

/// Norms and bounds are those of the gradients without the scale; micro-batches and gradients from elsewhere add up.
#[test]
fn clipping_and_accumulating_see_gradients_without_the_scale() {
    for device in [Device::cpu(), under_test()] {
        let scaling = LossScaling::default();
        for scaled in [false, true] {
            let of = |sgd: Sgd| if scaled { sgd.loss_scaling(scaling) } else { sgd };
            let model = || Param::new(Tensor::zeros(&device, [2])).unwrap();

            let (mut w, mut sgd) = (model(), of(Sgd::new(1.0).clip_norm(1.0)));
            let loss = gradient_of(&w, &[3.0, 4.0]);
            sgd.step(&mut w, &loss).unwrap();
            let close = |got: &[f32], want: &[f32]| got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-5);
            assert!(close(&w.get().to_vec().unwrap(), &[-0.6, -0.8]), "scaled {scaled} on {device}");
            assert!((sgd.gradient_norm().unwrap().item().unwrap() - 5.0).abs() < 1e-5);

            let (mut w, mut sgd) = (model(), of(Sgd::new(1.0).clip_value(2.0)));
            let loss = gradient_of(&w, &[-3.0, 1.0]);
            sgd.step(&mut w, &loss).unwrap();
            assert_eq!(w.get().to_vec::<f32>().unwrap(), [2.0, -1.0], "scaled {scaled} on {device}");

            let (mut w, mut sgd) = (model(), of(Sgd::new(1.0)));
            let part = gradient_of(&w, &[1.0, 2.0]);
            sgd.accumulate(&mut w, &part).unwrap();
            let given = Tensor::from_slice(&device, &[10f32, 20.0], 2).unwrap();
            sgd.step_with_gradients(&mut w, &[given]).unwrap();
            assert_eq!(w.get().to_vec::<f32>().unwrap(), [-11.0, -22.0], "scaled {scaled} on {device}");
        }
    }
}

/// A checkpoint holds the scale: a run that is resumed goes on to the bit, skipped steps before included.
#[test]
fn a_resumed_run_knows_its_scale() {
    for device in [Device::cpu(), under_test()] {
        let adam = || {
            let scaling = LossScaling { interval: 3, ..Default::default() };
            Adam::scheduled(InverseTime { initial: 0.1, decay: 0.01 }).loss_scaling(scaling)
        };
        let step = |model: &mut Param, adam: &mut Adam, i: u32| {
            let x = if i == 2 { f32::INFINITY } else { (i as f32).sin() };
            let loss = gradient_of(model, &[x, 1.0]);
            adam.step(model, &loss).unwrap();
        };
        let (mut model, mut whole) = (Param::new(Tensor::ones(&device, [2])).unwrap(), adam());
        (0..5).for_each(|i| step(&mut model, &mut whole, i));
        let (state, values) = (whole.state().unwrap(), model.get().to_vec::<f32>().unwrap());
        let mut other = Param::new(Tensor::from_slice(&device, &values, 2).unwrap()).unwrap();
        let mut resumed = adam();
        resumed.load_state(&mut other, &state).unwrap();
        (5..12).for_each(|i| step(&mut model, &mut whole, i));
        (5..12).for_each(|i| step(&mut other, &mut resumed, i));
        assert_eq!(model.get().to_vec::<f32>().unwrap(), other.get().to_vec::<f32>().unwrap(), "on {device}");
        assert_eq!(whole.state().unwrap().numbers, resumed.state().unwrap().numbers, "on {device}");
        let damaged = OptimizerState { numbers: vec![("loss_scale.scale".into(), 8.0)], ..state };
        assert!(resumed.load_state(&mut other, &damaged).unwrap_err().to_string().contains("loss scale"));
    }
}

/// Whether a step is skipped or not, it is one plan and one submission, nothing new is made, and nothing is read.
#[test]
fn skipping_needs_no_readback_and_no_new_plan() {
    let device = under_test();
    let mut model = network(&device);
    let mut adam = Adam::new(1e-3).loss_scaling(LossScaling { initial: 1024.0, interval: 3, ..Default::default() });
    let mut pass = Pass::train(0).mixed();
    let labels = tensor(&device, &Input::below([6], 5, 1));
    let good = tensor(&device, &Input::uniform([6, 1, 8, 8], -1.0, 1.0, 2));
    let bad = &good * 1e6;
    wgrad::eval(&[&good, &bad]).unwrap();
    let mut before = device.counters();
    for i in 0..8 {
        let x = if i % 3 == 1 { &bad } else { &good };
        let loss = model.forward(x, &mut pass).cross_entropy(&labels);
        adam.step(&mut model, &loss).unwrap();
        drop(loss);
        let now = device.counters();
        let made = now.since(&before);
        if i > 1 {
            let new = (made.plans, made.pipelines, made.bind_groups, made.buffers);
            assert_eq!((new, made.submissions, made.bytes_read), ((0, 0, 0, 0), 1, 0), "step {i}");
        }
        before = now;
    }
    assert_eq!(number(&adam.state().unwrap(), "loss_scale.skipped"), 3.0);
}

/// Layers that multiply give halves in a mixed pass; what adds up stays in single precision.
#[test]
fn a_mixed_pass_is_mixed_where_autocast_is() {
    let device = Device::cpu();
    let init = &mut Init::new(&device, 0);
    let pass = &mut Pass::eval().mixed();
    let x = tensor(&device, &Input::uniform([2, 4, 8], -1.0, 1.0, 1));
    let y = Linear::new(init, 8, 3).unwrap().forward(&x, pass);
    assert_eq!(y.dtype(), DType::F16);
    assert_eq!(LayerNorm::new(init, [3]).unwrap().forward(&y, pass).dtype(), DType::F32);
    assert_eq!(y.log_softmax(2).dtype(), DType::F32);
    assert_eq!((&y - &y.detach()).square().mean_all().dtype(), DType::F32);
    let attention = MultiheadAttention::new(init, 8, 2).unwrap();
    assert_eq!(attention.forward(&x, &x, &x, &Default::default(), pass).dtype(), DType::F16);
    assert_eq!(attention.forward(&x, &x, &x, &Default::default(), &mut Pass::eval()).dtype(), DType::F32);
    let halves = Param::new(Tensor::ones(&device, [2]).cast(DType::F16)).unwrap();
    let mut model = halves;
    let loss = model.get().sum_all();
    let refused = Sgd::new(0.1).step(&mut model, &loss).unwrap_err().to_string();
    assert!(refused.contains("f16") && refused.contains("mixed"), "{refused}");
}

/// A checked run looks at every step of mixed training, and finds nothing.
#[test]
fn checked_runs_know_halves() {
    for device in [under_test(), Device::cpu()] {
        device.set_check(wgrad::device::Check::Values);
        let mut adam = Adam::new(1e-3).loss_scaling(LossScaling { initial: 1024.0, ..Default::default() });
        losses(&device, &mut adam, &mut Pass::train(1).mixed(), 2);
        assert_eq!(adam.loss_scale().unwrap().item().unwrap(), 1024.0);
    }
}

/// A recurrent layer that reads a sequence of 7 steps, and scores its last state.
fn recurrent_losses(device: &Device, kind: &str, pass: &mut Pass, adam: &mut Adam) -> Vec<f32> {
    let init = &mut Init::new(device, 4);
    let form = RecurrentOptions { layers: 2, batch_first: true, ..Default::default() };
    let layer: Box<dyn Module> = match kind {
        "rnn" => Box::new(Rnn::new(init, 5, 8, &form).unwrap()),
        "gru" => Box::new(Gru::new(init, 5, 8, &form).unwrap()),
        _ => Box::new(Lstm::new(init, 5, 8, &RecurrentOptions { bidirectional: true, ..form }).unwrap()),
    };
    let width = if kind == "lstm" { 16 } else { 8 };
    let mut model = Scored { layer, out: Linear::new(init, width, 4).unwrap() };
    let x = tensor(device, &Input::uniform([6, 7, 5], -1.0, 1.0, 8));
    let labels = tensor(device, &Input::below([6], 4, 9));
    let step = |_| {
        let states = model.layer.forward(&x, pass);
        let half = if pass.mixed { DType::F16 } else { DType::F32 };
        assert_eq!(states.dtype(), half, "states of {kind}");
        let loss = model.out.forward(&states.narrow(1, 6, 1).squeeze(1), pass).cross_entropy(&labels);
        adam.step(&mut model, &loss).unwrap();
        loss.item().unwrap()
    };
    (0..30).map(step).collect()
}

struct Scored {
    layer: Box<dyn Module>,
    out: Linear,
}

wgrad::parameters!(Scored { layer, out });

/// As `torch.autocast` has it: the recurrent layers read and give halves, and training follows that in single
/// precision: the first loss by a thousandth, all of them by a twentieth.
#[test]
fn recurrent_layers_train_in_mixed_precision() {
    let packed = GpuOptions { native_half: false, ..adapter() };
    for device in [Device::cpu(), under_test(), Device::gpu(&packed).unwrap()] {
        for kind in ["rnn", "lstm", "gru"] {
            let single = recurrent_losses(&device, kind, &mut Pass::train(1), &mut Adam::new(2e-2));
            let scaling = LossScaling { initial: 1024.0, ..Default::default() };
            let mut adam = Adam::new(2e-2).loss_scaling(scaling);
            let mixed = recurrent_losses(&device, kind, &mut Pass::train(1).mixed(), &mut adam);
            assert!(single[29] < 0.5 * single[0], "{kind} learned nothing: {single:?}");
            assert_ne!(mixed[0], single[0], "{kind} on {device} is not mixed");
            assert!((mixed[0] - single[0]).abs() < 1e-3 * single[0], "{kind}: {} and {}", mixed[0], single[0]);
            for (step, (m, s)) in mixed.iter().zip(&single).enumerate() {
                assert!((m - s).abs() < 0.05 * s.max(0.2), "{kind}, step {step}: {m} mixed, {s} single on {device}");
            }
            assert_eq!(adam.loss_scale().unwrap().item().unwrap(), 1024.0, "no step overflowed on {device}");
        }
    }
}

/// Forward and backward pass of the small network for MNIST, as planned for real GPUs: what its kernels bind. With
/// 16-bit floats, rounding is done where products and pools store; what is left are the launches that round the
/// weights.
#[test]
fn halves_move_fewer_bytes() {
    let device = Device::cpu();
    let bytes = |pass: &mut Pass, adapter: &Adapter| -> (u64, usize, usize) {
        let model = cnn::by_name("cnn_cpcpff", &mut Init::new(&device, 0), [1, 28, 28], 10).unwrap();
        let x = Tensor::zeros(&device, [50, 1, 28, 28]).into_leaf(false).unwrap();
        let labels = Tensor::full(&device, [50], 1u32).into_leaf(false).unwrap();
        let loss = model.forward(&x, pass).cross_entropy(&labels);
        let params: Vec<&Tensor> = model.named_parameters().into_iter().map(|(_, p)| p.get()).collect();
        let weights = params.iter().filter(|p| p.rank() > 1).count();
        let mut results = wgrad::autodiff::grad(&loss, &params);
        results.push(loss);
        // Apart: which of them are merged depends on what stands around them.
        let caps = Caps { merge: 0, ..adapter.caps };
        let launches = wgrad::plan::launches(&results.iter().collect::<Vec<_>>(), caps);
        let bound = launches.iter().flat_map(|l| &l.bindings).map(|b| b.slot.bytes().1).sum();
        (bound, launches.len(), weights)
    };
    for adapter in &ADAPTERS[..3] {
        let (single, launches, weights) = bytes(&mut Pass::train(0), adapter);
        let (mixed, mixed_launches, _) = bytes(&mut Pass::train(0).mixed(), adapter);
        println!("{}: {single} bytes in {launches} launches, mixed {mixed} in {mixed_launches}", adapter.name);
        if adapter.caps.native_half {
            // The weights, and the picture.
            assert_eq!(mixed_launches, launches + weights + 1, "{}", adapter.name);
            assert!((mixed as f64) < 0.9 * single as f64, "{}: {mixed} bytes mixed, {single} single", adapter.name);
        }
    }
}
