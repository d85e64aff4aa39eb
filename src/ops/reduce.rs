//! Sums, means, extremes and their positions over any axes.
//!
//! The kernel reads its input where it lies: kept and reduced axes with their strides are parameters, so that a
//! transposed or sliced operand costs no copy. A reduction of any length is a chain of launches over chunks whose size
//! depends on the shape alone; there are no atomics, and the same input gives the same bits.

use super::sort::type_number;
use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::reference::reduce as reference;
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, DType, Input, Layout, Lower, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Shape, Slot, Tensor,
    Tolerance, Vjp,
};

/// What a [`Reduce`] makes of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Their sum; 0 for none. Whole numbers wrap.
    Sum,
    /// The largest; NaN if one is NaN.
    Max,
    /// The smallest; NaN if one is NaN.
    Min,
}

/// Elements along some axes made into one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// Sum, largest or smallest.
    pub kind: ReduceKind,
    /// The axes, rising.
    pub axes: Vec<usize>,
    /// Whether they stay, with extent 1.
    pub keep: bool,
}

/// Which position an [`ArgReduce`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// Of the first largest element, or the first NaN.
    Max,
    /// Of the first smallest element, or the first NaN.
    Min,
}

/// The row-major position, within some axes, of an extreme.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ArgReduce {
    /// Largest or smallest.
    pub kind: ArgKind,
    /// The axes, rising.
    pub axes: Vec<usize>,
}

const SHADER: Shader = Shader::new(
    "reduce",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/key.wgsl"),
        include_str!("../../shaders/shared/epilogue.wgsl"),
        include_str!("../../shaders/shared/prologue.wgsl"),
        include_str!("../../shaders/reduce.wgsl"),
    ),
);

/// Runs of kept axes, and of reduced ones, that the kernel walks.
const MOST_RUNS: usize = 4;

/// The kernel's number for the sum of floats.
const SUM: u32 = 0;

/// Threads of a workgroup that reduces one chunk together.
const GROUP: u32 = 128;

crate::params! {
    struct ReduceParams {
        outputs: u32, n: u32, chunk: u32, chunks: u32, offset: u32, first: u32,
        k1: u32, k2: u32, k3: u32,
        r1: u32, r2: u32, r3: u32,
        ks0: i32, ks1: i32, ks2: i32, ks3: i32,
        rs0: i32, rs1: i32, rs2: i32, rs3: i32,
    }
}

/// An axis, or several that lie in one run: extent and stride.
type Run = (usize, isize);

/// A reduction as the kernel walks it.
struct Walk {
    slot: Slot,
    offset: usize,
    kept: Vec<Run>,
    reduced: Vec<Run>,
}

impl Walk {
    fn new(cx: &mut Lower, axes: &[usize]) -> Walk {
        let (slot, layout) = cx.strided(0);
        let (kept, reduced) = (layout.runs(axes, false), layout.runs(axes, true));
        if kept.len() <= MOST_RUNS && reduced.len() <= MOST_RUNS {
            return Walk { slot, offset: layout.offset, kept, reduced };
        }
        let slot = cx.input(0);
        let layout = Layout::contiguous(cx.meta(0).shape.clone(), 0);
        Walk { slot, offset: 0, kept: layout.runs(axes, false), reduced: layout.runs(axes, true) }
    }

    fn outputs(&self) -> usize {
        self.kept.iter().map(|r| r.0).product()
    }

    fn n(&self) -> usize {
        self.reduced.iter().map(|r| r.0).product()
    }

    /// Whether one invocation folds a chunk, rather than a workgroup.
    fn by_thread(&self, software: bool) -> bool {
        let near = |runs: &[Run]| runs.last().map_or(isize::MAX, |r| r.1.abs());
        let columns = self.kept.last().is_some_and(|r| r.0 >= 16) && near(&self.kept) < near(&self.reduced);
        software || columns || self.n() <= 64
    }

