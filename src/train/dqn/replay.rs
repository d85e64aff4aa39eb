//! What happened, to learn from again: a ring of frames per lane.
//!
//! A transition is two observations that share all frames but one, and an observation shares all but one with the next.
//! So every frame is kept once, and observations are put together when they are drawn: 84 x 84 pixels take 7 KB a step
//! as bytes, where eight floats per pixel would take 226 KB.

use crate::device::Device;
use crate::env::{End, Step, Watch};
use crate::error::{Error, Result};
use crate::ops::Rng;
use crate::optim::{Host, Row};
use crate::tensor::{DType, Meta, Shape, Tensor};
use crate::train::{Saved, State};

/// How frames are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// As they are.
    Floats,
    /// In steps of 1/255 from 0 to 1: pixels.
    Bytes,
}

/// Transitions to learn from, as tensors.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Observations, `[batch, ..]`.
    pub states: Tensor,
    /// What was done, `u32 [batch]`.
    pub actions: Tensor,
    /// The rewards of the steps up to `next`, discounted and summed, `[batch]`.
    pub rewards: Tensor,
    /// Observations some steps later.
    pub next: Tensor,
    /// What the value of `next` counts: the discount to the number of steps, 0 where the episode is over.
    pub discounts: Tensor,
}

/// The same on the host, as they are drawn.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// See [`Batch::states`].
    pub states: Host<f32>,
    /// See [`Batch::actions`].
    pub actions: Host<u32>,
    /// See [`Batch::rewards`].
    pub rewards: Host<f32>,
    /// See [`Batch::next`].
    pub next: Host<f32>,
    /// See [`Batch::discounts`].
    pub discounts: Host<f32>,
}

impl Row for Drawn {
    type Tensors = Batch;

    fn upload(&self, device: &Device) -> Result<Batch> {
        Ok(Batch {
            states: self.states.upload(device)?,
            actions: self.actions.upload(device)?,
            rewards: self.rewards.upload(device)?,
            next: self.next.upload(device)?,
            discounts: self.discounts.upload(device)?,
        })
    }
    fn tensors(on: &Batch, visit: &mut dyn FnMut(&Tensor)) {
        [&on.states, &on.actions, &on.rewards, &on.next, &on.discounts].into_iter().for_each(visit);
    }
    fn bytes(&self, visit: &mut dyn FnMut(&[u8])) {
        self.states.bytes(visit);
        self.actions.bytes(visit);
        self.rewards.bytes(visit);
        self.next.bytes(visit);
        self.discounts.bytes(visit);
    }
}

/// One frame, and what was done on seeing it.
#[derive(Debug, Clone, Copy)]
struct Moment {
    action: u32,
    reward: f32,
    /// Frames of the same episode before this one, as far as an observation may need.
    before: u32,
    /// Whether an action was taken: not at the last frame of an episode, and not yet at the newest of all.
    acted: bool,
    /// Whether that action ended the episode by the rules.
    terminal: bool,
}

struct Ring {
    floats: Vec<f32>,
    bytes: Vec<u8>,
    moments: Vec<Moment>,
    /// Frames ever written; the newest is at `(written - 1) % capacity`.
    written: usize,
}

/// A memory of the last frames of each lane.
pub struct Replay {
    keep: Keep,
    shape: Shape,
    size: usize,
    stack: usize,
    capacity: usize,
    rings: Vec<Ring>,
    /// Whether any action was taken yet.
    acted: bool,
    rng: Rng,
}

impl Replay {
    /// A memory of `capacity` frames, divided among `lanes`. Observations have shape `shape`, of which one frame is
    /// `1/stack`.
    ///
    /// # Errors
    /// [`Error::Argument`] if a lane's share is too small for one transition, or the shape cannot be divided.
    pub fn new(capacity: usize, lanes: usize, shape: &Shape, stack: usize, keep: Keep, seed: u64) -> Result<Replay> {
        let share = capacity / lanes.max(1);
        if lanes == 0 || share < stack + 2 {
            return Err(Error::argument(
                format!("a replay memory of {capacity} frames for {lanes} environments"),
                format!("give at least {} frames per environment, and one environment", stack + 2),
            ));
        }
        if stack == 0 || !shape.elements().is_multiple_of(stack) || shape.elements() == 0 {
            return Err(Error::argument(
                format!("observations of shape {shape} of {stack} frames each"),
                "the number of frames must divide the shape",
            ));
        }
        let ring = || Ring { floats: Vec::new(), bytes: Vec::new(), moments: Vec::new(), written: 0 };
        Ok(Replay {
            keep,
            shape: shape.clone(),
            size: shape.elements() / stack,
            stack,
            capacity: share,
            rings: (0..lanes).map(|_| ring()).collect(),
            acted: false,
            rng: Rng::new(seed),
        })
    }

