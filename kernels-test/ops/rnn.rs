//! The plain recurrent layer against a sequence worked out by hand.

use std::collections::BTreeSet;

use wgrad::autodiff::grad;
use wgrad::tensor::{Caps, LoweredDispatch};
use wgrad::{Device, Result, Tensor};

use crate::launches::{self, ADAPTERS};

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

/// Launches of an LSTM forward and backward, of so many steps, rows and units, on a GPU.
fn of_lstm([t, b, h]: [usize; 3], caps: Caps) -> [Vec<LoweredDispatch>; 2] {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape).into_leaf(true).unwrap();
    let (x, w, bias, state) = (zeros(&[t, b, 4 * h]), zeros(&[4 * h, h]), zeros(&[4 * h]), zeros(&[b, h]));
    let given = [&x, &w, &bias, &bias, &state, &state];
    let outputs = Tensor::apply_all(wgrad::ops::lstm::Lstm { reverse: false }, &given);
    let given = [&zeros(&[t, b, 4 * h]), &zeros(&[t, b, h]), &state, &w, &zeros(&[t, b, h]), &zeros(&[t, b, h])];
    let slopes = Tensor::apply_all(wgrad::ops::lstm::LstmGrad { reverse: false }, &given);
    [outputs, slopes].map(|all| wgrad::plan::launches(&all.iter().collect::<Vec<_>>(), caps))
}

/// Besides the steps there is the sum of the biases, and backwards the product that the initial state gets, which may be cut.
#[test]
fn a_step_is_one_launch_on_gpus() {
    for (size, once) in [([50, 50, 256], true), ([20, 64, 512], true), ([4, 300, 1024], false), ([20, 50, 250], false)]
    {
        for adapter in ADAPTERS.iter().filter(|a| !a.caps.software) {
            let [forward, backward] = of_lstm(size, adapter.caps).map(|all| all.len());
            let t = size[0];
            let (found, what) = ((forward == t + 1, backward <= t + 2), format!("{size:?} on {}", adapter.name));
            assert_eq!(found, (once, once), "{what}: {forward} forward, {backward} backward");
            assert!(once || forward >= 2 * t && backward >= 2 * t, "{what}: {forward} forward, {backward} backward");
        }
    }
    // A variant that is asked for is one of the product.
    let caps = Caps { variant: Some("tile32"), ..ADAPTERS[2].caps };
    let [forward, _] = of_lstm([5, 50, 256], caps);
    assert!(forward.iter().any(|launch| launch.constants.contains(&("SIDE", 8.0))), "{forward:?}");
    // Where a workgroup is done with the whole sequence, it is.
    assert_eq!(of_lstm([50, 1, 8], ADAPTERS[1].caps).map(|all| all.len()), [1, 1]);
}

/// The samples of the registry meet every tile, and so do the tests that run them.
#[test]
fn every_tile_of_a_step_is_in_the_samples() {
    let mut found: BTreeSet<(&str, Vec<u64>)> = BTreeSet::new();
    for launch in &launches::all().launches {
        let constants = launch.dispatch.constants.iter();
        let tile: Vec<u64> = constants.map(|c| c.1 as u64).collect();
        if launch.dispatch.constants.first().is_some_and(|c| c.0 == "ROW_QUADS") {
            found.insert((&launch.dispatch.shader.name, tile));
        }
    }
    for (kernel, tiles) in [("lstm_forward", 3), ("lstm_backward", 3)] {
        let of = found.iter().filter(|(name, _)| *name == kernel).count();
        assert_eq!(of, tiles, "{kernel}: {found:?}");
    }
}
