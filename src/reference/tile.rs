//! A product of matrices whose left operand is never written out.
//!
//! The patches of an image overlap: element `(m, k)` of their matrix lies at the position of window `m` plus that of
//! tap and channel `k`. So a tile of the result can be computed from the image itself, given one table of positions for
//! rows and one for columns; a convolution needs no memory for its columns, and its image stays in the first-level
//! cache. The right operand is packed in panels, and a tile of the result stays in registers, as in every fast product
//! (Goto and van de Geijn, 2008). Single precision only: in double precision, where speed does not matter, the
//! columns are written out.

use super::Real;
#[cfg(target_arch = "x86_64")]
use super::real::singles_mut;

/// Columns of a panel, which are multiplied together.
pub(crate) const PANEL: usize = 32;
/// Columns are padded to a multiple of this.
const LANES: usize = 16;
/// The most products that are added one after another. The rounding error of a sum grows with its longest chain of
/// additions, and what a step of training loses there it never gets back.
pub(crate) const CHAIN: usize = 256;

/// The columns of a result in memory: as many as are whole vectors.
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// The left operand: element `(m, k)` is at `rows[m] + runs[k / len] + k % len * step`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'a> {
    /// Where the elements are.
    pub buffer: &'a [f32],
    /// Position of each row.
    pub rows: &'a [usize],
    /// Position of each run of columns, within any row.
    pub runs: &'a [usize],
    /// Columns of a run.
    pub len: usize,
    /// Elements from one column of a run to the next.
    pub step: usize,
}

impl<'a> Left<'a> {
    /// Columns.
    fn depth(&self) -> usize {
        self.runs.len() * self.len
    }

    /// The operand cut between columns, into parts of at most [`CHAIN`] of them; one part if there are none.
    fn parts(self) -> impl Iterator<Item = Left<'a>> {
        let runs = (CHAIN / self.len.max(1)).max(1);
        let empty = (self.depth() == 0).then_some(self);
        let cut = move |runs: &'a [usize]| {
            let piece = move |from| Left {
                buffer: &self.buffer[from * self.step..],
                runs,
                len: CHAIN.min(self.len - from),
                ..self
            };
            (0..self.len).step_by(CHAIN).map(piece)
        };
        empty.into_iter().chain(self.runs.chunks(runs).flat_map(cut))
    }
}

/// The right operand, `depth` by `padded(n)`: panels of [`PANEL`] columns, the last perhaps of half as many, each
/// row-major, one after another. Columns from `n` on may hold anything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Right<'a> {
    /// The panels.
    pub buffer: &'a [f32],
    /// Rows in memory.
    pub depth: usize,
    /// The row that column 0 of the left operand meets.
    pub first: usize,
}

/// Where row `k` of panel `p` begins, and how wide the panel is.
pub(crate) fn panel(p: usize, k: usize, depth: usize, n: usize) -> (usize, usize) {
    let width = (padded(n) - p * PANEL).min(PANEL);
    (p * PANEL * depth + k * width, width)
}

/// `c = left right`, or `c += left right`, where `c` is row-major with `padded(n)` columns.
///
/// # Panics
/// If an operand does not lie inside its buffer.
pub(crate) fn product(left: &Left, right: &Right, n: usize, c: &mut [f32], accumulate: bool) {
    product_on(Kind::best(), left, right, n, c, accumulate);
}

/// The kinds of vectors there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Kind {
    fn all() -> Vec<Kind> {
        let mut kinds = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                kinds.push(Kind::Avx512);
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                kinds.push(Kind::Avx2);
            }
        }
        kinds.push(Kind::Portable);
        kinds
    }

    fn best() -> Kind {
        static BEST: std::sync::OnceLock<Kind> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Kind::all()[0])
    }
}

