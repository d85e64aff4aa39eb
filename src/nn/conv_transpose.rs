//! Transposed convolutions: layers that enlarge.

use super::weighted::weighted;
use super::{Init, Param, Pass};
use crate::error::Result;
use crate::functional::{ConvTranspose1dOptions, ConvTranspose2dOptions};
use crate::tensor::Tensor;

/// Transposed convolution with a bias per channel, `[N, inputs, H, W]` to `[N, outputs, H', W']`.
#[derive(Debug)]
pub struct ConvTranspose2d {
    /// `[inputs, outputs / groups, kh, kw]`
    pub weight: Param,
    /// `[outputs]`
    pub bias: Option<Param>,
    /// Stride, padding, output padding, dilation and groups.
    pub options: ConvTranspose2dOptions,
}

/// Transposed convolution with a bias per channel, `[N, inputs, length]` to `[N, outputs, length']`.
#[derive(Debug)]
pub struct ConvTranspose1d {
    /// `[inputs, outputs / groups, k]`
    pub weight: Param,
    /// `[outputs]`
    pub bias: Option<Param>,
    /// Stride, padding, output padding, dilation and groups.
    pub options: ConvTranspose1dOptions,
}

crate::parameters!(ConvTranspose2d { weight, bias });
crate::parameters!(ConvTranspose1d { weight, bias });

#[track_caller]
fn check_groups(inputs: usize, outputs: usize, groups: usize) {
    assert!(
        groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
        "conv_transpose: {groups} groups do not divide {inputs} input and {outputs} output channels evenly"
    );
}

impl ConvTranspose2d {
    /// A layer with PyTorch's default initialisation.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    ///
    /// # Panics
    /// If `inputs` or `outputs` is not a multiple of `options.groups`.
    #[track_caller]
    pub fn new(
        init: &mut Init,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: ConvTranspose2dOptions,
    ) -> Result<ConvTranspose2d> {
        check_groups(inputs, outputs, options.groups);
        let [kh, kw] = kernel;
        // PyTorch reads the fan off the second axis of the weight, which here counts outputs.
        let fan_in = outputs / options.groups * kh * kw;
        let weight = init.fan_in([inputs, outputs / options.groups, kh, kw], fan_in)?;
        let bias = init.fan_in([outputs], fan_in)?;
        Ok(ConvTranspose2d { weight, bias: Some(bias), options })
    }

    /// The same layer without its bias.
    pub fn without_bias(mut self) -> ConvTranspose2d {
        self.bias = None;
        self
    }
}

impl ConvTranspose1d {
    /// A layer with PyTorch's default initialisation.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    ///
    /// # Panics
    /// If `inputs` or `outputs` is not a multiple of `options.groups`.
    #[track_caller]
    pub fn new(
        init: &mut Init,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        options: ConvTranspose1dOptions,
    ) -> Result<ConvTranspose1d> {
        check_groups(inputs, outputs, options.groups);
        let fan_in = outputs / options.groups * kernel;
        let weight = init.fan_in([inputs, outputs / options.groups, kernel], fan_in)?;
        let bias = init.fan_in([outputs], fan_in)?;
        Ok(ConvTranspose1d { weight, bias: Some(bias), options })
    }

    /// The same layer without its bias.
    pub fn without_bias(mut self) -> ConvTranspose1d {
        self.bias = None;
        self
    }
}

weighted!(ConvTranspose2d, 1);

impl ConvTranspose2d {
    #[track_caller]
    fn apply(&self, weight: &Tensor, x: &Tensor, pass: &mut Pass) -> Tensor {
        let (x, weight, bias) = (pass.operand(x), pass.operand(weight), pass.param(&self.bias));
        x.conv_transpose2d(&weight, bias.as_ref(), &self.options)
    }
}

weighted!(ConvTranspose1d, 1);

impl ConvTranspose1d {
    #[track_caller]
    fn apply(&self, weight: &Tensor, x: &Tensor, pass: &mut Pass) -> Tensor {
        let (x, weight, bias) = (pass.operand(x), pass.operand(weight), pass.param(&self.bias));
        x.conv_transpose1d(&weight, bias.as_ref(), &self.options)
    }
}
