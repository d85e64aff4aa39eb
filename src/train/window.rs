//! Averages that stay on the device until they are read.
//!
//! Reading a loss waits for the GPU, and a loop that reads one every step never lets it run ahead. So figures are added
//! up where they are, and read together every so many steps.

use crate::error::{Error, Result};
use crate::plan::eval;
use crate::tensor::{DType, Tensor};

/// What a step or a batch amounts to: numbers on the device by name, each one element. The first is the loss.
pub type Figures = Vec<(&'static str, Tensor)>;

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

    /// Adds the figures of step `step`, which count `weight` times (1, or the size of the batch).
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
    /// [`Error::Argument`] naming the step if a loss was not a finite number; a fault of the device.
    pub fn read(&mut self) -> Result<Vec<(String, f64)>> {
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
        if !means[0].1.is_finite() {
            for (step, loss) in &self.losses {
                let value = loss.item()?;
                if !value.is_finite() {
                    return Err(Error::argument(
                        format!("the {} of step {step} is {value}", means[0].0),
                        "lower the learning rate, clip the gradients, or look at the data of that step",
                    ));
                }
            }
        }
        *self = Window::new();
        Ok(means)
    }

    fn flush(&mut self) -> Result<()> {
        self.pending = 0;
        eval(&self.sums.iter().map(|(_, sum, _)| sum).collect::<Vec<_>>())
    }
}
