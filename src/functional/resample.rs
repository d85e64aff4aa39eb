//! Enlarging and shrinking images, and moving pixels between channels and places.

use crate::error::{ShapeError, fit};
use crate::ops::resample2d::{Axis, Resample2d, Rule};
use crate::tensor::Tensor;

/// How a pixel of the result is made of those of the input; PyTorch's modes of `interpolate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// One pixel, the last that begins at or before the place (`nearest`).
    Nearest,
    /// The pixel whose middle is nearest (`nearest-exact`).
    NearestExact,
    /// Between neighbours along each axis (`linear`, `bilinear`, `trilinear`), pixels being squares.
    Linear,
    /// Between neighbours, pixels being points: corners lie on corners (`align_corners=True`).
    LinearAligned,
    /// Cubics through four neighbours along each axis (`bicubic`), pixels being squares.
    Cubic,
    /// Cubics through four neighbours, pixels being points: corners lie on corners (`align_corners=True`).
    CubicAligned,
    /// The mean of all pixels that touch the place (`area`): what adaptive pooling does.
    Area,
}

/// How far one place of the result is from the next in the input, as a fraction: exactly `1 / scale` where the scale is
/// a fraction of small numbers.
fn step_of(scale: f64) -> Option<(usize, usize)> {
    let nice = (1..=64).find(|&q| (scale * q as f64).fract() == 0.0).unwrap_or(1 << 12);
    let p = (scale * nice as f64).round();
    (1.0..1e9).contains(&p).then_some((nice, p as usize))
}

fn axis(mode: Interpolation, from: usize, to: usize, scale: Option<f64>) -> Result<Axis, ShapeError> {
    let rule = match mode {
        Interpolation::Nearest => Rule::Nearest,
        Interpolation::NearestExact => Rule::NearestExact,
        Interpolation::Linear => Rule::Linear,
        Interpolation::LinearAligned => Rule::LinearAligned,
        Interpolation::Cubic => Rule::Cubic,
        Interpolation::CubicAligned => Rule::CubicAligned,
        Interpolation::Area => Rule::Bins,
    };
    let (num, den) = match (mode, scale) {
        (Interpolation::LinearAligned | Interpolation::CubicAligned, _) if to > 1 => (from.saturating_sub(1), to - 1),
        (Interpolation::LinearAligned | Interpolation::CubicAligned, _) => (0, 1),
        (Interpolation::Area, _) => (from, to.max(1)),
        (_, Some(scale)) => step_of(scale).ok_or_else(|| {
            ShapeError::new("interpolate", format!("a scale of {scale}; it must be above 0 and not huge"))
        })?,
        (_, None) => (from, to.max(1)),
    };
    Ok(Axis { from, to, rule, num, den })
}

fn no_space(x: &Tensor, size: &[usize]) -> ShapeError {
    let problem = format!(
        "{} sizes for the input {}; it takes [n, c, length] with one, [n, c, height, width] with two, or [n, c, depth, \
         height, width] with three",
        size.len(),
        x.shape()
    );
    ShapeError::new("interpolate", problem)
}

impl Tensor {
    /// The last one, two or three axes of `[n, c, ..]` brought to `size`.
    ///
    /// # Panics
    /// If there is not one size for each axis after the first two, or an axis is empty.
    #[track_caller]
    pub fn interpolate_to(&self, size: &[usize], mode: Interpolation) -> Tensor {
        fit(self.interpolated(size, None, mode))
    }

    /// The last one, two or three axes of `[n, c, ..]` scaled: axis `k` to `floor(n * scales[k])` places, a step of `1
    /// / scales[k]` apart (PyTorch's `scale_factor`, not recomputed).
    ///
    /// # Panics
    /// If there is not one scale for each axis after the first two, or an axis is empty.
    #[track_caller]
    pub fn interpolate_by(&self, scales: &[f64], mode: Interpolation) -> Tensor {
        let extents = self.shape().iter().skip(2);
        let size: Vec<usize> = extents.zip(scales).map(|(&n, s)| (n as f64 * s).floor() as usize).collect();
        fit(self.interpolated(&size, Some(scales), mode))
    }

