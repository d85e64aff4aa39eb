//! A fused program as launches on a GPU, and their replay.
//!
//! Lowering gives every base a virtual buffer; `memory` then decides what each is: a buffer of the program's data, an
//! output that outlives the run, scratch shared with other plans, or memory of the plan's own. A replay looks up
//! the few buffers that vary and encodes a finished list.

mod fused;
mod run;
mod store;
mod sums;

use std::collections::HashMap;
use std::sync::Arc;

use fused::enlarge;
pub(super) use run::{Buffers, Rows};
use store::NodeStore;
use sums::Sum;

use super::fuse::{Base, Fused, Limits, Program, Step, fuse};
use super::join::{self, Join};
use super::memory::{self, Memory};
use super::merge;
use super::trace::{Graph, GraphNode, LeafKind};
use super::tune::{self, Met, Tuning};
use super::value::caps_of;
use super::wgsl;
use crate::device::{ALIGN, Gpu, Kernel, Pipeline, Shader};
use crate::error::{Error, Result};
use crate::tensor::{AnyLowering, Bind, Caps, DType, Layout, Lower, LoweredDispatch, Meta, QuickMap, Slot, Virtual};

/// Words between aligned offsets.
pub(super) const ALIGN_WORDS: usize = (ALIGN / 4) as usize;

/// A launch with its memory still virtual.
pub(super) struct Launch {
    pub dispatch: LoweredDispatch,
    /// Where in the parameters which host scalar goes.
    pub patches: Vec<(usize, usize)>,
    /// The node it belongs to, for messages.
    pub node: Option<usize>,
    /// The step of the program it is part of.
    pub step: usize,
}

/// What is known of a virtual buffer while the plan is built.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Lives inside the run.
    Scratch,
    /// Kept after the run.
    Output,
    /// The plan's own, zero at first: a pack, whose gaps nobody writes.
    Own,
    /// The program's data.
    Storage(usize),
    /// The host's numbers.
    Feed,
}

pub(super) struct Built<'a> {
    graph: &'a Graph,
    pub program: Program,
    /// How often each base is read.
    pub readers: QuickMap<Base, usize>,
    pub caps: Caps,
    pub launches: Vec<Launch>,
    /// Kind and bytes of each virtual buffer.
    pub virtuals: Vec<(Kind, usize)>,
    pub slots: HashMap<Base, Slot>,
    storages: HashMap<usize, Virtual>,
    feed: Virtual,
    pub copies: HashMap<(Base, Layout), Slot>,
    pub step: usize,
    /// The sums that other steps may make on their way.
    sums: Vec<Sum>,
    /// Where the measured choices are.
    tuning: Option<(&'a Tuning, &'a Gpu)>,
    /// Whether every value is to be looked at after the launch that made it.
    pub checked: bool,
}

pub(super) struct GpuPlan {
    launches: Vec<Ready>,
    memory: Vec<Memory>,
    scalars: usize,
    feed: bool,
    kept: Vec<(usize, Vec<(usize, usize)>)>,
    /// What a checked run needs besides.
    program: Program,
    slots: HashMap<Base, Slot>,
}

struct Ready {
    step: usize,
    shader: Shader,
    pipeline: Arc<Pipeline>,
    /// Virtual buffer, first byte, bytes, whether it is written.
    bindings: Vec<(usize, u64, u64, bool)>,
    params: Vec<u8>,
    patches: Vec<(usize, usize)>,
    groups: [u32; 3],
}

impl Ready {
    /// Bytes of parameters that are made anew in each run.
    fn patched_bytes(&self) -> usize {
        if self.patches.is_empty() { 0 } else { self.params.len() }
    }
}

