//! Networks that give the value of every action.

use crate::error::{Error, Result};
use crate::nn::{Conv2d, Flatten, Init, Linear, Module, Pass, Relu, Sequential};
use crate::ops::{Conv2dOptions, Padding, Pool2dOptions};
use crate::tensor::{Shape, Tensor};

/// The value of the state, and the advantage of each action over their mean (Wang et al., 2016): what a state is worth
/// is learned from all actions at once where it does not matter much which is taken.
pub struct Dueling {
    /// Features to `[n, 1]`.
    pub value: Linear,
    /// Features to `[n, actions]`.
    pub advantage: Linear,
}
crate::parameters!(Dueling { value, advantage });

impl Module for Dueling {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let advantage = self.advantage.forward(x, pass);
        &(&self.value.forward(x, pass) - &advantage.mean_keep(&[1])) + &advantage
    }
}

/// Numbers of different units brought to about the same size: what a network starts with takes all its inputs for
/// equally important.
pub struct Scale(Tensor);
crate::parameters!(Scale {});

impl Scale {
    /// Divides input `k` by `by[k]`.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn new(init: &Init, by: &[f32]) -> Result<Scale> {
        let factors: Vec<f32> = by.iter().map(|by| 1.0 / by).collect();
        Ok(Scale(Tensor::from_slice(init.device(), &factors, by.len())?))
    }
}

impl Module for Scale {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        x * &self.0
    }
}

fn with_head(body: Sequential, init: &mut Init, features: usize, actions: usize, dueling: bool) -> Result<Sequential> {
    let advantage = Linear::new(init, features, actions)?;
    if !dueling {
        return Ok(body.then(advantage));
    }
    Ok(body.then(Dueling { value: Linear::new(init, features, 1)?, advantage }))
}

/// One hidden layer: 4-60-2 is the course's network for the cart-pole.
///
/// # Errors
/// A fault of the device.
pub fn mlp(init: &mut Init, inputs: usize, hidden: usize, actions: usize, dueling: bool) -> Result<Sequential> {
    let body = Sequential::new().then(Linear::new(init, inputs, hidden)?).then(Relu);
    with_head(body, init, hidden, actions, dueling)
}

/// How large a convolutional network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// That of Mnih et al. ("Human-level control through deep reinforcement learning", 2015): 32 8x8 filters with
    /// stride 4, 64 4x4 with stride 2, 64 3x3, 512 units.
    Full,
    /// For a CPU: pixels averaged 2 x 2, 16 5x5 filters with stride 3, 16 3x3 with stride 2, 64 units: a fiftieth of
    /// the work.
    Small,
}

/// A convolutional network on stacked pictures `[n, frames, 84, 84]`.
///
/// # Errors
/// A fault of the device; [`Error::Argument`] if the observations are not pictures large enough.
pub fn conv(init: &mut Init, observation: &Shape, size: Size, actions: usize, dueling: bool) -> Result<Sequential> {
    let &[channels, height, width] = &observation[..] else { return Err(no_picture(observation)) };
    if height.min(width) < 36 {
        return Err(no_picture(observation));
    }
    let stride = |s: usize| Conv2dOptions { stride: [s, s], padding: Padding::Explicit([0; 4]), ..Default::default() };
    // (filters, kernel, stride) of each layer.
    let (pool, layers, units): (usize, &[(usize, usize, usize)], usize) = match size {
        Size::Full => (1, &[(32, 8, 4), (64, 4, 2), (64, 3, 1)], 512),
        Size::Small => (2, &[(16, 5, 3), (16, 3, 2)], 64),
    };
    let mut body = Sequential::new();
    let (mut planes, mut extent) = (channels, [height / pool, width / pool]);
    if pool > 1 {
        body = body.then(crate::nn::AvgPool2d(Pool2dOptions::new([pool, pool])));
    }
    for &(filters, kernel, step) in layers {
        body = body.then(Conv2d::new(init, planes, filters, [kernel, kernel], stride(step))?).then(Relu);
        (planes, extent) = (filters, extent.map(|e| (e - kernel) / step + 1));
    }
    let features = planes * extent[0] * extent[1];
    let body = body.then(Flatten).then(Linear::new(init, features, units)?).then(Relu);
    with_head(body, init, units, actions, dueling)
}

fn no_picture(observation: &Shape) -> Error {
    Error::argument(
        format!("a convolutional network on observations of shape {observation}"),
        "it needs stacked pictures [frames, height, width] of at least 36 x 36 pixels",
    )
}
