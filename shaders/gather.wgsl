// Elements picked along one axis by indices.
//
//   x: outer x n x inner, index: outer x k x inner, each where it lies, by strides      as bits
//   y: outer x k x inner        y[o, j, i] = x[o, index[o, j, i], i]
//
// Rows picked by one list of indices (an embedding) are the same thing with an index whose outer and inner strides are
// 0: neighbouring invocations then read the same index and neighbouring elements. An index that names no element gives
// `missing`.

struct Params {
    count: u32, n: u32, k: u32, inner: u32, is_signed: u32, missing: u32,
    x_offset: u32, index_offset: u32,
    x_outer: i32, x_along: i32, x_inner: i32,
    index_outer: i32, index_along: i32, index_inner: i32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let line = flat / p.inner;
    let i = i32(flat - line * p.inner);
    let block = line / p.k;
    let o = i32(block);
    let j = i32(line - block * p.k);
    let at = i32(p.index_offset) + o * p.index_outer + j * p.index_along + i * p.index_inner;
    let picked = resolve_index(index[u32(at)], p.n, p.is_signed);
    if (picked < p.n) {
        y[flat] = x[u32(i32(p.x_offset) + o * p.x_outer + i32(picked) * p.x_along + i * p.x_inner)];
    } else {
        y[flat] = p.missing;
    }
}
