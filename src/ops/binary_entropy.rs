//! The cross-entropy of a probability with a target, `-(t ln p + (1 - t) ln(1 - p))`, element by element.
//!
//! An op of its own because of its edges: where `p` is 0 or 1, the logarithms are infinite and their slopes are too.
//! Here logarithms are at least -100, and the slope `(p - t) / (p (1 - p))` is divided by at least 1e-12, as in
//! PyTorch. So a network whose sigmoid has rounded to 1 still learns from its mistake.

use super::elementwise::{broadcast_pair, same_meta, zip_words};
use crate::error::{ShapeError, fit};
use crate::reference::{Array, Real, View, binary_entropy as reference};
use crate::tensor::{Backward, DType, Input, Lowering, Meta, Op, Sample, Scalar, Tensor, Tolerance};

/// Inputs are probabilities and targets of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BinaryEntropy;

impl Op for BinaryEntropy {
    const NAME: &'static str = "binary_entropy";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        same_meta("binary_entropy", &inputs[0], &inputs[1])?;
        if inputs[0].dtype != DType::F32 {
            let problem = format!("takes f32, not {}; cast it first", inputs[0].dtype);
            return Err(ShapeError::new("binary_entropy", problem));
        }
        Ok(vec![inputs[0].clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|_, v| {
            let (p, t) = (&v.inputs[0], &v.inputs[1]);
            let to_p = v.when(0, || v.dy() * &(&(p - t) / &(p * &(1.0 - p)).clamp(1e-12, 1.0)));
            let to_t = v.when(1, || v.dy() * &(&p.neg().log1p() - &p.ln()));
            vec![to_p, to_t]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Elementwise(|_, _| Scalar {
            wgsl: "(({b} - 1.0) * maximum(log1p_accurate(-{a}), -100.0) - {b} * maximum(ln({a}), -100.0))",
            block: |args, out| zip_words(args, out, reference::of::<f32>),
            cheap: false,
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::of_all(&inputs[0], &inputs[1])]
    }
    fn samples() -> Vec<Sample<Self>> {
        let x = |shape: &[usize], seed| Input::uniform(shape, 0.02, 0.98, seed);
        let call = |p: Input, t: Input| Sample::new(BinaryEntropy, vec![p, t], Tolerance::OfLargest(1e-6));
        let p = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1e-30, 1e-30, 0.5, f32::NAN];
        let t = [0.0, 1.0, 0.5, 0.0, 1.0, 0.5, 1.0, 0.0, 0.25, 0.5];
        vec![
            call(x(&[7, 13], 1), x(&[7, 13], 2)),
            call(x(&[5, 3], 3).viewed(), x(&[5, 3], 4)),
            call(x(&[0, 3], 5), x(&[0, 3], 6)),
            call(Input::floats([10], &p), Input::floats([10], &t)).rough(),
        ]
    }
}

impl Tensor {
    /// `-(t ln p + (1 - t) ln(1 - p))` of probabilities and targets, which broadcast, each logarithm at least -100; of
    /// which [`Tensor::binary_cross_entropy`](crate::Tensor::binary_cross_entropy) makes a loss.
    ///
    /// # Panics
    /// If the shapes do not broadcast or the types are not `f32`.
    #[track_caller]
    pub fn binary_entropy(&self, target: &Tensor) -> Tensor {
        let (p, t) = fit(broadcast_pair(self, target, "binary_entropy"));
        Tensor::apply(BinaryEntropy, &[&p, &t])
    }
}
