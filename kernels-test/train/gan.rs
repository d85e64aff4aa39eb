//! Adversarial networks: the losses by hand, the theory of the discriminator, one pass of the generator for both steps,
//! and the figures that tell collapse from health.

use wgrad::functional::ConvTranspose2dOptions;
use wgrad::nn::{
    BatchNorm2d, Conv2d, ConvTranspose2d, Flatten, Init, LeakyRelu, Linear, Parameters, Pass, Relu, Sequential,
    SpectralNorm, Tanh, Unflatten,
};
use wgrad::ops::{Conv2dOptions, Padding, Rng};
use wgrad::optim::{Adam, Host, Optimizer, Row};
use wgrad::train::gan::{Gan, GanOptions, GanTask, Objective, discriminator_loss, generator_loss};
use wgrad::train::quality::{Moments, histogram, nearest};
use wgrad::train::{Loop, State, Task};
use wgrad::{Device, Tensor};

use super::{Unforeseen, numbers, same_losses};
use crate::merge;
use crate::registry::under_test;

fn adams(rate: f64) -> [Box<dyn Optimizer>; 2] {
    [Box::new(Adam::new(rate).betas(0.5, 0.999)), Box::new(Adam::new(rate).betas(0.5, 0.999))]
}

/// What keeps the discriminator of [`small`] tame.
#[derive(Clone, Copy, PartialEq)]
enum Norm {
    Batch,
    Spectral,
    None,
}

/// A DCGAN for pictures of 8x8.
fn small(device: &Device, norm: Norm) -> Gan {
    let init = &mut Init::new(device, 5);
    let half = || Conv2dOptions { stride: [2, 2], padding: Padding::Explicit([1; 4]), ..Default::default() };
    let twice = || ConvTranspose2dOptions { stride: [2, 2], padding: Padding::Explicit([1; 4]), ..Default::default() };
    let generator = Sequential::new().then(Linear::new(init, 6, 2 * 2 * 8).unwrap()).then(Unflatten::new([8, 2, 2]));
    let generator = generator.then(ConvTranspose2d::new(init, 8, 4, [4, 4], twice()).unwrap());
    let generator = generator.then(BatchNorm2d::new(init, 4).unwrap()).then(Relu);
    let generator = generator.then(ConvTranspose2d::new(init, 4, 1, [4, 4], twice()).unwrap()).then(Tanh);
    let first = Conv2d::new(init, 1, 4, [4, 4], half()).unwrap();
    let second = Conv2d::new(init, 4, 8, [4, 4], half()).unwrap();
    let discriminator = match norm {
        Norm::Spectral => {
            let first = Sequential::new().then(SpectralNorm::new(init, first).unwrap()).then(LeakyRelu(0.2));
            first.then(SpectralNorm::new(init, second).unwrap())
        }
        Norm::Batch => {
            let first = Sequential::new().then(first).then(LeakyRelu(0.2)).then(second);
            first.then(BatchNorm2d::new(init, 8).unwrap())
        }
        Norm::None => Sequential::new().then(first).then(LeakyRelu(0.2)).then(second),
    };
    let last = Linear::new(init, 32, 1).unwrap();
    let discriminator = discriminator.then(LeakyRelu(0.2)).then(Flatten).then(last);
    Gan { generator, discriminator, noise: 6 }
}

fn small_task(device: &Device, norm: Norm, options: GanOptions) -> GanTask<'static, Host<f32>> {
    let fetch = |indices: &[usize]| {
        let pixels: Vec<f32> = indices.iter().flat_map(|&i| numbers(64, i as u32, 1.0)).collect();
        Ok(Host::new(pixels, [indices.len(), 1, 8, 8]))
    };
    GanTask::new(small(device, norm), adams(2e-4), (40, 6, 3), fetch, options).unwrap()
}

