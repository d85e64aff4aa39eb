//! Generative adversarial networks (Goodfellow et al., 2014): a generator that turns noise into samples, and a
//! discriminator that is trained to tell them from real ones, while the generator is trained to make it fail.
//!
//! One step is one step of each, as one program. The generator runs once for both: the discriminator sees its samples
//! detached, and the loss of the generator goes through the discriminator as it is after its step.

use crate::autodiff;
use crate::data::Batches;
use crate::device::Device;
use crate::error::Result;
use crate::functional::{ConvTranspose2dOptions, Reduction};
use crate::nn::{
    BatchNorm2d, Conv2d, ConvTranspose2d, Flatten, Init, LeakyRelu, Linear, Module, Parameters, Pass, Relu, Sequential,
    SpectralNorm, Tanh, Unflatten,
};
use crate::ops::{Conv2dOptions, Padding, Rng};
use crate::optim::{Learners, Optimizer, Program, Replays, Row};
use crate::tensor::Tensor;

use super::{Figures, State, Task};

/// A generator and a discriminator.
pub struct Gan {
    /// Noise `[n, noise]` to samples.
    pub generator: Sequential,
    /// Samples to logits `[n, 1]` of being real.
    pub discriminator: Sequential,
    /// Numbers of noise per sample.
    pub noise: usize,
}
crate::parameters!(Gan { generator, discriminator });

/// Halves the sides of a picture with a kernel of 4 x 4.
const HALF: Conv2dOptions =
    Conv2dOptions { stride: [2, 2], padding: Padding::Explicit([1; 4]), dilation: [1, 1], groups: 1 };

/// What the generator minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Objective {
    /// `-log D(G(z))`: strong where the discriminator is sure that a sample is false.
    #[default]
    NonSaturating,
    /// `log(1 - D(G(z)))`, the two-player game of the paper: flat there.
    Saturating,
}

/// How a GAN is trained.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GanOptions {
    /// What the generator minimises.
    pub objective: Objective,
    /// Real samples count as `1 - smoothing` (one-sided label smoothing, Salimans et al., 2016).
    pub smoothing: f32,
    /// The weight of a penalty on the slope of the discriminator at real samples, `|dD/dx|^2 / 2` (R1, Mescheder et
    /// al., 2018); its own gradient is a derivative of second order. With batch normalisation it is not meaningful.
    pub penalty: f32,
}

impl Gan {
    /// Fully connected networks for pictures `[1, 28, 28]` in -1 to 1.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn mlp(init: &mut Init) -> Result<Gan> {
        let noise = 100;
        let leak = || LeakyRelu(0.2);
        let generator = Sequential::new().then(Linear::new(init, noise, 256)?).then(leak());
        let generator = generator.then(Linear::new(init, 256, 512)?).then(leak());
        let generator = generator.then(Linear::new(init, 512, 784)?).then(Tanh).then(Unflatten::new([1, 28, 28]));
        let discriminator = Sequential::new().then(Flatten).then(Linear::new(init, 784, 512)?).then(leak());
        let discriminator = discriminator.then(Linear::new(init, 512, 256)?).then(leak());
        Ok(Gan { generator, discriminator: discriminator.then(Linear::new(init, 256, 1)?), noise })
    }

    /// The same with a discriminator whose layers are spectrally normalised (Miyato et al., 2018): its slope is at most
    /// 1.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn mlp_spectral(init: &mut Init) -> Result<Gan> {
        let Gan { generator, noise, .. } = Gan::mlp(init)?;
        let mut discriminator = Sequential::new().then(Flatten);
        for [inputs, outputs] in [[784, 512], [512, 256]] {
            let layer = Linear::new(init, inputs, outputs)?;
            discriminator = discriminator.then(SpectralNorm::new(init, layer)?).then(LeakyRelu(0.2));
        }
        let last = Linear::new(init, 256, 1)?;
        Ok(Gan { generator, discriminator: discriminator.then(SpectralNorm::new(init, last)?), noise })
    }

    /// Convolutional networks with batch normalisation for the same pictures (Radford et al., 2016), as other libraries
    /// are timed with: 100 - 7x7x128 - 14x14x64 - 28x28x1 and back.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn dcgan(init: &mut Init) -> Result<Gan> {
        let noise = 100;
        let twice =
            || ConvTranspose2dOptions { stride: [2, 2], padding: Padding::Explicit([1; 4]), ..Default::default() };
        let leak = || LeakyRelu(0.2);
        let generator =
            Sequential::new().then(Linear::new(init, noise, 7 * 7 * 128)?).then(Unflatten::new([128, 7, 7]));
        let generator = generator.then(ConvTranspose2d::new(init, 128, 64, [4, 4], twice())?);
        let generator = generator.then(BatchNorm2d::new(init, 64)?).then(Relu);
        let generator = generator.then(ConvTranspose2d::new(init, 64, 1, [4, 4], twice())?).then(Tanh);
        let discriminator = Sequential::new().then(Conv2d::new(init, 1, 64, [4, 4], HALF)?).then(leak());
        let discriminator = discriminator.then(Conv2d::new(init, 64, 128, [4, 4], HALF)?);
        let discriminator = discriminator.then(BatchNorm2d::new(init, 128)?).then(leak()).then(Flatten);
        Ok(Gan { generator, discriminator: discriminator.then(Linear::new(init, 7 * 7 * 128, 1)?), noise })
    }

    /// The same with a discriminator whose layers are spectrally normalised, instead of its batch normalisation (Miyato
    /// et al., 2018): its slope is bounded, and samples are judged one by one.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn dcgan_spectral(init: &mut Init) -> Result<Gan> {
        let Gan { generator, noise, .. } = Gan::dcgan(init)?;
        let mut discriminator = Sequential::new();
        for [inputs, outputs] in [[1, 64], [64, 128]] {
            let layer = Conv2d::new(init, inputs, outputs, [4, 4], HALF)?;
            discriminator = discriminator.then(SpectralNorm::new(init, layer)?).then(LeakyRelu(0.2));
        }
        let last = Linear::new(init, 7 * 7 * 128, 1)?;
        Ok(Gan { generator, discriminator: discriminator.then(Flatten).then(SpectralNorm::new(init, last)?), noise })
    }

    /// Small networks for single numbers `[1]`: to see what the theory says.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn line(init: &mut Init, hidden: usize) -> Result<Gan> {
        let net = |init: &mut Init| -> Result<Sequential> {
            let net = Sequential::new().then(Linear::new(init, 1, hidden)?).then(Tanh);
            Ok(net.then(Linear::new(init, hidden, hidden)?).then(Tanh).then(Linear::new(init, hidden, 1)?))
        };
        Ok(Gan { generator: net(init)?, discriminator: net(init)?, noise: 1 })
    }

    /// Samples of noise that is drawn from `rng`, in evaluation mode.
    #[track_caller]
    pub fn samples(&self, device: &Device, count: usize, rng: &mut Rng) -> Tensor {
        self.generator.forward(&Tensor::normal(device, [count, self.noise], rng), &mut Pass::eval())
    }

    /// The probability of being real that the discriminator gives each sample, `[n]`, in evaluation mode.
    #[track_caller]
    pub fn verdicts(&self, samples: &Tensor) -> Tensor {
        self.discriminator.forward(samples, &mut Pass::eval()).sigmoid().flatten(0)
    }
}

