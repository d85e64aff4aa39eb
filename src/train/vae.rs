//! Variational autoencoders (Kingma and Welling, "Auto-Encoding Variational Bayes", 2014).
//!
//! An encoder says where in a small latent space a picture might come from, as a normal distribution per picture; a
//! decoder draws pictures of points of that space. Both are trained to make the evidence lower bound large,
//!
//! ```text
//! ELBO = E[log p(x | z)] - KL(q(z | x) || N(0, 1)),   z = mean + e^(log_variance / 2) noise
//! ```
//!
//! The noise is an input of the graph and not a node in the way of the gradient (the "reparameterisation trick").
//! Pixels are taken for probabilities of white (a Bernoulli decoder on logits), so all figures are nats per picture.

use super::Supervised;
use crate::data::Images;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::functional::{ConvTranspose2dOptions, Reduction};
use crate::nn::{Conv2d, ConvTranspose2d, Flatten, Init, Linear, Module, Pass, Relu, Sequential, Unflatten};
use crate::ops::{Conv2dOptions, Padding, Rng};
use crate::optim::{Host, Optimizer};
use crate::tensor::Tensor;

/// An encoder with two heads, and a decoder.
pub struct Vae {
    /// Pictures to features `[n, features]`.
    pub encoder: Sequential,
    /// Features to the mean of the latent distribution.
    pub mean: Linear,
    /// Features to the logarithm of its variance.
    pub log_variance: Linear,
    /// Latent points `[n, latent]` to the logits of pixels.
    pub decoder: Sequential,
}
crate::parameters!(Vae { encoder, mean, log_variance, decoder });

/// The two parts of the negative evidence lower bound of a batch, each a mean in nats per picture.
#[derive(Debug, Clone)]
pub struct Elbo {
    /// `-log p(x | z)`: what the decoder gets wrong.
    pub reconstruction: Tensor,
    /// `KL(q(z | x) || N(0, 1))`: what the encoder says about the picture.
    pub kl: Tensor,
}

impl Elbo {
    /// `-ELBO`, the sum of both: the loss.
    #[track_caller]
    pub fn loss(&self) -> Tensor {
        &self.reconstruction + &self.kl
    }
}

impl Vae {
    /// One hidden layer each way: `pixels - hidden - latent - hidden - pixels`; 784-400-20 is the usual one.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn mlp(init: &mut Init, pixels: usize, hidden: usize, latent: usize) -> Result<Vae> {
        let encoder = Sequential::new().then(Flatten).then(Linear::new(init, pixels, hidden)?).then(Relu);
        let (mean, log_variance) = (Linear::new(init, hidden, latent)?, Linear::new(init, hidden, latent)?);
        let decoder = Sequential::new().then(Linear::new(init, latent, hidden)?).then(Relu);
        Ok(Vae { encoder, mean, log_variance, decoder: decoder.then(Linear::new(init, hidden, pixels)?) })
    }

    /// Two convolutions down, 28x28 to 14x14 to 7x7, and two transposed ones up again.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn conv(init: &mut Init, latent: usize) -> Result<Vae> {
        let half = || Conv2dOptions { stride: [2, 2], padding: Padding::Explicit([1; 4]), ..Default::default() };
        let twice =
            || ConvTranspose2dOptions { stride: [2, 2], padding: Padding::Explicit([1; 4]), ..Default::default() };
        let encoder = Sequential::new().then(Conv2d::new(init, 1, 32, [4, 4], half())?).then(Relu);
        let encoder = encoder.then(Conv2d::new(init, 32, 64, [4, 4], half())?).then(Relu).then(Flatten);
        let features = 64 * 7 * 7;
        let (mean, log_variance) = (Linear::new(init, features, latent)?, Linear::new(init, features, latent)?);
        let decoder = Sequential::new().then(Linear::new(init, latent, features)?).then(Relu);
        let decoder =
            decoder.then(Unflatten::new([64, 7, 7])).then(ConvTranspose2d::new(init, 64, 32, [4, 4], twice())?);
        let decoder = decoder.then(Relu).then(ConvTranspose2d::new(init, 32, 1, [4, 4], twice())?);
        Ok(Vae { encoder, mean, log_variance, decoder })
    }

    /// Numbers of a latent point.
    pub fn latent(&self) -> usize {
        self.mean.weight.get().shape()[0]
    }

    /// Mean and logarithm of the variance of the latent point of each picture, `[n, latent]` each.
    #[track_caller]
    pub fn encode(&self, pictures: &Tensor, pass: &mut Pass) -> (Tensor, Tensor) {
        let features = self.encoder.forward(pictures, pass);
        (self.mean.forward(&features, pass), self.log_variance.forward(&features, pass))
    }

    /// The probability that each pixel is white, for latent points `[n, latent]`; as the decoder shapes it.
    #[track_caller]
    pub fn decode(&self, points: &Tensor) -> Tensor {
        self.decoder.forward(points, &mut Pass::eval()).sigmoid()
    }

    /// The bound for these pictures, with this noise `[n, latent]`.
    ///
    /// # Panics
    /// If the shape of the pictures or of the noise does not fit.
    #[track_caller]
    pub fn elbo(&self, pictures: &Tensor, noise: &Tensor, pass: &mut Pass) -> Elbo {
        let (mean, log_variance) = self.encode(pictures, pass);
        let points = &mean + &(&(&log_variance * 0.5).exp() * noise);
        let logits = self.decoder.forward(&points, pass).reshape(pictures.shape());
        let count = pictures.shape()[0].max(1) as f32;
        let missed = logits.binary_cross_entropy_with_logits(pictures, None, None, Reduction::Sum);
        Elbo { reconstruction: &missed / count, kl: mean.gaussian_kl(&log_variance, Reduction::BatchMean) }
    }

    /// [`Vae::elbo`] with noise of the pass.
    #[track_caller]
    pub fn drawn_elbo(&self, pictures: &Tensor, pass: &mut Pass) -> Elbo {
        let shape = [pictures.shape()[0], self.latent()];
        let noise = Tensor::normal(pictures.device(), shape, &mut pass.rng);
        self.elbo(pictures, &noise, pass)
    }

    /// The task of training it on pictures, in batches of `batch` in an order that `seed` determines. Figures: `loss`,
    /// which is the negative bound, and its parts `reconstruction` and `kl`.
    ///
    /// # Errors
    /// If there is no picture, or the batch is empty.
    pub fn task<'a>(
        self,
        optimizer: Box<dyn Optimizer>,
        train: &'a Images,
        batch: usize,
        seed: u64,
    ) -> Result<Supervised<'a, Vae, Host<f32>>> {
        let judge = |model: &Vae, pictures: &Tensor, pass: &mut Pass| {
            let elbo = model.drawn_elbo(pictures, pass);
            vec![("loss", elbo.loss()), ("reconstruction", elbo.reconstruction), ("kl", elbo.kl)]
        };
        Supervised::new(self, optimizer, (train.len(), batch, seed), pictures_of(train), judge)
    }
}

