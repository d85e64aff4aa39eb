//! The plain recurrent layer against a sequence worked out by hand.

use std::collections::BTreeSet;

use wgrad::autodiff::grad;
use wgrad::ops::gru::{Gru, GruGrad};
use wgrad::ops::lstm::{Lstm, LstmGrad};
use wgrad::ops::rnn::{Rnn, RnnGrad};
use wgrad::tensor::{Caps, Input};
use wgrad::{Device, Result, Tensor};

use crate::launches::{self, ADAPTERS, Launch};
use crate::registry::tensor;

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

/// Launches of a layer with so many gates forward and backward, of so many steps, rows and units.
fn launches_of(gates: usize, [t, b, h]: [usize; 3], caps: Caps) -> [usize; 2] {
    let device = Device::cpu();
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape).into_leaf(true).unwrap();
    let (wide, w, bias) = (zeros(&[t, b, gates * h]), zeros(&[gates * h, h]), zeros(&[gates * h]));
    let (states, state, four) = (zeros(&[t, b, h]), zeros(&[b, h]), zeros(&[t, b, 4 * h]));
    let given = [&wide, &w, &bias, &bias, &state, &state];
    let reverse = false;
    let pair = match gates {
        4 => [
            Tensor::apply_all(Lstm { reverse }, &given),
            Tensor::apply_all(LstmGrad { reverse }, &[&four, &states, &state, &w, &states, &states]),
        ],
        3 => [
            Tensor::apply_all(Gru { reverse }, &given[..5]),
            Tensor::apply_all(GruGrad { reverse }, &[&four, &states, &state, &w, &states]),
        ],
        _ => [
            Tensor::apply_all(Rnn { reverse, relu: false }, &given[..5]),
            Tensor::apply_all(RnnGrad { reverse, relu: false }, &[&states, &w, &states]),
        ],
    };
    pair.map(|all| wgrad::plan::launches(&all.iter().collect::<Vec<_>>(), caps).len())
}

/// Besides the steps there is the sum of an LSTM's biases, and backwards the product that the initial state gets, which
/// may be cut into slices.
#[test]
fn a_step_is_one_launch_on_gpus() {
    let gpus = || ADAPTERS.iter().filter(|a| !a.caps.software);
    for gates in [1, 3, 4] {
        for size in [[50, 50, 256], [20, 64, 512]] {
            for adapter in gpus() {
                let [forward, backward] = launches_of(gates, size, adapter.caps);
                let what = format!("{gates} gates, {size:?} on {}", adapter.name);
                assert_eq!(forward, size[0] + (gates == 4) as usize, "{what}: forward");
                assert!(backward == size[0] + 1 || backward == size[0] + 2, "{what}: {backward} backward");
            }
        }
        // A large product is faster as one; and one whose rows are not in whole vec4s.
        for (size, caps) in gpus().flat_map(|a| [([3, 600, 1024], a.caps), ([20, 50, 250], a.caps)]) {
            let found = launches_of(gates, size, caps);
            assert!(found.iter().all(|&n| n >= 2 * size[0]), "{gates} gates, {size:?}: {found:?}");
        }
        // A variant that is asked for is one of the product.
        let caps = Caps { variant: Some("tile32"), ..ADAPTERS[2].caps };
        assert!(launches_of(gates, [5, 50, 256], caps).iter().all(|&n| n >= 10));
        // Where one workgroup is done with all of a short sequence, it is; and a software rasteriser has no use for
        // tiles.
        assert_eq!(launches_of(gates, [5, 1, 8], ADAPTERS[1].caps), [1, 1]);
        assert!(launches_of(gates, [50, 50, 256], ADAPTERS[3].caps).iter().all(|&n| n >= 100));
    }
}

/// All steps of a layer whose weight is small are one launch; besides them there is the sum of an LSTM's biases, the
/// product that its initial state gets, and a weight that is turned.
#[test]
fn a_sequence_is_one_launch_where_its_weight_is_small() {
    for (gates, h) in [(1, 64), (1, 128), (3, 64), (4, 64), (4, 32), (3, 128), (4, 100), (4, 128), (4, 50)] {
        for (adapter, b) in ADAPTERS[..3].iter().flat_map(|a| [(a, 1), (a, 50), (a, 5000)]) {
            let found = launches_of(gates, [50, b, h], adapter.caps);
            // What workgroups of thousands of rows do is cut into launches of some milliseconds, and a long product
            // into slices.
            let [lstm, streamed, odd] = [gates == 4, gates > 1 && h > 64, h % 4 > 0].map(usize::from);
            let long = if b < 5000 { 0 } else { 1 + 2 * streamed };
            let most = [1 + lstm + streamed + odd + long, 1 + 2 * lstm + odd + long];
            assert!(found[0] <= most[0] && found[1] <= most[1], "{gates} gates, {b} rows of {h}: {found:?} launches");
        }
    }
    // Beyond that they are a launch each.
    for (gates, h) in [(1, 132), (3, 132), (4, 132)] {
        let found = launches_of(gates, [50, 50, h], ADAPTERS[2].caps);
        assert!(found.iter().all(|&n| n >= 50), "{gates} gates of {h} units: {found:?} launches");
    }
}

