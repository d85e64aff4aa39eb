//! The plain recurrent layer over a whole sequence, and what all recurrent layers share on the CPU.
//!
//! Rows of a batch do not know of each other, so a batch is cut into chunks of rows, and each chunk walks through all
//! of its steps on one thread: its state stays in that core's cache, and nobody waits for anybody between steps. The
//! weight is the same in every step, so it is laid out once for all of them.

use std::borrow::Cow;

use rayon::prelude::*;

use super::matmul::{Matrix, Target, gemm};
use super::real::{singles, singles_mut};
use super::recycle::{give_back, stale};
use super::simd::vectorized;
use super::tile::{self, Left, PANEL, Right};
use super::{Array, Real, View};

/// Rows that the matrix product makes at a time: chunks are cut between those.
const TOGETHER: usize = 6;
/// There are two chunks for each of so many rows. More would keep more threads busy, but the weights pass through the
/// cache once for each chunk and step.
const PAIR: usize = 64;
/// A step of this many multiplications is worth splitting over threads where the batch is only one chunk.
const SPLIT_STEP: usize = 1 << 21;

/// What one chunk of rows writes: a piece of each step, in the order of the walk.
pub(super) type Part<'a, T> = Vec<&'a mut [T]>;

/// How a sequence `[t, b, ..]` with `h` hidden units is walked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    /// Time steps.
    pub t: usize,
    /// Rows of the batch.
    pub b: usize,
    /// Hidden units.
    pub h: usize,
    /// Whether the last step comes first.
    pub reverse: bool,
}

impl Walk {
    /// The walk over `[t, b, gates * h]`, where the weight is `[gates * h, h]`.
    pub fn of<T>(x: &View<T>, weight: &View<T>, reverse: bool) -> Walk {
        Walk { t: x.shape[0], b: x.shape[1], h: weight.shape[1], reverse }
    }

    /// The number of chunks. It depends on the batch alone, so that the same input gives the same bits on every
    /// machine.
    fn chunks(&self) -> usize {
        match self.b / TOGETHER {
            0 | 1 => 1,
            _ => 2 * self.b.div_ceil(PAIR),
        }
    }

    /// The first row of a chunk, or the end of the last.
    fn row(&self, chunk: usize) -> usize {
        let count = self.chunks();
        if chunk == count { self.b } else { (self.b / TOGETHER * chunk).div_ceil(count) * TOGETHER }
    }

