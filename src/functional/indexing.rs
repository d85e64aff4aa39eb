//! Elements put into places named by indices, and counted by them: PyTorch's scatter and index functions, ONNX's
//! scatter and gather forms.
//!
//! What [`Tensor::gather`] says of indices holds for all of them: `u32`, or `i32`, which count from the end below 0.
//! Sources whose index names no place are left out, on every device. Results do not depend on the order in which a
//! device works.

use crate::error::fit;
use crate::ops::gather::{Gather, Missing};
use crate::ops::reduce::resolve_axis;
use crate::ops::scatter::{Scatter, ScatterKind, ScatterLast};
use crate::tensor::{DType, Element, Tensor};

/// What becomes of the elements that meet in a place of [`Tensor::scatter_reduce`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScatterReduction {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean.
    Mean,
    /// The largest; NaN if one is NaN. Equal ones share the gradient.
    Max,
    /// The smallest; NaN if one is NaN. Equal ones share the gradient.
    Min,
}

impl Tensor {
    /// This tensor with `y[.., index[.., j, ..], ..] = src[.., j, ..]` along `axis`; of several sources for one place
    /// the last stays. Axes of the index may be shorter than those of the tensor and of `src`.
    ///
    /// # Panics
    /// If the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn scatter(&self, axis: isize, index: &Tensor, src: &Tensor) -> Tensor {
        self.scattered("scatter", axis, index, src, |x, index, src, axis| {
            let last = Tensor::apply(ScatterLast { axis, places: x.shape()[axis] }, &[index]);
            set_last(x, &last, src, axis)
        })
    }

    /// [`Tensor::scatter`] of one value.
    ///
    /// # Panics
    /// If the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn scatter_value<E: Element>(&self, axis: isize, index: &Tensor, value: E) -> Tensor {
        let src = Tensor::scalar(self.device(), value).cast(self.dtype()).broadcast_to(index.shape());
        self.scatter(axis, index, &src)
    }

    /// This tensor with each `src[.., j, ..]` added to place `index[.., j, ..]` along `axis`, in the order of the
    /// sources. Axes of the index may be shorter than those of the tensor and of `src`.
    ///
    /// # Panics
    /// If the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, index: &Tensor, src: &Tensor) -> Tensor {
        self.scatter_reduce(axis, index, src, ScatterReduction::Sum, true)
    }

    /// This tensor with each `src[.., j, ..]` combined into place `index[.., j, ..]` along `axis`. What stands in a
    /// place takes part if `include_self`; where no source goes it stays as it is.
    ///
    /// # Panics
    /// If the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn scatter_reduce(
        &self,
        axis: isize,
        index: &Tensor,
        src: &Tensor,
        reduction: ScatterReduction,
        include_self: bool,
    ) -> Tensor {
        self.scattered("scatter_reduce", axis, index, src, |x, index, src, axis| {
            let mut start = x.clone();
            if !include_self {
                let last = Tensor::apply(ScatterLast { axis, places: x.shape()[axis] }, &[index]);
                let is_free = last.equal(&Tensor::scalar(x.device(), 0u32));
                start = Tensor::select(&is_free, x, &neutral(x, reduction));
            }
            let kind = match reduction {
                ScatterReduction::Sum | ScatterReduction::Mean => ScatterKind::Add,
                ScatterReduction::Prod => ScatterKind::Mul,
                ScatterReduction::Max => ScatterKind::Max,
                ScatterReduction::Min => ScatterKind::Min,
            };
            let y = Tensor::apply(Scatter { axis, kind }, &[&start, index, src]);
            if reduction != ScatterReduction::Mean {
                return y;
            }
            let whole = |n: u32, like: &Tensor| Tensor::full(x.device(), like.shape(), n);
            let count = [&whole(include_self as u32, x), index, &whole(1, index)];
            let count = Tensor::apply(Scatter { axis, kind: ScatterKind::Add }, &count);
            &y / &count.maximum(&Tensor::scalar(x.device(), 1u32)).cast(x.dtype())
        })
    }

    /// This tensor with `alpha` times slice `j` of `src` added to slice `index[j]` along `axis`, in the order of the
    /// list.
    ///
    /// # Panics
    /// If the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn index_add(&self, axis: isize, index: &Tensor, src: &Tensor, alpha: f32) -> Tensor {
        let src =
            if alpha == 1.0 { src.clone() } else { src * &Tensor::scalar(self.device(), alpha).cast(src.dtype()) };
        let rows = self.lines("index_add", axis, index, &src);
        self.scatter_add(axis, &rows, &src)
    }

    /// This tensor with each slice `j` of `src` combined into slice `index[j]` along `axis`; see
    /// [`Tensor::scatter_reduce`].
    ///
    /// # Panics
    /// If the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn index_reduce(
        &self,
        axis: isize,
        index: &Tensor,
        src: &Tensor,
        reduction: ScatterReduction,
        include_self: bool,
    ) -> Tensor {
        let rows = self.lines("index_reduce", axis, index, src);
        self.scatter_reduce(axis, &rows, src, reduction, include_self)
    }

    /// This tensor with slice `j` of `src` in place of slice `index[j]` along `axis`; of several the last stays.
    ///
    /// # Panics
    /// If the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn index_copy(&self, axis: isize, index: &Tensor, src: &Tensor) -> Tensor {
        if self.rank() == 0 {
            return self.unsqueeze(0).index_copy(axis, index, &src.reshape(1)).reshape([]);
        }
        self.lines("index_copy", axis, index, src);
        let (last, along) = self.last_slices(axis, index);
        set_last(self, &last, src, along)
    }

    /// This tensor with `value` in the slices that `index` names along `axis`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn index_fill<E: Element>(&self, axis: isize, index: &Tensor, value: E) -> Tensor {
        if self.rank() == 0 {
            return self.unsqueeze(0).index_fill(axis, index, value).reshape([]);
        }
        let (last, _) = self.last_slices(axis, index);
        let is_free = last.equal(&Tensor::scalar(self.device(), 0u32));
        Tensor::select(&is_free, self, &Tensor::scalar(self.device(), value).cast(self.dtype()))
    }

    /// Elements by their row-major positions in the whole tensor; the result has the shape of `index`.
    #[track_caller]
    pub fn take(&self, index: &Tensor) -> Tensor {
        self.reshape(self.elements()).index_select(0, &index.reshape(index.elements())).reshape(index.shape())
    }

    /// [`Tensor::gather`], with the other axes of both broadcast to each other (NumPy's `take_along_axis`).
    ///
    /// # Panics
    /// If the axis does not exist, or the shapes do not broadcast.
    #[track_caller]
    pub fn take_along_dim(&self, index: &Tensor, axis: isize) -> Tensor {
        assert!(
            index.rank() == self.rank(),
            "take_along_dim: indices {} for shape {}; they must have as many axes",
            index.shape(),
            self.shape()
        );
        if self.rank() == 0 {
            return self.gather(axis, index);
        }
        let axis = fit(resolve_axis("take_along_dim", axis, self.rank()));
        let with = |t: &Tensor, n: usize| {
            let mut shape = t.shape().to_vec();
            shape[axis] = n;
            shape
        };
        let other = fit(crate::Shape::from(with(self, 1)).broadcast(&with(index, 1).into(), "take_along_dim"));
        let onto = |t: &Tensor| {
            let mut shape = other.to_vec();
            shape[axis] = t.shape()[axis];
            t.broadcast_to(shape)
        };
        onto(self).gather(axis as isize, &onto(index))
    }

    /// Slices by tuples of indices: `index[.., :]` names an element, or the slice behind the named axes, of the tensor
    /// behind its first `batch` axes, which both share (ONNX's `GatherND`).
    ///
    /// # Panics
    /// If the tuples are longer than the tensor has axes, or the batch axes differ.
    #[track_caller]
    pub fn gather_nd(&self, index: &Tensor, batch: usize) -> Tensor {
        let Tuples { batches, places, slice, flat, lead } = Tuples::of("gather_nd", self, index, batch);
        let (b, n, k) = (batches, places, flat.elements() / batches.max(1));
        let inner = slice.iter().product();
        let at = flat.reshape([b, k, 1]).broadcast_to([b, k, inner]);
        let y = Tensor::apply(Gather { axis: 1, missing: Missing::Nan }, &[&self.reshape([b, n, inner]), &at]);
        y.reshape([lead, slice].concat())
    }

    /// This tensor with slices put at tuples of indices; with a reduction, combined with what stands there (ONNX's
    /// `ScatterND`, PyTorch's `index_put`). `updates` is `[.., slice]` for indices `[.., tuple]`.
    ///
    /// # Panics
    /// If the tuples are longer than the tensor has axes, or the shapes do not fit.
    #[track_caller]
    pub fn scatter_nd(&self, index: &Tensor, updates: &Tensor, reduction: Option<ScatterReduction>) -> Tensor {
        let Tuples { places, slice, flat, lead, .. } = Tuples::of("scatter_nd", self, index, 0);
        let wanted = [lead, slice.clone()].concat();
        assert!(
            updates.shape()[..] == wanted[..],
            "scatter_nd: updates {} for indices {} into {}; they must be {wanted:?}",
            updates.shape(),
            index.shape(),
            self.shape()
        );
        let (k, inner) = (flat.elements(), slice.iter().product::<usize>());
        let (x, src) = (self.reshape([places, inner]), updates.reshape([k, inner]));
        let y = match reduction {
            None => x.index_copy(0, &flat, &src),
            Some(reduction) => {
                let at = flat.reshape([k, 1]).broadcast_to([k, inner]);
                x.scatter_reduce(0, &at, &src, reduction, true)
            }
        };
        y.reshape(self.shape())
    }

    /// For each index a row of `classes` numbers, 1 at its place and 0 elsewhere; `u32`. An index that names no class
    /// gives a row of zeros.
    #[track_caller]
    pub fn one_hot(&self, classes: usize) -> Tensor {
        let n = self.elements();
        let (zeros, ones) =
            (Tensor::full(self.device(), [n, classes], 0u32), Tensor::full(self.device(), [n, 1], 1u32));
        let rows = Tensor::apply(Scatter { axis: 1, kind: ScatterKind::Add }, &[&zeros, &self.reshape([n, 1]), &ones]);
        rows.reshape([&self.shape()[..], &[classes]].concat())
    }

    /// How often each number below `n` occurs, `u32`; or the sums of the weights of its occurrences. Numbers from `n`
    /// on are not counted.
    ///
    /// # Panics
    /// If the weights do not have the tensor's shape.
    #[track_caller]
    pub fn bincount(&self, n: usize, weights: Option<&Tensor>) -> Tensor {
        let at = self.reshape(self.elements());
        let src = match weights {
            Some(weights) => weights.reshape(at.shape()),
            None => Tensor::full(self.device(), at.shape(), 1u32),
        };
        let zeros = Tensor::scalar(self.device(), 0u32).cast(src.dtype()).broadcast_to([n]);
        Tensor::apply(Scatter { axis: 0, kind: ScatterKind::Add }, &[&zeros, &at, &src])
    }

    /// How many elements fall into each of `bins` equal parts of `low..=high`; `u32`. The last part holds `high` too;
    /// what lies outside is not counted, nor is NaN.
    ///
    /// # Panics
    /// If `low` is not below `high`.
    #[track_caller]
    pub fn histc(&self, bins: usize, low: f32, high: f32) -> Tensor {
        assert!(low < high, "histc: from {low} to {high}; the first must be below the second");
        let number = |v: f32| Tensor::scalar(self.device(), v);
        let place =
            (&(&(self - low) / (high - low)) * bins as f32).minimum(&number(bins as f32 - 1.0)).cast(DType::U32);
        let outside = Tensor::scalar(self.device(), bins as u32);
        let inside = Tensor::select(&self.less_equal(&number(high)), &place, &outside);
        Tensor::select(&self.greater_equal(&number(low)), &inside, &outside).bincount(bins, None)
    }

    /// Where each of `values` would be inserted to keep the last axis of this tensor, which is sorted, in order: before
    /// equal elements, or behind them if `right`; `u32`. The leading axes are those of `values`, or there are none.
    /// Each value is compared with all elements.
    ///
    /// # Panics
    /// If the leading axes do not fit.
    #[track_caller]
    pub fn searchsorted(&self, values: &Tensor, right: bool) -> Tensor {
        assert!(self.rank() > 0, "searchsorted: the sorted tensor has no axis");
        let mut sorted = self.clone();
        if self.rank() > 1 {
            let lead = self.rank() - 1;
            assert!(
                values.rank() == self.rank() && values.shape()[..lead] == self.shape()[..lead],
                "searchsorted: values {} in {}; the leading axes must be equal",
                values.shape(),
                self.shape()
            );
            sorted = self.unsqueeze(lead);
        }
        let values = values.unsqueeze(values.rank());
        // Not `sorted < value`: NaN belongs behind everything.
        let behind = if right { sorted.greater(&values) } else { sorted.greater_equal(&values) };
        let n = Tensor::scalar(self.device(), self.shape()[self.rank() - 1] as u32);
        n.sub(&behind.cast(DType::U32).sum(&[-1]))
    }

    /// Applies `f` to the part of the tensor that lies inside the axes of `index`, and to that of `src`; the rest
    /// stays.
    #[track_caller]
    fn scattered(
        &self,
        op: &str,
        axis: isize,
        index: &Tensor,
        src: &Tensor,
        f: impl Fn(&Tensor, &Tensor, &Tensor, usize) -> Tensor,
    ) -> Tensor {
        if self.rank() == 0 && index.rank() <= 1 && src.rank() <= 1 {
            let line = |t: &Tensor| t.reshape(t.elements());
            return line(self).scattered(op, axis, &line(index), &line(src), f).reshape([]);
        }
        let axis = fit(resolve_axis(op, axis, self.rank()));
        let fits = index.rank() == self.rank()
            && src.rank() == self.rank()
            && (0..self.rank())
                .all(|a| index.shape()[a] <= src.shape()[a] && (a == axis || index.shape()[a] <= self.shape()[a]));
        assert!(
            fits,
            "{op}: indices {} with sources {} into {} along axis {axis}; the indices' axes must be as many, and none longer \
             than the others' (along axis {axis}, than the sources')",
            index.shape(),
            src.shape(),
            self.shape()
        );
        let inside = |t: &Tensor, extents: &[usize]| {
            if t.shape()[..] == *extents {
                return t.clone();
            }
            t.slice(&vec![0; extents.len()], extents, &vec![1; extents.len()])
        };
        let src = inside(src, index.shape());
        let mut extents = index.shape().to_vec();
        extents[axis] = self.shape()[axis];
        if index.elements() == 0 {
            return self.clone();
        }
        let part = f(&inside(self, &extents), index, &src, axis);
        if part.shape() == self.shape() {
            return part;
        }
        let rest: Vec<(usize, usize)> = extents.iter().zip(self.shape().iter()).map(|(e, n)| (0, n - e)).collect();
        let was = Tensor::full(self.device(), &extents[..], 1u32).pad(&rest, 0.0).cast(DType::Bool);
        Tensor::select(&was, &part.pad(&rest, 0.0), self)
    }

    /// A list of indices as one for each element of `src`; a view.
    #[track_caller]
    fn lines(&self, op: &str, axis: isize, index: &Tensor, src: &Tensor) -> Tensor {
        if self.rank() == 0 {
            return index.reshape(index.elements());
        }
        let along = fit(resolve_axis(op, axis, self.rank()));
        let k = index.elements();
        let mut wanted = self.shape().to_vec();
        wanted[along] = k;
        assert!(
            src.shape()[..] == wanted[..] && index.rank() <= 1,
            "{op}: {} indices and sources {} into {}; the indices must be a list, and the sources {wanted:?}",
            index.shape(),
            src.shape(),
            self.shape()
        );
        let mut line = vec![1; self.rank()];
        line[along] = k;
        index.reshape(line).broadcast_to(wanted)
    }

    /// For each slice along an axis, which of a list of indices is the last to name it, from 1; with extents of 1.
    #[track_caller]
    fn last_slices(&self, axis: isize, index: &Tensor) -> (Tensor, usize) {
        let along = fit(resolve_axis("index", axis, self.rank()));
        let places = self.shape()[along];
        let last = Tensor::apply(ScatterLast { axis: 0, places }, &[&index.reshape(index.elements())]);
        let mut line = vec![1; self.rank()];
        line[along] = places;
        (last.reshape(line), along)
    }
}

