//! An opened adapter: device, queue, limits, and the faults they report.
//!
//! wgpu reports faults to handlers, not to the call that caused them. The handlers here only note the first one;
//! every call that talks to the driver ends by asking for it, so that a fault comes back as an `Err` from the call
//! that met it, and nothing panics.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::adapter::{self, AdapterSummary};
use super::cache::{self, Files};
use super::counters::Tally;
use super::pipeline::Pipelines;
use super::pool::Pool;
use super::submit::BindGroups;
use super::transfer::Staging;
use crate::error::{Error, Result};

/// What is done about measuring which variant of a kernel is the fastest (`Device::tune`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tune {
    /// Nothing: kernels are chosen by tables, or by name.
    Off,
    /// What was measured on this adapter before is used.
    Use,
    /// The same; and what was not measured yet is, between the steps of a program that goes on for a while, for the
    /// processes after this one.
    Measure,
}

/// How to choose and open an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuOptions {
    /// Take a software rasteriser (llvmpipe) instead of a GPU.
    pub software: bool,
    /// Use immediates (push constants) for kernel parameters where the adapter has them; off, a uniform buffer serves.
    pub immediates: bool,
    /// Stay within WebGPU's default limits and features, as a browser would give.
    pub portable: bool,
    /// Use 16-bit floats in kernels where the adapter has them; off, halves are packed into words by hand.
    pub native_half: bool,
    /// Choose the variants of kernels that are for real GPUs even on a software rasteriser, so that a machine without
    /// a GPU can test them.
    pub gpu_variants: bool,
    /// Take this variant of a kernel wherever it can serve, by name: for tests and measurements. `None` leaves it to
    /// `WGRAD_TUNE`, where that is the name of a variant.
    pub variant: Option<&'static str>,
    /// Whether the measured choices of kernels are used: `None` leaves it to `WGRAD_TUNE` (`off` or `on`), and where
    /// that is not set uses what was measured before. They are kept in the folder of compiled kernels.
    pub tune: Option<Tune>,
    /// Merge small launches that follow each other into one: `None` leaves it to `WGRAD_MERGE` (0 or 1), and where that
    /// is not set does so for the first plans of a program; on a software rasteriser for steps of training alone.
    pub merge: Option<bool>,
    /// Compile kernels without checks of bounds and loops: `None` leaves it to `WGRAD_TRUSTED` (0 or 1), and where that
    /// is not set does so on real GPUs on which `examples/doctor` found every kernel right, with the checks and
    /// without.
    pub trusted: Option<bool>,
    /// Make products of halves on cooperative matrices (matrix units) where the adapter has them: `None` leaves it to
    /// `WGRAD_COOPERATIVE` (0 or 1), and where that is not set does so on adapters on which `examples/doctor` found
    /// their products right.
    pub cooperative: Option<bool>,
    /// The folder where compiled kernels are kept between processes, if any: by default in the user's cache, or where
    /// `WGRAD_KERNEL_CACHE` says (`0`: nowhere).
    pub cache: Option<PathBuf>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        GpuOptions {
            software: false,
            immediates: true,
            portable: false,
            native_half: true,
            gpu_variants: false,
            variant: None,
            tune: None,
            merge: None,
            trusted: None,
            cooperative: None,
            cache: cache::kernels_folder(),
        }
    }
}

/// The plans of a device whose small launches are merged, the first ones.
const PLANS_MERGED: u64 = 64;

/// An opened adapter.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) fault: Arc<Mutex<Option<Error>>>,
    pub(super) pool: Arc<Pool>,
    pub(super) pipelines: Pipelines,
    pub(super) bind_groups: BindGroups,
    pub(super) staging: Staging,
    summary: AdapterSummary,
    gpu_variants: bool,
    variant: Option<String>,
    tune: Tune,
    merge: Option<bool>,
    trusted: bool,
    files: Option<Files>,
    pub(super) compiled: Option<wgpu::PipelineCache>,
    limits: wgpu::Limits,
    features: wgpu::Features,
    subgroup: u32,
    matrices: u32,
    tally: Arc<Tally>,
}

