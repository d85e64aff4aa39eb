//! Elements by their rank among others: medians and quantiles, with NaN as an answer or left out.

use crate::error::fit;
use crate::ops::reduce::resolve_axis;
use crate::tensor::{DType, Tensor};

/// What stands for a quantile between two elements; PyTorch's `interpolation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Between {
    /// The value on the line from one to the other (`linear`).
    Linear,
    /// The lower one.
    Lower,
    /// The higher one.
    Higher,
    /// Their mean (`midpoint`).
    Midpoint,
    /// The nearer one; the one of even rank where both are as near (`nearest`).
    Nearest,
}

/// An axis of elements to be put in order, which is not empty.
#[track_caller]
fn axis_of(op: &str, x: &Tensor, axis: isize) -> usize {
    let along = fit(resolve_axis(op, axis, x.rank()));
    assert!(x.shape()[along] > 0, "{op}: axis {along} of shape {} has no elements", x.shape());
    along
}

impl Tensor {
    /// The `k`-th smallest elements along `axis`, counted from 1, and their positions; the axis is gone. NaN counts as
    /// the largest.
    ///
    /// # Panics
    /// If the axis does not exist or has fewer than `k` elements.
    #[track_caller]
    pub fn kthvalue(&self, k: usize, axis: isize) -> (Tensor, Tensor) {
        let order = self.argsort(axis, false);
        if self.rank() == 0 {
            return (self.clone(), order);
        }
        let along = fit(resolve_axis("kthvalue", axis, self.rank()));
        let n = self.shape()[along];
        assert!(k >= 1 && k <= n, "kthvalue: {k} of axis {along} of shape {}; it has {n} elements", self.shape());
        let at = order.narrow(along, k - 1, 1).squeeze(along);
        (self.chosen(axis, &at), at)
    }

    /// The median along `axis`, of an even number of elements the lower one, and its position; the axis is gone. NaN if
    /// one is NaN: the first.
    ///
    /// # Panics
    /// If the axis does not exist or has no elements.
    #[track_caller]
    pub fn median(&self, axis: isize) -> (Tensor, Tensor) {
        if self.rank() == 0 {
            return (self.clone(), self.argsort(axis, false));
        }
        let n = self.shape()[axis_of("median", self, axis)];
        let (_, mut at) = self.kthvalue(n.div_ceil(2), axis);
        if self.dtype() == DType::F32 {
            // The largest is where the first NaN is.
            let (largest, first) = self.max_with_index(axis);
            at = Tensor::select(&largest.isnan(), &first, &at);
        }
        (self.chosen(axis, &at), at)
    }

    /// [`Tensor::median`] of the elements that are not NaN; NaN if there are none.
    ///
    /// # Panics
    /// If the axis does not exist or has no elements.
    #[track_caller]
    pub fn nanmedian(&self, axis: isize) -> (Tensor, Tensor) {
        let order = self.argsort(axis, false);
        if self.rank() == 0 {
            return (self.clone(), order);
        }
        let along = axis_of("nanmedian", self, axis);
        // NaN stands at the end; element (count - 1) / 2 is in the middle of the others.
        let one = Tensor::scalar(self.device(), 1u32);
        let count = self.isnan().logical_not().cast(DType::U32).sum_keep(&[axis]);
        let middle = count.maximum(&one).sub(&one).bitwise_right_shift(&one);
        let at = order.gather(axis, &middle).squeeze(along);
        (self.chosen(axis, &at), at)
    }

    /// The elements below which a part `q` of each line along `axis` lies, interpolated between neighbours; the axis is
    /// gone. NaN if one is NaN.
    ///
    /// # Panics
    /// If the axis does not exist or has no elements, or `q` is not in 0..=1.
    #[track_caller]
    pub fn quantile(&self, q: f64, axis: isize) -> Tensor {
        self.quantile_between(q, axis, Between::Linear)
    }

