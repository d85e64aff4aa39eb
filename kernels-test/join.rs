//! Elementwise work inside other kernels: how many launches are left, and that the numbers are those of double
//! precision.

use wgrad::device::GpuOptions;
use wgrad::nn::{BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Init, Linear, Module, Parameters, Pass, Relu, Sequential};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};
use wgrad::optim::{Adam, Optimizer};
use wgrad::tensor::Input;
use wgrad::{Device, Tensor, eval};

use crate::registry::{adapter, tensor, under_test};

/// llvmpipe with its own kernels, and with those of real GPUs.
fn devices() -> [Device; 2] {
    let options = GpuOptions { gpu_variants: true, ..adapter() };
    [under_test(), Device::gpu(&options).unwrap()]
}

fn input(device: &Device, shape: &[usize], seed: u64) -> Tensor {
    tensor(device, &Input::uniform(shape, -1.0, 1.0, seed))
}

/// The launches of a program on a device, whose results must be those of the double precision reference.
fn launches(device: &Device, program: &dyn Fn(&Device) -> Vec<Tensor>) -> u64 {
    let wanted = program(&Device::reference());
    eval(&wanted.iter().collect::<Vec<_>>()).unwrap();
    let got = program(device);
    let before = device.counters();
    eval(&got.iter().collect::<Vec<_>>()).unwrap();
    let launches = device.counters().since(&before).dispatches;
    for (k, (g, w)) in got.iter().zip(&wanted).enumerate() {
        let (g, w) = (g.to_f64_vec().unwrap(), w.to_f64_vec().unwrap());
        let largest = w.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
        for (i, (g, w)) in g.iter().zip(&w).enumerate() {
            assert!(
                (g - w).abs() <= 2e-5 * largest,
                "result {k}, element {i}: {g} on {device}, {w} in double precision"
            );
        }
    }
    launches
}

#[test]
fn bias_activation_and_residual_run_where_a_product_stores() {
    for device in devices() {
        // Tiny, skinny, wide, of few columns, and cut into slices along its reduction.
        for [m, k, n] in [[3, 4, 5], [2, 300, 70], [70, 33, 90], [70, 33, 9], [10, 5000, 9]] {
            let product = |d: &Device| input(d, &[m, k], 1).matmul(&input(d, &[k, n], 2));
            let alone = launches(&device, &|d| vec![product(d)]);
            let all = launches(&device, &|d| {
                let y = (&product(d) + &input(d, &[n], 3)).tanh();
                vec![&(&y * 1.5) + &input(d, &[n, m], 4).transpose(0, 1)]
            });
            assert_eq!(all, alone, "[{m}, {k}] x [{k}, {n}] on {device}");
        }
    }
}

#[test]
fn a_value_that_is_held_is_stored_besides() {
    for device in devices() {
        let product = |d: &Device| input(d, &[20, 30], 1).matmul(&input(d, &[30, 40], 2));
        let alone = launches(&device, &|d| vec![product(d)]);
        let held = |d: &Device| {
            let before = product(d);
            let after = (&before + &input(d, &[40], 3)).sigmoid();
            let last = &(&after * &before) - 1.0;
            vec![before, after, last]
        };
        // The product stores what is held besides the last of them.
        assert_eq!(launches(&device, &held), alone, "on {device}");
        // Both of two kernels of the planner's own are one.
        let chain = |d: &Device| {
            let x = input(d, &[50], 4).exp();
            vec![&x.sin() + &x, x]
        };
        assert_eq!(launches(&device, &chain), 1, "on {device}");
    }
}

#[test]
fn what_only_a_reduction_reads_runs_where_it_loads() {
    for device in devices() {
        let error = |d: &Device, axes: &[isize]| {
            let (a, b) = (input(d, &[37, 66], 1), input(d, &[66], 2));
            vec![(&a - &b).square().sum(axes)]
        };
        for axes in [&[1isize][..], &[0], &[]] {
            let alone = launches(&device, &|d| vec![input(d, &[37, 66], 1).sum(axes)]);
            assert_eq!(launches(&device, &|d| error(d, axes)), alone, "axes {axes:?} on {device}");
        }
        let turned =
            |d: &Device| vec![input(d, &[19, 70], 1).sin().transpose(0, 1).slice(&[3, 2], &[50, 9], &[1, 1]).sum(&[0])];
        let mean = |d: &Device| {
            vec![(&input(d, &[40, 90], 1) * &input(d, &[40, 1], 2)).max(&[1]), input(d, &[9], 5).mean_all()]
        };
        launches(&device, &turned);
        // The largest, and the sum with its division.
        assert_eq!(launches(&device, &mean), 2, "on {device}");
    }
}

