//! One command buffer, one compute pass, one submission per plan; bind groups cached by what they bind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::counters::Tally;
use super::{ALIGN, Buffer, Gpu, Pipeline};
use crate::error::{Error, Result};

/// A range of a buffer, bound to a kernel.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The memory.
    pub buffer: Arc<Buffer>,
    /// First byte, a multiple of [`ALIGN`].
    pub offset: u64,
    /// Length in bytes, a multiple of 4.
    pub size: u64,
}

/// One kernel launch, ready to encode.
#[derive(Debug)]
pub struct Encoded<'a> {
    /// The kernel.
    pub pipeline: &'a Pipeline,
    /// What it reads and writes, by binding number.
    pub bindings: &'a [Binding],
    /// The content of its `Params`.
    pub params: &'a [u8],
    /// Workgroups per dimension.
    pub groups: [u32; 3],
}

type Key = (u64, Vec<(u64, u64, u64)>);

#[derive(Debug, Default)]
pub(super) struct BindGroups {
    groups: Mutex<HashMap<Key, wgpu::BindGroup>>,
    ring: Mutex<Option<Arc<Buffer>>>,
}

impl BindGroups {
    pub(super) fn clear(&self) {
        self.groups.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }
}

/// Bind groups keep their buffers alive, so the cache may not grow for ever; a program that needs more is re-binding
/// faster than it computes, and starts over.
const MOST_GROUPS: usize = 8192;

impl Gpu {
    /// Runs the launches in order.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn submit(&self, launches: &[Encoded]) -> Result<()> {
        self.check()?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        self.encode(&mut encoder, launches, None)?;
        self.queue.submit([encoder.finish()]);
        self.check()
    }

    /// Runs the launches in order, waits for them, and says how many seconds they took: by the clock of the device where
    /// it has one, else by that of the host, submission and all.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn submit_timed(&self, launches: &[Encoded]) -> Result<f64> {
        self.wait()?;
        let start = std::time::Instant::now();
        if !self.has_timestamps() {
            self.submit(launches)?;
            self.wait()?;
            return Ok(start.elapsed().as_secs_f64());
        }
        let clock = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let buffer = |usage| {
            let (label, mapped_at_creation) = (None, false);
            self.device.create_buffer(&wgpu::BufferDescriptor { label, size: 16, usage, mapped_at_creation })
        };
        let resolved = buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC);
        let staging = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        self.encode(&mut encoder, launches, Some(&clock))?;
        encoder.resolve_query_set(&clock, 0..2, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, 16);
        self.queue.submit([encoder.finish()]);
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        self.wait()?;
        let host = start.elapsed().as_secs_f64();
        let range = staging.get_mapped_range(..).map_err(|e| Error::Gpu(e.to_string()))?;
        let ticks: [u64; 2] = bytemuck::pod_read_unaligned(&range[..16]);
        let seconds = ticks[1].wrapping_sub(ticks[0]) as f64 * self.queue.get_timestamp_period() as f64 * 1e-9;
        // A clock that stands still or runs backwards is none.
        Ok(if seconds > 0.0 && seconds <= host { seconds } else { host })
    }

    fn encode(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        launches: &[Encoded],
        clock: Option<&wgpu::QuerySet>,
    ) -> Result<()> {
        let ring = if self.has_immediates() { None } else { self.upload_params(launches)? };
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: clock.map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                }),
            });
            let mut bytes = 0;
            let mut at = 0;
            for launch in launches {
                pass.set_pipeline(&launch.pipeline.raw);
                let group = self.bind_group(launch.pipeline.id, &launch.pipeline.bindings, launch.bindings);
                pass.set_bind_group(0, &group, &[]);
                match (&launch.pipeline.params, &ring) {
                    (Some(layout), Some(ring)) => {
                        let size = launch.params.len().next_multiple_of(16) as u64;
                        let range = Binding { buffer: Arc::clone(ring), offset: at, size };
                        at += size.next_multiple_of(ALIGN);
                        let group = self.bind_group(launch.pipeline.id | 1 << 63, layout, &[range]);
                        pass.set_bind_group(1, &group, &[]);
                    }
                    _ if launch.params.is_empty() => {}
                    _ => pass.set_immediates(0, launch.params),
                }
                let [x, y, z] = launch.groups;
                pass.dispatch_workgroups(x, y, z);
                bytes += launch.bindings.iter().map(|b| b.size).sum::<u64>();
            }
            Tally::add(&self.tally().bytes_bound, bytes);
        }
        Tally::add(&self.tally().dispatches, launches.len() as u64);
        Tally::add(&self.tally().submissions, 1);
        Ok(())
    }

    /// Fills a buffer with zeros.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn clear(&self, buffer: &Buffer) -> Result<()> {
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        encoder.clear_buffer(&buffer.raw, 0, None);
        Tally::add(&self.tally().submissions, 1);
        self.queue.submit([encoder.finish()]);
        self.check()
    }

    fn bind_group(&self, pipeline: u64, layout: &wgpu::BindGroupLayout, bindings: &[Binding]) -> wgpu::BindGroup {
        let key = (pipeline, bindings.iter().map(|b| (b.buffer.id, b.offset, b.size)).collect());
        let mut groups = self.bind_groups.groups.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(found) = groups.get(&key) {
            return found.clone();
        }
        if groups.len() >= MOST_GROUPS {
            groups.clear();
        }
        let entries: Vec<wgpu::BindGroupEntry> = bindings
            .iter()
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &b.buffer.raw,
                    offset: b.offset,
                    size: std::num::NonZeroU64::new(b.size),
                }),
            })
            .collect();
        let group =
            self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries });
        Tally::add(&self.tally().bind_groups, 1);
        groups.insert(key, group.clone());
        group
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
