//! The planner: what it fuses, what it keeps, what it may overwrite, and that the second step makes nothing.

use wgrad::device::{Device, GpuOptions};
use wgrad::nn::{BatchNorm1d, Dropout, Init, Linear, Module, Parameters, Pass, Relu, Sequential};
use wgrad::optim::{Adam, Optimizer, Sgd};
use wgrad::{Error, Tensor, eval};

use crate::registry::{adapter, under_test};

fn ramp(device: &Device, n: usize) -> Tensor {
    let values: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_slice(device, &values, n).unwrap()
}

fn mlp(device: &Device) -> Sequential {
    let mut init = Init::new(device, 7);
    let net = Sequential::new().then(Linear::new(&mut init, 12, 20).unwrap());
    let net = net.then(BatchNorm1d::new(&mut init, 20).unwrap()).then(Relu).then(Dropout::new(0.25));
    net.then(Linear::new(&mut init, 20, 5).unwrap())
}

fn losses(device: &Device, optimizer: &mut dyn Optimizer, steps: usize) -> Vec<u32> {
    let mut model = mlp(device);
    let mut pass = Pass::train(3);
    let mut all = Vec::new();
    for step in 0..steps {
        let x = ramp(device, 8 * 12).reshape([8, 12]);
        let labels = Tensor::from_slice(device, &[0u32, 1, 2, 3, 4, 0, 1, step as u32 % 5], 8).unwrap();
        let loss = model.forward(&x, &mut pass).cross_entropy(&labels);
        optimizer.step(&mut model, &loss).unwrap();
        all.push(loss.item().unwrap().to_bits());
    }
    all
}

