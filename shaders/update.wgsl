// One step of an optimizer over a slab: all parameters of a model in one launch, an entry point per rule.
//
//   parameter, a, b, c: [n] in place      gradient: [n]      scale: the gradient is multiplied by it first
//   hyper: a row of HYPER numbers per group of parameters      group_of: the row of each BLOCK elements
//
// Every row starts with the L2 decay (added to the gradient, times the parameter) and the share of the parameter that
// is taken off beside the step; what follows depends on the rule and is listed in `src/ops/update.rs`. The host
// computes what depends on the number of the step in double precision: 1 - beta^t loses its digits in single.

const HYPER = 12u;
const BLOCK = 64u;

// Elements of a block that one invocation updates, APART from each other so that neighbours stand next to each other:
// the numbers of the rule are loaded once for all of them, and they are more than what is loaded for an element.
override EACH: u32 = 1u;
override APART: u32 = BLOCK / EACH;

// Whether the scale is followed by the row at which the numbers of the first group are, negative to change nothing.
override GUARDED: u32 = 0u;

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

// What one invocation updates: elements of one block.
struct Span {
    first: u32,
    end: u32,
    scale: f32,
    l2: f32,
    beside: f32,
    h: array<f32, 10>,  // the numbers of the rule behind the two decays
}

fn span(group: vec3<u32>, groups: vec3<u32>, local: u32) -> Span {
    var s: Span;
    let flat = flat_index(group, groups, local);
    let block = flat / APART;
    s.first = block * BLOCK + flat % APART;
    s.end = min(block * BLOCK + BLOCK, p.n);
    if (s.first < p.n) {
        var first_row = 0u;
        if (GUARDED == 1u) {
            let given = scale[1];
            first_row = u32(max(given, 0.0));
            s.end = select(s.end, s.first, given < 0.0);
        }
        let row = (first_row + group_of[s.first / BLOCK]) * HYPER;
        s.scale = scale[0];
        s.l2 = hyper[row];
        s.beside = hyper[row + 1u];
        s.h = array(
            hyper[row + 2u], hyper[row + 3u], hyper[row + 4u], hyper[row + 5u], hyper[row + 6u],
            hyper[row + 7u], hyper[row + 8u], hyper[row + 9u], hyper[row + 10u], hyper[row + 11u],
        );
    }
    return s;
}

struct Element {
    kept: f32,  // the parameter, decayed
    g: f32,     // its gradient, scaled, with the L2 penalty's
}

fn element(s: Span, i: u32) -> Element {
    let old = parameter[i];
    return Element(old - s.beside * old, s.scale * gradient[i] + s.l2 * old);
}

@compute @workgroup_size(WG)
fn sgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        parameter[i] = e.kept - s.h[0] * e.g;
    }
}

@compute @workgroup_size(WG)
fn momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let buffer = s.h[1] * a[i] + s.h[2] * e.g;
        a[i] = buffer;
        parameter[i] = e.kept - s.h[0] * (s.h[3] * e.g + s.h[4] * buffer);
    }
}

@compute @workgroup_size(WG)
fn adagrad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let sum = a[i] + e.g * e.g;
        a[i] = sum;
        parameter[i] = e.kept - s.h[0] * e.g / (sqrt(sum) + s.h[1]);
    }
}

@compute @workgroup_size(WG)
fn adadelta(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let rho = s.h[1];
        let rest = s.h[2];
        let epsilon = s.h[3];
        let square = rho * a[i] + rest * e.g * e.g;
        let moved = b[i];
        let delta = sqrt(moved + epsilon) / sqrt(square + epsilon) * e.g;
        a[i] = square;
        b[i] = rho * moved + rest * delta * delta;
        parameter[i] = e.kept - s.h[0] * delta;
    }
}

// The running mean of the squared gradient, kept in a.
fn mean_square(s: Span, i: u32, g: f32) -> f32 {
    let square = s.h[1] * a[i] + s.h[2] * g * g;
    a[i] = square;
    return square;
}

// The gradient over the root of that, which is less the square of `mean` in a group that is centered.
fn normed(s: Span, g: f32, square: f32, mean: f32) -> f32 {
    return g / (sqrt(square - s.h[5] * mean * mean) + s.h[3]);
}

@compute @workgroup_size(WG)
fn rmsprop(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        parameter[i] = e.kept - s.h[0] * normed(s, e.g, mean_square(s, i, e.g), 0.0);
    }
}

@compute @workgroup_size(WG)
fn rmsprop_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let buffer = s.h[4] * b[i] + normed(s, e.g, mean_square(s, i, e.g), 0.0);
        b[i] = buffer;
        parameter[i] = e.kept - s.h[0] * buffer;
    }
}

@compute @workgroup_size(WG)
fn rmsprop_centered(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let mean = s.h[1] * b[i] + s.h[2] * e.g;
        b[i] = mean;
        parameter[i] = e.kept - s.h[0] * normed(s, e.g, mean_square(s, i, e.g), mean);
    }
}

@compute @workgroup_size(WG)
fn rmsprop_centered_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let mean = s.h[1] * b[i] + s.h[2] * e.g;
        b[i] = mean;
        let buffer = s.h[4] * c[i] + normed(s, e.g, mean_square(s, i, e.g), mean);
        c[i] = buffer;
        parameter[i] = e.kept - s.h[0] * buffer;
    }
}

// The two moments of Adam, kept in a and b.
fn moments(s: Span, i: u32, g: f32) -> vec2<f32> {
    let m = s.h[1] * a[i] + s.h[2] * g;
    let v = s.h[3] * b[i] + s.h[4] * g * g;
    a[i] = m;
    b[i] = v;
    return vec2(m, v);
}

fn adam_step(s: Span, g: f32, m: f32, v: f32) -> f32 {
    return (s.h[0] * m + s.h[7] * g) / (sqrt(v) * s.h[5] + s.h[6]);
}

@compute @workgroup_size(WG)
fn adam(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let moment = moments(s, i, e.g);
        parameter[i] = e.kept - adam_step(s, e.g, moment.x, moment.y);
    }
}

@compute @workgroup_size(WG)
fn amsgrad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let moment = moments(s, i, e.g);
        let largest = max(c[i], moment.y);
        c[i] = largest;
        parameter[i] = e.kept - adam_step(s, e.g, moment.x, select(moment.y, largest, s.h[8] != 0.0));
    }
}

@compute @workgroup_size(WG)
fn adamax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let m = s.h[1] * a[i] + s.h[2] * e.g;
        let largest = max(s.h[3] * b[i], abs(e.g) + s.h[4]);
        a[i] = m;
        b[i] = largest;
        parameter[i] = e.kept - s.h[0] * m / largest;
    }
}

@compute @workgroup_size(WG)
fn asgd(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let moved = e.kept - s.h[0] * e.g;
        let mean = a[i];
        a[i] = mean + s.h[1] * (moved - mean);
        parameter[i] = moved;
    }
}

@compute @workgroup_size(WG)
fn rprop(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = span(group, groups, local);
    for (var i = s.first; i < s.end; i += APART) {
        let e = element(s, i);
        let turn = e.g * a[i];
        let factor = select(select(1.0, s.h[1], turn > 0.0), s.h[0], turn < 0.0);
        let size = clamp(b[i] * factor, s.h[2], s.h[3]);
        let g = select(e.g, 0.0, turn < 0.0);
        a[i] = g;
        b[i] = size;
        parameter[i] = e.kept - sign(g) * size;
    }
}
