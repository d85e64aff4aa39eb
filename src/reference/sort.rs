//! A stable sort along one axis.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::softmax::Axis;
use super::{Array, Data, Real, View};

/// Floats as they are sorted: NaN above everything, and -0 equal to 0.
pub fn order<T: Real>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The positions of the elements in the order of their values, along `axis`; equal ones stay in order.
pub fn sort<T: Real>(x: &View<T>, axis: usize, falling: bool) -> Array<T> {
    let cut = Axis::of(x.shape, axis);
    let positions = match x.data {
        Data::Float(_) => lines(&x.floats(), cut, falling, |a, b| order(*a, *b)),
        Data::Int(_) => lines(&x.ints(), cut, falling, i32::cmp),
        Data::Uint(_) => lines(&x.uints(), cut, falling, u32::cmp),
    };
    Array::uints(x.shape, positions)
}

fn lines<E: Copy + Sync>(x: &[E], cut: Axis, falling: bool, order: impl Fn(&E, &E) -> Ordering + Sync) -> Vec<u32> {
    let Axis { outer, n, inner } = cut;
    let sorted = |line: usize| {
        let start = line / inner * n * inner + line % inner;
        let mut positions: Vec<u32> = (0..n as u32).collect();
        positions.sort_by(|&a, &b| {
            let order = order(&x[start + a as usize * inner], &x[start + b as usize * inner]);
            if falling { order.reverse() } else { order }
        });
        positions
    };
    let count = outer * inner;
    let sorted: Vec<Vec<u32>> = if count * n < 1 << 13 {
        (0..count).map(sorted).collect()
    } else {
        (0..count).into_par_iter().with_min_len((1 << 12) / n.max(1)).map(sorted).collect()
    };
    let mut out = vec![0; count * n];
    for (line, positions) in sorted.iter().enumerate() {
        let start = line / inner * n * inner + line % inner;
        positions.iter().enumerate().for_each(|(k, &p)| out[start + k * inner] = p);
    }
    out
}
