//! Random numbers: known answers of Philox, bits that agree between devices, and the distributions themselves.

use wgrad::autodiff::grad;
use wgrad::ops::random::Rng;
use wgrad::reference::random::philox;
use wgrad::{DType, Device, Result, Tensor};

/// `philox4x32 10` of Random123's `kat_vectors`: counter, key, result.
#[test]
fn philox_known_answers() {
    const PI: [u32; 6] = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0];
    assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(philox([!0; 4], [!0; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    assert_eq!(philox([PI[0], PI[1], PI[2], PI[3]], [PI[4], PI[5]]), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
}

#[test]
fn a_seed_names_its_numbers() -> Result<()> {
    let device = Device::cpu();
    let bits = Tensor::random_bits(&device, [6], &mut Rng::new(0)).to_vec::<u32>()?;
    assert_eq!(bits[..4], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8], "the first block is Philox at zero");
    assert_eq!(bits[4..], philox([1, 0, 0, 0], [0, 0])[..2], "the second one follows");
    let mut rng = Rng::new(0x0123_4567_89AB_CDEF);
    let first = Tensor::uniform(&device, [5], &mut rng);
    let second = Tensor::uniform(&device, [5], &mut rng);
    assert_eq!(rng.counter(), 2);
    assert_ne!(first.to_vec::<f32>()?, second.to_vec::<f32>()?);
    let words = philox([0, 1, 0, 0], [0x89AB_CDEF, 0x0123_4567]);
    assert_eq!(second.to_vec::<f32>()?[..4], words.map(|w| (w >> 8) as f32 / (1 << 24) as f32));
    // A saved state continues with the same numbers, and the host can make them too.
    let mut resumed = Rng::new(rng.seed());
    resumed.set_counter(1);
    assert_eq!(Tensor::uniform(&device, [5], &mut resumed).to_vec::<f32>()?, second.to_vec::<f32>()?);
    assert_eq!(resumed, rng);
    resumed.set_counter(1);
    assert_eq!(resumed.words(4), words);
    Ok(())
}

#[test]
fn draws_do_not_run_out() {
    let mut rng = Rng::new(5);
    rng.set_counter(u32::MAX);
    rng.words(1);
    assert_eq!(rng.counter(), 0);
    assert_ne!(rng.seed(), 5, "under a new seed, so that no draw repeats");
}

#[test]
fn uniform_numbers_are_uniform() -> Result<()> {
    let n = 1 << 20;
    let mut u = Tensor::uniform(&Device::cpu(), [n], &mut Rng::new(1)).to_vec::<f32>()?;
    assert!(u.iter().all(|&u| (0.0..1.0).contains(&u)));
    let mean = u.iter().map(|&u| u as f64).sum::<f64>() / n as f64;
    assert!((mean - 0.5).abs() < 4.0 * (1.0 / 12.0 / n as f64).sqrt(), "mean {mean}");
    assert_distributed(&mut u, |x| x);
    // Neighbours are independent: their correlation is that of n products.
    let u = Tensor::uniform(&Device::cpu(), [n], &mut Rng::new(2)).to_vec::<f32>()?;
    let covariance: f64 = u.windows(2).map(|w| (w[0] as f64 - 0.5) * (w[1] as f64 - 0.5)).sum::<f64>() / n as f64;
    assert!((covariance * 12.0).abs() < 4.0 / (n as f64).sqrt(), "{covariance}");
    Ok(())
}

/// The whole-number arithmetic against the transform of Box and Muller in double precision, on the same words.
#[test]
fn normal_numbers_follow_the_formula() -> Result<()> {
    let device = Device::cpu();
    let words = Tensor::random_bits(&device, [1 << 20], &mut Rng::new(3)).to_vec::<u32>()?;
    let z = Tensor::normal(&device, [1 << 20], &mut Rng::new(3)).to_vec::<f32>()?;
    let mut worst = 0f64;
    for (pair, z) in words.chunks(2).zip(z.chunks(2)) {
        let unit = (1u64 << 32) as f64;
        let (u, v) = ((pair[0] | 1) as f64 / unit, (pair[1] as f64 + 0.5) / unit);
        let (r, angle) = ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * v);
        worst = worst.max((z[0] as f64 - r * angle.cos()).abs()).max((z[1] as f64 - r * angle.sin()).abs());
    }
    assert!(worst < 4e-7, "{worst}");
    Ok(())
}

#[test]
fn normal_numbers_are_normal() -> Result<()> {
    let n = 1_000_000;
    let mut z = Tensor::normal(&Device::cpu(), [n], &mut Rng::new(4)).to_vec::<f32>()?;
    let moment = |k: i32| z.iter().map(|&z| (z as f64).powi(k)).sum::<f64>() / n as f64;
    // Expected value and variance of the mean of z^k: E z^2k - (E z^k)^2.
    for (k, expect, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0), (6, 15.0, 10170.0)] {
        let (got, limit) = (moment(k), 4.0 * f64::sqrt(variance / n as f64));
        assert!((got - expect).abs() < limit, "moment {k}: {got}, expected {expect} within {limit}");
    }
    // 63 of a million lie beyond four sigma, half a one beyond five.
    let beyond = |s: f32| z.iter().filter(|z| z.abs() > s).count();
    assert!((32..=95).contains(&beyond(4.0)), "{}", beyond(4.0));
    assert!(beyond(5.0) <= 4, "{}", beyond(5.0));
    assert_distributed(&mut z, normal_cdf);
    Ok(())
}

