//! Files of weights and checkpoints: what goes in comes out, PyTorch's files load, and a bad file is refused by name
//! and leaves everything as it was.

use std::fs;
use std::io::Write;
use std::path::Path;

use wgrad::nn::{Conv2d, Init, Linear, Param, Parameters, Relu, Sequential};
use wgrad::ops::{Conv2dOptions, Rng};
use wgrad::train::State;
use wgrad::train::checkpoint::{self, Checkpoints, load_weights, save_weights};
use wgrad::{Device, Tensor};

struct Net {
    conv: Conv2d,
    head: Sequential,
}
wgrad::parameters!(Net { conv, head });

fn net(seed: u64, classes: usize) -> Net {
    let mut init = Init::new(&Device::cpu(), seed);
    let conv = Conv2d::new(&mut init, 2, 3, [2, 2], Conv2dOptions::default()).unwrap();
    let head = Sequential::new().then(Linear::new(&mut init, 12, 5).unwrap()).then(Relu);
    Net { conv, head: head.then(Linear::new(&mut init, 5, classes).unwrap()) }
}

fn values(model: &dyn Parameters) -> Vec<(String, Vec<f32>)> {
    model.named_parameters().into_iter().map(|(n, p)| (n, p.get().to_vec().unwrap())).collect()
}

#[test]
fn weights_come_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let (saved, mut loaded) = (net(1, 4), net(2, 4));
    save_weights(&path, &saved).unwrap();
    assert_ne!(values(&saved), values(&loaded));
    load_weights(&path, &mut loaded).unwrap();
    assert_eq!(values(&saved), values(&loaded));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["net.safetensors"], "nothing else is left behind");
}

/// `fixtures/torch_weights.py` made the file: names, layouts and values are PyTorch's.
#[test]
fn a_file_of_pytorch_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-test/fixtures/torch_weights.safetensors");
    let mut model = net(1, 4);
    load_weights(path, &mut model).unwrap();
    let mut next = 0.0;
    for (name, got) in values(&model) {
        let expected: Vec<f32> = got
            .iter()
            .map(|_| {
                next += 0.25;
                next - 0.25
            })
            .collect();
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn another_model_is_refused_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    save_weights(&path, &net(1, 4)).unwrap();
    let mut other = net(2, 7);
    let before = values(&other);
    let error = load_weights(&path, &mut other).unwrap_err().to_string();
    for part in ["net.safetensors", "head.2", "[4", "[7"] {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
    assert_eq!(values(&other), before);
    let error = load_weights(&path, &mut other.head).unwrap_err().to_string();
    for part in ["lacks", "\"0.weight\"", "has besides", "\"conv.weight\""] {
        assert!(error.contains(part), "no {part:?} in: {error}");
    }
}

#[test]
fn parts_load_for_transfer_learning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let saved = net(1, 4);
    save_weights(&path, &saved).unwrap();
    let state = checkpoint::read(&path).unwrap();
    // A new head of 7 classes keeps what it has; the features are the old ones.
    let mut model = net(2, 7);
    let before = values(&model);
    let left = state.only(|name| !name.starts_with("head.2")).fill("", &mut model).unwrap();
    assert_eq!(left, ["head.2.weight", "head.2.bias"]);
    let (after, old) = (values(&model), values(&saved));
    assert_eq!(after[..4], old[..4]);
    assert_eq!(after[4..], before[4..]);
    // By prefix, into a layer of its own; frozen parameters stay frozen.
    let mut conv = net(3, 4).conv;
    conv.weight.freeze(true).unwrap();
    state.model("conv", &mut conv).unwrap();
    assert_eq!(conv.weight.get().to_vec::<f32>().unwrap(), old[0].1);
    assert!(conv.weight.is_frozen() && !conv.bias.as_ref().is_some_and(Param::is_frozen));
    // A shape that differs is a mistake, not a layer to skip.
    let error = state.fill("", &mut model).unwrap_err().to_string();
    assert!(error.contains("head.2"), "{error}");
}

