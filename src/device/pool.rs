//! Buffers by size class, reused.
//!
//! One wgpu buffer per tensor, since wgpu orders dispatches by whole buffers and forbids one buffer bound for reading
//! and writing at once. A buffer goes back to its class when its last handle is dropped, and may be handed out again
//! at once: the queue keeps the order. Plans do not take from the pool for what lives only inside them; they share
//! `workspace` buffers, named by class and index, because plans run one after the other on the queue. So the second
//! run of a plan binds the same buffers as the first.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::Gpu;
use super::counters::Tally;
use crate::error::{Error, Result};

/// Offsets of bindings and packed values are multiples of this many bytes: WebGPU's default alignment.
pub const ALIGN: u64 = 256;

/// The size actually allocated for a request: eight classes per power of two, so at most 1/8 is lost.
pub fn size_class(bytes: u64) -> u64 {
    let bytes = bytes.max(ALIGN);
    let step = (1u64 << (63 - bytes.leading_zeros()) >> 3).max(ALIGN);
    bytes.next_multiple_of(step)
}

/// Device memory. Dropping the last handle gives it back to the pool.
#[derive(Debug)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    pub(super) id: u64,
    class: u64,
    pool: Weak<Pool>,
    retired: AtomicBool,
    version: AtomicU64,
}

impl Buffer {
    /// Gives the memory back to the driver, not to the pool, when the last handle is dropped: for what was needed once,
    /// such as parameters that moved into a slab.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Bytes allocated: its size class.
    pub fn size(&self) -> u64 {
        self.class
    }

    /// A number that changes whenever somebody writes: no two states of any buffers have the same.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Notes that its content is about to change.
    pub(super) fn touch(&self) {
        self.version.store(NEXT_ID.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// A number no other buffer of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            if self.retired.load(Ordering::Relaxed) {
                return pool.tally.shrink(self.class);
            }
            let mut free = pool.free.lock().unwrap_or_else(|e| e.into_inner());
            let shelf = free.entry(self.class).or_default();
            // Sorted by age, youngest first, and taken from the end: the same sequence of requests gets the same
            // buffers, whatever the order in which they came back.
            let at = shelf.partition_point(|(id, _)| *id > self.id);
            shelf.insert(at, (self.id, self.raw.clone()));
        }
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    free: Mutex<BTreeMap<u64, Vec<(u64, wgpu::Buffer)>>>,
    workspace: Mutex<BTreeMap<u64, Vec<Arc<Buffer>>>>,
    tally: Arc<Tally>,
}

impl Pool {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Pool { free: Mutex::default(), workspace: Mutex::default(), tally }
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Gpu {
    /// Memory for at least `bytes`, its content undefined.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] beyond the adapter's limit or when the driver has no more, even after the pool gave up
    /// what nobody holds.
    pub fn allocate(&self, bytes: u64, what: &str) -> Result<Arc<Buffer>> {
        let class = size_class(bytes);
        let reused = {
            let mut free = self.pool.free.lock().unwrap_or_else(|e| e.into_inner());
            free.get_mut(&class).and_then(Vec::pop)
        };
        if let Some((id, raw)) = reused {
            return Ok(self.handle(raw, id, class));
        }
        if class > self.limits().max_buffer_size {
            let limit =
                format!("more than the {} bytes this adapter allows in one buffer", self.limits().max_buffer_size);
            return Err(Error::OutOfMemory { what: what.into(), bytes, limit });
        }
        match self.create(class) {
            Err(Error::OutOfMemory { .. }) => {
                self.trim();
                self.create(class).map_err(|e| match e {
                    Error::OutOfMemory { limit, .. } => Error::OutOfMemory { what: what.into(), bytes, limit },
                    other => other,
                })
            }
            other => other,
        }
    }

    /// The `index`-th scratch buffer of a size class, shared by all plans of this device.
    ///
    /// # Errors
    /// As [`Gpu::allocate`].
    pub fn workspace(&self, class: u64, index: usize) -> Result<Arc<Buffer>> {
        loop {
            {
                let shelves = self.pool.workspace.lock().unwrap_or_else(|e| e.into_inner());
                if let Some(buffer) = shelves.get(&class).and_then(|shelf| shelf.get(index)) {
                    return Ok(Arc::clone(buffer));
                }
            }
            let fresh = self.allocate(class, "scratch memory of a plan")?;
            let mut shelves = self.pool.workspace.lock().unwrap_or_else(|e| e.into_inner());
            shelves.entry(class).or_default().push(fresh);
        }
    }

    /// Gives the memory that nobody holds back to the driver.
    pub fn trim(&self) {
        let free = std::mem::take(&mut *self.pool.free.lock().unwrap_or_else(|e| e.into_inner()));
        for (class, shelf) in free {
            self.tally().shrink(class * shelf.len() as u64);
        }
        self.bind_groups.clear();
    }

    fn create(&self, class: u64) -> Result<Arc<Buffer>> {
        let raw = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: class,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST
                | wgpu::BufferUsages::UNIFORM,
            mapped_at_creation: false,
        });
        self.check()?;
        Tally::add(&self.tally().buffers, 1);
        self.pool.tally.grow(class);
        Ok(self.handle(raw, NEXT_ID.fetch_add(1, Ordering::Relaxed), class))
    }

    fn handle(&self, raw: wgpu::Buffer, id: u64, class: u64) -> Arc<Buffer> {
        let buffer = Buffer {
            raw,
            id,
            class,
            pool: Arc::downgrade(&self.pool),
            retired: AtomicBool::new(false),
            version: AtomicU64::new(0),
        };
        buffer.touch();
        Arc::new(buffer)
    }
}
