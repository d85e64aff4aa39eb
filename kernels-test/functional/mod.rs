//! Known answers of the composed functions.

mod elementwise;
mod logic;
mod recurrent;
