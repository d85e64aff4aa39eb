//! The ops: one room per op, and the registry that the tests, the gradient checks and the benches walk.

pub mod adaptive_max;
pub mod binary_entropy;
pub mod cast;
pub mod col2im;
pub mod compare;
pub mod concat;
pub mod conv2d;
pub mod cross_entropy;
pub mod dynamic_update_slice;
pub mod elementwise;
pub mod gather;
pub mod gru;
pub mod im2col;
pub mod iota;
pub mod loss_scale;
pub mod lstm;
pub mod matmul;
pub mod norm;
pub mod pack;
pub mod pad;
pub mod pool2d;
pub mod random;
pub mod reduce;
pub mod resample2d;
pub mod rnn;
pub mod scan;
pub mod scatter;
pub mod softmax;
pub mod sort;
pub mod update;

pub mod view;

pub use conv2d::Conv2dOptions;
pub use im2col::Padding;
pub use pool2d::Pool2dOptions;
pub use random::Rng;

use crate::tensor::Entry;

/// Every op.
pub static REGISTRY: &[Entry] = &[
    Entry::of::<elementwise::Unary>(),
    Entry::of::<elementwise::Binary>(),
    Entry::of::<elementwise::Bitwise>(),
    Entry::of::<elementwise::Not>(),
    Entry::of::<elementwise::Probe>(),
    Entry::of::<compare::Compare>(),
    Entry::of::<compare::Select>(),
    Entry::of::<cast::Cast>(),
    Entry::of::<cast::Widen>(),
    Entry::of::<view::Reshape>(),
    Entry::of::<view::Permute>(),
    Entry::of::<view::Broadcast>(),
    Entry::of::<view::Slice>(),
    Entry::of::<view::Unfold>(),
    Entry::of::<iota::Iota>(),
    Entry::of::<view::Detach>(),
    Entry::of::<view::Embed>(),
    Entry::of::<reduce::Reduce>(),
    Entry::of::<reduce::ArgReduce>(),
    Entry::of::<gather::Gather>(),
    Entry::of::<scatter::Scatter>(),
    Entry::of::<scatter::ScatterLast>(),
    Entry::of::<dynamic_update_slice::DynamicUpdateSlice>(),
    Entry::of::<sort::Sort>(),
    Entry::of::<scan::Scan>(),
    Entry::of::<scan::ScanArg>(),
    Entry::of::<matmul::Matmul>(),
    Entry::of::<im2col::Im2col>(),
    Entry::of::<col2im::Col2im>(),
    Entry::of::<conv2d::Conv2d>(),
    Entry::of::<conv2d::Conv2dInputGrad>(),
    Entry::of::<conv2d::Conv2dWeightGrad>(),
    Entry::of::<pool2d::MaxPool2d>(),
    Entry::of::<pool2d::MaxPool2dGrad>(),
    Entry::of::<pool2d::MaxPool2dGather>(),
    Entry::of::<pool2d::AvgPool2d>(),
    Entry::of::<pool2d::AvgPool2dGrad>(),
    Entry::of::<adaptive_max::AdaptiveMax>(),
    Entry::of::<resample2d::Resample2d>(),
    Entry::of::<resample2d::Resample2dGrad>(),
    Entry::of::<norm::Norm>(),
    Entry::of::<norm::NormGrad>(),
    Entry::of::<softmax::Softmax>(),
    Entry::of::<softmax::LogSoftmax>(),
    Entry::of::<softmax::SoftmaxGrad>(),
    Entry::of::<softmax::LogSoftmaxGrad>(),
    Entry::of::<binary_entropy::BinaryEntropy>(),
    Entry::of::<cross_entropy::CrossEntropy>(),
    Entry::of::<cross_entropy::CrossEntropyDense>(),
    Entry::of::<cross_entropy::CrossEntropyGrad>(),
    Entry::of::<cross_entropy::CrossEntropyDenseGrad>(),
    Entry::of::<rnn::Rnn>(),
    Entry::of::<rnn::RnnGrad>(),
    Entry::of::<lstm::Lstm>(),
    Entry::of::<lstm::LstmGrad>(),
    Entry::of::<gru::Gru>(),
    Entry::of::<gru::GruGrad>(),
    Entry::of::<concat::Concat>(),
    Entry::of::<pad::Pad>(),
    Entry::of::<pack::Pack>(),
    Entry::of::<random::Random>(),
    Entry::of::<update::Update>(),
    Entry::of::<loss_scale::LossScale>(),
];
