//! Deep Q-learning (Mnih et al., 2015): a network that learns what every action is worth, from what happened to it.
//!
//! [`Dqn`] is the network, its slow twin and their loss; [`Agent`] plays many copies of an environment, remembers and
//! learns. What is learned from is drawn from a memory ([`Replay`]), since what happens in a row is too much alike; and
//! the value of what follows is asked of a copy of the network that stands still for a while, since a goal that moves
//! with every step is not reached.
//!
//! [`DeviceAgent`] does the same where the network is: lanes that are a tensor program
//! ([`TensorEnv`](crate::env::TensorEnv)), a memory ([`Ring`]) that is never read by the host, and rounds that are one
//! program, which is replayed.

mod agent;
mod device_agent;
mod learner;
mod network;
mod replay;
mod ring;

pub use agent::{Agent, AgentOptions, Epsilon, evaluate};
pub use device_agent::DeviceAgent;
pub use network::{Dueling, Scale, Size, conv, mlp};
pub use replay::{Batch, Drawn, Keep, Replay};
pub use ring::{Places, Ring, Transitions};

use crate::device::Device;
use crate::error::Result;
use crate::functional::Reduction;
use crate::nn::{Module, Parameters, Pass};
use crate::optim::{Optimizer, Replays, Trained};
use crate::tensor::{Shape, Tensor};
use crate::train::State;

/// What the error of a value costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Its square.
    Squared,
    /// Half its square up to 1, then linear, so that no transition pulls harder than 1 (Huber, 1964).
    Huber,
}

/// How the values are learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DqnOptions {
    /// Let the learning network choose the next action and the slow one say what it is worth, which removes the bias of
    /// taking a maximum over noise (van Hasselt et al., 2016).
    pub double: bool,
    /// What an error costs.
    pub cost: Cost,
    /// Steps of learning between two copies to the slow network.
    pub target_every: u64,
}

impl DqnOptions {
    /// The mean cost of a batch. `online` gives the values of the learning network, `slow` those of the other for what
    /// follows.
    #[track_caller]
    fn loss(&self, online: impl Fn(&Tensor) -> Tensor, slow: &Tensor, batch: &Batch) -> Tensor {
        let best = if self.double { pick(slow, &online(&batch.next).argmax(&[1])) } else { slow.max(&[1]) };
        let goal = &batch.rewards + &(&batch.discounts * &best);
        let values = pick(&online(&batch.states), &batch.actions);
        match self.cost {
            Cost::Squared => values.mse_loss(&goal.detach(), Reduction::Mean),
            Cost::Huber => values.huber_loss(&goal.detach(), 1.0, Reduction::Mean),
        }
    }
}

impl Default for DqnOptions {
    fn default() -> Self {
        DqnOptions { double: true, cost: Cost::Huber, target_every: 250 }
    }
}

/// A network of action values and its slow twin.
pub struct Dqn<N> {
    online: N,
    target: N,
    optimizer: Box<dyn Optimizer>,
    replays: Replays,
    options: DqnOptions,
    device: Device,
}

impl<N: Module> Dqn<N> {
    /// Two networks of one form; the second takes over the weights of the first and is trained no more.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If the networks differ in form, or have no parameters.
    #[track_caller]
    pub fn new(online: N, mut target: N, optimizer: Box<dyn Optimizer>, options: DqnOptions) -> Result<Dqn<N>> {
        assert!(online.state() == target.state(), "Dqn: the two networks have parameters of different names or shapes");
        let device =
            online.named_parameters().first().expect("Dqn: a network without parameters").1.get().device().clone();
        let mut frozen = Ok(());
        target.params_mut(&mut |_, param| {
            if frozen.is_ok() {
                frozen = param.freeze(true);
            }
        });
        frozen?;
        let mut dqn = Dqn { online, target, optimizer, replays: Replays::new(), options, device };
        dqn.copy_to_target()?;
        Ok(dqn)
    }

    /// The network that learns.
    pub fn network(&self) -> &N {
        &self.online
    }

    /// The same, to load weights into.
    pub fn network_mut(&mut self) -> &mut N {
        &mut self.online
    }

