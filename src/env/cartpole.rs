//! A pole on a cart: push left or right so that the pole stays up and the cart on the track.
//!
//! The problem and its equations are those of Barto, Sutton and Anderson ("Neuronlike adaptive elements that can solve
//! difficult learning control problems", 1983), without friction, in the form of Florian ("Correct equations for the
//! dynamics of the cart-pole system", 2005); constants, thresholds, the Euler step and the limits are those of OpenAI
//! Gym's `CartPole-v0` and `-v1`, so that the usual figures can be compared.

use super::draw::Canvas;
use super::{End, Env, Moved, Step, TensorEnv, assert_action, saved, tensor_env, uniform};
use crate::device::Device;
use crate::error::Result;
use crate::functional::columns;
use crate::ops::Rng;
use crate::tensor::{DType, Shape, Tensor};

const GRAVITY: f64 = 9.8;
const CART: f64 = 1.0;
const POLE: f64 = 0.1;
const TOTAL: f64 = CART + POLE;
/// Half the length of the pole.
const HALF: f64 = 0.5;
const FORCE: f64 = 10.0;
/// Seconds per step.
const TAU: f64 = 0.02;
/// The cart leaves the track beyond this.
const TRACK: f64 = 2.4;
/// The pole has fallen beyond this: 12 degrees.
const FALLEN: f64 = 12.0 * 2.0 * std::f64::consts::PI / 360.0;

/// How large the numbers of a frame get: a network that sees them divided by these learns several times faster.
pub const SCALE: [f32; 4] = [2.4, 3.0, 0.21, 3.0];

/// One cart. A frame is `[x, x', angle, angle']`; every step is worth 1; action 0 pushes left, 1 right.
#[derive(Debug, Clone)]
pub struct CartPole {
    state: [f64; 4],
    steps: usize,
    limit: usize,
    rng: Rng,
}

impl CartPole {
    /// A cart whose episodes end after `limit` steps: 200 is `CartPole-v0`, 500 is `CartPole-v1`.
    pub fn new(limit: usize, seed: u64) -> CartPole {
        let mut cart = CartPole { state: [0.0; 4], steps: 0, limit, rng: Rng::new(seed) };
        cart.reset();
        cart
    }

    /// Position, velocity, angle from upright and angular velocity.
    pub fn state(&self) -> [f64; 4] {
        self.state
    }

    /// Puts the cart into a state; the clock starts anew.
    pub fn set_state(&mut self, state: [f64; 4]) {
        (self.state, self.steps) = (state, 0);
    }
}

impl Env for CartPole {
    fn frame(&self) -> Shape {
        [4].into()
    }
    fn actions(&self) -> usize {
        2
    }
    fn reset(&mut self) {
        self.state = [(); 4].map(|()| uniform(&mut self.rng, -0.05, 0.05));
        self.steps = 0;
    }
    fn show(&self, frame: &mut [f32]) {
        for (to, from) in frame.iter_mut().zip(self.state) {
            *to = from as f32;
        }
    }
    fn step(&mut self, action: usize) -> Step {
        assert_action("CartPole", action, 2);
        let [x, dx, angle, dangle] = self.state;
        let (sin, cos) = angle.sin_cos();
        let force = if action == 1 { FORCE } else { -FORCE };
        let pushed = (force + POLE * HALF * dangle * dangle * sin) / TOTAL;
        let turn = (GRAVITY * sin - cos * pushed) / (HALF * (4.0 / 3.0 - POLE * cos * cos / TOTAL));
        let slide = pushed - POLE * HALF * turn * cos / TOTAL;
        self.state = [x + TAU * dx, dx + TAU * slide, angle + TAU * dangle, dangle + TAU * turn];
        self.steps += 1;
        let end = if self.state[0].abs() > TRACK || self.state[2].abs() > FALLEN {
            Some(End::Terminal)
        } else {
            (self.steps >= self.limit).then_some(End::TimeLimit)
        };
        Step { reward: 1.0, end }
    }
    fn draw(&self) -> Canvas {
        let (width, height, ground) = (300.0, 120.0, 95.0);
        let mut canvas = Canvas::new(width as usize, height as usize, [255, 255, 255]);
        let x = width / 2.0 + self.state[0] / TRACK * (width / 2.0 - 24.0);
        canvas.line([0.0, ground + 9.0], [width, ground + 9.0], 1.0, [150, 150, 150]);
        canvas.rect([x - 18.0, ground - 9.0], [36.0, 18.0], [40, 40, 40]);
        let (sin, cos) = self.state[2].sin_cos();
        canvas.line([x, ground - 9.0], [x + 70.0 * sin, ground - 9.0 - 70.0 * cos], 5.0, [202, 110, 40]);
        canvas
    }
    fn save(&self) -> Vec<f64> {
        [&self.state[..], &[self.steps as f64, f64::from(self.rng.counter())]].concat()
    }
    fn load(&mut self, state: &[f64]) {
        let [x, dx, angle, dangle, steps, counter] = saved("CartPole", state);
        (self.state, self.steps) = ([x, dx, angle, dangle], steps as usize);
        self.rng.set_counter(counter as u32);
    }
}

