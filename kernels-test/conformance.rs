//! The reader of foreign cases can fail: a wrong expectation is found and named, what is not there is never called
//! wrong.

use std::path::Path;
use std::process::{Command, Output};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::cli::example;

/// A folder with the case `x + y = sum` and its gradients, for an op of this name.
fn case(folder: &Path, op: &str, kwargs: Value, sum: [f32; 3], slope: [f32; 3]) {
    let folder = folder.join("torch");
    std::fs::create_dir_all(&folder).unwrap();
    let tensors: [(&str, [f32; 3]); 6] = [
        ("in.0", [1.0, 2.0, 3.0]),
        ("in.1", [0.5, -2.0, 0.25]),
        ("out.0", sum),
        ("cot.0", [1.0, -1.0, 2.0]),
        ("grad.0", [1.0, -1.0, 2.0]),
        ("grad.1", slope),
    ];
    let bytes: Vec<(&str, Vec<u8>)> =
        tensors.iter().map(|(key, v)| (*key, v.iter().flat_map(|x| x.to_le_bytes()).collect())).collect();
    let views = bytes.iter().map(|(key, b)| (*key, TensorView::new(Dtype::F32, vec![3], b).unwrap()));
    safetensors::serialize_to_file(views, None, &folder.join("one.safetensors")).unwrap();
    let index = json!({"format": "conformance-torch-1", "torch": "2", "fn_source": {}, "cases": [{
        "name": "one", "op": op, "family": "opinfo", "scope": "core", "args": [{"$t": 0}, {"$t": 1}], "kwargs": kwargs,
        "dtypes": {}, "f32_relerr": {"out.0": 0.0}, "n_in": 2, "n_out": 1, "grads": ["grad.0", "grad.1"]}]});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

fn run(folder: &Path) -> (Output, String) {
    let output = Command::new(example("conformance")).arg(folder).args(["--device", "cpu"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

const SUM: [f32; 3] = [1.5, 0.0, 3.25];
const SLOPE: [f32; 3] = [1.0, -1.0, 2.0];

#[test]
fn a_right_expectation_passes() {
    let folder = tempfile::tempdir().unwrap();
    case(folder.path(), "add", json!({}), SUM, SLOPE);
    let (output, text) = run(folder.path());
    assert!(output.status.success() && text.contains("passed 1, failed 0, unsupported 0"), "{text}");
}

#[test]
fn a_wrong_value_fails_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    case(folder.path(), "add", json!({}), [1.5, 0.0, 3.2501], SLOPE);
    let report = folder.path().join("report.json");
    let mut command = Command::new(example("conformance"));
    let output = command.arg(folder.path()).args(["--device", "cpu", "--json"]).arg(&report).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("FAILED one: out.0[2]"), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    assert_eq!((&report["failures"], &report["ops"][0]["failed"]), (&json!(1), &json!(1)));
}

#[test]
fn a_wrong_gradient_fails_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    case(folder.path(), "add", json!({}), SUM, [1.0, -1.0, -2.0]);
    let (output, text) = run(folder.path());
    assert!(!output.status.success() && text.contains("grad.1[2]"), "{text}");
}

#[test]
fn what_is_not_there_is_unsupported_and_not_called() {
    for (op, kwargs, why) in [("frobnicate", json!({}), "no such op"), ("add", json!({"beta": 2.0}), "argument beta")] {
        let folder = tempfile::tempdir().unwrap();
        case(folder.path(), op, kwargs, SUM, SLOPE);
        let (output, text) = run(folder.path());
        assert!(output.status.success() && text.contains("failed 0, unsupported 1") && text.contains(why), "{text}");
    }
}

#[test]
fn a_folder_without_cases_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (output, _) = run(folder.path());
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("has no cases"));
}