impl GpuPlan {
    pub fn build(graph: &Graph, gpu: &Gpu, tuning: &Tuning, checked: bool) -> Result<GpuPlan> {
        let caps = caps_of(gpu)?;
        let merged = caps.merge > 0 && gpu.wants_merged(graph.donated.contains(&true));
        // Apart, a software rasteriser is faster with kernels that share their work: llvmpipe takes 90 us for a product
        // of 50x60 by 60x10, and 150 with the one that could be merged.
        let caps = Caps { merge: if merged || !caps.software { caps.merge } else { 0 }, ..caps };
        let mut built = Built { tuning: Some((tuning, gpu)), checked, ..Built::new(graph, caps) };
        built.lower_all();
        if merged {
            merge::merge(&mut built);
        }
        if !caps.software {
            built.launches.iter_mut().for_each(|launch| enlarge(&mut launch.dispatch));
        }
        built.check(gpu)?;
        let memory = memory::assign(&built, gpu)?;
        let kernels: Vec<Kernel> =
            built.launches.iter().map(|Launch { dispatch: d, .. }| (&d.shader, d.entry, &d.constants[..])).collect();
        let pipelines = gpu.pipelines(&kernels)?;
        let launches = built
            .launches
            .iter()
            .zip(pipelines)
            .map(|(launch, pipeline)| {
                let d = &launch.dispatch;
                let range = |b: &Bind| {
                    let (first, bytes) = b.slot.bytes();
                    (b.slot.buffer.0 as usize, first, bytes.max(4), b.write)
                };
                Ready {
                    step: launch.step,
                    shader: d.shader.clone(),
                    pipeline,
                    bindings: d.bindings.iter().map(range).collect(),
                    params: d.params.clone(),
                    patches: launch.patches.clone(),
                    groups: d.work.grid(),
                }
            })
            .collect();
        let feed = built.launches.iter().any(|l| l.dispatch.bindings.iter().any(|b| b.slot.buffer == built.feed));
        let place = |&(base, offset): &(Base, usize)| {
            let slot = built.slots[&base];
            (slot.buffer.0 as usize, slot.offset + offset)
        };
        let mut kept = Vec::new();
        for (node, values) in &built.program.kept {
            kept.push((*node, values.iter().map(place).collect()));
        }
        let Built { program, slots, .. } = built;
        Ok(GpuPlan { launches, memory, scalars: graph.leaves.len(), feed, kept, program, slots })
    }
}

/// The launches of a graph, their memory still virtual.
pub(super) fn lowered(graph: &Graph, caps: Caps) -> Vec<LoweredDispatch> {
    Built::new(graph, caps).lowered()
}

/// The same on this adapter, with its measured choices.
pub(super) fn lowered_on(graph: &Graph, gpu: &Gpu, tuning: &Tuning) -> Result<Vec<LoweredDispatch>> {
    Ok(Built { tuning: Some((tuning, gpu)), ..Built::new(graph, caps_of(gpu)?) }.lowered())
}

/// The range that a layout touches in a buffer where its first element is at `start`, from an offset on that can be
/// bound: that offset, how many elements, and the layout relative to it.
pub(super) fn bound_range(start: usize, layout: &Layout, half: bool) -> (usize, usize, Layout) {
    let align = if half { 2 * ALIGN_WORDS } else { ALIGN_WORDS };
    let reach = |sign: isize| -> isize {
        let steps = layout.shape.iter().zip(&layout.strides);
        steps.map(|(&n, &s)| if s * sign > 0 { s * (n as isize - 1) } else { 0 }).sum()
    };
    let (first, last) = match layout.shape.elements() {
        0 => (start, start),
        _ => (start.wrapping_add_signed(reach(-1)), start.wrapping_add_signed(reach(1))),
    };
    let aligned = first / align * align;
    (aligned, last + 1 - aligned, Layout { offset: start - aligned, ..layout.clone() })
}

