//! What the planner does for an op's lowering, and the kernels it puts in between.

use super::{Built, Kind, Launch};
use crate::device::Shader;
use crate::plan::fuse::{Base, Fused, Instruction, Operand};
use crate::plan::halves;
use crate::tensor::{DType, Layout, LoweredDispatch, Scalar, Slot, Store, SumWanted};

/// What one op's lowering sees of the plan.
pub(super) struct NodeStore<'a, 'b> {
    pub built: &'a mut Built<'b>,
    pub node: usize,
}

impl Store for NodeStore<'_, '_> {
    fn dense(&mut self, i: usize) -> Slot {
        let (base, layout) = self.built.program.inputs[&self.node][i].clone();
        let (slot, within) = self.built.range(base, &layout);
        let len = layout.shape.elements();
        if layout.is_contiguous() && within.offset == 0 {
            return Slot { len, ..slot };
        }
        if let Some(&copy) = self.built.copies.get(&(base, layout.clone())) {
            return copy;
        }
        let dtype = self.built.graph.nodes[self.node].input_metas[i].dtype;
        let dtype = self.built.program.stored(base, dtype);
        let copy = self.built.fresh_slot(Kind::Scratch, len, dtype);
        self.built.launch_fused(&self.built.copy_of(base, layout.clone(), dtype), copy, Some(self.node), false);
        self.built.copies.insert((base, layout), copy);
        copy
    }

    fn strided(&mut self, i: usize) -> (Slot, Layout) {
        let (base, layout) = self.built.program.inputs[&self.node][i].clone();
        self.built.range(base, &layout)
    }

    fn temp(&mut self, elements: usize) -> Slot {
        self.built.fresh_slot(Kind::Scratch, elements, DType::F32)
    }

    fn output(&mut self, k: usize) -> Slot {
        let (meta, base) = (&self.built.graph.nodes[self.node].metas[k], Base::Node(self.node, k));
        self.built.slot_of(base, meta.shape.elements(), self.built.program.stored(base, meta.dtype))
    }

    fn sum_wanted(&self, i: usize, axes: &[usize]) -> Option<SumWanted> {
        self.built.sum_wanted(&self.built.program.inputs[&self.node][i], axes)
    }

    fn make_sum(&mut self, sum: SumWanted) -> Slot {
        self.built.make_sum(sum)
    }

    fn push(&mut self, mut launch: LoweredDispatch) {
        launch.shader = halves::read_widened(&launch, self.built.caps.native_half);
        let step = self.built.step;
        self.built.launches.push(Launch { dispatch: launch, patches: Vec::new(), node: Some(self.node), step });
    }
}

impl Built<'_> {
    /// Makes the launches from `first` on round where they store halves; false, and nothing done, if one of them
    /// cannot. Fused kernels that nobody joins round by themselves.
    pub fn round_stores(&mut self, first: usize) -> bool {
        let rounds = |d: &LoweredDispatch| d.shader.name == "fused" && d.finish.is_none();
        let mut launches: Vec<&mut Launch> =
            self.launches[first..].iter_mut().filter(|launch| !rounds(&launch.dispatch)).collect();
        let binds = || launches.iter().flat_map(|launch| &launch.dispatch.bindings);
        // What a later launch reads of it must not be rounded yet.
        if binds().any(|w| w.write && w.slot.half && binds().any(|r| !r.write && r.slot.buffer == w.slot.buffer)) {
            return false;
        }
        let shaders: Option<Vec<Shader>> = launches.iter().map(|l| halves::store_rounded(&l.dispatch)).collect();
        let Some(shaders) = shaders else { return false };
        launches.iter_mut().zip(shaders).for_each(|(launch, shader)| launch.dispatch.shader = shader);
        true
    }

    /// Runs a lowering with scratch memory for these outputs, then rounds from there to where they belong.
    pub(super) fn run_in_single(&mut self, node: usize, outputs: &[Base], run: impl Fn(&mut Self)) {
        let mut places = Vec::new();
        for &base in outputs {
            let Some(half) = self.slots.get(&base).copied() else { continue };
            let single = self.fresh_slot(Kind::Scratch, half.len, DType::F32);
            self.slots.insert(base, single);
            places.push((base, half));
        }
        run(self);
        for (base, half) in places {
            let fused = rounding(base, half.len);
            self.launch_fused(&fused, half, Some(node), false);
            self.slots.insert(base, half);
        }
    }
}

/// A fused kernel that rounds single floats to halves.
fn rounding(base: Base, elements: usize) -> Fused {
    let scalar = Scalar { wgsl: "rounded_to_half({a})", block: |_, _| {}, cheap: true };
    let code = vec![
        (Instruction::Load(0), DType::F32),
        (Instruction::Apply { scalar, args: vec![0], node: None }, DType::F16),
    ];
    let operands = vec![Operand { base, layout: Layout::contiguous(elements, 0), dtype: DType::F32 }];
    Fused { shape: elements.into(), dtype: DType::F16, operands, scalars: Vec::new(), code }
}
