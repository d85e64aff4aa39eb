//! Recurrent layers against PyTorch (`fixtures/recurrent.py`): every kind, stacked, in both directions, with and
//! without biases and initial states, outputs and all gradients; and the forms that PyTorch does not have against
//! worked examples.

use serde_json::Value;
use wgrad::autodiff::vjp;
use wgrad::functional::RecurrentWeights;
use wgrad::nn::{Gru, GruCell, Init, Lstm, LstmCell, Parameters, Pass, RecurrentOptions, Rnn, RnnCell};
use wgrad::{Device, Result, Tensor};

use crate::registry::under_test;

fn values(entry: &Value) -> (Vec<f32>, Vec<usize>) {
    let list = |name: &str| entry[name].as_array().unwrap().clone();
    let shape = list("shape").iter().map(|v| v.as_u64().unwrap() as usize).collect();
    (list("values").iter().map(|v| v.as_f64().unwrap() as f32).collect(), shape)
}

fn tensors(device: &Device, entries: &Value) -> Vec<Tensor> {
    let tensor = |entry| {
        let (values, shape) = values(entry);
        Tensor::from_slice(device, &values, shape).and_then(|t| t.into_leaf(true)).unwrap()
    };
    entries.as_array().unwrap().iter().map(tensor).collect()
}

#[track_caller]
fn close(got: &Tensor, want: &Value, tolerance: f64, what: &str) {
    let (want, shape) = values(want);
    assert_eq!(got.shape()[..], shape, "{what}");
    let largest = want.iter().fold(0f64, |m, &w| m.max(w.abs() as f64)).max(1e-3);
    let got = got.to_f64_vec().unwrap();
    let worst = got.iter().zip(&want).map(|(g, &w)| (g - w as f64).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance * largest, "{what}: off by {worst:e} of {largest}");
}

fn set(model: &mut dyn Parameters, parameters: &Value, device: &Device) {
    let values = tensors(device, parameters);
    let names: Vec<&str> = parameters.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    let mine: Vec<String> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(mine, names);
    let mut values = values.into_iter();
    model.params_mut(&mut |_, param| param.set(values.next().unwrap()).unwrap());
}

fn check(case: &Value, device: &Device, tolerance: f64) {
    let o = &case["options"];
    let number = |name: &str, default| o[name].as_u64().unwrap_or(default) as usize;
    let flag = |name: &str, default| o[name].as_bool().unwrap_or(default);
    let options = RecurrentOptions {
        layers: number("num_layers", 1),
        bidirectional: flag("bidirectional", false),
        batch_first: flag("batch_first", false),
        bias: flag("bias", true),
        projection: number("proj_size", 0),
        ..Default::default()
    };
    let what = format!("{} {o} on {device}", case["kind"]);
    let init = &mut Init::new(device, 1);
    let inputs = tensors(device, &case["inputs"]);
    let (x, states) = (&inputs[0], &inputs[1..]);
    let pass = &mut Pass::train(1);
    let parameters = &case["parameters"];
    let run = |model: &dyn Parameters, outputs: Vec<Tensor>| {
        let params: Vec<&Tensor> = model.named_parameters().into_iter().map(|(_, p)| p.get()).collect();
        let cotangents = tensors(device, &case["cotangents"]);
        let wrt: Vec<&Tensor> = inputs.iter().chain(params).collect();
        let found = vjp(&outputs.iter().collect::<Vec<_>>(), &cotangents.iter().collect::<Vec<_>>(), &wrt);
        wgrad::eval(&outputs.iter().chain(&found).collect::<Vec<_>>()).unwrap();
        let wanted = |name: &str| case[name].as_array().unwrap().clone();
        for (k, (got, want)) in outputs.iter().zip(wanted("outputs")).enumerate() {
            close(got, &want, tolerance, &format!("{what}, output {k}"));
        }
        let want = [wanted("gradients"), wanted("parameter_gradients")].concat();
        for (k, (got, want)) in found.iter().zip(want).enumerate() {
            close(got, &want, tolerance, &format!("{what}, gradient {k}"));
        }
    };
    match case["kind"].as_str().unwrap() {
        "rnn" => {
            let mut model = Rnn::new(init, 2, 3, &options).unwrap();
            if o["nonlinearity"] == "relu" {
                model = model.relu();
            }
            set(&mut model, parameters, device);
            let (y, h) = model.forward_from(x, states.first(), pass);
            run(&model, vec![y, h]);
        }
        "gru" => {
            let mut model = Gru::new(init, 2, 3, &options).unwrap();
            set(&mut model, parameters, device);
            let (y, h) = model.forward_from(x, states.first(), pass);
            run(&model, vec![y, h]);
        }
        _ => {
            let mut model = Lstm::new(init, 2, 3, &options).unwrap();
            set(&mut model, parameters, device);
            let state = (!states.is_empty()).then(|| [&states[0], &states[1]]);
            let (y, [h, c]) = model.forward_from(x, state, pass);
            run(&model, vec![y, h, c]);
        }
    }
}

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("../fixtures/recurrent.json")).unwrap()
}

