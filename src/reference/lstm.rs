//! The LSTM over a whole sequence (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).
//!
//! ```text
//! i, f, o = sigmoid(..)   g = tanh(..)   of   x_t + b_ih + h_(t-1) W^T + b_hh, in the order i f g o
//! c_t = f c_(t-1) + i g          h_t = o tanh(c_t)
//! ```

use super::rnn::{Part, Walk, sigmoid, with_biases};
use super::simd::{map_over, vectorized};
use super::{Array, Real, View};

/// Inputs x, W, b_ih, b_hh, h_0, c_0. Gives h and c of every step, and the gates after their functions.
pub fn forward<T: Real>(inputs: &[View<T>], reverse: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[0], &inputs[1], reverse);
    let (h, all) = (walk.h, walk.t * walk.b * walk.h);
    let [x, w, b_ih, b_hh, h0, c0] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i].floats());
    let weight = walk.weight(&w, true);
    let (mut hs, mut cs, mut gates) = (T::stale(all), T::stale(all), T::stale(4 * all));
    let dealt =
        walk.deal(&mut hs, h).into_iter().zip(walk.deal(&mut cs, h)).zip(walk.deal(&mut gates, 4 * h)).collect();
    walk.run(dealt, |chunk, ((mut hs, mut cs), mut gates): ((Part<T>, Part<T>), Part<T>)| {
        for step in 0..walk.t {
            let (h_done, h_rest) = hs.split_at_mut(step);
            let (c_done, c_rest) = cs.split_at_mut(step);
            let h_before = h_done.last().map_or(walk.state_part(&h0, h, chunk), |h| h);
            let c_before = c_done.last().map_or(walk.state_part(&c0, h, chunk), |c| c);
            let now = &mut *gates[step];
            with_biases(walk.part(&x, 4 * h, step, chunk), &b_ih, &b_hh, now);
            weight.product(h_before, now, true);
            let states = h_rest[0].chunks_mut(h).zip(c_rest[0].chunks_mut(h)).zip(c_before.chunks(h));
            for (gates, ((h, c), c_before)) in now.chunks_mut(4 * h).zip(states) {
                vectorized(
                    #[inline(always)]
                    || unit_forward(gates, c_before, c, h),
                );
            }
        }
    });
    let shape = [walk.t, walk.b, h];
    vec![Array::floats(shape, hs), Array::floats(shape, cs), Array::floats([walk.t, walk.b, 4 * h], gates)]
}

/// One row: from what goes into its gates to the gates and the states.
#[inline(always)]
fn unit_forward<T: Real>(gates: &mut [T], c_before: &[T], c: &mut [T], h: &mut [T]) {
    let n = h.len();
    let (i_f, g_o) = gates.split_at_mut(2 * n);
    let (g, o) = g_o.split_at_mut(n);
    i_f.iter_mut().for_each(|a| *a = sigmoid(*a));
    g.iter_mut().for_each(|a| *a = a.tanh());
    o.iter_mut().for_each(|a| *a = sigmoid(*a));
    let (i, f) = i_f.split_at(n);
    for ((((c, &before), &f), &i), &g) in c.iter_mut().zip(c_before).zip(f).zip(i).zip(&*g) {
        *c = f * before + i * g;
    }
    h.iter_mut().zip(&*o).zip(&*c).for_each(|((h, &o), &c)| *h = o * c.tanh());
}

/// Back through time; inputs gates, c, c_0, W and the cotangents of h and c. Gives the cotangents of what goes into the
/// gates, of h_0 and of c_0.
pub fn backward<T: Real>(inputs: &[View<T>], reverse: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[1], &inputs[3], reverse);
    let h = walk.h;
    let [gates, cs, c0, w] = [0, 1, 2, 3].map(|i| inputs[i].floats());
    let [dhs, dcs] = [4, 5].map(|i| walk.given(&inputs[i]));
    let weight = walk.weight(&w, false);
    let mut da = T::stale(gates.len());
    let (mut dh0, mut dc0) = (vec![T::ZERO; walk.b * h], vec![T::ZERO; walk.b * h]);
    let states = walk.deal_state(&mut dh0, h).into_iter().zip(walk.deal_state(&mut dc0, h));
    let dealt = walk.deal(&mut da, 4 * h).into_iter().zip(states).collect();
    walk.run(dealt, |chunk, (mut da, (dh, dc)): (Part<T>, (&mut [T], &mut [T]))| {
        for step in (0..walk.t).rev() {
            let now = &mut *da[step];
            let c_before = match step {
                0 => walk.state_part(&c0, h, chunk),
                _ => walk.part(&cs, h, step - 1, chunk),
            };
            let c = walk.part(&cs, h, step, chunk);
            let [dh_given, dc_given] = [&dhs, &dcs].map(|all| all.part(&walk, h, step, chunk));
            let gates = walk.part(&gates, 4 * h, step, chunk);
            for (row, (da, gates)) in now.chunks_mut(4 * h).zip(gates.chunks(4 * h)).enumerate() {
                let line = row * h..(row + 1) * h;
                let states = [c_before, c, dh_given, dc_given, &*dh].map(|x| &x[line.clone()]);
                unit_backward(gates, states, &mut dc[line], da);
            }
            weight.product(now, dh, false);
        }
    });
    let state = [walk.b, h];
    vec![Array::floats([walk.t, walk.b, 4 * h], da), Array::floats(state, dh0), Array::floats(state, dc0)]
}

/// One row: the cotangents of what goes into its gates; `dc` is carried from the step after to the step before.
fn unit_backward<T: Real>(gates: &[T], states: [&[T]; 5], dc: &mut [T], da: &mut [T]) {
    let n = dc.len();
    let [i, f, g, o] = [0, 1, 2, 3].map(|k| &gates[k * n..(k + 1) * n]);
    let [c_before, c, dh_given, dc_given, dh] = states;
    let (di, da) = da.split_at_mut(n);
    let (df, da) = da.split_at_mut(n);
    let (dg, d_o) = da.split_at_mut(n);
    map_over(
        [i, f, g, o, c_before, c, dh_given, dc_given, dh],
        [dc, di, df, dg, d_o],
        #[inline(always)]
        |[i, f, g, o, c_before, c, dh_given, dc_given, dh], [dc, ..]| {
            let (tanh_c, dh) = (c.tanh(), dh + dh_given);
            let d = dc + dc_given + dh * o * (T::ONE - tanh_c * tanh_c);
            [
                d * f,
                d * g * (i * (T::ONE - i)),
                d * c_before * (f * (T::ONE - f)),
                d * i * (T::ONE - g * g),
                dh * tanh_c * (o * (T::ONE - o)),
            ]
        },
    );
}
