// One step of an LSTM, all gates at once, over all rows of a batch and all hidden units.
//
//   x, gates, da: steps x rows x 4h, gates in the order i f g o      s: rows x 4h      b_ih, b_hh: 4h
//   h, c, dh_given, dc_given: steps x rows x h                       c_0, dh, dc: rows x h
//   forward:  i, f, o = sigmoid(a), g = tanh(a) of a = x_t + b_ih + s + b_hh, with s = h_(t-1) W^T
//             c_t = f c_(t-1) + i g            h_t = o tanh(c_t)
//   backward: from the gates, the cotangents of a; dh = da_(t+1) W, and dc is carried from step to step in place
//
// An invocation makes one unit of one row: its four gates lie h apart, so neighbours read neighbours.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> b_ih: array<f32>;
@group(0) @binding(3) var<storage, read> b_hh: array<f32>;
@group(0) @binding(4) var<storage, read> c_0: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;
@group(0) @binding(6) var<storage, read_write> c: array<f32>;
@group(0) @binding(7) var<storage, read_write> h: array<f32>;

// What goes into gate `k` of unit `j`; `at` is the first gate of the row in one step, `step` the step.
fn sum_of(step: u32, at: u32, j: u32, k: u32) -> f32 {
    let offset = k * p.h + j;
    return x[step + at + offset] + b_ih[offset] + (s[at + offset] + b_hh[offset]);
}

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
    let at = row * 4u * p.h;
    let step = 4u * p.at;
    let a = vec4<f32>(
        sum_of(step, at, j, 0u), sum_of(step, at, j, 1u), sum_of(step, at, j, 2u), sum_of(step, at, j, 3u),
    );
    var before = 0.0;
    if ((p.first & 1u) != 0u) {
        before = c_0[index];
    } else {
        before = c[p.before + index];
    }
    let now = lstm_cell(a, before);
    c[p.at + index] = now.c;
    h[p.at + index] = now.h;
    let to = step + at + j;
    gates[to] = now.gates.x;
    gates[to + p.h] = now.gates.y;
    gates[to + 2u * p.h] = now.gates.z;
    gates[to + 3u * p.h] = now.gates.w;
}

@group(0) @binding(0) var<storage, read> all_gates: array<f32>;
@group(0) @binding(1) var<storage, read> all_c: array<f32>;
@group(0) @binding(2) var<storage, read> start_c: array<f32>;
@group(0) @binding(3) var<storage, read> dh_given: array<f32>;
@group(0) @binding(4) var<storage, read> dc_given: array<f32>;
@group(0) @binding(5) var<storage, read> dh: array<f32>;
@group(0) @binding(6) var<storage, read_write> da: array<f32>;
@group(0) @binding(7) var<storage, read_write> dc: array<f32>;

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
    let to = 4u * p.at + row * 4u * p.h + (index - row * p.h);
    let kept = vec4<f32>(
        all_gates[to], all_gates[to + p.h], all_gates[to + 2u * p.h], all_gates[to + 3u * p.h],
    );
    var before = 0.0;
    if ((p.first & 1u) != 0u) {
        before = start_c[index];
    } else {
        before = all_c[p.before + index];
    }
    var d_h = dh_given[p.at + index];
    var d_c = dc_given[p.at + index];
    if ((p.first & 2u) == 0u) {  // after the last step nothing is carried, and dh and dc hold anything
        d_h += dh[index];
        d_c += dc[index];
    }
    let slopes = lstm_slopes(kept, before, all_c[p.at + index], d_h, d_c);
    da[to] = slopes.da.x;
    da[to + p.h] = slopes.da.y;
    da[to + 2u * p.h] = slopes.da.z;
    da[to + 3u * p.h] = slopes.da.w;
    dc[index] = slopes.dc;
}