#[test]
fn every_form_is_pytorchs_in_double_precision() {
    // The fixture holds single precision.
    cases().iter().for_each(|case| check(case, &Device::reference(), 3e-7));
}

#[test]
fn every_form_is_pytorchs_on_the_cpu_path() {
    cases().iter().for_each(|case| check(case, &Device::cpu(), 2e-6));
}

#[test]
fn stacks_in_both_directions_are_pytorchs_on_the_gpu() {
    let device = under_test();
    let deep = |case: &&Value| case["options"]["bidirectional"] == true;
    cases().iter().filter(deep).for_each(|case| check(case, &device, 5e-6));
}

#[test]
fn a_cell_is_one_step_of_its_layer() -> Result<()> {
    let device = Device::cpu();
    let options = RecurrentOptions::default();
    let pass = &mut Pass::eval();
    let x = Tensor::from_slice(&device, &[0.3f32, -0.7, 0.9, 0.2], [1, 2, 2])?;
    let same = |a: &Tensor, b: &Tensor| assert_eq!(a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap());
    // The same seed draws the same weights.
    let (layer, cell) = (
        Rnn::new(&mut Init::new(&device, 5), 2, 3, &options)?.relu(),
        RnnCell::new(&mut Init::new(&device, 5), 2, 3)?.relu(),
    );
    same(&layer.forward_from(&x, None, pass).0, &cell.step(&x.squeeze(0), None));
    let (layer, cell) =
        (Lstm::new(&mut Init::new(&device, 5), 2, 3, &options)?, LstmCell::new(&mut Init::new(&device, 5), 2, 3)?);
    let ([h, c], [h_cell, c_cell]) = (layer.forward_from(&x, None, pass).1, cell.step(&x.squeeze(0), None));
    same(&h, &h_cell);
    same(&c, &c_cell);
    let (layer, cell) =
        (Gru::new(&mut Init::new(&device, 5), 2, 3, &options)?, GruCell::new(&mut Init::new(&device, 5), 2, 3)?);
    same(&layer.forward_from(&x, None, pass).0, &cell.step(&x.squeeze(0), None));
    // One row without a batch axis.
    let row = x.squeeze(0).narrow(0, 1, 1).squeeze(0);
    assert_eq!(cell.step(&row, None).to_vec::<f32>()?, cell.step(&x.squeeze(0), None).to_vec::<f32>()?[3..]);
    Ok(())
}

