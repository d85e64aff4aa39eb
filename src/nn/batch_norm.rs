//! Batch normalisation: the one layer whose output in training depends on the other samples of the batch, and which
//! remembers what it saw for the day it is used alone.

use super::{Buffer, Init, Module, Param, Pass};
use crate::error::{Result, ShapeError};
use crate::tensor::Tensor;

/// Running statistics of a layer that normalises channels.
#[derive(Debug)]
pub(super) struct Running {
    mean: Buffer,
    var: Buffer,
    batches: Buffer,
}

impl Running {
    pub fn new(init: &Init, features: usize) -> Result<Running> {
        let constant = |value: f32| Buffer::new(Tensor::from_slice(init.device(), &vec![value; features], features)?);
        let batches = Buffer::new(Tensor::scalar(init.device(), 0u32))?;
        Ok(Running { mean: constant(0.0)?, var: constant(1.0)?, batches })
    }

    /// Mean and variance.
    pub fn get(&self) -> [Tensor; 2] {
        [self.mean.get(), self.var.get()]
    }

    /// Counts a batch, and says by how much it moves the statistics: `momentum`, or `1 / batches` for the plain average
    /// over all of them.
    pub fn count(&self, momentum: Option<f32>) -> f32 {
        let batches = self.batches.count().wrapping_add(1);
        self.batches.set_count(batches);
        momentum.unwrap_or(1.0 / batches as f32)
    }

    /// The statistics of the next step.
    pub fn record(&self, [mean, var]: [Tensor; 2]) {
        self.mean.record(&mean);
        self.var.record(&var);
    }
}

impl super::Parameters for Running {
    fn params<'a>(&'a self, _: &mut dyn FnMut(&str, &'a Param)) {}
    fn params_mut<'a>(&'a mut self, _: &mut dyn FnMut(&str, &'a mut Param)) {}
    /// PyTorch's names; they belong to the layer itself, not to a part of it.
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
        visit("running_mean", &self.mean);
        visit("running_var", &self.var);
        visit("num_batches_tracked", &self.batches);
    }
}

macro_rules! batch_norm {
    ($($(#[$doc:meta])* $name:ident takes $ranks:pat, $form:literal;)*) => { $(
        $(#[$doc])*
        ///
        /// In training, each channel is made to have mean 0 and variance 1 over the batch, times a weight, plus a bias;
        /// in evaluation by running statistics. Those are state, not parameters: `running_mean`, `running_var` and
        /// `num_batches_tracked`, with the values of PyTorch.
        #[derive(Debug)]
        pub struct $name {
            /// `[features]`, ones at first.
            pub weight: Option<Param>,
            /// `[features]`, zeros at first.
            pub bias: Option<Param>,
            /// Added to the variance.
            pub eps: f32,
            /// By how much a batch moves the running statistics; `None` for their plain average.
            pub momentum: Option<f32>,
            running: Option<Running>,
            features: usize,
        }

        impl $name {
            /// A layer with PyTorch's defaults: eps 1e-5, momentum 0.1, weights, running statistics.
            ///
            /// # Errors
            /// A fault of the device, such as out of memory.
            pub fn new(init: &mut Init, features: usize) -> Result<Self> {
                Ok($name {
                    weight: Some(init.constant(features, 1.0)?),
                    bias: Some(init.constant(features, 0.0)?),
                    eps: 1e-5,
                    momentum: Some(0.1),
                    running: Some(Running::new(init, features)?),
                    features,
                })
            }

            /// The same layer without weight and bias (`affine=False`).
            pub fn without_weight(self) -> Self {
                $name { weight: None, bias: None, ..self }
            }

            /// The same layer without running statistics (`track_running_stats=False`): it uses those of the batch in
            /// evaluation too.
            pub fn without_running(self) -> Self {
                $name { running: None, ..self }
            }

            /// The same layer with another eps and momentum.
            pub fn with(self, eps: f32, momentum: Option<f32>) -> Self {
                $name { eps, momentum, ..self }
            }
        }

        impl super::Parameters for $name {
            fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
                self.weight.iter().for_each(|p| visit("weight", p));
                self.bias.iter().for_each(|p| visit("bias", p));
            }
            fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
                self.weight.iter_mut().for_each(|p| visit("weight", p));
                self.bias.iter_mut().for_each(|p| visit("bias", p));
            }
            fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
                self.running.buffers(visit);
            }
        }

        impl Module for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
                if !matches!(x.rank(), $ranks) || x.shape()[1] != self.features {
                    let problem = format!("the input is {}; {} with {} channels would fit", x.shape(), $form, self.features);
                    panic!("{}", ShapeError::new("batch_norm", problem));
                }
                let (weight, bias) = (self.weight.as_ref().map(Param::get), self.bias.as_ref().map(Param::get));
                match &self.running {
                    None => x.batch_norm(weight, bias, self.eps),
                    Some(running) if pass.training => {
                        let [mean, var] = running.get();
                        let moved = running.count(self.momentum);
                        let (y, new) = x.batch_norm_running([&mean, &var], moved, weight, bias, self.eps);
                        running.record(new);
                        y
                    }
                    Some(running) => {
                        let [mean, var] = running.get();
                        x.batch_norm_with([&mean, &var], weight, bias, self.eps)
                    }
                }
            }
        }
    )* };
}

batch_norm! {
    /// Batch normalisation (Ioffe and Szegedy, 2015) of `[n, features]` or `[n, features, length]`.
    BatchNorm1d takes 2 | 3, "[n, c] or [n, c, length]";
    /// Batch normalisation (Ioffe and Szegedy, 2015) of images `[n, features, h, w]`.
    BatchNorm2d takes 4, "[n, c, h, w]";
    /// Batch normalisation (Ioffe and Szegedy, 2015) of volumes `[n, features, d, h, w]`.
    BatchNorm3d takes 5, "[n, c, d, h, w]";
}
