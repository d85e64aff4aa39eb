//! Loops over the widest vectors of the processor, and the functions inside them.
//!
//! The crate is compiled for every processor of an architecture, so its loops would use the narrowest vectors all of
//! them have. [`vectorized`] compiles a loop once more for wider ones and picks at run time. Calls into the C library
//! stop a loop from becoming vector code at all; the functions here are polynomials without a branch (coefficients of
//! Moshier's Cephes library), within three units in the last place. Products and sums are not contracted, so every
//! width gives the same bits.

/// Runs `f`, and all that is inlined into it, with the widest vectors of this processor.
#[inline(always)]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
        fn widest<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[target_feature(enable = "avx2")]
        fn wide<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        if has_avx512() {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { widest(f) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return unsafe { wide(f) };
        }
    }
    f()
}

/// Whether the processor has the parts of AVX-512 that all with it have but the first ones.
#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    use std::arch::is_x86_feature_detected as has;
    has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq")
}

/// Sets the numbers at one place of each of `outputs` to what `f` makes of those at that place of `inputs` and of what
/// stood there. The compiler cannot know that many slices lie apart, so results wait in an array of their own until a
/// whole block is read.
///
/// # Panics
/// If the slices differ in length.
#[inline(always)]
pub(super) fn map_over<T: Copy + Default, const N: usize, const M: usize>(
    inputs: [&[T]; N],
    outputs: [&mut [T]; M],
    f: impl Fn([T; N], [T; M]) -> [T; M],
) {
    vectorized(
        #[inline(always)]
        || {
            let n = inputs[0].len();
            assert!(inputs.iter().all(|x| x.len() == n) && outputs.iter().all(|x| x.len() == n), "lengths differ");
            let inputs = inputs.map(
                #[inline(always)]
                |x| x.as_chunks::<LANES>(),
            );
            let outputs = outputs.map(
                #[inline(always)]
                |x| x.as_chunks_mut::<LANES>(),
            );
            let mut results = [[T::default(); LANES]; M];
            for c in 0..n / LANES {
                for m in 0..M {
                    results[m] = outputs[m].0[c];
                }
                let inputs = inputs.map(
                    #[inline(always)]
                    |(x, _)| &x[c],
                );
                block(inputs, &mut results, &f);
                for m in 0..M {
                    outputs[m].0[c] = results[m];
                }
            }
            // The last few are one more block, of which the rest counts for nothing.
            let rest = n % LANES;
            if rest > 0 {
                let mut last = [[T::default(); LANES]; N];
                for k in 0..N {
                    last[k][..rest].copy_from_slice(inputs[k].1);
                }
                for m in 0..M {
                    results[m][..rest].copy_from_slice(outputs[m].1);
                }
                block(last.each_ref(), &mut results, &f);
                for m in 0..M {
                    outputs[m].1.copy_from_slice(&results[m][..rest]);
                }
            }
        },
    );
}

/// Numbers of a block: enough that the compiler makes vectors of the loop over them before it unrolls it.
const LANES: usize = 64;

/// One block of [`map_over`].
#[inline(always)]
fn block<T: Copy, const N: usize, const M: usize>(
    x: [&[T; LANES]; N],
    y: &mut [[T; LANES]; M],
    f: &impl Fn([T; N], [T; M]) -> [T; M],
) {
    for j in 0..LANES {
        let x = x.map(
            #[inline(always)]
            |x| x[j],
        );
        let before = y.each_ref().map(
            #[inline(always)]
            |y| y[j],
        );
        let after = f(x, before);
        for m in 0..M {
            y[m][j] = after[m];
        }
    }
}

