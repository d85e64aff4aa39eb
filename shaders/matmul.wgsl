// Matrix products C = sum over k_outer of A B, for GPUs: tiles of shared/tile.wgsl over operands of any strides.
//
// A is m x k and B is k x n, both addressed by base and strides, so that transposed, sliced, flipped and broadcast
// operands need no copy; there are two levels of batch, an outer axis that is summed over (images, in the gradient of a
// convolution's weight), and slices of the reduction whose partial sums another kernel adds up (few tiles, long
// reduction). All workgroups stand in one row, folded over the grid: matrix by matrix, then tile by tile.
//
// The four rows of a quad are ROW_QUADS apart, four columns COLUMN_QUADS, so that neighbouring invocations read and
// write neighbouring elements, one at a time. Along which axis they stand next to each other follows from the strides.

@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

// The four quads of A, and four or eight of B, that this invocation fetches in each round: row (or column) and depth of
// the first, its address at the start of the reduction, and how far each is from the one before.
struct Quads {
    line: u32,
    depth: u32,
    at: i32,
    line_step: u32,
    depth_step: u32,
    step: i32,
}

var<private> a_quads: Quads;
var<private> b_quads: Quads;

var<private> a_next: array<vec4<f32>, 4>;
var<private> b_next: array<vec4<f32>, 8>;

// Columns `line`, `line + COLUMN_QUADS`, ... of B from `at` on; 0 from column `columns` on, as shared/rows.wgsl has it
// for A.
fn quad_of_b(at: i32, line: u32, columns: u32) -> vec4<f32> {
    let step = i32(COLUMN_QUADS) * p.b_col;
    var quad = vec4<f32>();
    if line < columns { quad.x = b[u32(at)]; }
    if line + COLUMN_QUADS < columns { quad.y = b[u32(at + step)]; }
    if line + 2u * COLUMN_QUADS < columns { quad.z = b[u32(at + 2 * step)]; }
    if line + 3u * COLUMN_QUADS < columns { quad.w = b[u32(at + 3 * step)]; }
    return quad;
}

fn next_of_a(i: u32, shift: i32) -> vec4<f32> {
    let rows = select(0u, p.m, k_now + a_quads.depth + i * a_quads.depth_step < k_end);
    return quad_of_a(a_quads.at + shift + i32(i) * a_quads.step, a_quads.line + i * a_quads.line_step, rows);
}

fn next_of_b(i: u32, shift: i32) -> vec4<f32> {
    let columns = select(0u, p.n, k_now + b_quads.depth + i * b_quads.depth_step < k_end);
    return quad_of_b(b_quads.at + shift + i32(i) * b_quads.step, b_quads.line + i * b_quads.line_step, columns);
}

fn fetch() {
    let a_shift = outer_now * p.a_k_outer + i32(k_now) * p.a_col;
    let b_shift = outer_now * p.b_k_outer + i32(k_now) * p.b_row;
    a_next[0] = next_of_a(0u, a_shift);
    a_next[1] = next_of_a(1u, a_shift);
    a_next[2] = next_of_a(2u, a_shift);
    a_next[3] = next_of_a(3u, a_shift);
    b_next[0] = next_of_b(0u, b_shift);
    b_next[1] = next_of_b(1u, b_shift);
    b_next[2] = next_of_b(2u, b_shift);
    b_next[3] = next_of_b(3u, b_shift);
    if EACH_COLUMNS > EACH_ROWS {
        b_next[4] = next_of_b(4u, b_shift);
        b_next[5] = next_of_b(5u, b_shift);
        b_next[6] = next_of_b(6u, b_shift);
        b_next[7] = next_of_b(7u, b_shift);
    }
    next_round();
}

fn keep_of_a(i: u32, quad: vec4<f32>) {
    let line = a_quads.line - row_first + i * a_quads.line_step;
    tiles[place(ROW_QUADS, a_quads.depth + i * a_quads.depth_step, line)] = quad;
}

fn keep_of_b(i: u32, quad: vec4<f32>) {
    let line = b_quads.line - column_first + i * b_quads.line_step;
    tiles[A_QUADS + place(COLUMN_QUADS, b_quads.depth + i * b_quads.depth_step, line)] = quad;
}

fn keep() {
    keep_of_a(0u, a_next[0]);
    keep_of_a(1u, a_next[1]);
    keep_of_a(2u, a_next[2]);
    keep_of_a(3u, a_next[3]);
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

// Where the columns of a quad lie, from the start of a row; -1 beyond the edge.
fn columns_at(quad: u32) -> vec4<i32> {
    let columns = vec4<u32>(column_first + quad) + COLUMN_QUADS * vec4<u32>(0u, 1u, 2u, 3u);
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

// Which quads an invocation fetches, of `all` at one depth: neighbours stand along the reduction, or along the rows
// (columns), as the strides are.
fn quads_of(local: u32, all: u32, start: i32, first_line: u32, line_stride: i32, k_stride: i32) -> Quads {
    let along_k = abs(k_stride) <= abs(line_stride);
    var quads: Quads;
    quads.line = first_line + select(local % all, local / DEPTH, along_k);
    quads.depth = select(local / all, local % DEPTH, along_k);
    quads.at = start + i32(quads.line) * line_stride + i32(quads.depth) * k_stride;
    quads.line_step = select(0u, THREADS / DEPTH, along_k);
    quads.depth_step = select(THREADS / all, 0u, along_k);
    quads.step = i32(quads.line_step) * line_stride + i32(quads.depth_step) * k_stride;
    return quads;
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
    a_quads = quads_of(local, ROW_QUADS, here.a_start, row_first, p.a_row, p.a_col);
    b_quads = quads_of(local, COLUMN_QUADS, here.b_start, column_first, p.b_col, p.b_row);
    multiply(here.rounds, local, index / p.tiles);
}
