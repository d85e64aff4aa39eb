// One step of an optimizer over a slab: all parameters of a model in one launch, an entry point per rule.
//
//   parameter, a, b, c: [n] in place      gradient: [n]      scale: 1 number, which the gradient is multiplied by first
//   hyper: a row of HYPER numbers per group of parameters      group_of: the row of each BLOCK elements
//
// Every row starts with the L2 decay (added to the gradient, times the parameter) and the share of the parameter that is
// taken off beside the step; what follows depends on the rule and is listed in `src/ops/update.rs`. The host computes
// what depends on the number of the step in double precision: 1 - beta^t loses its digits in single.

const HYPER = 12u;
const BLOCK = 64u;

struct Params {
    n: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read_write> parameter: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> hyper: array<f32>;
@group(0) @binding(4) var<storage, read> group_of: array<u32>;
@group(0) @binding(5) var<storage, read_write> a: array<f32>;
@group(0) @binding(6) var<storage, read_write> b: array<f32>;
@group(0) @binding(7) var<storage, read_write> c: array<f32>;

struct Element {
    live: bool,
    i: u32,
    h: u32,      // where the numbers of its rule start, behind the two decays
    kept: f32,   // the parameter, decayed
    g: f32,      // its gradient, scaled, with the L2 penalty's
}

fn element(group: vec3<u32>, groups: vec3<u32>, local: u32) -> Element {
    var e: Element;
    e.i = flat_index(group, groups, local);
    e.live = e.i < p.n;
    if (e.live) {
        let row = group_of[e.i / BLOCK] * HYPER;
        let old = parameter[e.i];
        e.h = row + 2u;
        e.g = scale[0] * gradient[e.i] + hyper[row] * old;
        e.kept = old - hyper[row + 1u] * old;
    }
    return e;
}

@compute @workgroup_size(WG)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    parameter[e.i] = e.kept - hyper[e.h] * e.g;
}

@compute @workgroup_size(WG)
fn momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let buffer = hyper[e.h + 1u] * a[e.i] + hyper[e.h + 2u] * e.g;
    a[e.i] = buffer;
    parameter[e.i] = e.kept - hyper[e.h] * (hyper[e.h + 3u] * e.g + hyper[e.h + 4u] * buffer);
}

@compute @workgroup_size(WG)
fn adagrad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let sum = a[e.i] + e.g * e.g;
    a[e.i] = sum;
    parameter[e.i] = e.kept - hyper[e.h] * e.g / (sqrt(sum) + hyper[e.h + 1u]);
}

@compute @workgroup_size(WG)
fn adadelta(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let rho = hyper[e.h + 1u];
    let rest = hyper[e.h + 2u];
    let epsilon = hyper[e.h + 3u];
    let square = rho * a[e.i] + rest * e.g * e.g;
    let moved = b[e.i];
    let delta = sqrt(moved + epsilon) / sqrt(square + epsilon) * e.g;
    a[e.i] = square;
    b[e.i] = rho * moved + rest * delta * delta;
    parameter[e.i] = e.kept - hyper[e.h] * delta;
}

// The running mean of the squared gradient, kept in a.
fn mean_square(e: Element) -> f32 {
    let square = hyper[e.h + 1u] * a[e.i] + hyper[e.h + 2u] * e.g * e.g;
    a[e.i] = square;
    return square;
}

// The gradient over the root of that, which is less the square of `mean` in a group that is centered.
fn normed(e: Element, square: f32, mean: f32) -> f32 {
    return e.g / (sqrt(square - hyper[e.h + 5u] * mean * mean) + hyper[e.h + 3u]);
}

@compute @workgroup_size(WG)
fn rmsprop(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    parameter[e.i] = e.kept - hyper[e.h] * normed(e, mean_square(e), 0.0);
}

@compute @workgroup_size(WG)
fn rmsprop_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let buffer = hyper[e.h + 4u] * b[e.i] + normed(e, mean_square(e), 0.0);
    b[e.i] = buffer;
    parameter[e.i] = e.kept - hyper[e.h] * buffer;
}

@compute @workgroup_size(WG)
fn rmsprop_centered(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let mean = hyper[e.h + 1u] * b[e.i] + hyper[e.h + 2u] * e.g;
    b[e.i] = mean;
    parameter[e.i] = e.kept - hyper[e.h] * normed(e, mean_square(e), mean);
}

@compute @workgroup_size(WG)
fn rmsprop_centered_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let mean = hyper[e.h + 1u] * b[e.i] + hyper[e.h + 2u] * e.g;
    b[e.i] = mean;
    let buffer = hyper[e.h + 4u] * c[e.i] + normed(e, mean_square(e), mean);
    c[e.i] = buffer;
    parameter[e.i] = e.kept - hyper[e.h] * buffer;
}

// The two moments of Adam, kept in a and b.
fn moments(e: Element) -> vec2<f32> {
    let m = hyper[e.h + 1u] * a[e.i] + hyper[e.h + 2u] * e.g;
    let v = hyper[e.h + 3u] * b[e.i] + hyper[e.h + 4u] * e.g * e.g;
    a[e.i] = m;
    b[e.i] = v;
    return vec2(m, v);
}

fn adam_step(e: Element, m: f32, v: f32) -> f32 {
    return (hyper[e.h] * m + hyper[e.h + 7u] * e.g) / (sqrt(v) * hyper[e.h + 5u] + hyper[e.h + 6u]);
}

@compute @workgroup_size(WG)
fn adam(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let moment = moments(e);
    parameter[e.i] = e.kept - adam_step(e, moment.x, moment.y);
}

@compute @workgroup_size(WG)
fn amsgrad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let moment = moments(e);
    let largest = max(c[e.i], moment.y);
    c[e.i] = largest;
    parameter[e.i] = e.kept - adam_step(e, moment.x, select(moment.y, largest, hyper[e.h + 8u] != 0.0));
}

@compute @workgroup_size(WG)
fn adamax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let m = hyper[e.h + 1u] * a[e.i] + hyper[e.h + 2u] * e.g;
    let largest = max(hyper[e.h + 3u] * b[e.i], abs(e.g) + hyper[e.h + 4u]);
    a[e.i] = m;
    b[e.i] = largest;
    parameter[e.i] = e.kept - hyper[e.h] * m / largest;
}

@compute @workgroup_size(WG)
fn asgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let moved = e.kept - hyper[e.h] * e.g;
    let mean = a[e.i];
    a[e.i] = mean + hyper[e.h + 1u] * (moved - mean);
    parameter[e.i] = moved;
}

@compute @workgroup_size(WG)
fn rprop(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = element(group, groups, local);
    if (!e.live) {
        return;
    }
    let turn = e.g * a[e.i];
    let factor = select(select(1.0, hyper[e.h + 1u], turn > 0.0), hyper[e.h], turn < 0.0);
    let size = clamp(b[e.i] * factor, hyper[e.h + 2u], hyper[e.h + 3u]);
    let g = select(e.g, 0.0, turn < 0.0);
    a[e.i] = g;
    b[e.i] = size;
    parameter[e.i] = e.kept - sign(g) * size;
}
