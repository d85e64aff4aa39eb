//! Averages that stay on the device until they are read.
//!
//! Reading a loss waits for the GPU, and a loop that reads one every step never lets it run ahead. So figures are added
//! up where they are, and read together every so many steps.

use crate::error::{Error, Result};
use crate::plan::eval;
use crate::tensor::{DType, Tensor};

/// What a step or a batch amounts to: numbers on the device by name, each one element. The first is the loss.
pub type Figures = Vec<(&'static str, Tensor)>;

/// The largest loss that is one. Its square is no float any more, and neither are the norms and second moments that
/// square what comes of it: a training that is there has lost its way, though it may go on for ever without a NaN.
const LARGEST: f64 = 1.8e19;

/// How many steps are added up before the sums are computed: computing them every step would be a launch of its own.
const EVERY: usize = 16;

/// Weighted means of figures since the last reading.
#[derive(Debug, Default)]
pub struct Window {
    sums: Vec<(&'static str, Tensor, f64)>,
    /// The first figure of each step, to find the one that is not a number.
    losses: Vec<(u64, Tensor)>,
    pending: usize,
}

impl Window {
    /// Nothing added yet.
    pub fn new() -> Window {
        Window::default()
    }

    /// Adds the figures of step `step`, which count `weight` times (1, or the size of the batch). Steps count from 1; a
    /// 0 stands for a batch of a validation.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If a figure is not one float.
    #[track_caller]
    pub fn add(&mut self, step: u64, weight: f64, figures: &Figures) -> Result<()> {
        for (i, (name, figure)) in figures.iter().enumerate() {
            assert!(
                figure.elements() == 1 && figure.dtype() == DType::F32,
                "the figure {name:?} is {} {}; it must be one f32, such as a mean",
                figure.dtype(),
                figure.shape()
            );
            // The step is over: what the figure was computed from may go.
            figure.release_history();
            let value = figure.detach().reshape([]);
            let value = if weight == 1.0 { value } else { &value * weight as f32 };
            match self.sums.iter_mut().find(|(known, ..)| known == name) {
                Some((_, sum, total)) => {
                    *sum = &*sum + &value;
                    *total += weight;
                }
                None => self.sums.push((name, value, weight)),
            }
            if i == 0 {
                self.losses.push((step, figure.clone()));
            }
        }
        self.pending += 1;
        if self.pending == EVERY {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether nothing was added since the last reading.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The mean of each figure; begins anew.
    ///
    /// # Errors
    /// Those of [`Window::peek`].
    pub fn read(&mut self) -> Result<Vec<(String, f64)>> {
        let means = self.peek()?;
        *self = Window::new();
        Ok(means)
    }

    /// The mean of each figure; goes on adding.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the step if a loss was NaN, infinite, or so large that its square is; a fault of the
    /// device.
    pub fn peek(&self) -> Result<Vec<(String, f64)>> {
        if self.sums.is_empty() {
            return Ok(Vec::new());
        }
        let sums: Vec<&Tensor> = self.sums.iter().map(|(_, sum, _)| sum).collect();
        let values = Tensor::stack(&sums, 0).to_vec::<f32>()?;
        let means: Vec<(String, f64)> = self
            .sums
            .iter()
            .zip(values)
            .map(|((name, _, weight), sum)| (name.to_string(), f64::from(sum) / weight))
            .collect();
        // A NaN is not below anything.
        let sound = |loss: f64| loss.abs() < LARGEST;
        if !sound(means[0].1) {
            for (step, loss) in &self.losses {
                let value = loss.item()?;
                if !sound(f64::from(value)) {
                    let when = if *step == 0 { "a batch of the validation".into() } else { format!("step {step}") };
                    return Err(Error::argument(
                        format!("the {} of {when} is {value:e}", means[0].0),
                        "lower the learning rate, clip the gradients, or look at the data of that step",
                    ));
                }
            }
        }
        Ok(means)
    }

    fn flush(&mut self) -> Result<()> {
        self.pending = 0;
        eval(&self.sums.iter().map(|(_, sum, _)| sum).collect::<Vec<_>>())
    }
}
