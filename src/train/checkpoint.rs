//! States and weights as safetensors files, the format that PyTorch, JAX and the model hubs read.
//!
//! A file of weights holds a model under PyTorch's names and layouts and nothing else, so that
//! `model.load_state_dict(safetensors.torch.load_file(path))` takes it, and [`load_weights`] takes what
//! `safetensors.torch.save_file(model.state_dict(), path)` wrote. A checkpoint holds the rest of the run as well; its
//! weights are `task.model.*`, and what is no tensor is in the header's metadata.
//!
//! A file is written beside its place, made durable, and then renamed into it: whenever the machine stops, what was
//! there before or the new file is there, whole.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{Saved, State};
use crate::error::{Error, Result};
use crate::nn::Parameters;
use crate::tensor::{DType, Meta};

/// Marks the metadata of checkpoints; files of weights have none.
const KIND: &str = "wgrad";

/// Writes a model's weights.
///
/// # Errors
/// If the file cannot be written; a fault of the device. A file that was there stays as it was.
pub fn save_weights(path: impl AsRef<Path>, model: &dyn Parameters) -> Result<()> {
    let mut state = State::new();
    state.put_model("", model)?;
    write(path.as_ref(), &state, false)
}

/// Sets a model's weights to those of a file, which must hold exactly these names and shapes. [`read`] and
/// [`State::fill`] load a part of them.
///
/// # Errors
/// If the file cannot be read or is of another model; a fault of the device.
pub fn load_weights(path: impl AsRef<Path>, model: &mut dyn Parameters) -> Result<()> {
    let state = read(path)?;
    // A checkpoint holds weights too.
    let name = if state.notes.contains_key("loop.step") { "task.model" } else { "" };
    state.model(name, model)
}

/// Writes a whole state.
///
/// # Errors
/// If the file cannot be written. A file that was there stays as it was.
pub fn save(path: impl AsRef<Path>, state: &State) -> Result<()> {
    write(path.as_ref(), state, true)
}

/// Reads a checkpoint or a file of weights. Half and double precision floats become single; 64-bit integers become
/// `u32`, or `i32` if one is negative.
///
/// # Errors
/// If it cannot be read, is torn, or is no safetensors file.
pub fn read(path: impl AsRef<Path>) -> Result<State> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|e| {
        let remedy = if e.kind() == io::ErrorKind::NotFound { "Check the name" } else { "Check that it may be read" };
        Error::file(path, format!("cannot be read: {e}"), remedy)
    })?;
    let broken = |e: safetensors::SafeTensorError| {
        let (problem, remedy) = match e {
            safetensors::SafeTensorError::MetadataIncompleteBuffer => (
                format!("is torn: {} bytes are not what its header promises", bytes.len()),
                "Delete it and use an older one",
            ),
            other => (format!("is no safetensors file: {other}"), "Name a checkpoint or a file of weights"),
        };
        Error::file(path, problem, remedy)
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let mut state = State { origin: Some(path.into()), ..State::default() };
    for (name, view) in file.tensors() {
        let saved = decode(&view).ok_or_else(|| {
            let problem = format!("the tensor {name:?} is {:?}, which has no place here", view.dtype());
            Error::file(path, problem, "Convert it to float32 where it was made")
        })?;
        state.tensors.insert(name, saved);
    }
    if let Some(notes) = header.metadata() {
        state.notes = notes.iter().filter_map(|(k, v)| Some((k.strip_prefix("wgrad.")?.into(), v.clone()))).collect();
    }
    Ok(state)
}

fn decode(view: &TensorView) -> Option<Saved> {
    let bytes = view.data();
    let float = |values: Vec<f32>| (DType::F32, bytemuck::cast_vec(values));
    let (dtype, words) = match view.dtype() {
        Dtype::F32 => (DType::F32, bytemuck::pod_collect_to_vec(bytes)),
        Dtype::I32 => (DType::I32, bytemuck::pod_collect_to_vec(bytes)),
        Dtype::U32 => (DType::U32, bytemuck::pod_collect_to_vec(bytes)),
        Dtype::BOOL => (DType::Bool, bytes.iter().map(|&b| u32::from(b != 0)).collect()),
        Dtype::F64 => float(bytemuck::pod_collect_to_vec::<u8, f64>(bytes).into_iter().map(|v| v as f32).collect()),
        Dtype::F16 => float(bytemuck::pod_collect_to_vec::<u8, half::f16>(bytes).into_iter().map(f32::from).collect()),
        Dtype::BF16 => (
            DType::F32,
            bytemuck::pod_collect_to_vec::<u8, u16>(bytes).into_iter().map(|b| u32::from(b) << 16).collect(),
        ),
        Dtype::I64 => {
            let values = bytemuck::pod_collect_to_vec::<u8, i64>(bytes);
            let counts: Option<Vec<u32>> = values.iter().map(|&v| u32::try_from(v).ok()).collect();
            match counts {
                Some(counts) => (DType::U32, counts),
                None => {
                    let narrow: Option<Vec<i32>> = values.iter().map(|&v| i32::try_from(v).ok()).collect();
                    (DType::I32, bytemuck::cast_vec(narrow?))
                }
            }
        }
        _ => return None,
    };
    Some(Saved { meta: Meta::new(view.shape(), dtype), words })
}

