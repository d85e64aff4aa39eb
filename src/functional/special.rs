//! Special functions, made of elementwise ops: of the Gamma function, the normal distribution, and some with removable
//! gaps. Polynomials are Chebyshev fits of this crate, each good to the last digit of a float.

use crate::tensor::Tensor;

/// From here on Stirling's series for Gamma has all digits of a float.
const SHIFT: usize = 6;

/// log Gamma(2 + t) / t for t from -1/2 to 1/2, the constant last.
const LOG_GAMMA: [f32; 9] = [
    -2.538_618_4e-4,
    5.703_469e-4,
    -1.185_837_7e-3,
    2.878_827e-3,
    -7.386_178e-3,
    0.020_581_63,
    -0.067_352_28,
    0.322_467_02,
    0.422_784_33,
];

/// log(erfcx(x) / t) for t = 1 / (1 + x / 2), as a function of 2 t - 1 from -1 to 1, the constant last.
const LOG_ERFCX: [f32; 14] = [
    2.072_299_3e-5,
    1.337_129_2e-5,
    -1.546_335_8e-4,
    -3.211_388_2e-5,
    6.579_535_8e-4,
    -1.827_820_6e-4,
    -2.339_277_6e-3,
    1.770_666_1e-3,
    8.823_558e-3,
    -9.874_535e-3,
    -0.046_895_48,
    0.047_343_418,
    0.672_643_24,
    -0.671_794_1,
];

impl Tensor {
    /// The polynomial with these coefficients, that of the highest power first.
    fn polynomial(&self, coefficients: &[f32]) -> Tensor {
        let first = Tensor::scalar(self.device(), coefficients[0]);
        coefficients[1..].iter().fold(first, |sum, &c| &(&sum * self) + c)
    }

    /// log |Gamma(x)|
    #[track_caller]
    pub fn lgamma(&self) -> Tensor {
        // At infinity the slope is infinite too; the series would make it a difference of infinities.
        let end = self.eq(f32::INFINITY);
        let this = self.masked_fill(&end, 1.0);
        // Below 1/2 by reflection: Gamma(x) Gamma(1 - x) = pi / sin(pi x).
        let (low, x) = this.reflected();
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
        // Around the zeros at 1 and 2 the digits are those of the distance from 2; 1 + x leads there from 1/2 on.
        let (first, middle) = (x.lt(1.5), x.lt(2.5));
        let near = x.masked_fill(&middle.bitwise_not(), 2.0);
        let step = near.masked_fill(&first.bitwise_not(), 1.0);
        let t = Tensor::select(&first, &(&near - 1.0), &(&near - 2.0));
        let value = Tensor::select(&middle, &(&(&t * &t.polynomial(&LOG_GAMMA)) - &step.ln()), &value);
        let turned = (&this.distance_to_whole() * std::f32::consts::PI).sin().abs();
        let value = Tensor::select(&low, &(std::f32::consts::PI / &turned).ln().sub(&value), &value);
        Tensor::select(&end, &self.square(), &value.masked_fill(&this.isinf(), f32::INFINITY))
    }

    /// The slope of [`Tensor::lgamma`].
    #[track_caller]
    pub fn digamma(&self) -> Tensor {
        let (low, x) = self.reflected();
        let short = x.lt(SHIFT as f32);
        let near = x.masked_fill(&short.bitwise_not(), 1.0);
        let grown = (1..SHIFT).fold(near.reciprocal(), |sum, k| &sum + &(&near + k as f32).reciprocal());
        let z = Tensor::select(&short, &(&x + SHIFT as f32), &x);
        let s = z.reciprocal().square();
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

    /// log(x / (1 - x)); with `eps`, x is first held between eps and 1 - eps. Without, value and slope are NaN outside
    /// of 0 to 1.
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

    /// -x log x, the entropy of one probability: 0 at 0, -inf below.
    #[track_caller]
    pub fn entr(&self) -> Tensor {
        let (low, zero) = (self.lt(0.0), self.eq(0.0));
        let x = self.masked_fill(&low.bitwise_or(&zero), 1.0);
        // At 0 the slope is infinite, as the root's is; below it is no number, as that of log 0 times 0.
        let start = self.masked_fill(&zero.bitwise_not(), 1.0).pow(&Tensor::scalar(self.device(), 0.5f32));
        let below = (self.masked_fill(&low.bitwise_not().bitwise_or(&self.isinf()), -1.0) * 0.0).ln();
        Tensor::select(&low, &below, &Tensor::select(&zero, &start, &(&x * &x.ln()).neg()))
    }

    /// e^(x^2) erfc(x), which neither vanishes nor overflows for large x.
    #[track_caller]
    pub fn erfcx(&self) -> Tensor {
        let low = self.lt(0.0);
        let t = 1.0 / &(&Tensor::select(&low, &self.neg(), self) * 0.5 + 1.0);
        let high = &t * &(&t * 2.0 - 1.0).polynomial(&LOG_ERFCX).exp();
        // erfc(-x) = 2 - erfc(x)
        let square = self.masked_fill(&low.bitwise_not(), 0.0).square();
        Tensor::select(&low, &(&(square.exp() * 2.0) - &high), &high)
    }

    /// The share of the normal distribution below x: erfc(-x / sqrt 2) / 2.
    #[track_caller]
    pub fn ndtr(&self) -> Tensor {
        (self * -std::f32::consts::FRAC_1_SQRT_2).erfc() * 0.5
    }

    /// The logarithm of [`Tensor::ndtr`], also where that is too small for a number.
    #[track_caller]
    pub fn log_ndtr(&self) -> Tensor {
        let z = self * -std::f32::consts::FRAC_1_SQRT_2;
        let low = z.gt(0.75);
        let (far, near) = (z.masked_fill(&low.bitwise_not(), 1.0), z.masked_fill(&low, 0.0));
        let tail = &(far.erfcx() * 0.5).ln() - &far.square();
        Tensor::select(&low, &tail, &(near.neg().erfc() * -0.5).log1p())
    }
}
