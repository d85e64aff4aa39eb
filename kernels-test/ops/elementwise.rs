//! Known answers of the elementwise table: IEEE 754, kinks, functions where built-in forms lose digits, broadcasting.

use wgrad::autodiff::grad;
use wgrad::device::GpuOptions;
use wgrad::tensor::{DType, Input};
use wgrad::{Device, Tensor};

use crate::registry::{adapter, tensor, under_test};

fn on_both(check: impl Fn(&Device)) {
    check(&under_test());
    check(&Device::cpu());
}

fn t(device: &Device, values: &[f32]) -> Tensor {
    Tensor::from_slice(device, values, values.len()).unwrap()
}

#[test]
fn powers_as_ieee_754_has_them() {
    on_both(|d| {
        let x = t(d, &[0.0, -2.0, -2.0, -2.0, 1.0, f32::NAN, 0.0, 2.0]);
        let y = t(d, &[0.0, 3.0, 2.0, 0.5, f32::NAN, 0.0, -1.0, -2.0]);
        let p = x.pow(&y).to_vec::<f32>().unwrap();
        assert_eq!((p[0], p[4], p[5]), (1.0, 1.0, 1.0), "on {d}");
        assert!((p[1] + 8.0).abs() < 1e-4 && (p[2] - 4.0).abs() < 1e-4 && (p[7] - 0.25).abs() < 1e-5, "{p:?} on {d}");
        assert!(p[3].is_nan() && p[6] == f32::INFINITY, "{p:?} on {d}");
    });
}

#[test]
fn nan_is_not_dropped() {
    on_both(|d| {
        let x = t(d, &[f32::NAN, 1.0, f32::NAN]);
        let y = t(d, &[2.0, f32::NAN, f32::NAN]);
        for result in [x.maximum(&y), x.minimum(&y), &x + &y] {
            assert!(result.to_vec::<f32>().unwrap().iter().all(|v| v.is_nan()), "on {d}");
        }
        let through = x.relu().to_vec::<f32>().unwrap();
        assert!(through[0].is_nan() && through[1] == 1.0, "relu hides NaN on {d}: {through:?}");
        assert!(x.clamp(0.0, 1.0).to_vec::<f32>().unwrap()[0].is_nan(), "clamp hides NaN on {d}");
    });
}

#[test]
fn digits_are_kept_where_built_in_functions_lose_them() {
    on_both(|d| {
        let x = [1e-6f32, -1e-4, 0.01, 0.2499, 0.2501];
        let y = t(d, &x).tanh().to_vec::<f32>().unwrap();
        for (x, y) in x.iter().zip(y) {
            let want = (*x as f64).tanh();
            assert!((y as f64 - want).abs() <= 4e-6 * want.abs(), "tanh({x}) = {y} on {d}");
        }
        let x = [0.99999f32, 1.0000001, 1.001, 1e-40];
        let y = t(d, &x).ln().to_vec::<f32>().unwrap();
        for (x, y) in x.iter().zip(y).take(3) {
            let want = (*x as f64).ln();
            assert!((y as f64 - want).abs() <= 4e-6 * want.abs(), "ln({x}) = {y} on {d}");
        }
        let x: Vec<f32> = (-1000..=880).map(|i| i as f32 * 0.1).collect();
        for (x, y) in x.iter().zip(t(d, &x).exp().to_vec::<f32>().unwrap()) {
            let want = (*x as f64).exp();
            // Two units in the last place; a driver may flush what is below the smallest normal number.
            let flushed = want < 1.2e-38 && y == 0.0;
            assert!(flushed || (y as f64 - want).abs() <= 2.4e-7 * want + 1.5e-45, "exp({x}) = {y}, {want:e} on {d}");
        }
        let edges = t(d, &[-150.0, 89.0, f32::NEG_INFINITY, f32::NAN]).exp().to_vec::<f32>().unwrap();
        assert!(edges[..3] == [0.0, f32::INFINITY, 0.0] && edges[3].is_nan(), "{edges:?} on {d}");
        let edges = t(d, &[0.0, -1.0, f32::INFINITY]).ln().to_vec::<f32>().unwrap();
        assert!(edges[0] == f32::NEG_INFINITY && edges[1].is_nan() && edges[2] == f32::INFINITY, "{edges:?} on {d}");
        let s = t(d, &[-100.0, 100.0, 0.0]).sigmoid().to_vec::<f32>().unwrap();
        assert!(s[0] >= 0.0 && s[0] < 1e-40 && s[1] == 1.0 && s[2] == 0.5, "{s:?} on {d}");
    });
}