fn write(path: &Path, state: &State, notes: bool) -> Result<()> {
    // PyTorch counts in 64 bits, and its truth values are bytes.
    let bytes: Vec<(Dtype, Cow<[u8]>)> = state
        .tensors
        .values()
        .map(|saved| match saved.meta.dtype {
            DType::F32 => (Dtype::F32, Cow::from(bytemuck::cast_slice(&saved.words))),
            DType::F16 => {
                let half = |&w: &u32| half::f16::from_f32(f32::from_bits(w)).to_le_bytes();
                (Dtype::F16, saved.words.iter().flat_map(half).collect())
            }
            DType::I32 => (Dtype::I32, Cow::from(bytemuck::cast_slice(&saved.words))),
            DType::U32 => (Dtype::I64, saved.words.iter().flat_map(|&w| i64::from(w).to_le_bytes()).collect()),
            DType::Bool => (Dtype::BOOL, saved.words.iter().map(|&w| w as u8).collect()),
        })
        .collect();
    let views = state
        .tensors
        .iter()
        .zip(&bytes)
        .map(|((name, saved), (dtype, bytes))| (name, TensorView::new(*dtype, saved.meta.shape.to_vec(), bytes)));
    let broken = |e: safetensors::SafeTensorError| Error::file(path, format!("cannot be made: {e}"), "Report this");
    let views = views.map(|(name, view)| Ok((name, view.map_err(broken)?))).collect::<Result<Vec<_>>>()?;
    let metadata = notes.then(|| {
        let own = [(String::from("format"), String::from(KIND))];
        own.into_iter().chain(state.notes.iter().map(|(k, v)| (format!("wgrad.{k}"), v.clone()))).collect()
    });
    let bytes = safetensors::serialize(views, metadata).map_err(broken)?;
    replace(path, |file| file.write_all(&bytes))
}

/// Puts a file in its place whole or not at all.
///
/// # Errors
/// If `content` or the file system fails, e.g. because the disk is full. A file that was there stays as it was.
pub fn replace(path: &Path, content: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let beside = path.with_file_name(name);
    let written = File::create(&beside).and_then(|mut file| {
        content(&mut file)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The new name is durable once the folder is.
        #[cfg(unix)]
        File::open(match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        })?
        .sync_all()?;
        Ok(())
    });
    written.map_err(|e| {
        let _ = fs::remove_file(&beside);
        Error::file(
            path,
            format!("cannot be saved: {e}"),
            "Free some space or name another folder; what was there is whole",
        )
    })
}

/// The checkpoints of a run in a folder: `step-000000500.safetensors`, of which the last few are kept, and
/// `best.safetensors`.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    every: u64,
    keep: usize,
}

impl Checkpoints {
    /// In this folder, which is made if need be: one at the end of the run, the last two kept.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(folder: impl AsRef<Path>) -> Result<Checkpoints> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder)
            .map_err(|e| Error::file(folder, format!("cannot be made: {e}"), "Name a folder that can be written"))?;
        Ok(Checkpoints { folder: folder.into(), every: u64::MAX, keep: 2 })
    }

    /// One every so many steps as well.
    pub fn every(mut self, steps: u64) -> Checkpoints {
        self.every = steps.max(1);
        self
    }

    /// Keeps the last so many, at least one.
    pub fn keep(mut self, count: usize) -> Checkpoints {
        self.keep = count.max(1);
        self
    }

    /// Whether one is wanted after this step.
    pub fn due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every)
    }

    /// Steps from this one to the next after which one is wanted.
    pub(super) fn ahead(&self, step: u64) -> u64 {
        self.every - step % self.every
    }

    /// Saves the state of a step and removes those that are too old.
    ///
    /// # Errors
    /// If the file cannot be written; the others are then as they were.
    pub fn save(&self, step: u64, state: &State) -> Result<PathBuf> {
        let path = self.folder.join(format!("step-{step:09}.safetensors"));
        save(&path, state)?;
        let mut all = steps_in(&self.folder);
        // Later ones are there where a run was resumed from an older one; they are not its to remove.
        all.retain(|(at, _)| *at <= step);
        for (_, old) in all.iter().rev().skip(self.keep) {
            // That an old one stays does no harm.
            let _ = fs::remove_file(old);
        }
        Ok(path)
    }

    /// Saves the best state.
    ///
    /// # Errors
    /// If the file cannot be written; the best so far is then as it was.
    pub fn save_best(&self, state: &State) -> Result<()> {
        save(self.folder.join("best.safetensors"), state)
    }
}

/// The checkpoint to resume from: `path` itself, or the last one in it if it is a folder.
///
/// # Errors
/// If the file cannot be read (then the error names the one before it), or the folder holds none.
pub fn latest(path: impl AsRef<Path>) -> Result<State> {
    let path = path.as_ref();
    if !path.is_dir() {
        return read(path);
    }
    let all = steps_in(path);
    let Some((_, last)) = all.last() else {
        return Err(Error::file(path, "holds no checkpoint", "Name the folder that an earlier run wrote with --out"));
    };
    read(last).map_err(|fault| match (fault, all.iter().rev().nth(1)) {
        (Error::File { path, problem, .. }, Some((_, before))) => {
            Error::file(path, problem, format!("Resume from the one before it: {}", before.display()))
        }
        (fault, _) => fault,
    })
}

/// Step and path of each checkpoint in a folder, oldest first.
fn steps_in(folder: &Path) -> Vec<(u64, PathBuf)> {
    let step = |name: &str| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<(u64, PathBuf)> =
        entries.filter_map(|e| Some((step(&e.file_name().to_string_lossy())?, e.path()))).collect();
    all.sort();
    all
}
