//! Columns of patches summed back onto images (PyTorch's `fold`): the transpose of [`im2col`](super::im2col).

use super::im2col::{Im2col, Patches, Window, sample_windows, windows_over};
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, col2im as reference};
use crate::tensor::{
    Backward, DType, Input, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Slot, Tensor, Tolerance,
};

const SHADER: Shader = Shader::new(
    "col2im",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/epilogue.wgsl"),
        include_str!("../../shaders/col2im.wgsl")
    ),
);

/// `[n, c * kh * kw, windows]` to `[n, c, h, w]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Col2im {
    /// How the window slides.
    pub window: Window,
    /// Height and width of the images.
    pub size: [usize; 2],
}

crate::params! {
    struct SumParams {
        count: u32, channels: u32, h: u32, w: u32, out_h: u32, out_w: u32, kh: u32, kw: u32,
        stride_h: u32, stride_w: u32, top: u32, left: u32, dilation_h: u32, dilation_w: u32,
        image_first: u32, windows_first: u32, windows: u32, accumulate: u32,
    }
}

impl Patches<'_> {
    /// Appends the launch that sums the patches in `cols` onto the images in `x`; adds to what they hold if
    /// `accumulate`.
    pub fn scatter(&self, cx: &mut Lower, cols: Slot, x: Slot, accumulate: bool) {
        let win = self.window;
        let count = self.images.len() * self.channels * self.size[0] * self.size[1];
        let params = SumParams {
            count: count as u32,
            channels: self.channels as u32,
            h: self.size[0] as u32,
            w: self.size[1] as u32,
            out_h: self.out[0] as u32,
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
            accumulate: accumulate as u32,
        };
        let launch = LoweredDispatch::new(&SHADER, "sum_patches").read(cols);
        let last = self.windows.end == self.out[0] * self.out[1];
        let launch = if last { launch.finish(x) } else { launch.write(x) };
        cx.launch(launch.params(&params).flat(count, 64));
    }
}

impl Op for Col2im {
    const NAME: &'static str = "col2im";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let [oh, ow] = windows_over("col2im", &self.window, self.size)?;
        let taps = self.window.taps();
        match (&inputs[0].shape[..], inputs[0].dtype) {
            (&[n, rows, windows], DType::F32) if rows % taps == 0 && windows == oh * ow => {
                Ok(vec![Meta::new([n, rows / taps, self.size[0], self.size[1]], DType::F32)])
            }
            _ => {
                let [h, w] = self.size;
                let problem = format!(
                    "{} {} are no columns of {h}x{w} images; f32 [images, channels * {taps}, {}] would be",
                    inputs[0].dtype,
                    inputs[0].shape,
                    oh * ow
                );
                Err(ShapeError::new("col2im", problem))
            }
        }
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| vec![Some(Tensor::apply(Im2col { window: op.window }, &[v.dy()]))])
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (n, rows) = (cx.meta(0).shape[0], cx.meta(0).shape[1]);
            let out = op.window.output(op.size).expect("inferred");
            let (cols, x) = (cx.input(0), cx.output(0));
            let (channels, windows) = (rows / op.window.taps(), 0..out[0] * out[1]);
            let patches = Patches { window: &op.window, channels, size: op.size, out, images: 0..n, windows };
            patches.scatter(cx, cols, x, false);
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::col2im(&inputs[0], &self.window, self.size)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |([n, c, h, w], window): ([usize; 4], Window)| {
            let [oh, ow] = window.output([h, w]).expect("a sample fits");
            let cols = Input::uniform([n, c * window.taps(), oh * ow], -1.0, 1.0, 1);
            Sample::new(Col2im { window, size: [h, w] }, vec![cols], Tolerance::OfLargest(4e-7))
        };
        let mut samples: Vec<_> = sample_windows().into_iter().map(sample).collect();
        let mut viewed = samples[1].clone();
        viewed.inputs[0].as_view = true;
        samples.push(viewed);
        samples
    }
}
