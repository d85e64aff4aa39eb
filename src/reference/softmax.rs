//! Softmax and its logarithm along one axis, and their gradients.
//!
//! The largest number of a row is taken off first, which changes nothing but keeps e^x in range. Rows that hold NaN or
//! +inf, or nothing but -inf, come out as NaN: inf - inf is.

use rayon::prelude::*;

use super::simd::{prefetch, vectorized};
use super::{Array, Real, View};

/// A shape cut at one axis: `outer` blocks of `n` lines of `inner` numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// The axes before it.
    pub outer: usize,
    /// Its own extent.
    pub n: usize,
    /// The axes behind it.
    pub inner: usize,
}

impl Axis {
    /// The cut of `shape` at `axis`.
    pub fn of(shape: &[usize], axis: usize) -> Axis {
        let inner = shape[axis + 1..].iter().product();
        Axis { outer: shape[..axis].iter().product(), n: shape[axis], inner }
    }

    /// Numbers of a block.
    pub fn block(&self) -> usize {
        self.n * self.inner
    }

    /// Calls `f` with the number and the part of `out` of each block of `per_block` results, on all threads if that
    /// pays.
    pub(super) fn blocks<T: Send>(&self, out: &mut [T], per_block: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        if per_block == 0 || self.block() == 0 {
            return;
        }
        let at_a_time = ((1 << 13) / self.block()).max(1);
        if self.outer <= at_a_time {
            return out.chunks_mut(per_block).enumerate().for_each(|(b, out)| f(b, out));
        }
        out.par_chunks_mut(per_block * at_a_time).enumerate().for_each(|(chunk, out)| {
            for (i, out) in out.chunks_mut(per_block).enumerate() {
                f(chunk * at_a_time + i, out);
            }
        });
    }
}

/// `e^x / sum e^x` along `axis`.
pub fn softmax<T: Real>(x: &View<T>, axis: usize) -> Array<T> {
    map_rows([x], axis, |row, out| {
        let largest = max(row[0]);
        let sum = exp_minus(row[0], largest, out);
        scale(out, T::ONE / sum);
    })
}

/// `x - ln sum e^x` along `axis`.
pub fn log_softmax<T: Real>(x: &View<T>, axis: usize) -> Array<T> {
    map_rows([x], axis, |row, out| {
        let largest = max(row[0]);
        let log_sum = exp_minus(row[0], largest, out).ln();
        vectorized(
            #[inline(always)]
            || {
                out.iter_mut().zip(row[0]).for_each(
                    #[inline(always)]
                    |(o, &x)| *o = x - largest - log_sum,
                )
            },
        );
    })
}

/// `y (dy - sum(y dy))`: the gradient of a softmax `y`.
pub fn softmax_grad<T: Real>(y: &View<T>, dy: &View<T>, axis: usize) -> Array<T> {
    map_rows([y, dy], axis, |row, out| {
        let [sum] = sums_over(
            row,
            #[inline(always)]
            |[y, dy]| [y * dy],
        );
        vectorized(
            #[inline(always)]
            || {
                out.iter_mut().zip(row[0]).zip(row[1]).for_each(
                    #[inline(always)]
                    |((o, &y), &dy)| *o = y * (dy - sum),
                )
            },
        );
    })
}

/// `dy - e^y sum(dy)`: the gradient of a log-softmax `y`.
pub fn log_softmax_grad<T: Real>(y: &View<T>, dy: &View<T>, axis: usize) -> Array<T> {
    map_rows([y, dy], axis, |row, out| {
        let [sum] = sums_over(
            [row[1]],
            #[inline(always)]
            |[dy]| [dy],
        );
        vectorized(
            #[inline(always)]
            || {
                out.iter_mut().zip(row[0]).zip(row[1]).for_each(
                    #[inline(always)]
                    |((o, &y), &dy)| *o = dy - y.exp() * sum,
                )
            },
        );
    })
}

/// Applies `f` to every row along `axis`; rows that do not lie in one run are brought together first.
fn map_rows<T: Real, const N: usize>(
    inputs: [&View<T>; N],
    axis: usize,
    f: impl Fn([&[T]; N], &mut [T]) + Sync,
) -> Array<T> {
    let shape = inputs[0].shape;
    let cut = Axis::of(shape, axis);
    let data = inputs.map(View::floats);
    let mut out = T::stale(shape.iter().product());
    cut.blocks(&mut out, cut.block(), |b, out| {
        let blocks = data.each_ref().map(|d| &d[b * cut.block()..]);
        if cut.inner == 1 {
            // The arithmetic of a row is long enough for the next one to come from memory meanwhile.
            blocks.iter().for_each(|d| prefetch(&d[cut.n..d.len().min(2 * cut.n)]));
            return f(blocks.map(|d| &d[..cut.n]), out);
        }
        let mut rows = [(); N].map(|()| vec![T::ZERO; cut.n]);
        let mut result = vec![T::ZERO; cut.n];
        for i in 0..cut.inner {
            rows.iter_mut().zip(blocks).for_each(|(row, block)| gather(block, i, cut.inner, row));
            f(rows.each_ref().map(|row| &row[..]), &mut result);
            result.iter().zip(out.iter_mut().skip(i).step_by(cut.inner)).for_each(|(&r, o)| *o = r);
        }
    });
    Array::floats(shape, out)
}

