// An LSTM over a whole sequence: shared/sequence.wgsl with the cell of lstm.wgsl. What goes in and out is that of
// lstm.wgsl, but `bias`, b_ih + b_hh, which `biases` of lstm_forward.wgsl makes, and what h_0 gets, which is a product
// afterwards: WebGPU grants eight buffers. c and its cotangent stay with the invocation of their unit.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> h_0: array<f32>;
@group(0) @binding(4) var<storage, read> c_0: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;
@group(0) @binding(6) var<storage, read_write> c: array<f32>;
@group(0) @binding(7) var<storage, read_write> h: array<f32>;

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local);
    hold(local);
    let k = here.unit + vec4<u32>(0u, 1u, 2u, 3u) * p.h;
    var step = p.at;
    var biases = vec4<f32>();
    var given = vec4<f32>();
    var before = 0.0;
    if here.is_mine {
        biases = vec4<f32>(bias[k.x], bias[k.y], bias[k.z], bias[k.w]);
        let at = gates_at(here, step, 4u);
        given = vec4<f32>(x[at], x[at + p.h], x[at + 2u * p.h], x[at + 3u * p.h]);
        if p.begins == 1u {
            before = c_0[here.index];
            keep(here, here.unit, h_0[here.index]);
        } else {
            before = c[step - p.ahead + here.index];
            keep(here, here.unit, h[step - p.ahead + here.index]);
        }
    }
    for (var taken = 1u; taken <= p.steps; taken += 1u) {
        multiply(local);
        if here.is_mine {
            let made = vec4<f32>(sum_of(here, k.x), sum_of(here, k.y), sum_of(here, k.z), sum_of(here, k.w));
            let now = lstm_cell(given + biases + made, before);
            before = now.c;
            keep(here, here.unit, now.h);
            c[step + here.index] = now.c;
            h[step + here.index] = now.h;
            let to = gates_at(here, step, 4u);
            gates[to] = now.gates.x;
            gates[to + p.h] = now.gates.y;
            gates[to + 2u * p.h] = now.gates.z;
            gates[to + 3u * p.h] = now.gates.w;
            step += p.ahead;
            if taken < p.steps {
                let at = gates_at(here, step, 4u);
                given = vec4<f32>(x[at], x[at + p.h], x[at + 2u * p.h], x[at + 3u * p.h]);
            }
        }
    }
}

@group(0) @binding(1) var<storage, read> all_gates: array<f32>;
@group(0) @binding(2) var<storage, read> all_c: array<f32>;
@group(0) @binding(3) var<storage, read> start_c: array<f32>;
@group(0) @binding(4) var<storage, read> dh_given: array<f32>;
@group(0) @binding(5) var<storage, read> dc_given: array<f32>;
@group(0) @binding(6) var<storage, read_write> da: array<f32>;
@group(0) @binding(7) var<storage, read_write> dc: array<f32>;

// What a step takes from outside.
struct Given {
    gates: vec4<f32>,
    before: f32, // the c that it started from
    dh: f32,
    dc: f32,
}

// Of the step at `step`; `starts` says whether the sequence started with it.
fn given_of(here: Place, step: u32, starts: bool) -> Given {
    let at = gates_at(here, step, 4u);
    let all = vec4<f32>(
        all_gates[at], all_gates[at + p.h], all_gates[at + 2u * p.h], all_gates[at + 3u * p.h],
    );
    var before = 0.0;
    if starts {
        before = start_c[here.index];
    } else {
        before = all_c[step + p.ahead + here.index];
    }
    return Given(all, before, dh_given[step + here.index], dc_given[step + here.index]);
}

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local);
    hold(local);
    let k = here.unit + vec4<u32>(0u, 1u, 2u, 3u) * p.h;
    let ends = p.ends == 1u;
    var step = p.at;
    var given = Given();
    var now = 0.0;
    var carried = 0.0;
    if here.is_mine {
        given = given_of(here, step, ends && p.steps == 1u);
        now = all_c[step + here.index];
        if p.begins == 0u {
            carried = dc[here.index];
            let at = gates_at(here, step - p.ahead, 4u);
            keep(here, k.x, da[at]);
            keep(here, k.y, da[at + p.h]);
            keep(here, k.z, da[at + 2u * p.h]);
            keep(here, k.w, da[at + 3u * p.h]);
        }
    }
    for (var taken = 1u; taken <= p.steps; taken += 1u) {
        multiply(local);
        if here.is_mine {
            var d_h = given.dh;
            if p.begins == 0u || taken > 1u {
                d_h += sum_of(here, here.unit);
            }
            let slopes = lstm_slopes(given.gates, given.before, now, d_h, given.dc + carried);
            now = given.before;
            carried = slopes.dc;
            keep(here, k.x, slopes.da.x);
            keep(here, k.y, slopes.da.y);
            keep(here, k.z, slopes.da.z);
            keep(here, k.w, slopes.da.w);
            let to = gates_at(here, step, 4u);
            da[to] = slopes.da.x;
            da[to + p.h] = slopes.da.y;
            da[to + 2u * p.h] = slopes.da.z;
            da[to + 3u * p.h] = slopes.da.w;
            step += p.ahead;
            if taken < p.steps {
                given = given_of(here, step, ends && taken + 1u == p.steps);
            }
        }
    }
    if here.is_mine {
        dc[here.index] = carried;
    }
}
