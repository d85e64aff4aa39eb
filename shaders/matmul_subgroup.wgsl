// Matrix products for a software rasteriser: tiles of shared/broadcast.wgsl over matrices of any strides. How A and B
// are read is in the two files in front of this one. What the parameters mean stands in matmul.wgsl.

@group(0) @binding(2) var<storage, read_write> c: array<f32>;

override ACCUMULATE: bool = false;

var<private> part: Part;
var<private> row0: u32;
var<private> column0: u32;
var<private> columns: vec4<u32>;
var<private> a_start: vec4<i32>; // where the lane's rows begin, and its columns
var<private> b_start: vec4<i32>;

var<private> outer: u32;         // the next depth, and where it is
var<private> depth: u32;
var<private> a_at: vec4<i32>;
var<private> b_at: vec4<i32>;

fn begin(o: u32) {
    outer = o;
    depth = part.k_first;
    a_at = a_start + (i32(o) * p.a_k_outer + i32(depth) * p.a_col);
    b_at = b_start + (i32(o) * p.b_k_outer + i32(depth) * p.b_row);
}

fn fetch() {
    if depth >= part.k_end {
        begin(outer + 1u);
    }
    a_rows = rows_at(a_at);
    b_columns = columns_at(b_at);
    end_after(part.k_end - depth);
    depth += 4u;
    a_at += vec4<i32>(4 * p.a_col);
    b_at += vec4<i32>(4 * p.b_row);
}

fn put(row: i32, column: u32, value: f32) {
    if column < p.n {
        let at = u32(row + i32(column) * p.c_col);
        var sum = value;
        if ACCUMULATE { sum += c[at]; }
        c[at] = epilogue(sum, at);
    }
}

// Stores the i-th row of a lane.
fn put_row(lane: u32, i: u32, values: vec4<f32>) {
    let row = row0 + row_of(lane, i);
    if row < p.m {
        let at = part.c_start + i32(row) * p.c_row;
        put(at, columns.x, values.x);
        put(at, columns.y, values.y);
        put(at, columns.z, values.z);
        put(at, columns.w, values.w);
    }
}

@compute @workgroup_size(8)
fn broadcast(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let index = (group.z * grid.y + group.y) * grid.x + group.x;
    if index >= p.groups {
        return;
    }
    let here = part_of(index);
    part = here;
    row0 = part.tile / p.tiles_n * ROWS;
    column0 = part.tile % p.tiles_n * 32u;
    // Past the edge, the last row and the last column are fetched again; what they make is not stored.
    let rows = row0 + vec4<u32>(row_of(lane, 0u), row_of(lane, 1u), row_of(lane, 2u), row_of(lane, 3u));
    columns = column0 + vec4<u32>(column_of(lane, 0u), column_of(lane, 1u), column_of(lane, 2u), column_of(lane, 3u));
    a_start = part.a_start + vec4<i32>(min(rows, vec4<u32>(p.m - 1u))) * p.a_row;
    b_start = part.b_start + vec4<i32>(min(columns, vec4<u32>(p.n - 1u))) * p.b_col;
    begin(part.k_outer_first);
    let rounds = (here.k_end - here.k_first + 3u) / 4u;
    multiply((here.k_outer_end - here.k_outer_first) * rounds, lane, index / p.tiles);
}
