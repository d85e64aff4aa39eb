//! Arithmetic made of smaller steps.

use crate::error::fit;
use crate::ops::reduce::resolve_axis;
use crate::tensor::{Axis, DType, Tensor};

impl Tensor {
    /// x^exponent, as IEEE 754 has it; whole numbers take a whole exponent. Small powers are products and roots.
    #[track_caller]
    pub fn powf(&self, exponent: f32) -> Tensor {
        if !self.dtype().is_float() {
            return self.pow(&Tensor::scalar(self.device(), exponent).cast(self.dtype()));
        }
        match exponent {
            1.0 => self.clone(),
            2.0 => self.square(),
            3.0 => &self.square() * self,
            0.5 => self.sqrt(),
            -0.5 => self.rsqrt(),
            -1.0 => self.reciprocal(),
            _ => self.pow(&Tensor::scalar(self.device(), exponent)),
        }
    }

    /// a / b as floats, also of whole numbers.
    #[track_caller]
    pub fn true_divide(&self, other: &Tensor) -> Tensor {
        let float = |x: &Tensor| if x.dtype().is_float() { x.clone() } else { x.cast(DType::F32) };
        float(self).div(&float(other))
    }

    /// a / b toward 0 (PyTorch's `div` with `rounding_mode="trunc"`). It has no slope.
    #[track_caller]
    pub fn trunc_divide(&self, other: &Tensor) -> Tensor {
        self.div(other).trunc()
    }

    /// x, as it is.
    #[track_caller]
    pub fn positive(&self) -> Tensor {
        self.clone()
    }

    /// -1, 0 or 1: the sign of a real number. [`Tensor::sign`] is the same.
    #[track_caller]
    pub fn sgn(&self) -> Tensor {
        self.sign()
    }

    /// What is behind the point: x - trunc(x).
    #[track_caller]
    pub fn frac(&self) -> Tensor {
        self - &self.trunc()
    }

    /// The nearest number with `decimals` digits behind the point, or with that many zeros before it where negative;
    /// halves to the even digit.
    #[track_caller]
    pub fn round_decimals(&self, decimals: i32) -> Tensor {
        let scale = 10f32.powi(decimals.abs());
        match decimals {
            0 => self.round(),
            1.. => (self * scale).round() / scale,
            _ => (self / scale).round() * scale,
        }
    }

    /// Degrees as radians.
    #[track_caller]
    pub fn deg2rad(&self) -> Tensor {
        self * (std::f32::consts::PI / 180.0)
    }

    /// Radians as degrees.
    #[track_caller]
    pub fn rad2deg(&self) -> Tensor {
        self * (180.0 / std::f32::consts::PI)
    }

    /// x + weight (end - x), exact at both ends.
    #[track_caller]
    pub fn lerp(&self, end: &Tensor, weight: &Tensor) -> Tensor {
        let way = end - self;
        let (near, far) = (self + &(weight * &way), end - &(&way * &(1.0 - weight)));
        Tensor::select(&weight.abs().lt(0.5), &near, &far)
    }

    /// [`Tensor::lerp`] with one weight.
    #[track_caller]
    pub fn lerp_scalar(&self, end: &Tensor, weight: f32) -> Tensor {
        let way = end - self;
        if weight.abs() < 0.5 { self + &(way * weight) } else { end - &(way * (1.0 - weight)) }
    }

    /// x + value a b
    #[track_caller]
    pub fn addcmul(&self, a: &Tensor, b: &Tensor, value: f32) -> Tensor {
        self + &(&(a * value) * b)
    }

    /// x + value a / b
    #[track_caller]
    pub fn addcdiv(&self, a: &Tensor, b: &Tensor, value: f32) -> Tensor {
        self + &(&(a * value) / b)
    }

