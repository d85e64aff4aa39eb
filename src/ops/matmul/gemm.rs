//! The launches of one product, of whatever kernel makes it: slices of the reduction, parameters, the sum of the
//! slices.

use super::variant::{LONGEST, PROCESSORS, Tile, Variant, a_in_vec4s, b_in_vec4s, is_merged, slice_length};
use crate::device::Shader;
use crate::tensor::{Caps, Lower, LoweredDispatch, Slot, SumWanted};

/// A shader of these files of `shaders/`, one after another.
macro_rules! shader {
    ($name:literal: $($file:literal)*) => {
        crate::device::Shader::new($name, concat!($(include_str!(concat!("../../../shaders/", $file, ".wgsl"))),*))
    };
}
pub(crate) use shader;

// Kernels over tiles: parameters, where the tile lies, the tile, what is made besides, and the operands.
const TILED: Shader = shader!("matmul":
    "shared/gemm" "shared/tiles" "shared/tile" "shared/no_sums" "shared/rows" "shared/epilogue" "matmul");
const TILED_SUMS: Shader = shader!("matmul":
    "shared/gemm" "shared/tiles" "shared/tile" "shared/sums" "shared/rows" "shared/epilogue" "matmul");
const VEC4: Shader = shader!("matmul_vec4":
    "shared/gemm" "shared/tiles" "shared/tile" "shared/no_sums" "shared/epilogue" "matmul_vec4");
const VEC4_SUMS: Shader = shader!("matmul_vec4":
    "shared/gemm" "shared/tiles" "shared/tile" "shared/sums" "shared/epilogue" "matmul_vec4");
const ALONG_K: Shader = shader!("matmul_along_k": "shared/gemm" "shared/epilogue" "matmul_along_k");
macro_rules! broadcast {
    ($sums:literal) => {
        [
            [
                broadcast!($sums "matmul_subgroup_rows" "matmul_subgroup_columns"),
                broadcast!($sums "matmul_subgroup_rows" "matmul_subgroup_columns_vec4"),
            ],
            [
                broadcast!($sums "matmul_subgroup_rows_vec4" "matmul_subgroup_columns"),
                broadcast!($sums "matmul_subgroup_rows_vec4" "matmul_subgroup_columns_vec4"),
            ],
        ]
    };
    ($sums:literal $rows:literal $columns:literal) => {
        shader!("matmul_subgroup":
            "shared/gemm" "shared/epilogue" "shared/broadcast" $sums $rows $columns "matmul_subgroup")
    };
}
/// By whether A is read in whole vec4s, and then whether B is.
const BROADCAST: [[Shader; 2]; 2] = broadcast!("shared/no_sums");
const BROADCAST_SUMS: [[Shader; 2]; 2] = broadcast!("shared/broadcast_sums");
const COOPERATIVE_8: Shader = shader!("matmul_coop":
    "shared/coop8" "shared/gemm" "shared/tiles" "shared/coop_tile" "shared/epilogue" "matmul_coop");
const COOPERATIVE_16: Shader = shader!("matmul_coop":
    "shared/coop16" "shared/gemm" "shared/tiles" "shared/coop_tile" "shared/epilogue" "matmul_coop");
const PLAIN: Shader = shader!("matmul_plain": "shared/gemm" "shared/epilogue" "matmul_plain");
const SPLIT: Shader = shader!("matmul_split": "shared/flat" "shared/epilogue" "shared/split_product" "matmul_split");
const SPLIT_SUMS: Shader = shader!("matmul_split": "shared/flat" "shared/epilogue" "shared/split_sums" "matmul_split");

/// Terms of a sum from which on more than 64 invocations share it.
const LONG_LINE: usize = 1024;
/// Columns of a tile, and the most rows, that one subgroup makes by broadcasts.
pub(crate) const BROADCAST_TILE: usize = 32;

/// Rows of such a tile of `m`: so many that few are empty.
pub(crate) fn broadcast_rows(m: usize) -> usize {
    m.next_power_of_two().clamp(8, BROADCAST_TILE)
}

