//! The same numbers in another type.
//!
//! Halves become wider by a view: who reads them converts anyway. So a half is never stored a second time because
//! something computes in single precision, and the only rounding of mixed precision is the cast back.

use std::sync::Arc;

use half::slice::HalfFloatSliceExt;

use super::elementwise::map_words;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, cast as reference};
use crate::tensor::{
    AnyLowering, AnyOp, Backward, BlockFn, DType, Input, Lowering, Meta, NoGrad, Op, Sample, Scalar, Tensor, Tolerance,
};

/// The same numbers in another type: floats to whole numbers toward 0, saturating, NaN to 0; anything but 0 is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The type of the result.
    pub to: DType,
}

/// Halves in single precision: a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Widen;

impl Op for Cast {
    const NAME: &'static str = "cast";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        if self.to == DType::F16 && inputs[0].dtype != DType::F32 {
            return Err(ShapeError::new("cast", format!("of {} to f16; cast to f32 first", inputs[0].dtype)));
        }
        Ok(vec![Meta::new(inputs[0].shape.clone(), self.to)])
    }
    fn backward(&self) -> Backward<Self> {
        match self.to {
            DType::F16 => Backward::Rule(|op, v| {
                // The gradient of a parameter was summed in single precision; it is not rounded on its way there.
                let is_parameter = v.inputs[0].node.is_source();
                let sum = if is_parameter { before(v.dy(), op) } else { None };
                vec![Some(sum.unwrap_or_else(|| v.dy().cast(DType::F32)))]
            }),
            DType::F32 => Backward::Rule(|_, v| vec![(v.inputs[0].dtype() == DType::F32).then(|| v.dy().clone())]),
            _ => Backward::None(NoGrad::Source),
        }
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, metas| {
            let (wgsl, block): (&'static str, BlockFn) = match (metas[0].dtype, op.to) {
                (_, DType::F16) => ("rounded_to_half({a})", |a, o| round_to_halves(a[0], o)),
                (DType::F32, DType::I32) => ("whole_i32({a})", |a, o| map_words::<f32, i32>(a, o, |x| x as i32)),
                (DType::F32, DType::U32) => ("whole_u32({a})", |a, o| map_words::<f32, u32>(a, o, |x| x as u32)),
                (DType::F32, DType::Bool) => ("((bitcast<u32>({a}) & 0x7fffffffu) != 0u)", |a, o| {
                    map_words::<f32, u32>(a, o, |x| (x != 0.0) as u32)
                }),
                (DType::I32, DType::F32) => ("f32({a})", |a, o| map_words::<i32, f32>(a, o, |x| x as f32)),
                (DType::U32 | DType::Bool, DType::F32) => {
                    ("f32({a})", |a, o| map_words::<u32, f32>(a, o, |x| x as f32))
                }
                (DType::I32, DType::Bool) => ("({a} != 0)", |a, o| map_words::<u32, u32>(a, o, |x| (x != 0) as u32)),
                (DType::U32, DType::Bool) => ("({a} != 0u)", |a, o| map_words::<u32, u32>(a, o, |x| (x != 0) as u32)),
                (_, DType::I32) => ("i32({a})", |a, o| o.copy_from_slice(a[0])),
                (_, DType::U32) => ("u32({a})", |a, o| o.copy_from_slice(a[0])),
                _ => ("{a}", |a, o| o.copy_from_slice(a[0])),
            };
            Scalar { wgsl, block, cheap: true }
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let to = match self.to {
            DType::F32 => reference::Kind::Float,
            DType::F16 => reference::Kind::Half,
            DType::I32 => reference::Kind::Int,
            DType::U32 => reference::Kind::Uint,
            DType::Bool => reference::Kind::Truth,
        };
        vec![reference::cast(&inputs[0], to)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let floats = Input::floats([7], &[0.0, 0.9, 1.5, 2.0, 7.99, 100.25, 4e6]);
        let signed = Input::floats([5], &[-1.5, -0.1, 0.0, 3.7, -1e9]);
        let whole = Input::below([11], 3, 1);
        let beyond =
            Input::floats([8], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e9, -3e9, 5e9, -0.5, 2147483520.0]);
        let odd = Input::floats([6], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1e-30]);
        let mut all = vec![
            Sample::new(Cast { to: DType::Bool }, vec![odd], Tolerance::Exact),
            Sample::new(Cast { to: DType::I32 }, vec![beyond.clone()], Tolerance::Exact),
            Sample::new(Cast { to: DType::U32 }, vec![beyond], Tolerance::Exact),
            Sample::new(Cast { to: DType::F32 }, vec![signed.clone()], Tolerance::Exact).rough(),
            Sample::new(Cast { to: DType::I32 }, vec![signed.clone()], Tolerance::Exact),
            Sample::new(Cast { to: DType::U32 }, vec![floats], Tolerance::Exact),
            Sample::new(Cast { to: DType::Bool }, vec![signed], Tolerance::Exact),
        ];
        all.extend(half_samples());
        for from in [DType::I32, DType::U32, DType::Bool] {
            for to in [DType::F32, DType::I32, DType::U32, DType::Bool] {
                let limit = if from == DType::Bool { 2 } else { 3 };
                let input = if limit == 2 { Input::below([11], 2, 2) } else { whole.clone() };
                all.push(Sample::new(Cast { to }, vec![input.of(from)], Tolerance::Exact));
            }
        }
        all
    }
}

