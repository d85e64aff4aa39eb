//! Layers against hand-computed values, and against what PyTorch says of the same layers: names, counts, first values.

use wgrad::nn::{
    AvgPool2d, Conv2d, Dropout, Flatten, Init, Linear, MaxPool2d, Module, Param, Parameters, Pass, RandomCrop,
    RandomHorizontalFlip, Relu, Sequential, Sigmoid, Tanh,
};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};
use wgrad::{Device, Tensor};

fn init(seed: u64) -> Init {
    Init::new(&Device::cpu(), seed)
}

fn tensor(init: &Init, values: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(init.device(), values, shape).unwrap()
}

fn values(param: &Param) -> Vec<f32> {
    param.get().to_vec().unwrap()
}

fn same() -> Conv2dOptions {
    Conv2dOptions { padding: Padding::Same, ..Default::default() }
}

/// The message of a panic, for the tests of mistakes.
fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(f())));
    let payload = caught.expect_err("this should have panicked");
    payload.downcast_ref::<String>().cloned().or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string())).unwrap()
}

// Parameters

/// The `cnn_cpcpff` of the MNIST example, as a user writes it.
struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    head: Sequential,
}
wgrad::parameters!(Cnn { conv1, conv2, head });

impl Cnn {
    fn new(init: &mut Init) -> Cnn {
        Cnn {
            conv1: Conv2d::new(init, 1, 32, [5, 5], same()).unwrap(),
            conv2: Conv2d::new(init, 32, 64, [5, 5], same()).unwrap(),
            head: Sequential::new()
                .then(Linear::new(init, 7 * 7 * 64, 1024).unwrap())
                .then(Relu)
                .then(Linear::new(init, 1024, 10).unwrap()),
        }
    }
}

#[test]
fn a_model_knows_its_parameters_by_pytorch_names() {
    let mut model = Cnn::new(&mut init(0));
    let expected = [
        ("conv1.weight", vec![32, 1, 5, 5]),
        ("conv1.bias", vec![32]),
        ("conv2.weight", vec![64, 32, 5, 5]),
        ("conv2.bias", vec![64]),
        ("head.0.weight", vec![1024, 3136]),
        ("head.0.bias", vec![1024]),
        ("head.2.weight", vec![10, 1024]),
        ("head.2.bias", vec![10]),
    ];
    let state: Vec<(String, Vec<usize>)> = model.state().into_iter().map(|(n, s)| (n, s.to_vec())).collect();
    let names: Vec<String> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
    let mut mutable = Vec::new();
    model.params_mut(&mut |name, _| mutable.push(name.to_string()));
    assert_eq!(names, mutable);
    assert_eq!(names, expected.each_ref().map(|(n, _)| n.to_string()));
    assert_eq!(state, expected.map(|(n, s)| (n.to_string(), s)));
}

/// From the course: conv5x5-32 on one channel, conv5x5-64, 7x7x64 to 1024, 1024 to 10.
#[test]
fn parameter_counts_are_those_of_the_textbook() {
    let init = &mut init(0);
    let model = Cnn::new(init);
    let counts: Vec<usize> = [&model.conv1, &model.conv2].map(|c| c.count_parameters()).to_vec();
    assert_eq!(counts, [832, 51_264]);
    assert_eq!(Linear::new(init, 3136, 1024).unwrap().count_parameters(), 3_212_288);
    assert_eq!(Linear::new(init, 1024, 10).unwrap().count_parameters(), 10_250);
    assert_eq!(model.count_parameters(), 3_274_634);
    assert_eq!(Relu.count_parameters() + Dropout::new(0.5).count_parameters() + Flatten.count_parameters(), 0);
}

/// LeNet's C5 sees all of the 16 planes of 5x5 of S4: 16 x 5 x 5 x 120 = 48,000 weights, and 120 biases.
#[test]
fn lenet_c5_has_48_000_weights() {
    let c5 = Conv2d::new(&mut init(0), 16, 120, [5, 5], Conv2dOptions::default()).unwrap();
    assert_eq!(c5.weight.get().elements(), 48_000);
    assert_eq!(c5.count_parameters(), 48_120);
    assert_eq!(c5.without_bias().count_parameters(), 48_000);
}

