//! The two floating types the reference code is written for.

use std::any::TypeId;
use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Rem, Sub, SubAssign};

use super::{recycle, simd};

/// `f32` or `f64`, with the functions the ops need.
pub trait Real:
    bytemuck::Pod
    + Debug
    + Display
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Rem<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// -inf
    const NEG_INFINITY: Self;
    /// +inf
    const INFINITY: Self;
    /// An array of `n` numbers, whatever they are, for a result that is wholly overwritten.
    fn stale(n: usize) -> Vec<Self>;
    /// An array of `n` zeros in memory that is used again.
    fn zeros(n: usize) -> Vec<Self> {
        let mut array = Self::stale(n);
        array.fill(Self::ZERO);
        array
    }
    /// Takes such an array that nobody needs.
    fn give_back(array: Vec<Self>);
    /// Rounds a double.
    fn of(x: f64) -> Self;
    /// Widens to a double.
    fn f64(self) -> f64;
    /// e^x
    fn exp(self) -> Self;
    /// e^x of numbers that are not above 0, which may be 0 where that is no normal number.
    fn exp_falling(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// ln(1 + x), accurate near 0.
    fn ln_1p(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Sine of radians.
    fn sin(self) -> Self;
    /// Cosine of radians.
    fn cos(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// x^y
    fn powf(self, y: Self) -> Self;
    /// |x|
    fn abs(self) -> Self;
    /// Largest whole number not above.
    fn floor(self) -> Self;
    /// Smallest whole number not below.
    fn ceil(self) -> Self;
    /// Nearest whole number, halves to the even one.
    fn round_even(self) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
    /// `c += a b`, where `c` is `m` by `n`, each given as (elements, row stride, column stride); on all threads if
    /// `parallel`. The room `reference/matmul.rs` is the only caller and holds the bounds.
    ///
    /// # Safety
    /// Every position `i * row stride + j * column stride` of the three operands must lie inside its slice.
    #[expect(clippy::too_many_arguments, reason = "the argument list of every GEMM")]
    unsafe fn gemm(
        m: usize,
        n: usize,
        k: usize,
        c: (*mut Self, isize, isize),
        accumulate: bool,
        a: (*const Self, isize, isize),
        b: (*const Self, isize, isize),
        parallel: bool,
    );
}

/// The numbers, if they are in single precision: for code that is written for that alone.
pub(crate) fn singles<T: Real>(x: &[T]) -> Option<&[f32]> {
    (TypeId::of::<T>() == TypeId::of::<f32>()).then(|| bytemuck::cast_slice(x))
}

/// The same, to be written.
pub(crate) fn singles_mut<T: Real>(x: &mut [T]) -> Option<&mut [f32]> {
    (TypeId::of::<T>() == TypeId::of::<f32>()).then(|| bytemuck::cast_slice_mut(x))
}

macro_rules! real {
    ($t:ident, $exp:path, $exp_falling:path, $ln:path, $tanh:path, $ln_1p:path, $stale:expr, $give_back:expr) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const INFINITY: Self = $t::INFINITY;
            fn stale(n: usize) -> Vec<Self> {
                $stale(n)
            }
            fn give_back(array: Vec<Self>) {
                $give_back(array);
            }
            #[inline(always)]
            fn of(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn exp_falling(self) -> Self {
                $exp_falling(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $ln(self)
            }
            #[inline(always)]
            fn ln_1p(self) -> Self {
                $ln_1p(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn sin(self) -> Self {
                $t::sin(self)
            }
            #[inline(always)]
            fn cos(self) -> Self {
                $t::cos(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline(always)]
            fn powf(self, y: Self) -> Self {
                $t::powf(self, y)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $t::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                $t::ceil(self)
            }
            #[inline(always)]
            fn round_even(self) -> Self {
                $t::round_ties_even(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $t::is_nan(self)
            }
            unsafe fn gemm(
                m: usize,
                n: usize,
                k: usize,
                c: (*mut Self, isize, isize),
                accumulate: bool,
                a: (*const Self, isize, isize),
                b: (*const Self, isize, isize),
                parallel: bool,
            ) {
                let threads = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
                let (one, beta) = (1.0, 1.0);
                // SAFETY: the caller vouches for the three operands.
                unsafe {
                    gemm::gemm(
                        m, n, k, c.0, c.2, c.1, accumulate, a.0, a.2, a.1, b.0, b.2, b.1, one, beta, false, false,
                        false, threads,
                    );
                }
            }
        }
    };
}

real!(f32, simd::exp, simd::exp_falling, simd::ln, simd::tanh, simd::ln_1p, recycle::stale, recycle::give_back);
real!(f64, f64::exp, f64::exp, f64::ln, f64::tanh, f64::ln_1p, |n| vec![0.0; n], drop);
