//! Runs that look at every step: `WGRAD_CHECK`.
//!
//! Somebody else's GPU is where kernels go wrong, and a wrong number there is a loss curve that is a little worse. So a
//! program can be run one step at a time (or those that share a launch), fused kernels and updates in place included:
//! what it reads is fetched, the step runs, and what it wrote is held against the CPU code of the ops it stands for, in
//! double precision, on the same inputs. Errors do not add up that way, so the first step that disagrees is the one to
//! blame.
//!
//! The allowed error is what the same formula loses in single precision on the CPU, twenty times over, and at least
//! 1e-5 of the largest value: Vulkan lets a GPU's sine be that wrong.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::fuse::{Base, Fused, Instruction, Program, Step};
use super::trace::Graph;
use crate::device::{Check, Device, Shader};
use crate::error::{Error, Result};
use crate::reference::{Array, Data, Real, View, for_each_position, strides_of};
use crate::tensor::{AnyOp, DType, Layout, Node};

/// A run of a plan that can be stopped after each step.
pub(super) trait Backend {
    /// What a base holds now, a word per element, halves widened; nothing if it has no memory yet.
    fn words(&mut self, base: Base) -> Result<Vec<u32>>;
    /// Runs a step, the first of its group, and what shares its launches.
    fn run(&mut self, step: usize) -> Result<()>;
    /// Runs these steps, each the first of its group, to their end, and says how many seconds each took.
    fn times(&mut self, steps: &[usize]) -> Result<Vec<f64>>;
    /// Its kernels.
    fn shaders(&self, step: usize) -> Vec<Shader>;
}

/// What a checked run knows of its program.
pub(super) struct Inspect<'a> {
    pub device: &'a Device,
    pub graph: &'a Graph,
    /// The nodes of this run: a plan may have been made for another place of the program.
    pub sites: &'a [Arc<Node>],
    pub check: Check,
}

/// Operations in either precision.
trait Precision: Real {
    fn apply(op: &dyn AnyOp, inputs: &[View<Self>]) -> Vec<Array<Self>>;
}

impl Precision for f32 {
    fn apply(op: &dyn AnyOp, inputs: &[View<f32>]) -> Vec<Array<f32>> {
        op.reference_f32(inputs)
    }
}

impl Precision for f64 {
    fn apply(op: &dyn AnyOp, inputs: &[View<f64>]) -> Vec<Array<f64>> {
        op.reference_f64(inputs)
    }
}

/// A value that went into or came out of a step, with its type; halves as single floats.
struct Seen {
    words: Vec<u32>,
    dtype: DType,
}

impl Seen {
    fn data<T: Real>(&self) -> Data<T> {
        match self.dtype {
            DType::I32 => Data::Int(bytemuck::cast_slice(&self.words).to_vec()),
            DType::F32 | DType::F16 => {
                Data::Float(self.words.iter().map(|&w| T::of(f32::from_bits(w) as f64)).collect())
            }
            _ => Data::Uint(self.words.clone()),
        }
    }

    fn show(&self, i: usize) -> String {
        match self.dtype {
            DType::F32 | DType::F16 => format!("{:e}", f32::from_bits(self.words[i])),
            DType::I32 => (self.words[i] as i32).to_string(),
            _ => self.words[i].to_string(),
        }
    }
}

/// What a step reads.
enum Given {
    /// From memory.
    Seen(Seen),
    /// Output `k` of an earlier step, by its place in the group, in whose launches this one runs.
    Made(usize, usize),
}

impl Given {
    fn seen(&self) -> Option<&Seen> {
        match self {
            Given::Seen(seen) => Some(seen),
            Given::Made(..) => None,
        }
    }

    fn data<'a, T: Real>(&self, made: &'a [Vec<Data<T>>]) -> Cow<'a, Data<T>> {
        match self {
            Given::Seen(seen) => Cow::Owned(seen.data()),
            Given::Made(step, k) => Cow::Borrowed(&made[*step][*k]),
        }
    }
}

/// Steps that share launches, and per step what it reads, with the layouts by which it reads.
struct Group<'a> {
    steps: &'a [Step],
    inputs: Vec<Vec<(Given, Layout)>>,
}

impl Group<'_> {
    /// What comes from memory, over all steps.
    fn seen(&self) -> impl Iterator<Item = (&Seen, &Layout)> {
        self.inputs.iter().flatten().filter_map(|(given, layout)| Some((given.seen()?, layout)))
    }
}

