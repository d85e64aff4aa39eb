// Normalisation of few long rows (the channels of a batch), for GPUs: a row is cut into chunks, a workgroup for each,
// so that more than a few processors read it. What rows, places, statistics and gradients are stands in norm.wgsl.
//
//   chunk_statistics, merge_statistics, apply        forward: mean and squares of each chunk; of each row; the result
//   chunk_sums, merge_sums, apply_gradient           gradient: the two sums of each chunk; of each row; dx
//
// A chunk's statistics take two passes, of which the second reads what the cache still holds; those of a row are merged
// as Chan, Golub and LeVeque do: squares about the common mean are the chunks' own, and n_c (mean_c - mean)^2.

override WG: u32 = 256u;
override CENTER: bool = true;
override WEIGHT: u32 = 0u; // 0 none, 1 one per row
override BIAS: bool = false;

struct Params {
    rows: u32, inner: u32, n: u32, chunk: u32, chunks: u32, eps: f32,
}

var<immediate> p: Params;

var<workgroup> part: array<vec2<f32>, WG>;

// The sums over the invocations of a workgroup.
fn sum_of_all(local: u32, mine: vec2<f32>) -> vec2<f32> {
    part[local] = mine;
    for (var s = WG / 2u; s > 0u; s /= 2u) {
        workgroupBarrier();
        if local < s {
            part[local] += part[local + s];
        }
    }
    workgroupBarrier();
    let all = part[0];
    workgroupBarrier();
    return all;
}

fn flat_group(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return (group.z * groups.y + group.y) * groups.x + group.x;
}

// How many numbers a chunk has.
fn length(c: u32) -> u32 {
    return min(p.n, (c + 1u) * p.chunk) - c * p.chunk;
}

// A chunk as an invocation walks along it: its row, numbers, first and last place, and the steps of `next`.
struct Walk {
    row: u32, length: u32, first: u32, end: u32, runs: u32, rest: u32,
}

fn walk(index: u32, local: u32) -> Walk {
    let c = index % p.chunks;
    let first = c * p.chunk;
    let runs = WG / p.inner;
    return Walk(index / p.chunks, length(c), first + local, first + length(c), runs, WG - runs * p.inner);
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> parts: array<vec2<f32>>; // of chunk c of row r at r * chunks + c

@compute @workgroup_size(WG)
fn chunk_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_group(group, groups);
    if index >= p.rows * p.chunks {
        return;
    }
    let w = walk(index, local);
    let n = f32(w.length);
    var mean = 0.0;
    if CENTER {
        var sum = 0.0;
        for (var j = place_of(w.row, w.first); j.k < w.end; j = next(j, WG, w.runs, w.rest)) {
            sum += x[j.at];
        }
        mean = sum_of_all(local, vec2(sum, 0.0)).x / n;
    }
    var sums = vec2(0.0);
    for (var j = place_of(w.row, w.first); j.k < w.end; j = next(j, WG, w.runs, w.rest)) {
        let d = x[j.at] - mean;
        sums += vec2(d, d * d);
    }
    sums = sum_of_all(local, sums);
    if local == 0u {
        if CENTER {
            let squares = sums.y - sums.x * (sums.x / n);
            parts[index] = vec2(mean + sums.x / n, abs(squares));
        } else {
            parts[index] = vec2(0.0, sums.y);
        }
    }
}

@group(0) @binding(0) var<storage, read> given_parts: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> running_var: array<f32>;
@group(0) @binding(4) var<storage, read> momentum: array<f32>;

// Writes mean and scale of a row, and returns its mean and the sum of its squared distances from it.
fn merged(row: u32, local: u32) -> vec2<f32> {
    let n = f32(p.n);
    var mean = 0.0;
    if CENTER {
        // Distances from the first chunk's mean are small where the mean is large.
        let about = given_parts[row * p.chunks].x;
        var sum = 0.0;
        for (var c = local; c < p.chunks; c += WG) {
            sum += f32(length(c)) * (given_parts[row * p.chunks + c].x - about);
        }
        mean = about + sum_of_all(local, vec2(sum, 0.0)).x / n;
    }
    var squares = 0.0;
    for (var c = local; c < p.chunks; c += WG) {
        let chunk = given_parts[row * p.chunks + c];
        squares += chunk.y;
        if CENTER {
            squares += f32(length(c)) * (chunk.x - mean) * (chunk.x - mean);
        }
    }
    squares = sum_of_all(local, vec2(squares, 0.0)).x;
    if local == 0u {
        stats[row] = mean;
        stats[p.rows + row] = 1.0 / sqrt(squares / n + p.eps);
    }
    return vec2(mean, squares);
}

