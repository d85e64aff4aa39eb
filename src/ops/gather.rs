//! Elements picked along an axis by indices from data: gather, index_select, embedding and their kin are one op.
//!
//! The kernel reads the index by strides, so one list of indices for whole rows is a broadcast view of the list. An
//! index that names no element never becomes an address: it gives NaN (0 for whole numbers), on every device, so that a
//! wrong index is seen and not computed with. Signed indices count from the end below 0, as NumPy's and ONNX's do.

use super::scatter::{Scatter, ScatterKind};
use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::ops::reduce::resolve_axis;
use crate::reference::{Array, Real, View, gather as reference};
use crate::tensor::{
    Backward, DType, Input, Layout, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Slot, Tensor, Tolerance,
};

/// `y[.., j, ..] = x[.., index[.., j, ..], ..]` along an axis; the other axes of both inputs are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gather {
    /// The axis.
    pub axis: usize,
    /// What an index gives that names no element.
    pub missing: Missing,
}

/// What an index gives that names no element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// NaN; 0 for whole numbers and truth values.
    Nan,
    /// 0
    Zero,
}

pub(crate) const SHADER: Shader = Shader::new(
    "gather",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/index.wgsl"),
        include_str!("../../shaders/gather.wgsl"),
    ),
);

crate::params! {
    struct GatherParams {
        count: u32, n: u32, k: u32, inner: u32, is_signed: u32, missing: u32,
        x_offset: u32, index_offset: u32,
        x_outer: i32, x_along: i32, x_inner: i32,
        index_outer: i32, index_along: i32, index_inner: i32,
    }
}

/// A value cut at one axis, as a kernel walks it: `outer` blocks of `n` lines of `inner` elements, by strides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub slot: Slot,
    pub offset: usize,
    /// Extents of the three axes.
    pub outer: usize,
    pub n: usize,
    pub inner: usize,
    /// Elements to step along each.
    pub steps: [i32; 3],
}

impl Cut {
    /// Input `i` cut at `axis`: where it lies if its other axes are two runs, else a dense copy.
    pub fn of(cx: &mut Lower, i: usize, axis: usize) -> Cut {
        let (slot, layout) = cx.strided(i);
        let fits = slot.len as u64 * 4 <= cx.caps().max_binding;
        if let (true, Some(steps)) = (fits, steps(&layout, axis)) {
            return Cut::new(slot, &layout, axis, steps);
        }
        let (slot, layout) = (cx.input(i), Layout::contiguous(cx.meta(i).shape.clone(), 0));
        Cut::new(slot, &layout, axis, steps(&layout, axis).expect("dense axes are runs"))
    }

    fn new(slot: Slot, layout: &Layout, axis: usize, steps: [isize; 3]) -> Cut {
        let extent = |axes: &[usize]| axes.iter().product();
        Cut {
            slot,
            offset: layout.offset,
            outer: extent(&layout.shape[..axis]),
            n: layout.shape[axis],
            inner: extent(&layout.shape[axis + 1..]),
            steps: steps.map(|s| s as i32),
        }
    }
}

/// Steps before, along and behind an axis, if each side is one run.
fn steps(layout: &Layout, axis: usize) -> Option<[isize; 3]> {
    let run = |axes: std::ops::Range<usize>| {
        let mut run: Option<(usize, isize)> = None;
        for a in axes.rev().filter(|&a| layout.shape[a] != 1) {
            let (n, step) = (layout.shape[a], layout.strides[a]);
            run = match run {
                None => Some((n, step)),
                Some((len, near)) if step == near * len as isize => Some((len * n, near)),
                Some(_) => return None,
            };
        }
        Some(run.map_or(0, |(_, step)| step))
    };
    Some([run(0..axis)?, layout.strides[axis], run(axis + 1..layout.shape.rank())?])
}

/// That `index` holds whole numbers, and has the axes of `x` but for the extent of `axis`.
pub(crate) fn check_index(op: &str, x: &Meta, index: &Meta, axis: usize) -> Result<(), ShapeError> {
    if !matches!(index.dtype, DType::U32 | DType::I32) {
        return Err(ShapeError::new(op, format!("indices are u32 or i32, not {}; cast them first", index.dtype)));
    }
    let rank = x.shape.rank();
    if axis >= rank {
        return Err(ShapeError::new(op, format!("there is no axis {axis} of shape {}", x.shape)));
    }
    if index.shape.rank() != rank || (0..rank).any(|a| a != axis && index.shape[a] != x.shape[a]) {
        let problem = format!("indices {} for shape {}; axes other than {axis} must be equal", index.shape, x.shape);
        return Err(ShapeError::new(op, problem));
    }
    Ok(())
}

