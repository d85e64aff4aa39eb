//! Which variant of a kernel is the fastest here: measured, kept on disk, and used by the plans that are made after.
//!
//! A product or a convolution can be made by several kernels, and a table by sizes chooses one ([`Caps`]). The table
//! knows no adapter. So the ops that are planned are noted by their class (the op, its shapes rounded up, how its
//! operands lie), and each class can be timed over all variants that can serve: by [`Device::tune`], or with
//! `WGRAD_TUNE=on` one class at a time between steps, once no new plan has been made for a while. The first step is
//! never kept waiting.
//!
//! A plan that exists keeps its kernels, and what is measured between steps is only for the next process, so the same
//! seed on the same device with the same file gives the same bits. [`Device::tune`] lets go of the plans: the steps
//! after it may differ from those before in the last digits, as sums are added up in another order.
//!
//! The file lies beside the compiled kernels, one per adapter and driver. An entry also carries a digest of the texts
//! of all kernels that were compared; where they have changed since, it is none.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Plans;
use super::gpu::bound_range;
use super::halves;
use super::value::caps_of;
use crate::device::{Binding, Device, Encoded, Gpu, Tune};
use crate::error::{Error, Result};
use crate::tensor::{
    AnyOp, Caps, DType, Layout, Lower, LoweredDispatch, Meta, Slot, Store, SumWanted, VARIANTS, Virtual,
};

/// What the table of an op chooses, as the name of a variant.
const TABLE: &str = "table";
/// A variant is taken in place of the table's if it needs less than this part of its time: a tie is none to act upon.
const WORTH: f64 = 0.95;
/// A variant that takes so many times as long as the fastest is not run again.
const HOPELESS: f64 = 4.0;
/// Times in a row that a variant runs in a round.
const REPEATS: usize = 5;
/// Rounds of each variant, the first of which does not count; after three of them the time for one class may end it.
const ROUNDS: usize = 20;
const TIME_PER_CLASS: Duration = Duration::from_millis(300);
/// Evaluations without a new plan after which a program is in its steady state, and between two measured classes then.
const STEADY: usize = 32;
const PAUSE: usize = 8;
/// Classes noted of a process.
const MOST_CLASSES: usize = 4096;

/// One class of products or convolutions, timed.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The op, and of each operand the shape (rounded up), the axis along which it runs on, and its type.
    pub class: String,
    /// Seconds of the fastest run of each variant; that of the table of choices first, under the name `table`.
    pub times: Vec<(&'static str, f64)>,
    /// The kernels that the table chose.
    pub table: String,
    /// What plans take from now on.
    pub chosen: &'static str,
}

/// An input of an op, as it lay when it was planned.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub meta: Meta,
    pub layout: Layout,
    pub half: bool,
}

/// An op as it was planned.
#[derive(Debug)]
pub(super) struct Met {
    pub op: Arc<dyn AnyOp>,
    pub inputs: Vec<Operand>,
    pub outputs: Vec<Meta>,
}

/// What is known of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    variant: &'static str,
    digest: String,
    /// For whoever reads the file.
    times: String,
}

/// What a device knows of its variants.
#[derive(Debug, Default)]
pub(super) struct Tuning(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What plans go by: the file as it was found, or the last call of `tune`.
    choices: Option<BTreeMap<String, Choice>>,
    /// The same, held against the kernels of this build.
    checked: BTreeMap<String, Option<&'static str>>,
    met: BTreeMap<String, Arc<Met>>,
    /// Measured in this process.
    measured: BTreeMap<String, Choice>,
    /// Evaluations since the last plan was made, or the last class measured.
    quiet: usize,
    steady: bool,
}

impl Met {
    /// What it has in common with all ops that are measured as one.
    fn class(&self) -> String {
        let mut text = format!("{:?}", self.op);
        for Operand { meta, layout, half } in &self.inputs {
            let extents: Vec<String> = layout.shape.iter().map(|&n| rounded(n).to_string()).collect();
            let along = layout.strides.iter().rposition(|&s| s == 1).map_or("-".into(), |axis| axis.to_string());
            let whole = layout.offset % 4 == 0 && layout.strides.iter().all(|&s| s == 1 || s % 4 == 0);
            let dtype = if *half { "half".into() } else { meta.dtype.to_string() };
            let _ = write!(text, " [{}] along {along}{} {dtype}", extents.join(","), if whole { " by 4" } else { "" });
        }
        text.replace(['\t', '\n'], " ")
    }
}

