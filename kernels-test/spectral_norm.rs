//! Spectrally normalised layers beside PyTorch's (`kernels-test/fixtures/spectral_norm.py`), and the singular value
//! they estimate.

use serde_json::Value as Json;
use wgrad::nn::{Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Init, Linear, Module, Parameters, Pass};
use wgrad::nn::{SpectralNorm, Weighted};
use wgrad::optim::{Optimizer, Sgd};
use wgrad::train::State;
use wgrad::{Device, Tensor, autodiff};

use crate::attention::{near, tensor};
use crate::registry::under_test;

fn check<L: Weighted>(device: &Device, case: &Json, layer: L) {
    let mut layer = SpectralNorm::new(&mut Init::new(device, 0), layer).unwrap();
    // Under the names that PyTorch saves, and no others.
    let mut state = State::new();
    for (name, value) in case["state"].as_object().unwrap() {
        state.put_tensor(name, &tensor(device, value)).unwrap();
    }
    state.model("", &mut layer).unwrap();
    let x = tensor(device, &case["x"]).into_leaf(true).unwrap();
    let vectors = |layer: &SpectralNorm<L>, wanted: &Json| {
        let names = [("u", "parametrizations.weight.0._u"), ("v", "parametrizations.weight.0._v")];
        for (name, key) in names {
            let (_, buffer) = layer.named_buffers().into_iter().find(|(k, _)| k == key).unwrap();
            near(&format!("{} {name}", case["name"]), &buffer.get(), &wanted[name]);
        }
    };
    let mut pass = Pass::train(0);
    let y = layer.forward(&x, &mut pass);
    near("first pass", &y, &case["passes"][0]["y"]);
    vectors(&layer, &case["passes"][0]);
    let y = layer.forward(&x, &mut pass);
    let named = layer.named_parameters();
    let wrt: Vec<&Tensor> = std::iter::once(&x).chain(named.iter().map(|(_, p)| p.get())).collect();
    let slopes = autodiff::vjp(&[&y], &[&tensor(device, &case["cotangent"])], &wrt);
    let names = std::iter::once("x").chain(named.iter().map(|(name, _)| name.as_str()));
    for (name, slope) in names.zip(&slopes) {
        near(&format!("{} by {name}", case["name"]), slope, &case["slopes"][name]);
    }
    near("second pass", &y, &case["passes"][1]["y"]);
    vectors(&layer, &case["passes"][1]);
    near("evaluation", &layer.forward(&x, &mut Pass::eval()), &case["eval"]["y"]);
    vectors(&layer, &case["eval"]);
}

#[test]
fn layers_are_normalised_as_in_pytorch() {
    let cases: Vec<Json> = serde_json::from_str(include_str!("fixtures/spectral_norm.json")).unwrap();
    for device in [Device::cpu(), under_test()] {
        let init = &mut Init::new(&device, 1);
        check(&device, &cases[0], Linear::new(init, 5, 3).unwrap());
        check(&device, &cases[1], Conv1d::new(init, 2, 4, 3, Default::default()).unwrap());
        check(&device, &cases[2], Conv2d::new(init, 2, 3, [3, 2], Default::default()).unwrap());
        check(&device, &cases[3], ConvTranspose1d::new(init, 3, 2, 3, Default::default()).unwrap());
        check(&device, &cases[4], ConvTranspose2d::new(init, 2, 3, [2, 3], Default::default()).unwrap());
    }
}

/// `[[3, 0], [4, 5]]` has the singular values `sqrt(45)`, along (1, 1), and `sqrt(5)`, along (1, -1).
fn textbook(device: &Device) -> SpectralNorm<Linear> {
    let init = &mut Init::new(device, 3);
    let mut layer = Linear::new(init, 2, 2).unwrap().without_bias();
    layer.weight.set(Tensor::from_slice(device, &[3f32, 0., 4., 5.], [2, 2]).unwrap()).unwrap();
    SpectralNorm::new(init, layer).unwrap()
}

#[test]
fn the_estimate_becomes_the_largest_singular_value() {
    let device = Device::cpu();
    let mut layer = textbook(&device);
    let largest = 45f32.sqrt();
    assert!((layer.sigma().item().unwrap() - largest).abs() < 1e-5, "as it is made");
    // From nearly the other direction, one iteration per pass.
    let mut state = State::new();
    state.put_model("", &layer).unwrap();
    let off = Tensor::from_slice(&device, &[0.74f32, -0.67], [2]).unwrap();
    state.put_tensor("parametrizations.weight.0._v", &off).unwrap();
    state.model("", &mut layer).unwrap();
    let x = Tensor::from_slice(&device, &[1f32, 1.], [1, 2]).unwrap();
    let mut pass = Pass::train(0);
    let mut before = 0.0;
    for step in 1..=8 {
        let _ = layer.forward(&x, &mut pass);
        let sigma = layer.sigma().item().unwrap();
        assert!(sigma > before - 1e-5 && sigma < largest + 1e-5, "step {step}: {sigma} after {before}");
        assert!(step > 1 || sigma < 0.6 * largest, "{sigma} is no start");
        before = sigma;
    }
    assert!((before - largest).abs() < 1e-5, "{before}, not {largest}");
    // What is stretched most is stretched by 1 now.
    let y = layer.forward(&x, &mut Pass::eval()).to_vec::<f32>().unwrap();
    assert!((y[0].hypot(y[1]) - 2f32.sqrt()).abs() < 1e-5, "{y:?}");
    // Evaluation leaves the vectors as they are.
    assert_eq!(layer.sigma().item().unwrap(), before);
}

#[test]
fn the_estimate_follows_a_weight_that_learns() {
    for device in [Device::cpu(), under_test()] {
        let mut layer = textbook(&device);
        let mut sgd = Sgd::new(1.0);
        let x = Tensor::from_slice(&device, &[0.3f32, -1., 0.8, 0.5], [2, 2]).unwrap();
        for _ in 0..20 {
            let loss = layer.forward(&x, &mut Pass::train(0)).square().sum_all();
            sgd.step(&mut layer, &loss).unwrap();
        }
        let w = layer.layer.weight.get().to_vec::<f32>().unwrap();
        let moved: f32 = w.iter().zip([3., 0., 4., 5.]).map(|(w, b)| (w - b).abs()).sum();
        assert!(moved > 0.5, "{w:?} did not move");
        let (s, d) = (w.iter().map(|w| w * w).sum::<f32>(), w[0] * w[3] - w[1] * w[2]);
        let largest = (0.5 * (s + (s * s - 4.0 * d * d).sqrt())).sqrt();
        let sigma = layer.sigma().item().unwrap();
        assert!((sigma - largest).abs() < 2e-3 * largest, "{sigma}, not {largest}, on {device}");
    }
}