impl Gpu {
    /// Opens an adapter.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none of the wanted kind; [`Error::Gpu`] if it does not open.
    pub async fn open(options: &GpuOptions) -> Result<Gpu> {
        let instance = adapter::instance();
        let chosen = adapter::choose(&instance, options).await?;
        let info = chosen.get_info();
        let mut wanted = wgpu::Features::empty();
        if options.immediates && !options.portable {
            wanted |= wgpu::Features::IMMEDIATES;
        }
        if options.native_half && !options.portable {
            wanted |= wgpu::Features::SHADER_F16;
        }
        if !options.portable {
            wanted |= wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        }
        if options.cache.is_some() {
            wanted |= wgpu::Features::PIPELINE_CACHE;
        }
        let files = options.cache.as_deref().map(|folder| Files::of(folder, &info));
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| value != "0");
        let proven = || files.as_ref().is_some_and(Files::is_cooperative);
        let cooperative = options.cooperative.or_else(|| set("WGRAD_COOPERATIVE")).unwrap_or_else(proven);
        if cooperative && matrix_size(&chosen, wanted) != 0 {
            wanted |= wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        }
        let features = chosen.features() & wanted;
        let limits = if options.portable { wgpu::Limits::default() } else { chosen.limits() };
        let experimental_features = if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            // SAFETY: wgpu asks for a promise that its user knows experimental features to be less tried than the
            // others, so that a fault in them may be unsound. One kernel of the crate uses cooperative matrices. Its
            // loads and stores of whole matrices are within arrays of workgroup memory, whatever the sizes of a
            // product; and an adapter is given that kernel after its products were compared with those of the host, or
            // because the program says so.
            unsafe { wgpu::ExperimentalFeatures::enabled() }
        } else {
            wgpu::ExperimentalFeatures::disabled()
        };
        let request = chosen.request_device(&wgpu::DeviceDescriptor {
            label: Some("wgrad"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features,
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        });
        let (device, queue) = request.await.map_err(|e| Error::Gpu(format!("{} does not open: {e}", info.name)))?;

        let fault = Arc::new(Mutex::new(None));
        let note = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error| {
            let error = match error {
                wgpu::Error::OutOfMemory { .. } => Error::OutOfMemory {
                    what: "an allocation".into(),
                    bytes: 0,
                    limit: "and the driver has no more".into(),
                },
                other => Error::Gpu(other.to_string()),
            };
            note.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
        }));
        let note = Arc::clone(&fault);
        device.set_device_lost_callback(move |reason, message| {
            // A device that is being dropped "loses" itself too; nobody is left to hear of it then.
            let lost = Error::DeviceLost(format!("{reason:?}: {message}"));
            *note.lock().unwrap_or_else(|e| e.into_inner()) = Some(lost);
        });

        let compiled = files.as_ref().filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE)).map(|files| {
            let data = files.compiled();
            let (label, data, fallback) = (Some("wgrad"), data.as_deref(), true);
            // SAFETY: by its digest the data are, to the bit, what `PipelineCache::get_data` gave for an adapter of
            // this name and driver. wgpu and the driver look once more whether they are theirs; if not, the cache is
            // empty.
            unsafe { device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor { label, data, fallback }) }
        });
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let earned = || !software && files.as_ref().is_some_and(Files::is_trusted);
        let trusted = options.trusted.or_else(|| set("WGRAD_TRUSTED")).unwrap_or_else(earned);

        let named = std::env::var("WGRAD_TUNE").unwrap_or_default();
        let (tune, pinned) = match &*named {
            "" => (Tune::Use, None),
            "off" | "0" => (Tune::Off, None),
            "on" | "1" => (Tune::Measure, None),
            name => (Tune::Off, Some(name)),
        };

        let tally = Arc::new(Tally::default());
        let subgroup =
            if features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size {
                info.subgroup_min_size
            } else {
                0
            };
        let has_matrices = features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        Ok(Gpu {
            pool: Arc::new(Pool::new(Arc::clone(&tally))),
            pipelines: Pipelines::default(),
            bind_groups: BindGroups::default(),
            staging: Staging::default(),
            summary: AdapterSummary::of(&info),
            gpu_variants: options.gpu_variants,
            variant: options.variant.or(pinned).map(String::from),
            tune: options.tune.unwrap_or(tune),
            merge: options.merge.or_else(|| set("WGRAD_MERGE")),
            trusted,
            files,
            compiled,
            device,
            queue,
            fault,
            limits,
            features,
            subgroup,
            matrices: if has_matrices { matrix_size(&chosen, features) } else { 0 },
            tally,
        })
    }

    /// Name, API and driver.
    pub fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// The limits it was opened with.
    pub fn limits(&self) -> &wgpu::Limits {
        &self.limits
    }

    /// Its subgroup size where all kernels have the same, else 0.
    pub fn subgroup_size(&self) -> u32 {
        self.subgroup
    }

    /// Rows and columns of the cooperative matrices that its kernels may use, halves in and singles out; 0: none.
    pub fn matrix_size(&self) -> u32 {
        self.matrices
    }

    /// Notes for later processes whether a self-test found products on cooperative matrices right on this adapter.
    pub fn set_cooperative(&self, right: bool) {
        self.files.iter().for_each(|files| files.set_cooperative(right));
    }

    /// Whether kernels should be chosen as for a software rasteriser.
    pub fn wants_software_variants(&self) -> bool {
        self.summary.software && !self.gpu_variants
    }

    /// The variant of a kernel to take wherever it can serve.
    pub fn wanted_variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// What is done about measuring variants.
    pub fn tune(&self) -> Tune {
        self.tune
    }

    /// The measured choices of earlier processes on this adapter, as text.
    pub(crate) fn choices(&self) -> Option<String> {
        self.files.as_ref()?.choices()
    }

    /// Keeps measured choices for later processes.
    pub(crate) fn keep_choices(&self, text: &str) {
        self.files.iter().for_each(|files| files.keep_choices(text));
    }

    /// Invocations of the workgroup in which small launches are merged; 0 if they are not.
    pub fn merged_invocations(&self) -> u32 {
        match self.merge {
            Some(false) => 0,
            // As the kernels' own workgroups; with 8 and 16 steps took as long on llvmpipe.
            _ if self.wants_software_variants() => 64,
            _ => self.limits.max_compute_invocations_per_workgroup.min(self.limits.max_compute_workgroup_size_x),
        }
    }

    /// Whether the next plan should merge its small launches. A merged launch is a kernel of its own, for this plan
    /// alone: a program whose graphs differ all the time would compile instead of computing. A software rasteriser takes
    /// some 70 ms for one, so there a plan must be a `step`: it overwrites what it reads, as training does, and comes
    /// again.
    pub fn wants_merged(&self, step: bool) -> bool {
        let worth = step || !self.wants_software_variants();
        self.merge.unwrap_or_else(|| worth && self.tally.read().plans < PLANS_MERGED)
    }

    /// Whether kernels are compiled without checks of bounds and loops.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Notes for later processes whether a self-test found every kernel right on this adapter, with the checks and
    /// without.
    pub fn set_trusted(&self, trusted: bool) {
        self.files.iter().for_each(|files| files.set_trusted(trusted));
    }

    /// Keeps what the driver has compiled for the next process: now and then, or `now`.
    pub(super) fn keep_compiled(&self, now: bool) {
        match (&self.files, &self.compiled) {
            (Some(files), Some(cache)) if now => files.write(cache),
            (Some(files), Some(cache)) => files.compiled_more(cache),
            _ => {}
        }
    }

    /// Whether kernel parameters travel as immediates.
    pub fn has_immediates(&self) -> bool {
        self.features.contains(wgpu::Features::IMMEDIATES)
    }

    /// Whether kernels may use 16-bit floats.
    pub fn has_native_half(&self) -> bool {
        self.features.contains(wgpu::Features::SHADER_F16)
    }

    /// Whether it can say how long a pass took.
    pub fn has_timestamps(&self) -> bool {
        self.features.contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// The counters.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Destroys the device as a driver reset would: later calls return [`Error::DeviceLost`]. For tests of recovery.
    pub fn destroy(&self) {
        self.device.destroy();
        let _ = self.device.poll(wgpu::PollType::Poll);
    }

    /// The first fault reported since the last call. A lost device stays lost.
    pub(super) fn check(&self) -> Result<()> {
        let mut fault = self.fault.lock().unwrap_or_else(|e| e.into_inner());
        match &*fault {
            None => Ok(()),
            Some(Error::DeviceLost(why)) => Err(Error::DeviceLost(why.clone())),
            Some(_) => Err(fault.take().expect("just seen")),
        }
    }

    /// Waits until everything submitted so far is done.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn wait(&self) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        polled.map(|_| ()).map_err(|e| Error::Gpu(e.to_string()))
    }
}

/// Rows and columns of the cooperative matrices of an adapter that multiply halves into singles, the larger if there
/// are two; 0 if it has none, or lacks what the kernel needs besides: halves, subgroups of one size, 32 KiB of
/// workgroup memory.
fn matrix_size(adapter: &wgpu::Adapter, wanted: wgpu::Features) -> u32 {
    let needs = wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP;
    let features = needs | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let of_one_size = info.subgroup_min_size == info.subgroup_max_size && matches!(info.subgroup_min_size, 8 | 16 | 32);
    let fits = limits.max_compute_workgroup_storage_size >= 32768;
    if !(wanted.contains(needs) && adapter.features().contains(features) && of_one_size && fits) {
        return 0;
    }
    let (half, single) = (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
    let serves = |p: &wgpu::CooperativeMatrixProperties| {
        p.m_size == p.n_size && p.n_size == p.k_size && p.ab_type == half && p.cr_type == single
    };
    let sizes = adapter.cooperative_matrix_properties().into_iter().filter(serves).map(|p| p.m_size);
    sizes.filter(|size| matches!(size, 8 | 16)).max().unwrap_or(0)
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.keep_compiled(true);
    }
}
