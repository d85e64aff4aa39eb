//! Logic on truth values, bits of whole numbers, and questions about floats that are answered from their bits.

use super::{broadcast_pair, map_words, same_meta, zip_words};
use crate::error::{ShapeError, fit};
use crate::reference::elementwise as reference;
use crate::reference::{Array, Real, View};
use crate::tensor::{Backward, BlockFn, DType, Input, Lowering, Meta, NoGrad, Op, Sample, Scalar, Tensor, Tolerance};

/// And, or and exclusive or of truth values, or of the bits of whole numbers; and shifts of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bitwise {
    /// Both.
    And,
    /// At least one.
    Or,
    /// One, not both.
    Xor,
    /// a 2^b; 0 where b is not from 0 to 31.
    ShiftLeft,
    /// a / 2^b, rounded down; what is left of b = 31 where b is not from 0 to 31.
    ShiftRight,
}

impl Bitwise {
    /// Every function of the table.
    pub const ALL: &'static [Bitwise] =
        &[Bitwise::And, Bitwise::Or, Bitwise::Xor, Bitwise::ShiftLeft, Bitwise::ShiftRight];

    fn of_int(self, a: i32, b: i32) -> i32 {
        match self {
            Bitwise::ShiftRight => a >> (b as u32).min(31),
            _ => self.of_uint(a as u32, b as u32) as i32,
        }
    }

    fn of_uint(self, a: u32, b: u32) -> u32 {
        match self {
            Bitwise::And => a & b,
            Bitwise::Or => a | b,
            Bitwise::Xor => a ^ b,
            Bitwise::ShiftLeft => a.checked_shl(b).unwrap_or(0),
            Bitwise::ShiftRight => a.checked_shr(b).unwrap_or(0),
        }
    }

    fn scalar(self, dtype: DType) -> Scalar {
        let wgsl = match (self, dtype) {
            (Bitwise::And, _) => "({a} & {b})",
            (Bitwise::Or, _) => "({a} | {b})",
            (Bitwise::Xor, DType::Bool) => "({a} != {b})",
            (Bitwise::Xor, _) => "({a} ^ {b})",
            (Bitwise::ShiftLeft, DType::I32) => "select(0, {a} << (u32({b}) & 31u), u32({b}) < 32u)",
            (Bitwise::ShiftLeft, _) => "select(0u, {a} << ({b} & 31u), {b} < 32u)",
            (Bitwise::ShiftRight, DType::I32) => "({a} >> min(u32({b}), 31u))",
            (Bitwise::ShiftRight, _) => "select(0u, {a} >> ({b} & 31u), {b} < 32u)",
        };
        macro_rules! block {
            ($($kind:ident)*) => {
                match (self, dtype) {
                    $(
                        (Bitwise::$kind, DType::I32) => |args, out| zip_words(args, out, |a, b| Bitwise::$kind.of_int(a, b)),
                        (Bitwise::$kind, _) => |args, out| zip_words(args, out, |a, b| Bitwise::$kind.of_uint(a, b)),
                    )*
                }
            };
        }
        let block: BlockFn = block!(And Or Xor ShiftLeft ShiftRight);
        Scalar { wgsl, block, cheap: true }
    }
}

impl Op for Bitwise {
    const NAME: &'static str = "elementwise_bitwise";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        same_meta(&format!("{self:?}"), &inputs[0], &inputs[1])?;
        let shift = matches!(self, Bitwise::ShiftLeft | Bitwise::ShiftRight);
        match inputs[0].dtype {
            DType::Bool if shift => Err(ShapeError::new(format!("{self:?}"), "does not take bool; cast it to u32")),
            DType::F32 => {
                let problem =
                    "does not take f32, but truth values and whole numbers; cast it, or use a logical_ method";
                Err(ShapeError::new(format!("{self:?}"), problem))
            }
            _ => Ok(vec![inputs[0].clone()]),
        }
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, metas| op.scalar(metas[0].dtype))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let float = |_, _| unreachable!("infer refuses floats");
        vec![reference::zip(&inputs[0], &inputs[1], float, |a, b| self.of_int(a, b), |a, b| self.of_uint(a, b))]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        let (a, b) = (Input::below([37], 1 << 20, 1), Input::below([37], 40, 2));
        let mut signed = a.clone().of(DType::I32);
        signed.values.iter_mut().step_by(2).for_each(|v| *v = -*v);
        let mut signed_b = b.clone().of(DType::I32);
        signed_b.values.iter_mut().step_by(3).for_each(|v| *v = -*v);
        let (p, q) = (Input::below([37], 2, 3).of(DType::Bool), Input::below([37], 2, 4).of(DType::Bool));
        for &op in Bitwise::ALL {
            all.push(Sample::new(op, vec![a.clone(), b.clone()], Tolerance::Exact));
            all.push(Sample::new(op, vec![signed.clone(), signed_b.clone()], Tolerance::Exact));
            if !matches!(op, Bitwise::ShiftLeft | Bitwise::ShiftRight) {
                all.push(Sample::new(op, vec![p.clone(), q.clone()], Tolerance::Exact));
            }
        }
        all
    }
}

/// The opposite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Not {
    /// Of a truth value.
    Truth,
    /// Of every bit of a whole number.
    Bits,
}

