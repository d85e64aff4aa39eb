//! From a recorded graph to a fixed list of launches, kept and replayed.
//!
//! `trace` turns the tensors into a graph that can be compared; `fuse` decides which values exist in memory and which
//! only inside a kernel; `join` puts the stores and loads of one kernel to the use of another; `gpu` lowers the result
//! to launches with buffers, of which `merge` makes one where they are small, and runs them; `replay` runs them many
//! times in one submission; `cpu` runs the same steps on the reference code; `tune` measures which kernels are the
//! fastest here. A plan is kept by the structure of its graph, so the second step of a training loop finds the first
//! one's plan and thinks nothing.

mod check;
mod cpu;
mod fuse;
mod gpu;
mod halves;
mod join;
mod memory;
mod merge;
mod oracle;
pub mod profile;
pub(crate) mod replay;
mod trace;
mod tune;
mod value;
mod walk;
mod wgsl;

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};

use rustc_hash::FxHasher;

pub use tune::Measured;
pub use value::caps_of;

use crate::device::{Check, Device, Kind, Tally};
use crate::error::{Error, Result};
use crate::tensor::{Caps, DType, LoweredDispatch, NodeState, QuickMap, Storage, Tensor, Value};
use trace::{Graph, Traced, trace};

/// The plans of a device.
#[derive(Default)]
struct Plans {
    kept: Mutex<QuickMap<u64, Vec<Arc<Plan>>>>,
    profiler: profile::Profiler,
    tuning: tune::Tuning,
}

struct Plan {
    graph: Graph,
    /// Whether it keeps every value in memory, for a checked run to look at.
    checked: bool,
    body: Body,
}

enum Body {
    Gpu(gpu::GpuPlan),
    Cpu(cpu::CpuPlan),
    Oracle,
}

/// Plans kept per device. A program whose graphs differ every time would otherwise grow without end.
const MOST_PLANS: usize = 512;

/// Computes these tensors, and every value of their graph that somebody holds, in one submission.
///
/// # Errors
/// A fault of the device, or memory that does not fit it.
///
/// # Panics
/// If a tensor depends on a value that an optimizer's update took over.
pub fn eval(tensors: &[&Tensor]) -> Result<()> {
    eval_donating(tensors, &[])
}

/// [`eval`], allowing updates to overwrite the memory of `donors`, whose handles the caller gives up on success.
pub(crate) fn eval_donating(tensors: &[&Tensor], donors: &[&Tensor]) -> Result<()> {
    let Some(first) = tensors.iter().find(|t| matches!(&*t.node.state(), NodeState::Pending(_))) else {
        return Ok(());
    };
    let device = first.device().clone();
    let traced = trace(tensors, donors);
    let check = device.check()?;
    let plan = plan_of(&device, &traced, check != Check::Off)?;
    let Traced { nodes, storages, scalars, given, .. } = traced;
    let inspect = check::Inspect { device: &device, graph: &plan.graph, sites: &nodes, check };
    let profiler = &device.attached(Plans::default).profiler;
    let stepwise = check != Check::Off || profiler.is_on();
    replay::note(&device, &plan, (&nodes, &storages, &scalars), stepwise);
    let walk = |program: &fuse::Program, backend: &mut dyn check::Backend| match check {
        Check::Off => profiler.run(program, &plan.graph, &nodes, backend),
        _ => inspect.run(program, &scalars, backend),
    };
    let given = match &plan.body {
        // There an op writes over memory that only the run holds.
        Body::Cpu(_) if check == Check::Off => {
            given.iter().for_each(|node| node.give());
            Vec::new()
        }
        _ => given,
    };
    let results = match (&plan.body, device.kind()) {
        (Body::Gpu(body), Kind::Gpu(gpu)) if stepwise => body.run_stepwise(gpu, &storages, &scalars, walk)?,
        (Body::Cpu(body), _) if stepwise => body.run_stepwise(&plan.graph, storages, &scalars, device.tally(), walk)?,
        (Body::Gpu(body), Kind::Gpu(gpu)) => body.run(gpu, &storages, &scalars)?,
        (Body::Cpu(body), _) => body.run(&plan.graph, storages, &scalars, device.tally()),
        (Body::Oracle, _) => oracle::run(&plan.graph, &storages, &scalars),
        _ => unreachable!("a plan is kept with the device it was made for"),
    };
    for (node, values) in results {
        let node = &nodes[node];
        let mut state = node.state();
        let history = match &*state {
            NodeState::Pending(history) if node.tracked => Some(history.clone()),
            _ => None,
        };
        let old = std::mem::replace(&mut *state, NodeState::Ready { values, history });
        // The old state's inputs may lead back to long chains: let go of them after the lock.
        drop(state);
        drop(old);
    }
    given.iter().for_each(|node| node.give());
    if let Some(gpu) = device.as_gpu() {
        device.attached(Plans::default).tuning.after_evaluation(gpu)?;
    }
    Ok(())
}

