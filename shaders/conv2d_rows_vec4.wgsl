// How a tile of conv2d.wgsl fetches A where four depths in a row lie side by side in a vec4: one quad of rows at four depths, in
// four loads in the place of sixteen, turned in registers. A row beyond the last is the last one again, and nobody stores
// what comes of it.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;

var<private> a_quad: u32;
var<private> a_depth: u32;
var<private> a_digits: vec3<u32>;
var<private> a_rows: vec4<i32>; // where the four rows begin, in vec4s
var<private> a_next: mat4x4<f32>;

// The rows from the first depth of a slice on, with the address of row 0 at depth 0.
fn begin_rows(local: u32, first: u32, start: i32) {
    a_quad = local / (DEPTH / 4u);
    a_depth = 4u * (local % (DEPTH / 4u));
    a_digits = digits_of_k(first + a_depth);
    let rows = vec4<u32>(row_first + a_quad) + QUADS * vec4<u32>(0u, 1u, 2u, 3u);
    a_rows = (start + vec4<i32>(min(rows, vec4<u32>(p.m - 1u))) * p.a_row) / 4;
}

fn fetch_rows(whole: bool) {
    let at = vec4<u32>(a_rows + a_shift(a_digits) / 4);
    a_digits = sum_of_digits(a_digits, round_digits);
    a_next = mat4x4<f32>();
    if whole || k_now + a_depth < k_end {
        a_next = mat4x4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]);
    }
}

fn keep_rows() {
    let turned = transpose(a_next);
    tiles[place(a_depth, a_quad)] = turned[0];
    tiles[place(a_depth + 1u, a_quad)] = turned[1];
    tiles[place(a_depth + 2u, a_quad)] = turned[2];
    tiles[place(a_depth + 3u, a_quad)] = turned[3];
}
