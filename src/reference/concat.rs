//! Concatenation: the inputs' elements one after the other along an axis.

use super::{Array, Data, Real, View};

/// The inputs joined along `axis`.
pub fn concat<T: Real>(inputs: &[View<T>], axis: usize) -> Array<T> {
    let mut shape = inputs[0].shape.to_vec();
    shape[axis] = inputs.iter().map(|x| x.shape[axis]).sum();
    let data = match inputs[0].data {
        Data::Float(_) => Data::Float(join(inputs, axis, |x| x.floats())),
        Data::Int(_) => Data::Int(join(inputs, axis, |x| x.ints())),
        Data::Uint(_) => Data::Uint(join(inputs, axis, |x| x.uints())),
    };
    Array::new(shape, data)
}

fn join<'a, T: Real, E: Copy + 'a>(
    inputs: &[View<'a, T>],
    axis: usize,
    elements: impl Fn(&View<'a, T>) -> std::borrow::Cow<'a, [E]>,
) -> Vec<E> {
    // A block of an input is what it has in common with the others before the axis: its own part from the axis on.
    let blocks: Vec<_> = inputs.iter().map(|x| (elements(x), x.shape[axis..].iter().product::<usize>())).collect();
    let outer: usize = inputs[0].shape[..axis].iter().product();
    let mut out = Vec::with_capacity(outer * blocks.iter().map(|b| b.1).sum::<usize>());
    for o in 0..outer {
        blocks.iter().for_each(|(x, n)| out.extend_from_slice(&x[o * n..(o + 1) * n]));
    }
    out
}
