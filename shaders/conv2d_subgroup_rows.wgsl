// How conv2d_subgroup.wgsl reads A one element at a time.

@group(0) @binding(0) var<storage, read> a: array<f32>;

// The lane's rows at four depths.
fn rows_at(k0: vec3<u32>, k1: vec3<u32>, k2: vec3<u32>, k3: vec3<u32>) -> mat4x4<f32> {
    let shifts = vec4<i32>(a_shift(k0), a_shift(k1), a_shift(k2), a_shift(k3));
    return mat4x4<f32>(
        row_at(a_start.x + shifts),
        row_at(a_start.y + shifts),
        row_at(a_start.z + shifts),
        row_at(a_start.w + shifts),
    );
}

fn row_at(at: vec4<i32>) -> vec4<f32> {
    return vec4<f32>(a[u32(at.x)], a[u32(at.y)], a[u32(at.z)], a[u32(at.w)]);
}
