//! Random programs: graphs of ops over random shapes and views, forward and backward in one plan, on llvmpipe and the
//! CPU path against double precision. What no sample of a single op can show is how ops meet: a fused chain read
//! through a view, two readers of one value, a gradient summed over a broadcast.
//!
//! A program is its seed. CI runs a few; `WGRAD_FUZZ=2000 cargo test --release --test kernels fuzz` runs many, from
//! `WGRAD_FUZZ_SEED` on. A seed that ever failed goes into [`FAILED_ONCE`].

use wgrad::autodiff::try_vjp;
use wgrad::device::GpuOptions;
use wgrad::functional::PadMode;
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};
use wgrad::{DType, Device, Tensor};

use crate::merge::merging;
use crate::registry::{adapter, under_test};

/// Seeds of programs that were wrong once, and what it was.
const FAILED_ONCE: &[(u64, &str)] = &[];

/// Likewise, of programs with halves.
const HALVES_FAILED_ONCE: &[(u64, &str)] = &[];

/// A fixed sequence of random numbers.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn real(&mut self) -> f64 {
        ((self.next() >> 40) as f64 / (1u64 << 24) as f64 * 2.0 - 1.0) as f32 as f64
    }

    fn shape(&mut self) -> Vec<usize> {
        let extents = [1, 1, 2, 3, 4, 5, 7, 8];
        (0..self.below(5)).map(|_| extents[self.below(8)]).collect()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.below(all.len());
        &all[at]
    }
}

/// What a program computes: the leaves, and the values that are asked for. `trail` gets a line per step.
struct Program {
    leaves: Vec<Tensor>,
    results: Vec<Tensor>,
}

/// The types of a program's values: all single floats, or some of them halves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Floats {
    Single,
    SomeHalves,
}

impl Floats {
    /// How far results may be from double precision, as a part of the largest value. A number that is rounded to half
    /// the other way is off by a thousandth.
    fn allowed(self) -> f64 {
        if self == Floats::Single { 2e-4 } else { 1e-2 }
    }
}

fn build(device: &Device, seed: u64, floats: Floats, trail: &mut Vec<String>) -> Program {
    let dice = &mut Dice(seed.wrapping_mul(0x5851_F42D_4C95_7F2D));
    let leaf = |dice: &mut Dice, shape: &[usize]| {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| dice.real()).collect();
        let x = Tensor::from_f64_slice(device, &values, shape).unwrap();
        match floats {
            // Some are stored as halves, some are halves only inside the program.
            Floats::SomeHalves if dice.below(2) == 0 => {
                let x = x.cast(DType::F16);
                if dice.below(2) == 0 { x.into_leaf(false).unwrap() } else { x }
            }
            _ => x,
        }
    };
    let mut leaves = Vec::new();
    for _ in 0..2 + dice.below(2) {
        let shape = dice.shape();
        leaves.push(leaf(dice, &shape));
    }
    let mut pool = leaves.clone();
    for _ in 0..4 + dice.below(9) {
        // The newest values are read most, so that chains grow long.
        let at = pool.len() - 1 - dice.below(pool.len()).min(dice.below(3));
        let x = pool[at].clone();
        let (name, y) = step(dice, &x, &pool, &mut leaves, &leaf);
        // Nothing grows without end, and nothing is so small that it cannot be compared.
        let y = if dice.below(3) == 0 { y.tanh() } else { &y * 0.5 };
        let y = match floats {
            Floats::SomeHalves => y.cast(*dice.of(&[DType::F16, y.dtype(), DType::F32])),
            Floats::Single => y,
        };
        if y.elements() <= 4096 {
            let (from, to) = (x.dtype(), y.dtype());
            trail.push(format!("{name} of #{at} {from} {} -> #{} {to} {}", x.shape(), pool.len(), y.shape()));
            pool.push(y);
        }
    }
    let count = 1 + dice.below(3);
    let results = (0..count).map(|k| pool[pool.len() - 1 - k.min(pool.len() - 1)].clone()).collect();
    Program { leaves, results }
}

type Leaf<'a> = &'a dyn Fn(&mut Dice, &[usize]) -> Tensor;

