//! Matrix products, batched and broadcast: the op, and the launch that convolution shares with it.
//!
//! Operands are read where they lie, by strides, so the transposes of the backward pass cost nothing.

use super::view::Permute;
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, matmul as reference};
use crate::tensor::{
    Backward, Caps, DType, Input, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Shape, Slot, Tensor, Tolerance,
};

const TILED: Shader = Shader::new(
    "matmul",
    concat!(include_str!("../../shaders/shared/gemm.wgsl"), include_str!("../../shaders/matmul.wgsl")),
);
const SUBGROUP: Shader = Shader::new(
    "matmul_subgroup",
    concat!(include_str!("../../shaders/shared/gemm.wgsl"), include_str!("../../shaders/matmul_subgroup.wgsl")),
);
const PLAIN: Shader = Shader::new(
    "matmul_plain",
    concat!(include_str!("../../shaders/shared/gemm.wgsl"), include_str!("../../shaders/matmul_plain.wgsl")),
);
const SPLIT: Shader = Shader::new(
    "matmul_split",
    concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/matmul_split.wgsl")),
);

/// `[..., m, k] x [..., k, n]` to `[..., m, n]`, with equal batch axes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Matmul;

crate::params! {
    struct GemmParams {
        m: u32, n: u32, k: u32, k_outer: u32,
        batch_inner: u32, tiles_n: u32, tiles: u32, groups: u32,
        k_slices: u32, k_step: u32, k_outer_step: u32, accumulate: u32,
        a_base: i32, a_outer: i32, a_inner: i32, a_k_outer: i32, a_row: i32, a_col: i32,
        b_base: i32, b_outer: i32, b_inner: i32, b_k_outer: i32, b_row: i32, b_col: i32,
        c_base: i32, c_slice: i32, c_outer: i32, c_inner: i32, c_row: i32, c_col: i32,
        batches: u32,
    }
}

crate::params! {
    struct SplitParams {
        m: u32, n: u32, slices: u32, batch_inner: u32, count: u32, accumulate: u32,
        c_base: i32, c_outer: i32, c_inner: i32, c_row: i32, c_col: i32,
    }
}

/// A matrix in a slot: element `(i, j)` of batch `(o, i)` is at `base + o * outer + i * inner + i * row + j * col`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    /// The memory.
    pub slot: Slot,
    /// Position of the first element.
    pub base: usize,
    /// Elements from one outer batch to the next.
    pub outer: isize,
    /// Elements from one inner batch to the next.
    pub inner: isize,
    /// Elements from one term of the outer sum to the next.
    pub k_outer: isize,
    /// Elements from one row to the next.
    pub row: isize,
    /// Elements from one column to the next.
    pub col: isize,
}

/// `c = sum over k_outer of a b`, for each of `batch[0] * batch[1]` matrices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gemm {
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
    /// Outer and inner batch.
    pub batch: [usize; 2],
    /// Products that are summed into one result: a second axis of the reduction, with strides of its own.
    pub k_outer: usize,
    /// `m` by `k`.
    pub a: Matrix,
    /// `k` by `n`.
    pub b: Matrix,
    /// `m` by `n`; its `k_outer` is not used.
    pub c: Matrix,
    /// Add to what `c` holds.
    pub accumulate: bool,
}

/// Which kernel makes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Tiled,
    Subgroup,
    Plain,
}

impl Variant {
    /// Rows and columns of `c` that one workgroup (or, for `Plain`, one invocation) makes.
    fn tile(self) -> usize {
        match self {
            Variant::Tiled => 64,
            Variant::Subgroup => 32,
            Variant::Plain => 1,
        }
    }

    fn invocations(self) -> u32 {
        match self {
            Variant::Tiled => 256,
            Variant::Subgroup => 8,
            Variant::Plain => 1,
        }
    }
}

/// Matrices with fewer rows or columns than this leave a tile mostly empty.
const SKINNY: usize = 8;
/// Products of fewer multiplications than this are not worth a kernel that takes long to compile.
const TINY: usize = 4096;

/// No slice of a reduction is longer. llvmpipe leaves every loop once an invocation has gone through 65,535 rounds of all
/// of its loops, and says nothing; a round of the kernels may take three of those. Elsewhere it only shortens long sums.
const LONGEST: usize = 16384;
/// Where the partial sums are small, slices are no longer than this: the rounding error of a sum grows with its longest
/// chain of additions, and what a gradient loses there a training run never gets back.
const ACCURATE: usize = 1024;
/// The most partial sums that are made for accuracy alone, in elements.
const SMALL: usize = 1 << 22;

