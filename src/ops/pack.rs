//! Several tensors in one buffer, each at an aligned place: a slab. Parameters, gradients and optimizer state lie in
//! slabs of one order, so that an update, a norm or a checkpoint is one pass over one buffer.
//!
//! There is no kernel: the planner lets whoever computes an input write it where it belongs.

use crate::error::ShapeError;
use crate::reference::{Array, Real, View, pack as reference};
use crate::tensor::{Backward, DType, Input, Lowering, Meta, Op, Sample, Tensor, Tolerance};

/// Places are multiples of this many elements, so that each can be bound by itself.
pub const PACK_ALIGN: usize = 64;

/// Input `k`, row-major, from element `offsets[k]` on; zeros between.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pack {
    /// First element of each input, multiples of [`PACK_ALIGN`], in order.
    pub offsets: Vec<usize>,
    /// Elements in all.
    pub len: usize,
}

impl Pack {
    /// The tightest aligned places for values of these sizes, in elements.
    pub fn of_sizes(sizes: impl IntoIterator<Item = usize>) -> Pack {
        let mut len = 0;
        let offsets = sizes
            .into_iter()
            .map(|n| {
                let at = len;
                len += n.next_multiple_of(PACK_ALIGN);
                at
            })
            .collect();
        Pack { offsets, len }
    }
}

impl Op for Pack {
    const NAME: &'static str = "pack";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        if inputs.len() != self.offsets.len() {
            let problem = format!("{} inputs for {} places", inputs.len(), self.offsets.len());
            return Err(ShapeError::new("pack", problem));
        }
        let mut free = 0;
        for (x, &offset) in inputs.iter().zip(&self.offsets) {
            let end = offset + x.shape.elements();
            if x.dtype != DType::F32 || offset % PACK_ALIGN != 0 || offset < free || end > self.len {
                let problem = format!(
                    "{} {} does not fit at element {offset} of {}: places hold f32, start at multiples of {PACK_ALIGN}, \
                     and do not overlap",
                    x.dtype, x.shape, self.len
                );
                return Err(ShapeError::new("pack", problem));
            }
            free = end;
        }
        Ok(vec![Meta::new(self.len, DType::F32)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let part = |(x, &offset): (&Tensor, &usize)| v.dy().narrow(0, offset, x.elements()).reshape(x.shape());
            v.inputs.iter().zip(&op.offsets).map(|place| Some(part(place))).collect()
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Pack(|op| &op.offsets)
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::pack(inputs, &self.offsets, self.len)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let x = |shape: &[usize], seed| Input::uniform(shape, -1.0, 1.0, seed);
        let pack = |inputs: Vec<Input>| {
            let op = Pack::of_sizes(inputs.iter().map(|i| i.values.len()));
            Sample::new(op, inputs, Tolerance::Exact)
        };
        vec![
            pack(vec![x(&[7, 13], 1), x(&[10], 2), x(&[64], 3)]),
            pack(vec![x(&[5, 3], 4).viewed(), x(&[1], 5)]),
            pack(vec![x(&[128], 6)]),
            pack(vec![x(&[0], 7), x(&[3], 8)]),
        ]
    }
}
