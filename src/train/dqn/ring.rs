//! What happened, to learn from again, on the device: a ring that all lanes write a row of each in every round.
//!
//! A transition is one row of numbers, and both its observations are in it: a batch is then one gather, and frames that
//! are stacked are not put together anew. Pictures are better kept by [`Replay`](super::Replay), as bytes and once
//! each.

use super::Batch;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::functional::columns;
use crate::nn::Buffer;
use crate::ops::Rng;
use crate::tensor::{DType, Shape, Tensor};

/// What is remembered of a step in every lane.
#[derive(Debug, Clone)]
pub struct Transitions {
    /// Observations, `[n, ..]`.
    pub states: Tensor,
    /// What was done, `u32 [n]`.
    pub actions: Tensor,
    /// The rewards, `[n]`.
    pub rewards: Tensor,
    /// Observations after it, those of the episodes that ended among them.
    pub next: Tensor,
    /// Where the episode is over by the rules, `bool [n]`.
    pub terminal: Tensor,
}

/// A memory of the last steps of all lanes.
#[derive(Debug)]
pub struct Ring {
    /// `[places, 2 * observation + 3]`: an observation, the next one, the action, the reward, and 1 where there is more
    /// to come.
    rows: Buffer,
    observation: Shape,
    places: Places,
    /// The last three columns, counted from 0.
    numbers: Tensor,
}

/// Where the transitions of a round belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    lanes: usize,
    /// How many rounds there is room for.
    rounds: usize,
}

impl Places {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.lanes * self.rounds
    }

    /// The first place of a round; the first round is number 0.
    pub fn of(&self, round: u64) -> u32 {
        (round % self.rounds as u64) as u32 * self.lanes as u32
    }

    /// How many places are written after so many rounds.
    pub fn filled(&self, rounds: u64) -> u32 {
        rounds.saturating_mul(self.lanes as u64).min(self.count() as u64) as u32
    }
}

impl Ring {
    /// A memory of at most `capacity` transitions of `lanes` lanes, with observations of this shape.
    ///
    /// # Errors
    /// [`Error::Argument`] if it does not hold a step of all lanes, or has more places than a `u32` counts; a fault of
    /// the device.
    pub fn new(device: &Device, capacity: usize, lanes: usize, observation: &Shape) -> Result<Ring> {
        let rounds = capacity / lanes.max(1);
        if lanes == 0 || rounds == 0 || u32::try_from(capacity).is_err() {
            return Err(Error::argument(
                format!("a replay memory of {capacity} transitions for {lanes} lanes"),
                "give at least one lane, a transition for each of them, and fewer than 2^32 in all",
            ));
        }
        let places = Places { lanes, rounds };
        let width = 2 * observation.elements() + 3;
        let rows = Buffer::new(Tensor::zeros(device, [places.count(), width]))?;
        let numbers = Tensor::iota(device, 3, 0u32, 1u32).into_leaf(false)?;
        Ok(Ring { rows, observation: observation.clone(), places, numbers })
    }

    /// Where the transitions of a round belong: it holds those of whole rounds.
    pub fn places(&self) -> Places {
        self.places
    }

    /// Its content, to be counted among the buffers of what is trained.
    pub fn buffer(&self) -> &Buffer {
        &self.rows
    }

    /// Records that transitions are written from the place on that one `u32` says, over what was there; one beyond the
    /// end says that nothing is written. Gives the memory as it is then.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn write(&self, new: &Transitions, place: &Tensor) -> Tensor {
        let flat = |x: &Tensor| x.reshape([self.places.lanes, self.observation.elements()]);
        let (actions, more) = (new.actions.cast(DType::F32), new.terminal.logical_not().cast(DType::F32));
        let parts = [&flat(&new.states), &flat(&new.next), &columns(&self.numbers, &[&actions, &new.rewards, &more])];
        let rows = self.rows.get().dynamic_update_slice(0, &Tensor::concat(&parts, 1), place);
        self.rows.record(&rows);
        rows
    }

    /// Transitions of a memory that [`Ring::write`] gave, drawn with equal chance and with repetition from the first
    /// `filled` places, one `u32`.
    #[track_caller]
    pub fn sample(&self, memory: &Tensor, filled: &Tensor, batch: usize, discount: f32, rng: &mut Rng) -> Batch {
        let device = memory.device();
        // Words of 32 bits: of 2^24 places each is drawn as often as the others, to a part in 256.
        let drawn = &Tensor::random_bits(device, batch, rng) % filled;
        let rows = memory.index_select(0, &drawn);
        let size = self.observation.elements();
        let shape = [&[batch], &self.observation[..]].concat();
        let column = |k: usize| rows.narrow(1, 2 * size + k, 1).squeeze(1);
        Batch {
            states: rows.narrow(1, 0, size).reshape(&shape[..]),
            actions: column(0).cast(DType::U32),
            rewards: column(1),
            next: rows.narrow(1, size, size).reshape(&shape[..]),
            discounts: &column(2) * discount,
        }
    }
}
