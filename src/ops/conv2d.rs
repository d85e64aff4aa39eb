//! Two-dimensional convolution (cross-correlation, as everywhere in this field) and its two gradients.
//!
//! The three ops are closed under differentiation: each is linear in both operands, and each one's rule is made of the
//! other two. With `W` as `[oc, c * kh * kw]` and `cols` as the patches of an image, `y = W cols`; the gradient of the
//! image is `W^T dy` summed back onto the pixels, that of the weight the sum over images of `dy cols^T`.

mod implicit;
mod sizes;

use self::sizes::{Sizes, lower_forward, lower_input_grad, lower_weight_grad};
use super::im2col::{Padding, Window, image_axes};
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, conv2d as reference};
use crate::tensor::{Backward, DType, Input, Lowering, Meta, Op, Sample, Tensor, Tolerance};

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

/// The kernels that make convolutions on GPUs, by name: what [`GpuOptions::variant`](crate::device::GpuOptions) chooses
/// from.
pub fn variant_names() -> impl Iterator<Item = &'static str> {
    sizes::Algorithm::ALL.into_iter().map(sizes::Algorithm::name)
}

impl Conv2d {
    fn window(&self, kernel: [usize; 2]) -> Window {
        Window { kernel, stride: self.stride, padding: self.padding, dilation: self.dilation }
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
        (&[outs, per_group, kh, kw], DType::F32 | DType::F16) => Ok([outs, per_group, kh, kw]),
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

const CASES: [Case; 17] = [
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
    case([2, 3, 11, 10], [4, 3, 3, 2], [2, 3], [1, 0, 1, 2], [2, 2]), // pixels that no tap meets
    case([2, 3, 5, 6], [4, 3, 1, 1], [2, 2], [0; 4], [1, 1]),
    case([2, 35, 5, 4], [37, 35, 2, 2], [1, 1], [1, 0, 0, 1], [1, 1]), // more channels than a tile has rows
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
    /// `y[n, o, i, j] = b[o] + sum over c, u, v of x[n, c, i * stride + u * dilation - top, ...] * w[o, c, u, v]`,
    /// zeros beyond the edge. The result is `[n, oc, oh, ow]` with `oh = (h + top + bottom - dilation * (kh - 1) - 1) /
    /// stride + 1`.
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
