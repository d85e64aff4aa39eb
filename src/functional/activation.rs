//! Activation functions, with PyTorch's names, defaults, and slopes at the kinks.
//!
//! A branch that is not taken is given a harmless number before the function, not only left out after it: its slope may
//! be infinite there, and 0 times infinity is NaN.

use crate::error::{ShapeError, fit};
use crate::ops::reduce::resolve_axis;
use crate::tensor::{DType, Tensor};

impl Tensor {
    /// A number of the host beside this tensor.
    fn number(&self, value: f32) -> Tensor {
        Tensor::scalar(self.device(), value)
    }

    /// `self` where `mask` holds, else 0.
    fn where_or_zero(&self, mask: &Tensor) -> Tensor {
        Tensor::select(mask, self, &self.number(0.0))
    }

    /// log(1 + e^(beta x)) / beta, and x where beta x is above `threshold`. PyTorch's defaults are 1 and 20.
    #[track_caller]
    pub fn softplus(&self, beta: f32, threshold: f32) -> Tensor {
        let z = self * beta;
        let linear = z.gt(threshold.min(60.0));
        let soft = z.where_or_zero(&linear.bitwise_not()).exp().log1p();
        Tensor::select(&linear, self, &(soft / beta))
    }

    /// log(1 / (1 + e^-x)), without overflow.
    #[track_caller]
    pub fn logsigmoid(&self) -> Tensor {
        self.neg().softplus(1.0, 60.0).neg()
    }

