//! One error type for the faults of the world.
//!
//! A mistake in the program (shapes that do not fit) panics at the caller's line; everything else that can go
//! wrong, from a missing driver to a torn file, is a value of [`Error`] whose text names the thing and the remedy.

use std::path::{Path, PathBuf};

/// What every fallible call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A fault of the world, or of the input, that a program can report and survive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable graphics adapter.
    #[error("no {wanted} found (looked through {looked}). {remedy}")]
    NoAdapter {
        /// What was asked for, e.g. "GPU adapter".
        wanted: String,
        /// The APIs and adapters that were looked at.
        looked: String,
        /// What to install or set.
        remedy: String,
    },
    /// The device went away (driver reset, unplugged, timed out); its tensors are lost.
    #[error("the device was lost: {0}. Open the device again and resume from the last checkpoint")]
    DeviceLost(String),
    /// An allocation or a binding does not fit the device.
    #[error("out of device memory: {what} needs {bytes} bytes, {limit}. Use a smaller batch or another device")]
    OutOfMemory {
        /// What was being allocated.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// The limit it ran into, in words.
        limit: String,
    },
    /// A kernel that computes something else than its CPU code, or a NaN: found by `WGRAD_CHECK`.
    #[error("{0}")]
    Check(String),
    /// The driver or wgpu refused a command: a bug of this crate or of the driver.
    #[error("the graphics driver reported: {0}")]
    Gpu(String),
    /// A file that is missing, torn, foreign or of the wrong content.
    #[error("{}: {problem}. {remedy}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A download that failed on every mirror.
    #[error("could not download {what}: {problem}. {remedy}")]
    Download {
        /// The name of the thing.
        what: String,
        /// One line per mirror.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// An option or argument that makes no sense.
    #[error("{what}: {remedy}")]
    Argument {
        /// The argument and its value.
        what: String,
        /// What would be accepted.
        remedy: String,
    },
    /// Shapes or types that do not fit; returned by the `try_` methods.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl Error {
    /// A file that is missing, torn, foreign or of the wrong content.
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), problem: problem.into(), remedy: remedy.into() }
    }

    /// An option or argument that makes no sense.
    pub fn argument(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Argument { what: what.into(), remedy: remedy.into() }
    }
}

/// Shapes or types that an op cannot take: a mistake in the program, so most methods panic with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op}: {problem}")]
pub struct ShapeError {
    /// The op that refused.
    pub op: String,
    /// Both shapes and what would fit.
    pub problem: String,
}

impl ShapeError {
    /// An error of `op` with the shapes and what would fit in `problem`.
    pub fn new(op: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { op: op.into(), problem: problem.into() }
    }
}

/// The value, or a panic at the line of whoever called the method that asked. Not `unwrap_or_else`: a closure would be
/// named as the place.
#[track_caller]
pub(crate) fn fit<T>(result: std::result::Result<T, ShapeError>) -> T {
    match result {
        Ok(value) => value,
        Err(mistake) => panic!("{mistake}"),
    }
}
