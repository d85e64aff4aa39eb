// Sum, max, min, argmax and argmin over any axes of a strided input.
//
//   x: the buffer under the input, kept axes k0..k3 and reduced axes r0..r3 with their strides; all as bits
//   y: chunks x outputs       chunk c of an output covers elements [c * chunk, (c + 1) * chunk) of its reduced axes
//
// A long reduction is cut into chunks, whose results are reduced by the next launch, as a matrix of chunks x outputs.
// The cuts depend on the shape alone and the tree below is fixed, so the same input gives the same bits, run after run.
// `thread` gives a chunk to one invocation: right for short ones, and for columns, where neighbours read neighbours.
// `group` gives it to a workgroup: right for long rows.
//
// Extremes are found among keys that sort as the numbers do (shared/key.wgsl); NaN wins.

override KIND: u32 = 0u;  // 0 sum of f32, 1 sum of whole numbers, 2 max, 3 min
override RANK: u32 = 4u;  // reduced axes

struct Params {
    outputs: u32, n: u32, chunk: u32, chunks: u32, offset: u32, first: u32,
    k1: u32, k2: u32, k3: u32,
    r1: u32, r2: u32, r3: u32,
    ks0: i32, ks1: i32, ks2: i32, ks3: i32,
    rs0: i32, rs1: i32, rs2: i32, rs3: i32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
// Of an argmax: the position of each x, and of each y. The first launch counts positions itself.
@group(0) @binding(2) var<storage, read> from_position: array<u32>;
@group(0) @binding(3) var<storage, read_write> position: array<u32>;

var<workgroup> part: array<u32, WG>;
var<workgroup> part_position: array<u32, WG>;

// What is added up or compared for an element, and what is stored for it.
fn key_of(bits: u32) -> u32 {
    if (KIND < 2u) {
        return bits;
    }
    return winning_key(bits, KIND == 3u);
}

fn bits_of(key: u32) -> u32 {
    if (KIND < 2u) {
        return key;
    }
    if (TYPE == 0u && key == 0xffffffffu) {
        return 0x7fc00000u;
    }
    return bits_of_key(select(key, ~key, KIND == 3u));
}

// 0 is the neutral element of all four: as a sum, and as a key that no other is below.
fn merge(a: u32, b: u32) -> u32 {
    if (KIND == 0u) {
        return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
    }
    if (KIND == 1u) {
        return a + b;
    }
    return max(a, b);
}

// The same of four at once.
fn merge_fours(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    if (KIND == 0u) {
        return bitcast<vec4<u32>>(bitcast<vec4<f32>>(a) + bitcast<vec4<f32>>(b));
    }
    if (KIND == 1u) {
        return a + b;
    }
    return max(a, b);
}

// Where the reduced axes of output `o` begin.
fn start_of(o: u32) -> i32 {
    let o2 = o / p.k3;
    let o1 = o2 / p.k2;
    let o0 = o1 / p.k1;
    return i32(p.offset) + i32(o0) * p.ks0 + i32(o1 - o0 * p.k1) * p.ks1 + i32(o2 - o1 * p.k2) * p.ks2
        + i32(o - o2 * p.k3) * p.ks3;
}

// Where element `k` of the reduced axes lies from there. Most reductions are over one run, so divisions are spared; a
// software rasteriser makes them even where it does not need them if a branch is what spares them.
fn step_to(k: u32) -> i32 {
    if (RANK == 1u) {
        return i32(k) * p.rs3;
    }
    let k2 = k / p.r3;
    let near = i32(k - k2 * p.r3) * p.rs3;
    if (RANK == 2u) {
        return near + i32(k2) * p.rs2;
    }
    let k1 = k2 / p.r2;
    let k0 = k1 / p.r1;
    return near + i32(k2 - k1 * p.r2) * p.rs2 + i32(k1 - k0 * p.r1) * p.rs1 + i32(k0) * p.rs0;
}

// Stores what element `i` of the result became. Whole numbers never pass for floats.
fn store(i: u32, key: u32) {
    if (KIND == 0u) {
        y[i] = bitcast<u32>(epilogue(bitcast<f32>(key), i));
    } else {
        y[i] = bits_of(key);
    }
}

fn key_at(start: i32, k: u32) -> u32 {
    return key_of(load(u32(start + step_to(k))));
}

fn keys_at(start: i32, k: u32, step: u32) -> vec4<u32> {
    return vec4<u32>(
        key_at(start, k), key_at(start, k + step), key_at(start, k + 2u * step), key_at(start, k + 3u * step),
    );
}

// What elements `first`, `first + step`, .. below `end` become. Eight sums at once: loads need not wait for additions,
// nor for each other, and the error grows more slowly.
fn fold(start: i32, first: u32, end: u32, step: u32) -> u32 {
    var even = vec4<u32>();
    var odd = vec4<u32>();
    var k = first;
    for (; k + 7u * step < end; k += 8u * step) {
        let next = keys_at(start, k, step);
        odd = merge_fours(odd, keys_at(start, k + 4u * step, step));
        even = merge_fours(even, next);
    }
    for (; k < end; k += step) {
        even.x = merge(even.x, key_at(start, k));
    }
    let four = merge_fours(even, odd);
    return merge(merge(four.x, four.y), merge(four.z, four.w));
}

@compute @workgroup_size(WG)
fn thread(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.outputs * p.chunks) {
        return;
    }
    let c = flat / p.outputs;
    let start = start_of(flat - c * p.outputs);
    let end = min(p.n, (c + 1u) * p.chunk);
    store(flat, fold(start, c * p.chunk, end, 1u));
}

