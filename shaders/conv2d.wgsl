// Convolution and its two gradients, for GPUs: tiles of shared/tile.wgsl that read the patches of shared/patches.wgsl.
//
// The digits of n are found once per invocation, those of k by adding the digits of a step, so no round divides. The four
// rows (or columns) of a quad are QUADS apart, as in matmul.wgsl. How A is fetched and kept is in conv2d_rows.wgsl and
// conv2d_rows_vec4.wgsl; the four quads of P that an invocation fetches are at one place of the tile and a quarter of the
// depth apart. No load stands behind a branch of its own (see matmul_vec4.wgsl).

var<private> row_first: u32;
var<private> column_first: u32;
var<private> c_start: i32;
var<private> k_now: u32;
var<private> k_end: u32;
var<private> round_digits: vec3<u32>;   // the digits of the depth of a round
var<private> quarter_digits: vec3<u32>; // and of a quarter of it

var<private> b_quad: u32;
var<private> b_depth: u32;
var<private> b_digits: vec3<u32>;
var<private> columns: Columns;

var<private> b_next: array<vec4<f32>, 4>;

// The next quad of P, a quarter of the depth on.
fn next_of_b(i: u32) -> vec4<f32> {
    let digits = b_digits;
    b_digits = sum_of_digits(digits, quarter_digits);
    return pixels_at(columns, digits, k_now + b_depth + i * (DEPTH / 4u) < k_end);
}

fn fetch() {
    fetch_rows();
    b_next[0] = next_of_b(0u);
    b_next[1] = next_of_b(1u);
    b_next[2] = next_of_b(2u);
    b_next[3] = next_of_b(3u);
    k_now += DEPTH;
}

fn keep() {
    keep_rows();
    tiles[TILE_QUADS + place(b_depth, b_quad)] = b_next[0];
    tiles[TILE_QUADS + place(b_depth + DEPTH / 4u, b_quad)] = b_next[1];
    tiles[TILE_QUADS + place(b_depth + DEPTH / 2u, b_quad)] = b_next[2];
    tiles[TILE_QUADS + place(b_depth + 3u * DEPTH / 4u, b_quad)] = b_next[3];
}

fn columns_at(quad: u32) -> vec4<i32> {
    return places_of(column_first + quad, QUADS);
}

// Row `i` of a quad of rows.
fn row_of(quad: u32, i: u32) -> u32 {
    return row_first + quad + i * QUADS;
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
    let tiles_m = (p.m + TILE - 1u) / TILE;
    let tiles_all = tiles_m * ((p.n + TILE - 1u) / TILE);
    if index >= tiles_all * p.groups * p.slices {
        return;
    }
    // The rows of tiles are few, and neighbours share their patches.
    let tile = index % tiles_all;
    let group = index / tiles_all % p.groups;
    let slice = index / tiles_all / p.groups;
    row_first = tile % tiles_m * TILE;
    column_first = tile / tiles_m * TILE;
    let first = min(slice * p.k_step, p.k);
    let end = min(first + p.k_step, p.k);
    k_now = first;
    k_end = end;

    // Of A neighbours stand along the reduction; of P along the columns.
    begin_rows(local, first, p.a_base + i32(group) * p.a_group);
    b_quad = local % QUADS;
    b_depth = local / QUADS;
    columns = columns_of(column_first + b_quad, QUADS, group);
    b_digits = digits_of_k(first + b_depth);
    round_digits = digits_of_k(DEPTH);
    quarter_digits = digits_of_k(DEPTH / 4u);

    c_start = p.c_base + i32(slice) * p.c_slice + i32(group) * p.c_group;
    multiply((end - first + DEPTH - 1u) / DEPTH, local, index / tiles_all);
}
