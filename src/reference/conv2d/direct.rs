//! Convolution in single precision without columns: products whose left operand is the image itself.
//!
//! The image is copied once with zeros around it. Then the patch under a window is a few runs of memory, the same for
//! every window up to where it starts, which is what [`product`] multiplies. Seen so, the three are one: results are
//! products over channels and taps with windows as rows; the gradient of the images is the same over the gradient of
//! the results, one product for each of the `stride * stride` kinds of pixels, which differ in the taps that reach
//! them; the gradient of the weight has channels and taps as rows and is summed over windows. A channel's taps and
//! windows next to each other meet in the same few lines of the cache. The sum of each element has one order, whatever
//! the number of threads.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::super::recycle::{give_back, stale};
use super::super::simd::vectorized;
use super::super::tile::{Left, PANEL, Right, padded, panel, product, transpose};
use super::Conv;

/// Windows that are multiplied together: enough that the last rows, which do not fill a tile, do not count, and few
/// enough that there is work for every thread. With a large weight more: each of its numbers is read once for so many
/// windows.
const WINDOWS: [usize; 2] = [192, 384];
/// Elements of images that are copied at a time.
const CHUNK: usize = 1 << 14;
/// Output channels of a weight gradient that are turned at a time.
const LINES: usize = 16;
/// Channels of a result that are turned at a time.
const FEW: usize = 8;
/// Weights of more elements than this leave no room in a cache: of those the columns are dealt out to threads, each for
/// many images; of smaller ones the images.
const SMALL: usize = 1 << 17;

/// Images whose windows are multiplied together.
fn at_a_time(images: usize, windows: usize, small: bool) -> usize {
    let [few, many] = WINDOWS.map(|all| all.div_ceil(windows));
    if small { few.min(images.div_ceil(super::PARTS)).max(1) } else { many.min(images).max(1) }
}

/// Images, planes of one channel each, with zeros around them.
struct Bordered {
    channels: usize,
    source: [usize; 2],
    before: [usize; 2],
    size: [usize; 2],
}

impl Bordered {
    fn plane(&self) -> usize {
        self.size[0] * self.size[1]
    }

    fn elements(&self) -> usize {
        self.channels * self.plane()
    }

    /// Where a pixel lies in its plane.
    fn pixel(&self, y: usize, x: usize) -> usize {
        y * self.size[1] + x
    }

    /// Images with their zeros; borrowed where there are none to add.
    fn of<'a>(&self, images: &'a [f32]) -> Cow<'a, [f32]> {
        if self.size == self.source {
            return Cow::Borrowed(images);
        }
        let plane = self.source[0] * self.source[1];
        let mut all = stale(images.len() / plane * self.plane());
        let few = (CHUNK / self.plane()).max(1);
        all.par_chunks_mut(few * self.plane()).zip(images.par_chunks(few * plane)).for_each(|(to, from)| {
            to.fill(0.0);
            for (to, from) in to.chunks_mut(self.plane()).zip(from.chunks(plane)) {
                let to = to[self.pixel(self.before[0], self.before[1])..].chunks_mut(self.size[1]);
                to.zip(from.chunks(self.source[1])).for_each(|(to, from)| to[..from.len()].copy_from_slice(from));
            }
        });
        Cow::Owned(all)
    }
}

/// Gives back what [`Bordered::of`] made.
fn done(images: Cow<[f32]>) {
    if let Cow::Owned(images) = images {
        give_back(images);
    }
}

/// One product: pixels of the target in a grid, and the taps that reach them.
struct Pass {
    /// Extent of the grid.
    grid: [usize; 2],
    /// Pixels of the bordered source from one to the next.
    step: [usize; 2],
    /// The target's first pixel, and pixels from one to the next.
    first: [usize; 2],
    apart: [usize; 2],
    /// Rows and columns of the kernel that reach them, each with the pixel of the bordered source under the first of
    /// the grid, which rises.
    taps: [Vec<(usize, usize)>; 2],
}

