// A tensor set into a larger one. Gather form: every element of the result asks whether one of the input belongs to it.
//
//   x: the buffer under the input, source0 x .. x source5 with steps step0 .. step5      as bits
//   value: the one number that fills the rest                                            as bits
//   y: extent0 x .. x extent5        y[i] = x[i - before] where that is an element, else value

struct Params {
    n: u32, offset: u32,
    extent1: u32, extent2: u32, extent3: u32, extent4: u32, extent5: u32,
    before0: u32, before1: u32, before2: u32, before3: u32, before4: u32, before5: u32,
    source0: u32, source1: u32, source2: u32, source3: u32, source4: u32, source5: u32,
    step0: i32, step1: i32, step2: i32, step3: i32, step4: i32, step5: i32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> value: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, groups, local);
    if (i >= p.n) {
        return;
    }
    // The index of the input along each axis, from the last. One before its first wraps round to a very large one.
    let q5 = i / p.extent5;
    let i5 = i - q5 * p.extent5 - p.before5;
    let q4 = q5 / p.extent4;
    let i4 = q5 - q4 * p.extent4 - p.before4;
    let q3 = q4 / p.extent3;
    let i3 = q4 - q3 * p.extent3 - p.before3;
    let q2 = q3 / p.extent2;
    let i2 = q3 - q2 * p.extent2 - p.before2;
    let q1 = q2 / p.extent1;
    let i1 = q2 - q1 * p.extent1 - p.before1;
    let i0 = q1 - p.before0;
    if (i0 < p.source0 && i1 < p.source1 && i2 < p.source2 && i3 < p.source3 && i4 < p.source4 && i5 < p.source5) {
        let at = i32(p.offset) + i32(i0) * p.step0 + i32(i1) * p.step1 + i32(i2) * p.step2 + i32(i3) * p.step3
            + i32(i4) * p.step4 + i32(i5) * p.step5;
        y[i] = x[u32(at)];
    } else {
        y[i] = value[0];
    }
}