    /// `[b, width]` cut into chunks.
    fn cut<'a, T>(&self, mut buffer: &'a mut [T], width: usize) -> Part<'a, T> {
        let mut parts = Vec::with_capacity(self.chunks());
        for chunk in 0..self.chunks() {
            let (part, rest) = buffer.split_at_mut((self.row(chunk + 1) - self.row(chunk)) * width);
            parts.push(part);
            buffer = rest;
        }
        parts
    }

    /// The part of `[t, b, width]` that belongs to each chunk, step by step in the order of the walk.
    pub fn deal<'a, T>(&self, buffer: &'a mut [T], width: usize) -> Vec<Part<'a, T>> {
        if self.b * width == 0 {
            return Vec::new();
        }
        let mut chunks: Vec<Part<T>> = (0..self.chunks()).map(|_| Vec::with_capacity(self.t)).collect();
        for step in buffer.chunks_mut(self.b * width) {
            for (chunk, part) in chunks.iter_mut().zip(self.cut(step, width)) {
                chunk.push(part);
            }
        }
        if self.reverse {
            chunks.iter_mut().for_each(|c| c.reverse());
        }
        chunks
    }

    /// The part of `[b, width]` that belongs to each chunk.
    pub fn deal_state<'a, T>(&self, buffer: &'a mut [T], width: usize) -> Part<'a, T> {
        if self.b * width == 0 { Vec::new() } else { self.cut(buffer, width) }
    }

    /// The elements of `[t, b, width]` that chunk `chunk` reads at step `step` of the walk.
    pub fn part<'a, T>(&self, all: &'a [T], width: usize, step: usize, chunk: usize) -> &'a [T] {
        let t = if self.reverse { self.t - 1 - step } else { step };
        self.state_part(&all[t * self.b * width..(t + 1) * self.b * width], width, chunk)
    }

    /// The elements of `[b, width]` that chunk `chunk` reads.
    pub fn state_part<'a, T>(&self, all: &'a [T], width: usize, chunk: usize) -> &'a [T] {
        &all[self.row(chunk) * width..self.row(chunk + 1) * width]
    }

    /// Runs `work` with the number of each chunk and what it was dealt.
    pub fn run<S: Send>(&self, dealt: Vec<S>, work: impl Fn(usize, S) + Sync) {
        if self.t * self.b * self.h * self.h < 1 << 14 {
            return dealt.into_iter().enumerate().for_each(|(chunk, mine)| work(chunk, mine));
        }
        dealt.into_par_iter().enumerate().for_each(|(chunk, mine)| work(chunk, mine));
    }

    /// What `[t, b, width]` holds; of a view that is the same in every step, one of them.
    pub fn given<'a, T: Real>(&self, x: &View<'a, T>) -> Given<'a, T> {
        let same = x.strides[0] == 0;
        let one = View { shape: &x.shape[1..], strides: x.strides[1..].to_vec(), ..x.clone() };
        Given { all: if same { one.floats() } else { x.floats() }, same }
    }

    /// A weight as the right operand of [`Weight::product`]: itself, `[k, n]`, or the transpose of `[n, k]`.
    pub fn weight<'a, T: Real>(&self, w: &'a [T], turned: bool) -> Weight<'a, T> {
        let (rows, columns) = (w.len() / self.h.max(1), self.h);
        let [n, k] = if turned { [rows, columns] } else { [columns, rows] };
        let alone = self.chunks() == 1 && self.b * w.len() >= SPLIT_STEP;
        let panels = singles(w).filter(|_| n > 0 && tile::padded(n) == n && !alone).map(|w| panels(w, [n, k], turned));
        let plain = match (&panels, turned) {
            (Some(_), _) => Cow::Borrowed(&[][..]),
            (None, true) => {
                let mut out = vec![T::ZERO; w.len()];
                tile::transpose(w, |r| r * k, [n, k], &mut out, |c| c * n);
                Cow::Owned(out)
            }
            (None, false) => Cow::Borrowed(w),
        };
        Weight { n, k, panels, plain, alone }
    }
}

/// A value of every step.
pub(super) struct Given<'a, T: Real> {
    all: Cow<'a, [T]>,
    same: bool,
}

impl<T: Real> Given<'_, T> {
    /// The elements, `width` to a row, that chunk `chunk` reads at step `step` of the walk.
    pub fn part(&self, walk: &Walk, width: usize, step: usize, chunk: usize) -> &[T] {
        if self.same { walk.state_part(&self.all, width, chunk) } else { walk.part(&self.all, width, step, chunk) }
    }
}

/// A weight, laid out once for all steps: in panels for the tiles of single precision, whose results are whole vectors;
/// row-major for all else.
pub(super) struct Weight<'a, T: Real> {
    n: usize,
    k: usize,
    panels: Option<Vec<f32>>,
    plain: Cow<'a, [T]>,
    /// Whether the batch is one chunk, and the product of a step is split over threads instead.
    alone: bool,
}

impl<T: Real> Weight<'_, T> {
    /// `c = a b`, or `c += a b`, row-major, for the rows of one chunk.
    pub fn product(&self, a: &[T], c: &mut [T], accumulate: bool) {
        let Weight { n, k, alone, .. } = *self;
        let count = c.len() / n.max(1);
        if let (Some(panels), Some(a), Some(c)) = (&self.panels, singles(a), singles_mut(c)) {
            let rows: Vec<usize> = (0..count).map(|row| row * k).collect();
            let left = Left { buffer: a, rows: &rows, runs: &[0], len: k, step: 1 };
            return tile::product(&left, &Right { buffer: panels, depth: k, first: 0 }, n, c, accumulate);
        }
        let (a, b) = (Matrix::rows(a, k), Matrix::rows(&self.plain, n));
        gemm([count, n, k], a, b, Target::rows(c, n), accumulate, alone);
    }
}

impl<T: Real> Drop for Weight<'_, T> {
    fn drop(&mut self) {
        self.panels.take().into_iter().for_each(give_back);
    }
}