impl<'a> Built<'a> {
    fn new(graph: &'a Graph, caps: Caps) -> Self {
        let operands = (caps.max_bindings as usize - 1).min(wgsl::MOST_OPERANDS);
        let store_halves = caps.native_half;
        let program = fuse(graph, Limits { operands, scalars: wgsl::MOST_SCALARS, code: 64, store_halves });
        let mut built = Built {
            graph,
            program,
            readers: QuickMap::default(),
            caps,
            launches: Vec::new(),
            virtuals: Vec::new(),
            slots: HashMap::new(),
            storages: HashMap::new(),
            feed: Virtual(0),
            copies: HashMap::new(),
            step: 0,
            sums: Vec::new(),
            tuning: None,
            checked: false,
        };
        built.feed = built.fresh(Kind::Feed, graph.leaves.len() * ALIGN as usize);
        for leaf in &graph.leaves {
            if let LeafKind::Stored { storage, .. } = leaf.kind
                && !built.storages.contains_key(&storage)
            {
                let buffer = built.fresh(Kind::Storage(storage), 0);
                built.storages.insert(storage, buffer);
                let half = leaf.meta.dtype == DType::F16;
                built.slots.insert(Base::Storage(storage), Slot { buffer, offset: 0, len: 0, half });
            }
        }
        built
    }

    fn fresh(&mut self, kind: Kind, bytes: usize) -> Virtual {
        self.virtuals.push((kind, bytes));
        Virtual(self.virtuals.len() as u32 - 1)
    }

    fn fresh_slot(&mut self, kind: Kind, len: usize, dtype: DType) -> Slot {
        let buffer = self.fresh(kind, len * dtype.bytes());
        Slot { buffer, offset: 0, len, half: dtype == DType::F16 }
    }

    fn lower_all(&mut self) {
        let joins = join::arrange(&mut self.program, self.graph, self.caps.native_half);
        self.readers = self.program.readers();
        self.place_packs();
        let steps = std::mem::take(&mut self.program.steps);
        self.program.joined = vec![false; steps.len()];
        self.sums = self.sums_of(&steps);
        let mut start = 0;
        while start < steps.len() {
            let main = start + (joins[start] == Join::Ahead) as usize;
            let behind = joins[main + 1..].iter().take_while(|&&join| join == Join::Behind).count();
            let (rest, end) = (main + 1, main + 1 + behind);
            match self.is_made(main) {
                false => self.lower_group(&steps, start, main, end),
                true if behind > 0 => self.lower_group(&steps, rest, rest, end),
                true => {}
            }
            start = end;
        }
        self.program.steps = steps;
        self.move_sums();
    }

    pub fn launch_step(&mut self, base: Base, fused: &Fused, open: bool) {
        let slot = self.slot_of(base, fused.shape.elements(), fused.dtype);
        self.launch_fused(fused, slot, None, open);
    }

    /// The memory of a base that a step is about to write.
    pub fn slot_of(&mut self, base: Base, elements: usize, dtype: DType) -> Slot {
        if let Some(&slot) = self.slots.get(&base) {
            return slot;
        }
        let kept = self.program.kept_bases().any(|b| b == base);
        let slot = self.fresh_slot(if kept { Kind::Output } else { Kind::Scratch }, elements, dtype);
        self.slots.insert(base, slot);
        slot
    }