    fn params(&self, chunk: usize, chunks: usize, first: bool) -> ReduceParams {
        let run = |runs: &[Run], i: usize| {
            (i + runs.len()).checked_sub(MOST_RUNS).map_or((1, 0), |k| (runs[k].0 as u32, runs[k].1 as i32))
        };
        let (k, r) = (|i| run(&self.kept, i), |i| run(&self.reduced, i));
        ReduceParams {
            outputs: self.outputs() as u32,
            n: self.n() as u32,
            chunk: chunk as u32,
            chunks: chunks as u32,
            offset: self.offset as u32,
            first: first as u32,
            k1: k(1).0,
            k2: k(2).0,
            k3: k(3).0,
            r1: r(1).0,
            r2: r(2).0,
            r3: r(3).0,
            ks0: k(0).1,
            ks1: k(1).1,
            ks2: k(2).1,
            ks3: k(3).1,
            rs0: r(0).1,
            rs1: r(1).1,
            rs2: r(2).1,
            rs3: r(3).1,
        }
    }
}

/// Invocations that fill a large GPU, each with a few loads in flight.
const INVOCATIONS: usize = 1 << 17;

/// Launches until one chunk is left. `arg` asks for positions: the output holds them, and the values are scratch.
fn lower(cx: &mut Lower, axes: &[usize], kind: u32, arg: bool) {
    let (software, type_) = (cx.caps().software, type_number(cx.meta(0).dtype));
    let out = cx.output(0);
    let mut walk = Walk::new(cx, axes);
    let mut positions: Option<Slot> = None;
    loop {
        let (outputs, n) = (walk.outputs(), walk.n());
        let merged = cx.caps().merges(outputs, n);
        let thread = merged || walk.by_thread(software);
        // Many outputs fill a device by themselves; few are cut finer. On a GPU that takes many more invocations than
        // workgroups.
        let many = if outputs >= 1024 { 16 } else { 1 };
        let chunk = match (thread, software) {
            _ if merged => n.max(1),
            (true, false) if n <= 128 => n.max(1),
            (true, false) => n.div_ceil((INVOCATIONS / outputs.max(1)).max(1)).max(64),
            (true, true) => 256 * many,
            (false, true) => 4096 * many,
            // About two thousand workgroups, whose trees cost little beside what they read.
            (false, false) => (outputs * n / 2048).next_power_of_two().clamp(4096, 65536),
        };
        let chunks = n.div_ceil(chunk).max(1);
        let last = chunks == 1;
        let values = if last && !arg { out } else { cx.temp(outputs * chunks) };
        let entry = match (arg, thread) {
            (false, true) => "thread",
            (false, false) => "group",
            (true, true) => "arg_thread",
            (true, false) => "arg_group",
        };
        let first = positions.is_none();
        let launch = LoweredDispatch::new(&SHADER, entry).constant("KIND", kind).constant("TYPE", type_);
        let launch = launch.constant("RANK", walk.reduced.len().max(1) as u32);
        let launch = if first { launch.load(walk.slot) } else { launch.read(walk.slot) };
        let mut launch = if last && !arg && kind == SUM { launch.finish(values) } else { launch.write(values) };
        if arg {
            let to = if last { out } else { cx.temp(outputs * chunks) };
            // The first launch reads no positions; any readable slot fills the binding.
            launch = launch.read(positions.replace(to).unwrap_or(walk.slot)).write(to);
        }
        let launch = launch.params(&walk.params(chunk, chunks, first));
        cx.launch(match thread {
            true => launch.independent(chunk).flat(outputs * chunks, 64),
            false => launch.constant("WG", GROUP).flat(outputs * chunks * GROUP as usize, GROUP),
        });
        if last {
            return;
        }
        walk = Walk { slot: values, offset: 0, kept: vec![(outputs, 1)], reduced: vec![(chunks, outputs as isize)] };
    }
}

