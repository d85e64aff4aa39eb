//! The convolutional layer.

use super::weighted::weighted;
use super::{Init, Param, Pass};
use crate::error::Result;
use crate::functional::PadMode;
use crate::ops::{Conv2dOptions, Padding};
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
    /// What the padding is made of.
    pub padding_mode: PadMode,
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
        Ok(Conv2d { weight, bias: Some(bias), options, padding_mode: PadMode::Constant(0.0) })
    }

    /// The same layer without its bias.
    pub fn without_bias(mut self) -> Conv2d {
        self.bias = None;
        self
    }

    /// The same layer with padding made of this instead of zeros (PyTorch's `padding_mode`).
    pub fn padded_with(mut self, mode: PadMode) -> Conv2d {
        self.padding_mode = mode;
        self
    }
}

weighted!(Conv2d, 0);

impl Conv2d {
    #[track_caller]
    fn apply(&self, weight: &Tensor, x: &Tensor, pass: &mut Pass) -> Tensor {
        let (x, weight, bias) = (pass.operand(x), &pass.operand(weight), pass.param(&self.bias));
        let bias = bias.as_ref();
        let Conv2dOptions { stride, padding, dilation, .. } = self.options;
        if self.padding_mode == PadMode::Constant(0.0) || padding == Padding::Valid || x.rank() != 4 {
            return x.conv2d(weight, bias, &self.options);
        }
        let kernel = [weight.shape()[2], weight.shape()[3]];
        let sides = padding.resolve([x.shape()[2], x.shape()[3]], kernel, stride, dilation);
        let [top, bottom, left, right] = sides.map(|n| n as isize);
        let padded = x.pad_mode(&[left, right, top, bottom], self.padding_mode);
        padded.conv2d(weight, bias, &Conv2dOptions { padding: Padding::Valid, ..self.options })
    }
}
