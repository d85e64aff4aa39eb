//! Functions applied to each element. The functions themselves stand in the table of `ops/elementwise.rs`, beside
//! their WGSL text and their derivative; here is the walk over views.

use super::{Array, Data, Real, View};

/// `f` of each float.
pub fn map<T: Real>(x: &View<T>, f: impl Fn(T) -> T) -> Array<T> {
    Array::floats(x.shape, x.floats().iter().map(|&x| f(x)).collect())
}

/// `f` of each truth value.
pub fn map_bool<T: Real>(x: &View<T>, f: impl Fn(bool) -> bool) -> Array<T> {
    Array::uints(x.shape, x.uints().iter().map(|&x| f(x != 0) as u32).collect())
}

/// `f` of each pair, by type. Both views have one shape.
pub fn zip<T: Real>(
    a: &View<T>,
    b: &View<T>,
    float: impl Fn(T, T) -> T,
    int: impl Fn(i32, i32) -> i32,
    uint: impl Fn(u32, u32) -> u32,
) -> Array<T> {
    let data = match a.data {
        Data::Float(_) => Data::Float(a.floats().iter().zip(b.floats().iter()).map(|(&a, &b)| float(a, b)).collect()),
        Data::Int(_) => Data::Int(a.ints().iter().zip(b.ints().iter()).map(|(&a, &b)| int(a, b)).collect()),
        Data::Uint(_) => Data::Uint(a.uints().iter().zip(b.uints().iter()).map(|(&a, &b)| uint(a, b)).collect()),
    };
    Array::new(a.shape, data)
}

/// Whether `f` of how each pair compares, `None` where one is NaN.
pub fn compare<T: Real>(a: &View<T>, b: &View<T>, f: impl Fn(Option<std::cmp::Ordering>) -> bool) -> Array<T> {
    let pairs: Vec<u32> = match a.data {
        Data::Float(_) => {
            a.floats().iter().zip(b.floats().iter()).map(|(a, b)| f(a.partial_cmp(b)) as u32).collect()
        }
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