impl Op for Gather {
    const NAME: &'static str = "gather";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        check_index("gather", &inputs[0], &inputs[1], self.axis)?;
        Ok(vec![Meta::new(inputs[1].shape.clone(), inputs[0].dtype)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let (x, index) = (&v.inputs[0], &v.inputs[1]);
            let dx = || {
                let zeros = Tensor::zeros(x.device(), x.shape());
                Tensor::apply(Scatter { axis: op.axis, kind: ScatterKind::Add }, &[&zeros, index, v.dy()])
            };
            vec![if x.dtype() == DType::F32 { v.when(0, dx) } else { None }, None]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (count, y) = (cx.output_meta(0).shape.elements(), cx.output(0));
            if count == 0 {
                return;
            }
            let missing = match (op.missing, cx.meta(0).dtype) {
                (Missing::Nan, DType::F32) => f32::NAN.to_bits(),
                _ => 0,
            };
            let (index, mut x) = (Cut::of(cx, 1, op.axis), None);
            if cx.meta(0).shape.elements() > 0 {
                x = Some(Cut::of(cx, 0, op.axis));
            }
            // Of an axis without elements nothing is read; any slot fills the binding.
            let x = x.unwrap_or(Cut { n: 0, ..index });
            let params = GatherParams {
                count: count as u32,
                n: x.n as u32,
                k: index.n as u32,
                inner: index.inner as u32,
                is_signed: (cx.meta(1).dtype == DType::I32) as u32,
                missing,
                x_offset: x.offset as u32,
                index_offset: index.offset as u32,
                x_outer: x.steps[0],
                x_along: x.steps[1],
                x_inner: x.steps[2],
                index_outer: index.steps[0],
                index_along: index.steps[1],
                index_inner: index.steps[2],
            };
            let launch = LoweredDispatch::new(&SHADER, "forward").read(x.slot).read(index.slot).write(y);
            cx.launch(launch.params(&params).independent(2).flat(count, 64));
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::gather(&inputs[0], &inputs[1], self.axis, self.missing == Missing::Zero)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let at = |axis: usize, x: Input, index: Input| {
            Sample::new(Gather { axis, missing: Missing::Zero }, vec![x, index], Tolerance::Exact)
        };
        let values = |shape: &[usize], seed| Input::uniform(shape, -1.0, 1.0, seed);
        let signed = |shape: &[usize], values: &[f64]| {
            let index = Input::below(shape, 1, 0).of(DType::I32);
            Input { values: values.to_vec(), ..index }
        };
        let nan = Gather { axis: 0, missing: Missing::Nan };
        vec![
            at(0, values(&[7], 1), Input::below([5], 7, 2)),
            at(1, values(&[5, 7], 3), Input::below([5, 3], 7, 4)),
            at(0, values(&[5, 7], 5), Input::below([11, 7], 5, 6)),
            at(1, values(&[3, 5, 7], 7).viewed(), Input::below([3, 4, 7], 5, 8).viewed()),
            at(2, values(&[2, 3, 9], 9), Input::below([2, 3, 1], 9, 10)),
            at(0, values(&[1], 11), Input::uints([1], &[0])),
            at(0, values(&[4], 12), Input::uints([0], &[])),
            at(0, values(&[0, 3], 13), Input::uints([2, 3], &[0, 1, 2, 0, 1, 2])),
            at(1, values(&[0, 3], 14), Input::uints([0, 2], &[])),
            at(0, values(&[4], 15), signed(&[6], &[-1.0, -4.0, 3.0, -5.0, 4.0, 0.0])),
            Sample::new(nan, vec![values(&[3], 16), Input::uints([4], &[2, 3, u32::MAX, 0])], Tolerance::Exact).rough(),
            at(1, Input::below([3, 5], 100, 17), Input::below([3, 4], 6, 18)),
            at(1, Input::below([3, 5], 2, 19).of(DType::Bool), Input::below([3, 4], 5, 20)),
        ]
    }
}

impl Tensor {
    /// `y[.., j, ..] = x[.., index[.., j, ..], ..]` along `axis`: PyTorch's `gather`, ONNX's `GatherElements`. An axis
    /// of the index other than `axis` may be shorter than that of the tensor; the result has the shape of the index.
    ///
    /// Indices are `u32`, or `i32`, which count from the end below 0. One that names no element gives NaN (0 for whole
    /// numbers and truth values); nothing flows back through it.
    ///
    /// # Panics
    /// If the axis does not exist, or the shapes do not fit.
    #[track_caller]
    pub fn gather(&self, axis: isize, index: &Tensor) -> Tensor {
        if self.rank() == 0 && index.rank() <= 1 {
            return self.unsqueeze(0).gather(axis, &index.reshape(index.elements())).reshape(index.shape());
        }
        let axis = fit(resolve_axis("gather", axis, self.rank()));
        let mut x = self.clone();
        if index.rank() == self.rank() {
            let mut extents = index.shape().to_vec();
            extents[axis] = self.shape()[axis];
            if extents.iter().zip(self.shape().iter()).all(|(e, n)| e <= n) && extents[..] != self.shape()[..] {
                x = self.slice(&vec![0; extents.len()], &extents, &vec![1; extents.len()]);
            }
        }
        Tensor::apply(Gather { axis, missing: Missing::Nan }, &[&x, index])
    }

