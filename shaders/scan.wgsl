// Running sums, and the positions of running extremes, along one axis.
//
//   x: outer x n x inner by strides      as bits
//   y: outer x n x inner                 y[k] = the sum of x[0] .. x[k], or where the largest of them is
//
// A line is cut into chunks of 1024. `chunks` makes the running results inside each chunk, and its total; the totals
// are scanned by the same kernel, as lines of their own; `add` puts the total of all chunks before into each chunk. The
// cuts depend on the length alone, so the same input gives the same bits. One invocation goes through a chunk where
// lines lie side by side or loads are dear (GROUP false), else a workgroup does, eight neighbours per invocation.
//
// An extreme is carried as its position and compared by looking it up. Of equal ones the later wins, and NaN wins.

override KIND: u32 = 0u;  // 0 sum, 1 position of the largest, 2 of the smallest
override GROUP: bool = false;

const CHUNK = 1024u;
const NONE = 0xffffffffu;

struct Params {
    count: u32, rows: u32, inner: u32, chunks: u32, of_totals: u32, block: u32,
    offset: u32, outer_step: i32, along_step: i32, inner_step: i32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;
@group(0) @binding(2) var<storage, read> input: array<u32>;
@group(0) @binding(3) var<storage, read_write> totals: array<u32>;

var<workgroup> part: array<u32, WG>;

fn start_of(line: u32) -> i32 {
    let o = line / p.inner;
    return i32(p.offset) + i32(o) * p.outer_step + i32(line - o * p.inner) * p.inner_step;
}

// The result of a stretch and the one behind it; `start` is where their line begins in x.
fn combine(a: u32, b: u32, start: i32) -> u32 {
    if (KIND == 0u) {
        if (TYPE == 0u) {
            return bitcast<u32>(bitcast<f32>(a) + bitcast<f32>(b));
        }
        return a + b;
    }
    if (a == NONE) {
        return b;
    }
    if (b == NONE) {
        return a;
    }
    let key_a = winning_key(x[u32(start + i32(a) * p.along_step)], KIND == 2u);
    let key_b = winning_key(x[u32(start + i32(b) * p.along_step)], KIND == 2u);
    return select(a, b, key_b >= key_a);
}

// What element `k` of a line adds.
fn element(line: u32, start: i32, k: u32) -> u32 {
    if (p.of_totals == 1u) {
        return input[line * p.rows + k];
    }
    if (KIND == 0u) {
        return x[u32(start + i32(k) * p.along_step)];
    }
    return k;
}

// Results lie as a dense x would; those of totals line by line.
fn place(line: u32, k: u32) -> u32 {
    if (p.of_totals == 1u) {
        return line * p.rows + k;
    }
    let o = line / p.inner;
    return (o * p.rows + k) * p.inner + (line - o * p.inner);
}

@compute @workgroup_size(WG)
fn chunks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let nothing = select(NONE, 0u, KIND == 0u);
    var job = flat_index(group, groups, local);
    var each = CHUNK;
    var first = 0u;
    if (GROUP) {
        job = (group.z * groups.y + group.y) * groups.x + group.x;
        each = CHUNK / WG;
        first = local * each;
    }
    // A workgroup must reach its barriers together: one without work has an empty chunk.
    let live = job < p.count;
    let chunk = job / p.block;
    let line = job - chunk * p.block;
    let start = start_of(line);
    let begin = min(chunk * CHUNK + first, p.rows);
    let end = select(begin, min(begin + each, p.rows), live);
    var total = nothing;
    if (GROUP) {
        for (var k = begin; k < end; k += 1u) {
            total = combine(total, element(line, start, k), start);
        }
        // Every invocation's total with those of all before it, in log2 rounds.
        part[local] = total;
        for (var step = 1u; step < WG; step *= 2u) {
            workgroupBarrier();
            var before = nothing;
            if (local >= step) {
                before = part[local - step];
            }
            workgroupBarrier();
            if (local >= step) {
                part[local] = combine(before, part[local], start);
            }
        }
        workgroupBarrier();
        total = nothing;
        if (local > 0u) {
            total = part[local - 1u];
        }
    }
    for (var k = begin; k < end; k += 1u) {
        total = combine(total, element(line, start, k), start);
        y[place(line, k)] = total;
    }
    if (live && end == min(chunk * CHUNK + CHUNK, p.rows) && end > begin) {
        totals[line * p.chunks + chunk] = total;
    }
}

@compute @workgroup_size(WG)
fn add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    if (flat >= p.count) {
        return;
    }
    // Flat in the order of memory, which is not that of lines where they lie side by side.
    var line = flat / p.rows;
    var k = flat - line * p.rows;
    if (p.of_totals == 0u) {
        let q = flat / p.inner;
        let o = q / p.rows;
        k = q - o * p.rows;
        line = o * p.inner + (flat - q * p.inner);
    }
    let chunk = k / CHUNK;
    if (chunk > 0u) {
        let before = input[line * p.chunks + chunk - 1u];
        y[flat] = combine(before, y[flat], start_of(line));
    }
}
