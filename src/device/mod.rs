//! Where a plan runs: an adapter behind wgpu, or the CPU path. Knows no op and no tensor.
//!
//! [`Device::auto`] takes a real GPU if there is one and the CPU path otherwise; a software rasteriser is a correct
//! but slow GPU and is only used when asked for. `WGRAD_DEVICE=gpu|software|cpu|reference` overrides the choice.

mod adapter;
mod counters;
mod gpu;
mod pipeline;
mod pool;
mod submit;
mod transfer;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

pub use adapter::{AdapterSummary, adapters};
pub use counters::{Counters, Tally};
pub use gpu::{Gpu, GpuOptions};
pub use pipeline::{Pipeline, Shader};
pub use pool::{ALIGN, Buffer, size_class};
pub use submit::{Binding, Encoded};
pub use transfer::Readback;

use crate::error::{Error, Result};

/// A place to keep tensors and run plans. Cloning it clones a handle.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    kind: Kind,
    /// What the layers above keep per device (the plan cache). Their type is theirs.
    attached: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// What stands behind a device.
pub enum Kind {
    /// An adapter behind wgpu.
    Gpu(Box<Gpu>),
    /// The reference code in single precision, fused and parallel.
    Cpu(Tally),
    /// The reference code in double precision, op by op: the oracle.
    Reference(Tally),
}

impl Device {
    /// A real GPU if there is one, else the CPU path; or what `WGRAD_DEVICE` names.
    ///
    /// # Errors
    /// If `WGRAD_DEVICE` names an unknown device, or one that this machine does not have.
    pub fn auto() -> Result<Device> {
        match std::env::var("WGRAD_DEVICE") {
            Ok(name) if !name.is_empty() => Device::named(&name),
            _ => match Gpu::open(&GpuOptions::default()) {
                Ok(gpu) => Ok(Device::new(Kind::Gpu(Box::new(gpu)))),
                Err(Error::NoAdapter { .. }) => Ok(Device::cpu()),
                Err(fault) => Err(fault),
            },
        }
    }

    /// The device of this name: `auto`, `gpu`, `software`, `cpu` or `reference`.
    ///
    /// # Errors
    /// If the name is none of these, or the machine has no such device.
    pub fn named(name: &str) -> Result<Device> {
        match name {
            "auto" => Device::auto(),
            "gpu" => Device::gpu(&GpuOptions::default()),
            "software" => Device::gpu(&GpuOptions { software: true, ..Default::default() }),
            "cpu" => Ok(Device::cpu()),
            "reference" => Ok(Device::reference()),
            other => Err(Error::argument(
                format!("unknown device {other:?}"),
                "use auto, gpu (a real GPU), software (a software rasteriser such as llvmpipe), cpu, or reference (f64)",
            )),
        }
    }

    /// An adapter behind wgpu, chosen by `options`.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], with what was looked for and what to install.
    pub fn gpu(options: &GpuOptions) -> Result<Device> {
        Gpu::open(options).map(|gpu| Device::new(Kind::Gpu(Box::new(gpu))))
    }

    /// The CPU path: the reference code in single precision on all cores.
    pub fn cpu() -> Device {
        Device::new(Kind::Cpu(Tally::default()))
    }

    /// The oracle: the reference code in double precision.
    pub fn reference() -> Device {
        Device::new(Kind::Reference(Tally::default()))
    }

    fn new(kind: Kind) -> Device {
        Device(Arc::new(Inner { kind, attached: OnceLock::new() }))
    }

    /// What stands behind it.
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// The GPU behind it, if it is one.
    pub fn as_gpu(&self) -> Option<&Gpu> {
        match self.kind() {
            Kind::Gpu(gpu) => Some(gpu),
            _ => None,
        }
    }

    /// Whether two handles are of one device.
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What was made and moved so far.
    pub fn counters(&self) -> Counters {
        match self.kind() {
            Kind::Gpu(gpu) => gpu.tally().read(),
            Kind::Cpu(tally) | Kind::Reference(tally) => tally.read(),
        }
    }

    /// The counters to add to.
    pub fn tally(&self) -> &Tally {
        match self.kind() {
            Kind::Gpu(gpu) => gpu.tally(),
            Kind::Cpu(tally) | Kind::Reference(tally) => tally,
        }
    }

    /// What a layer above keeps with this device, made on first use. One type per device: the planner's.
    pub fn attached<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> &T {
        self.0.attached.get_or_init(|| Box::new(make())).downcast_ref().expect("only the planner attaches to a device")
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Gpu(gpu) => write!(f, "{}", gpu.summary()),
            Kind::Cpu(_) => write!(f, "CPU path (f32, {} threads)", rayon::current_num_threads()),
            Kind::Reference(_) => write!(f, "reference (f64)"),
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}
