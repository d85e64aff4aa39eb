//! Known answers of the composed functions.