#[test]
fn groups_divide_the_weights() {
    let options = Conv2dOptions { groups: 4, ..Default::default() };
    let conv = Conv2d::new(&mut init(0), 8, 12, [3, 2], options).unwrap();
    assert_eq!(conv.weight.get().shape()[..], [12, 2, 3, 2]);
    let options = Conv2dOptions { groups: 3, ..Default::default() };
    let message = panic_of(|| Conv2d::new(&mut init(0), 8, 12, [3, 2], options));
    assert!(message.contains("3 groups") && message.contains("8 input"), "{message}");
}

#[test]
fn a_parameter_takes_values_of_its_own_shape_only() {
    let init = &mut init(0);
    let mut layer = Linear::new(init, 3, 2).unwrap();
    layer.weight.set(tensor(init, &[1., 2., 3., 4., 5., 6.], &[2, 3])).unwrap();
    assert_eq!(values(&layer.weight), [1., 2., 3., 4., 5., 6.]);
    assert!(layer.weight.get().is_tracked());
    let message = panic_of(|| layer.weight.set(tensor(init, &[0.0; 6], &[3, 2])));
    assert!(message.contains("[2, 3]") && message.contains("[3, 2]"), "{message}");
    let whole = Tensor::from_slice(init.device(), &[0u32; 6], [2, 3]).unwrap();
    let message = panic_of(|| layer.weight.set(whole));
    assert!(message.contains("f32") && message.contains("u32"), "{message}");
    assert_eq!(values(&layer.weight), [1., 2., 3., 4., 5., 6.]);
}

#[test]
fn a_frozen_parameter_stays_frozen_when_it_is_set() {
    let init = &mut init(0);
    let mut weight = init.uniform([2, 3], 1.0).unwrap();
    let before = values(&weight);
    assert!(!weight.is_frozen());
    weight.freeze(true).unwrap();
    assert!(weight.is_frozen() && !weight.get().is_tracked());
    assert_eq!(values(&weight), before);
    weight.set(tensor(init, &[1.0; 6], &[2, 3])).unwrap();
    assert!(weight.is_frozen());
    weight.freeze(false).unwrap();
    assert!(!weight.is_frozen() && weight.get().is_tracked());
    assert_eq!(values(&weight), [1.0; 6]);
}

// First values

/// `torch.nn.Linear` and `torch.nn.Conv2d` draw weight and bias from U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
#[test]
fn layers_start_as_in_pytorch() {
    let init = &mut init(7);
    let linear = Linear::new(init, 400, 250).unwrap();
    let conv = Conv2d::new(init, 32, 64, [5, 5], same()).unwrap();
    let options = Conv2dOptions { groups: 4, ..Default::default() };
    let grouped = Conv2d::new(init, 32, 64, [3, 3], options).unwrap();
    let cases = [
        (values(&linear.weight), 400),
        (values(linear.bias.as_ref().unwrap()), 400),
        (values(&conv.weight), 32 * 25),
        (values(conv.bias.as_ref().unwrap()), 32 * 25),
        (values(&grouped.weight), 8 * 9),
    ];
    for (drawn, fan_in) in cases {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let n = drawn.len() as f64;
        let mean = drawn.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = drawn.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        let largest = drawn.iter().fold(0.0, |m: f64, &v| m.max(f64::from(v).abs()));
        assert!(largest <= bound * (1.0 + 1e-7), "fan_in {fan_in}: {largest} beyond {bound}");
        // The largest of n lies within a few n-ths of the bound. Variance of a uniform: bound^2 / 3. Five sigma each.
        assert!(largest > bound * (1.0 - 20.0 / n), "fan_in {fan_in}: {largest}, far from {bound}");
        assert!(mean.abs() < 5.0 * bound / (3.0 * n).sqrt(), "fan_in {fan_in}: mean {mean}");
        assert!((square * 3.0 / (bound * bound) - 1.0).abs() < 5.0 * (0.8 / n).sqrt(), "fan_in {fan_in}: {square}");
    }
}

