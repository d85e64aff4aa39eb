//! The gradient of a bias, made by the launches of the weight's: the numbers are those of double precision and there is
//! no launch more than for the weight alone.

use wgrad::autodiff::grad;
use wgrad::device::GpuOptions;
use wgrad::nn::{Conv2d, Flatten, Init, Linear, Module, Parameters, Pass, Relu, Sequential};
use wgrad::ops::{Conv2dOptions, Padding, conv2d, matmul};
use wgrad::optim::{Optimizer, Sgd};
use wgrad::plan::profile::profile;
use wgrad::selftest::noise;
use wgrad::tensor::Input;
use wgrad::{Device, Tensor, eval, f16};

use crate::registry::{adapter, broadcasts, tensor};

/// The kernels of GPUs, small launches apart; the variant of this name wherever it can serve.
fn device(variant: Option<&'static str>) -> Device {
    Device::gpu(&GpuOptions { gpu_variants: true, variant, ..adapter() }).unwrap_or_else(|e| panic!("{e}"))
}

/// The names of variants whose tiles make sums.
fn tiled() -> impl Iterator<Item = &'static str> {
    let eights = broadcasts();
    matmul::variant_names()
        .chain(conv2d::variant_names())
        .filter(|name| ["tile", "implicit", "broadcast"].iter().any(|kind| name.starts_with(kind)))
        .filter(move |name| !name.contains("coop") && (!name.contains("broadcast") || eights))
}

fn input(device: &Device, shape: &[usize], seed: u64) -> Tensor {
    tensor(device, &Input::uniform(shape, -1.0, 1.0, seed))
}

/// Launches of an evaluation, and what it made.
fn evaluated(device: &Device, results: &[Tensor]) -> (u64, Vec<Vec<f64>>) {
    let before = device.counters();
    eval(&results.iter().collect::<Vec<_>>()).unwrap();
    let launches = device.counters().since(&before).dispatches;
    (launches, results.iter().map(|t| t.to_f64_vec().unwrap()).collect())
}

/// Holds the results of a program against double precision; `terms`: how long its sums are.
fn hold(device: &Device, case: &str, terms: usize, program: &dyn Fn(&Device) -> Vec<Tensor>) -> u64 {
    let (_, wanted) = evaluated(&Device::reference(), &program(&Device::reference()));
    let (launches, got) = evaluated(device, &program(device));
    for (k, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        // 8 u (|a| |b| + sqrt(k) |sum|), of numbers below 1: all of them at most `terms`.
        let most = wanted.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        let tolerance = 8.0 * (terms as f64 + (terms as f64).sqrt() * most) / (1u64 << 24) as f64;
        assert_eq!(got.len(), wanted.len());
        for (i, (g, w)) in got.iter().zip(wanted).enumerate() {
            assert!((g - w).abs() <= tolerance, "{case}, result {k}, element {i}: {g}, {w} in double precision");
        }
    }
    launches
}

/// `dz` and `x` of a fully connected layer of `m` outputs and `n` inputs over `k` rows: the gradients of its weight and
/// bias.
fn linear(device: &Device, [m, n, k]: [usize; 3]) -> Vec<Tensor> {
    let (dz, x) = (input(device, &[k, m], 1), input(device, &[k, n], 2));
    vec![dz.transpose(0, 1).matmul(&x), dz.sum(&[0])]
}

#[test]
fn every_tile_of_a_product_makes_the_sum_of_its_rows() {
    // Several tiles in both directions, none of the last ones full; vec4s and primes; slices of the reduction.
    let sizes = [[300, 140, 24], [131, 67, 37], [12, 8, 2052], [10, 70, 1201], [33, 50, 3], [64, 64, 64]];
    for name in tiled().filter(|name| !name.starts_with("implicit")) {
        let device = device(Some(name));
        for [m, n, k] in sizes {
            let case = format!("{name}, {m} x {n} x {k}");
            let alone = evaluated(&device, &linear(&device, [m, n, k])[..1]).0;
            let both = hold(&device, &case, k, &|d| linear(d, [m, n, k]));
            assert_eq!(both, alone, "{case}");
        }
        // Of an operand that runs on along the reduction.
        for [m, n, k] in [[36, 24, 52], [7, 66, 1003]] {
            let rows = |d: &Device| {
                let a = input(d, &[m, k], 1);
                vec![a.matmul(&input(d, &[k, n], 2)), a.sum(&[1])]
            };
            let case = format!("{name}, {m} x {n} x {k}, along the reduction");
            assert_eq!(hold(&device, &case, k, &rows), evaluated(&device, &rows(&device)[..1]).0, "{case}");
        }
    }
}