    /// log2(2^a + 2^b), without overflow.
    #[track_caller]
    pub fn logaddexp2(&self, other: &Tensor) -> Tensor {
        let natural = (self * std::f32::consts::LN_2).logaddexp(&(other * std::f32::consts::LN_2));
        natural * std::f32::consts::LOG2_E
    }

    /// x 2^exponent
    #[track_caller]
    pub fn ldexp(&self, exponent: &Tensor) -> Tensor {
        self * &exponent.cast(DType::F32).exp2()
    }

    /// A fraction between 1/2 and 1 and a whole exponent (`i32`) such that x = fraction 2^exponent; of 0, infinity and
    /// NaN themselves, and 0.
    #[track_caller]
    pub fn frexp(&self) -> (Tensor, Tensor) {
        let size = self.detach().abs();
        let usual = size.isfinite().bitwise_and(&size.gt(0.0));
        let guess = size.masked_fill(&usual.bitwise_not(), 1.0).log2().floor() + 1.0;
        // Half of it at a time: 2^128 is no float. The logarithm may be off by one next to a power of two.
        let half = (&guess * 0.5).trunc();
        let scaled = |x: &Tensor| &(x * &half.neg().exp2()) * &(&half - &guess).exp2();
        let near = scaled(&size);
        let off = &near.ge(1.0).cast(DType::F32) - &near.lt(0.5).cast(DType::F32);
        let fraction = &scaled(self) * &off.neg().exp2();
        let exponent = (&guess + &off).masked_fill(&usual.bitwise_not(), 0.0);
        (Tensor::select(&usual, &fraction, self), exponent.cast(DType::I32))
    }

    /// The differences of neighbours along an axis, `n` times over.
    #[track_caller]
    pub fn diff(&self, n: usize, axis: impl Axis) -> Tensor {
        let axis = fit(resolve_axis("diff", axis.signed(), self.rank()));
        (0..n).fold(self.clone(), |x, _| {
            let len = x.shape()[axis].saturating_sub(1);
            let (low, high) = (x.narrow(axis, 0, len), x.narrow(axis, x.shape()[axis] - len, len));
            if x.dtype() == DType::Bool { high.not_equal(&low) } else { high - low }
        })
    }

    /// The integral along an axis by the trapezoidal rule: of the points at `places`, which broadcast along that axis,
    /// or `dx` apart. The axis is gone.
    ///
    /// # Panics
    /// If the axis does not exist, or the places do not fit.
    #[track_caller]
    pub fn trapezoid(&self, places: Option<&Tensor>, dx: f32, axis: isize) -> Tensor {
        self.trapezoids(places, dx, axis).sum(&[axis])
    }

    /// The integrals up to each point but the first; see [`Tensor::trapezoid`].
    ///
    /// # Panics
    /// If the axis does not exist, or the places do not fit.
    #[track_caller]
    pub fn cumulative_trapezoid(&self, places: Option<&Tensor>, dx: f32, axis: isize) -> Tensor {
        self.trapezoids(places, dx, axis).cumsum(axis)
    }

    #[track_caller]
    fn trapezoids(&self, places: Option<&Tensor>, dx: f32, axis: isize) -> Tensor {
        let along = fit(resolve_axis("trapezoid", axis, self.rank()));
        let len = self.shape()[along].saturating_sub(1);
        let high = self.narrow(along, self.shape()[along] - len, len);
        let sums = (&self.narrow(along, 0, len) + &high) * 0.5;
        let Some(places) = places else { return sums * dx };
        if places.rank() == 1 {
            let mut shape = vec![1; self.rank()];
            shape[along] = len;
            return &sums * &places.diff(1, 0).reshape(shape);
        }
        &sums * &places.diff(1, along as isize - self.rank() as isize)
    }

    /// 0 below 0, 1 above, `values` at 0; 0 for NaN.
    #[track_caller]
    pub fn heaviside(&self, values: &Tensor) -> Tensor {
        Tensor::select(&self.eq(0.0), values, &self.gt(0.0).cast(values.dtype()))
    }
}
