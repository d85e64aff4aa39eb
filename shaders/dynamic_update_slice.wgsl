// A slice of a tensor written over, at a place that is read.
//
//   y: outer x n x inner, in place
//   x: outer x k x inner, where it lies, by strides                                      as bits
//   start: one number        y[o, start + j, i] = x[o, j, i], where start + j is below n

struct Params {
    count: u32, n: u32, k: u32, inner: u32,
    x_offset: u32, x_outer: i32, x_along: i32, x_inner: i32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> start: array<u32>;

@compute @workgroup_size(WG)
fn write(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let line = flat / p.inner;
    let i = flat - line * p.inner;
    let o = line / p.k;
    let j = line - o * p.k;
    // A place beyond the end must not come round to the front.
    let place = min(start[0], p.n) + j;
    if (place < p.n) {
        let at = i32(p.x_offset) + i32(o) * p.x_outer + i32(j) * p.x_along + i32(i) * p.x_inner;
        y[(o * p.n + place) * p.inner + i] = load(u32(at));
    }
}