    /// x / (1 + e^-x), also called swish.
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        self * &self.sigmoid()
    }

    /// x tanh(log(1 + e^x))
    #[track_caller]
    pub fn mish(&self) -> Tensor {
        self * &self.softplus(1.0, 20.0).tanh()
    }

    /// x Phi(x), with the distribution function of the normal distribution.
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        &(self * 0.5) * &(self * -std::f32::consts::FRAC_1_SQRT_2).erfc()
    }

    /// The approximation x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) of [`Tensor::gelu`].
    #[track_caller]
    pub fn gelu_tanh(&self) -> Tensor {
        // (1 + tanh z) / 2 is sigmoid(2 z), which loses no digits where it is small.
        let z = self * &(self.square() * 0.044715 + 1.0);
        self * &(z * 1.595_769).sigmoid()
    }

    /// max(0, x), at most 6.
    #[track_caller]
    pub fn relu6(&self) -> Tensor {
        self.hardtanh(0.0, 6.0)
    }

    /// x between `low` and `high`; outside, the nearer of them. At both its slope is 0. NaN stays and has no slope.
    #[track_caller]
    pub fn hardtanh(&self, low: f32, high: f32) -> Tensor {
        let inside = self.gt(low).bitwise_and(&self.lt(high));
        Tensor::select(&inside, self, &self.detach().clamp(low, high))
    }

    /// (x + 3) / 6 between -3 and 3; 0 below, 1 above. NaN stays and has no slope.
    #[track_caller]
    pub fn hardsigmoid(&self) -> Tensor {
        let line = (self + 3.0) / 6.0;
        Tensor::select(&self.abs().lt(3.0), &line, &line.hardtanh(0.0, 1.0).detach())
    }

    /// x (x + 3) / 6 between -3 and 3; 0 below, x above.
    #[track_caller]
    pub fn hardswish(&self) -> Tensor {
        self * &self.hardsigmoid()
    }

    /// x, and `slope` x where that is not positive. PyTorch's default is 0.01.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f32) -> Tensor {
        Tensor::select(&self.gt(0.0), self, &(self * slope))
    }

    /// x, and `weight` x where that is not positive: one weight for all, or one for each entry of axis 1.
    ///
    /// # Panics
    /// If the weights are neither one nor as many as axis 1 has entries.
    #[track_caller]
    pub fn prelu(&self, weight: &Tensor) -> Tensor {
        let channels = if self.rank() < 2 { 1 } else { self.shape()[1] };
        let n = weight.elements();
        assert!(
            weight.rank() < 2 && (n == 1 || n == channels),
            "prelu: weights {} for a tensor {}; give one, or {channels}",
            weight.shape(),
            self.shape()
        );
        let mut shape = vec![1; self.rank().max(1)];
        if n != 1 {
            shape[1] = n;
        }
        let shape = if self.rank() == 0 { Vec::new() } else { shape };
        Tensor::select(&self.gt(0.0), self, &(self * &weight.reshape(shape)))
    }

    /// What randomised leaky ReLU is after training: [`Tensor::leaky_relu`] with the mean of the slopes.
    #[track_caller]
    pub fn rrelu_eval(&self, lower: f32, upper: f32) -> Tensor {
        self.leaky_relu(0.5 * (lower + upper))
    }

    /// x, and `alpha` (e^x - 1) where that is not positive. PyTorch's default is 1.
    #[track_caller]
    pub fn elu(&self, alpha: f32) -> Tensor {
        let low = self.gt(0.0).bitwise_not();
        Tensor::select(&low, &(self.where_or_zero(&low).expm1() * alpha), self)
    }

    /// ELU scaled so that mean 0 and variance 1 reproduce themselves from layer to layer.
    #[track_caller]
    pub fn selu(&self) -> Tensor {
        self.elu(1.673_263_2) * 1.050_701
    }

    /// x, and `alpha` (e^(x / alpha) - 1) where that is not positive. PyTorch's default is 1.
    #[track_caller]
    pub fn celu(&self, alpha: f32) -> Tensor {
        let low = self.gt(0.0).bitwise_not();
        Tensor::select(&low, &((self.where_or_zero(&low) / alpha).expm1() * alpha), self)
    }

    /// x, and 0 between `-lambda` and `lambda`. PyTorch's default is 0.5.
    #[track_caller]
    pub fn hardshrink(&self, lambda: f32) -> Tensor {
        // NaN stays and has no slope, as in PyTorch. It is told apart: a compiler may take the product for a choice.
        let kept = self * &self.abs().gt(lambda).cast(DType::F32);
        Tensor::select(&self.isnan(), &self.detach(), &kept)
    }

    /// x nearer to 0 by `lambda`, and 0 between `-lambda` and `lambda`. PyTorch's default is 0.5. NaN stays and has no
    /// slope.
    #[track_caller]
    pub fn softshrink(&self, lambda: f32) -> Tensor {
        let high = self.gt(lambda);
        let less = Tensor::select(&high, &(self - lambda), &(self + lambda));
        Tensor::select(&high.bitwise_or(&self.lt(-lambda)), &less, &(self.detach() * 0.0))
    }

    /// x - tanh(x)
    #[track_caller]
    pub fn tanhshrink(&self) -> Tensor {
        self - &self.tanh()
    }

    /// x, and `value` where it is not above `threshold`.
    #[track_caller]
    pub fn threshold(&self, threshold: f32, value: f32) -> Tensor {
        Tensor::select(&self.le(threshold), &self.number(value), self)
    }

    /// x / (1 + |x|)
    #[track_caller]
    pub fn softsign(&self) -> Tensor {
        self / &(self.abs() + 1.0)
    }

    /// The first half of an axis times the sigmoid of the second.
    ///
    /// # Panics
    /// If the axis does not exist, or is not even.
    #[track_caller]
    pub fn glu(&self, axis: isize) -> Tensor {
        let axis = fit(resolve_axis("glu", axis, self.rank()));
        let n = self.shape()[axis];
        if !n.is_multiple_of(2) {
            fit::<()>(Err(ShapeError::new("glu", format!("axis {axis} of {} is {n}; it must be even", self.shape()))));
        }
        &self.narrow(axis, 0, n / 2) * &self.narrow(axis, n / 2, n / 2).sigmoid()
    }
}
