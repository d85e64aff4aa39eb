// One step of a GRU forward in one launch, with its product: shared/recurrent.wgsl, whose columns are the three gates
// of one unit. What goes in and out is that of gru.wgsl.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_ih: array<f32>;
@group(0) @binding(3) var<storage, read> b_hh: array<f32>;
@group(0) @binding(4) var<storage, read> h_0: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;

fn weight_row(part: u32, column: u32) -> u32 {
    return part * p.h + min(column_first + column, p.h - 1u);
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local, 1u);
    // Fetched before the product, and waited for after it.
    var given = vec3<f32>();
    var bias = vec3<f32>();
    var before = 0.0;
    if here.is_mine {
        let k = vec3<u32>(here.unit, here.unit + p.h, here.unit + 2u * p.h);
        let at = 3u * (p.at + here.row * p.h) + k;
        given = vec3<f32>(x[at.x], x[at.y], x[at.z]) + vec3<f32>(b_ih[k.x], b_ih[k.y], b_ih[k.z]);
        bias = vec3<f32>(b_hh[k.x], b_hh[k.y], b_hh[k.z]);
        if (p.first & 1u) != 0u {
            before = h_0[here.index];
        } else {
            before = h[p.before + here.index];
        }
    }
    multiply(local, p.h);
    if here.is_mine {
        let now = gru_cell(given, sums_of(local).xyz + bias, before);
        h[p.at + here.index] = now.h;
        let to = 4u * (p.at + here.row * p.h) + here.unit;
        gates[to] = now.gates.x;
        gates[to + p.h] = now.gates.y;
        gates[to + 2u * p.h] = now.gates.z;
        gates[to + 3u * p.h] = now.gates.w;
    }
}
