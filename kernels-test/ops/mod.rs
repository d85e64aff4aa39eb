//! Known answers, one file per room.

mod random;
mod reduce;
