//! Normalisation on the CPU: rows made to have mean 0 and variance 1.
//!
//! Row `r` of `[outer, rows, inner]` is all numbers `[o, r, i]`. Sums run over many lanes, and the sum of squares is
//! taken about the mean, corrected for what the mean was rounded by.

use rayon::prelude::*;

use super::simd::vectorized;
use super::softmax::{sums_of, sums_over};
use super::{Array, Data, Real, View};

/// How rows lie in an array.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    /// Runs of a row.
    pub outer: usize,
    /// Rows.
    pub rows: usize,
    /// Numbers in one run.
    pub inner: usize,
}

/// Weights of a normalisation: none, or one per row, or one per place in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Affine {
    /// No weight.
    None,
    /// One for each row: batch normalisation, where a row is a channel.
    PerRow,
    /// One for each place in a row: layer normalisation.
    PerPlace,
}

impl Rows {
    /// The rows of a three-dimensional view.
    pub fn of<T: Real>(x: &View<T>) -> Rows {
        let &[outer, rows, inner] = x.shape else { unreachable!("inferred") };
        Rows { outer, rows, inner }
    }

    fn n(&self) -> usize {
        self.outer * self.inner
    }

    /// Sums over a row of the parts of `term`, of the numbers of `arrays` at the same place.
    fn sums<T: Real, const N: usize, const M: usize>(
        &self,
        row: usize,
        arrays: [&[T]; N],
        term: impl Fn([T; N]) -> [T; M],
    ) -> [T; M] {
        let at = |o: usize| (o * self.rows + row) * self.inner;
        if self.inner == 1 {
            return sums_of(self.outer, |o| term(arrays.map(|x| x[at(o)])));
        }
        sums_of(self.outer, |o| sums_over(arrays.map(|x| &x[at(o)..at(o) + self.inner]), &term))
    }

    /// Calls `f` for each row, on all threads if that pays.
    fn map<R: Send>(&self, f: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
        match self.n() * self.rows < 1 << 13 {
            true => (0..self.rows).map(f).collect(),
            false => (0..self.rows).into_par_iter().map(f).collect(),
        }
    }

    /// Fills an array of this form: `f(row, position, run)` writes the run that begins at a position.
    fn fill<T: Real>(&self, f: impl Fn(usize, usize, &mut [T]) + Sync) -> Vec<T> {
        let mut out = T::stale(self.n() * self.rows);
        if out.is_empty() {
            return out;
        }
        let runs = ((1 << 13) / self.inner).max(1);
        let size = runs * self.inner;
        out.par_chunks_mut(size).enumerate().for_each(|(chunk, out)| {
            vectorized(
                #[inline(always)]
                || {
                    for (k, run) in out.chunks_mut(self.inner).enumerate() {
                        f((chunk * runs + k) % self.rows, chunk * size + k * self.inner, run);
                    }
                },
            );
        });
        out
    }
}

/// `(x - mean) / sqrt(variance + eps)` of each row, times weight plus bias; mean and reciprocal root of each row; and
/// the variances.
pub fn forward<T: Real>(
    x: &View<T>,
    weight: Option<&View<T>>,
    bias: Option<&View<T>>,
    affine: Affine,
    center: bool,
    eps: f64,
) -> (Array<T>, Array<T>, Vec<T>) {
    let rows = Rows::of(x);
    let x = x.floats();
    let n = T::of(rows.n().max(1) as f64);
    let stats = rows.map(|r| {
        let [sum] = rows.sums(
            r,
            [&x],
            #[inline(always)]
            |[x]| [x],
        );
        let rough = if center { sum / n } else { T::ZERO };
        let [squares, off] = rows.sums(
            r,
            [&x],
            #[inline(always)]
            |[x]| [(x - rough) * (x - rough), x - rough],
        );
        let off = if center { off / n } else { T::ZERO };
        let variance = squares / n - off * off;
        let variance = if variance < T::ZERO { T::ZERO } else { variance };
        (rough + off, variance)
    });
    let (means, variances): (Vec<T>, Vec<T>) = stats.into_iter().unzip();
    let scales: Vec<T> = variances.iter().map(|&v| T::ONE / (v + T::of(eps)).sqrt()).collect();
    let weight = weight.map(View::floats);
    let bias = bias.map(View::floats);
    let y = rows.fill(
        #[inline(always)]
        |r, at, y: &mut [T]| {
            let (mean, scale) = (means[r], scales[r]);
            y.iter_mut().zip(&x[at..]).for_each(|(y, &x)| *y = (x - mean) * scale);
            match (&weight, affine) {
                (None, _) | (_, Affine::None) => {}
                (Some(w), Affine::PerRow) => {
                    let b = bias.as_ref().map_or(T::ZERO, |b| b[r]);
                    y.iter_mut().for_each(|y| *y = *y * w[r] + b);
                }
                (Some(w), Affine::PerPlace) => {
                    y.iter_mut().zip(&w[..]).for_each(|(y, &w)| *y *= w);
                    if let Some(b) = &bias {
                        y.iter_mut().zip(&b[..]).for_each(|(y, &b)| *y += b);
                    }
                }
            }
        },
    );
    let stats = Array::floats([2, rows.rows], [means, scales].concat());
    (Array::floats([rows.outer, rows.rows, rows.inner], y), stats, variances)
}

