//! Known answers of the composed functions.

mod recurrent;
