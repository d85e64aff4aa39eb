//! Small launches merged into one: the numbers are those of double precision and of the launches apart, on the widest
//! and on the narrowest adapter, and whole steps of small networks take one or few launches.

use wgrad::autodiff::grad;
use wgrad::device::GpuOptions;
use wgrad::nn::{Init, Linear, Lstm, Module, Parameters, Pass, RecurrentOptions, Relu, Sequential, Tanh};
use wgrad::tensor::Input;
use wgrad::{DType, Device, Tensor, eval};

use crate::counters::workloads::make;
use crate::registry::{adapter, tensor, under_test};

/// The kernels of real GPUs, with small launches merged or apart.
pub fn device(merge: bool, portable: bool) -> Device {
    let options = GpuOptions { gpu_variants: true, merge: Some(merge), portable, ..adapter() };
    Device::gpu(&options).unwrap_or_else(|e| panic!("{e}"))
}

/// The adapter under test, its small launches merged.
pub fn merging() -> Device {
    Device::gpu(&GpuOptions { merge: Some(true), ..adapter() }).unwrap_or_else(|e| panic!("{e}"))
}

fn input(device: &Device, shape: &[usize], seed: u64) -> Tensor {
    tensor(device, &Input::uniform(shape, -1.0, 1.0, seed))
}

fn evaluated(device: &Device, program: &dyn Fn(&Device) -> Vec<Tensor>) -> (Vec<Vec<f64>>, u64) {
    let results = program(device);
    let before = device.counters();
    eval(&results.iter().collect::<Vec<_>>()).unwrap();
    let launches = device.counters().since(&before).dispatches;
    let values = |t: &Tensor| match t.dtype() {
        DType::F32 => t.to_f64_vec().unwrap(),
        _ => t.cast(DType::F32).to_f64_vec().unwrap(),
    };
    (results.iter().map(values).collect(), launches)
}

/// Holds a program against the oracle with its launches merged, within WebGPU's limits and without, and on the adapter
/// under test; the launches merged, and apart.
fn launches(program: &dyn Fn(&Device) -> Vec<Tensor>) -> (u64, u64) {
    let (wanted, _) = evaluated(&Device::reference(), program);
    let run = |device: &Device| {
        let (got, launches) = evaluated(device, program);
        for (k, (g, w)) in got.iter().zip(&wanted).enumerate() {
            let largest = w.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
            let worst = g.iter().zip(w).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
            assert!(worst <= 2e-5 * largest, "result {k} on {device}: off by {worst}, {g:?} instead of {w:?}");
        }
        launches
    };
    let (merged, within, apart) = (run(&device(true, false)), run(&device(true, true)), run(&device(false, false)));
    assert!(run(&merging()) < run(&under_test()));
    assert!(merged <= within && within <= apart, "{merged} launches, {within} within WebGPU's limits, {apart} apart");
    (merged, apart)
}

fn gradients(model: &Sequential, loss: Tensor) -> Vec<Tensor> {
    let params: Vec<&Tensor> = model.named_parameters().into_iter().map(|(_, param)| param.get()).collect();
    let mut all = grad(&loss, &params);
    all.push(loss);
    all
}

#[test]
fn a_small_network_forward_and_backward_is_one_launch() {
    let (merged, apart) = launches(&|d| {
        let init = &mut Init::new(d, 4);
        let model = Sequential::new().then(Linear::new(init, 5, 11).unwrap()).then(Tanh);
        let model = model.then(Linear::new(init, 11, 23).unwrap()).then(Relu).then(Linear::new(init, 23, 3).unwrap());
        let x = &input(d, &[37, 5], 1) * 1.5;
        gradients(&model, model.forward(&x, &mut Pass::train(0)).cross_entropy(&tensor(d, &Input::below([37], 3, 2))))
    });
    assert_eq!(merged, 1, "{apart} apart");
    assert!(apart > 8, "{apart}");
}