/// Every `step`-th number of `from`, from `first` on.
pub(super) fn gather<T: Real>(from: &[T], first: usize, step: usize, into: &mut [T]) {
    into.iter_mut().zip(from.iter().skip(first).step_by(step)).for_each(|(o, &x)| *o = x);
}

/// Multiplies a row by a number.
pub(super) fn scale<T: Real>(row: &mut [T], by: T) {
    vectorized(
        #[inline(always)]
        || {
            row.iter_mut().for_each(
                #[inline(always)]
                |e| *e *= by,
            )
        },
    );
}

/// Numbers of a row that are worked on side by side.
const LANES: usize = 32;

/// The largest number; what it is of a row with NaN does not matter.
pub(super) fn max<T: Real>(row: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    vectorized(
        #[inline(always)]
        || {
            let (chunks, rest) = row.as_chunks::<LANES>();
            let mut lanes = [T::NEG_INFINITY; LANES];
            for chunk in chunks {
                lanes.iter_mut().zip(chunk).for_each(|(l, &x)| *l = larger(*l, x));
            }
            lanes.iter().chain(rest).copied().fold(T::NEG_INFINITY, larger)
        },
    )
}

/// Fills `out` with `e^(x - largest)` and adds it up, in the order of [`sums_over`].
pub(super) fn exp_minus<T: Real>(row: &[T], largest: T, out: &mut [T]) -> T {
    vectorized(
        #[inline(always)]
        || {
            let mut lanes = [T::ZERO; LANES];
            let (chunks, rest) = row.as_chunks::<LANES>();
            let (out, out_rest) = out.as_chunks_mut::<LANES>();
            for (out, chunk) in out.iter_mut().zip(chunks) {
                for j in 0..LANES {
                    let e = (chunk[j] - largest).exp_falling();
                    out[j] = e;
                    lanes[j] += e;
                }
            }
            // The last few are one more vector, of which the rest counts for nothing.
            let mut last = [largest; LANES];
            last[..rest.len()].copy_from_slice(rest);
            for e in &mut last {
                *e = (*e - largest).exp_falling();
            }
            out_rest.copy_from_slice(&last[..rest.len()]);
            let left = out_rest.iter().fold(T::ZERO, |left, &e| left + e);
            total(lanes) + left
        },
    )
}

/// Adds up terms in interleaved parts: the error grows that many times slower than one by one. `term` is given the
/// numbers at one place of each run, and there are as many sums as it has parts.
pub(super) fn sums_over<T: Real, const N: usize, const M: usize>(
    runs: [&[T]; N],
    term: impl Fn([T; N]) -> [T; M],
) -> [T; M] {
    // Wide enough that the compiler makes vectors of the loop over them before it unrolls it.
    const LANES: usize = 64;
    vectorized(
        #[inline(always)]
        || {
            let n = runs[0].len();
            let runs = runs.map(|run| run[..n].as_chunks::<LANES>());
            let mut lanes = [[T::ZERO; LANES]; M];
            for c in 0..n / LANES {
                let chunks = runs.map(
                    #[inline(always)]
                    |(chunks, _)| &chunks[c],
                );
                for j in 0..LANES {
                    let part = term(chunks.map(
                        #[inline(always)]
                        |chunk| chunk[j],
                    ));
                    for m in 0..M {
                        lanes[m][j] += part[m];
                    }
                }
            }
            let rest = runs.map(
                #[inline(always)]
                |(_, rest)| rest,
            );
            for i in 0..n % LANES {
                let part = term(rest.map(
                    #[inline(always)]
                    |rest| rest[i],
                ));
                for m in 0..M {
                    lanes[m][i] += part[m];
                }
            }
            lanes.map(total)
        },
    )
}

/// The same for numbers that lie apart, `n` of them.
pub(super) fn sums_of<T: Real, const M: usize>(n: usize, term: impl Fn(usize) -> [T; M]) -> [T; M] {
    let mut lanes = [[T::ZERO; LANES]; M];
    for i in 0..n {
        let terms = term(i);
        (0..M).for_each(|m| lanes[m][i % LANES] += terms[m]);
    }
    lanes.map(total)
}

/// The parts added up in pairs.
#[inline(always)]
fn total<T: Real, const LANES: usize>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        (0..width).for_each(|j| lanes[j] += lanes[j + width]);
    }
    lanes[0]
}