/// The discriminator's loss: it should say 1 to real samples (less the smoothing) and 0 to false ones.
#[track_caller]
pub fn discriminator_loss(real: &Tensor, fake: &Tensor, smoothing: f32) -> Tensor {
    &towards(real, 1.0 - smoothing) + &towards(fake, 0.0)
}

/// The generator's loss: the discriminator should say 1 to false samples, or at least not 0.
#[track_caller]
pub fn generator_loss(fake: &Tensor, objective: Objective) -> Tensor {
    match objective {
        Objective::NonSaturating => towards(fake, 1.0),
        Objective::Saturating => towards(fake, 0.0).neg(),
    }
}

/// How far the probabilities of these logits are from `target`, in nats.
#[track_caller]
fn towards(logits: &Tensor, target: f32) -> Tensor {
    let target = Tensor::full(logits.device(), logits.shape(), target);
    logits.binary_cross_entropy_with_logits(&target, None, None, Reduction::Mean)
}

/// Makes the batch of these samples.
type Fetch<'a, B> = Box<dyn Fn(&[usize]) -> Result<B> + 'a>;
/// The real samples of a batch, on the device.
type Samples<'a, B> = Box<dyn Fn(&<B as Row>::Tensors, &mut Pass) -> Tensor + 'a>;

/// The task of training a GAN: two optimizers, one for each of its networks. Both steps are one program, and on a GPU
/// they are replayed where they can be, as [`Rounds`](crate::optim::Rounds) are. Figures: the losses `discriminator`
/// and `generator`, and the mean verdicts on `real` and `fake` samples, which at the end of the game are both a half.
pub struct GanTask<'a, B: Row> {
    /// What is trained.
    pub gan: Gan,
    /// Trains the discriminator.
    pub judge: Box<dyn Optimizer>,
    /// Trains the generator; without it only the discriminator learns.
    pub forger: Option<Box<dyn Optimizer>>,
    /// The noise, and random numbers of the layers.
    pub pass: Pass,
    options: GanOptions,
    batches: Batches,
    batch: usize,
    fetch: Fetch<'a, B>,
    samples: Samples<'a, B>,
    replays: Replays,
}

/// The networks, and who trains them.
struct Game<'a> {
    gan: &'a mut Gan,
    judge: &'a mut Box<dyn Optimizer>,
    forger: Option<&'a mut Box<dyn Optimizer>>,
}

impl Learners for Game<'_> {
    fn model(&self) -> &dyn Parameters {
        &*self.gan
    }
    fn optimizers(&mut self, visit: &mut dyn FnMut(&mut dyn Optimizer, &mut dyn Parameters)) {
        visit(&mut *self.judge, &mut self.gan.discriminator);
        if let Some(forger) = &mut self.forger {
            visit(&mut **forger, &mut self.gan.generator);
        }
    }
}

