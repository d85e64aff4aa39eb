// The formulas of a GRU's cell for one unit of one row: r and z, the new state n, and m, what the state before gives to
// n.

struct GruState {
    gates: vec4<f32>, // r z n m
    h: f32,
}

// From x + b_ih and s + b_hh, both in the order r z n, and the h of the step before.
fn gru_cell(x: vec3<f32>, s: vec3<f32>, before: f32) -> GruState {
    let r = sigmoid(x.x + s.x);
    let z = sigmoid(x.y + s.y);
    let n = tanh_accurate(x.z + r * s.z);
    return GruState(vec4<f32>(r, z, n, s.z), n + z * (before - n));
}

struct GruSlopes {
    dx: vec3<f32>, // of x + b_ih
    ds: vec3<f32>, // of s + b_hh
    dh: f32,       // of the h of the step before, but what comes through s
}

// From the gates, the h before, and the cotangent of h, all that is known of the steps after included.
fn gru_slopes(gates: vec4<f32>, before: f32, dh: f32) -> GruSlopes {
    let r = gates.x;
    let z = gates.y;
    let n = gates.z;
    let dn = dh * (1.0 - z) * (1.0 - n * n);
    let dr = dn * gates.w * (r * (1.0 - r));
    let dz = dh * (before - n) * (z * (1.0 - z));
    return GruSlopes(vec3<f32>(dr, dz, dn), vec3<f32>(dr, dz, dn * r), dh * z);
}