/// A long sequence of many rows is cut into launches, which hand each other what is carried.
#[test]
fn a_long_sequence_in_several_launches_is_one_sequence() -> Result<()> {
    let [t, b, h] = [34, 8000, 4]; // 2000 workgroups of 4 rows: 32 steps in a launch
    for gates in [1, 3, 4] {
        assert!(launches_of(gates, [t, b, h], ADAPTERS[2].caps).iter().all(|&n| (2..6).contains(&n)));
        for reverse in [false, true] {
            let run = |device: &Device| -> Result<Vec<Vec<f64>>> {
                let input =
                    |shape: &[usize], seed| tensor(device, &Input::uniform(shape, -0.5, 0.5, seed)).into_leaf(true);
                let (x, w) = (input(&[t, b, gates * h], 1)?, input(&[gates * h, h], 2)?);
                let (bias, state) = ([input(&[gates * h], 3)?, input(&[gates * h], 4)?], input(&[b, h], 5)?);
                let (biases, cell) = ([&bias[0], &bias[1]], input(&[b, h], 6)?);
                let hs = match gates {
                    4 => x.lstm_scan(&w, biases, [&state, &cell], reverse).0,
                    3 => x.gru_scan(&w, biases, &state, reverse),
                    _ => x.rnn_scan(&w, biases, &state, false, reverse),
                };
                let weighted = (&hs * &input(&[t, b, h], 7)?).sum_all();
                let found = grad(&weighted, &[&x, &state]);
                [&hs, &found[0], &found[1]].map(Tensor::to_f64_vec).into_iter().collect()
            };
            let (got, wanted) = (run(&crate::merge::device(false, false))?, run(&Device::reference())?);
            for (k, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                let worst = got.iter().zip(wanted).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-5, "{gates} gates, reverse {reverse}, result {k}: off by {worst}");
            }
        }
    }
    Ok(())
}

/// The samples of the registry meet every number of rows of a workgroup and of blocks that an invocation
/// holds, and weights that are not all held.
#[test]
fn every_cut_of_a_sequence_is_in_the_samples() {
    let mut found: BTreeSet<(&str, &str, &str, u64)> = BTreeSet::new();
    for Launch { dispatch, .. } in &launches::all().launches {
        let constants = dispatch.constants.iter().filter(|c| ["ROWS", "HELD", "BLOCKS"].contains(&c.0));
        found.extend(constants.map(|c| (&*dispatch.shader.name, dispatch.entry, c.0, c.1 as u64)));
    }
    for (kernel, entry) in
        ["rnn_sequence", "lstm_sequence", "gru_sequence"].iter().flat_map(|k| [(k, "forward"), (k, "backward")])
    {
        for (what, n) in (1..=4).flat_map(|n| [("ROWS", n), ("HELD", n)]) {
            assert!(found.contains(&(*kernel, entry, what, n)), "{kernel} {entry} with {n} {what}: {found:?}");
        }
        // Blocks that are read again in each step, of which a plain layer has none.
        let streamed = (5..=16).filter(|&n: &u64| found.contains(&(*kernel, entry, "BLOCKS", n))).count();
        assert!(if *kernel == "rnn_sequence" { streamed == 0 } else { streamed >= 2 }, "{kernel} {entry}: {found:?}");
    }
}

/// The samples of the registry meet every tile, and so do the tests that run them.
#[test]
fn every_tile_of_a_step_is_in_the_samples() {
    let mut found: BTreeSet<(&str, Vec<u64>)> = BTreeSet::new();
    for launch in &launches::all().launches {
        let constants = launch.dispatch.constants.iter();
        let tile: Vec<u64> = constants.filter(|c| c.0 != "RELU").map(|c| c.1 as u64).collect();
        if launch.dispatch.constants.iter().any(|c| c.0 == "ROW_QUADS") {
            found.insert((&launch.dispatch.shader.name, tile));
        }
    }
    // Three in 16 KiB, and as many in 32 KiB.
    for kernel in ["lstm_forward", "lstm_backward", "gru_forward", "gru_backward", "rnn_forward", "rnn_backward"] {
        let of = found.iter().filter(|(name, _)| *name == kernel).count();
        assert_eq!(of, 6, "{kernel}: {found:?}");
    }
}