fn step(dice: &mut Dice, x: &Tensor, pool: &[Tensor], leaves: &mut Vec<Tensor>, leaf: Leaf) -> (String, Tensor) {
    let rank = x.rank();
    let axis = dice.below(rank);
    let mut fresh = |dice: &mut Dice, shape: &[usize]| {
        let t = leaf(dice, shape);
        leaves.push(t.clone());
        t
    };
    let named = |name: &str, y: Tensor| (name.to_string(), y);
    match dice.below(29) {
        0 => {
            let f: (&str, fn(&Tensor) -> Tensor) = *dice.of(&[
                ("tanh", Tensor::tanh as fn(&Tensor) -> Tensor),
                ("sigmoid", Tensor::sigmoid),
                ("sin", Tensor::sin),
                ("cos", Tensor::cos),
                ("square", Tensor::square),
                ("neg", Tensor::neg),
                ("relu", Tensor::relu),
                ("abs", Tensor::abs),
            ]);
            named(f.0, f.1(x))
        }
        1 => named("exp", x.tanh().exp()),
        2 => named("ln", (&x.square() + 0.5).ln()),
        3..=5 => {
            // An operand of the same shape, or one that broadcasts.
            let other = match dice.below(3) {
                0 => pool.iter().rev().find(|t| t.shape() == x.shape()).cloned(),
                1 => {
                    let mut shape = x.shape().to_vec();
                    shape.iter_mut().for_each(|n| *n = if dice.below(2) == 0 { 1 } else { *n });
                    let cut = dice.below(rank + 1);
                    Some(fresh(dice, &shape[cut..]))
                }
                _ => None,
            };
            let other = other.unwrap_or_else(|| fresh(dice, x.shape()));
            let f: (&str, fn(&Tensor, &Tensor) -> Tensor) = *dice.of(&[
                ("add", Tensor::add as fn(&Tensor, &Tensor) -> Tensor),
                ("sub", Tensor::sub),
                ("mul", Tensor::mul),
                ("maximum", Tensor::maximum),
                ("minimum", Tensor::minimum),
            ]);
            named(f.0, f.1(x, &other))
        }
        6 => named("div", x / &(&fresh(dice, x.shape()).square() + 1.0)),
        7 if rank > 0 => {
            let mut axes: Vec<usize> = (0..rank).collect();
            (0..rank).for_each(|i| axes.swap(i, dice.below(rank)));
            named("permute", x.permute(&axes))
        }
        8 => {
            let n = x.elements();
            let a = *dice.of(&[1, 2, 3, 4, 5, 7]);
            if n.is_multiple_of(a) { named("reshape", x.reshape([a, n / a])) } else { named("flatten", x.reshape([n])) }
        }
        9 if rank > 0 => named("flip", x.flip(axis)),
        10 | 11 if rank > 0 => {
            let (mut starts, mut extents, mut steps) = (Vec::new(), Vec::new(), Vec::new());
            for &n in x.shape().iter() {
                let stride = 1 + dice.below(2);
                let start = dice.below(n);
                let back = dice.below(4) == 0;
                let count = 1 + if back { start / stride } else { (n - 1 - start) / stride };
                starts.push(start);
                extents.push(1 + dice.below(count));
                steps.push(if back { -(stride as isize) } else { stride as isize });
            }
            named("slice", x.slice(&starts, &extents, &steps))
        }
        12 => {
            let mut shape = vec![1 + dice.below(3)];
            shape.extend_from_slice(x.shape());
            named("broadcast", x.broadcast_to(shape))
        }
        13 | 14 if rank > 0 => {
            let axes: Vec<isize> = (0..rank).filter(|&a| a == axis || dice.below(3) == 0).map(|a| a as isize).collect();
            match dice.below(4) {
                0 => named("sum", x.sum(&axes)),
                1 => named("sum_keep", x.sum_keep(&axes)),
                2 => named("mean", x.mean(&axes)),
                _ => named("max", x.max(&axes)),
            }
        }
        15 if rank > 0 => {
            let k = x.shape()[rank - 1];
            let n = 1 + dice.below(6);
            let w = fresh(dice, &[k, n]);
            named("matmul", x.reshape([x.elements() / k, k]).matmul(&w))
        }
        16 if rank > 0 => named("softmax", x.softmax(axis as isize)),
        17 if rank > 0 => {
            let other = fresh(dice, x.shape());
            named("concat", Tensor::concat(&[x, &other, x], axis as isize))
        }
        18 if rank > 0 => {
            let pads: Vec<(usize, usize)> = (0..rank).map(|_| (dice.below(2), dice.below(3))).collect();
            named("pad", x.pad(&pads, 0.25))
        }
        19 => {
            let other = fresh(dice, x.shape());
            named("select", Tensor::select(&x.greater(&other), &x.square(), &other))
        }
        20 if rank == 4 && x.shape()[2] > 2 && x.shape()[3] > 2 => {
            let (c, k) = (x.shape()[1], 1 + dice.below(3));
            let w = fresh(dice, &[k, c, 3, 3]);
            let padding = *dice.of(&[Padding::Same, Padding::Valid]);
            named("conv2d", x.conv2d(&w, None, &Conv2dOptions { padding, ..Default::default() }))
        }
        21 if rank == 4 && x.shape()[2] > 1 && x.shape()[3] > 1 => {
            named("avg_pool2d", x.avg_pool2d(&Pool2dOptions::new([2, 2])))
        }
        22 if rank > 0 => named("cumsum", x.cumsum(axis as isize)),
        23 if rank > 0 => {
            let n = x.shape()[axis];
            let picks: Vec<u32> = (0..1 + dice.below(6)).map(|_| dice.below(n) as u32).collect();
            let index = Tensor::from_slice(x.device(), &picks, picks.len()).unwrap();
            named("index_select", x.index_select(axis as isize, &index))
        }
        24 if rank > 0 && x.shape()[rank - 1] > 1 => named("layer_norm", x.layer_norm(1, None, None, 0.1)),
        25 if rank > 0 => {
            let n = x.shape()[axis];
            let size = 1 + dice.below(n);
            named("unfold", x.unfold(axis, size, 1 + dice.below(2)))
        }
        26 if rank > 0 => {
            let mode = *dice.of(&[PadMode::Replicate, PadMode::Circular, PadMode::Constant(0.5)]);
            let n = x.shape()[rank - 1] as isize;
            named("pad_mode", x.pad_mode(&[dice.below(2) as isize - (n > 2) as isize, dice.below(2) as isize], mode))
        }
        27 if rank > 0 => named("logsumexp", x.logsumexp(&[axis as isize])),
        28 => named("gelu", x.gelu()),
        _ => named("scale", x * 1.5),
    }
}