crate::params! {
    struct GemmParams {
        m: u32, n: u32, k: u32, k_outer: u32,
        batch_inner: u32, tiles_n: u32, tiles: u32, groups: u32,
        k_slices: u32, k_step: u32, k_outer_step: u32, accumulate: u32,
        a_base: i32, a_outer: i32, a_inner: i32, a_k_outer: i32, a_row: i32, a_col: i32,
        b_base: i32, b_outer: i32, b_inner: i32, b_k_outer: i32, b_row: i32, b_col: i32,
        c_base: i32, c_slice: i32, c_outer: i32, c_inner: i32, c_row: i32, c_col: i32,
        batches: u32,
    }
}

crate::params! {
    struct SplitParams {
        m: u32, n: u32, slices: u32, batch_inner: u32, count: u32, accumulate: u32,
        c_base: i32, c_outer: i32, c_inner: i32, c_row: i32, c_col: i32,
        sums: u32,
    }
}

/// A matrix in a slot: element `(i, j)` of batch `(o, i)` is at `base + o * outer + i * inner + i * row + j * col`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    /// The memory.
    pub slot: Slot,
    /// Position of the first element.
    pub base: usize,
    /// Elements from one outer batch to the next.
    pub outer: isize,
    /// Elements from one inner batch to the next.
    pub inner: isize,
    /// Elements from one term of the outer sum to the next.
    pub k_outer: isize,
    /// Elements from one row to the next.
    pub row: isize,
    /// Elements from one column to the next.
    pub col: isize,
}

/// `c = sum over k_outer of a b`, for each of `batch[0] * batch[1]` matrices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gemm {
    /// Rows of `a` and `c`.
    pub m: usize,
    /// Columns of `b` and `c`.
    pub n: usize,
    /// Columns of `a`, rows of `b`.
    pub k: usize,
    /// Outer and inner batch.
    pub batch: [usize; 2],
    /// Products that are summed into one result: a second axis of the reduction, with strides of its own.
    pub k_outer: usize,
    /// `m` by `k`.
    pub a: Matrix,
    /// `k` by `n`.
    pub b: Matrix,
    /// `m` by `n`; its `k_outer` is not used.
    pub c: Matrix,
    /// Add to what `c` holds.
    pub accumulate: bool,
    /// `c` is dense in an output of the op, and final.
    pub finish: bool,
    /// The sum of the rows of all `a`, if somebody wants it: made besides where the kernel can.
    pub sum: Option<SumWanted>,
}

impl Gemm {
    /// The steps by which the reduction is cut into slices, along `k_outer` and `k`.
    fn slice_steps(&self, groups: [usize; 2], caps: Caps) -> (usize, usize) {
        let all = self.k * self.k_outer;
        if is_merged(self, caps) {
            return (self.k_outer, self.k);
        }
        match slice_length(all, self.m * self.n * self.batch[0] * self.batch[1], groups, caps) {
            length if length >= all => (self.k_outer, self.k),
            length if length >= self.k => (length / self.k, self.k),
            length => (1, length.next_multiple_of(32)),
        }
    }

    /// The sum in pieces, each added to the ones before: where the partial sums of all slices do not fit a binding.
    fn launch_in_turn(&self, (k_outer_step, k_step): (usize, usize), cx: &mut Lower) {
        let cut = |extent: usize, step: usize| (0..extent).step_by(step).map(move |i| (i, step.min(extent - i)));
        let pieces = cut(self.k_outer, k_outer_step).flat_map(|o| cut(self.k, k_step).map(move |l| (o, l)));
        let count = self.k_outer.div_ceil(k_outer_step) * self.k.div_ceil(k_step);
        for (i, ((o, k_outer), (l, k))) in pieces.enumerate() {
            let moved = |x: Matrix, along_k: isize| Matrix {
                base: x.base.wrapping_add_signed(o as isize * x.k_outer + l as isize * along_k),
                ..x
            };
            let (a, b) = (moved(self.a, self.a.col), moved(self.b, self.b.row));
            let finish = self.finish && i + 1 == count;
            Gemm { k, k_outer, a, b, accumulate: self.accumulate || i > 0, finish, sum: None, ..*self }.launch(cx);
        }
    }

