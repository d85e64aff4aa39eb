//! Profiles account for every step of a program, by name and line, on every device.

use wgrad::plan::profile::profile;
use wgrad::{Device, Tensor};

use crate::registry::under_test;

fn program(device: &Device) -> Tensor {
    let a = Tensor::from_slice(device, &[0.5f32; 64 * 48], [64, 48]).unwrap();
    let b = Tensor::from_slice(device, &[0.25f32; 48 * 32], [48, 32]).unwrap();
    let product = a.matmul(&b); // this line
    (&product.relu() + 1.0).sum_all()
}

#[test]
fn every_step_is_named_with_its_line_and_time() {
    for device in [Device::cpu(), under_test()] {
        let before = device.counters();
        let (value, profile) = profile(&device, || program(&device).item()).unwrap();
        assert_eq!(value, 64.0 * 32.0 * (48.0 * 0.125 + 1.0));
        let rows = profile.rows();
        let product = rows.iter().find(|r| r.name.contains("Matmul")).expect("the product is in the profile");
        assert!(product.at.file().ends_with("profile.rs") && product.calls == 1, "{product:?}");
        assert_eq!(product.bytes, 4 * (64 * 48 + 48 * 32 + 64 * 32));
        assert!(rows.iter().all(|r| r.seconds > 0.0 && r.seconds < 60.0), "{rows:?}");
        assert!(rows.windows(2).all(|w| w[0].seconds >= w[1].seconds), "the most expensive first");
        assert_eq!(profile.events().len() as u64, rows.iter().map(|r| r.calls).sum::<u64>());
        assert!(profile.to_string().contains("Matmul"), "{profile}");
        // Afterwards programs run in one piece again.
        let work = device.counters();
        program(&device).item().unwrap();
        let again = device.counters().since(&work);
        assert_eq!(again.submissions, 1, "on {device}");
        assert!(work.since(&before).submissions >= 1);
    }
}

#[test]
fn a_trace_is_json_that_a_viewer_reads() {
    let device = Device::cpu();
    let (_, profile) = profile(&device, || program(&device).item()).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    profile.write_trace(file.path()).unwrap();
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.len(), profile.events().len());
    let product = events.iter().find(|e| e["name"].as_str().unwrap().contains("Matmul")).unwrap();
    assert_eq!(product["ph"], "X");
    assert!(product["dur"].as_f64().unwrap() > 0.0 && product["ts"].as_f64().unwrap() >= 0.0);
    assert!(product["args"]["at"].as_str().unwrap().contains("profile.rs:"));
    let nowhere = profile.write_trace("/nowhere/at/all.json").unwrap_err().to_string();
    assert!(nowhere.contains("/nowhere/at/all.json"), "{nowhere}");
}