/// Asks for numbers to be brought near from memory, where a processor can be asked.
pub(crate) fn prefetch<T>(numbers: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks((64 / size_of::<T>()).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint, which reads nothing the program sees.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// e^x.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and taking off 1.5 * 2^23 + 126 rounds to a whole number `n`; `n + 126` then stands in the low bits.
    const ROUND: f32 = 12_582_912.0 + 126.0;
    // What is clamped here is 0 or infinite all the same.
    let inside = if x > 89.0 { 89.0 } else { x };
    let inside = if inside < -105.0 { -105.0 } else { inside };
    let shifted = inside * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // 2^n in two factors, for the range of one is not enough: 2 and 2^(n - 1), or 2^-64 and 2^(n + 64).
    let small = inside < -80.0;
    let (bits, rest) = (shifted.to_bits(), if small { 1.0 / 18_446_744_073_709_551_616.0 } else { 2.0 });
    let power = f32::from_bits((if small { bits.wrapping_add(65) } else { bits }) << 23);
    of_rest(inside, n) * power * rest
}

/// e^x of numbers that are not above 0; 0 where that is below the smallest normal number.
#[inline(always)]
pub fn exp_falling(x: f32) -> f32 {
    // As above; here 2^n is one factor, and `n + 127` its exponent.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    const LEAST: f32 = -87.336_54;
    let inside = if x < LEAST { LEAST } else { x };
    let shifted = inside * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let y = of_rest(inside, n) * f32::from_bits(shifted.to_bits() << 23);
    if x < LEAST { 0.0 } else { y }
}

/// e^(x - n ln 2) for the nearest whole number `n`.
#[inline(always)]
fn of_rest(x: f32, n: f32) -> f32 {
    // ln 2 in two parts, the first with few enough digits that its multiples are exact.
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    // The polynomial of this degree whose largest relative error is least, 4e-9.
    let p = (((1.381_430_1e-3 * r + 8.368_85e-3) * r + 4.166_84e-2) * r + 1.666_652e-1) * r + 0.499_999_94;
    p * r * r + r + 1.0
}

/// Natural logarithm: -inf at 0, NaN below.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let (normal, bias) = if small { (x * 8_388_608.0, 23.0) } else { (x, 0.0) };
    // x = m 2^e with m in [sqrt(1/2), sqrt(2)).
    let bits = normal.to_bits().wrapping_sub(0x3f35_04f3);
    let e = ((bits as i32) >> 23) as f32 - bias;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let z = m * m;
    let p = (7.037_683_6e-2 * m - 1.151_461e-1) * m + 1.167_699_9e-1;
    let p = ((p * m - 1.242_014_1e-1) * m + 1.424_932_3e-1) * m - 1.666_805_8e-1;
    let p = ((p * m + 2.000_071_4e-1) * m - 2.499_999_4e-1) * m + 3.333_333e-1;
    let y = m * z * p + e * -2.121_944_4e-4 - 0.5 * z;
    let y = m + y + e * 0.693_359_4;
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 || x.is_nan() { f32::NAN } else { y }
}