    /// How many frames it holds.
    pub fn len(&self) -> usize {
        self.rings.iter().map(|ring| ring.moments.len()).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.rings.iter().all(|ring| ring.moments.is_empty())
    }

    fn push(&mut self, lane: usize, frame: &[f32], before: u32) {
        assert!(frame.len() == self.size, "Replay: a frame of {} numbers; it holds {}", frame.len(), self.size);
        let moment = Moment { action: 0, reward: 0.0, before, acted: false, terminal: false };
        let ring = &mut self.rings[lane];
        let at = ring.written % self.capacity;
        ring.written += 1;
        let grown = ring.moments.len() < self.capacity;
        if grown {
            ring.moments.push(moment)
        } else {
            ring.moments[at] = moment
        }
        let place = at * self.size..(at + 1) * self.size;
        match self.keep {
            Keep::Floats if grown => ring.floats.extend_from_slice(frame),
            Keep::Floats => ring.floats[place].copy_from_slice(frame),
            Keep::Bytes => {
                if grown {
                    ring.bytes.resize(place.end, 0);
                }
                for (byte, &x) in ring.bytes[place].iter_mut().zip(frame) {
                    *byte = (x * 255.0).round() as u8;
                }
            }
        }
    }

    /// `batch` transitions of up to `steps` steps each, drawn with equal chance, with repetition.
    ///
    /// # Errors
    /// [`Error::Argument`] if nothing has happened yet.
    pub fn sample(&mut self, batch: usize, steps: usize, discount: f32) -> Result<Drawn> {
        if batch == 0 || steps == 0 || !self.acted {
            return Err(Error::argument(
                format!("{batch} transitions of {steps} steps from a memory of {} frames", self.len()),
                "ask for at least one of one step, after the first step was played",
            ));
        }
        let whole = self.shape.elements();
        let (mut states, mut next) = (Vec::with_capacity(batch * whole), Vec::with_capacity(batch * whole));
        let (mut actions, mut rewards, mut discounts) = (Vec::new(), Vec::new(), Vec::new());
        let mut words = Vec::new();
        while actions.len() < batch {
            // One draw for the whole batch; another if too many places were no transitions.
            if words.is_empty() {
                words = self.rng.words(2 * batch);
            }
            let word = words.pop().unwrap_or(0);
            let mut at = ((u64::from(word) * self.len() as u64) >> 32) as usize;
            let mut lane = 0;
            while at >= self.rings[lane].moments.len() {
                at -= self.rings[lane].moments.len();
                lane += 1;
            }
            let Some((reward, weight, after)) = self.ahead(lane, at, steps, discount) else { continue };
            actions.push(self.rings[lane].moments[at].action);
            rewards.push(reward);
            discounts.push(weight);
            self.observe(lane, at, &mut states);
            self.observe(lane, after, &mut next);
        }
        let mut shape = vec![batch];
        shape.extend(self.shape.iter());
        Ok(Drawn {
            states: Host::new(states, shape.clone()),
            actions: Host::from(actions),
            rewards: Host::from(rewards),
            next: Host::new(next, shape),
            discounts: Host::from(discounts),
        })
    }

    /// From one frame up to `steps` actions on: the rewards, what the value of the frame reached counts, and its place.
    /// `None` if no action was taken there, or if its observation was partly overwritten.
    fn ahead(&self, lane: usize, at: usize, steps: usize, discount: f32) -> Option<(f32, f32, usize)> {
        let ring = &self.rings[lane];
        let oldest = if ring.moments.len() < self.capacity { 0 } else { ring.written % self.capacity };
        let age = (at + self.capacity - oldest) % self.capacity;
        if !ring.moments[at].acted || age < ring.moments[at].before as usize {
            return None;
        }
        let (mut reward, mut weight, mut place) = (0.0, 1.0, at);
        for _ in 0..steps {
            let moment = &ring.moments[place];
            if !moment.acted {
                break;
            }
            reward += weight * moment.reward;
            weight *= discount;
            place = (place + 1) % self.capacity;
            if moment.terminal {
                return Some((reward, 0.0, place));
            }
        }
        Some((reward, weight, place))
    }

