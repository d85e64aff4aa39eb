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

// Tiles are taken in bands of eight rows of tiles, down each column of the band: workgroups that run at the same time
// then share rows of A and columns of B while these are in the cache.
fn locate(index: u32) -> Here {
    let part = part_of(index);
    let tile = part.tile;
    let band = tile / (8u * p.tiles_n);
    let within = tile % (8u * p.tiles_n);
    let band_rows = min(8u, p.tiles / p.tiles_n - 8u * band);
    row_first = (8u * band + within % band_rows) * TILE_ROWS;
    column_first = within / band_rows * TILE_COLUMNS;
    c_start = part.c_start;
    k_first = part.k_first;
    k_end = part.k_end;
    k_now = part.k_first;
    outer_now = i32(part.k_outer_first);

    let rounds = (part.k_end - part.k_first + DEPTH - 1u) / DEPTH * (part.k_outer_end - part.k_outer_first);
    return Here(rounds, part.a_start, part.b_start);
}

fn next_round() {
    k_now += DEPTH;
    if k_now >= k_end {
        k_now = k_first;
        outer_now += 1;
    }
}
