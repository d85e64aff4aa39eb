//! The GRU: gates forced open and shut.

use wgrad::{Device, Result, Tensor};

#[test]
fn gates_that_are_open_or_shut_keep_replace_and_reset() -> Result<()> {
    let device = Device::cpu();
    let (open, shut) = (50.0f32, -50.0f32);
    // r z n per step: keep; replace by tanh(1 + state's share); replace by tanh(1) with the state's share reset.
    let steps = [[open, open, 1.0], [open, shut, 1.0], [shut, shut, 1.0]].concat();
    let x = Tensor::from_slice(&device, &steps, [3, 1, 3])?;
    let w = Tensor::from_slice(&device, &[0.0f32, 0.0, 2.0], [3, 1])?;
    let zeros = Tensor::zeros(&device, 3);
    let b_hh = Tensor::from_slice(&device, &[0.0f32, 0.0, 0.5], 3)?;
    let h0 = Tensor::from_slice(&device, &[0.25f32], [1, 1])?;
    let got = x.gru_scan(&w, [&zeros, &b_hh], &h0, false).to_vec::<f32>()?;
    let want = [0.25, (1.0f32 + (2.0 * 0.25 + 0.5)).tanh(), 1f32.tanh()];
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?} should be {want:?}");
    Ok(())
}
