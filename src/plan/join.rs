//! Which fused kernels run inside the launches of another step.
//!
//! A fused kernel that reads what a step makes element by element can be computed where that step stores it: bias,
//! activation and residual behind a product or a convolution, the slope of an activation behind the product of its
//! backward pass. One that only a reduction reads can be computed where the reduction loads it. Either way a launch is
//! spared and a trip through memory, often two.
//!
//! Shaders know nothing of it but two functions, `epilogue` and `load` of `shaders/shared`, through which they store
//! and load; a launch says with `LoweredDispatch::finish` and `LoweredDispatch::load` which binding that is. `arrange`
//! moves the steps that may share launches next to each other before lowering; then the launches are there, and what
//! does not fit them (no such binding, too many operands) is launched by itself after all.
//!
//! Halves are read there as anywhere. They are stored there where the adapter has 16-bit floats; packed ones share
//! words, which no launch of one element at a time can write.

use std::collections::HashMap;

use super::fuse::{Base, Fused, Operand, Program, Step};
use super::gpu::Built;
use super::trace::Graph;
use super::wgsl::{self, Place};
use crate::tensor::{AnyLowering, Bind, DType, Layout, LoweredDispatch, Slot};

/// What a step may share launches with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Join {
    /// Nothing before it, and nothing after it by its own doing.
    Alone,
    /// The step before: it is computed where that one stores.
    Behind,
    /// The step after: it is computed where that one loads.
    Ahead,
}

/// Instructions behind one step.
const MOST_CODE: usize = 64;

/// Moves the steps that may share launches next to each other. The order of everything that depends on anything stays.
///
/// `store_halves`: whether launches may store 16-bit floats.
pub(super) fn arrange(program: &mut Program, graph: &Graph, store_halves: bool) -> Vec<Join> {
    let groups = Groups::of(program, graph, store_halves);
    let mut steps: Vec<Option<Step>> = std::mem::take(&mut program.steps).into_iter().map(Some).collect();
    let mut joins = Vec::new();
    let mut put = |at: usize, join| {
        joins.push(join);
        program.steps.push(steps[at].take().expect("each step is put once"));
    };
    for at in 0..groups.head.len() {
        if groups.head[at] == at && !groups.ahead.values().any(|&moved| moved == at) {
            groups.ahead.get(&at).into_iter().for_each(|&moved| put(moved, Join::Ahead));
            put(at, Join::Alone);
            groups.behind[at].iter().for_each(|&moved| put(moved, Join::Behind));
        }
    }
    joins
}

/// Steps that may share launches, by their numbers before anything moves.
struct Groups {
    /// The step whose stores each step is computed at: itself, if it runs alone.
    head: Vec<usize>,
    /// Those computed at the stores of each.
    behind: Vec<Vec<usize>>,
    /// By reader, the step computed at its loads.
    ahead: HashMap<usize, usize>,
    store_halves: bool,
}

impl Groups {
    fn of(program: &Program, graph: &Graph, store_halves: bool) -> Groups {
        let n = program.steps.len();
        let (head, behind, ahead) = ((0..n).collect(), vec![Vec::new(); n], HashMap::new());
        let mut groups = Groups { head, behind, ahead, store_halves };
        // The head of the group that makes each base.
        let mut made: HashMap<Base, usize> = HashMap::new();
        for (at, step) in program.steps.iter().enumerate() {
            match step {
                Step::Kernel(node) => {
                    (0..graph.nodes[*node].metas.len()).for_each(|k| _ = made.insert(Base::Node(*node, k), at));
                }
                Step::Fused(base, fused) => {
                    if let Some(head) = groups.host(program, graph, &made, fused) {
                        groups.head[at] = head;
                        groups.behind[head].push(at);
                    }
                    made.insert(*base, groups.head[at]);
                }
            }
        }
        groups.find_ahead(program, graph);
        groups
    }

