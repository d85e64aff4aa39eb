// Normalisation: each row made to have mean 0 and variance 1, and the gradient of that.
//
//   x, y, dy, dx: outer x rows x inner      row r is x[o, r, i] for all o and i, n = outer * inner numbers
//   stats: 2 x rows                         mean and 1 / sqrt(variance + eps) of each row
//   weight, bias: one per row (batch norm: a row is a channel) or one per place i in it (layer norm: outer = 1)
//
// One launch each way, a row to an invocation (GROUP false: short rows) or to a workgroup. Statistics take two passes,
// and the second corrects the first: with d = x - m for the mean m as rounded, the mean is m + sum(d) / n, and the sum
// of squares sum(d^2) - sum(d)^2 / n. So a row of equal numbers has variance 0, and large means cost no digits.

override GROUP: bool = false;
override CENTER: bool = true;  // false: the mean counts as 0 (rms norm)
override WEIGHT: u32 = 0u;     // 0 none, 1 one per row, 2 one per place in a row
override BIAS: bool = false;

struct Params {
    rows: u32, inner: u32, n: u32, chunk: u32, eps: f32,
}

var<immediate> p: Params;

var<workgroup> part: array<vec2<f32>, WG>;

struct Row {
    live: bool,
    index: u32,
    first: u32,   // the numbers this invocation reads: first, first + stride, .. below n
    stride: u32,
}

fn row_of(group: vec3<u32>, groups: vec3<u32>, local: u32) -> Row {
    var row: Row;
    row.index = flat_index(group, groups, local);
    row.first = 0u;
    row.stride = 1u;
    if (GROUP) {
        row.index = (group.z * groups.y + group.y) * groups.x + group.x;
        row.first = local;
        row.stride = WG;
    }
    row.live = row.index < p.rows;
    if (!row.live) {
        row.first = p.n;  // no number at all: a workgroup must reach its barriers together
    }
    return row;
}

// The sums over the invocations that read one row.
fn row_sum(local: u32, mine: vec2<f32>) -> vec2<f32> {
    if (!GROUP) {
        return mine;
    }
    part[local] = mine;
    for (var s = WG / 2u; s > 0u; s /= 2u) {
        workgroupBarrier();
        if (local < s) {
            part[local] += part[local + s];
        }
    }
    workgroupBarrier();
    let all = part[0];
    workgroupBarrier();
    return all;
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;

// Writes y and stats of a row, and returns its mean and the sum of its squared distances from it.
fn normalise(row: Row, local: u32) -> vec2<f32> {
    let runs = row.stride / p.inner;
    let rest = row.stride - runs * p.inner;
    let n = f32(max(p.n, 1u));
    var mean = 0.0;
    if (CENTER) {
        var sum = 0.0;
        for (var j = place_of(row.index, row.first); j.k < p.n; j = next(j, row.stride, runs, rest)) {
            sum += x[j.at];
        }
        mean = row_sum(local, vec2(sum, 0.0)).x / n;
    }
    var sums = vec2(0.0);
    for (var j = place_of(row.index, row.first); j.k < p.n; j = next(j, row.stride, runs, rest)) {
        let d = x[j.at] - mean;
        sums += vec2(d, d * d);
    }
    sums = row_sum(local, sums);
    var squares = sums.y;
    if (CENTER) {
        mean += sums.x / n;
        squares -= sums.x * (sums.x / n);
        squares = abs(squares); // rounding may leave it just below 0
    }
    let scale = 1.0 / sqrt(squares / n + p.eps);
    for (var j = place_of(row.index, row.first); j.k < p.n; j = next(j, row.stride, runs, rest)) {
        var value = (x[j.at] - mean) * scale;
        if (WEIGHT != 0u) {
            let w = select(j.inner, row.index, WEIGHT == 1u);
            value *= weight[w];
            if (BIAS) {
                value += bias[w];
            }
        }
        y[j.at] = epilogue(value, j.at);
    }
    if (row.live && row.first == 0u) {
        stats[row.index] = mean;
        stats[p.rows + row.index] = scale;
    }
    return vec2(mean, squares);
}

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    normalise(row_of(group, groups, local), local);
}

// With the running statistics of batch norm: moved towards the row's mean and its unbiased variance.
@group(0) @binding(5) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(6) var<storage, read_write> running_var: array<f32>;
@group(0) @binding(7) var<storage, read> momentum: array<f32>;

