//! Comparisons, and the choice between two values by one. Truth values have no gradient; what they choose has.

use super::elementwise::{broadcast_pair, same_meta, zip_words};
use crate::error::{ShapeError, fit};
use crate::reference::simd::vectorized;
use crate::reference::{Array, Real, View, compare as reference};
use crate::tensor::{Backward, BlockFn, DType, Input, Lowering, Meta, NoGrad, Op, Sample, Scalar, Tensor, Tolerance};

/// How two numbers compare; NaN compares as unequal to everything. Its truth values have no gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compare {
    /// ==
    Equal,
    /// !=
    NotEqual,
    /// <
    Less,
    /// <=
    LessEqual,
    /// >
    Greater,
    /// >=
    GreaterEqual,
}

impl Compare {
    /// Every comparison.
    pub const ALL: &'static [Compare] = &[
        Compare::Equal,
        Compare::NotEqual,
        Compare::Less,
        Compare::LessEqual,
        Compare::Greater,
        Compare::GreaterEqual,
    ];

    fn scalar(self, dtype: DType) -> Scalar {
        macro_rules! by_type {
            ($wgsl:literal, $op:tt) => {
                ($wgsl, {
                    let block: BlockFn = match dtype {
                        DType::F32 => |args, out| zip_words::<f32, u32>(args, out, |a, b| (a $op b) as u32),
                        DType::I32 => |args, out| zip_words::<i32, u32>(args, out, |a, b| (a $op b) as u32),
                        _ => |args, out| zip_words::<u32, u32>(args, out, |a, b| (a $op b) as u32),
                    };
                    block
                })
            };
        }
        // A driver may turn `!(a < b)` into `a >= b` as if there were no NaN, so floats say that they are ordered.
        let special = match (self, dtype) {
            (Compare::Equal, DType::F32) => Some("(({a} == {b}) & ordered({a}, {b}))"),
            (Compare::NotEqual, DType::F32) => Some("(({a} != {b}) | !ordered({a}, {b}))"),
            (Compare::Less, DType::F32) => Some("(({a} < {b}) & ordered({a}, {b}))"),
            (Compare::LessEqual, DType::F32) => Some("(({a} <= {b}) & ordered({a}, {b}))"),
            (Compare::Greater, DType::F32) => Some("(({a} > {b}) & ordered({a}, {b}))"),
            (Compare::GreaterEqual, DType::F32) => Some("(({a} >= {b}) & ordered({a}, {b}))"),
            (Compare::Less, DType::Bool) => Some("(!{a} & {b})"),
            (Compare::LessEqual, DType::Bool) => Some("(!{a} | {b})"),
            (Compare::Greater, DType::Bool) => Some("({a} & !{b})"),
            (Compare::GreaterEqual, DType::Bool) => Some("({a} | !{b})"),
            _ => None,
        };
        let (wgsl, block) = match self {
            Compare::Equal => by_type!("({a} == {b})", ==),
            Compare::NotEqual => by_type!("({a} != {b})", !=),
            Compare::Less => by_type!("({a} < {b})", <),
            Compare::LessEqual => by_type!("({a} <= {b})", <=),
            Compare::Greater => by_type!("({a} > {b})", >),
            Compare::GreaterEqual => by_type!("({a} >= {b})", >=),
        };
        Scalar { wgsl: special.unwrap_or(wgsl), block, cheap: true }
    }
}

impl Op for Compare {
    const NAME: &'static str = "compare";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        same_meta(&format!("{self:?}"), &inputs[0], &inputs[1])?;
        Ok(vec![Meta::new(inputs[0].shape.clone(), DType::Bool)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, metas| op.scalar(metas[0].dtype))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        use std::cmp::Ordering::*;
        vec![reference::compare(&inputs[0], &inputs[1], |o| match self {
            Compare::Equal => o == Some(Equal),
            Compare::NotEqual => o != Some(Equal),
            Compare::Less => o == Some(Less),
            Compare::LessEqual => matches!(o, Some(Less | Equal)),
            Compare::Greater => o == Some(Greater),
            Compare::GreaterEqual => matches!(o, Some(Greater | Equal)),
        })]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        for &op in Compare::ALL {
            let (a, b) = (Input::below([41], 4, 1), Input::below([41], 4, 2));
            all.push(Sample::new(op, vec![a.clone().of(DType::F32), b.clone().of(DType::F32)], Tolerance::Exact));
            all.push(Sample::new(op, vec![a, b], Tolerance::Exact));
            let (p, q) = (Input::uints([4], &[0, 0, 1, 1]), Input::uints([4], &[0, 1, 0, 1]));
            all.push(Sample::new(op, vec![p.of(DType::Bool), q.of(DType::Bool)], Tolerance::Exact));
            let (nan, inf) = (f32::NAN, f32::INFINITY);
            let x = Input::floats([9], &[nan, nan, 1.0, inf, inf, -inf, 0.0, -0.0, 1.0]);
            let y = Input::floats([9], &[nan, 1.0, nan, inf, 1.0, inf, -0.0, 0.0, -inf]);
            all.push(Sample::new(op, vec![x, y], Tolerance::Exact));
        }
        all
    }
}

