//! Pooling in other dimensions and over other windows, in terms of the two-dimensional room.
//!
//! The largest of a box is the largest of its layers' largest, and the mean of a box the mean of its layers' means, so
//! pooling of volumes is two poolings of images.

use super::conv::check_rank;
use crate::error::ShapeError;
use crate::ops::adaptive_max::AdaptiveMax;
use crate::ops::resample2d::{Axis, Resample2d, Rule};
use crate::ops::scatter::{Scatter, ScatterKind};
use crate::ops::{Padding, Pool2dOptions};
use crate::tensor::Tensor;

/// What pooling of sequences may be told. [`Pool1dOptions::new`] is PyTorch's default: windows side by side, no
/// padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool1dOptions {
    /// Length of the window.
    pub kernel: usize,
    /// Places from one window to the next.
    pub stride: usize,
    /// Places at both ends: never the largest, and zeros in a mean that counts them.
    pub padding: usize,
    /// Places from one tap to the next; the mean takes only 1.
    pub dilation: usize,
    /// Round the number of windows up.
    pub ceil_mode: bool,
    /// Whether a mean divides by the whole window, padding included, or by the places in it.
    pub count_include_pad: bool,
}

impl Pool1dOptions {
    /// Windows of this length side by side.
    pub fn new(kernel: usize) -> Self {
        Pool1dOptions { kernel, stride: kernel, padding: 0, dilation: 1, ceil_mode: false, count_include_pad: true }
    }

    fn of_rows(&self) -> Pool2dOptions {
        Pool2dOptions {
            stride: [1, self.stride],
            padding: Padding::Explicit([0, 0, self.padding, self.padding]),
            dilation: [1, self.dilation],
            ceil_mode: self.ceil_mode,
            count_include_pad: self.count_include_pad,
            ..Pool2dOptions::new([1, self.kernel])
        }
    }
}

/// What pooling of volumes may be told. [`Pool3dOptions::new`] is PyTorch's default: windows side by side, no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool3dOptions {
    /// Depth, height and width of the window.
    pub kernel: [usize; 3],
    /// Pixels from one window to the next.
    pub stride: [usize; 3],
    /// Pixels on both sides: never the largest, and zeros in a mean that counts them.
    pub padding: [usize; 3],
    /// Pixels from one tap to the next; the mean takes only 1.
    pub dilation: [usize; 3],
    /// Round the number of windows up.
    pub ceil_mode: bool,
    /// Whether a mean divides by the whole window, padding included, or by the pixels in it.
    pub count_include_pad: bool,
    /// What a mean divides by instead.
    pub divisor_override: Option<usize>,
}

impl Pool3dOptions {
    /// Windows of this size side by side.
    pub fn new(kernel: [usize; 3]) -> Self {
        Pool3dOptions {
            kernel,
            stride: kernel,
            padding: [0; 3],
            dilation: [1; 3],
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }

    /// The pooling of each layer, and that of the stack of results, whose layers are rows.
    fn layers_and_stack(&self) -> [Pool2dOptions; 2] {
        let ([kd, kh, kw], [sd, sh, sw], [pd, ph, pw]) = (self.kernel, self.stride, self.padding);
        let [dd, dh, dw] = self.dilation;
        let with = |stride, padding: [usize; 2], dilation, kernel| Pool2dOptions {
            stride,
            padding: padding.into(),
            dilation,
            ceil_mode: self.ceil_mode,
            count_include_pad: self.count_include_pad,
            ..Pool2dOptions::new(kernel)
        };
        [with([sh, sw], [ph, pw], [dh, dw], [kh, kw]), with([sd, 1], [pd, 0], [dd, 1], [kd, 1])]
    }
}

impl Tensor {
    /// The largest place of each window of sequences `[n, c, length]`.
    ///
    /// # Panics
    /// If the tensor is no stack of sequences, or the window does not fit.
    #[track_caller]
    pub fn max_pool1d(&self, options: &Pool1dOptions) -> Tensor {
        self.max_pool1d_with_indices(options).0
    }

