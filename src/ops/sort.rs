//! Sorting along an axis: the op gives positions; the values are gathered by them, which makes them differentiable.

use super::gather::{Cut, Gather, Missing};
use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::ops::reduce::resolve_axis;
use crate::reference::{Array, Real, View, sort as reference};
use crate::tensor::{
    Backward, DType, Input, Lower, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Slot, Tensor, Tolerance,
};

/// The positions of the elements in the order of their values, along an axis; equal ones stay in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sort {
    /// The axis.
    pub axis: usize,
    /// The largest first. NaN counts as the largest.
    pub falling: bool,
}

const SHADER: Shader = Shader::new(
    "sort",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/index.wgsl"),
        include_str!("../../shaders/shared/key.wgsl"),
        include_str!("../../shaders/sort.wgsl"),
    ),
);

crate::params! {
    struct SortParams {
        count: u32, n: u32, inner: u32, last: u32,
        offset: u32, n_keys: u32, is_signed: u32, width: u32,
        outer_step: i32, along_step: i32, inner_step: i32,
    }
}

/// Elements of a run that the first launch sorts; the shader's number.
const BLOCK: usize = 32;

/// What is sorted.
pub(crate) enum Source {
    /// Numbers of this type, into the positions of a result.
    Numbers { dtype: DType, falling: bool, positions: Slot },
    /// Indices of this type among so many elements; those that name none come last, as that number.
    Indices { dtype: DType, elements: usize },
}

/// The number under which shaders know a type (see `shaders/shared/key.wgsl`).
pub(crate) fn type_number(dtype: DType) -> u32 {
    match dtype {
        DType::F32 | DType::F16 => 0,
        DType::I32 => 1,
        DType::U32 | DType::Bool => 2,
    }
}

/// Appends the launches that sort the lines of `x`. Sorted keys and positions lie line by line, but for the positions
/// of numbers, which lie as the elements of a dense `x` would.
pub(crate) fn launch(cx: &mut Lower, x: Cut, source: Source) -> (Slot, Slot) {
    let Cut { outer, n, inner, .. } = x;
    let count = outer * n * inner;
    let result = match source {
        Source::Numbers { positions, .. } => Some(positions),
        Source::Indices { .. } => None,
    };
    let (kind, type_, elements, signed) = match source {
        Source::Numbers { dtype, falling, .. } => (falling as u32, type_number(dtype), 0, false),
        Source::Indices { dtype, elements } => (2, 0, elements, dtype == DType::I32),
    };
    let params = |width: usize, last: bool| SortParams {
        count: count as u32,
        n: n as u32,
        inner: inner as u32,
        last: (last && result.is_some()) as u32,
        offset: x.offset as u32,
        n_keys: elements as u32,
        is_signed: signed as u32,
        width: width as u32,
        outer_step: x.steps[0],
        along_step: x.steps[1],
        inner_step: x.steps[2],
    };
    let target = |cx: &mut Lower, last: bool| match result {
        Some(positions) if last => positions,
        _ => cx.temp(count),
    };
    let last = n <= BLOCK;
    let (mut keys, mut positions) = (cx.temp(count), target(cx, last));
    let launch = LoweredDispatch::new(&SHADER, "block").constant("SOURCE", kind).constant("TYPE", type_);
    let launch = launch.read(x.slot).write(keys).write(positions);
    cx.launch(launch.params(&params(BLOCK, last)).flat(count, 64));
    let mut spare = None;
    let mut width = BLOCK;
    while width < n {
        let last = 2 * width >= n;
        // Two pairs of buffers take turns.
        let (to_keys, to_positions) = match spare.take() {
            Some((keys, positions)) => (keys, if last { result.unwrap_or(positions) } else { positions }),
            None => (cx.temp(count), target(cx, last)),
        };
        let launch = LoweredDispatch::new(&SHADER, "merge").read(keys).read(positions).write(to_keys);
        cx.launch(launch.write(to_positions).params(&params(width, last)).flat(count, 64));
        spare = Some((keys, positions));
        (keys, positions) = (to_keys, to_positions);
        width *= 2;
    }
    (keys, positions)
}

