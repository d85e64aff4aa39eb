//! Reductions: sums, extremes and their positions over any axes.
//!
//! A sum in single precision loses digits to its own size, so floats are added up in double precision. Long
//! reductions are cut into pieces of a fixed number of elements, and the pieces are added up in order.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::simd::{prefetch, vectorized};
use super::{Array, Data, Real, View};

/// Elements of a piece: large enough for a thread to be worth its while, a constant so that results repeat.
const PIECE: usize = 1 << 14;

/// How far ahead of what is folded numbers are asked for.
const AHEAD: usize = 1 << 10;

/// Columns that are added up side by side.
const COLUMNS: usize = 512;

/// Sums over `axes`, in a result of `shape`.
pub fn sum<T: Real>(x: &View<T>, axes: &[usize], shape: &[usize]) -> Array<T> {
    let walk = Walk::new(x, axes);
    let data = match x.data {
        Data::Float(v) => {
            let sums = walk.fold(
                v,
                0.0,
                #[inline(always)]
                |a, x, _| a + x.f64(),
                #[inline(always)]
                |a, b| a + b,
            );
            Data::Float(sums.into_iter().map(T::of).collect())
        }
        Data::Int(v) => Data::Int(walk.fold(v, 0, |a: i32, x, _| a.wrapping_add(x), i32::wrapping_add)),
        Data::Uint(v) => Data::Uint(walk.fold(v, 0, |a: u32, x, _| a.wrapping_add(x), u32::wrapping_add)),
    };
    Array::new(shape, data)
}

/// The largest element over `axes`, or the smallest; NaN if there is one.
pub fn extreme<T: Real>(x: &View<T>, axes: &[usize], shape: &[usize], largest: bool) -> Array<T> {
    let walk = Walk::new(x, axes);
    let pick = |a: T, b: T| if a.is_nan() || (a > b) == largest && a != b && !b.is_nan() { a } else { b };
    let data = match x.data {
        Data::Float(v) => {
            let start = if largest { T::NEG_INFINITY } else { T::INFINITY };
            Data::Float(walk.fold(v, start, |a, x, _| pick(a, x), pick))
        }
        Data::Int(v) if largest => Data::Int(walk.fold(v, i32::MIN, |a, x, _| a.max(x), i32::max)),
        Data::Int(v) => Data::Int(walk.fold(v, i32::MAX, |a, x, _| a.min(x), i32::min)),
        Data::Uint(v) if largest => Data::Uint(walk.fold(v, u32::MIN, |a, x, _| a.max(x), u32::max)),
        Data::Uint(v) => Data::Uint(walk.fold(v, u32::MAX, |a, x, _| a.min(x), u32::min)),
    };
    Array::new(shape, data)
}

/// The row-major position, within the reduced axes, of the first largest or smallest element; of the first NaN, if
/// there is one.
pub fn arg_extreme<T: Real>(x: &View<T>, axes: &[usize], shape: &[usize], largest: bool) -> Array<T> {
    let walk = Walk::new(x, axes);
    let better = |order: Ordering| if largest { order.is_gt() } else { order.is_lt() };
    let positions = match x.data {
        Data::Float(v) => {
            let start = if largest { T::NEG_INFINITY } else { T::INFINITY };
            walk.first_best(v, start, |a, b| (a.is_nan() && !b.is_nan()) || a.partial_cmp(&b).is_some_and(better))
        }
        Data::Int(v) => walk.first_best(v, if largest { i32::MIN } else { i32::MAX }, |a, b| better(a.cmp(&b))),
        Data::Uint(v) => walk.first_best(v, if largest { u32::MIN } else { u32::MAX }, |a, b| better(a.cmp(&b))),
    };
    Array::uints(shape, positions)
}

/// A run of equal steps through memory.
#[derive(Clone, Copy)]
struct Run {
    len: usize,
    step: isize,
}

/// How a reduction goes through memory: axes that lie in one run are one axis.
struct Walk {
    kept: Vec<Run>,
    reduced: Vec<Run>,
    offset: usize,
    outputs: usize,
    n: usize,
}