fn product_on(kind: Kind, left: &Left, right: &Right, n: usize, c: &mut [f32], mut accumulate: bool) {
    let (m, depth) = (left.rows.len(), left.depth());
    if m == 0 || n == 0 {
        return;
    }
    let furthest = |table: &[usize]| table.iter().copied().max().unwrap_or(0);
    let last = furthest(left.rows) + furthest(left.runs) + left.len.saturating_sub(1) * left.step;
    assert!(depth == 0 || last < left.buffer.len(), "the left operand leaves its buffer");
    assert!(right.first + depth <= right.depth, "the right operand has too few rows");
    assert!(right.depth * padded(n) <= right.buffer.len(), "the right operand leaves its buffer");
    assert!(m * padded(n) <= c.len(), "the result leaves its buffer");
    let mut first = right.first;
    for left in left.parts() {
        let right = Right { first, ..*right };
        // SAFETY: the asserts hold every position of the operands inside their buffers, and a kind is one that the
        // processor has.
        unsafe {
            match kind {
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => x86::avx512(&left, &right, n, c, accumulate),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => x86::avx2(&left, &right, n, c, accumulate),
                Kind::Portable => panels::<[f32; 4], 4, 2, 2, 2>(&left, &right, n, c, accumulate),
            }
        }
        first += left.depth();
        accumulate = true;
    }
}

/// A vector register.
trait Lanes: Copy {
    /// Its elements.
    const N: usize;
    fn splat(x: f32) -> Self;
    /// # Safety
    /// `N` elements from `at` on must be readable.
    unsafe fn load(at: *const f32) -> Self;
    /// # Safety
    /// `N` elements from `at` on must be writable.
    unsafe fn store(self, at: *mut f32);
    /// `self + a b`
    fn add_product(self, a: Self, b: Self) -> Self;
}

impl Lanes for [f32; 4] {
    const N: usize = 4;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self {
        // SAFETY: the caller vouches for the elements; an array of floats is aligned as they are.
        unsafe { at.cast::<Self>().read() }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32) {
        // SAFETY: as above.
        unsafe { at.cast::<Self>().write(self) }
    }
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        // Where every processor of an architecture fuses the two, the loop becomes one instruction.
        let one = |s: f32, a: f32, b: f32| if cfg!(target_arch = "aarch64") { a.mul_add(b, s) } else { s + a * b };
        std::array::from_fn(|i| one(self[i], a[i], b[i]))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Left, Right, panels};

    // The intrinsics are inlined into the two functions below, which are compiled for processors that have them.

    impl Lanes for __m512 {
        const N: usize = 16;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller vouches for the elements.
            unsafe { _mm512_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            // SAFETY: the caller vouches for the elements.
            unsafe { _mm512_storeu_ps(at, self) }
        }
        #[inline(always)]
        fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm512_fmadd_ps(a, b, self) }
        }
    }

    impl Lanes for __m256 {
        const N: usize = 8;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_set1_ps(x) }
        }
        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller vouches for the elements.
            unsafe { _mm256_loadu_ps(at) }
        }
        #[inline(always)]
        unsafe fn store(self, at: *mut f32) {
            // SAFETY: the caller vouches for the elements.
            unsafe { _mm256_storeu_ps(at, self) }
        }
        #[inline(always)]
        fn add_product(self, a: Self, b: Self) -> Self {
            // SAFETY: see above.
            unsafe { _mm256_fmadd_ps(a, b, self) }
        }
    }

    /// Writes the transpose of four by four elements.
    ///
    /// # Safety
    /// There are four elements behind each pointer.
    #[inline(always)]
    pub unsafe fn turn_four(from: [*const f32; 4], to: [*mut f32; 4]) {
        // SAFETY: the caller vouches for the elements; every processor of this architecture has these.
        unsafe {
            let [a, b, c, d] = from.map(|at| _mm_loadu_ps(at));
            let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
            _mm_storeu_ps(to[0], _mm_movelh_ps(ab, cd));
            _mm_storeu_ps(to[1], _mm_movehl_ps(cd, ab));
            _mm_storeu_ps(to[2], _mm_movelh_ps(ab_high, cd_high));
            _mm_storeu_ps(to[3], _mm_movehl_ps(cd_high, ab_high));
        }
    }

    /// 24 of 32 registers hold a tile of 12 by 32.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn avx512(left: &Left, right: &Right, n: usize, c: &mut [f32], accumulate: bool) {
        // SAFETY: the caller vouches for the operands.
        unsafe { panels::<__m512, 12, 4, 2, 1>(left, right, n, c, accumulate) }
    }

    /// 12 of 16 registers hold a tile of 6 by 16.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn avx2(left: &Left, right: &Right, n: usize, c: &mut [f32], accumulate: bool) {
        // SAFETY: the caller vouches for the operands.
        unsafe { panels::<__m256, 6, 2, 2, 2>(left, right, n, c, accumulate) }
    }
}

