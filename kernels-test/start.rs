//! What a process finds of the ones before it: compiled kernels, and whether an adapter may be trusted.

use std::path::Path;

use wgrad::device::GpuOptions;
use wgrad::ops::REGISTRY;
use wgrad::{Device, Tensor, selftest};

fn with_cache(folder: &Path) -> Device {
    let options = GpuOptions { cache: Some(folder.to_path_buf()), ..crate::registry::adapter() };
    Device::gpu(&options).unwrap()
}

fn computes(device: &Device) {
    let x = Tensor::from_slice(device, &[1.0f32, 2.0, 3.0], 3).unwrap();
    assert_eq!((&x * 2.0).cumsum(0).to_vec::<f32>().unwrap(), [2.0, 6.0, 12.0]);
}

/// The one file of compiled kernels in a folder, where the adapter gives them away.
fn kept(folder: &Path) -> Option<std::path::PathBuf> {
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() <= 1, "{files:?}");
    files.into_iter().next()
}

#[test]
fn a_damaged_or_foreign_cache_of_kernels_is_none() {
    let folder = tempfile::tempdir().unwrap();
    computes(&with_cache(folder.path()));
    let Some(file) = kept(folder.path()) else { return };
    let whole = std::fs::read(&file).unwrap();
    assert!(whole.starts_with(b"wgrad compiled kernels 1\n"), "{:?}", &whole[..25]);
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let half = whole[..whole.len() / 2].to_vec();
    let foreign = [b"wgrad compiled kernels 2\n", &whole[25..]].concat();
    for content in [flipped, half, foreign, Vec::new(), b"not ours".to_vec(), vec![0xff; 100_000]] {
        std::fs::write(&file, content).unwrap();
        computes(&with_cache(folder.path()));
        let again = std::fs::read(&file).unwrap();
        assert!(again.starts_with(b"wgrad compiled kernels 1\n") && again.len() >= 25 + 32, "written anew");
    }
    computes(&with_cache(folder.path()));
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    computes(&with_cache(&file.path().join("below a file")));
    computes(&Device::gpu(&GpuOptions { cache: None, ..crate::registry::adapter() }).unwrap());
}

#[test]
fn kernels_are_right_without_checks_of_bounds() {
    let options = GpuOptions { trusted: Some(true), ..crate::registry::adapter() };
    let device = Device::gpu(&options).unwrap();
    assert!(device.as_gpu().unwrap().is_trusted());
    for name in ["elementwise_unary", "reduce", "matmul", "pool2d_max", "gather", "scatter", "norm", "sort", "update"] {
        let entry = REGISTRY.iter().find(|e| e.name == name).unwrap_or_else(|| panic!("no op {name}"));
        let found = selftest::run(&device, entry);
        assert!(found.samples > 0 && found.faults.is_empty(), "{name}: {:?}", found.faults);
    }
}

#[test]
fn a_gpu_is_trusted_once_it_was_proven_and_a_software_adapter_never() {
    let folder = tempfile::tempdir().unwrap();
    let device = with_cache(folder.path());
    device.as_gpu().unwrap().set_trusted(true);
    let again = with_cache(folder.path());
    if std::env::var_os("WGRAD_TRUSTED").is_none() {
        let again = again.as_gpu().unwrap();
        assert_eq!(again.is_trusted(), !again.summary().software);
    }
    let trusted = |file: &std::path::PathBuf| file.file_name().unwrap().to_string_lossy().starts_with("trusted-");
    let count = || std::fs::read_dir(folder.path()).unwrap().filter(|e| trusted(&e.as_ref().unwrap().path())).count();
    assert_eq!(count(), 1);
    again.as_gpu().unwrap().set_trusted(false);
    assert_eq!(count(), 0);
}
