//! Running sums and extremes along an axis. Of extremes the op gives positions; the values are gathered by them, which
//! makes them differentiable.

use super::gather::{Cut, Gather, Missing};
use super::sort::type_number;
use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::ops::reduce::resolve_axis;
use crate::reference::{Array, Real, View, scan as reference};
use crate::tensor::{
    Backward, DType, Input, Lower, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Slot, Tensor, Tolerance,
};

/// Element `k` is the sum of elements 0 to `k` along an axis. Whole numbers wrap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scan {
    /// The axis.
    pub axis: usize,
}

/// Element `k` is the position of the largest, or smallest, of elements 0 to `k`: of the last of equal ones, and of the
/// last NaN if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScanArg {
    /// The axis.
    pub axis: usize,
    /// The largest, or the smallest.
    pub largest: bool,
}

const SHADER: Shader = Shader::new(
    "scan",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/key.wgsl"),
        include_str!("../../shaders/scan.wgsl"),
    ),
);

crate::params! {
    #[derive(Default)]
    struct ScanParams {
        count: u32, rows: u32, inner: u32, chunks: u32, of_totals: u32, block: u32,
        offset: u32, outer_step: i32, along_step: i32, inner_step: i32,
    }
}

/// Elements of a chunk; the shader's number.
const CHUNK: usize = 1024;
/// Threads of a workgroup that goes through one chunk together.
const GROUP: u32 = 128;

/// Launches over the lines of input 0; `totals` are lines of an earlier launch's totals, to be scanned instead.
fn lower(cx: &mut Lower, x: Cut, kind: u32, type_: u32, totals: Option<(Slot, usize)>, y: Slot) {
    let lines = x.outer * x.inner;
    let rows = totals.map_or(x.n, |(_, n)| n);
    let chunks = rows.div_ceil(CHUNK);
    let params = ScanParams {
        count: (lines * chunks) as u32,
        rows: rows as u32,
        inner: x.inner as u32,
        chunks: chunks as u32,
        of_totals: totals.is_some() as u32,
        offset: x.offset as u32,
        outer_step: x.steps[0],
        along_step: x.steps[1],
        inner_step: x.steps[2],
        block: lines as u32,
    };
    let input = totals.map_or(x.slot, |(slot, _)| slot);
    let sums = cx.temp(lines * chunks);
    let start = |entry| LoweredDispatch::new(&SHADER, entry).constant("KIND", kind).constant("TYPE", type_);
    let launch = start("chunks").read(x.slot).write(y).read(input).write(sums).params(&params);
    let by_thread = cx.caps().software || rows <= 64 || (x.inner >= 32 && totals.is_none());
    cx.launch(match by_thread {
        true => launch.flat(lines * chunks, 64),
        false => launch.constant("GROUP", 1u32).constant("WG", GROUP).flat(lines * chunks * GROUP as usize, GROUP),
    });
    if chunks > 1 {
        let before = cx.temp(lines * chunks);
        lower(cx, x, kind, type_, Some((sums, chunks)), before);
        let params = ScanParams { count: (lines * rows) as u32, ..params };
        let launch = start("add").read(x.slot).write(y).read(before);
        cx.launch(launch.params(&params).flat(lines * rows, 64));
    }
}

fn lower_op(cx: &mut Lower, axis: usize, kind: u32) {
    let (y, type_) = (cx.output(0), type_number(cx.meta(0).dtype));
    if cx.meta(0).shape.elements() > 0 {
        let x = Cut::of(cx, 0, axis);
        lower(cx, x, kind, type_, None, y);
    }
}

fn check(op: &str, x: &Meta, axis: usize) -> Result<(), ShapeError> {
    if axis >= x.shape.rank() {
        return Err(ShapeError::new(op, format!("there is no axis {axis} of shape {}", x.shape)));
    }
    if x.dtype == DType::Bool {
        return Err(ShapeError::new(op, "takes f32, i32 and u32, not bool; cast it first"));
    }
    Ok(())
}

