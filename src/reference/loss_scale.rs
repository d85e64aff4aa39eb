//! The rule of dynamic loss scaling, that of `torch.amp.GradScaler`: a step whose gradients are not finite is skipped
//! and the scale falls; after enough good steps in a row it grows.

use super::{Array, Real, View};

/// The scale does not fall below this, so that it can be divided by.
pub const SMALLEST: f64 = 5.421010862427522e-20; // 2^-64

/// The state after a step, and the numbers by which the optimizer makes or skips it.
pub fn decide<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    let [state, found, share, settings] = [0, 1, 2, 3].map(|i| inputs[i].floats());
    let (scale, good, skipped) = (state[0], state[1], state[2]);
    let (growth, backoff, interval) = (settings[0], settings[1], settings[2]);
    let (base, last, rows) = (settings[3], settings[4], settings[5]);
    let (new_state, row) = if !found[0].f64().is_finite() {
        let smaller = scale * backoff;
        let floor = T::of(SMALLEST);
        ([if smaller < floor { floor } else { smaller }, T::ZERO, skipped + T::ONE], -T::ONE)
    } else {
        let beyond = skipped - base;
        let row = rows
            * if beyond < T::ZERO {
                T::ZERO
            } else if beyond > last {
                last
            } else {
                beyond
            };
        let larger = scale * growth;
        match good + T::ONE < interval {
            true => ([scale, good + T::ONE, skipped], row),
            // In single precision on every device, so that all of them stop at the same scale.
            false if larger.f64() > f32::MAX as f64 => ([scale, T::ZERO, skipped], row),
            false => ([larger, T::ZERO, skipped], row),
        }
    };
    vec![Array::floats([3], new_state.to_vec()), Array::floats([2], vec![share[0] / scale, row])]
}
