//! Matrix products on the CPU: the `gemm` crate behind checked bounds, and the plain loops it is checked against.
//!
//! The strides of a [`View`] go straight into the product, so a transposed, sliced or broadcast operand is never
//! copied. Every element of a result is one sum in one order, whoever computes it, so the bits do not depend on the
//! number of threads.

use rayon::prelude::*;

use super::simd::vectorized;
use super::tile::{CHAIN, transpose};
use super::{Array, Real, View};

/// A product of at least this many multiplications is split over threads by itself; smaller ones of a batch are dealt
/// out whole.
const SPLIT_ONE: usize = 1 << 23;
/// A result of at most so many elements stays in the cache, and may be visited for every [`CHAIN`] of its sums.
const CACHED: usize = 1 << 18;

/// Up to so many rows a right operand whose columns lie in runs is not turned, if those are as long as this.
const FEW: usize = 128;
const LONG: usize = 256;

/// A matrix inside a buffer: element `(i, j)` is at `offset + i * row + j * col`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    /// The whole buffer.
    pub buffer: &'a [T],
    /// Position of element `(0, 0)`.
    pub offset: usize,
    /// Elements from one row to the next.
    pub row: isize,
    /// Elements from one column to the next.
    pub col: isize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix of `columns` columns that starts `buffer`.
    pub fn rows(buffer: &'a [T], columns: usize) -> Self {
        Matrix { buffer, offset: 0, row: columns as isize, col: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Matrix { row: self.col, col: self.row, ..self }
    }

    /// Whether every element of an `m` by `n` matrix lies inside the buffer.
    fn holds(&self, m: usize, n: usize) -> bool {
        let reach = |count: usize, stride: isize| (count as isize - 1) * stride;
        let (rows, columns) = (reach(m, self.row), reach(n, self.col));
        let first = self.offset as isize + rows.min(0) + columns.min(0);
        let last = self.offset as isize + rows.max(0) + columns.max(0);
        first >= 0 && last < self.buffer.len() as isize
    }
}

/// A matrix to be written. `row` and `col` are the positions of its elements as in [`Matrix`], from the buffer's start.
#[derive(Debug)]
pub(crate) struct Target<'a, T> {
    /// The buffer, from element `(0, 0)` on.
    pub buffer: &'a mut [T],
    /// Elements from one row to the next.
    pub row: usize,
    /// Elements from one column to the next.
    pub col: usize,
}

impl<'a, T> Target<'a, T> {
    /// A row-major matrix of `columns` columns.
    pub fn rows(buffer: &'a mut [T], columns: usize) -> Self {
        Target { buffer, row: columns, col: 1 }
    }
}

/// `c = a b`, or `c += a b`, where `c` is `m` by `n`; on all threads if `parallel`.
///
/// # Panics
/// If an operand does not lie inside its buffer, or elements of `c` coincide.
pub(crate) fn gemm<T: Real>(
    [m, n, k]: [usize; 3],
    a: Matrix<T>,
    b: Matrix<T>,
    c: Target<T>,
    accumulate: bool,
    parallel: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * c.row + (n - 1) * c.col < c.buffer.len(), "the result of {m}x{n} leaves its buffer");
    let apart = if c.col <= c.row { (n - 1) * c.col < c.row || m == 1 } else { (m - 1) * c.row < c.col || n == 1 };
    assert!(apart && (c.row > 0 || m == 1) && (c.col > 0 || n == 1), "elements of the result of {m}x{n} coincide");
    assert!(k == 0 || (a.holds(m, k) && b.holds(k, n)), "an operand of {m}x{n}x{k} leaves its buffer");
    let c = (c.buffer.as_mut_ptr(), c.row as isize, c.col as isize);
    // SAFETY: the asserts above hold every position of the three operands inside their slices. With k = 0 nothing of
    // `a` and `b` is read, and `wrapping_add` forms no reference.
    unsafe {
        let (a, b) = (
            (a.buffer.as_ptr().wrapping_add(a.offset), a.row, a.col),
            (b.buffer.as_ptr().wrapping_add(b.offset), b.row, b.col),
        );
        let chain = if m * n <= CACHED { CHAIN } else { k.max(1) };
        for first in (0..k.max(1)).step_by(chain) {
            let from = |start: *const T, step: isize| start.wrapping_offset(first as isize * step);
            let (a, b) = ((from(a.0, a.2), a.1, a.2), (from(b.0, b.1), b.1, b.2));
            T::gemm(m, n, chain.min(k - first), c, accumulate || first > 0, a, b, parallel);
        }
    }
}

