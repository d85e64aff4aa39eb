// Convolution and its two gradients, for GPUs: tiles of shared/tile.wgsl that read the patches of shared/patches.wgsl.
//
// The digits of n are found once per invocation, those of k by adding the digits of a step, so no round divides. The
// four rows of a quad are ROW_QUADS apart, four columns COLUMN_QUADS, as in matmul.wgsl. How A is fetched and kept is
// in conv2d_rows.wgsl and conv2d_rows_vec4.wgsl; the four or eight quads of P that an invocation fetches are at one
// place of the tile and as many parts of the depth apart. No load stands behind a branch of its own (see
// matmul_vec4.wgsl).

var<private> row_first: u32;
var<private> column_first: u32;
var<private> c_start: i32;
var<private> k_now: u32;
var<private> k_end: u32;
var<private> round_digits: vec3<u32>; // the digits of the depth of a round
var<private> part_digits: vec3<u32>;  // and of that from one quad of P to the next

var<private> b_quad: u32;
var<private> b_depth: u32;
var<private> b_digits: vec3<u32>;
var<private> columns: Columns;

var<private> b_next: array<vec4<f32>, 8>;

override B_STEP: u32 = THREADS / COLUMN_QUADS; // depths from one quad of P to the next: a quarter of a round, or an eighth

// Quad `i` of P, after the one before.
fn next_of_b(i: u32) -> vec4<f32> {
    let digits = b_digits;
    b_digits = sum_of_digits(digits, part_digits);
    return pixels_at(columns, digits, k_now + b_depth + i * B_STEP < k_end);
}

fn keep_of_b(i: u32, quad: vec4<f32>) {
    tiles[A_QUADS + place(COLUMN_QUADS, b_depth + i * B_STEP, b_quad)] = quad;
}

fn fetch() {
    fetch_rows();
    b_next[0] = next_of_b(0u);
    b_next[1] = next_of_b(1u);
    b_next[2] = next_of_b(2u);
    b_next[3] = next_of_b(3u);
    if EACH_COLUMNS > EACH_ROWS {
        b_next[4] = next_of_b(4u);
        b_next[5] = next_of_b(5u);
        b_next[6] = next_of_b(6u);
        b_next[7] = next_of_b(7u);
    }
    k_now += DEPTH;
}

fn keep() {
    keep_rows();
    keep_of_b(0u, b_next[0]);
    keep_of_b(1u, b_next[1]);
    keep_of_b(2u, b_next[2]);
    keep_of_b(3u, b_next[3]);
    if EACH_COLUMNS > EACH_ROWS {
        keep_of_b(4u, b_next[4]);
        keep_of_b(5u, b_next[5]);
        keep_of_b(6u, b_next[6]);
        keep_of_b(7u, b_next[7]);
    }
}

fn columns_at(quad: u32) -> vec4<i32> {
    return places_of(column_first + quad, COLUMN_QUADS);
}

// Row `i` of a quad of rows.
fn row_of(quad: u32, i: u32) -> u32 {
    return row_first + quad + i * ROW_QUADS;
}

fn put(quad: u32, i: u32, at: vec4<i32>, values: vec4<f32>) {
    let row = row_of(quad, i);
    if row < p.m {
        let start = c_start + i32(row) * p.c_row;
        put_one(start, at.x, values.x);
        put_one(start, at.y, values.y);
        put_one(start, at.z, values.z);
        put_one(start, at.w, values.w);
    }
}

@compute @workgroup_size(THREADS)
fn implicit(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (workgroup.z * grid.y + workgroup.y) * grid.x + workgroup.x;
    let tiles_m = (p.m + TILE_ROWS - 1u) / TILE_ROWS;
    let tiles_all = tiles_m * ((p.n + TILE_COLUMNS - 1u) / TILE_COLUMNS);
    if index >= tiles_all * p.groups * p.slices {
        return;
    }
    // The rows of tiles are few, and neighbours share their patches.
    let tile = index % tiles_all;
    let group = index / tiles_all % p.groups;
    let slice = index / tiles_all / p.groups;
    row_first = tile % tiles_m * TILE_ROWS;
    column_first = tile / tiles_m * TILE_COLUMNS;
    let first = min(slice * p.k_step, p.k);
    let end = min(first + p.k_step, p.k);
    k_now = first;
    k_end = end;

    // Of A neighbours stand along the reduction; of P along the columns.
    begin_rows(local, first, p.a_base + i32(group) * p.a_group);
    b_quad = local % COLUMN_QUADS;
    b_depth = local / COLUMN_QUADS;
    columns = columns_of(column_first + b_quad, COLUMN_QUADS, group);
    b_digits = digits_of_k(first + b_depth);
    round_digits = digits_of_k(DEPTH);
    part_digits = digits_of_k(B_STEP);

    c_start = p.c_base + i32(slice) * p.c_slice + i32(group) * p.c_group;
    multiply((end - first + DEPTH - 1u) / DEPTH, local, index / tiles_all);
}
