//! The update of Adam and AdamW, in the form of `torch.optim.Adam`. What changes from step to step is an input.

use super::sgd::{Count, infer_update};
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, adam as reference};
use crate::tensor::{Backward, Input, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Tolerance};

/// One step: inputs `p, m, v, g, hyper`, outputs `p, m, v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AdamStep;

/// Numbers in `hyper`, see [`crate::reference::adam::step`].
pub const ADAM_HYPER: usize = 9;

const SHADER: Shader = Shader::new(
    "adam",
    concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/adam.wgsl")),
);

impl AdamStep {
    /// `hyper` of step `t` (the first is 1), computed in double precision.
    pub fn hyper(rate: f64, betas: (f64, f64), epsilon: f64, decay: f64, decoupled: f64, t: u64) -> [f32; ADAM_HYPER] {
        let (b1, b2) = betas;
        let (c1, c2) = (1.0 - b1.powf(t as f64), 1.0 - b2.powf(t as f64));
        [rate / c1, b1, 1.0 - b1, b2, 1.0 - b2, 1.0 / c2.sqrt(), epsilon, decay, rate * decoupled].map(|x| x as f32)
    }
}

impl Op for AdamStep {
    const NAME: &'static str = "adam";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        infer_update("adam", inputs, 4, ADAM_HYPER)
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Update)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::InPlace(
            |_, cx| {
                let (p, m, v, g, hyper) = (cx.output(0), cx.output(1), cx.output(2), cx.input(3), cx.input(4));
                let launch = LoweredDispatch::new(&SHADER, "step").write(p).write(m).write(v).read(g).read(hyper);
                cx.launch(launch.params(&Count::of(p.len)).flat(p.len, 64));
            },
            &[(0, 0), (1, 1), (2, 2)],
        )
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        reference::step(inputs)
    }
    fn samples() -> Vec<Sample<Self>> {
        let call = |n: usize, t, decay, decoupled| {
            let x = |low, seed| Input::uniform([n], low, 1.0, seed);
            let hyper = AdamStep::hyper(1e-3, (0.9, 0.999), 1e-8, decay, decoupled, t);
            let inputs = vec![x(-1.0, 1), x(-1.0, 2), x(0.01, 3), x(-1.0, 4), Input::floats([ADAM_HYPER], &hyper)];
            Sample::new(AdamStep, inputs, Tolerance::Relative(1e-5))
        };
        vec![call(131, 1, 0.0, 0.0), call(64, 1000, 0.01, 0.0), call(1, 3, 0.0, 0.01), call(0, 1, 0.0, 0.0)]
    }
}
