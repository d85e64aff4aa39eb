// One step of a GRU backward in one launch, with its product: shared/recurrent.wgsl, whose columns are four units. What
// goes in and out is that of gru.wgsl; what that calls ds is the da of the product here. dh, carried in place, is what
// comes through z alone.

@group(0) @binding(0) var<storage, read> gates: array<f32>;
@group(0) @binding(1) var<storage, read> h: array<f32>;
@group(0) @binding(2) var<storage, read> h_0: array<f32>;
@group(0) @binding(3) var<storage, read> dh_given: array<f32>;
@group(0) @binding(4) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dh: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> da: array<f32>;

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local, 4u);
    // Fetched before the product, and waited for after it.
    var all = vec4<f32>();
    var before = 0.0;
    var d = 0.0;
    if here.is_mine {
        let at = 4u * (p.at + here.row * p.h) + here.unit;
        all = vec4<f32>(gates[at], gates[at + p.h], gates[at + 2u * p.h], gates[at + 3u * p.h]);
        if (p.first & 1u) != 0u {
            before = h_0[here.index];
        } else {
            before = h[p.before + here.index];
        }
        d = dh_given[p.at + here.index];
        if (p.first & 2u) == 0u {  // after the last step nothing is carried, and dh holds anything
            d += dh[here.index];
        }
    }
    multiply(local, depths_carried());
    if here.is_mine {
        let slopes = gru_slopes(all, before, d + sum_of(local));
        let to = 3u * (p.at + here.row * p.h) + here.unit;
        dx[to] = slopes.dx.x;
        dx[to + p.h] = slopes.dx.y;
        dx[to + 2u * p.h] = slopes.dx.z;
        da[to] = slopes.ds.x;
        da[to + p.h] = slopes.ds.y;
        da[to + 2u * p.h] = slopes.ds.z;
        dh[here.index] = slopes.dh;
    }
}
