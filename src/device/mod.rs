//! Where a plan runs: an adapter behind wgpu, or the CPU path. Knows no op and no tensor.
//!
//! [`Device::auto`] takes a real GPU if there is one and the CPU path otherwise; a software rasteriser is a correct
//! but slow GPU and is only used when asked for. `WGRAD_DEVICE=gpu|software|cpu|reference` overrides the choice.

mod adapter;
mod cache;
mod counters;
mod gpu;
mod mirror;
mod pipeline;
mod pool;
mod submit;
mod transfer;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

pub use adapter::{AdapterSummary, adapters};
pub use cache::folder as cache_folder;
pub use counters::{Counters, Tally};
pub use gpu::{Gpu, GpuOptions, Tune};
pub(crate) use mirror::READ_ONCE;
pub use pipeline::{Kernel, Pipeline, Shader};
pub use pool::{ALIGN, Buffer, size_class};
pub use submit::{Binding, Encoded, Submitted};
pub use transfer::Readback;

use crate::error::{Error, Result};

/// A place to keep tensors and run plans. Cloning it clones a handle.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    kind: Kind,
    /// `None` until somebody sets it or a plan asks: then `WGRAD_CHECK` decides.
    check: Mutex<Option<Check>>,
    /// What the layers above keep per device (the plan cache). Their type is theirs.
    attached: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// What is checked of every step of every program on a device, at a great cost in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing.
    Off,
    /// Each step's results against the CPU's for the same inputs (`WGRAD_CHECK=1`).
    Values,
    /// That no step makes a NaN or an infinity (`WGRAD_CHECK=nan`).
    Finite,
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
            _ => match Device::gpu(&GpuOptions::default()) {
                Err(Error::NoAdapter { .. }) => Ok(Device::cpu()),
                opened => opened,
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
        pollster::block_on(Device::gpu_async(options))
    }

    /// [`Device::gpu`] without blocking. A page must open its GPU so, and read with [`Tensor::to_vec_async`]: nothing
    /// there may wait.
    ///
    /// # Errors
    /// As [`Device::gpu`].
    ///
    /// [`Tensor::to_vec_async`]: crate::Tensor::to_vec_async
    pub async fn gpu_async(options: &GpuOptions) -> Result<Device> {
        Ok(Device::new(Kind::Gpu(Box::new(Gpu::open(options).await?))))
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
        Device(Arc::new(Inner { kind, check: Mutex::new(None), attached: OnceLock::new() }))
    }

    /// The same device, with every step of every program on it replayed on the CPU and compared, as `WGRAD_CHECK=1`
    /// does. The run that computes the first wrong value returns [`Error::Check`], with op, shapes and the line it came
    /// from.
    pub fn checked(self) -> Device {
        self.set_check(Check::Values);
        self
    }

    /// What is checked from now on, for all handles of the device.
    pub fn set_check(&self, check: Check) {
        *self.0.check.lock().unwrap_or_else(|e| e.into_inner()) = Some(check);
    }

    /// What is checked: what was set, else what `WGRAD_CHECK` says.
    ///
    /// # Errors
    /// If the variable says what is not known.
    pub fn check(&self) -> Result<Check> {
        let mut check = self.0.check.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(check) = *check {
            return Ok(check);
        }
        let wanted = std::env::var("WGRAD_CHECK").unwrap_or_default();
        let found = match &*wanted {
            "" | "0" => Check::Off,
            "1" => Check::Values,
            "nan" => Check::Finite,
            other => {
                let remedy = "use 1 (compare every step with the CPU), nan (find where a NaN is made), or 0";
                return Err(Error::argument(format!("WGRAD_CHECK={other}"), remedy));
            }
        };
        *check = Some(found);
        Ok(found)
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
