// Four rows of A at one depth, QUADS apart, for tiles over operands that are read one element at a time.

@group(0) @binding(0) var<storage, read> a: array<f32>;

// Rows `row`, `row + QUADS`, ... of A from `at` on; 0 beyond the edge.
fn quad_of_a(at: i32, row: u32) -> vec4<f32> {
    let step = i32(QUADS) * p.a_row;
    var quad = vec4<f32>();
    if row < p.m { quad.x = a[u32(at)]; }
    if row + QUADS < p.m { quad.y = a[u32(at + step)]; }
    if row + 2u * QUADS < p.m { quad.z = a[u32(at + 2 * step)]; }
    if row + 3u * QUADS < p.m { quad.w = a[u32(at + 3 * step)]; }
    return quad;
}