    /// The same sum with its two axes in the form that runs best.
    fn normalised(mut self) -> Self {
        let runs_on = |x: &Matrix, step: isize| x.k_outer == self.k as isize * step;
        if self.k == 1 || (self.k_outer > 1 && runs_on(&self.a, self.a.col) && runs_on(&self.b, self.b.row)) {
            if self.k == 1 {
                (self.a.col, self.b.row) = (self.a.k_outer, self.b.k_outer);
            }
            self.k *= self.k_outer;
            self.k_outer = 1;
        }
        self
    }

    /// `c` transposed: of `b` and `a` transposed. Without a sum of rows, which would be one of columns.
    fn transposed(self) -> Self {
        let turned = |x: Matrix| Matrix { row: x.col, col: x.row, ..x };
        let (a, b, c) = (turned(self.b), turned(self.a), turned(self.c));
        Gemm { m: self.n, n: self.m, a, b, c, ..self }
    }

    /// Appends the launches that compute it.
    pub fn launch(&self, cx: &mut Lower) {
        let mut g = self.normalised();
        let batches = g.batch[0] * g.batch[1];
        if g.m * g.n * batches == 0 {
            return;
        }
        if g.k * g.k_outer == 0 {
            // An empty sum is 0: the kernels write it, but an operand without elements cannot be bound.
            let nothing = cx.temp(64);
            (g.a.slot, g.b.slot, g.k, g.sum) = (nothing, nothing, 0, None);
        }
        let caps = cx.caps();
        let variant = Variant::choose(&g, caps);
        // Of broadcasts a tile may have few rows, but not few columns; those of which sums are wanted stay rows.
        if variant == Variant::Broadcast && g.sum.is_none() && 2 * g.n <= BROADCAST_TILE && g.n < g.m {
            g = g.transposed();
        }
        let few_rows = variant == Variant::AlongK && g.m <= g.n;
        let square = |extent: usize| (g.m.div_ceil(extent), g.n.div_ceil(extent));
        let (tiles_m, tiles_n) = match variant {
            Variant::Tiled(tile) | Variant::Vec4(tile) => tile.over(g.m, g.n),
            Variant::Cooperative(matrices) => square((matrices * caps.matrices) as usize),
            Variant::Broadcast => (g.m.div_ceil(broadcast_rows(g.m)), g.n.div_ceil(BROADCAST_TILE)),
            Variant::Plain => (g.m, g.n),
            Variant::AlongK => (g.m.min(g.n).div_ceil(8), g.m.max(g.n)),
        };
        let per_group = if variant == Variant::Plain { 64 } else { 1 };
        let long = variant == Variant::AlongK && g.k * g.k_outer >= LONG_LINE;
        let invocations = if long { 256 } else { variant.invocations(caps) };
        let workgroups = (tiles_m * tiles_n * batches).div_ceil(per_group);
        let steps = match variant {
            // The sums of its invocations are short, and added as a tree.
            Variant::AlongK if workgroups >= PROCESSORS / 2 && g.k * g.k_outer <= LONGEST => (g.k_outer, g.k),
            _ => g.slice_steps([workgroups, invocations as usize], caps),
        };
        let (k_outer_step, k_step) = (steps.0.max(1), steps.1.max(1));
        let (slices_outer, slices) = (g.k_outer.div_ceil(k_outer_step).max(1), g.k.div_ceil(k_step).max(1));
        let all_slices = slices_outer * slices;

        let count = g.m * g.n * batches;
        if all_slices > 1 && (all_slices * count) as u64 * 4 > caps.max_binding {
            return g.launch_in_turn((k_outer_step, k_step), cx);
        }
        let target = g.c;
        let sum = match variant {
            Variant::Tiled(_) | Variant::Vec4(_) | Variant::Broadcast => g.sum.map(|sum| cx.make_sum(sum)),
            _ => None,
        };
        // What the tiles store of it: what is wanted, or a slice of it.
        let sums = sum.map(|sum| if all_slices > 1 { cx.temp(all_slices * sum.len) } else { sum });
        if all_slices > 1 {
            let (matrix, n) = ((g.m * g.n) as isize, g.n as isize);
            let slot = cx.temp(all_slices * count);
            g.c = Matrix {
                slot,
                base: 0,
                outer: g.batch[1] as isize * matrix,
                inner: matrix,
                k_outer: 0,
                row: n,
                col: 1,
            };
        }
        let groups = tiles_m * tiles_n * batches * all_slices;
        let params = GemmParams {
            m: g.m as u32,
            n: g.n as u32,
            k: g.k as u32,
            k_outer: g.k_outer as u32,
            batch_inner: g.batch[1] as u32,
            tiles_n: tiles_n as u32,
            tiles: (tiles_m * tiles_n) as u32,
            groups: groups as u32,
            k_slices: slices as u32,
            k_step: k_step as u32,
            k_outer_step: k_outer_step as u32,
            accumulate: (g.accumulate && all_slices == 1) as u32,
            a_base: g.a.base as i32,
            a_outer: g.a.outer as i32,
            a_inner: g.a.inner as i32,
            a_k_outer: g.a.k_outer as i32,
            a_row: g.a.row as i32,
            a_col: g.a.col as i32,
            b_base: g.b.base as i32,
            b_outer: g.b.outer as i32,
            b_inner: g.b.inner as i32,
            b_k_outer: g.b.k_outer as i32,
            b_row: g.b.row as i32,
            b_col: g.b.col as i32,
            c_base: g.c.base as i32,
            c_slice: if all_slices > 1 { count as i32 } else { 0 },
            c_outer: g.c.outer as i32,
            c_inner: g.c.inner as i32,
            c_row: g.c.row as i32,
            c_col: g.c.col as i32,
            batches: batches as u32,
        };
        let tiled = |shader: &Shader, tile: Tile| tile.constants(LoweredDispatch::new(shader, "tiled"));
        let (tiled_text, vec4_text) = if sums.is_some() { (TILED_SUMS, VEC4_SUMS) } else { (TILED, VEC4) };
        let launch = match variant {
            Variant::Plain => LoweredDispatch::new(&PLAIN, "plain").independent(k_step * k_outer_step),
            Variant::Broadcast => {
                let rows = broadcast_rows(g.m);
                let [a, b] = [a_in_vec4s(&g) && (g.a.col == 1 || rows == BROADCAST_TILE), b_in_vec4s(&g)];
                let texts = if sums.is_some() { &BROADCAST_SUMS } else { &BROADCAST };
                let launch = LoweredDispatch::new(&texts[a as usize][b as usize], "broadcast");
                let adds = g.accumulate && all_slices == 1;
                let launch = launch.constant("ROWS", rows as u32).constant("ACCUMULATE", adds as u8);
                let launch = if a { launch.constant("A_ALONG_K", (g.a.col == 1) as u8) } else { launch };
                if b { launch.constant("B_ALONG_K", (g.b.row == 1) as u8) } else { launch }
            }
            Variant::AlongK => {
                let launch = LoweredDispatch::new(&ALONG_K, "along_k").constant("FEW_ROWS", few_rows as u8);
                launch.constant("WG", invocations)
            }
            Variant::Tiled(tile) => tiled(&tiled_text, tile),
            Variant::Vec4(tile) => {
                let launch = tiled(&vec4_text, tile).constant("A_ALONG_K", (g.a.col == 1) as u8);
                let [rows, columns] = tile.extent();
                let whole = [(g.m, rows), (g.n, columns), (g.k, k_step), (k_step, tile.depth())];
                let launch = launch.constant("B_ALONG_K", (g.b.row == 1) as u8);
                launch.constant("WHOLE", whole.iter().all(|(n, by)| n.is_multiple_of(*by)) as u8)
            }
            Variant::Cooperative(matrices) => {
                let text = if caps.matrices == 8 { COOPERATIVE_8 } else { COOPERATIVE_16 };
                let along_k = [g.a.col == 1, g.b.row == 1];
                cooperative_tile(LoweredDispatch::new(&text, "cooperative"), matrices, along_k, caps)
            }
        };
        let launch = launch.read(g.a.slot).read(g.b.slot).params(&params);
        let finish = g.finish && all_slices == 1;
        let launch = if finish { launch.finish(g.c.slot) } else { launch.write(g.c.slot) };
        let launch = sums.into_iter().fold(launch, LoweredDispatch::write);
        cx.launch(launch.flat(groups.div_ceil(per_group) * invocations as usize, invocations));
        if all_slices > 1 {
            let params = SplitParams {
                m: g.m as u32,
                n: g.n as u32,
                slices: all_slices as u32,
                batch_inner: g.batch[1] as u32,
                count: count as u32,
                accumulate: g.accumulate as u32,
                c_base: target.base as i32,
                c_outer: target.outer as i32,
                c_inner: target.inner as i32,
                c_row: target.row as i32,
                c_col: target.col as i32,
                sums: sum.map_or(0, |sum| sum.len) as u32,
            };
            add_up(g.c.slot, (target.slot, g.finish), sums.zip(sum), params, cx);
        }
    }
}