impl Walk {
    fn new<T: Real>(x: &View<T>, axes: &[usize]) -> Walk {
        let runs = |reduced: bool| {
            let mut runs: Vec<Run> = Vec::new();
            for a in (0..x.shape.len()).filter(|a| axes.contains(a) == reduced && x.shape[*a] != 1) {
                let next = Run { len: x.shape[a], step: x.strides[a] };
                match runs.last_mut() {
                    Some(last) if last.step == next.step * next.len as isize => {
                        *last = Run { len: last.len * next.len, step: next.step };
                    }
                    _ => runs.push(next),
                }
            }
            runs
        };
        let (kept, reduced) = (runs(false), runs(true));
        let product = |runs: &[Run]| runs.iter().map(|r| r.len).product::<usize>();
        Walk { outputs: product(&kept), n: product(&reduced), kept, reduced, offset: x.offset }
    }

    /// The position of the first element of each output that no other beats.
    fn first_best<E>(&self, x: &[E], start: E, beats: impl Fn(E, E) -> bool + Sync) -> Vec<u32>
    where
        E: Copy + Send + Sync,
    {
        const NONE: u32 = u32::MAX;
        // Within a piece positions rise, so of equal elements the one that is held is the first.
        let step = |a: (E, u32), x: E, k: usize| if a.1 == NONE || beats(x, a.0) { (x, k as u32) } else { a };
        let merge = |a: (E, u32), b: (E, u32)| {
            let b_wins = b.1 != NONE && (a.1 == NONE || beats(b.0, a.0) || (!beats(a.0, b.0) && b.1 < a.1));
            if b_wins { b } else { a }
        };
        self.fold(x, (start, NONE), step, merge).into_iter().map(|(_, k)| k).collect()
    }

    /// Folds the elements of each output with `step`, which is told the element's row-major position among the
    /// reduced ones, and the results of pieces with `merge`.
    fn fold<E, A>(
        &self,
        x: &[E],
        start: A,
        step: impl Fn(A, E, usize) -> A + Sync,
        merge: impl Fn(A, A) -> A + Sync,
    ) -> Vec<A>
    where
        E: Copy + Sync,
        A: Copy + Send + Sync,
    {
        if self.outputs == 0 || self.n == 0 {
            return vec![start; self.outputs];
        }
        let near = |runs: &[Run]| runs.last().map_or(isize::MAX, |r| r.step.abs());
        let partial = if near(&self.kept) < near(&self.reduced) {
            self.fold_columns(x, start, &step)
        } else {
            self.fold_rows(x, start, &step, &merge)
        };
        // One row of partial results per piece.
        let mut rows = partial.chunks_exact(self.outputs);
        let mut total = rows.next().expect("there is at least one piece").to_vec();
        rows.for_each(|row| total.iter_mut().zip(row).for_each(|(t, &r)| *t = merge(*t, r)));
        total
    }

    /// The elements of an output lie side by side: run after run.
    fn fold_rows<E, A>(
        &self,
        x: &[E],
        start: A,
        step: &(impl Fn(A, E, usize) -> A + Sync),
        merge: &(impl Fn(A, A) -> A + Sync),
    ) -> Vec<A>
    where
        E: Copy + Sync,
        A: Copy + Send + Sync,
    {
        let (inner, outer) = self.reduced.split_last().map_or((Run { len: 1, step: 0 }, &[][..]), |(r, o)| (*r, o));
        let rows = self.n / inner.len;
        // A piece is some whole rows, or part of the only one.
        let (rows_per_piece, per_row) = if rows == 1 { (1, PIECE) } else { ((PIECE / inner.len).max(1), inner.len) };
        let pieces_per_row = inner.len.div_ceil(per_row);
        let pieces = rows.div_ceil(rows_per_piece) * pieces_per_row;
        let one = |piece: usize, output: usize| {
            let base = self.offset as isize + position(&self.kept, output);
            let (block, part) = (piece / pieces_per_row, piece % pieces_per_row);
            let (from, to) = (part * per_row, inner.len.min((part + 1) * per_row));
            let mut total = start;
            for row in block * rows_per_piece..rows.min((block + 1) * rows_per_piece) {
                let at = base + position(outer, row) + from as isize * inner.step;
                let k = row * inner.len + from;
                let sum = vectorized(
                    #[inline(always)]
                    || {
                        if inner.step == 1 {
                            let run = &x[at as usize..at as usize + (to - from)];
                            match run.len() >= 512 {
                                true => fold_run::<32, E, A>(run, k, start, step, merge),
                                false => fold_run::<8, E, A>(run, k, start, step, merge),
                            }
                        } else {
                            let places = (0..to - from).map(|i| (at + i as isize * inner.step) as usize);
                            places.enumerate().fold(start, |total, (i, at)| step(total, x[at], k + i))
                        }
                    },
                );
                total = merge(total, sum);
            }
            total
        };
        let work = self.outputs * pieces;
        let batch = (PIECE / (self.n / pieces).max(1)).clamp(1, work);
        let mut partial = vec![start; work];
        let fill = |(b, out): (usize, &mut [A])| {
            for (i, o) in out.iter_mut().enumerate() {
                let at = b * batch + i;
                *o = one(at / self.outputs, at % self.outputs);
            }
        };
        if work <= batch {
            partial.chunks_mut(batch).enumerate().for_each(fill);
        } else {
            partial.par_chunks_mut(batch).enumerate().for_each(fill);
        }
        partial
    }