/// The next power of two, or three quarters of it: sizes within a third of each other are one class.
fn rounded(n: usize) -> usize {
    let above = n.next_power_of_two();
    match n {
        0 => 0,
        n if n <= above / 4 * 3 => above / 4 * 3,
        _ => above,
    }
}

impl Tuning {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes an op that is being planned; the variant that was measured to be the fastest for its class, if one was.
    pub fn choice(&self, met: Met, caps: Caps, gpu: &Gpu) -> Option<&'static str> {
        if gpu.tune() == Tune::Off {
            return None;
        }
        let class = met.class();
        let mut state = self.lock();
        (state.quiet, state.steady) = (0, false);
        let known = state.choices.get_or_insert_with(|| read(gpu)).get(&class).cloned();
        let checked = known.and_then(|choice| match state.checked.get(&class) {
            Some(&checked) => checked,
            None => {
                let right = digest(&candidates(&met, caps)) == choice.digest;
                let checked = (right && choice.variant != TABLE).then_some(choice.variant);
                state.checked.insert(class.clone(), checked);
                checked
            }
        });
        if state.met.len() < MOST_CLASSES {
            state.met.entry(class).or_insert_with(|| Arc::new(met));
        }
        checked
    }

    /// Between two evaluations of a program that is to be measured: times one class, now and then, for the next
    /// process.
    pub fn after_evaluation(&self, gpu: &Gpu) -> Result<()> {
        if gpu.tune() != Tune::Measure {
            return Ok(());
        }
        let next = {
            let mut state = self.lock();
            state.quiet += 1;
            if state.quiet < if state.steady { PAUSE } else { STEADY } {
                return Ok(());
            }
            (state.quiet, state.steady) = (0, true);
            let known = |class: &String| state.checked.contains_key(class) || state.measured.contains_key(class);
            state.met.iter().find(|(class, _)| !known(class)).map(|(class, met)| (class.clone(), Arc::clone(met)))
        };
        let Some((class, met)) = next else { return Ok(()) };
        let (choice, _) = measure(class.clone(), &met, gpu)?;
        let mut state = self.lock();
        state.measured.insert(class, choice);
        write(gpu, &state.measured);
        Ok(())
    }
}

impl Device {
    /// Times every product and every convolution that was planned on this device over all kernels that can make it, on
    /// other numbers of the same shapes, and takes the fastest from now on: in this process, whose plans are made anew,
    /// and in those after it (see [`crate::device::GpuOptions::tune`]). What only one kernel can make is left out; a
    /// device that is no GPU has nothing to choose.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn tune(&self) -> Result<Vec<Measured>> {
        let Some(gpu) = self.as_gpu() else { return Ok(Vec::new()) };
        let plans = self.attached(Plans::default);
        let met: Vec<(String, Arc<Met>)> =
            plans.tuning.lock().met.iter().map(|(class, met)| (class.clone(), Arc::clone(met))).collect();
        let mut all = Vec::new();
        for (class, met) in met {
            let (choice, measured) = measure(class.clone(), &met, gpu)?;
            plans.tuning.lock().measured.insert(class, choice);
            all.extend(measured);
        }
        {
            let mut state = plans.tuning.lock();
            let mut choices = state.choices.take().unwrap_or_default();
            choices.extend(state.measured.clone());
            (state.choices, state.checked) = (Some(choices), BTreeMap::new());
            write(gpu, &state.measured);
        }
        plans.kept.lock().unwrap_or_else(|e| e.into_inner()).clear();
        Ok(all)
    }
}

/// One way to make an op.
struct Candidate {
    name: &'static str,
    launches: Vec<LoweredDispatch>,
    /// Words of each virtual buffer, inputs first.
    words: Vec<usize>,
}

/// The ways to make an op that differ, that of the table first.
fn candidates(met: &Met, caps: Caps) -> Vec<Candidate> {
    let mut all = vec![Alone::lower(TABLE, met, Caps { variant: None, ..caps })];
    for &(name, serves) in VARIANTS.iter() {
        if serves(&caps) {
            let candidate = Alone::lower(name, met, Caps { variant: Some(name), ..caps });
            if all.iter().all(|other| other.launches != candidate.launches) {
                all.push(candidate);
            }
        }
    }
    all
}

