// A tile of the product in a step of a recurrent layer, made by the workgroup that goes on with the cell.
//
// A step is small and the next one waits for it, so what it costs on a GPU is its launches: here it is one. A workgroup
// makes 4 ROW_QUADS rows of the batch by COLUMNS columns, where a column is a vec4 of sums: the gates of one unit
// (recurrent_forward.wgsl) or four units side by side (recurrent_backward.wgsl). These are fewer sums than invocations
// and their reduction is long, so it is cut: an invocation makes four rows of a column at every SLICES-th quad of
// depths, and `sums_of` or `sum_of` adds up what the slices made, in order.
//
// Each round stages DEPTH depths of both operands in workgroup memory and fetches the next meanwhile, as
// shared/tile.wgsl does. The left operand lies there as quads of four rows ROW_QUADS apart, at one depth, permuted by
// the rows; how the weight lies is the business of the file that includes this one. It provides `left`, which reads a
// quad of rows; `weight`, which reads a quad of the weight; `weight_place`, where that is staged; and `weights_of`,
// which reads four of them there.
//
// ROW_QUADS and COLUMNS are 2, 4 or 8. What is staged in a round fits WebGPU's 16 KiB, or 32 KiB where the adapter has
// them: the fewer rounds, the fewer times all wait for memory. So an invocation fetches one to four quads of each
// operand, and its one to eight quads of depths are written out.

override ROW_QUADS: u32 = 4u;
override COLUMNS: u32 = 8u;
override DEPTH: u32 = 64u;
override ROWS: u32 = 4u * ROW_QUADS;
override BLOCKS: u32 = ROW_QUADS * COLUMNS; // of four rows by a column
override SLICES: u32 = THREADS / BLOCKS; // a multiple of 4
override TURNS: u32 = DEPTH / (4u * SLICES); // 1, 2, 4 or 8
override LEFT_QUADS: u32 = ROW_QUADS * DEPTH;
override WEIGHT_QUADS: u32 = COLUMNS * DEPTH;
override STAGED: u32 = 4u * THREADS; // no less than what is staged, nor than the sums of all slices

const THREADS = 256u;

var<workgroup> tile: array<vec4<f32>, STAGED>; // what is staged, then the sums of all slices

var<private> row_first: u32;
var<private> column_first: u32;

var<private> left_next: array<vec4<f32>, 4>;
var<private> weight_next: array<vec4<f32>, 4>;

// Four rows of one column.
var<private> sums0: vec4<f32>;
var<private> sums1: vec4<f32>;
var<private> sums2: vec4<f32>;
var<private> sums3: vec4<f32>;

// Which unit of which row an invocation makes once the product is there, if any.
struct Place {
    row: u32,
    unit: u32,
    index: u32, // among the states of the step
    is_mine: bool,
}

// Finds the tile of a workgroup, and in it the place of an invocation, where a column is so many units.
fn find(group: vec3<u32>, local: u32, units: u32) -> Place {
    row_first = group.y * ROWS;
    column_first = group.x * COLUMNS;
    let across = units * COLUMNS;
    let row = row_first + local / across;
    let unit = units * column_first + local % across;
    let index = row * p.h + unit;
    return Place(row, unit, index, local < ROWS * across && unit < p.h && index < p.n);
}

fn left_place(row_quad: u32, depth: u32) -> u32 {
    return row_quad * DEPTH + (depth ^ row_quad);
}

// Beyond the last depth it is 0; beyond the last row it is that row, and nobody asks for what comes of it.
fn left_quad(index: u32, first: u32, depths: u32) -> vec4<f32> {
    let depth = first + index % DEPTH;
    if depth >= depths {
        return vec4<f32>();
    }
    let rows = row_first + index / DEPTH + ROW_QUADS * vec4<u32>(0u, 1u, 2u, 3u);
    return left(min(rows, vec4<u32>(p.n / p.h - 1u)), depth);
}

