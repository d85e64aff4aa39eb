// Beside a tile of shared/tile.wgsl, the sums of the rows of A: the gradient of a bias, beside that of a weight. The
// first column of tiles makes them, each for its slice of the reduction, so that long sums are shared like those of the
// product.
//
// Each invocation adds up four depths of one quad of rows in every round, out of workgroup memory; at the end those of
// one quad are added in order.

@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // of slice by slice, matrix by matrix

var<private> quad_sum: vec4<f32>;

fn add_to_sums(local: u32) {
    if column_first == 0u {
        let quad = local % ROW_QUADS;
        let depth = local / ROW_QUADS * 4u;
        let first = tiles[place(ROW_QUADS, depth, quad)] + tiles[place(ROW_QUADS, depth + 1u, quad)];
        let second = tiles[place(ROW_QUADS, depth + 2u, quad)] + tiles[place(ROW_QUADS, depth + 3u, quad)];
        quad_sum += first + second;
    }
}

fn put_sum(first: u32, row: u32, value: f32) {
    if row < p.m {
        sums[first + row] = value;
    }
}

// For the matrix of this number, counted through all slices.
fn put_sums(local: u32, matrix: u32) {
    workgroupBarrier(); // the last round has been read
    tiles[local] = quad_sum;
    workgroupBarrier();
    if column_first == 0u && local < ROW_QUADS {
        var sum = tiles[local];
        for (var part = 1u; part < DEPTH / 4u; part += 1u) {
            sum += tiles[part * ROW_QUADS + local];
        }
        let first = matrix * p.m;
        put_sum(first, row_of(local, 0u), sum.x);
        put_sum(first, row_of(local, 1u), sum.y);
        put_sum(first, row_of(local, 2u), sum.z);
        put_sum(first, row_of(local, 3u), sum.w);
    }
}