/// The launches by which a GPU of these capabilities would compute these tensors. It need not be there: they have
/// neither pipelines nor memory yet, but what can be known of a kernel from its text can be checked on any machine.
pub fn launches(tensors: &[&Tensor], caps: Caps) -> Vec<LoweredDispatch> {
    gpu::lowered(&trace(tensors, &[]).whole(), caps)
}

/// The launches by which this device computes these tensors: those of its adapter, with the variants of kernels that
/// are pinned or were measured there. None if it is no GPU.
///
/// # Errors
/// If the pinned variant of a kernel is none that the adapter can run.
pub fn launches_on(device: &Device, tensors: &[&Tensor]) -> Result<Vec<LoweredDispatch>> {
    let Some(gpu) = device.as_gpu() else { return Ok(Vec::new()) };
    let tuning = &device.attached(Plans::default).tuning;
    gpu::lowered_on(&trace(tensors, &[]).whole(), gpu, tuning)
}

fn plan_of(device: &Device, traced: &Traced, checked: bool) -> Result<Arc<Plan>> {
    let plans = device.attached(Plans::default);
    let mut hasher = FxHasher::default();
    traced.graph.hash(&mut hasher);
    let key = hasher.finish();
    let found = |plans: &QuickMap<u64, Vec<Arc<Plan>>>| {
        plans.get(&key).and_then(|same| same.iter().find(|p| p.checked == checked && p.graph == traced.graph).cloned())
    };
    if let Some(plan) = found(&plans.kept.lock().unwrap_or_else(|e| e.into_inner())) {
        return Ok(plan);
    }
    // The graph of the trace goes into the plan; the caller only needs what varies.
    let graph = traced.whole();
    let body = match device.kind() {
        Kind::Gpu(gpu) => Body::Gpu(gpu::GpuPlan::build(&graph, gpu, &plans.tuning, checked)?),
        Kind::Cpu(_) => Body::Cpu(cpu::CpuPlan::build(&graph, checked)),
        Kind::Reference(_) => Body::Oracle,
    };
    Tally::add(&device.tally().plans, 1);
    let plan = Arc::new(Plan { graph, checked, body });
    let mut kept = plans.kept.lock().unwrap_or_else(|e| e.into_inner());
    if kept.len() >= MOST_PLANS {
        kept.clear();
    }
    kept.entry(key).or_default().push(Arc::clone(&plan));
    Ok(plan)
}

impl Tensor {
    /// The values, row-major, computed first if need be. `bool` reads as `u32`.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If `E` is not the tensor's type.
    #[track_caller]
    pub fn to_vec<E: crate::tensor::Element>(&self) -> Result<Vec<E>> {
        value::check_type::<E>(self);
        eval(&[self])?;
        value::read(self)
    }

    /// [`Tensor::to_vec`] without blocking: the work is submitted at once, the values come when they are there.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If `E` is not the tensor's type.
    #[track_caller]
    pub fn to_vec_async<E: crate::tensor::Element>(&self) -> Result<impl Future<Output = Result<Vec<E>>> + use<E>> {
        value::check_type::<E>(self);
        eval(&[self])?;
        value::read_async(self)
    }

    /// The only element of a one-element float tensor.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If the tensor holds more than one element, or no floats.
    #[track_caller]
    pub fn item(&self) -> Result<f32> {
        assert!(
            self.elements() == 1,
            "item: a tensor of shape {} holds {} elements, not 1",
            self.shape(),
            self.elements()
        );
        match self.dtype() {
            DType::F16 => Ok(self.to_vec::<half::f16>()?[0].to_f32()),
            _ => Ok(self.to_vec::<f32>()?[0]),
        }
    }

    /// The value as a leaf: evaluated, without history. A `tracked` leaf is what gradients are taken for: tensors
    /// computed from it remember how.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn into_leaf(self, tracked: bool) -> Result<Tensor> {
        let value = self.materialized()?;
        Ok(Tensor::leaf(self.device(), self.meta().clone(), value, tracked))
    }

    /// Its value in memory.
    pub(crate) fn materialized(&self) -> Result<Value> {
        if let NodeState::Scalar(_) = &*self.node.state() {
            return Ok(Value { storage: value::scalar_storage(self)?, offset: 0 });
        }
        eval(&[self])?;
        match &*self.node.state() {
            NodeState::Ready { values, .. } => Ok(values[self.output].clone()),
            _ => Err(Error::Gpu("a tensor has no value after its evaluation".into())),
        }
    }

    /// The same value on another device.
    ///
    /// # Errors
    /// A fault of either device.
    pub fn to_device(&self, device: &Device) -> Result<Tensor> {
        value::to_device(self, device)
    }

    /// Forgets how an evaluated tensor was computed, so that the memory its history holds is free.
    pub(crate) fn release_history(&self) {
        let mut state = self.node.state();
        if let NodeState::Ready { history, .. } = &mut *state {
            let old = history.take();
            drop(state);
            drop(old);
        }
    }

    /// Moves an evaluated leaf to other memory that holds the same elements.
    pub(crate) fn rebase(&self, storage: Storage, offset: usize) {
        if let NodeState::Ready { values, .. } = &mut *self.node.state() {
            values[self.output] = Value { storage, offset };
        }
    }
}
