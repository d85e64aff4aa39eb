//! The same numbers in another type: floats to whole numbers toward 0, saturating; whole numbers keep their bits;
//! anything but 0 is true. Halves are floats rounded to the nearest number of half precision.

use super::{Array, Data, Real, View};

/// What to turn numbers into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Floating point.
    Float,
    /// Floating point, rounded to half.
    Half,
    /// Signed.
    Int,
    /// Unsigned.
    Uint,
    /// 0 or 1.
    Truth,
}

/// The nearest number of half precision: ties to even, infinity beyond the largest.
///
/// In double precision, the same on every machine: what the crate `half` does with a double rounds it to single first
/// on some processors, and forgets its last bits on others.
pub fn half<T: Real>(x: T) -> T {
    let x = x.f64();
    // Below 2^-14 the halves are the multiples of 2^-24; beyond 2^16 there are none.
    let exponent = (x.to_bits() >> 52 & 0x7ff).clamp(1023 - 14, 1023 + 16);
    // 1.5 * 2^52 times the last digit of a half: a sum with it has no digits below that one.
    let large = f64::from_bits((exponent - 10 + 52) << 52) * 1.5;
    let rounded = (x + large) - large;
    let finite = rounded.abs() <= 65504.0 || x.is_nan();
    T::of(if finite { rounded } else { f64::INFINITY }.copysign(x))
}

/// `x` as `to`.
pub fn cast<T: Real>(x: &View<T>, to: Kind) -> Array<T> {
    let data = match (x.data, to) {
        (Data::Float(_), Kind::Float) => Data::Float(x.floats().into_owned()),
        (Data::Float(_), Kind::Half) => Data::Float(x.floats().iter().map(|&x| half(x)).collect()),
        (Data::Float(_), Kind::Int) => Data::Int(x.floats().iter().map(|x| x.f64() as i32).collect()),
        (Data::Float(_), Kind::Uint) => Data::Uint(x.floats().iter().map(|x| x.f64() as u32).collect()),
        (Data::Float(_), Kind::Truth) => Data::Uint(x.floats().iter().map(|x| (x.f64() != 0.0) as u32).collect()),
        (Data::Int(_) | Data::Uint(_), Kind::Half) => panic!("whole numbers become floats before they become halves"),
        (Data::Int(_), Kind::Float) => Data::Float(x.ints().iter().map(|&x| T::of(x as f64)).collect()),
        (Data::Int(_), Kind::Int) => Data::Int(x.ints().into_owned()),
        (Data::Int(_), Kind::Uint) => Data::Uint(x.ints().iter().map(|&x| x as u32).collect()),
        (Data::Int(_), Kind::Truth) => Data::Uint(x.ints().iter().map(|&x| (x != 0) as u32).collect()),
        (Data::Uint(_), Kind::Float) => Data::Float(x.uints().iter().map(|&x| T::of(x as f64)).collect()),
        (Data::Uint(_), Kind::Int) => Data::Int(x.uints().iter().map(|&x| x as i32).collect()),
        (Data::Uint(_), Kind::Uint) => Data::Uint(x.uints().into_owned()),
        (Data::Uint(_), Kind::Truth) => Data::Uint(x.uints().iter().map(|&x| (x != 0) as u32).collect()),
    };
    Array::new(x.shape, data)
}