/// `[k, n]`, or the transpose of `[n, k]`, in panels.
fn panels(w: &[f32], [n, k]: [usize; 2], turned: bool) -> Vec<f32> {
    let mut panels = stale(n * k);
    for (p, to) in panels.chunks_mut(PANEL * k).enumerate() {
        let (_, width) = tile::panel(p, 0, k, n);
        if turned {
            vectorized(
                #[inline(always)]
                || tile::transpose(&w[p * PANEL * k..], |r| r * k, [width, k], to, |c| c * width),
            );
        } else {
            to.chunks_mut(width).zip(w.chunks(n)).for_each(|(to, w)| to.copy_from_slice(&w[p * PANEL..][..width]));
        }
    }
    panels
}

/// `1 / (1 + e^-x)`, without a branch: where `e^-x` is infinite the quotient is 0, as it should be.
#[inline(always)]
pub(super) fn sigmoid<T: Real>(x: T) -> T {
    T::ONE / (T::ONE + (-x).exp())
}

/// Sets each row to what is given for it plus two biases.
pub(super) fn with_biases<T: Real>(given: &[T], first: &[T], second: &[T], rows: &mut [T]) {
    if first.is_empty() {
        return;
    }
    vectorized(
        #[inline(always)]
        || {
            for (row, given) in rows.chunks_mut(first.len()).zip(given.chunks(first.len())) {
                row.iter_mut().zip(given).zip(first).zip(second).for_each(
                    #[inline(always)]
                    |(((row, &x), &a), &b)| *row = x + (a + b),
                );
            }
        },
    );
}

/// `h_t = f(x_t + b_ih + h_(t-1) W^T + b_hh)`; inputs x, W, b_ih, b_hh, h_0.
pub fn forward<T: Real>(inputs: &[View<T>], reverse: bool, relu: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[0], &inputs[1], reverse);
    let h = walk.h;
    let [x, w, b_ih, b_hh, h0] = [0, 1, 2, 3, 4].map(|i| inputs[i].floats());
    let weight = walk.weight(&w, true);
    let mut hs = T::stale(walk.t * walk.b * h);
    walk.run(walk.deal(&mut hs, h), |chunk, mut hs| {
        for step in 0..walk.t {
            let (done, rest) = hs.split_at_mut(step);
            let before = done.last().map_or(walk.state_part(&h0, h, chunk), |h| h);
            let now = &mut *rest[0];
            with_biases(walk.part(&x, h, step, chunk), &b_ih, &b_hh, now);
            weight.product(before, now, true);
            vectorized(
                #[inline(always)]
                || match relu {
                    // NaN stays, as in the elementwise op.
                    true => now.iter_mut().for_each(
                        #[inline(always)]
                        |a| *a = if *a < T::ZERO { T::ZERO } else { *a },
                    ),
                    false => now.iter_mut().for_each(
                        #[inline(always)]
                        |a| *a = a.tanh(),
                    ),
                },
            );
        }
    });
    vec![Array::floats([walk.t, walk.b, h], hs)]
}

/// Back through time; inputs h, W and the cotangent of h. Gives the cotangents of what goes into `f`, and of h_0.
pub fn backward<T: Real>(inputs: &[View<T>], reverse: bool, relu: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[0], &inputs[1], reverse);
    let h = walk.h;
    let [hs, w] = [0, 1].map(|i| inputs[i].floats());
    let dhs = walk.given(&inputs[2]);
    let weight = walk.weight(&w, false);
    let mut da = T::stale(hs.len());
    let mut dh0 = vec![T::ZERO; walk.b * h];
    let dealt = walk.deal(&mut da, h).into_iter().zip(walk.deal_state(&mut dh0, h)).collect();
    walk.run(dealt, |chunk, (mut da, dh): (Part<T>, &mut [T])| {
        for step in (0..walk.t).rev() {
            let now = &mut *da[step];
            let given = dhs.part(&walk, h, step, chunk).iter().zip(walk.part(&hs, h, step, chunk));
            vectorized(
                #[inline(always)]
                || {
                    for ((a, &carried), (&dy, &y)) in now.iter_mut().zip(dh.iter()).zip(given) {
                        let above = if y > T::ZERO { T::ONE } else { T::ZERO };
                        *a = (dy + carried) * if relu { above } else { T::ONE - y * y };
                    }
                },
            );
            weight.product(now, dh, false);
        }
    });
    vec![Array::floats([walk.t, walk.b, h], da), Array::floats([walk.b, h], dh0)]
}
