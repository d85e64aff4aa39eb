//! The steps of whoever trains, replayed where they can be: what [`Steps`](super::Steps) and the trainers of `train`
//! share.
//!
//! An ordinary step records its graph, differentiates it and finds its plan before anything is encoded. That takes the
//! host some 100 us, which a small network does not take on a GPU. Here the first two steps are ordinary, and are
//! compared; if they ran the same launches on the same memory, those are encoded again for the steps after them, many
//! in one submission. CUDA graphs, `jax.lax.scan` and `capturable=True` of PyTorch's optimizers are the same idea.

use std::ops::Range;

use super::program::{Learners, Program, place_of};
use super::{Optimizer, Row};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Parameters, Pass, computed, count_on, counts};
use crate::ops::random::Random;
use crate::plan::replay::{Counting, Notes, Refused, Replay, note_given, noted};
use crate::tensor::{Op, Tensor};

/// What an optimizer says of the steps ahead, and is told when they were made.
pub trait Ahead {
    /// The content of the tensors that it makes anew for a step, in the order in which it makes them: of the step that
    /// comes after `ahead` others.
    fn given(&self, ahead: u64) -> Vec<Vec<f64>>;

    /// A clone of each handle on what a step overwrites, the buffers of the model apart.
    fn overwritten(&self, model: &dyn Parameters) -> Vec<Tensor>;

    /// Whether the next step is like the last.
    fn goes_on(&self) -> bool;

    /// Counts steps that were made.
    fn taken(&mut self, steps: u64);

    /// Takes over the norm of the gradients of the last one.
    fn set_gradient_norm(&mut self, norm: Option<Tensor>);
}

/// What a step makes, by name: the loss first.
pub(super) type Figures = Vec<(&'static str, Tensor)>;

/// Records a step and takes it, at once or by what it asks of the program.
type Record<'a, L, T> = dyn Fn(&mut L, &T, &mut Program, &mut Pass) -> Result<Figures> + 'a;

/// A model, what trains it, and its pass.
pub(crate) struct Trained<'a, M, O> {
    pub model: &'a mut M,
    pub optimizer: &'a mut O,
    pub pass: &'a mut Pass,
}

/// A model and what trains it.
struct One<'a, M, O> {
    model: &'a mut M,
    optimizer: &'a mut O,
}

impl<M: Parameters, O: Optimizer> Learners for One<'_, M, O> {
    fn model(&self) -> &dyn Parameters {
        &*self.model
    }
    fn optimizers(&mut self, visit: &mut dyn FnMut(&mut dyn Optimizer, &mut dyn Parameters)) {
        visit(self.optimizer, self.model);
    }
}

/// What is known of the steps so far.
pub(crate) struct Replays {
    progress: Progress,
    /// What came between the steps and was not reported yet.
    fault: Option<Error>,
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
    /// The node and the output that are each of its figures.
    figures: Option<Vec<(&'static str, Place)>>,
    turns: Option<Turns>,
    /// The pass: its seed, the counts that the step took, and how it runs.
    seed: u64,
    taken: Range<u32>,
    kind: [bool; 2],
    /// By how much the counters of the model moved.
    counts: Vec<u32>,
}

type Place = (usize, usize);

struct Replayed {
    replay: Replay,
    figures: Vec<(&'static str, Place)>,
    turns: Turns,
    seed: u64,
    kind: [bool; 2],
    counts: Vec<u32>,
}

/// The steps of optimizers that are one step of the program.
#[derive(Clone)]
struct Turns {
    /// Which optimizer takes each, and after how many others of its own.
    order: Vec<(usize, u64)>,
    /// Of each optimizer where the norm of its gradients is made, if it clips by it.
    norms: Vec<Option<Place>>,
}

impl Turns {
    /// Those of optimizers that took steps in this order; `None` if one does not say what its next steps are.
    fn of(learners: &mut dyn Learners, stepped: &[Option<usize>], notes: &Notes) -> Option<Turns> {
        let (mut places, mut norms) = (Vec::new(), Vec::new());
        learners.optimizers(&mut |optimizer, _| {
            places.push(place_of(optimizer));
            norms.push(optimizer.gradient_norm().and_then(|norm| notes.place(norm)));
        });
        let mut order: Vec<(usize, u64)> = Vec::new();
        for place in stepped {
            let which = places.iter().position(|known| known.is_some() && known == place)?;
            order.push((which, order.iter().filter(|&&(other, _)| other == which).count() as u64));
        }
        Some(Turns { order, norms })
    }

