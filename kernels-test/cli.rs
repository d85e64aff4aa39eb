//! The example as a user meets it: bad options end with one line that names the thing and the remedy, an exit code that is
//! not zero, and nothing left behind; good ones end with an accuracy.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The example that `cargo test` builds beside the tests.
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is not built; run all tests, or `cargo build --example {name}`", path.display());
    path
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(example("mnist_cnn"));
    command.env_remove("WGRAD_DATA").env_remove("WGRAD_DEVICE").env("WGRAD_OFFLINE", "1");
    command.env("XDG_CACHE_HOME", std::env::temp_dir().join("wgrad-no-such-cache"));
    command.args(["--device", "cpu", "--model", "lr", "--steps", "1"]).args(arguments).output().unwrap()
}

fn fault_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} should fail");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("panicked"), "{arguments:?} panicked: {text}");
    text
}

#[test]
fn bad_options_are_named_with_what_would_do() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--model", "resnet"], &["resnet", "cnn_cpcpff"]),
        (&["--device", "tpu"], &["tpu", "cpu"]),
        (&["--optimizer", "lion"], &["lion", "nesterov"]),
        (&["--batch", "0"], &["batch"]),
        (&["--data", "/no/such/folder"], &["/no/such/folder"]),
        (&["--log", "/no/such/folder/log.csv"], &["/no/such/folder/log.csv"]),
    ];
    for (arguments, wanted) in cases {
        // A later option wins over the ones every run has.
        let text = fault_of(arguments);
        assert!(wanted.iter().all(|w| text.contains(w)), "{arguments:?}: {text}");
        assert_eq!(text.lines().filter(|l| l.starts_with("error:")).count(), 1, "{arguments:?}: {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    assert!(fault_of(&["--log", "/dev/full"]).contains("/dev/full"));
}

#[test]
fn training_ends_with_an_accuracy() {
    let output = run(&["--steps", "150", "--batch", "100", "--expect", "60"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test accuracy:") && text.contains("after 150 steps"), "{text}");
}

#[test]
fn an_accuracy_below_what_was_expected_fails() {
    assert!(fault_of(&["--expect", "99.9"]).contains("below the expected"));
}

#[test]
fn a_run_is_saved_resumed_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let run_in = |arguments: &[&str]| run(&[&["--out", out], arguments].concat());
    let text = |output: Output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let first = run_in(&["--steps", "3", "--tensorboard"]);
    assert!(first.status.success(), "{}", text(first));
    for name in ["step-000000003.safetensors", "best.safetensors", "log.csv", "log.jsonl", "report.html", "tensorboard"]
    {
        assert!(Path::new(out).join(name).exists(), "no {name}");
    }
    let report = std::fs::read_to_string(Path::new(out).join("report.html")).unwrap();
    for part in ["Confusion matrix", "Digits it got wrong", "CPU path", "<svg", "seed"] {
        assert!(report.contains(part), "no {part:?} in the report");
    }
    let again = text(run_in(&["--steps", "3"]));
    assert!(again.contains("earlier run") && again.contains("--resume"), "{again}");
    let other = text(run_in(&["--steps", "6", "--resume", "--batch", "9"]));
    assert!(other.contains("batch 50") && other.contains("batch 9"), "{other}");
    let other = text(run_in(&["--steps", "6", "--resume", "--model", "cnn_cf"]));
    assert!(other.contains("lr") && other.contains("cnn_cf"), "{other}");
    let second = run_in(&["--steps", "6", "--resume"]);
    assert!(second.status.success(), "{}", text(second));
    assert!(text(second).contains("after 6 steps"));
    assert!(fault_of(&["--resume"]).contains("--resume"));
    assert!(fault_of(&["--resume", "/no/such/checkpoint"]).contains("/no/such/checkpoint"));
    assert!(fault_of(&["--out", "/proc/nothing"]).contains("/proc/nothing"));
}