/// Running statistics moved by `momentum` towards the mean and the unbiased variance of each of the rows of `n`
/// numbers.
pub fn running<T: Real>(
    stats: &Array<T>,
    variances: &[T],
    n: usize,
    [mean, var, momentum]: [&View<T>; 3],
) -> [Array<T>; 2] {
    let Data::Float(means) = &stats.data else { unreachable!("statistics are floats") };
    let (mean, var, m) = (mean.floats(), var.floats(), momentum.floats()[0]);
    let unbias = T::of(n as f64 / (n.max(2) - 1) as f64);
    let towards = |old: T, new: T| (T::ONE - m) * old + m * new;
    let new_mean = mean.iter().zip(means).map(|(&old, &new)| towards(old, new)).collect();
    let new_var = var.iter().zip(variances).map(|(&old, &new)| towards(old, new * unbias)).collect();
    [Array::floats([mean.len()], new_mean), Array::floats([var.len()], new_var)]
}

/// Gradients of `x`, and of the weight and the bias, from the statistics of the forward pass.
pub fn grad<T: Real>(
    x: &View<T>,
    stats: &View<T>,
    dy: &View<T>,
    weight: Option<&View<T>>,
    affine: Affine,
    center: bool,
) -> [Array<T>; 3] {
    let rows = Rows::of(x);
    let (x, stats, dy) = (x.floats(), stats.floats(), dy.floats());
    let weight = weight.map(View::floats);
    let n = T::of(rows.n().max(1) as f64);
    let (means, scales) = stats.split_at(rows.rows);
    let place_weight = match (&weight, affine) {
        (Some(w), Affine::PerPlace) => Some(w),
        _ => None,
    };
    let sums = rows.map(|r| {
        let (mean, scale) = (means[r], scales[r]);
        let Some(w) = place_weight else {
            return rows.sums(
                r,
                [&x, &dy],
                #[inline(always)]
                |[x, dy]| [dy, dy * ((x - mean) * scale)],
            );
        };
        let run = r * rows.inner..(r + 1) * rows.inner;
        sums_over(
            [&x[run.clone()], &dy[run], w],
            #[inline(always)]
            |[x, dy, w]| [dy * w, dy * w * ((x - mean) * scale)],
        )
    });
    let dx = rows.fill(
        #[inline(always)]
        |r, at, dx: &mut [T]| {
            let (mean, scale) = (means[r], scales[r]);
            let first = if center { sums[r][0] / n } else { T::ZERO };
            let second = sums[r][1] / n;
            let factor = match (&weight, affine) {
                (Some(w), Affine::PerRow) => scale * w[r],
                _ => scale,
            };
            let slope = |g: T, x: T| (g - first - (x - mean) * scale * second) * factor;
            let places = dx.iter_mut().zip(&x[at..]).zip(&dy[at..]);
            match place_weight {
                None => places.for_each(|((dx, &x), &dy)| *dx = slope(dy, x)),
                Some(w) => places.zip(&w[..]).for_each(|(((dx, &x), &dy), &w)| *dx = slope(dy * w, x)),
            }
        },
    );
    let (dw, db) = match affine {
        Affine::None => (Vec::new(), Vec::new()),
        Affine::PerRow => sums.iter().map(|&[b, w]| (w, b)).unzip(),
        Affine::PerPlace => {
            let columns = Rows { outer: rows.rows, rows: rows.inner, inner: 1 };
            let parts = |r: usize, at: usize| [dy[at] * ((x[at] - means[r]) * scales[r]), dy[at]];
            let sums = columns.map(|i| sums_of(rows.rows, |r| parts(r, r * rows.inner + i)));
            sums.into_iter().map(|[w, b]| (w, b)).unzip()
        }
    };
    let shape = |v: &Vec<T>| vec![v.len()];
    let dx = Array::floats([rows.outer, rows.rows, rows.inner], dx);
    [dx, Array::floats(shape(&dw), dw), Array::floats(shape(&db), db)]
}
