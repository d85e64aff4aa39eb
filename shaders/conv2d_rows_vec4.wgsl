// How a tile of conv2d.wgsl fetches A where four depths in a row lie side by side in a vec4: one quad of rows at four
// depths, in four loads in the place of sixteen, turned in registers.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;

var<private> a_quad: u32;
var<private> a_depth: u32;
var<private> a_digits: vec3<u32>;
var<private> a_start: i32;
var<private> a_next: mat4x4<f32>;

// The rows from the first depth of a slice on, with the address of row 0 at depth 0.
fn begin_rows(local: u32, first: u32, start: i32) {
    a_quad = local / (DEPTH / 4u);
    a_depth = 4u * (local % (DEPTH / 4u));
    a_digits = digits_of_k(first + a_depth);
    a_start = start;
}

fn fetch_rows() {
    let row = row_first + a_quad;
    let at = a_start + a_shift(a_digits) + i32(row) * p.a_row;
    let step = i32(ROW_QUADS) * p.a_row;
    let rows = select(0u, p.m, k_now + a_depth < k_end);
    a_next = mat4x4<f32>();
    if row < rows { a_next[0] = a[u32(at) / 4u]; }
    if row + ROW_QUADS < rows { a_next[1] = a[u32(at + step) / 4u]; }
    if row + 2u * ROW_QUADS < rows { a_next[2] = a[u32(at + 2 * step) / 4u]; }
    if row + 3u * ROW_QUADS < rows { a_next[3] = a[u32(at + 3 * step) / 4u]; }
    a_digits = sum_of_digits(a_digits, round_digits);
}

fn keep_rows() {
    let turned = transpose(a_next);
    tiles[place(ROW_QUADS, a_depth, a_quad)] = turned[0];
    tiles[place(ROW_QUADS, a_depth + 1u, a_quad)] = turned[1];
    tiles[place(ROW_QUADS, a_depth + 2u, a_quad)] = turned[2];
    tiles[place(ROW_QUADS, a_depth + 3u, a_quad)] = turned[3];
}