@compute @workgroup_size(WG)
fn merge_statistics(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_group(group, groups);
    if row >= p.rows {
        return;
    }
    merged(row, local);
}

// With the running statistics of batch norm: moved towards the row's mean and its unbiased variance.
@compute @workgroup_size(WG)
fn merge_statistics_running(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_group(group, groups);
    if row >= p.rows {
        return;
    }
    let found = merged(row, local);
    if local == 0u {
        let m = momentum[0];
        let unbiased = found.y / f32(max(p.n, 2u) - 1u);
        running_mean[row] = (1.0 - m) * running_mean[row] + m * found.x;
        running_var[row] = (1.0 - m) * running_var[row] + m * unbiased;
    }
}

@group(0) @binding(1) var<storage, read> given_stats: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn apply(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_group(group, groups);
    if index >= p.rows * p.chunks {
        return;
    }
    let w = walk(index, local);
    let mean = given_stats[w.row];
    let scale = given_stats[p.rows + w.row];
    var factor = scale;
    var shift = 0.0;
    if WEIGHT != 0u {
        factor *= weight[w.row];
        if BIAS {
            shift = bias[w.row];
        }
    }
    for (var j = place_of(w.row, w.first); j.k < w.end; j = next(j, WG, w.runs, w.rest)) {
        y[j.at] = epilogue((x[j.at] - mean) * factor + shift, j.at);
    }
}

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec2<f32>>; // of chunk c of row r at r * chunks + c

@compute @workgroup_size(WG)
fn chunk_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_group(group, groups);
    if index >= p.rows * p.chunks {
        return;
    }
    let w = walk(index, local);
    let mean = given_stats[w.row];
    let scale = given_stats[p.rows + w.row];
    var mine = vec2(0.0);
    for (var j = place_of(w.row, w.first); j.k < w.end; j = next(j, WG, w.runs, w.rest)) {
        let g = dy[j.at];
        mine += vec2(g, g * ((x[j.at] - mean) * scale));
    }
    mine = sum_of_all(local, mine);
    if local == 0u {
        sums[index] = mine;
    }
}

@group(0) @binding(1) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(2) var<storage, read_write> dbias: array<f32>;

// The sums of dy and of dy h over each row: the gradients of a bias and a weight per row, and what the others need.
@compute @workgroup_size(WG)
fn merge_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = flat_group(group, groups);
    if row >= p.rows {
        return;
    }
    var mine = vec2(0.0);
    for (var c = local; c < p.chunks; c += WG) {
        mine += given_parts[row * p.chunks + c];
    }
    mine = sum_of_all(local, mine);
    if local == 0u {
        dbias[row] = mine.x;
        dweight[row] = mine.y;
    }
}

@group(0) @binding(3) var<storage, read> given_weight: array<f32>;
@group(0) @binding(4) var<storage, read> given_dweight: array<f32>;
@group(0) @binding(5) var<storage, read> given_dbias: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn apply_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = flat_group(group, groups);
    if index >= p.rows * p.chunks {
        return;
    }
    let w = walk(index, local);
    let mean = given_stats[w.row];
    let scale = given_stats[p.rows + w.row];
    let n = f32(p.n);
    let along = given_dweight[w.row] / n * scale;
    var shift = 0.0;
    if CENTER {
        shift = given_dbias[w.row] / n;
    }
    var factor = scale;
    if WEIGHT == 1u {
        factor *= given_weight[w.row];
    }
    for (var j = place_of(w.row, w.first); j.k < w.end; j = next(j, WG, w.runs, w.rest)) {
        dx[j.at] = epilogue((dy[j.at] - (x[j.at] - mean) * along - shift) * factor, j.at);
    }
}