/// ln(1 + x), accurate near 0.
#[inline(always)]
pub fn ln_1p(x: f32) -> f32 {
    // What rounding took from 1 + x is put back in proportion (Kahan).
    let sum = 1.0 + x;
    let kept = sum - 1.0;
    let y = ln(sum) * (x / if kept == 0.0 { 1.0 } else { kept });
    let y = if kept == 0.0 { x } else { y };
    if x == f32::INFINITY { x } else { y }
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = ((-5.704_989e-3 * z + 2.063_909e-2) * z - 5.373_971_6e-2) * z;
    let near = ((p + 1.333_144_2e-1) * z - 3.333_328e-1) * z * x + x;
    let far = (1.0 - 2.0 / (exp(a + a) + 1.0)).copysign(x);
    if a < 0.625 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst error in units in the last place over every 1,001st float.
    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, low: f32, high: f32) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        for bits in (0..u32::MAX - 1001).step_by(1001) {
            let x = f32::from_bits(bits);
            if !(low..=high).contains(&x) {
                continue;
            }
            let (got, want) = (f(x) as f64, exact(x as f64));
            let unit = ((want as f32).abs().max(f32::MIN_POSITIVE) * f32::EPSILON) as f64;
            let error = (got - want).abs() / unit;
            if error > worst.0 || error.is_nan() {
                worst = (error, x);
            }
        }
        worst
    }

    #[test]
    fn functions_are_within_three_units_in_the_last_place() {
        for (name, (error, x)) in [
            ("exp", worst(exp, f64::exp, -104.0, 88.72)),
            ("exp_falling", worst(exp_falling, f64::exp, -87.336, 0.0)),
            ("ln", worst(ln, f64::ln, 1e-45, f32::MAX)),
            ("ln_1p", worst(ln_1p, f64::ln_1p, -0.999, 1e30)),
            ("tanh", worst(tanh, f64::tanh, -100.0, 100.0)),
        ] {
            assert!(error < 3.0, "{name}({x:e}) is wrong by {error:.2} units in the last place");
        }
    }

    #[test]
    fn edges_are_those_of_the_standard_library() {
        let edges = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            f32::MAX,
            f32::MIN,
            1e-45,
            -1e-45,
            88.73,
            -104.5,
        ];
        for x in edges {
            for (name, got, want) in [
                ("exp", exp(x), x.exp()),
                ("ln", ln(x), x.ln()),
                ("tanh", tanh(x), x.tanh()),
                ("ln_1p", ln_1p(x), x.ln_1p()),
            ] {
                let same = got == want && got.is_sign_negative() == want.is_sign_negative();
                let near = (got - want).abs() <= 2.0 * f32::EPSILON * want.abs();
                assert!(same || near || (got.is_nan() && want.is_nan()), "{name}({x:e}) is {got:e}, not {want:e}");
            }
        }
    }

    #[test]
    fn a_falling_exponential_ends_at_zero() {
        for x in [-87.337, -90.0, -104.0, -1e30, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(exp_falling(x), 0.0, "{x:e}");
        }
        assert!(exp_falling(0.0) == 1.0 && exp_falling(-0.0) == 1.0 && exp_falling(-1e-45) == 1.0);
        assert!(exp_falling(-87.336) >= f32::MIN_POSITIVE && exp_falling(f32::NAN).is_nan());
    }

    #[test]
    fn every_width_gives_the_same_bits() {
        let x: Vec<f32> = (0..4099).map(|i| (i as f32 - 2000.0) * 0.01).collect();
        let mut wide = vec![0.0; x.len()];
        vectorized(
            #[inline(always)]
            || {
                wide.iter_mut().zip(&x).for_each(
                    #[inline(always)]
                    |(o, &x)| *o = tanh(exp(x)) + ln(x),
                )
            },
        );
        for (i, (&wide, &x)) in wide.iter().zip(&x).enumerate() {
            let one = std::hint::black_box(tanh(exp(x)) + ln(x));
            assert!(wide.to_bits() == one.to_bits() || (wide.is_nan() && one.is_nan()), "element {i}");
        }
    }

    #[test]
    fn slices_of_every_length_are_mapped_place_by_place() {
        for n in [0, 1, 63, 64, 65, 200] {
            let [a, b] = [3, 5].map(|step| (0..n).map(|i| (i * step % 17) as f64).collect::<Vec<_>>());
            let (mut sum, mut product) = (vec![7.0; n], vec![2.0; n]);
            map_over([&a, &b], [&mut sum, &mut product], |[a, b], [before, factor]| [before + a + b, factor * a * b]);
            for i in 0..n {
                assert_eq!((sum[i], product[i]), (7.0 + a[i] + b[i], 2.0 * a[i] * b[i]), "{i} of {n}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "lengths differ")]
    fn slices_of_different_lengths_are_refused() {
        map_over([&[1.0, 2.0][..]], [&mut [0.0; 3]], |[x], _| [x]);
    }
}
