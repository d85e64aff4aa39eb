//! Convolutions of other forms, in terms of the two-dimensional one: a sequence is an image of one row, and the
//! transposed convolution is the gradient of a convolution with respect to its images.

use crate::error::{ShapeError, fit};
use crate::ops::conv2d::{Conv2d, Conv2dInputGrad};
use crate::ops::{Conv2dOptions, Padding};
use crate::tensor::Tensor;

/// What [`Tensor::conv1d`] may be told; by default stride 1, no padding, no dilation, one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv1dOptions {
    /// Places from one window to the next.
    pub stride: usize,
    /// Zeros around the sequence; of [`Padding::Explicit`] the last two numbers count, those of left and right.
    pub padding: Padding,
    /// Places from one tap to the next.
    pub dilation: usize,
    /// Parts into which the channels are cut.
    pub groups: usize,
}

impl Default for Conv1dOptions {
    fn default() -> Self {
        Conv1dOptions { stride: 1, padding: Padding::Valid, dilation: 1, groups: 1 }
    }
}

/// What [`Tensor::conv_transpose2d`] may be told; by default stride 1, no padding, no dilation, one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvTranspose2dOptions {
    /// Pixels of the result from one input pixel to the next, down and across.
    pub stride: [usize; 2],
    /// Rows and columns taken off the result. `Same` gives `stride` times the input's size.
    pub padding: Padding,
    /// Rows and columns added at the end of the result: of all the sizes that a convolution maps to this input, which.
    pub output_padding: [usize; 2],
    /// Pixels from one tap to the next, down and across.
    pub dilation: [usize; 2],
    /// Parts into which the channels are cut.
    pub groups: usize,
}

impl Default for ConvTranspose2dOptions {
    fn default() -> Self {
        ConvTranspose2dOptions {
            stride: [1, 1],
            padding: Padding::Valid,
            output_padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
        }
    }
}

/// What [`Tensor::conv_transpose1d`] may be told; by default stride 1, no padding, no dilation, one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvTranspose1dOptions {
    /// Places of the result from one input place to the next.
    pub stride: usize,
    /// Places taken off the result at both ends.
    pub padding: usize,
    /// Places added at the end of the result.
    pub output_padding: usize,
    /// Places from one tap to the next.
    pub dilation: usize,
    /// Parts into which the channels are cut.
    pub groups: usize,
}

impl Default for ConvTranspose1dOptions {
    fn default() -> Self {
        ConvTranspose1dOptions { stride: 1, padding: 0, output_padding: 0, dilation: 1, groups: 1 }
    }
}

/// A transposed convolution along one axis: the result's extent, the padding of the convolution it is the gradient of,
/// and zeros behind.
struct Along {
    size: usize,
    padding: [usize; 2],
    zeros: usize,
}

impl ConvTranspose2dOptions {
    fn along(&self, axis: usize, input: usize, kernel: usize) -> Result<Along, ShapeError> {
        let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
        let mut extra = self.output_padding[axis];
        if input == 0 || kernel == 0 || stride == 0 || dilation == 0 {
            let problem = format!(
                "input {input}, kernel {kernel}, stride {stride} and dilation {dilation} must all be at least 1"
            );
            return Err(ShapeError::new("conv_transpose2d", problem));
        }
        if extra >= stride.max(dilation) {
            let problem = format!(
                "an output padding of {extra} with stride {stride} and dilation {dilation}; it must be smaller than one of them"
            );
            return Err(ShapeError::new("conv_transpose2d", problem));
        }
        let full = (input - 1) * stride + (kernel - 1) * dilation + 1;
        let padding = match self.padding {
            Padding::Valid => [0, 0],
            Padding::Explicit(sides) => [sides[2 * axis], sides[2 * axis + 1]],
            Padding::Same => {
                let total = (full + extra).saturating_sub(input * stride);
                extra = (input * stride + total).saturating_sub(full);
                [total / 2, total - total / 2]
            }
        };
        let size = (full + extra).checked_sub(padding[0] + padding[1]).ok_or_else(|| {
            let problem =
                format!("a padding of {padding:?} takes more than the {full} places of the result; make it smaller");
            ShapeError::new("conv_transpose2d", problem)
        })?;
        // Places added at the end are first those that the padding took off.
        let back = extra.min(padding[1]);
        let zeros = extra - back;
        Ok(Along { size: size - zeros, padding: [padding[0], padding[1] - back], zeros })
    }
}