/// `x` with the source that `last` names, from 1, in each place that it names one for.
#[track_caller]
fn set_last(x: &Tensor, last: &Tensor, src: &Tensor, axis: usize) -> Tensor {
    assert!(src.dtype() == x.dtype(), "scatter: sources of {} into {}; cast one of them", src.dtype(), x.dtype());
    if src.shape()[axis] == 0 {
        return x.clone();
    }
    let (none, one) = (Tensor::scalar(x.device(), 0u32), Tensor::scalar(x.device(), 1u32));
    // Where there is none, this wraps round to an index of nothing.
    let at = last.sub(&one).broadcast_to(x.shape());
    let picked = Tensor::apply(Gather { axis, missing: Missing::Zero }, &[src, &at]);
    Tensor::select(&last.equal(&none), x, &picked)
}

/// What changes nothing in a reduction.
fn neutral(x: &Tensor, reduction: ScatterReduction) -> Tensor {
    let device = x.device();
    match (reduction, x.dtype()) {
        (ScatterReduction::Sum | ScatterReduction::Mean, dtype) => Tensor::scalar(device, 0u32).cast(dtype),
        (ScatterReduction::Prod, dtype) => Tensor::scalar(device, 1u32).cast(dtype),
        (ScatterReduction::Max, DType::F32 | DType::F16) => Tensor::scalar(device, f32::NEG_INFINITY),
        (ScatterReduction::Min, DType::F32 | DType::F16) => Tensor::scalar(device, f32::INFINITY),
        (ScatterReduction::Max, DType::I32) => Tensor::scalar(device, i32::MIN),
        (ScatterReduction::Min, DType::I32) => Tensor::scalar(device, i32::MAX),
        (ScatterReduction::Max, _) => Tensor::scalar(device, 0u32),
        (ScatterReduction::Min, _) => Tensor::scalar(device, u32::MAX),
    }
}

