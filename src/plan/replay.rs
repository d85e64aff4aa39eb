//! A step that comes back the same is run again as it was noted, many times in one submission.
//!
//! A step of training is the same launches every time, and only a few numbers differ. Still it is recorded,
//! differentiated, traced and looked up before its launches are encoded, which takes the host longer than a small
//! network takes a GPU. So whoever takes many steps (`optim::Steps`) has two of them noted: which plan ran, on which
//! memory, with which numbers. If the two differ only in what is known to count on (random draws) and in what was given
//! anew (the numbers of an optimizer), the launches are encoded again and again, with those numbers in the rows of one
//! table, which is written once per submission.
//!
//! A replay holds the memory of the program weakly: whether an update may overwrite it is read off the handles
//! (`trace`), and a replay must not count among them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};

use super::gpu::{Buffers, GpuPlan, Rows};
use super::trace::{GraphNode, Source};
use super::{Body, Plan, Plans};
use crate::device::{Buffer, Check, Device, Gpu, Submitted};
use crate::error::Result;
use crate::tensor::{Node, NodeState, QuickMap, Storage, Tensor};

thread_local! {
    static NOTES: RefCell<Option<Notes>> = const { RefCell::new(None) };
}

/// What the evaluations of a step ran.
#[derive(Default)]
pub(crate) struct Notes {
    evaluations: usize,
    /// The last one, if it can be replayed.
    ran: Option<Ran>,
    /// Memory whose content is given anew to each step, and its bytes.
    given: Vec<(Weak<Buffer>, usize)>,
}

/// One evaluation.
struct Ran {
    device: Device,
    plan: Arc<Plan>,
    /// The address of each node of its graph.
    nodes: Vec<usize>,
    storages: Vec<Weak<Buffer>>,
    scalars: Vec<u32>,
}

/// Notes what the evaluations of this thread run during `step`.
pub(crate) fn noted<R>(step: impl FnOnce() -> R) -> (R, Notes) {
    /// Puts back what another was noting; a step that takes steps of its own is not one program.
    struct Restore(Option<Notes>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = self.0.take().map(|notes| Notes { evaluations: notes.evaluations + 2, ..notes });
            NOTES.set(outer);
        }
    }
    let restore = Restore(NOTES.replace(Some(Notes::default())));
    let result = step();
    let notes = NOTES.take().unwrap_or_default();
    drop(restore);
    (result, notes)
}

/// Notes an evaluation that is about to run.
pub(super) fn note(
    device: &Device,
    plan: &Arc<Plan>,
    (nodes, storages, scalars): (&[Arc<Node>], &[Storage], &[u32]),
    stepwise: bool,
) {
    NOTES.with_borrow_mut(|notes| {
        let Some(notes) = notes else { return };
        let memory = |storage: &Storage| match storage {
            Storage::Gpu(buffer) => Some(Arc::downgrade(buffer)),
            _ => None,
        };
        let storages: Option<Vec<_>> = storages.iter().map(memory).collect();
        notes.evaluations += 1;
        notes.ran = storages.filter(|_| !stepwise && matches!(plan.body, Body::Gpu(_))).map(|storages| Ran {
            device: device.clone(),
            plan: Arc::clone(plan),
            nodes: nodes.iter().map(|node| Arc::as_ptr(node) as usize).collect(),
            storages,
            scalars: scalars.to_vec(),
        });
    });
}

/// Notes that this tensor of the step is given anew by the host each time, and that whoever replays the step has its
/// content.
pub(crate) fn note_given(tensor: &Tensor) {
    NOTES.with_borrow_mut(|notes| {
        let (Some(notes), NodeState::Ready { values, .. }) = (notes, &*tensor.node.state()) else { return };
        if let Storage::Gpu(buffer) = &values[tensor.output].storage {
            notes.given.push((Arc::downgrade(buffer), tensor.elements() * tensor.dtype().bytes()));
        }
    });
}

/// Numbers that count on from step to step: the third input of the ops of this name.
pub(crate) struct Counting {
    pub op: &'static str,
    /// Their first two inputs.
    pub seed: [u32; 2],
    /// The counts that a step took.
    pub taken: Range<u32>,
}

