//! The convolutional layer for sequences.

use super::weighted::weighted;
use super::{Init, Param, Pass};
use crate::error::Result;
use crate::functional::{Conv1dOptions, PadMode};
use crate::ops::Padding;
use crate::tensor::Tensor;

/// Cross-correlation with a bias per channel, `[N, inputs, length]` to `[N, outputs, length']`.
#[derive(Debug)]
pub struct Conv1d {
    /// `[outputs, inputs / groups, k]`
    pub weight: Param,
    /// `[outputs]`
    pub bias: Option<Param>,
    /// Stride, padding, dilation and groups.
    pub options: Conv1dOptions,
    /// What the padding is made of.
    pub padding_mode: PadMode,
}

crate::parameters!(Conv1d { weight, bias });

impl Conv1d {
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
        options: Conv1dOptions,
    ) -> Result<Conv1d> {
        let groups = options.groups;
        assert!(
            groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
            "conv1d: {groups} groups do not divide {inputs} input and {outputs} output channels evenly"
        );
        let fan_in = inputs / groups * kernel;
        let weight = init.fan_in([outputs, inputs / groups, kernel], fan_in)?;
        let bias = init.fan_in([outputs], fan_in)?;
        Ok(Conv1d { weight, bias: Some(bias), options, padding_mode: PadMode::Constant(0.0) })
    }

    /// The same layer without its bias.
    pub fn without_bias(mut self) -> Conv1d {
        self.bias = None;
        self
    }

    /// The same layer with padding made of this instead of zeros (PyTorch's `padding_mode`).
    pub fn padded_with(mut self, mode: PadMode) -> Conv1d {
        self.padding_mode = mode;
        self
    }
}

weighted!(Conv1d, 0);

impl Conv1d {
    #[track_caller]
    fn apply(&self, weight: &Tensor, x: &Tensor, pass: &mut Pass) -> Tensor {
        let (x, weight, bias) = (pass.operand(x), &pass.operand(weight), pass.param(&self.bias));
        let bias = bias.as_ref();
        let Conv1dOptions { stride, padding, dilation, .. } = self.options;
        if self.padding_mode == PadMode::Constant(0.0) || padding == Padding::Valid || x.rank() != 3 {
            return x.conv1d(weight, bias, &self.options);
        }
        let [_, _, left, right] =
            padding.resolve([1, x.shape()[2]], [1, weight.shape()[2]], [1, stride], [1, dilation]).map(|n| n as isize);
        let padded = x.pad_mode(&[left, right], self.padding_mode);
        padded.conv1d(weight, bias, &Conv1dOptions { padding: Padding::Valid, ..self.options })
    }
}