    /// [`Tensor::max_pool1d`], and the place of each largest, as `u32`.
    ///
    /// # Panics
    /// As [`Tensor::max_pool1d`].
    #[track_caller]
    pub fn max_pool1d_with_indices(&self, options: &Pool1dOptions) -> (Tensor, Tensor) {
        check_rank("max_pool1d", "the input", self, 3, "[sequences, channels, length]");
        let (y, at) = self.unsqueeze(2).max_pool2d_with_indices(&options.of_rows());
        (y.squeeze(2), at.squeeze(2))
    }

    /// The mean of each window of sequences `[n, c, length]`.
    ///
    /// # Panics
    /// If the tensor is no stack of sequences, or the window does not fit or is dilated.
    #[track_caller]
    pub fn avg_pool1d(&self, options: &Pool1dOptions) -> Tensor {
        check_rank("avg_pool1d", "the input", self, 3, "[sequences, channels, length]");
        self.unsqueeze(2).avg_pool2d(&options.of_rows()).squeeze(2)
    }

    /// The `p`-norm of each window of images `[n, c, h, w]`, as PyTorch has it: `(sum x^p)^(1/p)`, without bars: take
    /// `abs` first where p is odd and numbers are below 0. Without padding; a window that hangs over the end counts as
    /// whole.
    ///
    /// # Panics
    /// As [`Tensor::avg_pool2d`].
    #[track_caller]
    pub fn lp_pool2d(&self, p: f32, options: &Pool2dOptions) -> Tensor {
        let taps = (options.kernel[0] * options.kernel[1]) as f32;
        let mean = self.powf(p).avg_pool2d(&Pool2dOptions { padding: Padding::Valid, ..*options });
        (&mean * taps).powf(1.0 / p)
    }

    /// The `p`-norm of each window of sequences `[n, c, length]`; see [`Tensor::lp_pool2d`].
    ///
    /// # Panics
    /// As [`Tensor::avg_pool1d`].
    #[track_caller]
    pub fn lp_pool1d(&self, p: f32, options: &Pool1dOptions) -> Tensor {
        check_rank("lp_pool1d", "the input", self, 3, "[sequences, channels, length]");
        self.unsqueeze(2).lp_pool2d(p, &options.of_rows()).squeeze(2)
    }

    /// The `p`-norm of each window of volumes `[n, c, d, h, w]`; see [`Tensor::lp_pool2d`].
    ///
    /// # Panics
    /// As [`Tensor::avg_pool3d`].
    #[track_caller]
    pub fn lp_pool3d(&self, p: f32, options: &Pool3dOptions) -> Tensor {
        let taps = options.kernel.iter().product::<usize>() as f32;
        let mean = self.powf(p).avg_pool3d(&Pool3dOptions { padding: [0; 3], ..*options });
        (&mean * taps).powf(1.0 / p)
    }

    /// The mean of each of `size` bins of images `[n, c, h, w]`: bin `i` of `m` over `n` pixels runs from `floor(i n /
    /// m)` to `ceil((i + 1) n / m)`.
    ///
    /// # Panics
    /// If the tensor is no stack of images.
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Tensor {
        check_rank("adaptive_avg_pool2d", "the input", self, 4, "[images, channels, height, width]");
        if size == [1, 1] && self.elements() > 0 {
            return self.mean_keep(&[2, 3]);
        }
        let axis = |a: usize| Axis { from: self.shape()[2 + a], to: size[a], rule: Rule::Bins, num: 1, den: 1 };
        Tensor::apply(Resample2d { rows: axis(0), columns: axis(1) }, &[self])
    }

