//! Which adapters there are, and which one to take.

use std::fmt;

use super::GpuOptions;
use crate::error::{Error, Result};

/// One adapter, as a person would tell it from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSummary {
    /// The driver's name for it.
    pub name: String,
    /// Vulkan, Metal, DX12 or WebGPU.
    pub api: String,
    /// Driver and version.
    pub driver: String,
    /// Whether it is a software rasteriser.
    pub software: bool,
}

impl fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.driver {
            "" => write!(f, "{} ({})", self.name, self.api),
            driver => write!(f, "{} ({}, {driver})", self.name, self.api),
        }
    }
}

impl AdapterSummary {
    pub(super) fn of(info: &wgpu::AdapterInfo) -> Self {
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let name = match &*info.name {
            // Browsers keep it to themselves.
            "" if software => "a software rasteriser",
            "" => "a GPU",
            name => name,
        };
        AdapterSummary {
            name: name.to_string(),
            api: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
            software,
        }
    }
}

/// Every adapter that wgpu sees on this machine.
pub fn adapters() -> Vec<AdapterSummary> {
    pollster::block_on(instance().enumerate_adapters(backends()))
        .iter()
        .map(|a| AdapterSummary::of(&a.get_info()))
        .collect()
}

pub(super) fn instance() -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends();
    // Checks of indirect dispatches cost a dispatch each, and nothing here is dispatched indirectly; the driver's
    // validation layer is for whoever debugs this crate and asks with WGPU_VALIDATION=1.
    descriptor.flags = wgpu::InstanceFlags::empty();
    wgpu::Instance::new(descriptor.with_env())
}

fn backends() -> wgpu::Backends {
    wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12 | wgpu::Backends::BROWSER_WEBGPU
}

/// The adapter that `options` asks for. A page has no choice: its browser gives one, of either kind.
pub(super) async fn choose(instance: &wgpu::Instance, options: &GpuOptions) -> Result<wgpu::Adapter> {
    let all = instance.enumerate_adapters(backends()).await;
    let seen: Vec<String> = all.iter().map(|a| AdapterSummary::of(&a.get_info()).to_string()).collect();
    let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    all.into_iter()
        .filter(|a| {
            cfg!(target_arch = "wasm32") || (a.get_info().device_type == wgpu::DeviceType::Cpu) == options.software
        })
        .min_by_key(rank)
        .ok_or_else(|| no_adapter(options.software, &seen))
}

fn no_adapter(software: bool, seen: &[String]) -> Error {
    let apis = if cfg!(target_arch = "wasm32") { "WebGPU" } else { "Vulkan, Metal and DX12" };
    let looked = if seen.is_empty() { format!("{apis}: no adapter at all") } else { seen.join("; ") };
    let (wanted, remedy) = if cfg!(target_arch = "wasm32") {
        (
            "GPU adapter",
            "Open the page in a browser that has WebGPU, over HTTPS or from this machine, with graphics acceleration \
             turned on",
        )
    } else if software {
        (
            "software adapter",
            "Install one: `apt-get install mesa-vulkan-drivers` (Debian, Ubuntu), `dnf install mesa-vulkan-drivers` \
             (Fedora), `pacman -S vulkan-swrast` (Arch)",
        )
    } else {
        (
            "GPU adapter",
            "Install the driver of your card (with its Vulkan part: `nvidia-driver`, or `apt-get install \
             mesa-vulkan-drivers` for AMD and Intel), or use the CPU path: WGRAD_DEVICE=cpu",
        )
    };
    Error::NoAdapter { wanted: wanted.to_string(), looked, remedy: remedy.to_string() }
}
