//! Many steps of one kind: recorded once, replayed from then on ([`Steps`]).

use super::replays::{Replays, Trained};
use super::{Optimizer, Row};
use crate::error::Result;
use crate::nn::{Parameters, Pass};
use crate::tensor::Tensor;

/// A model, its optimizer, and how its loss is recorded: takes steps that are all alike, on a GPU without recording
/// each.
///
/// [`run(n)`](Steps::run) gives, to the bit, what `n` times
///
/// ```text
/// let loss = record(&model, &mut pass);
/// optimizer.step(&mut model, &loss)?;
/// ```
///
/// would give on the same device: parameters, running statistics, state and step count of the optimizer, the rate of
/// each step of a schedule, every random number that is drawn on the device, the counter of the pass, and the last
/// loss.
///
/// ```
/// use wgrad::nn::{Init, Linear, Module, Pass, Sequential, Tanh};
/// use wgrad::optim::{Adam, Optimizer, Steps};
/// use wgrad::{Device, Tensor};
///
/// let device = Device::auto()?;
/// let mut init = Init::new(&device, 0);
/// let model = Sequential::new().then(Linear::new(&mut init, 2, 8)?).then(Tanh).then(Linear::new(&mut init, 8, 1)?);
/// let data = Tensor::from_slice(&device, &[0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [4, 2])?;
/// let goals = Tensor::from_slice(&device, &[0f32, 1.0, 1.0, 0.0], [4, 1])?;
///
/// // Each step draws three of the four lines on the device.
/// let record = move |model: &Sequential, pass: &mut Pass| {
///     let picked = (&Tensor::uniform(&device, [3], &mut pass.rng) * 4.0).cast(wgrad::DType::U32);
///     let (x, y) = (data.index_select(0, &picked), goals.index_select(0, &picked));
///     (&model.forward(&x, pass) - &y).square().mean_all()
/// };
/// let mut steps = Steps::new(model, Adam::new(0.05), Pass::train(0), record);
/// let loss = steps.run(300)?.item()?;
/// assert!(loss < 0.05, "{loss}");
/// assert_eq!(steps.optimizer().steps(), 300);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # What is frozen
///
/// As under `jax.jit`, what `record` does on the host happens while steps are ordinary, and counts for all that are
/// replayed:
///
/// - Tensors that it captures are read where they lie. They cannot be exchanged, and another optimizer must not train
///   them.
/// - A number of the host keeps its value, and an `if` its branch.
/// - What must differ from step to step is drawn from `pass.rng` on the device, as noise, or as indices of a batch in
///   data that lie there; or it is a row of numbers that each step is given ([`Steps::with_rows`]).
/// - Whatever else it does (it prints, it keeps a tensor for later) happens in ordinary steps only.
///
/// # When steps are replayed
///
/// On GPUs, after two successive steps that were one program, ran the same plan, read and overwrote the same memory,
/// and had the same numbers of the host, but for the counter of the pass. With a batch that is uploaded in each step, a
/// number that the host counts, random numbers that are drawn on the host, a loss that is read on the way or gradients
/// of micro-batches, steps go on as ordinary ones, whose numbers are right; [`Steps::replayed`] says why. So it is on
/// the CPU path, and where steps are checked (`WGRAD_CHECK`) or timed. Whoever holds a handle on a parameter keeps the
/// old value: the next steps are ordinary.
///
/// A replayed step costs the host its launches and nothing else: no plan is looked up, no memory of the device
/// allocated, no bind group made; up to 64 launches of several steps are one submission.
pub struct Steps<M, O, F> {
    model: M,
    optimizer: O,
    pass: Pass,
    record: F,
    replays: Replays,
}

impl<M: Parameters, O: Optimizer, F: Fn(&M, &mut Pass) -> Tensor> Steps<M, O, F> {
    /// Steps of this model; `record` gives the loss, which is recorded and not evaluated.
    pub fn new(model: M, optimizer: O, pass: Pass, record: F) -> Self {
        Steps { model, optimizer, pass, record, replays: Replays::new() }
    }

    /// Takes so many steps and gives the loss of the last, which is computed.
    ///
    /// # Errors
    /// As [`Optimizer::step`]. The steps before the fault are done.
    ///
    /// # Panics
    /// If `steps` is 0, or if the loss is not one number.
    #[track_caller]
    pub fn run(&mut self, steps: usize) -> Result<Tensor> {
        assert!(steps > 0, "run: 0 steps have no loss");
        self.take(steps, || Ok(()), |record, model, (), pass| record(model, pass))
    }
}

