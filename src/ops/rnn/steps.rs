//! The launches of a sequence, step by step.
//!
//! A step is a product with the state and a cell. On a GPU, where most are so small that a launch takes longer than
//! what it does, one launch does both: `shaders/shared/recurrent.wgsl`. Where they are large, and on software
//! rasterisers with more than one row, a step is a product as everywhere and a kernel for the cell behind it; and where
//! a whole sequence is small, such launches are left to the planner to merge. Where the weight is small enough, all
//! steps are one launch: that is the business of `sequence`.

use crate::ops::matmul::{Gemm, Matrix, PROCESSORS};
use crate::tensor::{Caps, Lower, LoweredDispatch, Shape, Slot};

crate::params! {
    /// One step of a sequence: `n = b h` states, which start at element `at`, and those of the steps before and after.
    pub(crate) struct StepParams { n: u32, h: u32, at: u32, before: u32, after: u32, first: u32 }
}

/// What a cell of any of the layers loads and computes for one unit, in turns of a loop.
const CELL_TURNS: usize = 6;

/// A sequence `[t, b, ..]` with `h` hidden units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub(super) t: usize,
    pub(super) b: usize,
    pub(super) h: usize,
    pub(super) reverse: bool,
}

/// The direction in which a sequence is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// With the states.
    Forward,
    /// With the cotangents.
    Backward,
}

/// How a step that is one launch is cut among workgroups; see `shaders/shared/recurrent.wgsl`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    row_quads: usize,
    columns: usize,
    depth: usize,
    /// Quads for which there is workgroup memory: no more are staged.
    staged: usize,
    groups: [usize; 2],
}

/// Quads that 16 KiB of workgroup memory hold.
const STAGED: usize = 1024;
/// Quads of rows, columns and depths of the tiles whose columns are the gates of one unit, the largest first: each
/// makes the most of 16 KiB, and with twice as many depths of 32 KiB.
const OF_GATES: [[usize; 3]; 3] = [[8, 8, 64], [4, 8, 64], [2, 8, 64]];
/// The same where a column is four units side by side: no more than 256 units and rows.
const OF_UNITS: [[usize; 3]; 3] = [[4, 4, 128], [4, 2, 128], [2, 2, 256]];
/// Above so many rounds of all workgroups together a step takes as long as its launches, and the tiles of a product,
/// which are larger, are faster. Counted, not measured: a round stages 16 KiB and takes a processor about 0.3 us.
const MOST_ROUNDS: usize = 4096;

impl Tile {
    /// The launch of a step.
    fn of(self, launch: &LoweredDispatch) -> LoweredDispatch {
        let Tile { row_quads, columns, depth, staged, groups } = self;
        let launch = launch.clone().constant("ROW_QUADS", row_quads as u32).constant("COLUMNS", columns as u32);
        let launch = launch.constant("DEPTH", depth as u32).constant("STAGED", staged as u32);
        launch.groups(groups[0], groups[1], 1)
    }
}

impl Steps {
    /// The steps of a sequence of states `[t, b, h]`.
    pub fn of(states: &Shape, reverse: bool) -> Steps {
        Steps { t: states[0], b: states[1], h: states[2], reverse }
    }

    /// The numbers of the steps in the order in which they are taken.
    pub fn in_order(&self) -> Vec<usize> {
        if self.reverse { (0..self.t).rev().collect() } else { (0..self.t).collect() }
    }

    /// The parameters of the step that is taken at this place. Where there is none before or after, that is the step
    /// itself, and `first` says so.
    pub fn step(&self, place: usize) -> StepParams {
        let (n, last) = (self.b * self.h, self.t - 1);
        let at = |place: usize| (n * if self.reverse { last - place } else { place }) as u32;
        StepParams {
            n: n as u32,
            h: self.h as u32,
            at: at(place),
            before: at(place.saturating_sub(1)),
            after: at(last.min(place + 1)),
            // Which step is the first of the sequence a kernel must know both ways; backwards it must also know
            // where nothing is carried over yet, and that is told by the higher bit.
            first: (place == 0) as u32 + 2 * (place == last) as u32,
        }
    }

    /// The parameters of all steps, in the order in which a pass takes them.
    fn params(&self, way: Way) -> Vec<StepParams> {
        let steps = if self.b * self.h == 0 { 0 } else { self.t };
        match way {
            Way::Forward => (0..steps).map(|place| self.step(place)).collect(),
            Way::Backward => (0..steps).rev().map(|place| self.step(place)).collect(),
        }
    }

    /// Sums for each row that the product of a step makes, and over how many depths.
    pub(super) fn product_of(&self, gates: usize, way: Way) -> (usize, usize) {
        match way {
            Way::Forward => (gates * self.h, self.h),
            Way::Backward => (self.h, gates * self.h),
        }
    }

    /// How many turns a step takes whose product and cell are merged with those of all other steps, if they are.
    pub(super) fn turns_merged(&self, caps: Caps, weight: Slot, gates: usize, way: Way) -> Option<usize> {
        let (sums, depths) = self.product_of(gates, way);
        let (product, cell) = ((self.b * sums, depths), (self.b * self.h, CELL_TURNS));
        let merged = !weight.half && caps.merges(product.0, product.1) && caps.merges(cell.0, cell.1);
        merged.then(|| caps.turns(product.0, product.1) + caps.turns(cell.0, cell.1))
    }

