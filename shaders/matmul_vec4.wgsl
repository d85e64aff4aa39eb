// Matrix products C = sum over k_outer of A B, for GPUs: tiles of shared/tile.wgsl over operands that lie in whole vec4s.
//
// Like matmul.wgsl, where each of A and B runs on by single elements along the reduction or along its rows (columns), and
// all other strides, and the extent along which it runs on, are multiples of 4; C is dense along its rows. An invocation
// fetches a block of 4 x 4 elements of A and one of B, in four loads each. A block that runs on along the reduction is
// turned in registers, because workgroup memory holds quads of rows (columns) at one depth.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4<f32>>;

// A block of an operand: its first quad of rows (columns) and depth in the tile, the line of the operand, the strides from
// vec4 to vec4 and along the reduction, and the address at the start of it.
struct Block {
    along_k: bool,
    quad: u32,
    depth: u32,
    line: u32,
    stride: i32,
    k_stride: i32,
    at: i32,
}

var<private> a_block: Block;
var<private> b_block: Block;

var<private> a_next: mat4x4<f32>;
var<private> b_next: mat4x4<f32>;

fn block_of(local: u32, start: i32, first_line: u32, line_stride: i32, k_stride: i32) -> Block {
    var block: Block;
    block.along_k = k_stride == 1;
    block.quad = select(local % QUADS, local / (DEPTH / 4u), block.along_k);
    block.depth = 4u * select(local / QUADS, local % (DEPTH / 4u), block.along_k);
    block.line = first_line + 4u * block.quad;
    block.stride = select(k_stride, line_stride, block.along_k);
    block.k_stride = k_stride;
    block.at = start + i32(block.line) * line_stride + i32(block.depth) * k_stride;
    return block;
}

// How many of the four vec4s of a block are within the operand, which has so many lines.
fn within(block: Block, lines: u32) -> u32 {
    let k = k_now + block.depth;
    if block.line >= lines || k >= k_end {
        return 0u;
    }
    return select(k_end - k, lines - block.line, block.along_k);
}

fn fetch() {
    let a_left = within(a_block, p.m);
    let a_at = a_block.at + outer_now * p.a_k_outer + i32(k_now) * a_block.k_stride;
    a_next = mat4x4<f32>();
    if a_left > 0u { a_next[0] = a[u32(a_at) / 4u]; }
    if a_left > 1u { a_next[1] = a[u32(a_at + a_block.stride) / 4u]; }
    if a_left > 2u { a_next[2] = a[u32(a_at + 2 * a_block.stride) / 4u]; }
    if a_left > 3u { a_next[3] = a[u32(a_at + 3 * a_block.stride) / 4u]; }
    let b_left = within(b_block, p.n);
    let b_at = b_block.at + outer_now * p.b_k_outer + i32(k_now) * b_block.k_stride;
    b_next = mat4x4<f32>();
    if b_left > 0u { b_next[0] = b[u32(b_at) / 4u]; }
    if b_left > 1u { b_next[1] = b[u32(b_at + b_block.stride) / 4u]; }
    if b_left > 2u { b_next[2] = b[u32(b_at + 2 * b_block.stride) / 4u]; }
    if b_left > 3u { b_next[3] = b[u32(b_at + 3 * b_block.stride) / 4u]; }
    next_round();
}

fn keep_block(first: u32, block: Block, values: mat4x4<f32>) {
    var turned = values;
    if block.along_k {
        turned = transpose(values);
    }
    tiles[first + place(block.depth, block.quad)] = turned[0];
    tiles[first + place(block.depth + 1u, block.quad)] = turned[1];
    tiles[first + place(block.depth + 2u, block.quad)] = turned[2];
    tiles[first + place(block.depth + 3u, block.quad)] = turned[3];
}

fn keep() {
    keep_block(0u, a_block, a_next);
    keep_block(TILE_QUADS, b_block, b_next);
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
    a_block = block_of(local, here.a_start, row_first, p.a_row, p.a_col);
    b_block = block_of(local, here.b_start, column_first, p.b_col, p.b_row);
    multiply(here.rounds, local);
}
