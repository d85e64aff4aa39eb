//! Concatenation: the inputs' elements one after the other along an axis.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{Array, Data, Real, View};

/// Elements per task.
const CHUNK: usize = 1 << 15;

/// The inputs joined along `axis`.
pub fn concat<T: Real>(inputs: &[View<T>], axis: usize) -> Array<T> {
    let mut shape = inputs[0].shape.to_vec();
    shape[axis] = inputs.iter().map(|x| x.shape[axis]).sum();
    let n = shape.iter().product();
    let data = match inputs[0].data {
        Data::Float(_) => Data::Float(join(inputs, axis, View::floats, T::stale(n))),
        Data::Int(_) => Data::Int(join(inputs, axis, View::ints, vec![0; n])),
        Data::Uint(_) => Data::Uint(join(inputs, axis, View::uints, vec![0; n])),
    };
    Array::new(shape, data)
}

fn join<'a, T: Real, E: Copy + Send + Sync + 'a>(
    inputs: &[View<'a, T>],
    axis: usize,
    elements: impl Fn(&View<'a, T>) -> Cow<'a, [E]>,
    mut out: Vec<E>,
) -> Vec<E> {
    // A block of an input is what it has in common with the others before the axis: its own part from the axis on.
    let blocks: Vec<_> = inputs.iter().map(|x| (elements(x), x.shape[axis..].iter().product::<usize>())).collect();
    let outer: usize = inputs[0].shape[..axis].iter().product();
    let mut rest = &mut out[..];
    for o in 0..outer {
        for (x, n) in &blocks {
            let (own, tail) = std::mem::take(&mut rest).split_at_mut(*n);
            own.par_chunks_mut(CHUNK).zip(x[o * n..].par_chunks(CHUNK)).for_each(|(to, from)| {
                to.copy_from_slice(&from[..to.len()]);
            });
            rest = tail;
        }
    }
    out
}
