//! Known answers of the composed functions.

mod elementwise;
mod logic;
mod conv;
mod norm;
mod recurrent;
pub mod torch;
