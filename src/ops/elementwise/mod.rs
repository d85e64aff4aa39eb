//! Functions of one or two numbers, applied to each element: one room and a few tables, since they differ only in
//! a formula. A row gives the WGSL expression, the CPU function and the derivative; the planner fuses chains of them.
//!
//! Both operands of a recorded op have one shape: the methods broadcast first (NumPy's rule) with a view that copies
//! nothing, and the view's own rule sums the gradient back.

mod binary;
mod bits;
mod operators;
mod unary;

pub use binary::Binary;
pub use bits::{Bitwise, Not, Probe};
pub use unary::Unary;

use crate::error::ShapeError;
use crate::reference::simd::vectorized;
use crate::tensor::{Meta, Tensor, Tolerance};

/// A few units in the last place.
const NEAR: Tolerance = Tolerance::Relative(4e-6);

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

#[inline(always)]
pub(crate) fn map_words<A: bytemuck::Pod, B: bytemuck::Pod>(args: &[&[u32]], out: &mut [u32], f: impl Fn(A) -> B) {
    let (out, a) = (bytemuck::cast_slice_mut::<u32, B>(out), bytemuck::cast_slice::<u32, A>(args[0]));
    vectorized(
        #[inline(always)]
        || {
            out.iter_mut().zip(a).for_each(
                #[inline(always)]
                |(o, &a)| *o = f(a),
            )
        },
    );
}

#[inline(always)]
pub(crate) fn zip_words<A: bytemuck::Pod, B: bytemuck::Pod>(args: &[&[u32]], out: &mut [u32], f: impl Fn(A, A) -> B) {
    let (a, b) = (bytemuck::cast_slice::<u32, A>(args[0]), bytemuck::cast_slice::<u32, A>(args[1]));
    let out = bytemuck::cast_slice_mut::<u32, B>(out);
    vectorized(
        #[inline(always)]
        || {
            out.iter_mut().zip(a).zip(b).for_each(
                #[inline(always)]
                |((o, &a), &b)| *o = f(a, b),
            )
        },
    );
}