impl<'a, B: Row> GanTask<'a, B> {
    /// Trains `gan` on batches of `batch` of `len` samples, which `fetch` makes, in an order that `seed` determines.
    ///
    /// # Errors
    /// If there is no sample, or the batch is empty.
    pub fn new(
        gan: Gan,
        optimizers: [Box<dyn Optimizer>; 2],
        drawn: (usize, usize, u64),
        fetch: impl Fn(&[usize]) -> Result<B> + 'a,
        options: GanOptions,
    ) -> Result<Self>
    where
        B: Row<Tensors = Tensor>,
    {
        GanTask::with_samples(gan, optimizers, drawn, fetch, |batch, _| batch.clone(), options)
    }

    /// The same with real samples that `samples` records from what `fetch` gives for a batch, such as indices into data
    /// that lie on the device.
    ///
    /// # Errors
    /// If there is no sample, or the batch is empty.
    pub fn with_samples(
        gan: Gan,
        [judge, forger]: [Box<dyn Optimizer>; 2],
        (len, batch, seed): (usize, usize, u64),
        fetch: impl Fn(&[usize]) -> Result<B> + 'a,
        samples: impl Fn(&B::Tensors, &mut Pass) -> Tensor + 'a,
        options: GanOptions,
    ) -> Result<Self> {
        Ok(GanTask {
            gan,
            judge,
            forger: Some(forger),
            pass: Pass::train(seed),
            options,
            batches: Batches::new(len, batch, seed)?,
            batch,
            fetch: Box::new(fetch),
            samples: Box::new(samples),
            replays: Replays::new(),
        })
    }

    /// With every step recorded anew: to find out what replaying changes.
    pub fn one_by_one(self) -> Self {
        GanTask { replays: Replays::none("each step is recorded anew, as was asked for"), ..self }
    }

    /// Whether the next steps are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        self.replays.replayed()
    }
}

impl Game<'_> {
    /// Records a step of each.
    fn play(
        &mut self,
        real: Tensor,
        batch: usize,
        options: &GanOptions,
        program: &mut Program,
        pass: &mut Pass,
    ) -> Result<Figures> {
        let Gan { generator, discriminator, noise } = &mut *self.gan;
        let noise = Tensor::normal(real.device(), [batch, *noise], &mut pass.rng);
        let fake = generator.forward(&noise, pass);
        let says = (discriminator.forward(&real, pass), discriminator.forward(&fake.detach(), pass));
        let loss = discriminator_loss(&says.0, &says.1, options.smoothing);
        let verdict = |logits: &Tensor| logits.detach().sigmoid().mean_all();
        let mut figures = vec![("discriminator", loss.clone()), ("real", verdict(&says.0)), ("fake", verdict(&says.1))];
        let target = match options.penalty {
            0.0 => loss,
            weight => {
                let slope = autodiff::grad(&says.0.sum_all(), &[&real]).swap_remove(0);
                let penalty = &slope.square().sum_all() * (0.5 * weight / batch as f32);
                figures.push(("penalty", penalty.clone()));
                &loss + &penalty
            }
        };
        program.step(&mut *self.judge, discriminator, &target)?;
        if let Some(forger) = &mut self.forger {
            let loss = generator_loss(&discriminator.forward(&fake, pass), options.objective);
            program.step(&mut **forger, generator, &loss)?;
            figures.push(("generator", loss));
        }
        Ok(figures)
    }
}

impl<B: Row> Task for GanTask<'_, B> {
    fn step(&mut self) -> Result<Figures> {
        self.steps(1).map(|mut made| made.swap_remove(0))
    }

    fn steps(&mut self, most: usize) -> Result<Vec<Figures>> {
        let GanTask { gan, judge, forger, pass, options, batches, batch, fetch, samples, replays } = self;
        let mut game = Game { gan, judge, forger: forger.as_mut() };
        let mut next = || fetch(batches.next_batch());
        let record = |game: &mut Game, row: &B::Tensors, program: &mut Program, pass: &mut Pass| {
            game.play(samples(row, pass), *batch, options, program, pass)
        };
        replays.take_together((&mut game, pass), (most, true), &mut next, &record)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>> {
        Ok(Vec::new())
    }

    fn save(&self, state: &mut State) -> Result<()> {
        state.put_model("model", &self.gan)?;
        state.put_optimizer("judge", &*self.judge)?;
        if let Some(forger) = &self.forger {
            state.put_optimizer("forger", &**forger)?;
        }
        state.put_rng("pass", &self.pass.rng);
        state.put_batches("batches", &self.batches);
        Ok(())
    }

    fn load(&mut self, state: &State) -> Result<()> {
        state.model("model", &mut self.gan)?;
        state.optimizer("judge", &mut *self.judge, &mut self.gan.discriminator)?;
        if let Some(forger) = &mut self.forger {
            state.optimizer("forger", &mut **forger, &mut self.gan.generator)?;
        }
        self.pass.rng = state.rng("pass")?;
        state.batches("batches", &mut self.batches)
    }
}
