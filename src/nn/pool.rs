//! Pooling layers, and others without parameters that change the size of images.

use super::{Module, Pass};
use crate::functional::{Interpolation, Pool1dOptions, Pool3dOptions};
use crate::ops::Pool2dOptions;
use crate::tensor::Tensor;

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident($($(#[$field:meta])* $ty:ty),*), |$layer:ident, $x:ident, $pass:ident| $forward:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name($($(#[$field])* pub $ty),*);

        crate::parameters!($name {});

        impl Module for $name {
            #[track_caller]
            fn forward(&self, $x: &Tensor, $pass: &mut Pass) -> Tensor {
                let $layer = self;
                $forward
            }
        }
    )* };
}

layers! {
    /// The largest value of each window of sequences `[n, c, length]`.
    MaxPool1d(Pool1dOptions), |layer, x, _pass| x.max_pool1d(&layer.0);
    /// The largest value of each window of images `[n, c, h, w]`.
    MaxPool2d(Pool2dOptions), |layer, x, _pass| x.max_pool2d(&layer.0);
    /// The largest value of each window of volumes `[n, c, d, h, w]`.
    MaxPool3d(Pool3dOptions), |layer, x, _pass| x.max_pool3d(&layer.0);
    /// The mean of each window of sequences `[n, c, length]`.
    AvgPool1d(Pool1dOptions), |layer, x, _pass| x.avg_pool1d(&layer.0);
    /// The mean of each window of images `[n, c, h, w]`.
    AvgPool2d(Pool2dOptions), |layer, x, _pass| x.avg_pool2d(&layer.0);
    /// The mean of each window of volumes `[n, c, d, h, w]`.
    AvgPool3d(Pool3dOptions), |layer, x, _pass| x.avg_pool3d(&layer.0);
    /// The `p`-norm of each window of sequences; the first field is `p`.
    LpPool1d(f32, Pool1dOptions), |layer, x, _pass| x.lp_pool1d(layer.0, &layer.1);
    /// The `p`-norm of each window of images; the first field is `p`.
    LpPool2d(f32, Pool2dOptions), |layer, x, _pass| x.lp_pool2d(layer.0, &layer.1);
    /// The mean of each of so many bins of sequences.
    AdaptiveAvgPool1d(usize), |layer, x, _pass| x.adaptive_avg_pool1d(layer.0);
    /// The mean of each of so many bins of images.
    AdaptiveAvgPool2d([usize; 2]), |layer, x, _pass| x.adaptive_avg_pool2d(layer.0);
    /// The largest value of each of so many bins of sequences.
    AdaptiveMaxPool1d(usize), |layer, x, _pass| x.adaptive_max_pool1d_with_indices(layer.0).0;
    /// The largest value of each of so many bins of images.
    AdaptiveMaxPool2d([usize; 2]), |layer, x, _pass| x.adaptive_max_pool2d(layer.0);
    /// Images or sequences brought to a size.
    UpsampleTo(Vec<usize>, Interpolation), |layer, x, _pass| x.interpolate_to(&layer.0, layer.1);
    /// Images or sequences scaled, each axis by a factor.
    Upsample(Vec<f64>, Interpolation), |layer, x, _pass| x.interpolate_by(&layer.0, layer.1);
    /// Channels turned into pixels, by a factor along each axis.
    PixelShuffle(usize), |layer, x, _pass| x.pixel_shuffle(layer.0);
    /// Pixels turned into channels, by a factor along each axis.
    PixelUnshuffle(usize), |layer, x, _pass| x.pixel_unshuffle(layer.0);
    /// In training, zeroes whole channels with this probability (PyTorch's `Dropout1d` to `Dropout3d`).
    DropoutChannels(f32), |layer, x, pass| {
        if pass.training { x.dropout_channels(layer.0, &mut pass.rng) } else { x.clone() }
    };
}
