//! The tests of wgrad: every kernel against the CPU reference, every gradient against the slope of that reference, every
//! shader through every backend's translator, the planner's counters, and known answers from outside.

mod acting;
mod attention;
mod autodiff;
mod buffers;
mod check;
mod cli;
mod conformance;
mod counters;
mod data;
mod dqn;
mod env;
mod functional;
mod fuzz;
mod half;
mod join;
mod launches;
mod layers;
mod merge;
mod mixed;
mod nn;
mod ops;
mod optim;
mod pictures;
mod plan;
mod profile;
mod registry;
mod rooms;
mod shaders;
mod spectral_norm;
mod start;
mod sums;
mod train;
mod tune;
mod uniformity;
mod weight;