    /// Slices along `axis` picked by a list of indices of any shape, which takes the axis' place: `x[:, index]`. It is
    /// PyTorch's `index_select` (of a list), and ONNX's `Gather`. What [`Tensor::gather`] says of indices holds.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn index_select(&self, axis: isize, index: &Tensor) -> Tensor {
        if self.rank() == 0 {
            return self.unsqueeze(0).index_select(axis, index);
        }
        let axis = fit(resolve_axis("index_select", axis, self.rank()));
        let (before, behind) = (&self.shape()[..axis], &self.shape()[axis + 1..]);
        let k = index.elements();
        let rows = index.reshape([vec![1; before.len()], vec![k], vec![1; behind.len()]].concat());
        let rows = rows.broadcast_to([before, &[k], behind].concat());
        let picked = Tensor::apply(Gather { axis, missing: Missing::Nan }, &[self, &rows]);
        picked.reshape([before, index.shape(), behind].concat())
    }

    /// Rows of a table `[entries, ..]`, one for each index: `[entries, width]` and `[n, t]` give `[n, t, width]`. The
    /// gradient of the table is the sum over the rows that were read, in a fixed order. With a `padding` index, the row
    /// it names gets no gradient. What [`Tensor::gather`] says of indices holds.
    ///
    /// # Panics
    /// If the table has no axes or the indices are no whole numbers.
    #[track_caller]
    pub fn embedding(&self, index: &Tensor, padding: Option<u32>) -> Tensor {
        let rows = self.index_select(0, index);
        let Some(padding) = padding else {
            return rows;
        };
        let row = Tensor::scalar(self.device(), padding).cast(index.dtype());
        let mut shape = index.shape().to_vec();
        shape.resize(rows.rank(), 1);
        let is_padding = index.equal(&row).reshape(shape);
        Tensor::select(&is_padding, &rows.detach(), &rows)
    }

    /// [`Tensor::embedding`] whose gradient is divided, row by row, by how often the row was read: PyTorch's
    /// `scale_grad_by_freq`.
    ///
    /// # Panics
    /// If the table has no axes or the indices are no whole numbers.
    #[track_caller]
    pub fn embedding_by_frequency(&self, index: &Tensor, padding: Option<u32>) -> Tensor {
        let rows = self.embedding(index, padding);
        let (zeros, ones) = (Tensor::full(self.device(), self.shape()[0], 0u32), Tensor::full(self.device(), 1, 1u32));
        let flat = index.reshape(index.elements());
        let add = Scatter { axis: 0, kind: ScatterKind::Add };
        let count = Tensor::apply(add, &[&zeros, &flat, &ones.broadcast_to(flat.shape())]).index_select(0, index);
        let mut shape = index.shape().to_vec();
        shape.resize(rows.rank(), 1);
        // The second term is 0, and carries the slope.
        let still = rows.detach();
        &still + &(&(&rows - &still) / &count.cast(DType::F32).reshape(shape))
    }
}