impl Pass {
    /// The taps in the order of their product.
    fn order(&self, kernel: [usize; 2]) -> impl Iterator<Item = usize> {
        let [down, across] = &self.taps;
        down.iter().flat_map(move |(y, _)| across.iter().map(move |(x, _)| y * kernel[1] + x))
    }

    /// Runs of the left operand over channels and taps, their length, and the step within them.
    fn runs(&self, source: &Bordered, channels: usize) -> (Vec<usize>, usize, usize) {
        let [down, across] = &self.taps;
        let pixels = |x: &'_ [(usize, usize)]| -> Vec<usize> {
            let place = |&(_, y): &(usize, usize)| x.iter().map(move |&(_, x)| source.pixel(y, x));
            down.iter().flat_map(place).collect()
        };
        let each = |pixels: Vec<usize>| -> Vec<usize> {
            (0..channels).flat_map(|c| pixels.iter().map(move |at| c * source.plane() + at)).collect()
        };
        match across[..] {
            [(_, x)] if down.len() == 1 => (vec![source.pixel(down[0].1, x)], channels, source.plane()),
            [first, second, ..] if across.windows(2).all(|pair| pair[1].1 - pair[0].1 == second.1 - first.1) => {
                (each(pixels(&[first])), across.len(), second.1 - first.1)
            }
            _ => (each(pixels(across)), 1, 1),
        }
    }

    /// Positions of the rows of the left operand for `images`.
    fn rows(&self, source: &Bordered, images: usize) -> Vec<usize> {
        let ([height, width], [sy, sx]) = (self.grid, self.step);
        let of = |i: usize| move |(y, x): (usize, usize)| i * source.elements() + source.pixel(y * sy, x * sx);
        (0..images).flat_map(|i| (0..height).flat_map(move |y| (0..width).map(move |x| (y, x))).map(of(i))).collect()
    }
}

/// Positions of the rows of a left operand, and of its runs, their length and step.
type Table = (Vec<usize>, (Vec<usize>, usize, usize));

/// Sums over taps and channels: the results of a convolution, or the gradient of its images.
struct Correlation {
    source: Bordered,
    target: [usize; 2],
    passes: Vec<Pass>,
    groups: usize,
    /// Channels of the target, and of the source, in a group.
    outer: usize,
    inner: usize,
    kernel: [usize; 2],
}

impl Correlation {
    fn forward(conv: &Conv) -> Correlation {
        let window = conv.window;
        let before = [window.padding[0], window.padding[2]];
        let size = [0, 1].map(|a| {
            let reached = (conv.out[a] - 1) * window.stride[a] + window.span(a);
            reached.max(before[a] + conv.size[a])
        });
        let taps = [0, 1].map(|a| (0..window.kernel[a]).map(|tap| (tap, tap * window.dilation[a])).collect());
        Correlation {
            source: Bordered { channels: conv.channels, source: conv.size, before, size },
            target: conv.out,
            passes: vec![Pass { grid: conv.out, step: window.stride, first: [0, 0], apart: [1, 1], taps }],
            groups: conv.groups,
            outer: conv.group(),
            inner: conv.channels / conv.groups,
            kernel: window.kernel,
        }
    }