    /// The mean of each of `size` bins of sequences `[n, c, length]`; see [`Tensor::adaptive_avg_pool2d`].
    ///
    /// # Panics
    /// If the tensor is no stack of sequences.
    #[track_caller]
    pub fn adaptive_avg_pool1d(&self, size: usize) -> Tensor {
        check_rank("adaptive_avg_pool1d", "the input", self, 3, "[sequences, channels, length]");
        self.unsqueeze(2).adaptive_avg_pool2d([1, size]).squeeze(2)
    }

    /// The largest pixel of each of `size` bins of images `[n, c, h, w]`, and its position `row * width + column`, as
    /// `u32`; see [`Tensor::adaptive_avg_pool2d`] for the bins. Of equals the first counts.
    ///
    /// # Panics
    /// If the tensor is no stack of images.
    #[track_caller]
    pub fn adaptive_max_pool2d_with_indices(&self, size: [usize; 2]) -> (Tensor, Tensor) {
        let at = Tensor::apply(AdaptiveMax { size }, &[self]);
        let flat = |t: &Tensor| t.reshape([t.shape()[0], t.shape()[1], t.shape()[2] * t.shape()[3]]);
        (flat(self).gather(2, &flat(&at)).reshape(at.shape()), at)
    }

    /// The largest pixel of each of `size` bins of images `[n, c, h, w]`.
    ///
    /// # Panics
    /// If the tensor is no stack of images.
    #[track_caller]
    pub fn adaptive_max_pool2d(&self, size: [usize; 2]) -> Tensor {
        self.adaptive_max_pool2d_with_indices(size).0
    }

    /// The largest place of each of `size` bins of sequences `[n, c, length]`, and where it is.
    ///
    /// # Panics
    /// If the tensor is no stack of sequences.
    #[track_caller]
    pub fn adaptive_max_pool1d_with_indices(&self, size: usize) -> (Tensor, Tensor) {
        check_rank("adaptive_max_pool1d", "the input", self, 3, "[sequences, channels, length]");
        let (y, at) = self.unsqueeze(2).adaptive_max_pool2d_with_indices([1, size]);
        (y.squeeze(2), at.squeeze(2))
    }

    /// The mean of all places of each channel of `[n, c, ..]`, each axis kept as 1.
    ///
    /// # Panics
    /// If the tensor has less than three axes.
    #[track_caller]
    pub fn global_avg_pool(&self) -> Tensor {
        assert!(self.rank() > 2, "global_avg_pool: the input is {}; it must be [batch, channels, ..]", self.shape());
        self.mean_keep(&(2..self.rank() as isize).collect::<Vec<_>>())
    }

    /// The largest of all places of each channel of `[n, c, ..]`, each axis kept as 1. Of equals the first counts.
    ///
    /// # Panics
    /// If the tensor has less than three axes.
    #[track_caller]
    pub fn global_max_pool(&self) -> Tensor {
        assert!(self.rank() > 2, "global_max_pool: the input is {}; it must be [batch, channels, ..]", self.shape());
        let (n, c) = (self.shape()[0], self.shape()[1]);
        let places = self.shape()[2..].iter().product();
        let mut shape = vec![1; self.rank()];
        shape[..2].copy_from_slice(&[n, c]);
        self.reshape([n, c, 1, places]).adaptive_max_pool2d([1, 1]).reshape(shape)
    }

