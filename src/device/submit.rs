//! One command buffer and one submission per plan, and one compute pass unless textures are refreshed on the way; bind
//! groups cached by what they bind.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use rustc_hash::FxHasher;

use super::counters::Tally;
use super::mirror::{Mirrors, Texel};
use super::{ALIGN, Buffer, Gpu, Pipeline};
use crate::error::{Error, Result};

/// A range of a buffer, bound to a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The memory.
    pub buffer: &'a Buffer,
    /// First byte, a multiple of [`ALIGN`].
    pub offset: u64,
    /// Length in bytes, a multiple of 4.
    pub size: u64,
    /// Whether the kernel writes it.
    pub write: bool,
}

impl Binding<'_> {
    fn range(&self) -> (u64, u64, u64) {
        (self.buffer.id, self.offset, self.size)
    }

    fn resource(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer.raw,
            offset: self.offset,
            size: std::num::NonZeroU64::new(self.size),
        })
    }
}

/// One kernel launch, ready to encode.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// The kernel.
    pub pipeline: &'a Pipeline,
    /// What it reads and writes, by binding number.
    pub bindings: &'a [Binding<'a>],
    /// The content of its `Params`.
    pub params: &'a [u8],
    /// Workgroups per dimension.
    pub groups: [u32; 3],
}

/// Work that was handed to the device.
#[derive(Debug)]
pub struct Submitted(wgpu::SubmissionIndex);

/// Pipeline, and the range of each binding.
type Key = (u64, Vec<(u64, u64, u64)>);

/// Bind groups by a hash of their keys, so that finding one allocates nothing.
type Groups = HashMap<u64, Vec<(Key, wgpu::BindGroup)>, BuildHasherDefault<FxHasher>>;

fn hash_of(pipeline: u64, bindings: &[Binding]) -> u64 {
    let mut hasher = FxHasher::default();
    pipeline.hash(&mut hasher);
    bindings.iter().for_each(|b| b.range().hash(&mut hasher));
    hasher.finish()
}

#[derive(Debug, Default)]
pub(super) struct BindGroups {
    cache: Mutex<Cache>,
    ring: Mutex<Option<Arc<Buffer>>>,
}

/// Groups bind the textures of the mirrors, so both are kept and forgotten together.
#[derive(Debug, Default)]
struct Cache {
    groups: Groups,
    mirrors: Mirrors,
}

impl Cache {
    fn clear(&mut self) {
        self.groups.clear();
        self.mirrors.clear();
    }
}

impl BindGroups {
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Pipeline {
    /// The texels through which binding number `i` is read, if it is.
    fn texel(&self, i: usize, binding: &Binding) -> Option<Texel> {
        self.textures.iter().find(|(at, _)| *at == i && !binding.write).map(|(_, texel)| *texel)
    }
}

/// What a launch reads from textures that do not hold it yet.
fn stale<'a>(cache: &Cache, launch: &Encoded<'a>) -> impl Iterator<Item = (&'a Binding<'a>, Texel)> {
    let (pipeline, bindings) = (launch.pipeline, launch.bindings);
    bindings
        .iter()
        .enumerate()
        .filter_map(|(i, b)| Some((b, pipeline.texel(i, b)?)))
        .filter(|(b, texel)| !cache.mirrors.is_current(b, *texel))
}

/// Stamps are `u64`, and a set of queries holds at most 4096 of them.
const PARTS_OF_A_CLOCK: usize = wgpu::QUERY_SET_MAX_QUERIES as usize - 1;

/// Queries for the time, and where their answers go.
struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Clock {
    fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let size = self.resolved.size();
        encoder.resolve_query_set(&self.queries, 0..(size / 8) as u32, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, size);
    }
}

/// A pass that does nothing but note the time.
fn stamp(encoder: &mut wgpu::CommandEncoder, query_set: &wgpu::QuerySet, index: u32) {
    let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
        query_set,
        beginning_of_pass_write_index: None,
        end_of_pass_write_index: Some(index),
    });
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
}

/// Bind groups keep their buffers alive, so the cache may not grow for ever; a program that needs more is re-binding
/// faster than it computes, and starts over.
const MOST_GROUPS: usize = 8192;

