// How matmul_subgroup.wgsl reads A one element at a time; the four rows of a lane are 8 apart.

@group(0) @binding(0) var<storage, read> a: array<f32>;

// Which row of a tile is a lane's i-th.
fn row_of(lane: u32, i: u32) -> u32 {
    return lane + 8u * i;
}

// The row that begins `at`, at four depths.
fn row_at(at: i32) -> vec4<f32> {
    return vec4<f32>(a[u32(at)], a[u32(at + p.a_col)], a[u32(at + 2 * p.a_col)], a[u32(at + 3 * p.a_col)]);
}

fn rows_at(at: vec4<i32>) -> mat4x4<f32> {
    return mat4x4<f32>(row_at(at.x), row_at(at.y), row_at(at.z), row_at(at.w));
}
