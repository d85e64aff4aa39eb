//! Normalisation layers that look at one sample at a time.

use super::batch_norm::Running;
use super::{Buffer, Init, Module, Param, Parameters, Pass};
use crate::error::Result;
use crate::tensor::{Shape, Tensor};

/// Layer normalisation (Ba, Kiros and Hinton, 2016) over the last axes.
#[derive(Debug)]
pub struct LayerNorm {
    /// Of the shape of the axes; ones at first.
    pub weight: Option<Param>,
    /// Of the shape of the axes; zeros at first.
    pub bias: Option<Param>,
    /// Added to the variance.
    pub eps: f32,
    axes: usize,
}

crate::parameters!(LayerNorm { weight, bias });

impl LayerNorm {
    /// A layer over last axes of this shape with PyTorch's defaults: eps 1e-5, weight and bias.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn new(init: &mut Init, shape: impl Into<Shape>) -> Result<LayerNorm> {
        let shape = shape.into();
        let (weight, bias) = (init.constant(&shape, 1.0)?, init.constant(&shape, 0.0)?);
        Ok(LayerNorm { weight: Some(weight), bias: Some(bias), eps: 1e-5, axes: shape.rank() })
    }

    /// The same layer without bias.
    pub fn without_bias(self) -> LayerNorm {
        LayerNorm { bias: None, ..self }
    }

    /// The same layer without weight and bias (`elementwise_affine=False`).
    pub fn without_weight(self) -> LayerNorm {
        LayerNorm { weight: None, bias: None, ..self }
    }

    /// The same layer with another eps.
    pub fn with(self, eps: f32) -> LayerNorm {
        LayerNorm { eps, ..self }
    }
}

impl Module for LayerNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        let (weight, bias) = (self.weight.as_ref().map(Param::get), self.bias.as_ref().map(Param::get));
        x.layer_norm(self.axes, weight, bias, self.eps)
    }
}

/// Root-mean-square normalisation (Zhang and Sennrich, 2019) over the last axes.
#[derive(Debug)]
pub struct RmsNorm {
    /// Of the shape of the axes; ones at first.
    pub weight: Option<Param>,
    /// Added to the mean of squares.
    pub eps: f32,
    axes: usize,
}

crate::parameters!(RmsNorm { weight });

impl RmsNorm {
    /// A layer over last axes of this shape with PyTorch's defaults: a weight, and the eps of `f32`, 1.19e-7.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn new(init: &mut Init, shape: impl Into<Shape>) -> Result<RmsNorm> {
        let shape = shape.into();
        Ok(RmsNorm { weight: Some(init.constant(&shape, 1.0)?), eps: f32::EPSILON, axes: shape.rank() })
    }

    /// The same layer without its weight.
    pub fn without_weight(self) -> RmsNorm {
        RmsNorm { weight: None, ..self }
    }

    /// The same layer with another eps.
    pub fn with(self, eps: f32) -> RmsNorm {
        RmsNorm { eps, ..self }
    }
}

impl Module for RmsNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        x.rms_norm(self.axes, self.weight.as_ref().map(Param::get), self.eps)
    }
}

/// Group normalisation (Wu and He, 2018) of `[n, channels, ..]`.
#[derive(Debug)]
pub struct GroupNorm {
    /// `[channels]`, ones at first.
    pub weight: Option<Param>,
    /// `[channels]`, zeros at first.
    pub bias: Option<Param>,
    /// Added to the variance.
    pub eps: f32,
    groups: usize,
}

crate::parameters!(GroupNorm { weight, bias });

impl GroupNorm {
    /// A layer with PyTorch's defaults: eps 1e-5, weight and bias.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    ///
    /// # Panics
    /// If `groups` does not divide `channels`.
    #[track_caller]
    pub fn new(init: &mut Init, groups: usize, channels: usize) -> Result<GroupNorm> {
        assert!(
            groups > 0 && channels.is_multiple_of(groups),
            "group_norm: {groups} groups do not divide {channels} channels evenly"
        );
        let (weight, bias) = (init.constant(channels, 1.0)?, init.constant(channels, 0.0)?);
        Ok(GroupNorm { weight: Some(weight), bias: Some(bias), eps: 1e-5, groups })
    }

    /// The same layer without weight and bias (`affine=False`).
    pub fn without_weight(self) -> GroupNorm {
        GroupNorm { weight: None, bias: None, ..self }
    }

    /// The same layer with another eps.
    pub fn with(self, eps: f32) -> GroupNorm {
        GroupNorm { eps, ..self }
    }
}

impl Module for GroupNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        let (weight, bias) = (self.weight.as_ref().map(Param::get), self.bias.as_ref().map(Param::get));
        x.group_norm(self.groups, weight, bias, self.eps)
    }
}

