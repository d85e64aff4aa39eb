// One input of a concatenation, copied to its place in the result. One launch per input: any number of inputs of any
// size within eight bindings, and each is read where it lies.
//
//   x: the buffer under the input, extent0 x .. x extent5 with steps from0 .. from5      as bits
//   y: the result, in which the same axes have steps to0 .. to5                          as bits

struct Params {
    n: u32, from_offset: u32, to_offset: u32,
    extent1: u32, extent2: u32, extent3: u32, extent4: u32, extent5: u32,
    from0: i32, from1: i32, from2: i32, from3: i32, from4: i32, from5: i32,
    to0: u32, to1: u32, to2: u32, to3: u32, to4: u32, to5: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.n) {
        return;
    }
    // The index along each axis, from the last: what is left after the axes behind it, less its whole extents.
    let q5 = i / p.extent5;
    let i5 = i - q5 * p.extent5;
    let q4 = q5 / p.extent4;
    let i4 = q5 - q4 * p.extent4;
    let q3 = q4 / p.extent3;
    let i3 = q4 - q3 * p.extent3;
    let q2 = q3 / p.extent2;
    let i2 = q3 - q2 * p.extent2;
    let i0 = q2 / p.extent1;
    let i1 = q2 - i0 * p.extent1;
    let at = i32(p.from_offset) + i32(i0) * p.from0 + i32(i1) * p.from1 + i32(i2) * p.from2 + i32(i3) * p.from3
        + i32(i4) * p.from4 + i32(i5) * p.from5;
    let to = p.to_offset + i0 * p.to0 + i1 * p.to1 + i2 * p.to2 + i3 * p.to3 + i4 * p.to4 + i5 * p.to5;
    y[to] = x[u32(at)];
}
