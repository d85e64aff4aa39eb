//! Bounds, and the larger and smaller of two where NaN counts as missing.

use crate::tensor::Tensor;

impl Tensor {
    /// Each element, but not below `low` nor above `high`, nor above `high` where that is below `low`; NaN stays. The
    /// slope is 1 between the bounds, and 0 on them and outside.
    #[track_caller]
    pub fn clamp(&self, low: f32, high: f32) -> Tensor {
        self.clamp_min(low).clamp_max(high)
    }

    /// Each element, but not below `low`; NaN stays.
    #[track_caller]
    pub fn clamp_min(&self, low: f32) -> Tensor {
        let bound = Tensor::scalar(self.device(), low).cast(self.dtype());
        Tensor::select(&self.less_equal(&bound), &bound, self)
    }

    /// Each element, but not above `high`; NaN stays.
    #[track_caller]
    pub fn clamp_max(&self, high: f32) -> Tensor {
        let bound = Tensor::scalar(self.device(), high).cast(self.dtype());
        Tensor::select(&self.greater_equal(&bound), &bound, self)
    }

    /// [`Tensor::clamp`] between tensors, broadcast by NumPy's rule. A bound that is met takes half of the gradient.
    #[track_caller]
    pub fn clamp_by(&self, low: Option<&Tensor>, high: Option<&Tensor>) -> Tensor {
        let raised = low.map_or_else(|| self.clone(), |low| self.maximum(low));
        high.map_or_else(|| raised.clone(), |high| raised.minimum(high))
    }

    /// The larger of two, and the other where one is NaN.
    #[track_caller]
    pub fn fmax(&self, other: &Tensor) -> Tensor {
        self.unless_nan(other, Tensor::maximum)
    }

    /// The smaller of two, and the other where one is NaN.
    #[track_caller]
    pub fn fmin(&self, other: &Tensor) -> Tensor {
        self.unless_nan(other, Tensor::minimum)
    }

    #[track_caller]
    fn unless_nan(&self, other: &Tensor, best: fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
        if !self.dtype().is_float() {
            return best(self, other);
        }
        let known = Tensor::select(&self.isnan(), other, &best(self, other));
        Tensor::select(&other.isnan(), self, &known)
    }
}
