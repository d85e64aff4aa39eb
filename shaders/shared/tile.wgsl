// A tile of a matrix product, made by one workgroup: SIDE x SIDE invocations, each EACH_ROWS x EACH_COLUMNS of its
// elements, 8 x 8, 4 x 4 or 4 x 8.
//
// What A, B and C are is the business of the file that includes this one. It provides `fetch`, which reads this
// invocation's share of the next DEPTH columns of A and rows of B into registers; `keep`, which stores them in
// workgroup memory; `row_of` and `columns_at`, where rows and columns of C lie; and `put`, which writes four elements.
// Its entry point says where the tile lies and calls `multiply`. What is made besides is in shared/sums.wgsl or
// shared/no_sums.wgsl.
//
// Workgroup memory holds quads: four rows of A (or four columns of B) at one depth in one vec4, so that a step is two
// or four vec4 loads and 16 or 64 multiply-adds. A whole vec4 is always written by one invocation: writing single
// components from several would be a race. Quads of one depth are permuted within eights by the depth (`spread`), so
// that neither stores along the depth nor stores along the tile meet in one bank; padding would do that too, and make
// the largest tile exceed 32 KiB. The next round is fetched before this one is multiplied, so that memory and
// arithmetic work at the same time. Each invocation fetches four quads of A and four of B in a round, or eight of B
// where the tile is twice as wide as high: with half as many, a 64 x 64 tile made 23 TFLOP/s of 41 on an H200.
//
// Accumulators have names, four columns each: an array with a variable index would lie in memory. c12 is row 1 of the
// first quad, columns of the second; rows 4 to 7 are those of the second quad of rows. All depths of a round are
// written out: in a loop of four at a time a 128 x 128 tile made 36 TFLOP/s of 43 (H200).

override SIDE: u32 = 16u;
override EACH_ROWS: u32 = 8u;
override EACH_COLUMNS: u32 = 8u;
override THREADS: u32 = SIDE * SIDE;
override TILE_ROWS: u32 = SIDE * EACH_ROWS;
override TILE_COLUMNS: u32 = SIDE * EACH_COLUMNS;
override ROW_QUADS: u32 = TILE_ROWS / 4u; // quads of A at one depth
override COLUMN_QUADS: u32 = TILE_COLUMNS / 4u; // and of B
override DEPTH: u32 = 16u * SIDE / EACH_ROWS; // 16 or 32: four quads of A for each invocation
override A_QUADS: u32 = DEPTH * ROW_QUADS;
override ALL_QUADS: u32 = A_QUADS + DEPTH * COLUMN_QUADS;

var<workgroup> tiles: array<vec4<f32>, ALL_QUADS>; // of A, then of B

var<private> c01: vec4<f32>;
var<private> c02: vec4<f32>;
var<private> c11: vec4<f32>;
var<private> c12: vec4<f32>;
var<private> c21: vec4<f32>;
var<private> c22: vec4<f32>;
var<private> c31: vec4<f32>;
var<private> c32: vec4<f32>;
var<private> c41: vec4<f32>;
var<private> c42: vec4<f32>;
var<private> c51: vec4<f32>;
var<private> c52: vec4<f32>;
var<private> c61: vec4<f32>;
var<private> c62: vec4<f32>;
var<private> c71: vec4<f32>;
var<private> c72: vec4<f32>;

// By what the quads of a depth are permuted. Eight depths in a row differ, and so do eight depths four apart; the value
// of a + b is the exclusive or of the values of a and b where a and b have no bit in common.
fn spread(depth: u32) -> u32 {
    return (depth & 7u) ^ ((depth >> 2u) & 2u) ^ (depth >> 4u);
}

// Where a quad lies among ROW_QUADS of A at each depth; or of COLUMN_QUADS of B, which begins A_QUADS later.
fn place(quads: u32, depth: u32, quad: u32) -> u32 {
    return depth * quads + (quad ^ spread(depth));
}

