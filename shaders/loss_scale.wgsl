// Dynamic loss scaling: one invocation decides whether a step counts, and the scale of the next one. The formulas stand
// in `src/reference/loss_scale.rs`, the lists of numbers in `src/ops/loss_scale.rs`.
//
//   state: [3] in place      found, share: 1 number each      settings: [6]      control: [2]

@group(0) @binding(0) var<storage, read_write> state: array<f32>;
@group(0) @binding(1) var<storage, read> found: array<f32>;
@group(0) @binding(2) var<storage, read> share: array<f32>;
@group(0) @binding(3) var<storage, read> settings: array<f32>;
@group(0) @binding(4) var<storage, read_write> control: array<f32>;

// Told by its bits: drivers may assume that every number is finite.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u;
}

@compute @workgroup_size(1)
fn decide() {
    let scale = state[0];
    let good = state[1] + 1.0;
    let skipped = state[2];
    control[0] = share[0] / scale;
    if (!is_finite(found[0])) {
        state[0] = max(scale * settings[1], 5.42101086e-20);
        state[1] = 0.0;
        state[2] = skipped + 1.0;
        control[1] = -1.0;
        return;
    }
    control[1] = clamp(skipped - settings[3], 0.0, settings[4]) * settings[5];
    if (good < settings[2]) {
        state[1] = good;
        return;
    }
    let larger = scale * settings[0];
    state[0] = select(scale, larger, is_finite(larger));
    state[1] = 0.0;
}
