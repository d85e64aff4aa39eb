// Convolution and its two gradients on matrix units: the tiles of shared/coop_tile.wgsl over halves, with the patches
// of shared/patches.wgsl in the place of B.
//
// A quad is four rows of A, or four columns of P next to each other, at one depth. An invocation fetches those of A and
// of P from the same depths, so the digits of k are found once for both.

const ROW_QUADS = 1u; // from one row of a quad to the next

var<private> row_first: u32;
var<private> column_first: u32;
var<private> c_start: i32;
var<private> a_start: i32;
var<private> k_now: u32;
var<private> k_end: u32;
var<private> columns: Columns;
var<private> digits: vec3<u32>;
var<private> step_digits: vec3<u32>;
var<private> round_digits: vec3<u32>;

fn rows_at(i: u32, k: vec3<u32>) -> vec4<f16> {
    let rows = select(0u, p.m, k_now + a_depth + i * a_step.y < k_end);
    return vec4<f16>(quad_of_a(a_start + a_shift(k), row_first + a_line, rows));
}

fn patches_at(i: u32, k: vec3<u32>) -> vec4<f16> {
    return vec4<f16>(pixels_at(columns, k, k_now + a_depth + i * a_step.y < k_end));
}

fn fetch() {
    let second = sum_of_digits(digits, step_digits);
    a_next[0] = rows_at(0u, digits);
    b_next[0] = patches_at(0u, digits);
    a_next[1] = rows_at(1u, second);
    b_next[1] = patches_at(1u, second);
    if FOUR {
        let third = sum_of_digits(second, step_digits);
        let fourth = sum_of_digits(third, step_digits);
        a_next[2] = rows_at(2u, third);
        b_next[2] = patches_at(2u, third);
        a_next[3] = rows_at(3u, fourth);
        b_next[3] = patches_at(3u, fourth);
    }
    digits = sum_of_digits(digits, round_digits);
    k_now += DEPTH;
}

// Stores an element of the tile.
fn put(row: u32, column: u32, value: f32) {
    if row_first + row < p.m {
        put_one(c_start + i32(row_first + row) * p.c_row, places_of(column_first + column, 1u).x, value);
    }
}

@compute @workgroup_size(THREADS)
fn cooperative(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let index = (workgroup.z * grid.y + workgroup.y) * grid.x + workgroup.x;
    let tiles_m = (p.m + TILE - 1u) / TILE;
    let tiles_all = tiles_m * ((p.n + TILE - 1u) / TILE);
    if index >= tiles_all * p.groups * p.slices {
        return;
    }
    let tile = index % tiles_all;
    let group = index / tiles_all % p.groups;
    let slice = index / tiles_all / p.groups;
    row_first = tile % tiles_m * TILE;
    column_first = tile / tiles_m * TILE;
    let first = min(slice * p.k_step, p.k);
    let end = min(first + p.k_step, p.k);
    k_now = first;
    k_end = end;

    find_quads(local);
    a_start = p.a_base + i32(group) * p.a_group + i32(row_first + a_line) * p.a_row;
    columns = columns_of(column_first + b_line, 1u, group);
    digits = digits_of_k(first + a_depth);
    step_digits = digits_of_k(a_step.y);
    round_digits = digits_of_k(DEPTH);

    c_start = p.c_base + i32(slice) * p.c_slice + i32(group) * p.c_group;
    multiply((end - first + DEPTH - 1u) / DEPTH, subgroup, lane);
}