/// The bits are pinned: a new version of the generator must not change every published result in silence.
#[test]
fn one_seed_gives_one_model_everywhere() {
    let draw = |seed| values(&init(seed).uniform([4], 1.0).unwrap());
    assert_eq!(draw(42), draw(42));
    assert_ne!(draw(42), draw(43));
    assert_eq!(draw(42), [-0.5518385, 0.3637923, -0.7072276, 0.9005507]);
    let on = |device: Device| {
        let layer = Linear::new(&mut Init::new(&device, 1), 5, 4).unwrap();
        layer.weight.get().to_vec::<f32>().unwrap()
    };
    assert_eq!(on(Device::cpu()), on(Device::reference()));
}

// Forward

#[test]
fn linear_is_x_times_w_transposed_plus_b() {
    let init = &mut init(0);
    let mut layer = Linear::new(init, 3, 2).unwrap();
    layer.weight.set(tensor(init, &[1., 2., 3., 4., 5., 6.], &[2, 3])).unwrap();
    layer.bias.as_mut().unwrap().set(tensor(init, &[0.5, -0.5], &[2])).unwrap();
    let pass = &mut Pass::eval();
    // (1, 0, -1): 1 - 3 + 0.5, 4 - 6 - 0.5
    let y = layer.forward(&tensor(init, &[1., 0., -1., 2., 2., 2.], &[2, 3]), pass);
    assert_eq!((y.shape().to_vec(), y.to_vec::<f32>().unwrap()), (vec![2, 2], vec![-1.5, -2.5, 12.5, 29.5]));
    let y = layer.forward(&tensor(init, &[1., 0., -1.], &[3]), pass);
    assert_eq!((y.shape().to_vec(), y.to_vec::<f32>().unwrap()), (vec![2], vec![-1.5, -2.5]));
    let y = layer.forward(&tensor(init, &[1., 0., -1., 2., 2., 2.], &[2, 1, 1, 3]), pass);
    assert_eq!((y.shape().to_vec(), y.to_vec::<f32>().unwrap()), (vec![2, 1, 1, 2], vec![-1.5, -2.5, 12.5, 29.5]));
    let y = layer.without_bias().forward(&tensor(init, &[1., 0., -1.], &[1, 3]), pass);
    assert_eq!(y.to_vec::<f32>().unwrap(), [-2., -2.]);
}

#[test]
fn linear_says_what_would_fit() {
    let init = &mut init(0);
    let layer = Linear::new(init, 784, 10).unwrap();
    for shape in [vec![2, 1, 28, 28], vec![]] {
        let x = tensor(init, &vec![0.0; shape.iter().product()], &shape);
        let message = panic_of(|| layer.forward(&x, &mut Pass::eval()));
        assert!(message.contains(&format!("{shape:?}")) && message.contains("[10, 784]"), "{message}");
    }
}

/// A cross-correlation (not flipped) of 1..9 with (1 0; 0 -1) is 1 - 5 = ... = -4 everywhere, plus the bias.
#[test]
fn conv2d_slides_and_adds_its_bias() {
    let init = &mut init(0);
    let mut layer = Conv2d::new(init, 1, 2, [2, 2], Conv2dOptions::default()).unwrap();
    layer.weight.set(tensor(init, &[1., 0., 0., -1., 1., 1., 1., 1.], &[2, 1, 2, 2])).unwrap();
    layer.bias.as_mut().unwrap().set(tensor(init, &[10., -1.], &[2])).unwrap();
    let x = tensor(init, &[1., 2., 3., 4., 5., 6., 7., 8., 9.], &[1, 1, 3, 3]);
    let y = layer.forward(&x, &mut Pass::eval());
    assert_eq!(y.shape().to_vec(), [1, 2, 2, 2]);
    assert_eq!(y.to_vec::<f32>().unwrap(), [6., 6., 6., 6., 11., 15., 23., 27.]);
    let y = layer.without_bias().forward(&x, &mut Pass::eval());
    assert_eq!(y.to_vec::<f32>().unwrap(), [-4., -4., -4., -4., 12., 16., 24., 28.]);
}