/// Each launch reads what the one before wrote: elements of other invocations, whole numbers and floats, strided and
/// broadcast, more invocations than a workgroup has.
#[test]
fn sections_see_what_was_written_before_them() {
    let (merged, apart) = launches(&|d| {
        let mut y = input(d, &[13, 13], 1);
        let w = input(d, &[13, 13], 2);
        for k in 0..5isize {
            y = (&y.matmul(&w.transpose(0, 1)) * (0.5 + k as f32)).softmax(k % 2);
        }
        let wide = y.reshape([169, 1]).matmul(&y.reshape([1, 169])).sum(&[0]);
        let best = y.argmax(&[1]);
        let picked = y.gather(1, &best.unsqueeze(1)).squeeze(1);
        let joined = Tensor::concat(&[&picked, &wide.narrow(0, 3, 20), &picked.exp()], 0);
        vec![&joined * &joined.max(&[0]), y.transpose(0, 1).sum(&[1]), best]
    });
    assert!(merged * 2 <= apart, "{merged} launches, {apart} apart");
}

/// The steps of a short sequence are turns of a loop, in both directions: parameters and places that grow from turn to
/// turn. A launch has room for 32 others at most without one, and there are 60 here.
#[test]
fn a_sequence_is_a_loop_in_few_launches() {
    let (merged, _) = launches(&|d| {
        let init = &mut Init::new(d, 4);
        let options = RecurrentOptions { bidirectional: true, ..Default::default() };
        let model = Sequential::new().then(Lstm::new(init, 3, 6, &options).unwrap());
        let y = model.forward(&input(d, &[8, 2, 3], 1), &mut Pass::train(0));
        let weights = input(d, y.shape(), 2);
        gradients(&model, (&y * &weights).sum_all())
    });
    assert!(merged <= 3, "{merged} launches");
}

/// Whole steps of training, updates in place included: the losses are those in double precision. The numbers of
/// launches are what a change may lower.
#[test]
fn steps_of_small_networks_are_few_launches() {
    for (name, most) in [("dqn_step", 1), ("lr_step", 4), ("rnn_step_b1", 15)] {
        let losses = |device: &Device| -> (Vec<f64>, u64) {
            let mut work = make(name, device, false).unwrap();
            let mut before = device.counters();
            let losses = (0..4).map(|_| {
                before = device.counters();
                work.step().unwrap();
                work.check().unwrap()[0]
            });
            (losses.collect(), device.counters().since(&before).dispatches)
        };
        let (wanted, _) = losses(&Device::reference());
        for (device, most) in [(device(true, false), most), (device(true, true), u64::MAX), (merging(), most)] {
            let (got, launches) = losses(&device);
            for (step, (g, w)) in got.iter().zip(&wanted).enumerate() {
                assert!((g - w).abs() <= 1e-5 * w.abs(), "{name}, step {step}: {g}, {w} in double precision");
            }
            assert!(launches <= most, "{name} on {device}: {launches} launches, {most} before");
        }
    }
}

/// A kernel of its own is worth its compilation where it comes again.
#[test]
fn a_software_rasteriser_merges_steps_of_training_alone() {
    let by_default = || Device::gpu(&GpuOptions { merge: None, ..adapter() }).unwrap_or_else(|e| panic!("{e}"));
    if !by_default().as_gpu().unwrap().wants_software_variants() {
        return;
    }
    let launches = |device: &Device| {
        let once = evaluated(device, &|d| {
            let x = input(d, &[4, 9], 1);
            vec![(&x.softmax(1) * 2.0).exp().sum(&[0])]
        });
        let mut work = make("dqn_step", device, false).unwrap();
        (0..2).for_each(|_| work.step().unwrap());
        let before = device.counters();
        work.step().unwrap();
        [once.1, device.counters().since(&before).dispatches]
    };
    let [[once, step], apart, merged] = [by_default(), under_test(), merging()].map(|d| launches(&d));
    assert!(merged[0] < apart[0] && merged[1] < apart[1], "{merged:?} merged, {apart:?} apart");
    assert_eq!([once, step], [apart[0], merged[1]]);
}

#[test]
fn a_launch_that_is_large_stays_apart() {
    let count = |n: usize| {
        let d = device(true, false);
        let x = input(&d, &[n], 1);
        evaluated(&d, &|_| vec![x.exp().sum_all(), x.softmax(0)]).1
    };
    assert_eq!(count(40), 1);
    assert!(count(400_000) > 2);
}
