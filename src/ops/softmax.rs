//! Softmax, its logarithm, and their gradients, along any axis.
//!
//! Each gradient is an op of its own, made from the output: `y (dy - sum(y dy))` in one kernel instead of four. Its
//! rule is written in primitive ops, so that second derivatives are there too.

use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::ops::reduce::resolve_axis;
use crate::reference::softmax::{self as reference, Axis};
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, Caps, DType, Input, LoweredDispatch, Lowering, Meta, Op, Sample, Shape, Tensor, Tolerance,
};

/// `e^x / sum e^x` along an axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Softmax {
    /// The axis.
    pub axis: usize,
}

/// `x - ln sum e^x` along an axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogSoftmax {
    /// The axis.
    pub axis: usize,
}

/// The gradient of [`Softmax`], of its output and that output's cotangent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SoftmaxGrad {
    /// The axis.
    pub axis: usize,
}

/// The gradient of [`LogSoftmax`], of its output and that output's cotangent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogSoftmaxGrad {
    /// The axis.
    pub axis: usize,
}

const SHADER: Shader = Shader::new(
    "softmax",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/row.wgsl"),
        include_str!("../../shaders/shared/epilogue.wgsl"),
        include_str!("../../shaders/softmax.wgsl"),
    ),
);

crate::params! {
    /// Rows of `n` numbers, a step of `inner` apart: see `shaders/shared/row.wgsl`.
    pub(crate) struct RowParams { rows: u32, n: u32, inner: u32 }
}

/// Invocations that read a row of `n` numbers together on a GPU: one where it is shorter than a few loads of a
/// subgroup.
pub(crate) fn readers_of(n: usize) -> u32 {
    match n {
        ..=16 => 1,
        17..=128 => 32,
        129..=1024 => 128,
        _ => 256,
    }
}

/// Sets parameters and extent of a launch over the rows of `axis` in `shape`: an invocation for each, or a workgroup.
pub(crate) fn over_rows(launch: LoweredDispatch, shape: &Shape, axis: usize, caps: Caps) -> LoweredDispatch {
    let Axis { outer, n, inner } = Axis::of(shape, axis);
    let rows = outer * inner;
    let launch = launch.params(&RowParams { rows: rows as u32, n: n as u32, inner: inner as u32 });
    // Rows that lie side by side are read by neighbours together; a workgroup for each would read one at a time.
    let readers = readers_of(n);
    // A row is read up to three times.
    let turns = 3 * n;
    if caps.software || readers == 1 || inner >= 32 || caps.merges(rows, turns) {
        return launch.independent(turns).flat(rows, 64);
    }
    launch.constant("GROUP", 1u32).constant("WG", readers).flat(rows * readers as usize, readers)
}

fn checked(op: &str, axis: usize, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
    let x = &inputs[0];
    if let Some(bad) = inputs.iter().find(|i| i.dtype != DType::F32) {
        return Err(ShapeError::new(op, format!("takes f32, not {}; cast it first", bad.dtype)));
    }
    if axis >= x.shape.rank() {
        return Err(ShapeError::new(op, format!("there is no axis {axis} of shape {}", x.shape)));
    }
    if let Some(other) = inputs.iter().find(|i| i.shape != x.shape) {
        let problem = format!("output {} and cotangent {} must have one shape", x.shape, other.shape);
        return Err(ShapeError::new(op, problem));
    }
    Ok(vec![x.clone()])
}

macro_rules! row_op {
    ($ty:ident, $name:literal, $entry:literal, $log:literal, |$x:ident, $axis:ident| $reference:expr, $rule:expr, $samples:expr) => {
        impl Op for $ty {
            const NAME: &'static str = $name;
            fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
                checked($name, self.axis, inputs)
            }
            fn backward(&self) -> Backward<Self> {
                Backward::Rule($rule)
            }
            fn lower(&self) -> Lowering<Self> {
                Lowering::Kernel(|op, cx| {
                    let mut launch = LoweredDispatch::new(&SHADER, $entry).constant("LOG", $log);
                    for i in 0..cx.arity() {
                        launch = launch.read(cx.input(i));
                    }
                    let launch = launch.finish(cx.output(0));
                    cx.launch(over_rows(launch, &cx.meta(0).shape, op.axis, cx.caps()));
                })
            }
            fn reference<T: Real>(&self, $x: &[View<T>]) -> Vec<Array<T>> {
                let $axis = self.axis;
                vec![$reference]
            }
            fn samples() -> Vec<Sample<Self>> {
                $samples
            }
        }
    };
}

row_op!(
    Softmax,
    "softmax",
    "forward",
    0u32,
    |x, axis| reference::softmax(&x[0], axis),
    |op, v| {
        let dx = v.when(0, || Tensor::apply(SoftmaxGrad { axis: op.axis }, &[&v.outputs[0], v.dy()]));
        vec![dx]
    },
    forward_samples(|axis| Softmax { axis }, Tolerance::OfLargest(1e-6))
);

row_op!(
    LogSoftmax,
    "softmax_log",
    "forward",
    1u32,
    |x, axis| reference::log_softmax(&x[0], axis),
    |op, v| {
        let dx = v.when(0, || Tensor::apply(LogSoftmaxGrad { axis: op.axis }, &[&v.outputs[0], v.dy()]));
        vec![dx]
    },
    forward_samples(|axis| LogSoftmax { axis }, Tolerance::OfLargest(1e-6))
);

