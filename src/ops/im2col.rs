//! The patches under sliding windows as columns (PyTorch's `unfold`), the geometry of windows, and its padding rules.
//!
//! Convolution by a matrix product stands on this and on its transpose, [`col2im`](super::col2im).

use std::ops::Range;

use super::col2im::Col2im;
use crate::device::Shader;
use crate::error::ShapeError;
pub use crate::reference::im2col::Window;
use crate::reference::{Array, Real, View, im2col as reference};
use crate::tensor::{
    Backward, DType, Input, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Slot, Tensor, Tolerance,
};

const SHADER: Shader = Shader::new(
    "im2col",
    concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/im2col.wgsl")),
);

/// `[n, c, h, w]` to `[n, c * kh * kw, windows]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Im2col {
    /// How the window slides.
    pub window: Window,
}

/// How much of zeros stands around an image before a window slides over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Padding {
    /// None: windows stay inside the image.
    #[default]
    Valid,
    /// So much that there are `ceil(size / stride)` windows along each axis; an odd row or column goes to the end, as
    /// in TensorFlow.
    Same,
    /// Rows and columns at top, bottom, left and right.
    Explicit([usize; 4]),
}

impl From<usize> for Padding {
    /// The same on all four sides.
    fn from(n: usize) -> Self {
        Padding::Explicit([n; 4])
    }
}

impl From<[usize; 2]> for Padding {
    /// Rows at top and bottom, columns at left and right.
    fn from([rows, columns]: [usize; 2]) -> Self {
        Padding::Explicit([rows, rows, columns, columns])
    }
}

impl Padding {
    /// The rows and columns: top, bottom, left, right.
    pub fn resolve(self, size: [usize; 2], kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> [usize; 4] {
        let same = |axis: usize| {
            let span = kernel[axis].saturating_sub(1) * dilation[axis] + 1;
            let windows = size[axis].div_ceil(stride[axis].max(1));
            let total = (windows.saturating_sub(1) * stride[axis] + span).saturating_sub(size[axis]);
            (total / 2, total - total / 2)
        };
        match self {
            Padding::Valid => [0; 4],
            Padding::Explicit(sides) => sides,
            Padding::Same => {
                let ((top, bottom), (left, right)) = (same(0), same(1));
                [top, bottom, left, right]
            }
        }
    }
}

/// How many windows there are over an image of this size, or why there can be none.
pub(crate) fn windows_over(op: &str, window: &Window, size: [usize; 2]) -> Result<[usize; 2], ShapeError> {
    let Window { kernel, stride, padding, dilation } = *window;
    if [kernel, stride, dilation].iter().flatten().any(|&v| v == 0) {
        let problem = format!("kernel {kernel:?}, stride {stride:?} and dilation {dilation:?} must all be at least 1");
        return Err(ShapeError::new(op, problem));
    }
    window.output(size).ok_or_else(|| {
        let padded = [size[0] + padding[0] + padding[1], size[1] + padding[2] + padding[3]];
        let problem = format!(
            "a {}x{} window with dilation {dilation:?} spans {}x{} pixels, and the {}x{} input is {}x{} with its padding; \
             make the kernel smaller or the padding larger",
            kernel[0], kernel[1], window.span(0), window.span(1), size[0], size[1], padded[0], padded[1],
        );
        ShapeError::new(op, problem)
    })
}

/// The four axes of a stack of float images.
pub(crate) fn image_axes(op: &str, what: &str, meta: &Meta) -> Result<[usize; 4], ShapeError> {
    match (&meta.shape[..], meta.dtype) {
        (&[n, c, h, w], DType::F32 | DType::F16) => Ok([n, c, h, w]),
        _ => {
            let problem =
                format!("{what} is {} {}; it must be f32 [images, channels, height, width]", meta.dtype, meta.shape);
            Err(ShapeError::new(op, problem))
        }
    }
}

/// A run of the windows of a run of images: what one launch of the kernels of this room and of `col2im` works on.
pub(crate) struct Patches<'a> {
    /// How the window slides.
    pub window: &'a Window,
    /// Channels per image.
    pub channels: usize,
    /// Height and width of an image.
    pub size: [usize; 2],
    /// Rows and columns of windows.
    pub out: [usize; 2],
    /// Which images.
    pub images: Range<usize>,
    /// Which windows of each, counted row by row.
    pub windows: Range<usize>,
}

crate::params! {
    struct GatherParams {
        count: u32, channels: u32, h: u32, w: u32, out_w: u32, kh: u32, kw: u32, stride_h: u32, stride_w: u32,
        top: u32, left: u32, dilation_h: u32, dilation_w: u32, image_first: u32, windows_first: u32, windows: u32,
    }
}

