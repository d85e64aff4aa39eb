//! Which kernel makes a product: what each one can do, and the table of choices by size and adapter.
//!
//! The figures behind the table are timings on an H200 ([`tile_for`]), and for the rest those of published kernels with
//! the same tiles; where a device was measured, its choice goes before the table's ([`Caps::variant`]).

use super::gemm::{Gemm, Matrix};
use crate::tensor::{Caps, LoweredDispatch};

/// A tile of a product, made by one workgroup of `side * side` invocations, each so many rows and columns of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tile {
    side: usize,
    each: [usize; 2],
}

impl Tile {
    /// Rows and columns.
    pub fn extent(self) -> [usize; 2] {
        self.each.map(|each| self.side * each)
    }

    /// How many of them cover a matrix of `m` by `n`: down and across.
    pub fn over(self, m: usize, n: usize) -> (usize, usize) {
        let [rows, columns] = self.extent();
        (m.div_ceil(rows), n.div_ceil(columns))
    }

    pub fn invocations(self) -> u32 {
        (self.side * self.side) as u32
    }

    /// Terms of the sums in one round.
    pub fn depth(self) -> usize {
        16 * self.side / self.each[0]
    }

    /// A launch of this tile.
    pub fn constants(self, launch: LoweredDispatch) -> LoweredDispatch {
        let [rows, columns] = self.each.map(|each| each as u32);
        let launch = launch.constant("SIDE", self.side as u32);
        launch.constant("EACH_ROWS", rows).constant("EACH_COLUMNS", columns)
    }
}

/// Large products: the fewest loads per multiplication.
pub(crate) const TILE_128: Tile = Tile { side: 16, each: [8, 8] };
/// As many multiplications per load of workgroup memory as the largest, in workgroups a quarter as large.
pub(crate) const TILE_64: Tile = Tile { side: 8, each: [8, 8] };
/// Small matrices.
pub(crate) const TILE_32: Tile = Tile { side: 8, each: [4, 4] };
/// Few rows and many columns, such as the windows of a convolution to 32 channels. No table of choices has it: it was
/// not timed.
pub(crate) const TILE_32X64: Tile = Tile { side: 8, each: [4, 8] };

/// Which kernel makes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// A tile per workgroup, operands of any strides.
    Tiled(Tile),
    /// A tile per workgroup, operands and result in whole vec4s.
    Vec4(Tile),
    /// For subgroups of 8 in software: broadcasts instead of workgroup memory.
    Broadcast,
    /// One invocation per element.
    Plain,
    /// One workgroup per few elements, its invocations along the reduction.
    AlongK,
    /// A tile of this many cooperative matrices a side per workgroup, of halves in whole vec4s.
    Cooperative(u32),
}

/// Matrices with fewer rows or columns than this leave a tile mostly empty.
const SKINNY: usize = 8;
/// The most rows or columns of which lines along the reduction are made: the other operand is read for every eight of
/// them.
const MOST_ALONG_K: usize = 16;
/// Products of fewer multiplications than this are not worth a kernel that takes long to compile.
const TINY: usize = 4096;
/// Multiprocessors of a large GPU (an H100 has 132): with fewer tiles than this some of them have nothing to do.
pub(crate) const PROCESSORS: usize = 128;

impl Variant {
    /// All there are.
    pub const ALL: [Variant; 13] = [
        Variant::Plain,
        Variant::AlongK,
        Variant::Broadcast,
        Variant::Tiled(TILE_32),
        Variant::Tiled(TILE_32X64),
        Variant::Tiled(TILE_64),
        Variant::Tiled(TILE_128),
        Variant::Vec4(TILE_32),
        Variant::Vec4(TILE_32X64),
        Variant::Vec4(TILE_64),
        Variant::Vec4(TILE_128),
        Variant::Cooperative(4),
        Variant::Cooperative(8),
    ];

