//! The CPU path: the steps of a fused program on the reference code, in single precision.
//!
//! A fused kernel runs in blocks of a few KiB, each function over a whole block before the next, so that intermediate
//! values stay in the first-level cache and the loops vectorise. Blocks are split over threads in chunks of fixed
//! size. Every other step is one call of an op's reference code, which walks strided views itself.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use rayon::prelude::*;

use super::check::Backend;
use super::fuse::{Base, Fused, Instruction, Limits, Operand, Program, Step, fuse};
use super::trace::Graph;
use super::walk::Walk;
use crate::device::{Shader, Tally};
use crate::error::Result;
use crate::reference::{Array, Data, Real, View, recycle};
use crate::tensor::{AnyLowering, DType, Layout, Overwrite, QuickMap, QuickSet, Storage, Value};

/// Words per block: a dozen blocks fit the first-level cache.
const BLOCK: usize = 1024;
/// Words per task.
const CHUNK: usize = 32 * BLOCK;
/// A step that reads fewer words of each operand is not split, or hardly gains by it.
const SPLIT: usize = 2 * CHUNK;

thread_local! {
    /// Blocks of intermediate values. Every kernel writes what it reads, so what the last one left does not matter.
    static REGISTERS: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
}

pub(super) struct CpuPlan {
    program: Program,
    /// The step after which each base is not needed.
    last_use: QuickMap<Base, usize>,
    /// The packs that are not made: their only reader takes what they would hold from where it lies.
    packs: QuickSet<usize>,
    /// Whether a step reads so much that it is split over threads.
    splits: bool,
}

impl CpuPlan {
    /// Of a plan that is `checked` every value is made.
    pub fn build(graph: &Graph, checked: bool) -> CpuPlan {
        let mut program = fuse(graph, Limits { operands: 16, scalars: 32, code: 64, store_halves: false });
        let last = in_place_last(graph, &program);
        program.steps.sort_by_key(|step| matches!(step, Step::Kernel(node) if last.contains(node)));
        let reads = |step| program.reads(step).any(|(_, layout)| layout.shape.elements() >= SPLIT);
        let splits = program.steps.iter().any(reads);
        let packs = if checked { QuickSet::default() } else { read_in_parts(graph, &program) };
        let mut plan = CpuPlan { program, last_use: QuickMap::default(), packs, splits };
        let reads = plan.program.steps.iter().map(|step| plan.reads(step));
        plan.last_use =
            reads.enumerate().flat_map(|(at, bases)| bases.into_iter().map(move |base| (base, at))).collect();
        plan.program.kept_bases().for_each(|base| _ = plan.last_use.insert(base, usize::MAX));
        plan
    }

    /// What a step reads: of a pack that is not made, its inputs.
    fn reads(&self, step: &Step) -> Vec<Base> {
        let skipped = |node: usize| self.packs.contains(&node);
        if matches!(*step, Step::Kernel(node) if skipped(node)) {
            return Vec::new();
        }
        let mut bases: Vec<Base> = self.program.reads(step).map(|(base, _)| base).collect();
        if let Some(pack) = bases.iter().find_map(|&base| self.pack(base)) {
            bases.extend(self.program.inputs[&pack].iter().map(|(base, _)| *base));
        }
        bases
    }

    /// The node of a base that is a pack which is not made.
    fn pack(&self, base: Base) -> Option<usize> {
        match base {
            Base::Node(node, _) => self.packs.contains(&node).then_some(node),
            _ => None,
        }
    }

    pub fn run(
        &self,
        graph: &Graph,
        storages: Vec<Storage>,
        scalars: &[u32],
        tally: &Tally,
    ) -> Vec<(usize, Vec<Value>)> {
        let all = || {
            let mut run = self.begin(graph, storages, scalars, tally);
            (0..self.program.steps.len()).for_each(|at| run.step(at));
            run.results()
        };
        // A step begins to be split at once on a thread of the pool; any other thread would wait for one at every step.
        if self.splits { rayon::scope(|_| all()) } else { all() }
    }

    /// The same, with every step in the hands of `walk`.
    pub fn run_stepwise(
        &self,
        graph: &Graph,
        storages: Vec<Storage>,
        scalars: &[u32],
        tally: &Tally,
        walk: impl FnOnce(&Program, &mut dyn Backend) -> Result<()>,
    ) -> Result<Vec<(usize, Vec<Value>)>> {
        let mut run = self.begin(graph, storages, scalars, tally);
        walk(&self.program, &mut run)?;
        Ok(run.results())
    }

