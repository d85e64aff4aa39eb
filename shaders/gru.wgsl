// One step of a GRU, all gates at once, over all rows of a batch and all hidden units.
//
//   x, dx, ds: steps x rows x 3h, in the order r z n      s: rows x 3h      b_ih, b_hh: 3h
//   gates: steps x rows x 4h, r z n m                     h, dh_given: steps x rows x h      h_0, dh: rows x h
//   forward:  r, z = sigmoid(x + b_ih + s + b_hh)   m = s_n + b_hn   n = tanh(x_n + b_in + r m), with s = h_(t-1) W^T
//             h_t = (1 - z) n + z h_(t-1)
// backward: dx, the cotangent of x + b_ih, and ds, that of s + b_hh, which differ in n only; dh, carried in place, gets
//             its share through z here and that through s by a product afterwards

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> b_ih: array<f32>;
@group(0) @binding(3) var<storage, read> b_hh: array<f32>;
@group(0) @binding(4) var<storage, read> h_0: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(group, groups, local);
    if (index >= p.n) {
        return;
    }
    let row = index / p.h;
    let j = index - row * p.h;
    let of_s = row * 3u * p.h + j;
    let of_x = 3u * p.at + of_s;
    let from_x = vec3<f32>(
        x[of_x] + b_ih[j], x[of_x + p.h] + b_ih[p.h + j], x[of_x + 2u * p.h] + b_ih[2u * p.h + j],
    );
    let from_s = vec3<f32>(
        s[of_s] + b_hh[j], s[of_s + p.h] + b_hh[p.h + j], s[of_s + 2u * p.h] + b_hh[2u * p.h + j],
    );
    var before = 0.0;
    if ((p.first & 1u) != 0u) {
        before = h_0[index];
    } else {
        before = h[p.before + index];
    }
    let now = gru_cell(from_x, from_s, before);
    h[p.at + index] = now.h;
    let to = 4u * (p.at + row * p.h) + j;
    gates[to] = now.gates.x;
    gates[to + p.h] = now.gates.y;
    gates[to + 2u * p.h] = now.gates.z;
    gates[to + 3u * p.h] = now.gates.w;
}

@group(0) @binding(0) var<storage, read> all_gates: array<f32>;
@group(0) @binding(1) var<storage, read> all_h: array<f32>;
@group(0) @binding(2) var<storage, read> start_h: array<f32>;
@group(0) @binding(3) var<storage, read> dh_given: array<f32>;
@group(0) @binding(4) var<storage, read_write> dh: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(6) var<storage, read_write> ds: array<f32>;

@compute @workgroup_size(WG)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_index(group, groups, local);
    if (index >= p.n) {
        return;
    }
    let row = index / p.h;
    let j = index - row * p.h;
    let of_gates = 4u * (p.at + row * p.h) + j;
    let kept = vec4<f32>(
        all_gates[of_gates],
        all_gates[of_gates + p.h],
        all_gates[of_gates + 2u * p.h],
        all_gates[of_gates + 3u * p.h],
    );
    var before = 0.0;
    if ((p.first & 1u) != 0u) {
        before = start_h[index];
    } else {
        before = all_h[p.before + index];
    }
    var d = dh_given[p.at + index];
    if ((p.first & 2u) == 0u) {  // after the last step nothing is carried, and dh holds anything
        d += dh[index];
    }
    let slopes = gru_slopes(kept, before, d);
    let to = 3u * (p.at + row * p.h) + j;
    dx[to] = slopes.dx.x;
    dx[to + p.h] = slopes.dx.y;
    dx[to + 2u * p.h] = slopes.dx.z;
    ds[to] = slopes.ds.x;
    ds[to + p.h] = slopes.ds.y;
    ds[to + 2u * p.h] = slopes.ds.z;
    dh[index] = slopes.dh;
}
