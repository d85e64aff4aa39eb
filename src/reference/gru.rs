//! The GRU over a whole sequence, in the form of PyTorch and cuDNN: the reset gate scales what the state contributes after
//! its product, bias included.
//!
//! ```text
//! r, z = sigmoid(x_t + b_ih + h_(t-1) W^T + b_hh)        m = h_(t-1) W_n^T + b_hn
//! n = tanh(x_n + b_in + r m)        h_t = (1 - z) n + z h_(t-1)
//! ```

use super::rnn::{Part, Walk, sigmoid, transposed};
use super::simd::vectorized;
use super::{Array, Real, View};

/// Inputs x, W, b_ih, b_hh, h_0. Gives h of every step, and `r z n m` of every step.
pub fn forward<T: Real>(inputs: &[View<T>], reverse: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[0], &inputs[1], reverse);
    let (h, all) = (walk.h, walk.t * walk.b * walk.h);
    let [x, w, b_ih, b_hh, h0] = [0, 1, 2, 3, 4].map(|i| inputs[i].floats());
    let w_t = transposed(&w, h);
    let (mut hs, mut gates) = (T::stale(all), T::stale(4 * all));
    let dealt = walk.deal(&mut hs, h).into_iter().zip(walk.deal(&mut gates, 4 * h)).collect();
    walk.run(dealt, |chunk, (mut hs, mut gates): (Part<T>, Part<T>)| {
        let mut from_state = vec![T::ZERO; 3 * walk.state_part(&h0, h, chunk).len()];
        for step in 0..walk.t {
            let (done, rest) = hs.split_at_mut(step);
            let before = done.last().map_or(walk.state_part(&h0, h, chunk), |h| h);
            walk.product([3 * h, h], before, &w_t, &mut from_state, false);
            let rows = gates[step].chunks_mut(4 * h).zip(rest[0].chunks_mut(h)).zip(before.chunks(h));
            let given = walk.part(&x, 3 * h, step, chunk).chunks(3 * h).zip(from_state.chunks(3 * h));
            for (((gates, now), before), (x, s)) in rows.zip(given) {
                vectorized(
                    #[inline(always)]
                    || unit_forward([x, s, &b_ih, &b_hh], before, gates, now),
                );
            }
        }
    });
    vec![Array::floats([walk.t, walk.b, h], hs), Array::floats([walk.t, walk.b, 4 * h], gates)]
}

/// One row: gates and state from what input and state give.
#[inline(always)]
fn unit_forward<T: Real>(given: [&[T]; 4], before: &[T], gates: &mut [T], now: &mut [T]) {
    let h = now.len();
    // Slices of one length, so that the loops need no other bounds.
    let before = &before[..h];
    let (r_z, n_m) = gates.split_at_mut(2 * h);
    let (n, m) = n_m.split_at_mut(h);
    let m = &mut m[..h];
    let [x, s, b_ih, b_hh] = given.map(|x| &x[..2 * h]);
    for j in 0..2 * h {
        r_z[j] = sigmoid(x[j] + b_ih[j] + (s[j] + b_hh[j]));
    }
    let (r, z) = r_z.split_at(h);
    let [x, s, b_ih, b_hh] = given.map(|x| &x[2 * h..3 * h]);
    for j in 0..h {
        m[j] = s[j] + b_hh[j];
        n[j] = (x[j] + b_ih[j] + r[j] * m[j]).tanh();
        now[j] = n[j] + z[j] * (before[j] - n[j]);
    }
}

/// Back through time; inputs gates, h, h_0, W and the cotangent of h. Gives the cotangents of `x + b_ih`, of
/// `h_(t-1) W^T + b_hh`, and of h_0.
pub fn backward<T: Real>(inputs: &[View<T>], reverse: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[1], &inputs[3], reverse);
    let h = walk.h;
    let [gates, hs, h0, w, dhs] = [0, 1, 2, 3, 4].map(|i| inputs[i].floats());
    let wide = 3 * walk.t * walk.b * h;
    let (mut dx, mut ds) = (T::stale(wide), T::stale(wide));
    let mut dh0 = vec![T::ZERO; walk.b * h];
    let parts = walk.deal(&mut dx, 3 * h).into_iter().zip(walk.deal(&mut ds, 3 * h));
    let dealt = parts.zip(walk.deal_state(&mut dh0, h)).collect();
    walk.run(dealt, |chunk, ((mut dx, mut ds), dh): ((Part<T>, Part<T>), &mut [T])| {
        for step in (0..walk.t).rev() {
            let before = match step {
                0 => walk.state_part(&h0, h, chunk),
                _ => walk.part(&hs, h, step - 1, chunk),
            };
            let given = walk.part(&dhs, h, step, chunk).chunks(h).zip(before.chunks(h));
            let gates = walk.part(&gates, 4 * h, step, chunk).chunks(4 * h);
            let out = dx[step].chunks_mut(3 * h).zip(ds[step].chunks_mut(3 * h)).zip(dh.chunks_mut(h));
            for (((dx, ds), dh), (gates, (given, before))) in out.zip(gates.zip(given)) {
                vectorized(
                    #[inline(always)]
                    || unit_backward(gates, [given, before], dh, [dx, ds]),
                );
            }
            walk.product([h, 3 * h], ds[step], &w, dh, true);
        }
    });
    let wide = [walk.t, walk.b, 3 * h];
    vec![Array::floats(wide, dx), Array::floats(wide, ds), Array::floats([walk.b, h], dh0)]
}

/// One row: the cotangents of what goes into its gates, and the share of the state's own that passes by them.
#[inline(always)]
fn unit_backward<T: Real>(gates: &[T], states: [&[T]; 2], dh: &mut [T], [dx, ds]: [&mut [T]; 2]) {
    let h = dh.len();
    let [given, before] = states.map(|x| &x[..h]);
    let [r, z, n, m] = [0, 1, 2, 3].map(|k| &gates[k * h..(k + 1) * h]);
    let (dr_dz, dn_x) = dx.split_at_mut(2 * h);
    let (dr, dz) = dr_dz.split_at_mut(h);
    let (same, dn_s) = ds.split_at_mut(2 * h);
    let (dn_x, dn_s) = (&mut dn_x[..h], &mut dn_s[..h]);
    for j in 0..h {
        let d = dh[j] + given[j];
        let dn = d * (T::ONE - z[j]) * (T::ONE - n[j] * n[j]);
        dr[j] = dn * m[j] * (r[j] * (T::ONE - r[j]));
        dz[j] = d * (before[j] - n[j]) * (z[j] * (T::ONE - z[j]));
        dn_x[j] = dn;
        dn_s[j] = dn * r[j];
        dh[j] = d * z[j];
    }
    same.copy_from_slice(dr_dz);
}
