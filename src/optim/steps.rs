//! Many steps of one kind: recorded once, replayed from then on.
//!
//! An ordinary step records its graph, differentiates it and finds its plan before anything is encoded. That takes the host some
//! 100 us, which a small network does not take on a GPU. Here the first two steps are ordinary, and are compared; if they ran
//! the same launches on the same memory, those are encoded again for the steps after them, many in one submission. CUDA graphs,
//! `jax.lax.scan` and `capturable=True` of PyTorch's optimizers are the same idea.

use std::ops::Range;

use super::Optimizer;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Parameters, Pass, computed, count_on, counts};
use crate::ops::random::Random;
use crate::plan::replay::{Counting, Notes, Refused, Replay, note_given, noted};
use crate::tensor::{Element, Op, Tensor};

/// What an optimizer says of the steps ahead, and is told when they were made.
pub trait Ahead {
    /// The content of the tensors that it makes anew for a step, in the order in which it makes them: of the step that comes
    /// after `ahead` others.
    fn given(&self, ahead: u64) -> Vec<Vec<f64>>;

    /// A clone of each handle on what a step overwrites, the buffers of the model apart; `None` if the next step is not like the
    /// last.
    fn overwritten(&self, model: &dyn Parameters) -> Option<Vec<Tensor>>;

    /// Counts steps that were made.
    fn taken(&mut self, steps: u64);

    /// Takes over the norm of the gradients of the last one.
    fn set_gradient_norm(&mut self, norm: Option<Tensor>);
}

/// A model, its optimizer, and how its loss is recorded: takes steps that are all alike, on a GPU without recording each.
///
/// [`run(n)`](Steps::run) gives, to the bit, what `n` times
///
/// ```text
/// let loss = record(&model, &mut pass);
/// optimizer.step(&mut model, &loss)?;
/// ```
///
/// would give on the same device: parameters, running statistics, state and step count of the optimizer, the rate of each step
/// of a schedule, every random number that is drawn on the device, the counter of the pass, and the last loss.
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
/// As under `jax.jit`, what `record` does on the host happens while steps are ordinary, and counts for all that are replayed:
///
/// - Tensors that it captures are read where they lie. They cannot be exchanged, and another optimizer must not train them.
/// - A number of the host keeps its value, and an `if` its branch.
/// - What must differ from step to step is drawn from `pass.rng` on the device, as noise, or as indices of a batch in data that
///   lie there; or it is a row of numbers that each step is given ([`Steps::with_rows`]).
/// - Whatever else it does (it prints, it keeps a tensor for later) happens in ordinary steps only.
///
/// # When steps are replayed
///
/// On GPUs, after two successive steps that were one program, ran the same plan, read and overwrote the same memory, and had
/// the same numbers of the host, but for the counter of the pass. With a batch that is uploaded in each step, a number that the
/// host counts, random numbers that are drawn on the host, a loss that is read on the way or gradients of micro-batches, steps go
/// on as ordinary ones, whose numbers are right; [`Steps::replayed`] says why. So it is on the CPU path, and where steps are
/// checked (`WGRAD_CHECK`) or timed. Whoever holds a handle on a parameter keeps the old value: the next steps are ordinary.
///
/// A replayed step costs the host its launches and nothing else: no plan is looked up, no memory of the device allocated, no bind
/// group made; up to 64 launches of several steps are one submission.
pub struct Steps<M, O, F> {
    model: M,
    optimizer: O,
    pass: Pass,
    record: F,
    /// How long a row of numbers is.
    length: Option<usize>,
    progress: Progress,
}

enum Progress {
    /// Steps are ordinary and compared with the one before.
    Watched {
        last: Option<Box<Seen>>,
        steps: u32,
        why: &'static str,
    },
    Replayed(Box<Replayed>),
    /// They are ordinary from now on.
    Refused(&'static str),
}

/// An ordinary step.
struct Seen {
    notes: Notes,
    loss: Option<(usize, usize)>,
    norm: Option<(usize, usize)>,
    seed: u64,
    taken: Range<u32>,
    /// By how much the counters of the model moved.
    counts: Vec<u32>,
}

struct Replayed {
    replay: Replay,
    /// The node and the output that are the loss.
    loss: (usize, usize),
    norm: Option<(usize, usize)>,
    counts: Vec<u32>,
}

/// Ordinary steps that are compared before they are given up.
const MOST_WATCHED: u32 = 4;

impl Progress {
    fn begun() -> Progress {
        Progress::Watched { last: None, steps: 0, why: "no two steps have been taken yet" }
    }
}

/// The rows of numbers of steps, one for each.
trait Rows {
    /// The bytes of the next.
    fn next(&mut self) -> Vec<u8>;