/// A launch over tiles of `matrices` by `matrices` cooperative matrices, whose operands are staged along the reduction
/// or not.
pub(crate) fn cooperative_tile(
    launch: LoweredDispatch,
    matrices: u32,
    [a_along_k, b_along_k]: [bool; 2],
    caps: Caps,
) -> LoweredDispatch {
    let (tile, invocations) = (matrices * caps.matrices, matrices * caps.subgroup);
    // An invocation fetches two or four quads of A, and of B, in each round.
    let depth = 32.min(16 * invocations / tile);
    launch
        .constant("MATRICES", matrices)
        .constant("SUBGROUP", caps.subgroup)
        .constant("DEPTH", depth)
        .constant("FOUR", (depth * tile == 16 * invocations) as u8)
        .constant("A_ALONG_K", a_along_k as u8)
        .constant("B_ALONG_K", b_along_k as u8)
}

/// Adds up `slices` copies of `total`, an output, that lie one after another, in order; and so those of `sums` besides.
pub(crate) fn add_slices(partial: Slot, slices: usize, total: Slot, sums: Option<(Slot, Slot)>, cx: &mut Lower) {
    let params = SplitParams {
        m: 1,
        n: total.len as u32,
        slices: slices as u32,
        batch_inner: 1,
        count: total.len as u32,
        accumulate: 0,
        c_base: 0,
        c_outer: 0,
        c_inner: 0,
        c_row: 0,
        c_col: 1,
        sums: sums.map_or(0, |(_, sum)| sum.len) as u32,
    };
    add_up(partial, (total, true), sums, params, cx);
}

/// With more slices than this one invocation alone waits longer for its loads than for a launch.
const MANY_SLICES: u32 = 16;

/// Adds up the slices into a slot, which may be a finished output, and those of sums besides into another.
fn add_up(
    partial: Slot,
    (total, finish): (Slot, bool),
    sums: Option<(Slot, Slot)>,
    params: SplitParams,
    cx: &mut Lower,
) {
    let launch = |entry| {
        let text = if sums.is_some() { SPLIT_SUMS } else { SPLIT };
        let launch = LoweredDispatch::new(&text, entry).read(partial).params(&params);
        let launch = if finish { launch.finish(total) } else { launch.write(total) };
        sums.into_iter().fold(launch, |launch, (partial, sum)| launch.read(partial).write(sum))
    };
    let count = (params.count + params.sums) as usize;
    cx.launch(match cx.caps().software || params.slices <= MANY_SLICES {
        true => launch("add_slices").independent(params.slices as usize).flat(count, 64),
        false => launch("add_many_slices").flat(count.div_ceil(16) * 256, 256),
    });
}
