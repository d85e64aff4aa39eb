// Softmax and its logarithm along one axis, and their gradients.
//
//   x, y, dy, dx: outer x n x inner
//   forward: y = e^(x - m) / s, or y = x - m - ln s       m the largest of a row, s the sum of its e^(x - m)
//   grad:    dx = y (dy - sum(y dy)), or dx = dy - e^y sum(dy)       from y, not from x
//
// Three passes over a row: the largest, the sum, the result. A single pass that corrects its sum whenever a larger
// number comes along would read less, but a rising row would be corrected n times, and lose digits each time.

override LOG: bool = false;

struct Params {
    rows: u32, n: u32, inner: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local, p.rows, p.n, p.inner);
    var key = 0u;
    for (var j = row.first; j < p.n; j += row.stride) {
        key = max(key, key_of(x[row.base + j * p.inner]));
    }
    key = row_max(local, key);
    let largest = value_of(key);
    var sum = 0.0;
    for (var j = row.first; j < p.n; j += row.stride) {
        sum += exp_below(x[row.base + j * p.inner] - largest);
    }
    sum = row_sum(local, sum);
    let log_sum = ln(sum);
    for (var j = row.first; j < p.n; j += row.stride) {
        let at = row.base + j * p.inner;
        let d = x[at] - largest;
        var out = d - log_sum;
        if (!LOG) {
            out = exp_below(d) / sum;
        }
        y[at] = epilogue(select(nan_like(d), out, is_finite_key(key)), at);
    }
}

// The gradient reads y (bound as x) and dy, and writes dx.
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local, p.rows, p.n, p.inner);
    var sum = 0.0;
    for (var j = row.first; j < p.n; j += row.stride) {
        let at = row.base + j * p.inner;
        var term = dy[at];
        if (!LOG) {
            term *= x[at];
        }
        sum += term;
    }
    sum = row_sum(local, sum);
    for (var j = row.first; j < p.n; j += row.stride) {
        let at = row.base + j * p.inner;
        var out = x[at] * (dy[at] - sum);
        if (LOG) {
            out = dy[at] - exp_below(x[at]) * sum;
        }
        dx[at] = epilogue(out, at);
    }
}