    /// How many steps an optimizer takes.
    fn count(&self, which: usize) -> u64 {
        self.order.iter().filter(|&&(other, _)| other == which).count() as u64
    }

    /// What the optimizers make anew for a step of the program, in their order: the one after `ahead` others.
    fn given(&self, learners: &mut dyn Learners, ahead: u64, put: &mut dyn FnMut(&[u8])) {
        for &(which, before) in &self.order {
            let done = ahead * self.count(which) + before;
            each_ahead(learners, &mut |k, optimizer, _| {
                for numbers in optimizer.given(done).into_iter().filter(|_| k == which) {
                    let single: Vec<f32> = numbers.iter().map(|&number| number as f32).collect();
                    put(bytemuck::cast_slice(&single));
                }
            });
        }
    }
}

/// Calls `visit` with each optimizer that says what its next steps are, its number, and its model.
fn each_ahead(learners: &mut dyn Learners, visit: &mut dyn FnMut(usize, &mut dyn Ahead, &dyn Parameters)) {
    let mut k = 0;
    learners.optimizers(&mut |optimizer, model| {
        if let Some(ahead) = optimizer.ahead() {
            visit(k, ahead, model);
        }
        k += 1;
    });
}

/// Handles on all that a step overwrites; `None` if the next step is not like the last.
fn overwritten(learners: &mut dyn Learners, turns: &Turns) -> Option<Vec<Tensor>> {
    let mut all = computed(learners.model())?;
    let mut going_on = 0;
    each_ahead(learners, &mut |k, ahead, model| {
        going_on += (ahead.goes_on() || turns.count(k) == 0) as usize;
        all.extend(ahead.overwritten(model));
    });
    (going_on == turns.norms.len()).then_some(all)
}

/// Ordinary steps that are compared before they are given up.
const MOST_WATCHED: u32 = 4;

/// What of a pass is part of the program.
fn kind(pass: &Pass) -> [bool; 2] {
    [pass.training, pass.mixed]
}

/// The norm of the gradients among the figures.
const NORM: &str = "gradient norm";

/// Records a step and takes it; gives which optimizers did.
#[track_caller]
fn step<L: Learners, T>(
    learners: &mut L,
    row: &T,
    pass: &mut Pass,
    record: &Record<L, T>,
) -> Result<(Figures, Vec<Option<usize>>)> {
    let mut program = Program::default();
    let figures = record(learners, row, &mut program, pass)?;
    let stepped = program.compute(learners, &figures)?;
    Ok((figures, stepped))
}

impl Progress {
    fn begun() -> Progress {
        Progress::Watched { last: None, steps: 0, why: "no two steps have been taken yet" }
    }
}

impl Replays {
    /// No step has been taken.
    pub fn new() -> Replays {
        Replays { progress: Progress::begun(), fault: None }
    }

    /// Every step is an ordinary one.
    pub fn none(why: &'static str) -> Replays {
        Replays { progress: Progress::Refused(why), fault: None }
    }

    /// Whether the next steps are replayed; if not, why.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        match &self.progress {
            Progress::Replayed(_) => Ok(()),
            Progress::Watched { why, .. } | Progress::Refused(why) => Err(why),
        }
    }

    /// Begins anew, since something was changed between two steps.
    pub fn forget(&mut self) {
        if let Progress::Replayed(_) | Progress::Watched { .. } = self.progress {
            self.progress = Progress::begun();
        }
    }

