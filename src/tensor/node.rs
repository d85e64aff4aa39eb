//! Tensors and the nodes they are handles on.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{AnyOp, DType, Element, Meta, Op, Shape, Storage, Value, mixed};
use crate::device::Device;
use crate::error::{Result, ShapeError, fit};

/// A handle on one value of the graph: an op and its inputs, or data. Cloning it clones the handle.
///
/// Making a tensor computes nothing. Reading one ([`Tensor::to_vec`]), or a step of an optimizer, runs the graph
/// behind it; values that nobody holds a handle on are never stored longer than the run needs them.
#[derive(Clone)]
pub struct Tensor {
    pub(crate) node: Arc<Node>,
    pub(crate) output: usize,
}

/// An op applied to inputs, or data.
pub struct Node {
    pub(crate) device: Device,
    pub(crate) metas: Vec<Meta>,
    /// The line of the program that made it.
    pub(crate) at: &'static Location<'static>,
    /// Whether it depends on a tensor that wants gradients, so that its history outlives its evaluation.
    pub(crate) tracked: bool,
    state: Mutex<NodeState>,
}

/// How a value came to be.
#[derive(Clone)]
pub struct History {
    /// The op.
    pub op: Arc<dyn AnyOp>,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
}

/// Where a node stands.
#[derive(Clone)]
pub enum NodeState {
    /// Recorded, not computed.
    Pending(History),
    /// A number of the host, given to each run of a plan: its four bytes. Not part of the plan's key.
    Scalar(u32),
    /// Computed, or data. A tracked node remembers how it was computed.
    Ready {
        /// One value per output.
        values: Vec<Value>,
        /// For the backward pass.
        history: Option<History>,
    },
    /// Its memory was taken over by the update of an optimizer.
    Given,
}

impl Node {
    pub(crate) fn state(&self) -> MutexGuard<'_, NodeState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that the update of an optimizer took over its memory. Where the update made new memory, the old is used
    /// again.
    pub(crate) fn give(&self) {
        let old = std::mem::replace(&mut *self.state(), NodeState::Given);
        if let NodeState::Ready { values, .. } = old {
            values.into_iter().for_each(|value| value.storage.give_back());
        }
    }

    /// How it was or will be computed; `None` for data.
    pub(crate) fn history(&self) -> Option<History> {
        self.with_history(|history| history.cloned())
    }

    /// Whether no gradient goes on from it: data, or a parameter as a step that is recorded makes it.
    pub(crate) fn is_source(&self) -> bool {
        self.with_history(|history| match history {
            Some(history) => self.tracked && history.inputs.iter().all(|input| !input.is_tracked()),
            None => true,
        })
    }

    /// The same for one look, without a copy.
    pub(crate) fn with_history<R>(&self, look: impl FnOnce(Option<&History>) -> R) -> R {
        match &*self.state() {
            NodeState::Pending(history) => look(Some(history)),
            NodeState::Ready { history, .. } => look(history.as_ref()),
            _ => look(None),
        }
    }
}

impl Drop for Node {
    /// Gives memory back, and takes long chains apart one node at a time: dropping an LSTM's graph by recursion would
    /// overflow the stack.
    fn drop(&mut self) {
        let mut pending = Vec::new();
        take_inputs(self, &mut pending);
        while let Some(tensor) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(tensor.node) {
                take_inputs(&mut node, &mut pending);
            }
        }
    }
}

fn take_inputs(node: &mut Node, into: &mut Vec<Tensor>) {
    let state = node.state.get_mut().unwrap_or_else(|e| e.into_inner());
    if let NodeState::Ready { values, .. } = state {
        values.drain(..).for_each(|value| value.storage.give_back());
    }
    if let NodeState::Pending(history) | NodeState::Ready { history: Some(history), .. } = state {
        into.append(&mut history.inputs);
    }
}

