//! The loss of a classifier: cross-entropy of logits, with labels or with target probabilities.
//!
//! `-ln softmax(x)[label]` in one kernel, and its gradient `softmax(x) - onehot(label)` in another: neither the
//! probabilities nor their logarithms are stored, and logits of any size are safe. The gradients are ops of their own
//! whose rules are written in primitive ops, so that second derivatives are there too.

use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::ops::softmax::over_rows;
use crate::reference::cross_entropy::{self as reference, class_axis};
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, DType, Input, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Shape, Tensor, Tolerance, Vjp,
};

/// The loss of each row of logits `[n, classes, ..]` with labels `[n, ..]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CrossEntropy;

/// The loss of each row of logits `[n, classes, ..]` with target probabilities of the same shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CrossEntropyDense;

/// The gradient of [`CrossEntropy`]: logits, labels and the loss's cotangent to that of the logits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CrossEntropyGrad;

/// The gradient of [`CrossEntropyDense`]: logits, targets and the loss's cotangent to that of the logits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CrossEntropyDenseGrad;

const SHADER: Shader = Shader::new(
    "cross_entropy",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/row.wgsl"),
        include_str!("../../shaders/cross_entropy.wgsl"),
    ),
);

fn lower(cx: &mut Lower, entry: &'static str) {
    let mut launch = LoweredDispatch::new(&SHADER, entry);
    for i in 0..cx.arity() {
        launch = launch.read(cx.input(i));
    }
    let x = &cx.meta(0).shape;
    let launch = launch.write(cx.output(0));
    cx.launch(over_rows(launch, x, class_axis(x.rank()), cx.caps()));
}

/// The shape of labels and losses: that of the logits without the classes.
fn rows_of(x: &Shape) -> Shape {
    let mut shape = x.to_vec();
    shape.remove(class_axis(x.rank()));
    shape.into()
}

/// The checks that all four share; `labels` or targets are input 1, and a cotangent of the losses may be input 2.
fn checked(inputs: &[Meta], labels: bool) -> Result<Shape, ShapeError> {
    let (x, target) = (&inputs[0], &inputs[1]);
    let refuse = |problem: String| Err(ShapeError::new("cross_entropy", problem));
    if x.dtype != DType::F32 || x.shape.rank() == 0 {
        return refuse(format!("the logits are {} {}; they must be f32 [n, classes, ..]", x.dtype, x.shape));
    }
    if x.shape[class_axis(x.shape.rank())] == 0 {
        return refuse(format!("logits of shape {} have no class; they need at least one", x.shape));
    }
    let rows = rows_of(&x.shape);
    let fits = match labels {
        true => matches!(target.dtype, DType::U32 | DType::I32) && target.shape == rows,
        false => target.dtype == DType::F32 && target.shape == x.shape,
    };
    if !fits {
        return refuse(format!(
            "logits {} with targets {} {}; it takes labels u32 or i32 {rows}, or probabilities f32 {}",
            x.shape, target.dtype, target.shape, x.shape
        ));
    }
    if inputs.get(2).is_some_and(|d| d.dtype != DType::F32 || d.shape != rows) {
        return refuse(format!("the losses' cotangent must be f32 {rows}"));
    }
    Ok(rows)
}

/// What every row of the logits shares: a value per row, repeated over the classes.
fn over_classes(per_row: &Tensor, x: &Tensor) -> Tensor {
    per_row.unsqueeze(class_axis(x.rank())).broadcast_to(x.shape())
}

impl Op for CrossEntropy {
    const NAME: &'static str = "cross_entropy";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        Ok(vec![Meta::new(checked(inputs, true)?, DType::F32)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|_, v| {
            let dx = v.when(0, || Tensor::apply(CrossEntropyGrad, &[&v.inputs[0], &v.inputs[1], v.dy()]));
            vec![dx, None]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|_, cx| lower(cx, "sparse"))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::sparse(&inputs[0], &inputs[1])]
    }
    fn samples() -> Vec<Sample<Self>> {
        samples(sparse_cases(), |(x, label, tolerance)| Sample::new(CrossEntropy, vec![x, label], tolerance))
    }
}

impl Op for CrossEntropyDense {
    const NAME: &'static str = "cross_entropy_dense";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        Ok(vec![Meta::new(checked(inputs, false)?, DType::F32)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|_, v| {
            let (x, t) = (&v.inputs[0], &v.inputs[1]);
            let dx = v.when(0, || Tensor::apply(CrossEntropyDenseGrad, &[x, t, v.dy()]));
            let axis = class_axis(x.rank());
            let dt = v.when(1, || (&over_classes(v.dy(), x) * &x.log_softmax(axis as isize)).neg());
            vec![dx, dt]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|_, cx| lower(cx, "dense"))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::dense(&inputs[0], &inputs[1])]
    }
    fn samples() -> Vec<Sample<Self>> {
        samples(dense_cases(), |(x, t, tolerance)| Sample::new(CrossEntropyDense, vec![x, t], tolerance))
    }
}

