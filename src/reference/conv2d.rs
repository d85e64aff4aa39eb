//! Convolution on the CPU: patches as columns, then a matrix product, image by image.
//!
//! The columns of one image (or of a block of its rows) stay in the cache between being written and being multiplied,
//! and images are dealt out to threads. With `W` as `[oc, c * kh * kw]` and `cols` as the patches of an image:
//! `y = W cols`, `dx` is the columns `W^T dy` added back onto the pixels, `dW` is the sum over images of `dy cols^T`.

mod direct;

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;

use super::im2col::{Window, Windows};
use super::matmul::{Matrix, Target, gemm};
use super::real::{singles, singles_mut};
use super::{Array, Real, View};

/// Elements of one block of columns: what the second-level cache holds beside the weights.
const BLOCK: usize = 1 << 18;
/// Images with fewer windows than this are multiplied several at a time.
const FEW: usize = 64;
/// The weight gradient is this many partial sums over images, added in order, whatever the number of threads.
const PARTS: usize = 8;

/// Fewer channels than this would leave vectors empty.
const FEWEST: usize = 8;

/// The sizes of one convolution.
struct Conv<'a> {
    window: &'a Window,
    groups: usize,
    images: usize,
    channels: usize,
    size: [usize; 2],
    outs: usize,
    out: [usize; 2],
}

/// Memory of one thread, used again for every unit of work.
#[derive(Default)]
struct Scratch<T> {
    /// Columns, or the gradient of columns.
    cols: Vec<T>,
    /// The result of several images side by side, or its gradient.
    side: Vec<T>,
}

impl<'a> Conv<'a> {
    fn new(x: &[usize], outs: usize, window: &'a Window, groups: usize) -> Self {
        let &[images, channels, h, w] = x else { unreachable!("an image has four axes") };
        let out = window.output([h, w]).expect("inferred");
        Conv { window, groups, images, channels, size: [h, w], outs, out }
    }

    /// Elements of one image.
    fn image(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// Where the channels of group `g` lie in an image.
    fn planes(&self, g: usize) -> Range<usize> {
        let each = self.image() / self.groups;
        g * each..(g + 1) * each
    }

    /// Windows per image.
    fn windows(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Elements of the result of one image.
    fn result(&self) -> usize {
        self.outs * self.windows()
    }

    /// Rows of the columns of one group.
    fn depth(&self) -> usize {
        self.channels / self.groups * self.window.taps()
    }

    /// Output channels of one group.
    fn group(&self) -> usize {
        self.outs / self.groups
    }

    /// Whether the columns of an image are the image as it lies in memory.
    fn is_identity(&self) -> bool {
        let w = self.window;
        let point = w.kernel == [1, 1] && w.stride == [1, 1];
        w.padding == [0; 4] && (point || (w.kernel == self.size && w.dilation == [1, 1]))
    }

    /// Whether products without columns are faster, for so many channels in a group of the target. Of windows of one
    /// pixel they are not: the patch under one lies a plane apart from channel to channel, which is often one set of a
    /// cache. A build without optimisation leaves large ones to the `gemm` crate, which is optimised even there.
    fn is_direct(&self, outs: usize) -> bool {
        let small = self.images * self.result() * self.depth() <= 1 << 20;
        outs >= FEWEST && self.window.taps() > 1 && !self.is_identity() && (small || !cfg!(debug_assertions))
    }

    /// Images that are multiplied together.
    fn run(&self) -> usize {
        let run = match self.windows() {
            0 => 1,
            p if self.is_identity() && p > 1 => 1,
            p => FEW.div_ceil(p),
        };
        run.clamp(1, self.images.max(1))
    }

    /// The rows of windows of a unit, in blocks of even size: a short last one would waste a product.
    fn blocks(&self, images: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let [oh, ow] = self.out;
        let whole = images > 1 || self.is_identity();
        let rows = if whole { oh } else { BLOCK / (self.depth() * ow).max(1) };
        let count = oh.div_ceil(rows.max(1));
        (0..count).map(move |i| i * oh / count..(i + 1) * oh / count)
    }

    /// One matrix of `height` rows over images in memory whose channels are planes of `windows()`; only where the
    /// images are one, or their planes single elements.
    fn strides(&self, per_image: usize) -> (usize, usize) {
        if self.windows() == 1 { (1, per_image) } else { (self.windows(), 1) }
    }

    fn rows(&self, rows: Range<usize>) -> Windows<'_> {
        Windows { window: self.window, image: self.size, width: self.out[1], rows }
    }

    /// The columns of group `g`: `depth` by the windows of `rows` of the images in `x`.
    fn columns<'s, T: Real>(&self, x: &'s [T], g: usize, rows: &Range<usize>, cols: &'s mut Vec<T>) -> Matrix<'s, T> {
        if self.is_identity() {
            let (row, col) = self.strides(self.image());
            return Matrix { buffer: x, offset: self.planes(g).start, row: row as isize, col: col as isize };
        }
        let each = rows.len() * self.out[1];
        let images = x.len() / self.image();
        cols.resize(self.depth() * images * each, T::ZERO);
        for (i, x) in x.chunks(self.image()).enumerate() {
            self.rows(rows.clone()).gather(&x[self.planes(g)], &mut cols[i * each..], images * each);
        }
        Matrix::rows(cols, images * each)
    }

    /// The gradient of the result for group `g`, for the windows of `rows` of the images in `dy`.
    fn cotangent<'s, T: Real>(
        &self,
        dy: &'s [T],
        g: usize,
        rows: &Range<usize>,
        side: &'s mut Vec<T>,
    ) -> Matrix<'s, T> {
        let (p, first) = (self.windows(), g * self.group() * self.windows());
        if p == 1 || dy.len() == self.result() {
            let (row, col) = self.strides(self.result());
            let offset = first + rows.start * self.out[1];
            return Matrix { buffer: dy, offset, row: row as isize, col: col as isize };
        }
        side.clear();
        for o in 0..self.group() {
            for y in dy.chunks(self.result()) {
                side.extend_from_slice(&y[first + o * p..][..p]);
            }
        }
        Matrix::rows(side, dy.len() / self.result() * p)
    }
}