    /// The step at whose stores a fused kernel can be computed: the last to make one of its operands, if it makes
    /// nothing else of what it reads, and that in the order in which it is read.
    fn host(&self, program: &Program, graph: &Graph, made: &HashMap<Base, usize>, fused: &Fused) -> Option<usize> {
        let head = fused.operands.iter().filter_map(|o| made.get(&o.base)).copied().max()?;
        let elements = fused.shape.elements();
        let whole = |o: &Operand| {
            o.dtype.is_float() && in_order(&o.layout) && o.layout.shape.elements() == elements && elements > 0
        };
        let storable = |dtype: DType| dtype == DType::F32 || (dtype == DType::F16 && self.store_halves);
        let code = |at: &usize| match &program.steps[*at] {
            Step::Fused(_, fused) => fused.code.len(),
            Step::Kernel(_) => 0,
        };
        let code = self.behind[head].iter().map(code).sum::<usize>() + fused.code.len();
        if !storable(fused.dtype) || code > MOST_CODE {
            return None;
        }
        let inside: Vec<&Operand> = fused.operands.iter().filter(|o| made.get(&o.base) == Some(&head)).collect();
        let fits = match &program.steps[head] {
            Step::Fused(_, first) => storable(first.dtype) && first.shape.elements() == elements,
            Step::Kernel(node) => {
                let node_at = &graph.nodes[*node];
                // Of several outputs one is computed on: the one that the group reads already.
                let member = |at: &usize| program.reads(&program.steps[*at]).map(|(base, _)| base).collect::<Vec<_>>();
                let read = self.behind[head].iter().flat_map(member).chain(inside.iter().map(|o| o.base));
                let outputs: Vec<usize> = read.filter_map(|b| output_of(b, *node)).collect();
                let hosts = match node_at.op.lower() {
                    // What is overwritten must be what the op says it is.
                    AnyLowering::InPlace(_, pairs, _) => pairs.iter().all(|&(k, _)| k != outputs[0]),
                    lowering => lowering.kernel().is_some(),
                };
                hosts && outputs.iter().all(|&k| k == outputs[0] && node_at.metas[k].shape.elements() == elements)
            }
        };
        (fits && inside.iter().all(|o| whole(o))).then_some(head)
    }

    fn find_ahead(&mut self, program: &Program, graph: &Graph) {
        let readers = program.readers();
        for (at, step) in program.steps.iter().enumerate() {
            let Step::Fused(base, fused) = step else { continue };
            let free = self.head[at] == at && self.behind[at].is_empty() && readers.get(base) == Some(&1);
            if !free || fused.operands.is_empty() || fused.dtype == DType::Bool {
                continue;
            }
            let lowering = |at: usize| match &program.steps[at] {
                Step::Kernel(node) => Some(graph.nodes[*node].op.lower()),
                Step::Fused(..) => None,
            };
            let reads = |at: &usize| program.reads(&program.steps[*at]).any(|(b, _)| b == *base);
            let Some(reader) = (at + 1..program.steps.len()).find(reads) else { continue };
            // Of several inputs only what is written over something is loaded in order.
            let alone = match lowering(reader) {
                Some(AnyLowering::Kernel(_) | AnyLowering::Sum(..)) => true,
                Some(AnyLowering::InPlace(..)) => false,
                _ => continue,
            };
            let read: Vec<(Base, &Layout)> =
                program.reads(&program.steps[reader]).filter(|(b, _)| alone || b == base).collect();
            let once = read.len() == 1 && read[0].1.shape.elements() == fused.shape.elements();
            // What an update overwrites meanwhile would be read too late.
            let overwritten = (at + 1..reader).any(|k| matches!(lowering(k), Some(AnyLowering::InPlace(..))));
            if once && !overwritten {
                self.ahead.insert(reader, at);
            }
        }
    }
}

fn output_of(base: Base, node: usize) -> Option<usize> {
    match base {
        Base::Node(n, k) if n == node => Some(k),
        _ => None,
    }
}

fn in_order(layout: &Layout) -> bool {
    layout.is_contiguous() && layout.offset == 0
}

/// What a launch binds besides, and the text that uses it.
struct Added {
    binds: Vec<(Bind, DType)>,
    /// Per fused kernel, where each operand and each number of the host comes from.
    places: Vec<(Vec<Place>, Vec<usize>)>,
}