    /// Pixel `first + j * stride` meets tap `t` in window `j + (first + padding - t * dilation) / stride`, if that
    /// is a whole number.
    fn input_grad(conv: &Conv) -> Correlation {
        let window = conv.window;
        // Of each axis, for each kind of pixel: the first, how many, and (tap, window of the first).
        type Kind = (usize, usize, Vec<(usize, isize)>);
        let kinds = [0, 1].map(|a| {
            let (stride, padding) = (window.stride[a], window.padding[2 * a]);
            let kind = |first: usize| -> Kind {
                let reach = |tap: usize| {
                    let distance = (first + padding) as isize - (tap * window.dilation[a]) as isize;
                    (distance % stride as isize == 0).then_some((tap, distance / stride as isize))
                };
                let taps = (0..window.kernel[a]).rev().filter_map(reach).collect();
                (first, (conv.size[a] - first).div_ceil(stride), taps)
            };
            (0..stride.min(conv.size[a])).map(kind).collect::<Vec<_>>()
        });
        let before = [0, 1].map(|a| {
            let lowest = kinds[a].iter().flat_map(|(_, _, taps)| taps).map(|&(_, at)| at).min().unwrap_or(0);
            lowest.min(0).unsigned_abs()
        });
        let size = [0, 1].map(|a| {
            let reach = |(_, count, taps): &Kind| taps.last().map_or(0, |(_, at)| at + *count as isize);
            let reached = kinds[a].iter().map(reach).max().unwrap_or(0) + before[a] as isize;
            reached.max((before[a] + conv.out[a]) as isize) as usize
        });
        let shifted = |a: usize, taps: &[(usize, isize)]| {
            taps.iter().map(|&(tap, at)| (tap, (at + before[a] as isize) as usize)).collect::<Vec<_>>()
        };
        let pass = |down: &Kind, across: &Kind| Pass {
            grid: [down.1, across.1],
            step: [1, 1],
            first: [down.0, across.0],
            apart: window.stride,
            taps: [shifted(0, &down.2), shifted(1, &across.2)],
        };
        Correlation {
            source: Bordered { channels: conv.outs, source: conv.out, before, size },
            target: conv.size,
            passes: kinds[0].iter().flat_map(|down| kinds[1].iter().map(move |across| pass(down, across))).collect(),
            groups: conv.groups,
            outer: conv.channels / conv.groups,
            inner: conv.group(),
            kernel: window.kernel,
        }
    }

    /// Rows of the right operand: taps, and channels of the source.
    fn depth(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.inner
    }

    /// The right operand of every group: for each pass, rows are channels of the source, and taps within a channel.
    /// `strides` are those of the weight from channel to channel of the target and of the source; its taps lie side by
    /// side.
    fn pack(&self, weight: &[f32], strides: [usize; 2]) -> Vec<f32> {
        let (depth, taps, inner) = (self.depth(), self.kernel[0] * self.kernel[1], self.inner);
        let mut orders: Vec<Vec<usize>> = self.passes.iter().map(|pass| pass.order(self.kernel).collect()).collect();
        // Those that reach no pixel stand last.
        orders.push((0..taps).filter(|tap| !orders.iter().any(|order| order.contains(tap))).collect());
        let mut rows = vec![0; inner * taps];
        let all =
            orders.iter().flat_map(|order| (0..inner).flat_map(move |i| order.iter().map(move |tap| i * taps + tap)));
        all.enumerate().for_each(|(row, k)| rows[k] = row);
        // Channels whose taps follow one another are copied in one go.
        let run = if strides[1] == taps { inner } else { 1 };

        let mut packed = stale(self.groups * depth * padded(self.outer));
        for (g, packed) in packed.chunks_mut(depth * padded(self.outer)).enumerate() {
            packed.par_chunks_mut(PANEL * depth).enumerate().for_each(|(p, packed)| {
                let (_, width) = panel(p, 0, depth, self.outer);
                let columns = (self.outer - p * PANEL).min(width);
                for i in (0..inner).step_by(run) {
                    let from = &weight[g * self.outer * inner * taps + p * PANEL * strides[0] + i * strides[1]..];
                    vectorized(
                        #[inline(always)]
                        || {
                            transpose(
                                from,
                                |o| o * strides[0],
                                [columns, run * taps],
                                packed,
                                |k| rows[i * taps + k] * width,
                            )
                        },
                    );
                }
            });
        }
        packed
    }

