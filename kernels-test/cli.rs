//! The examples as a user meets them: bad options end with one line that names the thing and the remedy, an exit code
//! that is not zero, and nothing left behind; good ones end with an accuracy.

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
    for part in ["Confusion matrix", "Digits it got wrong", "CPU path", "<svg", "seed", "digest of the weights"] {
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

// The other model families

/// Runs an example; its exit code, and all that it said.
fn ask(name: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(example(name));
    command.env_remove("WGRAD_DATA").env_remove("WGRAD_DEVICE").env("WGRAD_OFFLINE", "1");
    command.env("XDG_CACHE_HOME", std::env::temp_dir().join("wgrad-no-such-cache"));
    let output = command.args(["--device", "cpu"]).args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Every run fails with one line that has these words.
fn all_refused(name: &str, cases: &[(&[&str], &[&str])]) {
    for (arguments, wanted) in cases {
        let (good, text) = ask(name, arguments);
        assert!(!good && !text.contains("panicked"), "{name} {arguments:?}: {text}");
        assert!(wanted.iter().all(|w| text.contains(w)), "{name} {arguments:?}: {text}");
        assert_eq!(text.lines().filter(|l| l.starts_with("error:")).count(), 1, "{name} {arguments:?}: {text}");
    }
}

#[test]
fn generators_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (other, out) = (path("other"), path("out"));
    assert!(run(&["--out", &other]).status.success());
    let gan: [(&[&str], &[&str]); 7] = [
        (&["--model", "line", "--lr", "1e30", "--out", &path("lost")], &["discriminator of step", "learning rate"]),
        (&["--model", "line", "--spectral", "--out", &out], &["--spectral", "dcgan"]),
        (&["--penalty", "1", "--out", &out], &["--penalty", "--spectral"]),
        (&["--model", "wgan", "--out", &out], &["wgan", "dcgan"]),
        (&["--model", "line", "--out", "/proc/nothing"], &["/proc/nothing", "folder"]),
        (&["--model", "line", "--out", &other], &["earlier run", "--resume"]),
        (&["--data", "/no/such/folder", "--out", &out], &["/no/such/folder"]),
    ];
    all_refused("gan", &gan);
    let vae: [(&[&str], &[&str]); 4] = [
        (&["--model", "gan", "--out", &out], &["gan", "conv"]),
        (&["--steps", "4", "--resume", &other, "--out", &out], &["step-000000001"]),
        (&["--lr", "1e30", "--steps", "20", "--batch", "8", "--out", &out], &["step", "learning rate"]),
        (&["--out", "/proc/nothing"], &["/proc/nothing", "folder"]),
    ];
    all_refused("vae", &vae);
    assert!(
        Path::new(&other).join("step-000000001.safetensors").exists(),
        "refused runs leave an earlier one as it was"
    );
}

/// A folder of pictures in CIFAR's layout: noise, but brighter the larger the label.
fn pictures(folder: &Path) {
    for (name, count) in [("train.bin", 40), ("test.bin", 20)] {
        let record = |i: usize| {
            let label = i % 10;
            std::iter::once(label as u8).chain((0..3072).map(move |k| (label * 20 + (i * 31 + k * 7) % 40) as u8))
        };
        std::fs::write(folder.join(name), (0..count).flat_map(record).collect::<Vec<u8>>()).unwrap();
    }
}

#[test]
fn weights_go_from_one_run_to_another() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (data, first, second) = (folder.path().to_string_lossy().into_owned(), path("first"), path("second"));
    let common = ["--data", &data, "--batch", "8", "--model", "lenet5", "--steps", "3"];
    let run = |arguments: &[&str]| ask("image_cnn", &[&common, arguments].concat());
    let (good, text) = run(&["--out", &first, "--shift", "2", "--mirror"]);
    assert!(good, "{text}");
    for part in ["test accuracy:", "right, of the test pictures of each class", "taken for", "airplane", "in training"]
    {
        assert!(text.contains(part), "no {part:?}: {text}");
    }
    let saved = format!("{first}/step-000000003.safetensors");
    // Only the first layer is taken, and it stays as it is.
    let (good, text) = run(&["--out", &second, "--weights", &saved, "--freeze", "--prefix", "0"]);
    assert!(good && text.contains("2 of 10 tensors from") && text.contains("11.weight"), "{text}");
    let weight = |folder: &str, name: &str| {
        let state = wgrad::train::checkpoint::latest(folder).unwrap();
        state.tensors[&format!("task.model.{name}")].words.clone()
    };
    assert_eq!(weight(&first, "0.weight"), weight(&second, "0.weight"), "frozen");
    assert_ne!(weight(&first, "11.weight"), weight(&second, "11.weight"), "new");
    let refused: [(&[&str], &[&str]); 8] = [
        (&["--shrink", "3"], &["32x32", "3"]),
        (&["--weights", &saved, "--model", "resnet20"], &["no weight of resnet20", "step-000000003"]),
        (&["--weights", &saved, "--prefix", "layer"], &["no weight", "layer"]),
        (&["--weights", "/no/such/weights"], &["/no/such/weights"]),
        (&["--resume", &first, "--steps", "5", "--batch", "9"], &["batch 8", "batch 9"]),
        (&["--resume", &first, "--steps", "5", "--shift", "2"], &["mirror true", "mirror false"]),
        (&["--validate", "40"], &["40 of 40"]),
        (&["--model", "lr", "--lr", "1e38", "--steps", "20"], &["step", "learning rate"]),
    ];
    let refused = refused.map(|(arguments, wanted)| ([&common, arguments].concat(), wanted));
    all_refused("image_cnn", &refused.each_ref().map(|(arguments, wanted)| (&arguments[..], *wanted)));
    all_refused(
        "image_cnn",
        &[(&[], &["no pictures", "--data"]), (&["--data", "/no/such/folder"], &["/no/such/folder"])],
    );
}
