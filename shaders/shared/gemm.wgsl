// The parameters of every matrix product kernel: sizes, how the reduction is cut into slices, and base and strides of
// the three matrices. Which of the kernels makes a product is decided by its sizes, so all of them take the same.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    k_outer: u32,
    batch_inner: u32,
    tiles_n: u32,
    tiles: u32,
    groups: u32,
    k_slices: u32,
    k_step: u32,
    k_outer_step: u32,
    accumulate: u32,
    a_base: i32,
    a_outer: i32,
    a_inner: i32,
    a_k_outer: i32,
    a_row: i32,
    a_col: i32,
    b_base: i32,
    b_outer: i32,
    b_inner: i32,
    b_k_outer: i32,
    b_row: i32,
    b_col: i32,
    c_base: i32,
    c_slice: i32,
    c_outer: i32,
    c_inner: i32,
    c_row: i32,
    c_col: i32,
    batches: u32,
}

var<immediate> p: Params;

// What one workgroup (or invocation) makes: a tile of a matrix, over one slice of the reduction; and where the first
// elements of the matrices are.
struct Part {
    tile: u32,
    k_first: u32,
    k_end: u32,
    k_outer_first: u32,
    k_outer_end: u32,
    a_start: i32,
    b_start: i32,
    c_start: i32,
}

fn part_of(index: u32) -> Part {
    let matrix = index / p.tiles % p.batches;
    let slice = index / p.tiles / p.batches;
    let outer = i32(matrix / p.batch_inner);
    let inner = i32(matrix % p.batch_inner);
    let k_first = slice % p.k_slices * p.k_step;
    let k_outer_first = slice / p.k_slices * p.k_outer_step;
    return Part(
        index % p.tiles,
        k_first,
        min(k_first + p.k_step, p.k),
        k_outer_first,
        min(k_outer_first + p.k_outer_step, p.k_outer),
        p.a_base + outer * p.a_outer + inner * p.a_inner,
        p.b_base + outer * p.b_outer + inner * p.b_inner,
        p.c_base + i32(slice) * p.c_slice + outer * p.c_outer + inner * p.c_inner,
    );
}