/// Tuples of indices as positions in the axes they name.
struct Tuples {
    batches: usize,
    /// How many places the named axes have.
    places: usize,
    /// The axes behind them.
    slice: Vec<usize>,
    /// `i32`, one for each tuple; the largest where a tuple names nothing.
    flat: Tensor,
    /// The shape of the tuples, without their own axis.
    lead: Vec<usize>,
}

impl Tuples {
    #[track_caller]
    fn of(op: &str, x: &Tensor, index: &Tensor, batch: usize) -> Tuples {
        let (shape, rank) = (x.shape(), index.rank());
        let depth = index.shape().last().copied().unwrap_or(usize::MAX);
        assert!(
            rank > batch && depth <= shape.len().saturating_sub(batch) && index.shape()[..batch] == shape[..batch],
            "{op}: tuples {} into {shape} with {batch} batch axes; the last axis is at most the other axes of {shape}, and \
             the batch axes are equal",
            index.shape()
        );
        let (named, slice) = shape[batch..].split_at(depth);
        let number = |v: i32| Tensor::scalar(x.device(), v);
        let lead = &index.shape()[..rank - 1];
        let mut flat = number(0).broadcast_to(lead);
        let mut wrong = Tensor::full(x.device(), lead, 0u32);
        for (a, &n) in named.iter().enumerate() {
            let raw = index.narrow(rank - 1, a, 1).squeeze(rank - 1);
            let mut at = raw.cast(DType::I32);
            if raw.dtype() == DType::I32 {
                at = Tensor::select(&at.less(&number(0)), &at.add(&number(n as i32)), &at);
            }
            wrong = wrong.add(&at.less(&number(0)).cast(DType::U32));
            wrong = wrong.add(&at.greater_equal(&number(n as i32)).cast(DType::U32));
            flat = flat.mul(&number(n as i32)).add(&at);
        }
        let is_right = wrong.equal(&Tensor::scalar(x.device(), 0u32));
        Tuples {
            batches: shape[..batch].iter().product(),
            places: named.iter().product(),
            slice: slice.to_vec(),
            flat: Tensor::select(&is_right, &flat, &number(i32::MAX)).reshape(lead.iter().product::<usize>()),
            lead: lead.to_vec(),
        }
    }
}
