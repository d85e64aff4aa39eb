// How matmul_subgroup.wgsl reads B one element at a time; the four columns of a lane are 8 apart.

@group(0) @binding(1) var<storage, read> b: array<f32>;

// Which column of a tile is a lane's i-th.
fn column_of(lane: u32, i: u32) -> u32 {
    return lane + 8u * i;
}

// The columns that begin `at`, at the first depth.
fn depth_at(at: vec4<i32>) -> vec4<f32> {
    return vec4<f32>(b[u32(at.x)], b[u32(at.y)], b[u32(at.z)], b[u32(at.w)]);
}

// The columns that begin `at`, at each of four depths.
fn columns_at(at: vec4<i32>) -> mat4x4<f32> {
    return mat4x4<f32>(depth_at(at), depth_at(at + p.b_row), depth_at(at + 2 * p.b_row), depth_at(at + 3 * p.b_row));
}