    fn begin<'a>(&'a self, graph: &'a Graph, storages: Vec<Storage>, scalars: &'a [u32], tally: &Tally) -> Run<'a> {
        let count = |counter: &AtomicU64, n: usize| Tally::add(counter, n as u64);
        count(&tally.submissions, 1);
        count(&tally.dispatches, self.program.steps.len());
        let mut memory: QuickMap<Base, Arc<Data<f32>>> = QuickMap::default();
        for (i, storage) in storages.into_iter().enumerate() {
            match storage {
                Storage::Cpu(data) => memory.insert(Base::Storage(i), data),
                _ => unreachable!("a tensor's storage is of its device"),
            };
        }
        for (l, leaf) in graph.leaves.iter().enumerate() {
            if matches!(leaf.kind, super::trace::LeafKind::Scalar) {
                memory.insert(Base::Scalar(l), Arc::new(scalar_data(leaf.meta.dtype, scalars[l])));
            }
        }
        Run { plan: self, graph, memory, scalars }
    }
}

/// The ops that write over their inputs and make what no step reads. They may run last, and do: a loss that reads the
/// last bias after its update would have all parameters copied.
fn in_place_last(graph: &Graph, program: &Program) -> QuickSet<usize> {
    let read: QuickSet<Base> =
        program.steps.iter().flat_map(|step| program.reads(step)).map(|(base, _)| base).collect();
    let in_place = |&node: &usize| {
        let AnyLowering::InPlace(_, pairs, Some(_)) = graph.nodes[node].op.lower() else { return false };
        pairs.iter().all(|&(k, _)| !read.contains(&Base::Node(node, k)))
    };
    (0..graph.nodes.len()).filter(in_place).collect()
}

/// The packs whose only reader is an op that takes them in parts and writes over its inputs.
fn read_in_parts(graph: &Graph, program: &Program) -> QuickSet<usize> {
    let readers = program.readers();
    let pack = |step: &Step| {
        let Step::Kernel(node) = step else { return None };
        let AnyLowering::InPlace(_, pairs, Some(overwrite)) = graph.nodes[*node].op.lower() else { return None };
        let (base, layout) = &program.inputs[node][pairs.len()];
        let &Base::Node(pack, _) = base else { return None };
        let is_pack = matches!(graph.nodes[pack].op.lower(), AnyLowering::Pack(_));
        (overwrite.parts && is_pack && is_whole(layout) && readers[base] == 1).then_some(pack)
    };
    program.steps.iter().filter_map(pack).collect()
}

/// Whether a layout is that of memory as it lies, from its beginning on.
fn is_whole(layout: &Layout) -> bool {
    layout.is_contiguous() && layout.offset == 0
}

/// A run of a plan, and the memory it has so far.
struct Run<'a> {
    plan: &'a CpuPlan,
    graph: &'a Graph,
    memory: QuickMap<Base, Arc<Data<f32>>>,
    scalars: &'a [u32],
}

