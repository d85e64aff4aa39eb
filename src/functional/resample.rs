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
    /// Between neighbours along each axis (`linear`, `bilinear`), pixels being squares.
    Linear,
    /// Between neighbours, pixels being points: corners lie on corners (`align_corners=True`).
    LinearAligned,
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
    };
    let (num, den) = match (mode, scale) {
        (Interpolation::LinearAligned, _) if to > 1 => (from.saturating_sub(1), to - 1),
        (Interpolation::LinearAligned, _) => (0, 1),
        (_, Some(scale)) => step_of(scale).ok_or_else(|| {
            ShapeError::new("interpolate", format!("a scale of {scale}; it must be above 0 and not huge"))
        })?,
        (_, None) => (from, to.max(1)),
    };
    Ok(Axis { from, to, rule, num, den })
}

impl Tensor {
    /// The last one or two axes of `[n, c, ..]` brought to `size`.
    ///
    /// # Panics
    /// If there is not one size for each axis after the first two, or an axis is empty.
    #[track_caller]
    pub fn interpolate_to(&self, size: &[usize], mode: Interpolation) -> Tensor {
        fit(self.interpolated(size, None, mode))
    }

    /// The last one or two axes of `[n, c, ..]` scaled: axis `k` to `floor(n * scales[k])` places, a step of `1 / scales[k]`
    /// apart (PyTorch's `scale_factor`, not recomputed).
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
        if !matches!(self.rank(), 3 | 4) || size.len() + 2 != self.rank() {
            let problem = format!(
                "{} sizes for the input {}; it takes [n, c, length] with one, or [n, c, height, width] with two",
                size.len(),
                self.shape()
            );
            return Err(ShapeError::new("interpolate", problem));
        }
        let at = |k: usize| axis(mode, self.shape()[2 + k], size[k], scales.map(|s| s[k]));
        if self.rank() == 4 {
            let op = Resample2d { rows: at(0)?, columns: at(1)? };
            return Ok(Tensor::try_apply(op, &[self])?.swap_remove(0));
        }
        let rows = Axis { from: 1, to: 1, rule: Rule::Nearest, num: 1, den: 1 };
        let op = Resample2d { rows, columns: at(0)? };
        Ok(Tensor::try_apply(op, &[&self.unsqueeze(2)])?.swap_remove(0).squeeze(2))
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

    /// Pixels turned into channels, the way back from [`Tensor::pixel_shuffle`]: `[n, c, h r, w r]` to `[n, c r^2, h, w]`.
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
