// The weight of a recurrent layer turned, so that neighbours in a product read neighbours where it does not stay in
// registers (shared/sequence.wgsl): a block of 4 x 4 for each invocation.

struct Params {
    n: u32,       // blocks
    rows: u32,    // quads of rows
    columns: u32, // quads in a row
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> turned: array<vec4<f32>>;

@compute @workgroup_size(WG)
fn turn(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if i >= p.n {
        return;
    }
    // Neighbours write neighbours.
    let row = i % p.rows;
    let column = i / p.rows;
    let at = 4u * row * p.columns + column;
    let block = mat4x4<f32>(w[at], w[at + p.columns], w[at + 2u * p.columns], w[at + 3u * p.columns]);
    let across = transpose(block);
    let to = 4u * column * p.rows + row;
    turned[to] = across[0];
    turned[to + p.rows] = across[1];
    turned[to + 2u * p.rows] = across[2];
    turned[to + 3u * p.rows] = across[3];
}
