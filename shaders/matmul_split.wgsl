// Adds up the partial sums of a matrix product whose reduction was cut into slices, and with shared/split_sums.wgsl
// (else shared/split_product.wgsl) those of the sums that were made besides.
//
// `partial` is [slices, batches, m, n], dense; C is addressed by strides. Few slices are added in order by one
// invocation per element of C. Of many, 16 invocations add every 16th, and a tree adds their sums: one alone would wait
// for its loads, and where C is small nothing else would run meanwhile. Both orders are fixed, so the result does not
// depend on which slice was finished first.

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
    sums: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read_write> c: array<f32>;

var<workgroup> sums: array<f32, 256>;

fn put_product(i: u32, total: f32) {
    let column = i32(i % p.n);
    let row = i32(i / p.n % p.m);
    let matrix = i / p.n / p.m;
    let start = p.c_base + i32(matrix / p.batch_inner) * p.c_outer + i32(matrix % p.batch_inner) * p.c_inner;
    let at = u32(start + row * p.c_row + column * p.c_col);
    var sum = total;
    if p.accumulate != 0u { sum += c[at]; }
    c[at] = epilogue(sum, at);
}

@compute @workgroup_size(WG)
fn add_slices(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count + p.sums {
        return;
    }
    var sum = term(0u, i);
    for (var s = 1u; s < p.slices; s += 1u) {
        sum += term(s, i);
    }
    put(i, sum);
}

@compute @workgroup_size(256)
fn add_many_slices(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = ((group.z * grid.y + group.y) * grid.x + group.x) * 16u + local % 16u;
    var sum = 0.0;
    if i < p.count + p.sums {
        var s = local / 16u;
        for (; s + 48u < p.slices; s += 64u) {
            let first = term(s, i) + term(s + 16u, i);
            sum += first + (term(s + 32u, i) + term(s + 48u, i));
        }
        for (; s < p.slices; s += 16u) {
            sum += term(s, i);
        }
    }
    sums[local] = sum;
    for (var width = 128u; width >= 16u; width /= 2u) {
        workgroupBarrier();
        if local < width {
            sums[local] += sums[local + width];
        }
    }
    if local < 16u && i < p.count + p.sums {
        put(i, sums[local]);
    }
}
