//! Where the time of a program goes: `WGRAD_PROFILE=trace.json`, or [`profile`].
//!
//! A profiled program runs step by step: on a device with timestamps in one submission, where the time of a step is
//! that from the end of the one before to its own, so that the times add up to that of the program; elsewhere by the
//! clock of the host around submissions that are waited for. What overlaps is not shown, and the program itself takes
//! longer.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::Plans;
use super::check::Backend;
use super::fuse::{Base, Instruction, Program, Step};
use super::trace::{Graph, GraphNode};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::{Layout, Node};

/// Steps kept one by one; of later ones only the sums.
const MOST_EVENTS: usize = 1 << 20;

/// One step of a plan, once.
#[derive(Debug, Clone)]
pub struct Event {
    /// The op, or the ops of a fused kernel.
    pub name: String,
    /// Shape and type of the result.
    pub result: String,
    /// The line of the program that recorded it.
    pub at: &'static Location<'static>,
    /// When it began, in seconds since the profile was started, by the clock of the host.
    pub start: f64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Bytes of its inputs and results.
    pub bytes: u64,
}

/// All calls of one op from one line.
#[derive(Debug, Clone)]
pub struct Row {
    /// The op, or the ops of a fused kernel.
    pub name: String,
    /// The line of the program that recorded it.
    pub at: &'static Location<'static>,
    /// How often it ran.
    pub calls: u64,
    /// Seconds in all.
    pub seconds: f64,
    /// Bytes of inputs and results in all.
    pub bytes: u64,
}

/// What ran, and for how long.
#[derive(Debug, Clone)]
pub struct Profile {
    started: Instant,
    events: Vec<Event>,
    rows: HashMap<(String, &'static Location<'static>), Row>,
    runs: u64,
}

impl Default for Profile {
    fn default() -> Self {
        Profile { started: Instant::now(), events: Vec::new(), rows: HashMap::new(), runs: 0 }
    }
}

impl Profile {
    /// The steps in the order they ran, up to a million.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The sums by op and line, the most expensive first. It prints as a table.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.rows.values().cloned().collect();
        rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.name.cmp(&b.name)));
        rows
    }

    /// Seconds of all steps.
    pub fn seconds(&self) -> f64 {
        self.rows.values().map(|r| r.seconds).sum()
    }

    /// Writes the steps in the Chrome trace format, which Perfetto and chrome://tracing open.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut text = String::from("{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n");
        for (i, event) in self.events.iter().enumerate() {
            let comma = if i + 1 < self.events.len() { "," } else { "" };
            let (name, at) = (quoted(&event.name), quoted(&event.at.to_string()));
            let (start, duration) = (event.start * 1e6, event.seconds * 1e6);
            let (result, bytes) = (quoted(&event.result), event.bytes);
            let _ = writeln!(
                text,
                "{{\"ph\": \"X\", \"pid\": 1, \"tid\": 1, \"name\": {name}, \"ts\": {start:.3}, \"dur\": {duration:.3}, \
                 \"args\": {{\"at\": {at}, \"result\": {result}, \"bytes\": {bytes}}}}}{comma}"
            );
        }
        text += "]}\n";
        std::fs::write(path.as_ref(), text).map_err(|e| Error::File {
            path: path.as_ref().to_path_buf(),
            problem: format!("the profile cannot be written: {e}"),
            remedy: "name a file in a folder that exists and can be written".into(),
        })
    }

    fn note(&mut self, event: Event) {
        let row = self.rows.entry((event.name.clone(), event.at)).or_insert_with(|| Row {
            name: event.name.clone(),
            at: event.at,
            calls: 0,
            seconds: 0.0,
            bytes: 0,
        });
        row.calls += 1;
        row.seconds += event.seconds;
        row.bytes += event.bytes;
        if self.events.len() < MOST_EVENTS {
            self.events.push(event);
        }
    }
}

/// A table: share of the time, calls, mean time, rate of bytes, op, line.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.seconds();
        writeln!(f, "{:.3} ms in {} runs of plans, step by step", total * 1e3, self.runs)?;
        writeln!(f, "{:>7} {:>8} {:>11} {:>9}  op, and where it was recorded", "share", "calls", "us a call", "GB/s")?;
        for row in self.rows() {
            let share = 100.0 * row.seconds / total.max(f64::MIN_POSITIVE);
            let (mean, rate) = (row.seconds / row.calls as f64 * 1e6, row.bytes as f64 / row.seconds.max(1e-12) / 1e9);
            writeln!(f, "{share:>6.1}% {:>8} {mean:>11.2} {rate:>9.2}  {} at {}", row.calls, row.name, row.at)?;
        }
        Ok(())
    }
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Runs `work`, and takes the time of each step of every program on `device` meanwhile.
///
/// # Errors
/// Those of `work`.
pub fn profile<R>(device: &Device, work: impl FnOnce() -> Result<R>) -> Result<(R, Profile)> {
    let profiler = &device.attached(Plans::default).profiler;
    let before = profiler.replace(Some(Profile::default()));
    let result = work();
    let profile = profiler.replace(before).unwrap_or_default();
    Ok((result?, profile))
}

/// The profile of a device that is being taken.
pub(super) struct Profiler {
    current: Mutex<Option<Profile>>,
    /// Where `WGRAD_PROFILE` wants it.
    file: Option<PathBuf>,
}

