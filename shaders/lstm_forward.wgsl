// One step of an LSTM forward in one launch, with its product: shared/recurrent.wgsl, whose columns are the four gates
// of one unit. What goes in and out is that of lstm.wgsl, but `bias`, b_ih + b_hh, which `biases` makes once per
// sequence: with both a step would bind nine buffers, and WebGPU grants eight.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> h_0: array<f32>;
@group(0) @binding(4) var<storage, read> c_0: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;
@group(0) @binding(6) var<storage, read_write> c: array<f32>;
@group(0) @binding(7) var<storage, read_write> h: array<f32>;

fn weight_row(part: u32, column: u32) -> u32 {
    return part * p.h + min(column_first + column, p.h - 1u);
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local, 1u);
    let to = 4u * (p.at + here.row * p.h) + here.unit;
    // Fetched before the product, and waited for after it.
    var given = vec4<f32>();
    var before = 0.0;
    if here.is_mine {
        let k = vec4<u32>(0u, 1u, 2u, 3u) * p.h;
        given = vec4<f32>(x[to], x[to + k.y], x[to + k.z], x[to + k.w]);
        given += vec4<f32>(bias[here.unit], bias[here.unit + k.y], bias[here.unit + k.z], bias[here.unit + k.w]);
        if (p.first & 1u) != 0u {
            before = c_0[here.index];
        } else {
            before = c[p.before + here.index];
        }
    }
    multiply(local, p.h);
    if here.is_mine {
        let now = lstm_cell(given + sums_of(local), before);
        c[p.at + here.index] = now.c;
        h[p.at + here.index] = now.h;
        gates[to] = now.gates.x;
        gates[to + p.h] = now.gates.y;
        gates[to + 2u * p.h] = now.gates.z;
        gates[to + 3u * p.h] = now.gates.w;
    }
}

@group(0) @binding(0) var<storage, read> b_ih: array<f32>;
@group(0) @binding(1) var<storage, read> b_hh: array<f32>;
@group(0) @binding(2) var<storage, read_write> b: array<f32>;

@compute @workgroup_size(WG)
fn biases(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= 4u * p.h) {
        return;
    }
    b[i] = b_ih[i] + b_hh[i];
}