@compute @workgroup_size(WG)
fn forward_running(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local);
    let found = normalise(row, local);
    if (row.live && row.first == 0u) {
        let m = momentum[0];
        let unbiased = found.y / f32(max(p.n, 2u) - 1u);
        running_mean[row.index] = (1.0 - m) * running_mean[row.index] + m * found.x;
        running_var[row.index] = (1.0 - m) * running_var[row.index] + m * unbiased;
    }
}

@group(0) @binding(1) var<storage, read> given_stats: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> given_weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

// Writes dx of a row: with h the normalised numbers and g = dy weight, scale (g - mean(g) - h mean(g h)). Returns the
// sums of dy and of dy h (of g and of g h where the weights differ within the row).
fn gradient(row: Row, local: u32) -> vec2<f32> {
    let runs = row.stride / p.inner;
    let rest = row.stride - runs * p.inner;
    let n = f32(max(p.n, 1u));
    let index = min(row.index, p.rows - 1u);
    let mean = given_stats[index];
    let scale = given_stats[p.rows + index];
    var sums = vec2(0.0);
    for (var j = place_of(row.index, row.first); j.k < p.n; j = next(j, row.stride, runs, rest)) {
        var g = dy[j.at];
        if (WEIGHT == 2u) {
            g *= given_weight[j.inner];
        }
        sums += vec2(g, g * ((x[j.at] - mean) * scale));
    }
    sums = row_sum(local, sums);
    let means = sums / n;
    var factor = scale;
    if (WEIGHT == 1u) {
        factor *= given_weight[index];
    }
    for (var j = place_of(row.index, row.first); j.k < p.n; j = next(j, row.stride, runs, rest)) {
        var g = dy[j.at];
        if (WEIGHT == 2u) {
            g *= given_weight[j.inner];
        }
        var value = g - (x[j.at] - mean) * scale * means.y;
        if (CENTER) {
            value -= means.x;
        }
        dx[j.at] = epilogue(value * factor, j.at);
    }
    return sums;
}

@compute @workgroup_size(WG)
fn grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    gradient(row_of(group, groups, local), local);
}

// The same, and the gradients of a weight and a bias per row.
@group(0) @binding(5) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(6) var<storage, read_write> dbias: array<f32>;

@compute @workgroup_size(WG)
fn grad_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local);
    let sums = gradient(row, local);
    if (row.live && row.first == 0u) {
        dbias[row.index] = sums.x;
        dweight[row.index] = sums.y;
    }
}

// The gradients of a weight and a bias per place in a row: sums down the columns of `chunk` rows at a time, one
// invocation for each column of each chunk.
@group(0) @binding(3) var<storage, read_write> column_dweight: array<f32>;
@group(0) @binding(4) var<storage, read_write> column_dbias: array<f32>;

fn terms(row: u32, column: u32) -> vec2<f32> {
    let at = row * p.inner + column;
    let g = dy[at];
    return vec2(g, g * ((x[at] - given_stats[row]) * given_stats[p.rows + row]));
}

@compute @workgroup_size(WG)
fn grad_columns(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let flat = flat_index(group, groups, local);
    let chunk = flat / p.inner;
    if (flat >= p.n) {
        return;
    }
    let end = min((chunk + 1u) * p.chunk, p.rows);
    let column = flat - chunk * p.inner;
    // Two rows at once, so that loads need not wait for additions.
    var sums = vec2(0.0);
    var others = vec2(0.0);
    var r = chunk * p.chunk;
    for (; r + 1u < end; r += 2u) {
        sums += terms(r, column);
        others += terms(r + 1u, column);
    }
    if (r < end) {
        sums += terms(r, column);
    }
    sums += others;
    column_dbias[flat] = sums.x;
    column_dweight[flat] = sums.y;
}

// The sums of the chunks.
@group(0) @binding(1) var<storage, read_write> column_sum: array<f32>;

@compute @workgroup_size(WG)
fn sum_chunks(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = flat_index(group, groups, local);
    if (column >= p.inner) {
        return;
    }
    var sums = vec4(0.0);
    var at = column;
    for (; at + 3u * p.inner < p.n; at += 4u * p.inner) {
        sums += vec4(x[at], x[at + p.inner], x[at + 2u * p.inner], x[at + 3u * p.inner]);
    }
    for (; at < p.n; at += p.inner) {
        sums.x += x[at];
    }
    let sum = (sums.x + sums.y) + (sums.z + sums.w);
    column_sum[column] = sum;
}
