//! Functions of two numbers.

use super::{NEAR, broadcast_pair, same_meta, zip_words};
use crate::error::{ShapeError, fit};
use crate::reference::elementwise::{self as reference, wide};
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, BlockFn, DType, Input, Lowering, Meta, NoGrad, Op, Sample, Scalar, Tensor, Tolerance, Vjp,
};

/// The cotangent of an operand.
type Slope = fn(v: &Vjp) -> Tensor;

macro_rules! binary {
    ($($(#[$doc:meta])* $kind:ident $method:ident $try_method:ident $wgsl:literal $cheap:literal, float |$a:ident, $b:ident| $value:expr,
        whole $int:tt $uint:tt, $da:expr, $db:expr;)*) => {
        /// A function of two numbers of one type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Binary { $($(#[$doc])* $kind),* }

        impl Binary {
            /// Every function of the table.
            pub const ALL: &'static [Binary] = &[$(Binary::$kind),*];

            fn of<T: Real>(self, a: T, b: T) -> T {
                match self { $(Binary::$kind => { let ($a, $b) = (a, b); $value })* }
            }
            fn of_int(self, a: i32, b: i32) -> i32 {
                match self { $(Binary::$kind => binary!(of a b $int)),* }
            }
            fn of_uint(self, a: u32, b: u32) -> u32 {
                match self { $(Binary::$kind => binary!(of a b $uint)),* }
            }

            /// What it is on numbers of a type, if it takes that type.
            fn scalar<T: Real + bytemuck::Pod>(self, dtype: DType) -> Option<Scalar> {
                let (wgsl, block): (&'static str, BlockFn) = match self {
                    $(Binary::$kind => match dtype {
                        DType::F32 => ($wgsl, |args, out| zip_words(args, out, #[inline(always)] |$a: T, $b: T| $value)),
                        DType::I32 => (binary!(wgsl $int)?, |args, out| zip_words(args, out, |a, b| Binary::$kind.of_int(a, b))),
                        DType::U32 => (binary!(wgsl $uint)?, |args, out| zip_words(args, out, |a, b| Binary::$kind.of_uint(a, b))),
                        DType::Bool | DType::F16 => return None,
                    }),*
                };
                let cheap = match self { $(Binary::$kind => $cheap),* };
                Some(Scalar { wgsl, block, cheap: cheap || dtype != DType::F32 })
            }

            fn slopes(self) -> [Option<Slope>; 2] {
                match self { $(Binary::$kind => [$da, $db]),* }
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
                ///
                /// # Errors
                /// If the shapes do not broadcast or the types differ.
                #[track_caller]
                pub fn $try_method(&self, other: &Tensor) -> Result<Tensor, ShapeError> {
                    let (a, b) = broadcast_pair(self, other, stringify!($method))?;
                    Ok(Tensor::try_apply(Binary::$kind, &[&a, &b])?.swap_remove(0))
                }
            )*
        }
    };
    // A column for whole numbers: ("WGSL", function), or `none`.
    (of $a:ident $b:ident none) => { unreachable!("infer refuses {} and {}", $a, $b) };
    (of $a:ident $b:ident ($wgsl:literal, $f:expr)) => { ($f)($a, $b) };
    (wgsl none) => { None };
    (wgsl ($wgsl:literal, $f:expr)) => { Some($wgsl) };
}

binary! {
    /// a + b
    Add add try_add "({a} + {b})" true, float |a, b| a + b, whole ("({a} + {b})", i32::wrapping_add) ("({a} + {b})", u32::wrapping_add),
        Some(|v| v.dy().clone()), Some(|v| v.dy().clone());
    /// a - b
    Sub sub try_sub "({a} - {b})" true, float |a, b| a - b, whole ("({a} - {b})", i32::wrapping_sub) ("({a} - {b})", u32::wrapping_sub),
        Some(|v| v.dy().clone()), Some(|v| v.dy().neg());
    /// a b
    Mul mul try_mul "({a} * {b})" true, float |a, b| a * b, whole ("({a} * {b})", i32::wrapping_mul) ("({a} * {b})", u32::wrapping_mul),
        Some(|v| v.dy() * &v.inputs[1]), Some(|v| v.dy() * &v.inputs[0]);
    /// a / b; whole numbers round toward 0, and division by 0 gives `a`.
    Div div try_div "quotient({a}, {b})" true, float |a, b| a / b,
        whole ("quotient_i32({a}, {b})", |a: i32, b| if b == 0 { a } else { a.wrapping_div(b) }) ("quotient_u32({a}, {b})", |a: u32, b| a.checked_div(b).unwrap_or(a)),
        Some(|v| v.dy() / &v.inputs[1]), Some(|v| (&(v.dy() * &v.outputs[0]) / &v.inputs[1]).neg());
    /// floor(a / b); of whole numbers, `a` where b is 0. It has no slope.
    FloorDivide floor_divide try_floor_divide "floor_div({a}, {b})" false, float |a, b| reference::floor_div(a, b),
        whole ("floor_div_i32({a}, {b})", reference::floor_div_int) ("quotient_u32({a}, {b})", |a: u32, b| a.checked_div(b).unwrap_or(a)),
        None, None;
    /// The remainder of a / b with the sign of a (C's and PyTorch's `fmod`, Rust's `%`); whole numbers modulo 0 give 0.
    Rem rem try_rem "fmod_exact({a}, {b})" false, float |a, b| a % b,
        whole ("rest_i32({a}, {b})", |a: i32, b| if b == 0 { 0 } else { a.wrapping_rem(b) }) ("rest_u32({a}, {b})", |a: u32, b| a.checked_rem(b).unwrap_or(0)),
        Some(|v| v.dy().clone()), Some(|v| (v.dy() * &(&v.inputs[0] / &v.inputs[1]).trunc()).neg());
    /// The remainder of a / b with the sign of b (Python's `%`, PyTorch's `remainder`); whole numbers modulo 0 give 0.
    Remainder remainder try_remainder "floor_mod({a}, {b})" false, float |a, b| reference::floor_mod(a, b),
        whole ("floor_mod_i32({a}, {b})", reference::floor_mod_int) ("rest_u32({a}, {b})", |a: u32, b| a.checked_rem(b).unwrap_or(0)),
        Some(|v| v.dy().clone()), Some(|v| (v.dy() * &v.inputs[0].floor_divide(&v.inputs[1])).neg());
    /// a^b as IEEE 754 has it; of whole numbers wrapping, and 0 for the fractions that negative powers are.
    Pow pow try_pow "power({a}, {b})" false, float |a, b| a.powf(b),
        whole ("power_i32({a}, {b})", reference::power_int) ("power_u32({a}, {b})", u32::wrapping_pow),
        Some(power_slope), Some(exponent_slope);
    /// The larger; NaN if either is. Where both are equal the gradient is split.
    Maximum maximum try_maximum "maximum({a}, {b})" true, float |a, b| if a.is_nan() || a > b { a } else { b },
        whole ("max({a}, {b})", i32::max) ("max({a}, {b})", u32::max),
        Some(|v| share(v, v.inputs[0].less(&v.inputs[1]))), Some(|v| share(v, v.inputs[1].less(&v.inputs[0])));
    /// The smaller; NaN if either is. Where both are equal the gradient is split.
    Minimum minimum try_minimum "minimum({a}, {b})" true, float |a, b| if a.is_nan() || a < b { a } else { b },
        whole ("min({a}, {b})", i32::min) ("min({a}, {b})", u32::min),
        Some(|v| share(v, v.inputs[0].greater(&v.inputs[1]))), Some(|v| share(v, v.inputs[1].greater(&v.inputs[0])));
    /// The angle of the point (b, a), from -pi to pi.
    Atan2 atan2 try_atan2 "atan2_accurate({a}, {b})" false, float |a, b| T::of(a.f64().atan2(b.f64())), whole none none,
        Some(|v| v.dy() * &(&v.inputs[1] * &inverse_square(v))), Some(|v| (v.dy() * &(&v.inputs[0] * &inverse_square(v))).neg());
    /// sqrt(a^2 + b^2), where the squares may be too large.
    Hypot hypot try_hypot "hypotenuse({a}, {b})" false, float |a, b| T::of(a.f64().hypot(b.f64())), whole none none,
        Some(|v| v.dy() * &(&v.inputs[0] / &v.outputs[0])), Some(|v| v.dy() * &(&v.inputs[1] / &v.outputs[0]));
    /// log(e^a + e^b), without overflow.
    LogAddExp logaddexp try_logaddexp "log_add_exp({a}, {b})" false, float |a, b| T::of(reference::log_add_exp(a.f64(), b.f64())), whole none none,
        Some(|v| v.dy() * &(&v.inputs[0] - &v.inputs[1]).sigmoid()), Some(|v| v.dy() * &(&v.inputs[1] - &v.inputs[0]).sigmoid());
    /// a log b, and 0 where a is 0.
    Xlogy xlogy try_xlogy "x_log_y({a}, {b})" false, float |a, b| T::of(reference::x_log_y(a.f64(), b.f64())), whole none none,
        Some(log_slope), Some(|v| v.dy() * &(&v.inputs[0] / &v.inputs[1]));
    /// |a| with the sign of b, also where b is -0.
    Copysign copysign try_copysign "with_sign({a}, {b})" true, float |a, b| wide(a, |a| a.copysign(b.f64())), whole none none,
        Some(|v| { let a = &v.inputs[0]; v.dy() * &(&v.outputs[0] / a).masked_fill(&a.eq(0f32), 0f32) }), None;
}

/// The gradient of a winner, half of it at a tie, none of a loser.
fn share(v: &Vjp, loses: Tensor) -> Tensor {
    let zero = Tensor::scalar(v.dy().device(), 0f32);
    let tie = v.inputs[0].equal(&v.inputs[1]);
    Tensor::select(&loses, &zero, &Tensor::select(&tie, &(v.dy() * 0.5), v.dy()))
}

fn power_slope(v: &Vjp) -> Tensor {
    let (a, b) = (&v.inputs[0], &v.inputs[1]);
    let zero = Tensor::scalar(a.device(), 0f32);
    let slope = v.dy() * &(b * &a.pow(&(b - 1.0)));
    Tensor::select(&b.equal(&zero), &zero, &slope)
}

/// dy y log a, and 0 where a is 0 and b is not negative: there y stays 0.
fn exponent_slope(v: &Vjp) -> Tensor {
    let (a, b) = (&v.inputs[0], &v.inputs[1]);
    let (zero, one) = (Tensor::scalar(a.device(), 0f32), Tensor::scalar(a.device(), 1f32));
    let flat = a.equal(&zero).bitwise_and(&b.greater_equal(&zero));
    let log = Tensor::select(&flat, &one, a).ln();
    Tensor::select(&flat, &zero, &(v.dy() * &(&v.outputs[0] * &log)))
}

/// dy log b, and 0 where a is 0 and b is not positive.
fn log_slope(v: &Vjp) -> Tensor {
    let (a, b) = (&v.inputs[0], &v.inputs[1]);
    let (zero, one) = (Tensor::scalar(a.device(), 0f32), Tensor::scalar(a.device(), 1f32));
    let flat = a.equal(&zero).bitwise_and(&b.less_equal(&zero));
    v.dy() * &Tensor::select(&flat, &one, b).ln()
}

/// 1 / (a^2 + b^2), and 0 at the origin.
fn inverse_square(v: &Vjp) -> Tensor {
    let square = &v.inputs[0].square() + &v.inputs[1].square();
    let (zero, one) = (Tensor::scalar(square.device(), 0f32), Tensor::scalar(square.device(), 1f32));
    let origin = square.equal(&zero);
    Tensor::select(&origin, &zero, &Tensor::select(&origin, &one, &square).reciprocal())
}

impl Op for Binary {
    const NAME: &'static str = "elementwise_binary";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (a, b) = (&inputs[0], &inputs[1]);
        same_meta(&format!("{self:?}"), a, b)?;
        match self.scalar::<f32>(a.dtype) {
            Some(_) => Ok(vec![a.clone()]),
            None => Err(ShapeError::new(format!("{self:?}"), format!("does not take {}; cast it to f32", a.dtype))),
        }
    }
    fn backward(&self) -> Backward<Self> {
        if self.slopes() == [None, None] {
            return Backward::None(NoGrad::ZeroAlmostEverywhere);
        }
        Backward::Rule(|op, v| {
            let slope = |i: usize| op.slopes()[i].filter(|_| v.needed[i] && v.inputs[i].dtype() == DType::F32);
            (0..2).map(|i| slope(i).map(|f| f(v))).collect()
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, metas| {
            op.scalar::<f32>(metas[0].dtype).expect("infer refuses what it does not take")
        })
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
        let (inf, nan, big) = (f32::INFINITY, f32::NAN, 3e38);
        let edges = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, -3.0, 7.0, 1e-3, 1e30, 1e-30, big, inf, -inf, nan];
        let n = edges.len();
        let left: Vec<f32> = (0..n * n).map(|i| edges[i / n]).collect();
        let right: Vec<f32> = (0..n * n).map(|i| edges[i % n]).collect();
        for &op in Binary::ALL {
            let tolerance = match op {
                Binary::Rem | Binary::Remainder | Binary::FloorDivide | Binary::Copysign => Tolerance::Exact,
                Binary::Add | Binary::Sub | Binary::Maximum | Binary::Minimum => Tolerance::Relative(1.2e-7),
                Binary::Pow => Tolerance::Relative(2e-5),
                Binary::Mul | Binary::Div => Tolerance::Relative(4e-7),
                _ => NEAR,
            };
            let (a, b) = (Input::uniform([7, 13], 1.1, 2.0, 1), Input::uniform([7, 13], 2.1, 3.0, 2));
            // A remainder is rounded where it is not exact: when a multiple of b is added.
            let rounded = if op == Binary::Remainder { Tolerance::Relative(1.2e-7) } else { tolerance };
            all.push(Sample::new(op, vec![a.clone(), b.clone()], rounded));
            all.push(Sample::new(op, vec![b, a.viewed()], rounded));
            let every = vec![Input::floats(n * n, &left), Input::floats(n * n, &right)];
            // The powers of 1e30 and 1e-30 lose digits with the size of their logarithm.
            let every_tolerance = if op == Binary::Pow { Tolerance::Relative(1e-4) } else { rounded };
            all.push(Sample::new(op, every, every_tolerance).rough());
            if op.scalar::<f32>(DType::I32).is_some() {
                let (a, b) = (Input::below([31], 100, 3), Input::below([31], 7, 4));
                all.push(Sample::new(op, vec![a.clone(), b.clone()], Tolerance::Exact).rough());
                let signed = |mut x: Input| {
                    x.values.iter_mut().enumerate().for_each(|(i, v)| *v *= [1.0, -1.0, 1.0, 1.0, -1.0][i % 5]);
                    x.of(DType::I32)
                };
                let mut b = signed(b);
                b.values.reverse();
                all.push(Sample::new(op, vec![signed(a), b], Tolerance::Exact).rough());
            }
        }
        all.push(Sample::new(Binary::Mul, vec![Input::floats([1], &[3.0]); 2], Tolerance::Exact));
        all.push(Sample::new(Binary::Add, vec![Input::uniform([0], 0.0, 1.0, 0); 2], Tolerance::Exact));
        all
    }
}

impl Tensor {
    /// PyTorch's name of [`Tensor::rem`].
    #[track_caller]
    pub fn fmod(&self, other: &Tensor) -> Tensor {
        self.rem(other)
    }
}