/// The checks that both ops share, and the shape of the result.
fn reduced_shape(op: &str, x: &Meta, axes: &[usize], keep: bool, neutral: bool) -> Result<Shape, ShapeError> {
    let rank = x.shape.rank();
    if !axes.windows(2).all(|w| w[0] < w[1]) || axes.iter().any(|&a| a >= rank) {
        let problem = format!("axes {axes:?} of shape {}; name each at most once, all below {rank}", x.shape);
        return Err(ShapeError::new(op, problem));
    }
    let shape: Vec<usize> = (0..rank)
        .filter(|a| keep || !axes.contains(a))
        .map(|a| if axes.contains(&a) { 1 } else { x.shape[a] })
        .collect();
    if !neutral && axes.iter().any(|&a| x.shape[a] == 0) && !shape.contains(&0) {
        let problem = format!("axes {axes:?} of shape {} hold no element; it needs at least one", x.shape);
        return Err(ShapeError::new(op, problem));
    }
    let dense = Layout::contiguous(x.shape.clone(), 0);
    if dense.runs(axes, true).len().max(dense.runs(axes, false).len()) > MOST_RUNS {
        let problem = format!(
            "axes {axes:?} of shape {}: kept and reduced axes alternate more than {MOST_RUNS} times; permute or \
             reduce in two steps",
            x.shape
        );
        return Err(ShapeError::new(op, problem));
    }
    Ok(shape.into())
}

/// `t`, which lost the axes, with them back as extent 1.
fn with_axes(t: &Tensor, x: &Tensor, axes: &[usize]) -> Tensor {
    let shape: Vec<usize> = (0..x.rank()).map(|a| if axes.contains(&a) { 1 } else { x.shape()[a] }).collect();
    t.reshape(shape)
}

impl Reduce {
    fn vjp(&self, v: &Vjp) -> Vec<Option<Tensor>> {
        let x = &v.inputs[0];
        if x.dtype() != DType::F32 {
            return vec![None];
        }
        let dy = with_axes(v.dy(), x, &self.axes);
        let dx = match self.kind {
            ReduceKind::Sum => dy.broadcast_to(x.shape()),
            // Equal extremes share the gradient, as PyTorch's amax and amin do.
            ReduceKind::Max | ReduceKind::Min => {
                let y = with_axes(&v.outputs[0], x, &self.axes);
                let hit = x.equal(&y).cast(DType::F32);
                let axes: Vec<isize> = self.axes.iter().map(|&a| a as isize).collect();
                &hit * &(&dy / &hit.sum_keep(&axes))
            }
        };
        vec![Some(dx)]
    }
}

