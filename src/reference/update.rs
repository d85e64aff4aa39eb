//! One step of every optimizer, as PyTorch's `torch.optim` states them.

use std::array::from_fn;

use rayon::prelude::*;

use super::simd::vectorized;
use super::{Data, Real, View};

/// Numbers per group of parameters.
pub const HYPER: usize = 12;
/// Elements that share a group.
pub const BLOCK: usize = 64;
/// Elements per task.
const CHUNK: usize = 1 << 15;

/// One step: what it writes over, and what it reads.
pub struct Step<'a, T> {
    /// The parameters, then each state.
    pub slabs: &'a mut [Data<T>],
    /// The gradient, perhaps in parts; behind it scale, hyperparameters and the group of each block.
    pub others: &'a [View<'a, T>],
    /// The element that each part of the gradient begins with, a multiple of [`BLOCK`], rising. What lies between parts
    /// stays as it is.
    pub parts: &'a [usize],
}

impl<T: Real> Step<'_, T> {
    /// Does it. `rule` is given the numbers of the group behind its two decays, the decayed parameter, the gradient and
    /// the `N` states, which it changes, and answers with the new parameter.
    fn by<const N: usize>(self, rule: impl Fn(&[T; HYPER - 2], T, T, &mut [T; N]) -> T + Sync) {
        let (slopes, others) = self.others.split_at(self.parts.len());
        let [scale, hyper, groups] = others else { unreachable!("inferred") };
        let (scale, hyper, groups) = (scale.floats(), hyper.floats(), groups.uints());
        let first_row = scale.get(1).map_or(0.0, |row| row.f64());
        if first_row < 0.0 {
            return;
        }
        let (scale, first_row) = (scale[0], first_row as usize);
        let mut slabs = self.slabs.iter_mut().map(|data| match data {
            Data::Float(slab) => &mut slab[..],
            _ => unreachable!("inferred"),
        });
        let mut p = slabs.next().expect("parameters");
        let mut states: [&mut [T]; N] = from_fn(|_| slabs.next().expect("as many states as the rule has"));

        // Of each part, tasks: the first block, the gradient, the parameters and the states.
        let slopes: Vec<_> = slopes.iter().map(View::floats).collect();
        let mut tasks = Vec::new();
        let mut at = 0;
        for (slopes, &first) in slopes.iter().zip(self.parts) {
            let mut take = |n: usize| (head(&mut p, n), states.each_mut().map(|s| head(s, n)));
            take(first - at);
            for (chunk, slopes) in slopes.chunks(CHUNK).enumerate() {
                let (p, states) = take(slopes.len());
                tasks.push(((first + chunk * CHUNK) / BLOCK, slopes, p, states));
            }
            at = first + slopes.len();
        }
        let run = |(first, slopes, p, mut states): (usize, &[T], &mut [T], [&mut [T]; N])| {
            vectorized(
                #[inline(always)]
                || {
                    for (block, at) in (0..p.len()).step_by(BLOCK).enumerate() {
                        let range = at..p.len().min(at + BLOCK);
                        let row = &hyper[(first_row + groups[first + block] as usize) * HYPER..][..HYPER];
                        let numbers: [T; HYPER - 2] = from_fn(|k| row[k + 2]);
                        let mut block = load(&p[range.clone()]);
                        let slope = load(&slopes[range.clone()]);
                        let mut kept: [[T; BLOCK]; N] = from_fn(|k| load(&states[k][range.clone()]));
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
                            store(&kept[k], &mut states[k][range.clone()]);
                        }
                    }
                },
            )
        };
        // A thread of the pool that sleeps takes longer to wake than so few elements take.
        match at <= CHUNK {
            true => tasks.into_iter().for_each(run),
            false => tasks.into_par_iter().for_each(run),
        }
    }
}

/// The first `n` elements, which are taken off.
fn head<'a, T>(rest: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    rest.split_off_mut(..n).expect("parts lie inside the slabs, one behind the other")
}

/// What a view shows, for a step to write over.
pub fn copy<T: Real>(x: &View<T>) -> Data<T> {
    let mut all = T::stale(x.len());
    all.copy_from_slice(&x.floats());
    Data::Float(all)
}

/// A block on the stack: the compiler then knows that blocks do not overlap, and vectorises. Inlined, for otherwise
/// each is moved by a call.
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
pub fn sgd<T: Real>(all: Step<T>) {
    all.by(|h, p, g, []: &mut [T; 0]| p - h[0] * g)
}

