//! Numbers in a row.

use super::{Array, Data, Real, View};

/// `start + i step` for i from 0 to n; whole numbers wrap.
pub fn iota<T: Real>(start: &View<T>, step: &View<T>, n: usize) -> Array<T> {
    let data = match start.data {
        Data::Float(_) => {
            let (start, step) = (start.floats()[0].f64(), step.floats()[0].f64());
            Data::Float((0..n).map(|i| T::of(start + i as f64 * step)).collect())
        }
        Data::Int(_) => {
            let (start, step) = (start.ints()[0], step.ints()[0]);
            Data::Int((0..n).map(|i| start.wrapping_add(step.wrapping_mul(i as i32))).collect())
        }
        Data::Uint(_) => {
            let (start, step) = (start.uints()[0], step.uints()[0]);
            Data::Uint((0..n).map(|i| start.wrapping_add(step.wrapping_mul(i as u32))).collect())
        }
    };
    Array::new([n], data)
}