impl Op for Reduce {
    const NAME: &'static str = "reduce";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (x, sum) = (&inputs[0], self.kind == ReduceKind::Sum);
        let op = match self.kind {
            ReduceKind::Sum => "sum",
            ReduceKind::Max => "max",
            ReduceKind::Min => "min",
        };
        match x.dtype {
            DType::F32 | DType::I32 | DType::U32 => {}
            other => return Err(ShapeError::new(op, format!("takes f32, i32 and u32, not {other}; cast it first"))),
        }
        Ok(vec![Meta::new(reduced_shape(op, x, &self.axes, self.keep, sum)?, x.dtype)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| op.vjp(v))
    }
    fn lower(&self) -> Lowering<Self> {
        let kernel = |op: &Self, cx: &mut Lower| {
            let kind = match (op.kind, cx.meta(0).dtype) {
                (ReduceKind::Sum, DType::F32) => SUM,
                (ReduceKind::Sum, _) => 1,
                (ReduceKind::Max, _) => 2,
                (ReduceKind::Min, _) => 3,
            };
            lower(cx, &op.axes, kind, false);
        };
        match self.kind {
            ReduceKind::Sum => Lowering::Sum(kernel, |op| &op.axes),
            ReduceKind::Max | ReduceKind::Min => Lowering::Kernel(kernel),
        }
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let x = &inputs[0];
        let shape: Vec<usize> = (0..x.shape.len())
            .filter(|a| self.keep || !self.axes.contains(a))
            .map(|a| if self.axes.contains(&a) { 1 } else { x.shape[a] })
            .collect();
        vec![match self.kind {
            ReduceKind::Sum => reference::sum(x, &self.axes, &shape),
            ReduceKind::Max => reference::extreme(x, &self.axes, &shape, true),
            ReduceKind::Min => reference::extreme(x, &self.axes, &shape, false),
        }]
    }
    fn samples() -> Vec<Sample<Self>> {
        let op = |kind, axes: &[usize], keep| Reduce { kind, axes: axes.to_vec(), keep };
        let sum = |axes: &[usize], x: Input| {
            let n: usize = axes.iter().map(|&a| x.meta.shape[a]).product();
            // 4 sqrt(n) u sum|x|, and the values below add up to at least a third of their sizes.
            let tolerance = Tolerance::OfLargest(12.0 * (n.max(1) as f64).sqrt() / (1u64 << 24) as f64);
            Sample::new(op(ReduceKind::Sum, axes, false), vec![x], tolerance)
        };
        let values = |shape: &[usize], seed| Input::uniform(shape, -0.5, 1.0, seed);
        let mut all = vec![
            sum(&[0], values(&[7], 1)),
            sum(&[1], values(&[5, 7], 2)),
            sum(&[0], values(&[5, 7], 3).viewed()),
            sum(&[1], values(&[5, 7], 4).viewed()),
            sum(&[], values(&[5, 7], 5)),
            sum(&[0, 2, 3], values(&[3, 5, 4, 7], 6)),
            sum(&[0, 2], values(&[3, 5, 4, 7], 7).viewed()),
            sum(&[0], Input::floats([1], &[0.7])),
            sum(&[0], values(&[1009], 9)),
            sum(&[0, 1], values(&[67, 251], 10).viewed()),
            sum(&[1], values(&[3, 4099], 11)),
            sum(&[0], values(&[613, 17], 12)),
            sum(&[0], values(&[5, 1031], 13)),
            sum(&[1], values(&[1200, 67], 14)),
            sum(&[0], Input::floats([0, 3], &[])),
            sum(&[1], Input::floats([0, 3], &[])),
            Sample::new(op(ReduceKind::Sum, &[1], true), vec![Input::below([6, 37], 100, 15)], Tolerance::Exact),
        ];
        let whole = Input::below([5, 401], 1 << 20, 16).of(DType::I32).viewed();
        all.push(Sample::new(op(ReduceKind::Sum, &[1], false), vec![whole], Tolerance::Exact));
        for (kind, seed) in [(ReduceKind::Max, 20), (ReduceKind::Min, 30)] {
            let best = |axes: &[usize], keep, x| Sample::new(op(kind, axes, keep), vec![x], Tolerance::Exact);
            all.extend([
                best(&[1], false, Input::distinct([5, 7], seed)),
                best(&[0], true, Input::distinct([5, 7], seed + 1).viewed()),
                best(&[0, 2], false, Input::distinct([3, 5, 7], seed + 2)),
                best(&[0], false, Input::distinct([4099], seed + 3)),
                best(&[0], false, Input::floats([1], &[-3.0])),
                best(&[1], false, Input::floats([0, 3], &[])),
                best(&[1], false, Input::floats([2, 3], &[1.0, 1.0, -2.0, -2.0, 0.0, -0.0])).rough(),
            ]);
            let (inf, nan) = (f32::INFINITY, f32::NAN);
            let odd = [inf, 1.0, -inf, -inf, -inf, -inf, 1.0, nan, inf, -1.0, 1e-40, -1e-40];
            all.push(best(&[1], false, Input::floats([4, 3], &odd)).rough());
            all.push(best(&[1], false, Input::below([3, 300], 1000, seed + 4)));
            let signed = Input { values: vec![-5.0, 3.0, -2147483648.0, 2147483647.0], ..Input::below([2, 2], 1, 0) };
            all.push(best(&[1], false, signed.of(DType::I32)));
        }
        all
    }
}