#[test]
fn convolution_pooling_and_norms_take_in_what_follows() {
    for device in devices() {
        let same = Conv2dOptions { padding: Padding::Same, ..Default::default() };
        let conv = |d: &Device| input(d, &[3, 2, 7, 6], 1).conv2d(&input(d, &[4, 2, 3, 3], 2), None, &same);
        let alone = launches(&device, &|d| vec![conv(d)]);
        let rest = launches(&device, &|d| vec![(&conv(d) + &input(d, &[4, 1, 1], 3)).relu()]);
        assert_eq!(rest, alone, "a convolution on {device}");
        let pool = Pool2dOptions::new([2, 2]);
        let pooled = launches(&device, &|d| vec![(&input(d, &[2, 3, 6, 6], 1).max_pool2d(&pool) * 2.0).exp()]);
        assert_eq!(pooled, 1, "a pool on {device}");
        let row = launches(&device, &|d| vec![&input(d, &[5, 33], 1).softmax(1) * &input(d, &[5, 33], 2)]);
        assert_eq!(row, 1, "softmax on {device}");
        let norm = launches(&device, &|d| vec![input(d, &[5, 33], 1).layer_norm(1, None, None, 1e-3).relu()]);
        assert_eq!(norm, 1, "a norm on {device}");
    }
}

/// In training it overwrites its running statistics, whose old values may still be asked for: an optimizer's step lets
/// it.
#[test]
fn a_norm_that_overwrites_its_statistics_takes_in_what_follows() {
    for device in devices() {
        let step = |device: &Device, after: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            let init = &mut Init::new(device, 3);
            let mut model =
                Sequential::new().then(Linear::new(init, 5, 8).unwrap()).then(BatchNorm1d::new(init, 8).unwrap());
            let mut sgd = wgrad::optim::Sgd::new(0.1);
            let (x, skip) = (input(device, &[6, 5], 1), input(device, &[6, 8], 2));
            let mut all = Vec::new();
            let mut launches = 0;
            for _ in 0..3 {
                let mean = model.named_buffers()[0].1.get();
                let y = after(&model.forward(&x, &mut Pass::train(0)), &mean);
                drop(mean);
                let loss = (&y - &skip).square().mean_all();
                drop(y);
                let before = device.counters();
                sgd.step(&mut model, &loss).unwrap();
                launches = device.counters().since(&before).dispatches;
                all.push(loss.item().unwrap());
            }
            all.extend(model.named_buffers()[..2].iter().flat_map(|(_, b)| b.get().to_vec::<f32>().unwrap()));
            all.extend(model.named_parameters().iter().flat_map(|(_, p)| p.get().to_vec::<f32>().unwrap()));
            (all, launches)
        };
        let behind = |after: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            let ((got, launches), (want, _)) = (step(&device, after), step(&Device::cpu(), after));
            assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?} on {device}, {want:?}");
            launches
        };
        let alone = behind(&|y, _| y.clone());
        let (relu, old) = (behind(&|y, _| y.relu()), behind(&|y, mean| (y + mean).relu()));
        assert_eq!((relu, old), (alone, alone + 1), "on {device}: the old mean is copied before, and nothing else is");
    }
}

/// A network in which most of what may join does: the gradients of all its parameters, checked step by step.
#[test]
fn a_checked_run_sees_steps_that_share_a_launch() {
    for device in devices() {
        let device = device.checked();
        let init = &mut Init::new(&device, 0);
        let same = Conv2dOptions { padding: Padding::Same, ..Default::default() };
        let mut model = Sequential::new()
            .then(Conv2d::new(init, 1, 4, [3, 3], same).unwrap())
            .then(Relu)
            .then(BatchNorm2d::new(init, 4).unwrap())
            .then(Relu)
            .then(wgrad::nn::Flatten)
            .then(Linear::new(init, 4 * 6 * 6, 20).unwrap())
            .then(wgrad::nn::Tanh)
            .then(Dropout::new(0.25))
            .then(Linear::new(init, 20, 5).unwrap());
        let mut adam = Adam::new(1e-3);
        let mut pass = Pass::train(1);
        let x = input(&device, &[4, 1, 6, 6], 1);
        let labels = tensor(&device, &Input::below([4], 5, 2));
        for _ in 0..2 {
            let loss = model.forward(&x, &mut pass).cross_entropy(&labels);
            adam.step(&mut model, &loss).unwrap();
            assert!(loss.item().unwrap().is_finite());
        }
        assert!(model.count_parameters() > 0);
    }
}

#[test]
fn an_optimizers_update_waits_for_what_reads_the_old_value() {
    // The gradient of the decay reads the weight, behind a product whose result nobody else wants.
    for device in devices() {
        let run = |device: &Device| {
            let mut model = Linear::new(&mut Init::new(device, 1), 6, 3).unwrap();
            let mut sgd = wgrad::optim::Sgd::new(0.5);
            let x = input(device, &[5, 6], 1);
            for _ in 0..3 {
                let y = model.forward(&x, &mut Pass::eval());
                let loss = &y.square().sum_all() + &(&model.weight.get().square().sum_all() * 0.1);
                sgd.step(&mut model, &(&loss * 0.01)).unwrap();
            }
            model.weight.get().to_vec::<f32>().unwrap()
        };
        let (got, want) = (run(&device), run(&Device::cpu()));
        assert!(got.iter().zip(&want).all(|(g, w)| (g - w).abs() < 1e-5), "{got:?} on {device}, {want:?} on the CPU");
    }
}