impl Inspect<'_> {
    /// Runs all steps of a program, and stops after the first that is not as it should be.
    pub fn run(&self, program: &Program, scalars: &[u32], backend: &mut dyn Backend) -> Result<()> {
        for range in program.groups() {
            let group = self.group(program, &program.steps[range.clone()], scalars, backend)?;
            backend.run(range.start)?;
            let outputs = group.steps.iter().map(|step| self.outputs(step, backend)).collect::<Result<Vec<_>>>()?;
            let fault = match self.check {
                Check::Finite => self.not_finite(&group, &outputs, scalars),
                _ => self.disagreement(program, &group, &outputs, scalars),
            };
            if let Some(fault) = fault {
                let shaders = backend.shaders(range.start);
                return Err(Error::Check(self.report(&group, &outputs, &fault, &shaders)));
            }
        }
        Ok(())
    }

    fn group<'a>(
        &self,
        program: &Program,
        steps: &'a [Step],
        scalars: &[u32],
        backend: &mut dyn Backend,
    ) -> Result<Group<'a>> {
        let mut seen: HashMap<Base, Vec<u32>> = HashMap::new();
        let mut made: HashMap<Base, (usize, usize)> = HashMap::new();
        let mut inputs = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let dtypes: Vec<DType> = match step {
                Step::Fused(_, fused) => fused.operands.iter().map(|o| o.dtype).collect(),
                Step::Kernel(node) => self.graph.nodes[*node].input_metas.iter().map(|m| m.dtype).collect(),
            };
            let mut given = Vec::new();
            for ((base, layout), dtype) in program.reads(step).zip(dtypes) {
                let words = match (base, made.get(&base)) {
                    (_, Some(&(step, k))) => {
                        given.push((Given::Made(step, k), layout.clone()));
                        continue;
                    }
                    (Base::Scalar(l), _) => vec![scalars[l]],
                    _ if layout.shape.elements() == 0 => Vec::new(),
                    _ => match seen.get(&base) {
                        Some(words) => words.clone(),
                        None => seen.entry(base).or_insert(backend.words(base)?).clone(),
                    },
                };
                given.push((Given::Seen(Seen { words, dtype }), layout.clone()));
            }
            inputs.push(given);
            match step {
                Step::Fused(base, _) => _ = made.insert(*base, (at, 0)),
                Step::Kernel(node) => (0..self.graph.nodes[*node].metas.len())
                    .for_each(|k| _ = made.insert(Base::Node(*node, k), (at, k))),
            }
        }
        Ok(Group { steps, inputs })
    }

    fn outputs(&self, step: &Step, backend: &mut dyn Backend) -> Result<Vec<Seen>> {
        let of = |base, elements: usize, dtype, backend: &mut dyn Backend| {
            let mut words = if elements == 0 { Vec::new() } else { backend.words(base)? };
            words.truncate(elements);
            Ok(Seen { words, dtype })
        };
        match step {
            Step::Fused(base, fused) => Ok(vec![of(*base, fused.shape.elements(), fused.dtype, backend)?]),
            Step::Kernel(node) => {
                let metas = self.graph.nodes[*node].metas.iter().enumerate();
                metas.map(|(k, m)| of(Base::Node(*node, k), m.shape.elements(), m.dtype, backend)).collect()
            }
        }
    }

    fn disagreement(&self, program: &Program, group: &Group, outputs: &[Vec<Seen>], scalars: &[u32]) -> Option<Fault> {
        let want = self.replay::<f64>(group, scalars);
        let single = self.replay::<f32>(group, scalars);
        let all = outputs.iter().enumerate().flat_map(|(step, o)| o.iter().enumerate().map(move |(k, o)| (step, k, o)));
        all.into_iter().find_map(|(step, output, got)| {
            // An output that nobody reads may have no memory, nor does what only its own launch reads.
            if got.words.is_empty() {
                return None;
            }
            let halves = group.steps.iter().any(|step| rounds_to_half(program, step, output));
            let (element, text) = compare(got, &want[step][output], &single[step][output], halves)?;
            Some(Fault { step, output, element, text })
        })
    }

    /// What the CPU code makes of the inputs of a group: the outputs of each step.
    fn replay<T: Precision>(&self, group: &Group, scalars: &[u32]) -> Vec<Vec<Data<T>>> {
        let mut made: Vec<Vec<Data<T>>> = Vec::new();
        for (step, inputs) in group.steps.iter().zip(&group.inputs) {
            let outputs = match step {
                Step::Kernel(node) => {
                    let data: Vec<Cow<Data<T>>> = inputs.iter().map(|(given, _)| given.data(&made)).collect();
                    let views: Vec<View<T>> = data
                        .iter()
                        .zip(inputs)
                        .map(|(data, (_, l))| View {
                            shape: &l.shape,
                            strides: l.strides.clone(),
                            offset: l.offset,
                            data,
                        })
                        .collect();
                    let outputs = T::apply(&*self.graph.nodes[*node].op, &views);
                    outputs.into_iter().map(|a| a.data).collect()
                }
                Step::Fused(_, fused) => {
                    let mut values = self.replay_fused::<T>(fused, inputs, &made, scalars);
                    vec![values.pop().expect("a fused kernel has code")]
                }
            };
            made.push(outputs);
        }
        made
    }

    /// The values of all instructions of a fused kernel, op by op.
    fn replay_fused<T: Precision>(
        &self,
        fused: &Fused,
        inputs: &[(Given, Layout)],
        made: &[Vec<Data<T>>],
        scalars: &[u32],
    ) -> Vec<Data<T>> {
        let n = fused.shape.elements();
        let mut values: Vec<Data<T>> = Vec::new();
        for (instruction, dtype) in &fused.code {
            let value = match instruction {
                Instruction::Load(k) => {
                    let (given, layout) = &inputs[*k];
                    let mut at = Vec::with_capacity(n);
                    for_each_position(&layout.shape, &layout.strides, layout.offset, |i| at.push(i));
                    match &*given.data(made) {
                        Data::Float(v) => Data::Float(at.iter().map(|&i| v[i]).collect()),
                        Data::Int(v) => Data::Int(at.iter().map(|&i| v[i]).collect()),
                        Data::Uint(v) => Data::Uint(at.iter().map(|&i| v[i]).collect()),
                    }
                }
                Instruction::Scalar(k) => Seen { words: vec![scalars[fused.scalars[*k].0]; n], dtype: *dtype }.data(),
                Instruction::Apply { args, node, .. } => {
                    let node = node.expect("steps of a program are made of nodes");
                    let strides = strides_of(&fused.shape);
                    let view = |&a: &usize| View {
                        shape: &fused.shape,
                        strides: strides.clone(),
                        offset: 0,
                        data: &values[a],
                    };
                    let views: Vec<View<T>> = args.iter().map(view).collect();
                    T::apply(&*self.graph.nodes[node].op, &views).swap_remove(0).data
                }
            };
            values.push(value);
        }
        values
    }

    /// The first element that is not finite although everything it was made of is.
    fn not_finite(&self, group: &Group, outputs: &[Vec<Seen>], scalars: &[u32]) -> Option<Fault> {
        let read = |test: fn(f32) -> bool| {
            group.seen().filter(|(seen, _)| seen.dtype.is_float()).any(|(seen, l)| {
                let mut found = false;
                for_each_position(&l.shape, &l.strides, l.offset, |i| found |= test(f32::from_bits(seen.words[i])));
                found
            })
        };
        let (nan_in, infinite_in) = (read(f32::is_nan), read(f32::is_infinite));
        if nan_in {
            // It came from outside the program: what the program makes is caught when it is made.
            let text = "a NaN is among the numbers given to it".into();
            return Some(Fault { step: 0, output: 0, element: 0, text });
        }
        let all = outputs.iter().enumerate().flat_map(|(step, o)| o.iter().enumerate().map(move |(k, o)| (step, k, o)));
        for (step, output, seen) in all.filter(|(.., seen)| seen.dtype.is_float()) {
            let bad = |w: &u32| {
                let x = f32::from_bits(*w);
                x.is_nan() || (x.is_infinite() && !infinite_in)
            };
            if let Some(element) = seen.words.iter().position(bad) {
                let mut text = format!("element {element} is {}, made of finite numbers", seen.show(element));
                if infinite_in {
                    text = format!("element {element} is NaN, made of infinities");
                }
                if let Step::Fused(_, fused) = &group.steps[step] {
                    text += &self.first_bad(fused, group, step, scalars, element);
                }
                return Some(Fault { step, output, element, text });
            }
        }
        None
    }

    /// Which op inside a fused kernel made the first number that is not finite, by the CPU's account.
    fn first_bad(&self, fused: &Fused, group: &Group, step: usize, scalars: &[u32], element: usize) -> String {
        let made = self.replay::<f32>(group, scalars);
        let values = self.replay_fused::<f32>(fused, &group.inputs[step], &made, scalars);
        let at = |v: usize| match &values[v] {
            Data::Float(x) => x[element] as f64,
            Data::Int(x) => x[element] as f64,
            Data::Uint(x) => x[element] as f64,
        };
        for (number, (instruction, _)) in fused.code.iter().enumerate() {
            if let (Instruction::Apply { args, node: Some(node), .. }, false) = (instruction, at(number).is_finite())
                && args.iter().all(|&a| at(a).is_finite())
            {
                let went_in: Vec<String> = args.iter().map(|&a| format!("{:e}", at(a))).collect();
                let (op, value) = (&self.graph.nodes[*node].op, at(number));
                let place = self.sites[*node].at;
                return format!("\n  made by {op:?} of ({}) = {value:e}, recorded at {place}", went_in.join(", "));
            }
        }
        String::new()
    }

    /// What a step computes, for a person, and the last of its nodes.
    fn title(&self, step: &Step) -> (String, Option<usize>) {
        match step {
            Step::Kernel(node) => (format!("{:?}", self.graph.nodes[*node].op), Some(*node)),
            Step::Fused(_, fused) => {
                let nodes: Vec<usize> = fused.code.iter().filter_map(|(i, _)| instruction_node(i)).collect();
                let ops: Vec<String> = nodes.iter().map(|&n| format!("{:?}", self.graph.nodes[n].op)).collect();
                let what = if ops.is_empty() { "a copy".into() } else { format!("[{}]", ops.join(", ")) };
                (format!("a fused kernel of {what}"), nodes.last().copied())
            }
        }
    }

    fn report(&self, group: &Group, outputs: &[Vec<Seen>], fault: &Fault, shaders: &[Shader]) -> String {
        let titles: Vec<String> = group.steps.iter().map(|step| self.title(step).0).collect();
        let mut text = format!("WGRAD_CHECK on {}: {}", self.device, titles.join(", and in its launch "));
        if let Some(node) = self.title(&group.steps[fault.step]).1 {
            let _ = write!(text, "\n  recorded at {}", self.sites[node].at);
        }
        let shape = match &group.steps[fault.step] {
            Step::Kernel(node) => self.graph.nodes[*node].metas[fault.output].shape.clone(),
            Step::Fused(_, fused) => fused.shape.clone(),
        };
        let dtype = outputs[fault.step][fault.output].dtype;
        let _ = write!(text, "\n  output {} {dtype} {shape}: {}", fault.output, fault.text);
        let inputs: Vec<(&Seen, &Layout)> = group.seen().collect();
        let outputs: Vec<&Seen> = outputs.iter().flatten().collect();
        for (i, (seen, layout)) in inputs.iter().enumerate() {
            let _ =
                write!(text, "\n  input {i} {} {}: {}", seen.dtype, layout.shape, glance(seen, layout, fault.element));
        }
        for shader in shaders {
            let _ = write!(text, "\n  shader {} ({} lines)", shader.name, shader.source.lines().count());
        }
        match std::env::var("WGRAD_DUMP") {
            _ if shaders.is_empty() => {}
            Ok(folder) if !folder.is_empty() => match dump(&folder, &inputs, &outputs, shaders) {
                Ok(()) => _ = write!(text, "\n  its WGSL, inputs and outputs are in {folder}"),
                Err(e) => _ = write!(text, "\n  {folder} cannot be written: {e}"),
            },
            _ => text += "\n  set WGRAD_DUMP=FOLDER to have its WGSL, inputs and outputs written there",
        }
        text
    }
}