    /// Takes up to `most` steps, and at least one. `each`: one ordinary step or one submission of replayed ones, and
    /// the figures of each; else all, and the figures of the last. Figures are what `record` records, the loss first,
    /// and the norm of the gradients where the optimizer clips by it.
    #[track_caller]
    pub fn take<M: Parameters, O: Optimizer, R: Row>(
        &mut self,
        Trained { model, optimizer, pass }: Trained<M, O>,
        many: (usize, bool),
        next: &mut dyn FnMut() -> Result<R>,
        record: &dyn Fn(&M, &R::Tensors, &mut Pass) -> Figures,
    ) -> Result<Vec<Figures>> {
        let step =
            |One { model, optimizer }: &mut One<M, O>, row: &R::Tensors, program: &mut Program, pass: &mut Pass| {
                let mut figures = record(model, row, pass);
                let all: Vec<&Tensor> = figures.iter().map(|(_, figure)| figure).collect();
                program.note(*optimizer);
                optimizer.step_with_figures(*model, all[0], &all[1..])?;
                figures.extend(optimizer.gradient_norm().map(|norm| (NORM, norm.clone())));
                Ok(figures)
            };
        self.take_together((&mut One { model, optimizer }, pass), many, next, &step)
    }

    /// The same of steps of several optimizers; `record` asks them of the program.
    #[track_caller]
    pub fn take_together<L: Learners, R: Row>(
        &mut self,
        (learners, pass): (&mut L, &mut Pass),
        (most, each): (usize, bool),
        next: &mut dyn FnMut() -> Result<R>,
        record: &Record<L, R::Tensors>,
    ) -> Result<Vec<Figures>> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let mut left = most;
        loop {
            let (taken, mut made, row) = self.replay((&mut *learners, &mut *pass), (left, each), next)?;
            left -= taken;
            if !each && let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            if left == 0 || (each && taken > 0 && row.is_none()) {
                return Ok(made);
            }
            let row = row.map_or_else(&mut *next, Ok)?;
            if !each {
                made.clear();
            }
            made.push(self.step((&mut *learners, &mut *pass), &row, record)?);
            left -= 1;
            if left == 0 || each {
                return Ok(made);
            }
        }
    }

    /// An ordinary step; compared with the one before, unless that is settled.
    #[track_caller]
    fn step<L: Learners, R: Row>(
        &mut self,
        (learners, pass): (&mut L, &mut Pass),
        row: &R,
        record: &Record<L, R::Tensors>,
    ) -> Result<Figures> {
        let row = row.upload(&device_of(learners.model())?)?;
        let Progress::Watched { .. } = self.progress else { return Ok(step(learners, &row, pass, record)?.0) };
        let (begun, counted) = (pass.rng, counts(learners.model()));
        let (made, notes) = noted(|| {
            R::tensors(&row, &mut note_given);
            step(learners, &row, pass, record)
        });
        let (figures, stepped) = made?;
        let moved = counts(learners.model());
        let place = |(name, figure): &(&'static str, Tensor)| Some((*name, notes.place(figure)?));
        let now = Seen {
            figures: figures.iter().map(place).collect(),
            turns: Turns::of(learners, &stepped, &notes),
            seed: begun.seed(),
            taken: begun.counter()..pass.rng.counter(),
            kind: kind(pass),
            counts: moved.iter().zip(&counted).map(|(now, before)| now.wrapping_sub(*before)).collect(),
            notes,
        };
        let Progress::Watched { last, steps, .. } = &mut self.progress else { return Ok(figures) };
        let (last, steps) = (last.take(), *steps + 1);
        let compared = last.map(|last| compared(&last, &now));
        self.progress = match compared {
            Some(Ok(replayed)) => Progress::Replayed(Box::new(replayed)),
            Some(Err(Refused { why, again })) if !again || steps >= MOST_WATCHED => Progress::Refused(why),
            Some(Err(Refused { why, .. })) => Progress::Watched { last: Some(Box::new(now)), steps, why },
            None => Progress::Watched { last: Some(Box::new(now)), steps, why: "one step has been taken" },
        };
        Ok(figures)
    }

    /// Replays up to `most` steps, if they can be; if `each`, in one submission. Gives how many they were, the figures
    /// of each or of the last, and a row that was fetched and is of another length.
    fn replay<L: Learners, R: Row>(
        &mut self,
        (learners, pass): (&mut L, &mut Pass),
        (most, each): (usize, bool),
        next: &mut dyn FnMut() -> Result<R>,
    ) -> Result<(usize, Vec<Figures>, Option<R>)> {
        let Progress::Replayed(replayed) = &mut self.progress else { return Ok((0, Vec::new(), None)) };
        let Replayed { replay, figures, turns, seed, kind: was, counts } = &mut **replayed;
        let (draws, counter) = (replay.draws(), pass.rng.counter());
        // After so many draws the seed is another.
        let undisturbed = (u32::MAX - counter).checked_div(draws).map_or(most, |left| left as usize);
        let same = pass.rng.seed() == *seed && kind(pass) == *was && undisturbed > 0;
        let run = match overwritten(learners, turns).filter(|_| same) {
            Some(owned) => replay.begin(owned)?,
            None => None,
        };
        let Some(mut run) = run else {
            self.progress = Progress::begun();
            return Ok((0, Vec::new(), None));
        };
        let most = most.min(undisturbed);
        let (mut taken, mut made, mut misfit) = (0, Vec::new(), None);
        let mut rows = Vec::new();
        loop {
            let wanted = (most - taken).min(run.most());
            rows.clear();
            while rows.len() < wanted && misfit.is_none() && self.fault.is_none() {
                match next() {
                    Ok(row) if fits(&row, run.given()) => rows.push(row),
                    Ok(row) => misfit = Some(row),
                    Err(fault) => self.fault = Some(fault),
                }
            }
            let steps = rows.len();
            if steps > 0 {
                let counter = pass.rng.counter();
                run.submit(steps, counter, |step, put| {
                    rows[step].bytes(put);
                    turns.given(learners, step as u64, put);
                })?;
                each_ahead(learners, &mut |k, ahead, _| ahead.taken(steps as u64 * turns.count(k)));
                pass.rng.set_counter(counter + steps as u32 * draws);
                count_on(learners.model(), counts, steps as u32);
                taken += steps;
            }
            let over = each || taken == most || steps < wanted;
            if over && steps > 0 {
                // One for each step, as whoever counts them relies on.
                let value = |step, place| run.value(step, place).expect("a figure of a step that is replayed is kept");
                let of = |step, &(name, place): &(&'static str, Place)| (name, value(step, place));
                let first = if each { 0 } else { steps - 1 };
                made.extend(
                    (first..steps).map(|step| figures.iter().map(|figure| of(step, figure)).collect::<Figures>()),
                );
                each_ahead(learners, &mut |k, ahead, _| {
                    ahead.set_gradient_norm(turns.norms[k].map(|place| value(steps - 1, place)));
                });
            }
            match self.fault.take_if(|_| taken == 0) {
                Some(fault) => return Err(fault),
                None if over => return Ok((taken, made, misfit)),
                None => {}
            }
        }
    }
}

/// Whether what is given anew first has the lengths of this row.
fn fits(row: &impl Row, mut given: impl Iterator<Item = usize>) -> bool {
    let mut all = true;
    row.bytes(&mut |bytes| all &= given.next() == Some(bytes.len()));
    all
}

/// Where a model is.
pub(crate) fn device_of(model: &dyn Parameters) -> Result<Device> {
    let mut device = None;
    model.params(&mut |_, param| _ = device.get_or_insert_with(|| param.get().device().clone()));
    device.ok_or_else(|| Error::argument("the model has no parameter", "train one that has some"))
}

/// What replays the second of two successive steps.
fn compared(last: &Seen, now: &Seen) -> std::result::Result<Replayed, Refused> {
    let refused = |why| Err(Refused { why, again: false });
    let Some(turns) = &now.turns else {
        return refused("an optimizer does not say what its next steps are");
    };
    if last.turns.as_ref().is_none_or(|last| last.order != turns.order) {
        return Err(Refused { why: "no two steps in succession were the same program", again: true });
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
    let norms = turns.norms.iter().copied().flatten();
    let places = |figures: &Vec<(_, Place)>| figures.iter().map(|&(_, place)| place).chain(norms).collect::<Vec<_>>();
    let wanted = now.figures.as_ref().map(places);
    let replay = Replay::of(&last.notes, &now.notes, &counting, wanted.as_deref())?;
    let (figures, counts) = (now.figures.clone().unwrap_or_default(), now.counts.clone());
    Ok(Replayed { replay, figures, turns: turns.clone(), seed: now.seed, kind: now.kind, counts })
}
