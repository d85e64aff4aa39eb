//! The plain recurrent layer against a sequence worked out by hand.

use wgrad::autodiff::grad;
use wgrad::{Device, Result, Tensor};

#[test]
fn one_unit_adds_up_what_it_has_seen() -> Result<()> {
    let device = Device::cpu();
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(&device, values, shape);
    let x = tensor(&[1.0, 2.0, -10.0, 3.0], &[4, 1, 1])?.into_leaf(true)?;
    let (w, b_ih, b_hh) = (tensor(&[0.5], &[1, 1])?.into_leaf(true)?, tensor(&[0.25], &[1])?, tensor(&[0.75], &[1])?);
    let h0 = tensor(&[2.0], &[1, 1])?.into_leaf(true)?;
    // relu(x + 1 + h / 2): 1 + 1 + 1, 2 + 1 + 1.5, shut by -10, 3 + 1 + 0.
    let hs = x.rnn_scan(&w, [&b_ih, &b_hh], &h0, true, false);
    assert_eq!(hs.to_vec::<f32>()?, [3.0, 4.5, 0.0, 4.0]);
    // d(h_1 + h_2)/dx_1 = 1 + 1/2; W is seen as h_0 = 2 through both steps and as h_1 = 3: 2 + (2 / 2 + 3).
    let seen = hs.narrow(0, 0, 2).sum_all();
    let found = grad(&seen, &[&x, &w, &h0]);
    assert_eq!(found[0].to_vec::<f32>()?, [1.5, 1.0, 0.0, 0.0]);
    assert_eq!((found[1].item()?, found[2].item()?), (6.0, 0.75));
    // Backwards: 3 + 1 + 1, then -10 shuts it, then 2 + 1, 1 + 1 + 1.5.
    let back = x.rnn_scan(&w, [&b_ih, &b_hh], &h0, true, true);
    assert_eq!(back.to_vec::<f32>()?, [3.5, 3.0, 0.0, 5.0]);
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape);
    let scan = |x: &[usize], w: &[usize], b: &[usize], h: &[usize]| {
        let call = || zeros(x).rnn_scan(&zeros(w), [&zeros(b), &zeros(b)], &zeros(h), false, false);
        let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
        fault.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    assert!(scan(&[0, 2, 3], &[3, 3], &[3], &[2, 3]).contains("no steps"));
    assert!(scan(&[4, 2, 3], &[3, 2], &[3], &[2, 3]).contains("[3, 2]"));
    assert!(scan(&[4, 2, 3], &[3, 3], &[4], &[2, 3]).contains("b_ih is [4]"));
    assert!(scan(&[4, 2, 3], &[3, 3], &[3], &[1, 3]).contains("h_0 is [1, 3]"));
}