impl Op for Sort {
    const NAME: &'static str = "sort";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let shape = inputs[0].shape.clone();
        if self.axis >= shape.rank() {
            return Err(ShapeError::new("sort", format!("there is no axis {} of shape {shape}", self.axis)));
        }
        Ok(vec![Meta::new(shape, DType::U32)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (positions, dtype) = (cx.output(0), cx.meta(0).dtype);
            if cx.meta(0).shape.elements() == 0 {
                return;
            }
            let x = Cut::of(cx, 0, op.axis);
            launch(cx, x, Source::Numbers { dtype, falling: op.falling, positions });
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::sort(&inputs[0], self.axis, self.falling)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        for falling in [false, true] {
            let at = |axis: usize, x: Input| Sample::new(Sort { axis, falling }, vec![x], Tolerance::Exact);
            let values = |shape: &[usize], seed| Input::uniform(shape, -1.0, 1.0, seed);
            let few = |shape: &[usize], n, seed| Input::below(shape, n, seed).of(DType::F32);
            let (inf, nan) = (f32::INFINITY, f32::NAN);
            let odd = [nan, 1.0, -inf, inf, -0.0, 0.0, -1.0, nan, 3e38, -3e38, 0.0, -0.0];
            let mut whole = few(&[3, 40], 100, 9).of(DType::I32);
            whole.values.iter_mut().for_each(|v| *v -= 50.0);
            all.extend([
                at(0, values(&[7], 1)),
                at(1, values(&[5, 7], 2)),
                at(0, values(&[5, 7], 3).viewed()),
                at(1, few(&[3, 45, 4], 9, 4)),
                at(0, few(&[1000], 60, 5)),
                at(1, values(&[2, 257], 6).viewed()),
                at(0, Input::floats([12], &odd)),
                at(0, Input::floats([1], &[2.0])),
                at(1, Input::floats([0, 3], &[])),
                at(1, Input::floats([3, 0], &[])),
                at(1, whole),
                at(0, Input::uints([5], &[3, u32::MAX, 0, 1 << 31, 3])),
                at(0, Input::below([9], 2, 7).of(DType::Bool)),
            ]);
        }
        all
    }
}

impl Tensor {
    /// The positions of the elements in the order of their values along `axis`, the largest first if `falling`; `u32`.
    /// Equal elements stay in order, and NaN counts as the largest, as in PyTorch with `stable=True`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn argsort(&self, axis: isize, falling: bool) -> Tensor {
        if self.rank() == 0 {
            fit(resolve_axis("sort", axis, 1));
            return Tensor::full(self.device(), [], 0u32);
        }
        let axis = fit(resolve_axis("sort", axis, self.rank()));
        Tensor::apply(Sort { axis, falling }, &[self])
    }

    /// The elements in order along `axis`, and the positions they came from. What [`Tensor::argsort`] says holds.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn sort(&self, axis: isize, falling: bool) -> (Tensor, Tensor) {
        let order = self.argsort(axis, falling);
        (self.in_order(axis, &order), order)
    }

    /// The `k` largest elements along `axis` (or smallest), the most extreme first, and their positions; of equal ones
    /// the first. NaN counts as the largest.
    ///
    /// # Panics
    /// If the axis does not exist or has fewer than `k` elements.
    #[track_caller]
    pub fn topk(&self, k: usize, axis: isize, largest: bool) -> (Tensor, Tensor) {
        let order = self.argsort(axis, largest);
        if self.rank() == 0 {
            return (self.clone(), order);
        }
        let along = fit(resolve_axis("topk", axis, self.rank()));
        let n = self.shape()[along];
        assert!(k <= n, "topk: {k} of axis {along} of shape {}; it has {n} elements", self.shape());
        let order = order.narrow(along, 0, k);
        (self.in_order(axis, &order), order)
    }

    /// The elements at positions along an axis that are known to exist.
    #[track_caller]
    pub(crate) fn in_order(&self, axis: isize, positions: &Tensor) -> Tensor {
        if self.rank() == 0 {
            return self.clone();
        }
        let axis = fit(resolve_axis("sort", axis, self.rank()));
        Tensor::apply(Gather { axis, missing: Missing::Zero }, &[self, positions])
    }
}
