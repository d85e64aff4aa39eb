//! Training runs: the loop, what is saved and told, and the model families.

mod checkpoint;
mod report;
mod run;
mod summary;

use wgrad::data::{Images, digits};
use wgrad::nn::{Dropout, Flatten, Init, Linear, Relu, Sequential};
use wgrad::optim::Adam;
use wgrad::train::Supervised;
use wgrad::{Device, Tensor};

/// A network with everything that a resumed run could forget: a random draw, moments, an order of data.
fn mlp(device: &Device, seed: u64) -> Sequential {
    let mut init = Init::new(device, seed);
    let net = Sequential::new().then(Flatten).then(Linear::new(&mut init, 784, 16).unwrap()).then(Relu);
    net.then(Dropout::new(0.25)).then(Linear::new(&mut init, 16, 10).unwrap())
}

fn pictures() -> Images {
    digits::generate(60, 3)
}

fn task<'a>(device: &Device, set: &'a Images) -> Supervised<'a, Sequential, (Tensor, Tensor)> {
    Supervised::classifier(mlp(device, 1), Box::new(Adam::new(1e-2).clip_norm(0.5)), device, set, 16, 5).unwrap()
}