/// One step of many carts as a tensor program: states `[n, 4]` and actions `u32 [n]` to states `[n, 4]`. Carts that
/// fell go on falling; ask [`up`] which have not.
///
/// # Panics
/// If the shapes do not fit.
#[track_caller]
pub fn step(states: &Tensor, actions: &Tensor) -> Tensor {
    let n = states.shape()[0];
    assert!(
        *states.shape() == Shape::from([n, 4]) && *actions.shape() == Shape::from([n]),
        "cartpole::step: states {} and actions {}; they must be [n, 4] and [n]",
        states.shape(),
        actions.shape()
    );
    let column = |k| states.narrow(1, k, 1).squeeze(1);
    let (dx, angle, dangle) = (column(1), column(2), column(3));
    let (sin, cos) = (angle.sin(), angle.cos());
    let force = &(&actions.cast(DType::F32) * (2.0 * FORCE) as f32) - FORCE as f32;
    let pushed = &(&force + &(&(&dangle.square() * &sin) * (POLE * HALF) as f32)) / TOTAL as f32;
    let inertia = &(&cos.square() * (-HALF * POLE / TOTAL) as f32) + (HALF * 4.0 / 3.0) as f32;
    let turn = &(&(&sin * GRAVITY as f32) - &(&cos * &pushed)) / &inertia;
    let slide = &pushed - &(&(&turn * &cos) * (POLE * HALF / TOTAL) as f32);
    let numbers = Tensor::iota(states.device(), 4, 0u32, 1u32);
    let rates = columns(&numbers, &[&dx, &slide, &dangle, &turn]);
    states + &(&rates * TAU as f32)
}

/// Which carts `[n, 4]` are on the track with their pole up: `bool [n]`.
#[track_caller]
pub fn up(states: &Tensor) -> Tensor {
    let within = |k, bound: f64| {
        let column = states.narrow(1, k, 1).squeeze(1);
        column.abs().less_equal(&Tensor::scalar(states.device(), bound as f32))
    };
    let (on_track, upright) = (within(0, TRACK), within(2, FALLEN));
    let no = Tensor::scalar(states.device(), 0u32).not_equal(&Tensor::scalar(states.device(), 0u32));
    Tensor::select(&on_track, &upright, &no)
}

/// Starts of `n` episodes: `[n, 4]`, each number uniform in [-0.05, 0.05).
///
/// # Errors
/// A fault of the device.
pub fn starts(device: &Device, n: usize, rng: &mut Rng) -> Result<Tensor> {
    Carts { limit: 1 }.starts(device, n, rng).into_leaf(false)
}

/// One episode of at most `limit` steps from each of the states `[n, 4]` ([`play`](super::play)), by a policy that
/// gives actions `u32 [n]` for states `[n, 4]`: the returns `[n]`. On the CPU path it costs as much as
/// [`Lanes`](super::Lanes); on a GPU nothing crosses the bus.
///
/// # Errors
/// A fault of the device.
///
/// # Panics
/// If the shapes do not fit.
#[track_caller]
pub fn play(starts: &Tensor, limit: usize, policy: impl Fn(&Tensor) -> Tensor) -> Result<Tensor> {
    // No step of a cart draws anything.
    tensor_env::play(&Carts { limit }, starts, &mut Rng::new(0), policy)
}

/// Carts as a tensor program: what [`CartPole`] is on the host, in single precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carts {
    /// Steps after which an episode ends: 200 is `CartPole-v0`, 500 is `CartPole-v1`.
    pub limit: usize,
}

impl TensorEnv for Carts {
    fn observation(&self) -> Shape {
        [4].into()
    }
    fn actions(&self) -> usize {
        2
    }
    fn limit(&self) -> usize {
        self.limit
    }
    fn starts(&self, device: &Device, n: usize, rng: &mut Rng) -> Tensor {
        &(&Tensor::uniform(device, [n, 4], rng) * 0.1) - 0.05
    }
    fn observe(&self, states: &Tensor) -> Tensor {
        states.clone()
    }
    #[track_caller]
    fn step(&self, states: &Tensor, actions: &Tensor, _: &mut Rng) -> Moved {
        let states = step(states, actions);
        let rewards = Tensor::ones(states.device(), [states.shape()[0]]);
        Moved { rewards, terminal: up(&states).logical_not(), states }
    }
}
