//! Matrix products, batched and broadcast: the op, and the launch that convolution shares with it.
//!
//! Operands are read where they lie, by strides, so the transposes of the backward pass cost nothing.

mod gemm;
mod variant;

pub(crate) use gemm::{BROADCAST_TILE, Gemm, Matrix, add_slices, broadcast_rows, cooperative_tile, shader};
pub(crate) use variant::{PROCESSORS, TILE_32, TILE_32X64, TILE_64, TILE_128, Tile, slice_length, tile_for};

use super::cast::Widen;
use super::view::Permute;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, matmul as reference};
use crate::tensor::{Backward, DType, Input, Lower, Lowering, Meta, Op, Sample, Shape, Slot, Tensor, Tolerance};

/// The kernels that make products, by name: what [`GpuOptions::variant`](crate::device::GpuOptions) chooses from.
pub fn variant_names() -> impl Iterator<Item = &'static str> {
    variant::Variant::ALL.into_iter().map(variant::Variant::name)
}

/// `[..., m, k] x [..., k, n]` to `[..., m, n]`, with equal batch axes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matmul;

/// Batch axes with the strides of both operands, neighbours merged where both run on.
fn merged(shape: &[usize], a: &[isize], b: &[isize]) -> Vec<(usize, isize, isize)> {
    let mut axes: Vec<(usize, isize, isize)> = Vec::new();
    for ((&n, &a), &b) in shape.iter().zip(a).zip(b).filter(|((n, _), _)| **n != 1) {
        match axes.last_mut() {
            Some(last) if last.1 == n as isize * a && last.2 == n as isize * b => *last = (last.0 * n, a, b),
            _ => axes.push((n, a, b)),
        }
    }
    axes
}

fn lower(_: &Matmul, cx: &mut Lower) {
    let (x, y) = (cx.meta(0).shape.clone(), cx.meta(1).shape.clone());
    let batch_axes = x.rank() - 2;
    let (m, k, n) = (x[batch_axes], x[batch_axes + 1], y[batch_axes + 1]);
    if x.elements() * y.elements() == 0 {
        let batches = x[..batch_axes].iter().product();
        let c = cx.output(0);
        return dense(m, n, k, batches, [c, c, c]).launch(cx);
    }
    let (a, b) = (operand(cx, 0), operand(cx, 1));
    let mut axes = merged(&x[..batch_axes], &a.1.strides[..batch_axes], &b.1.strides[..batch_axes]);
    let c = cx.output(0);
    if axes.len() > 2 {
        let (a, b) = (cx.input(0), cx.input(1));
        return dense(m, n, k, x[..batch_axes].iter().product(), [a, b, c]).launch(cx);
    }
    while axes.len() < 2 {
        axes.insert(0, (1, 0, 0));
    }
    let matrix = |(slot, layout): &(Slot, crate::tensor::Layout), outer: isize, inner: isize| Matrix {
        slot: *slot,
        base: layout.offset,
        outer,
        inner,
        k_outer: 0,
        row: layout.strides[batch_axes],
        col: layout.strides[batch_axes + 1],
    };
    let (a, b) = (matrix(&a, axes[0].1, axes[1].1), matrix(&b, axes[0].2, axes[1].2));
    let batch = [axes[0].0, axes[1].0];
    let each = (m * n) as isize;
    let outer = batch[1] as isize * each;
    let c = Matrix { slot: c, base: 0, outer, inner: each, k_outer: 0, row: n as isize, col: 1 };
    let sum = cx.sum_wanted(0, &[batch_axes + 1]);
    Gemm { m, n, k, batch, k_outer: 1, a, b, c, accumulate: false, finish: true, sum }.launch(cx);
}

/// An operand where it lies, or a copy of it where its whole buffer is too long to bind.
fn operand(cx: &mut Lower, i: usize) -> (Slot, crate::tensor::Layout) {
    let (slot, layout) = cx.strided(i);
    if slot.len as u64 * 4 <= cx.caps().max_binding {
        return (slot, layout);
    }
    (cx.input(i), crate::tensor::Layout::contiguous(layout.shape, 0))
}