    /// [`Tensor::quantile`], with a choice of what stands for it between two elements.
    ///
    /// # Panics
    /// If the axis does not exist or has no elements, or `q` is not in 0..=1.
    #[track_caller]
    pub fn quantile_between(&self, q: f64, axis: isize, between: Between) -> Tensor {
        assert!((0.0..=1.0).contains(&q), "quantile: {q}; it must be in 0..=1");
        if self.rank() == 0 {
            return self.clone();
        }
        let along = axis_of("quantile", self, axis);
        let n = self.shape()[along];
        let (sorted, _) = self.sort(axis, false);
        let pick = |k: usize| sorted.narrow(along, k, 1).squeeze(along);
        let place = q * (n - 1) as f64;
        let (low, high) = (place.floor() as usize, place.ceil() as usize);
        let value = match between {
            Between::Lower => pick(low),
            Between::Higher => pick(high),
            Between::Nearest => pick(place.round_ties_even() as usize),
            _ if low == high => pick(low),
            Between::Midpoint => (pick(low) + pick(high)) * 0.5,
            Between::Linear => &pick(low) + &(&(&pick(high) - &pick(low)) * (place - place.floor()) as f32),
        };
        let last = pick(n - 1);
        Tensor::select(&last.isnan(), &last, &value)
    }

    /// [`Tensor::quantile_between`] of the elements that are not NaN; NaN if there are none.
    ///
    /// # Panics
    /// If the axis does not exist or has no elements, or `q` is not in 0..=1.
    #[track_caller]
    pub fn nanquantile(&self, q: f64, axis: isize, between: Between) -> Tensor {
        assert!((0.0..=1.0).contains(&q), "nanquantile: {q}; it must be in 0..=1");
        self.nanquantiles(&Tensor::scalar(self.device(), q as f32), axis, between)
    }

    /// Quantiles at places that are a tensor, one number or a list, which may come from a computation and has a
    /// gradient where the answer is interpolated. The axes of `q` come first, `axis` is gone. NaN if an element is NaN.
    ///
    /// # Panics
    /// If the axis does not exist or has no elements, or `q` has more than one axis.
    #[track_caller]
    pub fn quantiles(&self, q: &Tensor, axis: isize, between: Between) -> Tensor {
        if self.rank() == 0 {
            return self.reshape([1]).quantiles(q, 0, between);
        }
        let value = self.nanquantiles(q, axis, between);
        let (sorted, _) = self.sort(axis, false);
        let along = axis_of("quantiles", self, axis);
        let last = sorted.narrow(along, self.shape()[along] - 1, 1).squeeze(along).broadcast_to(value.shape());
        Tensor::select(&last.isnan(), &last, &value)
    }

    /// [`Tensor::quantiles`] of the elements that are not NaN; NaN if there are none.
    ///
    /// # Panics
    /// As [`Tensor::quantiles`].
    #[track_caller]
    pub fn nanquantiles(&self, q: &Tensor, axis: isize, between: Between) -> Tensor {
        assert!(q.rank() < 2, "quantiles: places {}; it takes a number or a list", q.shape());
        if self.rank() == 0 {
            return self.reshape([1]).nanquantiles(q, 0, between);
        }
        let along = axis_of("quantiles", self, axis);
        let last = self.rank() - 1;
        let (sorted, _) = self.movedim(&[along as isize], &[last as isize]).sort(-1, false);
        let count = sorted.isnan().logical_not().cast(DType::F32).sum_keep(&[-1]);
        let place = &(count - 1.0).clamp_min(0.0) * &q.reshape([q.elements()]);
        let pick = |place: &Tensor| sorted.gather(-1, &place.cast(DType::U32));
        let (low, high) = (pick(&place.floor()), pick(&place.ceil()));
        let value = match between {
            Between::Lower => low,
            Between::Higher => high,
            Between::Nearest => pick(&place.round()),
            Between::Midpoint => (low + high) * 0.5,
            Between::Linear => &low + &((&high - &low) * (&place - &place.floor())),
        };
        if q.rank() == 0 { value.squeeze(last) } else { value.movedim(&[-1], &[0]) }
    }
}