struct Fault {
    /// Within the group.
    step: usize,
    output: usize,
    element: usize,
    text: String,
}

fn instruction_node(instruction: &Instruction) -> Option<usize> {
    match instruction {
        Instruction::Apply { node, .. } => *node,
        _ => None,
    }
}

/// Whether an output of the step, or a value on the way to it, is rounded to half: where it lies between two halves,
/// the last digit of single precision decides which one it becomes.
fn rounds_to_half(program: &Program, step: &Step, output: usize) -> bool {
    match step {
        Step::Fused(_, fused) => fused.code.iter().any(|(_, dtype)| *dtype == DType::F16),
        Step::Kernel(node) => program.halves.contains(&Base::Node(*node, output)),
    }
}

/// The worst element, if it is beyond what is allowed.
fn compare(got: &Seen, want: &Data<f64>, single: &Data<f32>, halves: bool) -> Option<(usize, String)> {
    let whole = |wanted: &dyn Fn(usize) -> (u32, String)| {
        let i = (0..got.words.len()).find(|&i| got.words[i] != wanted(i).0)?;
        Some((i, format!("element {i} is {}, the CPU has {}; whole numbers must be equal", got.show(i), wanted(i).1)))
    };
    match (want, single) {
        (Data::Int(_), Data::Int(want)) => whole(&|i| (want[i] as u32, want[i].to_string())),
        (Data::Uint(_), Data::Uint(want)) => whole(&|i| (want[i], want[i].to_string())),
        (Data::Float(want), Data::Float(single)) => {
            let finite = |x: &f64| x.is_finite();
            let largest = want.iter().copied().filter(finite).fold(0.0, |m: f64, x| m.max(x.abs()));
            let lost = want.iter().zip(single).map(|(w, &s)| (w - s as f64).abs()).filter(finite).fold(0.0, f64::max);
            // Below the smallest normal number an adapter may flush to zero.
            let digit = if halves { f64::exp2(-10.0) * largest + f64::exp2(-24.0) } else { 0.0 };
            let allowed = (20.0 * lost).max(1e-5 * largest) + digit + 1.2e-38;
            let error = |i: usize| {
                let (g, w, s) = (f32::from_bits(got.words[i]), want[i], single[i]);
                // Where single precision overflows, so may the step.
                if g == s || (g.is_nan() && (w.is_nan() || s.is_nan())) || g as f64 == w || g == w as f32 {
                    return 0.0;
                }
                let e = (g as f64 - w).abs();
                if e.is_nan() { f64::INFINITY } else { e.min((g as f64 - s as f64).abs()) }
            };
            let worst = (0..want.len()).max_by(|&a, &b| error(a).total_cmp(&error(b)))?;
            (error(worst) > allowed).then(|| {
                let (g, w, e) = (got.show(worst), want[worst], error(worst));
                let text = format!("element {worst} is {g}, the CPU has {w:e}: off by {e:e}, allowed are {allowed:e}");
                (worst, text)
            })
        }
        _ => Some((0, "the CPU code makes another type".into())),
    }
}

