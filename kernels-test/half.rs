//! Half precision: that every op takes halves, on adapters with and without 16-bit floats, and how they mix with other
//! types.

use std::sync::Arc;

use wgrad::device::GpuOptions;
use wgrad::ops::{Conv2dOptions, Pool2dOptions, REGISTRY};
use wgrad::selftest::{self, AnySample, halved, noise, shapes};
use wgrad::tensor::{AnyLowering, DType, Sample};
use wgrad::{Device, Tensor, autodiff, f16};

use crate::registry::{adapter, tensor, under_test};

/// llvmpipe has 16-bit floats; this is it without.
fn packed() -> Device {
    let options = GpuOptions { native_half: false, ..adapter() };
    Device::gpu(&options).unwrap_or_else(|e| panic!("{e}"))
}

fn devices() -> [Device; 4] {
    [under_test(), packed(), Device::cpu(), Device::reference()]
}

fn halves(device: &Device, values: &[f32], shape: &[usize]) -> Tensor {
    let values: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
    Tensor::from_slice(device, &values, shape).unwrap()
}

fn floats(x: &Tensor) -> Vec<f32> {
    match x.dtype() {
        DType::F16 => x.to_vec::<f16>().unwrap().into_iter().map(f32::from).collect(),
        _ => x.to_vec().unwrap(),
    }
}

/// Halves in order, and between two neighbours the middle, which goes to the even one, and its own neighbours, which do
/// not: in double precision those a single-precision number cannot tell from it.
#[test]
fn a_double_becomes_the_nearest_half() {
    let (mut doubles, mut want) = (Vec::new(), Vec::new());
    for bits in 0..0x7c00u16 {
        let value = |bits| if bits == 0x7c00 { 65536.0 } else { f16::from_bits(bits).to_f64() };
        let (low, high) = (value(bits), value(bits + 1));
        let middle = (low + high) / 2.0;
        let even = bits + (bits & 1);
        for (x, nearest) in [(low, bits), (middle.next_down(), bits), (middle, even), (middle.next_up(), bits + 1)] {
            doubles.extend([x, -x]);
            want.extend([nearest, nearest | 0x8000]);
        }
    }
    doubles.extend([f64::INFINITY, f64::NEG_INFINITY, 1e300]);
    want.extend([0x7c00, 0xfc00, 0x7c00]);
    let x = Tensor::from_f64_slice(&Device::reference(), &doubles, [doubles.len()]).unwrap();
    let got = x.cast(DType::F16).to_vec::<f16>().unwrap();
    for ((x, got), want) in doubles.iter().zip(got).zip(want) {
        assert_eq!(got.to_bits(), want, "{x:e}");
    }
}

