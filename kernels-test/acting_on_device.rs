//! Deep Q-learning on the device.

use wgrad::env::cartpole::{self, Carts};
use wgrad::nn::{Init, Sequential};
use wgrad::optim::Adam;
use wgrad::train::dqn::{AgentOptions, Cost, DeviceAgent, Dqn, DqnOptions, Epsilon, Scale, mlp};
use wgrad::{Device, Tensor};

use crate::merge;
use crate::registry::under_test;

fn network(device: &Device, seed: u64) -> Sequential {
    let init = &mut Init::new(device, seed);
    let scale = Scale::new(init, &cartpole::SCALE).unwrap();
    Sequential::new().then(scale).then(mlp(init, 4, 12, 2, false).unwrap())
}

fn options() -> AgentOptions {
    AgentOptions {
        batch: 16,
        discount: 0.99,
        ahead: 1,
        warmup: 40,
        updates: 1,
        epsilon: Epsilon { from: 1.0, to: 0.1, over: 400 },
        seed: 7,
    }
}

fn agent(device: &Device, options: AgentOptions) -> DeviceAgent<Sequential, Carts> {
    let rules = DqnOptions { double: true, cost: Cost::Squared, target_every: 5 };
    let dqn = Dqn::new(network(device, 1), network(device, 2), Box::new(Adam::new(1e-2)), rules).unwrap();
    DeviceAgent::new(dqn, Carts { limit: 30 }, 4, 100, options).unwrap()
}

#[test]
fn replayed_rounds_are_the_ordinary_ones() {
    for device in [under_test(), merge::device(false, false), merge::device(true, false)] {
        let mut replayed = agent(&device, options());
        for n in [3, 1, 5, 30] {
            let loss = replayed.run(n).unwrap();
            println!("{device}: {:?} {:?}", replayed.replayed(), loss.item().unwrap());
        }
        let before = device.counters();
        replayed.run(20).unwrap();
        println!("{:?}", device.counters().since(&before));
    }
    let device = Device::cpu();
    let mut a = agent(&device, options());
    println!("{:?}", a.run(39).unwrap().item());
}
