// The operands of shared/recurrent.wgsl where the state goes into the gates: `h W^T`, the state that of the step
// before.
//
// W has a row per gate and unit, so its quads run along the depth, and a column of the tile is PARTS of its rows: which
// ones `weight_row` of the including file says. Quads of a row are permuted by the column, so that neighbours, who read
// the same depths of different columns, find them in different banks; four of them are turned in registers.

override PARTS: u32 = 4u;

// Rows of the state before, at one depth.
fn left(rows: vec4<u32>, depth: u32) -> vec4<f32> {
    let at = rows * p.h + depth;
    if (p.first & 1u) != 0u {
        return vec4<f32>(h_0[at.x], h_0[at.y], h_0[at.z], h_0[at.w]);
    }
    let then = at + p.before;
    return vec4<f32>(h[then.x], h[then.y], h[then.z], h[then.w]);
}

fn weight(index: u32, first: u32, depths: u32) -> vec4<f32> {
    let line = index / (DEPTH / 4u);
    let depth = first + index % (DEPTH / 4u) * 4u;
    if depth >= depths || line >= PARTS * COLUMNS {
        return vec4<f32>();
    }
    return w[(weight_row(line / COLUMNS, line % COLUMNS) * p.h + depth) / 4u];
}

fn weight_place(index: u32) -> u32 {
    return index ^ (index / (DEPTH / 4u) % COLUMNS);
}

// The weights of a column at depths 4 quad, 4 quad + 1, ...: a vec4 of its parts for each.
fn weights_of(quad: u32, column: u32) -> mat4x4<f32> {
    let at = LEFT_QUADS + column * (DEPTH / 4u) + (quad ^ column);
    let next = COLUMNS * (DEPTH / 4u);
    var last = vec4<f32>();
    if PARTS == 4u {
        last = tile[at + 3u * next];
    }
    return transpose(mat4x4<f32>(tile[at], tile[at + next], tile[at + 2u * next], last));
}

// The sums of a column of a row, counted row by row.
fn sums_of(index: u32) -> vec4<f32> {
    let at = sums_at(index);
    var sums = vec4<f32>();
    for (var slice = 0u; slice < SLICES; slice += 4u) {
        let next = at + slice * BLOCKS;
        sums += (tile[next] + tile[next + BLOCKS]) + (tile[next + 2u * BLOCKS] + tile[next + 3u * BLOCKS]);
    }
    return sums;
}