/// Every sample that takes floats, with halves in their place.
fn over_halved_samples(check: impl Fn(&str, &AnySample) -> Result<(), String>) {
    let only = std::env::var("WGRAD_TEST_OP").ok();
    let mut faults = Vec::new();
    let mut count = 0;
    for entry in REGISTRY.iter().filter(|e| only.as_ref().is_none_or(|o| e.name.starts_with(o.as_str()))) {
        let samples = (entry.samples)();
        for sample in samples.iter().filter(|s| s.inputs.iter().any(|i| i.meta.dtype == DType::F32)) {
            count += 1;
            if let Err(fault) = check(entry.name, &halved(sample)) {
                faults.push(fault);
            }
        }
    }
    assert!(count > 0 || only.is_some(), "no sample was checked");
    assert!(faults.is_empty(), "{} of {count} samples fail:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_op_takes_halves_natively() {
    let device = under_test();
    over_halved_samples(|name, sample| selftest::check(&device, name, sample).map(drop));
}

#[test]
fn every_op_takes_packed_halves() {
    let device = packed();
    over_halved_samples(|name, sample| selftest::check(&device, name, sample).map(drop));
}

#[test]
fn every_gpu_variant_takes_halves() {
    let options = GpuOptions { gpu_variants: true, ..adapter() };
    let device = Device::gpu(&options).unwrap_or_else(|e| panic!("{e}"));
    over_halved_samples(|name, sample| selftest::check(&device, name, sample).map(drop));
}

#[test]
fn every_op_takes_halves_on_the_cpu() {
    for device in [Device::cpu(), Device::reference()] {
        over_halved_samples(|name, sample| selftest::check(&device, name, sample).map(drop));
    }
}

/// The gradients of a sample's float inputs for the same cotangents.
fn gradients(device: &Device, sample: &Sample<Arc<dyn wgrad::tensor::AnyOp>>) -> Result<Vec<Vec<f64>>, String> {
    let inputs: Vec<Tensor> = sample.inputs.iter().map(|i| tensor(device, i)).collect();
    let outputs = Tensor::try_apply_any(Arc::clone(&sample.op), &inputs.iter().collect::<Vec<_>>());
    let outputs = outputs.map_err(|e| e.to_string())?;
    let ys: Vec<&Tensor> = outputs.iter().filter(|y| y.dtype().is_float()).collect();
    let seeds = ys.iter().enumerate().map(|(k, y)| {
        let seed: Vec<f64> = noise(y.elements(), 100 + k as u64).iter().map(|&v| f16::from_f64(v).to_f64()).collect();
        Tensor::from_f64_slice(device, &seed, y.shape()).unwrap()
    });
    let seeds: Vec<Tensor> = seeds.collect();
    let xs: Vec<&Tensor> = inputs.iter().filter(|x| x.dtype().is_float()).collect();
    let found = autodiff::try_vjp(&ys, &seeds.iter().collect::<Vec<_>>(), &xs);
    let mut all = Vec::new();
    for (x, dx) in xs.iter().zip(found) {
        let Some(dx) = dx else { continue };
        if dx.dtype() != x.dtype() {
            return Err(format!("the cotangent of {} is {}", x.dtype(), dx.dtype()));
        }
        all.push(dx.to_f64_vec().map_err(|e| e.to_string())?);
    }
    Ok(all)
}

/// The gradient of halves is that of the same numbers in double precision (whose rules are held against the slope
/// elsewhere), rounded; and a rule that reads the result reads the rounded one.
#[test]
fn gradients_of_halves_are_those_of_the_same_numbers() {
    let reference = Device::reference();
    for device in [under_test(), Device::cpu()] {
        over_halved_samples(|name, sample| {
            if sample.op.no_grad().is_some() || !sample.smooth {
                return Ok(());
            }
            if matches!(sample.op.lower(), AnyLowering::View(_)) && name == "cast_widen" {
                return Ok(());
            }
            let mut wide = sample.clone();
            wide.inputs.iter_mut().filter(|i| i.meta.dtype == DType::F16).for_each(|i| i.meta.dtype = DType::F32);
            let describe = |e: String| format!("{name} {:?} on {device}, inputs {:?}: {e}", sample.op, shapes(sample));
            let got = gradients(&device, sample).map_err(describe)?;
            let want = gradients(&reference, &wide).map_err(describe)?;
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let largest = want.iter().filter(|w| w.is_finite()).fold(0f64, |m, w| m.max(w.abs()));
                for (e, (&g, &w)) in got.iter().zip(want).enumerate() {
                    // Half a digit for being rounded, and up to four for what the rule makes of a rounded result.
                    let allowed = f64::exp2(-11.0) * w.abs() + f64::exp2(-25.0) + f64::exp2(-9.0) * largest.max(1e-3);
                    if (g - w).abs() > allowed || g.is_nan() != w.is_nan() {
                        return Err(describe(format!("gradient {i}, element {e} is {g:e}, should be {w:e}")));
                    }
                }
            }
            Ok(())
        });
    }
}

