// Matrix products C = sum over k_outer of A B, for GPUs: tiles of shared/tile.wgsl over operands that lie in whole
// vec4s.
//
// Like matmul.wgsl, where each of A and B runs on by single elements along the reduction or along its rows (columns),
// and all other strides, and the extent along which it runs on, are multiples of 4; C is dense along its rows. An
// invocation fetches a block of 4 x 4 elements of A and one or two of B, in four loads each. A block that runs on along
// the reduction is turned in registers, because workgroup memory holds quads of rows (columns) at one depth.
//
// No load stands behind a branch of its own: a condition on one load becomes a predicate, and the loads of a round go
// on while the round before is multiplied. With a branch round all of them a 128 x 128 tile made 36 TFLOP/s, with
// conditions 42, without any (WHOLE) 43 (H200).

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4<f32>>;

override A_ALONG_K: bool = true; // whether it runs on along the reduction
override B_ALONG_K: bool = false;
override WHOLE: bool = false; // whether no tile and no round is cut short

// A block of an operand: its first quad of rows (columns) and depth in the tile, the line of the operand, and the
// address at the start of the slice.
struct Block {
    quad: u32,
    depth: u32,
    line: u32,
    at: i32,
}

var<private> a_block: Block;
var<private> b_block: Block;

var<private> a_next: mat4x4<f32>;
var<private> b_next: mat4x4<f32>;
var<private> b_second: Block;
var<private> b_after: mat4x4<f32>;

// Block `i` of an operand of `quads` at one depth.
fn block_of(
    i: u32, quads: u32, along_k: bool, start: i32, first_line: u32, line_stride: i32, k_stride: i32,
) -> Block {
    let quad = select(i % quads, i / (DEPTH / 4u), along_k);
    let depth = 4u * select(i / quads, i % (DEPTH / 4u), along_k);
    let line = first_line + 4u * quad;
    return Block(quad, depth, line, start + i32(line) * line_stride + i32(depth) * k_stride);
}

// How many of the four vec4s of a block are within the slice and the operand, which has so many lines.
fn within(block: Block, along_k: bool, lines: u32) -> u32 {
    let k = k_now + block.depth;
    let left = select(k_end - k, lines - block.line, along_k);
    return select(select(left, 0u, block.line >= lines || k >= k_end), 4u, WHOLE);
}

fn block_of_b(block: Block) -> mat4x4<f32> {
    let left = within(block, B_ALONG_K, p.n);
    let step = select(p.b_row, p.b_col, B_ALONG_K);
    let at = block.at + outer_now * p.b_k_outer + i32(k_now) * p.b_row;
    var next = mat4x4<f32>();
    if left > 0u { next[0] = b[u32(at) / 4u]; }
    if left > 1u { next[1] = b[u32(at + step) / 4u]; }
    if left > 2u { next[2] = b[u32(at + 2 * step) / 4u]; }
    if left > 3u { next[3] = b[u32(at + 3 * step) / 4u]; }
    return next;
}

fn fetch() {
    let a_left = within(a_block, A_ALONG_K, p.m);
    let a_step = select(p.a_col, p.a_row, A_ALONG_K);
    let a_at = a_block.at + outer_now * p.a_k_outer + i32(k_now) * p.a_col;
    a_next = mat4x4<f32>();
    if a_left > 0u { a_next[0] = a[u32(a_at) / 4u]; }
    if a_left > 1u { a_next[1] = a[u32(a_at + a_step) / 4u]; }
    if a_left > 2u { a_next[2] = a[u32(a_at + 2 * a_step) / 4u]; }
    if a_left > 3u { a_next[3] = a[u32(a_at + 3 * a_step) / 4u]; }
    b_next = block_of_b(b_block);
    if EACH_COLUMNS > EACH_ROWS {
        b_after = block_of_b(b_second);
    }
    next_round();
}

fn keep_block(first: u32, quads: u32, block: Block, along_k: bool, values: mat4x4<f32>) {
    var turned = values;
    if along_k {
        turned = transpose(values);
    }
    tiles[first + place(quads, block.depth, block.quad)] = turned[0];
    tiles[first + place(quads, block.depth + 1u, block.quad)] = turned[1];
    tiles[first + place(quads, block.depth + 2u, block.quad)] = turned[2];
    tiles[first + place(quads, block.depth + 3u, block.quad)] = turned[3];
}

fn keep() {
    keep_block(0u, ROW_QUADS, a_block, A_ALONG_K, a_next);
    keep_block(A_QUADS, COLUMN_QUADS, b_block, B_ALONG_K, b_next);
    if EACH_COLUMNS > EACH_ROWS {
        keep_block(A_QUADS, COLUMN_QUADS, b_second, B_ALONG_K, b_after);
    }
}

// Where the columns of a quad lie, from the start of a row; -1 beyond the edge.
fn columns_at(quad: u32) -> vec4<i32> {
    let column = column_first + 4u * quad;
    return vec4<i32>(select(-1, i32(column), column < p.n));
}

// Row `i` of a quad of rows.
fn row_of(quad: u32, i: u32) -> u32 {
    return row_first + 4u * quad + i;
}

fn put(quad: u32, i: u32, at: vec4<i32>, values: vec4<f32>) {
    let row = row_of(quad, i);
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
    a_block = block_of(local, ROW_QUADS, A_ALONG_K, here.a_start, row_first, p.a_row, p.a_col);
    b_block = block_of(local, COLUMN_QUADS, B_ALONG_K, here.b_start, column_first, p.b_col, p.b_row);
    b_second = block_of(local + THREADS, COLUMN_QUADS, B_ALONG_K, here.b_start, column_first, p.b_col, p.b_row);
    multiply(here.rounds, local, index / p.tiles);
}
