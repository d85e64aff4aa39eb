//! The ops: one room per op, and the registry that the tests, the gradient checks and the benches walk.

pub mod adam;
pub mod elementwise;
pub mod matmul;
pub mod pack;
pub mod random;
pub mod reduce;
pub mod sgd;

pub mod view;

pub use random::Rng;

use crate::tensor::Entry;

/// Every op.
pub static REGISTRY: &[Entry] = &[
    Entry::of::<elementwise::Unary>(),
    Entry::of::<elementwise::Binary>(),
    Entry::of::<elementwise::Compare>(),
    Entry::of::<elementwise::Select>(),
    Entry::of::<elementwise::Cast>(),
    Entry::of::<view::Reshape>(),
    Entry::of::<view::Permute>(),
    Entry::of::<view::Broadcast>(),
    Entry::of::<view::Slice>(),
    Entry::of::<view::Detach>(),
    Entry::of::<view::Embed>(),
    Entry::of::<reduce::Reduce>(),
    Entry::of::<reduce::ArgReduce>(),
    Entry::of::<matmul::Matmul>(),
    Entry::of::<pack::Pack>(),
    Entry::of::<random::Random>(),
    Entry::of::<sgd::SgdStep>(),
    Entry::of::<adam::AdamStep>(),
];