    /// How a step of so many gates is cut if it is to be one launch. `None` where its product and its cell are faster
    /// apart (on software rasterisers, where both are merged with all other steps, and where they are large), where a
    /// variant of the product is asked for, and where rows of the weight are not whole vec4s.
    pub fn tile(&self, caps: Caps, weight: Slot, gates: usize, way: Way) -> Option<Tile> {
        let (_, depths) = self.product_of(gates, way);
        let merged = self.turns_merged(caps, weight, gates, way).is_some();
        if caps.software || caps.variant.is_some() || merged || !self.h.is_multiple_of(4) || self.b * self.h == 0 {
            return None;
        }
        let (tiles, units) = match way {
            Way::Forward if gates > 1 => (OF_GATES, 1),
            _ => (OF_UNITS, 4),
        };
        let tiles = tiles.map(|[row_quads, columns, depth]| {
            let groups = [self.h.div_ceil(columns * units), self.b.div_ceil(4 * row_quads)];
            Tile { row_quads, columns, depth, staged: STAGED, groups }
        });
        let groups = |tile: &Tile| tile.groups[0] * tile.groups[1];
        let tile = *tiles.iter().find(|tile| groups(tile) >= PROCESSORS).unwrap_or(&tiles[2]);
        if groups(&tile) * depths.div_ceil(tile.depth) > MOST_ROUNDS {
            return None;
        }
        let deep = caps.has_large_tiles() && depths > tile.depth;
        Some(if deep { Tile { depth: 2 * tile.depth, staged: 2 * STAGED, ..tile } } else { tile })
    }

    /// Launches a sequence whose steps are one launch each.
    pub fn at_once(&self, cx: &mut Lower, tile: Tile, way: Way, step: &LoweredDispatch) {
        self.params(way).iter().for_each(|params| cx.launch(tile.of(step).params(params)));
    }

    /// Launches a sequence forward: the product of each state with the transposed weight, `gates h` wide, then `step`
    /// with that product and the parameters.
    pub fn forward(
        &self,
        cx: &mut Lower,
        [weight, h0, states]: [Slot; 3],
        gates: usize,
        step: impl Fn(Slot) -> LoweredDispatch,
    ) {
        let product = cx.temp(self.b * gates * self.h);
        let launch = step(product);
        for params in self.params(Way::Forward) {
            let a = if params.first & 1 == 1 { (h0, 0) } else { (states, params.before as usize) };
            self.product(cx, a, (weight, true), product, gates, false);
            cx.launch(launch.clone().params(&params).independent(CELL_TURNS).flat(self.b * self.h, 64));
        }
    }

    /// Launches a sequence backward: `launch`, which writes the cotangent of a step's `gates h` sums to `to`, then the
    /// product of that with the weight, which is what the step before gets: into `carried`, on top of what is there if
    /// `accumulate`.
    pub fn backward(
        &self,
        cx: &mut Lower,
        launch: &LoweredDispatch,
        [to, weight, carried]: [Slot; 3],
        gates: usize,
        accumulate: bool,
    ) {
        for params in self.params(Way::Backward) {
            cx.launch(launch.clone().params(&params).independent(CELL_TURNS).flat(self.b * self.h, 64));
            self.product(cx, (to, params.at as usize * gates), (weight, false), carried, gates, accumulate);
        }
    }

    /// Launches a sequence backward whose steps are one launch each: `step`, which finds the cotangent of its states in
    /// those of the sums of the step after, then the product that is what the initial state gets.
    pub fn backward_at_once(
        &self,
        cx: &mut Lower,
        tile: Tile,
        step: &LoweredDispatch,
        slots: [Slot; 3],
        gates: usize,
        accumulate: bool,
    ) {
        self.at_once(cx, tile, Way::Backward, step);
        self.product_of_first(cx, slots, gates, accumulate);
    }

    /// Launches the product of the first step's cotangent, what the initial state gets, into `carried`, on top of what
    /// is there if `accumulate`.
    pub fn product_of_first(&self, cx: &mut Lower, [to, weight, carried]: [Slot; 3], gates: usize, accumulate: bool) {
        self.product(cx, (to, self.step(0).at as usize * gates), (weight, false), carried, gates, accumulate);
    }

    /// `c = a W^T`, `[b, h]` to `[b, gates h]`, or `c = a W` the other way.
    fn product(
        &self,
        cx: &mut Lower,
        (a, base): (Slot, usize),
        (weight, transposed): (Slot, bool),
        c: Slot,
        gates: usize,
        accumulate: bool,
    ) {
        let wide = gates * self.h;
        let (n, k) = if transposed { (wide, self.h) } else { (self.h, wide) };
        let matrix = |slot, base, row: usize, col: usize| Matrix {
            slot,
            base,
            outer: 0,
            inner: 0,
            k_outer: 0,
            row: row as isize,
            col: col as isize,
        };
        let (row, col) = if transposed { (1, self.h) } else { (self.h, 1) };
        // A software rasteriser reads a copy of what is bound, which each step changes.
        let (a, base) = if cx.caps().software { a.narrowed(base, self.b * k) } else { (a, base) };
        let (a, b, c) = (matrix(a, base, k, 1), matrix(weight, 0, row, col), matrix(c, 0, n, 1));
        Gemm { m: self.b, n, k, batch: [1, 1], k_outer: 1, a, b, c, accumulate, finish: false, sum: None }.launch(cx);
    }
}