#[test]
fn a_state_keeps_notes_tensors_and_random_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let device = Device::cpu();
    let mut rng = Rng::new(9);
    rng.words(3);
    rng.words(3);
    let mut state = State::new();
    state.put_rng("noise", &rng);
    state.put_note("rate", 0.1f64);
    state.put_tensor("seen", &Tensor::from_slice(&device, &[1u32, u32::MAX], [2]).unwrap()).unwrap();
    state.put_tensor("empty", &Tensor::from_slice::<f32>(&device, &[], [0, 3]).unwrap()).unwrap();
    checkpoint::save(&path, &state).unwrap();
    let read = checkpoint::read(&path).unwrap();
    assert_eq!((&read.notes, &read.tensors), (&state.notes, &state.tensors));
    assert_eq!(read.rng("noise").unwrap().words(5), rng.words(5));
    assert_eq!(read.note::<f64>("rate").unwrap(), 0.1);
    assert_eq!(read.tensor("seen", [2], &device).unwrap().to_vec::<u32>().unwrap(), [1, u32::MAX]);
    for (error, part) in [
        (read.note::<u64>("rate").unwrap_err(), "0.1"),
        (read.note::<u64>("age").unwrap_err(), "age"),
        (read.tensor("seen", [3], &device).unwrap_err(), "[3]"),
        (read.rng("other").unwrap_err(), "other.seed"),
    ] {
        let error = error.to_string();
        assert!(error.contains(part) && error.contains("state.safetensors"), "{error}");
    }
}

#[test]
fn torn_and_foreign_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    save_weights(&path, &net(1, 4)).unwrap();
    let whole = fs::read(&path).unwrap();
    for (content, part) in [
        (&whole[..whole.len() - 1], "torn"),
        (&whole[..100], "no safetensors"),
        (&whole[..3], "no safetensors"),
        (&b""[..], "no safetensors"),
        (&b"PK\x03\x04 this is a zip file of torch.save and none of ours"[..], "no safetensors"),
    ] {
        fs::write(&path, content).unwrap();
        let error = load_weights(&path, &mut net(2, 4)).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("net.safetensors"), "{error}");
    }
    let error = load_weights(folder.path().join("none"), &mut net(2, 4)).unwrap_err().to_string();
    assert!(error.contains("none") && error.contains("Check the name"), "{error}");
}

#[test]
fn a_save_that_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    save_weights(&path, &net(1, 4)).unwrap();
    let before = fs::read(&path).unwrap();
    let full = checkpoint::replace(&path, |file| {
        file.write_all(b"half of it")?;
        Err(std::io::ErrorKind::StorageFull.into())
    });
    let error = full.unwrap_err().to_string();
    assert!(error.contains("net.safetensors") && error.contains("Free some space"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the half file is gone");
    // A file stands where the folder should be.
    let error = Checkpoints::new(&path).unwrap_err().to_string();
    assert!(error.contains("net.safetensors"), "{error}");
    assert!(save_weights(path.join("inner"), &net(1, 4)).is_err());
}

#[test]
fn the_last_few_and_the_best_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path().join("run")).unwrap().every(10).keep(2);
    assert!(checkpoints.due(20) && !checkpoints.due(25));
    let state = |step: u64| {
        let mut state = State::new();
        state.put_note("loop.step", step);
        state
    };
    for step in [10, 20, 30] {
        checkpoints.save(step, &state(step)).unwrap();
    }
    checkpoints.save_best(&state(20)).unwrap();
    let run = folder.path().join("run");
    let mut names: Vec<_> = fs::read_dir(&run).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["best.safetensors", "step-000000020.safetensors", "step-000000030.safetensors"]);
    assert_eq!(checkpoint::latest(&run).unwrap().note::<u64>("loop.step").unwrap(), 30);
    // The last one is torn: the message says which to use.
    fs::write(run.join("step-000000030.safetensors"), b"torn").unwrap();
    let error = checkpoint::latest(&run).unwrap_err().to_string();
    assert!(error.contains("step-000000030") && error.contains("step-000000020"), "{error}");
    let best = checkpoint::latest(run.join("best.safetensors")).unwrap();
    assert_eq!(best.note::<u64>("loop.step").unwrap(), 20);
    let error = checkpoint::latest(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no checkpoint") && error.contains("--out"), "{error}");
}
