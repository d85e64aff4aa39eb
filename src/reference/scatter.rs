//! Elements added (multiplied, compared) into places named by indices.
//!
//! Every place collects its sources in order; floats are added up and multiplied in double precision.

use rayon::prelude::*;

use super::gather::resolved;
use super::softmax::Axis;
use super::{Array, Data, Real, View};

/// What becomes of the elements that meet in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Combine {
    /// Their sum; whole numbers wrap.
    Add,
    /// Their product; whole numbers wrap.
    Mul,
    /// The largest; NaN if one is NaN.
    Max,
    /// The smallest; NaN if one is NaN.
    Min,
}

/// `x` with each `src[.., j, ..]` combined into place `index[.., j, ..]` along `axis`. Sources whose index names no
/// place are left out.
pub fn scatter<T: Real>(x: &View<T>, index: &View<T>, src: &View<T>, axis: usize, combine: Combine) -> Array<T> {
    let cut = Axis::of(x.shape, axis);
    let (at, shared) = resolved(index, axis, cut.n);
    let to = Places { cut, k: index.shape[axis], at: &at, shared };
    let data = match x.data {
        Data::Float(_) => {
            let (x, src) = (x.floats().into_owned(), src.floats());
            let wide = |x: T| x.f64();
            let extreme = |x: Vec<T>, largest: bool| {
                let pick =
                    move |a: T, b: T| if a.is_nan() || (a > b) == largest && a != b && !b.is_nan() { a } else { b };
                to.collect(x, &src, |x| x, pick, |a| a)
            };
            Data::Float(match combine {
                Combine::Add => to.collect(x, &src, wide, |a, b| a + b.f64(), T::of),
                Combine::Mul => to.collect(x, &src, wide, |a, b| a * b.f64(), T::of),
                Combine::Max => extreme(x, true),
                Combine::Min => extreme(x, false),
            })
        }
        Data::Int(_) => {
            let f = match combine {
                Combine::Add => i32::wrapping_add,
                Combine::Mul => i32::wrapping_mul,
                Combine::Max => i32::max,
                Combine::Min => i32::min,
            };
            Data::Int(to.collect(x.ints().into_owned(), &src.ints(), |x| x, f, |a| a))
        }
        Data::Uint(_) => {
            let f = match combine {
                Combine::Add => u32::wrapping_add,
                Combine::Mul => u32::wrapping_mul,
                Combine::Max => u32::max,
                Combine::Min => u32::min,
            };
            Data::Uint(to.collect(x.uints().into_owned(), &src.uints(), |x| x, f, |a| a))
        }
    };
    Array::new(x.shape, data)
}

/// For each place of `shape`, the last `j` along `axis` whose index names it, counted from 1; 0 if there is none.
pub fn last<T: Real>(index: &View<T>, axis: usize, shape: &[usize]) -> Array<T> {
    let cut = Axis::of(shape, axis);
    let (at, shared) = resolved(index, axis, cut.n);
    let k = index.shape[axis];
    let mut out = vec![0u32; cut.outer * cut.block()];
    for (line, out) in out.chunks_mut(cut.block().max(1)).enumerate() {
        for j in 0..k {
            for i in 0..cut.inner {
                let place = if shared { at[line * k + j] } else { at[(line * k + j) * cut.inner + i] };
                if place < cut.n {
                    out[place * cut.inner + i] = j as u32 + 1;
                }
            }
        }
    }
    Array::uints(shape, out)
}

/// Sources per line among which those of one place are looked for, and not listed.
const FEW: usize = 8;

/// Where each source goes.
struct Places<'a> {
    cut: Axis,
    k: usize,
    at: &'a [usize],
    shared: bool,
}

impl Places<'_> {
    fn collect<E, A>(
        &self,
        mut out: Vec<E>,
        src: &[E],
        start: impl Fn(E) -> A + Sync,
        step: impl Fn(A, E) -> A + Sync,
        end: impl Fn(A) -> E + Sync,
    ) -> Vec<E>
    where
        E: Copy + Send + Sync,
        A: Copy + Send,
    {
        let (Axis { outer, n, inner }, k) = (self.cut, self.k);
        if out.is_empty() || k == 0 {
            return out;
        }
        if !self.shared && k <= FEW {
            // Few sources: the first of each place looks for the others.
            let block = |(o, out): (usize, &mut [E])| {
                let source = |j: usize, i: usize| (o * k + j) * inner + i;
                for (j, i) in (0..k).flat_map(|j| (0..inner).map(move |i| (j, i))) {
                    let place = self.at[source(j, i)];
                    let same = |&j: &usize| self.at[source(j, i)] == place;
                    if place < n && !(0..j).any(|j| same(&j)) {
                        let out = &mut out[place * inner + i];
                        *out = end((j..k).filter(same).fold(start(*out), |sum, j| step(sum, src[source(j, i)])));
                    }
                }
            };
            let least = super::gather::lines_at_a_time(k * inner);
            out.par_chunks_mut(n * inner).with_min_len(least).enumerate().for_each(block);
            return out;
        }
        if !self.shared {
            let block = |(o, out): (usize, &mut [E])| {
                let mut sums: Vec<A> = out.iter().map(|&x| start(x)).collect();
                for (s, &x) in src[o * k * inner..][..k * inner].iter().enumerate() {
                    let place = self.at[o * k * inner + s];
                    if place < n {
                        let sum = &mut sums[place * inner + s % inner];
                        *sum = step(*sum, x);
                    }
                }
                out.iter_mut().zip(sums).for_each(|(o, sum)| *o = end(sum));
            };
            let least = super::gather::lines_at_a_time(k * inner);
            out.par_chunks_mut(n * inner).with_min_len(least).enumerate().for_each(block);
            return out;
        }
        // Whole lines go to one place: list the sources of each place, in order, and let each place collect its own.
        for o in 0..outer {
            let at = &self.at[o * k..][..k];
            let mut begin = vec![0; n + 2];
            at.iter().for_each(|&place| begin[place + 1] += 1);
            (0..=n).for_each(|v| begin[v + 1] += begin[v]);
            let mut next = begin.clone();
            let mut sources = vec![0; k];
            for (j, &place) in at.iter().enumerate() {
                sources[next[place]] = j;
                next[place] += 1;
            }
            let places = |sums: &mut Vec<A>, (v, out): (usize, &mut [E])| {
                let mine = &sources[begin[v]..begin[v + 1]];
                if mine.is_empty() {
                    return;
                }
                sums.clear();
                sums.extend(out.iter().map(|&x| start(x)));
                for j in mine {
                    let line = &src[(o * k + j) * inner..][..inner];
                    sums.iter_mut().zip(line).for_each(|(sum, &x)| *sum = step(*sum, x));
                }
                out.iter_mut().zip(sums).for_each(|(o, &mut sum)| *o = end(sum));
            };
            let least = super::gather::lines_at_a_time(inner);
            let lines = out[o * n * inner..][..n * inner].par_chunks_mut(inner).with_min_len(least);
            lines.enumerate().for_each_init(Vec::new, places);
        }
        out
    }
}
