// The gradient of a slice: its input written into zeros. Gather form: every element of the output asks whether one of
// the input belongs to it, so no element is written twice and none is missed.
//
//   x: source0 x .. x source5      y: extent0 x .. x extent5      y[start + i * step] = x[i], else 0

struct Params {
    n: u32,
    extent0: u32, extent1: u32, extent2: u32, extent3: u32, extent4: u32, extent5: u32,
    source0: u32, source1: u32, source2: u32, source3: u32, source4: u32, source5: u32,
    start0: i32, start1: i32, start2: i32, start3: i32, start4: i32, start5: i32,
    step0: i32, step1: i32, step2: i32, step3: i32, step4: i32, step5: i32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

// The index of the input that lands on `at` along one axis, or -1.
fn origin(at: u32, source: u32, start: i32, step: i32) -> i32 {
    let distance = i32(at) - start;
    let i = distance / step;
    return select(-1, i, i * step == distance && i >= 0 && i < i32(source));
}

@compute @workgroup_size(WG)
fn embed(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.n) {
        return;
    }
    var rest = flat;
    let i5 = origin(rest % p.extent5, p.source5, p.start5, p.step5);
    rest = rest / p.extent5;
    let i4 = origin(rest % p.extent4, p.source4, p.start4, p.step4);
    rest = rest / p.extent4;
    let i3 = origin(rest % p.extent3, p.source3, p.start3, p.step3);
    rest = rest / p.extent3;
    let i2 = origin(rest % p.extent2, p.source2, p.start2, p.step2);
    rest = rest / p.extent2;
    let i1 = origin(rest % p.extent1, p.source1, p.start1, p.step1);
    let i0 = origin(rest / p.extent1, p.source0, p.start0, p.step0);
    let inside = min(min(min(i0, i1), min(i2, i3)), min(i4, i5)) >= 0;
    var value = 0u;
    if (inside) {
        let row = (u32(i0) * p.source1 + u32(i1)) * p.source2 + u32(i2);
        value = x[((row * p.source3 + u32(i3)) * p.source4 + u32(i4)) * p.source5 + u32(i5)];
    }
    y[flat] = value;
}
