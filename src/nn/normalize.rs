//! Inputs brought to mean 0 and deviation 1, channel by channel: what speeds up the first layers of every network.

use super::{Module, Pass};
use crate::device::Device;
use crate::error::Result;
use crate::tensor::Tensor;

/// `(x - mean) / deviation` of each channel of `[N, C, ...]`, with constants of the data set: torchvision's `Normalize`
/// as a layer, so that it runs on the device, fused with what reads it.
#[derive(Debug)]
pub struct Normalize {
    mean: Tensor,
    scale: Tensor,
}

crate::parameters!(Normalize {});

impl Normalize {
    /// From one mean and one deviation per channel. A channel that never changes (deviation 0) is only centred.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If the two lists differ in length.
    #[track_caller]
    pub fn new(device: &Device, mean: &[f32], deviation: &[f32]) -> Result<Normalize> {
        let (means, deviations) = (mean.len(), deviation.len());
        assert!(
            means == deviations,
            "normalize: {means} means and {deviations} deviations; give one of each per channel"
        );
        let scale: Vec<f32> = deviation.iter().map(|&d| if d == 0.0 { 1.0 } else { 1.0 / d }).collect();
        let leaf = |values: &[f32]| Tensor::from_slice(device, values, values.len());
        Ok(Normalize { mean: leaf(mean)?, scale: leaf(&scale)? })
    }
}

impl Module for Normalize {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        let channels = self.mean.elements();
        assert!(
            x.rank() > 1 && x.shape()[1] == channels,
            "normalize: an input of shape {} for {channels} channels; it must be [N, {channels}, ...]",
            x.shape()
        );
        let mut shape = vec![1; x.rank() - 1];
        shape[0] = channels;
        &(x - &self.mean.reshape(shape.clone())) * &self.scale.reshape(shape)
    }
}