/// The numbers of a program on a device: its results, then the gradients of their weighted sum.
fn numbers(device: &Device, seed: u64, floats: Floats, trail: &mut Vec<String>) -> Vec<Vec<f64>> {
    let program = build(device, seed, floats, trail);
    let dice = &mut Dice(seed ^ 77);
    let weights: Vec<Tensor> = program
        .results
        .iter()
        .map(|y| {
            let values: Vec<f64> = (0..y.elements()).map(|_| dice.real()).collect();
            Tensor::from_f64_slice(device, &values, y.shape()).unwrap().cast(y.dtype())
        })
        .collect();
    let ys: Vec<&Tensor> = program.results.iter().collect();
    let xs: Vec<&Tensor> = program.leaves.iter().collect();
    let slopes = try_vjp(&ys, &weights.iter().collect::<Vec<_>>(), &xs);
    let all: Vec<&Tensor> = ys.into_iter().chain(slopes.iter().flatten()).filter(|t| t.dtype().is_float()).collect();
    wgrad::eval(&all).unwrap_or_else(|e| panic!("program {seed} on {device}: {e}"));
    all.iter().map(|t| t.to_f64_vec().unwrap()).collect()
}

/// The largest deviation, as a part of the largest value.
fn off(got: &[Vec<f64>], want: &[Vec<f64>]) -> f64 {
    assert_eq!(got.len(), want.len());
    let worst = |(g, w): (&Vec<f64>, &Vec<f64>)| {
        assert_eq!(g.len(), w.len());
        let largest = w.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
        let off = |(a, b): (&f64, &f64)| if a.is_nan() != b.is_nan() { f64::INFINITY } else { (a - b).abs() };
        g.iter().zip(w).map(off).filter(|d| !d.is_nan()).fold(0.0, f64::max) / largest
    };
    got.iter().zip(want).map(worst).fold(0.0, f64::max)
}