impl Gemm {
    /// The kernel for these sizes on this adapter.
    fn variant(&self, caps: Caps) -> Variant {
        let work = self.m * self.n * self.k * self.k_outer * self.batch[0] * self.batch[1];
        if work <= TINY {
            return Variant::Plain;
        }
        if caps.software {
            // Loads are what costs there: the broadcast kernel makes the fewest, even where its tile is mostly empty.
            // Without subgroups of 8 nothing beats one invocation per element by enough to pay for its compilation.
            return if caps.subgroup == 8 { Variant::Subgroup } else { Variant::Plain };
        }
        // One invocation per element reads b along its rows and a along its columns of equal elements; where that is
        // not how b lies, neighbours would fetch one element each from many rows, and the tiled kernel is better even
        // with a tile that is mostly empty.
        let (few_rows, few_columns) = (self.m < SKINNY, self.n < SKINNY);
        if (few_rows && self.b.col == 1) || (few_columns && self.a.row == 1) || (few_rows && few_columns) {
            return Variant::Plain;
        }
        Variant::Tiled
    }

    /// The steps by which the reduction is cut into slices, along `k_outer` and `k`.
    fn slice_steps(&self, groups: usize, caps: Caps) -> (usize, usize) {
        // Enough slices that few tiles still fill the largest GPUs twice over, but none so short that adding up costs.
        let (wanted, least) = if caps.software { (8, 1024) } else { (256, 256) };
        let all = self.k * self.k_outer;
        let count = self.m * self.n * self.batch[0] * self.batch[1];
        let longest = if all.div_ceil(ACCURATE) * count <= SMALL { ACCURATE } else { LONGEST };
        let length = all.div_ceil((wanted / groups.max(1)).max(1)).max(least).min(longest);
        match length {
            length if length >= all => (self.k_outer, self.k),
            length if length >= self.k => (length / self.k, self.k),
            length => (1, length.next_multiple_of(16)),
        }
    }

    /// The sum in pieces, each added to the ones before: where the partial sums of all slices do not fit a binding.
    fn launch_in_turn(&self, (k_outer_step, k_step): (usize, usize), cx: &mut Lower) {
        let cut = |extent: usize, step: usize| (0..extent).step_by(step).map(move |i| (i, step.min(extent - i)));
        let pieces = cut(self.k_outer, k_outer_step).flat_map(|o| cut(self.k, k_step).map(move |l| (o, l)));
        for (i, ((o, k_outer), (l, k))) in pieces.enumerate() {
            let moved = |x: Matrix, along_k: isize| Matrix {
                base: x.base.wrapping_add_signed(o as isize * x.k_outer + l as isize * along_k),
                ..x
            };
            let (a, b) = (moved(self.a, self.a.col), moved(self.b, self.b.row));
            Gemm { k, k_outer, a, b, accumulate: self.accumulate || i > 0, ..*self }.launch(cx);
        }
    }

    /// The same sum with its two axes in the form that runs best.
    fn normalised(mut self) -> Self {
        let runs_on = |x: &Matrix, step: isize| x.k_outer == self.k as isize * step;
        if self.k == 1 || (self.k_outer > 1 && runs_on(&self.a, self.a.col) && runs_on(&self.b, self.b.row)) {
            if self.k == 1 {
                (self.a.col, self.b.row) = (self.a.k_outer, self.b.k_outer);
            }
            self.k *= self.k_outer;
            self.k_outer = 1;
        }
        self
    }

