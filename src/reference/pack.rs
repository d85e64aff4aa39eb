//! Several arrays in one buffer, in rising order.

use rayon::prelude::*;

use super::{Array, Real, View};

/// Elements per task.
const CHUNK: usize = 1 << 16;

/// Input `k`, row-major, from element `offsets[k]` on; zeros between, `len` elements in all.
pub fn pack<T: Real>(inputs: &[View<T>], offsets: &[usize], len: usize) -> Array<T> {
    let mut out = T::stale(len);
    let (mut rest, mut end) = (&mut out[..], 0);
    for (x, &offset) in inputs.iter().zip(offsets) {
        let x = x.floats();
        let (between, tail) = std::mem::take(&mut rest).split_at_mut(offset - end);
        let (own, tail) = tail.split_at_mut(x.len());
        between.fill(T::ZERO);
        own.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(to, from)| to.copy_from_slice(from));
        (rest, end) = (tail, offset + x.len());
    }
    rest.fill(T::ZERO);
    Array::floats([len], out)
}