/// Makes batches of pictures `[n, channels, height, width]` without their labels.
pub fn pictures_of(set: &Images) -> impl Fn(&[usize]) -> Result<Host<f32>> {
    let [c, h, w] = set.shape;
    move |indices| Ok(Host::new(set.gather(indices).0, [indices.len(), c, h, w]))
}

// -------------------------------------------------------------------------------------------------------- pictures

impl Vae {
    /// Pictures of points drawn from the prior.
    #[track_caller]
    pub fn samples(&self, device: &Device, count: usize, rng: &mut Rng) -> Tensor {
        self.decode(&Tensor::normal(device, [count, self.latent()], rng))
    }

    /// What becomes of pictures on their way through the latent space, at the mean.
    #[track_caller]
    pub fn reconstructions(&self, pictures: &Tensor) -> Tensor {
        self.decode(&self.encode(pictures, &mut Pass::eval()).0).reshape(pictures.shape())
    }

    /// Pictures of `steps` points on the line between the means of two pictures `[1, ...]`, both ends included.
    #[track_caller]
    pub fn interpolation(&self, from: &Tensor, to: &Tensor, steps: usize) -> Result<Tensor> {
        let mean = |picture: &Tensor| self.encode(picture, &mut Pass::eval()).0;
        let part = |i: usize| i as f32 / (steps.max(2) - 1) as f32;
        let parts = Tensor::from_slice(from.device(), &(0..steps).map(part).collect::<Vec<_>>(), [steps, 1])?;
        Ok(self.decode(&(&(&mean(from) * &(1.0 - &parts)) + &(&mean(to) * &parts))))
    }

    /// Pictures of a grid of points of a two-dimensional latent space, `side` by `side`, from `-reach` to `reach`: what
    /// lies where.
    ///
    /// # Errors
    /// If the latent space has another number of dimensions; a fault of the device.
    pub fn manifold(&self, device: &Device, side: usize, reach: f32) -> Result<Tensor> {
        if self.latent() != 2 {
            let what = format!("a manifold of a latent space of {} dimensions", self.latent());
            return Err(Error::argument(what, "train a model with a latent space of 2"));
        }
        let at = |i: usize| reach * (2.0 * i as f32 / (side.max(2) - 1) as f32 - 1.0);
        // The second coordinate grows upwards.
        let points: Vec<f32> = (0..side * side).flat_map(|i| [at(i % side), -at(i / side)]).collect();
        Ok(self.decode(&Tensor::from_slice(device, &points, [side * side, 2])?))
    }
}
