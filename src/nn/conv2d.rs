//! The convolutional layer.

use super::{Init, Module, Param, Pass};
use crate::error::Result;
use crate::ops::Conv2dOptions;
use crate::tensor::Tensor;

/// Cross-correlation with a bias per channel, `[N, inputs, H, W]` to `[N, outputs, H', W']`.
#[derive(Debug)]
pub struct Conv2d {
    /// `[outputs, inputs / groups, kh, kw]`
    pub weight: Param,
    /// `[outputs]`
    pub bias: Option<Param>,
    /// Stride, padding, dilation and groups.
    pub options: Conv2dOptions,
}

crate::parameters!(Conv2d { weight, bias });

impl Conv2d {
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
        options: Conv2dOptions,
    ) -> Result<Conv2d> {
        let groups = options.groups;
        assert!(
            groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
            "conv2d: {groups} groups do not divide {inputs} input and {outputs} output channels evenly"
        );
        let [kh, kw] = kernel;
        let fan_in = inputs / groups * kh * kw;
        let weight = init.weight([outputs, inputs / groups, kh, kw])?;
        let bias = init.bias(outputs, fan_in)?;
        Ok(Conv2d { weight, bias: Some(bias), options })
    }

    /// The same layer without its bias.
    pub fn without_bias(mut self) -> Conv2d {
        self.bias = None;
        self
    }
}

impl Module for Conv2d {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        x.conv2d(self.weight.get(), self.bias.as_ref().map(Param::get), &self.options)
    }
}
