//! The figures of a run as text: CSV for a spreadsheet, JSON lines for a script.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Event, Progress};
use crate::error::{Error, Result};

/// The step up to which lines of an earlier run are kept, and how to find the step of a line.
type Resume = (u64, fn(&str) -> Option<u64>);

/// Lines of text in a file, each written out at once: a run that dies leaves whole lines.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    /// A new file, or that of the run that is resumed at `step`: lines of later steps go, since they come again.
    fn open(path: &Path, head: &str, resume: Option<Resume>) -> Result<Lines> {
        let fault = |e: std::io::Error| {
            Error::file(path, format!("cannot be written: {e}"), "Name a file in a folder that can be written")
        };
        let mut kept = head.to_string();
        if let Some((step, step_of)) = resume
            && let Ok(text) = std::fs::read_to_string(path)
        {
            let old = text.lines().filter(|line| step_of(line).is_some_and(|at| at <= step));
            old.for_each(|line| kept += &format!("{line}\n"));
        }
        let mut lines = Lines { path: path.into(), file: BufWriter::new(File::create(path).map_err(fault)?) };
        lines.write(&kept)?;
        Ok(lines)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.flush()).map_err(|e| {
            Error::file(&self.path, format!("cannot be written: {e}"), "Free some space, or log to another place")
        })
    }
}

/// Every figure of a run as a line `step,split,figure,value` of a CSV file.
#[derive(Debug)]
pub struct CsvLog(Lines);

impl CsvLog {
    /// A new file; with `resume`, that of an earlier run up to this step.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: impl AsRef<Path>, resume: Option<u64>) -> Result<CsvLog> {
        let step = |line: &str| line.split(',').next()?.parse().ok();
        Lines::open(path.as_ref(), "step,split,figure,value\n", resume.map(|at| (at, step as fn(&str) -> _)))
            .map(CsvLog)
    }

    /// Writes what the event tells.
    ///
    /// # Errors
    /// If the file cannot be written, for example because the disk is full.
    pub fn record(&mut self, event: &Event, progress: &Progress) -> Result<()> {
        let Some((split, figures)) = figures_of(event) else { return Ok(()) };
        let line = |(name, value): &(String, f64)| format!("{},{split},{name},{value}\n", progress.step);
        self.0.write(&figures.iter().map(line).collect::<String>())
    }
}

/// The figures of a run as JSON, one object per line: `{"step": 100, "split": "train", "loss": 0.25}`.
#[derive(Debug)]
pub struct JsonLog(Lines);

impl JsonLog {
    /// A new file; with `resume`, that of an earlier run up to this step.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(path: impl AsRef<Path>, resume: Option<u64>) -> Result<JsonLog> {
        let step = |line: &str| line.strip_prefix("{\"step\": ")?.split(',').next()?.parse().ok();
        Lines::open(path.as_ref(), "", resume.map(|at| (at, step as fn(&str) -> _))).map(JsonLog)
    }

    /// Writes what the event tells.
    ///
    /// # Errors
    /// If the file cannot be written, for example because the disk is full.
    pub fn record(&mut self, event: &Event, progress: &Progress) -> Result<()> {
        let Some((split, figures)) = figures_of(event) else { return Ok(()) };
        let mut line = format!("{{\"step\": {}, \"split\": \"{split}\"", progress.step);
        for (name, value) in figures {
            // JSON has no NaN and no infinity.
            let value = if value.is_finite() { value.to_string() } else { "null".into() };
            line += &format!(", {name:?}: {value}");
        }
        self.0.write(&format!("{line}}}\n"))
    }
}

fn figures_of<'a>(event: &Event<'a>) -> Option<(&'static str, &'a [(String, f64)])> {
    match event {
        Event::Train(figures) => Some(("train", figures)),
        Event::Validation(figures, _) => Some(("validation", figures)),
        _ => None,
    }
}
