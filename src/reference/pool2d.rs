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

/// Windows that are looked at together.
const LANES: usize = 8;

/// A plane laid out for windows side by side: with its padding, and each row cut into as many parts as the stride is
/// long, so that pixel `i` of a tap of all windows of a row is one run of memory.
struct Phases {
    /// Elements of a row.
    row: usize,
    /// All elements.
    len: usize,
    /// Where each pixel of the plane stands, row by row; `None` for a pixel under no window.
    places: Vec<Option<usize>>,
    /// Where each tap of the first window stands.
    taps: Vec<usize>,
}

impl Phases {
    fn new(window: &Window, [h, w]: [usize; 2], [oh, ow]: [usize; 2]) -> Phases {
        let stride = window.stride[1];
        let part = ow.next_multiple_of(LANES) + (window.span(1) - 1) / stride;
        let (row, rows) = (stride * part, (oh - 1) * window.stride[0] + window.span(0));
        let column = |x: usize| x % stride * part + x / stride;
        let place = |y: usize, x: usize| {
            let (y, x) = (y + window.padding[0], x + window.padding[2]);
            (y < rows && x / stride < part).then(|| y * row + column(x))
        };
        let places = (0..h).flat_map(|y| (0..w).map(move |x| (y, x))).map(|(y, x)| place(y, x)).collect();
        let [kh, kw] = window.kernel;
        let tap = |(y, x): (usize, usize)| y * window.dilation[0] * row + column(x * window.dilation[1]);
        let taps = (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))).map(tap).collect();
        Phases { row, len: rows * row, places, taps }
    }

    /// Puts the elements of a plane where they stand.
    fn fill<E: Copy>(&self, plane: impl Iterator<Item = E>, into: &mut [E]) {
        for (place, v) in self.places.iter().zip(plane) {
            if let Some(place) = *place {
                into[place] = v;
            }
        }
    }
}

/// The largest pixel of each window and its position `row * width + column`. Of equals the first counts; a NaN counts
/// as larger than any number, as in PyTorch.
pub fn max_pool2d<T: Real>(x: &View<T>, pool: &Pool) -> (Array<T>, Array<T>) {
    let ([_, _, h, w], shape) = sizes(x, pool);
    let count: usize = shape.iter().product();
    let (mut y, mut at) = (T::stale(count), recycle::stale_words(count));
    if h * w == 0 {
        y.fill(T::NEG_INFINITY);
        at.fill(NOWHERE);
    } else if count > 0 {
        let (x, [oh, ow]) = (x.floats(), [shape[2], shape[3]]);
        let phases = Phases::new(&pool.window, [h, w], [oh, ow]);
        let mut positions = vec![NOWHERE; phases.len];
        phases.fill(0..(h * w) as u32, &mut positions);
        let planes = y.par_chunks_mut(oh * ow).zip(at.par_chunks_mut(oh * ow)).zip(x.par_chunks(h * w));
        // What is padding stays so from plane to plane.
        let room = || vec![T::NEG_INFINITY; phases.len];
        planes.with_min_len(planes_at_a_time(h * w)).for_each_init(room, |pixels, ((y, at), x)| {
            phases.fill(x.iter().copied(), pixels);
            vectorized(
                #[inline(always)]
                || {
                    for (oy, (y, at)) in y.chunks_mut(ow).zip(at.chunks_mut(ow)).enumerate() {
                        for (first, (y, at)) in y.chunks_mut(LANES).zip(at.chunks_mut(LANES)).enumerate() {
                            let from = oy * pool.window.stride[0] * phases.row + first * LANES;
                            let (best, place) = largest(pixels, &positions, from, &phases.taps);
                            y.copy_from_slice(&best[..y.len()]);
                            at.copy_from_slice(&place[..at.len()]);
                        }
                    }
                },
            );
        });
    }
    (Array::floats(shape, y), Array::uints(shape, at))
}

/// Planes of one task: for fewer pixels a thread is not woken.
pub(super) fn planes_at_a_time(pixels: usize) -> usize {
    (1 << 12) / pixels.max(1) + 1
}

/// The largest pixel and its position under windows side by side.
#[inline(always)]
fn largest<T: Real>(pixels: &[T], positions: &[u32], from: usize, taps: &[usize]) -> ([T; LANES], [u32; LANES]) {
    let (mut best, mut place) = ([T::NEG_INFINITY; LANES], [NOWHERE; LANES]);
    for &tap in taps {
        let v: &[T; LANES] = pixels[from + tap..].first_chunk().expect("a part holds whole vectors");
        let at: &[u32; LANES] = positions[from + tap..].first_chunk().expect("a part holds whole vectors");
        for i in 0..LANES {
            // Without a branch: which pixel wins cannot be predicted. Padding wins over nothing, and is nowhere.
            let wins = (v[i] > best[i]) | v[i].is_nan() | (place[i] == NOWHERE);
            best[i] = std::hint::select_unpredictable(wins, v[i], best[i]);
            place[i] = std::hint::select_unpredictable(wins, at[i], place[i]);
        }
    }
    (best, place)
}

