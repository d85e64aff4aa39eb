// The operands of shared/recurrent.wgsl where the cotangents of the gates go back into the state: `da W`, those of the
// step after.
//
// W has a row per gate and unit, which is the depth here, so its quads run along the units: a column of the tile is
// four of them, and they lie in workgroup memory as they are read.

override GATES: u32 = 4u;

// Rows of the cotangents after, at one depth.
fn left(rows: vec4<u32>, depth: u32) -> vec4<f32> {
    let at = (rows * p.h + p.after) * GATES + depth;
    return vec4<f32>(da[at.x], da[at.y], da[at.z], da[at.w]);
}

fn weight(index: u32, first: u32, depths: u32) -> vec4<f32> {
    let depth = first + index / COLUMNS;
    if depth >= depths {
        return vec4<f32>();
    }
    let quads = p.h / 4u;
    return w[depth * quads + min(column_first + index % COLUMNS, quads - 1u)];
}

fn weight_place(index: u32) -> u32 {
    return index;
}

// The weights of a column at depths 4 quad, 4 quad + 1, ...: a vec4 of its units for each.
fn weights_of(quad: u32, column: u32) -> mat4x4<f32> {
    let at = LEFT_QUADS + 4u * quad * COLUMNS + column;
    return mat4x4<f32>(tile[at], tile[at + COLUMNS], tile[at + 2u * COLUMNS], tile[at + 3u * COLUMNS]);
}

// How many there are: none after the last step.
fn depths_carried() -> u32 {
    return select(GATES * p.h, 0u, (p.first & 2u) != 0u);
}
