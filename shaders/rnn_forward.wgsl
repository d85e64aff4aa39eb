// One step of the plain recurrent layer forward in one launch, with its product: shared/recurrent.wgsl, whose columns
// are four units. What goes in and out is that of rnn.wgsl; h is what that calls y.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b_ih: array<f32>;
@group(0) @binding(3) var<storage, read> b_hh: array<f32>;
@group(0) @binding(4) var<storage, read> h_0: array<f32>;
@group(0) @binding(5) var<storage, read_write> h: array<f32>;

fn weight_row(part: u32, column: u32) -> u32 {
    return 4u * min(column_first + column, p.h / 4u - 1u) + part;
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local, 4u);
    // Fetched before the product, and waited for after it.
    var given = 0.0;
    if here.is_mine {
        given = x[p.at + here.index] + b_ih[here.unit] + b_hh[here.unit];
    }
    multiply(local, p.h);
    if here.is_mine {
        h[p.at + here.index] = rnn_cell(given + sum_of(local));
    }
}
