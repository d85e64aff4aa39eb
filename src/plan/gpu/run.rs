//! Running a plan: once, step by step to look at its memory, or many times in one submission.

use std::sync::Arc;

use super::{GpuPlan, Ready};
use crate::device::{ALIGN, Binding, Buffer, Encoded, Gpu, Shader, Submitted};
use crate::error::Result;
use crate::plan::check::Backend;
use crate::plan::fuse::{Base, Program};
use crate::plan::memory::Memory;
use crate::tensor::{Storage, Value};

/// The memory of each virtual buffer in a run.
pub(in crate::plan) type Buffers = Vec<Option<Arc<Buffer>>>;

/// Where the numbers of turns lie: in a table of one row per turn; ahead of the rows what is the same in all of them.
/// Results that are wanted of every turn lie in a buffer each, one turn after another.
pub(in crate::plan) struct Rows {
    /// The first byte of the first row, and the bytes of each.
    first: usize,
    row: usize,
    /// The host's numbers, one every [`ALIGN`] bytes, if a kernel reads them from memory.
    feed: Option<Place>,
    /// The given storages.
    given: Vec<Place>,
    /// Where each virtual buffer lies that is another part of its memory in each turn.
    buffers: Vec<Option<Place>>,
    /// Those of them that are results, and the bytes of all turns.
    results: Vec<(usize, u64)>,
}

/// Where something lies in the first turn, and how much further on in each after it.
#[derive(Debug, Clone, Copy)]
struct Place {
    first: usize,
    stride: usize,
}

impl Place {
    fn at(self, turn: usize) -> usize {
        self.first + turn * self.stride
    }
}

impl Rows {
    /// Bytes of a table for so many turns.
    pub fn bytes(&self, turns: usize) -> usize {
        self.first + turns * self.row
    }

    /// The first byte of a number of the host, if it lies in the table.
    pub fn number(&self, turn: usize, leaf: usize) -> Option<usize> {
        Some(self.feed?.at(turn) + leaf * ALIGN as usize)
    }

    /// The first byte of each given storage.
    pub fn given(&self, turn: usize) -> impl Iterator<Item = usize> {
        self.given.iter().map(move |place| place.at(turn))
    }
}

/// Turns through the launches of a plan.
struct Turns<'a> {
    /// The numbers of each turn, one turn after another.
    scalars: &'a [u32],
    count: usize,
    rows: Option<&'a Rows>,
}

impl Turns<'_> {
    fn once(scalars: &[u32]) -> Turns<'_> {
        Turns { scalars, count: 1, rows: None }
    }

    /// By how many bytes a binding of a virtual buffer lies further on in a turn.
    fn shift(&self, virtual_: usize, turn: usize) -> u64 {
        self.rows.and_then(|rows| rows.buffers[virtual_]).map_or(0, |place| place.at(turn) as u64)
    }
}

/// A submission has no more turns than this, and fewer if they are long: a GPU that also draws a desktop must come to
/// an end now and then, and a long submission needs no company to hide what it costs the host.
const MOST_TURNS: usize = 64;
/// Launches of a submission of several turns. The device waits while the first of several is encoded: with ten steps of
/// 30 launches in one, a step took an H200 0.60 ms, where ordinary steps took 0.56.
const MOST_LAUNCHES: usize = 64;
/// Bytes that its launches bind.
const MOST_BYTES: u64 = 4 << 30;

impl GpuPlan {
    pub fn run(&self, gpu: &Gpu, storages: &[Storage], scalars: &[u32]) -> Result<Vec<(usize, Vec<Value>)>> {
        let buffers = self.fed_buffers(gpu, storages, scalars)?;
        self.submit(&buffers, &Turns::once(scalars), &self.launches, |encoded| gpu.submit(encoded).map(Some))?;
        Ok(self.results(&buffers))
    }

    /// The same, with every step in the hands of `walk`.
    pub fn run_stepwise(
        &self,
        gpu: &Gpu,
        storages: &[Storage],
        scalars: &[u32],
        walk: impl FnOnce(&Program, &mut dyn Backend) -> Result<()>,
    ) -> Result<Vec<(usize, Vec<Value>)>> {
        let buffers = self.fed_buffers(gpu, storages, scalars)?;
        walk(&self.program, &mut Stepwise { plan: self, gpu, buffers: &buffers, scalars })?;
        Ok(self.results(&buffers))
    }

    /// How many turns a submission may have.
    pub fn most_turns(&self) -> usize {
        let bytes: u64 = self.launches.iter().flat_map(|l| &l.bindings).map(|&(_, _, size, _)| size).sum();
        let launches = MOST_LAUNCHES / self.launches.len().max(1);
        MOST_TURNS.min(launches).min((MOST_BYTES / bytes.max(1)) as usize).max(1)
    }

