//! What is known of an adapter from earlier processes: its compiled kernels, which of them were the fastest, and that
//! they were right.
//!
//! A driver takes from milliseconds to seconds to compile a kernel. Where it can give the result away, that is kept in
//! the user's cache folder, in a file per adapter and driver, and given back to it next time. The file carries a
//! digest: one that was torn, damaged or written by something else is not there, as far as this module is concerned,
//! and nothing that happens to the cache is an error.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

/// How the files begin; a new format gets a new line.
const COMPILED: &[u8] = b"wgrad compiled kernels 1\n";
const CHOICES: &[u8] = b"wgrad measured choices 1\n";
/// No driver's file is longer; a longer one is none.
const LONGEST: u64 = 1 << 30;
/// The file is written at most so often, and at the end.
const PAUSE: Duration = Duration::from_secs(5);

/// The folder of the user's caches, for this crate: `wgrad` in `$XDG_CACHE_HOME`, `~/.cache` or (Windows)
/// `%LOCALAPPDATA%`.
pub fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = match cfg!(windows) {
        true => absolute("LOCALAPPDATA"),
        false => absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))),
    };
    Some(caches?.join("wgrad"))
}

/// Where compiled kernels are kept: in the user's cache, or where `WGRAD_KERNEL_CACHE` says; `0`: nowhere.
pub(super) fn kernels_folder() -> Option<PathBuf> {
    match std::env::var_os("WGRAD_KERNEL_CACHE") {
        Some(off) if off == "0" => None,
        Some(named) if !named.is_empty() => Some(PathBuf::from(named)),
        _ => Some(folder()?.join("kernels")),
    }
}

/// The files of one adapter with one driver.
#[derive(Debug)]
pub(super) struct Files {
    compiled: PathBuf,
    trusted: PathBuf,
    cooperative: PathBuf,
    choices: PathBuf,
    /// When the first was written, and whether it lacks something.
    written: Mutex<Option<Instant>>,
    stale: AtomicBool,
}

impl Files {
    pub fn of(folder: &Path, info: &wgpu::AdapterInfo) -> Files {
        let mut digest = Sha256::new();
        for part in [&info.name, &info.driver, &info.driver_info, env!("CARGO_PKG_VERSION")] {
            digest.update(part);
            digest.update([0]);
        }
        digest.update(info.vendor.to_le_bytes());
        digest.update(info.device.to_le_bytes());
        digest.update(info.backend.to_string());
        let key: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Files {
            compiled: folder.join(format!("kernels-{key}")),
            trusted: folder.join(format!("trusted-{key}")),
            cooperative: folder.join(format!("cooperative-{key}")),
            choices: folder.join(format!("choices-{key}")),
            written: Mutex::default(),
            stale: AtomicBool::new(false),
        }
    }

    /// What the driver gave away last time, if it is whole.
    pub fn compiled(&self) -> Option<Vec<u8>> {
        sealed(&self.compiled, COMPILED)
    }

    /// The choices of kernels that earlier processes measured, if they are whole.
    pub fn choices(&self) -> Option<String> {
        String::from_utf8(sealed(&self.choices, CHOICES)?).ok()
    }

    pub fn keep_choices(&self, text: &str) {
        seal(&self.choices, CHOICES, text.as_bytes());
    }

    /// Notes that the driver compiled something, and writes what it has if the last time is long ago.
    pub fn compiled_more(&self, cache: &wgpu::PipelineCache) {
        self.stale.store(true, Ordering::Relaxed);
        let written = *self.written.lock().unwrap_or_else(|e| e.into_inner());
        if written.is_none_or(|at| at.elapsed() > PAUSE) {
            self.write(cache);
        }
    }

    /// Writes what the driver has, if that is not written yet.
    pub fn write(&self, cache: &wgpu::PipelineCache) {
        if !self.stale.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Some(data) = cache.get_data() {
            seal(&self.compiled, COMPILED, &data);
        }
        *self.written.lock().unwrap_or_else(|e| e.into_inner()) = Some(Instant::now());
    }

    /// Whether a self-test found all kernels right on this adapter, with this driver and this version of the crate.
    pub fn is_trusted(&self) -> bool {
        self.trusted.exists()
    }

    pub fn set_trusted(&self, trusted: bool) {
        note(&self.trusted, trusted, b"The self-test found every kernel right, with and without checks of bounds.\n");
    }

    /// Whether a self-test found products on cooperative matrices right, likewise.
    pub fn is_cooperative(&self) -> bool {
        self.cooperative.exists()
    }

    pub fn set_cooperative(&self, right: bool) {
        note(&self.cooperative, right, b"The self-test found products on cooperative matrices right.\n");
    }
}

/// What a file holds behind its first line and its digest, if both are right.
fn sealed(path: &Path, first_line: &[u8]) -> Option<Vec<u8>> {
    if std::fs::metadata(path).ok()?.len() > LONGEST {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    let (digest, data) = bytes.strip_prefix(first_line)?.split_at_checked(32)?;
    (Sha256::digest(data)[..] == *digest).then(|| data.to_vec())
}

fn seal(path: &Path, first_line: &[u8], data: &[u8]) {
    replace(path, &[first_line, &Sha256::digest(data)[..], data].concat());
}

/// A file that says something if it is there.
fn note(path: &Path, holds: bool, text: &[u8]) {
    if holds {
        replace(path, text);
    } else {
        let _ = std::fs::remove_file(path);
    }
}

/// Puts a file in the place of another, whole or not at all. A folder that cannot be written has no cache.
fn replace(path: &Path, content: &[u8]) {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let folder = path.parent().map(std::fs::create_dir_all);
    let written = matches!(folder, Some(Ok(())))
        && std::fs::write(&part, content).is_ok()
        && std::fs::rename(&part, path).is_ok();
    if !written {
        let _ = std::fs::remove_file(&part);
    }
}