    /// The way back from [`Tensor::max_pool2d_with_indices`]: each value at its position in images of height and width
    /// `size`, zeros elsewhere. Several values for one pixel (of windows that overlap, so they are equal) count once,
    /// and each has the whole gradient, as in PyTorch.
    ///
    /// # Panics
    /// If positions and values differ in shape.
    #[track_caller]
    pub fn max_unpool2d(&self, positions: &Tensor, size: [usize; 2]) -> Tensor {
        check_rank("max_unpool2d", "the input", self, 4, "[images, channels, height, width]");
        assert!(
            positions.shape() == self.shape(),
            "max_unpool2d: the values are {}, the positions {}; they must have one shape",
            self.shape(),
            positions.shape()
        );
        let &[n, c, oh, ow] = &self.shape()[..] else { unreachable!("just checked") };
        let zeros = Tensor::zeros(self.device(), [n, c, size[0] * size[1]]);
        let flat = |t: &Tensor| t.reshape([n, c, oh * ow]);
        let add = |t: &Tensor| {
            Tensor::apply(Scatter { axis: 2, kind: ScatterKind::Add }, &[&zeros, &flat(positions), &flat(t)])
        };
        let count = add(&Tensor::ones(self.device(), self.shape())).clamp_min(1.0);
        let sum = add(self);
        // The value is the mean, the slope by each value is 1.
        (&sum - &(&sum - &(&sum / &count)).detach()).reshape([n, c, size[0], size[1]])
    }

    /// [`Tensor::max_unpool2d`] of sequences `[n, c, length]`.
    ///
    /// # Panics
    /// If positions and values differ in shape.
    #[track_caller]
    pub fn max_unpool1d(&self, positions: &Tensor, size: usize) -> Tensor {
        check_rank("max_unpool1d", "the input", self, 3, "[images, channels, length]");
        self.unsqueeze(2).max_unpool2d(&positions.unsqueeze(2), [1, size]).squeeze(2)
    }

    /// [`Tensor::max_unpool2d`] of volumes `[n, c, d, h, w]`.
    ///
    /// # Panics
    /// If positions and values differ in shape.
    #[track_caller]
    pub fn max_unpool3d(&self, positions: &Tensor, [d, h, w]: [usize; 3]) -> Tensor {
        check_rank("max_unpool3d", "the input", self, 5, "[images, channels, depth, height, width]");
        let &[n, c, ref space @ ..] = &self.shape()[..] else { unreachable!("just checked") };
        let line = |t: &Tensor| t.reshape([n, c, 1, space.iter().product()]);
        line(self).max_unpool2d(&line(positions), [1, d * h * w]).reshape([n, c, d, h, w])
    }

    /// The largest pixel of each window of volumes `[n, c, d, h, w]`, and its position `(layer * height + row) * width
    /// + column`, as `u32`.
    ///
    /// # Panics
    /// If the tensor is no stack of volumes, or the window does not fit.
    #[track_caller]
    pub fn max_pool3d_with_indices(&self, options: &Pool3dOptions) -> (Tensor, Tensor) {
        check_rank("max_pool3d", "the input", self, 5, "[volumes, channels, depth, height, width]");
        let &[n, c, d, h, w] = &self.shape()[..] else { unreachable!("just checked") };
        let [layers, stack] = options.layers_and_stack();
        let (y, within) = self.reshape([n, c * d, h, w]).max_pool2d_with_indices(&layers);
        let [oh, ow] = [y.shape()[2], y.shape()[3]];
        let (y, at) = y.reshape([n, c, d, oh * ow]).max_pool2d_with_indices(&stack);
        let od = y.shape()[2];
        // `at` names a layer and a place in it; `within` the pixel that won there.
        let places = at.reshape([n, c, od * oh * ow]);
        let pixel = within.reshape([n, c, d * oh * ow]).gather(2, &places);
        let whole = |v: usize| Tensor::scalar(self.device(), v as u32);
        let position = &(&(&places / &whole(oh * ow)) * &whole(h * w)) + &pixel;
        (y.reshape([n, c, od, oh, ow]), position.reshape([n, c, od, oh, ow]))
    }

    /// The largest pixel of each window of volumes `[n, c, d, h, w]`.
    ///
    /// # Panics
    /// As [`Tensor::max_pool3d_with_indices`].
    #[track_caller]
    pub fn max_pool3d(&self, options: &Pool3dOptions) -> Tensor {
        self.max_pool3d_with_indices(options).0
    }