#[test]
fn conv2d_says_what_would_fit() {
    let init = &mut init(0);
    let layer = Conv2d::new(init, 3, 8, [5, 5], same()).unwrap();
    let x = tensor(init, &[0.0; 784], &[1, 1, 28, 28]);
    let message = panic_of(|| layer.forward(&x, &mut Pass::eval()));
    assert!(message.contains("[1, 1, 28, 28]") && message.contains("[8, 3, 5, 5]"), "{message}");
}

#[test]
fn pooling_takes_the_largest_and_the_mean() {
    let init = &mut init(0);
    let x = tensor(init, &[1., 2., 5., 3., 4., 0., 1., -1., -2., -8., 0., 0., -4., -6., 4., 4.], &[1, 1, 4, 4]);
    let pass = &mut Pass::eval();
    let options = Pool2dOptions::new([2, 2]);
    let y = MaxPool2d(options).forward(&x, pass);
    assert_eq!((y.shape().to_vec(), y.to_vec::<f32>().unwrap()), (vec![1, 1, 2, 2], vec![4., 5., -2., 4.]));
    let y = AvgPool2d(options).forward(&x, pass);
    assert_eq!((y.shape().to_vec(), y.to_vec::<f32>().unwrap()), (vec![1, 1, 2, 2], vec![1.75, 2., -5., 2.]));
}

#[test]
fn activations_and_flatten_in_a_row() {
    let init = &mut init(0);
    let x = tensor(init, &[-1., 0., 0.5, 2.], &[2, 1, 2]);
    let of = |layers: Sequential| {
        let y = layers.forward(&x, &mut Pass::eval());
        (y.shape().to_vec(), y.to_vec::<f32>().unwrap())
    };
    assert_eq!(of(Sequential::new()), (vec![2, 1, 2], vec![-1., 0., 0.5, 2.]));
    assert_eq!(of(Sequential::new().then(Relu).then(Flatten)), (vec![2, 2], vec![0., 0., 0.5, 2.]));
    let close = |got: Vec<f32>, want: [f64; 4]| {
        assert!(got.iter().zip(want).all(|(&g, w)| (f64::from(g) - w).abs() < 1e-6), "{got:?} for {want:?}");
    };
    close(of(Sequential::new().then(Tanh)).1, [-0.761_594_156, 0., 0.462_117_157, 0.964_027_580]);
    close(of(Sequential::new().then(Sigmoid)).1, [0.268_941_421, 0.5, 0.622_459_331, 0.880_797_078]);
}

#[test]
fn dropout_drops_in_training_only_and_keeps_the_mean() {
    let init = &mut init(0);
    let n = 20_000;
    let x = tensor(init, &vec![1.0; n], &[n]);
    let layer = Dropout::new(0.25);
    let run = |pass: &mut Pass| layer.forward(&x, pass).to_vec::<f32>().unwrap();
    assert_eq!(run(&mut Pass::eval()), vec![1.0; n]);
    let pass = &mut Pass::train(3);
    let first = run(pass);
    let kept = first.iter().filter(|&&v| v != 0.0).count();
    assert!(first.iter().all(|&v| v == 0.0 || (v - 1.0 / 0.75).abs() < 1e-6));
    // Binomial: sigma = sqrt(n p (1 - p)) = 61.
    assert!((kept as f64 - 0.75 * n as f64).abs() < 5.0 * 61.3, "{kept} of {n} kept");
    assert_ne!(first, run(pass), "the second step drops the same units");
    assert_eq!(first, run(&mut Pass::train(3)));
    let untouched = Dropout::new(0.0).forward(&x, &mut Pass::train(3)).to_vec::<f32>().unwrap();
    assert_eq!(untouched, vec![1.0; n]);
    for p in [-0.1, 1.0, f32::NAN] {
        assert!(panic_of(|| Dropout::new(p)).contains("probability"));
    }
}

