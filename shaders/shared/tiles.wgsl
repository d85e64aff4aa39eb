// Which tile of which matrix, and which slice of the reduction, a workgroup makes; and the walk along the reduction.

struct Here {
    rounds: u32,
    a_start: i32,
    b_start: i32,
}

var<private> row_first: u32;
var<private> column_first: u32;
var<private> c_start: i32;
var<private> outer_now: i32;
var<private> k_now: u32;
var<private> k_first: u32;
var<private> k_end: u32;

// Tiles are taken in bands of eight rows of tiles, down each column of the band: workgroups that run at the same time then
// share rows of A and columns of B while these are in the cache.
fn locate(index: u32) -> Here {
    let tile = index % p.tiles;
    let matrix = index / p.tiles % p.batches;
    let slice = index / p.tiles / p.batches;
    let outer = i32(matrix / p.batch_inner);
    let inner = i32(matrix % p.batch_inner);

    let band = tile / (8u * p.tiles_n);
    let within = tile % (8u * p.tiles_n);
    let band_rows = min(8u, p.tiles / p.tiles_n - 8u * band);
    row_first = (8u * band + within % band_rows) * TILE;
    column_first = within / band_rows * TILE;
    c_start = p.c_base + i32(slice) * p.c_slice + outer * p.c_outer + inner * p.c_inner;

    let first = slice % p.k_slices * p.k_step;
    let end = min(first + p.k_step, p.k);
    k_first = first;
    k_end = end;
    k_now = first;
    let outer_first = slice / p.k_slices * p.k_outer_step;
    let outer_end = min(outer_first + p.k_outer_step, p.k_outer);
    outer_now = i32(outer_first);

    return Here(
        (end - first + DEPTH - 1u) / DEPTH * (outer_end - outer_first),
        p.a_base + outer * p.a_outer + inner * p.a_inner,
        p.b_base + outer * p.b_outer + inner * p.b_inner,
    );
}

fn next_round() {
    k_now += DEPTH;
    if k_now >= k_end {
        k_now = k_first;
        outer_now += 1;
    }
}
