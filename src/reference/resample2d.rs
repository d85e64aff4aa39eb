//! Images read at other places, on the CPU: each axis is a short list of weighted neighbours for each place.

use rayon::prelude::*;

use super::pool2d::planes_at_a_time;
use super::{Array, Real, View};

/// How a place of the result is read off one axis of the input; `r` is the input's places per place of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The element at `floor(o r)`.
    Nearest,
    /// The element at `floor((o + 1/2) r)`, the one whose middle is nearest.
    NearestExact,
    /// Between the two elements around `(o + 1/2) r - 1/2`: pixels are squares.
    Linear,
    /// Between the two elements around `o r`: pixels are points, corners lie on corners.
    LinearAligned,
    /// Cubics through the four elements around `(o + 1/2) r - 1/2`; beyond the border it is repeated.
    Cubic,
    /// Cubics through the four elements around `o r`.
    CubicAligned,
    /// The mean of the bin from `floor(o n / m)` to `ceil((o + 1) n / m)`, of `n` inputs and `m` outputs.
    Bins,
}

/// One axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Extent of the input.
    pub from: usize,
    /// Extent of the result.
    pub to: usize,
    /// How it is read.
    pub rule: Rule,
    /// `r` is this ..
    pub num: usize,
    /// .. by this.
    pub den: usize,
}

impl Axis {
    /// The first element that place `o` reads, and the weights of it and its neighbours.
    fn taps<T: Real>(&self, o: usize) -> (usize, Vec<T>) {
        let last = self.from - 1;
        match self.rule {
            Rule::Nearest => ((o * self.num / self.den).min(last), vec![T::ONE]),
            Rule::NearestExact => (((2 * o + 1) * self.num / (2 * self.den)).min(last), vec![T::ONE]),
            Rule::Linear | Rule::LinearAligned => {
                let ratio = self.num as f64 / self.den as f64;
                let place = match self.rule {
                    Rule::Linear => ((o as f64 + 0.5) * ratio - 0.5).max(0.0),
                    _ => o as f64 * ratio,
                };
                let first = (place as usize).min(last);
                if first == last {
                    return (first, vec![T::ONE]);
                }
                let part = (place - first as f64).min(1.0);
                (first, vec![T::of(1.0 - part), T::of(part)])
            }
            Rule::Cubic | Rule::CubicAligned => {
                let ratio = self.num as f64 / self.den as f64;
                let place = match self.rule {
                    Rule::Cubic => (o as f64 + 0.5) * ratio - 0.5,
                    _ => o as f64 * ratio,
                };
                let low = place.floor();
                let part = place - low;
                let weights = [1.0 + part, part, 1.0 - part, 2.0 - part].map(keys);
                // What lies beyond the border counts for the border.
                let at: [usize; 4] = std::array::from_fn(|k| (low + k as f64 - 1.0).clamp(0.0, last as f64) as usize);
                let mut taps = vec![0.0; at[3] - at[0] + 1];
                at.iter().zip(weights).for_each(|(&i, w)| taps[i - at[0]] += w);
                (at[0], taps.into_iter().map(T::of).collect())
            }
            Rule::Bins => {
                let first = o * self.from / self.to;
                let end = ((o + 1) * self.from).div_ceil(self.to);
                (first, vec![T::of(1.0 / (end - first) as f64); end - first])
            }
        }
    }

    fn all<T: Real>(&self) -> Vec<(usize, Vec<T>)> {
        (0..self.to).map(|o| self.taps(o)).collect()
    }
}

/// The weight of an element at this distance (Keys 1981, with the coefficient -3/4 that PyTorch takes).
fn keys(x: f64) -> f64 {
    const A: f64 = -0.75;
    if x <= 1.0 { ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0 } else { ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A }
}

/// Every plane read at other places.
pub fn forward<T: Real>(x: &View<T>, rows: &Axis, columns: &Axis) -> Array<T> {
    let shape = [x.shape[0], x.shape[1], rows.to, columns.to];
    let mut y = T::zeros(shape.iter().product());
    if !y.is_empty() {
        let (x, down, across) = (x.floats(), rows.all::<T>(), columns.all::<T>());
        let plane = rows.from * columns.from;
        let planes = y.par_chunks_mut(rows.to * columns.to).zip(x.par_chunks(plane));
        planes.with_min_len(planes_at_a_time(rows.to * columns.to)).for_each(|(y, x)| {
            let mut line = vec![T::ZERO; columns.from];
            for (y, (first, weights)) in y.chunks_mut(columns.to).zip(&down) {
                line.fill(T::ZERO);
                for (k, &w) in weights.iter().enumerate() {
                    let row = &x[(first + k) * columns.from..][..columns.from];
                    line.iter_mut().zip(row).for_each(|(l, &v)| *l += w * v);
                }
                for (y, (first, weights)) in y.iter_mut().zip(&across) {
                    *y = weights.iter().zip(&line[*first..]).map(|(&w, &v)| w * v).sum();
                }
            }
        });
    }
    Array::floats(shape, y)
}

/// The transpose: each cotangent added, with its weights, to the pixels it was read from.
pub fn grad<T: Real>(dy: &View<T>, rows: &Axis, columns: &Axis) -> Array<T> {
    let shape = [dy.shape[0], dy.shape[1], rows.from, columns.from];
    let mut dx = T::zeros(shape.iter().product());
    if !dx.is_empty() && !dy.is_empty() {
        let (dy, down, across) = (dy.floats(), rows.all::<T>(), columns.all::<T>());
        let result = rows.to * columns.to;
        let planes = dx.par_chunks_mut(rows.from * columns.from).zip(dy.par_chunks(result));
        planes.with_min_len(planes_at_a_time(result)).for_each(|(dx, dy)| {
            let mut line = vec![T::ZERO; columns.from];
            for (dy, (first, weights)) in dy.chunks(columns.to).zip(&down) {
                line.fill(T::ZERO);
                for (&g, (first, weights)) in dy.iter().zip(&across) {
                    weights.iter().zip(&mut line[*first..]).for_each(|(&w, l)| *l += w * g);
                }
                for (k, &w) in weights.iter().enumerate() {
                    let row = &mut dx[(first + k) * columns.from..][..columns.from];
                    row.iter_mut().zip(&line).for_each(|(d, &l)| *d += w * l);
                }
            }
        });
    }
    Array::floats(shape, dx)
}