/// `[..., m, k] x [..., k, n]` with equal batch axes.
pub fn matmul<T: Real>(a: &View<T>, b: &View<T>) -> Array<T> {
    let batch_axes = a.shape.len() - 2;
    let (m, k, n) = (a.shape[batch_axes], a.shape[batch_axes + 1], b.shape[batch_axes + 1]);
    let mut shape = a.shape.to_vec();
    shape[batch_axes + 1] = n;
    let count = shape.iter().product();
    if count == 0 || k == 0 {
        return Array::floats(shape, vec![T::ZERO; count]);
    }
    let mut out = T::stale(count);
    let matrix = |v: &View<'_, T>, batch: usize| {
        let (mut rest, mut at) = (batch, v.offset as isize);
        for axis in (0..batch_axes).rev() {
            at += (rest % v.shape[axis]) as isize * v.strides[axis];
            rest /= v.shape[axis];
        }
        (at as usize, v.strides[batch_axes], v.strides[batch_axes + 1])
    };
    let (from_a, from_b) = (a.float_buffer(), b.float_buffer());
    let one = |batch: usize, c: &mut [T], parallel: bool| {
        let ((at, row, col), (bt, b_row, b_col)) = (matrix(a, batch), matrix(b, batch));
        let a = Matrix { buffer: from_a, offset: at, row, col };
        let b = Matrix { buffer: from_b, offset: bt, row: b_row, col: b_col };
        if m <= FEW && m <= n && k >= LONG && b_row == 1 && col == 1 {
            // What the product loads as vectors is turned first. Here that would be all of `b`, for a few rows: the
            // transpose of the result is made instead, and turned.
            let mut turned = T::stale(m * n);
            gemm([n, m, k], b.t(), a.t(), Target::rows(&mut turned, m), false, parallel);
            vectorized(
                #[inline(always)]
                || transpose(&turned, |column| column * m, [n, m], c, |row| row * n),
            );
            return T::give_back(turned);
        }
        gemm([m, n, k], a, b, Target::rows(c, n), false, parallel);
    };
    let each = m * n * k;
    if each >= SPLIT_ONE || out.len() == m * n {
        out.chunks_mut(m * n).enumerate().for_each(|(batch, c)| one(batch, c, true));
    } else {
        // Tiny matrices go to a thread several at a time.
        let run = (SPLIT_ONE / 64 / each.max(1)).max(1);
        out.par_chunks_mut(m * n).enumerate().with_min_len(run).for_each(|(batch, c)| one(batch, c, false));
    }
    Array::floats(shape, out)
}

/// The same by three loops over every matrix: what the product means, and the check of the fast path.
pub fn matmul_plain_loops<T: Real>(a: &View<T>, b: &View<T>) -> Array<T> {
    let batch_axes = a.shape.len() - 2;
    let (m, k, n) = (a.shape[batch_axes], a.shape[batch_axes + 1], b.shape[batch_axes + 1]);
    let mut shape = a.shape.to_vec();
    shape[batch_axes + 1] = n;
    let (x, y) = (a.floats(), b.floats());
    let batches: usize = a.shape[..batch_axes].iter().product();
    let mut out = Vec::with_capacity(batches * m * n);
    for batch in 0..batches {
        for i in 0..m {
            for j in 0..n {
                let mut sum = 0.0;
                for l in 0..k {
                    sum += x[(batch * m + i) * k + l].f64() * y[(batch * k + l) * n + j].f64();
                }
                out.push(T::of(sum));
            }
        }
    }
    Array::floats(shape, out)
}

#[cfg(test)]
mod tests {
    use super::super::Data;
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
            })
            .collect()
    }

    fn assert_close(fast: &Array<f64>, slow: &Array<f64>, what: &str) {
        assert_eq!(fast.shape, slow.shape, "{what}");
        let (Data::Float(f), Data::Float(s)) = (&fast.data, &slow.data) else { unreachable!() };
        for (i, (f, s)) in f.iter().zip(s).enumerate() {
            assert!((f - s).abs() <= 1e-12 * (1.0 + s.abs()), "{what}: element {i} is {f}, plain loops give {s}");
        }
    }

    #[test]
    fn gemm_agrees_with_plain_loops_for_every_layout() {
        for [m, n, k] in [
            [1, 1, 1],
            [1, 7, 5],
            [7, 1, 5],
            [5, 3, 1],
            [17, 13, 11],
            [64, 65, 66],
            [3, 200, 2],
            [9, 70, 300],
            [4, 4, 0],
        ] {
            let shapes = [[2, m, k], [2, k, n]];
            let data =
                shapes.map(|s| Data::Float(numbers(2 * s.iter().product::<usize>() + 16, m as u64 * 31 + n as u64)));
            for case in 0..16 {
                let views: Vec<View<f64>> = (0..2)
                    .map(|i| {
                        let [b, r, c] = shapes[i];
                        let mut strides = match case >> i & 1 {
                            0 => vec![(r * c) as isize, c as isize, 1],
                            _ => vec![(r * c) as isize, 1, r as isize],
                        };
                        let mut offset = 5;
                        if case & 4 != 0 {
                            strides[0] = 0;
                        }
                        if case & 8 != 0 && b * r * c > 0 {
                            offset += (c - 1) * strides[2] as usize;
                            strides[2] = -strides[2];
                        }
                        View { shape: &shapes[i], strides, offset, data: &data[i] }
                    })
                    .collect();
                let (fast, slow) = (matmul(&views[0], &views[1]), matmul_plain_loops(&views[0], &views[1]));
                assert_close(&fast, &slow, &format!("{m}x{n}x{k}, layout {case:04b}"));
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let (m, n, k) = (203, 211, 217);
        let a = Array::<f32>::floats([m, k], numbers(m * k, 1).iter().map(|&v| v as f32).collect::<Vec<_>>());
        let b = Array::<f32>::floats([k, n], numbers(k * n, 2).iter().map(|&v| v as f32).collect::<Vec<_>>());
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| matmul(&a.view(), &b.view()))
        };
        let one = run(1);
        for threads in [2, 3, 8] {
            assert_eq!(one, run(threads), "{threads} threads");
        }
    }

    #[test]
    #[should_panic(expected = "leaves its buffer")]
    fn a_matrix_outside_its_buffer_is_refused() {
        gemm(
            [2, 2, 2],
            Matrix::rows(&[1.0; 3], 2),
            Matrix::rows(&[1.0; 4], 2),
            Target::rows(&mut [0.0; 4], 2),
            false,
            false,
        );
    }
}
