//! One step of every optimizer, as PyTorch's `torch.optim` states them.

use std::array::from_fn;

use rayon::prelude::*;

use super::simd::vectorized;
use super::{Array, Real, View};

/// Numbers per group of parameters.
pub const HYPER: usize = 12;
/// Elements that share a group.
pub const BLOCK: usize = 64;
/// Elements per task.
const CHUNK: usize = 1 << 15;

/// One step of parameters and `N` states; behind them among the inputs are gradient, scale, hyperparameters and the group
/// of each block. `rule` is given the numbers of the group behind its two decays, the decayed parameter, the gradient and
/// the states, which it changes, and answers with the new parameter.
pub fn step<T: Real, const N: usize>(
    inputs: &[View<T>],
    rule: impl Fn(&[T; HYPER - 2], T, T, &mut [T; N]) -> T + Sync,
) -> Vec<Array<T>> {
    let scale = inputs[N + 2].floats();
    let first_row = scale.get(1).map_or(0.0, |row| row.f64());
    if first_row < 0.0 {
        return inputs[..=N].iter().map(View::to_array).collect();
    }
    let (old, before): (_, [_; N]) = (inputs[0].floats(), from_fn(|k| inputs[1 + k].floats()));
    let mut p = T::stale(old.len());
    let mut states: [Vec<T>; N] = from_fn(|_| T::stale(old.len()));
    let (g, scale, hyper) = (inputs[N + 1].floats(), scale[0], inputs[N + 3].floats());
    let groups = inputs[N + 4].uints();

    let mut tasks = Vec::new();
    let mut rest = states.each_mut().map(|s| &mut s[..]);
    for (c, p) in p.chunks_mut(CHUNK).enumerate() {
        let mine = rest.each_mut().map(|r| {
            let (head, tail) = std::mem::take(r).split_at_mut(p.len());
            *r = tail;
            head
        });
        tasks.push((c * CHUNK, p, mine));
    }
    tasks.into_par_iter().for_each(|(start, p, mut s)| {
        vectorized(
            #[inline(always)]
            || {
                for at in (0..p.len()).step_by(BLOCK) {
                    let range = at..p.len().min(at + BLOCK);
                    let (first, all) = (start + at, start + at..start + range.end);
                    let row = &hyper[(first_row as usize + groups[first / BLOCK] as usize) * HYPER..][..HYPER];
                    let numbers: [T; HYPER - 2] = from_fn(|k| row[k + 2]);
                    let mut block = load(&old[all.clone()]);
                    let slope = load(&g[all.clone()]);
                    let mut kept: [[T; BLOCK]; N] = from_fn(|k| load(&before[k][all.clone()]));
                    for i in 0..BLOCK {
                        let mut mine: [T; N] = from_fn(|k| kept[k][i]);
                        let x = block[i];
                        block[i] = rule(&numbers, x - row[1] * x, scale * slope[i] + row[0] * x, &mut mine);
                        for k in 0..N {
                            kept[k][i] = mine[k];
                        }
                    }
                    store(&block, &mut p[range.clone()]);
                    for k in 0..N {
                        store(&kept[k], &mut s[k][range.clone()]);
                    }
                }
            },
        )
    });
    std::iter::once(p).chain(states).map(|x| Array::floats(inputs[0].shape, x)).collect()
}

/// A block on the stack: the compiler then knows that blocks do not overlap, and vectorises. Inlined, for otherwise each is
/// moved by a call.
#[inline(always)]
fn load<T: Real>(from: &[T]) -> [T; BLOCK] {
    match from.try_into() {
        Ok(block) => block,
        Err(_) => {
            let mut block = [T::ZERO; BLOCK];
            block[..from.len()].copy_from_slice(from);
            block
        }
    }
}

#[inline(always)]
fn store<T: Real>(block: &[T; BLOCK], to: &mut [T]) {
    match <&mut [T; BLOCK]>::try_from(&mut *to) {
        Ok(whole) => *whole = *block,
        Err(_) => to.copy_from_slice(&block[..to.len()]),
    }
}

/// `p -= rate g`; `h` is: rate.
pub fn sgd<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    step(inputs, |h, p, g, []: &mut [T; 0]| p - h[0] * g)
}

/// `b = momentum b + keep g; p -= rate (x g + y b)`; `h` is: rate, momentum, keep, x, y.
pub fn momentum<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    step(inputs, |h, p, g, [b]| {
        *b = h[1] * *b + h[2] * g;
        p - h[0] * (h[3] * g + h[4] * *b)
    })
}

/// `s += g^2; p -= rate g / (sqrt(s) + epsilon)`; `h` is: rate, epsilon.
pub fn adagrad<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    step(inputs, |h, p, g, [sum]| {
        *sum += g * g;
        p - h[0] * g / (sum.sqrt() + h[1])
    })
}

