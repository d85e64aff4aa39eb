// Convolution and its two gradients for a software rasteriser: tiles of shared/broadcast.wgsl over the patches of
// shared/patches.wgsl. How A is read is in the file in front of this one.
//
// A load costs so much there that what surrounds it is cheap: pixels outside of an image are loaded like others, from
// wherever that is, and count as 0.

var<private> row0: u32;
var<private> column0: u32;
var<private> c_start: i32;
var<private> places: vec4<i32>;  // of the lane's columns in a row of C
var<private> columns: Columns;
var<private> a_start: vec4<i32>; // where the lane's rows begin

var<private> depth: u32;         // the next one, and its digits
var<private> depth_end: u32;
var<private> digits: vec3<u32>;

// Row k of P at the lane's columns.
fn pixels_of(k: vec3<u32>) -> vec4<f32> {
    let down = i32(k.y) * p.y_k;
    let across = i32(k.z) * p.x_k;
    let rows = vec4<u32>(columns.y + down) < vec4<u32>(p.height);
    let inside = rows & (vec4<u32>(columns.x + across) < vec4<u32>(p.width));
    let at = vec4<u32>(columns.at + (i32(k.x) * k0_stride() + down * i32(p.width) + across));
    return select(vec4<f32>(), vec4<f32>(pixels[at.x], pixels[at.y], pixels[at.z], pixels[at.w]), inside);
}

fn next(k: vec3<u32>) -> vec3<u32> {
    return sum_of_digits(k, vec3<u32>(0u, 0u, 1u));
}

fn fetch() {
    let k0 = digits;
    let k1 = next(k0);
    let k2 = next(k1);
    let k3 = next(k2);
    digits = next(k3);
    a_rows = rows_at(k0, k1, k2, k3);
    b_columns = mat4x4<f32>(pixels_of(k0), pixels_of(k1), pixels_of(k2), pixels_of(k3));
    end_after(depth_end - depth);
    depth += 4u;
}

// Which row of a tile is a lane's i-th.
fn row_of(lane: u32, i: u32) -> u32 {
    return lane + 8u * i;
}

// Stores the i-th row of a lane.
fn put_row(lane: u32, i: u32, values: vec4<f32>) {
    let row = row0 + row_of(lane, i);
    if row < p.m {
        let start = c_start + i32(row) * p.c_row;
        put_one(start, places.x, values.x);
        put_one(start, places.y, values.y);
        put_one(start, places.z, values.z);
        put_one(start, places.w, values.w);
    }
}

@compute @workgroup_size(8)
fn broadcast(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let index = (workgroup.z * grid.y + workgroup.y) * grid.x + workgroup.x;
    let tiles_m = (p.m + ROWS - 1u) / ROWS;
    let tiles = tiles_m * ((p.n + 31u) / 32u);
    if index >= tiles * p.groups * p.slices {
        return;
    }
    let group = index / tiles % p.groups;
    let slice = index / tiles / p.groups;
    row0 = index % tiles % tiles_m * ROWS;
    column0 = index % tiles / tiles_m * 32u;
    let first = min(slice * p.k_step, p.k);
    let end = min(first + p.k_step, p.k);
    depth = first;
    depth_end = end;
    digits = digits_of_k(first);
    columns = columns_of(column0 + lane, 8u, group);
    places = places_of(column0 + lane, 8u);
    c_start = p.c_base + i32(slice) * p.c_slice + i32(group) * p.c_group;
    // Past the edge, the last row is fetched again; what it makes is not stored.
    let rows = row0 + vec4<u32>(row_of(lane, 0u), row_of(lane, 1u), row_of(lane, 2u), row_of(lane, 3u));
    a_start = p.a_base + i32(group) * p.a_group + vec4<i32>(min(rows, vec4<u32>(p.m - 1u))) * p.a_row;
    multiply((end - first + 3u) / 4u, lane, index / tiles);
}
