//! Which buffer each virtual buffer of a plan becomes.
//!
//! Scratch is shared by liveness: a buffer is free again after the last launch that touches it. Slots are named by size
//! class and index, the lowest free index first, and stand for the device's workspace buffers, so that all plans of a
//! device share them and a replay binds what the run before bound.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::fuse::{Base, Step};
use super::gpu::{Built, Kind};
use crate::device::{Buffer, Gpu, size_class};
use crate::error::Result;

/// The memory of a virtual buffer.
pub(super) enum Memory {
    /// The same buffer in every run: scratch, or the plan's own.
    Fixed(Arc<Buffer>),
    /// A storage of the graph.
    Storage(usize),
    /// Fresh in every run, with this many bytes: somebody keeps it.
    Output(u64),
    /// The host's numbers.
    Feed,
    /// Nothing touches it.
    Unused,
}

pub(super) fn assign(built: &Built, gpu: &Gpu) -> Result<Vec<Memory>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; built.virtuals.len()];
    for (at, launch) in built.launches.iter().enumerate() {
        for bind in &launch.dispatch.bindings {
            let life = &mut lives[bind.slot.buffer.0 as usize];
            *life = Some((life.map_or(at, |l| l.0), at));
        }
    }
    // Steps that share launches are looked at together, after the last of them: what they made must still be there
    // then.
    let mut made: HashMap<usize, Vec<usize>> = HashMap::new();
    for (base, slot) in &built.slots {
        if let Base::Node(node, _) = base {
            made.entry(*node).or_default().push(slot.buffer.0 as usize);
        }
    }
    for group in built.program.groups().into_iter().filter(|group| group.len() > 1) {
        let Some(last) = built.launches.iter().rposition(|launch| group.contains(&launch.step)) else { continue };
        for step in &built.program.steps[group] {
            let node = match step {
                Step::Kernel(node) | Step::Fused(Base::Node(node, _), _) => node,
                Step::Fused(..) => continue,
            };
            for &buffer in made.get(node).into_iter().flatten() {
                lives[buffer] = lives[buffer].map(|(first, end)| (first, end.max(last)));
            }
        }
    }
    let mut memory: Vec<Memory> = Vec::with_capacity(built.virtuals.len());
    let bytes_of = |v: usize| built.virtuals[v].1.max(4) as u64;
    for (v, &(kind, _)) in built.virtuals.iter().enumerate() {
        let bytes = bytes_of(v);
        memory.push(match kind {
            Kind::Storage(s) => Memory::Storage(s),
            Kind::Output => Memory::Output(bytes),
            Kind::Feed => Memory::Feed,
            Kind::Own if lives[v].is_some() => {
                let buffer = gpu.allocate(bytes, "packed gradients")?;
                gpu.clear(&buffer)?;
                Memory::Fixed(buffer)
            }
            Kind::Scratch | Kind::Own => Memory::Unused,
        });
    }
    let mut starts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut ends: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (v, life) in lives.iter().enumerate() {
        if let (Kind::Scratch, Some((first, last))) = (built.virtuals[v].0, life) {
            starts.entry(*first).or_default().push(v);
            ends.entry(*last).or_default().push(v);
        }
    }
    // Free indices per size class, and how many were ever taken.
    let mut free: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    let mut taken: BTreeMap<u64, usize> = BTreeMap::new();
    let mut holds: BTreeMap<usize, (u64, usize)> = BTreeMap::new();
    for at in 0..built.launches.len() {
        for &v in starts.get(&at).into_iter().flatten() {
            let class = size_class(bytes_of(v));
            let index = free.entry(class).or_default().pop_first().unwrap_or_else(|| {
                let count = taken.entry(class).or_default();
                *count += 1;
                *count - 1
            });
            holds.insert(v, (class, index));
            memory[v] = Memory::Fixed(gpu.workspace(class, index)?);
        }
        for v in ends.get(&at).into_iter().flatten() {
            let (class, index) = holds[v];
            free.entry(class).or_default().insert(index);
        }
    }
    Ok(memory)
}
