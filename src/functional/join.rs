//! Tensors put together, and repeated.

use super::shape::refuse;
use crate::error::fit;
use crate::ops::reduce::resolve_axis;
use crate::ops::view::Embed;
use crate::tensor::{Axis, DType, Tensor};

fn concat(tensors: &[Tensor], axis: isize) -> Tensor {
    Tensor::concat(&tensors.iter().collect::<Vec<_>>(), axis)
}

/// [`Tensor::stack`] along a new last axis, of a few small tensors that broadcast to each other: one kernel that
/// chooses element by element, where a stack is a launch for each. `numbers` counts the tensors from 0: `u32`.
#[track_caller]
pub(crate) fn columns(numbers: &Tensor, parts: &[&Tensor]) -> Tensor {
    let column = |k: usize| parts[k].unsqueeze(-1);
    (1..parts.len()).fold(column(0), |chosen, k| {
        let here = numbers.equal(&Tensor::scalar(numbers.device(), k as u32));
        Tensor::select(&here, &column(k), &chosen)
    })
}

impl Tensor {
    /// At least one axis: a value of rank 0 becomes `[1]`.
    #[track_caller]
    pub fn atleast_1d(&self) -> Tensor {
        if self.rank() == 0 { self.reshape([1]) } else { self.clone() }
    }

    /// At least two axes, a new one in front.
    #[track_caller]
    pub fn atleast_2d(&self) -> Tensor {
        if self.rank() < 2 { self.atleast_1d().unsqueeze(0) } else { self.clone() }
    }

    /// At least three axes: a row becomes `[1, n, 1]`, a matrix `[n, m, 1]`.
    #[track_caller]
    pub fn atleast_3d(&self) -> Tensor {
        if self.rank() < 3 { self.atleast_2d().unsqueeze(-1) } else { self.clone() }
    }

    /// Rows below each other, and matrices and more along axis 0.
    #[track_caller]
    pub fn vstack(tensors: &[&Tensor]) -> Tensor {
        concat(&tensors.iter().map(|t| t.atleast_2d()).collect::<Vec<_>>(), 0)
    }

    /// Rows behind each other, and matrices and more along axis 1.
    #[track_caller]
    pub fn hstack(tensors: &[&Tensor]) -> Tensor {
        let tensors: Vec<Tensor> = tensors.iter().map(|t| t.atleast_1d()).collect();
        let rows = tensors.first().is_none_or(|t| t.rank() == 1);
        concat(&tensors, if rows { 0 } else { 1 })
    }

    /// Along axis 2, which rows and matrices are given.
    #[track_caller]
    pub fn dstack(tensors: &[&Tensor]) -> Tensor {
        concat(&tensors.iter().map(|t| t.atleast_3d()).collect::<Vec<_>>(), 2)
    }

    /// Rows as the columns of a matrix, beside the columns of matrices.
    #[track_caller]
    pub fn column_stack(tensors: &[&Tensor]) -> Tensor {
        let column = |t: &&Tensor| if t.rank() < 2 { t.reshape([t.elements(), 1]) } else { (*t).clone() };
        concat(&tensors.iter().map(column).collect::<Vec<_>>(), 1)
    }

    /// The tensor `times[a]` times along axis `a`. Fewer counts than axes leave the first axes as they are; more of
    /// them give new first axes. A copy.
    #[track_caller]
    pub fn tile(&self, times: &[usize]) -> Tensor {
        let rank = self.rank().max(times.len());
        let lead = rank - self.rank();
        let (mut apart, mut repeated, mut merged) = (Vec::new(), Vec::new(), Vec::new());
        for a in 0..rank {
            let n = if a < lead { 1 } else { self.shape()[a - lead] };
            let k = (a + times.len()).checked_sub(rank).map_or(1, |i| times[i]);
            if k != 1 {
                apart.push(1);
                repeated.push(k);
            }
            apart.push(n);
            repeated.push(n);
            merged.push(k * n);
        }
        self.reshape(apart).broadcast_to(repeated).reshape(merged)
    }

    /// [`Tensor::tile`] with a count for every axis, at least.
    ///
    /// # Panics
    /// If there are fewer counts than axes.
    #[track_caller]
    pub fn repeat(&self, times: &[usize]) -> Tensor {
        if times.len() < self.rank() {
            refuse("repeat", format!("{} counts for shape {}; give one per axis", times.len(), self.shape()));
        }
        self.tile(times)
    }

