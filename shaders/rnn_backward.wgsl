// One step of the plain recurrent layer backward in one launch, with its product: shared/recurrent.wgsl, whose columns
// are four units. What goes in and out is that of rnn.wgsl, but dh, which stays here: it is the product of the da of
// the step after.

@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> da: array<f32>;

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local, 4u);
    // Fetched before the product, and waited for after it.
    var d = 0.0;
    var slope = 0.0;
    if here.is_mine {
        d = dy[p.at + here.index];
        slope = rnn_slope(y[p.at + here.index]);
    }
    multiply(local, depths_carried());
    if here.is_mine {
        da[p.at + here.index] = (d + sum_of(local)) * slope;
    }
}