    /// The device it is on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Steps of learning done.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Whether the next steps of learning are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        self.replays.replayed()
    }

    /// The value of every action for observations `[n, ..]`: `[n, actions]`.
    #[track_caller]
    pub fn values(&self, observations: &Tensor) -> Tensor {
        self.online.forward(observations, &mut Pass::eval())
    }

    /// The action of the largest value for each of `n` observations, given as numbers of shape `[n, ..]`.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If the numbers do not fill the shape.
    #[track_caller]
    pub fn act(&self, observations: &[f32], shape: &Shape) -> Result<Vec<u32>> {
        let observations = Tensor::from_slice(&self.device, observations, shape)?;
        self.values(&observations).argmax(&[1]).to_vec()
    }

    /// How far the values of what was done are from what came of it: the mean cost over a batch.
    #[track_caller]
    pub fn loss(&self, batch: &Batch) -> Tensor {
        let slow = self.target.forward(&batch.next, &mut Pass::eval());
        self.options.loss(|states| self.values(states), &slow, batch)
    }

    /// Learns from batches in so many steps, which a GPU replays ([`Steps`](crate::optim::Steps)), and gives the loss
    /// of the last. It is on the device: read it now and then, not every step.
    ///
    /// # Errors
    /// What `next` reports; a fault of the device.
    ///
    /// # Panics
    /// If `steps` is 0.
    #[track_caller]
    pub fn learn(&mut self, steps: usize, mut next: impl FnMut() -> Result<Drawn>) -> Result<Tensor> {
        assert!(steps > 0, "learn: 0 steps have no loss");
        let every = self.options.target_every.max(1);
        let mut left = steps;
        loop {
            let now = left.min((every - self.steps() % every) as usize);
            let Dqn { online, target, optimizer, replays, options, .. } = self;
            let record = |online: &N, batch: &Batch, pass: &mut Pass| {
                let slow = target.forward(&batch.next, pass);
                vec![("loss", options.loss(|states| online.forward(states, &mut Pass::eval()), &slow, batch))]
            };
            let trained = Trained { model: online, optimizer, pass: &mut Pass::eval() };
            let made = replays.take(trained, (now, false), &mut next, &record)?;
            left -= now;
            if self.steps().is_multiple_of(every) {
                self.copy_to_target()?;
            }
            if left == 0 {
                return Ok(made.into_iter().next_back().expect("a step was taken").swap_remove(0).1);
            }
        }
    }

    /// Copies the weights of the learning network to the slow one. Nothing is moved: both hold the same memory until
    /// the next step of learning, which then writes elsewhere.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn copy_to_target(&mut self) -> Result<()> {
        self.replays.forget();
        restore(&mut self.target, &snapshot(&self.online))
    }

    /// Adds both networks and the optimizer to a checkpoint.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn save(&self, state: &mut State) -> Result<()> {
        state.put_model("model", &self.online)?;
        state.put_model("target", &self.target)?;
        state.put_optimizer("optimizer", &*self.optimizer)
    }

    /// Takes over what [`Dqn::save`] added.
    ///
    /// # Errors
    /// If it is of other networks or another optimizer; a fault of the device.
    pub fn load(&mut self, state: &State) -> Result<()> {
        self.replays.forget();
        state.model("model", &mut self.online)?;
        state.model("target", &mut self.target)?;
        state.optimizer("optimizer", &mut *self.optimizer, &mut self.online)
    }
}

/// The weights of a network as they are now. Later steps of learning leave them as they are.
pub fn snapshot(network: &dyn Parameters) -> Vec<Tensor> {
    network.named_parameters().into_iter().map(|(_, param)| param.get().clone()).collect()
}

/// Gives a network the weights of a [`snapshot`].
///
/// # Errors
/// A fault of the device.
///
/// # Panics
/// If there are more or fewer weights than in the network, or of other shapes.
#[track_caller]
pub fn restore(network: &mut dyn Parameters, weights: &[Tensor]) -> Result<()> {
    let count = network.named_parameters().len();
    assert!(count == weights.len(), "restore: {} weights for a network of {count}", weights.len());
    let mut weights = weights.iter();
    let mut result = Ok(());
    network.params_mut(&mut |_, param| {
        if let (Ok(()), Some(weight)) = (&result, weights.next()) {
            result = param.set(weight.clone());
        }
    });
    result
}

/// The value `[n]` of one action per row of `[n, actions]`.
#[track_caller]
fn pick(values: &Tensor, actions: &Tensor) -> Tensor {
    values.gather(1, &actions.unsqueeze(1)).squeeze(1)
}