/// `a` where a mask holds, else `b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Select;

impl Op for Select {
    const NAME: &'static str = "compare_select";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        same_meta("select", &inputs[1], &inputs[2])?;
        if inputs[0].dtype != DType::Bool || inputs[0].shape != inputs[1].shape {
            let problem =
                format!("the mask is {} {}, it must be bool {}", inputs[0].dtype, inputs[0].shape, inputs[1].shape);
            return Err(ShapeError::new("select", problem));
        }
        Ok(vec![inputs[1].clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|_, v| {
            let zero = Tensor::scalar(v.dy().device(), 0f32);
            vec![
                None,
                v.when(1, || Tensor::select(&v.inputs[0], v.dy(), &zero)),
                v.when(2, || Tensor::select(&v.inputs[0], &zero, v.dy())),
            ]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|_, _| Scalar {
            wgsl: "select({c}, {b}, {a})",
            block: |args, out| {
                let operands = args[0].iter().zip(args[1]).zip(args[2]);
                vectorized(
                    #[inline(always)]
                    || {
                        out.iter_mut().zip(operands).for_each(
                            #[inline(always)]
                            |(o, ((&mask, &a), &b))| {
                                // As bits: a choice between two values would become one between two addresses, which
                                // no vector can make.
                                let all = 0u32.wrapping_sub((mask != 0) as u32);
                                *o = (a & all) | (b & !all);
                            },
                        )
                    },
                );
            },
            cheap: true,
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::select(&inputs[0], &inputs[1], &inputs[2])]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mask = Input::below([5, 7], 2, 1).of(DType::Bool);
        let (a, b) = (Input::uniform([5, 7], -1.0, 1.0, 2), Input::uniform([5, 7], -1.0, 1.0, 3));
        let (ia, ib) = (Input::below([5, 7], 9, 4), Input::below([5, 7], 9, 5));
        vec![
            Sample::new(Select, vec![mask.clone(), a, b.viewed()], Tolerance::Exact),
            Sample::new(Select, vec![mask, ia, ib], Tolerance::Exact),
        ]
    }
}

macro_rules! compare_methods {
    ($($method:ident $kind:ident $sign:literal),*) => {
        impl Tensor {
            $(
                #[doc = concat!("Whether `a ", $sign, " b`, element by element, broadcast by NumPy's rule; a `bool` tensor.")]
                ///
                /// # Panics
                /// If the shapes do not broadcast or the types differ.
                #[track_caller]
                pub fn $method(&self, other: &Tensor) -> Tensor {
                    let (a, b) = fit(broadcast_pair(self, other, stringify!($method)));
                    Tensor::apply(Compare::$kind, &[&a, &b])
                }
            )*
        }
    };
}

compare_methods!(equal Equal "==", not_equal NotEqual "!=", less Less "<", less_equal LessEqual "<=", greater Greater ">", greater_equal GreaterEqual ">=");

impl Tensor {
    /// `a` where `mask` holds, else `b`; all three broadcast by NumPy's rule.
    ///
    /// # Panics
    /// If the shapes do not broadcast, the mask is not `bool`, or `a` and `b` differ in type.
    #[track_caller]
    pub fn select(mask: &Tensor, a: &Tensor, b: &Tensor) -> Tensor {
        let shape = mask.shape().broadcast(a.shape(), "select").and_then(|s| s.broadcast(b.shape(), "select"));
        let shape = fit(shape);
        Tensor::apply(Select, &[&mask.broadcast_to(&shape), &a.broadcast_to(&shape), &b.broadcast_to(&shape)])
    }
}
