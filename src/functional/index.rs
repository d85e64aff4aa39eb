//! Elements named by several tensors of indices at once, or by truth values: NumPy's and PyTorch's `x[i, :, j]` and
//! `x[mask]`.
//!
//! What depends on how many elements are true has a shape that only the device knows. [`Tensor::nonzero`] and
//! [`Tensor::masked_select`] say so: they compute the mask, read it back, and may fail. [`Tensor::masked_scatter`] and
//! [`Tensor::masked_fill`](Tensor::masked_fill) do without. For indices, what [`Tensor::gather`] says holds.

use crate::error::{Result, fit};
use crate::functional::ScatterReduction;
use crate::tensor::{DType, Shape, Tensor};

/// Which axes of a tensor are named by indices, and what these are.
struct Named {
    /// The named axes, then the others.
    order: Vec<usize>,
    /// `i32`, one tuple for each element or slice of the result: `[.., tuple]`.
    tuples: Tensor,
    /// Where the axes of the tuples are among those of the result.
    place: usize,
}

impl Named {
    #[track_caller]
    fn of(op: &str, x: &Tensor, index: &[Option<&Tensor>]) -> Named {
        assert!(
            index.len() <= x.rank() && index.iter().any(Option::is_some),
            "{op}: {} indices into {}; at least one is a tensor, and there are no more than axes",
            index.len(),
            x.shape()
        );
        let axes: Vec<usize> = (0..index.len()).filter(|&a| index[a].is_some()).collect();
        let shape = index.iter().flatten().fold(Shape::from([]), |s, i| fit(s.broadcast(i.shape(), op)));
        let column = |i: &Tensor| {
            assert!(i.dtype() != DType::Bool, "{op}: a mask has no indices; name the axes of its `nonzero`");
            i.cast(DType::I32).broadcast_to(&shape)
        };
        let columns: Vec<Tensor> = index.iter().flatten().map(|i| column(i)).collect();
        let others = (0..x.rank()).filter(|a| !axes.contains(a));
        let adjacent = axes.windows(2).all(|w| w[0] + 1 == w[1]);
        Named {
            order: axes.iter().copied().chain(others).collect(),
            tuples: Tensor::stack(&columns.iter().collect::<Vec<_>>(), -1),
            place: if adjacent { axes[0] } else { 0 },
        }
    }

    /// For each axis of the result, where it is among the tuples' axes and the unnamed ones behind them.
    fn placed(&self, x: &Tensor) -> Vec<usize> {
        let lead = self.tuples.rank() - 1;
        let rest = x.rank() - self.tuples.shape()[lead];
        (lead..lead + self.place).chain(0..lead).chain(lead + self.place..lead + rest).collect()
    }
}

/// The order of axes that takes `order` back.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(i, &a)| back[a] = i);
    back
}

impl Tensor {
    /// `x[index[0], index[1], ..]`: the elements, or the slices of the axes that are not named, at the places that the
    /// index tensors name together. They broadcast to each other; `None` stands for a whole axis. The axes of the
    /// indices stand where those they name stood, or first, if a whole axis is between these (NumPy's rule).
    ///
    /// # Panics
    /// If there are more indices than axes, none, or they do not broadcast.
    #[track_caller]
    pub fn index(&self, index: &[Option<&Tensor>]) -> Tensor {
        let named = Named::of("index", self, index);
        self.permute(&named.order).gather_nd(&named.tuples, 0).permute(&named.placed(self))
    }

    /// This tensor with `x[index[0], index[1], ..] = values`, or with the values added there if `accumulate`; see
    /// [`Tensor::index`]. The values broadcast. Of several for one place the last stays.
    ///
    /// # Panics
    /// If there are more indices than axes, none, or the shapes do not broadcast.
    #[track_caller]
    pub fn index_put(&self, index: &[Option<&Tensor>], values: &Tensor, accumulate: bool) -> Tensor {
        let named = Named::of("index_put", self, index);
        let (placed, lead) = (named.placed(self), named.tuples.rank() - 1);
        let x = self.permute(&named.order);
        let wanted = [&named.tuples.shape()[..lead], &x.shape()[named.tuples.shape()[lead]..]].concat();
        let shape: Vec<usize> = placed.iter().map(|&a| wanted[a]).collect();
        let values = values.broadcast_to(shape).permute(&inverse(&placed));
        let y = x.scatter_nd(&named.tuples, &values, accumulate.then_some(ScatterReduction::Sum));
        y.permute(&inverse(&named.order))
    }

    /// This tensor with `values` at row-major positions in the whole of it, or added there if `accumulate`. Of several
    /// for one place the last stays. The other way round: [`Tensor::take`].
    ///
    /// # Panics
    /// If there are not as many values as positions.
    #[track_caller]
    pub fn put(&self, index: &Tensor, values: &Tensor, accumulate: bool) -> Tensor {
        let line = |t: &Tensor| t.reshape(t.elements());
        let (x, index, values) = (line(self), line(index), line(values));
        let y = if accumulate { x.scatter_add(0, &index, &values) } else { x.scatter(0, &index, &values) };
        y.reshape(self.shape())
    }

    /// Where elements are not 0, in row-major order: `[count, rank]`, `u32`. The tensor is computed and read back.
    ///
    /// # Errors
    /// A fault of the device.
    #[track_caller]
    pub fn nonzero(&self) -> Result<Tensor> {
        let mut steps = self.shape().to_vec();
        let mut step = 1;
        for n in steps.iter_mut().rev() {
            (*n, step) = (step, step * *n);
        }
        let at = self.true_positions()?;
        let tuple = |&i: &u32| steps.iter().zip(self.shape().iter()).map(move |(&s, &n)| i / s as u32 % n as u32);
        let all: Vec<u32> = at.iter().flat_map(tuple).collect();
        Tensor::from_slice(self.device(), &all, [at.len(), self.rank()])
    }

    /// The elements where `mask` holds, in row-major order, of rank 1; tensor and mask broadcast to each other. The
    /// mask is computed and read back.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Result<Tensor> {
        let shape = fit(self.shape().broadcast(mask.shape(), "masked_select"));
        let at = mask.broadcast_to(&shape).true_positions()?;
        Ok(self.broadcast_to(&shape).take(&Tensor::from_slice(self.device(), &at, at.len())?))
    }

    /// This tensor with the elements of `source`, one after the other, where `mask` holds, which broadcasts. Where the
    /// source ends too early, what is left is NaN, or 0 of whole numbers.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the types differ.
    #[track_caller]
    pub fn masked_scatter(&self, mask: &Tensor, source: &Tensor) -> Tensor {
        let shape = fit(self.shape().broadcast(mask.shape(), "masked_scatter"));
        let mask = mask.broadcast_to(&shape);
        let turn = mask.reshape(mask.elements()).cast(DType::U32).cumsum_exclusive(0);
        let picked = source.reshape(source.elements()).index_select(0, &turn).reshape(&shape);
        Tensor::select(&mask, &picked, &self.broadcast_to(&shape))
    }

    /// The row-major positions of what is not 0.
    #[track_caller]
    fn true_positions(&self) -> Result<Vec<u32>> {
        let truth = self.cast(DType::Bool).to_vec::<u32>()?;
        Ok((0..).zip(&truth).filter(|(_, t)| **t != 0).map(|(i, _)| i).collect())
    }
}