#[test]
fn after_the_first_step_a_training_loop_makes_nothing() {
    for device in [under_test(), Device::gpu(&GpuOptions { immediates: false, ..adapter() }).unwrap()] {
        let mut model = mlp(&device);
        let mut optimizer = Adam::new(1e-3);
        let mut pass = Pass::train(3);
        let mut before = device.counters();
        for step in 1..=6u32 {
            let x = ramp(&device, 8 * 12).reshape([8, 12]);
            let labels = Tensor::from_slice(&device, &[0u32, 1, 2, 3, 4, 0, 1, step % 5], 8).unwrap();
            let loss = model.forward(&x, &mut pass).cross_entropy(&labels);
            optimizer.step(&mut model, &loss).unwrap();
            let now = device.counters();
            let made = now.since(&before);
            if step > 1 {
                assert_eq!(
                    (made.plans, made.pipelines, made.bind_groups, made.buffers),
                    (0, 0, 0, 0),
                    "step {step} made new plans, pipelines, bind groups or buffers"
                );
                assert_eq!(made.submissions, 1, "step {step} is more than one submission");
                assert_eq!(now.live_bytes, before.live_bytes, "step {step} grew");
            }
            before = now;
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_on_every_run() {
    for device in [under_test(), Device::cpu()] {
        let run = || losses(&device, &mut Adam::new(1e-2), 5);
        assert_eq!(run(), run(), "on {device}");
    }
}

#[test]
fn the_gpu_trains_as_the_cpu_path_does() {
    let adam = || Box::new(Adam::new(1e-2)) as Box<dyn Optimizer>;
    let nesterov = || Box::new(Sgd::new(0.1).momentum(0.9).nesterov()) as Box<dyn Optimizer>;
    for make in [adam as fn() -> _, nesterov] {
        let gpu = losses(&under_test(), &mut *make(), 8);
        let cpu = losses(&Device::cpu(), &mut *make(), 8);
        for (step, (g, c)) in gpu.iter().zip(&cpu).enumerate() {
            let (g, c) = (f32::from_bits(*g), f32::from_bits(*c));
            assert!((g - c).abs() <= 1e-4 * c.abs(), "step {step}: {g} on the GPU, {c} on the CPU path");
        }
    }
}

#[test]
fn without_immediates_and_within_webgpu_limits_results_are_the_same() {
    let options = adapter();
    let plain = Device::gpu(&options).unwrap();
    let uniform = Device::gpu(&GpuOptions { immediates: false, ..options.clone() }).unwrap();
    let portable = Device::gpu(&GpuOptions { portable: true, ..options }).unwrap();
    let result = |device: &Device| {
        let x = ramp(device, 91).reshape([7, 13]);
        let y = (&x.matmul(&x.transpose(0, 1)) * 2.0).exp().sum(&[0]);
        (y.to_vec::<f32>().unwrap(), losses(device, &mut Sgd::new(0.1), 3))
    };
    let (want, got) = (result(&plain), result(&portable));
    assert_eq!(want, result(&uniform));
    for (w, g) in want.0.iter().zip(&got.0) {
        assert!((w - g).abs() <= 1e-4 * w.abs(), "{g} within portable limits, {w} without");
    }
    for (w, g) in want.1.iter().zip(&got.1).map(|(w, g)| (f32::from_bits(*w), f32::from_bits(*g))) {
        assert!((w - g).abs() <= 1e-4 * w.abs(), "a loss of {g} within portable limits, {w} without");
    }
}

#[test]
fn chains_with_broadcasts_and_views_are_one_kernel() {
    let device = under_test();
    let count = |make: &dyn Fn() -> Tensor| {
        let before = device.counters();
        make().to_vec::<f32>().unwrap();
        device.counters().since(&before).dispatches
    };
    let x = ramp(&device, 6 * 4).reshape([6, 4]);
    let bias = ramp(&device, 4);
    assert_eq!(count(&|| (&(&x * 2.0) + &bias).relu().exp()), 1, "bias and functions");
    assert_eq!(count(&|| &x.sigmoid() * &(1.0 - &x.sigmoid())), 1, "a diamond");
    let square = ramp(&device, 25).reshape([5, 5]);
    assert_eq!(count(&|| &square.transpose(0, 1) + &square.flip(0)), 1, "views of operands");
    assert_eq!(count(&|| &square.neg().transpose(0, 1) * 3.0), 1, "a view between two functions");
    assert_eq!(count(&|| x.broadcast_to([3, 6, 4]).permute(&[1, 0, 2]).reshape([18, 4])), 1, "a view that is kept");
}

#[test]
fn what_is_held_is_kept_and_not_computed_again() {
    let device = under_test();
    let x = ramp(&device, 100);
    let held = x.exp();
    let sum = (&held + 1.0).sum_all();
    sum.item().unwrap();
    let before = device.counters();
    let values = held.to_vec::<f32>().unwrap();
    assert_eq!(device.counters().since(&before).dispatches, 0, "the held value was computed again");
    assert!((values[3] - (3f32 * 0.37).sin().exp()).abs() < 1e-5);
}

#[test]
fn an_update_leaves_a_held_parameter_as_it_was() {
    for device in [under_test(), Device::cpu()] {
        let mut model = Linear::new(&mut Init::new(&device, 1), 3, 2).unwrap();
        let mut optimizer = Sgd::new(0.5);
        let mut step = |model: &mut Linear| {
            let x = ramp(&device, 6).reshape([2, 3]);
            let loss = model.forward(&x, &mut Pass::eval()).square().mean_all();
            optimizer.step(model, &loss).unwrap();
        };
        step(&mut model);
        let held = model.weight.get().clone();
        let old = model.weight.get().to_vec::<f32>().unwrap();
        step(&mut model);
        assert_eq!(held.to_vec::<f32>().unwrap(), old, "the held handle changed on {device}");
        assert_ne!(model.weight.get().to_vec::<f32>().unwrap(), old, "the update did nothing on {device}");
    }
}

#[test]
fn a_loss_may_be_read_before_the_step() {
    let device = under_test();
    let train = |early: bool| {
        let mut model = Linear::new(&mut Init::new(&device, 1), 3, 2).unwrap();
        let x = ramp(&device, 6).reshape([2, 3]);
        let loss = model.forward(&x, &mut Pass::eval()).square().mean_all();
        if early {
            loss.item().unwrap();
        }
        Adam::new(0.1).step(&mut model, &loss).unwrap();
        model.weight.get().to_vec::<f32>().unwrap()
    };
    assert_eq!(train(true), train(false));
}

#[test]
fn a_graph_of_thousands_of_nodes_needs_no_deep_stack() {
    let device = Device::cpu();
    let mut y = Tensor::from_slice(&device, &[1.0f32, 2.0], 2).unwrap();
    let x = y.clone();
    for _ in 0..20_000 {
        y = &y + 1.0;
    }
    let dx = wgrad::autodiff::grad(&y.sum_all(), &[&x]).swap_remove(0);
    assert_eq!(y.to_vec::<f32>().unwrap(), [20_001.0, 20_002.0]);
    assert_eq!(dx.to_vec::<f32>().unwrap(), [1.0, 1.0]);
}

#[test]
fn launches_beyond_65535_workgroups_are_folded() {
    let device = under_test();
    let n = 65_535 * 64 + 1_000;
    let y = (&Tensor::full(&device, n, 1.5f32) + 1.0).to_vec::<f32>().unwrap();
    assert!(y.iter().all(|&v| v == 2.5) && y.len() == n);
}

#[test]
fn a_device_and_a_readback_can_be_awaited() {
    let options = adapter();
    let device = pollster::block_on(Device::gpu_async(&options)).unwrap();
    let future = ramp(&device, 10).square().to_vec_async::<f32>().unwrap();
    let values = pollster::block_on(future).unwrap();
    assert!((values[1] - 0.37f32.sin().powi(2)).abs() < 1e-6);
}

#[test]
fn a_lost_device_is_an_error_and_no_panic() {
    let device = under_test();
    let y = ramp(&device, 10).exp();
    y.to_vec::<f32>().unwrap();
    device.as_gpu().unwrap().destroy();
    let after = Tensor::from_slice(&device, &[1.0f32], 1).and_then(|x| x.exp().to_vec::<f32>());
    assert!(matches!(after, Err(Error::DeviceLost(_))), "{after:?}");
    assert!(y.to_vec::<f32>().is_err());
}

#[test]
fn too_large_a_tensor_is_an_error_that_names_sizes() {
    let device = under_test();
    let huge = &Tensor::full(&device, [1 << 17, 1 << 14], 1f32) + 1.0;
    let fault = eval(&[&huge]).unwrap_err();
    assert!(matches!(fault, Error::OutOfMemory { bytes, .. } if bytes >= 1 << 30), "{fault}");
    assert!(fault.to_string().contains("smaller batch"), "{fault}");
    // The device goes on.
    assert_eq!(Tensor::from_slice(&device, &[2.0f32], 1).unwrap().square().to_vec::<f32>().unwrap(), [4.0]);
}

#[test]
fn mistakes_of_shape_panic_at_the_callers_line_with_both_shapes() {
    let device = Device::cpu();
    let x = ramp(&device, 6).reshape([2, 3]);
    let line = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let seen = std::sync::Arc::clone(&line);
    let old = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.location().is_some_and(|l| l.file().ends_with("plan.rs")) {
            *seen.lock().unwrap() = info.to_string();
        }
    }));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| &x + &ramp(&device, 4)));
    std::panic::set_hook(old);
    assert!(result.is_err());
    let text = line.lock().unwrap().clone();
    assert!(text.contains("[2, 3]") && text.contains("[4]"), "{text:?}");
    assert!(x.try_add(&ramp(&device, 4)).is_err());
}

#[test]
fn a_parameter_outside_the_loss_is_named() {
    let device = Device::cpu();
    let mut model = mlp(&device);
    let other = Linear::new(&mut Init::new(&device, 1), 3, 2).unwrap();
    let loss = other.forward(&ramp(&device, 6).reshape([2, 3]), &mut Pass::eval()).mean_all();
    let fault = Sgd::new(0.1).step(&mut model, &loss).unwrap_err();
    assert!(fault.to_string().contains("0.weight"), "{fault}");
    assert!(model.named_parameters()[0].1.get().to_vec::<f32>().is_ok(), "the model is as it was");
}
