//! Numbers in a row: positions, from which masks, grids and triangles are made.

use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, iota as reference};
use crate::tensor::{Backward, DType, Input, LoweredDispatch, Lowering, Meta, Op, Sample, Tensor, Tolerance, Vjp};

/// `start + i step` for i from 0 to n. Inputs: start and step, of rank 0 and one type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Iota {
    /// How many numbers.
    pub n: usize,
}

const SHADER: Shader = Shader::new(
    "iota",
    concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/iota.wgsl")),
);

crate::params! {
    struct IotaParams { n: u32 }
}

impl Op for Iota {
    const NAME: &'static str = "iota";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (start, step) = (&inputs[0], &inputs[1]);
        if start.dtype != step.dtype || start.dtype == DType::Bool || start.shape.rank() + step.shape.rank() > 0 {
            let problem = format!(
                "start is {} {} and step {} {}; both must be of rank 0 and one type of numbers",
                start.dtype, start.shape, step.dtype, step.shape
            );
            return Err(ShapeError::new("iota", problem));
        }
        Ok(vec![Meta::new([self.n], start.dtype)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v: &Vjp| {
            if v.inputs[0].dtype() != DType::F32 {
                return vec![None, None];
            }
            let to_step = || (v.dy() * &Tensor::iota(v.dy().device(), op.n, 0f32, 1f32)).sum_all();
            vec![v.when(0, || v.dy().sum_all()), v.when(1, to_step)]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let floats = cx.output_meta(0).dtype == DType::F32;
            let (start, step, y) = (cx.input(0), cx.input(1), cx.output(0));
            let launch = LoweredDispatch::new(&SHADER, "forward").constant("FLOATS", floats);
            cx.launch(
                launch
                    .read(start)
                    .read(step)
                    .write(y)
                    .params(&IotaParams { n: op.n as u32 })
                    .independent(1)
                    .flat(op.n, 64),
            );
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::iota(&inputs[0], &inputs[1], self.n)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let floats = |n: usize, start: f32, step: f32, tolerance| {
            Sample::new(Iota { n }, vec![Input::floats([], &[start]), Input::floats([], &[step])], tolerance)
        };
        let whole = |n: usize, start: f32, step: f32, dtype| {
            let number = |v| Input::floats([], &[v]).of(dtype);
            Sample::new(Iota { n }, vec![number(start), number(step)], Tolerance::Exact)
        };
        vec![
            floats(5, 0.0, 1.0, Tolerance::Exact),
            floats(131, -1.25, 0.1, Tolerance::OfLargest(2e-7)),
            floats(1, 3.5, 0.1, Tolerance::Exact),
            floats(0, 0.0, 1.0, Tolerance::Exact),
            whole(70, 3.0, 2.0, DType::U32),
            whole(7, 3.0, -2.0, DType::I32),
        ]
    }
}

impl Tensor {
    /// `start + i step` for i from 0 to n, of any type of numbers.
    #[track_caller]
    pub fn iota<E: crate::tensor::Element>(device: &crate::Device, n: usize, start: E, step: E) -> Tensor {
        Tensor::apply(Iota { n }, &[&Tensor::scalar(device, start), &Tensor::scalar(device, step)])
    }
}
