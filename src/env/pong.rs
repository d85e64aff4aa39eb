//! A game like Pong of our own, seen as 84 x 84 pixels: bring the ball past the other paddle.
//!
//! The player on the right is the agent; the one on the left follows a script: it runs after the ball while the ball
//! comes towards it, at a speed that cannot follow a steep one. Where the ball meets a paddle decides how steeply it
//! leaves, so the script can be beaten by whoever learns to aim, and beats whoever does not learn to defend. Paddle and
//! ball are as large as their counterparts are after the usual reduction of the original's screen, a few pixels.

use super::draw::Canvas;
use super::{End, Env, Step, assert_action, saved, uniform};
use crate::ops::Rng;
use crate::tensor::Shape;

/// Width and height of the field, in pixels.
pub const SIZE: usize = 84;
const FIELD: f64 = SIZE as f64;
/// Half the height of a paddle.
const REACH: f64 = 6.0;
/// Half of paddles' width and of the ball's side.
const THICK: f64 = 1.5;
/// Where the middles of the paddles are.
const LEFT: f64 = 4.5;
const RIGHT: f64 = FIELD - 4.5;
/// Pixels per frame.
const BALL: f64 = 2.0;
const STEEPEST: f64 = 2.2;
const PLAYER: f64 = 2.0;
/// Frames per action, as usual for Atari games.
const SKIP: usize = 4;

/// What an episode of Pong is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PongOptions {
    /// The first to score so often wins, and the episode ends.
    pub points: u32,
    /// Pixels per frame that the scripted player moves at most; the agent moves 2, and the ball 2 across and up to 2.2
    /// along.
    pub opponent: f64,
    /// Actions after which an episode ends anyway.
    pub limit: usize,
}

impl Default for PongOptions {
    fn default() -> Self {
        PongOptions { points: 5, opponent: 1.1, limit: 2000 }
    }
}

/// The game. A frame is `[1, 84, 84]`, 1 where paddles and ball are; actions are stay, up and down; a reward is 1 for a
/// point scored and -1 for one lost.
#[derive(Debug, Clone)]
pub struct Pong {
    options: PongOptions,
    rng: Rng,
    /// Middles of the left and the right paddle.
    paddles: [f64; 2],
    ball: [f64; 2],
    speed: [f64; 2],
    score: [u32; 2],
    steps: usize,
}

impl Pong {
    /// A game.
    pub fn new(options: PongOptions, seed: u64) -> Pong {
        let rng = Rng::new(seed);
        let middle = FIELD / 2.0;
        let mut game =
            Pong { options, rng, paddles: [middle; 2], ball: [middle; 2], speed: [0.0; 2], score: [0; 2], steps: 0 };
        game.reset();
        game
    }

    /// Points of the script and of the agent.
    pub fn score(&self) -> [u32; 2] {
        self.score
    }

    /// What the scripted player would do on the agent's side: the measure of an agent is to do better.
    pub fn script(&self) -> usize {
        let target = if self.speed[0] > 0.0 { self.ball[1] } else { FIELD / 2.0 };
        match target - self.paddles[1] {
            d if d < -PLAYER => 1,
            d if d > PLAYER => 2,
            _ => 0,
        }
    }

