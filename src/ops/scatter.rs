//! Elements combined into places named by indices: the gradient of [`gather`](super::gather), and scatter in all forms.
//!
//! There are no atomics. A few sources are asked by every place; many are brought into the order of their places by one
//! stable sort, which elements that share their indices share too (the rows of an embedding's gradient are sorted once,
//! not once per column), and each place adds up its own in the order of the sources. The same input gives the same
//! bits.

use super::gather::{Cut, Gather, Missing, check_index};
use super::sort::{Source, launch as sort, type_number};
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, scatter as reference};
use crate::tensor::{
    Backward, DType, Input, Lower, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Slot, Tensor, Tolerance, Vjp,
};

pub use reference::Combine as ScatterKind;

/// `x` with each `src[.., j, ..]` combined into place `index[.., j, ..]` along an axis. Inputs: `x`, indices, `src`,
/// with equal axes but for the one, along which indices and `src` agree. Sources whose index names no place are left
/// out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scatter {
    /// The axis.
    pub axis: usize,
    /// What becomes of the elements that meet in a place.
    pub kind: ScatterKind,
}

/// For each place along an axis, which source is the last to go there, counted from 1; 0 if none does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScatterLast {
    /// The axis.
    pub axis: usize,
    /// The number of places.
    pub places: usize,
}

const SHADER: Shader = Shader::new(
    "scatter",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/index.wgsl"),
        include_str!("../../shaders/shared/key.wgsl"),
        include_str!("../../shaders/scatter.wgsl"),
    ),
);

crate::params! {
    #[derive(Default)]
    struct ScatterParams {
        count: u32, n: u32, k: u32, inner: u32, is_signed: u32, chunks: u32,
        x_offset: u32, src_offset: u32, index_offset: u32,
        x_outer: i32, x_along: i32, x_inner: i32,
        src_outer: i32, src_along: i32, src_inner: i32,
        index_outer: i32, index_along: i32, index_inner: i32,
        line_outer: u32, line_inner: u32,
    }
}

/// Sources that one invocation adds up; the shader's number.
const CHUNK: usize = 256;
/// More sources than this, and places may have so many that chunks of them pay.
const MANY: usize = 4 * CHUNK;

/// Whether every place asks every source.
fn is_direct(count: usize, k: usize) -> bool {
    k <= 16 || (k <= 256 && count * k <= 1 << 16)
}

/// Indices sorted by the places they name.
struct Sorted {
    keys: Slot,
    positions: Slot,
    starts: Slot,
    params: ScatterParams,
}

/// Sorts the indices, once for all elements that share them, and finds where the sources of each place begin.
fn sorted(cx: &mut Lower, index: Cut, dtype: DType, params: ScatterParams) -> Sorted {
    let shared = |step: i32, extent: usize| step == 0 && extent > 1;
    let mut once = index;
    if shared(index.steps[0], index.outer) {
        once.outer = 1;
    }
    if shared(index.steps[2], index.inner) {
        once.inner = 1;
    }
    let lines = once.outer * once.inner;
    let (keys, positions) = sort(cx, once, Source::Indices { dtype, elements: params.n as usize });
    let params = ScatterParams {
        line_outer: if once.outer == 1 { 0 } else { once.inner as u32 },
        line_inner: (once.inner > 1) as u32,
        ..params
    };
    let count = lines * (params.n as usize + 1);
    let starts = cx.temp(count);
    let launch = LoweredDispatch::new(&SHADER, "starts").write(starts).read(keys);
    cx.launch(launch.params(&ScatterParams { count: count as u32, ..params }).flat(count, 64));
    Sorted { keys, positions, starts, params }
}

fn params(count: usize, n: usize, index: &Cut, dtype: DType) -> ScatterParams {
    ScatterParams {
        count: count as u32,
        n: n as u32,
        k: index.n as u32,
        inner: index.inner as u32,
        is_signed: (dtype == DType::I32) as u32,
        index_offset: index.offset as u32,
        index_outer: index.steps[0],
        index_along: index.steps[1],
        index_inner: index.steps[2],
        ..Default::default()
    }
}

