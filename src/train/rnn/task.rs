//! Training by truncated backpropagation through time: gradients reach back to the beginning of a window, the state
//! further, from window to window.

use super::CharModel;
use crate::data::text::{Strips, Text, Window};
use crate::device::Device;
use crate::error::Result;
use crate::nn::Pass;
use crate::optim::Optimizer;
use crate::tensor::{DType, Tensor};
use crate::train::{Figures, State, Task};

/// Rows in which the validation text is read.
const VALIDATION_ROWS: usize = 10;

/// A [`CharModel`] that learns a text. Figures: `loss` in nats per character, and `accuracy`, 0 to 1.
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
    state: Vec<Tensor>,
}

impl CharTask {
    /// Trains a model on a text, `rows` strips of it side by side, `steps` characters at a time.
    ///
    /// # Errors
    /// [`crate::Error::Argument`] if the text is too short for one window. One whose second part is too short to be judged by
    /// is not validated.
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
        let state = model.start(rows);
        Ok(CharTask {
            model,
            optimizer,
            pass: Pass::train(seed),
            device: device.clone(),
            strips,
            validation: judged_by(VALIDATION_ROWS).or_else(|| judged_by(1)),
            state,
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

    /// Loss and accuracy on a window, and the state after it.
    fn judge(&self, window: &Window, state: &[Tensor], pass: &mut Pass) -> Result<(Figures, Vec<Tensor>)> {
        let rows = window.inputs.len() / window.steps;
        let inputs = Tensor::from_slice(&self.device, &window.inputs, [window.steps, rows])?;
        let targets = Tensor::from_slice(&self.device, &window.targets, window.targets.len())?;
        let (scores, state) = self.model.read(&inputs, state, pass);
        let right = scores.argmax(&[1]).equal(&targets).cast(DType::F32).mean_all();
        Ok((vec![("loss", scores.cross_entropy(&targets)), ("accuracy", right)], state))
    }
}

/// States as leaves: what they were computed from may go, and gradients stop here.
fn cut(states: Vec<Tensor>) -> Result<Vec<Tensor>> {
    states.into_iter().map(|s| s.into_leaf(false)).collect()
}

impl Task for CharTask {
    fn step(&mut self) -> Result<Figures> {
        let window = self.strips.next_window();
        let before = std::mem::take(&mut self.state);
        let before = if window.fresh { self.model.start(self.strips.rows()) } else { before };
        let mut pass = self.pass.clone();
        let (mut figures, after) = self.judge(&window, &before, &mut pass)?;
        self.pass = pass;
        drop(before);
        self.optimizer.step(&mut self.model, &figures[0].1)?;
        self.state = cut(after)?;
        figures.extend(self.optimizer.gradient_norm().map(|norm| ("gradient norm", norm.clone())));
        Ok(figures)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>> {
        let Some(strips) = &self.validation else { return Ok(Vec::new()) };
        let mut state = self.model.start(strips.rows());
        let mut pass = Pass { mixed: self.pass.mixed, ..Pass::eval() };
        let mut sums: Vec<(String, f64)> = Vec::new();
        let mut total = 0.0;
        for window in strips.once() {
            let (figures, after) = self.judge(&window, &state, &mut pass)?;
            state = cut(after)?;
            let weight = window.targets.len() as f64;
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
        self.state.iter().enumerate().try_for_each(|(k, s)| state.put_tensor(&format!("state.{k}"), s))
    }

    fn load(&mut self, state: &State) -> Result<()> {
        state.model("model", &mut self.model)?;
        state.optimizer("optimizer", self.optimizer.as_mut(), &mut self.model)?;
        self.pass.rng = state.rng("pass")?;
        self.strips.resume_at(state.note("strips.at")?);
        let shapes = self.model.start(self.strips.rows());
        let load = |(k, s): (usize, &Tensor)| state.tensor(&format!("state.{k}"), s.shape(), &self.device);
        self.state = shapes.iter().enumerate().map(load).collect::<Result<_>>()?;
        Ok(())
    }
}