/// `p` and `p (g - sum(p g)) dloss scale`: the softmax of the logits, and how it carries a cotangent back to them.
fn through_softmax(v: &Vjp, scale: Option<&Tensor>) -> (Tensor, Tensor) {
    let (x, dloss, g) = (&v.inputs[0], &v.inputs[2], v.dy());
    let axis = class_axis(x.rank()) as isize;
    let p = x.softmax(axis);
    let mean = (&p * g).sum_keep(&[axis]);
    let dx = &(&p * &(g - &mean)) * &over_classes(dloss, x);
    let dx = scale.map_or(dx.clone(), |scale| &dx * scale);
    (p, dx)
}

impl Op for CrossEntropyGrad {
    const NAME: &'static str = "cross_entropy_grad";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        checked(inputs, true)?;
        Ok(vec![inputs[0].clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let (x, labels, g) = (&v.inputs[0], &v.inputs[1], v.dy());
            let dx = v.when(0, || through_softmax(v, None).1);
            // It is linear in dloss, so its slope there is its value at 1.
            let to_loss = v.when(2, || {
                let ones = Tensor::ones(x.device(), labels.shape());
                (g * &Tensor::apply(op.clone(), &[x, labels, &ones])).sum(&[class_axis(x.rank()) as isize])
            });
            vec![dx, None, to_loss]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|_, cx| lower(cx, "sparse_grad"))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::sparse_grad(&inputs[0], &inputs[1], &inputs[2])]
    }
    fn samples() -> Vec<Sample<Self>> {
        samples(sparse_cases(), |(x, label, _)| {
            let dloss = Input::uniform(rows_of(&x.meta.shape), -1.0, 1.0, 99);
            Sample::new(CrossEntropyGrad, vec![x, label, dloss], Tolerance::OfLargest(4e-6))
        })
    }
}

impl Op for CrossEntropyDenseGrad {
    const NAME: &'static str = "cross_entropy_dense_grad";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        checked(inputs, false)?;
        Ok(vec![inputs[0].clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let (x, t, dloss, g) = (&v.inputs[0], &v.inputs[1], &v.inputs[2], v.dy());
            let axis = [class_axis(x.rank()) as isize];
            let (p, dx) = through_softmax(v, Some(&t.sum_keep(&axis)));
            let to_t = v.when(1, || &(&(&p * g).sum_keep(&axis) - g) * &over_classes(dloss, x));
            let to_loss = v.when(2, || {
                let ones = Tensor::ones(x.device(), dloss.shape());
                (g * &Tensor::apply(op.clone(), &[x, t, &ones])).sum(&axis)
            });
            vec![v.when(0, || dx), to_t, to_loss]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|_, cx| lower(cx, "dense_grad"))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::dense_grad(&inputs[0], &inputs[1], &inputs[2])]
    }
    fn samples() -> Vec<Sample<Self>> {
        samples(dense_cases(), |(x, t, _)| {
            let dloss = Input::uniform(rows_of(&x.meta.shape), -1.0, 1.0, 99);
            Sample::new(CrossEntropyDenseGrad, vec![x, t, dloss], Tolerance::OfLargest(4e-6))
        })
    }
}

/// Logits, labels or targets, and the tolerance of the losses.
type Case = (Input, Input, Tolerance);

/// Shapes of logits: rows, classes, and axes behind them; long rows and rows side by side.
const SHAPES: [&[usize]; 11] =
    [&[5, 7], &[7], &[1, 1], &[13, 1], &[0, 4], &[4, 10], &[3, 5, 2, 3], &[2, 67, 33], &[3, 257], &[2, 1009], &[70, 3]];

const INF: f32 = f32::INFINITY;

/// Logits far apart, masked, and without a softmax.
#[rustfmt::skip]
const ODD: [f32; 24] = [
    1e4, -1e4, 9999.0,
    -1e4, 1e4, 0.0,
    -INF, 2.0, 1.0,
    -INF, 2.0, 1.0,
    -INF, -INF, -INF,
    INF, 0.0, 0.0,
    f32::NAN, 0.0, 0.0,
    5.0, 5.0, 5.0,
];

