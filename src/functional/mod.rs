//! Functions made of recorded ops: no kernel, reference or gradient of their own.
//!
//! What can be said in terms of [`ops`](crate::ops) is said here. The planner fuses a composition into few launches,
//! its gradient is that of its parts, to any order, and there is no second truth to keep equal. A function moves to
//! `ops` when a kernel of its own is measurably worth it. All of it is methods of [`Tensor`](crate::Tensor), or
//! functions where there is no first among the arguments.

mod activation;
mod arithmetic;
mod attention;
mod clamp;
mod conv;
mod conv3d;
mod create;
mod ctc;
mod einsum;
mod embedding;
mod grid;
mod index;
mod indexing;
mod join;
mod linalg;
mod logic;
mod loss;
mod matrix_views;
mod norm;
mod pad;
mod pool;
mod quantile;
mod recurrent;
mod reduction;
mod resample;
mod shape;
mod special;

pub use attention::AttentionOptions;
pub use conv::{Conv1dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions};
pub use conv3d::Conv3dOptions;
pub use ctc::CtcOptions;
pub use embedding::{Bag, BagOptions};
pub use grid::{GridMode, GridPadding};
pub use indexing::ScatterReduction;
pub(crate) use join::columns;
pub use loss::{ClassLoss, Reduction};
pub use pad::PadMode;
pub use pool::{Pool1dOptions, Pool3dOptions};
pub use quantile::Between;
pub use recurrent::RecurrentWeights;
pub use resample::Interpolation;