/// The test of Kolmogorov and Smirnov: the distance between the two distributions, at the level of one in a thousand.
fn assert_distributed(x: &mut [f32], cdf: impl Fn(f64) -> f64) {
    x.sort_by(f32::total_cmp);
    let n = x.len() as f64;
    let distance = x.iter().enumerate().fold(0f64, |d, (i, &x)| {
        let p = cdf(x as f64);
        d.max((p - i as f64 / n).abs()).max(((i + 1) as f64 / n - p).abs())
    });
    assert!(distance < 1.95 / n.sqrt(), "distance {distance}, limit {}", 1.95 / n.sqrt());
}

/// By the series of the error function; its terms alternate, and 60 of them are exact to 1e-9 up to 4.5 sigma.
fn normal_cdf(x: f64) -> f64 {
    if x.abs() > 4.5 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut term, mut sum) = (x, x);
    for k in 1..60 {
        term *= -x * x / (2.0 * k as f64);
        sum += term / (2 * k + 1) as f64;
    }
    0.5 + sum / std::f64::consts::TAU.sqrt()
}

#[test]
fn truth_values_hold_with_their_probability() -> Result<()> {
    let device = Device::cpu();
    let mut rng = Rng::new(6);
    let mean = |t: &Tensor| Ok::<f32, wgrad::Error>(t.cast(DType::F32).mean_all().to_vec::<f32>()?[0]);
    for p in [0.0, 0.25, 0.5, 1.0] {
        let share = mean(&Tensor::bernoulli(&device, [100_000], p, &mut rng))?;
        assert!((share - p).abs() <= 4.0 * (p * (1.0 - p) / 1e5).sqrt(), "{p}: {share}");
    }
    let p = Tensor::from_slice(&device, &[0.0f32, 1.0], [2, 1])?.broadcast_to([2, 50]);
    let each = p.bernoulli_like(&mut rng).to_vec::<u32>()?;
    assert!(each[..50].iter().all(|&b| b == 0) && each[50..].iter().all(|&b| b == 1));
    Ok(())
}

#[test]
fn dropout_keeps_the_mean_and_its_mask() -> Result<()> {
    let device = Device::cpu();
    let x = Tensor::full(&device, [100_000], 3f32).into_leaf(true)?;
    let y = x.dropout(0.4, &mut Rng::new(7));
    let values = y.to_vec::<f32>()?;
    let kept = 3.0 * (1.0 / (1.0 - 0.4f32));
    assert!(values.iter().all(|&v| v == 0.0 || v == kept));
    let mean = values.iter().sum::<f32>() / 1e5;
    assert!((mean - 3.0).abs() < 0.05, "{mean}");
    let slope = grad(&y.sum_all(), &[&x])[0].to_vec::<f32>()?;
    assert!(slope.iter().zip(&values).all(|(&s, &v)| s == v / 3.0 || (s - v / 3.0).abs() < 1e-6), "one mask for both");
    let mut rng = Rng::new(8);
    assert_eq!(x.dropout(0.0, &mut rng).to_vec::<f32>()?, x.to_vec::<f32>()?);
    assert_eq!(rng.counter(), 0, "nothing is drawn for nothing");
    let gone = x.dropout(1.0, &mut rng);
    assert!(gone.to_vec::<f32>()?.iter().all(|&v| v == 0.0));
    assert!(grad(&gone.sum_all(), &[&x])[0].to_vec::<f32>()?.iter().all(|&v| v == 0.0));
    Ok(())
}

#[test]
#[should_panic(expected = "the probability is 1.5; it must be in 0..=1")]
fn dropout_of_more_than_everything() {
    Tensor::zeros(&Device::cpu(), [2]).dropout(1.5, &mut Rng::new(0));
}