/// Why a step is not replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub why: &'static str,
    /// Whether the next step may be another matter, as the second of a program is.
    pub again: bool,
}

fn refused<T>(why: &'static str) -> std::result::Result<T, Refused> {
    Err(Refused { why, again: false })
}

/// A step that can be run again.
pub(crate) struct Replay {
    device: Device,
    plan: Arc<Plan>,
    storages: Vec<Weak<Buffer>>,
    /// Which storages are given anew, and their bytes.
    given: Vec<(usize, usize)>,
    /// The leaves that count on, and their place among the draws of a step.
    counters: Vec<(usize, u32)>,
    draws: u32,
    rows: Rows,
    most: usize,
    table: Option<Arc<Buffer>>,
    /// The content of the table, and the numbers of each turn.
    bytes: Vec<u8>,
    scalars: Vec<u32>,
    under_way: VecDeque<Submitted>,
}

/// Submissions that may be under way: while the device works at one, the host makes the next.
const UNDER_WAY: usize = 2;

impl Notes {
    /// Where a tensor of the noted step is made: the node of the graph, and the output.
    pub fn place(&self, tensor: &Tensor) -> Option<(usize, usize)> {
        let address = Arc::as_ptr(&tensor.node) as usize;
        Some((self.ran.as_ref()?.nodes.iter().position(|&node| node == address)?, tensor.output))
    }

    /// Which storages were given anew, and their bytes.
    fn given_of(&self, ran: &Ran) -> Option<Vec<(usize, usize)>> {
        let at = |(given, bytes): &(Weak<Buffer>, usize)| {
            ran.storages.iter().position(|storage| storage.ptr_eq(given)).map(|s| (s, *bytes))
        };
        self.given.iter().map(at).collect()
    }
}

/// The counters among the scalars of a step, and their place among its draws.
fn counters_of(ran: &Ran, counting: &Counting) -> std::result::Result<Vec<(usize, u32)>, Refused> {
    let graph = &ran.plan.graph;
    let counts = |node: &GraphNode| node.op.name() == counting.op;
    let mut counters = Vec::new();
    for node in graph.nodes.iter().filter(|node| counts(node)) {
        let &[Source::Leaf(low), Source::Leaf(high), Source::Leaf(counter)] = &node.inputs[..] else {
            return refused("it draws random numbers by a counter that is computed");
        };
        let (seed, count) = ([ran.scalars[low], ran.scalars[high]], ran.scalars[counter]);
        if seed != counting.seed || !counting.taken.contains(&count) {
            return refused("it draws random numbers by another generator than that of the pass");
        }
        if !counters.iter().any(|&(leaf, _)| leaf == counter) {
            counters.push((counter, count - counting.taken.start));
        }
    }
    let elsewhere = |leaf: usize| {
        let reads = |node: &GraphNode| {
            let inputs = &node.inputs[..if counts(node) { 2 } else { node.inputs.len() }];
            inputs.contains(&Source::Leaf(leaf))
        };
        graph.nodes.iter().any(reads)
    };
    if counters.iter().any(|&(leaf, _)| elsewhere(leaf)) {
        return refused("it computes with the counter of its random numbers");
    }
    let mut places: Vec<u32> = counters.iter().map(|&(_, place)| place).collect();
    places.sort_unstable();
    places.dedup();
    if places.len() != counting.taken.len() || places.len() != counters.len() {
        return refused("it draws random numbers on the host, or some that nothing depends on");
    }
    Ok(counters)
}

