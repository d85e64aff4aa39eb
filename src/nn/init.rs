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
}

impl Init {
    /// Draws from this seed.
    pub fn new(device: &Device, seed: u64) -> Self {
        Init { device: device.clone(), rng: ChaCha8Rng::seed_from_u64(seed) }
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
        // 24 bits are all an f32 in [0, 1) holds; `2u - 1` is exact.
        let unit = |bits: u32| (bits >> 8) as f32 / (1 << 24) as f32;
        let values: Vec<f32> = (0..shape.elements()).map(|_| bound * (2.0 * unit(self.rng.next_u32()) - 1.0)).collect();
        Param::new(Tensor::from_slice(&self.device, &values, shape)?)
    }

    /// What PyTorch gives the weights and biases of linear and convolutional layers unless told otherwise: uniform up to
    /// `1 / sqrt(fan_in)`, where `fan_in` counts the inputs of one output.
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

    /// All elements the same.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn constant(&mut self, shape: impl Into<Shape>, value: f32) -> Result<Param> {
        let shape = shape.into();
        Param::new(Tensor::from_slice(&self.device, &vec![value; shape.elements()], shape)?)
    }
}