#[test]
fn slopes_at_kinks_are_pytorchs() {
    on_both(|d| {
        let x = t(d, &[-1.0, 0.0, 2.0]);
        assert_eq!(grad(&x.relu().sum_all(), &[&x])[0].to_vec::<f32>().unwrap(), [0.0, 0.0, 1.0], "relu on {d}");
        let x = t(d, &[-1.0, 0.0, 2.0]);
        assert_eq!(grad(&x.abs().sum_all(), &[&x])[0].to_vec::<f32>().unwrap(), [-1.0, 0.0, 1.0], "abs on {d}");
        let (a, b) = (t(d, &[1.0, 3.0, 2.0]), t(d, &[2.0, 1.0, 2.0]));
        let slopes = grad(&a.maximum(&b).sum_all(), &[&a, &b]);
        assert_eq!(slopes[0].to_vec::<f32>().unwrap(), [0.0, 1.0, 0.5], "maximum on {d}");
        assert_eq!(slopes[1].to_vec::<f32>().unwrap(), [1.0, 0.0, 0.5], "maximum on {d}");
    });
}

#[test]
fn shapes_broadcast_and_gradients_are_summed_back() {
    on_both(|d| {
        let column = t(d, &[1.0, 2.0, 3.0]).reshape([3, 1]);
        let row = t(d, &[10.0, 20.0]);
        let product = &column * &row;
        let slopes = grad(&product.sum_all(), &[&column, &row]);
        assert_eq!(product.to_vec::<f32>().unwrap(), [10.0, 20.0, 20.0, 40.0, 30.0, 60.0]);
        assert_eq!(slopes[0].to_vec::<f32>().unwrap(), [30.0, 30.0, 30.0]);
        assert_eq!(slopes[1].to_vec::<f32>().unwrap(), [6.0, 6.0]);
    });
}

#[test]
fn whole_numbers_have_defined_division() {
    on_both(|d| {
        let a = Tensor::from_slice(d, &[7i32, -7, 5, i32::MIN], 4).unwrap();
        let b = Tensor::from_slice(d, &[2i32, 2, 0, -1], 4).unwrap();
        assert_eq!(a.div(&b).to_vec::<i32>().unwrap(), [3, -3, 5, i32::MIN], "on {d}");
        assert_eq!(a.rem(&b).to_vec::<i32>().unwrap()[..3], [1, -1, 0], "on {d}");
    });
}

#[test]
#[should_panic(expected = "cast")]
fn types_do_not_mix() {
    let d = Device::cpu();
    let _ = t(&d, &[1.0]).add(&Tensor::from_slice(&d, &[1u32], 1).unwrap());
}

/// From 16,384 elements on a kernel of a GPU makes four in each invocation. Operands that lie otherwise, that start
/// where no four do, truth values, whole numbers, halves, and what stores through an epilogue.
#[test]
fn large_chains_are_those_of_the_cpu_path() {
    let options = GpuOptions { gpu_variants: true, ..adapter() };
    let packed = GpuOptions { native_half: false, ..options.clone() };
    for device in [Device::gpu(&options).unwrap(), Device::gpu(&packed).unwrap()] {
        let results = |d: &Device| -> Vec<Vec<f32>> {
            let [a, b] = [1, 2].map(|seed| tensor(d, &Input::uniform([130, 128], -2.0, 2.0, seed)));
            let row = tensor(d, &Input::uniform([128], -1.0, 1.0, 3));
            let column = tensor(d, &Input::uniform([130, 1], -1.0, 1.0, 4));
            let whole = tensor(d, &Input::below([130, 128], 1000, 5));
            let long = tensor(d, &Input::uniform([130 * 128 + 3], -2.0, 2.0, 6));
            let halves = (&a * 0.5).cast(DType::F16).into_leaf(false).unwrap();
            let from = |k: isize| long.narrow(0, k as usize, 130 * 128).reshape([130, 128]);
            let mask = a.greater(&b);
            [
                (&(&a * &row) + &column).tanh(),
                (&a - &b.transpose(0, 1).reshape([130, 128])).exp(),
                (&from(0) * 2.0) + &from(3),
                Tensor::select(&mask, &a, &(&b * 3.0)),
                mask.cast(DType::F32),
                (&whole + &whole).cast(DType::F32),
                &halves.cast(DType::F32) * &a,
                (&a * &b).cast(DType::F16).cast(DType::F32),
                (&a.abs().sum_keep(&[1]) * &b).relu(),
                a.narrow(0, 0, 129).sqrt(),
            ]
            .iter()
            .map(|t| t.to_vec::<f32>().unwrap())
            .collect()
        };
        let (got, want) = (results(&device), results(&Device::cpu()));
        for (k, (got, want)) in got.iter().zip(&want).enumerate() {
            let off = got
                .iter()
                .zip(want)
                .position(|(a, b)| !((a - b).abs() <= 4e-6 * b.abs().max(1e-3) || (a.is_nan() && b.is_nan())));
            assert_eq!(off.map(|i| (i, got[i], want[i])), None, "result {k} on {device}");
        }
    }
}
