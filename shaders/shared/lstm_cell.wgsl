// The formulas of an LSTM's cell for one unit of one row, gates in the order i f g o.

struct LstmState {
    gates: vec4<f32>,
    c: f32,
    h: f32,
}

// From the sums that go into the gates, and the c of the step before.
fn lstm_cell(a: vec4<f32>, before: f32) -> LstmState {
    let gates = vec4<f32>(sigmoid(a.x), sigmoid(a.y), tanh_accurate(a.z), sigmoid(a.w));
    let c = gates.y * before + gates.x * gates.z;
    return LstmState(gates, c, gates.w * tanh_accurate(c));
}

struct LstmSlopes {
    da: vec4<f32>,
    dc: f32, // of the c of the step before
}

// From the gates, the c before and now, and the cotangents of h and c, all that is known of the steps after included.
fn lstm_slopes(gates: vec4<f32>, before: f32, c: f32, dh: f32, dc_given: f32) -> LstmSlopes {
    let tanh_c = tanh_accurate(c);
    let dc = dc_given + dh * gates.w * (1.0 - tanh_c * tanh_c);
    let da = vec4<f32>(
        dc * gates.z * (gates.x * (1.0 - gates.x)),
        dc * before * (gates.y * (1.0 - gates.y)),
        dc * gates.x * (1.0 - gates.z * gates.z),
        dh * tanh_c * (gates.w * (1.0 - gates.w)),
    );
    return LstmSlopes(da, dc * gates.y);
}
