//! Spectral normalisation (Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018): a layer
//! whose weight is divided by its largest singular value, so that it stretches no input more than once over.
//!
//! The singular value is estimated by power iteration. A weight moves little from one step to the next, so one
//! iteration per pass, from the vectors of the pass before, follows it; the vectors are state of the layer and are
//! saved with it.

use super::{Buffer, Init, Module, Param, Parameters, Pass, Weighted};
use crate::error::Result;
use crate::tensor::Tensor;

/// A layer with its weight divided by the largest singular value of it, taken as a matrix of a row per output: what
/// `torch.nn.utils.parametrizations.spectral_norm` makes of a layer, with its names and values.
///
/// In training every pass does one power iteration, `v = W^T u` and `u = W v`, each brought to length 1; in evaluation
/// the vectors stay. `u^T W v` is the estimate, and its gradient by `W` is part of the weight's.
#[derive(Debug)]
pub struct SpectralNorm<L> {
    /// The layer, with its weight as it is trained: not divided yet.
    pub layer: L,
    /// Smallest length that a vector is divided by.
    pub eps: f32,
    /// `[outputs]`
    u: Buffer,
    /// `[elements / outputs]`
    v: Buffer,
}

impl<L: Weighted> SpectralNorm<L> {
    /// Of this layer, with vectors that are drawn and then refined by 15 iterations.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn new(init: &mut Init, layer: L) -> Result<SpectralNorm<L>> {
        let matrix = matrix(&layer, layer.weight().get()).detach();
        let eps = 1e-12;
        let mut drawn = |n| -> Result<Tensor> { Ok(unit(init.normal([n, 1], 1.0, f64::INFINITY)?.get(), eps)) };
        let mut vectors = [drawn(matrix.shape()[0])?, drawn(matrix.shape()[1])?];
        for _ in 0..15 {
            vectors = iterate(&matrix, &vectors[1], eps);
        }
        let [u, v] = vectors.map(|x| Buffer::new(x.detach().flatten(0)));
        Ok(SpectralNorm { layer, eps, u: u?, v: v? })
    }

    /// The largest singular value of the weight, as far as it is known: `[]`.
    pub fn sigma(&self) -> Tensor {
        let [u, v] = [&self.u, &self.v].map(|buffer| buffer.get().unsqueeze(1));
        (&u * &matrix(&self.layer, self.layer.weight().get()).matmul(&v)).sum_all()
    }
}

/// The weight as a matrix of a row per output.
fn matrix(layer: &impl Weighted, weight: &Tensor) -> Tensor {
    let axis = layer.outputs();
    let mut order: Vec<usize> = (0..weight.rank()).collect();
    order[..=axis].rotate_right(1);
    let rows = weight.shape()[axis];
    weight.permute(&order).reshape([rows, weight.elements() / rows])
}

/// A column brought to length 1.
fn unit(x: &Tensor, eps: f32) -> Tensor {
    x / &x.square().sum_all().sqrt().clamp_min(eps)
}

/// One power iteration from `v`: the new `u` and `v`, columns.
fn iterate(matrix: &Tensor, v: &Tensor, eps: f32) -> [Tensor; 2] {
    let u = unit(&matrix.matmul(v), eps);
    let v = unit(&matrix.transpose(0, 1).matmul(&u), eps);
    [u, v]
}

impl<L: Weighted> Module for SpectralNorm<L> {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        let weight = self.layer.weight().get();
        if pass.training {
            let fixed = matrix(&self.layer, weight).detach();
            let [u, v] = iterate(&fixed, &self.v.get().unsqueeze(1), self.eps);
            self.u.record(&u.flatten(0));
            self.v.record(&v.flatten(0));
        }
        self.layer.forward_with(&(weight / &self.sigma()), x, pass)
    }
}

/// PyTorch's names: the layer's weight is the original of a parametrisation, and the vectors are that one's.
impl<L: Weighted> Parameters for SpectralNorm<L> {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        self.layer.params(&mut |name, param| visit(renamed(name), param));
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        self.layer.params_mut(&mut |name, param| visit(renamed(name), param));
    }
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
        self.layer.buffers(visit);
        visit("parametrizations.weight.0._u", &self.u);
        visit("parametrizations.weight.0._v", &self.v);
    }
}

fn renamed(name: &str) -> &str {
    if name == "weight" { "parametrizations.weight.original" } else { name }
}