impl Built<'_> {
    /// The launches of step `main`, of the one before it if that is not `start` itself, and of those behind it, in as
    /// few launches as can be.
    pub(super) fn lower_group(&mut self, steps: &[Step], start: usize, main: usize, end: usize) {
        let first = self.launches.len();
        let parts: Vec<(Base, &Fused)> = steps[main + 1..end].iter().filter_map(Step::fused).collect();
        let ahead = if start < main { steps[start].fused() } else { None };
        if let Some((base, fused)) = ahead {
            self.slot_of(base, fused.shape.elements(), fused.dtype);
        }
        self.step = main;
        let before = (!parts.is_empty()).then(|| (self.slots.clone(), self.copies.clone()));
        match &steps[main] {
            Step::Fused(base, fused) => self.launch_step(*base, fused, !parts.is_empty()),
            Step::Kernel(node) => self.lower_kernel(*node, steps, !parts.is_empty()),
        }
        if let Some((base, fused)) = ahead {
            if self.load_through(first, base, fused) {
                self.program.joined[main] = true;
                self.launches[first..].iter_mut().for_each(|launch| launch.step = start);
            } else {
                let own = self.launches.split_off(first);
                self.step = start;
                self.launch_step(base, fused, false);
                self.launches.extend(own);
            }
        }
        let inside = self.store_through(first, &steps[main], &parts);
        if let Some((slots, copies)) = before
            && !self.round_stores(first)
        {
            // It reads what it has stored: none is stored there, and it rounds behind itself.
            (self.slots, self.copies) = (slots, copies);
            self.launches.truncate(first);
            self.program.joined[main] = false;
            if start < main {
                self.lower_group(steps, start, start, main);
            }
            self.lower_group(steps, main, main, main + 1);
            return self.lower_group(steps, main + 1, main + 1, end);
        }
        self.program.joined[main + 1..][..inside].fill(true);
        // What did not fit shares a launch of its own.
        let next = main + 1 + inside;
        if next < end {
            self.lower_group(steps, next, next, end);
        }
    }

    /// Computes as many of the fused kernels `parts` as fit where the launches from `first` on store the result of
    /// `step`.
    fn store_through(&mut self, first: usize, step: &Step, parts: &[(Base, &Fused)]) -> usize {
        let root = match step {
            Step::Fused(base, _) => *base,
            Step::Kernel(node) => {
                let bases = parts.iter().flat_map(|(_, fused)| fused.operands.iter().map(|o| o.base));
                match bases.into_iter().find(|b| output_of(*b, *node).is_some()) {
                    Some(root) => root,
                    None => return 0,
                }
            }
        };
        (1..=parts.len()).rev().find(|&m| self.store_all(first, root, &parts[..m])).unwrap_or(0)
    }

    /// [`Built::store_through`], all or none.
    fn store_all(&mut self, first: usize, root: Base, parts: &[(Base, &Fused)]) -> bool {
        let Some(&slot) = self.slots.get(&root) else { return false };
        let stores = |bind: &Bind| bind.slot.buffer == slot.buffer && bind.slot.offset == slot.offset;
        let marked: Vec<usize> = (first..self.launches.len())
            .filter(|&l| {
                let d = &self.launches[l].dispatch;
                d.finish.is_some_and(|k| stores(&d.bindings[k]))
            })
            .collect();
        if marked.is_empty() {
            return false;
        }
        // Values that somebody reads who is not computed here need memory: the first in the place of the root.
        let reads_here = |base: Base| -> usize {
            parts.iter().map(|(_, fused)| fused.operands.iter().filter(|o| o.base == base).count()).sum()
        };
        let chain: Vec<Base> = std::iter::once(root).chain(parts.iter().map(|(base, _)| *base)).collect();
        let needed = |base: &Base| self.readers.get(base).copied().unwrap_or(0) > reads_here(*base);
        let stored: Vec<usize> = (0..chain.len()).filter(|&k| needed(&chain[k])).collect();
        let Some((&main, others)) = stored.split_first() else { return false };
        let dtype = |k: usize| match k {
            0 if slot.half => DType::F16,
            0 => DType::F32,
            k => parts[k - 1].1.dtype,
        };

        let mut added = self.operands(parts, |base| chain.iter().position(|b| *b == base));
        let elements = parts[0].1.shape.elements();
        let reads = added.binds.len();
        for &k in others {
            let slot = self.slot_of(chain[k], elements, dtype(k));
            added.binds.push((Bind { slot, write: true }, dtype(k)));
        }
        let target = if main == 0 { slot } else { self.slot_of(chain[main], elements, dtype(main)) };
        let moved = |bind: &Bind| match bind.slot.buffer == slot.buffer {
            true => {
                let offset = target.offset + bind.slot.offset - slot.offset;
                Bind { slot: Slot { buffer: target.buffer, offset, half: target.half, ..bind.slot }, ..*bind }
            }
            false => *bind,
        };
        let fits = marked.iter().all(|&l| {
            let all: Vec<Bind> =
                self.launches[l].dispatch.bindings.iter().map(moved).chain(added.binds.iter().map(|b| b.0)).collect();
            all.len() <= self.caps.max_bindings as usize && !aliased(&all)
        });
        // A part of what it stores begins where floats are aligned; as halves it would begin elsewhere.
        let mut own = self.launches[first..].iter().flat_map(|launch| &launch.dispatch.bindings);
        let parted = own.any(|bind| bind.slot.buffer == slot.buffer && bind.slot.offset != slot.offset);
        if !fits || (parted && slot.half != target.half) {
            return false;
        }
        for launch in &mut self.launches[first..] {
            launch.dispatch.bindings.iter_mut().for_each(|bind| *bind = moved(bind));
        }
        let native = self.caps.native_half;
        let stores: Vec<(usize, usize)> = others.iter().enumerate().map(|(i, &k)| (k, reads + i)).collect();
        for l in marked {
            let d = &mut self.launches[l].dispatch;
            let fused: Vec<_> = parts.iter().zip(&added.places).map(|((_, f), (p, s))| (*f, &p[..], &s[..])).collect();
            let text = inside(d, &added.binds, native);
            let round = slot.half && d.shader.name != "fused";
            d.shader.source = text.epilogue(&fused, round, main, &stores).into();
            d.bindings.extend(added.binds.iter().map(|b| b.0));
        }
        if main > 0 {
            self.slots.remove(&root);
        }
        true
    }

    /// Computes a fused kernel where the launches from `first` on load its result, if they do nothing else with it.
    fn load_through(&mut self, first: usize, base: Base, fused: &Fused) -> bool {
        let slot = self.slots[&base];
        let reads = |bind: &Bind| bind.slot.buffer == slot.buffer;
        let readers: Vec<usize> =
            (first..self.launches.len()).filter(|&l| self.launches[l].dispatch.bindings.iter().any(reads)).collect();
        let added = self.operands(&[(base, fused)], |_| None);
        let fits = readers.iter().all(|&l| {
            let d = &self.launches[l].dispatch;
            let only = d.bindings.iter().filter(|bind| reads(bind)).count() == 1;
            let marked = d.load.is_some_and(|k| reads(&d.bindings[k]));
            let mut all: Vec<Bind> = d.bindings.iter().filter(|bind| !reads(bind)).copied().collect();
            all.extend(added.binds.iter().map(|b| b.0));
            only && marked && all.len() <= self.caps.max_bindings as usize && !aliased(&all)
        });
        if !fits || added.binds.is_empty() {
            return false;
        }
        let native = self.caps.native_half;
        for l in readers {
            let d = &mut self.launches[l].dispatch;
            let at = d.load.expect("just checked");
            let shift = d.bindings[at].slot.offset - slot.offset;
            let (places, scalars) = &added.places[0];
            let text = inside(d, &added.binds, native);
            d.shader.source = text.prologue((fused, places, scalars), at, shift).into();
            // The first operand takes the binding of what is not loaded any more.
            d.bindings[at] = added.binds[0].0;
            d.bindings.extend(added.binds[1..].iter().map(|b| b.0));
        }
        self.slots.remove(&base);
        true
    }

    /// What the fused kernels read that `inside` does not know; its answers are values in the launch.
    fn operands(&mut self, parts: &[(Base, &Fused)], inside: impl Fn(Base) -> Option<usize>) -> Added {
        let mut added = Added { binds: Vec::new(), places: Vec::new() };
        let bound = |binds: &mut Vec<(Bind, DType)>, slot: Slot, dtype: DType| {
            let bind = (Bind { slot, write: false }, dtype);
            binds.iter().position(|b| *b == bind).unwrap_or_else(|| {
                binds.push(bind);
                binds.len() - 1
            })
        };
        for (_, fused) in parts {
            let mut places = Vec::new();
            for operand in &fused.operands {
                places.push(match inside(operand.base) {
                    Some(value) => Place::Value(value),
                    None => {
                        let (slot, layout) = self.range(operand.base, &operand.layout);
                        Place::Bound(bound(&mut added.binds, slot, operand.dtype), layout.offset)
                    }
                });
            }
            let mut scalars = Vec::new();
            for (leaf, dtype) in &fused.scalars {
                let (slot, _) = self.range(Base::Scalar(*leaf), &Layout::contiguous(1, 0));
                scalars.push(bound(&mut added.binds, slot, *dtype));
            }
            added.places.push((places, scalars));
        }
        added
    }
}

/// A launch that takes in others, with what is bound for them.
fn inside<'a>(launch: &'a LoweredDispatch, binds: &'a [(Bind, DType)], native_half: bool) -> wgsl::Inside<'a> {
    let (entry, first) = (launch.entry, launch.bindings.len());
    wgsl::Inside { entry, first, binds, shader: &launch.shader.source, native_half }
}

/// Whether one buffer would be read and written, or written twice over.
fn aliased(binds: &[Bind]) -> bool {
    let meet =
        |a: &Bind, b: &Bind| a.slot.buffer == b.slot.buffer && (a.write != b.write || a.slot == b.slot && a.write);
    binds.iter().enumerate().any(|(i, a)| binds[i + 1..].iter().any(|b| meet(a, b)))
}