impl Run<'_> {
    fn step(&mut self, at: usize) {
        let plan = self.plan;
        match &plan.program.steps[at] {
            Step::Fused(base, fused) => {
                let data = run_fused(fused, &self.memory, self.scalars);
                self.memory.insert(*base, Arc::new(data));
                fused.operands.iter().for_each(|o| self.release(o.base, at));
            }
            Step::Kernel(node) if plan.packs.contains(node) => {}
            Step::Kernel(node) => {
                let places = &plan.program.inputs[node];
                let pack = places.iter().find_map(|(base, _)| plan.pack(*base));
                if !self.overwrite(*node, pack, at) {
                    pack.into_iter().for_each(|pack| self.compute(pack));
                    self.compute(*node);
                }
                let parts = pack.into_iter().flat_map(|pack| &plan.program.inputs[&pack]);
                places.iter().chain(parts).for_each(|(base, _)| self.release(*base, at));
            }
        }
    }

    /// Makes the results of a node anew.
    fn compute(&mut self, node: usize) {
        let outputs = self.graph.nodes[node].op.reference_f32(&self.views(&self.plan.program.inputs[&node]));
        for (k, Array { data, .. }) in outputs.into_iter().enumerate() {
            self.memory.insert(Base::Node(node, k), Arc::new(data));
        }
    }

    fn views<'a>(&'a self, places: &'a [(Base, Layout)]) -> Vec<View<'a, f32>> {
        places.iter().map(|(base, layout)| view(&self.memory[base], layout)).collect()
    }

    /// Has an op write over its inputs, if it can and nobody else reads or holds their memory; `pack` is what it takes
    /// in parts.
    fn overwrite(&mut self, node: usize, pack: Option<usize>, at: usize) -> bool {
        let (nodes, inputs) = (&self.graph.nodes, &self.plan.program.inputs);
        let AnyLowering::InPlace(_, pairs, Some(overwrite)) = nodes[node].op.lower() else { return false };
        let (mine, others) = inputs[&node].split_at(pairs.len());
        let free = |(base, layout): &(Base, Layout)| {
            let once = inputs[&node].iter().filter(|(other, _)| other == base).count() == 1;
            let all = || self.memory[base].len() == layout.shape.elements();
            is_whole(layout) && once && self.plan.last_use[base] == at && all()
        };
        if !mine.iter().all(free) {
            return false;
        }
        let mut elements = Vec::with_capacity(mine.len());
        for (base, _) in mine {
            match Arc::try_unwrap(self.memory.remove(base).expect("its length was just read")) {
                Ok(data) => elements.push(data),
                Err(held) => {
                    self.memory.insert(*base, held);
                    let back = mine.iter().zip(elements);
                    back.for_each(|((base, _), data)| _ = self.memory.insert(*base, Arc::new(data)));
                    return false;
                }
            }
        }
        let (parts, others) = match pack.map(|pack| (nodes[pack].op.lower(), &inputs[&pack])) {
            Some((AnyLowering::Pack(parts), places)) => {
                (parts, [self.views(places), self.views(&others[1..])].concat())
            }
            _ => (&[0][..], self.views(others)),
        };
        let shape = &mine[0].1.shape;
        (overwrite.run)(Overwrite { elements: &mut elements, shape, others: &others, parts });
        drop(others);
        let outputs = elements.into_iter().enumerate();
        outputs.for_each(|(k, data)| _ = self.memory.insert(Base::Node(node, k), Arc::new(data)));
        true
    }

    fn release(&mut self, base: Base, at: usize) {
        if self.plan.last_use[&base] == at {
            let data = self.memory.remove(&base).and_then(Arc::into_inner);
            if let Some(data) = data {
                recycle::give_back_data(data);
            }
        }
    }

    fn results(self) -> Vec<(usize, Vec<Value>)> {
        recycle::end_run();
        let value =
            |&(base, offset): &(Base, usize)| Value { storage: Storage::Cpu(Arc::clone(&self.memory[&base])), offset };
        self.plan.program.kept.iter().map(|(node, values)| (*node, values.iter().map(value).collect())).collect()
    }
}

impl Backend for Run<'_> {
    fn words(&mut self, base: Base) -> Result<Vec<u32>> {
        Ok(self.memory.get(&base).map_or(Vec::new(), |data| words(data).to_vec()))
    }

    fn run(&mut self, step: usize) -> Result<()> {
        self.step(step);
        Ok(())
    }

    fn times(&mut self, steps: &[usize]) -> Result<Vec<f64>> {
        let timed = |&step: &usize| {
            let start = Instant::now();
            self.step(step);
            start.elapsed().as_secs_f64()
        };
        Ok(steps.iter().map(timed).collect())
    }

    fn shaders(&self, _: usize) -> Vec<Shader> {
        Vec::new()
    }
}

fn view<'a>(data: &'a Data<f32>, layout: &'a Layout) -> View<'a, f32> {
    View { shape: &layout.shape, strides: layout.strides.clone(), offset: layout.offset, data }
}

/// One number of the host as data.
pub(super) fn scalar_data<T: Real>(dtype: DType, bits: u32) -> Data<T> {
    match dtype {
        DType::F32 | DType::F16 => Data::Float(vec![T::of(f32::from_bits(bits) as f64)]),
        DType::I32 => Data::Int(vec![bits as i32]),
        DType::U32 | DType::Bool => Data::Uint(vec![bits]),
    }
}

fn words(data: &Data<f32>) -> &[u32] {
    match data {
        Data::Float(v) => bytemuck::cast_slice(v),
        Data::Int(v) => bytemuck::cast_slice(v),
        Data::Uint(v) => v,
    }
}

