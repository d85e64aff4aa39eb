//! The same numbers in another type.

use super::elementwise::map_words;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, cast as reference};
use crate::tensor::{Backward, BlockFn, DType, Input, Lowering, Meta, NoGrad, Op, Sample, Scalar, Tensor, Tolerance};

/// The same numbers in another type: floats to whole numbers toward 0, saturating, NaN to 0; anything but 0 is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cast {
    /// The type of the result.
    pub to: DType,
}

impl Op for Cast {
    const NAME: &'static str = "cast";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        Ok(vec![Meta::new(inputs[0].shape.clone(), self.to)])
    }
    fn backward(&self) -> Backward<Self> {
        match self.to {
            DType::F32 => Backward::Rule(|_, v| vec![(v.inputs[0].dtype() == DType::F32).then(|| v.dy().clone())]),
            _ => Backward::None(NoGrad::Source),
        }
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|op, metas| {
            let (wgsl, block): (&'static str, BlockFn) = match (metas[0].dtype, op.to) {
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

impl Tensor {
    /// The same numbers as another type: floats to whole numbers toward 0, saturating, NaN to 0; anything but 0 is true.
    #[track_caller]
    pub fn cast(&self, to: DType) -> Tensor {
        if self.dtype() == to { self.clone() } else { Tensor::apply(Cast { to }, &[self]) }
    }
}