fn cases(second: impl Fn(&Shape, u64) -> Input) -> Vec<Case> {
    let mut all = Vec::new();
    for (shape, seed) in SHAPES.into_iter().zip(1..) {
        let x = Input::uniform(shape, -3.0, 3.0, seed);
        let second = second(&x.meta.shape, seed + 20);
        all.push((x, second, Tolerance::OfLargest(2e-6)));
    }
    let x = Input::uniform([9, 6], -3.0, 3.0, 40);
    let t = second(&x.meta.shape, 41);
    all.push((x.viewed(), t.viewed(), Tolerance::OfLargest(2e-6)));
    all
}

fn sparse_cases() -> Vec<Case> {
    let mut all = cases(|x, seed| Input::below(rows_of(x), x[class_axis(x.rank())] as u32, seed));
    let x = Input::uniform([4, 3], -1.0, 1.0, 50);
    let label = Input { values: vec![0.0, -1.0, 3.0, 2.0], ..Input::below([4], 3, 51).of(DType::I32) };
    all.push((x, label, Tolerance::OfLargest(2e-6)));
    let label = Input::uints([8], &[1, 1, 0, 2, 0, 1, 1, 2]);
    all.push((Input::floats([8, 3], &ODD), label, Tolerance::OfLargest(2e-6)));
    all
}

fn dense_cases() -> Vec<Case> {
    let mut all = cases(|x, seed| Input::uniform(x.clone(), 0.0, 1.0, seed));
    let (x, t) = (Input::uniform([3, 100], -1e4, 1e4, 52), Input::uniform([3, 100], 0.0, 0.02, 53));
    all.push((x, t, Tolerance::OfLargest(4e-6)));
    #[rustfmt::skip]
    let t = [0.5, 0.25, 0.25,  0.0, 1.0, 0.0,  0.0, 0.5, 0.5,  0.5, 0.5, 0.0,  0.0, 1.0, 0.0,  0.0, 1.0, 0.0,  0.0, 1.0, 0.0,  0.1, 0.2, 0.7];
    all.push((Input::floats([8, 3], &ODD), Input::floats([8, 3], &t), Tolerance::OfLargest(2e-6)));
    all
}

/// A sample of each case. The last two are at extremes, where slopes do not exist.
fn samples<O>(cases: Vec<Case>, make: impl Fn(Case) -> Sample<O>) -> Vec<Sample<O>> {
    let smooth = cases.len() - 2;
    let sample = |(i, case): (usize, Case)| if i < smooth { make(case) } else { make(case).rough() };
    cases.into_iter().enumerate().map(sample).collect()
}

impl Tensor {
    /// The mean cross-entropy of these logits `[n, classes, ..]`, a tensor of rank 0. Targets are labels, `u32` or
    /// `i32` `[n, ..]`, or probabilities, `f32` of the shape of the logits: `ln sum e^x - x[label]`, or `sum t (ln sum
    /// e^x - x)`. One row of logits `[classes]` takes a label of rank 0.
    ///
    /// Logits of -inf are masked classes. A label that names no class makes its loss NaN, on every device: the data
    /// loaders check the labels, a kernel cannot.
    ///
    /// # Panics
    /// If the shapes or types do not fit.
    #[track_caller]
    pub fn cross_entropy(&self, targets: &Tensor) -> Tensor {
        fit(self.try_cross_entropy(targets))
    }

    /// [`Tensor::cross_entropy`], with a mistake of shapes as an error.
    ///
    /// # Errors
    /// If the shapes or types do not fit.
    #[track_caller]
    pub fn try_cross_entropy(&self, targets: &Tensor) -> Result<Tensor, ShapeError> {
        self.try_cross_entropy_none(targets).map(|losses| losses.mean_all())
    }

    /// The cross-entropy of each row, in the shape of the labels: [`Tensor::cross_entropy`] without the mean.
    ///
    /// # Panics
    /// If the shapes or types do not fit.
    #[track_caller]
    pub fn cross_entropy_none(&self, targets: &Tensor) -> Tensor {
        fit(self.try_cross_entropy_none(targets))
    }

    /// [`Tensor::cross_entropy_none`], with a mistake of shapes as an error.
    ///
    /// # Errors
    /// If the shapes or types do not fit.
    #[track_caller]
    pub fn try_cross_entropy_none(&self, targets: &Tensor) -> Result<Tensor, ShapeError> {
        let mut losses = match targets.dtype() {
            DType::F32 | DType::F16 => Tensor::try_apply(CrossEntropyDense, &[self, targets])?,
            _ => Tensor::try_apply(CrossEntropy, &[self, targets])?,
        };
        Ok(losses.swap_remove(0))
    }
}
