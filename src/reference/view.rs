//! Views, written out: the elements of a strided look, in row-major order.

use super::{Array, Data, Real, View};

/// The elements at `offset + sum(i[a] * strides[a])` of the buffer under `x`, as an array of `shape`.
pub fn gather_strided<T: Real>(x: &View<T>, shape: &[usize], strides: Vec<isize>, offset: usize) -> Array<T> {
    View { shape, strides, offset, data: x.data }.to_array()
}

/// `x` written into zeros of `shape`: element `i` of `x` goes to `start + i * step` along each axis.
pub fn embed<T: Real>(x: &View<T>, shape: &[usize], starts: &[usize], steps: &[isize]) -> Array<T> {
    let strides = super::strides_of(shape);
    let origin: isize = starts.iter().zip(&strides).map(|(&s, &d)| s as isize * d).sum();
    let walk: Vec<isize> = strides.iter().zip(steps).map(|(&d, &s)| d * s).collect();
    let mut places = Vec::with_capacity(x.len());
    super::for_each_position(x.shape, &walk, origin as usize, |at| places.push(at));
    let n = shape.iter().product();
    let data = match x.data {
        Data::Float(_) => Data::Float(put(&x.floats(), &places, n, T::ZERO)),
        Data::Int(_) => Data::Int(put(&x.ints(), &places, n, 0)),
        Data::Uint(_) => Data::Uint(put(&x.uints(), &places, n, 0)),
    };
    Array::new(shape, data)
}

fn put<E: Copy>(x: &[E], places: &[usize], n: usize, zero: E) -> Vec<E> {
    let mut out = vec![zero; n];
    places.iter().zip(x).for_each(|(&at, &x)| out[at] = x);
    out
}
