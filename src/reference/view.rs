//! Views, written out: the elements of a strided look, in row-major order.

use super::{Array, Real, View};

/// The elements at `offset + sum(i[a] * strides[a])` of the buffer under `x`, as an array of `shape`.
pub fn gather_strided<T: Real>(x: &View<T>, shape: &[usize], strides: Vec<isize>, offset: usize) -> Array<T> {
    View { shape, strides, offset, data: x.data }.to_array()
}

/// `x` written into zeros of `shape`: element `i` of `x` goes to `start + i * step` along each axis.
pub fn embed<T: Real>(x: &View<T>, shape: &[usize], starts: &[usize], steps: &[isize]) -> Array<T> {
    let x_flat = x.floats();
    let mut out = vec![T::ZERO; shape.iter().product()];
    let strides = super::strides_of(shape);
    let origin: isize = starts.iter().zip(&strides).map(|(&s, &d)| s as isize * d).sum();
    let walk: Vec<isize> = strides.iter().zip(steps).map(|(&d, &s)| d * s).collect();
    if !x_flat.is_empty() {
        let mut k = 0;
        super::for_each_position(x.shape, &walk, origin as usize, |at| {
            out[at] = x_flat[k];
            k += 1;
        });
    }
    Array::floats(shape, out)
}
