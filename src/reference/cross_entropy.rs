//! Cross-entropy of logits along axis 1 (axis 0 of a single row), with labels or target probabilities, and its
//! gradients.
//!
//! `-ln softmax(x)[label]` is written `ln sum e^(x - m) + (m - x[label])` with `m` the largest logit, so that no
//! probability is ever rounded to 0 before its logarithm is taken. A label that names no class makes its row NaN.

use super::simd::vectorized;
use super::softmax::{Axis, exp_minus, gather, max, scale, sums_over};
use super::{Array, Data, Real, View};

/// The axis of the classes.
pub fn class_axis(rank: usize) -> usize {
    (rank > 1) as usize
}

/// The loss of every row, by its label.
pub fn sparse<T: Real>(x: &View<T>, labels: &View<T>) -> Array<T> {
    let labels = classes(labels);
    losses(x, None, |row, _, index, e| {
        let largest = max(row);
        let sum = exp_minus(row, largest, e);
        row.get(labels[index] as usize).map_or(T::of(f64::NAN), |&chosen| sum.ln() + (largest - chosen))
    })
}

/// The loss of every row, by target probabilities.
pub fn dense<T: Real>(x: &View<T>, targets: &View<T>) -> Array<T> {
    losses(x, Some(targets), |row, t, _, e| {
        let largest = max(row);
        let log_sum = exp_minus(row, largest, e).ln();
        // A class that is masked (-inf) and not wanted costs nothing.
        let [all, cost] = sums_over([t, row], |[t, x]| [t, if t == T::ZERO { T::ZERO } else { t * (largest - x) }]);
        log_sum * all + cost
    })
}

/// `(softmax(x) - onehot(label)) dloss`
pub fn sparse_grad<T: Real>(x: &View<T>, labels: &View<T>, dloss: &View<T>) -> Array<T> {
    let (labels, dloss) = (classes(labels), dloss.floats());
    slopes(x, None, |row, _, index, dx| {
        let (label, d) = (labels[index] as usize, dloss[index]);
        if label >= row.len() {
            return dx.fill(T::of(f64::NAN));
        }
        let sum = exp_minus(row, max(row), dx);
        scale(dx, d / sum);
        dx[label] += -d;
    })
}

/// `(softmax(x) sum(t) - t) dloss`
pub fn dense_grad<T: Real>(x: &View<T>, targets: &View<T>, dloss: &View<T>) -> Array<T> {
    let dloss = dloss.floats();
    slopes(x, Some(targets), |row, t, index, dx| {
        let d = dloss[index];
        let [all] = sums_over([t], |[t]| [t]);
        let scale = all / exp_minus(row, max(row), dx);
        vectorized(
            #[inline(always)]
            || {
                dx.iter_mut().zip(t).for_each(
                    #[inline(always)]
                    |(e, &t)| *e = (*e * scale - t) * d,
                )
            },
        );
    })
}

/// Labels as class numbers; a negative one is a very large one.
fn classes<T: Real>(labels: &View<T>) -> Vec<u32> {
    match labels.data {
        Data::Int(_) => labels.ints().iter().map(|&l| l as u32).collect(),
        _ => labels.uints().into_owned(),
    }
}

/// One number per row, by `f` of the row, its targets, its index, and room for as many numbers.
fn losses<T: Real>(
    x: &View<T>,
    targets: Option<&View<T>>,
    f: impl Fn(&[T], &[T], usize, &mut [T]) -> T + Sync,
) -> Array<T> {
    let axis = class_axis(x.shape.len());
    let cut = Axis::of(x.shape, axis);
    let (x_flat, t_flat) = (x.floats(), targets.map(|t| t.floats()).unwrap_or_default());
    let mut shape = x.shape.to_vec();
    shape.remove(axis);
    let mut out = vec![T::ZERO; shape.iter().product()];
    cut.blocks(&mut out, cut.inner, |b, out| {
        let mut room = vec![T::ZERO; cut.n];
        for_each_row(cut, b, &x_flat, &t_flat, |i, row, t| {
            out[i] = f(row, t, b * cut.inner + i, &mut room);
        });
    });
    Array::floats(shape, out)
}

/// One row per row, by `f` of the row, its targets, its index, and the result.
fn slopes<T: Real>(x: &View<T>, targets: Option<&View<T>>, f: impl Fn(&[T], &[T], usize, &mut [T]) + Sync) -> Array<T> {
    let cut = Axis::of(x.shape, class_axis(x.shape.len()));
    let (x_flat, t_flat) = (x.floats(), targets.map(|t| t.floats()).unwrap_or_default());
    let mut out = T::stale(x.len());
    cut.blocks(&mut out, cut.block(), |b, out| {
        if cut.inner == 1 {
            return for_each_row(cut, b, &x_flat, &t_flat, |_, row, t| f(row, t, b, out));
        }
        let mut result = vec![T::ZERO; cut.n];
        for_each_row(cut, b, &x_flat, &t_flat, |i, row, t| {
            f(row, t, b * cut.inner + i, &mut result);
            result.iter().zip(out.iter_mut().skip(i).step_by(cut.inner)).for_each(|(&r, o)| *o = r);
        });
    });
    Array::floats(x.shape, out)
}

/// Calls `f` with the number of each row of block `b`, the row, and its targets if there are any; rows that do not lie
/// in one run are brought together first.
fn for_each_row<T: Real>(cut: Axis, b: usize, x: &[T], t: &[T], mut f: impl FnMut(usize, &[T], &[T])) {
    let range = b * cut.block()..(b + 1) * cut.block();
    let (x, t) = (&x[range.clone()], if t.is_empty() { t } else { &t[range] });
    if cut.inner == 1 {
        return f(0, x, t);
    }
    let (mut row, mut targets) = (vec![T::ZERO; cut.n], vec![T::ZERO; if t.is_empty() { 0 } else { cut.n }]);
    for i in 0..cut.inner {
        gather(x, i, cut.inner, &mut row);
        gather(t, i, cut.inner, &mut targets);
        f(i, &row, &targets);
    }
}