    /// Neighbours in memory belong to different outputs: whole stretches of outputs are folded side by side.
    fn fold_columns<E, A>(&self, x: &[E], start: A, step: &(impl Fn(A, E, usize) -> A + Sync)) -> Vec<A>
    where
        E: Copy + Sync,
        A: Copy + Send + Sync,
    {
        let (inner, outer) = self.kept.split_last().expect("a column is a kept axis");
        let columns = inner.len.min(COLUMNS);
        let rows_per_piece = (PIECE / columns).max(1);
        let pieces = self.n.div_ceil(rows_per_piece);
        let stretches = inner.len.div_ceil(columns);
        let one = |piece: usize, o: usize, out: &mut [A], first: usize| {
            let base = self.offset as isize + position(outer, o) + first as isize * inner.step;
            for k in piece * rows_per_piece..self.n.min((piece + 1) * rows_per_piece) {
                let at = base + position(&self.reduced, k);
                if inner.step == 1 {
                    let row = &x[at as usize..at as usize + out.len()];
                    vectorized(
                        #[inline(always)]
                        || {
                            out.iter_mut().zip(row).for_each(
                                #[inline(always)]
                                |(a, &x)| *a = step(*a, x, k),
                            )
                        },
                    );
                } else {
                    for (i, a) in out.iter_mut().enumerate() {
                        *a = step(*a, x[(at + i as isize * inner.step) as usize], k);
                    }
                }
            }
        };
        // Each stretch of each line of outputs of each piece: cut the result the same way.
        let mut partial = vec![start; pieces * self.outputs];
        let mut work: Vec<(usize, &mut [A])> = partial
            .chunks_mut(inner.len)
            .enumerate()
            .flat_map(|(line, out)| out.chunks_mut(columns).enumerate().map(move |(s, o)| (line * stretches + s, o)))
            .collect();
        let lines = self.outputs / inner.len;
        let fill = |(at, out): &mut (usize, &mut [A])| {
            let (line, stretch) = (*at / stretches, *at % stretches);
            one(line / lines, line % lines, out, stretch * columns);
        };
        if self.n * self.outputs <= PIECE {
            work.iter_mut().for_each(fill);
        } else {
            let each = (PIECE / (columns * rows_per_piece.min(self.n))).max(1);
            work.par_iter_mut().with_min_len(each).for_each(fill);
        }
        partial
    }
}

/// Folds a run in interleaved parts, which a processor adds up side by side.
#[inline(always)]
fn fold_run<const PARTS: usize, E: Copy, A: Copy>(
    run: &[E],
    k: usize,
    start: A,
    step: &impl Fn(A, E, usize) -> A,
    merge: &impl Fn(A, A) -> A,
) -> A {
    let mut parts = [start; PARTS];
    let (chunks, rest) = run.as_chunks::<PARTS>();
    for (c, chunk) in chunks.iter().enumerate() {
        if let Some(ahead) = chunks.get(c + AHEAD / PARTS) {
            prefetch(ahead);
        }
        for j in 0..PARTS {
            parts[j] = step(parts[j], chunk[j], k + c * PARTS + j);
        }
    }
    for (j, &x) in rest.iter().enumerate() {
        parts[j] = step(parts[j], x, k + chunks.len() * PARTS + j);
    }
    let mut width = PARTS;
    while width > 1 {
        width /= 2;
        for j in 0..width {
            parts[j] = merge(parts[2 * j], parts[2 * j + 1]);
        }
    }
    parts[0]
}

/// Where element `index` of these axes lies.
fn position(runs: &[Run], mut index: usize) -> isize {
    let mut at = 0;
    for run in runs.iter().rev() {
        at += (index % run.len) as isize * run.step;
        index /= run.len;
    }
    at
}
