//! Tensors joined along an axis.
//!
//! Each input is copied by a launch of its own, into its place in the result; it is read where it lies, so a transposed
//! or sliced input is not copied first.

use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::ops::reduce::resolve_axis;
use crate::reference::concat as reference;
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, DType, Input, Layout, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Slot, Tensor, Tolerance,
};

/// Any number of inputs joined along an axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The axis; the others are equal.
    pub axis: usize,
}

const SHADER: Shader = Shader::new(
    "concat",
    concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/concat.wgsl")),
);

/// Axes that the kernel walks, after those that lie in one run were merged.
const MOST_AXES: usize = 6;

crate::params! {
    struct CopyParams {
        n: u32, from_offset: u32, to_offset: u32,
        extent1: u32, extent2: u32, extent3: u32, extent4: u32, extent5: u32,
        from0: i32, from1: i32, from2: i32, from3: i32, from4: i32, from5: i32,
        to0: u32, to1: u32, to2: u32, to3: u32, to4: u32, to5: u32,
    }
}

/// Extent, step in the input and step in the result of each axis; axes that lie in one run in both are one.
fn merged(from: &Layout, to: &[isize]) -> Vec<(usize, isize, isize)> {
    let mut axes: Vec<(usize, isize, isize)> = Vec::new();
    for ((&n, &f), &t) in from.shape.iter().zip(&from.strides).zip(to).filter(|((n, _), _)| **n != 1) {
        match axes.last_mut() {
            Some(last) if last.1 == f * n as isize && last.2 == t * n as isize => *last = (last.0 * n, f, t),
            _ => axes.push((n, f, t)),
        }
    }
    axes
}

/// Copies input `k` to `y`, in which its axes have steps `to`, from `offset` on.
fn copy(cx: &mut Lower, k: usize, y: Slot, to: &[isize], offset: usize) {
    let (mut slot, mut layout) = cx.strided(k);
    let mut axes = merged(&layout, to);
    if axes.len() > MOST_AXES {
        (slot, layout) = (cx.input(k), Layout::contiguous(cx.meta(k).shape.clone(), 0));
        axes = merged(&layout, to);
    }
    while axes.len() < MOST_AXES {
        axes.insert(0, (1, 0, 0));
    }
    let (e, f, t) = (|a: usize| axes[a].0 as u32, |a: usize| axes[a].1 as i32, |a: usize| axes[a].2 as u32);
    let n = layout.shape.elements();
    #[rustfmt::skip]
    let params = CopyParams {
        n: n as u32, from_offset: layout.offset as u32, to_offset: offset as u32,
        extent1: e(1), extent2: e(2), extent3: e(3), extent4: e(4), extent5: e(5),
        from0: f(0), from1: f(1), from2: f(2), from3: f(3), from4: f(4), from5: f(5),
        to0: t(0), to1: t(1), to2: t(2), to3: t(3), to4: t(4), to5: t(5),
    };
    cx.launch(LoweredDispatch::new(&SHADER, "copy").read(slot).write(y).params(&params).independent(2).flat(n, 64));
}

