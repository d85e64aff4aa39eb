//! Pooling: the largest or the mean pixel under a sliding window.
//!
//! The largest pixel travels with its position, so that its gradient only has to look the position up; that lookup is
//! linear, and it and its transpose are ops of their own, which closes the family under differentiation. The mean is
//! linear itself, and its gradient's gradient is the mean again.

use super::im2col::{Padding, Window, image_axes, windows_over};
use crate::device::Shader;
use crate::error::ShapeError;
pub use crate::reference::pool2d::Pool;
use crate::reference::{Array, Real, View, pool2d as reference};
use crate::tensor::{
    Backward, DType, Input, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Slot, Tensor, Tolerance,
};

const SHADER: Shader = Shader::new(
    "pool2d",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/epilogue.wgsl"),
        include_str!("../../shaders/pool2d.wgsl")
    ),
);

/// The largest pixel of each window, and its position `row * width + column` in its plane. Of equals the first counts;
/// a NaN counts as larger than any number. `[n, c, h, w]` to `[n, c, oh, ow]` twice, floats and `u32`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MaxPool2d {
    /// How the windows slide.
    pub pool: Pool,
}

/// The gradient of [`MaxPool2d`]: each cotangent added to the pixel at its position. `dy, positions` to `[n, c, h, w]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MaxPool2dGrad {
    /// How the windows slide.
    pub pool: Pool,
    /// Height and width of the images.
    pub size: [usize; 2],
}

/// The pixels at the positions of each plane: `x, positions` to the shape of `positions`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MaxPool2dGather {
    /// How the windows slide.
    pub pool: Pool,
}

/// The mean pixel of each window: `[n, c, h, w]` to `[n, c, oh, ow]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AvgPool2d {
    /// How the windows slide.
    pub pool: Pool,
    /// Whether zeros of the padding count in the mean.
    pub count_padding: bool,
    /// What every sum is divided by; 0 for the pixels of its window.
    pub divisor: usize,
}

/// The gradient of [`AvgPool2d`]: each cotangent spread evenly over its window. `dy` to `[n, c, h, w]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AvgPool2dGrad {
    /// The pooling.
    pub forward: AvgPool2d,
    /// Height and width of the images.
    pub size: [usize; 2],
}

/// What pooling may be told. [`Pool2dOptions::new`] is PyTorch's default: windows side by side, no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2dOptions {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next, down and across.
    pub stride: [usize; 2],
    /// Rows and columns around the image: never the largest, and zeros in a mean that counts them.
    pub padding: Padding,
    /// Pixels from one tap to the next; the mean takes only 1.
    pub dilation: [usize; 2],
    /// Round the number of windows up: the last may hang over the end, as long as it starts on the image or the padding
    /// before it.
    pub ceil_mode: bool,
    /// Whether a mean divides by the whole window, padding included (PyTorch's default), or by the pixels in it.
    pub count_include_pad: bool,
    /// What a mean divides by instead.
    pub divisor_override: Option<usize>,
}