    /// Each entry of an axis `times` times in a row; without an axis, each element, as one row. A copy.
    #[track_caller]
    pub fn repeat_interleave(&self, times: usize, axis: Option<isize>) -> Tensor {
        let Some(axis) = axis else { return self.reshape([self.elements()]).repeat_interleave(times, Some(0)) };
        let axis = fit(resolve_axis("repeat_interleave", axis, self.rank()));
        let mut shape = self.shape().to_vec();
        shape.insert(axis + 1, times);
        let repeated = self.unsqueeze(axis + 1).broadcast_to(shape.as_slice());
        let n = shape.remove(axis + 1) * shape[axis];
        shape[axis] = n;
        repeated.reshape(shape)
    }

    /// Entry `i` of an axis `times[i]` times in a row; a copy.
    ///
    /// # Panics
    /// If there is not one count per entry.
    #[track_caller]
    pub fn repeat_interleave_each(&self, times: &[usize], axis: impl Axis) -> Tensor {
        let axis = fit(resolve_axis("repeat_interleave", axis.signed(), self.rank()));
        if times.len() != self.shape()[axis] {
            let problem = format!("{} counts for axis {axis} of {}; give one per entry", times.len(), self.shape());
            refuse("repeat_interleave", problem);
        }
        if times.iter().sum::<usize>() == 0 {
            return self.narrow(axis, 0, 0);
        }
        let entry = |(i, &k): (usize, &usize)| self.narrow(axis, i, 1).repeat_interleave(k, Some(axis as isize));
        let parts: Vec<Tensor> = times.iter().enumerate().filter(|(_, k)| **k > 0).map(entry).collect();
        concat(&parts, axis as isize)
    }

    /// Rows as the coordinates of a grid: result `k` holds the `k`-th coordinate of each point. With `xy`, the first
    /// two axes are swapped, as for pictures; without, the axes are those of the rows ("ij").
    #[track_caller]
    pub fn meshgrid(rows: &[&Tensor], xy: bool) -> Vec<Tensor> {
        let shape: Vec<usize> = rows.iter().map(|r| r.elements()).collect();
        let axis = |(k, row): (usize, &&Tensor)| {
            let mut own = vec![1; shape.len()];
            own[k] = row.elements();
            let grid = row.reshape(own).broadcast_to(shape.as_slice());
            if xy && shape.len() > 1 { grid.transpose(0, 1) } else { grid }
        };
        rows.iter().enumerate().map(axis).collect()
    }

    /// This tensor with `src` at every `steps[a]`-th place of each axis from `starts[a]` on.
    #[track_caller]
    fn overwritten(&self, src: &Tensor, starts: Vec<usize>, steps: Vec<isize>) -> Tensor {
        let op = Embed { shape: self.shape().clone(), starts, steps };
        let taken = Tensor::apply(op.clone(), &[&src.detach().ones_like()]).cast(DType::Bool);
        Tensor::select(&taken, &Tensor::apply(op, &[src]), self)
    }

    /// This tensor with `src` in place of what [`Tensor::slice_axis`] would take out.
    #[track_caller]
    pub fn slice_scatter(
        &self,
        src: &Tensor,
        axis: impl Axis,
        start: Option<isize>,
        end: Option<isize>,
        step: usize,
    ) -> Tensor {
        let axis = fit(resolve_axis("slice_scatter", axis.signed(), self.rank()));
        let part = self.slice_axis(axis, start, end, step as isize);
        if part.shape() != src.shape() {
            refuse("slice_scatter", format!("{} in place of {}; they must be equal", src.shape(), part.shape()));
        }
        if part.elements() == 0 {
            return self.clone();
        }
        let n = self.shape()[axis] as isize;
        let first = start.map_or(0, |i| if i < 0 { i.saturating_add(n) } else { i }).clamp(0, n);
        let (mut starts, mut steps) = (vec![0; self.rank()], vec![1; self.rank()]);
        (starts[axis], steps[axis]) = (first as usize, step as isize);
        self.overwritten(src, starts, steps)
    }

    /// This tensor with `src` in place of entry `index` of an axis.
    #[track_caller]
    pub fn select_scatter(&self, src: &Tensor, axis: impl Axis, index: isize) -> Tensor {
        let axis = fit(resolve_axis("select_scatter", axis.signed(), self.rank()));
        let end = if index == -1 { None } else { Some(index + 1) };
        self.slice_scatter(&src.unsqueeze(axis), axis, Some(index), end, 1)
    }
}
