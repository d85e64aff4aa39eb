// How conv2d_subgroup.wgsl reads A where four depths in a row lie side by side in a vec4.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;

// The lane's rows at four depths, of which the first is a multiple of four.
fn rows_at(k0: vec3<u32>, k1: vec3<u32>, k2: vec3<u32>, k3: vec3<u32>) -> mat4x4<f32> {
    let quads = vec4<u32>(a_start + a_shift(k0)) / 4u;
    return mat4x4<f32>(a[quads.x], a[quads.y], a[quads.z], a[quads.w]);
}
