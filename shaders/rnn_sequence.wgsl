// The plain recurrent layer over a whole sequence: shared/sequence.wgsl with the cell of rnn.wgsl.
//
//   x, y, dy, da: steps x rows x h      b_ih, b_hh: h      h_0, dh: rows x h
//   forward:  y_t = f(x_t + b_ih + y_(t-1) W^T + b_hh), y_0 being h_0
//   backward: da_t = (dy_t + da_(t+1) W) f'
//             dh = da_t W of the last step that was taken: in the end, what h_0 gets

@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> b_ih: array<f32>;
@group(0) @binding(3) var<storage, read> b_hh: array<f32>;
@group(0) @binding(4) var<storage, read> h_0: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local);
    hold(local);
    var step = p.at + here.index;
    var bias = 0.0;
    var given = 0.0;
    if here.is_mine {
        bias = b_ih[here.unit] + b_hh[here.unit];
        given = x[step];
        if p.begins == 1u {
            keep(here, here.unit, h_0[here.index]);
        } else {
            keep(here, here.unit, y[step - p.ahead]);
        }
    }
    for (var taken = 1u; taken <= p.steps; taken += 1u) {
        multiply(local);
        if here.is_mine {
            let now = rnn_cell(given + bias + sum_of(here, here.unit));
            keep(here, here.unit, now);
            y[step] = now;
            step += p.ahead;
            if taken < p.steps {
                given = x[step];
            }
        }
    }
}

@group(0) @binding(1) var<storage, read> state: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> da: array<f32>;
@group(0) @binding(4) var<storage, read_write> dh: array<f32>;

@compute @workgroup_size(THREADS)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let here = find(group, local);
    hold(local);
    var step = p.at + here.index;
    var given = 0.0;
    var reached = 0.0;
    var carried = 0.0;
    if here.is_mine {
        given = dy[step];
        reached = state[step];
        if p.begins == 0u {
            carried = dh[here.index];
        }
    }
    for (var taken = 1u; taken <= p.steps; taken += 1u) {
        multiply(local);
        if here.is_mine {
            if taken > 1u {
                carried = sum_of(here, here.unit);
            }
            let now = (given + carried) * rnn_slope(reached);
            keep(here, here.unit, now);
            da[step] = now;
            step += p.ahead;
            if taken < p.steps {
                given = dy[step];
                reached = state[step];
            }
        }
    }
    multiply(local);
    if here.is_mine {
        dh[here.index] = sum_of(here, here.unit);
    }
}
