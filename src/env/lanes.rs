//! Many copies of an environment, one batch of observations.

use super::{End, Env, Step};
use crate::tensor::Shape;

/// Sees everything that happens in the lanes; a replay memory is one.
pub trait Watch {
    /// An episode began with this frame.
    fn began(&mut self, lane: usize, frame: &[f32]);
    /// An action led to this frame.
    fn stepped(&mut self, lane: usize, action: u32, step: Step, frame: &[f32]);
}

/// Nobody watches.
impl Watch for () {
    fn began(&mut self, _: usize, _: &[f32]) {}
    fn stepped(&mut self, _: usize, _: u32, _: Step, _: &[f32]) {}
}

/// An episode that ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    /// The sum of its rewards, undiscounted.
    pub ret: f32,
    /// Its steps.
    pub length: usize,
    /// How it ended.
    pub end: End,
    /// The lane it was played in.
    pub lane: usize,
}

/// Copies of an environment that are played in step. A finished episode is followed by the next one.
pub struct Lanes<E> {
    envs: Vec<E>,
    stack: usize,
    size: usize,
    /// `[lanes, stack, frame]`, the newest frame last.
    observations: Vec<f32>,
    running: Vec<(f32, usize)>,
}

impl<E: Env> Lanes<E> {
    /// Resets every environment and shows its first frame to `watch`. An observation is the last `stack` frames; an
    /// episode starts as if its first frame had been there for ever.
    ///
    /// # Panics
    /// Without environments, or if `stack` is 0.
    #[track_caller]
    pub fn new(envs: Vec<E>, stack: usize, watch: &mut impl Watch) -> Lanes<E> {
        assert!(!envs.is_empty() && stack > 0, "Lanes: {} environments, {stack} frames", envs.len());
        let size = envs[0].frame().elements();
        let n = envs.len();
        let mut lanes =
            Lanes { envs, stack, size, observations: vec![0.0; n * stack * size], running: vec![(0.0, 0); n] };
        (0..n).for_each(|lane| lanes.begin(lane, watch));
        lanes
    }

    /// The number of environments.
    pub fn len(&self) -> usize {
        self.envs.len()
    }

    /// Whether there are none; there always are.
    pub fn is_empty(&self) -> bool {
        self.envs.is_empty()
    }

    /// The shape of all observations together: `[lanes, stack, frame without its axes of extent 1]`, and `[lanes,
    /// frame]` where nothing is stacked.
    pub fn shape(&self) -> Shape {
        let mut shape = vec![self.len()];
        shape.extend(observation_shape(&self.envs[0].frame(), self.stack).iter());
        shape.into()
    }

    /// What all players see, of shape [`Lanes::shape`].
    pub fn observations(&self) -> &[f32] {
        &self.observations
    }

    /// How many frames an observation is.
    pub fn stack(&self) -> usize {
        self.stack
    }

    /// The environment of a lane.
    pub fn env(&self, lane: usize) -> &E {
        &self.envs[lane]
    }

    /// One action per lane. Gives the episodes that ended.
    ///
    /// # Panics
    /// If there are more or fewer actions than lanes, or an action does not exist.
    #[track_caller]
    pub fn step(&mut self, actions: &[u32], watch: &mut impl Watch) -> Vec<Episode> {
        assert!(actions.len() == self.len(), "Lanes: {} actions for {} environments", actions.len(), self.len());
        let mut ended = Vec::new();
        for (lane, &action) in actions.iter().enumerate() {
            let step = self.envs[lane].step(action as usize);
            let whole = self.stack * self.size;
            let mine = &mut self.observations[lane * whole..(lane + 1) * whole];
            mine.copy_within(self.size.., 0);
            let frame = &mut mine[whole - self.size..];
            self.envs[lane].show(frame);
            watch.stepped(lane, action, step, frame);
            let (ret, length) = &mut self.running[lane];
            (*ret, *length) = (*ret + step.reward, *length + 1);
            if let Some(end) = step.end {
                ended.push(Episode { ret: *ret, length: *length, end, lane });
                self.begin(lane, watch);
            }
        }
        ended
    }

    /// Of each lane, what its environment saves, and return and length of its episode so far. The observations go with
    /// it.
    pub fn save(&self) -> Vec<Vec<f64>> {
        let lane =
            |(env, &(ret, length)): (&E, &(f32, usize))| [env.save(), vec![f64::from(ret), length as f64]].concat();
        self.envs.iter().zip(&self.running).map(lane).collect()
    }

    /// Goes on from what [`Lanes::save`] and [`Lanes::observations`] of lanes of the same form gave.
    ///
    /// # Panics
    /// If there are more or fewer lanes, or the environments are others.
    #[track_caller]
    pub fn load(&mut self, observations: Vec<f32>, lanes: &[Vec<f64>]) {
        assert!(
            observations.len() == self.observations.len() && lanes.len() == self.len(),
            "Lanes: a saved state of {} lanes and {} numbers; there are {} and {}",
            lanes.len(),
            observations.len(),
            self.len(),
            self.observations.len()
        );
        self.observations = observations;
        for (lane, saved) in lanes.iter().enumerate() {
            let (env, running) = saved.split_at(saved.len().saturating_sub(2));
            self.envs[lane].load(env);
            self.running[lane] =
                running.first().zip(running.last()).map_or((0.0, 0), |(&r, &n)| (r as f32, n as usize));
        }
    }

    fn begin(&mut self, lane: usize, watch: &mut impl Watch) {
        self.envs[lane].reset();
        self.running[lane] = (0.0, 0);
        let whole = self.stack * self.size;
        let mine = &mut self.observations[lane * whole..(lane + 1) * whole];
        for frame in mine.chunks_exact_mut(self.size) {
            self.envs[lane].show(frame);
        }
        watch.began(lane, &mine[..self.size]);
    }
}

/// The shape of one observation of `stack` frames: stacked pictures `[1, h, w]` are the channels of one, `[stack, h,
/// w]`.
pub fn observation_shape(frame: &Shape, stack: usize) -> Shape {
    match (&frame[..], stack) {
        (_, 1) => frame.clone(),
        ([1, rest @ ..], _) => [&[stack], rest].concat().into(),
        (all, _) => [&[stack], all].concat().into(),
    }
}