impl Pool2dOptions {
    /// Windows of this size side by side.
    pub fn new(kernel: [usize; 2]) -> Self {
        Pool2dOptions {
            kernel,
            stride: kernel,
            padding: Padding::Valid,
            dilation: [1, 1],
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }

    fn pool(&self, op: &str, x: &Tensor) -> Result<Pool, ShapeError> {
        let [_, _, h, w] = image_axes(op, "the input", x.meta())?;
        let Pool2dOptions { kernel, stride, dilation, .. } = *self;
        let padding = self.padding.resolve([h, w], kernel, stride, dilation);
        Ok(Pool { window: Window { kernel, stride, padding, dilation }, ceil: self.ceil_mode })
    }
}

/// Rows and columns of windows over an image, or what is wrong with the pooling.
fn output(op: &str, pool: &Pool, size: [usize; 2]) -> Result<[usize; 2], ShapeError> {
    let w = &pool.window;
    windows_over(op, w, size)?;
    let most = [w.span(0) / 2, w.span(1) / 2];
    if (0..4).any(|side| w.padding[side] > most[side / 2]) {
        let problem = format!(
            "padding {:?} (top, bottom, left, right) of a window that spans {}x{}; at most half of it, {most:?}, is \
             allowed, or a window might hold no pixel",
            w.padding,
            w.span(0),
            w.span(1)
        );
        return Err(ShapeError::new(op, problem));
    }
    Ok(pool.output(size).expect("a window fits"))
}

/// Shape of the images from which windows of these sizes came.
fn images(op: &str, pool: &Pool, dy: &Meta, size: [usize; 2]) -> Result<[usize; 4], ShapeError> {
    let [n, c, oh, ow] = image_axes(op, "the gradient", dy)?;
    let out = output(op, pool, size)?;
    if out != [oh, ow] {
        let ([h, w], [a, b]) = (size, out);
        return Err(ShapeError::new(op, format!("the gradient is {}; {h}x{w} images have {a}x{b} windows", dy.shape)));
    }
    Ok([n, c, size[0], size[1]])
}

fn positions_fit(op: &str, positions: &Meta, wanted: [usize; 4]) -> Result<(), ShapeError> {
    if positions.dtype == DType::U32 && positions.shape[..] == wanted {
        return Ok(());
    }
    let (dtype, shape) = (positions.dtype, &positions.shape);
    Err(ShapeError::new(op, format!("the positions are {dtype} {shape}; u32 {wanted:?} would fit")))
}

crate::params! {
    struct PoolParams {
        count: u32, h: u32, w: u32, out_h: u32, out_w: u32, kh: u32, kw: u32, stride_h: u32, stride_w: u32,
        top: u32, bottom: u32, left: u32, right: u32, dilation_h: u32, dilation_w: u32, count_padding: u32, divisor: u32, lowest: f32,
    }
}

/// A launch of `entry` over `count` elements, its parameters set.
fn launch(
    entry: &'static str,
    count: usize,
    pool: &Pool,
    image: &[usize],
    out: &[usize],
    (count_padding, divisor): (bool, usize),
) -> LoweredDispatch {
    let w = &pool.window;
    let params = PoolParams {
        count: count as u32,
        h: image[2] as u32,
        w: image[3] as u32,
        out_h: out[2] as u32,
        out_w: out[3] as u32,
        kh: w.kernel[0] as u32,
        kw: w.kernel[1] as u32,
        stride_h: w.stride[0] as u32,
        stride_w: w.stride[1] as u32,
        top: w.padding[0] as u32,
        bottom: w.padding[1] as u32,
        left: w.padding[2] as u32,
        right: w.padding[3] as u32,
        dilation_h: w.dilation[0] as u32,
        dilation_w: w.dilation[1] as u32,
        count_padding: count_padding as u32,
        divisor: divisor as u32,
        lowest: f32::NEG_INFINITY,
    };
    LoweredDispatch::new(&SHADER, entry).params(&params).flat(count, 64)
}

impl Op for MaxPool2d {
    const NAME: &'static str = "pool2d_max";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let [n, c, h, w] = image_axes("max_pool2d", "the input", &inputs[0])?;
        let [oh, ow] = output("max_pool2d", &self.pool, [h, w])?;
        Ok(vec![Meta::new([n, c, oh, ow], DType::F32), Meta::new([n, c, oh, ow], DType::U32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let x = v.inputs[0].shape();
            let grad = MaxPool2dGrad { pool: op.pool, size: [x[2], x[3]] };
            vec![Some(Tensor::apply(grad, &[v.dy(), &v.outputs[1]]))]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (image, out) = (cx.meta(0), cx.output_meta(0));
            let (x, y, at) = (cx.input(0), cx.output(0), cx.output(1));
            let forward = launch("max_forward", out.shape.elements(), &op.pool, &image.shape, &out.shape, (false, 0));
            cx.launch(forward.read(x).finish(y).write(at));
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let (y, at) = reference::max_pool2d(&inputs[0], &self.pool);
        vec![y, at]
    }

    fn samples() -> Vec<Sample<Self>> {
        let mut samples: Vec<_> = cases()
            .into_iter()
            .map(|(shape, pool)| Sample::new(MaxPool2d { pool }, vec![Input::distinct(shape, 1)], Tolerance::Exact))
            .collect();
        let mut viewed = samples[1].clone();
        viewed.inputs[0].as_view = true;
        samples.push(viewed);
        // Ties, infinities and a NaN.
        let (nan, low) = (f32::NAN, f32::NEG_INFINITY);
        let values = [1.0, 1.0, low, low, 1.0, 0.5, low, low, nan, 2.0, 0.0, -0.0, 3.0, nan, -0.0, 0.0];
        let op = MaxPool2d { pool: plain([2, 2], [2, 2]) };
        samples.push(Sample::new(op, vec![Input::floats([1, 1, 4, 4], &values)], Tolerance::Exact).rough());
        samples
    }
}

impl Op for MaxPool2dGrad {
    const NAME: &'static str = "pool2d_max_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let shape = images(Self::NAME, &self.pool, &inputs[0], self.size)?;
        let dy = image_axes(Self::NAME, "the gradient", &inputs[0])?;
        positions_fit(Self::NAME, &inputs[1], dy)?;
        Ok(vec![Meta::new(shape, DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let gather = || Tensor::apply(MaxPool2dGather { pool: op.pool }, &[v.dy(), &v.inputs[1]]);
            vec![v.when(0, gather), None]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (out, image) = (cx.meta(0), cx.output_meta(0));
            let (dy, at, dx) = (cx.input(0), cx.input(1), cx.output(0));
            let grad = launch("max_grad", image.shape.elements(), &op.pool, &image.shape, &out.shape, (false, 0));
            cx.launch(grad.read(dy).read(at).finish(dx));
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::max_pool2d_grad(&inputs[0], &inputs[1], self.size)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |(shape, pool): ([usize; 4], Pool)| {
            let (dy, at) = (windows(shape, &pool, 2), positions(shape, &pool));
            let op = MaxPool2dGrad { pool, size: [shape[2], shape[3]] };
            Sample::new(op, vec![dy, at], Tolerance::OfLargest(4e-7))
        };
        cases().into_iter().map(sample).collect()
    }
}

impl Op for MaxPool2dGather {
    const NAME: &'static str = "pool2d_max_gather";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let [n, c, h, w] = image_axes(Self::NAME, "the input", &inputs[0])?;
        let [oh, ow] = output(Self::NAME, &self.pool, [h, w])?;
        positions_fit(Self::NAME, &inputs[1], [n, c, oh, ow])?;
        Ok(vec![Meta::new([n, c, oh, ow], DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let x = v.inputs[0].shape();
            let grad = MaxPool2dGrad { pool: op.pool, size: [x[2], x[3]] };
            vec![v.when(0, || Tensor::apply(grad, &[v.dy(), &v.inputs[1]])), None]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (image, out) = (cx.meta(0), cx.output_meta(0));
            let (x, at, y) = (cx.input(0), cx.input(1), cx.output(0));
            let gather = launch("max_gather", out.shape.elements(), &op.pool, &image.shape, &out.shape, (false, 0));
            cx.launch(gather.read(x).read(at).finish(y));
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::max_pool2d_gather(&inputs[0], &inputs[1])]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |(shape, pool): ([usize; 4], Pool)| {
            let inputs = vec![Input::uniform(shape, -1.0, 1.0, 2), positions(shape, &pool)];
            Sample::new(MaxPool2dGather { pool }, inputs, Tolerance::Exact)
        };
        cases().into_iter().map(sample).collect()
    }
}

impl AvgPool2d {
    /// Only windows without gaps have a mean here.
    fn check(&self, op: &str) -> Result<(), ShapeError> {
        if self.pool.window.dilation == [1, 1] {
            return Ok(());
        }
        Err(ShapeError::new(op, format!("dilation {:?}; the mean takes only 1", self.pool.window.dilation)))
    }
}

/// Windows of at least this many pixels are summed by rows first: fewer loads where they overlap, more invocations
/// where they do not, and no loop of a length (65,535) that llvmpipe does not finish.
const LARGE: usize = 256;

fn lower_mean(op: &AvgPool2d, cx: &mut Lower) {
    let (image, out) = (&cx.meta(0).shape, &cx.output_meta(0).shape);
    let (x, y) = (cx.input(0), cx.output(0));
    let w = op.pool.window;
    let pass = |window: Window, x: Slot, image: &[usize], y: Slot, out: &[usize], divisor: usize| {
        let (pool, count) = (Pool { window, ..op.pool }, out.iter().product());
        launch("avg_forward", count, &pool, image, out, (op.count_padding, divisor)).read(x).finish(y)
    };
    if w.taps() < LARGE || w.kernel.contains(&1) {
        return cx.launch(pass(w, x, image, y, out, op.divisor));
    }
    let ([top, bottom, left, right], [sh, sw], [kh, kw]) = (w.padding, w.stride, w.kernel);
    let across = Window { kernel: [1, kw], stride: [1, sw], padding: [0, 0, left, right], ..w };
    let down = Window { kernel: [kh, 1], stride: [sh, 1], padding: [top, bottom, 0, 0], ..w };
    let rows = [out[0], out[1], image[2], out[3]];
    let between = cx.temp(rows.iter().product());
    cx.launch(pass(across, x, image, between, &rows, op.divisor.min(1)));
    cx.launch(pass(down, between, &rows, y, out, op.divisor));
}

impl Op for AvgPool2d {
    const NAME: &'static str = "pool2d_avg";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        self.check("avg_pool2d")?;
        let [n, c, h, w] = image_axes("avg_pool2d", "the input", &inputs[0])?;
        let [oh, ow] = output("avg_pool2d", &self.pool, [h, w])?;
        Ok(vec![Meta::new([n, c, oh, ow], DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let x = v.inputs[0].shape();
            let grad = AvgPool2dGrad { forward: op.clone(), size: [x[2], x[3]] };
            vec![Some(Tensor::apply(grad, &[v.dy()]))]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(lower_mean)
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::avg_pool2d(&inputs[0], &self.pool, self.count_padding, self.divisor)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |(shape, pool, count_padding, divisor): ([usize; 4], Pool, bool, usize)| {
            let op = AvgPool2d { pool, count_padding, divisor };
            Sample::new(op, vec![Input::uniform(shape, -1.0, 1.0, 1)], Tolerance::OfLargest(1e-6))
        };
        let mut samples: Vec<_> = mean_cases().into_iter().map(sample).collect();
        let mut viewed = samples[2].clone();
        viewed.inputs[0].as_view = true;
        samples.push(viewed);
        samples
    }
}

impl Op for AvgPool2dGrad {
    const NAME: &'static str = "pool2d_avg_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        self.forward.check(Self::NAME)?;
        Ok(vec![Meta::new(images(Self::NAME, &self.forward.pool, &inputs[0], self.size)?, DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| vec![Some(Tensor::apply(op.forward.clone(), &[v.dy()]))])
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (out, image) = (cx.meta(0), cx.output_meta(0));
            let (dy, dx) = (cx.input(0), cx.output(0));
            let AvgPool2d { pool, count_padding, divisor } = op.forward;
            let by = (count_padding, divisor);
            let grad = launch("avg_grad", image.shape.elements(), &pool, &image.shape, &out.shape, by);
            cx.launch(grad.read(dy).finish(dx));
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let AvgPool2d { pool, count_padding, divisor } = &self.forward;
        vec![reference::avg_pool2d_grad(&inputs[0], pool, self.size, *count_padding, *divisor)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |(shape, pool, count_padding, divisor): ([usize; 4], Pool, bool, usize)| {
            let forward = AvgPool2d { pool, count_padding, divisor };
            let op = AvgPool2dGrad { forward, size: [shape[2], shape[3]] };
            Sample::new(op, vec![windows(shape, &pool, 1)], Tolerance::OfLargest(1e-6))
        };
        mean_cases().into_iter().map(sample).collect()
    }
}

const fn plain(kernel: [usize; 2], stride: [usize; 2]) -> Pool {
    Pool { window: Window { kernel, stride, padding: [0; 4], dilation: [1, 1] }, ceil: false }
}

/// Images and poolings for the samples.
fn cases() -> Vec<([usize; 4], Pool)> {
    let with =
        |kernel, stride, padding, dilation, ceil| Pool { window: Window { kernel, stride, padding, dilation }, ceil };
    vec![
        ([1, 1, 1, 1], plain([1, 1], [1, 1])),
        ([2, 3, 6, 8], plain([2, 2], [2, 2])),
        ([1, 2, 7, 5], plain([3, 2], [1, 1])), // windows that overlap
        ([2, 1, 7, 8], with([3, 3], [2, 2], [1, 1, 1, 1], [1, 1], false)),
        ([1, 2, 7, 8], with([3, 2], [2, 3], [0, 1, 1, 0], [1, 1], true)), // the last window hangs over
        ([1, 1, 5, 5], with([2, 2], [3, 3], [1, 0, 1, 0], [1, 1], true)), // pixels that no window covers
        ([1, 1, 9, 11], with([3, 2], [1, 2], [2, 1, 1, 1], [2, 3], false)), // dilated
        ([2, 2, 5, 3], plain([5, 3], [1, 1])),                            // the whole plane
        ([0, 2, 4, 4], plain([2, 2], [2, 2])),
    ]
}

/// The same for the mean: no gaps, and all ways to count.
fn mean_cases() -> Vec<([usize; 4], Pool, bool, usize)> {
    let mut large = plain([19, 17], [2, 3]);
    large.window.padding = [3, 0, 8, 5];
    let no_gaps =
        cases().into_iter().filter(|(_, pool)| pool.window.dilation == [1, 1]).chain([([1, 2, 23, 20], large)]);
    let ways = [(true, 0), (false, 0), (true, 3)];
    no_gaps.flat_map(|(shape, pool)| ways.map(|(count, divisor)| (shape, pool, count, divisor))).collect()
}

/// A value for each window.
fn windows([n, c, h, w]: [usize; 4], pool: &Pool, seed: u64) -> Input {
    let [oh, ow] = pool.output([h, w]).expect("a sample fits");
    Input::uniform([n, c, oh, ow], -1.0, 1.0, seed)
}

/// The positions of the largest pixels of an image of distinct values.
fn positions(shape: [usize; 4], pool: &Pool) -> Input {
    let x = Array::<f64>::floats(shape, Input::distinct(shape, 1).values);
    let (_, at) = reference::max_pool2d(&x.view(), pool);
    Input::uints(at.shape.clone(), &at.view().uints())
}

impl Tensor {
    /// The largest pixel of each window of images `[n, c, h, w]`: `[n, c, oh, ow]`, where
    /// `oh = (h + top + bottom - dilation * (kh - 1) - 1) / stride + 1`, rounded down, or up with `ceil_mode`.
    ///
    /// # Panics
    /// If the tensor is no stack of images, or the window does not fit.
    #[track_caller]
    pub fn max_pool2d(&self, options: &Pool2dOptions) -> Tensor {
        self.max_pool2d_with_indices(options).0
    }

    /// [`Tensor::max_pool2d`], and the position `row * width + column` of each largest pixel in its plane, as `u32`.
    ///
    /// # Panics
    /// If the tensor is no stack of images, or the window does not fit.
    #[track_caller]
    pub fn max_pool2d_with_indices(&self, options: &Pool2dOptions) -> (Tensor, Tensor) {
        match self.try_max_pool2d_with_indices(options) {
            Ok(y) => y,
            // Not in a closure: the panic names the caller's line.
            Err(fault) => panic!("{fault}"),
        }
    }

    /// [`Tensor::max_pool2d_with_indices`] with a shape mistake as an error.
    ///
    /// # Errors
    /// If the tensor is no stack of images, or the window does not fit.
    #[track_caller]
    pub fn try_max_pool2d_with_indices(&self, options: &Pool2dOptions) -> Result<(Tensor, Tensor), ShapeError> {
        let pool = options.pool("max_pool2d", self)?;
        let mut outputs = Tensor::try_apply(MaxPool2d { pool }, &[self])?;
        let at = outputs.swap_remove(1);
        Ok((outputs.swap_remove(0), at))
    }

    /// The mean pixel of each window of images `[n, c, h, w]`: `[n, c, oh, ow]`, sized as by [`Tensor::max_pool2d`].
    ///
    /// # Panics
    /// If the tensor is no stack of images, or the window does not fit or is dilated.
    #[track_caller]
    pub fn avg_pool2d(&self, options: &Pool2dOptions) -> Tensor {
        match self.try_avg_pool2d(options) {
            Ok(y) => y,
            // Not in a closure: the panic names the caller's line.
            Err(fault) => panic!("{fault}"),
        }
    }

    /// [`Tensor::avg_pool2d`] with a shape mistake as an error.
    ///
    /// # Errors
    /// If the tensor is no stack of images, or the window does not fit or is dilated.
    #[track_caller]
    pub fn try_avg_pool2d(&self, options: &Pool2dOptions) -> Result<Tensor, ShapeError> {
        let divisor = match options.divisor_override {
            Some(0) => return Err(ShapeError::new("avg_pool2d", "a divisor of 0; it must be at least 1")),
            given => given.unwrap_or(0),
        };
        let pool = options.pool("avg_pool2d", self)?;
        let op = AvgPool2d { pool, count_padding: options.count_include_pad, divisor };
        Ok(Tensor::try_apply(op, &[self])?.swap_remove(0))
    }
}