/// Scratch memory handed from one unit of work to the next.
struct Pool<T>(Mutex<Vec<Scratch<T>>>);

impl<T: Real> Pool<T> {
    fn new() -> Self {
        Pool(Mutex::new(Vec::new()))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Scratch<T>) -> R) -> R {
        let kept = self.0.lock().unwrap_or_else(|e| e.into_inner()).pop();
        let mut scratch = kept.unwrap_or_else(|| Scratch { cols: Vec::new(), side: Vec::new() });
        let result = f(&mut scratch);
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(scratch);
        result
    }
}

/// `[n, c, h, w] * [oc, c / groups, kh, kw]` to `[n, oc, oh, ow]`.
pub fn conv2d<T: Real>(x: &View<T>, weight: &View<T>, window: &Window, groups: usize) -> Array<T> {
    let conv = Conv::new(x.shape, weight.shape[0], window, groups);
    let shape = [conv.images, conv.outs, conv.out[0], conv.out[1]];
    let count = shape.iter().product();
    if count == 0 || conv.depth() == 0 || conv.image() == 0 {
        return Array::floats(shape, vec![T::ZERO; count]);
    }
    let mut y = T::stale(count);
    let (x, weight, pool) = (x.floats(), weight.floats(), Pool::new());
    if conv.is_direct(conv.group())
        && let (Some(x), Some(weight), Some(to)) = (singles(&x), singles(&weight), singles_mut(&mut y))
    {
        direct::conv2d(&conv, x, weight, to);
        return Array::floats(shape, y);
    }
    let (p, depth, group, run) = (conv.windows(), conv.depth(), conv.group(), conv.run());
    let alone = conv.images <= run;
    y.par_chunks_mut(run * conv.result()).zip(x.par_chunks(run * conv.image())).for_each(|(y, x)| {
        let images = x.len() / conv.image();
        pool.with(|Scratch { cols, side }| {
            for (g, rows) in (0..groups).flat_map(|g| conv.blocks(images).map(move |rows| (g, rows))) {
                let w = Matrix::rows(&weight[g * group * depth..], depth);
                let columns = images * rows.len() * conv.out[1];
                let cols = conv.columns(x, g, &rows, cols);
                let first = g * group * p + rows.start * conv.out[1];
                if p == 1 || images == 1 {
                    let (row, col) = conv.strides(conv.result());
                    let to = Target { buffer: &mut y[first..], row, col };
                    gemm([group, columns, depth], w, cols, to, false, alone);
                } else {
                    side.resize(group * columns, T::ZERO);
                    gemm([group, columns, depth], w, cols, Target::rows(side, columns), false, alone);
                    for (o, row) in side.chunks(columns).enumerate() {
                        for (i, line) in row.chunks(p).enumerate() {
                            y[i * conv.result() + first + o * p..][..p].copy_from_slice(line);
                        }
                    }
                }
            }
        });
    });
    Array::floats(shape, y)
}