impl Op for ArgReduce {
    const NAME: &'static str = "reduce_arg";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let op = match self.kind {
            ArgKind::Max => "argmax",
            ArgKind::Min => "argmin",
        };
        if inputs[0].dtype == DType::Bool {
            return Err(ShapeError::new(op, "takes f32, i32 and u32, not bool; cast it first"));
        }
        Ok(vec![Meta::new(reduced_shape(op, &inputs[0], &self.axes, false, false)?, DType::U32)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| lower(cx, &op.axes, if op.kind == ArgKind::Max { 2 } else { 3 }, true))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let x = &inputs[0];
        let kept = (0..x.shape.len()).filter(|a| !self.axes.contains(a));
        let shape: Vec<usize> = kept.map(|a| x.shape[a]).collect();
        vec![reference::arg_extreme(x, &self.axes, &shape, self.kind == ArgKind::Max)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        for (kind, seed) in [(ArgKind::Max, 1), (ArgKind::Min, 20)] {
            let at = |axes: &[usize], x| {
                Sample::new(ArgReduce { kind, axes: axes.to_vec() }, vec![x], Tolerance::Exact).rough()
            };
            let (inf, nan) = (f32::INFINITY, f32::NAN);
            let odd = [-inf, -inf, -inf, 1.0, nan, inf, nan, nan, 1.0, inf, inf, inf, -0.0, 0.0, -0.0, 3.0, 3.0, 3.0];
            all.extend([
                at(&[1], Input::uniform([5, 7], -1.0, 1.0, seed)),
                at(&[0], Input::uniform([5, 7], -1.0, 1.0, seed + 1).viewed()),
                at(&[0, 2], Input::uniform([3, 5, 7], -1.0, 1.0, seed + 2)),
                at(&[0], Input::uniform([4099], -1.0, 1.0, seed + 3)),
                at(&[0], Input::below([1 << 14], 5, seed + 4).of(DType::F32)),
                at(&[0], Input::uniform([700, 19], -1.0, 1.0, seed + 5)),
                at(&[1], Input::below([3, 9001], 50, seed + 6).of(DType::F32)),
                at(&[0], Input::floats([1], &[7.0])),
                at(&[], Input::floats([3], &[7.0, 8.0, 9.0])),
                at(&[1], Input::floats([0, 3], &[])),
                at(&[1], Input::floats([6, 3], &odd)),
                at(&[1], Input::below([3, 300], 40, seed + 7)),
                at(&[0], Input::uints([300], &[if kind == ArgKind::Max { 0 } else { u32::MAX }; 300])),
                at(
                    &[1],
                    Input { values: vec![-5., 3., -9., 2., 2., -7.], ..Input::below([2, 3], 1, 0).of(DType::I32) },
                ),
            ]);
        }
        all
    }
}

/// `axis` of a value of this rank, counted from the end where negative, or what would fit.
pub(crate) fn resolve_axis(op: &str, axis: isize, rank: usize) -> Result<usize, ShapeError> {
    let resolved = if axis < 0 { axis + rank as isize } else { axis };
    if (0..rank as isize).contains(&resolved) {
        return Ok(resolved as usize);
    }
    let fits = match rank {
        0 => "a value of rank 0 has none".to_string(),
        _ => format!("it has {rank} axes, {} to {}", -(rank as isize), rank - 1),
    };
    Err(ShapeError::new(op, format!("there is no axis {axis}: {fits}")))
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $name:ident $keep_name:ident $kind:ident;)*) => {
        impl Tensor { $(
            $(#[$doc])*
            ///
            /// `axes` count from the end where negative; with none given, the result is the tensor itself.
            ///
            /// # Panics
            /// If an axis does not exist or is named twice.
            #[track_caller]
            pub fn $name(&self, axes: &[isize]) -> Tensor {
                fit(self.try_reduce(ReduceKind::$kind, axes, false))
            }
            #[doc = concat!("[`Tensor::", stringify!($name), "`], with the axes kept as extent 1.")]
            #[track_caller]
            pub fn $keep_name(&self, axes: &[isize]) -> Tensor {
                fit(self.try_reduce(ReduceKind::$kind, axes, true))
            }
        )* }
    };
}

reductions! {
    /// The sum over `axes`, which disappear: `[n, c, h, w].sum(&[0, 2, 3])` is `[c]`. The sum of nothing is 0,
    /// whole numbers wrap, and truth values are counted as `u32`.
    sum sum_keep Sum;
    /// The largest element over `axes`, which disappear; NaN if one is NaN. Equal ones share the gradient.
    max max_keep Max;
    /// The smallest element over `axes`, which disappear; NaN if one is NaN. Equal ones share the gradient.
    min min_keep Min;
}

