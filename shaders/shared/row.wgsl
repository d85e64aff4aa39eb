// What softmax and cross-entropy share: rows of n numbers, a step of `inner` apart, each of them read by one invocation
// (GROUP false: short rows, rows side by side, software) or by a workgroup. Sums follow one fixed tree.
//
// Rows that hold NaN or +inf, or nothing but -inf, have no softmax: everything made of them is NaN, as in PyTorch. A
// driver may assume that there are no such numbers, so they are found among integers: a float's bits, with the order of
// the negative ones turned round, sort as the float does, and NaN gets the largest key.

override GROUP: bool = false;

var<workgroup> part: array<u32, WG>;

struct Row {
    live: bool,
    index: u32,
    base: u32,   // where its first number lies
    first: u32,  // the numbers this invocation reads: first, first + stride, ..
    stride: u32,
}

fn row_of(group: vec3<u32>, groups: vec3<u32>, local: u32, rows: u32, n: u32, inner: u32) -> Row {
    var row: Row;
    row.index = flat_index(group, groups, local);
    row.first = 0u;
    row.stride = 1u;
    if (GROUP) {
        row.index = (group.z * groups.y + group.y) * groups.x + group.x;
        row.first = local;
        row.stride = WG;
    }
    row.live = row.index < rows;
    if (!row.live) {
        row.first = n;  // no number at all: a workgroup must reach its barriers together
    }
    let outer = row.index / inner;
    row.base = outer * n * inner + (row.index - outer * inner);
    return row;
}

fn key_of(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0xffffffffu;
    }
    return select(bits | 0x80000000u, ~bits, bits >> 31u == 1u);
}

// Whether a row whose largest number has this key has a softmax.
fn is_finite_key(key: u32) -> bool {
    return key > 0x007fffffu && key < 0xff800000u;
}

// That number; 0 for a row without a softmax, so that nothing is computed with infinities.
fn value_of(key: u32) -> f32 {
    let bits = select(~key, key & 0x7fffffffu, key >> 31u == 1u);
    return bitcast<f32>(select(0u, bits, is_finite_key(key)));
}

// e^d for d <= 0, and exactly 0 where that is too small for f32, also at -inf.
fn exp_below(d: f32) -> f32 {
    let bits = bitcast<u32>(d);
    if (bits > 0xc2d00000u && bits <= 0xff800000u) {  // -inf <= d < -104
        return 0.0;
    }
    return exp_accurate(d);
}

// The largest key of the invocations that read one row.
fn row_max(local: u32, mine: u32) -> u32 {
    if (!GROUP) {
        return mine;
    }
    part[local] = mine;
    for (var s = WG / 2u; s > 0u; s /= 2u) {
        workgroupBarrier();
        if (local < s) {
            part[local] = max(part[local], part[local + s]);
        }
    }
    workgroupBarrier();
    let all = part[0];
    workgroupBarrier();
    return all;
}

// The sum over the invocations that read one row.
fn row_sum(local: u32, mine: f32) -> f32 {
    if (!GROUP) {
        return mine;
    }
    part[local] = bitcast<u32>(mine);
    for (var s = WG / 2u; s > 0u; s /= 2u) {
        workgroupBarrier();
        if (local < s) {
            part[local] = bitcast<u32>(bitcast<f32>(part[local]) + bitcast<f32>(part[local + s]));
        }
    }
    workgroupBarrier();
    let all = bitcast<f32>(part[0]);
    workgroupBarrier();
    return all;
}
