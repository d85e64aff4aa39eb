//! The ops: one room per op, and the registry that the tests, the gradient checks and the benches walk.

pub mod elementwise;

pub mod view;

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
];
impl crate::Tensor { pub fn sum(&self, _: &[isize]) -> crate::Tensor { panic!() } }
