// Matrix products C = sum over k_outer of A B, for GPUs: tiles of shared/tile.wgsl over operands of any strides.
//
// A is m x k and B is k x n, both addressed by base and strides, so that transposed, sliced, flipped and broadcast
// operands need no copy; there are two levels of batch, an outer axis that is summed over (images, in the gradient of a
// convolution's weight), and slices of the reduction whose partial sums another kernel adds up (few tiles, long
// reduction). All workgroups stand in one row, folded over the grid: matrix by matrix, then tile by tile.
//
// The four rows (or columns) of a quad are QUADS apart, so that neighbouring invocations read and write neighbouring
// elements, one at a time. Along which axis they stand next to each other follows from the strides.

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

// The two quads of A and of B that this invocation fetches in each round: first row (or column), depth, and address
// at the start of the reduction.
var<private> a_line: vec2<u32>;
var<private> a_depth: vec2<u32>;
var<private> a_at: vec2<i32>;
var<private> b_line: vec2<u32>;
var<private> b_depth: vec2<u32>;
var<private> b_at: vec2<i32>;

var<private> a_next: array<vec4<f32>, 2>;
var<private> b_next: array<vec4<f32>, 2>;

// Columns `line`, `line + QUADS`, ... of B from `at` on; 0 beyond the edge, as shared/rows.wgsl has it for A.
fn quad_of_b(at: i32, line: u32) -> vec4<f32> {
    let step = i32(QUADS) * p.b_col;
    var quad = vec4<f32>();
    if line < p.n { quad.x = b[u32(at)]; }
    if line + QUADS < p.n { quad.y = b[u32(at + step)]; }
    if line + 2u * QUADS < p.n { quad.z = b[u32(at + 2 * step)]; }
    if line + 3u * QUADS < p.n { quad.w = b[u32(at + 3 * step)]; }
    return quad;
}

fn fetch() {
    let a_shift = outer_now * p.a_k_outer + i32(k_now) * p.a_col;
    let b_shift = outer_now * p.b_k_outer + i32(k_now) * p.b_row;
    a_next[0] = vec4<f32>();
    a_next[1] = vec4<f32>();
    b_next[0] = vec4<f32>();
    b_next[1] = vec4<f32>();
    if k_now + a_depth.x < k_end { a_next[0] = quad_of_a(a_at.x + a_shift, a_line.x); }
    if k_now + a_depth.y < k_end { a_next[1] = quad_of_a(a_at.y + a_shift, a_line.y); }
    if k_now + b_depth.x < k_end { b_next[0] = quad_of_b(b_at.x + b_shift, b_line.x); }
    if k_now + b_depth.y < k_end { b_next[1] = quad_of_b(b_at.y + b_shift, b_line.y); }
    next_round();
}

fn keep() {
    tiles[place(a_depth.x, a_line.x - row_first)] = a_next[0];
    tiles[place(a_depth.y, a_line.y - row_first)] = a_next[1];
    tiles[TILE_QUADS + place(b_depth.x, b_line.x - column_first)] = b_next[0];
    tiles[TILE_QUADS + place(b_depth.y, b_line.y - column_first)] = b_next[1];
}

// Where the columns of a quad lie, from the start of a row; -1 beyond the edge.
fn columns_at(quad: u32) -> vec4<i32> {
    let columns = vec4<u32>(column_first + quad) + QUADS * vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<i32>(-1), vec4<i32>(columns) * p.c_col, columns < vec4<u32>(p.n));
}

fn put_one(row: i32, column: i32, value: f32) {
    if column >= 0 {
        let at = u32(row + column);
        var sum = value;
        if p.accumulate != 0u { sum += c[at]; }
        c[at] = epilogue(sum, at);
    }
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

// Which quads an invocation fetches: neighbours stand along the reduction, or along the rows (columns).
fn quads_along(k: bool, local: u32) -> vec2<u32> {
    let quad = select(local % QUADS, local / DEPTH, k);
    return vec2<u32>(quad, quad + select(0u, QUADS / 2u, k));
}

fn depths_along(k: bool, local: u32) -> vec2<u32> {
    let depth = select(local / QUADS, local % DEPTH, k);
    return vec2<u32>(depth, depth + select(DEPTH / 2u, 0u, k));
}

@compute @workgroup_size(THREADS)
fn tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.z * grid.y + group.y) * grid.x + group.x;
    if index >= p.groups {
        return;
    }
    let here = locate(index);
    let a_along_k = abs(p.a_col) <= abs(p.a_row);
    let b_along_k = abs(p.b_row) <= abs(p.b_col);
    a_line = row_first + quads_along(a_along_k, local);
    a_depth = depths_along(a_along_k, local);
    a_at = here.a_start + vec2<i32>(a_line) * p.a_row + vec2<i32>(a_depth) * p.a_col;
    b_line = column_first + quads_along(b_along_k, local);
    b_depth = depths_along(b_along_k, local);
    b_at = here.b_start + vec2<i32>(b_line) * p.b_col + vec2<i32>(b_depth) * p.b_row;
    multiply(here.rounds, local);
}
