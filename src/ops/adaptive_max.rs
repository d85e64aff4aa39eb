//! Where the largest pixel of each bin of an image is, for adaptive pooling: a number of bins is given, not their size.
//!
//! The op only finds positions. The values are gathered at them by the indexing room, and that is where gradients flow.

use super::im2col::image_axes;
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, adaptive_max as reference};
use crate::tensor::{Backward, DType, Input, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Tolerance};

/// Positions `row * width + column` of the largest pixels: `[n, c, h, w]` to `u32` `[n, c, size]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdaptiveMax {
    /// Rows and columns of bins.
    pub size: [usize; 2],
}

const SHADER: Shader = Shader::new(
    "adaptive_max",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/adaptive_max.wgsl")
    ),
);

crate::params! {
    struct BinParams { count: u32, h: u32, w: u32, out_h: u32, out_w: u32 }
}

impl Op for AdaptiveMax {
    const NAME: &'static str = "adaptive_max";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let [n, c, h, w] = image_axes("adaptive_max_pool2d", "the input", &inputs[0])?;
        if h * w == 0 {
            let problem = format!("the input is {}; it must have pixels", inputs[0].shape);
            return Err(ShapeError::new("adaptive_max_pool2d", problem));
        }
        Ok(vec![Meta::new([n, c, self.size[0], self.size[1]], DType::U32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let image = &cx.meta(0).shape;
            let count = cx.output_meta(0).shape.elements();
            let params = BinParams {
                count: count as u32,
                h: image[2] as u32,
                w: image[3] as u32,
                out_h: op.size[0] as u32,
                out_w: op.size[1] as u32,
            };
            let (x, y) = (cx.input(0), cx.output(0));
            cx.launch(LoweredDispatch::new(&SHADER, "forward").read(x).write(y).params(&params).flat(count, 64));
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::positions(&inputs[0], self.size)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let of = |x: Input, size| Sample::new(AdaptiveMax { size }, vec![x], Tolerance::Exact);
        let nan = f32::NAN;
        let odd = [1.0, 1.0, nan, 3.0, nan, 2.0, -f32::INFINITY, -f32::INFINITY, -0.0, 0.0, 4.0, 4.0];
        vec![
            of(Input::distinct([2, 3, 7, 5], 1), [3, 2]),
            of(Input::distinct([1, 2, 3, 4], 2), [5, 4]),
            of(Input::distinct([2, 1, 9, 8], 3).viewed(), [1, 1]),
            of(Input::floats([1, 1, 2, 6], &odd), [1, 3]).rough(),
            of(Input::distinct([0, 2, 3, 3], 4), [2, 2]),
            of(Input::distinct([1, 2, 3, 3], 5), [0, 2]),
        ]
    }
}
