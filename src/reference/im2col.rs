//! Sliding windows on the CPU: their geometry, and the patches of an image as columns (PyTorch's `unfold`).

use std::ops::Range;

use rayon::prelude::*;

use super::simd::vectorized;
use super::{Array, Real, View};

/// How a window slides over the two last axes of an image. Height stands before width throughout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Extent of the window.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns of padding: top, bottom, left, right.
    pub padding: [usize; 4],
    /// Pixels from one tap of the window to the next.
    pub dilation: [usize; 2],
}

impl Window {
    /// Pixels that a window spans along `axis`, taps and gaps.
    pub fn span(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// How many windows fit an image of this size: `floor((in + padding - span) / stride) + 1`; `None` if none does.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let padded = input[axis] + self.padding[2 * axis] + self.padding[2 * axis + 1];
            Some(padded.checked_sub(self.span(axis))? / self.stride[axis] + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// The number of taps.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// For a tap of an axis: those of the windows `among` whose tap falls on the image, and the pixel of the first.
    pub(crate) fn inside(&self, axis: usize, tap: usize, input: usize, among: &Range<usize>) -> (Range<usize>, usize) {
        let (shift, stride) = (tap * self.dilation[axis], self.stride[axis]);
        let before = self.padding[2 * axis];
        let first = before.saturating_sub(shift).div_ceil(stride).clamp(among.start, among.end);
        // The last window o is the last with o * stride + shift - before <= input - 1.
        let end = (input + before).checked_sub(shift + 1).map_or(0, |room| room / stride + 1).clamp(first, among.end);
        (first..end, (first * stride + shift).saturating_sub(before))
    }
}

/// Some rows of windows over an image.
#[derive(Debug, Clone)]
pub(crate) struct Windows<'a> {
    /// How they slide.
    pub window: &'a Window,
    /// Height and width of the image.
    pub image: [usize; 2],
    /// Windows per row.
    pub width: usize,
    /// The rows.
    pub rows: Range<usize>,
}

impl Windows<'_> {
    /// For row `(channel, tap)` of the columns: the windows whose tap falls on the image, counted from the first row
    /// of these, and the pixel under the first of them. `None` if there are none.
    fn of(&self, row: usize) -> Option<(Range<usize>, Range<usize>, usize)> {
        let [kh, kw] = self.window.kernel;
        let (ys, iy) = self.window.inside(0, row / kw % kh, self.image[0], &self.rows);
        let (xs, ix) = self.window.inside(1, row % kw, self.image[1], &(0..self.width));
        let any = !ys.is_empty() && !xs.is_empty();
        any.then(|| (ys.start - self.rows.start..ys.end - self.rows.start, xs, iy * self.image[1] + ix))
    }

    /// Whether windows and pixels advance together, so that all rows are one run of the plane.
    fn is_one_run(&self) -> bool {
        self.window.stride == [1, 1] && self.width == self.image[1]
    }

    /// Writes the patches of one image as the rows of `cols`: row `(channel, tap)` holds that tap of every window, `ld`
    /// elements from row to row.
    pub fn gather<T: Real>(&self, x: &[T], cols: &mut [T], ld: usize) {
        vectorized(
            #[inline(always)]
            || self.gather_rows(x, cols, ld),
        );
    }

    #[inline(always)]
    fn gather_rows<T: Real>(&self, x: &[T], cols: &mut [T], ld: usize) {
        let (width, [h, w], [sh, sw]) = (self.width, self.image, self.window.stride);
        for (row, out) in cols.chunks_mut(ld).enumerate() {
            let plane = &x[row / self.window.taps() * h * w..][..h * w];
            let out = &mut out[..self.rows.len() * width];
            let Some((ys, xs, first)) = self.of(row) else {
                out.fill(T::ZERO);
                continue;
            };
            out[..ys.start * width].fill(T::ZERO);
            out[ys.end * width..].fill(T::ZERO);
            let lines = &mut out[ys.start * width..ys.end * width];
            if self.is_one_run() {
                let len = (ys.len() - 1) * w + xs.len();
                lines[xs.start..xs.start + len].copy_from_slice(&plane[first..first + len]);
            }
            for (line, y) in lines.chunks_mut(width).zip(0..) {
                line[..xs.start].fill(T::ZERO);
                line[xs.end..].fill(T::ZERO);
                let (line, from) = (&mut line[xs.clone()], &plane[first + y * sh * w..]);
                match sw {
                    1 if self.is_one_run() => {}
                    1 => line.iter_mut().zip(from).for_each(|(o, &v)| *o = v),
                    _ => line.iter_mut().zip(from.iter().step_by(sw)).for_each(|(o, &v)| *o = v),
                }
            }
        }
    }

    /// Adds the rows of `cols` onto the pixels they came from: the transpose of [`Windows::gather`]. Where a tap fell
    /// on the padding, `cols` is overwritten.
    pub fn scatter<T: Real>(&self, cols: &mut [T], ld: usize, x: &mut [T]) {
        vectorized(
            #[inline(always)]
            || self.scatter_rows(cols, ld, x),
        );
    }

    #[inline(always)]
    fn scatter_rows<T: Real>(&self, cols: &mut [T], ld: usize, x: &mut [T]) {
        let (width, [h, w], [sh, sw]) = (self.width, self.image, self.window.stride);
        for (row, from) in cols.chunks_mut(ld).enumerate() {
            let plane = &mut x[row / self.window.taps() * h * w..][..h * w];
            let Some((ys, xs, first)) = self.of(row) else { continue };
            let lines = &mut from[ys.start * width..ys.end * width];
            if self.is_one_run() {
                for line in lines.chunks_mut(width) {
                    line[..xs.start].fill(T::ZERO);
                    line[xs.end..].fill(T::ZERO);
                }
                let len = (ys.len() - 1) * w + xs.len();
                add(&mut plane[first..first + len], &lines[xs.start..xs.start + len]);
                continue;
            }
            for (line, y) in lines.chunks(width).zip(0..) {
                let (line, to) = (&line[xs.clone()], &mut plane[first + y * sh * w..]);
                match sw {
                    1 => add(to, line),
                    _ => to.iter_mut().step_by(sw).zip(line).for_each(|(t, &v)| *t += v),
                }
            }
        }
    }
}

#[inline(always)]
fn add<T: Real>(to: &mut [T], from: &[T]) {
    to.iter_mut().zip(from).for_each(|(t, &v)| *t += v);
}

/// `[n, c, h, w]` to `[n, c * kh * kw, oh * ow]`.
pub fn im2col<T: Real>(x: &View<T>, win: &Window) -> Array<T> {
    let &[n, c, h, w] = x.shape else { unreachable!("an image has four axes") };
    let [oh, ow] = win.output([h, w]).expect("inferred");
    let (rows, columns) = (c * win.taps(), oh * ow);
    let mut out = T::zeros(n * rows * columns);
    if !out.is_empty() {
        let x = x.floats();
        let windows = Windows { window: win, image: [h, w], width: ow, rows: 0..oh };
        out.par_chunks_mut(rows * columns)
            .enumerate()
            .for_each(|(i, cols)| windows.gather(&x[i * c * h * w..][..c * h * w], cols, columns));
    }
    Array::floats([n, rows, columns], out)
}