impl Default for Profiler {
    fn default() -> Self {
        let file = std::env::var_os("WGRAD_PROFILE").filter(|p| !p.is_empty()).map(PathBuf::from);
        Profiler { current: Mutex::new(file.as_ref().map(|_| Profile::default())), file }
    }
}

impl Profiler {
    fn current(&self) -> MutexGuard<'_, Option<Profile>> {
        self.current.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn replace(&self, with: Option<Profile>) -> Option<Profile> {
        std::mem::replace(&mut *self.current(), with)
    }

    pub fn is_on(&self) -> bool {
        self.current().is_some()
    }

    /// Runs all steps of a program and takes their times.
    pub fn run(&self, program: &Program, graph: &Graph, sites: &[Arc<Node>], backend: &mut dyn Backend) -> Result<()> {
        let mut current = self.current();
        let profile = current.get_or_insert_default();
        let mut start = profile.started.elapsed().as_secs_f64();
        let groups = program.groups();
        let firsts: Vec<usize> = groups.iter().map(|group| group.start).collect();
        let times = backend.times(&firsts)?;
        let readers = program.readers();
        for (group, seconds) in groups.into_iter().zip(times) {
            // Of steps in one launch only what others read of their results counts, and what comes from outside, once.
            let (steps, mut event) = (&program.steps[group], None);
            let within: Vec<Base> = steps.iter().flat_map(|step| program.reads(step).map(|(base, _)| base)).collect();
            let outlives = |base: &Base| {
                readers.get(base).copied().unwrap_or(0) > within.iter().filter(|read| *read == base).count()
            };
            let (mut made, mut read) = (Vec::new(), Vec::new());
            for step in steps {
                let mut next = event_of(step, program, graph, sites, start, seconds);
                let stored = results(step, graph).filter(|(base, _)| outlives(base)).map(|(_, elements)| elements);
                let known = |base: &Base| made.contains(base) || read.contains(base);
                next.bytes = 4 * (traffic(step, program, known) + stored.sum::<usize>()) as u64;
                // A sum that a launch makes on its way is not what it is for.
                let beside = !program.reads(step).any(|(base, _)| made.contains(&base));
                made.extend(results(step, graph).map(|(base, _)| base));
                read.extend(program.reads(step).map(|(base, _)| base));
                event = Some(match event {
                    None => next,
                    Some(Event { name, at, bytes, result, .. }) => {
                        let result = if beside { result } else { next.result };
                        Event { name: format!("{name} + {}", next.name), at, bytes: bytes + next.bytes, result, ..next }
                    }
                });
            }
            event.into_iter().for_each(|event| profile.note(event));
            start += seconds;
        }
        profile.runs += 1;
        // A program that is killed leaves a trace too.
        match &self.file {
            Some(file) if profile.runs.is_power_of_two() => profile.write_trace(file),
            _ => Ok(()),
        }
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        if let (Some(file), Some(profile)) = (&self.file, &*self.current()) {
            match profile.write_trace(file) {
                Ok(()) => eprintln!("{profile}written to {}", file.display()),
                Err(e) => eprintln!("{profile}{e}"),
            }
        }
    }
}

/// The bases that a step makes, and their elements.
fn results<'a>(step: &'a Step, graph: &'a Graph) -> Box<dyn Iterator<Item = (Base, usize)> + 'a> {
    match step {
        Step::Fused(base, fused) => Box::new(std::iter::once((*base, fused.shape.elements()))),
        Step::Kernel(node) => {
            let metas = graph.nodes[*node].metas.iter().enumerate();
            Box::new(metas.map(|(k, meta)| (Base::Node(*node, k), meta.shape.elements())))
        }
    }
}

/// Elements that a step reads of bases that are not `known`.
fn traffic(step: &Step, program: &Program, known: impl Fn(&Base) -> bool) -> usize {
    // A broadcast axis is read once.
    let size = |l: &Layout| l.shape.iter().zip(&l.strides).filter(|(_, s)| **s != 0).map(|(n, _)| n).product::<usize>();
    program.reads(step).filter(|(base, _)| !known(base)).map(|(_, l)| size(l)).sum()
}

fn event_of(step: &Step, program: &Program, graph: &Graph, sites: &[Arc<Node>], start: f64, seconds: f64) -> Event {
    let (node, name, result) = match step {
        Step::Kernel(node) => {
            let GraphNode { op, metas, .. } = &graph.nodes[*node];
            (*node, format!("{op:?}"), format!("{} {}", metas[0].dtype, metas[0].shape))
        }
        Step::Fused(base, fused) => {
            // A dense copy of a view belongs to the op that reads it.
            let reads = |n: &usize| program.inputs.get(n).is_some_and(|i| i.iter().any(|(b, _)| b == base));
            let node = match *base {
                Base::Node(node, _) => node,
                _ => (0..graph.nodes.len()).find(reads).unwrap_or(0),
            };
            let apply = |(i, _): &(Instruction, _)| match i {
                Instruction::Apply { node, .. } => *node,
                _ => None,
            };
            let ops: Vec<String> =
                fused.code.iter().filter_map(apply).map(|n| format!("{:?}", graph.nodes[n].op)).collect();
            let name = if ops.is_empty() { "copy".into() } else { ops.join(" ") };
            (node, name, format!("{} {}", fused.dtype, fused.shape))
        }
    };
    Event { name, result, at: sites[node].at, start, seconds, bytes: 0 }
}