    /// A table for turns: of the host's numbers, which differ from turn to turn if `counted`, and of the content of
    /// these storages, given with their lengths in bytes. `wanted` are results, by node and output, that each turn
    /// keeps; `None` if one of them has no memory of its own.
    pub fn rows(&self, counted: bool, given: &[(usize, usize)], wanted: &[(usize, usize)]) -> Option<Rows> {
        let feed = if self.feed { self.scalars * ALIGN as usize } else { 0 };
        let (first, mut row) = if counted { (0, feed) } else { (feed, 0) };
        let mut places = Vec::with_capacity(given.len());
        for &(_, bytes) in given {
            places.push(first + row);
            row += bytes.next_multiple_of(ALIGN as usize);
        }
        let given_at: Vec<Place> = places.into_iter().map(|first| Place { first, stride: row }).collect();
        let feed = self.feed.then_some(Place { first: 0, stride: if counted { row } else { 0 } });
        let place = |memory: &Memory| match memory {
            Memory::Feed => feed,
            Memory::Storage(s) => given.iter().position(|(g, _)| g == s).map(|k| given_at[k]),
            _ => None,
        };
        let mut buffers: Vec<Option<Place>> = self.memory.iter().map(place).collect();
        let mut results = Vec::new();
        for &wanted in wanted {
            let (virtual_, _) = self.place(wanted)?;
            let Memory::Output(bytes) = self.memory[virtual_] else { return None };
            let stride = bytes.next_multiple_of(ALIGN);
            if buffers[virtual_].replace(Place { first: 0, stride: stride as usize }).is_none() {
                results.push((virtual_, stride * self.most_turns() as u64));
            }
        }
        Some(Rows { first, row, feed, buffers, given: given_at, results })
    }

    /// The memory of turns whose numbers lie in the rows of a table.
    pub fn buffers_of_turns(
        &self,
        gpu: &Gpu,
        storages: &[Storage],
        rows: &Rows,
        table: &Arc<Buffer>,
    ) -> Result<Buffers> {
        let mut buffers = self.buffers(gpu, storages, Some(table))?;
        for (buffer, place) in buffers.iter_mut().zip(&rows.buffers) {
            if place.is_some() {
                *buffer = Some(Arc::clone(table));
            }
        }
        for &(virtual_, bytes) in &rows.results {
            buffers[virtual_] = Some(gpu.allocate(bytes, "a result of many steps")?);
        }
        Ok(buffers)
    }

    /// Runs some turns in one submission; `scalars` are the numbers of each, one turn after another.
    pub fn run_turns(
        &self,
        gpu: &Gpu,
        buffers: &[Option<Arc<Buffer>>],
        rows: &Rows,
        scalars: &[u32],
        count: usize,
    ) -> Result<Option<Submitted>> {
        let turns = Turns { scalars, count, rows: Some(rows) };
        self.submit(buffers, &turns, &self.launches, |encoded| gpu.submit(encoded).map(Some))
    }

    /// The value that a turn made of an output of a node, and that is among the wanted ones; of `bytes` per element.
    pub fn value(
        &self,
        buffers: &[Option<Arc<Buffer>>],
        rows: &Rows,
        turn: usize,
        wanted: (usize, usize),
        bytes: usize,
    ) -> Option<Value> {
        let (virtual_, offset) = self.place(wanted)?;
        let first = rows.buffers[virtual_]?.at(turn) / bytes;
        Some(Value { storage: Storage::Gpu(Arc::clone(memory_of(buffers, virtual_))), offset: first + offset })
    }

    /// The virtual buffer and the offset of an output of a node, if it is kept.
    fn place(&self, (node, output): (usize, usize)) -> Option<(usize, usize)> {
        self.kept.iter().find(|(kept, _)| *kept == node)?.1.get(output).copied()
    }

    /// The memory of each virtual buffer in this run, with the host's numbers uploaded.
    fn fed_buffers(&self, gpu: &Gpu, storages: &[Storage], scalars: &[u32]) -> Result<Buffers> {
        if !self.feed {
            return self.buffers(gpu, storages, None);
        }
        let mut bytes = vec![0u8; self.scalars * ALIGN as usize];
        for (slot, bits) in bytes.chunks_mut(ALIGN as usize).zip(scalars) {
            slot[..4].copy_from_slice(&bits.to_le_bytes());
        }
        self.buffers(gpu, storages, Some(&gpu.upload(&bytes, "the numbers of a step")?))
    }

    fn buffers(&self, gpu: &Gpu, storages: &[Storage], feed: Option<&Arc<Buffer>>) -> Result<Buffers> {
        self.memory
            .iter()
            .map(|memory| match memory {
                Memory::Fixed(buffer) => Ok(Some(Arc::clone(buffer))),
                Memory::Storage(s) => match &storages[*s] {
                    Storage::Gpu(buffer) => Ok(Some(Arc::clone(buffer))),
                    _ => unreachable!("a tensor's storage is of its device"),
                },
                Memory::Output(bytes) => gpu.allocate(*bytes, "a result").map(Some),
                Memory::Feed => Ok(feed.cloned()),
                Memory::Unused => Ok(None),
            })
            .collect()
    }

