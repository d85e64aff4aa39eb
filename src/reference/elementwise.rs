//! Functions applied to each element. The functions themselves stand in the tables of `ops/elementwise`, beside
//! their WGSL text and their derivative; here is the walk over views, and what neither Rust nor libm has.

use super::{Array, Data, Real, View};

/// A function of doubles, rounded once.
#[inline(always)]
pub fn wide<T: Real>(x: T, f: impl Fn(f64) -> f64) -> T {
    T::of(f(x.f64()))
}

/// `f` of each number, by type.
pub fn map<T: Real>(
    x: &View<T>,
    float: impl Fn(T) -> T,
    int: impl Fn(i32) -> i32,
    uint: impl Fn(u32) -> u32,
) -> Array<T> {
    let data = match x.data {
        Data::Float(_) => Data::Float(x.floats().iter().map(|&x| float(x)).collect()),
        Data::Int(_) => Data::Int(x.ints().iter().map(|&x| int(x)).collect()),
        Data::Uint(_) => Data::Uint(x.uints().iter().map(|&x| uint(x)).collect()),
    };
    Array::new(x.shape, data)
}

/// `f` of each pair, by type. Both views have one shape.
pub fn zip<T: Real>(
    a: &View<T>,
    b: &View<T>,
    float: impl Fn(T, T) -> T,
    int: impl Fn(i32, i32) -> i32,
    uint: impl Fn(u32, u32) -> u32,
) -> Array<T> {
    let data = match a.data {
        Data::Float(_) => Data::Float(a.floats().iter().zip(b.floats().iter()).map(|(&a, &b)| float(a, b)).collect()),
        Data::Int(_) => Data::Int(a.ints().iter().zip(b.ints().iter()).map(|(&a, &b)| int(a, b)).collect()),
        Data::Uint(_) => Data::Uint(a.uints().iter().zip(b.uints().iter()).map(|(&a, &b)| uint(a, b)).collect()),
    };
    Array::new(a.shape, data)
}

/// Whether `f` of each float.
pub fn probe<T: Real>(x: &View<T>, f: impl Fn(f64) -> bool) -> Array<T> {
    Array::uints(x.shape, x.floats().iter().map(|x| f(x.f64()) as u32).collect())
}

/// The number of which x is the hyperbolic cosine. The standard library's form loses the digits near 1.
pub fn acosh(x: f64) -> f64 {
    if x > 1e8 {
        return x.ln() + std::f64::consts::LN_2;
    }
    let t = x - 1.0;
    if x < 1.0 { f64::NAN } else { (t + (t * (t + 2.0)).sqrt()).ln_1p() }
}

/// The number of which x is the error function: Winitzki's guess, and Newton's method on the tail, which is where
/// digits are lost.
pub fn erfinv(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() || a >= 1.0 {
        return if a == 1.0 { f64::INFINITY.copysign(x) } else { f64::NAN };
    }
    let log = ((1.0 - a) * (1.0 + a)).ln();
    let half = 2.0 / (std::f64::consts::PI * 0.147) + 0.5 * log;
    let mut y = ((half * half - log / 0.147).sqrt() - half).sqrt();
    for _ in 0..4 {
        let slope = std::f64::consts::FRAC_2_SQRT_PI * (-y * y).exp();
        let miss = if a < 0.5 { libm::erf(y) - a } else { (1.0 - a) - libm::erfc(y) };
        let step = miss / slope;
        // Halley's correction makes the guess good in three rounds.
        y -= step / (1.0 + y * step);
    }
    y.copysign(x)
}

/// a - b floor(a / b): the remainder with the sign of b.
pub fn floor_mod<T: Real>(a: T, b: T) -> T {
    let rest = a % b;
    if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { rest + b } else { rest }
}

/// floor(a / b) as if a / b were not rounded.
pub fn floor_div<T: Real>(a: T, b: T) -> T {
    if b == T::ZERO {
        return a / b;
    }
    let rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) {
        quotient -= T::ONE;
    }
    if quotient == T::ZERO {
        return T::of(0f64.copysign(a.f64() / b.f64()));
    }
    let whole = quotient.floor();
    if quotient - whole > T::of(0.5) { whole + T::ONE } else { whole }
}

/// floor(a / b) of whole numbers; `a` where b is 0.
pub fn floor_div_int(a: i32, b: i32) -> i32 {
    let quotient = if b == 0 { a } else { a.wrapping_div(b) };
    if b != 0 && a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
}

/// a - b floor(a / b) of whole numbers; 0 where b is 0.
pub fn floor_mod_int(a: i32, b: i32) -> i32 {
    let rest = if b == 0 { 0 } else { a.wrapping_rem(b) };
    if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
}

/// a^b of whole numbers, wrapping; of negative powers only those of 1 and -1 are not 0.
pub fn power_int(a: i32, b: i32) -> i32 {
    match (a, b) {
        (1, _) => 1,
        (-1, _) => [1, -1][b as usize & 1],
        (_, ..0) => 0,
        _ => a.wrapping_pow(b as u32),
    }
}

/// log(e^a + e^b), without overflow.
pub fn log_add_exp(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    let large = a.max(b);
    if a.is_infinite() || b.is_infinite() { large } else { large + (-(a - b).abs()).exp().ln_1p() }
}

/// x log y, and 0 where x is 0.
pub fn x_log_y(x: f64, y: f64) -> f64 {
    if x == 0.0 && !y.is_nan() { 0.0 } else { x * y.ln() }
}