    /// `open`: what is stored is not final yet, and whoever says what it becomes makes it round.
    pub fn lower_kernel(&mut self, node: usize, steps: &[Step], open: bool) {
        let op = Arc::clone(&self.graph.nodes[node].op);
        let graph = self.graph;
        let (inputs, outputs) = (&graph.nodes[node].input_metas, &graph.nodes[node].metas);
        match op.lower() {
            AnyLowering::Kernel(lower) | AnyLowering::Sum(lower, _) => {
                let (caps, first) = (self.caps_for(node), self.launches.len());
                let run = |built: &mut Self| {
                    lower(&mut Lower::new(&mut NodeStore { built, node }, inputs, outputs, caps));
                };
                let halves: Vec<Base> = (0..outputs.len())
                    .map(|k| Base::Node(node, k))
                    .filter(|base| self.program.halves.contains(base))
                    .collect();
                if halves.is_empty() || open {
                    return run(self);
                }
                let copies = self.copies.clone();
                run(self);
                if !self.round_stores(first) {
                    // It reads what it has stored, so it stores single floats, and they are rounded behind it.
                    self.launches.truncate(first);
                    self.copies = copies;
                    self.run_in_single(node, &halves, run);
                }
            }
            AnyLowering::InPlace(lower, pairs, _) => {
                for &(output, input) in pairs {
                    self.prepare_in_place(node, output, input, steps);
                }
                let caps = self.caps;
                lower(&mut Lower::new(&mut NodeStore { built: self, node }, inputs, outputs, caps));
            }
            AnyLowering::Pack(offsets) => {
                let pack = self.slots[&Base::Node(node, 0)];
                for (k, &offset) in offsets.iter().enumerate() {
                    let (base, layout) = self.program.inputs[&node][k].clone();
                    let target = Slot { offset: pack.offset + offset, len: inputs[k].shape.elements(), ..pack };
                    if self.slots.get(&base) != Some(&target) {
                        self.launch_fused(&self.copy_of(base, layout, inputs[k].dtype), target, Some(node), false);
                    }
                }
            }
            _ => unreachable!("views and elementwise ops are not kernels"),
        }
    }

    /// Gives output `output` the memory of input `input` if the run may overwrite it, else a copy of its content.
    fn prepare_in_place(&mut self, node: usize, output: usize, input: usize, steps: &[Step]) {
        let (base, layout) = self.program.inputs[&node][input].clone();
        let meta = &self.graph.nodes[node].metas[output];
        let given = match base {
            Base::Storage(s) => self.graph.donated[s],
            // What an op before it wrote there; of a launch that does both, a checked run is to see either.
            _ if self.checked && self.caps.merge > 0 => false,
            _ => self.slots.get(&base).is_some_and(|slot| matches!(self.kind_of(slot), Kind::Storage(_))),
        };
        if given
            && layout == Layout::contiguous(meta.shape.clone(), 0)
            && self.program.stored(base, meta.dtype) == meta.dtype
            && !self.read_after(base, steps)
        {
            let slot = Slot { len: meta.shape.elements(), ..self.slots[&base] };
            self.slots.insert(Base::Node(node, output), slot);
            return;
        }
        let slot = self.slot_of(Base::Node(node, output), meta.shape.elements(), meta.dtype);
        self.launch_fused(&self.copy_of(base, layout, meta.dtype), slot, Some(node), false);
    }

    fn kind_of(&self, slot: &Slot) -> Kind {
        self.virtuals[slot.buffer.0 as usize].0
    }

    /// Whether a later step, or the program, reads this base.
    fn read_after(&self, base: Base, steps: &[Step]) -> bool {
        let reads = |step| self.program.reads(step).any(|(b, _)| b == base);
        steps[self.step + 1..].iter().any(reads) || self.program.kept_bases().any(|b| b == base)
    }