impl Scatter {
    fn lower(&self, cx: &mut Lower) {
        let (count, y) = (cx.output_meta(0).shape.elements(), cx.output(0));
        if count == 0 {
            return;
        }
        let (x, dtype) = (Cut::of(cx, 0, self.axis), cx.meta(1).dtype);
        // Without sources nothing is read of them; any slot fills the bindings.
        let none = cx.meta(1).shape.elements() == 0;
        let (index, src) =
            if none { (Cut { n: 0, ..x }, x) } else { (Cut::of(cx, 1, self.axis), Cut::of(cx, 2, self.axis)) };
        let params = ScatterParams {
            x_offset: x.offset as u32,
            x_outer: x.steps[0],
            x_along: x.steps[1],
            x_inner: x.steps[2],
            src_offset: src.offset as u32,
            src_outer: src.steps[0],
            src_along: src.steps[1],
            src_inner: src.steps[2],
            ..params(count, x.n, &index, dtype)
        };
        let combine = match self.kind {
            ScatterKind::Add => 0u32,
            ScatterKind::Mul => 1,
            ScatterKind::Max => 2,
            ScatterKind::Min => 3,
        };
        let type_ = type_number(cx.meta(0).dtype);
        let start = |entry| LoweredDispatch::new(&SHADER, entry).constant("COMBINE", combine).constant("TYPE", type_);
        if is_direct(count, index.n) {
            let launch = start("direct").write(y).read(x.slot).read(src.slot).read(index.slot);
            return cx.launch(launch.params(&params).independent(index.n).flat(count, 64));
        }
        let Sorted { keys, positions, starts, mut params } = sorted(cx, index, dtype, params);
        let mut partial = keys;
        if index.n > MANY {
            let chunks = index.n.div_ceil(CHUNK);
            let count = index.outer * chunks * index.inner;
            params.chunks = chunks as u32;
            partial = cx.temp(count);
            let launch = start("partials").write(partial).read(keys).read(src.slot).read(positions);
            cx.launch(launch.params(&ScatterParams { count: count as u32, ..params }).flat(count, 64));
        }
        let launch = start("segments").write(y).read(x.slot).read(src.slot).read(positions).read(starts).read(partial);
        cx.launch(launch.params(&ScatterParams { count: count as u32, ..params }).flat(count, 64));
    }

    fn vjp(&self, v: &Vjp) -> Vec<Option<Tensor>> {
        let (x, index, src, dy) = (&v.inputs[0], &v.inputs[1], &v.inputs[2], v.dy());
        if x.dtype() != DType::F32 {
            return vec![None; 3];
        }
        let gather = |t: &Tensor| Tensor::apply(Gather { axis: self.axis, missing: Missing::Zero }, &[t, index]);
        let scatter =
            |kind, x: &Tensor, src: &Tensor| Tensor::apply(Scatter { axis: self.axis, kind }, &[x, index, src]);
        let zero = Tensor::scalar(x.device(), 0f32);
        match self.kind {
            ScatterKind::Add => vec![v.when(0, || dy.clone()), None, v.when(2, || gather(dy))],
            ScatterKind::Mul => {
                // The product of the others is y / x, but for the zeros: where one element of a place is 0, only that
                // one has a slope, the product of the others; where two are, none has.
                let one = Tensor::scalar(x.device(), 1f32);
                let is_zero = |t: &Tensor| t.equal(&zero);
                let without = |t: &Tensor| Tensor::select(&is_zero(t), &one, t);
                let count = scatter(ScatterKind::Add, &is_zero(x).cast(DType::F32), &is_zero(src).cast(DType::F32));
                let product = scatter(ScatterKind::Mul, &without(x), &without(src));
                let slope = |t: &Tensor, count: &Tensor, product: &Tensor| {
                    let of_zero = Tensor::select(&count.equal(&one), product, &zero);
                    let of_other = Tensor::select(&count.equal(&zero), &(product / &without(t)), &zero);
                    Tensor::select(&is_zero(t), &of_zero, &of_other)
                };
                let dx = v.when(0, || dy * &slope(x, &count, &product));
                let dsrc = v.when(2, || &gather(dy) * &slope(src, &gather(&count), &gather(&product)));
                vec![dx, None, dsrc]
            }
            // Equal extremes share the gradient, as those of a reduction do.
            ScatterKind::Max | ScatterKind::Min => {
                let y = &v.outputs[0];
                let hit_x = x.equal(y).cast(DType::F32);
                let hit_src = src.equal(&gather(y)).cast(DType::F32);
                let share = dy / &scatter(ScatterKind::Add, &hit_x, &hit_src);
                vec![v.when(0, || &hit_x * &share), None, v.when(2, || &hit_src * &gather(&share))]
            }
        }
    }
}