#[test]
fn halves_round_to_nearest_even() {
    let ulp = f32::exp2(-10.0);
    let cases = [
        (1.0 + 0.5 * ulp, 1.0),
        (1.0 + 1.5 * ulp, 1.0 + 2.0 * ulp),
        (1.0 + 0.5001 * ulp, 1.0 + ulp),
        (65519.0, 65504.0),
        (65520.0, f32::INFINITY),
        (-1e6, f32::NEG_INFINITY),
        (f32::exp2(-24.0), f32::exp2(-24.0)),
        (f32::exp2(-25.0), 0.0),
        (1.0001 * f32::exp2(-25.0), f32::exp2(-24.0)),
        (1.5 * f32::exp2(-24.0), 2.0 * f32::exp2(-24.0)),
        (1e-30, 0.0),
    ];
    let (from, want): (Vec<f32>, Vec<f32>) = cases.into_iter().unzip();
    for d in devices() {
        let x = Tensor::from_slice(&d, &from, from.len()).unwrap().cast(DType::F16);
        assert_eq!(floats(&x), want, "on {d}");
        assert_eq!(x.cast(DType::F32).to_vec::<f32>().unwrap(), want, "widened, on {d}");
        let not = Tensor::from_slice(&d, &[f32::NAN, 1.0], 2).unwrap().cast(DType::F16);
        assert!(floats(&not)[0].is_nan() && floats(&not)[1] == 1.0, "NaN stays one on {d}");
    }
}

#[test]
fn results_are_half_where_nothing_asks_for_more() {
    for d in devices() {
        let x = halves(&d, &[1.0, 2.0, 3.0], &[3]);
        let wide = Tensor::from_slice(&d, &[1f32, 0.5, 0.25], 3).unwrap();
        assert_eq!((&x + &x).dtype(), DType::F16);
        assert_eq!((&x * 0.1).dtype(), DType::F16, "a number of the host does not widen");
        assert_eq!((1.0 - &x).dtype(), DType::F16);
        assert_eq!((&x * &wide).dtype(), DType::F32, "a tensor does");
        assert_eq!((&x * &wide.sum_all()).dtype(), DType::F16, "a tensor of rank 0 does not, as in PyTorch");
        assert_eq!(x.softmax(0).dtype(), DType::F32);
        assert_eq!(x.sum_all().dtype(), DType::F32);
        assert_eq!(x.greater(&x).dtype(), DType::Bool);
        assert_eq!(x.reshape([3, 1]).matmul(&x.reshape([1, 3])).dtype(), DType::F16);
        // The number itself is not rounded: 0.1 is no half.
        let tenth = f16::from_f32(3.0 * 0.1).to_f32();
        assert_eq!(floats(&(&x * 0.1))[2], tenth, "on {d}");
        assert_eq!(floats(&Tensor::scalar(&d, f16::from_f32(2.5))), [2.5]);
        assert_eq!(x.cast(DType::I32).to_vec::<i32>().unwrap(), [1, 2, 3]);
        assert_eq!(x.cast(DType::U32).cast(DType::F16).to_vec::<f16>().unwrap(), x.to_vec::<f16>().unwrap());
        assert_eq!(x.cast(DType::Bool).to_vec::<u32>().unwrap(), [1, 1, 1]);
    }
}

