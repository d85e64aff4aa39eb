//! State of a model that is not trained: running statistics, counters.
//!
//! A layer records the next value of its state while it records its output ([`Module::forward`](super::Module::forward)
//! borrows the layer for reading only); nothing is computed yet. The step of an optimizer computes what was recorded in
//! the same plan as the update, and lets it overwrite the value before. Whoever reads the state first, computes it.

use std::sync::{Mutex, MutexGuard};

use super::{Param, Parameters};
use crate::error::Result;
use crate::plan::eval_donating;
use crate::tensor::{DType, Meta, NodeState, Tensor};

/// A tensor that belongs to a model and is not trained.
#[derive(Debug)]
pub struct Buffer(Mutex<Held>);

#[derive(Debug)]
struct Held {
    /// The newest value, computed or only recorded.
    value: Tensor,
    /// The last computed value, if `value` is only recorded: its memory may be taken over.
    before: Option<Tensor>,
}

impl Buffer {
    /// State that starts at this value, which is computed now.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn new(value: Tensor) -> Result<Buffer> {
        Ok(Buffer(Mutex::new(Held { value: settled(value)?, before: None })))
    }

    /// The newest value.
    pub fn get(&self) -> Tensor {
        self.held().value.clone()
    }

    /// Takes over a value of the same shape and type, which is computed now if it has not been.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If shape or type differ.
    #[track_caller]
    pub fn set(&self, value: Tensor) -> Result<()> {
        fits("set", self.get().meta(), value.meta());
        *self.held() = Held { value: settled(value)?, before: None };
        Ok(())
    }

    /// Replaces the value by one that is computed later, with the next step of the model's optimizer or when somebody
    /// reads it. No gradient flows into it.
    ///
    /// # Panics
    /// If shape or type differ.
    #[track_caller]
    pub fn record(&self, value: &Tensor) {
        fits("record", self.get().meta(), value.meta());
        let next = value.detach();
        let mut held = self.held();
        let old = std::mem::replace(&mut held.value, next);
        if !is_recorded(&old) {
            held.before = Some(old);
        }
    }

    /// The value of a counter: a buffer of rank 0 and type `u32`, which is kept on the host.
    ///
    /// # Panics
    /// If it is no counter.
    #[track_caller]
    pub fn count(&self) -> u32 {
        match &*self.held().value.node.state() {
            NodeState::Scalar(bits) => *bits,
            _ => panic!("count: this buffer is no counter"),
        }
    }

    /// Sets a counter.
    ///
    /// # Panics
    /// If it is no counter.
    #[track_caller]
    pub fn set_count(&self, count: u32) {
        self.count();
        let mut held = self.held();
        held.value = Tensor::scalar(held.value.device(), count);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[track_caller]
fn fits(what: &str, mine: &Meta, new: &Meta) {
    assert!(mine == new, "{what}: a buffer of {} {} cannot take {} {}", mine.dtype, mine.shape, new.dtype, new.shape);
}

fn is_recorded(tensor: &Tensor) -> bool {
    matches!(&*tensor.node.state(), NodeState::Pending(_))
}

/// The value, computed; a whole number of rank 0 as a number of the host, so that counting launches nothing.
fn settled(value: Tensor) -> Result<Tensor> {
    if value.rank() == 0 && value.dtype() == DType::U32 {
        return Ok(Tensor::scalar(value.device(), value.to_vec::<u32>()?[0]));
    }
    value.into_leaf(false)
}

/// What a model recorded, and the memory that it may overwrite.
#[derive(Default)]
pub(crate) struct Recorded {
    /// Values to compute.
    pub values: Vec<Tensor>,
    /// The values they replace; nobody else holds them, unless the program does.
    pub before: Vec<Tensor>,
}

impl Recorded {
    /// Takes what the buffers of `model` recorded.
    pub fn take(model: &dyn Parameters) -> Recorded {
        let mut all = Recorded::default();
        model.buffers(&mut |_, buffer| {
            let mut held = buffer.held();
            let before = held.before.take();
            if is_recorded(&held.value) {
                all.values.push(held.value.clone());
                all.before.extend(before);
            }
        });
        all
    }
}

/// Computes what the buffers of a model recorded, over the values before where nobody else holds them: what the step of
/// an optimizer does besides, for a model that is run without one.
///
/// # Errors
/// A fault of the device.
pub fn settle(model: &dyn Parameters) -> Result<()> {
    let Recorded { values, before } = Recorded::take(model);
    eval_donating(&values.iter().collect::<Vec<_>>(), &before.iter().collect::<Vec<_>>())
}

/// The values of a model's buffers as they lie on the device; `None` if one is recorded and not computed.
pub(crate) fn computed(model: &dyn Parameters) -> Option<Vec<Tensor>> {
    let mut all = Some(Vec::new());
    model.buffers(&mut |_, buffer| {
        let held = buffer.held();
        match &*held.value.node.state() {
            NodeState::Pending(_) => all = None,
            NodeState::Scalar(_) => {}
            _ => all.iter_mut().for_each(|all| all.push(held.value.clone())),
        }
    });
    all
}

/// The counters of a model, in the order of its buffers.
pub(crate) fn counts(model: &dyn Parameters) -> Vec<u32> {
    let mut all = Vec::new();
    model.buffers(&mut |_, buffer| {
        if let NodeState::Scalar(bits) = &*buffer.held().value.node.state() {
            all.push(*bits);
        }
    });
    all
}

/// Moves the counters of a model on by so many times these numbers.
pub(crate) fn count_on(model: &dyn Parameters, by: &[u32], times: u32) {
    let mut by = by.iter();
    model.buffers(&mut |_, buffer| {
        let count = match &*buffer.held().value.node.state() {
            NodeState::Scalar(bits) => *bits,
            _ => return,
        };
        buffer.set_count(count.wrapping_add(by.next().map_or(0, |by| by.wrapping_mul(times))));
    });
}

impl Parameters for Buffer {
    fn params<'a>(&'a self, _: &mut dyn FnMut(&str, &'a Param)) {}
    fn params_mut<'a>(&'a mut self, _: &mut dyn FnMut(&str, &'a mut Param)) {}
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
        visit("", self);
    }
}