row_op!(
    SoftmaxGrad,
    "softmax_grad",
    "grad",
    0u32,
    |x, axis| reference::softmax_grad(&x[0], &x[1], axis),
    |op, v| {
        // out = y (dy - s) with s = sum(y dy), so for a cotangent g of out:
        let (y, dy, g, axis) = (&v.inputs[0], &v.inputs[1], v.dy(), [op.axis as isize]);
        let to_y = v.when(0, || {
            let s = (y * dy).sum_keep(&axis);
            &(g * &(dy - &s)) - &(dy * &(g * y).sum_keep(&axis))
        });
        vec![to_y, v.when(1, || Tensor::apply(op.clone(), &[y, g]))]
    },
    grad_samples(|axis| SoftmaxGrad { axis }, [0.0, 1.0])
);

row_op!(
    LogSoftmaxGrad,
    "softmax_log_grad",
    "grad",
    1u32,
    |x, axis| reference::log_softmax_grad(&x[0], &x[1], axis),
    |op, v| {
        // out = dy - e^y s with s = sum(dy), so for a cotangent g of out:
        let (y, dy, g, axis) = (&v.inputs[0], &v.inputs[1], v.dy(), [op.axis as isize]);
        let weighted = g * &y.exp();
        let to_y = v.when(0, || (&weighted * &dy.sum_keep(&axis)).neg());
        vec![to_y, v.when(1, || g - &weighted.sum_keep(&axis))]
    },
    grad_samples(|axis| LogSoftmaxGrad { axis }, [-3.0, 0.0])
);

fn forward_samples<O>(op: impl Fn(usize) -> O, tolerance: Tolerance) -> Vec<Sample<O>> {
    let values = |shape: &[usize], seed| Input::uniform(shape, -3.0, 3.0, seed);
    let at = |axis: usize, x: Input| Sample::new(op(axis), vec![x], tolerance);
    let inf = f32::INFINITY;
    #[rustfmt::skip]
    let odd = [
        1e4, -1e4, 0.0, 9999.0,
        -inf, 2.0, -inf, 1.0,
        -inf, -inf, -inf, 5.0,
        -inf, -inf, -inf, -inf,
        inf, 1.0, 2.0, 3.0,
        f32::NAN, 1.0, 2.0, 3.0,
        1e38, -1e38, 1e38, 0.0,
        7.0, 7.0, 7.0, 7.0,
    ];
    vec![
        at(1, values(&[5, 7], 1)),
        at(0, values(&[5, 7], 2)),
        at(1, values(&[7, 5], 3).viewed()),
        at(1, values(&[3, 11, 4], 4)),
        at(0, values(&[13], 5)),
        at(0, values(&[1], 6)),
        at(1, values(&[4, 1], 7)),
        at(1, values(&[0, 3], 8)),
        at(1, values(&[3, 0], 9)),
        at(1, values(&[3, 257], 10)),
        at(1, values(&[2, 1009], 11)),
        at(1, values(&[2, 71, 5], 12)),
        at(0, values(&[67, 37], 13)),
        at(2, values(&[2, 3, 128], 14).viewed()),
        at(1, Input::uniform([3, 100], -1e4, 1e4, 15)).rough(),
        at(1, Input::floats([8, 4], &odd)).rough(),
    ]
}

fn grad_samples<O>(op: impl Fn(usize) -> O, [low, high]: [f64; 2]) -> Vec<Sample<O>> {
    let at = |axis: usize, shape: &[usize], seed| {
        let inputs = vec![Input::uniform(shape, low, high, seed), Input::uniform(shape, -1.0, 1.0, seed + 50)];
        Sample::new(op(axis), inputs, Tolerance::OfLargest(4e-6))
    };
    let viewed = |mut sample: Sample<O>| {
        sample.inputs = sample.inputs.into_iter().map(Input::viewed).collect();
        sample
    };
    vec![
        at(1, &[5, 7], 1),
        at(0, &[5, 7], 2),
        viewed(at(1, &[7, 5], 3)),
        at(1, &[3, 11, 4], 4),
        at(0, &[1], 5),
        at(1, &[0, 3], 6),
        at(1, &[3, 257], 7),
        at(1, &[2, 1009], 8),
        at(0, &[67, 37], 9),
    ]
}

impl Tensor {
    /// `e^x / sum e^x` along `axis`, which counts from the end where negative. Numbers of -inf are masked: they come
    /// out as 0. A row that holds NaN or +inf, or nothing but -inf, comes out as NaN.
    ///
    /// # Panics
    /// If the axis does not exist or the tensor is not `f32`.
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Tensor {
        let axis = fit(resolve_axis("softmax", axis, self.rank()));
        Tensor::apply(Softmax { axis }, &[self])
    }

    /// `x - ln sum e^x` along `axis`, which counts from the end where negative; what [`Tensor::softmax`] says of masks
    /// holds of their logarithm, -inf.
    ///
    /// # Panics
    /// If the axis does not exist or the tensor is not `f32`.
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Tensor {
        let axis = fit(resolve_axis("log_softmax", axis, self.rank()));
        Tensor::apply(LogSoftmax { axis }, &[self])
    }
}
