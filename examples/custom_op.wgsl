// x / (k + |x|), element by element. More than 65,535 workgroups are folded over y and z, so the index is put together.

struct Params {
    n: u32,
    k: f32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = ((group.z * groups.y + group.y) * groups.x + group.x) * 64u + local;
    if (i < p.n) {
        y[i] = x[i] / (p.k + abs(x[i]));
    }
}