@compute @workgroup_size(WG)
fn group(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = (group.z * groups.y + group.y) * groups.x + group.x;
    if (flat >= p.outputs * p.chunks) {
        return;
    }
    let c = flat / p.outputs;
    let start = start_of(flat - c * p.outputs);
    let end = min(p.n, (c + 1u) * p.chunk);
    part[local] = fold(start, c * p.chunk + local, end, WG);
    for (var s = WG / 2u; s > 0u; s /= 2u) {
        workgroupBarrier();
        if (local < s) {
            part[local] = merge(part[local], part[local + s]);
        }
    }
    if (local == 0u) {
        store(flat, part[0]);
    }
}

// The position that element `k` of output `o` stands for.
fn position_of(o: u32, k: u32) -> u32 {
    if (p.first == 1u) {
        return k;
    }
    return from_position[k * p.outputs + o];
}

// Whether the first is to be chosen: the larger key, and of equal keys the earlier position.
fn wins(key: u32, at: u32, other: u32, other_at: u32) -> bool {
    return key > other || (key == other && at < other_at);
}

@compute @workgroup_size(WG)
fn arg_thread(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.outputs * p.chunks) {
        return;
    }
    let c = flat / p.outputs;
    let o = flat - c * p.outputs;
    let start = start_of(o);
    let end = min(p.n, (c + 1u) * p.chunk);
    var best = 0u;
    var best_k = 0xffffffffu;
    for (var k = c * p.chunk; k < end; k += 1u) {
        let key = key_at(start, k);
        if (wins(key, k, best, best_k)) {
            best = key;
            best_k = k;
        }
    }
    y[flat] = bits_of(best);
    position[flat] = position_of(o, best_k);
}

@compute @workgroup_size(WG)
fn arg_group(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = (group.z * groups.y + group.y) * groups.x + group.x;
    if (flat >= p.outputs * p.chunks) {
        return;
    }
    let c = flat / p.outputs;
    let o = flat - c * p.outputs;
    let start = start_of(o);
    let end = min(p.n, (c + 1u) * p.chunk);
    var best = 0u;
    var best_k = 0xffffffffu;
    for (var k = c * p.chunk + local; k < end; k += WG) {
        let key = key_at(start, k);
        if (wins(key, k, best, best_k)) {
            best = key;
            best_k = k;
        }
    }
    part[local] = best;
    part_position[local] = best_k;
    for (var s = WG / 2u; s > 0u; s /= 2u) {
        workgroupBarrier();
        if (local < s && wins(part[local + s], part_position[local + s], part[local], part_position[local])) {
            part[local] = part[local + s];
            part_position[local] = part_position[local + s];
        }
    }
    if (local == 0u) {
        y[flat] = bits_of(part[0]);
        position[flat] = position_of(o, part_position[0]);
    }
}
