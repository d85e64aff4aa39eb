// Matrix products C = sum over k_outer of A B, for GPUs: one workgroup of 256 makes a 64 x 64 tile of C, each
// invocation 4 x 4 of it.
//
// A is m x k and B is k x n, both addressed by base and strides, so that transposed, sliced, flipped and broadcast
// operands need no copy; there are two levels of batch, an outer axis that is summed over (images, in the gradient of a
// convolution's weight), and slices of the reduction whose partial sums another kernel adds up (few tiles, long
// reduction). All workgroups stand in one row, folded over the grid: matrix by matrix, then tile by tile.
//
// Per round, 16 columns of A and 16 rows of B pass through workgroup memory as quads: four rows of A (or four columns of
// B) at one depth in one vec4, so that an inner step is two vec4 loads and 16 multiply-adds. A whole vec4 is always
// written by one invocation: writing single components from several would be a race. Rows of quads are padded by one,
// which spreads both the stores along the depth and the loads along the tile over all banks. A_ALONG_K and B_ALONG_K say
// which way the operand lies in memory, so that neighbouring invocations read neighbouring elements.

override A_ALONG_K: bool = true;
override B_ALONG_K: bool = false;

const TILE = 64u; // rows and columns of a tile of C
const DEPTH = 16u; // depth of one round
const PITCH = 17u; // quads from one depth to the next: 16 and one of padding

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

var<workgroup> a_tile: array<vec4<f32>, 272>; // [depth][quad of rows]
var<workgroup> b_tile: array<vec4<f32>, 272>; // [depth][quad of columns]

// Elements `first` to `first + 3` of a row of `count`, `step` apart from `at` on; 0 beyond the end.
fn quad_of_a(at: i32, first: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if first < p.m { quad.x = a[u32(at)]; }
    if first + 1u < p.m { quad.y = a[u32(at + p.a_row)]; }
    if first + 2u < p.m { quad.z = a[u32(at + 2 * p.a_row)]; }
    if first + 3u < p.m { quad.w = a[u32(at + 3 * p.a_row)]; }
    return quad;
}

fn quad_of_b(at: i32, first: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if first < p.n { quad.x = b[u32(at)]; }
    if first + 1u < p.n { quad.y = b[u32(at + p.b_col)]; }
    if first + 2u < p.n { quad.z = b[u32(at + 2 * p.b_col)]; }
    if first + 3u < p.n { quad.w = b[u32(at + 3 * p.b_col)]; }
    return quad;
}

fn put(at: i32, column: u32, value: f32) {
    if column < p.n {
        let i = u32(at + i32(column) * p.c_col);
        var sum = value;
        if p.accumulate != 0u { sum += c[i]; }
        c[i] = sum;
    }
}

fn put_row(base: i32, row: u32, column: u32, values: vec4<f32>) {
    if row < p.m {
        let at = base + i32(row) * p.c_row;
        put(at, column, values.x);
        put(at, column + 1u, values.y);
        put(at, column + 2u, values.z);
        put(at, column + 3u, values.w);
    }
}

@compute @workgroup_size(256)
fn tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.z * grid.y + group.y) * grid.x + group.x;
    if index >= p.groups {
        return;
    }
    let tile = index % p.tiles;
    let matrix = index / p.tiles % p.batches;
    let slice = index / p.tiles / p.batches;
    let outer = i32(matrix / p.batch_inner);
    let inner = i32(matrix % p.batch_inner);
    let row0 = tile / p.tiles_n * TILE;
    let column0 = tile % p.tiles_n * TILE;

    let k_first = slice % p.k_slices * p.k_step;
    let k_end = min(k_first + p.k_step, p.k);
    let k_outer_first = slice / p.k_slices * p.k_outer_step;
    let k_outer_end = min(k_outer_first + p.k_outer_step, p.k_outer);

    // Which quad of A and of B this invocation fetches in each round, and at which depth.
    let fast = local % 16u;
    let slow = local / 16u;
    let a_quad = select(fast, slow, A_ALONG_K);
    let a_depth = select(slow, fast, A_ALONG_K);
    let b_quad = select(fast, slow, B_ALONG_K);
    let b_depth = select(slow, fast, B_ALONG_K);
    let a_row = row0 + a_quad * 4u;
    let b_column = column0 + b_quad * 4u;
    let a_start = p.a_base + outer * p.a_outer + inner * p.a_inner + i32(a_row) * p.a_row;
    let b_start = p.b_base + outer * p.b_outer + inner * p.b_inner + i32(b_column) * p.b_col;

    // Which 4 x 4 of the tile it makes.
    let rows = slow;
    let columns = fast;
    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();

    for (var o = k_outer_first; o < k_outer_end; o += 1u) {
        for (var k0 = k_first; k0 < k_end; k0 += DEPTH) {
            var a_next = vec4<f32>();
            var b_next = vec4<f32>();
            if k0 + a_depth < k_end {
                a_next = quad_of_a(a_start + i32(o) * p.a_k_outer + i32(k0 + a_depth) * p.a_col, a_row);
            }
            if k0 + b_depth < k_end {
                b_next = quad_of_b(b_start + i32(o) * p.b_k_outer + i32(k0 + b_depth) * p.b_row, b_column);
            }
            workgroupBarrier(); // the round before has been read
            a_tile[a_depth * PITCH + a_quad] = a_next;
            b_tile[b_depth * PITCH + b_quad] = b_next;
            workgroupBarrier();
            for (var l = 0u; l < DEPTH * PITCH; l += 4u * PITCH) {
                let a0 = a_tile[l + rows];
                let b0 = b_tile[l + columns];
                c0 += a0.x * b0;
                c1 += a0.y * b0;
                c2 += a0.z * b0;
                c3 += a0.w * b0;
                let a1 = a_tile[l + PITCH + rows];
                let b1 = b_tile[l + PITCH + columns];
                c0 += a1.x * b1;
                c1 += a1.y * b1;
                c2 += a1.z * b1;
                c3 += a1.w * b1;
                let a2 = a_tile[l + 2u * PITCH + rows];
                let b2 = b_tile[l + 2u * PITCH + columns];
                c0 += a2.x * b2;
                c1 += a2.y * b2;
                c2 += a2.z * b2;
                c3 += a2.w * b2;
                let a3 = a_tile[l + 3u * PITCH + rows];
                let b3 = b_tile[l + 3u * PITCH + columns];
                c0 += a3.x * b3;
                c1 += a3.y * b3;
                c2 += a3.z * b3;
                c3 += a3.w * b3;
            }
        }
    }

    let start = p.c_base + i32(slice) * p.c_slice + outer * p.c_outer + inner * p.c_inner;
    let row = row0 + rows * 4u;
    let column = column0 + columns * 4u;
    put_row(start, row, column, c0);
    put_row(start, row + 1u, column, c1);
    put_row(start, row + 2u, column, c2);
    put_row(start, row + 3u, column, c3);
}
