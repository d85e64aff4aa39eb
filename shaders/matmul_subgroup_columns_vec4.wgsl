// How matmul_subgroup.wgsl reads B in whole vec4s: four columns at one depth in one load, or four depths of a column.

@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;

override B_ALONG_K: bool = false;

// Which column of a tile is a lane's i-th.
fn column_of(lane: u32, i: u32) -> u32 {
    return select(4u * lane + i, lane + 8u * i, B_ALONG_K);
}

// The columns that begin `at`, at each of four depths.
fn columns_at(at: vec4<i32>) -> mat4x4<f32> {
    if B_ALONG_K {
        return transpose(mat4x4<f32>(b[u32(at.x) / 4u], b[u32(at.y) / 4u], b[u32(at.z) / 4u], b[u32(at.w) / 4u]));
    }
    let quads = vec4<u32>(at.x + p.b_row * vec4<i32>(0, 1, 2, 3)) / 4u;
    return mat4x4<f32>(b[quads.x], b[quads.y], b[quads.z], b[quads.w]);
}
