// Matrix products C = sum over k_outer of A B, for GPUs: tiles of shared/tile.wgsl over operands that lie in whole vec4s.
//
// Like matmul.wgsl, where each of A and B runs on by single elements along the reduction or along its rows (columns), and
// all other strides, and the extent along which it runs on, are multiples of 4; C is dense along its rows. Half of the
// invocations fetch A, half B: each a block of 4 x 4 elements in four loads. A block that runs on along the reduction is
// turned in registers, because workgroup memory holds quads of rows (columns) at one depth.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4<f32>>;

// The block that this invocation fetches: of which operand, first row (or column) and depth in the tile, the line of the
// operand, the strides from vec4 to vec4 and along the reduction, and the address at the start of it.
var<private> of_b: bool;
var<private> along_k: bool;
var<private> quad: u32;
var<private> depth: u32;
var<private> line: u32;
var<private> lines: u32;
var<private> stride: i32;
var<private> k_stride: i32;
var<private> k_outer_stride: i32;
var<private> block_at: i32;

var<private> next0: vec4<f32>;
var<private> next1: vec4<f32>;
var<private> next2: vec4<f32>;
var<private> next3: vec4<f32>;

fn fetch() {
    next0 = vec4<f32>();
    next1 = vec4<f32>();
    next2 = vec4<f32>();
    next3 = vec4<f32>();
    let k = k_now + depth;
    if line < lines && k < k_end {
        let left = select(k_end - k, lines - line, along_k); // how many of the four vec4s are within
        let at = block_at + outer_now * k_outer_stride + i32(k_now) * k_stride;
        if of_b {
            next0 = b[u32(at) / 4u];
            if left > 1u { next1 = b[u32(at + stride) / 4u]; }
            if left > 2u { next2 = b[u32(at + 2 * stride) / 4u]; }
            if left > 3u { next3 = b[u32(at + 3 * stride) / 4u]; }
        } else {
            next0 = a[u32(at) / 4u];
            if left > 1u { next1 = a[u32(at + stride) / 4u]; }
            if left > 2u { next2 = a[u32(at + 2 * stride) / 4u]; }
            if left > 3u { next3 = a[u32(at + 3 * stride) / 4u]; }
        }
    }
    next_round();
}

fn keep() {
    if along_k {
        let turned = transpose(mat4x4<f32>(next0, next1, next2, next3));
        next0 = turned[0];
        next1 = turned[1];
        next2 = turned[2];
        next3 = turned[3];
    }
    let first = select(0u, TILE_QUADS, of_b);
    tiles[first + place(depth, quad)] = next0;
    tiles[first + place(depth + 1u, quad)] = next1;
    tiles[first + place(depth + 2u, quad)] = next2;
    tiles[first + place(depth + 3u, quad)] = next3;
}

// Where the columns of a quad lie, from the start of a row; -1 beyond the edge.
fn columns_at(quad: u32) -> vec4<i32> {
    let column = column_first + 4u * quad;
    return vec4<i32>(select(-1, i32(column), column < p.n));
}

// Row `i` of a quad of rows.
fn put(quad: u32, i: u32, at: vec4<i32>, values: vec4<f32>) {
    let row = row_first + 4u * quad + i;
    if row < p.m && at.x >= 0 {
        let place = u32(c_start + i32(row) * p.c_row + at.x) / 4u;
        var sum = values;
        if p.accumulate != 0u { sum += c[place]; }
        let i = 4u * place;
        c[place] = vec4<f32>(
            epilogue(sum.x, i), epilogue(sum.y, i + 1u), epilogue(sum.z, i + 2u), epilogue(sum.w, i + 3u),
        );
    }
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
    of_b = local >= THREADS / 2u;
    along_k = select(p.a_col, p.b_row, of_b) == 1;
    let block = local % (THREADS / 2u);
    quad = select(block % QUADS, block / (DEPTH / 4u), along_k);
    depth = 4u * select(block / QUADS, block % (DEPTH / 4u), along_k);
    line = select(row_first, column_first, of_b) + 4u * quad;
    lines = select(p.m, p.n, of_b);
    let line_stride = select(p.a_row, p.b_col, of_b);
    k_stride = select(p.a_col, p.b_row, of_b);
    k_outer_stride = select(p.a_k_outer, p.b_k_outer, of_b);
    stride = select(k_stride, line_stride, along_k);
    block_at = select(here.a_start, here.b_start, of_b) + i32(line) * line_stride + i32(depth) * k_stride;
    multiply(here.rounds, local);
}
