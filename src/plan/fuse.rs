//! Which values exist in memory, and which only inside a kernel.
//!
//! An elementwise op is folded into its consumer where that saves a trip through memory: when its one consumer is
//! elementwise too, or when it is so cheap that computing it again beats loading it. Views on the way are folded into
//! the layout by which the kernel reads. What cannot be folded (a kernel or the program wants the value, too many
//! operands) becomes the root of a fused kernel of its own.
//!
//! The result is a list of steps over bases: values with memory. Both backends run it.

use std::ops::Range;

use super::trace::{Graph, LeafKind, Source};
use crate::tensor::{AnyLowering, DType, Layout, QuickMap, QuickSet, Scalar, Shape};

/// A value with memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Base {
    /// The storage under leaves: all leaves of one storage share it.
    Storage(usize),
    /// A number of the host.
    Scalar(usize),
    /// Output `k` of a node that a step computes.
    Node(usize, usize),
    /// A dense copy of a view, by number.
    Copy(usize),
}

/// One instruction of a fused kernel; its result is the value of its number.
#[derive(Clone)]
pub(super) enum Instruction {
    /// The element of operand `k`.
    Load(usize),
    /// Number `k` of the kernel's scalars.
    Scalar(usize),
    /// A function of earlier values: that of a node, or one the planner made up.
    Apply { scalar: Scalar, args: Vec<usize>, node: Option<usize> },
}

/// One operand of a fused kernel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub base: Base,
    /// Over the kernel's shape.
    pub layout: Layout,
    /// As it is stored.
    pub dtype: DType,
}

/// A fused kernel: one value per element of `shape`.
#[derive(Clone)]
pub(super) struct Fused {
    pub shape: Shape,
    pub dtype: DType,
    pub operands: Vec<Operand>,
    /// Leaf and type of each scalar.
    pub scalars: Vec<(usize, DType)>,
    /// Each with the type of its result.
    pub code: Vec<(Instruction, DType)>,
}

impl Fused {
    /// A fused kernel that only copies a value of this type, which is stored as another.
    pub fn copy(base: Base, layout: Layout, stored: DType, dtype: DType) -> Fused {
        let mut fused = Fused {
            shape: layout.shape.clone(),
            dtype,
            operands: Vec::new(),
            scalars: Vec::new(),
            code: vec![(Instruction::Load(0), dtype)],
        };
        match base {
            Base::Scalar(l) => {
                fused.scalars.push((l, dtype));
                fused.code[0].0 = Instruction::Scalar(0);
            }
            _ => fused.operands.push(Operand { base, layout, dtype: stored }),
        }
        fused
    }

    /// A fused kernel that writes zeros.
    pub fn zeros(elements: usize) -> Fused {
        let scalar = Scalar { wgsl: "0.0", block: |_, out| out.fill(0), cheap: true };
        let code = vec![(Instruction::Apply { scalar, args: Vec::new(), node: None }, DType::F32)];
        Fused { shape: elements.into(), dtype: DType::F32, operands: Vec::new(), scalars: Vec::new(), code }
    }
}

/// One step of a plan.
pub(super) enum Step {
    /// Computes a base by a fused kernel.
    Fused(Base, Fused),
    /// Runs an op's own kernel; its inputs are `inputs` of the node's number.
    Kernel(usize),
}

impl Step {
    /// What it computes, if that is a fused kernel.
    pub fn fused(&self) -> Option<(Base, &Fused)> {
        match self {
            Step::Fused(base, fused) => Some((*base, fused)),
            Step::Kernel(_) => None,
        }
    }
}

/// A graph, decided.
#[derive(Default)]
pub(super) struct Program {
    pub steps: Vec<Step>,
    /// For each node that runs a kernel of its own, where its inputs lie.
    pub inputs: QuickMap<usize, Vec<(Base, Layout)>>,
    /// For each kept node and output, where its value lies: dense.
    pub kept: Vec<(usize, Vec<(Base, usize)>)>,
    /// Per step, whether it runs within the launches of the step before; empty: none does.
    pub joined: Vec<bool>,
    /// The bases that are stored in half precision. Whoever reads one through a view that widens it finds halves.
    pub halves: QuickSet<Base>,
}

