// Images [planes, h, w] read at other places: [planes, out_h, out_w], and the transpose of that, which is its gradient.
//
// Each axis by itself: place o of the result is a sum of a few neighbours of the input with weights (`taps`). Rules:
//   0 nearest   floor(o r)                     1 nearest, exact   floor((o + 1/2) r)
//   2 linear    (o + 1/2) r - 1/2, at least 0  3 linear, corners on corners   o r
//   4 cubic     (o + 1/2) r - 1/2              5 cubic, corners on corners    o r
//   6 the mean of the bin from floor(o n / m) to ceil((o + 1) n / m) of n inputs and m outputs
// where r = num / den is the input's places per place of the result. `forward` has one invocation per element of the
// result; `grad` one per pixel, which asks every place that might have read it, so no two write one element.

const CUBIC: u32 = 4u;
const BINS: u32 = 6u;

struct Params {
    count: u32, // elements of what is written
    h: u32, out_h: u32, rule_h: u32, num_h: u32, den_h: u32,
    w: u32, out_w: u32, rule_w: u32, num_w: u32, den_w: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

struct Axis {
    n: u32,
    out: u32,
    rule: u32,
    num: u32,
    den: u32,
}

struct Taps {
    first: u32,
    count: u32,
    weight: vec4<f32>, // of each, but of a bin, whose elements all have the first
}

// The weight of an element at distance x (Keys 1981, with the coefficient -3/4).
fn keys(x: f32) -> f32 {
    if (x <= 1.0) {
        return (1.25 * x - 2.25) * x * x + 1.0;
    }
    return ((-0.75 * x + 3.75) * x - 6.0) * x + 3.0;
}

// The four elements around a place; beyond the border it is repeated.
fn cubic(a: Axis, place: f32) -> Taps {
    let low = floor(place);
    let part = place - low;
    let end = f32(a.n - 1u);
    let first = clamp(low - 1.0, 0.0, end);
    var t = Taps(u32(first), u32(clamp(low + 2.0, 0.0, end) - first) + 1u, vec4(0.0));
    for (var k = 0u; k < 4u; k += 1u) {
        let at = clamp(low - 1.0 + f32(k), 0.0, end);
        t.weight[u32(at - first)] += keys(abs(part + 1.0 - f32(k)));
    }
    return t;
}

fn taps(a: Axis, o: u32) -> Taps {
    if (a.rule == BINS) {
        let first = o * a.n / a.out;
        let count = ((o + 1u) * a.n + a.out - 1u) / a.out - first;
        return Taps(first, count, vec4(1.0 / f32(count)));
    }
    if (a.rule < 2u) {
        let at = select(o * a.num / a.den, (2u * o + 1u) * a.num / (2u * a.den), a.rule == 1u);
        return Taps(min(at, a.n - 1u), 1u, vec4(1.0));
    }
    let ratio = f32(a.num) / f32(a.den);
    let place = select((f32(o) + 0.5) * ratio - 0.5, f32(o) * ratio, a.rule % 2u == 1u);
    if (a.rule >= CUBIC) {
        return cubic(a, place);
    }
    let inside = max(place, 0.0);
    let first = min(u32(inside), a.n - 1u);
    let part = min(inside - f32(first), 1.0);
    if (first == a.n - 1u) {
        return Taps(first, 1u, vec4(1.0));
    }
    return Taps(first, 2u, vec4(1.0 - part, part, 0.0, 0.0));
}

fn weight_of(t: Taps, k: u32) -> f32 {
    return t.weight[min(k, 3u)];
}

// The weight with which place o reads input i.
fn weight(a: Axis, o: u32, i: u32) -> f32 {
    let t = taps(a, o);
    let k = i - t.first;
    return select(0.0, weight_of(t, k), i >= t.first && k < t.count);
}

// The places that might read input i: first, and one past the last.
fn readers(a: Axis, i: u32) -> vec2<u32> {
    if (a.rule == BINS) {
        return vec2(i * a.out / a.n, min(((i + 1u) * a.out + a.n - 1u) / a.n, a.out));
    }
    if (a.num == 0u) {
        return vec2(0u, a.out);
    }
    let ratio = f32(a.den) / f32(a.num);
    let reach = select(1.0, 2.0, a.rule >= CUBIC);
    let first = u32(max((f32(i) - reach) * ratio - 2.0, 0.0));
    let end = u32((f32(i) + reach + 1.0) * ratio + 3.0);
    return vec2(first, select(min(end, a.out), a.out, i == a.n - 1u));
}

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if (i >= p.count) {
        return;
    }
    let row = i / p.out_w;
    let plane = row / p.out_h * p.h;
    let down = taps(Axis(p.h, p.out_h, p.rule_h, p.num_h, p.den_h), row % p.out_h);
    let across = taps(Axis(p.w, p.out_w, p.rule_w, p.num_w, p.den_w), i % p.out_w);
    var sum = 0.0;
    for (var k = 0u; k < down.count; k += 1u) {
        let start = (plane + down.first + k) * p.w + across.first;
        var line = 0.0;
        for (var j = 0u; j < across.count; j += 1u) {
            line += weight_of(across, j) * x[start + j];
        }
        sum += weight_of(down, k) * line;
    }
    y[i] = epilogue(sum, i);
}

@compute @workgroup_size(WG)
fn grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if (i >= p.count) {
        return;
    }
    let row = i / p.w;
    let plane = row / p.h * p.out_h;
    let down = Axis(p.h, p.out_h, p.rule_h, p.num_h, p.den_h);
    let across = Axis(p.w, p.out_w, p.rule_w, p.num_w, p.den_w);
    let rows = readers(down, row % p.h);
    let columns = readers(across, i % p.w);
    var sum = 0.0;
    for (var oy = rows.x; oy < rows.y; oy += 1u) {
        let by = weight(down, oy, row % p.h);
        if (by != 0.0) {
            var line = 0.0;
            for (var ox = columns.x; ox < columns.y; ox += 1u) {
                let times = weight(across, ox, i % p.w);
                if (times != 0.0) {
                    line += times * x[(plane + oy) * p.out_w + ox];
                }
            }
            sum += by * line;
        }
    }
    y[i] = epilogue(sum, i);
}