/// `b = momentum b + keep g; p -= rate (x g + y b)`; `h` is: rate, momentum, keep, x, y.
pub fn momentum<T: Real>(all: Step<T>) {
    all.by(|h, p, g, [b]| {
        *b = h[1] * *b + h[2] * g;
        p - h[0] * (h[3] * g + h[4] * *b)
    })
}

/// `s += g^2; p -= rate g / (sqrt(s) + epsilon)`; `h` is: rate, epsilon.
pub fn adagrad<T: Real>(all: Step<T>) {
    all.by(|h, p, g, [sum]| {
        *sum += g * g;
        p - h[0] * g / (sum.sqrt() + h[1])
    })
}

/// `s = rho s + (1 - rho) g^2; d = sqrt(u + epsilon) / sqrt(s + epsilon) g; u = rho u + (1 - rho) d^2; p -= rate d`;
/// `h` is: rate, rho, 1 - rho, epsilon.
pub fn adadelta<T: Real>(all: Step<T>) {
    all.by(|h, p, g, [square, moved]| {
        *square = h[1] * *square + h[2] * g * g;
        let delta = (*moved + h[3]).sqrt() / (*square + h[3]).sqrt() * g;
        *moved = h[1] * *moved + h[2] * delta * delta;
        p - h[0] * delta
    })
}

/// `s = alpha s + (1 - alpha) g^2; b = momentum b + g / (sqrt(s - centered m^2) + epsilon); p -= rate b`, where `m` is
/// the running mean of the gradient; `h` is: rate, alpha, 1 - alpha, epsilon, momentum, centered. States are `s`, then
/// `m` if centered, then `b` if there is momentum.
pub fn rmsprop<T: Real>(all: Step<T>, centered: bool, momentum: bool) {
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
        (false, false) => all.by(|h, p, g, [s]| p - h[0] * normed(h, g, square(h, g, s), T::ZERO)),
        (false, true) => all.by(|h, p, g, [s, b]| p - h[0] * pushed(h, normed(h, g, square(h, g, s), T::ZERO), b)),
        (true, false) => all.by(|h, p, g, [s, m]| p - h[0] * normed(h, g, square(h, g, s), mean(h, g, m))),
        (true, true) => {
            all.by(|h, p, g, [s, m, b]| p - h[0] * pushed(h, normed(h, g, square(h, g, s), mean(h, g, m)), b))
        }
    }
}

/// `m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= (x m + y g) / (c sqrt(v) + epsilon)`; `h` is: x,
/// beta1, 1 - beta1, beta2, 1 - beta2, c, epsilon, y. With `amsgrad` there is a third state, the largest `v` so far,
/// which stands for `v` where `h[8]` is not 0.
pub fn adam<T: Real>(all: Step<T>, amsgrad: bool) {
    let moments = |h: &[T; HYPER - 2], g: T, m: &mut T, v: &mut T| {
        *m = h[1] * *m + h[2] * g;
        *v = h[3] * *v + h[4] * g * g;
    };
    let by = |h: &[T; HYPER - 2], g: T, m: T, v: T| (h[0] * m + h[7] * g) / (v.sqrt() * h[5] + h[6]);
    if !amsgrad {
        return all.by(|h, p, g, [m, v]| {
            moments(h, g, m, v);
            p - by(h, g, *m, *v)
        });
    }
    all.by(|h, p, g, [m, v, largest]| {
        moments(h, g, m, v);
        *largest = if *v > *largest { *v } else { *largest };
        p - by(h, g, *m, if h[8] != T::ZERO { *largest } else { *v })
    })
}

/// `m = beta1 m + (1 - beta1) g; u = max(beta2 u, |g| + epsilon); p -= rate m / u`; `h` is: rate, beta1, 1 - beta1,
/// beta2, epsilon.
pub fn adamax<T: Real>(all: Step<T>) {
    all.by(|h, p, g, [m, largest]| {
        *m = h[1] * *m + h[2] * g;
        let (old, new) = (h[3] * *largest, g.abs() + h[4]);
        *largest = if new > old { new } else { old };
        p - h[0] * *m / *largest
    })
}

/// `p -= rate g; mean += mu (p - mean)`; `h` is: rate, mu.
pub fn asgd<T: Real>(all: Step<T>) {
    all.by(|h, p, g, [mean]| {
        let moved = p - h[0] * g;
        *mean += h[1] * (moved - *mean);
        moved
    })
}

/// The step grows where the gradient keeps its sign and shrinks where it turns, and there the gradient counts as 0;
/// `h` is: shrinking factor, growing factor, smallest and largest step.
pub fn rprop<T: Real>(all: Step<T>) {
    all.by(|h, p, g, [previous, size]| {
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
