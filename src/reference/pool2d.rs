//! Pooling on the CPU: the largest or the mean pixel under each window, plane by plane.

use rayon::prelude::*;

use super::im2col::Window;
use super::recycle;
use super::simd::vectorized;
use super::{Array, Real, View};

/// The index of a window that holds no pixel.
pub const NOWHERE: u32 = u32::MAX;

/// How a pooling window slides, and how many windows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool {
    /// The window.
    pub window: Window,
    /// Round the number of windows up: a last window may hang over the end, as long as it starts inside the image or
    /// its leading padding.
    pub ceil: bool,
}

impl Pool {
    /// Rows and columns of windows over an image of this size; `None` if none fits.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let w = &self.window;
        let along = |axis: usize| {
            let (before, after) = (w.padding[2 * axis], w.padding[2 * axis + 1]);
            let room = (input[axis] + before + after).checked_sub(w.span(axis))?;
            if !self.ceil {
                return Some(room / w.stride[axis] + 1);
            }
            let count = room.div_ceil(w.stride[axis]) + 1;
            let last = (count - 1) * w.stride[axis];
            Some(if last >= input[axis] + before { count - 1 } else { count })
        };
        Some([along(0)?, along(1)?])
    }

    /// By how many pixels window `o` of an axis divides its sum.
    fn divisor(&self, axis: usize, o: usize, input: usize, count_padding: bool) -> usize {
        let w = &self.window;
        let start = o * w.stride[axis];
        let (before, after) = (w.padding[2 * axis], w.padding[2 * axis + 1]);
        // In coordinates of the padded image.
        let (low, high) = if count_padding { (0, before + input + after) } else { (before, before + input) };
        ((start + w.kernel[axis]).min(high).saturating_sub(start.max(low))).max(1)
    }

    /// Calls `f` for each row of each tap: the range of windows it falls on, and the pixel and the step along them.
    #[inline(always)]
    fn each_tap(
        &self,
        [h, w]: [usize; 2],
        [oh, ow]: [usize; 2],
        mut f: impl FnMut(std::ops::Range<usize>, usize, usize),
    ) {
        let win = &self.window;
        for ky in 0..win.kernel[0] {
            let (ys, iy) = win.inside(0, ky, h, &(0..oh));
            for kx in 0..win.kernel[1] {
                let (xs, ix) = win.inside(1, kx, w, &(0..ow));
                if !xs.is_empty() {
                    for (i, oy) in ys.clone().enumerate() {
                        f(oy * ow + xs.start..oy * ow + xs.end, (iy + i * win.stride[0]) * w + ix, win.stride[1]);
                    }
                }
            }
        }
    }
}

fn sizes<T: Real>(x: &View<T>, pool: &Pool) -> ([usize; 4], [usize; 4]) {
    let &[n, c, h, w] = x.shape else { unreachable!("an image has four axes") };
    let [oh, ow] = pool.output([h, w]).expect("inferred");
    ([n, c, h, w], [n, c, oh, ow])
}

/// The largest pixel of each window and its position `row * width + column`. Of equals the first counts; a NaN counts as
/// larger than any number, as in PyTorch.
pub fn max_pool2d<T: Real>(x: &View<T>, pool: &Pool) -> (Array<T>, Array<T>) {
    let ([_, _, h, w], shape) = sizes(x, pool);
    let count: usize = shape.iter().product();
    let (mut y, mut at) = (T::stale(count), recycle::stale_words(count));
    if h * w == 0 {
        y.fill(T::NEG_INFINITY);
        at.fill(NOWHERE);
    } else if count > 0 {
        let (x, windows) = (x.floats(), shape[2] * shape[3]);
        y.par_chunks_mut(windows).zip(at.par_chunks_mut(windows)).zip(x.par_chunks(h * w)).for_each(|((y, at), x)| {
            vectorized(
                #[inline(always)]
                || {
                    y.fill(T::NEG_INFINITY);
                    at.fill(NOWHERE);
                    pool.each_tap([h, w], [shape[2], shape[3]], |to, from, step| {
                        let pixels = x[from..].iter().step_by(step).zip((from as u32..).step_by(step));
                        for ((y, at), (&v, position)) in y[to.clone()].iter_mut().zip(&mut at[to]).zip(pixels) {
                            // Without a branch: which pixel wins cannot be predicted.
                            let wins = (v > *y) | v.is_nan() | (*at == NOWHERE);
                            *y = std::hint::select_unpredictable(wins, v, *y);
                            *at = std::hint::select_unpredictable(wins, position, *at);
                        }
                    })
                },
            );
        });
    }
    (Array::floats(shape, y), Array::uints(shape, at))
}

