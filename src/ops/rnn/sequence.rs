//! The launch of a whole sequence, where the weight of a layer fits the registers of one workgroup, or comes from the
//! cache in the time of a launch.
//!
//! See `shaders/shared/sequence.wgsl`. What a step costs then is some hundred instructions and two barriers, and rows
//! of the batch are as many workgroups as the GPU has processors, or a few each.

use super::{Steps, Way};
use crate::device::Shader;
use crate::ops::matmul::PROCESSORS;
use crate::tensor::{Caps, Lower, LoweredDispatch, Slot, TURNS_OF_A_LAUNCH};

crate::params! {
    /// Some steps of a sequence of states of `n = b h` elements, in the order in which a pass takes them.
    struct SequenceParams { n: u32, h: u32, steps: u32, at: u32, ahead: u32, begins: u32, ends: u32 }
}

crate::params! {
    /// How a weight becomes one of `n` elements whose rows are depths, `across` long.
    struct TurnParams { n: u32, across: u32, sums: u32, depths: u32, from_sum: u32, from_depth: u32 }
}

const WEIGHT: Shader = Shader::new(
    "rnn_weight",
    concat!(include_str!("../../../shaders/shared/flat.wgsl"), include_str!("../../../shaders/rnn_weight.wgsl")),
);

/// Invocations that WebGPU grants a workgroup.
const MOST_THREADS: usize = 256;
/// Blocks of 4 x 4 weights that an invocation keeps in registers.
const MOST_HELD: usize = 4;
/// Blocks of an invocation where those that are not held are read again in each step: 256 KiB for a workgroup.
const MOST_BLOCKS: usize = 16;
/// Steps from which on it pays to turn the weight for that.
const FEWEST_STEPS: usize = 4;
/// Rows of one workgroup: they share its barriers, and are multiplied one after another.
const MOST_ROWS: usize = 4;
/// Slices beyond which fewer blocks per invocation are no gain: what they made is added up one after another.
const ENOUGH_SLICES: usize = 8;
/// Steps of all workgroups together in one launch: a driver resets a GPU that takes a second or two for one, and so
/// many are done in some 20 ms by the smallest.
const MOST_STEPS: usize = 1 << 16;

/// How a sequence is cut among workgroups and launches.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    way: Way,
    /// How the weight is laid out anew, if it is.
    turn: Option<TurnParams>,
    /// Quads of sums, and of depths.
    columns: usize,
    depths: usize,
    blocks: usize,
    slices: usize,
    rows: usize,
    threads: usize,
    groups: usize,
    launches: Vec<SequenceParams>,
}

impl Steps {
    /// How the steps, of so many gates, are cut if they are to be one launch. `None` where the weight does not fit, for
    /// several rows on software rasterisers, where a variant of the product is asked for, and where merging them is as
    /// fast.
    pub fn sequence(&self, caps: Caps, weight: Slot, gates: usize, way: Way) -> Option<Sequence> {
        let (sums, depths) = self.product_of(gates, way);
        // The launch parts what comes before it from what comes after, which might have been merged.
        let as_fast = |turns: usize| self.t * turns <= 2 * TURNS_OF_A_LAUNCH;
        let merged = self.turns_merged(caps, weight, gates, way).is_some_and(as_fast);
        // There a launch costs more than what one row computes, and less than what many do.
        let dear = caps.software && self.b > 1;
        if dear || caps.variant.is_some() || merged || self.b * self.h == 0 {
            return None;
        }
        let (columns, quads) = (sums.div_ceil(4), depths.div_ceil(4));
        let slices = |blocks: usize| quads.div_ceil(blocks);
        let fits = |blocks: usize, most: usize| slices(blocks) <= most && columns * slices(blocks) <= MOST_THREADS;
        let held = (1..=MOST_HELD)
            .find(|&n| fits(n, ENOUGH_SLICES))
            .or_else(|| (1..=MOST_HELD).find(|&n| fits(n, MOST_THREADS)));
        let streamed = || (MOST_HELD + 1..=MOST_BLOCKS).find(|&n| fits(n, MOST_THREADS) && self.t >= FEWEST_STEPS);
        let blocks = held.or_else(streamed)?;
        let slices = slices(blocks);
        let fits = |rows: &usize| {
            let memory = 16 * rows * slices * (columns + blocks);
            rows * self.h <= MOST_THREADS && memory <= caps.workgroup_memory as usize
        };
        let most = (1..=MOST_ROWS).take_while(fits).last()?;
        let rows = match held {
            Some(_) => self.b.div_ceil(PROCESSORS).min(most),
            // What is read is read for all rows, so they are as many as there may be, and one alone does not pay.
            None if most == 1 => return None,
            None => self.b.min(most),
        };
        let threads = (columns * slices).max(rows * self.h).next_multiple_of(32);
        let groups = self.b.div_ceil(rows);
        let launches = self.parts((MOST_STEPS / groups).max(1), way);
        let turn = (!self.h.is_multiple_of(4) || held.is_none() && way == Way::Forward).then(|| {
            let (from_sum, from_depth) = if way == Way::Forward { (self.h, 1) } else { (1, self.h) };
            let all = [16 * columns * quads, 4 * columns, sums, depths, from_sum, from_depth];
            let [n, across, sums, depths, from_sum, from_depth] = all.map(|n| n as u32);
            TurnParams { n, across, sums, depths, from_sum, from_depth }
        });
        let found = Sequence { way, turn, columns, depths: quads, blocks, slices, rows, threads, groups, launches };
        (groups <= 65_535).then_some(found)
    }

    /// The parameters of launches of at most so many steps.
    fn parts(&self, most: usize, way: Way) -> Vec<SequenceParams> {
        let (n, last) = (self.b * self.h, self.t - 1);
        let upwards = (way == Way::Forward) != self.reverse;
        let at = |taken: usize| n * if upwards { taken } else { last - taken };
        let part = |first: usize| {
            let steps = most.min(self.t - first);
            SequenceParams {
                n: n as u32,
                h: self.h as u32,
                steps: steps as u32,
                at: at(first) as u32,
                ahead: if upwards { n as u32 } else { (n as u32).wrapping_neg() },
                begins: (first == 0) as u32,
                ends: (first + steps == self.t) as u32,
            }
        };
        (0..self.t).step_by(most).map(part).collect()
    }
}

impl Sequence {
    /// The weight as the kernel reads it.
    pub fn weight(&self, cx: &mut Lower, weight: Slot) -> Slot {
        let Some(params) = &self.turn else { return weight };
        let turned = cx.temp(params.n as usize);
        let launch = LoweredDispatch::new(&WEIGHT, "turn").read(weight).write(turned).params(params);
        cx.launch(launch.independent(1).flat(turned.len, 64));
        turned
    }

    /// Launches the steps.
    pub fn launch(&self, cx: &mut Lower, sequence: &LoweredDispatch) {
        let &Sequence { columns, depths, blocks, slices, rows, threads, .. } = self;
        let sizes = [("COLUMNS", columns), ("DEPTHS", depths), ("BLOCKS", blocks), ("HELD", blocks.min(MOST_HELD))];
        let turned = self.way == Way::Backward || self.turn.is_some();
        let sizes = sizes.into_iter().chain([("SLICES", slices), ("ROWS", rows), ("THREADS", threads)]);
        let launch = sequence.clone().constant("TURNED", turned as u32).groups(self.groups, 1, 1);
        let launch = sizes.fold(launch, |launch, (name, size)| launch.constant(name, size as u32));
        self.launches.iter().for_each(|params| cx.launch(launch.clone().params(params)));
    }
}