/// The product, panel by panel: tiles of `ROWS` (the last rows: `FEW`) by `WIDE` vectors, in a panel of 16 columns by
/// `NARROW`.
///
/// # Safety
/// As [`product_on`] asserts.
#[inline(always)]
unsafe fn panels<V: Lanes, const ROWS: usize, const FEW: usize, const WIDE: usize, const NARROW: usize>(
    left: &Left,
    right: &Right,
    n: usize,
    c: &mut [f32],
    accumulate: bool,
) {
    let ld = padded(n);
    for p in 0..ld.div_ceil(PANEL) {
        let (at, width) = panel(p, right.first, right.depth, n);
        let vectors = if width == PANEL { WIDE } else { NARROW };
        for from in (0..width).step_by(vectors * V::N) {
            let mut row = 0;
            while row < left.rows.len() {
                let rest = left.rows.len() - row;
                // SAFETY: rows, panels and the result lie in their buffers.
                unsafe {
                    let b = right.buffer.as_ptr().add(at + from);
                    let to = c.as_mut_ptr().add(row * ld + p * PANEL + from);
                    let rows = &left.rows[row..];
                    row += match (rest > ROWS - FEW, width == PANEL) {
                        (true, true) => tile::<V, ROWS, WIDE>(left, rows, b, width, to, ld, accumulate),
                        (true, false) => tile::<V, ROWS, NARROW>(left, rows, b, width, to, ld, accumulate),
                        (false, true) => tile::<V, FEW, WIDE>(left, rows, b, width, to, ld, accumulate),
                        (false, false) => tile::<V, FEW, NARROW>(left, rows, b, width, to, ld, accumulate),
                    };
                }
            }
        }
    }
}

/// A tile of `M` rows (fewer if there are no more, and the last stands in for those) by `N` vectors; the rows done.
///
/// # Safety
/// As [`product_on`] asserts.
#[inline(always)]
unsafe fn tile<V: Lanes, const M: usize, const N: usize>(
    left: &Left,
    rows: &[usize],
    b: *const f32,
    width: usize,
    c: *mut f32,
    ld: usize,
    accumulate: bool,
) -> usize {
    let count = rows.len().min(M);
    let positions: [usize; M] = std::array::from_fn(|i| rows[i.min(count - 1)]);
    let mut sums = [[V::splat(0.0); N]; M];
    // SAFETY: the caller vouches for every position.
    unsafe {
        let mut b = b;
        for &run in left.runs {
            let a: [*const f32; M] = std::array::from_fn(|i| left.buffer.as_ptr().add(positions[i] + run));
            let mut k = 0;
            for _ in 0..left.len {
                let row: [V; N] = std::array::from_fn(|j| V::load(b.add(j * V::N)));
                for (a, sums) in a.iter().zip(&mut sums) {
                    let x = V::splat(*a.add(k));
                    for (sum, &b) in sums.iter_mut().zip(&row) {
                        *sum = sum.add_product(x, b);
                    }
                }
                b = b.add(width);
                k += left.step;
            }
        }
        // A loop of fixed length is unrolled. One of `count` turns would need an address for the sums, and then each of
        // the additions above writes its register to memory.
        for (i, sums) in sums.iter().enumerate() {
            if i < count {
                for (j, sum) in sums.iter().enumerate() {
                    let to = c.add(i * ld + j * V::N);
                    // What was there is added last: chains of additions stay as short as one product's.
                    let sum = if accumulate { sum.add_product(V::splat(1.0), V::load(to)) } else { *sum };
                    sum.store(to);
                }
            }
        }
    }
    count
}

/// The side of a block of elements that [`transpose`] moves at once.
const SIDE: usize = 8;

/// Writes the transpose of a block: element `i` of the line of `to` that begins at `lines[j]` is element `j` of
/// `from[i]`.
#[inline(always)]
fn turn<T: Real>(from: [&[T; SIDE]; SIDE], to: &mut [T], lines: [usize; SIDE]) {
    // Left to itself the compiler moves element by element.
    #[cfg(target_arch = "x86_64")]
    if let Some(to) = singles_mut(to) {
        assert!(lines.iter().all(|&line| line + SIDE <= to.len()), "a line leaves its buffer");
        let to = to.as_mut_ptr();
        for j in (0..SIDE).step_by(4) {
            for i in (0..SIDE).step_by(4) {
                let from: [*const f32; 4] = std::array::from_fn(|k| from[i + k][j..].as_ptr().cast());
                // SAFETY: the assert holds the lines inside their buffer, and four elements are left of each from `i`
                // and `j` on.
                unsafe { x86::turn_four(from, std::array::from_fn(|k| to.add(lines[j + k] + i))) };
            }
        }
        return;
    }
    for (j, line) in lines.into_iter().enumerate() {
        let column: [T; SIDE] = std::array::from_fn(|i| from[i][j]);
        to[line..][..SIDE].copy_from_slice(&column);
    }
}

