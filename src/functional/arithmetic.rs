//! Arithmetic made of smaller steps.

use crate::tensor::{DType, Tensor};

impl Tensor {
    /// x^exponent, as IEEE 754 has it; whole numbers take a whole exponent. Small powers are products and roots.
    #[track_caller]
    pub fn powf(&self, exponent: f32) -> Tensor {
        if self.dtype() != DType::F32 {
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
        self.cast(DType::F32).div(&other.cast(DType::F32))
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

    /// log(x / (1 - x)); with `eps`, x is first held between eps and 1 - eps.
    #[track_caller]
    pub fn logit(&self, eps: Option<f32>) -> Tensor {
        let x = match eps {
            Some(eps) => self.masked_fill(&self.lt(eps), eps).masked_fill(&self.gt(1.0 - eps), 1.0 - eps),
            None => self.clone(),
        };
        &x.ln() - &x.neg().log1p()
    }
}
