//! The choice of kernels by measurement: what is measured, what is kept of it, and who goes by it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wgrad::device::{Device, GpuOptions, Tune};
use wgrad::ops::{Conv2dOptions, conv2d, matmul};
use wgrad::plan::launches_on;
use wgrad::selftest::noise;
use wgrad::tensor::VARIANTS;
use wgrad::{Result, Tensor};

/// The kernels of a GPU on the software adapter, and a folder for what is measured.
fn options(folder: &Path) -> GpuOptions {
    let (cache, tune) = (Some(folder.to_path_buf()), Some(Tune::Use));
    GpuOptions { gpu_variants: true, cache, tune, ..crate::registry::adapter() }
}

fn product(device: &Device) -> Result<Tensor> {
    let operand = |seed| Tensor::from_f64_slice(device, &noise(40 * 40, seed), [40, 40]);
    Ok(operand(1)?.matmul(&operand(2)?))
}

/// The kernel that makes the product on a device.
fn kernel(device: &Device) -> Result<String> {
    let launches = launches_on(device, &[&product(device)?])?;
    Ok(format!("{} {:?}", launches[0].shader.name, launches[0].constants))
}

fn choices(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    files.into_iter().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("choices-"))
}

const FIRST_LINE: &[u8] = b"wgrad measured choices 1\n";

/// The lines of a file of choices, their digest having been checked.
fn lines(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap();
    let (digest, text) = bytes.strip_prefix(FIRST_LINE).expect("the first line").split_at(32);
    assert_eq!(Sha256::digest(text)[..], *digest);
    String::from_utf8(text.to_vec()).unwrap().lines().map(String::from).collect()
}

fn write(file: &Path, lines: &[String]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(file, [FIRST_LINE, &Sha256::digest(&text)[..], text.as_bytes()].concat()).unwrap();
}

#[test]
fn the_names_of_variants_are_those_of_the_ops() {
    let listed: BTreeSet<&str> = VARIANTS.iter().map(|&(name, _)| name).collect();
    let of_ops: BTreeSet<&str> = matmul::variant_names().chain(conv2d::variant_names()).collect();
    assert_eq!(listed, of_ops);
    assert_eq!(listed.len(), VARIANTS.len(), "a name stands there twice");
}

#[test]
fn a_pinned_variant_is_taken_and_a_name_that_cannot_be_is_an_error() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let pinned = |name| Device::gpu(&GpuOptions { variant: Some(name), ..options(folder.path()) });
    for (name, rows, columns) in [("tile64", 8.0, 8.0), ("tile32x64", 4.0, 8.0)] {
        let constants = [("SIDE", 8.0), ("EACH_ROWS", rows), ("EACH_COLUMNS", columns)];
        assert_eq!(kernel(&pinned(name)?)?, format!("matmul {constants:?}"));
    }
    assert!(kernel(&pinned("plain")?)?.starts_with("matmul_plain"));
    let device = pinned("tile63")?;
    let fault = product(&device)?.to_vec::<f32>().unwrap_err().to_string();
    assert!(fault.contains("\"tile63\" is the name of no variant") && fault.contains("tile64"), "{fault}");
    // Nor one of cooperative matrices where they are not to be used.
    let device =
        Device::gpu(&GpuOptions { variant: Some("cooperative8"), cooperative: Some(false), ..options(folder.path()) })?;
    let fault = product(&device)?.to_vec::<f32>().unwrap_err().to_string();
    assert!(fault.contains("\"cooperative8\" cannot be run on this adapter"), "{fault}");
    Ok(())
}