/// Pictures of 2x3x4 whose pixels all differ, and none is 0.
fn numbered(device: &Device, count: usize) -> (Tensor, Vec<f32>) {
    let values: Vec<f32> = (1..=count * 24).map(|i| i as f32).collect();
    (Tensor::from_slice(device, &values, [count, 2, 3, 4]).unwrap(), values)
}

#[test]
fn a_random_crop_shifts_each_picture_as_a_whole() {
    let (count, padding) = (400, 2);
    let crop = RandomCrop { padding };
    let cut = |device: &Device| crop.forward(&numbered(device, count).0, &mut Pass::train(3)).to_vec::<f32>().unwrap();
    let (x, values) = numbered(&Device::cpu(), count);
    assert_eq!(crop.forward(&x, &mut Pass::eval()).to_vec::<f32>().unwrap(), values);
    let cropped = cut(&Device::cpu());
    // How often each shift was taken; a picture that is no shift of itself has none.
    let mut shifts = [[0; 5]; 5];
    for (picture, cropped) in values.chunks(24).zip(cropped.chunks(24)) {
        let shifted = |dy: usize, dx: usize| -> Vec<f32> {
            let at = |i: usize| {
                let (y, x) = ((i / 4 % 3 + dy).checked_sub(padding), (i % 4 + dx).checked_sub(padding));
                match (y, x) {
                    (Some(y), Some(x)) if y < 3 && x < 4 => picture[i / 12 * 12 + y * 4 + x],
                    _ => 0.0,
                }
            };
            (0..24).map(at).collect()
        };
        let found = (0..25).find(|k| shifted(k / 5, k % 5) == cropped).expect("a shifted picture");
        shifts[found / 5][found % 5] += 1;
    }
    // Of 400 each of the 25 is expected 16 times, with a deviation of 3.9.
    assert!(shifts.iter().flatten().all(|n| (2..=34).contains(n)), "{shifts:?}");
    assert_eq!(cropped, cut(&crate::registry::under_test()), "the same on every device");
    let message = panic_of(|| crop.forward(&x.flatten(1), &mut Pass::train(0)));
    assert!(message.contains("[N, C, H, W]"), "{message}");
}

#[test]
fn a_random_flip_mirrors_some_pictures() {
    let count = 1000;
    let flip = RandomHorizontalFlip { p: 0.3 };
    let (x, values) = numbered(&Device::cpu(), count);
    assert_eq!(flip.forward(&x, &mut Pass::eval()).to_vec::<f32>().unwrap(), values);
    let flipped = flip.forward(&x, &mut Pass::train(3)).to_vec::<f32>().unwrap();
    let mut mirrored = 0;
    for (picture, flipped) in values.chunks(24).zip(flipped.chunks(24)) {
        let mirror: Vec<f32> = picture.chunks(4).flat_map(|row| row.iter().rev().copied()).collect();
        mirrored += usize::from(mirror == flipped);
        assert!(mirror == flipped || picture == flipped);
    }
    // 300 are expected, with a deviation of 14.5.
    assert!((240..=360).contains(&mirrored), "{mirrored}");
}

