// Numbers in a row, made where they are needed: an upload of them would cost a transfer, and a plan could not hold it.
//
//   start, step: one number each      as bits
//   y: n numbers                      y[i] = start + i step
//
// The product and the sum of floats are rounded once each, or together where the adapter fuses them.

struct Params {
    n: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> start: array<u32>;
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

override FLOATS: bool = true;

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.n) {
        return;
    }
    if (FLOATS) {
        y[i] = bitcast<u32>(bitcast<f32>(start[0]) + f32(i) * bitcast<f32>(step[0]));
    } else {
        y[i] = start[0] + i * step[0];
    }
}