/// Each cotangent added to the pixel it came from, in an image of height and width `size`.
pub fn max_pool2d_grad<T: Real>(dy: &View<T>, at: &View<T>, size: [usize; 2]) -> Array<T> {
    let shape = [dy.shape[0], dy.shape[1], size[0], size[1]];
    let mut dx = T::stale(shape.iter().product());
    if dy.is_empty() {
        dx.fill(T::ZERO);
    } else if !dx.is_empty() {
        let (dy, at, windows) = (dy.floats(), at.uints(), dy.shape[2] * dy.shape[3]);
        dx.par_chunks_mut(size[0] * size[1]).zip(dy.par_chunks(windows).zip(at.par_chunks(windows))).for_each(
            |(dx, (dy, at))| {
                dx.fill(T::ZERO);
                for (&g, &i) in dy.iter().zip(at).filter(|&(_, &i)| i != NOWHERE) {
                    dx[i as usize] += g;
                }
            },
        );
    }
    Array::floats(shape, dx)
}

/// The pixels at the given positions of each plane; 0 for nowhere.
pub fn max_pool2d_gather<T: Real>(x: &View<T>, at: &View<T>) -> Array<T> {
    let &[n, c, h, w] = x.shape else { unreachable!("an image has four axes") };
    let shape = [n, c, at.shape[2], at.shape[3]];
    let mut y = vec![T::ZERO; shape.iter().product()];
    if !y.is_empty() && h * w > 0 {
        let (x, at, windows) = (x.floats(), at.uints(), shape[2] * shape[3]);
        y.par_chunks_mut(windows).zip(at.par_chunks(windows)).zip(x.par_chunks(h * w)).for_each(|((y, at), x)| {
            for (y, &i) in y.iter_mut().zip(at).filter(|&(_, &i)| i != NOWHERE) {
                *y = x[i as usize];
            }
        });
    }
    Array::floats(shape, y)
}

/// The mean pixel of each window, or its sum divided by `divisor` if that is not 0.
pub fn avg_pool2d<T: Real>(x: &View<T>, pool: &Pool, count_padding: bool, divisor: usize) -> Array<T> {
    let ([_, _, h, w], shape) = sizes(x, pool);
    let mut y = vec![T::ZERO; shape.iter().product()];
    if !y.is_empty() && h * w > 0 {
        let (x, out) = (x.floats(), [shape[2], shape[3]]);
        let divisors = divisors(pool, [h, w], out, count_padding, divisor);
        y.par_chunks_mut(out[0] * out[1]).zip(x.par_chunks(h * w)).for_each(|(y, x)| {
            pool.each_tap([h, w], out, |to, from, step| {
                y[to].iter_mut().zip(x[from..].iter().step_by(step)).for_each(|(y, &v)| *y += v);
            });
            y.iter_mut().zip(&divisors).for_each(|(y, &d)| *y = *y / d);
        });
    }
    Array::floats(shape, y)
}

/// Each cotangent spread evenly over the pixels of its window, in an image of height and width `size`.
pub fn avg_pool2d_grad<T: Real>(
    dy: &View<T>,
    pool: &Pool,
    size: [usize; 2],
    count_padding: bool,
    divisor: usize,
) -> Array<T> {
    let shape = [dy.shape[0], dy.shape[1], size[0], size[1]];
    let out = [dy.shape[2], dy.shape[3]];
    let mut dx = vec![T::ZERO; shape.iter().product()];
    if !dx.is_empty() && !dy.is_empty() {
        let dy = dy.floats();
        let divisors = divisors(pool, size, out, count_padding, divisor);
        dx.par_chunks_mut(size[0] * size[1]).zip(dy.par_chunks(out[0] * out[1])).for_each(|(dx, dy)| {
            let share: Vec<T> = dy.iter().zip(&divisors).map(|(&g, &d)| g / d).collect();
            pool.each_tap(size, out, |to, from, step| {
                dx[from..].iter_mut().step_by(step).zip(&share[to]).for_each(|(x, &g)| *x += g);
            });
        });
    }
    Array::floats(shape, dx)
}

fn divisors<T: Real>(
    pool: &Pool,
    size: [usize; 2],
    [oh, ow]: [usize; 2],
    count_padding: bool,
    divisor: usize,
) -> Vec<T> {
    if divisor != 0 {
        return vec![T::of(divisor as f64); oh * ow];
    }
    let along = |axis: usize, o: usize| pool.divisor(axis, o, size[axis], count_padding);
    (0..oh).flat_map(|y| (0..ow).map(move |x| T::of((along(0, y) * along(1, x)) as f64))).collect()
}
