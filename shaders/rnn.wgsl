// One step of the plain recurrent layer, over all rows of a batch and all hidden units at once.
//
//   x, y, dy, da: steps x rows x h      s, dh: rows x h      b_ih, b_hh: h
//   forward:  y_t = f(x_t + b_ih + s + b_hh)       s = y_(t-1) W^T, made by the matrix product
//   backward: da_t = (dy_t + dh) f'                dh = da_(t+1) W, made by the matrix product
//
// f is tanh or relu, and its slope is known from y. A product with the state that is too large to be made by the launch
// of the cell (rnn_forward.wgsl, rnn_backward.wgsl) is the same tuned kernel as everywhere, and what it writes is
// small.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read> b_ih: array<f32>;
@group(0) @binding(3) var<storage, read> b_hh: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

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
    let j = i % p.h;
    let a = x[p.at + i] + b_ih[j] + (s[i] + b_hh[j]);
    y[p.at + i] = rnn_cell(a);
}

@group(0) @binding(0) var<storage, read> state: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> dh: array<f32>;
@group(0) @binding(3) var<storage, read_write> da: array<f32>;

@compute @workgroup_size(WG)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.n) {
        return;
    }
    var d = dy[p.at + i];
    if ((p.first & 2u) == 0u) {  // after the last step nothing is carried, and dh holds anything
        d += dh[i];
    }
    da[p.at + i] = d * rnn_slope(state[p.at + i]);
}
