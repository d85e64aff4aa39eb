//! Dynamic loss scaling, decided on the device: after a backward pass in half precision, whether the step counts, and
//! the scale of the next one. The host learns of neither until it asks.

use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, loss_scale as reference};
use crate::tensor::{Backward, DType, Input, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Tolerance};

const SHADER: Shader = Shader::new("loss_scale", include_str!("../../shaders/loss_scale.wgsl"));

/// Inputs:
///
/// - the state `[3]`: the scale, the steps since it last changed, the steps skipped so far;
/// - a number `[1]` that is finite if all gradients are: their sum, or their norm;
/// - the number `[1]` that the gradients, unscaled, are to be multiplied by;
/// - settings `[6]`: what the scale is multiplied by after so many good steps, and after a bad one; how many those are;
///   the skipped steps for which the first numbers of [`Update`](super::update::Update) are, how many more there are
///   numbers for, and how many rows each have.
///
/// Outputs: the state after this step, in place; and the two numbers `[2]` by which `Update` works: what the scaled
/// gradients are multiplied by, and the first row of its numbers, or -1 for a step that is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LossScale;

impl Op for LossScale {
    const NAME: &'static str = "loss_scale";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let wanted = [3, 1, 1, 6].map(|n| Meta::new(n, DType::F32));
        if *inputs != wanted {
            let shapes: Vec<String> = inputs.iter().map(|m| format!("{} {}", m.dtype, m.shape)).collect();
            let problem = format!("takes f32 [3], [1], [1] and [6], not {}", shapes.join(", "));
            return Err(ShapeError::new("loss_scale", problem));
        }
        Ok(vec![Meta::new(3, DType::F32), Meta::new(2, DType::F32)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Update)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::InPlace(
            |_, cx| {
                let mut launch = LoweredDispatch::new(&SHADER, "decide").write(cx.output(0));
                for i in 1..4 {
                    launch = launch.read(cx.input(i));
                }
                let control = cx.output(1);
                cx.launch(launch.write(control).groups(1, 1, 1));
            },
            &[(0, 0)],
            None,
        )
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        reference::decide(inputs)
    }
    fn samples() -> Vec<Sample<Self>> {
        let call = |state: [f32; 3], found: f32, settings: [f32; 6]| {
            let inputs = vec![
                Input::floats([3], &state),
                Input::floats([1], &[found]),
                Input::floats([1], &[0.75]),
                Input::floats([6], &settings),
            ];
            Sample::new(LossScale, inputs, Tolerance::Relative(4e-7))
        };
        let usual = [2.0, 0.5, 2000.0, 0.0, 63.0, 1.0];
        vec![
            call([65536.0, 3.0, 0.0], 1.5, usual),
            call([65536.0, 1999.0, 2.0], -1.5, usual), // the last good step of a run of them
            call([65536.0, 3.0, 4.0], f32::INFINITY, usual),
            call([65536.0, 3.0, 4.0], f32::NEG_INFINITY, usual),
            call([65536.0, 3.0, 4.0], f32::NAN, usual),
            call([3e38, 0.0, 0.0], 0.0, [2.0, 0.5, 1.0, 0.0, 63.0, 1.0]), // no room to grow
            call([6e-20, 0.0, 0.0], f32::NAN, usual),                     // nor to shrink
            call([1024.0, 0.0, 7.0], 3e38, [4.0, 0.25, 10.0, 5.0, 63.0, 3.0]),
            call([1024.0, 0.0, 99.0], 1.0, [4.0, 0.25, 10.0, 5.0, 63.0, 3.0]), // more skipped than there are numbers for
        ]
    }
}