    /// All sums, from images of the source to images of the target, both with their channels first.
    fn run(&self, packed: &[f32], from: &[f32], to: &mut [f32]) {
        let plane = self.target[0] * self.target[1];
        let (source, target) = (self.groups * self.inner, self.groups * self.outer * plane);
        let source = source * self.source.source[0] * self.source.source[1];
        let images = from.len() / source;
        let (depth, ld) = (self.depth(), padded(self.outer));
        let small = depth * ld <= SMALL;
        let run = at_a_time(images, plane, small);
        let tables: Vec<_> = self
            .passes
            .iter()
            .map(|pass| (pass.rows(&self.source, run), pass.runs(&self.source, self.inner)))
            .collect();
        if small {
            to.par_chunks_mut(run * target).zip(from.par_chunks(run * source)).for_each(|(to, from)| {
                let bordered = self.source.of(from);
                for g in 0..self.groups {
                    let group = g * self.outer * plane..(g + 1) * self.outer * plane;
                    let mut to: Vec<_> = to.chunks_mut(target).map(|image| &mut image[group.clone()]).collect();
                    let from = &bordered[g * self.inner * self.source.plane()..];
                    self.columns(&tables, from, &packed[g * depth * ld..], self.outer, &mut to);
                }
                done(bordered);
            });
            return;
        }
        let bordered = self.source.of(from);
        // Of every run of images, group and panel: where its results belong in each image.
        let panels = self.outer.div_ceil(PANEL);
        let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
        for to in to.chunks_mut(run * target) {
            let first = parts.len();
            parts.resize_with(first + self.groups * panels, Vec::new);
            for image in to.chunks_mut(target) {
                let groups = image.chunks_mut(self.outer * plane);
                let pieces = groups.flat_map(|group| group.chunks_mut(PANEL * plane));
                parts[first..].iter_mut().zip(pieces).for_each(|(part, piece)| part.push(piece));
            }
        }
        parts.par_iter_mut().enumerate().for_each(|(part, to)| {
            let (block, g, p) = (part / panels / self.groups, part / panels % self.groups, part % panels);
            let from = &bordered[block * run * self.source.elements() + g * self.inner * self.source.plane()..];
            let packed = &packed[g * depth * ld + p * PANEL * depth..];
            self.columns(&tables, from, packed, (self.outer - p * PANEL).min(PANEL), to);
        });
        done(bordered);
    }

    /// The sums of `n` channels of some images; `to` is where they belong in each.
    fn columns(&self, tables: &[Table], from: &[f32], packed: &[f32], n: usize, to: &mut [&mut [f32]]) {
        let (depth, ld) = (self.depth(), padded(n));
        let mut first = 0;
        for (pass, (rows, (runs, len, step))) in self.passes.iter().zip(tables) {
            let pixels = pass.grid[0] * pass.grid[1];
            let rows = &rows[..to.len() * pixels];
            let mut sums = stale(rows.len() * ld);
            let left = Left { buffer: from, rows, runs, len: *len, step: *step };
            let right = Right { buffer: &packed[..depth * ld], depth, first };
            product(&left, &right, n, &mut sums, false);
            first += runs.len() * len;
            for (sums, to) in sums.chunks(pixels * ld).zip(to.iter_mut()) {
                self.spread(pass, sums, n, to);
            }
            give_back(sums);
        }
    }

    /// Writes the sums of `n` channels of one image where they belong.
    fn spread(&self, pass: &Pass, sums: &[f32], n: usize, to: &mut [f32]) {
        let (ld, plane) = (padded(n), self.target[0] * self.target[1]);
        let [height, width] = pass.grid;
        let pixels = height * width;
        // A few channels at a time: their lines stay in the cache while they are filled.
        let turn = |to: &mut [f32], plane: usize| {
            for (first, to) in (0..n).step_by(FEW).zip(to.chunks_mut(FEW * plane)) {
                let (sums, few) = (&sums[first..], FEW.min(n - first));
                vectorized(
                    #[inline(always)]
                    || transpose(sums, |pixel| pixel * ld, [pixels, few], to, |o| o * plane),
                );
            }
        };
        if pass.apart == [1, 1] {
            return turn(to, plane);
        }
        let mut planes = stale(n * pixels);
        turn(&mut planes, pixels);
        for (from, to) in planes.chunks(pixels).zip(to.chunks_mut(plane)) {
            for (y, line) in from.chunks(width).enumerate() {
                let first = (pass.first[0] + y * pass.apart[0]) * self.target[1] + pass.first[1];
                to[first..].iter_mut().step_by(pass.apart[1]).zip(line).for_each(|(to, &v)| *to = v);
            }
        }
        give_back(planes);
    }
}