/// Every way in which rounding to half can go: ties between two even and two odd neighbours, the last number that
/// rounds down to 65504, subnormal halves and what vanishes beside them, infinity and NaN.
fn half_samples() -> Vec<Sample<Cast>> {
    let ulp = f32::exp2(-10.0);
    #[rustfmt::skip]
    let edges = [
        1.0, 1.0 + 0.5 * ulp, 1.0 + 1.5 * ulp, 1.0 + 0.5001 * ulp, 1.0 + 0.4999 * ulp, 2.0 - 0.5 * ulp, -1.0 - 0.5 * ulp,
        65504.0, 65519.996, 65520.0, 65536.0, -65520.0, 3e38, 6.1035156e-5, 6.1e-5, 6.097_555e-5, 5.9604645e-8,
        2.9802322e-8, 2.9802326e-8, 8.940697e-8, -8.940697e-8, 1.4901161e-7, 1e-10, -1e-10, 1e-40, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN,
    ];
    let to = Cast { to: DType::F16 };
    vec![
        Sample::new(to, vec![Input::floats([edges.len()], &edges)], Tolerance::Exact).rough(),
        Sample::new(to, vec![Input::uniform([7, 13], -70000.0, 70000.0, 3)], Tolerance::Exact).rough(),
        Sample::new(to, vec![Input::uniform([5, 7], -1e-4, 1e-4, 4).viewed()], Tolerance::Exact).rough(),
    ]
}

/// What a tensor was before this op, seen through the views behind the op.
fn before(x: &Tensor, op: &dyn AnyOp) -> Option<Tensor> {
    let history = x.node.history()?;
    if history.op.same(op) {
        return Some(history.inputs[0].clone());
    }
    let AnyLowering::View(_) = history.op.lower() else { return None };
    let below = before(&history.inputs[0], op)?;
    Some(Tensor::try_apply_any(Arc::clone(&history.op), &[&below]).ok()?.swap_remove(0))
}

/// The CPU form of the cast to half, by the machine's own instructions where it has them.
fn round_to_halves(words: &[u32], out: &mut [u32]) {
    let mut halves = [half::f16::ZERO; 64];
    let (from, to) = (bytemuck::cast_slice::<u32, f32>(words), bytemuck::cast_slice_mut::<u32, f32>(out));
    for (from, to) in from.chunks(halves.len()).zip(to.chunks_mut(halves.len())) {
        let halves = &mut halves[..from.len()];
        halves.convert_from_f32_slice(from);
        halves.convert_to_f32_slice(to);
    }
}

impl Op for Widen {
    const NAME: &'static str = "cast_widen";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        match inputs[0].dtype {
            DType::F16 => Ok(vec![Meta::new(inputs[0].shape.clone(), DType::F32)]),
            other => Err(ShapeError::new("widen", format!("takes halves, not {other}"))),
        }
    }
    fn backward(&self) -> Backward<Self> {
        // What was a half and is only seen wider is not rounded again.
        Backward::Rule(|op, v| vec![Some(before(v.dy(), op).unwrap_or_else(|| v.dy().cast(DType::F16)))])
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::View(|_, layout| Some(layout.clone()))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![inputs[0].to_array()]
    }
    fn samples() -> Vec<Sample<Self>> {
        let x = |shape: &[usize], seed| Input::uniform(shape, -2.0, 2.0, seed).of(DType::F16);
        let edges = Input::floats([6], &[6e-8, -6.1e-5, 65504.0, f32::INFINITY, f32::NAN, -0.0]).of(DType::F16);
        [x(&[7, 13], 1), x(&[5, 3], 2).viewed(), x(&[1], 3), x(&[0, 2], 4), edges]
            .into_iter()
            .map(|input| Sample::new(Widen, vec![input], Tolerance::Exact).rough())
            .collect()
    }
}

impl Tensor {
    /// The same numbers as another type: floats to whole numbers toward 0, saturating, NaN to 0; anything but 0 is
    /// true; to half precision the nearest, ties to even, and infinity from 65520 on.
    #[track_caller]
    pub fn cast(&self, to: DType) -> Tensor {
        match (self.dtype(), to) {
            (from, to) if from == to => self.clone(),
            (DType::F16, DType::F32) => Tensor::apply(Widen, &[self]),
            (DType::F16, _) => self.cast(DType::F32).cast(to),
            (from, DType::F16) if from != DType::F32 => self.cast(DType::F32).cast(to),
            _ => Tensor::apply(Cast { to }, &[self]),
        }
    }
}