    /// The next as a tensor.
    fn next_tensor(&mut self, device: &Device) -> Result<Tensor>;
}

struct RowsOf<N> {
    next: N,
    length: Option<usize>,
}

impl<E: Element, N: FnMut() -> Vec<E>> RowsOf<N> {
    fn row(&mut self) -> Vec<E> {
        let row = (self.next)();
        let length = *self.length.get_or_insert(row.len());
        assert!(row.len() == length, "run_rows: a row of {} numbers after rows of {length}", row.len());
        row
    }
}

impl<E: Element, N: FnMut() -> Vec<E>> Rows for RowsOf<N> {
    fn next(&mut self) -> Vec<u8> {
        bytemuck::cast_slice(&self.row()).to_vec()
    }

    fn next_tensor(&mut self, device: &Device) -> Result<Tensor> {
        let row = self.row();
        Tensor::from_slice(device, &row, row.len())
    }
}

impl<M: Parameters, O: Optimizer, F: Fn(&M, &mut Pass) -> Tensor> Steps<M, O, F> {
    /// Steps of this model; `record` gives the loss, which is recorded and not evaluated.
    pub fn new(model: M, optimizer: O, pass: Pass, record: F) -> Self {
        Steps { model, optimizer, pass, record, length: None, progress: Progress::begun() }
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
        self.take(steps, None, |record, model, _, pass| record(model, pass))
    }
}

impl<M: Parameters, O: Optimizer, F: Fn(&M, &Tensor, &mut Pass) -> Tensor> Steps<M, O, F> {
    /// Steps of this model, each of which is given a row of numbers by the host: of indices, which pick its batch from data that
    /// lie on the device.
    ///
    /// ```
    /// # use wgrad::data::digits;
    /// # use wgrad::nn::{Flatten, Init, Linear, Module, Pass, Sequential};
    /// # use wgrad::optim::{Adam, Steps};
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
    /// // Thirty epochs.
    /// let loss = steps.run_rows(120, || batches.next_batch().iter().map(|&i| i as u32).collect())?;
    /// assert!(loss.item()? < 0.2);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn with_rows(model: M, optimizer: O, pass: Pass, record: F) -> Self {
        Steps { model, optimizer, pass, record, length: None, progress: Progress::begun() }
    }

    /// Takes so many steps, `record` being given what `next` gives for each as a tensor of one axis, and gives the loss of the
    /// last.
    ///
    /// # Errors
    /// As [`Optimizer::step`]. The steps before the fault are done.
    ///
    /// # Panics
    /// If `steps` is 0, if the loss is not one number, or if a row is not as long as the one before.
    #[track_caller]
    pub fn run_rows<E: Element>(&mut self, steps: usize, next: impl FnMut() -> Vec<E>) -> Result<Tensor> {
        assert!(steps > 0, "run_rows: 0 steps have no loss");
        let mut rows = RowsOf { next, length: self.length };
        let loss = self.take(steps, Some(&mut rows), |record, model, row, pass| {
            record(model, row.expect("each step is given a row"), pass)
        });
        self.length = rows.length;
        loss
    }
}

/// Records the loss.
type Record<M, F> = fn(&F, &M, Option<&Tensor>, &mut Pass) -> Tensor;

impl<M: Parameters, O: Optimizer, F> Steps<M, O, F> {
    /// The same, with every step recorded anew, as on the CPU path: to find out what a replay changes, or for a `record` that
    /// does more than record.
    pub fn one_by_one(self) -> Self {
        Steps { progress: Progress::Refused("each step is recorded anew, as was asked for"), ..self }
    }

