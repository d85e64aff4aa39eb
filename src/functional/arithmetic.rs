//! Arithmetic made of smaller steps.

use crate::error::fit;
use crate::ops::reduce::resolve_axis;
use crate::tensor::{Axis, DType, Tensor};

/// From here on Stirling's series for Gamma has all digits of a float.
const SHIFT: usize = 6;

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

    /// The integral along an axis by the trapezoidal rule: of the points at `places`, which broadcast along that axis, or
    /// `dx` apart. The axis is gone.
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

    /// log |Gamma(x)|
    #[track_caller]
    pub fn lgamma(&self) -> Tensor {
        // Below 1/2 by reflection: Gamma(x) Gamma(1 - x) = pi / sin(pi x).
        let (low, x) = self.reflected();
        let (short, far) = (x.lt(SHIFT as f32), x.clone());
        // x (x + 1) .. is what Gamma grows by from x to where Stirling's series is good.
        let near = far.masked_fill(&short.bitwise_not(), 1.0);
        let grown = (1..SHIFT).fold(near.clone(), |product, k| &product * &(&near + k as f32));
        let z = Tensor::select(&short, &(&x + SHIFT as f32), &x);
        let r = z.reciprocal();
        let s = r.square();
        let series = &r * &(&(&(&s * (1.0 / 1260.0) - 1.0 / 360.0) * &s) + 1.0 / 12.0);
        let stirling = &(&(&z - 0.5) * &(z.ln() - 1.0)) + &(series + 0.418_938_54);
        let value = Tensor::select(&short, &(&stirling - &grown.ln()), &stirling);
        let turned = (&self.distance_to_whole() * std::f32::consts::PI).sin().abs();
        let value = Tensor::select(&low, &(std::f32::consts::PI / &turned).ln().sub(&value), &value);
        value.masked_fill(&self.isinf(), f32::INFINITY)
    }

    /// The slope of [`Tensor::lgamma`].
    #[track_caller]
    pub fn digamma(&self) -> Tensor {
        let (low, x) = self.reflected();
        let short = x.lt(SHIFT as f32);
        let near = x.masked_fill(&short.bitwise_not(), 1.0);
        let grown = (1..SHIFT).fold(near.reciprocal(), |sum, k| &sum + &(&near + k as f32).reciprocal());
        let z = Tensor::select(&short, &(&x + SHIFT as f32), &x);
        let s = z.square().reciprocal();
        let series = &s * &(&(&(&s * (1.0 / 252.0) - 1.0 / 120.0) * &s) + 1.0 / 12.0);
        let far = &(&z.ln() - &(&z.reciprocal() * 0.5)) - &series;
        let value = Tensor::select(&short, &(&far - &grown), &far);
        let turned = (&self.distance_to_whole() * std::f32::consts::PI).tan();
        let value = Tensor::select(&low, &(&value - &(std::f32::consts::PI / &turned)), &value);
        // No slope has a limit at the negative whole numbers; at 0 it has one from each side.
        let value = value.masked_fill(&low.bitwise_and(&turned.eq(0.0)), f32::NAN);
        Tensor::select(&self.eq(0.0), &self.reciprocal().neg(), &value)
    }

    /// Whether x is below 1/2, and the one of x and 1 - x that is not.
    fn reflected(&self) -> (Tensor, Tensor) {
        let low = self.lt(0.5);
        let x = Tensor::select(&low, &(1.0 - self), self);
        (low, x)
    }

    /// x - round(x), and 1/2 where x is not below 1/2.
    fn distance_to_whole(&self) -> Tensor {
        (self - &self.round()).masked_fill(&self.ge(0.5), 0.5)
    }

    /// 0 below 0, 1 above, `values` at 0; 0 for NaN.
    #[track_caller]
    pub fn heaviside(&self, values: &Tensor) -> Tensor {
        Tensor::select(&self.eq(0.0), values, &self.gt(0.0).cast(values.dtype()))
    }

    /// sin(pi x) / (pi x), and 1 at 0.
    #[track_caller]
    pub fn sinc(&self) -> Tensor {
        let angle = self * std::f32::consts::PI;
        let near = angle.abs().lt(0.5);
        // The slope of the quotient loses its digits near 0; that of the series does not.
        let s = angle.square();
        let series = [1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0];
        let near_value =
            series[1..].iter().fold(Tensor::full(s.device(), s.shape(), series[0]), |sum, &c| &sum * &s + c);
        let far = angle.masked_fill(&near, 1.0);
        Tensor::select(&near, &near_value, &(&far.sin() / &far))
    }

    /// log(x / (1 - x)); with `eps`, x is first held between eps and 1 - eps. Without, value and slope are NaN outside of
    /// 0 to 1.
    #[track_caller]
    pub fn logit(&self, eps: Option<f32>) -> Tensor {
        let (low, high) = (eps.unwrap_or(0.0), 1.0 - eps.unwrap_or(0.0));
        let (below, above) = (self.lt(low), self.gt(high));
        let x = match eps {
            Some(_) => self.masked_fill(&above, high).masked_fill(&below, low),
            // A factor, not a choice, so that the slope is NaN too.
            None => {
                let number = |v: f32| Tensor::scalar(self.device(), v);
                self * &Tensor::select(&below.bitwise_or(&above), &number(f32::NAN), &number(1.0))
            }
        };
        &x.ln() - &x.neg().log1p()
    }
}
