// Convolution and its two gradients, for GPUs: tiles of shared/tile.wgsl that read the patches of shared/patches.wgsl.
//
// The digits of n are found once per invocation, those of k by adding the digits of the depth of a round, so no round
// divides. The four rows (or columns) of a quad are QUADS apart, as in matmul.wgsl.

var<private> row_first: u32;
var<private> column_first: u32;
var<private> c_start: i32;
var<private> k_now: u32;
var<private> k_end: u32;
var<private> round_digits: vec3<u32>;

var<private> a_quad: u32;
var<private> a_depth: u32;
var<private> a_digits: vec3<u32>;
var<private> a_start: i32;
var<private> first_columns: Columns;
var<private> second_columns: Columns;
var<private> b_quad: u32;
var<private> b_depth: vec2<u32>;
var<private> first_digits: vec3<u32>;
var<private> second_digits: vec3<u32>;

var<private> a_next: array<vec4<f32>, 2>;
var<private> b_next: array<vec4<f32>, 2>;

fn fetch() {
    a_next[0] = vec4<f32>();
    a_next[1] = vec4<f32>();
    b_next[0] = vec4<f32>();
    b_next[1] = vec4<f32>();
    if k_now + a_depth < k_end {
        let row = row_first + a_quad;
        let at = a_start + a_shift(a_digits) + i32(row) * p.a_row;
        a_next[0] = quad_of_a(at, row);
        a_next[1] = quad_of_a(at + i32(QUADS / 2u) * p.a_row, row + QUADS / 2u);
    }
    a_digits = sum_of_digits(a_digits, round_digits);
    if k_now + b_depth.x < k_end { b_next[0] = pixels_at(first_columns, first_digits); }
    if k_now + b_depth.y < k_end { b_next[1] = pixels_at(second_columns, second_digits); }
    first_digits = sum_of_digits(first_digits, round_digits);
    second_digits = sum_of_digits(second_digits, round_digits);
    k_now += DEPTH;
}

fn keep() {
    tiles[place(a_depth, a_quad)] = a_next[0];
    tiles[place(a_depth, a_quad + QUADS / 2u)] = a_next[1];
    if SUM_OVER_IMAGES {
        tiles[TILE_QUADS + place(b_depth.x, a_quad)] = b_next[0];
        tiles[TILE_QUADS + place(b_depth.y, a_quad + QUADS / 2u)] = b_next[1];
    } else {
        tiles[TILE_QUADS + place(b_depth.x, b_quad)] = b_next[0];
        tiles[TILE_QUADS + place(b_depth.y, b_quad)] = b_next[1];
    }
}

fn columns_at(quad: u32) -> vec4<i32> {
    return places_of(column_first + quad, QUADS);
}

// Row `i` of a quad of rows.
fn put(quad: u32, i: u32, at: vec4<i32>, values: vec4<f32>) {
    let row = row_first + quad + i * QUADS;
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

    // Of A neighbours stand along the reduction; of P along the columns, but where windows are summed along those.
    a_quad = local / DEPTH;
    a_depth = local % DEPTH;
    a_start = p.a_base + i32(group) * p.a_group;
    b_quad = local % QUADS;
    if SUM_OVER_IMAGES {
        b_depth = vec2<u32>(a_depth);
        first_columns = columns_of(column_first + a_quad, QUADS, group);
        second_columns = columns_of(column_first + a_quad + QUADS / 2u, QUADS, group);
    } else {
        b_depth = vec2<u32>(local / QUADS, local / QUADS + DEPTH / 2u);
        first_columns = columns_of(column_first + b_quad, QUADS, group);
        second_columns = first_columns;
    }
    a_digits = digits_of_k(first + a_depth);
    first_digits = digits_of_k(first + b_depth.x);
    second_digits = digits_of_k(first + b_depth.y);
    round_digits = digits_of_k(DEPTH);

    c_start = p.c_base + i32(slice) * p.c_slice + i32(group) * p.c_group;
    multiply((end - first + DEPTH - 1u) / DEPTH, local);
}