/// What a person wants to see of an input: the element itself where there is one for each of the output, and the range.
fn glance(seen: &Seen, layout: &Layout, element: usize) -> String {
    let (mut values, mut at) = (Vec::new(), None);
    let mut number = 0;
    for_each_position(&layout.shape, &layout.strides, layout.offset, |i| {
        if number == element {
            at = Some(i);
        }
        number += 1;
        values.push(i);
    });
    let mut text = match at {
        Some(i) => format!("element {element} is {}", seen.show(i)),
        None => String::from("no such element"),
    };
    if seen.dtype.is_float() {
        let floats: Vec<f32> = values.iter().map(|&i| f32::from_bits(seen.words[i])).collect();
        let finite = floats.iter().copied().filter(|x| x.is_finite());
        let (low, high) = finite.clone().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
        let bad = floats.len() - finite.count();
        let _ = write!(text, "; from {low:e} to {high:e}, {bad} not finite");
    }
    if values.len() <= 16 {
        let _ = write!(text, "; all: {}", values.iter().map(|&i| seen.show(i)).collect::<Vec<_>>().join(" "));
    }
    text
}

fn dump(folder: &str, inputs: &[(&Seen, &Layout)], outputs: &[&Seen], shaders: &[Shader]) -> std::io::Result<()> {
    let folder = std::path::Path::new(folder);
    std::fs::create_dir_all(folder)?;
    for (k, shader) in shaders.iter().enumerate() {
        std::fs::write(folder.join(format!("{k}-{}.wgsl", shader.name)), &*shader.source)?;
    }
    for (i, (seen, _)) in inputs.iter().enumerate() {
        std::fs::write(folder.join(format!("input{i}.{}", seen.dtype)), bytemuck::cast_slice(&seen.words))?;
    }
    for (k, seen) in outputs.iter().enumerate() {
        std::fs::write(folder.join(format!("output{k}.{}", seen.dtype)), bytemuck::cast_slice(&seen.words))?;
    }
    Ok(())
}
