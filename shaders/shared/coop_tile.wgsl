// A tile of a product on matrix units, made by one workgroup: A and B of halves, sums in single precision.
//
// What A, B and C are is the business of the file that includes this one, as with shared/tile.wgsl. It provides
// `fetch`, which reads this invocation's quads of the next DEPTH columns of A and rows of B into registers, and `put`,
// which writes one element of C. Its entry point says where the tile lies and calls `multiply`.
//
// A subgroup holds cooperative matrices of SIDE x SIDE, its part of C among them, and multiplies whole matrices. A and
// B are staged in workgroup memory, in quads along the reduction or along their rows (columns): the unit loads both.
// Lines there are PAD longer than they are, so that matrices do not lie in the same banks. What is beyond an edge is 0.
//
// The workgroup has as many subgroups as the tile has matrices along a side, 8 or 4, in two rows: each makes 4 x 2 or 2
// x 2 matrices. Accumulators have names, because an array would lie in memory. No element of one can be touched, so
// each goes through workgroup memory, where every invocation takes some of its elements to the epilogue.
//
// Indices of loads and stores have names too: naga 30 does not translate expressions there.

override MATRICES: u32 = 8u; // along a side of the tile
override SUBGROUP: u32 = 32u;
override DEPTH: u32 = 32u;
override FOUR: bool = true; // quads of A, and of B, that an invocation fetches in each round; else two
override A_ALONG_K: bool = true;
override B_ALONG_K: bool = false;
override THREADS: u32 = MATRICES * SUBGROUP;
override TILE: u32 = MATRICES * SIDE;
override TILE_ROWS: u32 = TILE;
override TILE_COLUMNS: u32 = TILE;
override TILE_QUADS: u32 = TILE * (DEPTH + PAD) / 4u;
override STAGED: u32 = 2u * TILE_QUADS * PER_QUAD;
override PATCHES: u32 = MATRICES * SIDE * SIDE;

const PAD = 8u;

var<workgroup> patches: array<f32, PATCHES>; // one accumulator of each subgroup

// The first quad that this invocation fetches: row (or column) and depth in the tile, and how far the next ones are.
var<private> a_line: u32;
var<private> a_depth: u32;
var<private> b_line: u32;
var<private> b_depth: u32;
var<private> a_step: vec2<u32>;
var<private> b_step: vec2<u32>;

var<private> a_next: array<vec4<f16>, 4>;
var<private> b_next: array<vec4<f16>, 4>;

// Of the first quad that an invocation fetches: row (column) and depth; and of the step to the next.
fn first_quad(local: u32, along_k: bool) -> vec2<u32> {
    let by_k = vec2<u32>(local / (DEPTH / 4u), local % (DEPTH / 4u) * 4u);
    let by_line = vec2<u32>(local % (TILE / 4u) * 4u, local / (TILE / 4u));
    return select(by_line, by_k, along_k);
}

fn next_quad(along_k: bool) -> vec2<u32> {
    return select(vec2<u32>(0u, THREADS / (TILE / 4u)), vec2<u32>(THREADS / (DEPTH / 4u), 0u), along_k);
}

fn find_quads(local: u32) {
    let a_quad = first_quad(local, A_ALONG_K);
    let b_quad = first_quad(local, B_ALONG_K);
    a_line = a_quad.x;
    a_depth = a_quad.y;
    b_line = b_quad.x;
    b_depth = b_quad.y;
    a_step = next_quad(A_ALONG_K);
    b_step = next_quad(B_ALONG_K);
}

// Where a quad stands in a tile of workgroup memory.
fn place(line: u32, depth: u32, along_k: bool) -> u32 {
    return select(depth * (TILE + PAD) + line, line * (DEPTH + PAD) + depth, along_k) / 4u;
}

fn keep() {
    let a_at = place(a_line, a_depth, A_ALONG_K);
    let b_at = place(b_line, b_depth, B_ALONG_K) + TILE_QUADS;
    let a_on = place(a_step.x, a_step.y, A_ALONG_K);
    let b_on = place(b_step.x, b_step.y, B_ALONG_K);
    stage(a_at, a_next[0]);
    stage(a_at + a_on, a_next[1]);
    stage(b_at, b_next[0]);
    stage(b_at + b_on, b_next[1]);
    if FOUR {
        stage(a_at + 2u * a_on, a_next[2]);
        stage(a_at + 3u * a_on, a_next[3]);
        stage(b_at + 2u * b_on, b_next[2]);
        stage(b_at + 3u * b_on, b_next[3]);
    }
}

