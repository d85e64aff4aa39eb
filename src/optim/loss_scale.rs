//! Dynamic loss scaling, for models that compute in half precision.
//!
//! Small gradients vanish in half precision, so the loss is multiplied by a scale, and the gradients are divided by it
//! again. If one overflows, the step is skipped and the scale falls; after many good steps it grows. All of that is
//! decided on the device, inside the step's plan: nothing is read back.
//!
//! A rule whose numbers depend on the number of the step (Adam's corrections) must not count skipped steps, of which
//! the host does not know. So it sends the numbers for [`CHOICES`] possible counts, and the device picks.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// Counts of skipped steps that numbers are sent for. What is skipped beyond, before somebody reads the state, counts
/// as steps in these numbers.
pub(super) const CHOICES: u64 = 64;

/// How the scale of a loss is moved; by default as `torch.amp.GradScaler` does it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScaling {
    /// The scale of the first step.
    pub initial: f64,
    /// What it is multiplied by after `interval` good steps in a row.
    pub growth: f64,
    /// What it is multiplied by when a gradient is not finite.
    pub backoff: f64,
    /// See `growth`.
    pub interval: u64,
}

impl Default for LossScaling {
    fn default() -> Self {
        LossScaling { initial: 65536.0, growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// A scale on its way.
#[derive(Debug)]
pub(super) struct Scaler {
    settings: LossScaling,
    /// The scale, the good steps since it last changed, the skipped steps.
    state: Option<Tensor>,
    /// Skipped steps that the host knows of.
    known: AtomicU64,
}

/// Names of the numbers of a scaler in an optimizer's state.
const NAMES: [&str; 3] = ["loss_scale.scale", "loss_scale.good", "loss_scale.skipped"];

impl Scaler {
    pub fn new(settings: LossScaling) -> Self {
        Scaler { settings, state: None, known: AtomicU64::new(0) }
    }

    /// The state as it lies on the device.
    pub fn state(&mut self, device: &Device) -> Result<&Tensor> {
        if !self.state.as_ref().is_some_and(|state| state.device().same(device)) {
            let values = match self.read()? {
                Some(values) => values,
                None => [self.settings.initial, 0.0, 0.0],
            };
            self.state = Some(Tensor::from_f64_slice(device, &values, 3)?);
        }
        Ok(self.state.as_ref().expect("just made"))
    }

    /// The state, if there was a step.
    pub fn held(&self) -> Option<&Tensor> {
        self.state.as_ref()
    }

    /// Replaces it after a step; gives what it was.
    pub fn replace(&mut self, state: Tensor) -> Option<Tensor> {
        self.state.replace(state)
    }

    /// The scale of the next step, one number.
    pub fn scale(&mut self, device: &Device) -> Result<Tensor> {
        self.state(device)?;
        Ok(self.current().expect("there is a state"))
    }

    /// The scale of the next step, if there was one before.
    pub fn current(&self) -> Option<Tensor> {
        Some(self.state.as_ref()?.narrow(0, 0, 1).reshape([]))
    }

    /// The last input of [`LossScale`](crate::ops::loss_scale::LossScale).
    pub fn settings(&self, groups: usize) -> [f64; 6] {
        let LossScaling { growth, backoff, interval, .. } = self.settings;
        [growth, backoff, interval as f64, self.known() as f64, (CHOICES - 1) as f64, groups as f64]
    }

    /// Skipped steps that the host knows of.
    pub fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// Scale, good steps and skipped steps, if there was a step.
    pub fn read(&self) -> Result<Option<[f64; 3]>> {
        let Some(state) = &self.state else { return Ok(None) };
        let values = state.to_vec::<f32>()?;
        self.known.store(values[2] as u64, Ordering::Relaxed);
        Ok(Some([values[0] as f64, values[1] as f64, values[2] as f64]))
    }

    /// For a checkpoint.
    pub fn numbers(&self) -> Result<Vec<(String, f64)>> {
        let values = self.read()?.into_iter().flatten();
        Ok(NAMES.iter().map(|name| name.to_string()).zip(values).collect())
    }

    /// Goes on from the numbers of a checkpoint; from the start, if they are of a run without a scale.
    pub fn load(&mut self, device: &Device, numbers: &[(String, f64)]) -> Result<()> {
        let known: Vec<f64> =
            NAMES.iter().filter_map(|name| numbers.iter().find(|(n, _)| n == name).map(|(_, x)| *x)).collect();
        self.state = match known[..] {
            [] => None,
            [scale, _, skipped] if scale > 0.0 && skipped >= 0.0 => Some(Tensor::from_f64_slice(device, &known, 3)?),
            _ => return Err(Error::argument("the state of the loss scale is damaged", "use another checkpoint")),
        };
        self.known.store(known.get(2).map_or(0, |&skipped| skipped as u64), Ordering::Relaxed);
        Ok(())
    }
}