fn fetch(local: u32, first: u32, depths: u32) {
    left_next[0] = left_quad(local, first, depths);
    if LEFT_QUADS > THREADS {
        left_next[1] = left_quad(local + THREADS, first, depths);
    }
    if LEFT_QUADS > 2u * THREADS {
        left_next[2] = left_quad(local + 2u * THREADS, first, depths);
        left_next[3] = left_quad(local + 3u * THREADS, first, depths);
    }
    weight_next[0] = weight(local, first, depths);
    if WEIGHT_QUADS > THREADS {
        weight_next[1] = weight(local + THREADS, first, depths);
    }
    if WEIGHT_QUADS > 2u * THREADS {
        weight_next[2] = weight(local + 2u * THREADS, first, depths);
        weight_next[3] = weight(local + 3u * THREADS, first, depths);
    }
}

fn keep_left(index: u32, quad: vec4<f32>) {
    tile[left_place(index / DEPTH, index % DEPTH)] = quad;
}

fn keep_weight(index: u32, quad: vec4<f32>) {
    tile[LEFT_QUADS + weight_place(index)] = quad;
}

fn keep(local: u32) {
    if local < LEFT_QUADS {
        keep_left(local, left_next[0]);
    }
    if LEFT_QUADS > THREADS {
        keep_left(local + THREADS, left_next[1]);
    }
    if LEFT_QUADS > 2u * THREADS {
        keep_left(local + 2u * THREADS, left_next[2]);
        keep_left(local + 3u * THREADS, left_next[3]);
    }
    keep_weight(local, weight_next[0]);
    if WEIGHT_QUADS > THREADS {
        keep_weight(local + THREADS, weight_next[1]);
    }
    if WEIGHT_QUADS > 2u * THREADS {
        keep_weight(local + 2u * THREADS, weight_next[2]);
        keep_weight(local + 3u * THREADS, weight_next[3]);
    }
}

fn add_products(rows: vec4<f32>, weights: vec4<f32>) {
    sums0 += rows.x * weights;
    sums1 += rows.y * weights;
    sums2 += rows.z * weights;
    sums3 += rows.w * weights;
}

// The same at four depths.
fn add_four(quad: u32, row_quad: u32, column: u32) {
    let weights = weights_of(quad, column);
    add_products(tile[left_place(row_quad, 4u * quad)], weights[0]);
    add_products(tile[left_place(row_quad, 4u * quad + 1u)], weights[1]);
    add_products(tile[left_place(row_quad, 4u * quad + 2u)], weights[2]);
    add_products(tile[left_place(row_quad, 4u * quad + 3u)], weights[3]);
}

// Makes the tile, over so many depths.
fn multiply(local: u32, depths: u32) {
    let row_quad = local % BLOCKS / COLUMNS;
    let column = local % COLUMNS;
    let slice = local / BLOCKS;
    fetch(local, 0u, depths);
    for (var first = 0u; first < depths; first += DEPTH) {
        workgroupBarrier(); // the round before has been read
        keep(local);
        workgroupBarrier();
        if first + DEPTH < depths {
            fetch(local, first + DEPTH, depths);
        }
        add_four(slice, row_quad, column);
        if TURNS > 1u {
            add_four(slice + SLICES, row_quad, column);
        }
        if TURNS > 2u {
            add_four(slice + 2u * SLICES, row_quad, column);
            add_four(slice + 3u * SLICES, row_quad, column);
        }
        if TURNS > 4u {
            add_four(slice + 4u * SLICES, row_quad, column);
            add_four(slice + 5u * SLICES, row_quad, column);
            add_four(slice + 6u * SLICES, row_quad, column);
            add_four(slice + 7u * SLICES, row_quad, column);
        }
    }
    workgroupBarrier();
    tile[local] = sums0;
    tile[local + THREADS] = sums1;
    tile[local + 2u * THREADS] = sums2;
    tile[local + 3u * THREADS] = sums3;
    workgroupBarrier();
}

// Where the first slice has left a column of a row, counted row by row.
fn sums_at(index: u32) -> u32 {
    return index / BLOCKS * THREADS + index % BLOCKS;
}

// One sum of those, counted row by row and unit by unit.
fn sum_of(index: u32) -> f32 {
    let at = sums_at(index / 4u);
    let part = index % 4u;
    var sum = 0.0;
    for (var slice = 0u; slice < SLICES; slice += 4u) {
        let next = at + slice * BLOCKS;
        sum += (tile[next][part] + tile[next + BLOCKS][part])
            + (tile[next + 2u * BLOCKS][part] + tile[next + 3u * BLOCKS][part]);
    }
    return sum;
}