/// The two layers differ in the rank of what they take.
macro_rules! instance_norm {
    ($($(#[$doc:meta])* $name:ident takes $rank:literal;)*) => { $(
        $(#[$doc])*
        ///
        /// PyTorch's defaults: neither weights nor running statistics.
        #[derive(Debug)]
        pub struct $name {
            /// `[channels]`, ones at first.
            pub weight: Option<Param>,
            /// `[channels]`, zeros at first.
            pub bias: Option<Param>,
            /// Added to the variance.
            pub eps: f32,
            /// By how much a batch moves the running statistics; `None` for their plain average.
            pub momentum: Option<f32>,
            running: Option<Running>,
        }

        impl $name {
            /// A layer without parameters; it takes any number of channels.
            pub fn new() -> Self {
                $name { weight: None, bias: None, eps: 1e-5, momentum: Some(0.1), running: None }
            }

            /// The same layer with weight and bias (`affine=True`).
            ///
            /// # Errors
            /// A fault of the device, such as out of memory.
            pub fn with_weight(self, init: &mut Init, channels: usize) -> Result<Self> {
                let (weight, bias) = (init.constant(channels, 1.0)?, init.constant(channels, 0.0)?);
                Ok($name { weight: Some(weight), bias: Some(bias), ..self })
            }

            /// The same layer with running statistics, by which it normalises in evaluation
            /// (`track_running_stats=True`).
            ///
            /// # Errors
            /// A fault of the device, such as out of memory.
            pub fn with_running(self, init: &mut Init, channels: usize) -> Result<Self> {
                Ok($name { running: Some(Running::new(init, channels)?), ..self })
            }

            /// The same layer with another eps and momentum.
            pub fn with(self, eps: f32, momentum: Option<f32>) -> Self {
                $name { eps, momentum, ..self }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl Parameters for $name {
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
                assert!(
                    x.rank() == $rank,
                    "instance_norm: the input is {}; it must have {} axes, [batch, channels, ..]",
                    x.shape(),
                    $rank
                );
                let (weight, bias) = (self.weight.as_ref().map(Param::get), self.bias.as_ref().map(Param::get));
                match &self.running {
                    Some(running) if !pass.training => {
                        let [mean, var] = running.get();
                        return x.batch_norm_with([&mean, &var], weight, bias, self.eps);
                    }
                    Some(running) => {
                        let moved = running.count(self.momentum);
                        running.record(moved_by_instances(x, running.get(), moved));
                    }
                    None => {}
                }
                x.instance_norm(weight, bias, self.eps)
            }
        }
    )* };
}

/// Running statistics moved towards the mean, over the batch, of the statistics of each image.
#[track_caller]
fn moved_by_instances(x: &Tensor, [mean, var]: [Tensor; 2], momentum: f32) -> [Tensor; 2] {
    let (n, c) = (x.shape()[0], x.shape()[1]);
    let flat = x.detach().reshape([n, c, x.elements() / (n * c).max(1)]);
    let places = flat.shape()[2] as f32;
    let means = flat.mean_keep(&[2]);
    let vars = &(&flat - &means).square().sum(&[2]) * (1.0 / (places - 1.0).max(1.0));
    let towards = |old: &Tensor, new: &Tensor| &(old * (1.0 - momentum)) + &(new * momentum);
    [towards(&mean, &means.mean(&[0, 2])), towards(&var, &vars.mean(&[0]))]
}

instance_norm! {
    /// Instance normalisation (Ulyanov, Vedaldi and Lempitsky, 2016) of `[n, channels, length]`.
    InstanceNorm1d takes 3;
    /// Instance normalisation (Ulyanov, Vedaldi and Lempitsky, 2016) of images `[n, channels, h, w]`.
    InstanceNorm2d takes 4;
}

/// Local response normalisation (Krizhevsky, Sutskever and Hinton, 2012).
#[derive(Debug, Clone, Copy)]
pub struct LocalResponseNorm {
    /// Neighbouring channels that are added up.
    pub size: usize,
    /// Weight of their mean square.
    pub alpha: f32,
    /// Power of the divisor.
    pub beta: f32,
    /// Added to the divisor.
    pub k: f32,
}

crate::parameters!(LocalResponseNorm {});

impl LocalResponseNorm {
    /// A layer over this many channels with PyTorch's defaults: alpha 1e-4, beta 0.75, k 1.
    pub fn new(size: usize) -> LocalResponseNorm {
        LocalResponseNorm { size, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}

impl Module for LocalResponseNorm {
    #[track_caller]
    fn forward(&self, x: &Tensor, _: &mut Pass) -> Tensor {
        x.local_response_norm(self.size, self.alpha, self.beta, self.k)
    }
}
