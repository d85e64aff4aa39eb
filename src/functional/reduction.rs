//! Reductions made of sums and extremes: products, variances, norms, logarithms of sums, counts.
//!
//! All take any axes, negative ones from the end, and come in two forms: `NAME` drops the axes and `NAME_keep` leaves
//! them with extent 1. With no axes given each element stands for itself; [`Tensor::all_axes`] names them all.

use crate::error::fit;
use crate::ops::reduce::resolve_axis;
use crate::tensor::{DType, Tensor};

macro_rules! pairs {
    ($($(#[$doc:meta])* $name:ident $keep:ident ($($arg:ident: $ty:ty),*) $kept:ident;)*) => {
        impl Tensor { $(
            $(#[$doc])*
            ///
            /// # Panics
            /// If an axis does not exist or is named twice, or the type does not fit.
            #[track_caller]
            pub fn $name(&self, axes: &[isize] $(, $arg: $ty)*) -> Tensor {
                let kept = $kept(self, axes $(, $arg)*);
                without(&kept, axes)
            }
            #[doc = concat!("[`Tensor::", stringify!($name), "`], with the axes kept as extent 1.")]
            ///
            /// # Panics
            /// If an axis does not exist or is named twice, or the type does not fit.
            #[track_caller]
            pub fn $keep(&self, axes: &[isize] $(, $arg: $ty)*) -> Tensor {
                $kept(self, axes $(, $arg)*)
            }
        )* }
    };
}

pairs! {
    /// The product over `axes`; 1 for none. Whole numbers wrap. It is made as a tree of products, so its gradient is
    /// right where elements are 0, to any order.
    prod prod_keep () product;
    /// The variance over `axes`: squared distances from the mean, added up and divided by `n - correction`. 1 is
    /// PyTorch's default (Bessel's correction), 0 the variance of the elements themselves. In two passes, so that a
    /// mean far from 0 costs no digits.
    var var_keep (correction: f32) variance;
    /// The square root of [`Tensor::var`]. Its slope where it is 0 is 0.
    std std_keep (correction: f32) deviation;
    /// `ln sum e^x` over `axes`, without overflow; -inf for none.
    logsumexp logsumexp_keep () log_sum_exp;
    /// The norm over `axes`: `(sum |x|^p)^(1/p)`, the number of elements that are not 0 for p = 0, the largest |x| for
    /// p = inf and the smallest for p = -inf. Its slope at 0 is 0; equal extremes share theirs.
    norm norm_keep (p: f32) norm_of;
    /// Whether any element over `axes` is not 0; a `bool` tensor, false for no elements. NaN is not 0.
    any any_keep () any_of;
    /// Whether no element over `axes` is 0; a `bool` tensor, true for no elements. NaN is not 0.
    all all_keep () all_of;
    /// How many elements over `axes` are not 0; `u32`. NaN is not 0.
    count_nonzero count_nonzero_keep () count_of;
    /// The sum over `axes` of the elements that are not NaN.
    nansum nansum_keep () sum_of_numbers;
    /// The mean over `axes` of the elements that are not NaN; NaN if there are none.
    nanmean nanmean_keep () mean_of_numbers;
}

/// The reduced axes, counted from 0, each once.
#[track_caller]
fn resolved(x: &Tensor, axes: &[isize]) -> Vec<usize> {
    // A number of rank 0 may be reduced over its only axis, as in PyTorch, though it has none.
    let axes = if x.rank() == 0 && matches!(axes, [0 | -1]) { &[] } else { axes };
    let mut all: Vec<usize> = axes.iter().map(|&a| fit(resolve_axis("reduce", a, x.rank()))).collect();
    all.sort_unstable();
    assert!(
        all.windows(2).all(|w| w[0] < w[1]),
        "reduce: axes {axes:?} of shape {}; name each at most once",
        x.shape()
    );
    all
}

/// The elements that one result is made of.
#[track_caller]
fn elements(x: &Tensor, axes: &[isize]) -> usize {
    resolved(x, axes).iter().map(|&a| x.shape()[a]).product()
}

/// Without axes of extent 1 that a reduction kept.
#[track_caller]
fn without(kept: &Tensor, axes: &[isize]) -> Tensor {
    let gone = resolved(kept, axes);
    let shape: Vec<usize> = (0..kept.rank()).filter(|a| !gone.contains(a)).map(|a| kept.shape()[a]).collect();
    kept.reshape(shape)
}

fn number(like: &Tensor, value: f32) -> Tensor {
    Tensor::scalar(like.device(), value)
}

/// 1 where an element is 0, else 0; `u32`. Asked this way round, NaN is not 0 whatever a driver makes of it.
fn zeros_of(x: &Tensor) -> Tensor {
    let zero = Tensor::scalar(x.device(), 0u32).cast(x.dtype());
    x.equal(&zero).cast(DType::U32)
}

#[track_caller]
fn product(x: &Tensor, axes: &[isize]) -> Tensor {
    if x.dtype() == DType::Bool {
        return product(&x.cast(DType::U32), axes);
    }
    let mut y = x.clone();
    for axis in resolved(x, axes) {
        let mut odd: Option<Tensor> = None;
        while y.shape()[axis] > 1 {
            let n = y.shape()[axis];
            let half = n / 2;
            if n % 2 == 1 {
                let last = y.narrow(axis, n - 1, 1);
                odd = Some(odd.map_or(last.clone(), |odd| &odd * &last));
            }
            y = &y.narrow(axis, 0, half) * &y.narrow(axis, half, half);
        }
        if y.shape()[axis] == 0 {
            // A sum of nothing and 1: it still depends on what it is made of.
            y = y.sum_keep(&[axis as isize]).add(&Tensor::scalar(x.device(), 1u32).cast(x.dtype()));
        }
        if let Some(odd) = odd {
            y = &y * &odd;
        }
    }
    y
}

#[track_caller]
fn variance(x: &Tensor, axes: &[isize], correction: f32) -> Tensor {
    let n = elements(x, axes) as f64 - correction as f64;
    let distance = x - &x.mean_keep(axes);
    &distance.square().sum_keep(axes) / n.max(0.0) as f32
}

/// `f(x)`, or 0 where `x` is 0 and `f` has no slope; nothing flows back from there.
fn away_from_zero(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let is_zero = x.equal(&number(x, 0.0));
    Tensor::select(&is_zero, &number(x, 0.0), &f(&Tensor::select(&is_zero, &number(x, 1.0), x)))
}

#[track_caller]
fn deviation(x: &Tensor, axes: &[isize], correction: f32) -> Tensor {
    away_from_zero(&variance(x, axes, correction), Tensor::sqrt)
}

#[track_caller]
fn log_sum_exp(x: &Tensor, axes: &[isize]) -> Tensor {
    if elements(x, axes) == 0 {
        return x.exp().sum_keep(axes).ln();
    }
    // Of a row without a finite largest nothing is taken off, so that no infinity is subtracted from itself.
    let largest = x.max_keep(axes).detach();
    let largest = Tensor::select(&largest.isfinite(), &largest, &number(x, 0.0));
    &(x - &largest).exp().sum_keep(axes).ln() + &largest
}

#[track_caller]
fn norm_of(x: &Tensor, axes: &[isize], p: f32) -> Tensor {
    if p == 0.0 {
        // A number of elements has no slope; what is added is 0, and says so.
        let never = Tensor::full(x.device(), x.shape(), 0u32).cast(DType::Bool);
        let slope = Tensor::select(&never, x, &number(x, 0.0)).sum_keep(axes);
        return &count_of(x, axes).cast(DType::F32) + &slope;
    }
    if p == f32::INFINITY {
        return if elements(x, axes) == 0 { x.abs().sum_keep(axes) } else { x.abs().max_keep(axes) };
    }
    if p == f32::NEG_INFINITY {
        return x.abs().min_keep(axes);
    }
    if p == 1.0 {
        return x.abs().sum_keep(axes);
    }
    if p == 2.0 {
        return away_from_zero(&x.square().sum_keep(axes), Tensor::sqrt);
    }
    let is_zero = x.equal(&number(x, 0.0));
    let size = Tensor::select(&is_zero, &number(x, 1.0), &x.abs());
    let power =
        Tensor::select(&is_zero, &number(x, if p < 0.0 { f32::INFINITY } else { 0.0 }), &size.pow(&number(x, p)));
    away_from_zero(&power.sum_keep(axes), |sum| sum.pow(&number(sum, 1.0 / p)))
}

#[track_caller]
fn count_of(x: &Tensor, axes: &[isize]) -> Tensor {
    zeros_of(x).equal(&Tensor::scalar(x.device(), 0u32)).cast(DType::U32).sum_keep(axes)
}

#[track_caller]
fn any_of(x: &Tensor, axes: &[isize]) -> Tensor {
    count_of(x, axes).cast(DType::Bool)
}

#[track_caller]
fn all_of(x: &Tensor, axes: &[isize]) -> Tensor {
    zeros_of(x).sum_keep(axes).equal(&Tensor::scalar(x.device(), 0u32))
}

#[track_caller]
fn sum_of_numbers(x: &Tensor, axes: &[isize]) -> Tensor {
    Tensor::select(&x.isnan(), &number(x, 0.0), x).sum_keep(axes)
}

#[track_caller]
fn mean_of_numbers(x: &Tensor, axes: &[isize]) -> Tensor {
    &sum_of_numbers(x, axes) / &x.isnan().logical_not().cast(DType::F32).sum_keep(axes)
}

impl Tensor {
    /// Variance and mean over `axes`, which are kept as extent 1 if `keep`: PyTorch's `var_mean`.
    ///
    /// # Panics
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn var_mean(&self, axes: &[isize], correction: f32, keep: bool) -> (Tensor, Tensor) {
        let both = (variance(self, axes, correction), self.mean_keep(axes));
        if keep { both } else { (without(&both.0, axes), without(&both.1, axes)) }
    }

    /// The largest elements along `axis`, and where the first of each is (of the first NaN, if there is one); the axis
    /// is gone. PyTorch's `max(dim)`: the gradient goes to the element that was chosen. [`Tensor::max`] shares it.
    ///
    /// # Panics
    /// If the axis does not exist or has no elements.
    #[track_caller]
    pub fn max_with_index(&self, axis: isize) -> (Tensor, Tensor) {
        let at = if self.rank() == 0 { self.argmax(&[]) } else { self.argmax(&[axis]) };
        (self.chosen(axis, &at), at)
    }

    /// The smallest elements along `axis`, and where the first of each is; see [`Tensor::max_with_index`].
    ///
    /// # Panics
    /// If the axis does not exist or has no elements.
    #[track_caller]
    pub fn min_with_index(&self, axis: isize) -> (Tensor, Tensor) {
        let at = if self.rank() == 0 { self.argmin(&[]) } else { self.argmin(&[axis]) };
        (self.chosen(axis, &at), at)
    }

    /// The most frequent element along `axis`, of several the smallest, and the position of its last occurrence; the
    /// axis is gone. NaN is not equal to itself, so it occurs once at most.
    ///
    /// # Panics
    /// If the axis does not exist or has no elements.
    #[track_caller]
    pub fn mode(&self, axis: isize) -> (Tensor, Tensor) {
        let order = self.argsort(axis, false);
        if self.rank() == 0 {
            return (self.clone(), order);
        }
        let along = fit(resolve_axis("mode", axis, self.rank()));
        let n = self.shape()[along];
        assert!(n > 0, "mode: axis {along} of shape {} has no elements", self.shape());
        let sorted = self.in_order(axis, &order);
        // How far each element is from the start of its run of equal ones: its place, less that of the last new one.
        let place = Tensor::full(self.device(), self.shape(), 1u32).cumsum_exclusive(axis);
        let is_new = sorted.narrow(along, 1, n - 1).equal(&sorted.narrow(along, 0, n - 1)).logical_not();
        let is_new = before(&is_new, along, 1, 1.0);
        let start = Tensor::select(&is_new, &place, &Tensor::scalar(self.device(), 0u32)).cummax(axis).0;
        let longest = place.sub(&start).argmax(&[axis]);
        let at = order.chosen(axis, &longest);
        (self.chosen(axis, &at), at)
    }

    /// One element of each line along `axis`, at positions that exist; the axis is gone.
    #[track_caller]
    pub(super) fn chosen(&self, axis: isize, at: &Tensor) -> Tensor {
        if self.rank() == 0 {
            return self.clone();
        }
        let along = fit(resolve_axis("index", axis, self.rank()));
        self.in_order(axis, &at.unsqueeze(along)).squeeze(along)
    }

    /// Element `k` is the product of elements 0 to `k` along `axis`. Its gradient is right where elements are 0, to any
    /// order: it is made in log2 n rounds, each of which multiplies by the results a power of two before.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Tensor {
        if self.dtype() == DType::Bool {
            return self.cast(DType::U32).cumprod(axis);
        }
        self.rounds("cumprod", axis, 1.0, Tensor::mul)
    }

    /// Element `k` is `ln` of the sum of `e^x` of elements 0 to `k` along `axis`, without overflow.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn logcumsumexp(&self, axis: isize) -> Tensor {
        self.rounds("logcumsumexp", axis, f32::NEG_INFINITY, Tensor::logaddexp)
    }

    /// [`Tensor::cumsum`] without the element itself: element `k` is the sum of those before it (ONNX's `exclusive`).
    /// To sum from the end, flip before and after.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cumsum_exclusive(&self, axis: isize) -> Tensor {
        if self.rank() == 0 {
            return self * &Tensor::scalar(self.device(), 0u32).cast(self.dtype());
        }
        let along = fit(resolve_axis("cumsum", axis, self.rank()));
        let n = self.shape()[along];
        if n == 0 {
            return self.clone();
        }
        before(&self.narrow(along, 0, n - 1).cumsum(axis), along, 1, 0.0)
    }

    #[track_caller]
    fn rounds(&self, op: &str, axis: isize, neutral: f32, combine: impl Fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
        if self.rank() == 0 {
            return self.clone();
        }
        let along = fit(resolve_axis(op, axis, self.rank()));
        let n = self.shape()[along];
        let (mut y, mut step) = (self.clone(), 1);
        while step < n {
            y = combine(&before(&y.narrow(along, 0, n - step), along, step, neutral), &y);
            step *= 2;
        }
        y
    }
}

/// `count` elements of one value before those along an axis.
#[track_caller]
fn before(x: &Tensor, axis: usize, count: usize, value: f32) -> Tensor {
    let mut padding = vec![(0, 0); x.rank()];
    padding[axis].0 = count;
    x.pad(&padding, value)
}
