//! The LSTM: gates forced open and shut, and its two gradients against each other.

use wgrad::autodiff::vjp;
use wgrad::tensor::Input;
use wgrad::{Device, Result, Tensor};

use crate::registry::tensor;

#[test]
fn gates_that_are_open_or_shut_keep_write_and_show() -> Result<()> {
    let device = Device::cpu();
    let (open, shut, w) = (50.0, -50.0, 0.3f32);
    let x = |gates: [f32; 4]| gates;
    // Keep (forget gate open, nothing written), write tanh(0.3), then forget all; the cell is shown except in step 1.
    let steps = [x([shut, open, w, open]), x([open, open, w, shut]), x([open, shut, w, open])].concat();
    let x = Tensor::from_slice(&device, &steps, [3, 1, 4])?;
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let c0 = Tensor::from_slice(&device, &[0.5f32], [1, 1])?;
    let none = zeros(&[4]);
    let (hs, cs) = x.lstm_scan(&zeros(&[4, 1]), [&none, &none], [&zeros(&[1, 1]), &c0], false);
    let (t, close) = (w.tanh(), |got: Vec<f32>, want: [f32; 3]| {
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?} should be {want:?}");
    });
    close(cs.to_vec::<f32>()?, [0.5, 0.5 + t, t]);
    close(hs.to_vec::<f32>()?, [0.5f32.tanh(), 0.0, t.tanh()]);
    Ok(())
}

/// The gradient has a kernel of its own, and where somebody also asks for that of the gates, a rule in primitive ops. A
/// cotangent of zeros for the gates makes the second answer what the first should.
#[test]
fn the_kernel_and_the_primitive_ops_give_one_gradient() -> Result<()> {
    let device = Device::reference();
    for (reverse, gates) in [(false, 4), (true, 4), (false, 3), (true, 3)] {
        let (t, b, h) = (6, 3, 4);
        let input = |shape: &[usize], seed| tensor(&device, &Input::uniform(shape, -1.0, 1.0, seed)).into_leaf(true);
        let wide = gates * h;
        let mut inputs = vec![input(&[t, b, wide], 1)?, input(&[wide, h], 2)?, input(&[wide], 3)?, input(&[wide], 4)?];
        inputs.extend([input(&[b, h], 5)?, input(&[b, h], 6)?]);
        inputs.truncate(gates + 2); // a GRU has one state
        let given: Vec<&Tensor> = inputs.iter().collect();
        let outputs = match gates {
            4 => Tensor::apply_all(wgrad::ops::lstm::Lstm { reverse }, &given),
            _ => Tensor::apply_all(wgrad::ops::gru::Gru { reverse }, &given),
        };
        let mut cotangents = Vec::new();
        for (k, y) in outputs.iter().enumerate() {
            let zeros = k + 1 == outputs.len();
            cotangents.push(if zeros { Tensor::zeros(&device, y.shape()) } else { input(y.shape(), 10 + k as u64)? });
        }
        let (ys, dys): (Vec<_>, Vec<_>) = (outputs.iter().collect(), cotangents.iter().collect());
        let primitive = vjp(&ys, &dys, &given);
        let kernel = vjp(&ys[..ys.len() - 1], &dys[..ys.len() - 1], &given);
        for (i, (a, b)) in kernel.iter().zip(&primitive).enumerate() {
            let (a, b) = (a.to_f64_vec()?, b.to_f64_vec()?);
            let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-12, "{gates} gates, reverse {reverse}, input {i}: off by {worst}");
            assert!(a.iter().any(|a| a.abs() > 1e-3), "{gates} gates, input {i}: no gradient");
        }
    }
    Ok(())
}