/// A digest of the kernels of all candidates.
fn digest(candidates: &[Candidate]) -> String {
    let mut digest = Sha256::new();
    for Candidate { name, launches, .. } in candidates {
        digest.update(name);
        for launch in launches {
            digest.update(&*launch.shader.source);
            digest.update(format!("{} {:?}", launch.entry, launch.constants));
        }
    }
    digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The lowering of one op by itself: each input, each output and each scratch a buffer of its own.
struct Alone<'a> {
    met: &'a Met,
    native_half: bool,
    launches: Vec<LoweredDispatch>,
    words: Vec<usize>,
    outputs: Vec<Option<Slot>>,
}

impl Alone<'_> {
    fn lower(name: &'static str, met: &Met, caps: Caps) -> Candidate {
        let mut alone = Alone {
            met,
            native_half: caps.native_half,
            launches: Vec::new(),
            words: vec![0; met.inputs.len()],
            outputs: vec![None; met.outputs.len()],
        };
        if let Some(lower) = met.op.lower().kernel() {
            let metas: Vec<Meta> = met.inputs.iter().map(|input| input.meta.clone()).collect();
            lower(&mut Lower::new(&mut alone, &metas, &met.outputs, caps));
        }
        Candidate { name, launches: alone.launches, words: alone.words }
    }

    fn input(&mut self, i: usize, offset: usize, len: usize) -> Slot {
        let slot = Slot { buffer: Virtual(i as u32), offset, len, half: self.met.inputs[i].half };
        let (first, bytes) = slot.bytes();
        self.words[i] = self.words[i].max((first + bytes) as usize / 4);
        slot
    }
}

impl Store for Alone<'_> {
    fn dense(&mut self, i: usize) -> Slot {
        self.input(i, 0, self.met.inputs[i].layout.shape.elements())
    }

    fn strided(&mut self, i: usize) -> (Slot, Layout) {
        let Operand { layout, half, .. } = &self.met.inputs[i];
        let (_, len, within) = bound_range(layout.offset, layout, *half);
        (self.input(i, 0, len), within)
    }

    fn temp(&mut self, elements: usize) -> Slot {
        self.words.push(elements);
        Slot { buffer: Virtual(self.words.len() as u32 - 1), offset: 0, len: elements, half: false }
    }

    fn output(&mut self, k: usize) -> Slot {
        if let Some(slot) = self.outputs[k] {
            return slot;
        }
        let slot = self.temp(self.met.outputs[k].shape.elements());
        self.outputs[k] = Some(slot);
        slot
    }

    fn sum_wanted(&self, _: usize, _: &[usize]) -> Option<SumWanted> {
        None
    }

    fn make_sum(&mut self, _: SumWanted) -> Slot {
        unreachable!("an op by itself is not wanted a sum of")
    }

    fn push(&mut self, mut launch: LoweredDispatch) {
        launch.shader = halves::read_widened(&launch, self.native_half);
        self.launches.push(launch);
    }
}