// Adds the products at one depth, given where the first quad of rows and the first of columns lie.
fn add_products(row_quad: u32, column_quad: u32) {
    let a = tiles[row_quad];
    let b = tiles[column_quad];
    c01 += a.x * b;
    c11 += a.y * b;
    c21 += a.z * b;
    c31 += a.w * b;
    if EACH_COLUMNS == 8u {
        let b_second = tiles[column_quad + SIDE];
        c02 += a.x * b_second;
        c12 += a.y * b_second;
        c22 += a.z * b_second;
        c32 += a.w * b_second;
        if EACH_ROWS == 8u {
            let a_second = tiles[row_quad + SIDE];
            c41 += a_second.x * b;
            c51 += a_second.y * b;
            c61 += a_second.z * b;
            c71 += a_second.w * b;
            c42 += a_second.x * b_second;
            c52 += a_second.y * b_second;
            c62 += a_second.z * b_second;
            c72 += a_second.w * b_second;
        }
    }
}

// The same at four depths from `depth` on, a multiple of four, for the quads of rows and columns of this invocation.
fn add_four(rows: u32, columns: u32, depth: u32) {
    let a = depth * ROW_QUADS;
    let b = A_QUADS + depth * COLUMN_QUADS;
    let row = rows ^ spread(depth);
    let column = columns ^ spread(depth);
    add_products(a + row, b + column);
    add_products(a + ROW_QUADS + (row ^ 1u), b + COLUMN_QUADS + (column ^ 1u));
    add_products(a + 2u * ROW_QUADS + (row ^ 2u), b + 2u * COLUMN_QUADS + (column ^ 2u));
    add_products(a + 3u * ROW_QUADS + (row ^ 3u), b + 3u * COLUMN_QUADS + (column ^ 3u));
}

// `matrix`: its number, counted through all slices.
fn multiply(rounds: u32, local: u32, matrix: u32) {
    // 32 neighbours make a block of 4 x 8 quads, the fewest different quads that a subgroup can read, and each half of
    // them two rows of it: with a row for each quarter a generated tile of 128 x 128 made 30 TFLOP/s of 43 (H200), and
    // this one 40.1 of 40.5.
    let block = local / 32u;
    let rows = block / (SIDE / 8u) * 4u + ((local & 1u) | ((local >> 3u) & 2u));
    let columns = block % (SIDE / 8u) * 8u + ((local >> 1u) & 7u);

    fetch();
    for (var round = 0u; round < rounds; round += 1u) {
        workgroupBarrier(); // the round before has been read
        keep();
        workgroupBarrier();
        add_to_sums(local);
        if round + 1u < rounds {
            fetch();
        }
        add_four(rows, columns, 0u);
        add_four(rows, columns, 4u);
        add_four(rows, columns, 8u);
        add_four(rows, columns, 12u);
        if DEPTH == 32u {
            add_four(rows, columns, 16u);
            add_four(rows, columns, 20u);
            add_four(rows, columns, 24u);
            add_four(rows, columns, 28u);
        }
    }

    put_sums(local, matrix);
    let at = columns_at(columns);
    put(rows, 0u, at, c01);
    put(rows, 1u, at, c11);
    put(rows, 2u, at, c21);
    put(rows, 3u, at, c31);
    if EACH_COLUMNS == 8u {
        let at_second = columns_at(columns + SIDE);
        put(rows, 0u, at_second, c02);
        put(rows, 1u, at_second, c12);
        put(rows, 2u, at_second, c22);
        put(rows, 3u, at_second, c32);
        if EACH_ROWS == 8u {
            put(rows + SIDE, 0u, at, c41);
            put(rows + SIDE, 1u, at, c51);
            put(rows + SIDE, 2u, at, c61);
            put(rows + SIDE, 3u, at, c71);
            put(rows + SIDE, 0u, at_second, c42);
            put(rows + SIDE, 1u, at_second, c52);
            put(rows + SIDE, 2u, at_second, c62);
            put(rows + SIDE, 3u, at_second, c72);
        }
    }
}
