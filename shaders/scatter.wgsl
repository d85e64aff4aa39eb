// Elements added (multiplied, compared) into places named by indices, without atomics: every place collects its own, in
// the order of the sources, so the same input gives the same bits.
//
//   x, y: outer x n x inner, src: outer x k x inner, index: outer x k x inner, by strides        as bits
//   y[o, v, i] = x[o, v, i] and the src[o, j, i] with index[o, j, i] == v
//
// `direct` asks every source for every place: right for few sources. Otherwise the indices are sorted (sort.wgsl), once
// for all elements that share them; `starts` finds where the sources of each place begin, `partials` adds up whole
// chunks of sources that go to one place, so that no place of many sources is left to one long loop, and `segments`
// adds the rest. `last_direct` and `last` only name the last source of each place, counted from 1.

override COMBINE: u32 = 0u;  // 0 add, 1 multiply, 2 largest, 3 smallest

const CHUNK = 256u;

struct Params {
    count: u32, n: u32, k: u32, inner: u32, is_signed: u32, chunks: u32,
    x_offset: u32, src_offset: u32, index_offset: u32,
    x_outer: i32, x_along: i32, x_inner: i32,
    src_outer: i32, src_along: i32, src_inner: i32,
    index_outer: i32, index_along: i32, index_inner: i32,
    line_outer: u32, line_inner: u32,  // lines of sorted indices from one block, and one inner element, to the next
}

var<immediate> p: Params;

fn combine(a: u32, b: u32) -> u32 {
    if (COMBINE >= 2u) {
        let smallest = COMBINE == 3u;
        return select(a, b, winning_key(b, smallest) > winning_key(a, smallest));
    }
    if (TYPE == 0u) {
        let f = bitcast<f32>(a);
        let g = bitcast<f32>(b);
        return bitcast<u32>(select(f + g, f * g, COMBINE == 1u));
    }
    return select(a + b, a * b, COMBINE == 1u);
}

// Block, element along the axis, and element behind it, of a flat index into outer x extent x inner.
fn split(flat: u32, extent: u32) -> vec3<u32> {
    let line = flat / p.inner;
    let o = line / extent;
    return vec3<u32>(o, line - o * extent, flat - line * p.inner);
}

fn x_at(c: vec3<u32>) -> u32 {
    return u32(i32(p.x_offset) + i32(c.x) * p.x_outer + i32(c.y) * p.x_along + i32(c.z) * p.x_inner);
}

fn src_at(o: u32, j: u32, i: u32) -> u32 {
    return u32(i32(p.src_offset) + i32(o) * p.src_outer + i32(j) * p.src_along + i32(i) * p.src_inner);
}

fn index_at(o: u32, j: u32, i: u32) -> u32 {
    return u32(i32(p.index_offset) + i32(o) * p.index_outer + i32(j) * p.index_along + i32(i) * p.index_inner);
}

@group(0) @binding(0) var<storage, read_write> y: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> src: array<u32>;
@group(0) @binding(3) var<storage, read> index: array<u32>;

@compute @workgroup_size(WG)
fn direct(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let c = split(flat, p.n);
    var sum = x[x_at(c)];
    for (var j = 0u; j < p.k; j += 1u) {
        if (resolve_index(index[index_at(c.x, j, c.z)], p.n, p.is_signed) == c.y) {
            sum = combine(sum, src[src_at(c.x, j, c.z)]);
        }
    }
    y[flat] = sum;
}

@group(0) @binding(1) var<storage, read> of_last: array<u32>;

@compute @workgroup_size(WG)
fn last_direct(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let c = split(flat, p.n);
    var found = 0u;
    for (var j = 0u; j < p.k; j += 1u) {
        if (resolve_index(of_last[index_at(c.x, j, c.z)], p.n, p.is_signed) == c.y) {
            found = j + 1u;
        }
    }
    y[flat] = found;
}

// Where the sources of each place begin among the sorted ones of its line; for place n, where they end. lines x (n + 1)
@group(0) @binding(1) var<storage, read> keys: array<u32>;

@compute @workgroup_size(WG)
fn starts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let line = flat / (p.n + 1u);
    let place = flat - line * (p.n + 1u);
    let base = line * p.k;
    var low = 0u;
    var high = p.k;
    while (low < high) {
        let middle = low + (high - low) / 2u;
        if (keys[base + middle] < place) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    y[flat] = low;
}

@group(0) @binding(1) var<storage, read> start: array<u32>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;

@compute @workgroup_size(WG)
fn last(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let c = split(flat, p.n);
    let line = c.x * p.line_outer + c.z * p.line_inner;
    let at = line * (p.n + 1u) + c.y;
    let end = start[at + 1u];
    var found = 0u;
    if (end > start[at]) {
        found = positions[line * p.k + end - 1u] + 1u;
    }
    y[flat] = found;
}

// outer x chunks x inner: a chunk of sources that all go to one place. The others are left as they are.
@group(0) @binding(3) var<storage, read> sorted: array<u32>;

@compute @workgroup_size(WG)
fn partials(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let c = split(flat, p.chunks);
    let base = (c.x * p.line_outer + c.z * p.line_inner) * p.k;
    let first = c.y * CHUNK;
    let place = keys[base + first];
    if (first + CHUNK > p.k || place >= p.n || place != keys[base + first + CHUNK - 1u]) {
        return;
    }
    var sum = src[src_at(c.x, sorted[base + first], c.z)];
    for (var j = first + 1u; j < first + CHUNK; j += 1u) {
        sum = combine(sum, src[src_at(c.x, sorted[base + j], c.z)]);
    }
    y[flat] = sum;
}

@group(0) @binding(4) var<storage, read> begin: array<u32>;
@group(0) @binding(5) var<storage, read> partial: array<u32>;

@compute @workgroup_size(WG)
fn segments(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let c = split(flat, p.n);
    let line = c.x * p.line_outer + c.z * p.line_inner;
    let base = line * p.k;
    let at = line * (p.n + 1u) + c.y;
    let end = begin[at + 1u];
    var sum = x[x_at(c)];
    var j = begin[at];
    while (j < end) {
        if (p.chunks > 0u && j % CHUNK == 0u && j + CHUNK <= end) {
            sum = combine(sum, partial[(c.x * p.chunks + j / CHUNK) * p.inner + c.z]);
            j += CHUNK;
        } else {
            sum = combine(sum, src[src_at(c.x, sorted[base + j], c.z)]);
            j += 1u;
        }
    }
    y[flat] = sum;
}
