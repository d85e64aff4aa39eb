//! Training by truncated backpropagation through time: gradients reach back to the beginning of a window, the state
//! further, from window to window.

use super::CharModel;
use crate::data::text::{Strips, Text, Window};
use crate::device::Device;
use crate::error::Result;
use crate::nn::{Buffer, Param, Parameters, Pass};
use crate::optim::{Host, Optimizer, Replays, Row, Trained};
use crate::tensor::{DType, Tensor};
use crate::train::{Figures, State, Task};

/// Rows in which the validation text is read.
const VALIDATION_ROWS: usize = 10;

/// A [`CharModel`] that learns a text. Figures: `loss` in nats per character, and `accuracy`, 0 to 1. On a GPU its
/// steps are replayed, as those of [`Steps`](crate::optim::Steps) are.
pub struct CharTask {
    /// What is trained.
    pub model: CharModel,
    /// What trains it.
    pub optimizer: Box<dyn Optimizer>,
    /// Random numbers of training.
    pub pass: Pass,
    device: Device,
    strips: Strips,
    validation: Option<Strips>,
    /// What the next window begins with, always in the same memory.
    state: Vec<Buffer>,
    replays: Replays,
}

/// Characters `[steps, rows]`, and those that follow them, `[steps * rows]`.
type Read = (Host<u32>, Host<u32>);

fn read(window: Window) -> Read {
    let rows = window.inputs.len() / window.steps;
    (Host::new(window.inputs, [window.steps, rows]), Host::from(window.targets))
}

/// A model with the state that its steps hand on.
struct Carrying<'a> {
    model: &'a mut CharModel,
    state: &'a [Buffer],
}

impl Parameters for Carrying<'_> {
    fn params<'b>(&'b self, visit: &mut dyn FnMut(&str, &'b Param)) {
        self.model.params(visit);
    }
    fn params_mut<'b>(&'b mut self, visit: &mut dyn FnMut(&str, &'b mut Param)) {
        self.model.params_mut(visit);
    }
    fn buffers<'b>(&'b self, visit: &mut dyn FnMut(&str, &'b Buffer)) {
        self.model.buffers(visit);
        self.state.iter().for_each(|state| visit("state", state));
    }
}

impl CharTask {
    /// Trains a model on a text, `rows` strips of it side by side, `steps` characters at a time.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the text is too short for one window. One whose second part is too short to be
    /// judged by is not validated.
    pub fn new(
        model: CharModel,
        optimizer: Box<dyn Optimizer>,
        device: &Device,
        text: &Text,
        (rows, steps): (usize, usize),
        seed: u64,
    ) -> Result<CharTask> {
        let strips = Strips::new(text.train.clone(), rows, steps)?;
        let judged_by = |rows| Strips::new(text.validation.clone(), rows, steps).ok();
        let state = model.start(rows).into_iter().map(Buffer::new).collect::<Result<_>>()?;
        Ok(CharTask {
            model,
            optimizer,
            pass: Pass::train(seed),
            device: device.clone(),
            strips,
            validation: judged_by(VALIDATION_ROWS).or_else(|| judged_by(1)),
            state,
            replays: Replays::new(),
        })
    }

    /// Steps in which the whole text is read once.
    pub fn round(&self) -> u64 {
        self.strips.round()
    }

    /// The part of the text kept for validation, in the strips it is read in.
    pub fn validation(&self) -> Option<&Strips> {
        self.validation.as_ref()
    }

    /// Whether the next steps are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        self.replays.replayed()
    }
}

/// Loss and accuracy on a window, and the state after it.
fn judge(
    model: &CharModel,
    (inputs, targets): &(Tensor, Tensor),
    state: &[Tensor],
    pass: &mut Pass,
) -> (Figures, Vec<Tensor>) {
    let (scores, state) = model.read(inputs, state, pass);
    let right = scores.argmax(&[1]).equal(targets).cast(DType::F32).mean_all();
    (vec![("loss", scores.cross_entropy(targets)), ("accuracy", right)], state)
}

/// The figures of a window; what the next one begins with is recorded.
fn judge_and_hand_on(task: &Carrying, window: &(Tensor, Tensor), pass: &mut Pass) -> Figures {
    let before: Vec<Tensor> = task.state.iter().map(Buffer::get).collect();
    let (figures, after) = judge(task.model, window, &before, pass);
    for ((state, before), after) in task.state.iter().zip(&before).zip(after) {
        let start = Tensor::scalar(before.device(), 0u32);
        state.record(&before.dynamic_update_slice(0, &after.detach().cast(before.dtype()), &start));
    }
    figures
}

/// States as leaves: what they were computed from may go.
fn cut(states: Vec<Tensor>) -> Result<Vec<Tensor>> {
    states.into_iter().map(|s| s.into_leaf(false)).collect()
}

impl Task for CharTask {
    fn step(&mut self) -> Result<Figures> {
        self.steps(1).map(|mut made| made.swap_remove(0))
    }

    fn steps(&mut self, most: usize) -> Result<Vec<Figures>> {
        let read_before = self.strips.handed_out() % self.round();
        if read_before == 0 {
            for (state, start) in self.state.iter().zip(self.model.start(self.strips.rows())) {
                state.set(start)?;
            }
        }
        let most = most.min((self.round() - read_before) as usize);
        let CharTask { model, optimizer, pass, strips, state, replays, .. } = self;
        let mut carrying = Carrying { model, state };
        let trained = Trained { model: &mut carrying, optimizer, pass };
        replays.take(trained, (most, true), &mut || Ok(read(strips.next_window())), &judge_and_hand_on)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>> {
        let Some(strips) = &self.validation else { return Ok(Vec::new()) };
        let mut state = self.model.start(strips.rows());
        let mut pass = Pass { mixed: self.pass.mixed, ..Pass::eval() };
        let mut sums: Vec<(String, f64)> = Vec::new();
        let mut total = 0.0;
        for window in strips.once() {
            let weight = window.targets.len() as f64;
            let (figures, after) = judge(&self.model, &read(window).upload(&self.device)?, &state, &mut pass);
            state = cut(after)?;
            total += weight;
            if sums.is_empty() {
                sums = figures.iter().map(|(name, _)| (name.to_string(), 0.0)).collect();
            }
            for ((_, sum), (_, figure)) in sums.iter_mut().zip(&figures) {
                *sum += weight * figure.item()? as f64;
            }
        }
        sums.iter_mut().for_each(|(_, sum)| *sum /= total);
        Ok(sums)
    }

    fn save(&self, state: &mut State) -> Result<()> {
        state.put_model("model", &self.model)?;
        state.put_optimizer("optimizer", self.optimizer.as_ref())?;
        state.put_rng("pass", &self.pass.rng);
        state.put_note("strips.at", self.strips.handed_out());
        self.state.iter().enumerate().try_for_each(|(k, s)| state.put_tensor(&format!("state.{k}"), &s.get()))
    }

    fn load(&mut self, state: &State) -> Result<()> {
        state.model("model", &mut self.model)?;
        state.optimizer("optimizer", self.optimizer.as_mut(), &mut self.model)?;
        self.pass.rng = state.rng("pass")?;
        self.strips.resume_at(state.note("strips.at")?);
        let shapes = self.model.start(self.strips.rows());
        let load =
            |(k, s): (usize, &Tensor)| Buffer::new(state.tensor(&format!("state.{k}"), s.shape(), &self.device)?);
        self.state = shapes.iter().enumerate().map(load).collect::<Result<_>>()?;
        Ok(())
    }
}