    /// Its name in [`Caps::variant`], in tables of measurements and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Plain => "plain",
            Variant::AlongK => "along_k",
            Variant::Broadcast => "broadcast",
            Variant::Tiled(TILE_32) => "tile32",
            Variant::Tiled(TILE_32X64) => "tile32x64",
            Variant::Tiled(TILE_64) => "tile64",
            Variant::Tiled(_) => "tile128",
            Variant::Vec4(TILE_32) => "tile32_vec4",
            Variant::Vec4(TILE_32X64) => "tile32x64_vec4",
            Variant::Vec4(TILE_64) => "tile64_vec4",
            Variant::Vec4(_) => "tile128_vec4",
            Variant::Cooperative(4) => "cooperative4",
            Variant::Cooperative(_) => "cooperative8",
        }
    }

    /// Invocations of a workgroup.
    pub fn invocations(self, caps: Caps) -> u32 {
        match self {
            Variant::Tiled(tile) | Variant::Vec4(tile) => tile.invocations(),
            Variant::Cooperative(matrices) => matrices * caps.subgroup,
            Variant::Broadcast => 8,
            Variant::Plain | Variant::AlongK => 64,
        }
    }

    /// Whether it can make this product on this adapter.
    pub fn admits(self, g: &Gemm, caps: Caps) -> bool {
        match self {
            Variant::Broadcast => caps.can_broadcast(),
            Variant::Tiled(TILE_128) => caps.has_large_tiles(),
            Variant::Vec4(tile) => Variant::Tiled(tile).admits(g, caps) && operands_in_vec4s(g) && result_in_vec4s(g),
            // What is not stored as halves would lose digits.
            Variant::Cooperative(_) => caps.has_matrices() && g.a.slot.half && g.b.slot.half && operands_in_vec4s(g),
            Variant::Tiled(_) | Variant::Plain => true,
            Variant::AlongK => g.n <= MOST_ALONG_K || g.m <= MOST_ALONG_K,
        }
    }

    /// The kernels that can make this product on this adapter.
    pub fn admissible(g: &Gemm, caps: Caps) -> Vec<Variant> {
        Variant::ALL.into_iter().filter(|v| v.admits(g, caps)).collect()
    }

    /// The kernel for this product on this adapter.
    pub fn choose(g: &Gemm, caps: Caps) -> Variant {
        if let Some(wanted) = caps.variant
            && let Some(found) = Variant::admissible(g, caps).into_iter().find(|v| v.name() == wanted)
        {
            return found;
        }
        let work = g.m * g.n * g.k * g.k_outer * g.batch[0] * g.batch[1];
        if work <= TINY || is_merged(g, caps) {
            return Variant::Plain;
        }
        if caps.software {
            // Loads are what costs there: the broadcast kernel makes the fewest, even where its tile is mostly empty.
            // Without subgroups of 8 nothing beats one invocation per element by enough to pay for its compilation.
            return if caps.can_broadcast() { Variant::Broadcast } else { Variant::Plain };
        }
        if let Some(skinny) = skinny(g) {
            return skinny;
        }
        let tile = tile_for([g.m, g.n, g.k * g.k_outer], g.batch[0] * g.batch[1], caps);
        let cooperative = Variant::Cooperative(if tile == TILE_128 { 8 } else { 4 });
        let vec4 = Variant::Vec4(tile);
        [cooperative, vec4].into_iter().find(|v| v.admits(g, caps)).unwrap_or(Variant::Tiled(tile))
    }
}

/// Whether a product is so small that its launch is merged with its neighbours.
pub(super) fn is_merged(g: &Gemm, caps: Caps) -> bool {
    let halves = g.a.slot.half || g.b.slot.half;
    caps.variant.is_none() && !halves && caps.merges(g.m * g.n * g.batch[0] * g.batch[1], g.k * g.k_outer)
}

/// What makes a product with few rows or columns: it reads the large operand once, so how that lies decides.
fn skinny(g: &Gemm) -> Option<Variant> {
    let (few_rows, few_columns) = (g.m < SKINNY, g.n < SKINNY);
    // A tile of these is half empty, and where the sums are long it has to be cut into slices that are added up
    // afterwards.
    let (several_rows, several_columns) = (g.m <= MOST_ALONG_K, g.n <= MOST_ALONG_K);
    if g.k * g.k_outer >= LONG && ((several_rows && g.b.row == 1) || (several_columns && g.a.col == 1)) {
        return Some(Variant::AlongK);
    }
    // One invocation per element reads b along its rows and a along its columns of equal elements; it reads the large
    // one as often as the small one has rows (columns).
    let coalesced = (g.m <= 4 && g.b.col == 1) || (g.n <= 4 && g.a.row == 1);
    // Where it lies along the reduction, neighbours must stand along it too.
    let along_k = (few_rows && g.b.row == 1) || (few_columns && g.a.col == 1);
    match (few_rows || few_columns, along_k && g.k >= 64) {
        (false, _) => None,
        (true, _) if coalesced => Some(Variant::Plain),
        (true, true) => Some(Variant::AlongK),
        (true, false) => (few_rows && few_columns).then_some(Variant::Plain),
    }
}

