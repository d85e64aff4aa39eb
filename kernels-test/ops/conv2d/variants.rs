//! Every kernel that makes convolutions without columns, on the software adapter, over all samples of the three ops.

use wgrad::Result;
use wgrad::device::{Device, GpuOptions};
use wgrad::ops::REGISTRY;
use wgrad::ops::conv2d::variant_names;
use wgrad::selftest;

#[test]
fn every_variant_makes_every_convolution() -> Result<()> {
    let mut faults = Vec::new();
    let eights = crate::registry::broadcasts();
    // Columns are made and multiplied by kernels with samples of their own; cooperative matrices take halves.
    let serves = |name: &&str| *name != "columns" && !name.contains("coop") && (!name.contains("broadcast") || eights);
    for name in variant_names().filter(serves) {
        let options = GpuOptions { gpu_variants: true, variant: Some(name), ..crate::registry::adapter() };
        let device = Device::gpu(&options)?;
        for entry in REGISTRY.iter().filter(|e| e.name.starts_with("conv2d")) {
            let found = selftest::run(&device, entry);
            assert!(found.samples > 10, "{} has {} samples", entry.name, found.samples);
            faults.extend(found.faults.iter().map(|fault| format!("{name}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}