impl Program {
    /// The type in which a value of type `dtype` is stored, if it lies in this base.
    pub fn stored(&self, base: Base, dtype: DType) -> DType {
        match self.halves.contains(&base) {
            true => DType::F16,
            false if dtype == DType::F16 => DType::F32,
            false => dtype,
        }
    }

    /// What a step reads, and by which layouts.
    pub fn reads<'a>(&'a self, step: &'a Step) -> Box<dyn Iterator<Item = (Base, &'a Layout)> + 'a> {
        match step {
            Step::Fused(_, fused) => Box::new(fused.operands.iter().map(|o| (o.base, &o.layout))),
            Step::Kernel(node) => Box::new(self.inputs[node].iter().map(|(base, layout)| (*base, layout))),
        }
    }

    /// The bases that outlive the run.
    pub fn kept_bases(&self) -> impl Iterator<Item = Base> {
        self.kept.iter().flat_map(|(_, values)| values.iter().map(|(base, _)| *base))
    }

    /// How often each base is read, by steps or by whoever keeps it.
    pub fn readers(&self) -> QuickMap<Base, usize> {
        let mut readers: QuickMap<Base, usize> = QuickMap::default();
        let read = self.steps.iter().flat_map(|step| self.reads(step).map(|(base, _)| base));
        read.chain(self.kept_bases()).for_each(|base| *readers.entry(base).or_default() += 1);
        readers
    }

    /// The runs of steps that share launches, in order.
    pub fn groups(&self) -> Vec<Range<usize>> {
        let heads = (0..self.steps.len()).filter(|&at| !self.joined.get(at).copied().unwrap_or(false));
        let heads: Vec<usize> = heads.chain([self.steps.len()]).collect();
        heads.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }
}

/// What the backend can do in one kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Operands read by one fused kernel.
    pub operands: usize,
    /// Host numbers given to one fused kernel.
    pub scalars: usize,
    /// Instructions in one fused kernel.
    pub code: usize,
    /// Whether kernels may round what they store to half.
    pub store_halves: bool,
}

/// How a node is computed.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    View,
    Elementwise,
    Kernel,
}

/// A node that must have memory after all; fusing starts over with that known.
struct Split(usize);

struct Fuser<'a> {
    graph: &'a Graph,
    limits: Limits,
    class: Vec<Class>,
    /// Elementwise nodes that get memory.
    root: Vec<bool>,
    program: Program,
    copies: QuickMap<Source, Base>,
}

/// Decides a graph.
pub(super) fn fuse(graph: &Graph, limits: Limits) -> Program {
    let mut class: Vec<Class> = graph
        .nodes
        .iter()
        .map(|n| match n.op.lower() {
            AnyLowering::View(_) => Class::View,
            AnyLowering::Elementwise(_) => Class::Elementwise,
            _ => Class::Kernel,
        })
        .collect();
    let mut halves = halves(graph);
    if limits.store_halves {
        for (base, casts) in stored_as_halves(graph) {
            halves.insert(base);
            casts.into_iter().for_each(|cast| class[cast] = Class::View);
        }
    }
    let mut root = roots(graph, &class, limits);
    loop {
        let program = Program { halves: halves.clone(), ..Program::default() };
        let mut fuser =
            Fuser { graph, limits, class: class.clone(), root: root.clone(), program, copies: QuickMap::default() };
        match fuser.run() {
            Ok(()) => return fuser.program,
            Err(Split(node)) => root[node] = true,
        }
    }
}

/// The data and the results of nodes that are halves.
fn halves(graph: &Graph) -> QuickSet<Base> {
    let stored = graph.leaves.iter().filter_map(|leaf| match leaf.kind {
        LeafKind::Stored { storage, .. } if leaf.meta.dtype == DType::F16 => Some(Base::Storage(storage)),
        _ => None,
    });
    let computed = graph.nodes.iter().enumerate().flat_map(|(i, node)| {
        let half = node.metas.iter().enumerate().filter(|(_, meta)| meta.dtype == DType::F16);
        half.map(move |(k, _)| Base::Node(i, k))
    });
    stored.chain(computed).collect()
}

