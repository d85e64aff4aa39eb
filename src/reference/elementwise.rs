//! Functions applied to each element. The functions themselves stand in the table of `ops/elementwise.rs`, beside
//! their WGSL text and their derivative; here is the walk over views.

use super::{Array, Data, Real, View};

/// `f` of each float.
pub fn map<T: Real>(x: &View<T>, f: impl Fn(T) -> T) -> Array<T> {
    Array::floats(x.shape, x.floats().iter().map(|&x| f(x)).collect())
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
