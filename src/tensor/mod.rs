//! The tensor graph: handles, nodes, shapes, and the contract every op fulfils.
//!
//! A [`Tensor`] is a handle on one output of a node. Making one computes nothing; it records an op and its inputs.
//! A training step is the same graph every time, and only a graph known whole can be fused, given its buffers,
//! checked, and replayed; so nothing runs until somebody asks for a value.

mod dtype;
mod lower;
mod mixed;
mod node;
mod op;
mod sample;
mod shape;
mod storage;

pub use dtype::{DType, Element};
pub(crate) use lower::TURNS_OF_A_LAUNCH;
pub use lower::{Bind, Caps, Lower, LoweredDispatch, LoweredWork, Params, Slot, Store, SumWanted, VARIANTS, Virtual};
pub(crate) use node::RecordedAt;
pub use node::{History, Node, NodeState, Tensor};
pub use op::{
    AnyLowering, AnyOp, Backward, BlockFn, Entry, InPlace, InPlaceOf, KernelOf, Lowering, Meta, NoGrad, Op, Overwrite,
    Scalar, ScalarOf, ViewMap, Vjp,
};
pub use sample::{Input, Sample, Tolerance};
pub use shape::{Axis, Layout, Shape};
pub use storage::{Storage, Value};

use std::hash::BuildHasherDefault;

/// A map by nodes, bases or numbers, which no stranger chooses: its hash need not withstand an attack, and a small step
/// of training spends a tenth of its time on one that does.
pub(crate) type QuickMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<rustc_hash::FxHasher>>;
/// A set of the same kind.
pub(crate) type QuickSet<K> = std::collections::HashSet<K, BuildHasherDefault<rustc_hash::FxHasher>>;