/// The methods that look at their operands before they record an op take halves too, and say what they give.
#[test]
fn methods_take_halves() {
    for d in [under_test(), Device::cpu()] {
        let values: Vec<f32> = (0..96).map(|i| ((i * 7) % 13) as f32 * 0.25 - 1.5).collect();
        let (x, wide) = (halves(&d, &values, &[2, 3, 4, 4]), Tensor::from_slice(&d, &values, [2, 3, 4, 4]).unwrap());
        let weight = halves(&d, &values[..54], &[2, 3, 3, 3]);
        let pool = Pool2dOptions::new([2, 2]);
        type Method<'a> = (&'a str, DType, Box<dyn Fn(&Tensor, &Tensor) -> Tensor>);
        let method = |name, dtype, f: fn(&Tensor, &Tensor) -> Tensor| -> Method { (name, dtype, Box::new(f)) };
        let methods = [
            method("conv2d", DType::F16, |x, w| x.conv2d(w, None, &Conv2dOptions::default())),
            method("conv2d with a bias", DType::F16, |x, w| {
                x.conv2d(w, Some(&w.reshape([54]).narrow(0, 3, 2)), &Default::default())
            }),
            method("clamp", DType::F16, |x, _| x.clamp(-0.3, 0.6)),
            method("powf", DType::F16, |x, _| x.abs().powf(1.5)),
            method("where", DType::F16, |x, _| Tensor::select(&x.gt(0.0), x, &x.neg())),
            method("sort", DType::F16, |x, _| x.reshape([96]).sort(0, false).0),
            method("pad", DType::F16, |x, _| x.pad(&[(0, 0), (0, 0), (1, 0), (2, 1)], 0.5)),
            method("cumsum", DType::F32, |x, _| x.cumsum(1)),
            method("mean", DType::F32, |x, _| x.mean(&[2, 3])),
            method("var", DType::F32, |x, _| x.var(&[2, 3], 1.0)),
            method("max", DType::F32, |x, _| x.max(&[1])),
            method("softmax", DType::F32, |x, _| x.softmax(1)),
            method("log_softmax", DType::F32, |x, _| x.log_softmax(1)),
            method("zeros_like", DType::F16, |x, _| x.zeros_like()),
            method("ones_like", DType::F16, |x, _| x.ones_like()),
            method("matmul", DType::F16, |x, w| x.reshape([32, 3]).matmul(&w.reshape([3, 18]))),
        ];
        for (name, dtype, f) in &methods {
            let (half, single) = (f(&x, &weight), f(&wide, &weight.cast(DType::F32)));
            assert_eq!(half.dtype(), *dtype, "{name} on {d}");
            let (half, single) = (floats(&half), floats(&single));
            let largest = single.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (h, s) in half.iter().zip(&single) {
                // One rounding per op, and no method has more than three.
                assert!((h - s).abs() <= 2e-3 * largest, "{name}: {h} of halves, {s} of singles, on {d}");
            }
        }
        assert_eq!(floats(&x.max_pool2d(&pool)), floats(&wide.max_pool2d(&pool)), "a choice is exact on {d}");
        assert_eq!(x.max_pool2d(&pool).dtype(), DType::F16);
    }
}

/// Two halves share a word: odd lengths, odd places, and readers that begin within a word.
#[test]
fn halves_begin_and_end_anywhere() {
    let values: Vec<f32> = (0..515).map(|i| i as f32).collect();
    for d in devices() {
        let x = halves(&d, &values, &[515]);
        assert_eq!(floats(&x), values, "on {d}");
        for (from, n) in [(0, 1), (1, 1), (1, 2), (3, 500), (129, 7), (514, 1), (256, 0)] {
            let part = x.narrow(0, from, n);
            assert_eq!(floats(&part), values[from..from + n], "{n} from {from} on {d}");
            let wide = part.cast(DType::F32);
            assert_eq!(wide.to_vec::<f32>().unwrap(), values[from..from + n], "{n} from {from}, widened, on {d}");
            let sum: f32 = values[from..from + n].iter().sum();
            assert_eq!(part.sum_all().item().unwrap(), sum, "{n} from {from}, summed, on {d}");
        }
        let tail = x.narrow(0, 1, 514).reshape([2, 257]).transpose(0, 1);
        let both = Tensor::concat(&[&tail, &tail], 1);
        assert_eq!(both.dtype(), DType::F16);
        assert_eq!(floats(&both)[..4], [1.0, 258.0, 1.0, 258.0], "on {d}");
        let plus = &tail + 1.0;
        assert_eq!(floats(&plus)[512..], [258.0, 515.0], "on {d}");
    }
}

/// What a chain of ops gives does not depend on how it is fused: each rounds by itself.
#[test]
fn fused_chains_round_at_every_op() {
    let values: Vec<f32> = (0..97).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
    let chain = |x: &Tensor, look: &dyn Fn(&Tensor)| {
        let a = &(x * x) + 0.1;
        look(&a);
        let b = &a * &x.tanh();
        look(&b);
        &b - &a
    };
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for d in devices() {
        let x = halves(&d, &values, &[97]);
        let fused = floats(&chain(&x, &|_| ()));
        let step_by_step = floats(&chain(&x, &|y| wgrad::eval(&[y]).unwrap()));
        assert_eq!(fused, step_by_step, "on {d}");
        seen.push(fused);
    }
    // tanh may differ in the last digit of single precision, which decides few roundings; natively or packed, nothing
    // may.
    assert_eq!(seen[0], seen[1]);
}
