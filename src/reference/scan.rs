//! Running sums, and the positions of running extremes, along one axis.

use rayon::prelude::*;

use super::softmax::Axis;
use super::{Array, Data, Real, View, sort};

/// Element `k` is the sum of elements 0 to `k` along `axis`; floats are added up in double precision.
pub fn sum<T: Real>(x: &View<T>, axis: usize) -> Array<T> {
    let cut = Axis::of(x.shape, axis);
    let data = match x.data {
        Data::Float(_) => Data::Float(lines(&x.floats(), cut, 0.0, |sum, x, _| sum + x.f64(), |sum| T::of(*sum))),
        Data::Int(_) => Data::Int(lines(&x.ints(), cut, 0, |sum: i32, x, _| sum.wrapping_add(x), |sum| *sum)),
        Data::Uint(_) => Data::Uint(lines(&x.uints(), cut, 0, |sum: u32, x, _| sum.wrapping_add(x), |sum| *sum)),
    };
    Array::new(x.shape, data)
}

/// Element `k` is the position of the largest (or smallest) of elements 0 to `k` along `axis`: of the last of equal
/// ones, and of the last NaN if there is one.
pub fn arg<T: Real>(x: &View<T>, axis: usize, largest: bool) -> Array<T> {
    let cut = Axis::of(x.shape, axis);
    let positions = match x.data {
        Data::Float(_) => running(&x.floats(), cut, |new: T, old| {
            new.is_nan() || (!old.is_nan() && if largest { sort::order(new, old).is_ge() } else { new <= old })
        }),
        Data::Int(_) => running(&x.ints(), cut, |new, old| if largest { new >= old } else { new <= old }),
        Data::Uint(_) => running(&x.uints(), cut, |new, old| if largest { new >= old } else { new <= old }),
    };
    Array::uints(x.shape, positions)
}

fn running<E: Copy + Send + Sync>(x: &[E], cut: Axis, wins: impl Fn(E, E) -> bool + Sync) -> Vec<u32> {
    let step = |best: Option<(E, u32)>, x: E, k: usize| match best {
        Some((old, _)) if !wins(x, old) => best,
        _ => Some((x, k as u32)),
    };
    lines(x, cut, None, step, |best| best.map_or(0, |(_, k)| k))
}

/// Goes along every line with a state, and writes what `show` makes of it.
fn lines<E, S, O>(
    x: &[E],
    cut: Axis,
    start: S,
    step: impl Fn(S, E, usize) -> S + Sync,
    show: impl Fn(&S) -> O + Sync,
) -> Vec<O>
where
    E: Copy + Sync,
    S: Copy + Send + Sync,
    O: Copy + Default + Send,
{
    let mut out = vec![O::default(); x.len()];
    let block = |(o, out): (usize, &mut [O])| {
        if cut.inner == 1 {
            let mut state = start;
            for (k, (o, &x)) in out.iter_mut().zip(&x[o * cut.n..]).enumerate() {
                state = step(state, x, k);
                *o = show(&state);
            }
            return;
        }
        // Lines that lie side by side are gone along together.
        let mut states = vec![start; cut.inner];
        let x = &x[o * cut.block()..];
        for k in 0..cut.n {
            for (i, state) in states.iter_mut().enumerate() {
                let at = k * cut.inner + i;
                *state = step(*state, x[at], k);
                out[at] = show(state);
            }
        }
    };
    let size = cut.block().max(1);
    out.par_chunks_mut(size).with_min_len((1 << 13) / size).enumerate().for_each(block);
    out
}
