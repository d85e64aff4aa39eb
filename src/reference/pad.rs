//! Padding: an array set into a larger one that is filled with one value.

use super::{Array, Data, Real, View, for_each_position, strides_of};

/// `x` with `before[a]` and `after[a]` elements of `value` on either side of each axis.
pub fn pad<T: Real>(x: &View<T>, value: &View<T>, before: &[usize], after: &[usize]) -> Array<T> {
    let shape: Vec<usize> = x.shape.iter().zip(before).zip(after).map(|((n, b), a)| b + n + a).collect();
    let data = match x.data {
        Data::Float(_) => Data::Float(set(&x.floats(), x.shape, value.floats()[0], before, &shape)),
        Data::Int(_) => Data::Int(set(&x.ints(), x.shape, value.ints()[0], before, &shape)),
        Data::Uint(_) => Data::Uint(set(&x.uints(), x.shape, value.uints()[0], before, &shape)),
    };
    Array::new(shape, data)
}

fn set<E: Copy>(x: &[E], extent: &[usize], value: E, before: &[usize], shape: &[usize]) -> Vec<E> {
    let mut out = vec![value; shape.iter().product()];
    let strides = strides_of(shape);
    let first: usize = before.iter().zip(&strides).map(|(&b, &s)| b * s as usize).sum();
    let mut elements = x.iter();
    for_each_position(extent, &strides, first, |at| out[at] = *elements.next().expect("one element per position"));
    out
}