    /// Hands the launches of all turns, complete with memory and numbers, to `run`.
    fn submit<R: Default>(
        &self,
        buffers: &[Option<Arc<Buffer>>],
        turns: &Turns,
        launches: &[Ready],
        run: impl FnOnce(&[Encoded]) -> Result<R>,
    ) -> Result<R> {
        // Two allocations for all launches together: most of them have nothing else to be done.
        let bound: usize = launches.iter().map(|l| l.bindings.len()).sum();
        let patched: usize = launches.iter().map(|l| l.patched_bytes()).sum();
        let mut bindings = Vec::with_capacity(turns.count * bound);
        let mut params: Vec<u8> = Vec::with_capacity(turns.count * patched);
        for turn in 0..turns.count {
            let scalars = &turns.scalars[turn * self.scalars..][..self.scalars];
            for launch in launches {
                for &(virtual_, offset, size, write) in &launch.bindings {
                    let offset = offset + turns.shift(virtual_, turn);
                    bindings.push(Binding { buffer: memory_of(buffers, virtual_), offset, size, write });
                }
                let start = params.len();
                params.extend_from_slice(&launch.params[..launch.patched_bytes()]);
                for &(at, leaf) in &launch.patches {
                    params[start + at..][..4].copy_from_slice(&scalars[leaf].to_le_bytes());
                }
            }
        }
        let (mut bound, mut patched) = (&bindings[..], &params[..]);
        let mut encoded: Vec<Encoded> = Vec::with_capacity(turns.count * launches.len());
        for launch in (0..turns.count).flat_map(|_| launches) {
            let (mine, rest) = bound.split_at(launch.bindings.len());
            bound = rest;
            let (own, rest) = patched.split_at(launch.patched_bytes());
            patched = rest;
            let params = if launch.patches.is_empty() { &launch.params } else { own };
            encoded.push(Encoded { pipeline: &launch.pipeline, bindings: mine, params, groups: launch.groups });
        }
        if encoded.is_empty() { Ok(R::default()) } else { run(&encoded) }
    }

    fn results(&self, buffers: &[Option<Arc<Buffer>>]) -> Vec<(usize, Vec<Value>)> {
        let value = |&(virtual_, offset): &(usize, usize)| Value {
            storage: Storage::Gpu(Arc::clone(memory_of(buffers, virtual_))),
            offset,
        };
        self.kept.iter().map(|(node, values)| (*node, values.iter().map(value).collect())).collect()
    }
}

fn memory_of(buffers: &[Option<Arc<Buffer>>], virtual_: usize) -> &Arc<Buffer> {
    buffers[virtual_].as_ref().expect("what is bound or kept has memory")
}

/// A run that stops after each step, so that its memory can be looked at.
struct Stepwise<'a> {
    plan: &'a GpuPlan,
    gpu: &'a Gpu,
    buffers: &'a [Option<Arc<Buffer>>],
    scalars: &'a [u32],
}

impl Stepwise<'_> {
    fn launches(&self, step: usize) -> &[Ready] {
        let all = &self.plan.launches;
        &all[all.partition_point(|l| l.step < step)..all.partition_point(|l| l.step <= step)]
    }
}

impl Backend for Stepwise<'_> {
    fn words(&mut self, base: Base) -> Result<Vec<u32>> {
        let Some(slot) = self.plan.slots.get(&base) else { return Ok(Vec::new()) };
        let Some(buffer) = &self.buffers[slot.buffer.0 as usize] else { return Ok(Vec::new()) };
        let whole = matches!(base, Base::Storage(_));
        let (first, mut bytes) = slot.bytes();
        if whole {
            bytes = buffer.size();
        }
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.gpu.read(buffer, first, bytes)?.wait()?;
        if !slot.half {
            return Ok(bytemuck::pod_collect_to_vec(&bytes));
        }
        let halves: Vec<half::f16> = bytemuck::pod_collect_to_vec(&bytes);
        Ok(halves.iter().map(|h| h.to_f32().to_bits()).collect())
    }

    fn run(&mut self, step: usize) -> Result<()> {
        let run = |encoded: &[Encoded]| self.gpu.submit(encoded).map(|_| ());
        self.plan.submit(self.buffers, &Turns::once(self.scalars), self.launches(step), run)
    }

    fn times(&mut self, steps: &[usize]) -> Result<Vec<f64>> {
        let parts: Vec<usize> = steps.iter().map(|&step| self.launches(step).len()).collect();
        let run = |encoded: &[Encoded]| self.gpu.submit_timed(encoded, &parts);
        self.plan.submit(self.buffers, &Turns::once(self.scalars), &self.plan.launches, run)
    }

    fn shaders(&self, step: usize) -> Vec<Shader> {
        self.launches(step).iter().map(|launch| launch.shader.clone()).collect()
    }
}
