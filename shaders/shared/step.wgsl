// The parameters of every kernel that makes a step of a recurrent layer. Places are counted in states: gates lie as
// many times as far.

struct Params {
    n: u32,       // rows x h
    h: u32,
    at: u32,      // where the step starts, in states
    before: u32,  // where the step before starts
    after: u32,   // where the step after starts
    first: u32,   // bit 0: the first step of the sequence, bit 1: the last
}

var<immediate> p: Params;
