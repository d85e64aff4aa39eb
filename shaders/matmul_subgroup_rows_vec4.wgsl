// How matmul_subgroup.wgsl reads A in whole vec4s: four depths of a row in one load, or four rows at one depth.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;

override A_ALONG_K: bool = true;

// Which row of a tile is a lane's i-th.
fn row_of(lane: u32, i: u32) -> u32 {
    return select(4u * lane + i, lane + 8u * i, A_ALONG_K);
}

// The rows that begin `at`, at four depths each.
fn rows_at(at: vec4<i32>) -> mat4x4<f32> {
    if A_ALONG_K {
        return mat4x4<f32>(a[u32(at.x) / 4u], a[u32(at.y) / 4u], a[u32(at.z) / 4u], a[u32(at.w) / 4u]);
    }
    let quads = vec4<u32>(at.x + p.a_col * vec4<i32>(0, 1, 2, 3)) / 4u;
    return transpose(mat4x4<f32>(a[quads.x], a[quads.y], a[quads.z], a[quads.w]));
}
