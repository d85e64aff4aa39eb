//! How ops that compute in single precision take halves: one rule for all of them.
//!
//! An op's inputs are widened, which is a view and moves nothing; it computes in single precision; and its float
//! outputs are rounded to half, which the planner folds into whoever reads them. So no op knows of halves, and each
//! backward rule runs in single precision and rounds once, as PyTorch's do.
//!
//! The result is half if all float inputs are, as in PyTorch: a tensor in single precision widens it, a number does
//! not. Ops of [`WIDE`] stay in single precision.

use std::sync::Arc;

use super::{AnyLowering, AnyOp, DType, NodeState, Tensor};
use crate::error::ShapeError;

/// Ops whose results stay in single precision, since half has too little room for them: sums and losses, and what is
/// made by them. They are those of the float32 list of `torch.autocast`.
const WIDE: &[&str] =
    &["reduce", "scan", "softmax", "softmax_log", "binary_entropy", "cross_entropy", "cross_entropy_dense", "norm"];

/// Whether the op takes these inputs as they are: no half among them, or a view, which moves what it does not read.
pub(super) fn takes(op: &dyn AnyOp, inputs: &[&Tensor]) -> bool {
    inputs.iter().all(|t| t.dtype() != DType::F16) || matches!(op.lower(), AnyLowering::View(_))
}

/// Records an op of widened halves.
#[track_caller]
pub(super) fn apply(op: Arc<dyn AnyOp>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, ShapeError> {
    let narrow = !WIDE.contains(&op.name()) && stays_half(inputs);
    let widened: Vec<Tensor> =
        inputs.iter().map(|&x| if x.dtype() == DType::F16 { x.cast(DType::F32) } else { x.clone() }).collect();
    let outputs = Tensor::record(op, &widened.iter().collect::<Vec<_>>())?;
    let rounded = |y: Tensor| if narrow && y.dtype() == DType::F32 { y.cast(DType::F16) } else { y };
    Ok(outputs.into_iter().map(rounded).collect())
}

/// Whether no input asks for more than half. A single number, however often it is repeated, only asks where nothing
/// else does.
fn stays_half(inputs: &[&Tensor]) -> bool {
    let floats: Vec<&Tensor> = inputs.iter().copied().filter(|x| x.dtype().is_float()).collect();
    let arrays: Vec<&Tensor> = floats.iter().copied().filter(|x| !is_number(x)).collect();
    let ask = if arrays.is_empty() { floats } else { arrays };
    ask.iter().all(|x| x.dtype() == DType::F16)
}

/// Whether it is one number beneath its views.
fn is_number(x: &Tensor) -> bool {
    let mut x = x.clone();
    loop {
        let below = match &*x.node.state() {
            NodeState::Pending(h) | NodeState::Ready { history: Some(h), .. }
                if matches!(h.op.lower(), AnyLowering::View(_)) =>
            {
                h.inputs[0].clone()
            }
            _ => return x.rank() == 0,
        };
        x = below;
    }
}