impl Op for Scatter {
    const NAME: &'static str = "scatter";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (x, index, src) = (&inputs[0], &inputs[1], &inputs[2]);
        check_index("scatter", x, index, self.axis)?;
        if src.shape != index.shape {
            let problem = format!("sources {} with indices {}; their shapes must be equal", src.shape, index.shape);
            return Err(ShapeError::new("scatter", problem));
        }
        if src.dtype != x.dtype || x.dtype == DType::Bool {
            let problem = format!("sources of {} into {}; both must be f32, i32 or u32", src.dtype, x.dtype);
            return Err(ShapeError::new("scatter", problem));
        }
        Ok(vec![x.clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| op.vjp(v))
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| op.lower(cx))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::scatter(&inputs[0], &inputs[1], &inputs[2], self.axis, self.kind)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        let values = |shape: &[usize], seed| Input::uniform(shape, 0.5, 1.5, seed);
        let add = |axis: usize, x: Input, index: Input, seed| {
            let src = values(&index.meta.shape, seed);
            let op = Scatter { axis, kind: ScatterKind::Add };
            Sample::new(op, vec![x, index, src], Tolerance::OfLargest(4e-6))
        };
        let viewed = |mut sample: Sample<Scatter>| {
            sample.inputs = sample.inputs.into_iter().map(Input::viewed).collect();
            sample
        };
        all.extend([
            add(0, values(&[7], 1), Input::below([5], 7, 2), 3),
            add(1, values(&[5, 7], 4), Input::below([5, 20], 8, 5), 6),
            viewed(add(1, values(&[3, 5, 7], 7), Input::below([3, 4, 7], 5, 8), 9)),
            add(0, values(&[4], 10), Input::below([1500], 3, 11), 12), // places of many sources, and one of none
            add(0, values(&[90, 3], 13), Input::below([400, 3], 90, 14), 15),
            viewed(add(1, values(&[3, 30, 5], 16), Input::below([3, 300, 5], 30, 17), 18)),
            add(0, values(&[3], 19), Input::uints([0], &[]), 20),
            add(0, values(&[0, 2], 21), Input::uints([1, 2], &[0, 0]), 22),
        ]);
        let signed = Input { values: vec![-1.0, 5.0, -6.0, 0.0, -5.0], ..Input::below([5], 1, 0).of(DType::I32) };
        all.push(add(0, values(&[5], 23), signed, 24));
        for kind in [ScatterKind::Mul, ScatterKind::Max, ScatterKind::Min] {
            let op = Scatter { axis: 1, kind };
            let at = |x: Input, index: Input, src: Input| {
                Sample::new(op.clone(), vec![x, index, src], Tolerance::OfLargest(4e-6))
            };
            let mut both = Input::distinct([5 * (7 + 4)], 30).values;
            both.iter_mut().for_each(|v| *v += 1.5);
            let split =
                |range: std::ops::Range<usize>, n: usize| Input { values: both[range].to_vec(), ..values(&[5, n], 0) };
            all.push(at(split(0..35, 7), Input::below([5, 4], 7, 31), split(35..55, 4)));
            let odd = [0.0, f32::NAN, 2.0, 0.0, -1.0, f32::INFINITY, 3.0, -0.0];
            let index = Input::uints([1, 8], &[0, 1, 0, 2, 2, 3, 3, 9]);
            all.push(at(values(&[1, 4], 32), index, Input::floats([1, 8], &odd)).rough());
            let whole = |shape: [usize; 2], seed| Input::below(shape, 100, seed);
            all.push(at(whole([2, 3], 33), Input::below([2, 9], 3, 34), whole([2, 9], 35)));
            let (x, src) = (whole([2, 3], 36).of(DType::I32), whole([2, 9], 37).of(DType::I32));
            all.push(at(x, Input::below([2, 9], 3, 38), src));
        }
        let zeros = Input::floats([1, 9], &[0.0, 2.0, 0.0, 0.0, 3.0, 1.5, 2.5, 0.5, 0.0]);
        let index = Input::uints([1, 9], &[0, 0, 1, 1, 1, 2, 2, 3, 2]);
        let product = Scatter { axis: 1, kind: ScatterKind::Mul };
        all.push(Sample::new(product, vec![values(&[1, 4], 39), index, zeros], Tolerance::OfLargest(1e-6)));
        all
    }
}

