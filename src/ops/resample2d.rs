//! Images read at other places: enlarging, shrinking, and the means of adaptive pooling.
//!
//! All of these are linear and take each axis by itself, so they are one op with a rule per axis, and its transpose.
//! The two are each other's gradient. The methods with the names users know are in `functional/resample.rs`.

use super::im2col::image_axes;
use crate::device::Shader;
use crate::error::ShapeError;
pub use crate::reference::resample2d::{Axis, Rule};
use crate::reference::{Array, Real, View, resample2d as reference};
use crate::tensor::{Backward, DType, Input, LoweredDispatch, Lowering, Meta, Op, Sample, Tensor, Tolerance};

/// `[n, c, rows.from, columns.from]` to `[n, c, rows.to, columns.to]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resample2d {
    /// How rows are read.
    pub rows: Axis,
    /// How columns are read.
    pub columns: Axis,
}

/// The gradient of [`Resample2d`]: `[n, c, rows.to, columns.to]` to `[n, c, rows.from, columns.from]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resample2dGrad {
    /// The reading.
    pub forward: Resample2d,
}

const SHADER: Shader = Shader::new(
    "resample2d",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/epilogue.wgsl"),
        include_str!("../../shaders/resample2d.wgsl")
    ),
);

crate::params! {
    struct ResampleParams {
        count: u32,
        h: u32, out_h: u32, rule_h: u32, num_h: u32, den_h: u32,
        w: u32, out_w: u32, rule_w: u32, num_w: u32, den_w: u32,
    }
}

impl Resample2d {
    fn launch(&self, entry: &'static str, count: usize) -> LoweredDispatch {
        let axis = |a: &Axis| [a.from, a.to, a.rule as usize, a.num, a.den].map(|v| v as u32);
        let [h, out_h, rule_h, num_h, den_h] = axis(&self.rows);
        let [w, out_w, rule_w, num_w, den_w] = axis(&self.columns);
        let params =
            ResampleParams { count: count as u32, h, out_h, rule_h, num_h, den_h, w, out_w, rule_w, num_w, den_w };
        LoweredDispatch::new(&SHADER, entry).params(&params).flat(count, 64)
    }

    /// The shape of the images `[n, c, ..]` with these extents, if `meta` has the others.
    fn shape(&self, op: &str, meta: &Meta, has: [usize; 2], gives: [usize; 2]) -> Result<Vec<Meta>, ShapeError> {
        let [n, c, h, w] = image_axes(op, "the input", meta)?;
        if [h, w] != has || [&self.rows, &self.columns].iter().any(|a| a.from == 0 || a.den == 0) {
            let problem =
                format!("the input is {}; images of {}x{} pixels, not 0, would fit", meta.shape, has[0], has[1]);
            return Err(ShapeError::new(op, problem));
        }
        Ok(vec![Meta::new([n, c, gives[0], gives[1]], DType::F32)])
    }
}

impl Op for Resample2d {
    const NAME: &'static str = "resample2d";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (from, to) = ([self.rows.from, self.columns.from], [self.rows.to, self.columns.to]);
        self.shape(Self::NAME, &inputs[0], from, to)
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| vec![Some(Tensor::apply(Resample2dGrad { forward: op.clone() }, &[v.dy()]))])
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (x, y) = (cx.input(0), cx.output(0));
            cx.launch(op.launch("forward", cx.output_meta(0).shape.elements()).read(x).finish(y));
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::forward(&inputs[0], &self.rows, &self.columns)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |(rows, columns): (Axis, Axis)| {
            let x = Input::uniform([2, 2, rows.from, columns.from], -1.0, 1.0, 1);
            Sample::new(Resample2d { rows, columns }, vec![x], Tolerance::OfLargest(4e-6))
        };
        let mut samples: Vec<_> = cases().into_iter().map(sample).collect();
        let mut viewed = samples[2].clone();
        viewed.inputs[0].as_view = true;
        samples.push(viewed);
        samples
    }
}

impl Op for Resample2dGrad {
    const NAME: &'static str = "resample2d_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let Resample2d { rows, columns } = &self.forward;
        self.forward.shape(Self::NAME, &inputs[0], [rows.to, columns.to], [rows.from, columns.from])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| vec![Some(Tensor::apply(op.forward.clone(), &[v.dy()]))])
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (dy, dx) = (cx.input(0), cx.output(0));
            cx.launch(op.forward.launch("grad", cx.output_meta(0).shape.elements()).read(dy).finish(dx));
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::grad(&inputs[0], &self.forward.rows, &self.forward.columns)]
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |(rows, columns): (Axis, Axis)| {
            let dy = Input::uniform([2, 2, rows.to, columns.to], -1.0, 1.0, 1);
            let op = Resample2dGrad { forward: Resample2d { rows, columns } };
            Sample::new(op, vec![dy], Tolerance::OfLargest(4e-6))
        };
        cases().into_iter().map(sample).collect()
    }
}

/// Rows and columns.
fn cases() -> Vec<(Axis, Axis)> {
    let axis = |rule, from: usize, to: usize| match rule {
        Rule::LinearAligned | Rule::CubicAligned if to > 1 => Axis { from, to, rule, num: from - 1, den: to - 1 },
        Rule::LinearAligned | Rule::CubicAligned => Axis { from, to, rule, num: 0, den: 1 },
        _ => Axis { from, to, rule, num: from, den: to.max(1) },
    };
    use Rule::{Bins, Cubic, CubicAligned, Linear, LinearAligned, Nearest, NearestExact};
    vec![
        (axis(Nearest, 3, 6), axis(Nearest, 4, 12)),
        (axis(Nearest, 5, 3), axis(NearestExact, 7, 4)),
        (axis(Linear, 3, 6), axis(Linear, 4, 7)),
        (axis(Linear, 9, 2), axis(LinearAligned, 5, 11)),
        (axis(LinearAligned, 6, 1), axis(LinearAligned, 3, 3)),
        (axis(Cubic, 3, 7), axis(Cubic, 9, 4)),
        (axis(CubicAligned, 5, 8), axis(Cubic, 2, 5)),
        (axis(Cubic, 1, 3), axis(CubicAligned, 4, 1)),
        (axis(Bins, 7, 3), axis(Bins, 5, 5)),
        (axis(Bins, 3, 7), axis(Bins, 11, 1)),
        (axis(Nearest, 1, 4), axis(Linear, 1, 5)),
        (Axis { from: 4, to: 6, rule: Linear, num: 3, den: 5 }, Axis { from: 4, to: 6, rule: Nearest, num: 3, den: 5 }),
        (axis(Nearest, 3, 0), axis(Nearest, 3, 2)),
    ]
}
