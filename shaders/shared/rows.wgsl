// Four rows of A at one depth, ROW_QUADS apart, for tiles over operands that are read one element at a time. Whoever is
// beyond the reduction has no rows: a condition on one load becomes a predicate, a branch round many would hold up the
// multiplication that goes on meanwhile.

@group(0) @binding(0) var<storage, read> a: array<f32>;

// Rows `row`, `row + ROW_QUADS`, ... of A from `at` on; 0 from row `rows` on.
fn quad_of_a(at: i32, row: u32, rows: u32) -> vec4<f32> {
    let step = i32(ROW_QUADS) * p.a_row;
    var quad = vec4<f32>();
    if row < rows { quad.x = a[u32(at)]; }
    if row + ROW_QUADS < rows { quad.y = a[u32(at + step)]; }
    if row + 2u * ROW_QUADS < rows { quad.z = a[u32(at + 2 * step)]; }
    if row + 3u * ROW_QUADS < rows { quad.w = a[u32(at + 3 * step)]; }
    return quad;
}