/// Compares a program on some devices with double precision. Where single precision itself decides a comparison
/// otherwise, all devices are off alike, and nothing is said: `Ok(false)`.
fn check(devices: &[&Device], seed: u64, floats: Floats) -> Result<bool, String> {
    let mut trail = Vec::new();
    let want = numbers(&Device::reference(), seed, floats, &mut trail);
    let got: Vec<Vec<Vec<f64>>> = devices.iter().map(|d| numbers(d, seed, floats, &mut Vec::new())).collect();
    let errors: Vec<f64> = got.iter().map(|g| off(g, &want)).collect();
    if errors.iter().all(|&e| e <= floats.allowed()) {
        return Ok(true);
    }
    if got.len() > 1 && got.iter().all(|g| off(g, &got[0]) <= 0.5 * floats.allowed()) {
        return Ok(false);
    }
    let each: Vec<String> = devices.iter().zip(&errors).map(|(d, e)| format!("{d}: {e:.1e}")).collect();
    Err(format!("program {seed} is off by {}\n  {}", each.join(", "), trail.join("\n  ")))
}

fn long() -> Option<(u64, u64)> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
    number("WGRAD_FUZZ").map(|n| (number("WGRAD_FUZZ_SEED").unwrap_or(0), n))
}

#[test]
fn random_programs_agree_on_the_gpu_the_cpu_and_in_double_precision() {
    let variants = GpuOptions { gpu_variants: true, ..adapter() };
    // Every third program runs the kernels that real GPUs get, and every third merges small launches.
    let gpus = [under_test(), Device::gpu(&variants).unwrap_or_else(|e| panic!("{e}")), merging()];
    let cpu = Device::cpu();
    let (first, count) = long().unwrap_or((0, 5));
    let seeds = FAILED_ONCE.iter().map(|(seed, _)| *seed).chain(first..first + count);
    let (mut faults, mut undecided) = (Vec::new(), 0);
    for seed in seeds {
        match check(&[&gpus[(seed % 3) as usize], &cpu], seed, Floats::Single) {
            Ok(decided) => undecided += u64::from(!decided),
            Err(fault) => faults.push(fault),
        }
    }
    assert!(faults.is_empty(), "{} programs:\n{}", faults.len(), faults.join("\n"));
    assert!(undecided <= 1 + count / 20, "{undecided} of {count} programs hang on a rounding: weaken the menu");
}

/// Values stored as halves, by 16-bit floats and packed by hand, and computed on in the kernels of llvmpipe and of real
/// GPUs.
#[test]
fn random_programs_with_halves_agree() {
    let options = |native_half, gpu_variants| {
        let options = GpuOptions { native_half, gpu_variants, ..adapter() };
        Device::gpu(&options).unwrap_or_else(|e| panic!("{e}"))
    };
    let pairs = [[options(true, true), options(false, true)], [options(true, false), options(false, false)]];
    let cpu = Device::cpu();
    let (first, count) = long().unwrap_or((5000, 4));
    let seeds = HALVES_FAILED_ONCE.iter().map(|(seed, _)| *seed).chain(first..first + count);
    let (mut faults, mut undecided) = (Vec::new(), 0);
    for seed in seeds {
        let [native, packed] = &pairs[(seed % 2) as usize];
        match check(&[native, packed, &cpu], seed, Floats::SomeHalves) {
            Ok(decided) => undecided += u64::from(!decided),
            Err(fault) => faults.push(fault),
        }
    }
    assert!(faults.is_empty(), "{} programs:\n{}", faults.len(), faults.join("\n"));
    assert!(undecided <= 1 + count / 20, "{undecided} of {count} programs hang on a rounding: weaken the menu");
}

/// The CPU path needs no compiled kernels, so it gets more of them.
#[test]
fn random_programs_agree_on_the_cpu_and_in_double_precision() {
    let cpu = Device::cpu();
    let (first, count) = long().unwrap_or((1000, 100));
    let faults: Vec<String> =
        (first..first + count).filter_map(|seed| check(&[&cpu], seed, Floats::Single).err()).collect();
    // One comparison in so many is decided otherwise in single precision.
    assert!(faults.len() as u64 <= count / 50, "{} of {count} programs:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_number_that_is_off_is_seen() {
    let right = numbers(&Device::cpu(), 3, Floats::Single, &mut Vec::new());
    assert!(right.len() > 1, "results and gradients");
    let mut wrong = right.clone();
    let last = wrong.last_mut().unwrap();
    last[0] += 1e-3 * last.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    assert!(off(&right, &right) == 0.0 && off(&wrong, &right) > 5e-4);
    wrong.last_mut().unwrap()[0] = f64::NAN;
    assert!(off(&wrong, &right).is_infinite());
}
