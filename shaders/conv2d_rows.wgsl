// How a tile of conv2d.wgsl fetches A one element at a time: four quads at one depth, a quarter of the tile apart.

var<private> a_quad: u32;
var<private> a_depth: u32;
var<private> a_digits: vec3<u32>;
var<private> a_start: i32;
var<private> a_next: array<vec4<f32>, 4>;

// The rows from the first depth of a slice on, with the address of row 0 at depth 0.
fn begin_rows(local: u32, first: u32, start: i32) {
    a_quad = local / DEPTH;
    a_depth = local % DEPTH;
    a_digits = digits_of_k(first + a_depth);
    a_start = start;
}

fn fetch_rows() {
    let row = row_first + a_quad;
    let at = a_start + a_shift(a_digits) + i32(row) * p.a_row;
    let step = i32(ROW_QUADS / 4u) * p.a_row;
    let rows = select(0u, p.m, k_now + a_depth < k_end);
    a_next[0] = quad_of_a(at, row, rows);
    a_next[1] = quad_of_a(at + step, row + ROW_QUADS / 4u, rows);
    a_next[2] = quad_of_a(at + 2 * step, row + ROW_QUADS / 2u, rows);
    a_next[3] = quad_of_a(at + 3 * step, row + 3u * ROW_QUADS / 4u, rows);
    a_digits = sum_of_digits(a_digits, round_digits);
}

fn keep_rows() {
    tiles[place(ROW_QUADS, a_depth, a_quad)] = a_next[0];
    tiles[place(ROW_QUADS, a_depth, a_quad + ROW_QUADS / 4u)] = a_next[1];
    tiles[place(ROW_QUADS, a_depth, a_quad + ROW_QUADS / 2u)] = a_next[2];
    tiles[place(ROW_QUADS, a_depth, a_quad + 3u * ROW_QUADS / 4u)] = a_next[3];
}