impl Op for Not {
    const NAME: &'static str = "elementwise_not";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        match (self, inputs[0].dtype) {
            (Not::Truth, DType::Bool) | (Not::Bits, DType::I32 | DType::U32) => Ok(vec![inputs[0].clone()]),
            (_, other) => {
                let problem = format!("takes truth values and whole numbers, not {other}; cast it, or use logical_not");
                Err(ShapeError::new("bitwise_not", problem))
            }
        }
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, _| match op {
            Not::Truth => Scalar { wgsl: "!{a}", block: |a, o| map_words(a, o, |x: u32| 1 - x), cheap: true },
            Not::Bits => Scalar { wgsl: "~{a}", block: |a, o| map_words(a, o, |x: u32| !x), cheap: true },
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let turned = if *self == Not::Truth { |x: u32| 1 - x } else { |x: u32| !x };
        vec![reference::map(&inputs[0], |_| unreachable!("infer refuses floats"), |x: i32| !x, turned)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let whole = Input::below([37], 1 << 20, 1);
        vec![
            Sample::new(Not::Truth, vec![Input::below([37], 2, 2).of(DType::Bool)], Tolerance::Exact),
            Sample::new(Not::Bits, vec![whole.clone()], Tolerance::Exact),
            Sample::new(Not::Bits, vec![whole.of(DType::I32)], Tolerance::Exact),
        ]
    }
}

macro_rules! probes {
    ($($(#[$doc:meta])* $kind:ident $method:ident $wgsl:literal |$x:ident| $value:expr;)*) => {
        /// A question about a float. WGSL lets a driver assume that there are no NaN and no infinities, so the bits are
        /// asked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Probe { $($(#[$doc])* $kind),* }

        impl Probe {
            /// Every question of the table.
            pub const ALL: &'static [Probe] = &[$(Probe::$kind),*];

            fn of(self, x: f64) -> bool {
                match self { $(Probe::$kind => { let $x = x; $value }),* }
            }

            fn scalar(self) -> Scalar {
                match self {
                    $(Probe::$kind => Scalar { wgsl: $wgsl, block: |a, o| map_words(a, o, |$x: f32| ($value) as u32), cheap: true }),*
                }
            }
        }

        impl Tensor {
            $(
                $(#[$doc])*
                /// A `bool` tensor; whole numbers are taken as the floats they are.
                #[track_caller]
                pub fn $method(&self) -> Tensor {
                    Tensor::apply(Probe::$kind, &[&self.cast(DType::F32)])
                }
            )*
        }
    };
}

probes! {
    /// Whether it is NaN.
    Nan isnan "is_nan({a})" |x| x.is_nan();
    /// Whether it is infinite.
    Infinite isinf "is_infinite({a})" |x| x.is_infinite();
    /// Whether it is neither infinite nor NaN.
    Finite isfinite "is_finite({a})" |x| x.is_finite();
    /// Whether it is plus infinity.
    PositiveInfinity isposinf "(bitcast<u32>({a}) == 0x7f800000u)" |x| x.is_infinite() && x > 0.0;
    /// Whether it is minus infinity.
    NegativeInfinity isneginf "(bitcast<u32>({a}) == 0xff800000u)" |x| x.is_infinite() && x < 0.0;
    /// Whether the sign is minus, of -0 too.
    SignBit signbit "is_negative({a})" |x| x.is_sign_negative();
}

impl Op for Probe {
    const NAME: &'static str = "elementwise_probe";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        match inputs[0].dtype {
            DType::F32 => Ok(vec![Meta::new(inputs[0].shape.clone(), DType::Bool)]),
            other => Err(ShapeError::new(format!("{self:?}"), format!("asks about f32, not {other}"))),
        }
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, _| op.scalar())
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::probe(&inputs[0], |x| self.of(x))]
    }
    fn samples() -> Vec<Sample<Self>> {
        let x = [0.0, -0.0, 1.0, -1.0, 3e38, -3e38, 1e-38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        Probe::ALL.iter().map(|&op| Sample::new(op, vec![Input::floats([10], &x)], Tolerance::Exact)).collect()
    }
}

macro_rules! bitwise_methods {
    ($($(#[$doc:meta])* $kind:ident $method:ident;)*) => {
        impl Tensor { $(
            $(#[$doc])*
            /// Broadcasts by NumPy's rule.
            ///
            /// # Panics
            /// If the shapes do not broadcast, the types differ, or are floats.
            #[track_caller]
            pub fn $method(&self, other: &Tensor) -> Tensor {
                let (a, b) = fit(broadcast_pair(self, other, stringify!($method)));
                Tensor::apply(Bitwise::$kind, &[&a, &b])
            }
        )* }
    };
}

bitwise_methods! {
    /// And of truth values, or of the bits of whole numbers.
    And bitwise_and;
    /// Or of truth values, or of the bits of whole numbers.
    Or bitwise_or;
    /// Exclusive or of truth values, or of the bits of whole numbers.
    Xor bitwise_xor;
    /// Whole numbers times 2 to the power of others; 0 where that is not from 0 to 31.
    ShiftLeft bitwise_left_shift;
    /// Whole numbers divided by 2 to the power of others, rounded down.
    ShiftRight bitwise_right_shift;
}

impl Tensor {
    /// The opposite of truth values, or every bit of whole numbers turned.
    ///
    /// # Panics
    /// If it holds floats.
    #[track_caller]
    pub fn bitwise_not(&self) -> Tensor {
        Tensor::apply(if self.dtype() == DType::Bool { Not::Truth } else { Not::Bits }, &[self])
    }
}