/// Copies the transpose of `rows` by `columns` elements: element `(r, c)` of `from`, at `row(r) + c`, to
/// `to[at(c) + r]`.
#[inline(always)]
pub(crate) fn transpose<T: Real>(
    from: &[T],
    row: impl Fn(usize) -> usize,
    [rows, columns]: [usize; 2],
    to: &mut [T],
    at: impl Fn(usize) -> usize,
) {
    for r in (0..rows).step_by(SIDE) {
        for c in (0..columns).step_by(SIDE) {
            if r + SIDE <= rows && c + SIDE <= columns {
                let block =
                    std::array::from_fn(|i| from[row(r + i) + c..].first_chunk().expect("a slice of this length"));
                turn(block, to, std::array::from_fn(|j| at(c + j) + r));
            } else {
                for j in c..columns.min(c + SIDE) {
                    let to = &mut to[at(j) + r..];
                    for i in r..rows.min(r + SIDE) {
                        to[i - r] = from[row(i) + j];
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        let next = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..n).map(next).collect()
    }

    #[test]
    fn every_kind_of_vector_gives_the_product() {
        for kind in Kind::all() {
            for (m, n, runs, len, step) in [
                (1, 1, 1, 1, 1),
                (12, 32, 3, 5, 1),
                (13, 33, 2, 7, 3),
                (31, 16, 4, 1, 2),
                (5, 80, 1, 40, 1),
                (7, 50, 2, 0, 1),
            ] {
                let rows: Vec<usize> = (0..m).map(|i| i * 37 % 101).collect();
                let runs: Vec<usize> = (0..runs).map(|i| i * 23 % 59).collect();
                let depth = runs.len() * len;
                let a = numbers(400, 1);
                let (packed, mut c) = (numbers((depth + 3) * padded(n), 2), numbers(m * padded(n), 3));
                let before = c.clone();
                let left = Left { buffer: &a, rows: &rows, runs: &runs, len, step };
                let right = Right { buffer: &packed, depth: depth + 3, first: 2 };
                for accumulate in [false, true] {
                    let before = if accumulate { c.clone() } else { before.clone() };
                    product_on(kind, &left, &right, n, &mut c, accumulate);
                    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                        let mut want = if accumulate { before[i * padded(n) + j] as f64 } else { 0.0 };
                        for k in 0..depth {
                            let (at, _) = panel(j / PANEL, 2 + k, depth + 3, n);
                            let x = a[rows[i] + runs[k / len] + k % len * step];
                            want += x as f64 * packed[at + j % PANEL] as f64;
                        }
                        let got = c[i * padded(n) + j] as f64;
                        let most = 2e-6 * (1 + depth) as f64;
                        assert!(
                            (got - want).abs() < most,
                            "{kind:?}, {m}x{n}x{depth}: ({i}, {j}) is {got}, not {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "the left operand leaves its buffer")]
    fn a_position_outside_the_buffer_is_refused() {
        let left = Left { buffer: &[0.0; 9], rows: &[0, 4], runs: &[0, 3], len: 2, step: 2 };
        let right = Right { buffer: &[0.0; 64], depth: 4, first: 0 };
        product(&left, &right, 16, &mut [0.0; 32], false);
    }

    #[test]
    fn a_transpose_puts_every_element_in_its_place() {
        for [rows, columns] in [[1, 1], [8, 8], [9, 17], [32, 5], [3, 40]] {
            let ld = columns + 3;
            let from = numbers(rows * ld, 7);
            let mut to = vec![f32::NAN; columns * (rows + 1)];
            transpose(&from, |r| r * ld, [rows, columns], &mut to, |c| c * (rows + 1));
            for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                assert_eq!(to[c * (rows + 1) + r], from[r * ld + c]);
            }
        }
    }
}