/// The gradient of the images, of height and width `size`.
pub fn input_grad<T: Real>(
    dy: &View<T>,
    weight: &View<T>,
    window: &Window,
    groups: usize,
    size: [usize; 2],
) -> Array<T> {
    let shape = [dy.shape[0], weight.shape[1] * groups, size[0], size[1]];
    let conv = Conv::new(&shape, weight.shape[0], window, groups);
    let count = shape.iter().product();
    if count == 0 || conv.result() == 0 {
        return Array::floats(shape, vec![T::ZERO; count]);
    }
    let (dy, weight, pool) = (dy.floats(), weight.floats(), Pool::new());
    if conv.is_direct(conv.channels / groups)
        && let (Some(dy), Some(weight)) = (singles(&dy), singles(&weight))
    {
        let mut dx = T::stale(count);
        direct::input_grad(&conv, dy, weight, singles_mut(&mut dx).expect("of the type of dy"));
        return Array::floats(shape, dx);
    }
    let mut dx = T::stale(count);
    let (depth, group, run) = (conv.depth(), conv.group(), conv.run());
    let alone = conv.images <= run;
    dx.par_chunks_mut(run * conv.image()).zip(dy.par_chunks(run * conv.result())).for_each(|(dx, dy)| {
        let images = dy.len() / conv.result();
        // What is scattered is added; a product writes every pixel.
        if !conv.is_identity() {
            dx.fill(T::ZERO);
        }
        pool.with(|Scratch { cols, side }| {
            for (g, rows) in (0..groups).flat_map(|g| conv.blocks(images).map(move |rows| (g, rows))) {
                let w = Matrix::rows(&weight[g * group * depth..], depth).t();
                let each = rows.len() * conv.out[1];
                let columns = images * each;
                let from = conv.cotangent(dy, g, &rows, side);
                if conv.is_identity() {
                    let (row, col) = conv.strides(conv.image());
                    let to = Target { buffer: &mut dx[conv.planes(g).start..], row, col };
                    gemm([depth, columns, group], w, from, to, false, alone);
                    continue;
                }
                cols.resize(depth * columns, T::ZERO);
                gemm([depth, columns, group], w, from, Target::rows(cols, columns), false, alone);
                for (i, dx) in dx.chunks_mut(conv.image()).enumerate() {
                    conv.rows(rows.clone()).scatter(&mut cols[i * each..], columns, &mut dx[conv.planes(g)]);
                }
            }
        });
    });
    Array::floats(shape, dx)
}

/// The gradient of the weight.
pub fn weight_grad<T: Real>(x: &View<T>, dy: &View<T>, window: &Window, groups: usize) -> Array<T> {
    let conv = Conv::new(x.shape, dy.shape[1], window, groups);
    let shape = [conv.outs, conv.channels / groups, window.kernel[0], window.kernel[1]];
    let (depth, group, run) = (conv.depth(), conv.group(), conv.run());
    let count = conv.outs * depth;
    if count == 0 || conv.images * conv.result() == 0 || conv.image() == 0 {
        return Array::floats(shape, vec![T::ZERO; count]);
    }
    let (x, dy, pool) = (x.floats(), dy.floats(), Pool::new());
    if conv.is_direct(conv.group())
        && let (Some(x), Some(dy)) = (singles(&x), singles(&dy))
    {
        let mut dw = T::stale(count);
        direct::weight_grad(&conv, x, dy, singles_mut(&mut dw).expect("of the type of dy"));
        return Array::floats(shape, dw);
    }
    let units = conv.images.div_ceil(run);
    let parts = units.min(PARTS);
    let alone = parts == 1;
    let partial: Vec<Vec<T>> = (0..parts)
        .into_par_iter()
        .map(|part| {
            let mut dw = T::zeros(count);
            pool.with(|Scratch { cols, side }| {
                for unit in units * part / parts..units * (part + 1) / parts {
                    let images = unit * run..((unit + 1) * run).min(conv.images);
                    let x = &x[images.start * conv.image()..images.end * conv.image()];
                    let dy = &dy[images.start * conv.result()..images.end * conv.result()];
                    let blocks = |g| conv.blocks(images.len()).map(move |rows| (g, rows));
                    for (g, rows) in (0..groups).flat_map(blocks) {
                        let columns = images.len() * rows.len() * conv.out[1];
                        let from = conv.cotangent(dy, g, &rows, side);
                        let cols = conv.columns(x, g, &rows, cols).t();
                        let to = Target::rows(&mut dw[g * group * depth..], depth);
                        gemm([group, depth, columns], from, cols, to, true, alone);
                    }
                }
            });
            dw
        })
        .collect();
    let mut partial = partial.into_iter();
    let mut dw = partial.next().expect("there are images");
    for part in partial {
        dw.iter_mut().zip(&part).for_each(|(sum, &v)| *sum += v);
        T::give_back(part);
    }
    Array::floats(shape, dw)
}