/// The results.
pub(super) fn conv2d(conv: &Conv, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let (per, taps) = (conv.channels / conv.groups, conv.window.taps());
    let all = Correlation::forward(conv);
    let packed = all.pack(weight, [per * taps, taps]);
    all.run(&packed, x, y);
    give_back(packed);
}

/// The gradient of the images.
pub(super) fn input_grad(conv: &Conv, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let (per, taps) = (conv.channels / conv.groups, conv.window.taps());
    let all = Correlation::input_grad(conv);
    let packed = all.pack(weight, [taps, per * taps]);
    all.run(&packed, dy, dx);
    give_back(packed);
}

/// The gradient of the weight.
pub(super) fn weight_grad(conv: &Conv, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (p, per, outs, depth) = (conv.windows(), conv.channels / conv.groups, conv.group(), conv.depth());
    let (window, [oh, ow]) = (conv.window, conv.out);
    let ld = padded(outs);
    let small = depth * ld <= SMALL;
    let run = at_a_time(conv.images, p, small);
    let blocks = conv.images.div_ceil(run);

    // Images with zeros around them, and the gradients of a block of images as panels with windows as rows.
    let source = Correlation::forward(conv).source;
    let bordered = source.of(x);
    let mut packed = stale(blocks * run * p * conv.groups * ld);
    packed.par_chunks_mut(run * p * conv.groups * ld).zip(dy.par_chunks(run * conv.result())).for_each(|(to, dy)| {
        for (to, g) in to.chunks_mut(run * p * ld).zip(0..) {
            for (i, dy) in dy.chunks(conv.result()).enumerate() {
                for first in (0..outs).step_by(PANEL) {
                    let (at, width) = panel(first / PANEL, i * p, run * p, outs);
                    let (dy, rows) = (&dy[(g * outs + first) * p..], (outs - first).min(width));
                    vectorized(
                        #[inline(always)]
                        || transpose(dy, |o| o * p, [rows, p], &mut to[at..], |window| window * width),
                    );
                }
            }
        }
    });

    // Row (channel, tap) of the product starts at that tap of the first window in that channel; the columns are
    // windows.
    let under = |row: usize| {
        let (channel, tap) = (row / window.taps(), row % window.taps());
        let [y, x] = [tap / window.kernel[1], tap % window.kernel[1]];
        channel * source.plane() + source.pixel(y * window.dilation[0], x * window.dilation[1])
    };
    let rows: Vec<usize> = (0..depth).map(under).collect();
    let line = |i: usize| i / oh * source.elements() + source.pixel(i % oh * window.stride[0], 0);
    let lines: Vec<usize> = (0..run * oh).map(line).collect();
    // Sums over blocks of images, for `n` channels of the result from panel `p` on.
    let sum = |g: usize, [p0, n]: [usize; 2], blocks: Range<usize>, rows: &[usize], sums: &mut [f32]| {
        for (number, block) in blocks.enumerate() {
            let images = run.min(conv.images - block * run);
            let left = Left {
                buffer: &bordered[block * run * source.elements() + g * per * source.plane()..],
                rows,
                runs: &lines[..images * oh],
                len: ow,
                step: window.stride[1],
            };
            let packed = &packed[(block * conv.groups + g) * run * p * ld + p0 * PANEL * run * p..];
            product(&left, &Right { buffer: packed, depth: run * p, first: 0 }, n, sums, number > 0);
        }
    };
    // A few channels at a time: their lines stay in the cache while they are filled.
    let place = |from: &[f32], n: usize, dw: &mut [f32]| {
        dw.par_chunks_mut(LINES * depth).enumerate().for_each(|(k, dw)| {
            let (from, ld) = (&from[k * LINES..], padded(n));
            vectorized(
                #[inline(always)]
                || transpose(from, |row| row * ld, [depth, dw.len() / depth], dw, |o| o * depth),
            );
        });
    };
    for (g, dw) in dw.chunks_mut(outs * depth).enumerate() {
        if small {
            let parts = blocks.min(super::PARTS);
            let partial: Vec<Vec<f32>> = (0..parts)
                .into_par_iter()
                .map(|part| {
                    let mut sums = stale(depth * ld);
                    sum(g, [0, outs], blocks * part / parts..blocks * (part + 1) / parts, &rows, &mut sums);
                    sums
                })
                .collect();
            let mut sums = stale(depth * ld);
            sums.fill(0.0);
            for part in partial {
                sums.iter_mut().zip(&part).for_each(|(sum, &v)| *sum += v);
                give_back(part);
            }
            place(&sums, outs, dw);
            give_back(sums);
            continue;
        }
        dw.par_chunks_mut(PANEL * depth).enumerate().for_each(|(p, dw)| {
            let n = dw.len() / depth;
            let mut sums = stale(depth * padded(n));
            let each = depth.div_ceil(4).next_multiple_of(12);
            sums.par_chunks_mut(each * padded(n)).zip(rows.par_chunks(each)).for_each(|(sums, rows)| {
                sum(g, [p, n], 0..blocks, rows, sums);
            });
            place(&sums, n, dw);
            give_back(sums);
        });
    }
    give_back(packed);
    done(bordered);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{each_case, floats};
    use super::*;

    #[test]
    fn all_three_agree_with_the_definition() {
        let mut checked = std::sync::atomic::AtomicUsize::new(0);
        each_case(|case, conv, inputs, want| {
            if want.iter().any(|w| w.is_empty()) {
                return; // the caller's
            }
            let [x, w, dy] = inputs.map(|a| floats(a).iter().map(|&v| v as f32).collect::<Vec<_>>());
            let mut got = want.map(|w| vec![f32::NAN; w.len()]);
            let [dx, dw, y] = &mut got;
            input_grad(conv, &dy, &w, dx);
            weight_grad(conv, &x, &dy, dw);
            conv2d(conv, &x, &w, y);
            let terms = [conv.group() * conv.window.taps(), conv.images * conv.windows(), conv.depth()];
            for (k, name) in ["dx", "dw", "y"].iter().enumerate() {
                // Terms are at most 1; each sum is rounded once per term.
                let most = 1.2e-7 * (terms[k] as f64 + 2.0);
                for (i, (&g, e)) in got[k].iter().zip(want[k]).enumerate() {
                    assert!((g as f64 - e).abs() <= most, "{case}, {name}[{i}] is {g}, should be {e}");
                }
            }
            checked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(*checked.get_mut() > 10);
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let window = super::super::Window { kernel: [3, 3], stride: [2, 1], padding: [1; 4], dilation: [1, 1] };
        let conv = Conv::new(&[19, 3, 9, 9], 20, &window, 1);
        let numbers = |n: usize| (0..n).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
        let (x, w) = (numbers(19 * conv.image()), numbers(20 * conv.depth()));
        let dy = numbers(19 * conv.result());
        let run = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let (mut dx, mut dw, mut y) = (x.clone(), w.clone(), dy.clone());
                input_grad(&conv, &dy, &w, &mut dx);
                weight_grad(&conv, &x, &dy, &mut dw);
                conv2d(&conv, &x, &w, &mut y);
                (dx, dw, y)
            })
        };
        let one = run(1);
        for threads in [2, 3, 7] {
            assert_eq!(one, run(threads), "{threads} threads");
        }
    }
}