/// Each cotangent added to the pixel it came from, in an image of height and width `size`.
pub fn max_pool2d_grad<T: Real>(dy: &View<T>, at: &View<T>, size: [usize; 2]) -> Array<T> {
    let shape = [dy.shape[0], dy.shape[1], size[0], size[1]];
    let mut dx = T::stale(shape.iter().product());
    if dy.is_empty() {
        dx.fill(T::ZERO);
    } else if !dx.is_empty() {
        let (dy, at, windows) = (dy.floats(), at.uints(), dy.shape[2] * dy.shape[3]);
        let plane = size[0] * size[1];
        let planes = dx.par_chunks_mut(plane).zip(dy.par_chunks(windows).zip(at.par_chunks(windows)));
        planes.with_min_len(planes_at_a_time(plane)).for_each(|(dx, (dy, at))| {
            dx.fill(T::ZERO);
            for (&g, &i) in dy.iter().zip(at).filter(|&(_, &i)| i != NOWHERE) {
                dx[i as usize] += g;
            }
        });
    }
    Array::floats(shape, dx)
}

/// The pixels at the given positions of each plane; 0 for nowhere.
pub fn max_pool2d_gather<T: Real>(x: &View<T>, at: &View<T>) -> Array<T> {
    let &[n, c, h, w] = x.shape else { unreachable!("an image has four axes") };
    let shape = [n, c, at.shape[2], at.shape[3]];
    let mut y = T::zeros(shape.iter().product());
    if !y.is_empty() && h * w > 0 {
        let (x, at, windows) = (x.floats(), at.uints(), shape[2] * shape[3]);
        let planes = y.par_chunks_mut(windows).zip(at.par_chunks(windows)).zip(x.par_chunks(h * w));
        planes.with_min_len(planes_at_a_time(windows)).for_each(|((y, at), x)| {
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
    let mut y = T::zeros(shape.iter().product());
    if !y.is_empty() && h * w > 0 {
        let (x, out) = (x.floats(), [shape[2], shape[3]]);
        let divisors = divisors(pool, [h, w], out, count_padding, divisor);
        let planes = y.par_chunks_mut(out[0] * out[1]).zip(x.par_chunks(h * w));
        planes.with_min_len(planes_at_a_time(h * w)).for_each(|(y, x)| {
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
    let mut dx = T::zeros(shape.iter().product());
    if !dx.is_empty() && !dy.is_empty() {
        let dy = dy.floats();
        let divisors = divisors(pool, size, out, count_padding, divisor);
        let planes = dx.par_chunks_mut(size[0] * size[1]).zip(dy.par_chunks(out[0] * out[1]));
        planes.with_min_len(planes_at_a_time(size[0] * size[1])).for_each(|(dx, dy)| {
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

#[cfg(test)]
mod tests {
    use super::super::Data;
    use super::*;

    /// The largest pixel and its position under one window, by the definition.
    fn by_definition(x: &[f32], [h, w]: [usize; 2], window: &Window, [oy, ox]: [usize; 2]) -> (f32, u32) {
        let (mut best, mut place) = (f32::NEG_INFINITY, NOWHERE);
        for (ky, kx) in (0..window.kernel[0]).flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx))) {
            let iy = (oy * window.stride[0] + ky * window.dilation[0]) as isize - window.padding[0] as isize;
            let ix = (ox * window.stride[1] + kx * window.dilation[1]) as isize - window.padding[2] as isize;
            if (0..h as isize).contains(&iy) && (0..w as isize).contains(&ix) {
                let at = iy as usize * w + ix as usize;
                if x[at] > best || place == NOWHERE {
                    (best, place) = (x[at], at as u32);
                }
            }
        }
        (best, place)
    }

    #[test]
    fn the_largest_pixel_is_that_of_the_definition() {
        let planes = 3;
        for [h, w] in [[1, 1], [5, 7], [12, 19], [28, 28]] {
            // Few values, so that equals meet; some are -inf.
            let value = |i: usize| if i.is_multiple_of(11) { f32::NEG_INFINITY } else { (i * 7919 % 13) as f32 - 6.0 };
            let x: Vec<f32> = (0..planes * h * w).map(value).collect();
            let image = Array::floats([1, planes, h, w], x.clone());
            for case in 0..3 * 3 * 2 * 2 * 2 {
                let (k, stride, rest) = (1 + case % 3, 1 + case / 3 % 3, case / 9);
                let window = Window {
                    kernel: [k, (k + 1).min(w)],
                    stride: [stride, 1 + (stride + rest) % 3],
                    padding: [rest % 2 * (k / 2), 0, rest % 2 * k.div_ceil(3).min(k / 2), k / 2],
                    dilation: [1, 1 + rest / 2 % 2],
                };
                let pool = Pool { window, ceil: rest / 4 == 1 };
                let Some([oh, ow]) = pool.output([h, w]) else { continue };
                let (y, at) = max_pool2d(&image.view(), &pool);
                let (Data::Float(y), Data::Uint(at)) = (&y.data, &at.data) else { unreachable!() };
                for i in 0..planes * oh * ow {
                    let plane = &x[i / (oh * ow) * h * w..][..h * w];
                    let want = by_definition(plane, [h, w], &window, [i / ow % oh, i % ow]);
                    assert_eq!((y[i], at[i]), want, "{window:?} over {h}x{w}, result {i}");
                }
            }
        }
    }
}
