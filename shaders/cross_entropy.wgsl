// Cross-entropy of logits, with labels or with target probabilities, and its gradients: one kernel each, so that
// neither the probabilities nor their logarithms are ever stored.
//
//   x, t, dx: outer x n x inner       label, loss, dloss: outer x inner       n the number of classes
//   sparse:       loss = m + ln s - x[label]                m the largest of a row, s the sum of its e^(x - m)
//   dense:        loss = sum of t (m + ln s - x)
//   sparse_grad:  dx = (e^(x - m) / s - [j = label]) dloss
//   dense_grad:   dx = (e^(x - m) / s sum(t) - t) dloss
//
// A label that names no class makes its row NaN: a kernel cannot stop the program, and a wrong number would go unseen.

struct Params {
    rows: u32, n: u32, inner: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> label: array<u32>;
@group(0) @binding(1) var<storage, read> t: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(2) var<storage, read> dloss: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

// The key of a row's largest number.
fn largest_key(row: Row, local: u32) -> u32 {
    var key = 0u;
    for (var j = row.first; j < p.n; j += row.stride) {
        key = max(key, key_of(x[row.base + j * p.inner]));
    }
    return row_max(local, key);
}

// The sum of e^(x - largest).
fn sum_exp(row: Row, local: u32, largest: f32) -> f32 {
    var sum = 0.0;
    for (var j = row.first; j < p.n; j += row.stride) {
        sum += exp_below(x[row.base + j * p.inner] - largest);
    }
    return row_sum(local, sum);
}

@compute @workgroup_size(WG)
fn sparse(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local, p.rows, p.n, p.inner);
    let key = largest_key(row, local);
    let largest = value_of(key);
    let sum = sum_exp(row, local, largest);
    if (row.live && row.first == 0u) {
        let chosen = label[row.index];
        let known = chosen < p.n;
        let logit = x[row.base + select(0u, chosen, known) * p.inner];
        loss[row.index] = select(nan_like(logit), ln(sum) + (largest - logit), known && is_finite_key(key));
    }
}

@compute @workgroup_size(WG)
fn sparse_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local, p.rows, p.n, p.inner);
    let key = largest_key(row, local);
    let largest = value_of(key);
    let sum = sum_exp(row, local, largest);
    let index = select(0u, row.index, row.live);
    let chosen = label[index];
    let slope = dloss[index];
    for (var j = row.first; j < p.n; j += row.stride) {
        let at = row.base + j * p.inner;
        let share = exp_below(x[at] - largest) / sum - select(0.0, 1.0, j == chosen);
        dx[at] = select(nan_like(share), share * slope, chosen < p.n && is_finite_key(key));
    }
}

@compute @workgroup_size(WG)
fn dense(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local, p.rows, p.n, p.inner);
    let key = largest_key(row, local);
    let largest = value_of(key);
    let sum = sum_exp(row, local, largest);
    var weight = 0.0;
    var below = 0.0;
    for (var j = row.first; j < p.n; j += row.stride) {
        let at = row.base + j * p.inner;
        weight += t[at];
        // A class that is masked (-inf) and not wanted costs nothing.
        if (t[at] != 0.0) {
            below += t[at] * (largest - x[at]);
        }
    }
    weight = row_sum(local, weight);
    below = row_sum(local, below);
    if (row.live && row.first == 0u) {
        loss[row.index] = select(nan_like(below), ln(sum) * weight + below, is_finite_key(key));
    }
}

@compute @workgroup_size(WG)
fn dense_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = row_of(group, groups, local, p.rows, p.n, p.inner);
    let key = largest_key(row, local);
    let largest = value_of(key);
    let sum = sum_exp(row, local, largest);
    var weight = 0.0;
    for (var j = row.first; j < p.n; j += row.stride) {
        weight += t[row.base + j * p.inner];
    }
    weight = row_sum(local, weight);
    let slope = dloss[select(0u, row.index, row.live)];
    for (var j = row.first; j < p.n; j += row.stride) {
        let at = row.base + j * p.inner;
        let share = exp_below(x[at] - largest) / sum * weight - t[at];
        dx[at] = select(nan_like(share), share * slope, is_finite_key(key));
    }
}
