//! Elements picked along one axis by indices.

use rayon::prelude::*;

use super::softmax::Axis;
use super::{Array, Data, Real, View, for_each_position};

/// The element that each index names among `n`, or `n` where it names none; signed ones below 0 count from the end.
///
/// Indices that are the same for all elements behind the axis are given once, which the flag says.
pub fn resolved<T: Real>(index: &View<T>, axis: usize, n: usize) -> (Vec<usize>, bool) {
    let behind = axis + 1..index.shape.len();
    let shared = behind.clone().all(|a| index.strides[a] == 0 || index.shape[a] == 1) && !index.is_empty();
    let axes = if shared { axis + 1 } else { index.shape.len() };
    let mut all = Vec::with_capacity(index.shape[..axes].iter().product());
    let mut each = |f: &dyn Fn(usize) -> i64| {
        for_each_position(&index.shape[..axes], &index.strides[..axes], index.offset, |at| {
            let raw = f(at);
            let from_start = if raw < 0 { raw + n as i64 } else { raw };
            all.push(if (0..n as i64).contains(&from_start) { from_start as usize } else { n });
        });
    };
    match index.data {
        Data::Int(v) => each(&|at| v[at] as i64),
        Data::Uint(v) => each(&|at| v[at] as i64),
        Data::Float(_) => panic!("an index is a whole number"),
    }
    (all, shared && !behind.is_empty())
}

/// `x[.., index[.., j, ..], ..]` along `axis`; NaN (0 for whole numbers, and for all with `zero`) where an index names
/// no element.
pub fn gather<T: Real>(x: &View<T>, index: &View<T>, axis: usize, zero: bool) -> Array<T> {
    let cut = Axis::of(x.shape, axis);
    let (at, shared) = resolved(index, axis, cut.n);
    let missing = if zero { T::ZERO } else { T::of(f64::NAN) };
    let (k, at) = (index.shape[axis], (at.as_slice(), shared));
    let data = match x.data {
        Data::Float(_) => Data::Float(pick(&x.floats(), cut, k, at, missing)),
        Data::Int(_) => Data::Int(pick(&x.ints(), cut, k, at, 0)),
        Data::Uint(_) => Data::Uint(pick(&x.uints(), cut, k, at, 0)),
    };
    Array::new(index.shape, data)
}

fn pick<E: Copy + Send + Sync>(x: &[E], cut: Axis, k: usize, (at, shared): (&[usize], bool), missing: E) -> Vec<E> {
    let Axis { outer, n, inner } = cut;
    let mut out = vec![missing; outer * k * inner];
    if out.is_empty() || n == 0 {
        return out;
    }
    // A line is the elements behind the axis, for one index along it.
    let lines = |(chunk, out): (usize, &mut [E])| {
        for (l, out) in out.chunks_mut(inner).enumerate() {
            let line = chunk * lines_at_a_time(inner) + l;
            let block = &x[line / k * n * inner..][..n * inner];
            if shared {
                if at[line] < n {
                    out.copy_from_slice(&block[at[line] * inner..][..inner]);
                }
                continue;
            }
            for (i, (o, &from)) in out.iter_mut().zip(&at[line * inner..]).enumerate() {
                if from < n {
                    *o = block[from * inner + i];
                }
            }
        }
    };
    out.par_chunks_mut(inner * lines_at_a_time(inner)).enumerate().for_each(lines);
    out
}

/// Lines of one task.
pub(super) fn lines_at_a_time(inner: usize) -> usize {
    ((1 << 13) / inner).max(1)
}
