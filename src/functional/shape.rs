//! The same elements in another arrangement: PyTorch's shape methods on top of the views of `ops/view.rs`. All of them
//! are index maps; what copies (rolling, repeating) says so.
//!
//! Negative axes count from the end.

use crate::error::{ShapeError, fit};
use crate::ops::reduce::resolve_axis;
use crate::tensor::{Axis, Tensor};

/// Fails with a text at the caller's line.
#[track_caller]
pub(super) fn refuse(op: &str, problem: String) -> ! {
    panic!("{}", ShapeError::new(op, problem))
}

/// Different axes, from 0 on.
#[track_caller]
pub(super) fn axes_of(op: &str, axes: &[isize], rank: usize) -> Vec<usize> {
    let mut found = Vec::with_capacity(axes.len());
    for &axis in axes {
        let axis = fit(resolve_axis(op, axis, rank));
        if found.contains(&axis) {
            refuse(op, format!("axis {axis} is named twice in {axes:?}"));
        }
        found.push(axis);
    }
    found
}

impl Tensor {
    /// [`Tensor::reshape`] where one extent may be -1: whatever is left.
    ///
    /// # Panics
    /// If the elements do not fill the shape.
    #[track_caller]
    pub fn reshape_infer(&self, shape: &[isize]) -> Tensor {
        let known: usize = shape.iter().filter(|&&n| n != -1).map(|&n| n.max(0) as usize).product();
        let open = shape.iter().filter(|&&n| n == -1).count();
        if open > 1 || shape.iter().any(|&n| n < -1) {
            refuse("reshape", format!("{shape:?} is no shape; extents are at least 0, and one may be -1"));
        }
        if open == 1 && (known == 0 || !self.elements().is_multiple_of(known)) {
            let problem = format!(
                "{} holds {} elements; no extent at -1 makes {shape:?} hold them",
                self.shape(),
                self.elements()
            );
            refuse("reshape", problem);
        }
        let rest = self.elements().checked_div(known).unwrap_or(0);
        self.reshape(shape.iter().map(|&n| if n == -1 { rest } else { n as usize }).collect::<Vec<_>>())
    }

    /// The same elements in the shape of another tensor.
    #[track_caller]
    pub fn view_as(&self, other: &Tensor) -> Tensor {
        self.reshape(other.shape())
    }

    /// The axes from `start` to `end`, both included, merged into one; a value of rank 0 becomes one of rank 1.
    #[track_caller]
    pub fn flatten_axes(&self, start: isize, end: isize) -> Tensor {
        if self.rank() == 0 {
            return self.reshape([1]);
        }
        let start = fit(resolve_axis("flatten", start, self.rank()));
        let end = fit(resolve_axis("flatten", end, self.rank()));
        if start > end {
            refuse("flatten", format!("axis {start} is behind axis {end}"));
        }
        let mut shape = self.shape()[..start].to_vec();
        shape.push(self.shape()[start..=end].iter().product());
        shape.extend(&self.shape()[end + 1..]);
        self.reshape(shape)
    }

    /// One axis taken apart into several, one of which may be -1: whatever is left.
    #[track_caller]
    pub fn unflatten(&self, axis: impl Axis, sizes: &[isize]) -> Tensor {
        let axis = fit(resolve_axis("unflatten", axis.signed(), self.rank()));
        let n = self.shape()[axis];
        let known: usize = sizes.iter().filter(|&&s| s != -1).map(|&s| s.max(0) as usize).product();
        let open = sizes.iter().filter(|&&s| s == -1).count();
        let fits = if open == 1 { known > 0 && n.is_multiple_of(known) } else { open == 0 && known == n };
        if !fits || sizes.iter().any(|&s| s < -1) {
            refuse("unflatten", format!("axis {axis} of {} does not fill {sizes:?}", self.shape()));
        }
        let mut shape = self.shape()[..axis].to_vec();
        shape.extend(sizes.iter().map(|&s| if s == -1 { n / known } else { s as usize }));
        shape.extend(&self.shape()[axis + 1..]);
        self.reshape(shape)
    }

    /// Without those of these axes whose extent is 1.
    #[track_caller]
    pub fn squeeze_axes(&self, axes: &[isize]) -> Tensor {
        // PyTorch takes axes 0 and -1 of a value of rank 0.
        let axes = if self.rank() == 0 { Vec::new() } else { axes_of("squeeze", axes, self.rank()) };
        let keep = |&(a, &n): &(usize, &usize)| n != 1 || !axes.contains(&a);
        self.reshape(self.shape().iter().enumerate().filter(keep).map(|(_, &n)| n).collect::<Vec<_>>())
    }

    /// Without the axes of extent 1.
    #[track_caller]
    pub fn squeeze_all(&self) -> Tensor {
        self.reshape(self.shape().iter().copied().filter(|&n| n != 1).collect::<Vec<_>>())
    }

