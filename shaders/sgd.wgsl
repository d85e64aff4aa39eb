// One step of stochastic gradient descent over a slab: all parameters of an optimizer in one launch.
//
//   p, b: [n] in place      g: [n]      hyper: rate, momentum, 1 - dampening, decay

override NESTEROV: bool = false;

struct Params {
    n: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<storage, read_write> buffer: array<f32>;

@compute @workgroup_size(WG)
fn plain(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.n) {
        return;
    }
    let old = parameter[i];
    parameter[i] = old - hyper[0] * (gradient[i] + hyper[3] * old);
}

@compute @workgroup_size(WG)
fn momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.n) {
        return;
    }
    let old = parameter[i];
    let g = gradient[i] + hyper[3] * old;
    let b = hyper[1] * buffer[i] + hyper[2] * g;
    buffer[i] = b;
    parameter[i] = old - hyper[0] * select(b, g + hyper[1] * b, NESTEROV);
}