#[test]
fn losses_are_those_of_the_paper() {
    let device = Device::cpu();
    let logits = |v: &[f32]| Tensor::from_slice(&device, v, [v.len(), 1]).unwrap();
    let (real, fake) = (logits(&[1.0, -2.0]), logits(&[0.5, 3.0]));
    let value = |t: Tensor| f64::from(t.item().unwrap());
    let mean = |v: &[f64], f: fn(f64) -> f64| v.iter().map(|&x| f(x)).sum::<f64>() / v.len() as f64;
    let log_d = |x: f64| -(1.0 + (-x).exp()).ln();
    let log_not_d = |x: f64| -(1.0 + x.exp()).ln();
    let expected = -mean(&[1.0, -2.0], log_d) - mean(&[0.5, 3.0], log_not_d);
    assert!((value(discriminator_loss(&real, &fake, 0.0)) - expected).abs() < 1e-6);
    let smoothed = expected + 0.1 * mean(&[1.0, -2.0], log_d) - 0.1 * mean(&[1.0, -2.0], log_not_d);
    assert!((value(discriminator_loss(&real, &fake, 0.1)) - smoothed).abs() < 1e-6);
    let generator = |objective| value(generator_loss(&fake, objective));
    assert!((generator(Objective::NonSaturating) + mean(&[0.5, 3.0], log_d)).abs() < 1e-6);
    assert!((generator(Objective::Saturating) - mean(&[0.5, 3.0], log_not_d)).abs() < 1e-6);
}

#[test]
fn the_gpu_plays_as_the_cpu_path_does() {
    let plain = GanOptions::default();
    same_losses(20, 1e-4, |device| small_task(device, Norm::Batch, plain));
    let other = GanOptions { objective: Objective::Saturating, smoothing: 0.1, penalty: 5.0 };
    same_losses(20, 1e-4, |device| small_task(device, Norm::None, other));
    let spectral = GanOptions { penalty: 1.0, ..plain };
    same_losses(20, 1e-4, |device| small_task(device, Norm::Spectral, spectral));
}

/// Goodfellow et al., proposition 1: against a fixed generator the best answer is p_data / (p_data + p_G).
#[test]
fn the_best_discriminator_is_that_of_the_theory() {
    let device = Device::cpu();
    let (mean, spread) = (1.5f32, 0.8);
    let draws = Tensor::normal(&device, [20_000], &mut Rng::new(4)).to_vec::<f32>().unwrap();
    let fetch = move |indices: &[usize]| {
        let chosen: Vec<f32> = indices.iter().map(|&i| mean + spread * draws[i]).collect();
        Ok(Host::new(chosen, [indices.len(), 1]))
    };
    // The generator hands on its noise: p_G is the standard normal distribution.
    let Gan { discriminator, .. } = Gan::line(&mut Init::new(&device, 2), 32).unwrap();
    let gan = Gan { generator: Sequential::new(), discriminator, noise: 1 };
    let mut task = GanTask::new(gan, adams(3e-3), (20_000, 256, 1), fetch, GanOptions::default()).unwrap();
    task.forger = None;
    let outcome = Loop::new(700).run(&mut task).unwrap();
    let (mut off, mut total) = (0.0, 0.0);
    let xs: Vec<f32> = (-30..=40).map(|i| i as f32 * 0.1).collect();
    let answers = task.gan.verdicts(&Tensor::from_slice(&device, &xs, [xs.len(), 1]).unwrap()).to_vec::<f32>().unwrap();
    for (x, answer) in xs.iter().zip(answers) {
        let density = |m: f32, s: f32| f64::from((-0.5 * ((x - m) / s).powi(2)).exp() / s);
        let (real, fake) = (density(mean, spread), density(0.0, 1.0));
        off += (real + fake) * (f64::from(answer) - real / (real + fake)).abs();
        total += real + fake;
    }
    assert!(off / total < 0.03, "D(x) is {:.4} from p_data / (p_data + p_G) in the mean", off / total);
    // 2 log 2 less twice the Jensen-Shannon divergence.
    let loss = outcome.figure("discriminator").unwrap();
    assert!(loss < 2.0 * 2f64.ln() - 0.1, "{loss}");
    assert!(outcome.figure("real").unwrap() > outcome.figure("fake").unwrap());
}

/// All that a step changes.
fn all<B: Row>(task: &GanTask<B>) -> State {
    let mut state = State::new();
    task.save(&mut state).unwrap();
    state
}

