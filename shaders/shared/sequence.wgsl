// A recurrent layer's whole sequence in one launch, in each direction: a workgroup takes a few rows of the batch
// through all steps.
//
// Rows do not need each other, so all that a step has to wait for is its own workgroup: two barriers in place of a
// launch. What it then waits for is memory, so the weight is held: each invocation keeps one to four blocks of it in
// registers, of 4 x 4, which 256 of them can do up to 128 x 128 weights. A sum is a quad of COLUMNS, its products a
// quad of DEPTHS; an invocation makes a quad of sums at BLOCKS consecutive quads of depths, and `sum_of` adds up what
// the SLICES made, in order. Of up to 256 x 256 weights the blocks that are not HELD are read again in each step, once
// for all rows: a step of an LSTM of 128 units takes 4 us on an H200 so, where steps of weights that are held take 0.5
// to 1.1; with four blocks read at once it took 4.7. One of 256 units would read four times as much, and its launch per
// step takes 6 to 9 us, so these stay with that (shared/recurrent.wgsl).
//
//   forward:  h W^T, sums are gates of the step, depths are units; h is that of the step before
//   backward: da W, sums are units, depths are gates; da is that of the step after
//
// What goes into the product of the next step, h or da, lies in workgroup memory row by row, and is followed by zeros
// up to where the blocks end. An invocation makes the cell of one unit of one row, if any, and keeps what only that
// needs. It fetches what the next step takes from outside as soon as this step is done, a product and two barriers
// before it is needed. Backward the first step has nothing carried, and leaves out the sum: an infinite weight would
// make NaN of no cotangent.

override TURNED: bool = false; // whether rows of `w` are depths: backward, and where rnn_weight.wgsl made it
override COLUMNS: u32 = 16u;
override DEPTHS: u32 = 16u;
override BLOCKS: u32 = 2u;
override HELD: u32 = 2u; // the first 1 to 4 of them
override SLICES: u32 = 8u;
override ROWS: u32 = 1u; // 1 to 4
override THREADS: u32 = 128u; // no fewer than COLUMNS SLICES, nor than units in ROWS
override PITCH: u32 = 4u * SLICES * BLOCKS; // from row to row
override LEFT: u32 = ROWS * PITCH;
override SUMS: u32 = ROWS * SLICES * COLUMNS;

// Places are counted in states: gates lie as many times as far.
struct Params {
    n: u32,       // rows of the batch x h
    h: u32,
    steps: u32,
    at: u32,      // where the first step that is taken starts
    ahead: u32,   // how far from there the next is, modulo 2^32
    begins: u32,  // 1: no step of the sequence is taken before these
    ends: u32,    // 1: none is taken after these
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> w: array<vec4<f32>>;

var<workgroup> left: array<f32, LEFT>;
var<workgroup> sums: array<vec4<f32>, SUMS>; // of a row slice by slice

// The blocks that one invocation holds, a vec4 of sums for each depth.
var<private> block0: mat4x4<f32>;
var<private> block1: mat4x4<f32>;
var<private> block2: mat4x4<f32>;
var<private> block3: mat4x4<f32>;

// What it makes of each row.
var<private> sum0: vec4<f32>;
var<private> sum1: vec4<f32>;
var<private> sum2: vec4<f32>;
var<private> sum3: vec4<f32>;

// Which unit of which row an invocation makes, if any.
struct Place {
    line: u32, // the row among those of the workgroup
    unit: u32,
    index: u32, // among the states of a step
    is_mine: bool,
}

fn find(group: vec3<u32>, local: u32) -> Place {
    let line = local / p.h;
    let unit = local % p.h;
    let index = (group.x * ROWS + line) * p.h + unit;
    return Place(line, unit, index, line < ROWS && index < p.n);
}

// Where the gates of a unit begin, `gates` of them h apart, in the step at `step`.
fn gates_at(here: Place, step: u32, gates: u32) -> u32 {
    return gates * (step + here.index - here.unit) + here.unit;
}

// The quads at one place of four rows of the weight, which are so many quads long.
fn rows_of(row: u32, quad: u32, long: u32) -> mat4x4<f32> {
    let at = row * long + quad;
    return mat4x4<f32>(w[at], w[at + long], w[at + 2u * long], w[at + 3u * long]);
}

fn block(column: u32, depth: u32) -> mat4x4<f32> {
    if depth >= DEPTHS {
        return mat4x4<f32>();
    }
    if TURNED {
        return rows_of(4u * depth, column, COLUMNS);
    }
    return transpose(rows_of(4u * column, depth, DEPTHS));
}

// Reads the weight, and clears what is to be multiplied with it.
fn hold(local: u32) {
    let column = local % COLUMNS;
    let first = local / COLUMNS * BLOCKS;
    if local < COLUMNS * SLICES {
        block0 = block(column, first);
        if HELD > 1u {
            block1 = block(column, first + 1u);
        }
        if HELD > 2u {
            block2 = block(column, first + 2u);
        }
        if HELD > 3u {
            block3 = block(column, first + 3u);
        }
    }
    for (var i = local; i < LEFT; i += THREADS) {
        left[i] = 0.0;
    }
    workgroupBarrier();
}

fn keep(here: Place, depth: u32, value: f32) {
    left[here.line * PITCH + depth] = value;
}

fn left_quad(at: u32) -> vec4<f32> {
    return vec4<f32>(left[at], left[at + 1u], left[at + 2u], left[at + 3u]);
}

// Adds what one block makes of all rows.
fn add(weights: mat4x4<f32>, depth: u32) {
    let at = 4u * depth;
    sum0 += weights * left_quad(at);
    if ROWS > 1u {
        sum1 += weights * left_quad(at + PITCH);
    }
    if ROWS > 2u {
        sum2 += weights * left_quad(at + 2u * PITCH);
    }
    if ROWS > 3u {
        sum3 += weights * left_quad(at + 3u * PITCH);
    }
}

// Makes the products with what was kept.
fn multiply(local: u32) {
    workgroupBarrier(); // all have kept theirs
    if local < COLUMNS * SLICES {
        let first = local / COLUMNS * BLOCKS;
        sum0 = vec4<f32>();
        sum1 = vec4<f32>();
        sum2 = vec4<f32>();
        sum3 = vec4<f32>();
        add(block0, first);
        if HELD > 1u {
            add(block1, first + 1u);
        }
        if HELD > 2u {
            add(block2, first + 2u);
        }
        if HELD > 3u {
            add(block3, first + 3u);
        }
        for (var i = HELD; i < BLOCKS; i += 1u) {
            add(block(local % COLUMNS, first + i), first + i);
        }
        sums[local] = sum0;
        if ROWS > 1u {
            sums[local + SLICES * COLUMNS] = sum1;
        }
        if ROWS > 2u {
            sums[local + 2u * SLICES * COLUMNS] = sum2;
        }
        if ROWS > 3u {
            sums[local + 3u * SLICES * COLUMNS] = sum3;
        }
    }
    workgroupBarrier();
}

// One sum of a row.
fn sum_of(here: Place, column: u32) -> f32 {
    let at = here.line * (SLICES * COLUMNS) + column / 4u;
    let part = column % 4u;
    var sum = 0.0;
    for (var slice = 0u; slice < SLICES; slice += 1u) {
        sum += sums[at + slice * COLUMNS][part];
    }
    return sum;
}