thread_local! {
    static ORIGIN: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// While it lives, what this thread records counts as made at another line: what a backward rule records, at the line
/// of the op it is the rule of.
pub(crate) struct RecordedAt(Option<&'static Location<'static>>);

impl RecordedAt {
    pub(crate) fn line(at: &'static Location<'static>) -> Self {
        RecordedAt(ORIGIN.replace(Some(at)))
    }
}

impl Drop for RecordedAt {
    fn drop(&mut self) {
        ORIGIN.set(self.0);
    }
}

impl Tensor {
    pub(crate) fn from_state(
        device: &Device,
        metas: Vec<Meta>,
        tracked: bool,
        state: NodeState,
        at: &'static Location<'static>,
    ) -> Tensor {
        let at = ORIGIN.get().unwrap_or(at);
        let node = Node { device: device.clone(), metas, at, tracked, state: Mutex::new(state) };
        Tensor { node: Arc::new(node), output: 0 }
    }

    /// A tensor of host values, row-major.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`] and other faults of the device.
    ///
    /// # Panics
    /// If the values do not fill the shape.
    #[track_caller]
    pub fn from_slice<E: Element>(device: &Device, values: &[E], shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        assert!(
            shape.elements() == values.len(),
            "from_slice: {} values do not fill shape {shape}, which holds {}",
            values.len(),
            shape.elements()
        );
        let value = Value { storage: Storage::upload(device, values)?, offset: 0 };
        let state = NodeState::Ready { values: vec![value], history: None };
        Ok(Tensor::from_state(device, vec![Meta::new(shape, E::DTYPE)], false, state, Location::caller()))
    }

    /// A tensor of rank 0 that holds one number. The number is given to each run, so a program may change it every step
    /// without building a new plan.
    #[track_caller]
    pub fn scalar<E: Element>(device: &Device, value: E) -> Tensor {
        if E::DTYPE == DType::F16 {
            // The host's numbers are words; a half is one that was rounded.
            let [half] = bytemuck::cast::<[E; 1], [half::f16; 1]>([value]);
            return Tensor::scalar(device, half.to_f32()).cast(DType::F16);
        }
        let bits = bytemuck::cast_slice::<E, u32>(&[value])[0];
        let meta = Meta::new(Shape::default(), E::DTYPE);
        Tensor::from_state(device, vec![meta], false, NodeState::Scalar(bits), Location::caller())
    }

    /// The same value as a leaf of its own: gradients stop here, and history is not kept beyond it.
    pub(crate) fn leaf(device: &Device, meta: Meta, value: Value, tracked: bool) -> Tensor {
        let state = NodeState::Ready { values: vec![value], history: None };
        Tensor::from_state(device, vec![meta], tracked, state, Location::caller())
    }

    /// Records an op. One that does not take halves gets them widened, and what it makes of them is half again
    /// (`src/tensor/mixed.rs`).
    ///
    /// # Errors
    /// If the op does not take inputs of these shapes and types.
    ///
    /// # Panics
    /// If the inputs are on different devices.
    #[track_caller]
    pub fn try_apply<O: Op>(op: O, inputs: &[&Tensor]) -> std::result::Result<Vec<Tensor>, ShapeError> {
        Tensor::try_apply_any(Arc::new(op), inputs)
    }

    /// [`Tensor::try_apply`] of an op whose type is erased.
    ///
    /// # Errors
    /// If the op does not take inputs of these shapes and types.
    ///
    /// # Panics
    /// If the inputs are on different devices.
    #[track_caller]
    pub fn try_apply_any(op: Arc<dyn AnyOp>, inputs: &[&Tensor]) -> std::result::Result<Vec<Tensor>, ShapeError> {
        if mixed::takes(&*op, inputs) { Tensor::record(op, inputs) } else { mixed::apply(op, inputs) }
    }

    /// Records an op as it is.
    #[track_caller]
    pub(super) fn record(op: Arc<dyn AnyOp>, inputs: &[&Tensor]) -> std::result::Result<Vec<Tensor>, ShapeError> {
        let metas: Vec<Meta> = inputs.iter().map(|t| t.meta().clone()).collect();
        let outputs = op.infer(&metas)?;
        let device = inputs.first().expect("an op has at least one input; sources take a scalar").device();
        assert!(
            inputs.iter().all(|t| t.device().same(device)),
            "{}: the inputs are on different devices; bring them together with Tensor::to_device",
            op.name()
        );
        let tracked = op.no_grad().is_none() && inputs.iter().any(|t| t.node.tracked);
        let count = outputs.len();
        let history = History { op, inputs: inputs.iter().map(|&t| t.clone()).collect() };
        let first = Tensor::from_state(device, outputs, tracked, NodeState::Pending(history), Location::caller());
        Ok((0..count).map(|output| Tensor { node: Arc::clone(&first.node), output }).collect())
    }

    /// Records an op with several outputs.
    ///
    /// # Panics
    /// If the op does not take these inputs.
    #[track_caller]
    pub fn apply_all<O: Op>(op: O, inputs: &[&Tensor]) -> Vec<Tensor> {
        fit(Tensor::try_apply(op, inputs))
    }

    /// Records an op with one output.
    ///
    /// # Panics
    /// If the op does not take these inputs.
    #[track_caller]
    pub fn apply<O: Op>(op: O, inputs: &[&Tensor]) -> Tensor {
        Tensor::apply_all(op, inputs).swap_remove(0)
    }

    /// The same tensor, just recorded, as one that gradients are taken for: what is computed from it remembers how.
    ///
    /// # Panics
    /// If somebody else holds it.
    pub(crate) fn into_tracked(mut self) -> Tensor {
        Arc::get_mut(&mut self.node).expect("a tensor that was just recorded has one handle").tracked = true;
        self
    }

    /// Shape and type.
    pub fn meta(&self) -> &Meta {
        &self.node.metas[self.output]
    }

    /// Extent of each axis.
    pub fn shape(&self) -> &Shape {
        &self.meta().shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.meta().dtype
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape().elements()
    }

    /// The device it lives on.
    pub fn device(&self) -> &Device {
        &self.node.device
    }

    /// Whether what is computed from it keeps its history for the backward pass.
    pub fn is_tracked(&self) -> bool {
        self.node.tracked
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.node.state() {
            NodeState::Pending(h) => format!("{:?}, not computed", h.op),
            NodeState::Scalar(bits) => match self.dtype() {
                DType::F32 => format!("= {}", f32::from_bits(*bits)),
                _ => format!("= {bits}"),
            },
            NodeState::Ready { .. } => "computed".into(),
            NodeState::Given => "taken over by an update".into(),
        };
        write!(f, "Tensor({} {}, {state}, from {})", self.dtype(), self.shape(), self.node.at)
    }
}