impl Op for ScatterLast {
    const NAME: &'static str = "scatter_last";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let index = &inputs[0];
        let mut shape = index.shape.to_vec();
        if self.axis < shape.len() {
            shape[self.axis] = self.places;
        }
        check_index("scatter", &Meta::new(shape.clone(), DType::F32), index, self.axis)?;
        Ok(vec![Meta::new(shape, DType::U32)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (count, y, dtype) = (cx.output_meta(0).shape.elements(), cx.output(0), cx.meta(0).dtype);
            if count == 0 {
                return;
            }
            if cx.meta(0).shape.elements() == 0 {
                let nothing = cx.temp(64);
                let params = ScatterParams { count: count as u32, n: 1, inner: 1, ..Default::default() };
                let launch = LoweredDispatch::new(&SHADER, "last_direct").write(y).read(nothing);
                return cx.launch(launch.params(&params).flat(count, 64));
            }
            let index = Cut::of(cx, 0, op.axis);
            let params = params(count, op.places, &index, dtype);
            if is_direct(count, index.n) {
                let launch = LoweredDispatch::new(&SHADER, "last_direct").write(y).read(index.slot);
                return cx.launch(launch.params(&params).flat(count, 64));
            }
            let Sorted { positions, starts, params, .. } = sorted(cx, index, dtype, params);
            let launch = LoweredDispatch::new(&SHADER, "last").write(y).read(starts).read(positions);
            cx.launch(launch.params(&ScatterParams { count: count as u32, ..params }).flat(count, 64));
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let mut shape = inputs[0].shape.to_vec();
        shape[self.axis] = self.places;
        vec![reference::last(&inputs[0], self.axis, &shape)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let at = |axis: usize, places: usize, index: Input| {
            Sample::new(ScatterLast { axis, places }, vec![index], Tolerance::Exact)
        };
        vec![
            at(0, 7, Input::below([5], 7, 1)),
            at(1, 6, Input::below([5, 20], 7, 2)),
            at(0, 50, Input::below([300], 40, 3)),
            at(1, 30, Input::below([3, 300, 5], 30, 4).viewed()),
            at(0, 3, Input::uints([0], &[])),
            at(1, 0, Input::uints([2, 1], &[0, 0])),
            at(0, 4, Input { values: vec![-1.0, 4.0, -5.0, 1.0], ..Input::below([4], 1, 0).of(DType::I32) }),
        ]
    }
}
