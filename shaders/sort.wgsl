// A stable sort of many lines at once, by merging.
//
//   x: outer x n x inner by strides, sorted along n      as bits
//   keys, positions: lines x n      what is compared, and which element of its line it stands for
//
// `block` sorts runs of 32: every element counts those before it. `merge` makes two neighbouring runs into one: an
// element's place is its place in its own run, plus the number of elements of the other that go before it, found by
// halving. Equal keys of the left run go first, so the sort is stable. There is no barrier, no shared memory and no
// limit on the length, and all lines are sorted by the same few launches.

override SOURCE: u32 = 0u;  // 0 numbers rising, 1 numbers falling, 2 indices of elements

struct Params {
    count: u32, n: u32, inner: u32, last: u32,
    offset: u32, n_keys: u32, is_signed: u32, width: u32,
    outer_step: i32, along_step: i32, inner_step: i32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> keys: array<u32>;
@group(0) @binding(2) var<storage, read_write> positions: array<u32>;

// The last launch puts positions where the elements of x would lie, were it dense.
fn place(line: u32, k: u32) -> u32 {
    if (p.last == 0u) {
        return line * p.n + k;
    }
    let o = line / p.inner;
    return (o * p.n + k) * p.inner + (line - o * p.inner);
}

fn key_at(start: i32, k: u32) -> u32 {
    let bits = x[u32(start + i32(k) * p.along_step)];
    if (SOURCE == 2u) {
        return resolve_index(bits, p.n_keys, p.is_signed);
    }
    let rising = rising_key(bits);
    return select(rising, ~rising, SOURCE == 1u);
}

@compute @workgroup_size(WG)
fn block(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let line = flat / p.n;
    let k = flat - line * p.n;
    let o = line / p.inner;
    let start = i32(p.offset) + i32(o) * p.outer_step + i32(line - o * p.inner) * p.inner_step;
    let first = k / 32u * 32u;
    let end = min(p.n, first + 32u);
    let key = key_at(start, k);
    var rank = first;
    for (var j = first; j < end; j += 1u) {
        let other = key_at(start, j);
        rank += select(0u, 1u, other < key || (other == key && j < k));
    }
    keys[line * p.n + rank] = key;
    positions[place(line, rank)] = k;
}

@group(0) @binding(0) var<storage, read> from_keys: array<u32>;
@group(0) @binding(1) var<storage, read> from_positions: array<u32>;
@group(0) @binding(2) var<storage, read_write> to_keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> to_positions: array<u32>;

@compute @workgroup_size(WG)
fn merge(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    let line = flat / p.n;
    let start = line * p.n;
    let k = flat - start;
    let run = k / p.width;
    let is_left = (run & 1u) == 0u;
    let own = run * p.width;
    let pair = (run >> 1u) * 2u * p.width;
    // The other run may be cut short, or missing.
    let other = min(select(pair, pair + p.width, is_left), p.n);
    let other_end = min(other + p.width, p.n);
    let key = from_keys[flat];
    // How many of the other run go before: those below, and equal ones if they are to the left.
    var low = other;
    var high = other_end;
    while (low < high) {
        let middle = low + (high - low) / 2u;
        let at = from_keys[start + middle];
        if (at < key || (at == key && !is_left)) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    let rank = pair + (k - own) + (low - other);
    to_keys[start + rank] = key;
    to_positions[place(line, rank)] = from_positions[flat];
}