fn convolution(d: &Device, x: [usize; 4], weight: [usize; 4], options: &Conv2dOptions) -> Vec<Tensor> {
    let leaf = |t: Tensor| t.into_leaf(true).unwrap();
    let (w, b) = (leaf(input(d, &weight, 2)), leaf(input(d, &weight[..1], 3)));
    let y = input(d, &x, 1).conv2d(&w, Some(&b), options);
    let dz = input(d, y.shape(), 4);
    let mut grads = grad(&(&y * &dz).sum_all(), &[&w, &b]);
    grads.truncate(2);
    grads
}

#[test]
fn every_tile_of_a_convolution_makes_the_sum_of_its_channels() {
    let plain = Conv2dOptions::default();
    let same = Conv2dOptions { padding: Padding::Same, ..plain };
    let strided = Conv2dOptions { stride: [2, 3], dilation: [1, 2], padding: [1, 0].into(), ..plain };
    let cases = [
        ([3, 5, 9, 7], [37, 5, 3, 2], plain),
        ([6, 1, 28, 28], [8, 1, 5, 5], same), // slices, in whole vec4s
        ([2, 6, 9, 11], [20, 3, 3, 3], Conv2dOptions { groups: 2, ..strided }),
        ([5, 70, 4, 4], [130, 70, 1, 1], plain), // the images as they lie, where that is a product
        ([27, 3, 4, 4], [9, 3, 4, 4], plain),    // one window
        ([1, 4, 40, 40], [18, 2, 3, 3], Conv2dOptions { groups: 2, ..same }),
    ];
    for name in [None].into_iter().chain(tiled().filter(|name| name.starts_with("implicit")).map(Some)) {
        let device = device(name);
        for (x, weight, options) in cases {
            let case = format!("{name:?}, {x:?} * {weight:?}");
            let alone = evaluated(&device, &convolution(&device, x, weight, &options)[..1]).0;
            let terms = x[0] * x[2] * x[3];
            let both = hold(&device, &case, terms, &|d| convolution(d, x, weight, &options));
            assert_eq!(both, alone, "{case}");
        }
    }
}

#[test]
fn the_same_bits_every_time_and_for_one_tile_or_many() {
    let device = device(Some("tile32"));
    let bits = |n: usize| linear(&device, [70, n, 900])[1].to_vec::<f32>().unwrap();
    assert_eq!(bits(9), bits(9));
    // As many slices, and one more column of tiles: those of the first column alone make the sums.
    let both = |n: usize| {
        let made = linear(&device, [70, n, 100]);
        eval(&made.iter().collect::<Vec<_>>()).unwrap();
        made[1].to_vec::<f32>().unwrap()
    };
    assert_eq!(both(20), both(60));
}

