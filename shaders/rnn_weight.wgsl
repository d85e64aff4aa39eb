// The weight of a recurrent layer as shared/sequence.wgsl reads it where it cannot take it as it lies: rows are depths
// and columns are sums, so that neighbours in a product read neighbours, and both are whole quads, with zeros beyond
// the last.

struct Params {
    n: u32,            // elements of the result
    across: u32,       // in one of its rows
    sums: u32,
    depths: u32,
    from_sum: u32,     // how far in the weight it is from one sum to the next,
    from_depth: u32,   // and from one depth to the next
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read_write> turned: array<f32>;

@compute @workgroup_size(WG)
fn turn(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.n) {
        return;
    }
    let depth = i / p.across;
    let sum = i % p.across;
    var value = 0.0;
    if (depth < p.depths && sum < p.sums) {
        value = w[depth * p.from_depth + sum * p.from_sum];
    }
    turned[i] = value;
}