    /// Gives packs their memory, and lets the steps that compute their inputs write into it directly: where the value
    /// is whole and has no other reader.
    fn place_packs(&mut self) {
        for node in 0..self.graph.nodes.len() {
            let op = Arc::clone(&self.graph.nodes[node].op);
            let AnyLowering::Pack(offsets) = op.lower() else { continue };
            let base = Base::Node(node, 0);
            let elements = self.graph.nodes[node].metas[0].shape.elements();
            let kept = self.program.kept_bases().any(|b| b == base);
            let gapless =
                self.graph.nodes[node].input_metas.iter().map(|m| m.shape.elements()).sum::<usize>() == elements;
            let slot = match (kept, gapless) {
                // What leaves the plan must not be shared with its next run, so its gaps are filled each time.
                (true, false) => {
                    let slot = self.slot_of(base, elements, DType::F32);
                    self.launch_fused(&Fused::zeros(elements), slot, Some(node), false);
                    slot
                }
                (true, true) => self.slot_of(base, elements, DType::F32),
                (false, _) => self.fresh_slot(Kind::Own, elements, DType::F32),
            };
            self.slots.insert(base, slot);
            for (k, &offset) in offsets.iter().enumerate() {
                let (input, layout) = &self.program.inputs[&node][k];
                let Base::Node(j, out) = *input else { continue };
                let producer = &self.graph.nodes[j];
                let lowering = producer.op.lower();
                let own = matches!(lowering, AnyLowering::Elementwise(_)) || lowering.kernel().is_some();
                let whole = layout.is_contiguous()
                    && layout.offset == 0
                    && layout.shape.elements() == producer.metas[out].shape.elements();
                let single = !self.program.halves.contains(input);
                if self.readers[input] == 1 && own && whole && single && !self.slots.contains_key(input) {
                    let len = layout.shape.elements();
                    self.slots.insert(*input, Slot { offset: slot.offset + offset, len, ..slot });
                }
            }
        }
    }

    /// The range of a base that a layout touches, aligned for binding, and the layout relative to it.
    pub fn range(&mut self, base: Base, layout: &Layout) -> (Slot, Layout) {
        let slot = match base {
            Base::Scalar(l) => Slot { buffer: self.feed, offset: l * ALIGN_WORDS, len: 1, half: false },
            _ => self.slots[&base],
        };
        let (offset, len, within) = bound_range(slot.offset + layout.offset, layout, slot.half);
        (Slot { offset, len, ..slot }, within)
    }

    fn lowered(mut self) -> Vec<LoweredDispatch> {
        self.lower_all();
        if self.caps.merge > 0 {
            merge::merge(&mut self);
        }
        self.launches.into_iter().map(|launch| launch.dispatch).collect()
    }

    /// What the lowering of a node may assume: the adapter, and the variant of its kernel that was measured to be the
    /// fastest.
    fn caps_for(&self, node: usize) -> Caps {
        let Some((tuning, gpu)) = self.tuning.filter(|_| self.caps.variant.is_none()) else { return self.caps };
        let GraphNode { op, input_metas, metas, .. } = &self.graph.nodes[node];
        let places = input_metas.iter().zip(&self.program.inputs[&node]);
        let operand = |(meta, (base, layout)): (&Meta, &(Base, Layout))| {
            let half = self.slots.get(base).is_some_and(|slot| slot.half);
            tune::Operand { meta: meta.clone(), layout: layout.clone(), half }
        };
        let met = Met { op: Arc::clone(op), inputs: places.map(operand).collect(), outputs: metas.clone() };
        Caps { variant: tuning.choice(met, self.caps, gpu), ..self.caps }
    }

    /// Holds what is asked of the adapter against its limits, before the driver sees it.
    fn check(&self, gpu: &Gpu) -> Result<()> {
        for launch in &self.launches {
            for bind in &launch.dispatch.bindings {
                let (_, bytes) = bind.slot.bytes();
                if bytes > self.caps.max_binding {
                    let what = launch.node.map_or("a fused kernel", |n| self.graph.nodes[n].op.name()).to_string();
                    let limit = format!(
                        "more than the {} bytes that {} binds at once",
                        self.caps.max_binding,
                        gpu.summary().name
                    );
                    return Err(Error::OutOfMemory { what, bytes, limit });
                }
                let conflict = |o: &&Bind| o.slot.buffer == bind.slot.buffer && o.write != bind.write;
                assert!(
                    !launch.dispatch.bindings.iter().any(|o| conflict(&o)),
                    "{}/{} would read and write one buffer",
                    launch.dispatch.shader.name,
                    launch.dispatch.entry
                );
            }
        }
        Ok(())
    }
}
