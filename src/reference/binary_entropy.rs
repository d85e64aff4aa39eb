//! The cross-entropy of a probability with a target.

use super::elementwise::wide;
use super::{Array, Real, View};

/// `-(t ln p + (1 - t) ln(1 - p))`, each logarithm at least -100.
pub fn of<T: Real>(p: T, t: T) -> T {
    let log = |x: f64| if x < -100.0 { T::of(-100.0) } else { T::of(x) };
    let (miss, hit) = (log(wide(p, |p| (-p).ln_1p()).f64()), log(p.ln().f64()));
    (t - T::ONE) * miss - t * hit
}

/// [`of`] every element.
pub fn of_all<T: Real>(p: &View<T>, t: &View<T>) -> Array<T> {
    let (p_all, t_all) = (p.floats(), t.floats());
    Array::floats(p.shape, p_all.iter().zip(t_all.iter()).map(|(&p, &t)| of(p, t)).collect())
}
