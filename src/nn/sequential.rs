//! Layers in a row.

use super::{Buffer, Module, Param, Parameters, Pass};
use crate::tensor::Tensor;

/// Applies its layers one after the other. Parameters are named by position: "0.weight", "2.bias".
#[derive(Default)]
pub struct Sequential {
    layers: Vec<Box<dyn Module>>,
}

impl Sequential {
    /// No layers: the identity.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more layer at the end.
    pub fn then(mut self, layer: impl Module + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }
}

impl Parameters for Sequential {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        self.layers.params(visit);
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        self.layers.params_mut(visit);
    }
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
        self.layers.buffers(visit);
    }
}

impl Module for Sequential {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        self.layers.iter().fold(x.clone(), |x, layer| layer.forward(&x, pass))
    }
}
