// Matrix products C = sum over k_outer of A B, for GPUs: tiles of shared/tile.wgsl over operands that lie in whole vec4s.
//
// Like matmul.wgsl, where each of A and B runs on by single elements along the reduction or along its rows (columns), and
// all other strides, and the extent along which it runs on, are multiples of 4; C is dense along its rows. An invocation
// fetches a block of 4 x 4 elements of A and one of B, in four loads each. A block that runs on along the reduction is
// turned in registers, because workgroup memory holds quads of rows (columns) at one depth.
//
// A round within the slice loads without asking: what a tile has beyond the last row or column is that row or column again,
// and nobody stores what comes of it. Only a last round that is cut short looks where each of its loads is. With a question
// before every load a 128 x 128 tile made 38 TFLOP/s (H200).

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4<f32>>;

override A_ALONG_K: bool = true;
override B_ALONG_K: bool = false;

// A block of an operand: its quad of rows (columns) and its first depth in the tile, and the places of its four vec4s from
// the first depth of a slice.
struct Block {
    quad: u32,
    depth: u32,
    at: vec4<i32>,
}

var<private> a_block: Block;
var<private> b_block: Block;

var<private> a_next: mat4x4<f32>;
var<private> b_next: mat4x4<f32>;

fn block_of(local: u32, along_k: bool, start: i32, first_line: u32, lines: u32, line_stride: i32, k_stride: i32) -> Block {
    let quad = select(local % QUADS, local / (DEPTH / 4u), along_k);
    let depth = 4u * select(local / QUADS, local % (DEPTH / 4u), along_k);
    let line = first_line + 4u * quad;
    let fours = vec4<u32>(0u, 1u, 2u, 3u);
    let line_of = select(vec4<u32>(min(line, lines - 1u) / 4u * 4u), min(line + fours, vec4<u32>(lines - 1u)), along_k);
    let depth_of = select(depth + fours, vec4<u32>(depth), along_k);
    let at = start + vec4<i32>(line_of) * line_stride + vec4<i32>(depth_of) * k_stride;
    return Block(quad, depth, at / 4);
}

// How many of the four vec4s of a block are within the slice.
fn within(block: Block, along_k: bool) -> u32 {
    let k = k_now + block.depth;
    if k >= k_end {
        return 0u;
    }
    return select(k_end - k, 4u, along_k);
}

fn fetch() {
    let a_at = vec4<u32>(a_block.at + (outer_now * p.a_k_outer + i32(k_now) * p.a_col) / 4);
    let b_at = vec4<u32>(b_block.at + (outer_now * p.b_k_outer + i32(k_now) * p.b_row) / 4);
    if k_now + DEPTH <= k_end {
        a_next = mat4x4<f32>(a[a_at.x], a[a_at.y], a[a_at.z], a[a_at.w]);
        b_next = mat4x4<f32>(b[b_at.x], b[b_at.y], b[b_at.z], b[b_at.w]);
    } else {
        let a_left = within(a_block, A_ALONG_K);
        let b_left = within(b_block, B_ALONG_K);
        a_next = mat4x4<f32>();
        b_next = mat4x4<f32>();
        if a_left > 0u { a_next[0] = a[a_at.x]; }
        if a_left > 1u { a_next[1] = a[a_at.y]; }
        if a_left > 2u { a_next[2] = a[a_at.z]; }
        if a_left > 3u { a_next[3] = a[a_at.w]; }
        if b_left > 0u { b_next[0] = b[b_at.x]; }
        if b_left > 1u { b_next[1] = b[b_at.y]; }
        if b_left > 2u { b_next[2] = b[b_at.z]; }
        if b_left > 3u { b_next[3] = b[b_at.w]; }
    }
    next_round();
}

fn keep_block(first: u32, block: Block, along_k: bool, values: mat4x4<f32>) {
    var turned = values;
    if along_k {
        turned = transpose(values);
    }
    tiles[first + place(block.depth, block.quad)] = turned[0];
    tiles[first + place(block.depth + 1u, block.quad)] = turned[1];
    tiles[first + place(block.depth + 2u, block.quad)] = turned[2];
    tiles[first + place(block.depth + 3u, block.quad)] = turned[3];
}

fn keep() {
    keep_block(0u, a_block, A_ALONG_K, a_next);
    keep_block(TILE_QUADS, b_block, B_ALONG_K, b_next);
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
    a_block = block_of(local, A_ALONG_K, here.a_start, row_first, p.m, p.a_row, p.a_col);
    b_block = block_of(local, B_ALONG_K, here.b_start, column_first, p.n, p.b_col, p.b_row);
    multiply(here.rounds, local);
}
