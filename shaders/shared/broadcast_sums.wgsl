// Beside a tile of shared/broadcast.wgsl, the sums of the rows of A: the gradient of a bias, beside that of a weight.
// The first column of tiles stores them, each for its slice of the reduction.

@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // of slice by slice, matrix by matrix

var<private> row_sums: vec4<f32>; // of the lane's rows

fn add_to_sums(lane: u32) {
    let depths = transpose(a_rows);
    row_sums += (depths[0] + depths[1]) + (depths[2] + depths[3]);
}

fn put_sum(first: u32, row: u32, value: f32) {
    if row < p.m {
        sums[first + row] = value;
    }
}

// For the matrix of this number, counted through all slices.
fn put_sums(lane: u32, matrix: u32) {
    if column0 == 0u {
        let first = matrix * p.m;
        put_sum(first, row0 + row_of(lane, 0u), row_sums.x);
        put_sum(first, row0 + row_of(lane, 1u), row_sums.y);
        put_sum(first, row0 + row_of(lane, 2u), row_sums.z);
        put_sum(first, row0 + row_of(lane, 3u), row_sums.w);
    }
}
