//! Comparisons, and the choice between two values by one.

use super::{Array, Data, Real, View};

/// Whether `f` of how each pair compares, `None` where one is NaN.
pub fn compare<T: Real>(a: &View<T>, b: &View<T>, f: impl Fn(Option<std::cmp::Ordering>) -> bool) -> Array<T> {
    let pairs: Vec<u32> = match a.data {
        Data::Float(_) => a.floats().iter().zip(b.floats().iter()).map(|(a, b)| f(a.partial_cmp(b)) as u32).collect(),
        Data::Int(_) => a.ints().iter().zip(b.ints().iter()).map(|(a, b)| f(Some(a.cmp(b))) as u32).collect(),
        Data::Uint(_) => a.uints().iter().zip(b.uints().iter()).map(|(a, b)| f(Some(a.cmp(b))) as u32).collect(),
    };
    Array::uints(a.shape, pairs)
}

/// `a` where the mask holds, else `b`.
pub fn select<T: Real>(mask: &View<T>, a: &View<T>, b: &View<T>) -> Array<T> {
    let mask = mask.uints();
    fn pick<E: Copy>(mask: &[u32], a: &[E], b: &[E]) -> Vec<E> {
        mask.iter().zip(a.iter().zip(b)).map(|(&m, (&a, &b))| if m != 0 { a } else { b }).collect()
    }
    let data = match a.data {
        Data::Float(_) => Data::Float(pick(&mask, &a.floats(), &b.floats())),
        Data::Int(_) => Data::Int(pick(&mask, &a.ints(), &b.ints())),
        Data::Uint(_) => Data::Uint(pick(&mask, &a.uints(), &b.uints())),
    };
    Array::new(a.shape, data)
}