/// The group of a pipeline that binds these ranges.
fn found_or_made<'c>(
    groups: &'c mut Groups,
    pipeline: u64,
    bindings: &[Binding],
    make: impl FnOnce() -> wgpu::BindGroup,
) -> &'c wgpu::BindGroup {
    if groups.len() >= MOST_GROUPS {
        groups.clear();
    }
    let same = groups.entry(hash_of(pipeline, bindings)).or_default();
    let is_it = |(p, ranges): &Key| *p == pipeline && ranges.iter().copied().eq(bindings.iter().map(Binding::range));
    let at = same.iter().position(|(key, _)| is_it(key)).unwrap_or_else(|| {
        same.push(((pipeline, bindings.iter().map(Binding::range).collect()), make()));
        same.len() - 1
    });
    &same[at].1
}

impl Gpu {
    /// Runs the launches in order.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn submit(&self, launches: &[Encoded]) -> Result<Submitted> {
        self.check()?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        self.encode(&mut encoder, launches)?;
        Tally::add(&self.tally().submissions, 1);
        let index = self.queue.submit([encoder.finish()]);
        self.check()?;
        Ok(Submitted(index))
    }

    /// Waits until a submission is done, and those before it.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn wait_for(&self, submitted: Submitted) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index: Some(submitted.0), timeout: None };
        let polled = self.device.poll(wait);
        self.check()?;
        polled.map(|_| ()).map_err(|e| Error::Gpu(e.to_string()))
    }

    /// Runs the launches in order in one submission, waits for them, and says for each of `parts` of them, which follow
    /// each other from the first launch on, how many seconds it took from the end of the part before: by the clock of
    /// the device. Where it has none, or no immediates, each part is a submission of its own, timed by the clock of the
    /// host.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn submit_timed(&self, launches: &[Encoded], parts: &[usize]) -> Result<Vec<f64>> {
        self.wait()?;
        // Parameters in a uniform are written once per submission.
        if !self.has_timestamps() || !self.has_immediates() {
            let mut rest = launches;
            let timed = |&part: &usize| {
                let (mine, others) = rest.split_at(part);
                rest = others;
                let start = std::time::Instant::now();
                self.submit(mine)?;
                self.wait()?;
                Ok(start.elapsed().as_secs_f64())
            };
            return parts.iter().map(timed).collect();
        }
        let start = std::time::Instant::now();
        let mut clocks = Vec::new();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let mut rest = launches;
        for (i, &part) in parts.iter().enumerate() {
            let (mine, others) = rest.split_at(part);
            rest = others;
            let at = i % PARTS_OF_A_CLOCK;
            if at == 0 {
                let left = (parts.len() - i).min(PARTS_OF_A_CLOCK) as u32;
                clocks.push(self.clock(left + 1));
                stamp(&mut encoder, &clocks[clocks.len() - 1].queries, 0);
            }
            self.encode(&mut encoder, mine)?;
            stamp(&mut encoder, &clocks[clocks.len() - 1].queries, at as u32 + 1);
        }
        clocks.iter().for_each(|clock| clock.resolve(&mut encoder));
        Tally::add(&self.tally().submissions, 1);
        self.queue.submit([encoder.finish()]);
        clocks.iter().for_each(|clock| clock.staging.map_async(wgpu::MapMode::Read, .., |_| {}));
        self.wait()?;
        let host = start.elapsed().as_secs_f64();
        let mut seconds = Vec::with_capacity(parts.len());
        for clock in &clocks {
            let range = clock.staging.get_mapped_range(..).map_err(|e| Error::Gpu(e.to_string()))?;
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&range);
            let period = f64::from(self.queue.get_timestamp_period()) * 1e-9;
            seconds.extend(ticks.windows(2).map(|t| t[1].wrapping_sub(t[0]) as f64 * period));
        }
        // A clock that stands still or runs backwards is none.
        let runs = seconds.iter().sum::<f64>() > 0.0 && seconds.iter().all(|&s| s <= host);
        Ok(if runs { seconds } else { vec![host / parts.len() as f64; parts.len()] })
    }

    /// As many queries for the time of the device.
    fn clock(&self, count: u32) -> Clock {
        let label = None;
        let ty = wgpu::QueryType::Timestamp;
        let buffer = |usage| {
            let (size, mapped_at_creation) = (u64::from(count) * 8, false);
            self.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation })
        };
        Clock {
            queries: self.device.create_query_set(&wgpu::QuerySetDescriptor { label, ty, count }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        }
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, launches: &[Encoded]) -> Result<()> {
        let ring = if self.has_immediates() { None } else { self.upload_params(launches)? };
        let mut cache = self.bind_groups.lock();
        if cache.mirrors.len() > MOST_GROUPS {
            cache.clear();
        }
        let (mut bytes, mut at, mut done) = (0, 0, 0);
        while done < launches.len() {
            // A pass goes on until a kernel reads what its texture does not hold yet: copies stand between passes.
            self.refresh(encoder, &mut cache, &launches[done]);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            loop {
                let launch = &launches[done];
                pass.set_pipeline(&launch.pipeline.raw);
                let group = self.bind_group(&mut cache, launch.pipeline, launch.bindings);
                pass.set_bind_group(0, group, &[]);
                match (&launch.pipeline.params, &ring) {
                    (Some(layout), Some(ring)) => {
                        let size = launch.params.len().next_multiple_of(16) as u64;
                        let range = Binding { buffer: ring, offset: at, size, write: false };
                        at += size.next_multiple_of(ALIGN);
                        let group = self.params_group(&mut cache, launch.pipeline, layout, range);
                        pass.set_bind_group(1, group, &[]);
                    }
                    _ if launch.params.is_empty() => {}
                    _ => pass.set_immediates(0, launch.params),
                }
                let [x, y, z] = launch.groups;
                pass.dispatch_workgroups(x, y, z);
                bytes += launch.bindings.iter().map(|b| b.size).sum::<u64>();
                launch.bindings.iter().filter(|b| b.write).for_each(|b| b.buffer.touch());
                done += 1;
                if done == launches.len() || stale(&cache, &launches[done]).next().is_some() {
                    break;
                }
            }
        }
        Tally::add(&self.tally().bytes_bound, bytes);
        Tally::add(&self.tally().dispatches, launches.len() as u64);
        Ok(())
    }

    /// Fills a buffer with zeros.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn clear(&self, buffer: &Buffer) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        encoder.clear_buffer(&buffer.raw, 0, None);
        buffer.touch();
        Tally::add(&self.tally().submissions, 1);
        self.queue.submit([encoder.finish()]);
        self.check()
    }

    /// Brings the textures that a launch reads up to date.
    fn refresh(&self, encoder: &mut wgpu::CommandEncoder, cache: &mut Cache, launch: &Encoded) {
        let stale: Vec<(&Binding, Texel)> = stale(cache, launch).collect();
        for (binding, texel) in stale {
            cache.mirrors.refresh(self, encoder, binding, texel);
        }
    }

    fn bind_group<'c>(&self, cache: &'c mut Cache, pipeline: &Pipeline, bindings: &[Binding]) -> &'c wgpu::BindGroup {
        let Cache { groups, mirrors } = cache;
        found_or_made(groups, pipeline.id, bindings, || {
            let view = |(i, b)| pipeline.texel(i, b).map(|texel| mirrors.view(b, texel));
            let views: Vec<_> = bindings.iter().enumerate().map(view).collect();
            let resources = bindings.iter().zip(&views).map(|(b, view)| match view {
                Some(view) => wgpu::BindingResource::TextureView(view),
                None => b.resource(),
            });
            self.create_group(&pipeline.bindings, resources)
        })
    }

    /// The group of a kernel's parameters, where they are a uniform.
    fn params_group<'c>(
        &self,
        cache: &'c mut Cache,
        pipeline: &Pipeline,
        layout: &wgpu::BindGroupLayout,
        range: Binding,
    ) -> &'c wgpu::BindGroup {
        found_or_made(&mut cache.groups, pipeline.id | 1 << 63, &[range], || {
            self.create_group(layout, std::iter::once(range.resource()))
        })
    }

    fn create_group<'a>(
        &self,
        layout: &wgpu::BindGroupLayout,
        resources: impl Iterator<Item = wgpu::BindingResource<'a>>,
    ) -> wgpu::BindGroup {
        let entries: Vec<_> =
            resources.enumerate().map(|(i, resource)| wgpu::BindGroupEntry { binding: i as u32, resource }).collect();
        Tally::add(&self.tally().bind_groups, 1);
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// Where there are no immediates: all parameters of a submission in one buffer, one write.
    fn upload_params(&self, launches: &[Encoded]) -> Result<Option<Arc<Buffer>>> {
        let mut bytes = Vec::new();
        for launch in launches.iter().filter(|l| l.pipeline.params.is_some()) {
            bytes.extend_from_slice(launch.params);
            bytes.resize(bytes.len().next_multiple_of(ALIGN as usize), 0);
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut ring = self.bind_groups.ring.lock().unwrap_or_else(|e| e.into_inner());
        let buffer = match &*ring {
            Some(buffer) if buffer.size() >= bytes.len() as u64 => Arc::clone(buffer),
            _ => self.allocate(bytes.len() as u64 * 2, "kernel parameters")?,
        };
        *ring = Some(Arc::clone(&buffer));
        self.write(&buffer, 0, &bytes);
        Ok(Some(buffer))
    }
}
