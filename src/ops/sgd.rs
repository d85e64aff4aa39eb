//! The update of stochastic gradient descent, with momentum and Nesterov's variant (Sutskever et al. 2013, in the form
//! of `torch.optim.SGD`). What may change from step to step is an input.

use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, sgd as reference};
use crate::tensor::{Backward, Input, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Tolerance};

/// One step: inputs `p, g, hyper`, or `p, buffer, g, hyper` with momentum; outputs `p` and the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SgdStep {
    /// Whether there is a momentum buffer.
    pub momentum: bool,
    /// Whether the step looks ahead along the momentum.
    pub nesterov: bool,
}

/// Numbers in `hyper`: rate, momentum, 1 - dampening, decay.
pub const SGD_HYPER: usize = 4;

const SHADER: Shader =
    Shader::new("sgd", concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/sgd.wgsl")));

crate::params! { pub(crate) struct Count { n: u32 } }

impl Count {
    pub(crate) fn of(n: usize) -> Self {
        Count { n: n as u32 }
    }
}

/// The shape rule of every update: `slabs` arrays of one shape, then the numbers of the step.
pub(crate) fn infer_update(op: &str, inputs: &[Meta], slabs: usize, hyper: usize) -> Result<Vec<Meta>, ShapeError> {
    let fits = inputs.len() == slabs + 1
        && inputs[..slabs].iter().all(|m| m == &inputs[0])
        && inputs[slabs].shape.elements() == hyper;
    if !fits {
        let shapes: Vec<String> = inputs.iter().map(|m| format!("{} {}", m.dtype, m.shape)).collect();
        let problem = format!("takes {slabs} tensors of one shape and {hyper} numbers, not {}", shapes.join(", "));
        return Err(ShapeError::new(op, problem));
    }
    Ok(vec![inputs[0].clone(); slabs - 1])
}

impl Op for SgdStep {
    const NAME: &'static str = "sgd";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        infer_update("sgd", inputs, if self.momentum { 3 } else { 2 }, SGD_HYPER)
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Update)
    }
    fn lower(&self) -> Lowering<Self> {
        if !self.momentum {
            return Lowering::InPlace(
                |_, cx| {
                    let (p, g, hyper) = (cx.output(0), cx.input(1), cx.input(2));
                    let launch = LoweredDispatch::new(&SHADER, "plain").write(p).read(g).read(hyper);
                    cx.launch(launch.params(&Count::of(p.len)).flat(p.len, 64));
                },
                &[(0, 0)],
            );
        }
        Lowering::InPlace(
            |op, cx| {
                let (p, b, g, hyper) = (cx.output(0), cx.output(1), cx.input(2), cx.input(3));
                let launch = LoweredDispatch::new(&SHADER, "momentum").constant("NESTEROV", op.nesterov as u8);
                cx.launch(launch.write(p).read(g).read(hyper).write(b).params(&Count::of(p.len)).flat(p.len, 64));
            },
            &[(0, 0), (1, 1)],
        )
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        reference::step(inputs, self.nesterov)
    }
    fn samples() -> Vec<Sample<Self>> {
        let x = |n: usize, seed| Input::uniform([n], -1.0, 1.0, seed);
        let hyper = || Input::floats([SGD_HYPER], &[0.1, 0.9, 1.0, 0.01]);
        let near = Tolerance::OfLargest(4e-7);
        vec![
            Sample::new(SgdStep { momentum: false, nesterov: false }, vec![x(131, 1), x(131, 2), hyper()], near),
            Sample::new(
                SgdStep { momentum: true, nesterov: false },
                vec![x(131, 1), x(131, 2), x(131, 3), hyper()],
                near,
            ),
            Sample::new(SgdStep { momentum: true, nesterov: true }, vec![x(1, 1), x(1, 2), x(1, 3), hyper()], near),
            Sample::new(SgdStep { momentum: false, nesterov: false }, vec![x(0, 1), x(0, 2), hyper()], near),
        ]
    }
}
