//! The task most networks have: batches of examples, a model, a loss.

use std::rc::Rc;

use super::{Figures, State, Task, Window};
use crate::autodiff;
use crate::data::{self, Batches, Images};
use crate::error::{Error, Result};
use crate::nn::{Module, Parameters, Pass};
use crate::optim::{Host, Optimizer, Replays, Row, Trained, device_of};
use crate::tensor::{DType, Tensor};

/// Makes the batch of these samples.
type Fetch<'a, B> = Rc<dyn Fn(&[usize]) -> Result<B> + 'a>;
/// What the model makes of a batch: the loss first, then whatever else is of interest.
type Judge<'a, M, B> = Box<dyn Fn(&M, &<B as Row>::Tensors, &mut Pass) -> Figures + 'a>;

/// A model that learns from batches: forward, a loss, a step of an optimizer. On a GPU its steps are replayed where
/// they can be, as those of [`Steps`](crate::optim::Steps) are: what `judge` does on the host counts for all of them.
pub struct Supervised<'a, M, B: Row> {
    /// What is trained.
    pub model: M,
    /// What trains it.
    pub optimizer: Box<dyn Optimizer>,
    /// Random numbers of training.
    pub pass: Pass,
    batches: Batches,
    /// The samples that the indices of `batches` stand for.
    train: Vec<usize>,
    /// Batches that make one step.
    parts: u64,
    /// Size of a batch, and the seed of their order.
    drawn: (usize, u64),
    fetch: Fetch<'a, B>,
    judge: Judge<'a, M, B>,
    replays: Replays,
    validation: Option<(Vec<usize>, Fetch<'a, B>)>,
}

impl<'a, M: Parameters, B: Row> Supervised<'a, M, B> {
    /// Trains `model` on batches of `batch` of `len` samples, in an order that `seed` determines. `fetch` makes a batch
    /// of the samples it is given, and `judge` records what the model makes of it on the device: its loss first, a mean
    /// over the batch.
    ///
    /// # Errors
    /// If there is no sample, or the batch is empty.
    pub fn new(
        model: M,
        optimizer: Box<dyn Optimizer>,
        (len, batch, seed): (usize, usize, u64),
        fetch: impl Fn(&[usize]) -> Result<B> + 'a,
        judge: impl Fn(&M, &B::Tensors, &mut Pass) -> Figures + 'a,
    ) -> Result<Self> {
        let batches = Batches::new(len, batch, seed)?;
        Ok(Supervised {
            model,
            optimizer,
            pass: Pass::train(seed),
            batches,
            train: (0..len).collect(),
            parts: 1,
            drawn: (batch, seed),
            fetch: Rc::new(fetch),
            judge: Box::new(judge),
            replays: Replays::new(),
            validation: None,
        })
    }

    /// Makes each step of so many batches: their gradients are averaged, and only one batch is in memory at a time.
    ///
    /// # Panics
    /// If there are none.
    #[track_caller]
    pub fn accumulate(mut self, batches: u64) -> Self {
        assert!(batches > 0, "accumulate: a step of no batch");
        self.parts = batches;
        self
    }

    /// Keeps `count` samples, chosen by the seed, out of the training and validates on them.
    ///
    /// # Errors
    /// If no sample is left to train on, or none is kept.
    pub fn hold_out(mut self, count: usize) -> Result<Self> {
        let len = self.train.len();
        if count == 0 || count >= len {
            let remedy = format!("keep at least 1 and fewer than the {len} there are");
            return Err(Error::argument(format!("{count} samples kept for validation"), remedy));
        }
        let (batch, seed) = self.drawn;
        let (train, held) = data::split(len, count, seed);
        self.batches = Batches::new(train.len(), batch, seed)?;
        self.train = train;
        self.validation = Some((held, Rc::clone(&self.fetch)));
        Ok(self)
    }

    /// Validates on `len` samples that another `fetch` makes.
    pub fn validate_with(mut self, len: usize, fetch: impl Fn(&[usize]) -> Result<B> + 'a) -> Self {
        self.validation = Some(((0..len).collect(), Rc::new(fetch)));
        self
    }