#[test]
fn what_is_not_finite_shows_in_the_rows_where_it_is() {
    for name in ["tile32", "tile64_vec4"] {
        let device = device(Some(name));
        let [m, n, k] = [40, 36, 600];
        let mut values: Vec<f32> = noise(k * m, 1).into_iter().map(|x| x as f32).collect();
        (values[5 * m + 3], values[599 * m + 39], values[300 * m + 38]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        values[7 * m + 38] = f32::INFINITY;
        let dz = Tensor::from_slice(&device, &values, [k, m]).unwrap();
        let both = [dz.transpose(0, 1).matmul(&input(&device, &[k, n], 2)), dz.sum(&[0])];
        let (_, made) = evaluated(&device, &both);
        for (row, sum) in made[1].iter().enumerate() {
            match row {
                3 | 38 => assert!(sum.is_nan(), "row {row} on {name}: {sum}"),
                39 => assert_eq!(*sum, f64::INFINITY, "row {row} on {name}"),
                _ => assert!(sum.is_finite(), "row {row} on {name}: {sum}"),
            }
        }
    }
}

#[test]
fn halves_are_added_up_as_single_floats() {
    let device = device(None);
    let [m, n, k] = [68, 36, 3000];
    // Sums that are no halves.
    let values: Vec<f16> = (0..k * m).map(|i| f16::from_f32(if i / m % 2 == 0 { 1.0 } else { 1.0 / 1024.0 })).collect();
    let dz = Tensor::from_slice(&device, &values, [k, m]).unwrap();
    let x = input(&device, &[k, n], 2);
    let alone = evaluated(&device, &[dz.transpose(0, 1).matmul(&x)]).0;
    let (launches, made) = evaluated(&device, &[dz.transpose(0, 1).matmul(&x), dz.sum(&[0])]);
    let wanted = (k / 2) as f64 * (1.0 + 1.0 / 1024.0);
    assert!(made[1].iter().all(|sum| (sum - wanted).abs() < 1e-3), "{:?}, {wanted} wanted", made[1]);
    assert_eq!(launches, alone);
}

/// Sums over other axes, of another part of the operand, or of something else: each is a step of its own, and right.
#[test]
fn a_sum_of_something_else_is_not_taken_for_it() {
    let device = device(Some("tile32"));
    let program = |d: &Device| {
        let (dz, x) = (input(d, &[90, 40], 1), input(d, &[90, 40], 2));
        let square = input(d, &[90, 90], 3);
        vec![
            dz.transpose(0, 1).matmul(&x),
            dz.sum(&[1]),
            x.sum(&[0]),
            dz.narrow(0, 1, 89).sum(&[0]),
            square.matmul(&dz),
            square.sum(&[0]), // of its columns, where the product could make that of its rows
            dz.max(&[0]),
        ]
    };
    hold(&device, "other sums", 90, &program);
}

/// What reads a sum element by element, twice, or before the product is there.
#[test]
fn a_sum_may_be_read_in_any_way() {
    let device = device(None);
    for [m, n, k] in [[40, 24, 50], [40, 24, 2000]] {
        let program = |d: &Device| {
            let both = linear(d, [m, n, k]);
            let (weight, sum) = (&both[0], &both[1]);
            let half = sum * 0.5;
            vec![half.clone(), weight + &half.unsqueeze(1), sum.square().sum_all(), sum.clone()]
        };
        hold(&device, &format!("{m} x {n} x {k}"), k, &program);
        let reversed = |d: &Device| {
            let both = linear(d, [m, n, k]);
            vec![both[1].clone(), &both[0] * &both[1].unsqueeze(1)]
        };
        hold(&device, &format!("{m} x {n} x {k}, the sum first"), k, &reversed);
        // What would have run where the sum is stored is one launch of its own.
        let after = |d: &Device| {
            let both = linear(d, [m, n, k]);
            vec![both[0].clone(), (&(&both[1] * 0.5) + 1.0).tanh()]
        };
        let alone = evaluated(&device, &linear(&device, [m, n, k])[..1]).0;
        assert_eq!(hold(&device, &format!("{m} x {n} x {k}, and on"), k, &after), alone + 1);
    }
}

fn network(device: &Device) -> Sequential {
    let init = &mut Init::new(device, 5);
    Sequential::new()
        .then(Conv2d::new(init, 1, 12, [3, 3], Conv2dOptions::default()).unwrap())
        .then(Relu)
        .then(Flatten)
        .then(Linear::new(init, 12 * 8 * 8, 33).unwrap())
        .then(Relu)
        .then(Linear::new(init, 33, 10).unwrap())
}

/// Steps of training, the gradients packed in one buffer, in single precision and in mixed; every launch is checked.
#[test]
fn checked_steps_train_as_in_double_precision() {
    let losses = |device: &Device, mixed: bool| -> Vec<f32> {
        let (mut model, mut sgd) = (network(device), Sgd::new(0.1).momentum(0.5));
        let mut pass = if mixed { Pass::train(1).mixed() } else { Pass::train(1) };
        let x = input(device, &[20, 1, 10, 10], 1);
        let labels = tensor(device, &Input::below([20], 10, 2));
        let step = |_| {
            let loss = model.forward(&x, &mut pass).cross_entropy(&labels);
            sgd.step(&mut model, &loss).unwrap();
            loss.item().unwrap()
        };
        (0..6).map(step).collect()
    };
    let wanted = losses(&Device::reference(), false);
    assert!(wanted[5] < 0.9 * wanted[0], "nothing was learned: {wanted:?}");
    for (mixed, tolerance) in [(false, 1e-5), (true, 5e-3)] {
        let got = losses(&device(None).checked(), mixed);
        for (g, w) in got.iter().zip(&wanted) {
            assert!((g - w).abs() <= tolerance * w, "mixed {mixed}: {got:?}, {wanted:?} in double precision");
        }
    }
}

#[test]
fn a_profile_names_both_and_counts_what_is_read_once() {
    let device = device(Some("tile32"));
    let [m, n, k] = [40, 36, 50];
    let (_, profile) = profile(&device, || eval(&linear(&device, [m, n, k]).iter().collect::<Vec<_>>())).unwrap();
    let rows = profile.rows();
    let row = rows.iter().find(|r| r.name.contains("Matmul") && r.name.contains("Reduce")).expect("one row for both");
    assert_eq!(row.bytes, 4 * (k * m + k * n + m * n + m) as u64);
    let event = profile.events().iter().find(|e| e.name.contains("Matmul")).expect("it ran");
    assert_eq!(event.result, format!("f32 [{m}, {n}]"));
    assert!(network(&device).count_parameters() > 0);
}