/// Results of kernels that nobody reads but casts to half, with these casts: the kernel may store halves at once, and
/// the casts find nothing to do.
fn stored_as_halves(graph: &Graph) -> Vec<(Base, Vec<usize>)> {
    let mut readers: QuickMap<Source, Vec<usize>> = QuickMap::default();
    for (i, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|&input| readers.entry(input).or_default().push(i));
    }
    let rounds = |&i: &usize| {
        let node = &graph.nodes[i];
        node.metas[0].dtype == DType::F16 && matches!(node.op.lower(), AnyLowering::Elementwise(_))
    };
    let kernels = graph.nodes.iter().enumerate().filter(|(_, node)| {
        !node.kept && node.metas.iter().any(|m| m.dtype == DType::F32) && node.op.lower().kernel().is_some()
    });
    let outputs = kernels.flat_map(|(i, node)| (0..node.metas.len()).map(move |k| (i, k)));
    outputs
        .filter_map(|(i, k)| {
            let casts = readers.remove(&Source::Node(i, k))?;
            casts.iter().all(rounds).then_some((Base::Node(i, k), casts))
        })
        .collect()
}

/// The elementwise nodes that need memory because of who reads them.
fn roots(graph: &Graph, class: &[Class], limits: Limits) -> Vec<bool> {
    let n = graph.nodes.len();
    // Through views: whether a kernel or the program reads it, and whether a broadcast multiplies its readers.
    let mut wanted = vec![false; n];
    let mut spread = vec![false; n];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        wanted[i] |= node.kept;
        for input in &node.inputs {
            let Source::Node(j, _) = *input else { continue };
            match class[i] {
                Class::Kernel => wanted[j] = true,
                Class::Elementwise => {}
                Class::View => {
                    wanted[j] |= wanted[i];
                    spread[j] |= spread[i] || node.metas[0].shape.elements() > node.input_metas[0].shape.elements();
                }
            }
        }
    }
    // The kernel each value is folded into, found from the readers: several readers in one kernel are one.
    let mut owner: Vec<Owner> = vec![Owner::Nobody; n];
    let mut root = vec![false; n];
    for i in (0..n).rev() {
        let node = &graph.nodes[i];
        let reads_as = match class[i] {
            Class::Kernel => continue,
            Class::View => owner[i],
            Class::Elementwise => {
                let AnyLowering::Elementwise(scalar) = node.op.lower() else { continue };
                let loads = node.inputs.iter().all(|s| match base_node(graph, class, *s) {
                    Some(j) => class[j] != Class::Elementwise || wanted[j],
                    None => true,
                });
                let repeatable = loads && scalar(&node.input_metas).cheap;
                root[i] = wanted[i] || ((spread[i] || owner[i] == Owner::Several) && !repeatable);
                if root[i] { Owner::Kernel(i) } else { owner[i] }
            }
        };
        for input in &node.inputs {
            if let Source::Node(j, _) = *input {
                owner[j] = owner[j].and(reads_as);
            }
        }
    }
    // Long chains end up in kernels of bounded size.
    let mut size = vec![0usize; n];
    for i in 0..n {
        let under: usize = graph.nodes[i]
            .inputs
            .iter()
            .map(|s| match *s {
                Source::Node(j, _) if class[j] != Class::Kernel && !root[j] => size[j],
                _ => 1,
            })
            .sum();
        size[i] = under + 1;
        if class[i] == Class::Elementwise && size[i] > limits.code {
            root[i] = true;
        }
    }
    root
}

#[derive(Clone, Copy, PartialEq)]
enum Owner {
    Nobody,
    Kernel(usize),
    Several,
}

impl Owner {
    fn and(self, other: Owner) -> Owner {
        match (self, other) {
            (Owner::Nobody, o) | (o, Owner::Nobody) => o,
            (a, b) if a == b => a,
            _ => Owner::Several,
        }
    }
}

/// The node under a chain of views, if it is not data.
fn base_node(graph: &Graph, class: &[Class], mut source: Source) -> Option<usize> {
    loop {
        match source {
            Source::Node(j, _) if class[j] == Class::View => source = graph.nodes[j].inputs[0],
            Source::Node(j, _) => return Some(j),
            Source::Leaf(_) => return None,
        }
    }
}

