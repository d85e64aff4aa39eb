//! Where the largest pixel of each bin is, on the CPU.

use super::{Array, Real, View};

/// Positions `row * width + column`, `[n, c, size]`. Of equals the first; of several NaN, which count as larger than
/// any number, the last.
pub fn positions<T: Real>(x: &View<T>, size: [usize; 2]) -> Array<T> {
    let &[n, c, h, w] = x.shape else { unreachable!("inferred") };
    let x = x.floats();
    let bin = |o: usize, n: usize, m: usize| o * n / m..((o + 1) * n).div_ceil(m);
    let mut found = Vec::with_capacity(n * c * size[0] * size[1]);
    for plane in 0..n * c {
        let pixels = &x[plane * h * w..][..h * w];
        for oy in 0..size[0] {
            for ox in 0..size[1] {
                let all = bin(oy, h, size[0]).flat_map(|y| bin(ox, w, size[1]).map(move |x| y * w + x));
                let larger = |best: usize, i: usize| {
                    let larger = pixels[i] > pixels[best] && !pixels[best].is_nan();
                    if pixels[i].is_nan() || larger { i } else { best }
                };
                found.push(all.reduce(larger).expect("a bin holds a pixel") as u32);
            }
        }
    }
    Array::uints([n, c, size[0], size[1]], found)
}