    /// Appends the launches that compute it.
    pub fn launch(&self, cx: &mut Lower) {
        let mut g = self.normalised();
        let batches = g.batch[0] * g.batch[1];
        if g.m * g.n * batches == 0 {
            return;
        }
        if g.k * g.k_outer == 0 {
            // An empty sum is 0: the kernels write it, but an operand without elements cannot be bound.
            let nothing = cx.temp(64);
            (g.a.slot, g.b.slot, g.k) = (nothing, nothing, 0);
        }
        let variant = g.variant(cx.caps());
        let (tiles_m, tiles_n) = (g.m.div_ceil(variant.tile()), g.n.div_ceil(variant.tile()));
        let per_group = if variant == Variant::Plain { 64 } else { 1 };
        let steps = g.slice_steps((tiles_m * tiles_n * batches).div_ceil(per_group), cx.caps());
        let (k_outer_step, k_step) = (steps.0.max(1), steps.1.max(1));
        let (slices_outer, slices) = (g.k_outer.div_ceil(k_outer_step).max(1), g.k.div_ceil(k_step).max(1));
        let all_slices = slices_outer * slices;

        let count = g.m * g.n * batches;
        if all_slices > 1 && (all_slices * count) as u64 * 4 > cx.caps().max_binding {
            return g.launch_in_turn((k_outer_step, k_step), cx);
        }
        let target = g.c;
        if all_slices > 1 {
            let (matrix, n) = ((g.m * g.n) as isize, g.n as isize);
            let slot = cx.temp(all_slices * count);
            g.c = Matrix {
                slot,
                base: 0,
                outer: g.batch[1] as isize * matrix,
                inner: matrix,
                k_outer: 0,
                row: n,
                col: 1,
            };
        }
        let groups = tiles_m * tiles_n * batches * all_slices;
        let params = GemmParams {
            m: g.m as u32,
            n: g.n as u32,
            k: g.k as u32,
            k_outer: g.k_outer as u32,
            batch_inner: g.batch[1] as u32,
            tiles_n: tiles_n as u32,
            tiles: (tiles_m * tiles_n) as u32,
            groups: groups as u32,
            k_slices: slices as u32,
            k_step: k_step as u32,
            k_outer_step: k_outer_step as u32,
            accumulate: (g.accumulate && all_slices == 1) as u32,
            a_base: g.a.base as i32,
            a_outer: g.a.outer as i32,
            a_inner: g.a.inner as i32,
            a_k_outer: g.a.k_outer as i32,
            a_row: g.a.row as i32,
            a_col: g.a.col as i32,
            b_base: g.b.base as i32,
            b_outer: g.b.outer as i32,
            b_inner: g.b.inner as i32,
            b_k_outer: g.b.k_outer as i32,
            b_row: g.b.row as i32,
            b_col: g.b.col as i32,
            c_base: g.c.base as i32,
            c_slice: if all_slices > 1 { count as i32 } else { 0 },
            c_outer: g.c.outer as i32,
            c_inner: g.c.inner as i32,
            c_row: g.c.row as i32,
            c_col: g.c.col as i32,
            batches: batches as u32,
        };
        let launch = match variant {
            Variant::Plain => LoweredDispatch::new(&PLAIN, "plain"),
            Variant::Subgroup => LoweredDispatch::new(&SUBGROUP, "broadcast"),
            Variant::Tiled => {
                // Neighbouring invocations fetch along the axis on which the elements lie closest.
                let closest = |along_k: isize, across: isize| along_k.unsigned_abs() <= across.unsigned_abs();
                LoweredDispatch::new(&TILED, "tiled")
                    .constant("A_ALONG_K", closest(g.a.col, g.a.row) as u32)
                    .constant("B_ALONG_K", closest(g.b.row, g.b.col) as u32)
            }
        };
        let launch = launch.read(g.a.slot).read(g.b.slot).write(g.c.slot).params(&params);
        cx.launch(match variant {
            Variant::Plain => launch.flat(groups, 64),
            _ => launch.flat(groups * variant.invocations() as usize, variant.invocations()),
        });
        if all_slices > 1 {
            let params = SplitParams {
                m: g.m as u32,
                n: g.n as u32,
                slices: all_slices as u32,
                batch_inner: g.batch[1] as u32,
                count: count as u32,
                accumulate: g.accumulate as u32,
                c_base: target.base as i32,
                c_outer: target.outer as i32,
                c_inner: target.inner as i32,
                c_row: target.row as i32,
                c_col: target.col as i32,
            };
            let launch = LoweredDispatch::new(&SPLIT, "add_slices").read(g.c.slot).write(target.slot);
            cx.launch(launch.params(&params).flat(count, 64));
        }
    }
}

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
    Gemm { m, n, k, batch, k_outer: 1, a, b, c, accumulate: false }.launch(cx);
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
    Gemm { m, n, k, batch: [1, batches], k_outer: 1, a, b, c, accumulate: false }
}

/// Whether a tensor was recorded as another with its last two axes swapped.
fn is_transposed(x: &Tensor) -> bool {
    let swap: Vec<usize> = (0..x.rank() - 2).chain([x.rank() - 1, x.rank() - 2]).collect();
    x.node.history().is_some_and(|h| h.op.same(&Permute { axes: swap }))
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
        // C = A B: dA = dC B^T, dB = A^T dC. Of a transposed operand (the weight of a linear layer) the product is taken the
        // other way round, so that its gradient comes out in the operand's own order and is not copied into it.
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