    /// Repeats axes of extent 1, and new leading ones, where -1 keeps an axis as it is: [`Tensor::broadcast_to`].
    #[track_caller]
    pub fn expand(&self, shape: &[isize]) -> Tensor {
        let lead = shape.len().checked_sub(self.rank());
        let Some(lead) = lead else { refuse("expand", format!("{} has more axes than {shape:?}", self.shape())) };
        let extent = |(a, &n): (usize, &isize)| match a.checked_sub(lead) {
            Some(a) if n == -1 => self.shape()[a],
            _ if n < 0 => {
                refuse("expand", format!("{n} in {shape:?}: only axes of {} can stay as they are", self.shape()))
            }
            _ => n as usize,
        };
        self.broadcast_to(shape.iter().enumerate().map(extent).collect::<Vec<_>>())
    }

    /// Broadcast to the shape of another tensor.
    #[track_caller]
    pub fn expand_as(&self, other: &Tensor) -> Tensor {
        self.broadcast_to(other.shape())
    }

    /// Tensors broadcast to the one shape that NumPy's rule gives them.
    ///
    /// # Panics
    /// If they do not broadcast.
    #[track_caller]
    pub fn broadcast_tensors(tensors: &[&Tensor]) -> Vec<Tensor> {
        let mut shape = crate::tensor::Shape::default();
        for t in tensors {
            shape = fit(shape.broadcast(t.shape(), "broadcast_tensors"));
        }
        tensors.iter().map(|t| t.broadcast_to(&shape)).collect()
    }

    /// [`Tensor::transpose`] by another of PyTorch's names.
    #[track_caller]
    pub fn swapaxes(&self, a: impl Axis, b: impl Axis) -> Tensor {
        self.transpose(a, b)
    }