impl Replay {
    /// The step that ran twice in succession, if it can be run again; `counting` says what the second took, and
    /// `wanted` which of its results are wanted of every step, by node and output; `None` if it does not compute them.
    pub fn of(
        before: &Notes,
        now: &Notes,
        counting: &Counting,
        wanted: Option<&[(usize, usize)]>,
    ) -> std::result::Result<Replay, Refused> {
        if now.evaluations != 1 {
            return refused("it is more than one program: something is evaluated on the way, or by another optimizer");
        }
        let Some(ran) = &now.ran else {
            return refused("it runs on no GPU, or each of its launches by itself, to be checked or timed");
        };
        let Body::Gpu(body) = &ran.plan.body else { return refused("it runs on no GPU") };
        let Some(wanted) = wanted else { return refused("the loss, or a figure, is not computed by the step") };
        let counters = counters_of(ran, counting)?;
        // The first step of an optimizer also evaluates, before, what it starts from.
        let Some(first) = before.ran.as_ref().filter(|first| Arc::ptr_eq(&first.plan, &ran.plan)) else {
            return Err(Refused { why: "no two steps in succession were the same program", again: true });
        };
        let (Some(given), Some(given_before)) = (now.given_of(ran), before.given_of(first)) else {
            return refused("something that it is given anew is not read");
        };
        let is_given = |s: usize| given.iter().any(|&(g, _)| g == s);
        let stays = |s: usize| is_given(s) || ran.storages[s].ptr_eq(&first.storages[s]);
        if given != given_before || !(0..ran.storages.len()).all(stays) {
            let why = "it reads other memory in each step, such as a batch that is uploaded, or state that is not kept in place";
            // The first step after somebody took hold of the parameters writes elsewhere.
            return Err(Refused { why, again: true });
        }
        let draws = counting.taken.len() as u32;
        let goes_on = |(leaf, (now, before)): (usize, (&u32, &u32))| match counters.iter().any(|&(l, _)| l == leaf) {
            true => before.wrapping_add(draws) == *now,
            false => before == now,
        };
        if !ran.scalars.iter().zip(&first.scalars).enumerate().all(goes_on) {
            return refused("a number of the host differs from step to step");
        }
        let Some(rows) = body.rows(draws > 0, &given, wanted) else {
            return refused("a figure of the step is computed into memory that is not its own");
        };
        let most = body.most_turns();
        let mut replay = Replay {
            device: ran.device.clone(),
            plan: Arc::clone(&ran.plan),
            storages: ran.storages.clone(),
            given,
            counters,
            draws,
            bytes: vec![0; rows.bytes(most)],
            scalars: ran.scalars.repeat(most),
            rows,
            most,
            table: None,
            under_way: VecDeque::new(),
        };
        replay.feed_all();
        Ok(replay)
    }

    fn parts(&self) -> (&Gpu, &GpuPlan) {
        match (self.device.as_gpu(), &self.plan.body) {
            (Some(gpu), Body::Gpu(body)) => (gpu, body),
            _ => unreachable!("only plans of GPUs are replayed"),
        }
    }

    /// Writes the host's numbers into the table, on the host.
    fn feed_all(&mut self) {
        let leaves = self.scalars.len() / self.most;
        for (k, bits) in self.scalars.iter().enumerate() {
            if let Some(at) = self.rows.number(k / leaves, k % leaves) {
                self.bytes[at..][..4].copy_from_slice(&bits.to_le_bytes());
            }
        }
    }

    /// The counts that a step takes.
    pub fn draws(&self) -> u32 {
        self.draws
    }