    /// Whether the next steps are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        if self.parts > 1 { Err("a step is several batches") } else { self.replays.replayed() }
    }

    /// The gradient of each trainable parameter for the loss of one batch, the first samples, in evaluation mode: to
    /// look at. Training goes on as if nobody had asked.
    ///
    /// # Errors
    /// A fault of the device or the data.
    pub fn gradients(&self) -> Result<Vec<(String, Tensor)>> {
        let samples = &self.train[..self.train.len().min(self.drawn.0)];
        let mut pass = Pass { mixed: self.pass.mixed, ..Pass::eval() };
        let figures = (self.judge)(&self.model, &(self.fetch)(samples)?.upload(&device_of(&self.model)?)?, &mut pass);
        let params: Vec<_> = self.model.named_parameters().into_iter().filter(|(_, p)| !p.is_frozen()).collect();
        let slopes = autodiff::grad(&figures[0].1, &params.iter().map(|(_, p)| p.get()).collect::<Vec<_>>());
        Ok(params.into_iter().map(|(name, _)| name).zip(slopes).collect())
    }

    /// The mean of each figure over samples, in batches of 250, in evaluation mode.
    ///
    /// # Errors
    /// A fault of the device or the data.
    fn judge_all(&self, samples: &[usize], fetch: &Fetch<'a, B>) -> Result<Vec<(String, f64)>> {
        let (mut window, device) = (Window::new(), device_of(&self.model)?);
        let mut pass = Pass { mixed: self.pass.mixed, ..Pass::eval() };
        for chunk in samples.chunks(250) {
            let figures = (self.judge)(&self.model, &fetch(chunk)?.upload(&device)?, &mut pass);
            window.add(0, chunk.len() as f64, &figures)?;
        }
        window.read()
    }

    /// One step of several batches.
    fn accumulated(&mut self) -> Result<Figures> {
        let mut figures = Figures::new();
        for part in 1..=self.parts {
            let samples: Vec<usize> = self.batches.next_batch().iter().map(|&i| self.train[i]).collect();
            let batch = (self.fetch)(&samples)?.upload(&device_of(&self.model)?)?;
            let found = (self.judge)(&self.model, &batch, &mut self.pass);
            let share = 1.0 / self.parts as f32;
            let loss = &found[0].1 * share;
            if part < self.parts {
                self.optimizer.accumulate(&mut self.model, &loss)?;
            } else {
                self.optimizer.step(&mut self.model, &loss)?;
            }
            for (i, (name, figure)) in found.iter().enumerate() {
                // What it was computed from holds on to the weights, which the next step overwrites.
                figure.release_history();
                let figure = &figure.detach() * share;
                match figures.get_mut(i) {
                    Some((_, sum)) => *sum = &*sum + &figure,
                    None => figures.push((name, figure)),
                }
            }
        }
        figures.extend(self.optimizer.gradient_norm().map(|norm| ("gradient norm", norm.clone())));
        Ok(figures)
    }
}

impl<M: Parameters, B: Row> Task for Supervised<'_, M, B> {
    fn step(&mut self) -> Result<Figures> {
        self.steps(1).map(|mut made| made.swap_remove(0))
    }

    fn steps(&mut self, most: usize) -> Result<Vec<Figures>> {
        if self.parts > 1 {
            return Ok(vec![self.accumulated()?]);
        }
        let Supervised { model, optimizer, pass, batches, train, fetch, judge, replays, .. } = self;
        let mut next = || {
            let samples: Vec<usize> = batches.next_batch().iter().map(|&i| train[i]).collect();
            fetch(&samples)
        };
        replays.take(Trained { model, optimizer, pass }, (most, true), &mut next, &**judge)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>> {
        match &self.validation {
            Some((samples, fetch)) => self.judge_all(samples, fetch),
            None => Ok(Vec::new()),
        }
    }

    fn save(&self, state: &mut State) -> Result<()> {
        state.put_model("model", &self.model)?;
        state.put_optimizer("optimizer", &*self.optimizer)?;
        state.put_rng("pass", &self.pass.rng);
        state.put_batches("batches", &self.batches);
        Ok(())
    }

    fn load(&mut self, state: &State) -> Result<()> {
        state.model("model", &mut self.model)?;
        state.optimizer("optimizer", &mut *self.optimizer, &mut self.model)?;
        self.pass.rng = state.rng("pass")?;
        state.batches("batches", &mut self.batches)
    }
}

/// Pixels `[n, channels, height, width]` and labels `[n]` of a batch.
pub type Labelled = (Host<f32>, Host<u32>);

fn gather(set: &Images, batch: &[usize]) -> Labelled {
    let (pixels, labels) = set.gather(batch);
    let [c, h, w] = set.shape;
    (Host::new(pixels, [batch.len(), c, h, w]), Host::from(labels))
}

impl<'a, M: Module + 'a> Supervised<'a, M, Labelled> {
    /// Trains `model` to tell the classes of pictures by the softmax cross-entropy of its logits `[n, classes]`.
    /// Figures: `loss` and `accuracy`, 0 to 1.
    ///
    /// # Errors
    /// If there is no picture, or the batch is empty.
    pub fn classifier(
        model: M,
        optimizer: Box<dyn Optimizer>,
        train: &'a Images,
        batch: usize,
        seed: u64,
    ) -> Result<Self> {
        let judge = |model: &M, (images, labels): &(Tensor, Tensor), pass: &mut Pass| {
            let logits = model.forward(images, pass);
            let right = logits.argmax(&[1]).equal(labels).cast(DType::F32).mean_all();
            vec![("loss", logits.cross_entropy(labels)), ("accuracy", right)]
        };
        let fetch = |indices: &[usize]| Ok(gather(train, indices));
        Supervised::new(model, optimizer, (train.len(), batch, seed), fetch, judge)
    }

    /// Shows the model what these layers make of the pictures, such as [`crate::nn::RandomCrop`]; the names of its
    /// weights stay what they are.
    pub fn augment(mut self, layers: impl Module + 'a) -> Self {
        let judge = self.judge;
        self.judge = Box::new(move |model, (images, labels), pass| {
            let images = layers.forward(images, pass);
            judge(model, &(images, labels.clone()), pass)
        });
        self
    }

    /// Validates on these pictures.
    pub fn validate_on(self, set: &'a Images) -> Self {
        self.validate_with(set.len(), |indices| Ok(gather(set, indices)))
    }
}