impl Tensor {
    /// Cross-correlation of sequences `[n, c, length]` with `weight`, `[outputs, c / groups, k]`, plus `bias`,
    /// `[outputs]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, options: &Conv1dOptions) -> Tensor {
        check_rank("conv1d", "the input", self, 3, "[sequences, channels, length]");
        check_rank("conv1d", "the weight", weight, 3, "[outputs, channels / groups, taps]");
        let options = Conv2dOptions {
            stride: [1, options.stride],
            padding: match options.padding {
                Padding::Explicit([_, _, left, right]) => Padding::Explicit([0, 0, left, right]),
                other => other,
            },
            dilation: [1, options.dilation],
            groups: options.groups,
        };
        self.unsqueeze(2).conv2d(&weight.unsqueeze(2), bias, &options).squeeze(2)
    }

    /// Transposed convolution of images `[n, c, h, w]` with `weight`, `[c, outputs / groups, kh, kw]`, plus `bias`,
    /// `[outputs]`: the gradient of the convolution that has these options, of size
    /// `(h - 1) stride - padding + dilation (kh - 1) + output_padding + 1`.
    ///
    /// # Panics
    /// If the shapes do not fit, or `output_padding` is not smaller than stride or dilation.
    #[track_caller]
    pub fn conv_transpose2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: &ConvTranspose2dOptions) -> Tensor {
        fit(self.try_conv_transpose2d(weight, bias, options))
    }

    /// [`Tensor::conv_transpose2d`] with a mistake of shapes as an error.
    ///
    /// # Errors
    /// If the shapes do not fit, or `output_padding` is not smaller than stride or dilation.
    #[track_caller]
    pub fn try_conv_transpose2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &ConvTranspose2dOptions,
    ) -> Result<Tensor, ShapeError> {
        let (&[_, c, h, w], &[of, per_group, kh, kw]) = (&self.shape()[..], &weight.shape()[..]) else {
            let problem = format!(
                "the input is {} and the weight {}; [images, channels, height, width] and [channels, outputs / groups, kh, kw] \
                 would fit",
                self.shape(),
                weight.shape()
            );
            return Err(ShapeError::new("conv_transpose2d", problem));
        };
        if c != of {
            let problem =
                format!("the input {} has {c} channels, the weight {} is for {of}", self.shape(), weight.shape());
            return Err(ShapeError::new("conv_transpose2d", problem));
        }
        let (down, across) = (options.along(0, h, kh)?, options.along(1, w, kw)?);
        let ([top, bottom], [left, right]) = (down.padding, across.padding);
        let conv = Conv2d {
            stride: options.stride,
            padding: [top, bottom, left, right],
            dilation: options.dilation,
            groups: options.groups,
        };
        let op = Conv2dInputGrad { conv, size: [down.size, across.size] };
        let mut y = Tensor::try_apply(op, &[self, weight])?.swap_remove(0);
        if down.zeros + across.zeros > 0 {
            y = y.try_pad(&[(0, 0), (0, 0), (0, down.zeros), (0, across.zeros)], 0.0)?;
        }
        match bias {
            Some(bias) if bias.shape()[..] == [per_group * options.groups] => {
                y.try_add(&bias.reshape([bias.elements(), 1, 1]))
            }
            Some(bias) => {
                let wanted = per_group * options.groups;
                Err(ShapeError::new("conv_transpose2d", format!("the bias is {}; [{wanted}] would fit", bias.shape())))
            }
            None => Ok(y),
        }
    }

    /// Transposed convolution of sequences `[n, c, length]` with `weight`, `[c, outputs / groups, k]`, plus `bias`.
    ///
    /// # Panics
    /// As [`Tensor::conv_transpose2d`].
    #[track_caller]
    pub fn conv_transpose1d(&self, weight: &Tensor, bias: Option<&Tensor>, options: &ConvTranspose1dOptions) -> Tensor {
        check_rank("conv_transpose1d", "the input", self, 3, "[sequences, channels, length]");
        check_rank("conv_transpose1d", "the weight", weight, 3, "[channels, outputs / groups, taps]");
        let options = ConvTranspose2dOptions {
            stride: [1, options.stride],
            padding: Padding::Explicit([0, 0, options.padding, options.padding]),
            output_padding: [0, options.output_padding],
            dilation: [1, options.dilation],
            groups: options.groups,
        };
        self.unsqueeze(2).conv_transpose2d(&weight.unsqueeze(2), bias, &options).squeeze(2)
    }
}

#[track_caller]
pub(super) fn check_rank(op: &str, what: &str, t: &Tensor, rank: usize, form: &str) {
    if t.rank() != rank {
        panic!("{}", ShapeError::new(op, format!("{what} is {}; it must be {form}", t.shape())));
    }
}