#[test]
fn a_sequence_without_a_batch_axis_is_a_batch_of_one() -> Result<()> {
    let device = Device::cpu();
    let options = RecurrentOptions { layers: 2, batch_first: true, ..Default::default() };
    let model = Lstm::new(&mut Init::new(&device, 5), 2, 3, &options)?;
    let x = Tensor::from_slice(&device, &[0.3f32, -0.7, 0.9, 0.2, 0.5, 0.1], [3, 2])?;
    let (y, [h, c]) = model.forward_from(&x, None, &mut Pass::eval());
    assert_eq!((&y.shape()[..], &h.shape()[..], &c.shape()[..]), (&[3, 3][..], &[2, 3][..], &[2, 3][..]));
    let (batched, _) = model.forward_from(&x.unsqueeze(0), None, &mut Pass::eval());
    assert_eq!(y.to_vec::<f32>()?, batched.to_vec::<f32>()?);
    let (again, _) = model.forward_from(&x, Some([&h, &c]), &mut Pass::eval());
    assert_ne!(again.to_vec::<f32>()?, y.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn the_forms_pytorch_lacks_are_those_of_their_papers() -> Result<()> {
    let device = Device::cpu();
    let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(&device, values, shape);
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let close = |t: &Tensor, want: &[f32]| {
        let got = t.to_vec::<f32>().unwrap();
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?} should be {want:?}");
    };
    // One unit, one input of two steps; every weight different.
    let x = tensor(&[0.5, -1.0], &[2, 1, 1])?;
    let w = RecurrentWeights::new(&tensor(&[0.1, 0.2, 0.3, 0.4], &[4, 1])?, &tensor(&[0.5, -0.6, 0.7, 0.8], &[4, 1])?);
    let p = [tensor(&[1.5], &[1])?, tensor(&[-0.5], &[1])?, tensor(&[2.0], &[1])?];
    let (hs, [_, c_end]) = x.lstm_peephole(&w, None, p.each_ref(), false);
    let (mut h, mut c, mut want) = (0f32, 0f32, Vec::new());
    for x in [0.5f32, -1.0] {
        let (i, f) = (sigmoid(0.1 * x + 0.5 * h + 1.5 * c), sigmoid(0.2 * x - 0.6 * h - 0.5 * c));
        c = f * c + i * (0.3 * x + 0.7 * h).tanh();
        h = sigmoid(0.4 * x + 0.8 * h + 2.0 * c) * c.tanh();
        want.push(h);
    }
    close(&hs, &want);
    close(&c_end, &[c]);

    let w = RecurrentWeights::new(&tensor(&[0.1, 0.2, 0.3], &[3, 1])?, &tensor(&[0.5, -0.6, 0.7], &[3, 1])?);
    let w = w.biases(&tensor(&[0.0, 0.0, 0.1], &[3])?, &tensor(&[0.2, 0.0, 0.4], &[3])?);
    let (mut h, mut want) = (0.3f32, Vec::new());
    for x in [0.5f32, -1.0] {
        let (r, z) = (sigmoid(0.1 * x + 0.5 * h + 0.2), sigmoid(0.2 * x - 0.6 * h));
        let n = (0.3 * x + 0.1 + 0.7 * (r * h) + 0.4).tanh();
        h = (1.0 - z) * n + z * h;
        want.push(h);
    }
    close(&x.gru_reset_first(&w, Some(&tensor(&[0.3], &[1, 1])?), false).0, &want);
    Ok(())
}

/// What a plan costs to make, to keep and to look up does not depend on how long a text is.
#[test]
fn a_longer_sequence_makes_no_longer_plan() -> Result<()> {
    let steps = |t: usize| -> Result<u64> {
        let device = Device::cpu();
        let options = RecurrentOptions { layers: 2, bidirectional: true, ..Default::default() };
        let model = Gru::new(&mut Init::new(&device, 5), 2, 3, &options)?;
        let x = Tensor::from_slice(&device, &vec![0.5f32; t * 2 * 2], [t, 2, 2])?;
        let loss = model.forward_from(&x, None, &mut Pass::eval()).0.square().mean_all();
        let params: Vec<&Tensor> = model.named_parameters().into_iter().map(|(_, p)| p.get()).collect();
        let slopes = wgrad::autodiff::grad(&loss, &params);
        let before = device.counters();
        wgrad::eval(&slopes.iter().collect::<Vec<_>>())?;
        Ok(device.counters().since(&before).dispatches)
    };
    assert_eq!(steps(5)?, steps(60)?);
    Ok(())
}