    /// The ball from the middle, towards either side.
    fn serve(&mut self) {
        let side = if uniform(&mut self.rng, 0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
        self.ball = [FIELD / 2.0, uniform(&mut self.rng, 0.25, 0.75) * FIELD];
        self.speed = [side * BALL, uniform(&mut self.rng, -1.0, 1.0)];
    }

    /// One frame; the point that was made, if one was.
    fn advance(&mut self, action: usize) -> Option<f32> {
        let hold = |y: f64| y.clamp(REACH, FIELD - REACH);
        self.paddles[1] = hold(self.paddles[1] + [0.0, -PLAYER, PLAYER][action]);
        let target = if self.speed[0] < 0.0 { self.ball[1] } else { FIELD / 2.0 };
        let most = self.options.opponent;
        self.paddles[0] = hold(self.paddles[0] + (target - self.paddles[0]).clamp(-most, most));

        let before = self.ball[0];
        self.ball = [self.ball[0] + self.speed[0], self.ball[1] + self.speed[1]];
        let (low, high) = (THICK, FIELD - THICK);
        if self.ball[1] < low || self.ball[1] > high {
            self.ball[1] = if self.ball[1] < low { 2.0 * low - self.ball[1] } else { 2.0 * high - self.ball[1] };
            self.speed[1] = -self.speed[1];
        }
        for (paddle, (at, toward)) in [(LEFT, -1.0), (RIGHT, 1.0)].into_iter().enumerate() {
            let face = at - toward * 2.0 * THICK;
            let crosses = (before - face) * toward < 0.0 && (self.ball[0] - face) * toward >= 0.0;
            let off = self.ball[1] - self.paddles[paddle];
            if crosses && off.abs() <= REACH + THICK {
                self.ball[0] = 2.0 * face - self.ball[0];
                self.speed = [-toward * BALL, off / (REACH + THICK) * STEEPEST];
            }
        }
        if (0.0..FIELD).contains(&self.ball[0]) {
            return None;
        }
        let scorer = usize::from(self.ball[0] < 0.0);
        self.score[scorer] += 1;
        self.serve();
        Some(if scorer == 1 { 1.0 } else { -1.0 })
    }

    /// Corners and sizes of the paddles and the ball.
    fn things(&self) -> [([f64; 2], [f64; 2]); 3] {
        let paddle = |x: f64, y: f64| ([x - THICK, y - REACH], [2.0 * THICK, 2.0 * REACH]);
        let ball = ([self.ball[0] - THICK, self.ball[1] - THICK], [2.0 * THICK; 2]);
        [paddle(LEFT, self.paddles[0]), paddle(RIGHT, self.paddles[1]), ball]
    }
}

impl Env for Pong {
    fn frame(&self) -> Shape {
        [1, SIZE, SIZE].into()
    }
    fn actions(&self) -> usize {
        3
    }
    fn reset(&mut self) {
        (self.score, self.steps, self.paddles) = ([0; 2], 0, [FIELD / 2.0; 2]);
        self.serve();
    }
    fn show(&self, frame: &mut [f32]) {
        frame.fill(0.0);
        for (corner, size) in self.things() {
            let range = |at: f64, long: f64| {
                (at.round().max(0.0) as usize).min(SIZE)..((at + long).round().max(0.0) as usize).min(SIZE)
            };
            for y in range(corner[1], size[1]) {
                frame[y * SIZE..][range(corner[0], size[0])].fill(1.0);
            }
        }
    }
    fn step(&mut self, action: usize) -> Step {
        assert_action("Pong", action, 3);
        self.steps += 1;
        let reward = (0..SKIP).find_map(|_| self.advance(action)).unwrap_or(0.0);
        let end = if self.score.iter().any(|&s| s >= self.options.points) {
            Some(End::Terminal)
        } else {
            (self.steps >= self.options.limit).then_some(End::TimeLimit)
        };
        Step { reward, end }
    }
    fn draw(&self) -> Canvas {
        let scale = 3.0;
        let side = scale as usize * SIZE;
        let mut canvas = Canvas::new(side, side + 12, [20, 24, 32]);
        let colors = [[236, 110, 76], [92, 186, 71], [240, 240, 240]];
        for ((corner, size), color) in self.things().into_iter().zip(colors) {
            canvas.rect(corner.map(|c| c * scale), size.map(|s| s * scale), color);
        }
        // The score, a square per point, below the field.
        canvas.line([0.0, side as f64], [side as f64, side as f64], 1.0, [90, 90, 90]);
        for (player, color) in [(0, colors[0]), (1, colors[1])] {
            for point in 0..self.score[player] {
                let from_side = 6.0 + 10.0 * point as f64;
                let x = if player == 0 { from_side } else { side as f64 - from_side - 6.0 };
                canvas.rect([x, side as f64 + 4.0], [6.0, 6.0], color);
            }
        }
        canvas
    }
    fn save(&self) -> Vec<f64> {
        let [[a, b], [x, y], [dx, dy]] = [self.paddles, self.ball, self.speed];
        let [left, right] = self.score.map(f64::from);
        vec![a, b, x, y, dx, dy, left, right, self.steps as f64, f64::from(self.rng.counter())]
    }
    fn load(&mut self, state: &[f64]) {
        let [a, b, x, y, dx, dy, left, right, steps, counter] = saved("Pong", state);
        (self.paddles, self.ball, self.speed) = ([a, b], [x, y], [dx, dy]);
        (self.score, self.steps) = ([left as u32, right as u32], steps as usize);
        self.rng.set_counter(counter as u32);
    }
}
