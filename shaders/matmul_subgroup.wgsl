// Matrix products for a software rasteriser whose subgroups are 8 lanes: one subgroup makes a 32 x 32 tile of C.
//
// There, a load costs as much as some twenty multiply-adds, and workgroup memory and barriers cost as much as loads, so
// neither is used. At each depth the 8 lanes fetch 32 elements of A (four each: rows `lane`, `lane + 8`, ...) and 32 of B
// (columns likewise); broadcasts hand every element of A to all lanes, and each lane makes 32 rows of its four columns:
// 8 loads for 32 x 4 multiply-adds of 8 lanes. A load of which all lanes are past the edge costs next to nothing, so a
// tile that is mostly empty is not slow. Larger tiles run up to 1.4 times faster, and take 6 seconds to compile instead of
// 1.5; accumulators in an indexed array are three times slower.
// What the parameters mean stands in matmul.wgsl.

const TILE = 32u;
const LANES = 8u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

fn put(start: i32, row: u32, column: u32, value: f32) {
    if column < p.n {
        let at = u32(start + i32(row) * p.c_row + i32(column) * p.c_col);
        var sum = value;
        if p.accumulate != 0u { sum += c[at]; }
        c[at] = epilogue(sum, at);
    }
}

fn put_row(start: i32, row: u32, column: u32, values: vec4<f32>) {
    put(start, row, column, values.x);
    put(start, row, column + LANES, values.y);
    put(start, row, column + 2u * LANES, values.z);
    put(start, row, column + 3u * LANES, values.w);
}

@compute @workgroup_size(8)
fn broadcast(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let index = (group.z * grid.y + group.y) * grid.x + group.x;
    if index >= p.groups {
        return;
    }
    let part = part_of(index);
    let row0 = part.tile / p.tiles_n * TILE;
    let column0 = part.tile % p.tiles_n * TILE;
    let row = row0 + lane;
    let column = column0 + lane;
    let a_start = part.a_start + i32(row) * p.a_row;
    let b_start = part.b_start + i32(column) * p.b_col;
    let a_step = i32(LANES) * p.a_row;
    let b_step = i32(LANES) * p.b_col;

    // Row i of the tile, this lane's four columns.
    var r0 = vec4<f32>();
    var r1 = vec4<f32>();
    var r2 = vec4<f32>();
    var r3 = vec4<f32>();
    var r4 = vec4<f32>();
    var r5 = vec4<f32>();
    var r6 = vec4<f32>();
    var r7 = vec4<f32>();
    var r8 = vec4<f32>();
    var r9 = vec4<f32>();
    var r10 = vec4<f32>();
    var r11 = vec4<f32>();
    var r12 = vec4<f32>();
    var r13 = vec4<f32>();
    var r14 = vec4<f32>();
    var r15 = vec4<f32>();
    var r16 = vec4<f32>();
    var r17 = vec4<f32>();
    var r18 = vec4<f32>();
    var r19 = vec4<f32>();
    var r20 = vec4<f32>();
    var r21 = vec4<f32>();
    var r22 = vec4<f32>();
    var r23 = vec4<f32>();
    var r24 = vec4<f32>();
    var r25 = vec4<f32>();
    var r26 = vec4<f32>();
    var r27 = vec4<f32>();
    var r28 = vec4<f32>();
    var r29 = vec4<f32>();
    var r30 = vec4<f32>();
    var r31 = vec4<f32>();

    for (var o = part.k_outer_first; o < part.k_outer_end; o += 1u) {
        var at_a = a_start + i32(o) * p.a_k_outer + i32(part.k_first) * p.a_col;
        var at_b = b_start + i32(o) * p.b_k_outer + i32(part.k_first) * p.b_row;
        for (var l = part.k_first; l < part.k_end; l += 1u) {
            var y = vec4<f32>();
            if column < p.n { y.x = b[u32(at_b)]; }
            if column + LANES < p.n { y.y = b[u32(at_b + b_step)]; }
            if column + 2u * LANES < p.n { y.z = b[u32(at_b + 2 * b_step)]; }
            if column + 3u * LANES < p.n { y.w = b[u32(at_b + 3 * b_step)]; }
            var x0 = 0.0;
            var x1 = 0.0;
            var x2 = 0.0;
            var x3 = 0.0;
            if row < p.m { x0 = a[u32(at_a)]; }
            if row + LANES < p.m { x1 = a[u32(at_a + a_step)]; }
            if row + 2u * LANES < p.m { x2 = a[u32(at_a + 2 * a_step)]; }
            if row + 3u * LANES < p.m { x3 = a[u32(at_a + 3 * a_step)]; }
            r0 += subgroupBroadcast(x0, 0u) * y;
            r1 += subgroupBroadcast(x0, 1u) * y;
            r2 += subgroupBroadcast(x0, 2u) * y;
            r3 += subgroupBroadcast(x0, 3u) * y;
            r4 += subgroupBroadcast(x0, 4u) * y;
            r5 += subgroupBroadcast(x0, 5u) * y;
            r6 += subgroupBroadcast(x0, 6u) * y;
            r7 += subgroupBroadcast(x0, 7u) * y;
            r8 += subgroupBroadcast(x1, 0u) * y;
            r9 += subgroupBroadcast(x1, 1u) * y;
            r10 += subgroupBroadcast(x1, 2u) * y;
            r11 += subgroupBroadcast(x1, 3u) * y;
            r12 += subgroupBroadcast(x1, 4u) * y;
            r13 += subgroupBroadcast(x1, 5u) * y;
            r14 += subgroupBroadcast(x1, 6u) * y;
            r15 += subgroupBroadcast(x1, 7u) * y;
            r16 += subgroupBroadcast(x2, 0u) * y;
            r17 += subgroupBroadcast(x2, 1u) * y;
            r18 += subgroupBroadcast(x2, 2u) * y;
            r19 += subgroupBroadcast(x2, 3u) * y;
            r20 += subgroupBroadcast(x2, 4u) * y;
            r21 += subgroupBroadcast(x2, 5u) * y;
            r22 += subgroupBroadcast(x2, 6u) * y;
            r23 += subgroupBroadcast(x2, 7u) * y;
            r24 += subgroupBroadcast(x3, 0u) * y;
            r25 += subgroupBroadcast(x3, 1u) * y;
            r26 += subgroupBroadcast(x3, 2u) * y;
            r27 += subgroupBroadcast(x3, 3u) * y;
            r28 += subgroupBroadcast(x3, 4u) * y;
            r29 += subgroupBroadcast(x3, 5u) * y;
            r30 += subgroupBroadcast(x3, 6u) * y;
            r31 += subgroupBroadcast(x3, 7u) * y;
            at_a += p.a_col;
            at_b += p.b_row;
        }
    }

    // A loop over the rows, because a hundred stores spelt out would take the driver a second to compile.
    var all = array<vec4<f32>, 32>(
        r0, r1, r2, r3, r4, r5, r6, r7,
        r8, r9, r10, r11, r12, r13, r14, r15,
        r16, r17, r18, r19, r20, r21, r22, r23,
        r24, r25, r26, r27, r28, r29, r30, r31,
    );
    for (var i = 0u; i < min(TILE, p.m - row0); i += 1u) {
        put_row(part.c_start, row0 + i, column, all[i]);
    }
}
