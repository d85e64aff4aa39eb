// Adds up the partial sums of a matrix product whose reduction was cut into slices: one invocation per element of C.
//
// `partial` is [slices, batches, m, n], dense; C is addressed by strides. The slices are added in order, so the result does
// not depend on which of them was finished first.

struct Params {
    m: u32,
    n: u32,
    slices: u32,
    batch_inner: u32,
    count: u32,
    accumulate: u32,
    c_base: i32,
    c_outer: i32,
    c_inner: i32,
    c_row: i32,
    c_col: i32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(WG)
fn add_slices(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count {
        return;
    }
    var sum = partial[i];
    for (var s = 1u; s < p.slices; s += 1u) {
        sum += partial[s * p.count + i];
    }
    let column = i32(i % p.n);
    let row = i32(i / p.n % p.m);
    let matrix = i / p.n / p.m;
    let start = p.c_base + i32(matrix / p.batch_inner) * p.c_outer + i32(matrix % p.batch_inner) * p.c_inner;
    let at = u32(start + row * p.c_row + column * p.c_col);
    if p.accumulate != 0u { sum += c[at]; }
    c[at] = sum;
}
