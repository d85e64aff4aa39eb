// One step of Adam (or AdamW) over a slab: all parameters of an optimizer in one launch, 28 bytes moved per parameter.
//
//   p, m, v: [n] in place      g: [n]
//   hyper: rate / (1 - beta1^t), beta1, 1 - beta1, beta2, 1 - beta2, 1 / sqrt(1 - beta2^t), epsilon, decay, rate * decay
//
// The host computes what depends on t in double precision: 1 - beta^t loses its digits in single.

struct Params {
    n: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(1) var<storage, read_write> first: array<f32>;
@group(0) @binding(2) var<storage, read_write> second: array<f32>;
@group(0) @binding(3) var<storage, read> gradient: array<f32>;
@group(0) @binding(4) var<storage, read> hyper: array<f32>;

@compute @workgroup_size(WG)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.n) {
        return;
    }
    let old = parameter[i];
    let g = gradient[i] + hyper[7] * old;
    let m = hyper[1] * first[i] + hyper[2] * g;
    let v = hyper[3] * second[i] + hyper[4] * g * g;
    first[i] = m;
    second[i] = v;
    parameter[i] = old - hyper[8] * old - hyper[0] * m / (sqrt(v) * hyper[5] + hyper[6]);
}