    #[track_caller]
    fn interpolated(&self, size: &[usize], scales: Option<&[f64]>, mode: Interpolation) -> Result<Tensor, ShapeError> {
        let &[n, c, ref space @ ..] = &self.shape()[..] else { return Err(no_space(self, size)) };
        if !(1..=3).contains(&space.len()) || size.len() != space.len() {
            return Err(no_space(self, size));
        }
        let at = |k: usize| axis(mode, space[k], size[k], scales.map(|s| s[k]));
        let same = |n: usize| Axis { from: n, to: n, rule: Rule::Nearest, num: 1, den: 1 };
        let read = |x: Tensor, rows, columns| {
            Ok::<_, ShapeError>(Tensor::try_apply(Resample2d { rows, columns }, &[&x])?.swap_remove(0))
        };
        match *space {
            [_] => Ok(read(self.unsqueeze(2), same(1), at(0)?)?.squeeze(2)),
            [_, _] => read(self.clone(), at(0)?, at(1)?),
            // Each axis stands by itself: planes first, then the depth with planes as its columns.
            [d, h, w] => {
                let planes = read(self.reshape([n, c * d, h, w]), at(1)?, at(2)?)?;
                let pixels = size[1] * size[2];
                let y = read(planes.reshape([n, c, d, pixels]), at(0)?, same(pixels))?;
                Ok(y.reshape([n, c, size[0], size[1], size[2]]))
            }
            _ => Err(no_space(self, size)),
        }
    }

    /// The channels `[n, c, ..]` of `groups` groups interleaved: the first of each, then the second of each (Zhang et
    /// al. 2018).
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    #[track_caller]
    pub fn channel_shuffle(&self, groups: usize) -> Tensor {
        assert!(
            self.rank() >= 2 && groups > 0 && self.shape()[1].is_multiple_of(groups),
            "channel_shuffle: {groups} groups for {}; they must divide axis 1",
            self.shape()
        );
        let (n, c) = (self.shape()[0], self.shape()[1]);
        let rest: usize = self.shape()[2..].iter().product();
        self.reshape([n, groups, c / groups, rest]).transpose(1, 2).reshape(self.shape())
    }

    /// Channels turned into pixels (Shi et al., 2016): `[n, c r^2, h, w]` to `[n, c, h r, w r]`.
    ///
    /// # Panics
    /// If the tensor is no stack of images, or `r^2` does not divide its channels.
    #[track_caller]
    pub fn pixel_shuffle(&self, r: usize) -> Tensor {
        let &[n, c, h, w] = &self.shape()[..] else {
            panic!("pixel_shuffle: the input is {}; it must be [images, channels, height, width]", self.shape())
        };
        assert!(
            r > 0 && c.is_multiple_of(r * r),
            "pixel_shuffle: {c} channels of {} for a factor of {r}; its square must divide them",
            self.shape()
        );
        let split = self.reshape([n, c / (r * r), r, r, h, w]);
        split.permute(&[0, 1, 4, 2, 5, 3]).reshape([n, c / (r * r), h * r, w * r])
    }

    /// Pixels turned into channels, the way back from [`Tensor::pixel_shuffle`]: `[n, c, h r, w r]` to `[n, c r^2, h,
    /// w]`.
    ///
    /// # Panics
    /// If the tensor is no stack of images, or `r` does not divide height and width.
    #[track_caller]
    pub fn pixel_unshuffle(&self, r: usize) -> Tensor {
        let &[n, c, h, w] = &self.shape()[..] else {
            panic!("pixel_unshuffle: the input is {}; it must be [images, channels, height, width]", self.shape())
        };
        assert!(
            r > 0 && h.is_multiple_of(r) && w.is_multiple_of(r),
            "pixel_unshuffle: images of {h}x{w} pixels for a factor of {r}; it must divide both"
        );
        let split = self.reshape([n, c, h / r, r, w / r, r]);
        split.permute(&[0, 1, 3, 5, 2, 4]).reshape([n, c * r * r, h / r, w / r])
    }
}
