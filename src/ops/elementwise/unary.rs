//! Functions of one number.

use super::{NEAR, map_words};
use crate::error::ShapeError;
use crate::reference::elementwise::{self as reference, wide};
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, BlockFn, DType, Input, Lowering, Meta, NoGrad, Op, Sample, Scalar, Tensor, Tolerance, Vjp,
};

/// The cotangent of x, from x, y and the cotangent of y.
type Slope = fn(x: &Tensor, y: &Tensor, dy: &Tensor) -> Tensor;

macro_rules! unary {
    ($($(#[$doc:meta])* $kind:ident $method:ident $wgsl:literal $cheap:ident, |$x:ident| $value:expr, $slope:expr, [$low:literal, $high:literal], $tolerance:expr;)*) => {
        /// A function of one number: of floats all of them, of whole numbers those that stay among them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Unary { $($(#[$doc])* $kind),* }

        impl Unary {
            /// Every function of the table.
            pub const ALL: &'static [Unary] = &[$(Unary::$kind),*];

            fn of<T: Real>(self, x: T) -> T {
                match self { $(Unary::$kind => { let $x = x; $value })* }
            }

            /// Generic, so that `x.exp()` is [`Real`]'s and not the C library's, which no loop vectorises.
            fn scalar<T: Real + bytemuck::Pod>(self) -> Scalar {
                match self {
                    $(Unary::$kind => Scalar { wgsl: $wgsl, block: |args, out| map_words(args, out, #[inline(always)] |$x: T| $value), cheap: $cheap }),*
                }
            }

            fn slope(self) -> Option<Slope> {
                match self { $(Unary::$kind => $slope),* }
            }

            /// An interval where it is smooth, and its tolerance.
            fn domain(self) -> (f64, f64, Tolerance) {
                match self { $(Unary::$kind => ($low, $high, $tolerance)),* }
            }
        }

        impl Tensor {
            $($(#[$doc])* #[track_caller] pub fn $method(&self) -> Tensor { Tensor::apply(Unary::$kind, &[self]) })*
        }
    };
}

#[allow(non_upper_case_globals, reason = "a column of the table")]
const cheap: bool = true;
#[allow(non_upper_case_globals, reason = "a column of the table")]
const dear: bool = false;
const EXACT: Tolerance = Tolerance::Exact;
/// Of functions that cross 0 far from it.
const OF_LARGEST: Tolerance = Tolerance::OfLargest(1e-6);

unary! {
    /// -x
    Neg neg "-{a}" cheap, |x| -x, Some(|_, _, dy| dy.neg()), [-3.0, 3.0], EXACT;
    /// |x|; its slope at 0 is 0.
    Abs abs "abs({a})" cheap, |x| x.abs(), Some(|x, _, dy| dy * &x.sign()), [0.1, 3.0], EXACT;
    /// -1, 0 or 1; 0 for NaN.
    Sign sign "(f32({a} > 0.0) - f32({a} < 0.0))" cheap, |x| if x > T::ZERO { T::ONE } else if x < T::ZERO { -T::ONE } else { T::ZERO }, None, [0.1, 3.0], EXACT;
    /// e^x
    Exp exp "exp_accurate({a})" dear, |x| x.exp(), Some(|_, y, dy| dy * y), [-3.0, 3.0], NEAR;
    /// 2^x
    Exp2 exp2 "exp2_accurate({a})" dear, |x| wide(x, f64::exp2), Some(|_, y, dy| &(dy * y) * std::f32::consts::LN_2), [-3.0, 3.0], NEAR;
    /// e^x - 1, with all digits near 0.
    Expm1 expm1 "expm1_accurate({a})" dear, |x| wide(x, f64::exp_m1), Some(|_, y, dy| dy * &(y + 1.0)), [-3.0, 3.0], NEAR;
    /// Natural logarithm: -inf at 0, NaN below.
    Ln ln "ln({a})" dear, |x| x.ln(), Some(|x, _, dy| dy / x), [0.1, 3.0], NEAR;
    /// ln(1 + x), with all digits near 0.
    Log1p log1p "log1p_accurate({a})" dear, |x| x.ln_1p(), Some(|x, _, dy| dy / &(x + 1.0)), [-0.9, 3.0], NEAR;
    /// Logarithm to base 2.
    Log2 log2 "log2_accurate({a})" dear, |x| wide(x, f64::log2), Some(|x, _, dy| &(dy / x) * std::f32::consts::LOG2_E), [0.1, 3.0], NEAR;
    /// Logarithm to base 10.
    Log10 log10 "log10_accurate({a})" dear, |x| wide(x, f64::log10), Some(|x, _, dy| &(dy / x) * std::f32::consts::LOG10_E), [0.1, 3.0], NEAR;
    /// Square root, NaN below 0.
    Sqrt sqrt "sqrt({a})" dear, |x| x.sqrt(), Some(|_, y, dy| &(dy * 0.5) / y), [0.1, 3.0], NEAR;
    /// 1 / sqrt(x)
    Rsqrt rsqrt "(1.0 / sqrt({a}))" dear, |x| T::ONE / x.sqrt(), Some(|x, y, dy| &(&(dy * y) * -0.5) / x), [0.1, 3.0], NEAR;
    /// 1 / x
    Reciprocal reciprocal "quotient(1.0, {a})" dear, |x| T::ONE / x, Some(|_, y, dy| (&(dy * y) * y).neg()), [0.2, 3.0], NEAR;
    /// x^2
    Square square "({a} * {a})" cheap, |x| x * x, Some(|x, _, dy| &(dy * x) * 2.0), [-3.0, 3.0], NEAR;
    /// Sine of radians.
    Sin sin "sin_accurate({a})" dear, |x| x.sin(), Some(|x, _, dy| dy * &x.cos()), [-3.0, 3.0], OF_LARGEST;
    /// Cosine of radians.
    Cos cos "cos_accurate({a})" dear, |x| x.cos(), Some(|x, _, dy| (dy * &x.sin()).neg()), [-3.0, 3.0], OF_LARGEST;
    /// Tangent of radians.
    Tan tan "tan_accurate({a})" dear, |x| wide(x, f64::tan), Some(|_, y, dy| dy * &(&y.square() + 1.0)), [-1.4, 1.4], NEAR;
    /// The angle of which x is the sine; NaN outside of -1 to 1.
    Asin asin "asin_accurate({a})" dear, |x| wide(x, f64::asin), Some(|x, _, dy| dy * &within_one(x).rsqrt()), [-0.9, 0.9], NEAR;
    /// The angle of which x is the cosine; NaN outside of -1 to 1.
    Acos acos "acos_accurate({a})" dear, |x| wide(x, f64::acos), Some(|x, _, dy| (dy * &within_one(x).rsqrt()).neg()), [-0.9, 0.9], NEAR;
    /// The angle of which x is the tangent.
    Atan atan "atan_accurate({a})" dear, |x| wide(x, f64::atan), Some(|x, _, dy| dy / &(&x.square() + 1.0)), [-3.0, 3.0], NEAR;
    /// Hyperbolic sine.
    Sinh sinh "sinh_accurate({a})" dear, |x| wide(x, f64::sinh), Some(|x, _, dy| dy * &x.cosh()), [-3.0, 3.0], NEAR;
    /// Hyperbolic cosine.
    Cosh cosh "cosh_accurate({a})" dear, |x| wide(x, f64::cosh), Some(|x, _, dy| dy * &x.sinh()), [-3.0, 3.0], NEAR;
    /// Hyperbolic tangent, accurate near 0.
    Tanh tanh "tanh_accurate({a})" dear, |x| x.tanh(), Some(|_, y, dy| dy * &(1.0 - &y.square())), [-3.0, 3.0], NEAR;
    /// The number of which x is the hyperbolic sine.
    Asinh asinh "asinh_accurate({a})" dear, |x| wide(x, f64::asinh), Some(|x, _, dy| dy * &(&x.square() + 1.0).rsqrt()), [-3.0, 3.0], NEAR;
    /// The number of which x is the hyperbolic cosine; NaN below 1.
    Acosh acosh "acosh_accurate({a})" dear, |x| wide(x, reference::acosh), Some(|x, _, dy| dy * &(&(x - 1.0) * &(x + 1.0)).rsqrt()), [1.1, 3.0], NEAR;
    /// The number of which x is the hyperbolic tangent; NaN outside of -1 to 1.
    Atanh atanh "atanh_accurate({a})" dear, |x| wide(x, f64::atanh), Some(|x, _, dy| dy / &within_one(x)), [-0.9, 0.9], NEAR;
    /// The error function.
    Erf erf "erf_accurate({a})" dear, |x| wide(x, libm::erf), Some(|x, _, dy| dy * &(&x.square().neg().exp() * std::f32::consts::FRAC_2_SQRT_PI)), [-3.0, 3.0], NEAR;
    /// 1 - erf(x), with all digits where that is small.
    Erfc erfc "erfc_accurate({a})" dear, |x| wide(x, libm::erfc), Some(|x, _, dy| dy * &(&x.square().neg().exp() * -std::f32::consts::FRAC_2_SQRT_PI)), [-3.0, 3.0], NEAR;
    /// The number of which x is the error function; NaN outside of -1 to 1.
    Erfinv erfinv "erfinv_accurate({a})" dear, |x| wide(x, reference::erfinv), Some(|_, y, dy| dy * &(&y.square().exp() * (1.0 / std::f32::consts::FRAC_2_SQRT_PI))), [-0.9, 0.9], NEAR;
    /// 1 / (1 + e^-x), without overflow.
    Sigmoid sigmoid "sigmoid({a})" dear, |x| { let e = (-x.abs()).exp(); if x < T::ZERO { e / (T::ONE + e) } else { T::ONE / (T::ONE + e) } },
        Some(|_, y, dy| &(dy * y) * &(1.0 - y)), [-3.0, 3.0], NEAR;
    /// max(x, 0); its slope at 0 is 0.
    Relu relu "relu({a})" cheap, |x| if x < T::ZERO { T::ZERO } else { x },
        Some(|_, y, dy| { let zero = Tensor::scalar(y.device(), 0f32); Tensor::select(&y.less_equal(&zero), &zero, dy) }), [0.1, 3.0], EXACT;
    /// Largest whole number not above.
    Floor floor "floor({a})" cheap, |x| x.floor(), None, [0.1, 0.9], EXACT;
    /// Smallest whole number not below.
    Ceil ceil "ceil({a})" cheap, |x| x.ceil(), None, [0.1, 0.9], EXACT;
    /// Nearest whole number, halves to the even one.
    Round round "round({a})" cheap, |x| x.round_even(), None, [0.6, 0.9], EXACT;
    /// The whole number next to x toward 0.
    Trunc trunc "trunc({a})" cheap, |x| wide(x, f64::trunc), None, [0.1, 0.9], EXACT;
}

/// 1 - x^2, with all digits near 1.
fn within_one(x: &Tensor) -> Tensor {
    &(1.0 - x) * &(x + 1.0)
}

impl Unary {
    fn of_int(self, x: i32) -> i32 {
        match self {
            Unary::Neg => x.wrapping_neg(),
            Unary::Abs => x.wrapping_abs(),
            Unary::Sign => x.signum(),
            Unary::Square => x.wrapping_mul(x),
            _ => x,
        }
    }

    fn of_uint(self, x: u32) -> u32 {
        match self {
            Unary::Neg => x.wrapping_neg(),
            Unary::Sign => x.min(1),
            Unary::Square => x.wrapping_mul(x),
            _ => x,
        }
    }

    /// What it is on whole numbers, if they have it: WGSL on `i32` and `u32`, and the same as blocks.
    fn whole(self) -> Option<[(&'static str, BlockFn); 2]> {
        macro_rules! blocks {
            ($kind:ident $int:literal $uint:literal) => {
                Some([
                    ($int, |args, out| map_words(args, out, |x| Unary::$kind.of_int(x))),
                    ($uint, |args, out| map_words(args, out, |x| Unary::$kind.of_uint(x))),
                ])
            };
        }
        match self {
            Unary::Neg => blocks!(Neg "-{a}" "(0u - {a})"),
            Unary::Abs => blocks!(Abs "abs({a})" "{a}"),
            Unary::Sign => blocks!(Sign "sign({a})" "min({a}, 1u)"),
            Unary::Square => blocks!(Square "({a} * {a})" "({a} * {a})"),
            Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc => blocks!(Floor "{a}" "{a}"),
            _ => None,
        }
    }
}

impl Op for Unary {
    const NAME: &'static str = "elementwise_unary";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        match inputs[0].dtype {
            DType::F32 => Ok(vec![inputs[0].clone()]),
            DType::I32 | DType::U32 if self.whole().is_some() => Ok(vec![inputs[0].clone()]),
            other => Err(ShapeError::new(format!("{self:?}"), format!("does not take {other}; cast it to f32 first"))),
        }
    }
    fn backward(&self) -> Backward<Self> {
        match self.slope() {
            Some(_) => Backward::Rule(|op, v: &Vjp| {
                let slope = op.slope().expect("a rule was promised");
                vec![(v.inputs[0].dtype() == DType::F32).then(|| slope(&v.inputs[0], &v.outputs[0], v.dy()))]
            }),
            None => Backward::None(NoGrad::ZeroAlmostEverywhere),
        }
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, metas| match (metas[0].dtype, op.whole()) {
            (DType::I32, Some([(wgsl, block), _])) | (DType::U32, Some([_, (wgsl, block)])) => {
                Scalar { wgsl, block, cheap: true }
            }
            _ => op.scalar::<f32>(),
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::map(&inputs[0], |x| self.of(x), |x| self.of_int(x), |x| self.of_uint(x))]
    }
    fn samples() -> Vec<Sample<Self>> {
        use Unary::*;
        let mut all = Vec::new();
        let (tiny, big, inf, nan) = (f32::MIN_POSITIVE, 3e38, f32::INFINITY, f32::NAN);
        #[rustfmt::skip]
        let edges = [
            0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, tiny, -tiny, 1e-3, -1e-3, 0.999, -0.999, 1.001, -1.001, 20.0,
            -20.0, 80.0, -80.0, 3.0, -3.0, 1e-10, 1e-6, 0.2499, 0.2501, -0.29, 0.41, 0.414, 2.415, 1e4, inf, -inf, nan, big, -big,
        ];
        for &op in Unary::ALL {
            let (low, high, tolerance) = op.domain();
            all.push(Sample::new(op, vec![Input::uniform([7, 13], low, high, 1)], tolerance));
            // Sines of huge numbers are held to their size.
            let edges: &[f32] = if op == Tan { &edges[..edges.len() - 2] } else { &edges };
            all.push(Sample::new(op, vec![Input::floats(edges.len(), edges)], tolerance).rough());
            if op.whole().is_some() {
                let signed =
                    Input::floats([9], &[0.0, 1.0, -1.0, 7.0, -7.0, 46340.0, 46341.0, 2147483648.0, -2147483648.0]);
                all.push(Sample::new(op, vec![signed.of(DType::I32)], EXACT).rough());
                all.push(Sample::new(op, vec![Input::uints([4], &[0, 1, 7, 65536])], EXACT).rough());
            }
        }
        let x = [0.0, tiny, 1e-30, 0.25, 0.7, 0.99999, 1.0, 1.00001, 1.42, 2.0, 1e10, big];
        for op in [Ln, Log2, Log10, Sqrt] {
            all.push(Sample::new(op, vec![Input::floats([12], &x)], NEAR).rough());
        }
        // Further away than the reduction of a right angle by subtraction reaches.
        for op in [Sin, Cos] {
            all.push(Sample::new(op, vec![Input::uniform([40], -1e3, 1e3, 6)], OF_LARGEST));
            all.push(Sample::new(op, vec![Input::uniform([40], -1e8, 1e8, 7)], OF_LARGEST).rough());
            all.push(Sample::new(op, vec![Input::uniform([40], -1e30, 1e30, 8)], OF_LARGEST).rough());
        }
        all.push(Sample::new(Erfc, vec![Input::uniform([40], 0.5, 9.0, 9)], NEAR));
        all.push(Sample::new(Exp, vec![Input::uniform([3, 5], -1.0, 1.0, 4).viewed()], NEAR));
        all.push(Sample::new(Relu, vec![Input::uniform([0, 3], -1.0, 1.0, 5)], EXACT));
        all
    }
}

impl Tensor {
    /// Natural logarithm: -inf at 0, NaN below. PyTorch's name of [`Tensor::ln`].
    #[track_caller]
    pub fn log(&self) -> Tensor {
        self.ln()
    }
}