    /// The mean pixel of each window of volumes `[n, c, d, h, w]`.
    ///
    /// # Panics
    /// If the tensor is no stack of volumes, or the window does not fit or is dilated.
    #[track_caller]
    pub fn avg_pool3d(&self, options: &Pool3dOptions) -> Tensor {
        check_rank("avg_pool3d", "the input", self, 5, "[volumes, channels, depth, height, width]");
        let &[n, c, d, h, w] = &self.shape()[..] else { unreachable!("just checked") };
        let [mut layers, mut stack] = options.layers_and_stack();
        if let Some(divisor) = options.divisor_override {
            (layers.divisor_override, stack.divisor_override) = (Some(1), Some(divisor));
        }
        let y = self.reshape([n, c * d, h, w]).avg_pool2d(&layers);
        let [oh, ow] = [y.shape()[2], y.shape()[3]];
        let y = y.reshape([n, c, d, oh * ow]).avg_pool2d(&stack);
        let od = y.shape()[2];
        y.reshape([n, c, od, oh, ow])
    }

    /// The mean of each of `size` bins of volumes `[n, c, d, h, w]`; see [`Tensor::adaptive_avg_pool2d`].
    ///
    /// # Panics
    /// If the tensor is no stack of volumes.
    #[track_caller]
    pub fn adaptive_avg_pool3d(&self, [od, oh, ow]: [usize; 3]) -> Tensor {
        check_rank("adaptive_avg_pool3d", "the input", self, 5, "[volumes, channels, depth, height, width]");
        let &[n, c, d, h, w] = &self.shape()[..] else { unreachable!("just checked") };
        let y = self.reshape([n, c * d, h, w]).adaptive_avg_pool2d([oh, ow]).reshape([n, c, d, oh * ow]);
        y.adaptive_avg_pool2d([od, oh * ow]).reshape([n, c, od, oh, ow])
    }

    /// The largest pixel of each of `size` bins of volumes `[n, c, d, h, w]`, and its position `(layer * height + row)
    /// * width + column`, as `u32`.
    ///
    /// # Panics
    /// If the tensor is no stack of volumes.
    #[track_caller]
    pub fn adaptive_max_pool3d_with_indices(&self, [od, oh, ow]: [usize; 3]) -> (Tensor, Tensor) {
        check_rank("adaptive_max_pool3d", "the input", self, 5, "[volumes, channels, depth, height, width]");
        let &[n, c, d, h, w] = &self.shape()[..] else { unreachable!("just checked") };
        let (y, within) = self.reshape([n, c * d, h, w]).adaptive_max_pool2d_with_indices([oh, ow]);
        let (y, at) = y.reshape([n, c, d, oh * ow]).adaptive_max_pool2d_with_indices([od, oh * ow]);
        let places = at.reshape([n, c, od * oh * ow]);
        let pixel = within.reshape([n, c, d * oh * ow]).gather(2, &places);
        let whole = |v: usize| Tensor::scalar(self.device(), v as u32);
        let position = &(&(&places / &whole(oh * ow)) * &whole(h * w)) + &pixel;
        (y.reshape([n, c, od, oh, ow]), position.reshape([n, c, od, oh, ow]))
    }

    /// Like [`Tensor::dropout`], but whole channels of `[n, c, ..]` at a time (Tompson et al., 2015): PyTorch's
    /// `dropout2d`.
    ///
    /// # Panics
    /// If `p` is not in 0..=1, or the tensor has less than two axes.
    #[track_caller]
    pub fn dropout_channels(&self, p: f32, rng: &mut crate::ops::Rng) -> Tensor {
        if self.rank() < 2 {
            let problem = format!("the input is {}; it must be [batch, channels, ..]", self.shape());
            panic!("{}", ShapeError::new("dropout_channels", problem));
        }
        if p == 0.0 {
            return self.clone();
        }
        let mut shape = vec![1; self.rank()];
        shape[..2].copy_from_slice(&self.shape()[..2]);
        self * &Tensor::ones(self.device(), shape).dropout(p, rng)
    }
}