fn run_fused(fused: &Fused, memory: &QuickMap<Base, Arc<Data<f32>>>, scalars: &[u32]) -> Data<f32> {
    let n = fused.shape.elements();
    let walk = Walk::over(fused);
    let inputs: Vec<&[u32]> = fused.operands.iter().map(|o| words(&memory[&o.base])).collect();
    let job = Job { fused, walk: &walk, inputs: &inputs, scalars };
    match fused.dtype {
        DType::F32 | DType::F16 => {
            let mut out = f32::stale(n);
            job.run(bytemuck::cast_slice_mut(&mut out));
            Data::Float(out)
        }
        DType::I32 => {
            let mut out = vec![0i32; n];
            job.run(bytemuck::cast_slice_mut(&mut out));
            Data::Int(out)
        }
        DType::U32 | DType::Bool => {
            let mut out = recycle::stale_words(n);
            job.run(&mut out);
            Data::Uint(out)
        }
    }
}

struct Job<'a> {
    fused: &'a Fused,
    walk: &'a Walk,
    inputs: &'a [&'a [u32]],
    scalars: &'a [u32],
}

impl Job<'_> {
    fn run(&self, out: &mut [u32]) {
        if out.is_empty() {
            return;
        }
        if out.len() <= CHUNK {
            return self.chunk(0, out);
        }
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(c, out)| self.chunk(c * CHUNK, out));
    }

    /// Computes the elements from `start` on.
    fn chunk(&self, start: usize, out: &mut [u32]) {
        let code = &self.fused.code;
        let block = BLOCK.min(out.len());
        let mut registers = REGISTERS.take();
        registers.resize(registers.len().max(code.len() * block), 0);
        for (number, (instruction, _)) in code.iter().enumerate() {
            if let Instruction::Scalar(k) = instruction {
                registers[number * block..][..block].fill(self.scalars[self.fused.scalars[*k].0]);
            }
        }
        let mut at = start;
        for out in out.chunks_mut(block) {
            for (number, (instruction, _)) in code.iter().enumerate() {
                let last = number + 1 == code.len();
                let (before, rest) = registers.split_at_mut(number * block);
                let target = if last { &mut *out } else { &mut rest[..out.len()] };
                match instruction {
                    Instruction::Scalar(k) if last => target.fill(self.scalars[self.fused.scalars[*k].0]),
                    Instruction::Scalar(_) => {}
                    Instruction::Load(k) if !last && self.walk.in_order(*k) => {} // read in place
                    Instruction::Load(k) => self.load(*k, at, target),
                    Instruction::Apply { scalar, args, .. } => {
                        let mut operands: [&[u32]; 3] = [&[]; 3];
                        for (slot, &arg) in operands.iter_mut().zip(args) {
                            *slot = match code[arg].0 {
                                Instruction::Load(k) if self.walk.in_order(k) => {
                                    &self.inputs[k][self.fused.operands[k].layout.offset + at..][..target.len()]
                                }
                                _ => &before[arg * block..][..target.len()],
                            };
                        }
                        (scalar.block)(&operands[..args.len()], target);
                    }
                }
            }
            at += out.len();
        }
        REGISTERS.set(registers);
    }

    /// Gathers the elements `at..` of a strided operand, run by run along the innermost axis.
    fn load(&self, k: usize, mut at: usize, out: &mut [u32]) {
        let Operand { layout, .. } = &self.fused.operands[k];
        let (extents, strides, input) = (&self.walk.extents, &self.walk.strides[k], self.inputs[k]);
        let Some((&inner, outer)) = extents.split_last() else {
            return out.fill(input[layout.offset]);
        };
        let step = strides[outer.len()];
        let mut filled = 0;
        while filled < out.len() {
            let mut position = layout.offset as isize + (at % inner) as isize * step;
            let mut rest = at / inner;
            for (axis, &extent) in outer.iter().enumerate().rev() {
                position += (rest % extent) as isize * strides[axis];
                rest /= extent;
            }
            let run = (inner - at % inner).min(out.len() - filled);
            let target = &mut out[filled..filled + run];
            match step {
                0 => target.fill(input[position as usize]),
                1 => target.copy_from_slice(&input[position as usize..][..run]),
                _ => {
                    for (i, t) in target.iter_mut().enumerate() {
                        *t = input[(position + i as isize * step) as usize];
                    }
                }
            }
            filled += run;
            at += run;
        }
    }
}