impl Op for Concat {
    const NAME: &'static str = "concat";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let first = inputs.first().ok_or_else(|| ShapeError::new("concat", "there is nothing to join"))?;
        if self.axis >= first.shape.rank() {
            return Err(ShapeError::new("concat", format!("there is no axis {} of shape {}", self.axis, first.shape)));
        }
        let mut shape = first.shape.to_vec();
        for other in &inputs[1..] {
            let equal = |a: usize| a == self.axis || shape[a] == other.shape[a];
            if other.shape.rank() != shape.len() || other.dtype != first.dtype || !(0..shape.len()).all(equal) {
                let problem = format!(
                    "{} {} and {} {} do not join along axis {}: type and all other axes must be equal",
                    first.dtype, first.shape, other.dtype, other.shape, self.axis
                );
                return Err(ShapeError::new("concat", problem));
            }
            shape[self.axis] += other.shape[self.axis];
        }
        Ok(vec![Meta::new(shape, first.dtype)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let mut start = 0;
            let part = |(i, x): (usize, &Tensor)| {
                let n = x.shape()[op.axis];
                start += n;
                (x.dtype() == DType::F32 && v.needed[i]).then(|| v.dy().narrow(op.axis, start - n, n))
            };
            v.inputs.iter().enumerate().map(part).collect()
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let y = cx.output(0);
            let to = cx.output_meta(0).shape.strides();
            let mut offset = 0;
            for k in 0..cx.arity() {
                copy(cx, k, y, &to, offset);
                offset += cx.meta(k).shape[op.axis] * to[op.axis] as usize;
            }
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::concat(inputs, self.axis)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let values = |shape: &[usize], seed| Input::uniform(shape, -1.0, 1.0, seed);
        let join = |axis, inputs| Sample::new(Concat { axis }, inputs, Tolerance::Exact);
        vec![
            join(0, vec![values(&[3], 1), values(&[5], 2)]),
            join(0, vec![values(&[2, 3], 3), values(&[1, 3], 4), values(&[4, 3], 5)]),
            join(1, vec![values(&[2, 3], 6), values(&[2, 7], 7)]),
            join(1, vec![values(&[3, 2, 5], 8).viewed(), values(&[3, 1, 5], 9)]),
            join(2, vec![values(&[3, 5, 2], 10).viewed(), values(&[3, 5, 4], 11).viewed()]),
            join(1, vec![values(&[2, 3, 5, 7], 12), values(&[2, 4, 5, 7], 13).viewed()]),
            join(0, vec![values(&[7, 11], 14).viewed()]),
            join(1, vec![values(&[2, 0], 15), values(&[2, 3], 16), values(&[2, 0], 17)]),
            join(0, vec![values(&[0, 3], 18), values(&[0, 3], 19)]),
            join(0, vec![values(&[1, 1], 20), values(&[1, 1], 21)]),
            join(0, (0..13).map(|i| values(&[1, 17], 30 + i)).collect()),
            join(1, vec![values(&[101, 257], 50), values(&[101, 3], 51)]),
            join(0, vec![Input::below([5, 2], 100, 52), Input::below([3, 2], 100, 53)]),
            join(1, vec![Input::below([2, 5], 2, 54).of(DType::Bool), Input::below([2, 3], 2, 55).of(DType::Bool)]),
            join(0, vec![Input::below([5], 100, 56).of(DType::I32), Input::below([3], 100, 57).of(DType::I32)]),
            join(3, vec![values(&[2, 1, 3, 2, 2, 2], 58).viewed(), values(&[2, 1, 3, 1, 2, 2], 59).viewed()]),
        ]
    }
}

impl Tensor {
    /// The tensors joined along `axis`, which counts from the end where negative; all other axes are equal.
    ///
    /// # Panics
    /// If there are no tensors, the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn concat(tensors: &[&Tensor], axis: isize) -> Tensor {
        fit(Tensor::try_concat(tensors, axis))
    }

    /// [`Tensor::concat`], with a mistake of shapes as an error.
    ///
    /// # Errors
    /// If there are no tensors, the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn try_concat(tensors: &[&Tensor], axis: isize) -> Result<Tensor, ShapeError> {
        let first = tensors.first().ok_or_else(|| ShapeError::new("concat", "there is nothing to join"))?;
        let axis = resolve_axis("concat", axis, first.rank())?;
        Ok(Tensor::try_apply(Concat { axis }, tensors)?.swap_remove(0))
    }

    /// Tensors of one shape side by side along a new axis, before axis `axis` of theirs; negative ones count from the
    /// end of the result: `n` tensors `[a, b]` give `[a, b, n]` with -1.
    ///
    /// # Panics
    /// If there are no tensors, the axis does not exist, or shapes or types differ.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], axis: isize) -> Tensor {
        let first = tensors.first().expect("stack: there is nothing to join");
        let axis = fit(resolve_axis("stack", axis, first.rank() + 1));
        assert!(
            tensors.iter().all(|t| t.shape() == first.shape()),
            "stack: the shapes {:?} differ; they must be equal",
            tensors.iter().map(|t| t.shape()).collect::<Vec<_>>()
        );
        let lines: Vec<Tensor> = tensors.iter().map(|t| t.unsqueeze(axis)).collect();
        Tensor::concat(&lines.iter().collect::<Vec<_>>(), axis as isize)
    }
}