fn figures_of(figures: &[(&'static str, Tensor)]) -> Vec<(&'static str, u32)> {
    figures.iter().map(|(name, figure)| (*name, figure.item().unwrap().to_bits())).collect()
}

#[test]
fn a_replayed_step_of_both_is_the_ordinary_one_to_the_bit() {
    let penalty = GanOptions { penalty: 2.0, smoothing: 0.1, ..GanOptions::default() };
    for device in [under_test(), merge::device(false, false), merge::device(true, false), merge::device(true, true)] {
        for (norm, options) in [(Norm::Batch, GanOptions::default()), (Norm::None, penalty)] {
            let mut replayed = small_task(&device, norm, options);
            let mut ordinary = small_task(&device, norm, options).one_by_one();
            let mut take = |replayed: &mut GanTask<Host<f32>>, steps: usize| {
                let mut made = Vec::new();
                while made.len() < steps {
                    made.extend(replayed.steps(steps - made.len()).unwrap());
                }
                for figures in &made {
                    assert_eq!(figures_of(figures), figures_of(&ordinary.step().unwrap()), "on {device}");
                }
                assert_eq!(all(replayed), all(&ordinary), "on {device}");
                assert!(ordinary.replayed().is_err());
            };
            for steps in [3, 1, 5, 4] {
                take(&mut replayed, steps);
                assert_eq!(replayed.replayed(), Ok(()), "on {device}");
            }
            // Whoever holds a weight of either network keeps it as it is.
            let models = [&replayed.gan.generator, &replayed.gan.discriminator];
            let held = models.map(|model| model.named_parameters()[0].1.get().clone());
            let before = held.each_ref().map(|weight| weight.to_vec::<f32>().unwrap());
            take(&mut replayed, 4);
            assert_eq!(held.each_ref().map(|weight| weight.to_vec::<f32>().unwrap()), before, "on {device}");
            drop(held);
            take(&mut replayed, 4);
            assert_eq!(replayed.replayed(), Ok(()), "on {device}");
        }
    }
}

/// The fully connected networks go the same road; vectors of spectral normalisation are not kept in place.
#[test]
fn steps_of_the_networks_for_digits_are_replayed() {
    let device = under_test();
    let task = |gan: Gan| {
        let samples = Tensor::from_slice(&device, &numbers(4 * 784, 1, 1.0), [4, 1, 28, 28]).unwrap();
        let real = move |_: &(), _: &mut Pass| samples.clone();
        GanTask::with_samples(gan, adams(2e-4), (4, 4, 0), |_| Ok(()), real, GanOptions::default()).unwrap()
    };
    let mlp = || task(Gan::mlp(&mut Init::new(&device, 0)).unwrap());
    let (mut replayed, mut ordinary) = (mlp(), mlp().one_by_one());
    for _ in 0..5 {
        assert_eq!(figures_of(&replayed.step().unwrap()), figures_of(&ordinary.step().unwrap()));
    }
    assert_eq!(replayed.replayed(), Ok(()));
    assert_eq!(all(&replayed), all(&ordinary));
    let mut spectral = task(Gan::mlp_spectral(&mut Init::new(&device, 0)).unwrap());
    (0..5).for_each(|_| drop(spectral.step().unwrap()));
    assert!(spectral.replayed().unwrap_err().contains("not kept in place"), "{:?}", spectral.replayed());
}

/// One program is what two would be. The oracle runs each op as it was recorded, in double precision: there they agree
/// to the bit.
#[test]
fn one_program_of_both_steps_is_a_step_of_each() {
    for norm in [Norm::Batch, Norm::Spectral] {
        let options = GanOptions { penalty: 0.5, ..GanOptions::default() };
        let device = Device::reference();
        let (mut together, mut apart) = (small_task(&device, norm, options), small_task(&device, norm, options));
        // These take a step at once, when they are asked for one.
        let unforeseen = || -> Box<dyn Optimizer> { Box::new(Unforeseen(Adam::new(2e-4).betas(0.5, 0.999))) };
        (apart.judge, apart.forger) = (unforeseen(), Some(unforeseen()));
        for _ in 0..4 {
            let (one, two) = (together.step().unwrap(), apart.step().unwrap());
            assert_eq!(figures_of(&one), figures_of(&two));
        }
        assert_eq!(all(&together), all(&apart));
    }
}

/// The forger may be taken away and given back between steps.
#[test]
fn a_step_of_the_discriminator_alone_is_another_program() {
    let device = under_test();
    let (mut replayed, mut ordinary) = (
        small_task(&device, Norm::None, GanOptions::default()),
        small_task(&device, Norm::None, GanOptions::default()).one_by_one(),
    );
    let mut forgers = [None, None];
    for steps in [4, 5, 5, 5] {
        for _ in 0..steps {
            assert_eq!(figures_of(&replayed.step().unwrap()), figures_of(&ordinary.step().unwrap()));
        }
        assert_eq!(replayed.replayed(), Ok(()));
        std::mem::swap(&mut replayed.forger, &mut forgers[0]);
        std::mem::swap(&mut ordinary.forger, &mut forgers[1]);
    }
}

/// A linear discriminator's slope is its weight, whatever the sample: |w|^2 / 2 times 3, and a step goes down that too.
#[test]
fn the_penalty_is_on_the_slope() {
    let device = Device::cpu();
    let init = &mut Init::new(&device, 8);
    let discriminator = Sequential::new().then(Linear::new(init, 3, 1).unwrap());
    let weight = |gan: &Gan| gan.discriminator.named_parameters()[0].1.get().to_vec::<f32>().unwrap();
    let gan = Gan { generator: Sequential::new(), discriminator, noise: 3 };
    let before = weight(&gan);
    // All samples are 0: but for the penalty, only false ones pull at the weight.
    let fetch = |indices: &[usize]| Ok(Host::new(vec![0f32; 3 * indices.len()], [indices.len(), 3]));
    let step = |gan: Gan, penalty: f32| {
        let sgd = || -> Box<dyn Optimizer> { Box::new(wgrad::optim::Sgd::new(0.1)) };
        let options = GanOptions { penalty, ..GanOptions::default() };
        let mut task = GanTask::new(gan, [sgd(), sgd()], (8, 4, 1), fetch, options).unwrap();
        task.forger = None;
        let figures = task.step().unwrap();
        let penalty = figures.iter().find(|(name, _)| *name == "penalty").map(|(_, p)| p.item().unwrap());
        (penalty, weight(&task.gan))
    };
    let (penalty, with) = step(gan, 3.0);
    let square: f32 = before.iter().map(|w| w * w).sum();
    assert!((penalty.unwrap() - 1.5 * square).abs() < 1e-6, "{penalty:?} for {before:?}");
    let again = Sequential::new().then(Linear::new(&mut Init::new(&device, 8), 3, 1).unwrap());
    let (none, without) = step(Gan { generator: Sequential::new(), discriminator: again, noise: 3 }, 0.0);
    assert!(none.is_none());
    for ((with, without), before) in with.iter().zip(&without).zip(&before) {
        assert!((with - (without - 0.1 * 3.0 * before)).abs() < 1e-6, "{with} and {without} from {before}");
    }
}

#[test]
fn from_the_fourth_step_on_nothing_is_made() {
    for norm in [Norm::Batch, Norm::Spectral] {
        let device = under_test();
        let mut task = small_task(&device, norm, GanOptions::default()).one_by_one();
        let mut before = device.counters();
        for step in 1..=8 {
            drop(task.step().unwrap());
            let now = device.counters();
            let made = now.since(&before);
            // The second step is the first that finds its state where a step left it, and the first whose figures lie
            // where others did comes after it.
            if step > 2 {
                assert_eq!((made.plans, made.pipelines), (0, 0), "step {step}");
                assert_eq!(made.submissions, 1, "one for both networks");
            }
            if step > 3 {
                assert_eq!((made.buffers, made.bind_groups), (0, 0), "step {step}");
                assert_eq!(now.live_bytes, before.live_bytes, "step {step} grew");
            }
            before = now;
        }
    }
}

#[test]
fn a_gan_resumes_bit_for_bit() {
    let device = Device::cpu();
    let play = |task: &mut GanTask<Host<f32>>, steps: usize| -> Vec<u32> {
        (0..steps).map(|_| task.step().unwrap()[0].1.item().unwrap().to_bits()).collect()
    };
    // Running statistics of two layers, or two vectors of each of two.
    for (norm, state_of, count) in [(Norm::Batch, "running", 4), (Norm::Spectral, "parametrizations.weight.0", 4)] {
        let make = || small_task(&device, norm, GanOptions::default());
        let whole = play(&mut make(), 6);
        let mut first = make();
        let begun = play(&mut first, 3);
        let mut state = State::new();
        first.save(&mut state).unwrap();
        let mut second = make();
        second.load(&state).unwrap();
        assert_eq!(whole, [begun, play(&mut second, 3)].concat());
        let names: Vec<&String> = state.tensors.keys().filter(|k| k.contains(state_of)).collect();
        assert_eq!(names.len(), count, "{names:?}");
    }
}

#[test]
fn sizes_are_those_other_libraries_are_timed_with() {
    let device = Device::cpu();
    let gan = Gan::dcgan(&mut Init::new(&device, 0)).unwrap();
    let generator = 100 * 6272 + 6272 + 128 * 64 * 16 + 64 + 128 + 64 * 16 + 1;
    let discriminator = 64 * 16 + 64 + 64 * 128 * 16 + 128 + 256 + 6272 + 1;
    assert_eq!((gan.generator.count_parameters(), gan.discriminator.count_parameters()), (generator, discriminator));
    let samples = gan.samples(&device, 2, &mut Rng::new(1));
    assert_eq!(samples.shape()[..], [2, 1, 28, 28]);
    assert_eq!(gan.verdicts(&samples).shape()[..], [2]);
    let init = &mut Init::new(&device, 0);
    for spectral in [Gan::dcgan_spectral(init).unwrap(), Gan::mlp_spectral(init).unwrap()] {
        assert_eq!(spectral.verdicts(&spectral.samples(&device, 2, &mut Rng::new(1))).shape()[..], [2]);
        let buffers = spectral.discriminator.named_buffers();
        assert_eq!(buffers.len(), 6, "two vectors for each of three layers, and no running statistics");
    }
    let mlp = Gan::mlp(&mut Init::new(&device, 0)).unwrap();
    assert_eq!(mlp.samples(&device, 2, &mut Rng::new(1)).shape()[..], [2, 1, 28, 28]);
}

// Figures

#[test]
fn the_frechet_distance_of_normal_distributions_is_the_formula() {
    // Four points with means (1, 2) and (4, 2); variances 4/3 a^2 along each axis, no covariance.
    let points =
        |[mx, my]: [f32; 2], [a, b]: [f32; 2]| [mx - a, my - b, mx - a, my + b, mx + a, my - b, mx + a, my + b];
    let spread = |a: f64| (4.0 / 3.0f64).sqrt() * a;
    let (p, q) = (Moments::of(&points([1., 2.], [1., 2.]), 2), Moments::of(&points([4., 2.], [3., 2.]), 2));
    let expected = 9.0 + (spread(1.0) - spread(3.0)).powi(2);
    assert!((p.distance(&q) - expected).abs() < 1e-9, "{} for {expected}", p.distance(&q));
    assert!((q.distance(&p) - expected).abs() < 1e-9);
    assert!(p.distance(&p) < 1e-9);
    // Turned by any angle it stays what it was: now with covariances.
    let turned = |points: [f32; 8]| {
        let (s, c) = 0.7f32.sin_cos();
        let all: Vec<f32> = points.chunks(2).flat_map(|v| [c * v[0] - s * v[1], s * v[0] + c * v[1]]).collect();
        Moments::of(&all, 2)
    };
    let (p, q) = (turned(points([1., 2.], [1., 2.])), turned(points([4., 2.], [3., 2.])));
    assert!((p.distance(&q) - expected).abs() < 1e-5, "{} for {expected}", p.distance(&q));
    // More features than points: the covariance has no inverse.
    let wide = Moments::of(&numbers(5 * 16, 1, 1.0), 16);
    let other = Moments::of(&numbers(5 * 16, 2, 1.0), 16);
    assert!(wide.distance(&wide) < 1e-6 && wide.distance(&other) > 1.0);
}

#[test]
fn histograms_count_and_neighbours_are_nearest() {
    assert_eq!(histogram(&[0, 2, 2, 9], 10), [1, 0, 2, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(nearest(&[0.9, 0.1, -3.0, 0.0], &[0., 0., 1., 0., -2., 1.], 2), [1, 2]);
}
