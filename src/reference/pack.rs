//! Several arrays in one buffer.

use super::{Array, Real, View};

/// Input `k`, row-major, from element `offsets[k]` on; zeros between, `len` elements in all.
pub fn pack<T: Real>(inputs: &[View<T>], offsets: &[usize], len: usize) -> Array<T> {
    let mut out = vec![T::ZERO; len];
    for (x, &offset) in inputs.iter().zip(offsets) {
        let x = x.floats();
        out[offset..offset + x.len()].copy_from_slice(&x);
    }
    Array::floats([len], out)
}