/// A batch of row-major products.
fn dense(m: usize, n: usize, k: usize, batches: usize, [a, b, c]: [Slot; 3]) -> Gemm {
    let matrix = |slot: Slot, rows: usize, columns: usize| {
        let inner = (rows * columns) as isize;
        Matrix { slot, base: 0, outer: 0, inner, k_outer: 0, row: columns as isize, col: 1 }
    };
    let (a, b, c) = (matrix(a, m, k), matrix(b, k, n), matrix(c, m, n));
    Gemm { m, n, k, batch: [1, batches], k_outer: 1, a, b, c, accumulate: false, finish: true, sum: None }
}

/// Whether a tensor was recorded as another with its last two axes swapped.
fn is_transposed(x: &Tensor) -> bool {
    let swap: Vec<usize> = (0..x.rank() - 2).chain([x.rank() - 1, x.rank() - 2]).collect();
    x.node
        .history()
        .is_some_and(|h| h.op.same(&Permute { axes: swap }) || (h.op.same(&Widen) && is_transposed(&h.inputs[0])))
}

impl Op for Matmul {
    const NAME: &'static str = "matmul";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (a, b) = (&inputs[0].shape, &inputs[1].shape);
        let fail = |problem: String| Err(ShapeError::new("matmul", problem));
        if let Some(other) = inputs.iter().find(|i| i.dtype != DType::F32) {
            return fail(format!("an operand of type {}; both must be f32", other.dtype));
        }
        if a.rank() < 2 || a.rank() != b.rank() || a[..a.rank() - 2] != b[..b.rank() - 2] {
            return fail(format!("{a} x {b}; the op takes [..., m, k] x [..., k, n] with equal leading axes"));
        }
        let r = a.rank();
        if a[r - 1] != b[r - 2] {
            return fail(inner_extents(a, b, a[r - 1], b[r - 2]));
        }
        let mut shape = a.to_vec();
        shape[r - 1] = b[r - 1];
        Ok(vec![Meta::new(shape, DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        // C = A B: dA = dC B^T, dB = A^T dC. Of a transposed operand (the weight of a linear layer) the product is
        // taken the other way round, so that its gradient comes out in the operand's own order and is not copied into
        // it.
        Backward::Rule(|_, v| {
            let (a, b, dc) = (&v.inputs[0], &v.inputs[1], v.dy());
            let t = |x: &Tensor| x.transpose(x.rank() - 2, x.rank() - 1);
            let product = |a: &Tensor, b: &Tensor| Tensor::apply(Matmul, &[a, b]);
            let da = || if is_transposed(a) { t(&product(b, &t(dc))) } else { product(dc, &t(b)) };
            let db = || if is_transposed(b) { t(&product(&t(dc), a)) } else { product(&t(a), dc) };
            vec![v.when(0, da), v.when(1, db)]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(lower)
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::matmul(&inputs[0], &inputs[1])]
    }

    fn samples() -> Vec<Sample<Self>> {
        let input = |shape: &[usize], seed| Input::uniform(shape, -1.0, 1.0, seed);
        let sample = |a: &[usize], b: &[usize], views: [bool; 2]| {
            let (mut x, mut y) = (input(a, 1), input(b, 2));
            x.as_view = views[0];
            y.as_view = views[1];
            Sample::new(Matmul, vec![x, y], Tolerance::Dot(a[a.len() - 1]))
        };
        let dense = |a: &[usize], b: &[usize]| sample(a, b, [false; 2]);
        vec![
            dense(&[1, 1], &[1, 1]),
            dense(&[3, 5], &[5, 4]),
            dense(&[2, 3, 5], &[2, 5, 4]),
            dense(&[70, 33], &[33, 65]),
            dense(&[72, 20], &[20, 136]), // in whole vec4s
            sample(&[67, 31], &[31, 71], [true, false]),
            sample(&[67, 31], &[31, 71], [false, true]),
            sample(&[33, 17], &[17, 35], [true, true]),
            dense(&[1, 113], &[113, 67]), // skinny: one row
            dense(&[61, 113], &[113, 1]), // one column
            sample(&[3, 97], &[97, 59], [false, true]),
            sample(&[73, 101], &[101, 2], [true, false]),
            dense(&[9, 2100], &[2100, 9]), // few tiles, long reduction: cut into slices
            sample(&[10, 700], &[700, 12], [true, true]),
            dense(&[3, 2, 17, 19], &[3, 2, 19, 23]),
            sample(&[5, 17, 19], &[5, 19, 23], [true, true]),
            dense(&[300, 2, 3], &[300, 3, 2]), // many tiny ones
            dense(&[0, 3], &[3, 4]),
            dense(&[2, 0], &[0, 3]), // an empty sum is 0
            dense(&[0, 2, 3], &[0, 3, 2]),
            dense(&[2, 3], &[3, 0]),
        ]
    }
}

fn inner_extents(a: &Shape, b: &Shape, columns: usize, rows: usize) -> String {
    format!("{a} x {b}: the left operand has {columns} columns and the right {rows} rows; they must be equal")
}

impl Tensor {
    /// The matrix product, with PyTorch's rules for other ranks: a 1-D left operand is a row, a 1-D right operand a
    /// column (the axis is gone from the result), and leading axes are batches that broadcast.
    ///
    /// `[m, k] x [k, n]` is `[m, n]`; `[b, m, k] x [k, n]` is `[b, m, n]`, computed as one product of `b m` rows.
    ///
    /// # Panics
    /// If the inner extents differ, the leading axes do not broadcast, or an operand has no axes.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        match self.try_matmul(other) {
            Ok(y) => y,
            // Not in a closure: the panic names the caller's line.
            Err(fault) => panic!("{fault}"),
        }
    }

    /// [`Tensor::matmul`] with a shape mistake as an error.
    ///
    /// # Errors
    /// If the inner extents differ, the leading axes do not broadcast, or an operand has no axes.
    #[track_caller]
    pub fn try_matmul(&self, other: &Tensor) -> Result<Tensor, ShapeError> {
        let (from, onto) = (self.shape().clone(), other.shape().clone());
        if from.rank() == 0 || onto.rank() == 0 {
            return Err(ShapeError::new("matmul", format!("{from} x {onto}: each operand needs at least one axis")));
        }
        let a = if from.rank() == 1 { self.unsqueeze(0) } else { self.clone() };
        let b = if onto.rank() == 1 { other.unsqueeze(1) } else { other.clone() };
        let (m, k) = (a.shape()[a.rank() - 2], a.shape()[a.rank() - 1]);
        let (rows, n) = (b.shape()[b.rank() - 2], b.shape()[b.rank() - 1]);
        if k != rows {
            return Err(ShapeError::new("matmul", inner_extents(&from, &onto, k, rows)));
        }
        let batch_of = |t: &Tensor| Shape::from(&t.shape()[..t.rank() - 2]);
        let batch = batch_of(&a).broadcast(&batch_of(&b), "matmul").map_err(|_| {
            ShapeError::new("matmul", format!("{from} x {onto}: the leading axes must be equal, or 1 in one of them"))
        })?;
        let with = |tail: &[usize]| [&batch[..], tail].concat();
        let product = if b.rank() == 2 && a.rank() > 2 {
            // One matrix for all: the batch is more rows of one product, and its gradient one product too.
            let rows = a.shape()[..a.rank() - 1].iter().product();
            let y = Tensor::try_apply(Matmul, &[&a.reshape([rows, k]), &b])?.swap_remove(0);
            y.reshape(with(&[m, n]))
        } else {
            let (a, b) = (a.broadcast_to(with(&[m, k])), b.broadcast_to(with(&[k, n])));
            Tensor::try_apply(Matmul, &[&a, &b])?.swap_remove(0)
        };
        Ok(match (from.rank(), onto.rank()) {
            (1, 1) => product.reshape(batch.to_vec()),
            (1, _) => product.reshape(with(&[n])),
            (_, 1) => product.reshape(with(&[m])),
            _ => product,
        })
    }
}