impl<M: Parameters, O: Optimizer, F> Steps<M, O, F> {
    /// Steps of this model, each of which is given numbers by the host: its batch, or the indices that pick it from
    /// data that lie on the device.
    ///
    /// ```
    /// # use wgrad::data::digits;
    /// # use wgrad::nn::{Flatten, Init, Linear, Module, Pass, Sequential};
    /// # use wgrad::optim::{Adam, Host, Steps};
    /// # use wgrad::{Device, Tensor};
    /// # let device = Device::auto()?;
    /// # let digits = digits::dataset(100, 20, 0).train;
    /// # let model = Sequential::new().then(Flatten).then(Linear::new(&mut Init::new(&device, 0), 784, 10)?);
    /// let pixels = Tensor::from_slice(&device, &digits.pixels, [digits.len(), 1, 28, 28])?;
    /// let labels = Tensor::from_slice(&device, &digits.labels, digits.len())?;
    /// let record = move |model: &Sequential, picked: &Tensor, pass: &mut Pass| {
    ///     model.forward(&pixels.index_select(0, picked), pass).cross_entropy(&labels.index_select(0, picked))
    /// };
    /// let mut steps = Steps::with_rows(model, Adam::new(1e-2), Pass::train(0), record);
    /// let mut batches = digits.batches(25, 0)?;
    /// let mut next = || Ok(Host::from(batches.next_batch().iter().map(|&i| i as u32).collect::<Vec<_>>()));
    /// // Thirty epochs.
    /// let loss = steps.run_rows(120, &mut next)?;
    /// assert!(loss.item()? < 0.2);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn with_rows<T>(model: M, optimizer: O, pass: Pass, record: F) -> Self
    where
        F: Fn(&M, &T, &mut Pass) -> Tensor,
    {
        Steps { model, optimizer, pass, record, replays: Replays::new() }
    }

    /// Takes so many steps, `record` being given what `next` gives for each, as tensors, and gives the loss of the
    /// last. A step whose numbers are more or fewer than those of the others is an ordinary one.
    ///
    /// # Errors
    /// As [`Optimizer::step`]; what `next` reports. The steps before the fault are done.
    ///
    /// # Panics
    /// If `steps` is 0, or if the loss is not one number.
    #[track_caller]
    pub fn run_rows<R: Row>(&mut self, steps: usize, next: impl FnMut() -> Result<R>) -> Result<Tensor>
    where
        F: Fn(&M, &R::Tensors, &mut Pass) -> Tensor,
    {
        assert!(steps > 0, "run_rows: 0 steps have no loss");
        self.take(steps, next, |record, model, row, pass| record(model, row, pass))
    }

    /// The same, with every step recorded anew, as on the CPU path: to find out what a replay changes, or for a
    /// `record` that does more than record.
    pub fn one_by_one(self) -> Self {
        Steps { replays: Replays::none("each step is recorded anew, as was asked for"), ..self }
    }

    /// Whether the next steps are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        self.replays.replayed()
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &O {
        &self.optimizer
    }

    /// The pass, whose counter moves on with the steps.
    pub fn pass(&self) -> &Pass {
        &self.pass
    }

    /// All three, to change them. What was noted of the steps is forgotten: the next two are ordinary.
    pub fn parts_mut(&mut self) -> (&mut M, &mut O, &mut Pass) {
        self.replays.forget();
        (&mut self.model, &mut self.optimizer, &mut self.pass)
    }

    /// Model, optimizer and pass, to go on otherwise.
    pub fn into_parts(self) -> (M, O, Pass) {
        (self.model, self.optimizer, self.pass)
    }

    #[track_caller]
    fn take<R: Row>(
        &mut self,
        steps: usize,
        mut next: impl FnMut() -> Result<R>,
        loss: impl Fn(&F, &M, &R::Tensors, &mut Pass) -> Tensor,
    ) -> Result<Tensor> {
        let Steps { model, optimizer, pass, record, replays } = self;
        let trained = Trained { model, optimizer, pass };
        let made = replays.take(trained, (steps, false), &mut next, &|model, row, pass| {
            vec![("loss", loss(record, model, row, pass))]
        })?;
        Ok(made.into_iter().next_back().expect("a step was taken").swap_remove(0).1)
    }
}