/// Times all ways to make an op. The second is `None` if there is only one, or if they cannot be run by themselves.
fn measure(class: String, met: &Met, gpu: &Gpu) -> Result<(Choice, Option<Measured>)> {
    let caps = caps_of(gpu)?;
    let all = candidates(met, caps);
    let none = Choice { variant: TABLE, digest: digest(&all), times: String::new() };
    let floats = met.inputs.iter().all(|input| matches!(input.meta.dtype, DType::F32 | DType::F16));
    let most = all.iter().flat_map(|c| &c.words).max().copied().unwrap_or(0) as u64 * 4;
    if all.len() < 2 || !floats || most > caps.max_binding {
        return Ok((none, None));
    }
    let seconds = match time(met, &all, gpu) {
        Ok(seconds) => seconds,
        // Beside what the program holds there is no room to try.
        Err(Error::OutOfMemory { .. }) => return Ok((none, None)),
        Err(fault) => return Err(fault),
    };
    let times: Vec<(&'static str, f64)> = all.iter().map(|c| c.name).zip(seconds).collect();
    let fastest = times.iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("there are two at least");
    let chosen = if fastest.1 < WORTH * times[0].1 { fastest.0 } else { TABLE };
    let text: Vec<String> = times.iter().map(|(name, s)| format!("{name} {:.1} us", s * 1e6)).collect();
    let kernels: Vec<String> = all[0].launches.iter().map(|l| format!("{}/{}", l.shader.name, l.entry)).collect();
    let measured = Measured { class, times, table: kernels.join(", "), chosen };
    Ok((Choice { variant: chosen, times: text.join(", "), ..none }, Some(measured)))
}

/// Seconds of the fastest run of each candidate, one after another and again, on noise.
fn time(met: &Met, all: &[Candidate], gpu: &Gpu) -> Result<Vec<f64>> {
    let buffers = all.iter().map(|c| c.words.len()).max().unwrap_or(0);
    let words = |i: usize| all.iter().filter_map(|c| c.words.get(i)).max().copied().unwrap_or(0).max(1);
    let buffers =
        (0..buffers).map(|i| gpu.allocate(words(i) as u64 * 4, "a measurement")).collect::<Result<Vec<_>>>()?;
    for (i, input) in met.inputs.iter().enumerate() {
        gpu.write(&buffers[i], 0, &noise(words(i), input.half));
    }
    let mut prepared = Vec::new();
    for candidate in all {
        let kernels: Vec<_> = candidate.launches.iter().map(|d| (&d.shader, d.entry, &d.constants[..])).collect();
        let bindings: Vec<Vec<Binding>> = candidate
            .launches
            .iter()
            .map(|d| {
                let bind = d.bindings.iter().map(|bind| {
                    let (offset, bytes) = bind.slot.bytes();
                    let buffer = &*buffers[bind.slot.buffer.0 as usize];
                    Binding { buffer, offset, size: bytes.max(4), write: bind.write }
                });
                bind.collect()
            })
            .collect();
        prepared.push((candidate, gpu.pipelines(&kernels)?, bindings));
    }
    let mut least = vec![f64::INFINITY; all.len()];
    let begun = Instant::now();
    for round in 0..ROUNDS {
        let best = least.iter().copied().fold(f64::INFINITY, f64::min);
        for ((candidate, pipelines, bindings), least) in prepared.iter().zip(&mut least) {
            if round > 1 && *least > HOPELESS * best {
                continue;
            }
            // The same numbers for all, whatever a candidate made of them.
            (0..met.inputs.len()).for_each(|i| gpu.write(&buffers[i], 0, &noise(1, met.inputs[i].half)));
            let encoded: Vec<Encoded> = candidate
                .launches
                .iter()
                .zip(pipelines.iter().zip(bindings))
                .map(|(d, (pipeline, bindings))| Encoded {
                    pipeline,
                    bindings,
                    params: &d.params,
                    groups: d.work.grid(),
                })
                .collect();
            // The first of them bring the device to its pace, and in the first round some drivers compile.
            let again: Vec<Encoded> = std::iter::repeat_n(&encoded, REPEATS).flatten().copied().collect();
            let seconds = gpu.submit_timed(&again, &[encoded.len(); REPEATS])?;
            if round > 0 {
                *least = seconds.into_iter().fold(*least, f64::min);
            }
        }
        if round >= 3 && begun.elapsed() > TIME_PER_CLASS {
            break;
        }
    }
    Ok(least)
}

/// Numbers of both signs below 1, none of them 0, as the words of a buffer.
fn noise(words: usize, half: bool) -> Vec<u8> {
    let number = |i: usize| {
        let mixed = (i as u32).wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
        let size = ((mixed >> 16) + 1) as f32 / 65537.0;
        if mixed & 1 == 0 { size } else { -size }
    };
    match half {
        true => {
            bytemuck::cast_slice(&(0..2 * words).map(|i| half::f16::from_f32(number(i))).collect::<Vec<_>>()).to_vec()
        }
        false => bytemuck::cast_slice(&(0..words).map(number).collect::<Vec<_>>()).to_vec(),
    }
}

/// The choices of earlier processes: lines of class, variant, digest and times. What is not understood is left out.
fn read(gpu: &Gpu) -> BTreeMap<String, Choice> {
    let text = gpu.choices().unwrap_or_default();
    let choice = |line: &str| {
        let mut fields = line.split('\t').map(str::to_string);
        let (class, name, digest, times) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let names = VARIANTS.iter().map(|&(name, _)| name).chain([TABLE]);
        let variant = names.into_iter().find(|known| **known == name)?;
        Some((class, Choice { variant, digest, times }))
    };
    text.lines().filter_map(choice).collect()
}

/// Adds to the choices of other processes.
fn write(gpu: &Gpu, measured: &BTreeMap<String, Choice>) {
    let mut all = read(gpu);
    all.extend(measured.clone());
    let line = |(class, c): (&String, &Choice)| format!("{class}\t{}\t{}\t{}\n", c.variant, c.digest, c.times);
    gpu.keep_choices(&all.iter().map(line).collect::<String>());
}
