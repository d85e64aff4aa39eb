//! Two-dimensional convolution (cross-correlation, as everywhere in this field) and its two gradients.
//!
//! The three ops are closed under differentiation: each is linear in both operands, and each one's rule is made of the
//! other two. With `W` as `[oc, c * kh * kw]` and `cols` as the patches of an image, `y = W cols`; the gradient of the
//! image is `W^T dy` summed back onto the pixels, that of the weight the sum over images of `dy cols^T`.

use std::ops::Range;

use super::im2col::{Padding, Patches, Window, image_axes, windows_over};
use super::matmul::{Gemm, Matrix};
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, conv2d as reference};
use crate::tensor::{Backward, DType, Input, Lower, Lowering, Meta, Op, Sample, Slot, Tensor, Tolerance};

/// `[n, c, h, w] * [oc, c / groups, kh, kw]` to `[n, oc, oh, ow]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Rows and columns of zeros: top, bottom, left, right.
    pub padding: [usize; 4],
    /// Pixels from one tap to the next.
    pub dilation: [usize; 2],
    /// Parts into which input and output channels are cut; part `i` of the output sees only part `i` of the input.
    pub groups: usize,
}

/// The gradient of the images: `dy, weight` to `[n, c, h, w]`. It is also the transposed convolution.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conv2dInputGrad {
    /// The convolution.
    pub conv: Conv2d,
    /// Height and width of the images.
    pub size: [usize; 2],
}

/// The gradient of the weight: `x, dy` to `[oc, c / groups, kh, kw]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conv2dWeightGrad {
    /// The convolution.
    pub conv: Conv2d,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
}

/// What [`Tensor::conv2d`] may be told; by default stride 1, no padding, no dilation, one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dOptions {
    /// Pixels from one window to the next, down and across.
    pub stride: [usize; 2],
    /// Zeros around the image.
    pub padding: Padding,
    /// Pixels from one tap to the next, down and across.
    pub dilation: [usize; 2],
    /// Parts into which the channels are cut.
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions { stride: [1, 1], padding: Padding::Valid, dilation: [1, 1], groups: 1 }
    }
}

impl Conv2d {
    fn window(&self, kernel: [usize; 2]) -> Window {
        Window { kernel, stride: self.stride, padding: self.padding, dilation: self.dilation }
    }
}

/// How a convolution is computed on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    /// The columns are the image as it lies in memory: one product.
    Identity,
    /// The columns are written out, and then multiplied.
    Columns,
}

/// The sizes of one convolution, and where its operands lie.
struct Sizes {
    window: Window,
    groups: usize,
    images: usize,
    channels: usize,
    size: [usize; 2],
    outs: usize,
    out: [usize; 2],
}

/// Columns are made for as many images as fit this many elements (64 MiB) at a time.
const MOST_COLUMNS: usize = 16 << 20;

impl Sizes {
    fn new(op: &str, conv: &Conv2d, x: [usize; 4], outs: usize, kernel: [usize; 2]) -> Result<Self, ShapeError> {
        let [images, channels, h, w] = x;
        let window = conv.window(kernel);
        if conv.groups == 0 || !channels.is_multiple_of(conv.groups) || !outs.is_multiple_of(conv.groups) {
            let problem = format!(
                "{} groups of {channels} input and {outs} output channels; the number of groups must divide both",
                conv.groups
            );
            return Err(ShapeError::new(op, problem));
        }
        let out = windows_over(op, &window, [h, w])?;
        Ok(Sizes { window, groups: conv.groups, images, channels, size: [h, w], outs, out })
    }

