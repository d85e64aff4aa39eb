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
    let turned = |key: u64| if falling { !key } else { key };
    let positions = match x.data {
        Data::Float(_) => lines(&x.floats(), cut, |x| turned(key(x.f64()))),
        Data::Int(_) => lines(&x.ints(), cut, |x| turned((x as i64 - i32::MIN as i64) as u64)),
        Data::Uint(_) => lines(&x.uints(), cut, |x| turned(x as u64)),
    };
    Array::uints(x.shape, positions)
}

/// A whole number that sorts as the float does, by [`order`]: its bits, with the order of the negative ones turned
/// round.
fn key(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits(); // -0 + 0 is 0
    match x {
        x if x.is_nan() => u64::MAX,
        _ if bits >> 63 == 1 => !bits,
        _ => bits | 1 << 63,
    }
}

/// Sorts pairs of key and position: no two are equal, so that every correct sort is a stable one.
fn lines<E: Copy + Sync>(x: &[E], cut: Axis, key: impl Fn(E) -> u64 + Sync) -> Vec<u32> {
    let Axis { outer, n, inner } = cut;
    let count = outer * inner;
    let start = |line: usize| line / inner * n * inner + line % inner;
    let pairs =
        |line: usize| -> Vec<(u64, u32)> { (0..n).map(|k| (key(x[start(line) + k * inner]), k as u32)).collect() };
    let sorted: Vec<Vec<(u64, u32)>> = if count == 1 {
        let mut pairs = pairs(0);
        pairs.par_sort_unstable();
        vec![pairs]
    } else {
        let sorted = |line| {
            let mut pairs = pairs(line);
            pairs.sort_unstable();
            pairs
        };
        (0..count).into_par_iter().with_min_len(((1 << 12) / n.max(1)).max(1)).map(sorted).collect()
    };
    let mut out = vec![0; count * n];
    for (line, pairs) in sorted.iter().enumerate() {
        pairs.iter().enumerate().for_each(|(k, &(_, p))| out[start(line) + k * inner] = p);
    }
    out
}