// The matrix of the staged A that begins at this row and depth. The suffix T means row by row.
fn matrix_of_a(row: u32, depth: u32) -> MatrixA {
    let at = PER_QUAD * place(row, depth, A_ALONG_K);
    if A_ALONG_K {
        return coopLoadT<MatrixA>(&staged[at], PER_QUAD * (DEPTH + PAD) / 4u);
    }
    return coopLoad<MatrixA>(&staged[at], PER_QUAD * (TILE + PAD) / 4u);
}

fn matrix_of_b(depth: u32, column: u32) -> MatrixB {
    let at = PER_QUAD * (TILE_QUADS + place(column, depth, B_ALONG_K));
    if B_ALONG_K {
        return coopLoad<MatrixB>(&staged[at], PER_QUAD * (DEPTH + PAD) / 4u);
    }
    return coopLoadT<MatrixB>(&staged[at], PER_QUAD * (TILE + PAD) / 4u);
}

// Stores the accumulator that stands at this row and column of the tile.
fn put_all(sums: MatrixC, row: u32, column: u32, subgroup: u32, lane: u32) {
    let mine = subgroup * SIDE * SIDE;
    workgroupBarrier(); // the one before has been read
    coopStoreT(sums, &patches[mine], SIDE);
    workgroupBarrier();
    for (var i = lane; i < SIDE * SIDE; i += SUBGROUP) {
        put(row + i / SIDE, column + i % SIDE, patches[mine + i]);
    }
}

// Makes the tile: `find_quads` comes first.
fn multiply(rounds: u32, subgroup: u32, lane: u32) {
    let row = subgroup / (MATRICES / 2u) * (TILE / 2u);
    let column = subgroup % (MATRICES / 2u) * 2u * SIDE;
    var c00 = MatrixC();
    var c01 = MatrixC();
    var c10 = MatrixC();
    var c11 = MatrixC();
    var c20 = MatrixC();
    var c21 = MatrixC();
    var c30 = MatrixC();
    var c31 = MatrixC();

    fetch();
    for (var round = 0u; round < rounds; round += 1u) {
        workgroupBarrier(); // the round before has been read
        keep();
        workgroupBarrier();
        if round + 1u < rounds {
            fetch();
        }
        for (var depth = 0u; depth < DEPTH; depth += SIDE) {
            let b0 = matrix_of_b(depth, column);
            let b1 = matrix_of_b(depth, column + SIDE);
            let a0 = matrix_of_a(row, depth);
            c00 = coopMultiplyAdd(a0, b0, c00);
            c01 = coopMultiplyAdd(a0, b1, c01);
            let a1 = matrix_of_a(row + SIDE, depth);
            c10 = coopMultiplyAdd(a1, b0, c10);
            c11 = coopMultiplyAdd(a1, b1, c11);
            if MATRICES == 8u {
                let a2 = matrix_of_a(row + 2u * SIDE, depth);
                c20 = coopMultiplyAdd(a2, b0, c20);
                c21 = coopMultiplyAdd(a2, b1, c21);
                let a3 = matrix_of_a(row + 3u * SIDE, depth);
                c30 = coopMultiplyAdd(a3, b0, c30);
                c31 = coopMultiplyAdd(a3, b1, c31);
            }
        }
    }

    put_all(c00, row, column, subgroup, lane);
    put_all(c01, row, column + SIDE, subgroup, lane);
    put_all(c10, row + SIDE, column, subgroup, lane);
    put_all(c11, row + SIDE, column + SIDE, subgroup, lane);
    if MATRICES == 8u {
        put_all(c20, row + 2u * SIDE, column, subgroup, lane);
        put_all(c21, row + 2u * SIDE, column + SIDE, subgroup, lane);
        put_all(c30, row + 3u * SIDE, column, subgroup, lane);
        put_all(c31, row + 3u * SIDE, column + SIDE, subgroup, lane);
    }
}