#[test]
fn weights_start_where_the_scheme_says() {
    use wgrad::nn::Scheme;
    let device = Device::cpu();
    let deviation = |scheme: Scheme| {
        let mut init = Init::new(&device, 5).scheme(scheme);
        let layer = wgrad::nn::Conv2d::new(&mut init, 16, 64, [5, 5], Default::default()).unwrap();
        let w: Vec<f32> = layer.named_parameters()[0].1.get().to_vec().unwrap();
        let b: Vec<f32> = layer.named_parameters()[1].1.get().to_vec().unwrap();
        let mean = w.iter().sum::<f32>() / w.len() as f32;
        let variance = w.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / w.len() as f32;
        let largest = w.iter().fold(0f32, |m, x| m.max(x.abs()));
        (mean, variance.sqrt(), largest, b)
    };
    // fan_in is 16 * 25 = 400, fan_out 64 * 25 = 1600; the deviation of a uniform number is its bound / sqrt(3).
    let (mean, d, largest, _) = deviation(Scheme::FanIn);
    assert!(mean.abs() < 1e-3 && (d - 0.05 / 3f32.sqrt()).abs() < 3e-4 && largest <= 0.05, "{mean} {d} {largest}");
    let (_, d, _, bias) = deviation(Scheme::KaimingNormal);
    assert!((d - (2.0f32 / 400.0).sqrt()).abs() < 1e-3 && bias.iter().all(|&b| b == 0.0), "{d}");
    let (_, d, _, _) = deviation(Scheme::XavierUniform);
    assert!((d - (2.0f32 / 2000.0).sqrt()).abs() < 5e-4, "{d}");
    // Cut at two deviations a normal variable keeps 0.8796 of its own.
    let (_, d, largest, bias) = deviation(Scheme::TruncatedNormal { deviation: 0.1, bias: 0.1 });
    assert!((d - 0.08796).abs() < 1e-3 && largest <= 0.2 && bias.iter().all(|&b| b == 0.1), "{d} {largest}");
}

#[test]
fn normalize_centres_each_channel() {
    use wgrad::nn::Normalize;
    let device = Device::cpu();
    let set = wgrad::data::Images {
        pixels: vec![1., 3., 5., 5., 5., 7., 5., 5.],
        labels: vec![0, 1],
        shape: [2, 1, 2],
        classes: 2,
    };
    let (mean, deviation) = set.channel_statistics();
    assert_eq!((mean[0], mean[1], deviation[1]), (4.0, 5.0, 0.0));
    assert!((deviation[0] - 5f32.sqrt()).abs() < 1e-6);
    let x = Tensor::from_slice(&device, &set.pixels, [2, 2, 1, 2]).unwrap();
    let y = Normalize::new(&device, &mean, &deviation).unwrap().forward(&x, &mut Pass::eval()).to_vec::<f32>().unwrap();
    let s = 5f32.sqrt();
    for (got, want) in y.iter().zip([-3. / s, -1. / s, 0., 0., 1. / s, 3. / s, 0., 0.]) {
        assert!((got - want).abs() < 1e-6, "{y:?}");
    }
}

#[test]
fn activations_hold_pytorchs_numbers() -> wgrad::Result<()> {
    use wgrad::nn::{Elu, Glu, Hardtanh, LeakyRelu, Prelu, Softmax, Threshold};
    let device = Device::cpu();
    let x = Tensor::from_slice(&device, &[-2f32, 0.5], [1, 2])?;
    let of = |layer: &dyn Module| layer.forward(&x, &mut Pass::eval()).to_vec::<f32>();
    assert_eq!(of(&LeakyRelu::default())?, [-0.02, 0.5]);
    assert_eq!(of(&Elu(2.0))?, [2.0 * ((-2f64).exp_m1() as f32), 0.5]);
    assert_eq!(of(&Hardtanh::default())?, [-1.0, 0.5]);
    assert_eq!(of(&Threshold(1.0, 7.0))?, [7.0, 7.0]);
    assert_eq!(of(&Glu::default())?, x.glu(1).to_vec::<f32>()?);
    assert_eq!(of(&Softmax(0))?, [1.0, 1.0]);
    let prelu = Prelu::new(&mut Init::new(&device, 0), 2)?;
    assert_eq!((of(&prelu)?, prelu.count_parameters()), (vec![-0.5, 0.5], 2));
    Ok(())
}
