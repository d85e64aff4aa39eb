//! The contract of an op: one primitive in one room.
//!
//! An op's fields are its attributes and part of a plan's cache key; what changes from step to step (a learning
//! rate, a random counter) is an input instead. No method has a default body: an op without a shape rule, a CPU
//! reference, an answer about its gradient, or samples does not compile.

use std::any::Any;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{DType, Layout, Lower, Sample, Shape, Tensor};
use crate::error::ShapeError;
use crate::reference::{Array, Data, Real, View};

/// What is known of a value before it is computed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Extent of each axis.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

impl Meta {
    /// A value of this shape and type.
    pub fn new(shape: impl Into<Shape>, dtype: DType) -> Self {
        Meta { shape: shape.into(), dtype }
    }
}

/// One primitive. `NAME` is the stem of its files.
pub trait Op: Debug + Clone + Hash + Eq + Send + Sync + 'static {
    /// The stem of the op's files and its name in messages.
    const NAME: &'static str;
    /// Shapes and types of the outputs, or what does not fit and what would.
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError>;
    /// How gradients flow through it.
    fn backward(&self) -> Backward<Self>;
    /// How a GPU computes it.
    fn lower(&self) -> Lowering<Self>;
    /// What it computes, on the CPU, in the text you would teach from.
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>>;
    /// Small inputs that call it: read by the kernel test, the gradient check and the bench.
    fn samples() -> Vec<Sample<Self>>;
}

/// How gradients flow through an op. There is no third answer and no default.
pub enum Backward<O> {
    /// A rule that records the cotangent of each input, in order; `None` where the input has none.
    Rule(fn(&O, &Vjp) -> Vec<Option<Tensor>>),
    /// No gradient flows, and why.
    None(NoGrad),
}

/// Why an op has no backward rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoGrad {
    /// The slope is zero wherever it exists; the tests verify it.
    ZeroAlmostEverywhere,
    /// No float comes in, or none comes out: random numbers, argmax.
    Source,
    /// It changes state in a step of an optimizer; nobody differentiates through it.
    Update,
    /// It exists to stop gradients.
    Stop,
}

/// What a backward rule may read. Everything is a tensor, so what the rule records can be differentiated again.
pub struct Vjp<'a> {
    /// The inputs of the op.
    pub inputs: &'a [Tensor],
    /// Its outputs.
    pub outputs: &'a [Tensor],
    /// The cotangent of each output; `None` where nobody used the output.
    pub cotangents: &'a [Option<Tensor>],
    /// Whether anybody wants the cotangent of each input. A rule may skip the others.
    pub needed: &'a [bool],
}

impl Vjp<'_> {
    /// The cotangent of the op's only (or first) output.
    pub fn dy(&self) -> &Tensor {
        self.cotangents[0].as_ref().expect("the walk visits a node only when its first output has a cotangent")
    }

    /// `f()` if somebody wants the cotangent of input `i`.
    pub fn when(&self, i: usize, f: impl FnOnce() -> Tensor) -> Option<Tensor> {
        self.needed[i].then(f)
    }
}

/// How a GPU computes an op.
pub enum Lowering<O> {
    /// It moves no data: an index map over its one input, or `None` where the map needs a copy first.
    View(fn(&O, &Layout) -> Option<Layout>),
    /// One scalar expression per element, given the inputs' types; the planner fuses chains of them into one kernel.
    Elementwise(fn(&O, &[Meta]) -> Scalar),
    /// Dispatches of its own.
    Kernel(fn(&O, &mut Lower)),
    /// The same for the sum of its one input over these axes, rising, which whoever else reads that input may make on
    /// the way (see [`Lower::sum_wanted`]).
    Sum(fn(&O, &mut Lower), fn(&O) -> &[usize]),
    /// Dispatches that overwrite: output `out` starts as the content of input `in` for each `(out, in)`, and is the
    /// same buffer when nobody else holds that input. Last, what does so on the CPU path; without it, results are made
    /// anew there.
    InPlace(fn(&O, &mut Lower), &'static [(usize, usize)], Option<InPlace<O>>),
    /// Its one output is a buffer that holds input `k`, row-major, from element `offsets[k]` on, and zeros between.
    /// The planner lets whoever computes an input write it there.
    Pack(fn(&O) -> &[usize]),
}

/// The CPU form of an op whose outputs are its first inputs, in order, written over.
pub struct InPlace<O> {
    /// Does it.
    pub run: fn(&O, Overwrite),
    /// Whether the first of the other inputs may come in parts.
    pub parts: bool,
}

/// What such an op writes over, and what it reads.
pub struct Overwrite<'a> {
    /// The elements of each input that becomes an output.
    pub elements: &'a mut [Data<f32>],
    /// The shape of the first of them.
    pub shape: &'a [usize],
    /// The other inputs. In the place of the first stand the inputs of a pack if it is one that nobody else reads: that
    /// is then not made.
    pub others: &'a [View<'a, f32>],
    /// Where each of these begins in the pack; of an input in one part, at 0.
    pub parts: &'a [usize],
}

/// The CPU form of an elementwise op: whole blocks of 4-byte words, `args[k][i]` to `out[i]`.
pub type BlockFn = fn(args: &[&[u32]], out: &mut [u32]);

/// One elementwise op for the planner.
#[derive(Clone, Copy)]
pub struct Scalar {
    /// A WGSL expression in `{a}`, `{b}`, `{c}`. Truth values are `bool` inside an expression.
    pub wgsl: &'static str,
    /// The same on a block of `f32`, `i32` or `u32` words.
    pub block: BlockFn,
    /// Whether computing it twice is cheaper than storing it once.
    pub cheap: bool,
}