    /// Whether the next steps are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        match &self.progress {
            Progress::Replayed(_) => Ok(()),
            Progress::Watched { why, .. } | Progress::Refused(why) => Err(why),
        }
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
        if let Progress::Replayed(_) | Progress::Watched { .. } = self.progress {
            self.progress = Progress::begun();
        }
        (&mut self.model, &mut self.optimizer, &mut self.pass)
    }

    /// Model, optimizer and pass, to go on otherwise.
    pub fn into_parts(self) -> (M, O, Pass) {
        (self.model, self.optimizer, self.pass)
    }

    #[track_caller]
    fn take(&mut self, steps: usize, mut rows: Option<&mut dyn Rows>, record: Record<M, F>) -> Result<Tensor> {
        let mut left = steps;
        loop {
            if let Some(loss) = self.replay(left, &mut rows)? {
                return Ok(loss);
            }
            let loss = self.step(&mut rows, record)?;
            left -= 1;
            if left == 0 {
                return Ok(loss);
            }
        }
    }

    /// An ordinary step; compared with the one before, unless that is settled.
    #[track_caller]
    fn step(&mut self, rows: &mut Option<&mut dyn Rows>, record: Record<M, F>) -> Result<Tensor> {
        let row = match rows {
            Some(rows) => Some(rows.next_tensor(&self.device()?)?),
            None => None,
        };
        let row = row.as_ref();
        if let Progress::Refused(_) = self.progress {
            return self.recorded(row, record);
        }
        let (begun, counted) = (self.pass.rng, counts(&self.model));
        let (loss, notes) = noted(|| {
            row.into_iter().for_each(note_given);
            self.recorded(row, record)
        });
        let loss = loss?;
        let moved = counts(&self.model);
        let now = Seen {
            loss: notes.place(&loss),
            norm: self.optimizer.gradient_norm().and_then(|norm| notes.place(norm)),
            notes,
            seed: begun.seed(),
            taken: begun.counter()..self.pass.rng.counter(),
            counts: moved.iter().zip(&counted).map(|(now, before)| now.wrapping_sub(*before)).collect(),
        };
        let Progress::Watched { last, steps, .. } = &mut self.progress else { return Ok(loss) };
        let (last, steps) = (last.take(), *steps + 1);
        let compared = last.map(|last| compared(&last, &now, self.optimizer.ahead().is_some()));
        self.progress = match compared {
            Some(Ok(replayed)) => Progress::Replayed(Box::new(replayed)),
            Some(Err(Refused { why, again })) if !again || steps >= MOST_WATCHED => Progress::Refused(why),
            Some(Err(Refused { why, .. })) => Progress::Watched { last: Some(Box::new(now)), steps, why },
            None => Progress::Watched { last: Some(Box::new(now)), steps, why: "one step has been taken" },
        };
        Ok(loss)
    }

    /// Where the model is.
    fn device(&self) -> Result<Device> {
        let mut device = None;
        self.model.params(&mut |_, param| _ = device.get_or_insert_with(|| param.get().device().clone()));
        device.ok_or_else(|| Error::argument("the model has no parameter", "train one that has some"))
    }

    #[track_caller]
    fn recorded(&mut self, row: Option<&Tensor>, record: Record<M, F>) -> Result<Tensor> {
        let loss = record(&self.record, &self.model, row, &mut self.pass);
        self.optimizer.step(&mut self.model, &loss)?;
        Ok(loss)
    }

    /// Replays so many steps, and gives the loss of the last; `None`, and nothing done, if they cannot be.
    fn replay(&mut self, steps: usize, rows: &mut Option<&mut dyn Rows>) -> Result<Option<Tensor>> {
        let Progress::Replayed(replayed) = &mut self.progress else { return Ok(None) };
        let Replayed { replay, loss, norm, counts } = &mut **replayed;
        let draws = replay.draws();
        let run = match self.optimizer.ahead() {
            // After so many draws the seed is another.
            Some(ahead) if (draws as u64) * (steps as u64) <= (u32::MAX - self.pass.rng.counter()) as u64 => {
                let owned = ahead.overwritten(&self.model).zip(computed(&self.model));
                match owned {
                    Some((mut owned, buffers)) => {
                        owned.extend(buffers);
                        replay.begin(owned)?.map(|run| (run, ahead))
                    }
                    None => None,
                }
            }
            _ => None,
        };
        let Some((mut run, ahead)) = run else {
            self.progress = Progress::begun();
            return Ok(None);
        };
        let mut left = steps;
        while left > 0 {
            let now = left.min(run.most());
            let counter = self.pass.rng.counter();
            run.submit(now, counter, |step, put| {
                rows.iter_mut().for_each(|rows| put(&rows.next()));
                for numbers in ahead.given(step as u64) {
                    let single: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
                    put(bytemuck::cast_slice(&single));
                }
            })?;
            ahead.taken(now as u64);
            self.pass.rng.set_counter(counter + now as u32 * draws);
            count_on(&self.model, counts, now as u32);
            left -= now;
        }
        ahead.set_gradient_norm(norm.and_then(|place| run.value(place)));
        Ok(run.value(*loss))
    }
}

/// What replays the second of two successive steps.
fn compared(last: &Seen, now: &Seen, ahead: bool) -> std::result::Result<Replayed, Refused> {
    let refused = |why| Err(Refused { why, again: false });
    if !ahead {
        return refused("the optimizer does not say what its next steps are");
    }
    if now.seed != last.seed || now.taken.start != last.taken.end || now.taken.end < now.taken.start {
        // After 2^32 draws it sets itself.
        return Err(Refused { why: "the generator of the pass was set on the way", again: true });
    }
    if now.counts != last.counts {
        return refused("the counters of the model do not move evenly");
    }
    let counting = Counting {
        op: <Random as Op>::NAME,
        seed: [now.seed as u32, (now.seed >> 32) as u32],
        taken: now.taken.clone(),
    };
    let replay = Replay::of(&last.notes, &now.notes, &counting)?;
    let Some(loss) = now.loss else { return refused("the loss is not computed by the step") };
    Ok(Replayed { replay, loss, norm: now.norm, counts: now.counts.clone() })
}
