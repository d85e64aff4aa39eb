//! The GRU over a whole sequence, in the form of PyTorch and cuDNN: the reset gate scales what the state contributes
//! after its product, bias included.
//!
//! ```text
//! r, z = sigmoid(x_t + b_ih + h_(t-1) W^T + b_hh)        m = h_(t-1) W_n^T + b_hn
//! n = tanh(x_n + b_in + r m)        h_t = (1 - z) n + z h_(t-1)
//! ```

use super::rnn::{Part, Walk, sigmoid};
use super::simd::map_over;
use super::{Array, Real, View};

/// Inputs x, W, b_ih, b_hh, h_0. Gives h of every step, and `r z n m` of every step.
pub fn forward<T: Real>(inputs: &[View<T>], reverse: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[0], &inputs[1], reverse);
    let (h, all) = (walk.h, walk.t * walk.b * walk.h);
    let [x, w, b_ih, b_hh, h0] = [0, 1, 2, 3, 4].map(|i| inputs[i].floats());
    let weight = walk.weight(&w, true);
    let (mut hs, mut gates) = (T::stale(all), T::stale(4 * all));
    let dealt = walk.deal(&mut hs, h).into_iter().zip(walk.deal(&mut gates, 4 * h)).collect();
    walk.run(dealt, |chunk, (mut hs, mut gates): (Part<T>, Part<T>)| {
        let mut from_state = vec![T::ZERO; 3 * walk.state_part(&h0, h, chunk).len()];
        for step in 0..walk.t {
            let (done, rest) = hs.split_at_mut(step);
            let before = done.last().map_or(walk.state_part(&h0, h, chunk), |h| h);
            weight.product(before, &mut from_state, false);
            let rows = gates[step].chunks_mut(4 * h).zip(rest[0].chunks_mut(h)).zip(before.chunks(h));
            let given = walk.part(&x, 3 * h, step, chunk).chunks(3 * h).zip(from_state.chunks(3 * h));
            for (((gates, now), before), (x, s)) in rows.zip(given) {
                unit_forward([x, s, &b_ih, &b_hh], before, gates, now);
            }
        }
    });
    vec![Array::floats([walk.t, walk.b, h], hs), Array::floats([walk.t, walk.b, 4 * h], gates)]
}

/// One row: gates and state from what input and state give.
fn unit_forward<T: Real>(given: [&[T]; 4], before: &[T], gates: &mut [T], now: &mut [T]) {
    let h = now.len();
    let (r_z, n_m) = gates.split_at_mut(2 * h);
    map_over(
        given.map(|x| &x[..2 * h]),
        [&mut *r_z],
        #[inline(always)]
        |[x, s, b_ih, b_hh], _| [sigmoid(x + b_ih + (s + b_hh))],
    );
    let (r, z) = r_z.split_at(h);
    let (n, m) = n_m.split_at_mut(h);
    let [x, s, b_ih, b_hh] = given.map(|x| &x[2 * h..]);
    map_over(
        [x, s, b_ih, b_hh, r, z, before],
        [n, m, now],
        #[inline(always)]
        |[x, s, b_ih, b_hh, r, z, before], _| {
            let m = s + b_hh;
            let n = (x + b_ih + r * m).tanh();
            [n, m, n + z * (before - n)]
        },
    );
}

/// Back through time; inputs gates, h, h_0, W and the cotangent of h. Gives the cotangents of `x + b_ih`, of
/// `h_(t-1) W^T + b_hh`, and of h_0.
pub fn backward<T: Real>(inputs: &[View<T>], reverse: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[1], &inputs[3], reverse);
    let h = walk.h;
    let [gates, hs, h0, w] = [0, 1, 2, 3].map(|i| inputs[i].floats());
    let dhs = walk.given(&inputs[4]);
    let weight = walk.weight(&w, false);
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
            let given = dhs.part(&walk, h, step, chunk).chunks(h).zip(before.chunks(h));
            let gates = walk.part(&gates, 4 * h, step, chunk).chunks(4 * h);
            let out = dx[step].chunks_mut(3 * h).zip(ds[step].chunks_mut(3 * h)).zip(dh.chunks_mut(h));
            for (((dx, ds), dh), (gates, (given, before))) in out.zip(gates.zip(given)) {
                unit_backward(gates, [given, before], dh, [dx, ds]);
            }
            weight.product(ds[step], dh, true);
        }
    });
    let wide = [walk.t, walk.b, 3 * h];
    vec![Array::floats(wide, dx), Array::floats(wide, ds), Array::floats([walk.b, h], dh0)]
}

/// One row: the cotangents of what goes into its gates, and the share of the state's own that passes by them.
fn unit_backward<T: Real>(gates: &[T], [given, before]: [&[T]; 2], dh: &mut [T], [dx, ds]: [&mut [T]; 2]) {
    let h = dh.len();
    let [r, z, n, m] = [0, 1, 2, 3].map(|k| &gates[k * h..(k + 1) * h]);
    let (dr_dz, dn_x) = dx.split_at_mut(2 * h);
    let (dr, dz) = dr_dz.split_at_mut(h);
    let (same, dn_s) = ds.split_at_mut(2 * h);
    map_over(
        [r, z, n, m, given, before],
        [dh, dr, dz, dn_x, dn_s],
        #[inline(always)]
        |[r, z, n, m, given, before], [dh, ..]| {
            let d = dh + given;
            let dn = d * (T::ONE - z) * (T::ONE - n * n);
            [d * z, dn * m * (r * (T::ONE - r)), d * (before - n) * (z * (T::ONE - z)), dn, dn * r]
        },
    );
    same.copy_from_slice(dr_dz);
}