impl Op for Scan {
    const NAME: &'static str = "scan";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        check("cumsum", &inputs[0], self.axis)?;
        Ok(vec![inputs[0].clone()])
    }
    fn backward(&self) -> Backward<Self> {
        // Element k goes into all sums from k on: a running sum from the end.
        Backward::Rule(|op, v| {
            let dx = || Tensor::apply(op.clone(), &[&v.dy().flip(op.axis)]).flip(op.axis);
            vec![if v.inputs[0].dtype() == DType::F32 { v.when(0, dx) } else { None }]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| lower_op(cx, op.axis, 0))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::sum(&inputs[0], self.axis)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let at = |axis: usize, x: Input| Sample::new(Scan { axis }, vec![x], Tolerance::OfLargest(2e-6));
        let values = |shape: &[usize], seed| Input::uniform(shape, -0.5, 1.0, seed);
        let mut all = vec![
            at(0, values(&[7], 1)),
            at(1, values(&[5, 7], 2)),
            at(0, values(&[5, 7], 3).viewed()),
            at(1, values(&[2, 67, 35], 4)),
            at(1, values(&[3, 1031], 5).viewed()),
            at(0, values(&[2500], 6)),
            at(0, values(&[1], 7)),
            at(1, values(&[3, 0], 8)),
            at(0, values(&[0, 3], 9)),
        ];
        for dtype in [DType::U32, DType::I32] {
            let whole = Input::below([2, 70], 1 << 20, 10).of(dtype);
            all.push(Sample::new(Scan { axis: 1 }, vec![whole], Tolerance::Exact));
        }
        all
    }
}

impl Op for ScanArg {
    const NAME: &'static str = "scan_arg";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        check(if self.largest { "cummax" } else { "cummin" }, &inputs[0], self.axis)?;
        Ok(vec![Meta::new(inputs[0].shape.clone(), DType::U32)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| lower_op(cx, op.axis, if op.largest { 1 } else { 2 }))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::arg(&inputs[0], self.axis, self.largest)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        for largest in [true, false] {
            let at = |axis: usize, x: Input| Sample::new(ScanArg { axis, largest }, vec![x], Tolerance::Exact);
            let few = |shape: &[usize], n, seed| Input::below(shape, n, seed).of(DType::F32);
            let (inf, nan) = (f32::INFINITY, f32::NAN);
            let odd = [-0.0, 0.0, -inf, inf, inf, 1.0, nan, 2.0, nan, inf];
            let mut whole = Input::below([2, 70], 100, 3).of(DType::I32);
            whole.values.iter_mut().for_each(|v| *v -= 50.0);
            all.extend([
                at(1, Input::uniform([5, 7], -1.0, 1.0, 1).viewed()),
                at(0, few(&[2100], 5000, 2)),
                at(1, few(&[2, 67, 35], 60, 4)),
                at(0, Input::floats([10], &odd)),
                at(1, Input::floats([0, 3], &[])),
                at(1, whole),
                at(0, Input::below([70], 9, 5)),
            ]);
        }
        all
    }
}

impl Tensor {
    /// Element `k` is the sum of elements 0 to `k` along `axis`. Whole numbers wrap; truth values are counted as `u32`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Tensor {
        if self.dtype() == DType::Bool {
            return self.cast(DType::U32).cumsum(axis);
        }
        if self.rank() == 0 {
            return self.clone();
        }
        let axis = fit(resolve_axis("cumsum", axis, self.rank()));
        Tensor::apply(Scan { axis }, &[self])
    }

    /// Element `k` is the largest of elements 0 to `k` along `axis`; and where it is: the last of equal ones. From the
    /// first NaN on it is NaN.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cummax(&self, axis: isize) -> (Tensor, Tensor) {
        self.running_extreme("cummax", axis, true)
    }

    /// Element `k` is the smallest of elements 0 to `k` along `axis`; and where it is: the last of equal ones. From the
    /// first NaN on it is NaN.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cummin(&self, axis: isize) -> (Tensor, Tensor) {
        self.running_extreme("cummin", axis, false)
    }

    #[track_caller]
    fn running_extreme(&self, op: &str, axis: isize, largest: bool) -> (Tensor, Tensor) {
        if self.rank() == 0 {
            return (self.clone(), Tensor::full(self.device(), [], 0u32));
        }
        let axis = fit(resolve_axis(op, axis, self.rank()));
        let at = Tensor::apply(ScanArg { axis, largest }, &[self]);
        (Tensor::apply(Gather { axis, missing: Missing::Zero }, &[self, &at]), at)
    }
}