    /// The transpose of a matrix; a tensor of lower rank stays.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        match self.rank() {
            0 | 1 => self.clone(),
            2 => self.transpose(0, 1),
            _ => refuse("t", format!("{} is no matrix; name the axes with transpose", self.shape())),
        }
    }

    /// Axes `from` moved to the places `to`; the others keep their order.
    #[track_caller]
    pub fn movedim(&self, from: &[isize], to: &[isize]) -> Tensor {
        let (from, to) = (axes_of("movedim", from, self.rank()), axes_of("movedim", to, self.rank()));
        if from.len() != to.len() {
            refuse("movedim", format!("{} axes for {} places", from.len(), to.len()));
        }
        let mut rest = (0..self.rank()).filter(|a| !from.contains(a));
        let axis = |place| match to.iter().position(|&t| t == place) {
            Some(i) => from[i],
            None => rest.next().expect("as many places as axes"),
        };
        let axes: Vec<usize> = (0..self.rank()).map(axis).collect();
        self.permute(&axes)
    }

    /// Several axes backwards.
    #[track_caller]
    pub fn flip_axes(&self, axes: &[isize]) -> Tensor {
        axes_of("flip", axes, self.rank()).into_iter().fold(self.clone(), |x, axis| x.flip(axis))
    }

    /// Columns from right to left: axis 1 backwards.
    #[track_caller]
    pub fn fliplr(&self) -> Tensor {
        self.flip(1)
    }

    /// Rows upside down: axis 0 backwards.
    #[track_caller]
    pub fn flipud(&self) -> Tensor {
        self.flip(0)
    }

    /// `k` quarter turns in the plane of two axes, from the first to the second.
    #[track_caller]
    pub fn rot90(&self, k: isize, axes: [isize; 2]) -> Tensor {
        let [a, b] = axes_of("rot90", &axes, self.rank())[..] else { unreachable!("two axes in, two out") };
        match k.rem_euclid(4) {
            1 => self.flip(b).transpose(a, b),
            2 => self.flip(a).flip(b),
            3 => self.flip(a).transpose(a, b),
            _ => self.clone(),
        }
    }

    /// Elements moved along axes by `shifts`, what falls off the end coming in at the start. Without axes, the elements
    /// are moved in row-major order. A copy.
    #[track_caller]
    pub fn roll(&self, shifts: &[isize], axes: &[isize]) -> Tensor {
        if axes.is_empty() && shifts.len() == 1 {
            return self.reshape([self.elements()]).roll(shifts, &[0]).reshape(self.shape());
        }
        if axes.len() != shifts.len() {
            refuse("roll", format!("{} shifts for {} axes; give one for each", shifts.len(), axes.len()));
        }
        let mut x = self.clone();
        for (&shift, &axis) in shifts.iter().zip(axes) {
            let axis = fit(resolve_axis("roll", axis, self.rank()));
            let n = x.shape()[axis];
            let shift = if n == 0 { 0 } else { shift.rem_euclid(n as isize) as usize };
            if shift > 0 {
                x = Tensor::concat(&[&x.narrow(axis, n - shift, shift), &x.narrow(axis, 0, n - shift)], axis as isize);
            }
        }
        x
    }

    /// Python's `x[start:end:step]` along one axis, also backwards; `None` is as far as it goes.
    ///
    /// # Panics
    /// If the axis does not exist or the step is 0.
    #[track_caller]
    pub fn slice_axis(&self, axis: impl Axis, start: Option<isize>, end: Option<isize>, step: isize) -> Tensor {
        let axis = fit(resolve_axis("slice", axis.signed(), self.rank()));
        if step == 0 {
            refuse("slice", "the step is 0".to_string());
        }
        let n = self.shape()[axis] as isize;
        let (lowest, highest) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let place = |i: isize| if i < 0 { i.saturating_add(n) } else { i }.clamp(lowest, highest.max(lowest));
        let start = start.map_or(if step > 0 { lowest } else { highest }, place);
        let end = end.map_or(if step > 0 { highest } else { lowest }, place);
        let count = if step > 0 { (end - start + step - 1) / step } else { (start - end - step - 1) / -step };
        let (mut starts, mut extents) = (vec![0; self.rank()], self.shape().to_vec());
        let mut steps = vec![1; self.rank()];
        (starts[axis], extents[axis], steps[axis]) = (start.max(0) as usize, count.max(0) as usize, step);
        self.slice(&starts, &extents, &steps)
    }

    /// Entry `index` of an axis, which disappears (PyTorch's `select`); negative ones count from the end.
    #[track_caller]
    pub fn index_axis(&self, axis: impl Axis, index: isize) -> Tensor {
        let axis = fit(resolve_axis("index_axis", axis.signed(), self.rank()));
        let n = self.shape()[axis] as isize;
        if index < -n || index >= n {
            refuse("index_axis", format!("axis {axis} of {} has no entry {index}", self.shape()));
        }
        self.narrow(axis, index.rem_euclid(n) as usize, 1).squeeze(axis)
    }

    /// Each entry of an axis, which disappears.
    #[track_caller]
    pub fn unbind(&self, axis: impl Axis) -> Vec<Tensor> {
        let axis = fit(resolve_axis("unbind", axis.signed(), self.rank()));
        (0..self.shape()[axis]).map(|i| self.index_axis(axis, i as isize)).collect()
    }

    /// Pieces of `size` entries along an axis; the last may be shorter.
    #[track_caller]
    pub fn split(&self, size: usize, axis: impl Axis) -> Vec<Tensor> {
        let axis = fit(resolve_axis("split", axis.signed(), self.rank()));
        let n = self.shape()[axis];
        if size == 0 && n > 0 {
            refuse("split", format!("pieces of 0 entries never make up the {n} of axis {axis}"));
        }
        let count = if n == 0 { 1 } else { n.div_ceil(size) };
        (0..count).map(|i| self.narrow(axis, i * size, size.min(n - i * size))).collect()
    }

    /// Pieces of these sizes along an axis, which they make up.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], axis: impl Axis) -> Vec<Tensor> {
        let axis = fit(resolve_axis("split", axis.signed(), self.rank()));
        if sizes.iter().sum::<usize>() != self.shape()[axis] {
            refuse("split", format!("pieces of {sizes:?} do not make up axis {axis} of {}", self.shape()));
        }
        let mut start = 0;
        let mut piece = |&size: &usize| {
            start += size;
            self.narrow(axis, start - size, size)
        };
        sizes.iter().map(&mut piece).collect()
    }

    /// At most `n` pieces of one size along an axis; the last may be shorter.
    #[track_caller]
    pub fn chunk(&self, n: usize, axis: impl Axis) -> Vec<Tensor> {
        let axis = fit(resolve_axis("chunk", axis.signed(), self.rank()));
        if n == 0 {
            refuse("chunk", "0 pieces".to_string());
        }
        match self.shape()[axis] {
            0 => vec![self.clone(); n],
            extent => self.split(extent.div_ceil(n), axis),
        }
    }

    /// `n` pieces along an axis that differ by at most one entry, the larger ones first.
    #[track_caller]
    pub fn tensor_split(&self, n: usize, axis: impl Axis) -> Vec<Tensor> {
        let axis = fit(resolve_axis("tensor_split", axis.signed(), self.rank()));
        if n == 0 {
            refuse("tensor_split", "0 pieces".to_string());
        }
        let extent = self.shape()[axis];
        let sizes: Vec<usize> = (0..n).map(|i| extent / n + usize::from(i < extent % n)).collect();
        self.split_sizes(&sizes, axis)
    }

    /// Pieces along an axis that end before each of these places; negative ones count from the end.
    #[track_caller]
    pub fn tensor_split_at(&self, places: &[isize], axis: impl Axis) -> Vec<Tensor> {
        let axis = axis.signed();
        let starts = std::iter::once(None).chain(places.iter().map(|&p| Some(p)));
        let ends = places.iter().map(|&p| Some(p)).chain(std::iter::once(None));
        starts.zip(ends).map(|(start, end)| self.slice_axis(axis, start, end, 1)).collect()
    }

    /// The elements as one row.
    #[track_caller]
    pub fn ravel(&self) -> Tensor {
        self.reshape([self.elements()])
    }
}
