//! Convolution of volumes: windows along the depth become channels, and the rest is convolution of images.

use super::ConvTranspose2dOptions;
use super::conv::check_rank;
use crate::ops::im2col::Window;
use crate::ops::{Conv2dOptions, Padding};
use crate::tensor::Tensor;

/// What [`Tensor::conv3d`] may be told; by default stride 1, no padding, no dilation, one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv3dOptions {
    /// Pixels from one window to the next: along depth, height and width.
    pub stride: [usize; 3],
    /// Zeros on both sides.
    pub padding: [usize; 3],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 3],
    /// Parts into which the channels are cut.
    pub groups: usize,
}

impl Default for Conv3dOptions {
    fn default() -> Self {
        Conv3dOptions { stride: [1; 3], padding: [0; 3], dilation: [1; 3], groups: 1 }
    }
}

impl Tensor {
    /// Convolution of volumes `[n, c, d, h, w]` with a weight `[outputs, c / groups, kd, kh, kw]`, plus a bias
    /// `[outputs]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn conv3d(&self, weight: &Tensor, bias: Option<&Tensor>, options: &Conv3dOptions) -> Tensor {
        check_rank("conv3d", "the input", self, 5, "[volumes, channels, depth, height, width]");
        check_rank("conv3d", "the weight", weight, 5, "[outputs, channels / groups, kd, kh, kw]");
        let (&[n, c, d, h, w], &[o, per_group, kd, kh, kw]) = (&self.shape()[..], &weight.shape()[..]) else {
            unreachable!("just checked")
        };
        // The layers under each tap, as channels: [n, c * kd, od * h * w].
        let window = Window {
            kernel: [kd, 1],
            stride: [options.stride[0], 1],
            padding: [options.padding[0], options.padding[0], 0, 0],
            dilation: [options.dilation[0], 1],
        };
        let columns = self.reshape([n, c, d, h * w]).im2col(&window);
        let od = columns.shape()[2] / (h * w).max(1);
        let layers = columns.reshape([n, c * kd, od, h, w]).permute(&[0, 2, 1, 3, 4]).reshape([n * od, c * kd, h, w]);
        let [[sh, sw], [ph, pw], [dh, dw]] = [options.stride, options.padding, options.dilation].map(|v| [v[1], v[2]]);
        let options =
            Conv2dOptions { stride: [sh, sw], padding: [ph, pw].into(), dilation: [dh, dw], groups: options.groups };
        let y = layers.conv2d(&weight.reshape([o, per_group * kd, kh, kw]), bias, &options);
        let [oh, ow] = [y.shape()[2], y.shape()[3]];
        y.reshape([n, od, o, oh, ow]).permute(&[0, 2, 1, 3, 4])
    }

    /// Transposed convolution of volumes `[n, c, d, h, w]` with a weight `[c, outputs / groups, kd, kh, kw]`, plus a
    /// bias `[outputs]`; `output_padding` as in [`ConvTranspose2dOptions`].
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn conv_transpose3d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        output_padding: [usize; 3],
        options: &Conv3dOptions,
    ) -> Tensor {
        check_rank("conv_transpose3d", "the input", self, 5, "[volumes, channels, depth, height, width]");
        check_rank("conv_transpose3d", "the weight", weight, 5, "[channels, outputs / groups, kd, kh, kw]");
        let (&[n, c, d, h, w], &[of, per_group, kd, kh, kw]) = (&self.shape()[..], &weight.shape()[..]) else {
            unreachable!("just checked")
        };
        let [[sh, sw], [ph, pw], [dh, dw], [qh, qw]] =
            [options.stride, options.padding, options.dilation, output_padding].map(|v| [v[1], v[2]]);
        let within = ConvTranspose2dOptions {
            stride: [sh, sw],
            padding: Padding::from([ph, pw]),
            output_padding: [qh, qw],
            dilation: [dh, dw],
            groups: options.groups,
        };
        let layers = self.permute(&[0, 2, 1, 3, 4]).reshape([n * d, c, h, w]);
        let y = layers.conv_transpose2d(&weight.reshape([of, per_group * kd, kh, kw]), None, &within);
        let [oh, ow] = [y.shape()[2], y.shape()[3]];
        let outputs = per_group * options.groups;
        // Each layer holds kd layers of the result, which overlap.
        let columns = y.reshape([n, d, outputs * kd, oh, ow]).permute(&[0, 2, 1, 3, 4]);
        let ([stride, padding, dilation], extra) =
            ([options.stride[0], options.padding[0], options.dilation[0]], output_padding[0]);
        let full = (d.max(1) - 1) * stride + (kd.max(1) - 1) * dilation + 1 + extra;
        assert!(
            full > 2 * padding && extra < stride.max(dilation),
            "conv_transpose3d: a padding of {padding} and an output padding of {extra} along a depth of {full}; the first \
             must be smaller than half of it, the second than stride or dilation"
        );
        let window = Window { kernel: [kd, 1], stride: [stride, 1], padding: [0; 4], dilation: [dilation, 1] };
        let whole = columns.reshape([n, outputs * kd, d * oh * ow]).col2im(&window, [full - extra, oh * ow]);
        let whole = if extra > 0 { whole.pad(&[(0, 0), (0, 0), (0, extra), (0, 0)], 0.0) } else { whole };
        let y = whole.narrow(2, padding, full - 2 * padding).reshape([n, outputs, full - 2 * padding, oh, ow]);
        match bias {
            Some(bias) => &y + &bias.reshape([outputs, 1, 1, 1]),
            None => y,
        }
    }
}
