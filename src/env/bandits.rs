//! The ten-armed testbed (Sutton and Barto, section 2.3): thousands of bandits pulled at once, as one tensor program.

use crate::device::Device;
use crate::error::Result;
use crate::ops::Rng;
use crate::tensor::{DType, Tensor};

/// Bandits side by side. The mean of every arm is drawn from N(0, 1), the reward of a pull from N(mean, 1).
#[derive(Debug, Clone)]
pub struct Testbed {
    means: Tensor,
    arms: Tensor,
    best: Tensor,
    best_mean: Tensor,
}

impl Testbed {
    /// Draws the arms of `runs` bandits.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// Without runs or arms.
    #[track_caller]
    pub fn new(device: &Device, runs: usize, arms: usize, rng: &mut Rng) -> Result<Testbed> {
        assert!(runs > 0 && arms > 0, "Testbed: {runs} runs of {arms} arms; there must be at least one of each");
        let means = Tensor::normal(device, [runs, arms], rng).into_leaf(false)?;
        let numbers: Vec<u32> = (0..arms as u32).collect();
        let best = means.argmax(&[1]).into_leaf(false)?;
        let best_mean = means.max(&[1]).into_leaf(false)?;
        Ok(Testbed { means, arms: Tensor::from_slice(device, &numbers, [1, arms])?, best, best_mean })
    }

    /// The mean of every arm, `[runs, arms]`.
    pub fn means(&self) -> &Tensor {
        &self.means
    }

    /// 1 at the arm that is pulled: `u32 [runs]` to `[runs, arms]`.
    #[track_caller]
    pub fn one_hot(&self, pulled: &Tensor) -> Tensor {
        pulled.unsqueeze(1).equal(&self.arms).cast(DType::F32)
    }

    /// The rewards `[runs]` of pulling these arms, `u32 [runs]`.
    #[track_caller]
    pub fn pull(&self, pulled: &Tensor, rng: &mut Rng) -> Tensor {
        let noise = Tensor::normal(self.means.device(), pulled.shape(), rng);
        &self.mean_of(pulled) + &noise
    }

    /// Which runs pulled their best arm: `u32 [runs]` to `bool [runs]`.
    #[track_caller]
    pub fn is_best(&self, pulled: &Tensor) -> Tensor {
        pulled.equal(&self.best)
    }

    /// How much less than the best arm brings on average: `u32 [runs]` to `[runs]`.
    #[track_caller]
    pub fn regret(&self, pulled: &Tensor) -> Tensor {
        &self.best_mean - &self.mean_of(pulled)
    }

    fn mean_of(&self, pulled: &Tensor) -> Tensor {
        (&self.means * &self.one_hot(pulled)).sum(&[1])
    }
}