/// What turns the layout of a view's input into that of the view.
pub type ViewMap<'a> = Box<dyn Fn(&Layout) -> Option<Layout> + 'a>;
/// What an elementwise op is on inputs of given types.
pub type ScalarOf<'a> = Box<dyn Fn(&[Meta]) -> Scalar + 'a>;

/// What appends the dispatches of an op.
pub type KernelOf<'a> = Box<dyn Fn(&mut Lower) + 'a>;

/// [`InPlace`] of an op.
pub struct InPlaceOf<'a> {
    /// See [`InPlace::run`].
    pub run: Box<dyn Fn(Overwrite) + 'a>,
    /// See [`InPlace::parts`].
    pub parts: bool,
}

/// [`Lowering`] without the op's type.
pub enum AnyLowering<'a> {
    /// See [`Lowering::View`].
    View(ViewMap<'a>),
    /// See [`Lowering::Elementwise`].
    Elementwise(ScalarOf<'a>),
    /// See [`Lowering::Kernel`].
    Kernel(KernelOf<'a>),
    /// See [`Lowering::Sum`].
    Sum(KernelOf<'a>, &'a [usize]),
    /// See [`Lowering::InPlace`].
    InPlace(KernelOf<'a>, &'static [(usize, usize)], Option<InPlaceOf<'a>>),
    /// See [`Lowering::Pack`].
    Pack(&'a [usize]),
}

impl<'a> AnyLowering<'a> {
    /// What appends its dispatches, if it is a [`Lowering::Kernel`] or a [`Lowering::Sum`].
    pub fn kernel(self) -> Option<KernelOf<'a>> {
        match self {
            AnyLowering::Kernel(lower) | AnyLowering::Sum(lower, _) => Some(lower),
            _ => None,
        }
    }
}

/// An op of any type. Every [`Op`] is one; op authors never see it.
pub trait AnyOp: Debug + Send + Sync + Any {
    /// [`Op::NAME`].
    fn name(&self) -> &'static str;
    /// [`Op::infer`].
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError>;
    /// [`Op::lower`].
    fn lower(&self) -> AnyLowering<'_>;
    /// The reason, if no gradient flows.
    fn no_grad(&self) -> Option<NoGrad>;
    /// Runs the backward rule; `None` if there is none.
    fn vjp(&self, vjp: &Vjp) -> Option<Vec<Option<Tensor>>>;
    /// [`Op::reference`] in single precision: the CPU device.
    fn reference_f32(&self, inputs: &[View<f32>]) -> Vec<Array<f32>>;
    /// [`Op::reference`] in double precision: the oracle.
    fn reference_f64(&self, inputs: &[View<f64>]) -> Vec<Array<f64>>;
    /// Feeds name and attributes to a hasher.
    fn hash_into(&self, state: &mut dyn Hasher);
    /// Whether `other` is the same op with the same attributes.
    fn same(&self, other: &dyn AnyOp) -> bool;
}

impl<O: Op> AnyOp for O {
    fn name(&self) -> &'static str {
        O::NAME
    }
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        Op::infer(self, inputs)
    }
    fn lower(&self) -> AnyLowering<'_> {
        match Op::lower(self) {
            Lowering::View(f) => AnyLowering::View(Box::new(move |l| f(self, l))),
            Lowering::Elementwise(f) => AnyLowering::Elementwise(Box::new(move |metas| f(self, metas))),
            Lowering::Kernel(f) => AnyLowering::Kernel(Box::new(move |cx| f(self, cx))),
            Lowering::Sum(f, axes) => AnyLowering::Sum(Box::new(move |cx| f(self, cx)), axes(self)),
            Lowering::InPlace(f, pairs, overwrite) => {
                let overwrite = overwrite
                    .map(|InPlace { run, parts }| InPlaceOf { run: Box::new(move |all| run(self, all)), parts });
                AnyLowering::InPlace(Box::new(move |cx| f(self, cx)), pairs, overwrite)
            }
            Lowering::Pack(f) => AnyLowering::Pack(f(self)),
        }
    }
    fn no_grad(&self) -> Option<NoGrad> {
        match self.backward() {
            Backward::Rule(_) => None,
            Backward::None(why) => Some(why),
        }
    }
    fn vjp(&self, vjp: &Vjp) -> Option<Vec<Option<Tensor>>> {
        match self.backward() {
            Backward::Rule(rule) => Some(rule(self, vjp)),
            Backward::None(_) => None,
        }
    }
    fn reference_f32(&self, inputs: &[View<f32>]) -> Vec<Array<f32>> {
        self.reference(inputs)
    }
    fn reference_f64(&self, inputs: &[View<f64>]) -> Vec<Array<f64>> {
        self.reference(inputs)
    }
    fn hash_into(&self, mut state: &mut dyn Hasher) {
        O::NAME.hash(&mut state);
        self.hash(&mut state);
    }
    fn same(&self, other: &dyn AnyOp) -> bool {
        (other as &dyn Any).downcast_ref::<O>() == Some(self)
    }
}

/// One row of the registry.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The stem of the op's files.
    pub name: &'static str,
    /// Its samples, with the op's type erased.
    pub samples: fn() -> Vec<Sample<Arc<dyn AnyOp>>>,
}

impl Entry {
    /// The row of an op.
    pub const fn of<O: Op>() -> Self {
        Entry {
            name: O::NAME,
            samples: || O::samples().into_iter().map(|s| s.map(|op| Arc::new(op) as Arc<dyn AnyOp>)).collect(),
        }
    }
}