impl Tensor {
    /// A reduction over `axes`, with a mistake as an error.
    ///
    /// # Errors
    /// If an axis does not exist or is named twice, if the type does not fit, or if there is no largest of no elements.
    #[track_caller]
    pub fn try_reduce(&self, kind: ReduceKind, axes: &[isize], keep: bool) -> Result<Tensor, ShapeError> {
        if self.dtype() == DType::Bool {
            // Truth values are counted; the largest of them is whether any holds.
            let y = self.cast(DType::U32).try_reduce(kind, axes, keep)?;
            return Ok(if kind == ReduceKind::Sum { y } else { y.cast(DType::Bool) });
        }
        let axes = self.resolve_axes("reduce", axes)?;
        Ok(Tensor::try_apply(Reduce { kind, axes, keep }, &[self])?.swap_remove(0))
    }

    /// The sum of all elements, a tensor of rank 0.
    #[track_caller]
    pub fn sum_all(&self) -> Tensor {
        self.sum(&self.all_axes())
    }

    /// The mean over `axes`, which disappear.
    ///
    /// # Panics
    /// If an axis does not exist or is named twice.
    #[track_caller]
    pub fn mean(&self, axes: &[isize]) -> Tensor {
        let sum = self.sum(axes);
        &sum * self.share(axes)
    }

    /// [`Tensor::mean`], with the axes kept as extent 1.
    #[track_caller]
    pub fn mean_keep(&self, axes: &[isize]) -> Tensor {
        let sum = self.sum_keep(axes);
        &sum * self.share(axes)
    }

    /// The mean of all elements, a tensor of rank 0.
    #[track_caller]
    pub fn mean_all(&self) -> Tensor {
        self.mean(&self.all_axes())
    }

    /// The row-major position within `axes` of the first largest element (of the first NaN, if there is one); `u32`.
    ///
    /// # Panics
    /// If an axis does not exist or is named twice, or if there are no elements.
    #[track_caller]
    pub fn argmax(&self, axes: &[isize]) -> Tensor {
        let axes = fit(self.resolve_axes("argmax", axes));
        Tensor::apply(ArgReduce { kind: ArgKind::Max, axes }, &[self])
    }

    /// The row-major position within `axes` of the first smallest element (of the first NaN, if there is one); `u32`.
    ///
    /// # Panics
    /// If an axis does not exist or is named twice, or if there are no elements.
    #[track_caller]
    pub fn argmin(&self, axes: &[isize]) -> Tensor {
        let axes = fit(self.resolve_axes("argmin", axes));
        Tensor::apply(ArgReduce { kind: ArgKind::Min, axes }, &[self])
    }

    /// All axes, for reductions of the whole tensor: `x.var(&x.all_axes(), 1.0)`.
    pub fn all_axes(&self) -> Vec<isize> {
        (0..self.rank() as isize).collect()
    }

    /// What each element contributes to a mean over `axes`, which exist.
    fn share(&self, axes: &[isize]) -> f32 {
        if self.rank() == 0 {
            return 1.0;
        }
        let extent = |a: isize| self.shape()[a.rem_euclid(self.rank() as isize) as usize];
        (1.0 / axes.iter().map(|&a| extent(a)).product::<usize>() as f64) as f32
    }

    /// The axes, rising, counted from 0.
    fn resolve_axes(&self, op: &str, axes: &[isize]) -> Result<Vec<usize>, ShapeError> {
        // A number of rank 0 may be reduced over its only axis, as in PyTorch, though it has none.
        let axes = if self.rank() == 0 && matches!(axes, [0 | -1]) { &[] } else { axes };
        let mut resolved = axes.iter().map(|&a| resolve_axis(op, a, self.rank())).collect::<Result<Vec<_>, _>>()?;
        resolved.sort_unstable();
        Ok(resolved)
    }
}
