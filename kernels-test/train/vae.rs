//! The variational autoencoder: against PyTorch, against itself on another device, and as something that learns.

use wgrad::data::digits;
use wgrad::nn::{Init, Parameters, Pass};
use wgrad::ops::Rng;
use wgrad::optim::{Adam, Optimizer, Row};
use wgrad::train::Loop;
use wgrad::train::vae::{Vae, pictures_of};
use wgrad::{Device, Tensor};

use super::{numbers, same_losses};

/// `fixtures/vae_curve.py` has the losses of PyTorch for these weights, pictures and noise.
#[test]
fn twenty_steps_are_those_of_pytorch() {
    let fixture = include_str!("../fixtures/vae_curve.json");
    let fixture: serde_json::Value = serde_json::from_str(fixture).unwrap();
    let device = Device::cpu();
    let mut model = Vae::mlp(&mut Init::new(&device, 0), 36, 24, 4).unwrap();
    let names: Vec<String> = model.state().into_iter().map(|(name, _)| name).collect();
    assert_eq!(serde_json::json!(names), fixture["parameters"]);
    let mut seed = 100;
    model.params_mut(&mut |_, param| {
        let shape = param.get().shape().clone();
        param.set(Tensor::from_slice(&device, &numbers(shape.elements(), seed, 0.2), shape).unwrap()).unwrap();
        seed += 1;
    });
    let mut adam = Adam::new(1e-3);
    let mut pass = Pass::train(0);
    let curve = fixture["curve"].as_array().unwrap();
    assert_eq!(curve.len(), 20);
    for (step, expected) in curve.iter().enumerate() {
        let pixels: Vec<f32> = numbers(8 * 36, 1000 + step as u32, 0.5).iter().map(|v| v + 0.5).collect();
        let x = Tensor::from_slice(&device, &pixels, [8, 36]).unwrap();
        let noise = Tensor::from_slice(&device, &numbers(8 * 4, 2000 + step as u32, 1.7), [8, 4]).unwrap();
        let elbo = model.elbo(&x, &noise, &mut pass);
        adam.step(&mut model, &elbo.loss()).unwrap();
        for (part, expected) in [&elbo.reconstruction, &elbo.kl].into_iter().zip(expected.as_array().unwrap()) {
            let (got, expected) = (f64::from(part.item().unwrap()), expected.as_f64().unwrap());
            assert!((got - expected).abs() <= 1e-4 * expected.abs(), "step {step}: {got}, PyTorch {expected}");
        }
    }
}

#[test]
fn the_gpu_trains_it_as_the_cpu_path_does() {
    let set = digits::generate(40, 1);
    let mlp = |device: &Device| Vae::mlp(&mut Init::new(device, 3), 784, 24, 4).unwrap();
    let conv = |device: &Device| Vae::conv(&mut Init::new(device, 3), 4).unwrap();
    for make in [&mlp as &dyn Fn(&Device) -> Vae, &conv] {
        same_losses(20, 1e-4, |device| make(device).task(Box::new(Adam::new(1e-3)), &set, 3, 3).unwrap());
    }
}

#[test]
fn it_learns_to_draw_digits() {
    let (device, set) = (Device::cpu(), digits::generate(300, 1));
    let model = Vae::mlp(&mut Init::new(&device, 3), 784, 64, 2).unwrap();
    let task = model.task(Box::new(Adam::new(3e-3)), &set, 50, 3).unwrap();
    let mut task = task.validate_with(100, pictures_of(&set));
    let untrained = Loop::new(1).validate_every(1).run(&mut task).unwrap().validation("loss").unwrap();
    let outcome = Loop::new(120).validate_every(120).run(&mut task).unwrap();
    let figure = |name| outcome.validation(name).unwrap();
    assert!(figure("loss") < 0.65 * untrained, "{untrained} and then {}", figure("loss"));
    assert!((figure("loss") - figure("reconstruction") - figure("kl")).abs() < 1e-2);
    assert!(figure("kl") > 0.5, "the latent space is not used: {}", figure("kl"));

    let model = &task.model;
    let shown = model.samples(&device, 7, &mut Rng::new(1)).to_vec::<f32>().unwrap();
    assert!(shown.len() == 7 * 784 && shown.iter().all(|p| (0.0..=1.0).contains(p)));
    let fetch = |indices: &[usize]| pictures_of(&set)(indices).unwrap().upload(&device);
    let (a, b) = (fetch(&[0]).unwrap(), fetch(&[1]).unwrap());
    let walk = model.interpolation(&a, &b, 5).unwrap().to_vec::<f32>().unwrap();
    let ends = [&a, &b].map(|x| model.reconstructions(x).to_vec::<f32>().unwrap());
    let near = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near(&walk[..784], &ends[0]) && near(&walk[4 * 784..], &ends[1]), "a walk ends at its ends");
    // Top left of the map is (-2, 2).
    let map = model.manifold(&device, 3, 2.0).unwrap().to_vec::<f32>().unwrap();
    let corner = model.decode(&Tensor::from_slice(&device, &[-2f32, 2.0], [1, 2]).unwrap()).to_vec::<f32>().unwrap();
    assert!(map.len() == 9 * 784 && near(&map[..784], &corner), "the corner of the map");
    let wide = Vae::mlp(&mut Init::new(&device, 3), 784, 8, 3).unwrap();
    assert!(wide.manifold(&device, 3, 2.0).unwrap_err().to_string().contains("3 dimensions"));
}
