//! Known answers of dynamic loss scaling.

use wgrad::ops::loss_scale::LossScale;
use wgrad::{Device, Tensor};

use crate::registry::under_test;

/// State and control after a step whose gradients sum up to `found`.
fn after(device: &Device, state: [f32; 3], found: f32) -> (Vec<f32>, Vec<f32>) {
    let tensor = |values: &[f32]| Tensor::from_slice(device, values, values.len()).unwrap();
    let inputs = [tensor(&state), tensor(&[found]), tensor(&[1.0]), tensor(&[2.0, 0.5, 3.0, 0.0, 63.0, 2.0])];
    let outputs = Tensor::apply_all(LossScale, &inputs.iter().collect::<Vec<_>>());
    (outputs[0].to_vec().unwrap(), outputs[1].to_vec().unwrap())
}

#[test]
fn the_scale_grows_after_good_steps_and_falls_after_a_bad_one() {
    for d in [under_test(), Device::cpu(), Device::reference()] {
        let mut state = [65536.0, 0.0, 0.0];
        // Three good steps double it; then one without a finite sum halves it, and the row of numbers moves on.
        let course = [
            (1.0, [65536.0, 1.0, 0.0], [1.0 / 65536.0, 0.0]),
            (1.0, [65536.0, 2.0, 0.0], [1.0 / 65536.0, 0.0]),
            (1.0, [131072.0, 0.0, 0.0], [1.0 / 65536.0, 0.0]),
            (f32::INFINITY, [65536.0, 0.0, 1.0], [1.0 / 131072.0, -1.0]),
            (f32::NAN, [32768.0, 0.0, 2.0], [1.0 / 65536.0, -1.0]),
            (0.0, [32768.0, 1.0, 2.0], [1.0 / 32768.0, 4.0]),
        ];
        for (step, (found, want, control)) in course.into_iter().enumerate() {
            let (new, told) = after(&d, state, found);
            assert_eq!((&new[..], &told[..]), (&want[..], &control[..]), "step {step} on {d}");
            state = want;
        }
    }
}
