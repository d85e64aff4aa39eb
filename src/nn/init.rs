//! Where parameters start. Drawn on the host, by a generator whose numbers are the same in every version and on every
//! machine, so that one seed gives one model whatever device it is trained on.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use super::Param;
use crate::device::Device;
use crate::error::Result;
use crate::tensor::{Shape, Tensor};

/// Makes parameters on a device from a seed.
#[derive(Debug)]
pub struct Init {
    device: Device,
    rng: ChaCha8Rng,
    scheme: Scheme,
}

/// Where the weights and biases of linear and convolutional layers start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Scheme {
    /// PyTorch's default, see [`Init::fan_in`].
    #[default]
    FanIn,
    /// Weights normal with this deviation, redrawn beyond two of them; all biases the same. With 0.1 and 0.1, that of
    /// TensorFlow's tutorials on MNIST.
    TruncatedNormal {
        /// Standard deviation before truncation.
        deviation: f32,
        /// The value of every bias.
        bias: f32,
    },
    /// Weights normal with variance `2 / fan_in` (He and others, 2015: what keeps the scale through rectifiers), biases
    /// 0.
    KaimingNormal,
    /// Weights uniform with variance `2 / (fan_in + fan_out)` (Glorot and Bengio, 2010), biases 0.
    XavierUniform,
    /// All weights and biases 0, and nothing is drawn: for a model whose weights are loaded next.
    Zeros,
}

impl Init {
    /// Draws from this seed.
    pub fn new(device: &Device, seed: u64) -> Self {
        Init { device: device.clone(), rng: ChaCha8Rng::seed_from_u64(seed), scheme: Scheme::default() }
    }

    /// With another start for the layers made from now on.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// The device the parameters are made on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Uniform in `[-bound, bound)`.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn uniform(&mut self, shape: impl Into<Shape>, bound: f32) -> Result<Param> {
        let shape = shape.into();
        if self.scheme == Scheme::Zeros {
            return self.constant(shape, 0.0);
        }
        // 24 bits are all an f32 in [0, 1) holds; `2u - 1` is exact.
        let unit = |bits: u32| (bits >> 8) as f32 / (1 << 24) as f32;
        let values: Vec<f32> = (0..shape.elements()).map(|_| bound * (2.0 * unit(self.rng.next_u32()) - 1.0)).collect();
        Param::new(Tensor::from_slice(&self.device, &values, shape)?)
    }

    /// What PyTorch gives the weights and biases of linear and convolutional layers unless told otherwise: uniform up
    /// to `1 / sqrt(fan_in)`, where `fan_in` counts the inputs of one output.
    ///
    /// There it is written `kaiming_uniform_(a=sqrt(5))`: gain `sqrt(2 / (1 + a^2)) = sqrt(1/3)`, and a bound of
    /// `sqrt(3) * gain / sqrt(fan_in)`.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn fan_in(&mut self, shape: impl Into<Shape>, fan_in: usize) -> Result<Param> {
        // A layer without inputs has no weights, and PyTorch gives it a bias of zeros.
        let bound = if fan_in == 0 { 0.0 } else { 1.0 / (fan_in as f64).sqrt() };
        self.uniform(shape, bound as f32)
    }

    /// The weights of a linear or convolutional layer, `[out, in, kernel...]`, by the [`Scheme`].
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn weight(&mut self, shape: impl Into<Shape>) -> Result<Param> {
        let shape = shape.into();
        let window: usize = shape[2..].iter().product();
        let (fan_in, fan_out) = (shape[1] * window, shape[0] * window);
        match self.scheme {
            Scheme::FanIn => self.fan_in(shape, fan_in),
            Scheme::TruncatedNormal { deviation, .. } => self.normal(shape, deviation, 2.0),
            Scheme::KaimingNormal => self.normal(shape, (2.0 / fan_in.max(1) as f64).sqrt() as f32, f64::INFINITY),
            Scheme::Zeros => self.constant(shape, 0.0),
            Scheme::XavierUniform => self.uniform(shape, (6.0 / (fan_in + fan_out).max(1) as f64).sqrt() as f32),
        }
    }

    /// The biases `[out]` of a layer with `fan_in` inputs to each output, by the [`Scheme`].
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn bias(&mut self, outputs: usize, fan_in: usize) -> Result<Param> {
        match self.scheme {
            Scheme::FanIn => self.fan_in([outputs], fan_in),
            Scheme::TruncatedNormal { bias, .. } => self.constant([outputs], bias),
            Scheme::KaimingNormal | Scheme::XavierUniform | Scheme::Zeros => self.constant([outputs], 0.0),
        }
    }

    /// Normal with mean 0 and this deviation, redrawn beyond `limit` deviations.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn normal(&mut self, shape: impl Into<Shape>, deviation: f32, limit: f64) -> Result<Param> {
        let shape = shape.into();
        if self.scheme == Scheme::Zeros {
            return self.constant(shape, 0.0);
        }
        let mut draw = || {
            loop {
                // Box and Muller; the first number is in (0, 1], so that its logarithm is finite.
                let mut unit = || (self.rng.next_u32() as f64 + 1.0) / (1u64 << 32) as f64;
                let z = (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos();
                if z.abs() <= limit {
                    return z as f32 * deviation;
                }
            }
        };
        let values: Vec<f32> = (0..shape.elements()).map(|_| draw()).collect();
        Param::new(Tensor::from_slice(&self.device, &values, shape)?)
    }

    /// All elements the same.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn constant(&mut self, shape: impl Into<Shape>, value: f32) -> Result<Param> {
        let shape = shape.into();
        Param::new(Tensor::from_slice(&self.device, &vec![value; shape.elements()], shape)?)
    }
}