    /// Appends the observation whose newest frame is at `at`.
    fn observe(&self, lane: usize, at: usize, into: &mut Vec<f32>) {
        let ring = &self.rings[lane];
        let before = ring.moments[at].before as usize;
        for back in (0..self.stack).rev() {
            let frame = (at + self.capacity - back.min(before)) % self.capacity;
            let place = frame * self.size..(frame + 1) * self.size;
            match self.keep {
                Keep::Floats => into.extend_from_slice(&ring.floats[place]),
                Keep::Bytes => into.extend(ring.bytes[place].iter().map(|&b| f32::from(b) / 255.0)),
            }
        }
    }
}

impl Replay {
    /// Adds everything it holds to a checkpoint.
    ///
    /// # Errors
    /// None yet; a checkpoint may have them.
    pub fn save(&self, state: &mut State) -> Result<()> {
        state.put_rng("replay", &self.rng);
        for (lane, ring) in self.rings.iter().enumerate() {
            let mut put = |what: &str, words: Vec<u32>| {
                // Four bytes a word in a file; a `u32`, which PyTorch would read as `i64`, takes eight.
                let saved = Saved { meta: Meta::new([words.len()], DType::I32), words };
                state.tensors.insert(format!("replay.{lane}.{what}"), saved);
            };
            let word = |m: &Moment| {
                let flags = u32::from(m.acted) | u32::from(m.terminal) << 1;
                [m.action, m.reward.to_bits(), m.before, flags]
            };
            put("moments", ring.moments.iter().flat_map(word).collect());
            match self.keep {
                Keep::Floats => put("frames", ring.floats.iter().map(|x| x.to_bits()).collect()),
                // Four bytes a word; what is missing in the last is zero.
                Keep::Bytes => {
                    let words = ring.bytes.chunks(4).map(|b| b.iter().rev().fold(0, |w, &b| w << 8 | u32::from(b)));
                    put("frames", words.collect());
                }
            }
            state.put_note(&format!("replay.{lane}.written"), ring.written);
        }
        Ok(())
    }

    /// Takes over what [`Replay::save`] of a memory of the same form added.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn load(&mut self, state: &State) -> Result<()> {
        let mut rings = Vec::new();
        for lane in 0..self.rings.len() {
            let words = |what: &str| state.tensors.get(&format!("replay.{lane}.{what}")).map(|saved| &saved.words[..]);
            let (frames, moments) = (words("frames").unwrap_or(&[]), words("moments").unwrap_or(&[]));
            let count = moments.len() / 4;
            let numbers = count * self.size;
            let wanted = if self.keep == Keep::Floats { numbers } else { numbers.div_ceil(4) };
            let written = state.note(&format!("replay.{lane}.written"))?;
            if frames.len() != wanted || moments.len() % 4 != 0 || count != self.capacity.min(written) || count == 0 {
                return Err(state.fault("holds a replay memory of another form", "Use the settings it was saved with"));
            }
            let moment = |w: &[u32]| Moment {
                action: w[0],
                reward: f32::from_bits(w[1]),
                before: w[2],
                acted: w[3] & 1 == 1,
                terminal: w[3] & 2 == 2,
            };
            let (mut floats, mut bytes) = (Vec::new(), Vec::new());
            match self.keep {
                Keep::Floats => floats = frames.iter().map(|&w| f32::from_bits(w)).collect(),
                Keep::Bytes => bytes = frames.iter().flat_map(|w| w.to_le_bytes()).take(numbers).collect(),
            }
            rings.push(Ring { floats, bytes, moments: moments.chunks(4).map(moment).collect(), written });
        }
        self.acted = rings.iter().any(|ring| ring.moments.iter().any(|m| m.acted));
        self.rings = rings;
        self.rng = state.rng("replay")?;
        Ok(())
    }
}

impl Watch for Replay {
    fn began(&mut self, lane: usize, frame: &[f32]) {
        self.push(lane, frame, 0);
    }

    fn stepped(&mut self, lane: usize, action: u32, step: Step, frame: &[f32]) {
        let ring = &mut self.rings[lane];
        let newest = (ring.written - 1) % self.capacity;
        let moment = &mut ring.moments[newest];
        (moment.action, moment.reward, moment.acted) = (action, step.reward, true);
        moment.terminal = step.end == Some(End::Terminal);
        let before = (moment.before + 1).min(self.stack as u32 - 1);
        self.acted = true;
        self.push(lane, frame, before);
    }
}