/// `s = rho s + (1 - rho) g^2; d = sqrt(u + epsilon) / sqrt(s + epsilon) g; u = rho u + (1 - rho) d^2; p -= rate d`; `h` is:
/// rate, rho, 1 - rho, epsilon.
pub fn adadelta<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    step(inputs, |h, p, g, [square, moved]| {
        *square = h[1] * *square + h[2] * g * g;
        let delta = (*moved + h[3]).sqrt() / (*square + h[3]).sqrt() * g;
        *moved = h[1] * *moved + h[2] * delta * delta;
        p - h[0] * delta
    })
}

/// `s = alpha s + (1 - alpha) g^2; b = momentum b + g / (sqrt(s - centered m^2) + epsilon); p -= rate b`, where `m` is the
/// running mean of the gradient; `h` is: rate, alpha, 1 - alpha, epsilon, momentum, centered. States are `s`, then `m` if
/// centered, then `b` if there is momentum.
pub fn rmsprop<T: Real>(inputs: &[View<T>], centered: bool, momentum: bool) -> Vec<Array<T>> {
    type Numbers<T> = [T; HYPER - 2];
    let square = |h: &Numbers<T>, g: T, s: &mut T| {
        *s = h[1] * *s + h[2] * g * g;
        *s
    };
    let normed = |h: &Numbers<T>, g: T, square: T, mean: T| g / ((square - h[5] * mean * mean).sqrt() + h[3]);
    let mean = |h: &Numbers<T>, g: T, m: &mut T| {
        *m = h[1] * *m + h[2] * g;
        *m
    };
    let pushed = |h: &Numbers<T>, by: T, b: &mut T| {
        *b = h[4] * *b + by;
        *b
    };
    match (centered, momentum) {
        (false, false) => step(inputs, |h, p, g, [s]| p - h[0] * normed(h, g, square(h, g, s), T::ZERO)),
        (false, true) => {
            step(inputs, |h, p, g, [s, b]| p - h[0] * pushed(h, normed(h, g, square(h, g, s), T::ZERO), b))
        }
        (true, false) => step(inputs, |h, p, g, [s, m]| p - h[0] * normed(h, g, square(h, g, s), mean(h, g, m))),
        (true, true) => {
            step(inputs, |h, p, g, [s, m, b]| p - h[0] * pushed(h, normed(h, g, square(h, g, s), mean(h, g, m)), b))
        }
    }
}

/// `m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= (x m + y g) / (c sqrt(v) + epsilon)`; `h` is: x, beta1,
/// 1 - beta1, beta2, 1 - beta2, c, epsilon, y. With `amsgrad` there is a third state, the largest `v` so far, which
/// stands for `v` where `h[8]` is not 0.
pub fn adam<T: Real>(inputs: &[View<T>], amsgrad: bool) -> Vec<Array<T>> {
    let moments = |h: &[T; HYPER - 2], g: T, m: &mut T, v: &mut T| {
        *m = h[1] * *m + h[2] * g;
        *v = h[3] * *v + h[4] * g * g;
    };
    let by = |h: &[T; HYPER - 2], g: T, m: T, v: T| (h[0] * m + h[7] * g) / (v.sqrt() * h[5] + h[6]);
    if !amsgrad {
        return step(inputs, |h, p, g, [m, v]| {
            moments(h, g, m, v);
            p - by(h, g, *m, *v)
        });
    }
    step(inputs, |h, p, g, [m, v, largest]| {
        moments(h, g, m, v);
        *largest = if *v > *largest { *v } else { *largest };
        p - by(h, g, *m, if h[8] != T::ZERO { *largest } else { *v })
    })
}

/// `m = beta1 m + (1 - beta1) g; u = max(beta2 u, |g| + epsilon); p -= rate m / u`; `h` is: rate, beta1, 1 - beta1, beta2,
/// epsilon.
pub fn adamax<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    step(inputs, |h, p, g, [m, largest]| {
        *m = h[1] * *m + h[2] * g;
        let (old, new) = (h[3] * *largest, g.abs() + h[4]);
        *largest = if new > old { new } else { old };
        p - h[0] * *m / *largest
    })
}

/// `p -= rate g; mean += mu (p - mean)`; `h` is: rate, mu.
pub fn asgd<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    step(inputs, |h, p, g, [mean]| {
        let moved = p - h[0] * g;
        *mean += h[1] * (moved - *mean);
        moved
    })
}

/// The step grows where the gradient keeps its sign and shrinks where it turns, and there the gradient counts as 0;
/// `h` is: shrinking factor, growing factor, smallest and largest step.
pub fn rprop<T: Real>(inputs: &[View<T>]) -> Vec<Array<T>> {
    step(inputs, |h, p, g, [previous, size]| {
        let turn = g * *previous;
        let (turned, same) = (turn < T::ZERO, turn > T::ZERO);
        let grown = *size
            * if turned {
                h[0]
            } else if same {
                h[1]
            } else {
                T::ONE
            };
        *size = if grown < h[2] {
            h[2]
        } else if grown > h[3] {
            h[3]
        } else {
            grown
        };
        *previous = if turned { T::ZERO } else { g };
        p - if *previous > T::ZERO {
            *size
        } else if *previous < T::ZERO {
            -*size
        } else {
            T::ZERO
        }
    })
}