#[cfg(test)]
mod tests {
    use super::super::Data;
    use super::*;

    fn numbers(shape: [usize; 4], seed: u64) -> Array<f64> {
        let mut state = seed | 1;
        let next = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        };
        Array::floats(shape, (0..shape.iter().product()).map(next).collect::<Vec<_>>())
    }

    pub(super) fn floats(a: &Array<f64>) -> &[f64] {
        let Data::Float(v) = &a.data else { unreachable!() };
        v
    }

    /// Every product of a convolution by its definition: `f(position in x, position in w, position in y)`.
    fn each_product(x: [usize; 4], outs: usize, win: &Window, groups: usize, mut f: impl FnMut(usize, usize, usize)) {
        let [n, c, h, w] = x;
        let [oh, ow] = win.output([h, w]).unwrap();
        let ([kh, kw], per, outs_per) = (win.kernel, c / groups, outs / groups);
        for (i, o, cc) in (0..n).flat_map(|i| (0..outs).flat_map(move |o| (0..per).map(move |cc| (i, o, cc)))) {
            for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
                for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                    let iy = (oy * win.stride[0] + ky * win.dilation[0]) as isize - win.padding[0] as isize;
                    let ix = (ox * win.stride[1] + kx * win.dilation[1]) as isize - win.padding[2] as isize;
                    if (0..h as isize).contains(&iy) && (0..w as isize).contains(&ix) {
                        let at_x = ((i * c + o / outs_per * per + cc) * h + iy as usize) * w + ix as usize;
                        f(at_x, ((o * per + cc) * kh + ky) * kw + kx, ((i * outs + o) * oh + oy) * ow + ox);
                    }
                }
            }
        }
    }

    type Case = ([usize; 4], usize, [usize; 2], [usize; 2], [usize; 4], [usize; 2], usize);

    #[rustfmt::skip]
    const CASES: &[Case] = &[
        ([2, 3, 7, 6], 4, [3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1), // same size: one run per plane
        ([2, 3, 7, 6], 4, [3, 2], [1, 1], [0, 2, 1, 0], [1, 1], 1), // asymmetric
        ([3, 2, 9, 11], 3, [3, 5], [2, 3], [1, 1, 2, 2], [1, 1], 1), // strided
        ([2, 2, 9, 8], 3, [3, 2], [1, 2], [2, 2, 1, 1], [2, 3], 1), // dilated
        ([2, 2, 9, 9], 3, [3, 3], [2, 2], [1, 1, 1, 1], [2, 3], 1), // strided and dilated: taps that reach no window
        ([2, 6, 5, 5], 9, [2, 2], [1, 1], [1, 0, 0, 1], [1, 1], 3), // grouped
        ([3, 4, 6, 6], 4, [3, 3], [2, 2], [0, 1, 0, 1], [1, 1], 4), // depthwise
        ([5, 4, 3, 3], 6, [1, 1], [1, 1], [0; 4], [1, 1], 2), // one tap: no columns needed
        ([5, 4, 5, 4], 6, [1, 1], [2, 2], [0; 4], [1, 1], 1), // one tap, strided
        ([2, 3, 8, 9], 2, [2, 2], [3, 4], [0; 4], [1, 1], 1), // pixels between the windows
        ([70, 4, 3, 2], 6, [3, 2], [1, 1], [0; 4], [1, 1], 2), // the kernel covers the image
        ([1, 1, 1, 1], 1, [1, 1], [1, 1], [0; 4], [1, 1], 1),
        ([1, 2, 3, 3], 2, [3, 3], [3, 3], [2, 4, 5, 3], [1, 1], 1), // windows wholly on the padding
        ([1, 2, 1, 2], 2, [3, 3], [2, 3], [1, 1, 2, 2], [1, 1], 1), // an image smaller than a stride
        ([1, 40, 40, 60], 3, [3, 3], [1, 1], [1, 1, 0, 0], [1, 1], 1), // more than one block of rows
        ([1, 40, 60, 60], 2, [3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1), // the same, one run per plane
        ([9, 5, 4, 4], 40, [3, 3], [1, 1], [1, 1, 1, 1], [1, 1], 1), // more than one panel
        ([2, 64, 3, 3], 83, [5, 5], [1, 1], [2, 2, 2, 2], [1, 1], 1), // a large weight, the last panel not full
        ([1, 128, 2, 3], 166, [5, 5], [1, 1], [2, 2, 2, 2], [1, 1], 2), // two of them
        ([4, 64, 1, 1], 83, [5, 5], [1, 1], [8; 4], [1, 1], 1), // the same for more windows than are multiplied together
        ([4, 64, 13, 13], 83, [5, 5], [13, 13], [0; 4], [1, 1], 1), // and for more pixels
        ([0, 2, 3, 3], 2, [2, 2], [1, 1], [0; 4], [1, 1], 1),
        ([2, 0, 3, 3], 2, [2, 2], [1, 1], [0; 4], [1, 1], 1),
    ];

    /// Calls `check` for each case with the convolution, x, w and dy, and dx, dw and y by the definition.
    pub(super) fn each_case(check: impl Fn(&str, &Conv, [&Array<f64>; 3], [&[f64]; 3])) {
        for case in CASES {
            let &(shape, outs, kernel, stride, padding, dilation, groups) = case;
            let win = Window { kernel, stride, padding, dilation };
            let [oh, ow] = win.output([shape[2], shape[3]]).unwrap();
            let x = numbers(shape, 1);
            let w = numbers([outs, shape[1] / groups, kernel[0], kernel[1]], 2);
            let dy = numbers([shape[0], outs, oh, ow], 3);
            let (mut dx, mut dw, mut y) = (vec![0.0; x.data.len()], vec![0.0; w.data.len()], vec![0.0; dy.data.len()]);
            each_product(shape, outs, &win, groups, |a, b, c| {
                dx[a] += floats(&w)[b] * floats(&dy)[c];
                dw[b] += floats(&x)[a] * floats(&dy)[c];
                y[c] += floats(&x)[a] * floats(&w)[b];
            });
            let conv = Conv::new(&shape, outs, &win, groups);
            check(&format!("{case:?}"), &conv, [&x, &w, &dy], [&dx, &dw, &y]);
        }
    }

    #[test]
    fn all_three_agree_with_direct_convolution() {
        each_case(|case, conv, [x, w, dy], want| {
            let got = [
                input_grad(&dy.view(), &w.view(), conv.window, conv.groups, conv.size),
                weight_grad(&x.view(), &dy.view(), conv.window, conv.groups),
                conv2d(&x.view(), &w.view(), conv.window, conv.groups),
            ];
            for (name, (got, want)) in ["dx", "dw", "y"].iter().zip(got.iter().zip(want)) {
                for (i, (g, e)) in floats(got).iter().zip(want).enumerate() {
                    assert!((g - e).abs() <= 1e-11 * (1.0 + e.abs()), "{case}, {name}[{i}] is {g}, should be {e}");
                }
                assert_eq!(floats(got).len(), want.len());
            }
        });
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let win = Window { kernel: [3, 3], stride: [1, 1], padding: [1; 4], dilation: [1, 1] };
        let (x, w, dy) = (numbers([19, 3, 9, 9], 1), numbers([5, 3, 3, 3], 2), numbers([19, 5, 9, 9], 3));
        let run = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let y = conv2d(&x.view(), &w.view(), &win, 1);
                let dx = input_grad(&dy.view(), &w.view(), &win, 1, [9, 9]);
                (y, dx, weight_grad(&x.view(), &dy.view(), &win, 1))
            })
        };
        let one = run(1);
        for threads in [2, 3, 7] {
            assert_eq!(one, run(threads), "{threads} threads");
        }
    }
}
