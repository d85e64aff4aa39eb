// A GRU over a whole sequence: shared/sequence.wgsl with the cell of gru.wgsl. What goes in and out is that of
// gru.wgsl; what that calls ds is the da of the product here. dh gets all that is carried beyond the last step that was
// taken: in the end, what h_0 gets.

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> b_ih: array<f32>;
@group(0) @binding(3) var<storage, read> b_hh: array<f32>;
@group(0) @binding(4) var<storage, read> h_0: array<f32>;
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;
@group(0) @binding(6) var<storage, read_write> h: array<f32>;

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local);
    hold(local);
    let k = here.unit + vec3<u32>(0u, 1u, 2u) * p.h;
    var step = p.at;
    var from_x = vec3<f32>();
    var from_h = vec3<f32>();
    var given = vec3<f32>();
    var before = 0.0;
    if here.is_mine {
        from_x = vec3<f32>(b_ih[k.x], b_ih[k.y], b_ih[k.z]);
        from_h = vec3<f32>(b_hh[k.x], b_hh[k.y], b_hh[k.z]);
        let at = gates_at(here, step, 3u);
        given = vec3<f32>(x[at], x[at + p.h], x[at + 2u * p.h]);
        if p.begins == 1u {
            before = h_0[here.index];
        } else {
            before = h[step - p.ahead + here.index];
        }
        keep(here, here.unit, before);
    }
    for (var taken = 1u; taken <= p.steps; taken += 1u) {
        multiply(local);
        if here.is_mine {
            let made = vec3<f32>(sum_of(here, k.x), sum_of(here, k.y), sum_of(here, k.z));
            let now = gru_cell(given + from_x, made + from_h, before);
            before = now.h;
            keep(here, here.unit, now.h);
            h[step + here.index] = now.h;
            let to = gates_at(here, step, 4u);
            gates[to] = now.gates.x;
            gates[to + p.h] = now.gates.y;
            gates[to + 2u * p.h] = now.gates.z;
            gates[to + 3u * p.h] = now.gates.w;
            step += p.ahead;
            if taken < p.steps {
                let at = gates_at(here, step, 3u);
                given = vec3<f32>(x[at], x[at + p.h], x[at + 2u * p.h]);
            }
        }
    }
}

@group(0) @binding(1) var<storage, read> all_gates: array<f32>;
@group(0) @binding(2) var<storage, read> all_h: array<f32>;
@group(0) @binding(3) var<storage, read> start_h: array<f32>;
@group(0) @binding(4) var<storage, read> dh_given: array<f32>;
@group(0) @binding(5) var<storage, read_write> dh: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> da: array<f32>;

// What a step takes from outside.
struct Given {
    gates: vec4<f32>,
    before: f32, // the h that it started from
    dh: f32,
}

// Of the step at `step`; `starts` says whether the sequence started with it.
fn given_of(here: Place, step: u32, starts: bool) -> Given {
    let at = gates_at(here, step, 4u);
    let all = vec4<f32>(
        all_gates[at], all_gates[at + p.h], all_gates[at + 2u * p.h], all_gates[at + 3u * p.h],
    );
    var before = 0.0;
    if starts {
        before = start_h[here.index];
    } else {
        before = all_h[step + p.ahead + here.index];
    }
    return Given(all, before, dh_given[step + here.index]);
}

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local);
    hold(local);
    let k = here.unit + vec3<u32>(0u, 1u, 2u) * p.h;
    let ends = p.ends == 1u;
    var step = p.at;
    var given = Given();
    var carried = 0.0;
    if here.is_mine {
        given = given_of(here, step, ends && p.steps == 1u);
        if p.begins == 0u {
            carried = dh[here.index];
        }
    }
    for (var taken = 1u; taken <= p.steps; taken += 1u) {
        multiply(local);
        if here.is_mine {
            if taken > 1u {
                carried += sum_of(here, here.unit);
            }
            let slopes = gru_slopes(given.gates, given.before, given.dh + carried);
            carried = slopes.dh; // through z; the rest is the next product
            keep(here, k.x, slopes.ds.x);
            keep(here, k.y, slopes.ds.y);
            keep(here, k.z, slopes.ds.z);
            let to = gates_at(here, step, 3u);
            dx[to] = slopes.dx.x;
            dx[to + p.h] = slopes.dx.y;
            dx[to + 2u * p.h] = slopes.dx.z;
            da[to] = slopes.ds.x;
            da[to + p.h] = slopes.ds.y;
            da[to + 2u * p.h] = slopes.ds.z;
            step += p.ahead;
            if taken < p.steps {
                given = given_of(here, step, ends && taken + 1u == p.steps);
            }
        }
    }
    multiply(local);
    if here.is_mine {
        dh[here.index] = carried + sum_of(here, here.unit);
    }
}