#[test]
fn what_was_measured_is_kept_and_used_by_the_next_process() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::gpu(&options(folder.path()))?;
    let by_table = kernel(&device)?;
    let before = product(&device)?.to_vec::<f32>()?;
    let pictures = Tensor::from_f64_slice(&device, &noise(2 * 3 * 12 * 12, 3), [2, 3, 12, 12])?;
    let weight = Tensor::from_f64_slice(&device, &noise(8 * 3 * 3 * 3, 4), [8, 3, 3, 3])?;
    pictures.conv2d(&weight, None, &Conv2dOptions::default()).to_vec::<f32>()?;
    let measured = device.tune()?;
    let of = |op: &str| measured.iter().find(|m| m.class.starts_with(op)).unwrap_or_else(|| panic!("no {op}"));
    for found in [of("Matmul"), of("Conv2d")] {
        assert!(found.times.len() > 2 && found.times[0].0 == "table", "{found:?}");
        assert!(found.times.iter().all(|(_, seconds)| *seconds > 0.0 && seconds.is_finite()), "{found:?}");
        let time = |name| found.times.iter().find(|(other, _)| *other == name).expect("it was timed").1;
        assert!(found.times.iter().all(|t| t.1 >= time(found.chosen) * 0.95), "not the fastest: {found:?}");
    }
    let after = product(&device)?.to_vec::<f32>()?;
    let off = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-5, "{off}");

    // The next process goes by the file, whatever it says.
    let file = choices(folder.path()).expect("a file of choices");
    let written = lines(&file);
    let at = written.iter().position(|line| line.starts_with("Matmul")).expect("the product");
    let with = |field: usize, value: &str| {
        let mut lines = written.clone();
        let mut fields: Vec<&str> = written[at].split('\t').collect();
        fields[field] = value;
        lines[at] = fields.join("\t");
        write(&file, &lines);
        kernel(&Device::gpu(&options(folder.path()))?)
    };
    assert!(with(1, "plain")?.starts_with("matmul_plain"));
    assert_eq!(with(1, "table")?, by_table);
    // Not if its kernels have changed since, or its name is none; nor if it is to be ignored.
    let digest = written[at].split('\t').nth(2).unwrap();
    assert_eq!(with(2, &digest.chars().rev().collect::<String>())?, by_table);
    assert_eq!(with(1, "tile63")?, by_table);
    with(1, "plain")?;
    assert_eq!(kernel(&Device::gpu(&GpuOptions { tune: Some(Tune::Off), ..options(folder.path()) })?)?, by_table);
    Ok(())
}

#[test]
fn a_damaged_or_foreign_file_of_choices_is_none() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::gpu(&options(folder.path()))?;
    let by_table = kernel(&device)?;
    device.tune()?;
    let file = choices(folder.path()).expect("a file of choices");
    let plain: Vec<String> = lines(&file).iter().map(|line| replaced(line, "plain")).collect();
    write(&file, &plain);
    assert!(kernel(&Device::gpu(&options(folder.path()))?)?.starts_with("matmul_plain"));
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for content in [flipped, whole[..whole.len() - 9].to_vec(), Vec::new(), b"not ours".to_vec(), vec![0xff; 10_000]] {
        std::fs::write(&file, content).unwrap();
        assert_eq!(kernel(&Device::gpu(&options(folder.path()))?)?, by_table);
    }
    // Lines of another format under the right digest.
    write(&file, &["one field".into(), "a\tb".into(), String::new(), "\t\t\t\t".into()]);
    let device = Device::gpu(&options(folder.path()))?;
    assert_eq!(kernel(&device)?, by_table);
    assert_eq!(product(&device)?.to_vec::<f32>()?.len(), 1600);
    Ok(())
}

/// A line with another variant.
fn replaced(line: &str, variant: &str) -> String {
    let mut fields: Vec<&str> = line.split('\t').collect();
    fields[1] = variant;
    fields.join("\t")
}

#[test]
fn a_program_that_goes_on_measures_for_the_next_and_keeps_its_own_kernels() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::gpu(&GpuOptions { tune: Some(Tune::Measure), ..options(folder.path()) })?;
    let first = product(&device)?.to_vec::<f32>()?;
    assert!(choices(folder.path()).is_none(), "measured at the first step");
    let kernel_before = kernel(&device)?;
    for step in 0..50 {
        assert_eq!(product(&device)?.to_vec::<f32>()?, first, "step {step}");
    }
    let file = choices(folder.path()).expect("measured after many steps");
    assert_eq!(lines(&file).iter().filter(|line| line.starts_with("Matmul")).count(), 1);
    // Whatever was the fastest, this process stays with what it began with.
    assert_eq!(kernel(&device)?, kernel_before);
    assert_eq!(device.counters().plans, 1);
    Ok(())
}
