// One step of an LSTM backward in one launch, with its product: shared/recurrent.wgsl, whose columns are four units.
// What goes in and out is that of lstm.wgsl, but dh, which stays here: it is the product of the da of the step after.

@group(0) @binding(0) var<storage, read> gates: array<f32>;
@group(0) @binding(1) var<storage, read> c: array<f32>;
@group(0) @binding(2) var<storage, read> c_0: array<f32>;
@group(0) @binding(3) var<storage, read> dh_given: array<f32>;
@group(0) @binding(4) var<storage, read> dc_given: array<f32>;
@group(0) @binding(5) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> da: array<f32>;
@group(0) @binding(7) var<storage, read_write> dc: array<f32>;

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local, 4u);
    let to = 4u * (p.at + here.row * p.h) + here.unit;
    // Fetched before the product, and waited for after it.
    var all = vec4<f32>();
    var before = 0.0;
    var now = 0.0;
    var d_h = 0.0;
    var d_c = 0.0;
    if here.is_mine {
        all = vec4<f32>(gates[to], gates[to + p.h], gates[to + 2u * p.h], gates[to + 3u * p.h]);
        if (p.first & 1u) != 0u {
            before = c_0[here.index];
        } else {
            before = c[p.before + here.index];
        }
        now = c[p.at + here.index];
        d_h = dh_given[p.at + here.index];
        d_c = dc_given[p.at + here.index];
        if (p.first & 2u) == 0u {  // after the last step nothing is carried, and dc holds anything
            d_c += dc[here.index];
        }
    }
    multiply(local, depths_carried());
    if here.is_mine {
        let slopes = lstm_slopes(all, before, now, d_h + sum_of(local), d_c);
        da[to] = slopes.da.x;
        da[to + p.h] = slopes.da.y;
        da[to + 2u * p.h] = slopes.da.z;
        da[to + 3u * p.h] = slopes.da.w;
        dc[here.index] = slopes.dc;
    }
}
