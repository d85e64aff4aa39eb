//! A slice written over.

use super::softmax::Axis;
use super::{Data, Real, View};

/// Writes `src` over the elements from `start` on along `axis` of a dense array of this shape; what lies outside is
/// left out.
pub fn write<T: Real>(x: &mut Data<T>, shape: &[usize], axis: usize, src: &View<T>, start: &View<T>) {
    let Axis { outer, n, inner } = Axis::of(shape, axis);
    let (k, start) = (src.shape[axis], start.uints()[0] as usize);
    let inside = n.saturating_sub(start).min(k);
    fn rows<E: Copy>(x: &mut [E], src: &[E], blocks: usize, [from, to]: [usize; 2], [first, len]: [usize; 2]) {
        for block in 0..blocks {
            x[block * to + first..][..len].copy_from_slice(&src[block * from..][..len]);
        }
    }
    if inside == 0 {
        return;
    }
    let (steps, place) = ([k * inner, n * inner], [start * inner, inside * inner]);
    match x {
        Data::Float(x) => rows(x, &src.floats(), outer, steps, place),
        Data::Int(x) => rows(x, &src.ints(), outer, steps, place),
        Data::Uint(x) => rows(x, &src.uints(), outer, steps, place),
    }
}
