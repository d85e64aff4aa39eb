//! A whole round of deep Q-learning: an action in each of four carts, the memory, a batch of 128, and the update of
//! 4-60-2.

use wgrad::env::cartpole::Carts;
use wgrad::nn::{Init, Parameters};
use wgrad::optim::Adam;
use wgrad::train::dqn::{AgentOptions, Cost, DeviceAgent, Dqn, DqnOptions, Epsilon, mlp};
use wgrad::{Device, Result, Tensor};

use super::{Work, Workload};

impl Work for DeviceAgent<wgrad::nn::Sequential, Carts> {
    fn run(&mut self, steps: usize) -> Result<Vec<Tensor>> {
        Ok(vec![DeviceAgent::run(self, steps)?])
    }

    fn is_replayed(&self) -> bool {
        self.replayed().is_ok()
    }
}

pub fn dqn_round(d: &Device, replay: bool) -> Result<Workload> {
    let init = &mut Init::new(d, 0);
    let (online, target) = (mlp(init, 4, 60, 2, false)?, mlp(init, 4, 60, 2, false)?);
    let parameters = Some(online.count_parameters());
    let rules = DqnOptions { double: true, cost: Cost::Squared, target_every: 50 };
    let dqn = Dqn::new(online, target, Box::new(Adam::new(1e-3)), rules)?;
    let epsilon = Epsilon { from: 1.0, to: 0.05, over: 10_000 };
    let options = AgentOptions { batch: 128, discount: 0.99, ahead: 1, warmup: 100, updates: 1, epsilon, seed: 0 };
    let agent = DeviceAgent::new(dqn, Carts { limit: 500 }, 4, 50_000, options)?;
    let agent = if replay { agent } else { agent.one_by_one() };
    Ok(Workload { work: Box::new(agent), last: Vec::new(), parameters })
}