impl Patches<'_> {
    /// Appends the launch that writes the patches of the images in `x` to `cols`.
    pub fn gather(&self, cx: &mut Lower, x: Slot, cols: Slot) {
        let win = self.window;
        let count = self.images.len() * self.channels * self.windows.len();
        let params = GatherParams {
            count: count as u32,
            channels: self.channels as u32,
            h: self.size[0] as u32,
            w: self.size[1] as u32,
            out_w: self.out[1] as u32,
            kh: win.kernel[0] as u32,
            kw: win.kernel[1] as u32,
            stride_h: win.stride[0] as u32,
            stride_w: win.stride[1] as u32,
            top: win.padding[0] as u32,
            left: win.padding[2] as u32,
            dilation_h: win.dilation[0] as u32,
            dilation_w: win.dilation[1] as u32,
            image_first: self.images.start as u32,
            windows_first: self.windows.start as u32,
            windows: self.windows.len() as u32,
        };
        let launch = LoweredDispatch::new(&SHADER, "gather_patches").read(x).write(cols);
        cx.launch(launch.params(&params).flat(count, 64));
    }
}

/// Samples of windows and the images they slide over: `(image axes, window)`.
pub(crate) fn sample_windows() -> Vec<([usize; 4], Window)> {
    let plain = |kernel| Window { kernel, stride: [1, 1], padding: [0; 4], dilation: [1, 1] };
    vec![
        ([1, 1, 1, 1], plain([1, 1])),
        ([2, 3, 5, 7], plain([3, 2])),
        ([2, 2, 6, 5], Window { padding: [1; 4], ..plain([3, 3]) }),
        ([1, 2, 7, 8], Window { stride: [2, 3], padding: [0, 1, 2, 0], ..plain([3, 3]) }),
        ([2, 1, 9, 7], Window { dilation: [2, 3], padding: [1, 1, 2, 2], ..plain([3, 2]) }),
        ([1, 1, 7, 7], Window { stride: [3, 3], ..plain([2, 2]) }), // pixels that no window covers
        ([1, 2, 3, 3], Window { stride: [3, 3], padding: [2, 4, 5, 3], ..plain([3, 3]) }), // windows on the padding alone
        ([3, 2, 4, 3], plain([4, 3])), // the kernel covers the image
        ([0, 2, 4, 4], plain([2, 2])),
    ]
}

impl Op for Im2col {
    const NAME: &'static str = "im2col";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let [n, c, h, w] = image_axes("im2col", "the input", &inputs[0])?;
        let [oh, ow] = windows_over("im2col", &self.window, [h, w])?;
        Ok(vec![Meta::new([n, c * self.window.taps(), oh * ow], DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let x = v.inputs[0].shape();
            vec![Some(v.dy().col2im(&op.window, [x[2], x[3]]))]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let &[n, channels, h, w] = &cx.meta(0).shape[..] else { unreachable!("inferred") };
            let out = op.window.output([h, w]).expect("inferred");
            let (x, cols) = (cx.input(0), cx.output(0));
            let windows = 0..out[0] * out[1];
            Patches { window: &op.window, channels, size: [h, w], out, images: 0..n, windows }.gather(cx, x, cols);
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::im2col(&inputs[0], &self.window)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |(shape, window): ([usize; 4], Window)| {
            Sample::new(Im2col { window }, vec![Input::uniform(shape, -1.0, 1.0, 1)], Tolerance::Exact)
        };
        let mut samples: Vec<_> = sample_windows().into_iter().map(sample).collect();
        let mut viewed = samples[3].clone();
        viewed.inputs[0].as_view = true;
        samples.push(viewed);
        samples
    }
}

impl Tensor {
    /// The patches under a sliding window as columns: `[n, c, h, w]` to `[n, c * kh * kw, windows]`, row `(channel,
    /// tap)` by window, windows row by row. PyTorch's `unfold`.
    ///
    /// # Panics
    /// If the tensor is no stack of images, or the window does not fit.
    #[track_caller]
    pub fn im2col(&self, window: &Window) -> Tensor {
        Tensor::apply(Im2col { window: *window }, &[self])
    }

    /// Columns of patches summed onto images of height and width `size`: the transpose of [`Tensor::im2col`], PyTorch's
    /// `fold`.
    ///
    /// # Panics
    /// If the columns are not those of such images.
    #[track_caller]
    pub fn col2im(&self, window: &Window, size: [usize; 2]) -> Tensor {
        Tensor::apply(Col2im { window: *window, size }, &[self])
    }
}
