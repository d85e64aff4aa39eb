//! Bytes to the device and back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_channel::oneshot;

use super::counters::Tally;
use super::{Buffer, Gpu, size_class};
use crate::error::{Error, Result};

/// Host-visible buffers that readbacks go through, kept by size class.
#[derive(Debug, Default, Clone)]
pub(super) struct Staging(Arc<Mutex<HashMap<u64, Vec<wgpu::Buffer>>>>);

/// A readback under way.
#[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "a browser need not be asked whether it is done"))]
pub struct Readback {
    mapped: oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    staging: wgpu::Buffer,
    shelf: Staging,
    class: u64,
    bytes: u64,
    submission: wgpu::SubmissionIndex,
    device: wgpu::Device,
}

impl Gpu {
    /// Writes bytes (a multiple of 4 of them) in queue order.
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        buffer.touch();
        self.queue.write_buffer(&buffer.raw, offset, bytes);
        Tally::add(&self.tally().bytes_uploaded, bytes.len() as u64);
    }

    /// A buffer with this content.
    ///
    /// # Errors
    /// As [`Gpu::allocate`].
    pub fn upload(&self, bytes: &[u8], what: &str) -> Result<Arc<Buffer>> {
        let buffer = self.allocate(bytes.len() as u64, what)?;
        self.write(&buffer, 0, bytes);
        self.check()?;
        Ok(buffer)
    }

    /// Starts to read `bytes` bytes from `offset`; both multiples of 4.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Readback> {
        self.check()?;
        let class = size_class(bytes);
        let kept = self.staging.0.lock().unwrap_or_else(|e| e.into_inner()).get_mut(&class).and_then(Vec::pop);
        let staging = kept.unwrap_or_else(|| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("readback"),
                size: class,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        if bytes > 0 {
            encoder.copy_buffer_to_buffer(&buffer.raw, offset, &staging, 0, bytes);
        }
        let submission = self.queue.submit([encoder.finish()]);
        Tally::add(&self.tally().bytes_read, bytes);
        let (done, mapped) = oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            let _ = done.send(result);
        });
        self.check()?;
        let (shelf, device) = (self.staging.clone(), self.device.clone());
        Ok(Readback { mapped, staging, shelf, class, bytes, submission, device })
    }
}

impl Readback {
    /// Waits for the bytes.
    ///
    /// # Errors
    /// [`Error::DeviceLost`] if the device went away meanwhile. On the web, where nothing may wait, that they are not
    /// there.
    pub fn wait(mut self) -> Result<Vec<u8>> {
        #[cfg(not(target_arch = "wasm32"))]
        self.poll_until_done()?;
        let mapped = self.mapped.try_recv();
        match mapped {
            Ok(Some(result)) => self.take(result),
            Ok(None) if cfg!(target_arch = "wasm32") => {
                Err(Error::Gpu("a page cannot wait for its GPU: read with `to_vec_async`".into()))
            }
            _ => Err(Error::DeviceLost("a readback was never answered".into())),
        }
    }

    /// The bytes, when they are there. On the desktop a thread waits for the device; on the web the browser does.
    ///
    /// # Errors
    /// As [`Readback::wait`].
    pub async fn bytes(mut self) -> Result<Vec<u8>> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let (device, submission) = (self.device.clone(), self.submission.clone());
            std::thread::spawn(move || {
                device.poll(wgpu::PollType::Wait { submission_index: Some(submission), timeout: None })
            });
        }
        match (&mut self.mapped).await {
            Ok(result) => self.take(result),
            Err(_) => Err(Error::DeviceLost("a readback was never answered".into())),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn poll_until_done(&self) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index: Some(self.submission.clone()), timeout: None };
        self.device.poll(wait).map(|_| ()).map_err(|e| Error::Gpu(e.to_string()))
    }

    fn take(self, mapped: std::result::Result<(), wgpu::BufferAsyncError>) -> Result<Vec<u8>> {
        mapped.map_err(|e| Error::DeviceLost(format!("a readback failed: {e}")))?;
        let bytes = {
            let range = self.staging.get_mapped_range(..).map_err(|e| Error::Gpu(e.to_string()))?;
            range[..self.bytes as usize].to_vec()
        };
        self.staging.unmap();
        let mut shelf = self.shelf.0.lock().unwrap_or_else(|e| e.into_inner());
        shelf.entry(self.class).or_default().push(self.staging);
        Ok(bytes)
    }
}
