//! Random numbers by counter: Philox4x32-10, uniform numbers, and normal ones by the transform of Box and Muller.
//!
//! These are the same bits on every device, so this is not only what the GPU is checked against, but what it must
//! equal. Normal numbers are therefore made of whole numbers throughout. A comment `Qk` says that an integer stands for
//! itself divided by 2^k.

use rayon::prelude::*;

use super::{Array, Real};

/// Blocks of four words that a thread makes at a time.
const BLOCKS: usize = 1 << 12;

/// The key of a seed, and which draw under it.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// The seed, lower word first.
    pub key: [u32; 2],
    /// The number of the draw.
    pub draw: u32,
}

impl Stream {
    /// Words `4 block` to `4 block + 3`.
    #[inline]
    fn block(self, block: usize) -> [u32; 4] {
        philox([block as u32, self.draw, 0, 0], self.key)
    }

    /// The first `n` results, each made of a block of words.
    fn fill<E: Copy + Default + Send>(self, n: usize, f: impl Fn([u32; 4]) -> [E; 4] + Sync) -> Vec<E> {
        let mut out = vec![E::default(); n];
        out.par_chunks_mut(4 * BLOCKS).enumerate().for_each(|(chunk, out)| {
            let (fours, rest) = out.as_chunks_mut::<4>();
            for (i, four) in fours.iter_mut().enumerate() {
                *four = f(self.block(chunk * BLOCKS + i));
            }
            let last = f(self.block(chunk * BLOCKS + fours.len()));
            rest.copy_from_slice(&last[..rest.len()]);
        });
        out
    }
}

/// `n` random words.
pub fn bits(stream: Stream, n: usize) -> Vec<u32> {
    stream.fill(n, |words| words)
}

/// Uniform in [0, 1), multiples of 2^-24.
pub fn uniform<T: Real>(stream: Stream, shape: &[usize]) -> Array<T> {
    let scale = T::of(1.0 / (1u32 << 24) as f64);
    let values = stream.fill(shape.iter().product(), |words| words.map(|w| T::of((w >> 8) as f64) * scale));
    Array::floats(shape, values)
}

/// Normal with mean 0 and variance 1, multiples of 2^-21.
pub fn normal<T: Real>(stream: Stream, shape: &[usize]) -> Array<T> {
    let scale = T::of(1.0 / (1u32 << 21) as f64);
    let values = stream.fill(shape.iter().product(), |[a, b, c, d]| {
        let ([x, y], [z, w]) = (normal_pair(a, b), normal_pair(c, d));
        [x, y, z, w].map(|q| T::of(q as f64) * scale)
    });
    Array::floats(shape, values)
}

/// Four random words of a counter and a key: Philox4x32 with ten rounds (Salmon et al., 2011).
#[inline]
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let [a, b, c, d] = counter;
        let (first, second) = (0xD251_1F53_u64 * a as u64, 0xCD9E_8D57_u64 * c as u64);
        counter = [(second >> 32) as u32 ^ b ^ key[0], second as u32, (first >> 32) as u32 ^ d ^ key[1], first as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// Two normal numbers, Q21: `sqrt(-2 ln u) (cos, sin)(2 pi v)`, with `u` and `v` from two words.
fn normal_pair(a: u32, b: u32) -> [i32; 2] {
    let r = radius(a);
    // v is the middle of one of 2^32 equal parts of a turn: a quadrant, and x in (0, 1) of it.
    let x = (b << 2) | 2;
    let size = |s: u32| (((((r as u64) << 4) * s as u64) >> 32) as i32 + 64) >> 7;
    let (sin, cos) = (size(sine(x)), size(sine(x.wrapping_neg())));
    // (cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos): a branch here would be mispredicted three times of four.
    let quadrant = b >> 30;
    let (along, across) = if quadrant & 1 == 0 { (cos, sin) } else { (sin, cos) };
    let sign = |negative: u32| 1 - 2 * negative as i32;
    [sign((quadrant ^ (quadrant >> 1)) & 1) * along, sign(quadrant >> 1) * across]
}

/// `sqrt(-2 ln u)`, Q25, for `u = (word | 1) / 2^32`.
fn radius(word: u32) -> u32 {
    // u = m / 2^e with m in [1/2, 1). Times 5/4 or 3/2, m is in [3/4, 1), where a short polynomial is enough:
    // -2 ln u = 2 e ln 2 + 2 ln(5/4 or 3/2) - 2 ln m.
    let e = (word | 1).leading_zeros();
    let m = (word | 1) << e; // Q32
    let low = m < 0x9999_999A;
    let middle = !low & (m < 0xC000_0000);
    let m = m + (m >> 1) * low as u32 + (m >> 2) * middle as u32;
    // 2 ln 2, 2 ln 3/2 and 2 ln 5/4, Q26.
    let whole = e * 0x058B_90C0 + low as u32 * 0x033E_647E + middle as u32 * 0x01C8_FF7C;
    // -2 ln(1 - t) / t for t = 1 - m in (0, 1/4], coefficients Q30 of the Chebyshev interpolation: error 2^-31.
    let t = m.wrapping_neg(); // Q32
    let c = [0x2AB3_D51D, 0x055F_FEC1, 0x184D_A1AB, 0x193C_1DCE, 0x2006_204B, 0x2AAA_78C9, 0x4000_0099, 0x8000_0000];
    let p = c.iter().fold(0, |p, &c: &u32| c + high(p, t));
    let square = ((whole as u64) << 32) + ((p as u64 * t as u64) >> 4); // Q58
    floor_sqrt(square >> 8)
}

/// The largest whole number whose square is not above `x`, for `x` below 2^56.
fn floor_sqrt(x: u64) -> u32 {
    let near = (x as f64).sqrt() as u64;
    (near - (near * near > x) as u64 + ((near + 1) * (near + 1) <= x) as u64) as u32
}

/// `sin(pi/2 x)`, Q31, for `x` in (0, 1), Q32: `x` times a polynomial in `x^2` with alternating signs, error 2^-35.
fn sine(x: u32) -> u32 {
    let s = high(x, x);
    let c = [0x1CCA, 0x5_4050, 0x99_6897, 0x0A33_5E03, 0x52AE_F394, 0xC90F_DAA2];
    high(x, c.iter().fold(0, |p, &c: &u32| c - high(p, s)))
}

/// The upper half of a product.
fn high(a: u32, b: u32) -> u32 {
    ((a as u64 * b as u64) >> 32) as u32
}