impl Fuser<'_> {
    fn run(&mut self) -> Result<(), Split> {
        for i in 0..self.graph.nodes.len() {
            match self.class[i] {
                Class::Kernel => {
                    let mut places = Vec::new();
                    for &source in &self.graph.nodes[i].inputs {
                        places.push(self.locate(source)?);
                    }
                    self.program.inputs.insert(i, places);
                    self.program.steps.push(Step::Kernel(i));
                }
                Class::Elementwise if self.root[i] => {
                    let fused = self.fused(Source::Node(i, 0))?;
                    self.program.steps.push(Step::Fused(Base::Node(i, 0), fused));
                }
                _ => {}
            }
        }
        for i in 0..self.graph.nodes.len() {
            if !self.graph.nodes[i].kept {
                continue;
            }
            let mut values = Vec::new();
            for k in 0..self.graph.nodes[i].metas.len() {
                let source = Source::Node(i, k);
                let (base, layout) = self.locate(source)?;
                let dtype = self.graph.nodes[i].metas[k].dtype;
                let dense = layout.is_contiguous()
                    && !matches!(base, Base::Scalar(_))
                    && self.program.stored(base, dtype) == dtype;
                let (base, offset) = if dense { (base, layout.offset) } else { (self.copy(source)?, 0) };
                values.push((base, offset));
            }
            self.program.kept.push((i, values));
        }
        Ok(())
    }

    /// Where a value lies, once it has memory.
    fn locate(&mut self, source: Source) -> Result<(Base, Layout), Split> {
        match source {
            Source::Leaf(l) => Ok(self.leaf(l)),
            Source::Node(j, k) => match self.class[j] {
                Class::Kernel => {
                    Ok((Base::Node(j, k), Layout::contiguous(self.graph.nodes[j].metas[k].shape.clone(), 0)))
                }
                Class::Elementwise if self.root[j] => {
                    Ok((Base::Node(j, 0), Layout::contiguous(self.graph.nodes[j].metas[0].shape.clone(), 0)))
                }
                Class::Elementwise => Err(Split(j)),
                Class::View => {
                    let input = self.graph.nodes[j].inputs[0];
                    let (base, layout) = self.locate(input)?;
                    if let Some(layout) = self.view(j, &layout) {
                        return Ok((base, layout));
                    }
                    let base = self.copy(input)?;
                    let dense = Layout::contiguous(self.graph.nodes[j].input_metas[0].shape.clone(), 0);
                    let layout = self.view(j, &dense).expect("a dense layout has every view");
                    Ok((base, layout))
                }
            },
        }
    }

    fn leaf(&self, l: usize) -> (Base, Layout) {
        let leaf = &self.graph.leaves[l];
        match leaf.kind {
            LeafKind::Scalar => (Base::Scalar(l), Layout::contiguous(leaf.meta.shape.clone(), 0)),
            LeafKind::Stored { storage, offset } => {
                (Base::Storage(storage), Layout::contiguous(leaf.meta.shape.clone(), offset))
            }
        }
    }

    fn view(&self, node: usize, layout: &Layout) -> Option<Layout> {
        match self.graph.nodes[node].op.lower() {
            AnyLowering::View(map) => map(layout),
            // A cast that its kernel has done already.
            _ => Some(layout.clone()),
        }
    }

    /// A dense copy of a value, made once.
    fn copy(&mut self, source: Source) -> Result<Base, Split> {
        if let Some(&base) = self.copies.get(&source) {
            return Ok(base);
        }
        let base = Base::Copy(self.copies.len());
        self.copies.insert(source, base);
        let fused = self.fused(source)?;
        if fused.dtype == DType::F16 {
            self.program.halves.insert(base);
        }
        self.program.steps.push(Step::Fused(base, fused));
        Ok(base)
    }

    fn fused(&mut self, root: Source) -> Result<Fused, Split> {
        let meta = match root {
            Source::Node(j, k) => &self.graph.nodes[j].metas[k],
            Source::Leaf(l) => &self.graph.leaves[l].meta,
        };
        let mut fused = Fused {
            shape: meta.shape.clone(),
            dtype: meta.dtype,
            operands: Vec::new(),
            scalars: Vec::new(),
            code: Vec::new(),
        };
        let mut done = QuickMap::default();
        let mut inner = Vec::new();
        self.emit(root, &mut Vec::new(), &mut fused, &mut done, &mut inner, true)?;
        let fits = fused.operands.len() <= self.limits.operands
            && fused.scalars.len() <= self.limits.scalars
            && fused.code.len() <= self.limits.code;
        // Too big: give the largest folded part memory of its own. A single op always fits.
        match inner.into_iter().max_by_key(|&(_, size)| size) {
            Some((node, _)) if !fits => Err(Split(node)),
            _ => Ok(fused),
        }
    }

    /// Appends the code of `source`, read through `views` (outermost first), and returns the number of its value.
    /// `inner` collects the folded nodes with the number of instructions under each.
    fn emit(
        &mut self,
        source: Source,
        views: &mut Vec<usize>,
        fused: &mut Fused,
        done: &mut QuickMap<(Source, Vec<usize>), usize>,
        inner: &mut Vec<(usize, usize)>,
        is_root: bool,
    ) -> Result<usize, Split> {
        let key = (source, views.clone());
        if let Some(&value) = done.get(&key) {
            return Ok(value);
        }
        let value = match source {
            Source::Node(j, _) if self.class[j] == Class::View => {
                views.push(j);
                let value = self.emit(self.graph.nodes[j].inputs[0], views, fused, done, inner, false);
                views.pop();
                value?
            }
            Source::Node(j, _) if self.class[j] == Class::Elementwise && (is_root || !self.root[j]) => {
                let start = fused.code.len();
                let mut args = Vec::new();
                for &input in &self.graph.nodes[j].inputs {
                    args.push(self.emit(input, views, fused, done, inner, false)?);
                }
                let node = &self.graph.nodes[j];
                let AnyLowering::Elementwise(scalar) = node.op.lower() else { return Err(Split(j)) };
                let scalar = scalar(&node.input_metas);
                fused.code.push((Instruction::Apply { scalar, args, node: Some(j) }, node.metas[0].dtype));
                if !is_root {
                    inner.push((j, fused.code.len() - start));
                }
                fused.code.len() - 1
            }
            _ => self.load(source, views, fused)?,
        };
        done.insert(key, value);
        Ok(value)
    }

    fn load(&mut self, source: Source, views: &[usize], fused: &mut Fused) -> Result<usize, Split> {
        let dtype = match source {
            Source::Node(j, k) => self.graph.nodes[j].metas[k].dtype,
            Source::Leaf(l) => self.graph.leaves[l].meta.dtype,
        };
        let (mut base, mut layout) = self.locate(source)?;
        if let Base::Scalar(l) = base {
            // Whatever the views make of one number, every element of it is that number.
            let at = fused.scalars.iter().position(|&s| s == (l, dtype)).unwrap_or_else(|| {
                fused.scalars.push((l, dtype));
                fused.scalars.len() - 1
            });
            fused.code.push((Instruction::Scalar(at), dtype));
            return Ok(fused.code.len() - 1);
        }
        for &view in views.iter().rev() {
            layout = match self.view(view, &layout) {
                Some(layout) => layout,
                None => {
                    let input = self.graph.nodes[view].inputs[0];
                    // The view reads folded work, or a layout it cannot express: make what it reads dense.
                    if let Some(j) = base_node(self.graph, &self.class, input)
                        && self.class[j] == Class::Elementwise
                        && !self.root[j]
                    {
                        return Err(Split(j));
                    }
                    base = self.copy(input)?;
                    let dense = Layout::contiguous(self.graph.nodes[view].input_metas[0].shape.clone(), 0);
                    self.view(view, &dense).expect("a dense layout has every view")
                }
            };
        }
        let operand = Operand { base, layout, dtype: self.program.stored(base, dtype) };
        let at = fused.operands.iter().position(|o| *o == operand).unwrap_or_else(|| {
            fused.operands.push(operand);
            fused.operands.len() - 1
        });
        fused.code.push((Instruction::Load(at), dtype));
        Ok(fused.code.len() - 1)
    }
}