    /// Windows per image.
    fn windows(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Elements of one image.
    fn image(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// Elements of the result of one image.
    fn result(&self) -> usize {
        self.outs * self.windows()
    }

    /// Rows of the columns of one image, over all groups.
    fn rows(&self) -> usize {
        self.channels * self.window.taps()
    }

    /// Rows of the columns of one group.
    fn depth(&self) -> usize {
        self.rows() / self.groups
    }

    /// Output channels of one group.
    fn group(&self) -> usize {
        self.outs / self.groups
    }

    /// The choice of algorithm. Implicit GEMM, which forms the columns inside the product, belongs here.
    fn algorithm(&self) -> Algorithm {
        let Window { kernel, stride, padding, dilation } = self.window;
        let one_tap = kernel == [1, 1] && stride == [1, 1];
        let one_window = kernel == self.size && dilation == [1, 1];
        match padding == [0; 4] && (one_tap || one_window) {
            true => Algorithm::Identity,
            false => Algorithm::Columns,
        }
    }

    /// Runs of images and of their windows whose columns fit the memory for them.
    fn chunks(&self, cx: &Lower) -> Vec<(Range<usize>, Range<usize>)> {
        let (n, p) = (self.images, self.windows());
        let most = MOST_COLUMNS.min((cx.caps().max_binding / 4) as usize);
        let each = (self.rows() * p).max(1);
        if self.algorithm() == Algorithm::Identity {
            return vec![(0..n, 0..p)];
        }
        if each <= most {
            let run = most / each;
            return (0..n).step_by(run).map(|i| (i..(i + run).min(n), 0..p)).collect();
        }
        let run = (most / self.rows()).max(1);
        let windows = (0..p).step_by(run).map(|q| q..(q + run).min(p));
        (0..n).flat_map(|i| windows.clone().map(move |q| (i..i + 1, q))).collect()
    }

    /// Memory for the columns of the largest of `chunks`, or the images themselves.
    fn columns(&self, cx: &mut Lower, images: Slot) -> Slot {
        match self.algorithm() {
            Algorithm::Identity => images,
            Algorithm::Columns => {
                let largest = self.chunks(cx).iter().map(|(i, q)| i.len() * q.len()).max().unwrap_or(0);
                cx.temp(largest * self.rows())
            }
        }
    }

    fn patches(&self, images: &Range<usize>, windows: &Range<usize>) -> Patches<'_> {
        Patches {
            window: &self.window,
            channels: self.channels,
            size: self.size,
            out: self.out,
            images: images.clone(),
            windows: windows.clone(),
        }
    }

    /// The weight of each group as a matrix of `group()` rows.
    fn weight(&self, slot: Slot) -> Matrix {
        let depth = self.depth() as isize;
        let inner = self.group() as isize * depth;
        Matrix { slot, base: 0, outer: 0, inner, k_outer: 0, row: depth, col: 1 }
    }

    /// The columns of each image and group as a matrix of `depth()` rows.
    fn cols(&self, slot: Slot, windows: usize) -> Matrix {
        let (image, group) = ((self.rows() * windows) as isize, (self.depth() * windows) as isize);
        Matrix { slot, base: 0, outer: image, inner: group, k_outer: image, row: windows as isize, col: 1 }
    }

    /// The result of each image and group as a matrix of `group()` rows.
    fn y(&self, slot: Slot, images: &Range<usize>, windows: &Range<usize>) -> Matrix {
        let (image, p) = (self.result() as isize, self.windows() as isize);
        let base = images.start * self.result() + windows.start;
        Matrix { slot, base, outer: image, inner: self.group() as isize * p, k_outer: image, row: p, col: 1 }
    }

    /// `c = a b` for each image and group, where `c` is `m` by the windows. With one window per image the columns of all
    /// images stand side by side, and make one wide product instead of many thin ones.
    fn product(&self, [m, k]: [usize; 2], images: usize, windows: usize, [a, b, c]: [Matrix; 3]) -> Gemm {
        let one_product = windows == 1 && images > 1;
        let wide = |x: Matrix| Matrix { outer: 0, col: x.outer, ..x };
        let (b, c) = if one_product { (wide(b), wide(c)) } else { (b, c) };
        let (n, outer) = if one_product { (images, 1) } else { (windows, images) };
        Gemm { m, n, k, batch: [outer, self.groups], k_outer: 1, a, b, c, accumulate: false }
    }
}

fn transposed(x: Matrix) -> Matrix {
    Matrix { row: x.col, col: x.row, ..x }
}

/// Writes zeros: a product of which the sum is empty.
fn zeros(cx: &mut Lower, slot: Slot) {
    let c = Matrix { slot, base: 0, outer: 0, inner: 0, k_outer: 0, row: slot.len as isize, col: 1 };
    Gemm { m: 1, n: slot.len, k: 0, batch: [1, 1], k_outer: 1, a: c, b: c, c, accumulate: false }.launch(cx);
}

fn axes(cx: &Lower, i: usize) -> [usize; 4] {
    let &[a, b, c, d] = &cx.meta(i).shape[..] else { unreachable!("inferred") };
    [a, b, c, d]
}

fn lower_forward(op: &Conv2d, cx: &mut Lower) {
    let [outs, _, kh, kw] = axes(cx, 1);
    let s = Sizes::new(Conv2d::NAME, op, axes(cx, 0), outs, [kh, kw]).expect("inferred");
    let y = cx.output(0);
    if s.depth() * s.image() == 0 {
        return zeros(cx, y);
    }
    let (x, weight) = (cx.input(0), cx.input(1));
    let cols = s.columns(cx, x);
    for (images, windows) in s.chunks(cx) {
        if s.algorithm() == Algorithm::Columns {
            s.patches(&images, &windows).gather(cx, x, cols);
        }
        let matrices = [s.weight(weight), s.cols(cols, windows.len()), s.y(y, &images, &windows)];
        s.product([s.group(), s.depth()], images.len(), windows.len(), matrices).launch(cx);
    }
}

fn lower_input_grad(op: &Conv2dInputGrad, cx: &mut Lower) {
    let ([images, outs, ..], [_, per_group, kh, kw]) = (axes(cx, 0), axes(cx, 1));
    let shape = [images, per_group * op.conv.groups, op.size[0], op.size[1]];
    let s = Sizes::new(Conv2dInputGrad::NAME, &op.conv, shape, outs, [kh, kw]).expect("inferred");
    let dx = cx.output(0);
    if s.result() == 0 {
        return zeros(cx, dx);
    }
    let (dy, weight) = (cx.input(0), cx.input(1));
    let cols = s.columns(cx, dx);
    for (images, windows) in s.chunks(cx) {
        let matrices = [transposed(s.weight(weight)), s.y(dy, &images, &windows), s.cols(cols, windows.len())];
        s.product([s.depth(), s.group()], images.len(), windows.len(), matrices).launch(cx);
        if s.algorithm() == Algorithm::Columns {
            s.patches(&images, &windows).scatter(cx, cols, dx, windows.start > 0);
        }
    }
}

fn lower_weight_grad(op: &Conv2dWeightGrad, cx: &mut Lower) {
    let outs = axes(cx, 1)[1];
    let s = Sizes::new(Conv2dWeightGrad::NAME, &op.conv, axes(cx, 0), outs, op.kernel).expect("inferred");
    let dw = cx.output(0);
    if s.images * s.image() * s.result() == 0 {
        return zeros(cx, dw);
    }
    let (x, dy) = (cx.input(0), cx.input(1));
    let cols = s.columns(cx, x);
    for (i, (images, windows)) in s.chunks(cx).into_iter().enumerate() {
        if s.algorithm() == Algorithm::Columns {
            s.patches(&images, &windows).gather(cx, x, cols);
        }
        Gemm {
            m: s.group(),
            n: s.depth(),
            k: windows.len(),
            batch: [1, s.groups],
            k_outer: images.len(),
            a: s.y(dy, &images, &windows),
            b: transposed(s.cols(cols, windows.len())),
            c: s.weight(dw),
            accumulate: i > 0,
        }
        .launch(cx);
    }
}

impl Op for Conv2d {
    const NAME: &'static str = "conv2d";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let x = image_axes(Self::NAME, "the input", &inputs[0])?;
        let [outs, per_group, kh, kw] = weight_axes(Self::NAME, &inputs[1])?;
        let s = Sizes::new(Self::NAME, self, x, outs, [kh, kw])?;
        channels_fit(Self::NAME, &inputs[0], &inputs[1], x[1], per_group, self.groups)?;
        Ok(vec![Meta::new([s.images, outs, s.out[0], s.out[1]], DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let (x, weight) = (&v.inputs[0], &v.inputs[1]);
            vec![v.when(0, || op.input_grad(v.dy(), weight, x)), v.when(1, || op.weight_grad(x, v.dy(), weight))]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(lower_forward)
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let window = self.window([inputs[1].shape[2], inputs[1].shape[3]]);
        vec![reference::conv2d(&inputs[0], &inputs[1], &window, self.groups)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let mut samples: Vec<_> = CASES
            .iter()
            .map(|case| {
                let inputs = vec![case.x(1), case.weight(2)];
                Sample::new(case.conv, inputs, Tolerance::Dot(case.weight[1] * case.weight[2] * case.weight[3]))
            })
            .collect();
        let mut viewed = samples[1].clone();
        viewed.inputs.iter_mut().for_each(|i| i.as_view = true);
        samples.push(viewed);
        samples
    }
}

impl Conv2d {
    fn input_grad(&self, dy: &Tensor, weight: &Tensor, x: &Tensor) -> Tensor {
        let size = [x.shape()[2], x.shape()[3]];
        Tensor::apply(Conv2dInputGrad { conv: *self, size }, &[dy, weight])
    }

    fn weight_grad(&self, x: &Tensor, dy: &Tensor, weight: &Tensor) -> Tensor {
        let kernel = [weight.shape()[2], weight.shape()[3]];
        Tensor::apply(Conv2dWeightGrad { conv: *self, kernel }, &[x, dy])
    }
}

impl Op for Conv2dInputGrad {
    const NAME: &'static str = "conv2d_input_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let [n, outs, oh, ow] = image_axes(Self::NAME, "the gradient", &inputs[0])?;
        let [rows, per_group, kh, kw] = weight_axes(Self::NAME, &inputs[1])?;
        let shape = [n, per_group * self.conv.groups, self.size[0], self.size[1]];
        let s = Sizes::new(Self::NAME, &self.conv, shape, rows, [kh, kw])?;
        gradient_fits(Self::NAME, &inputs[0], [outs, oh, ow], [rows, s.out[0], s.out[1]])?;
        Ok(vec![Meta::new(shape, DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let (dy, weight) = (&v.inputs[0], &v.inputs[1]);
            vec![
                v.when(0, || Tensor::apply(op.conv, &[v.dy(), weight])),
                v.when(1, || op.conv.weight_grad(v.dy(), dy, weight)),
            ]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(lower_input_grad)
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let window = self.conv.window([inputs[1].shape[2], inputs[1].shape[3]]);
        vec![reference::input_grad(&inputs[0], &inputs[1], &window, self.conv.groups, self.size)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |case: &Case| {
            let op = Conv2dInputGrad { conv: case.conv, size: [case.x[2], case.x[3]] };
            let terms = case.weight[0] / case.conv.groups * case.weight[2] * case.weight[3];
            Sample::new(op, vec![case.dy(1), case.weight(2)], Tolerance::Dot(terms))
        };
        CASES.iter().map(sample).collect()
    }
}

impl Op for Conv2dWeightGrad {
    const NAME: &'static str = "conv2d_weight_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let x = image_axes(Self::NAME, "the input", &inputs[0])?;
        let [n, outs, oh, ow] = image_axes(Self::NAME, "the gradient", &inputs[1])?;
        let s = Sizes::new(Self::NAME, &self.conv, x, outs, self.kernel)?;
        gradient_fits(Self::NAME, &inputs[1], [n, oh, ow], [x[0], s.out[0], s.out[1]])?;
        Ok(vec![Meta::new([outs, x[1] / s.groups, self.kernel[0], self.kernel[1]], DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let (x, dy) = (&v.inputs[0], &v.inputs[1]);
            vec![v.when(0, || op.conv.input_grad(dy, v.dy(), x)), v.when(1, || Tensor::apply(op.conv, &[x, v.dy()]))]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(lower_weight_grad)
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::weight_grad(&inputs[0], &inputs[1], &self.conv.window(self.kernel), self.conv.groups)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |case: &Case| {
            let op = Conv2dWeightGrad { conv: case.conv, kernel: [case.weight[2], case.weight[3]] };
            let [_, _, oh, ow] = case.result();
            Sample::new(op, vec![case.x(1), case.dy(2)], Tolerance::Dot(case.x[0] * oh * ow))
        };
        CASES.iter().map(sample).collect()
    }
}

fn weight_axes(op: &str, weight: &Meta) -> Result<[usize; 4], ShapeError> {
    match (&weight.shape[..], weight.dtype) {
        (&[outs, per_group, kh, kw], DType::F32) => Ok([outs, per_group, kh, kw]),
        _ => {
            let (dtype, shape) = (weight.dtype, &weight.shape);
            let problem = format!("the weight is {dtype} {shape}; it must be f32 [out, in / groups, height, width]");
            Err(ShapeError::new(op, problem))
        }
    }
}

fn channels_fit(
    op: &str,
    x: &Meta,
    w: &Meta,
    channels: usize,
    per_group: usize,
    groups: usize,
) -> Result<(), ShapeError> {
    if channels == per_group * groups {
        return Ok(());
    }
    let problem = format!(
        "input {} has {channels} channels, and weight {} with {groups} groups takes {}; axis 1 of the weight must be {}",
        x.shape,
        w.shape,
        per_group * groups,
        channels / groups
    );
    Err(ShapeError::new(op, problem))
}

fn gradient_fits(op: &str, dy: &Meta, found: [usize; 3], wanted: [usize; 3]) -> Result<(), ShapeError> {
    if found == wanted {
        return Ok(());
    }
    Err(ShapeError::new(op, format!("the gradient {} has extents {found:?} where {wanted:?} fit", dy.shape)))
}

/// One convolution of the samples.
struct Case {
    x: [usize; 4],
    weight: [usize; 4],
    conv: Conv2d,
}

const fn case(
    x: [usize; 4],
    weight: [usize; 4],
    stride: [usize; 2],
    padding: [usize; 4],
    dilation: [usize; 2],
) -> Case {
    let groups = match x[1].checked_div(weight[1]) {
        Some(groups) => groups,
        None => 1,
    };
    Case { x, weight, conv: Conv2d { stride, padding, dilation, groups } }
}

const CASES: [Case; 14] = [
    case([1, 1, 1, 1], [1, 1, 1, 1], [1, 1], [0; 4], [1, 1]),
    case([2, 3, 7, 5], [4, 3, 3, 2], [1, 1], [0; 4], [1, 1]),
    case([2, 3, 6, 7], [5, 3, 3, 3], [1, 1], [1; 4], [1, 1]),
    case([1, 2, 9, 8], [3, 2, 3, 5], [2, 3], [1, 0, 2, 1], [1, 1]), // strided, asymmetric
    case([2, 2, 9, 7], [3, 2, 3, 2], [1, 1], [2, 2, 1, 1], [2, 3]), // dilated
    case([2, 6, 5, 5], [9, 2, 2, 2], [1, 1], [1, 0, 0, 1], [1, 1]), // grouped
    case([2, 4, 6, 6], [4, 1, 3, 3], [2, 2], [0, 1, 0, 1], [1, 1]), // depthwise
    case([3, 4, 3, 5], [6, 2, 1, 1], [1, 1], [0; 4], [1, 1]),       // one tap: no columns
    case([11, 4, 5, 5], [7, 4, 5, 5], [1, 1], [0; 4], [1, 1]),      // one window: one product over the images
    case([5, 4, 4, 3], [6, 2, 4, 4], [3, 3], [0, 0, 1, 0], [1, 1]), // one window, padded, grouped
    case([1, 2, 3, 3], [2, 2, 3, 3], [3, 3], [2, 4, 5, 3], [1, 1]), // windows on the padding alone
    case([6, 1, 28, 28], [6, 1, 5, 5], [1, 1], [2; 4], [1, 1]), // the first layer of LeNet: a long sum in its weight
    case([0, 2, 4, 4], [3, 2, 2, 2], [1, 1], [0; 4], [1, 1]),
    case([2, 0, 3, 3], [2, 0, 2, 2], [1, 1], [1; 4], [1, 1]), // an empty sum is 0
];

impl Case {
    fn result(&self) -> [usize; 4] {
        let kernel = [self.weight[2], self.weight[3]];
        let out = self.conv.window(kernel).output([self.x[2], self.x[3]]).expect("a sample fits");
        [self.x[0], self.weight[0], out[0], out[1]]
    }

    fn x(&self, seed: u64) -> Input {
        Input::uniform(self.x, -1.0, 1.0, seed)
    }

    fn weight(&self, seed: u64) -> Input {
        Input::uniform(self.weight, -1.0, 1.0, seed)
    }

    fn dy(&self, seed: u64) -> Input {
        Input::uniform(self.result(), -1.0, 1.0, seed)
    }
}

impl Tensor {
    /// Convolution of images `[n, c, h, w]` with a weight `[oc, c / groups, kh, kw]`, plus a bias `[oc]` if given:
    /// `y[n, o, i, j] = b[o] + sum over c, u, v of x[n, c, i * stride + u * dilation - top, ...] * w[o, c, u, v]`, zeros
    /// beyond the edge. The result is `[n, oc, oh, ow]` with `oh = (h + top + bottom - dilation * (kh - 1) - 1) / stride + 1`.
    ///
    /// # Panics
    /// If the shapes or the options do not fit each other.
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, options: &Conv2dOptions) -> Tensor {
        match self.try_conv2d(weight, bias, options) {
            Ok(y) => y,
            // Not in a closure: the panic names the caller's line.
            Err(fault) => panic!("{fault}"),
        }
    }

    /// [`Tensor::conv2d`] with a shape mistake as an error.
    ///
    /// # Errors
    /// If the shapes or the options do not fit each other.
    #[track_caller]
    pub fn try_conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
    ) -> Result<Tensor, ShapeError> {
        let [_, _, h, w] = image_axes(Conv2d::NAME, "the input", self.meta())?;
        let [outs, _, kh, kw] = weight_axes(Conv2d::NAME, weight.meta())?;
        let Conv2dOptions { stride, padding, dilation, groups } = *options;
        let padding = padding.resolve([h, w], [kh, kw], stride, dilation);
        let y = Tensor::try_apply(Conv2d { stride, padding, dilation, groups }, &[self, weight])?.swap_remove(0);
        let Some(bias) = bias else { return Ok(y) };
        if bias.shape()[..] != [outs] {
            let problem = format!("the bias is {}; it must be [{outs}], one number per output channel", bias.shape());
            return Err(ShapeError::new(Conv2d::NAME, problem));
        }
        y.try_add(&bias.reshape([1, outs, 1, 1]))
    }
}
