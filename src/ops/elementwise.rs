//! Functions of one or two numbers, applied to each element: one room and one table, since they differ only in
//! a formula. A row gives the WGSL expression, the CPU function and the derivative; the planner fuses chains of them.
//!
//! Both operands of a recorded op have one shape: the methods broadcast first (NumPy's rule) with a view that copies
//! nothing, and the view's own rule sums the gradient back.

use std::ops;

use crate::error::{ShapeError, fit};
use crate::reference::elementwise as reference;
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, BlockFn, DType, Input, Lowering, Meta, NoGrad, Op, Sample, Scalar, Tensor, Tolerance, Vjp,
};

type Slope = fn(x: &Tensor, y: &Tensor, dy: &Tensor) -> Tensor;

macro_rules! unary {
    ($($(#[$doc:meta])* $kind:ident $method:ident $wgsl:literal $cheap:ident, |$x:ident| $value:expr, $slope:expr, [$low:literal, $high:literal], $tolerance:expr;)*) => {
        /// A function of one float.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Unary { $($(#[$doc])* $kind),* }

        impl Unary {
            /// Every function of the table.
            pub const ALL: &'static [Unary] = &[$(Unary::$kind),*];

            #[inline(always)]
            fn of<T: Real>(self, x: T) -> T {
                match self { $(Unary::$kind => { let $x = x; $value })* }
            }

            fn scalar(self) -> Scalar {
                match self {
                    $(Unary::$kind => Scalar { wgsl: $wgsl, block: |args, out| map_f32(args, out, |x| Unary::$kind.of(x)), cheap: $cheap }),*
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

const NEAR: Tolerance = Tolerance::Relative(4e-6);
#[allow(non_upper_case_globals, reason = "a column of the table")]
const cheap: bool = true;
#[allow(non_upper_case_globals, reason = "a column of the table")]
const dear: bool = false;

unary! {
    /// -x
    Neg neg "-{a}" cheap, |x| -x, Some(|_, _, dy| dy.neg()), [-3.0, 3.0], Tolerance::Exact;
    /// |x|; its slope at 0 is 0.
    Abs abs "abs({a})" cheap, |x| x.abs(), Some(|x, _, dy| dy * &x.sign()), [0.1, 3.0], Tolerance::Exact;
    /// -1, 0 or 1.
    Sign sign "sign({a})" cheap, |x| if x > T::ZERO { T::ONE } else if x < T::ZERO { -T::ONE } else { x }, None, [0.1, 3.0], Tolerance::Exact;
    /// e^x
    Exp exp "exp_accurate({a})" dear, |x| x.exp(), Some(|_, y, dy| dy * y), [-3.0, 3.0], NEAR;
    /// Natural logarithm: -inf at 0, NaN below.
    Ln ln "ln({a})" dear, |x| x.ln(), Some(|x, _, dy| dy / x), [0.1, 3.0], NEAR;
    /// Square root, NaN below 0.
    Sqrt sqrt "sqrt({a})" dear, |x| x.sqrt(), Some(|_, y, dy| &(dy * 0.5) / y), [0.1, 3.0], NEAR;
    /// 1 / sqrt(x)
    Rsqrt rsqrt "inverseSqrt({a})" dear, |x| T::ONE / x.sqrt(), Some(|x, y, dy| &(&(dy * y) * -0.5) / x), [0.1, 3.0], NEAR;
    /// 1 / x
    Reciprocal reciprocal "(1.0 / {a})" dear, |x| T::ONE / x, Some(|_, y, dy| (&(dy * y) * y).neg()), [0.2, 3.0], NEAR;
    /// x^2
    Square square "({a} * {a})" cheap, |x| x * x, Some(|x, _, dy| &(dy * x) * 2.0), [-3.0, 3.0], NEAR;
    /// Sine of radians.
    Sin sin "sin({a})" dear, |x| x.sin(), Some(|x, _, dy| dy * &x.cos()), [-3.0, 3.0], Tolerance::OfLargest(1e-5);
    /// Cosine of radians.
    Cos cos "cos({a})" dear, |x| x.cos(), Some(|x, _, dy| (dy * &x.sin()).neg()), [-3.0, 3.0], Tolerance::OfLargest(1e-5);
    /// Hyperbolic tangent, accurate near 0.
    Tanh tanh "tanh_accurate({a})" dear, |x| x.tanh(), Some(|_, y, dy| dy * &(1.0 - &y.square())), [-3.0, 3.0], NEAR;
    /// 1 / (1 + e^-x), without overflow.
    Sigmoid sigmoid "sigmoid({a})" dear, |x| { let e = (-x.abs()).exp(); if x < T::ZERO { e / (T::ONE + e) } else { T::ONE / (T::ONE + e) } },
        Some(|_, y, dy| &(dy * y) * &(1.0 - y)), [-3.0, 3.0], NEAR;
    /// max(x, 0); its slope at 0 is 0.
    Relu relu "select({a}, 0.0, {a} < 0.0)" cheap, |x| if x < T::ZERO { T::ZERO } else { x },
        Some(|_, y, dy| Tensor::select(&y.greater(&Tensor::scalar(y.device(), 0f32)), dy, &Tensor::scalar(y.device(), 0f32))), [0.1, 3.0], Tolerance::Exact;
    /// Largest whole number not above.
    Floor floor "floor({a})" cheap, |x| x.floor(), None, [0.1, 0.9], Tolerance::Exact;
    /// Smallest whole number not below.
    Ceil ceil "ceil({a})" cheap, |x| x.ceil(), None, [0.1, 0.9], Tolerance::Exact;
    /// Nearest whole number, halves to the even one.
    Round round "round({a})" cheap, |x| x.round_even(), None, [0.6, 0.9], Tolerance::Exact;
}

impl Op for Unary {
    const NAME: &'static str = "elementwise_unary";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        match inputs[0].dtype {
            DType::F32 => Ok(vec![inputs[0].clone()]),
            other => Err(ShapeError::new(format!("{self:?}"), format!("takes f32, not {other}; cast it first"))),
        }
    }
    fn backward(&self) -> Backward<Self> {
        match self.slope() {
            Some(_) => Backward::Rule(|op, v| {
                let slope = op.slope().expect("a rule was promised");
                vec![Some(slope(&v.inputs[0], &v.outputs[0], v.dy()))]
            }),
            None => Backward::None(NoGrad::ZeroAlmostEverywhere),
        }
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, _| op.scalar())
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::map(&inputs[0], |x| self.of(x))]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        for &op in Unary::ALL {
            let (low, high, tolerance) = op.domain();
            all.push(Sample::new(op, vec![Input::uniform([7, 13], low, high, 1)], tolerance));
        }
        let (tiny, big) = (f32::MIN_POSITIVE, 3e38);
        let edges = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, tiny, -tiny, 1e-3, 0.999, 1.001, 20.0, -20.0, 80.0];
        for op in [Unary::Neg, Unary::Abs, Unary::Sign, Unary::Relu, Unary::Floor, Unary::Ceil, Unary::Round] {
            all.push(Sample::new(op, vec![Input::floats([16], &edges)], Tolerance::Exact).rough());
            all.push(Sample::new(op, vec![Input::floats([1], &[-big])], Tolerance::Exact).rough());
        }
        for op in [Unary::Exp, Unary::Tanh, Unary::Sigmoid] {
            let x = [0.0, 1e-6, -1e-4, 1e-3, -0.01, 0.1, -0.24, 0.26, 5.0, -5.0, 20.0, -20.0, 80.0, -80.0];
            all.push(Sample::new(op, vec![Input::floats([14], &x)], NEAR));
        }
        let x = [0.0, tiny, 1e-30, 0.25, 0.7, 0.999, 0.99999, 1.0, 1.00001, 1.001, 1.42, 2.0, 1e10, big];
        all.push(Sample::new(Unary::Ln, vec![Input::floats([14], &x)], NEAR).rough());
        all.push(Sample::new(Unary::Sqrt, vec![Input::floats([14], &x)], NEAR).rough());
        all.push(Sample::new(Unary::Exp, vec![Input::uniform([3, 5], -1.0, 1.0, 4).viewed()], NEAR));
        all.push(Sample::new(Unary::Relu, vec![Input::uniform([0, 3], -1.0, 1.0, 5)], Tolerance::Exact));
        all
    }
}

macro_rules! binary {
    ($($(#[$doc:meta])* $kind:ident $method:ident $try_method:ident $wgsl:literal, float |$a:ident, $b:ident| $value:expr, whole |$ia:ident, $ib:ident| $int:expr, $da:expr, $db:expr;)*) => {
        /// A function of two numbers of one type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Binary { $($(#[$doc])* $kind),* }

        impl Binary {
            /// Every function of the table.
            pub const ALL: &'static [Binary] = &[$(Binary::$kind),*];

            #[inline(always)]
            fn of<T: Real>(self, a: T, b: T) -> T {
                match self { $(Binary::$kind => { let ($a, $b) = (a, b); $value })* }
            }
            #[inline(always)]
            fn of_int(self, a: i32, b: i32) -> i32 {
                match self { $(Binary::$kind => { let ($ia, $ib) = (a, b); $int })* }
            }
            #[inline(always)]
            fn of_uint(self, a: u32, b: u32) -> u32 {
                match self { $(Binary::$kind => { let ($ia, $ib) = (a, b); $int })* }
            }

            fn scalar(self, dtype: DType) -> Scalar {
                let (wgsl, block): (&'static str, BlockFn) = match self {
                    $(Binary::$kind => ($wgsl, match dtype {
                        DType::F32 => |args, out| zip_words::<f32, f32>(args, out, |a, b| Binary::$kind.of(a, b)),
                        DType::I32 => |args, out| zip_words::<i32, i32>(args, out, |a, b| Binary::$kind.of_int(a, b)),
                        _ => |args, out| zip_words::<u32, u32>(args, out, |a, b| Binary::$kind.of_uint(a, b)),
                    })),*
                };
                let wgsl = match (self, dtype) {
                    (Binary::Maximum, DType::I32 | DType::U32) => "max({a}, {b})",
                    (Binary::Minimum, DType::I32 | DType::U32) => "min({a}, {b})",
                    _ => wgsl,
                };
                Scalar { wgsl, block, cheap: !matches!(self, Binary::Pow) }
            }

            fn slopes(self) -> (PairSlope, PairSlope) {
                match self { $(Binary::$kind => ($da, $db)),* }
            }
        }

        impl Tensor {
            $(
                $(#[$doc])*
                /// Broadcasts by NumPy's rule.
                ///
                /// # Panics
                /// If the shapes do not broadcast or the types differ.
                #[track_caller]
                pub fn $method(&self, other: &Tensor) -> Tensor {
                    fit(self.$try_method(other))
                }
                #[doc = concat!("[`Tensor::", stringify!($method), "`], with a mistake of shapes as an error.")]
                #[track_caller]
                pub fn $try_method(&self, other: &Tensor) -> Result<Tensor, ShapeError> {
                    let (a, b) = broadcast_pair(self, other, stringify!($method))?;
                    Ok(Tensor::try_apply(Binary::$kind, &[&a, &b])?.swap_remove(0))
                }
            )*
        }
    };
}

type PairSlope = fn(v: &Vjp) -> Tensor;

binary! {
    /// a + b
    Add add try_add "({a} + {b})", float |a, b| a + b, whole |a, b| a.wrapping_add(b), |v| v.dy().clone(), |v| v.dy().clone();
    /// a - b
    Sub sub try_sub "({a} - {b})", float |a, b| a - b, whole |a, b| a.wrapping_sub(b), |v| v.dy().clone(), |v| v.dy().neg();
    /// a b
    Mul mul try_mul "({a} * {b})", float |a, b| a * b, whole |a, b| a.wrapping_mul(b), |v| v.dy() * &v.inputs[1], |v| v.dy() * &v.inputs[0];
    /// a / b; whole numbers round toward 0, and division by 0 gives `a`.
    Div div try_div "({a} / {b})", float |a, b| a / b, whole |a, b| if b == 0 { a } else { a.wrapping_div(b) },
        |v| v.dy() / &v.inputs[1], |v| (&(v.dy() * &v.outputs[0]) / &v.inputs[1]).neg();
    /// The remainder of a / b with the sign of a (PyTorch's `fmod`); whole numbers modulo 0 give 0.
    Rem rem try_rem "({a} % {b})", float |a, b| a % b, whole |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) },
        |v| v.dy().clone(), |v| { let (a, b) = (&v.inputs[0], &v.inputs[1]); &(v.dy() * &(&(a - &v.outputs[0]) / b)) * -1.0 };
    /// a^b as IEEE 754 has it.
    Pow pow try_pow "power({a}, {b})", float |a, b| a.powf(b), whole |a, b| integer_power(a as i64, b as i64) as _,
        |v| { let (a, b) = (&v.inputs[0], &v.inputs[1]); &(v.dy() * b) * &a.pow(&(b - 1.0)) },
        |v| { let a = &v.inputs[0]; let zero = Tensor::scalar(a.device(), 0f32);
              v.dy() * &Tensor::select(&a.equal(&zero), &zero, &(&v.outputs[0] * &a.ln())) };
    /// The larger; NaN if either is. Where both are equal the gradient is split.
    Maximum maximum try_maximum "maximum({a}, {b})", float |a, b| if a.is_nan() || a > b { a } else { b }, whole |a, b| a.max(b),
        |v| v.dy() * &share(&v.inputs[0], &v.inputs[1], Tensor::greater), |v| v.dy() * &share(&v.inputs[1], &v.inputs[0], Tensor::greater);
    /// The smaller; NaN if either is. Where both are equal the gradient is split.
    Minimum minimum try_minimum "minimum({a}, {b})", float |a, b| if a.is_nan() || a < b { a } else { b }, whole |a, b| a.min(b),
        |v| v.dy() * &share(&v.inputs[0], &v.inputs[1], Tensor::less), |v| v.dy() * &share(&v.inputs[1], &v.inputs[0], Tensor::less);
}

/// 1 where `a` wins, 1/2 at a tie, 0 elsewhere.
fn share(a: &Tensor, b: &Tensor, wins: fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
    &(&wins(a, b).cast(DType::F32) + &(1.0 - &wins(b, a).cast(DType::F32))) * 0.5
}

fn integer_power(a: i64, b: i64) -> i64 {
    if b < 0 {
        return if a == 1 {
            1
        } else if a == -1 {
            if b % 2 == 0 { 1 } else { -1 }
        } else {
            0
        };
    }
    a.wrapping_pow(b.min(u32::MAX as i64) as u32)
}

impl Op for Binary {
    const NAME: &'static str = "elementwise_binary";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (a, b) = (&inputs[0], &inputs[1]);
        same_meta(&format!("{self:?}"), a, b)?;
        if a.dtype == DType::Bool || (*self == Binary::Pow && a.dtype != DType::F32) {
            return Err(ShapeError::new(format!("{self:?}"), format!("does not take {}; cast it first", a.dtype)));
        }
        Ok(vec![a.clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let (da, db) = op.slopes();
            vec![v.when(0, || da(v)), v.when(1, || db(v))]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, metas| op.scalar(metas[0].dtype))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::zip(
            &inputs[0],
            &inputs[1],
            |a, b| self.of(a, b),
            |a, b| self.of_int(a, b),
            |a, b| self.of_uint(a, b),
        )]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        for &op in Binary::ALL {
            let tolerance = match op {
                Binary::Add | Binary::Sub | Binary::Maximum | Binary::Minimum => Tolerance::Relative(1.2e-7),
                Binary::Pow => Tolerance::Relative(2e-5),
                Binary::Rem => Tolerance::OfLargest(1e-6),
                _ => Tolerance::Relative(4e-7),
            };
            let (a, b) = (Input::uniform([7, 13], 1.1, 2.0, 1), Input::uniform([7, 13], 2.1, 3.0, 2));
            all.push(Sample::new(op, vec![a.clone(), b.clone()], tolerance));
            all.push(Sample::new(op, vec![b, a.viewed()], tolerance));
            if op != Binary::Pow {
                let (a, b) = (Input::below([31], 100, 3), Input::below([31], 7, 4));
                all.push(Sample::new(op, vec![a.clone(), b.clone()], Tolerance::Exact).rough());
                all.push(Sample::new(op, vec![a.of(DType::I32), b.of(DType::I32)], Tolerance::Exact).rough());
            }
        }
        let (x, y) = ([0.0, -2.0, -2.0, -8.0, 2.0, 1.0, 0.0, 5.0], [0.0, 3.0, 2.0, 0.0, -1.0, 77.0, 2.0, 0.5]);
        all.push(
            Sample::new(Binary::Pow, vec![Input::floats([8], &x), Input::floats([8], &y)], Tolerance::Relative(2e-5))
                .rough(),
        );
        all.push(Sample::new(Binary::Mul, vec![Input::floats([1], &[3.0]); 2], Tolerance::Exact));
        all.push(Sample::new(Binary::Add, vec![Input::uniform([0], 0.0, 1.0, 0); 2], Tolerance::Exact));
        all
    }
}

pub(crate) fn same_meta(op: &str, a: &Meta, b: &Meta) -> Result<(), ShapeError> {
    if a.dtype != b.dtype {
        return Err(ShapeError::new(op, format!("the operands are {} and {}; cast one of them", a.dtype, b.dtype)));
    }
    if a.shape != b.shape {
        let problem = format!("the shapes {} and {} differ; broadcast them first", a.shape, b.shape);
        return Err(ShapeError::new(op, problem));
    }
    Ok(())
}

pub(crate) fn broadcast_pair(a: &Tensor, b: &Tensor, op: &str) -> Result<(Tensor, Tensor), ShapeError> {
    let shape = a.shape().broadcast(b.shape(), op)?;
    Ok((a.broadcast_to(&shape), b.broadcast_to(&shape)))
}

fn map_f32(args: &[&[u32]], out: &mut [u32], f: impl Fn(f32) -> f32) {
    map_words(args, out, f);
}

#[inline(always)]
pub(crate) fn map_words<A: bytemuck::Pod, B: bytemuck::Pod>(args: &[&[u32]], out: &mut [u32], f: impl Fn(A) -> B) {
    for (o, &a) in bytemuck::cast_slice_mut(out).iter_mut().zip(bytemuck::cast_slice(args[0])) {
        *o = f(a);
    }
}

#[inline(always)]
pub(crate) fn zip_words<A: bytemuck::Pod, B: bytemuck::Pod>(args: &[&[u32]], out: &mut [u32], f: impl Fn(A, A) -> B) {
    let (a, b) = (bytemuck::cast_slice::<u32, A>(args[0]), bytemuck::cast_slice::<u32, A>(args[1]));
    for ((o, &a), &b) in bytemuck::cast_slice_mut(out).iter_mut().zip(a).zip(b) {
        *o = f(a, b);
    }
}

impl Tensor {
    /// Each element, but not below `low` nor above `high`; NaN stays.
    #[track_caller]
    pub fn clamp(&self, low: f32, high: f32) -> Tensor {
        self.maximum(&Tensor::scalar(self.device(), low)).minimum(&Tensor::scalar(self.device(), high))
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident),*) => { $(
        impl ops::$trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor { Tensor::$method(self, other) }
        }
        impl ops::$trait<f32> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: f32) -> Tensor { Tensor::$method(self, &Tensor::scalar(self.device(), other)) }
        }
        impl ops::$trait<&Tensor> for f32 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor { Tensor::$method(&Tensor::scalar(other.device(), self), other) }
        }
    )* };
}

operators!(Add add, Sub sub, Mul mul, Div div);