    /// Makes ready to replay the step. `owned` are the handles by which the program holds what the step overwrites,
    /// each cloned once. `None` if something is not as it was: memory is gone, somebody else holds what would be
    /// overwritten, the plan was made anew, or each step is to be checked or timed.
    pub fn begin(&mut self, owned: Vec<Tensor>) -> Result<Option<Run<'_>>> {
        let profiled = self.device.attached(Plans::default).profiler.is_on();
        let planned = Arc::strong_count(&self.plan) > 1;
        if self.device.check()? != Check::Off || profiled || !planned || !self.is_free(&owned) {
            return Ok(None);
        }
        drop(owned);
        let (gpu, body) = self.parts();
        let table = match &self.table {
            Some(table) => Arc::clone(table),
            None => gpu.allocate(self.bytes.len().max(4) as u64, "the numbers of many steps")?,
        };
        let storage = |(s, weak): (usize, &Weak<Buffer>)| match self.given.iter().any(|&(given, _)| given == s) {
            true => Some(Storage::Gpu(Arc::clone(&table))),
            false => weak.upgrade().map(Storage::Gpu),
        };
        let Some(storages) = self.storages.iter().enumerate().map(storage).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let buffers = body.buffers_of_turns(gpu, &storages, &self.rows, &table)?;
        self.table = Some(table);
        Ok(Some(Run { replay: self, buffers }))
    }

    /// Whether the step may overwrite what it did overwrite: nobody holds it but `owned`.
    fn is_free(&self, owned: &[Tensor]) -> bool {
        let mut owners: QuickMap<*const Node, (&Tensor, usize)> = QuickMap::default();
        owned.iter().for_each(|tensor| owners.entry(Arc::as_ptr(&tensor.node)).or_insert((tensor, 0)).1 += 1);
        let mut handles: QuickMap<usize, usize> = QuickMap::default();
        for (tensor, clones) in owners.values() {
            if let NodeState::Ready { values, .. } = &*tensor.node.state() {
                // Each owner has a handle besides its clone.
                let sole = Arc::strong_count(&tensor.node) == 2 * clones;
                for value in values.iter().filter(|_| sole) {
                    *handles.entry(value.storage.id()).or_default() += 1;
                }
            }
        }
        let donated = self.storages.iter().zip(&self.plan.graph.donated).filter(|(_, donated)| **donated);
        donated.into_iter().all(|(storage, _)| {
            let known = handles.get(&(storage.as_ptr() as usize)).copied().unwrap_or(0);
            known > 0 && storage.strong_count() == known
        })
    }
}

/// A replay that has its memory.
pub(crate) struct Run<'a> {
    replay: &'a mut Replay,
    buffers: Buffers,
}

impl Run<'_> {
    /// How many steps are submitted at once.
    pub fn most(&self) -> usize {
        self.replay.most
    }

    /// The lengths in bytes of what is given anew, in the order in which it was noted.
    pub fn given(&self) -> impl Iterator<Item = usize> {
        self.replay.given.iter().map(|&(_, bytes)| bytes)
    }

    /// Submits some steps, the first of which takes counts from `counter` on. `given` gives the content of what is
    /// given anew to a step, in the order in which it was noted.
    pub fn submit(
        &mut self,
        steps: usize,
        counter: u32,
        mut given: impl FnMut(usize, &mut dyn FnMut(&[u8])),
    ) -> Result<()> {
        let Replay { rows, bytes, scalars, counters, draws, most, .. } = &mut *self.replay;
        let leaves = scalars.len() / *most;
        for step in 0..steps {
            for &(leaf, place) in counters.iter() {
                let count = counter.wrapping_add(step as u32 * *draws).wrapping_add(place);
                scalars[step * leaves + leaf] = count;
                if let Some(at) = rows.number(step, leaf) {
                    bytes[at..][..4].copy_from_slice(&count.to_le_bytes());
                }
            }
            let mut places = rows.given(step);
            given(step, &mut |content| {
                let at = places.next().expect("as much is given as was noted");
                bytes[at..][..content.len()].copy_from_slice(content);
            });
        }
        let (gpu, body) = self.replay.parts();
        if let Some(table) = &self.replay.table {
            gpu.write(table, 0, &self.replay.bytes[..self.replay.rows.bytes(steps)]);
        }
        // As in `noted`.
        NOTES.with_borrow_mut(|notes| notes.iter_mut().for_each(|notes| notes.evaluations += 2));
        let submitted = body.run_turns(gpu, &self.buffers, &self.replay.rows, &self.replay.scalars, steps)?;
        self.replay.device.attached(Plans::default).tuning.after_evaluation(gpu)?;
        self.replay.under_way.extend(submitted);
        if self.replay.under_way.len() > UNDER_WAY
            && let Some(first) = self.replay.under_way.pop_front()
        {
            self.replay.parts().0.wait_for(first)?;
        }
        Ok(())
    }

    /// What a step of the submission made in a place that is wanted.
    pub fn value(&self, step: usize, (node, output): (usize, usize)) -> Option<Tensor> {
        let Replay { device, plan, rows, .. } = &*self.replay;
        let meta = &plan.graph.nodes[node].metas[output];
        let value = self.replay.parts().1.value(&self.buffers, rows, step, (node, output), meta.dtype.bytes())?;
        Some(Tensor::leaf(device, meta.clone(), value, false))
    }
}