/// Multiplications from which a product keeps a large GPU busy in tiles of 128, or of 64, though it takes slices to
/// have enough of them. From the products and convolutions of training steps, timed on an H200 over all tiles when
/// those were half as deep; the second since, from generated kernels (64 x 3072 x 1024 took 14 us in tiles of 64, and
/// 18 in tiles of 32).
const WORK_128: usize = 1 << 29;
const WORK_64: usize = 1 << 27;
/// Terms of a sum that are worth being cut into slices.
const LONG: usize = 512;

/// The largest tile that is not mostly empty and of which there are enough, for `m` by `n` sums of `k` terms each.
pub(crate) fn tile_for([m, n, k]: [usize; 3], batches: usize, caps: Caps) -> Tile {
    let tiles = |tile: Tile| {
        let (down, across) = tile.over(m, n);
        down * across * batches
    };
    // What is computed, the empty part of the last tiles included, against what is wanted.
    let full = |tile: Tile| 4 * m * n * batches >= 3 * tiles(tile) * tile.extent().iter().product::<usize>();
    let work = m * n * k * batches;
    let enough = |tile: Tile, least: usize| tiles(tile) >= 2 * PROCESSORS || (work >= least && k >= LONG);
    if caps.has_large_tiles() && full(TILE_128) && enough(TILE_128, WORK_128) {
        TILE_128
    } else if m > 32 && n > 32 && (full(TILE_64) || !full(TILE_32)) && enough(TILE_64, WORK_64) {
        TILE_64
    } else {
        TILE_32
    }
}

/// Whether a matrix begins at a whole vec4, and so do all its batches.
fn in_fours(x: &Matrix) -> bool {
    [x.base as isize, x.outer, x.inner, x.k_outer].iter().all(|s| s % 4 == 0)
}

/// Whether a matrix runs on by single elements along an axis of whole vec4s.
fn runs_on(along: isize, across: isize, extent: usize) -> bool {
    along == 1 && across % 4 == 0 && extent.is_multiple_of(4)
}

/// Whether all vec4s of `a` are whole, along the reduction or down its columns.
pub(super) fn a_in_vec4s(g: &Gemm) -> bool {
    in_fours(&g.a) && (runs_on(g.a.col, g.a.row, g.k) || runs_on(g.a.row, g.a.col, g.m))
}

/// Whether all vec4s of `b` are whole, along the reduction or along its rows.
pub(super) fn b_in_vec4s(g: &Gemm) -> bool {
    in_fours(&g.b) && (runs_on(g.b.row, g.b.col, g.k) || runs_on(g.b.col, g.b.row, g.n))
}

/// Whether all vec4s of the operands are whole.
fn operands_in_vec4s(g: &Gemm) -> bool {
    a_in_vec4s(g) && b_in_vec4s(g)
}

/// Whether all vec4s of the result are whole.
fn result_in_vec4s(g: &Gemm) -> bool {
    runs_on(g.c.col, g.c.row, g.n) && in_fours(&g.c)
}

/// No slice of a reduction is longer. llvmpipe leaves every loop once an invocation has gone through 65,535 rounds of
/// all of its loops, and says nothing; a round of the kernels may take three of those. Elsewhere it only shortens long
/// sums.
pub(super) const LONGEST: usize = 16384;
/// Where the partial sums are few, slices are no longer than this: the rounding error of a sum grows with its longest
/// chain of additions, and what a gradient loses there a training run never gets back.
const ACCURATE: usize = 1024;
/// The same on a software rasteriser, where one more launch is cheap: chains as short as those of the CPU path.
const SHORTEST: usize = 256;
/// The most partial sums that are made for accuracy alone, in elements, with slices of either length.
const SMALL: usize = 1 << 22;
const SMALLEST: usize = 1 << 20;

/// How long a slice of a reduction of `all` is, where `count` results are made by workgroups of so many invocations.
pub(crate) fn slice_length(all: usize, count: usize, [groups, invocations]: [usize; 2], caps: Caps) -> usize {
    // Enough slices that few tiles still give every processor of the largest GPUs two workgroups of 256 invocations,
    // but none so short that adding up costs.
    let (wanted, least) = if caps.software { (8, 1024) } else { (2 * PROCESSORS * 256 / invocations, 128) };
    let sums = |slice: usize| all.div_ceil(slice) * count;
    let longest = if caps.software && sums(SHORTEST) <= SMALLEST {
        SHORTEST
    } else if sums(ACCURATE) <= SMALL {
        ACCURATE
    } else {
        LONGEST
    };
    all.div_ceil((wanted / groups.max(1)).max(1)).max(least).min(longest)
}
