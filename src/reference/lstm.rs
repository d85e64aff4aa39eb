//! The LSTM over a whole sequence (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).
//!
//! ```text
//! i, f, o = sigmoid(..)   g = tanh(..)   of   x_t + b_ih + h_(t-1) W^T + b_hh, in the order i f g o
//! c_t = f c_(t-1) + i g          h_t = o tanh(c_t)
//! ```

use super::rnn::{Part, Walk, add_biases, sigmoid, transposed};
use super::{Array, Real, View};

/// Inputs x, W, b_ih, b_hh, h_0, c_0. Gives h and c of every step, and the gates after their functions.
pub fn forward<T: Real>(inputs: &[View<T>], reverse: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[0], &inputs[1], reverse);
    let (h, all) = (walk.h, walk.t * walk.b * walk.h);
    let [x, w, b_ih, b_hh, h0, c0] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i].floats());
    let w_t = transposed(&w, h);
    let (mut hs, mut cs, mut gates) = (vec![T::ZERO; all], vec![T::ZERO; all], vec![T::ZERO; 4 * all]);
    let dealt =
        walk.deal(&mut hs, h).into_iter().zip(walk.deal(&mut cs, h)).zip(walk.deal(&mut gates, 4 * h)).collect();
    walk.run(dealt, |chunk, ((mut hs, mut cs), mut gates): ((Part<T>, Part<T>), Part<T>)| {
        for step in 0..walk.t {
            let (h_done, h_rest) = hs.split_at_mut(step);
            let (c_done, c_rest) = cs.split_at_mut(step);
            let h_before = h_done.last().map_or(walk.state_part(&h0, h, chunk), |h| h);
            let c_before = c_done.last().map_or(walk.state_part(&c0, h, chunk), |c| c);
            let now = &mut *gates[step];
            now.copy_from_slice(walk.part(&x, 4 * h, step, chunk));
            add_biases(now, &b_ih, &b_hh);
            walk.product([4 * h, h], h_before, &w_t, now, true);
            let states = h_rest[0].chunks_mut(h).zip(c_rest[0].chunks_mut(h)).zip(c_before.chunks(h));
            for (gates, ((h_now, c_now), c_before)) in now.chunks_mut(4 * h).zip(states) {
                let (input_forget, g_o) = gates.split_at_mut(2 * h);
                let (g, o) = g_o.split_at_mut(h);
                input_forget.iter_mut().for_each(|a| *a = sigmoid(*a));
                g.iter_mut().for_each(|a| *a = a.tanh());
                o.iter_mut().for_each(|a| *a = sigmoid(*a));
                let (i, f) = input_forget.split_at(h);
                for j in 0..h {
                    c_now[j] = f[j] * c_before[j] + i[j] * g[j];
                }
                for j in 0..h {
                    h_now[j] = o[j] * c_now[j].tanh();
                }
            }
        }
    });
    let shape = [walk.t, walk.b, h];
    vec![Array::floats(shape, hs), Array::floats(shape, cs), Array::floats([walk.t, walk.b, 4 * h], gates)]
}

/// Back through time; inputs gates, c, c_0, W and the cotangents of h and c. Gives the cotangents of what goes into the
/// gates, of h_0 and of c_0.
pub fn backward<T: Real>(inputs: &[View<T>], reverse: bool) -> Vec<Array<T>> {
    let walk = Walk::of(&inputs[1], &inputs[3], reverse);
    let h = walk.h;
    let [gates, cs, c0, w, dhs, dcs] = [0, 1, 2, 3, 4, 5].map(|i| inputs[i].floats());
    let mut da = vec![T::ZERO; gates.len()];
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
            let [c, dh_given, dc_given] = [&cs, &dhs, &dcs].map(|all| walk.part(all, h, step, chunk));
            let gates = walk.part(&gates, 4 * h, step, chunk);
            for (row, (da, gates)) in now.chunks_mut(4 * h).zip(gates.chunks(4 * h)).enumerate() {
                let line = row * h..(row + 1) * h;
                let (c_before, c) = (&c_before[line.clone()], &c[line.clone()]);
                let (dh_given, dc_given) = (&dh_given[line.clone()], &dc_given[line.clone()]);
                let (dh, dc) = (&dh[line.clone()], &mut dc[line]);
                let (di, da) = da.split_at_mut(h);
                let (df, da) = da.split_at_mut(h);
                let (dg, d_o) = da.split_at_mut(h);
                let (i, f, g, o) = (&gates[..h], &gates[h..2 * h], &gates[2 * h..3 * h], &gates[3 * h..]);
                // tanh of the state, where the gradient of the output gate will be.
                d_o.iter_mut().zip(c).for_each(|(t, &c)| *t = c.tanh());
                for j in 0..h {
                    let (tanh_c, dh) = (d_o[j], dh[j] + dh_given[j]);
                    let d = dc[j] + dc_given[j] + dh * o[j] * (T::ONE - tanh_c * tanh_c);
                    di[j] = d * g[j] * (i[j] * (T::ONE - i[j]));
                    df[j] = d * c_before[j] * (f[j] * (T::ONE - f[j]));
                    dg[j] = d * i[j] * (T::ONE - g[j] * g[j]);
                    d_o[j] = dh * tanh_c * (o[j] * (T::ONE - o[j]));
                    dc[j] = d * f[j];
                }
            }
            walk.product([h, 4 * h], now, &w, dh, false);
        }
    });
    let state = [walk.b, h];
    vec![Array::floats([walk.t, walk.b, 4 * h], da), Array::floats(state, dh0), Array::floats(state, dc0)]
}
