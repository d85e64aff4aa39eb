// The tile of a product that one subgroup of 8 lanes makes on a software rasteriser, ROWS x 32, for kernels that read
// their operands in their own ways.
//
// There, workgroup memory and barriers cost as much as loads, so neither is used. For every four depths a lane fetches
// four rows of A and four columns of B; broadcasts hand each row of A to all lanes, and each lane makes all rows of its
// four columns. Four depths to a round, because every accumulator is stored under a mask in every round: with one depth
// a product of 1024 x 1024 x 1024 takes twice as long. Tiles of 64 x 64 are a sixth faster, and take 3 seconds to
// compile instead of 0.25; accumulators in an indexed array are three times slower.
//
// A kernel has `fetch`, which puts the next four depths into `a_rows` and `b_columns`, `put_row`, which stores a row,
// and `row_of`, which says which one that is. What is made besides is in shared/broadcast_sums.wgsl or
// shared/no_sums.wgsl.

override ROWS: u32 = 32u; // 8, 16 or 32

var<private> a_rows: mat4x4<f32>;    // column i: the lane's i-th row at four depths
var<private> b_columns: mat4x4<f32>; // column d: the lane's four columns at depth d

// Makes the depths that are `left` the last ones: those past the end of the sum count for nothing, whatever lies there.
fn end_after(left: u32) {
    let there = vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(left);
    let none = vec4<f32>();
    a_rows[0] = select(none, a_rows[0], there);
    a_rows[1] = select(none, a_rows[1], there);
    a_rows[2] = select(none, a_rows[2], there);
    a_rows[3] = select(none, a_rows[3], there);
    b_columns[1] = select(none, b_columns[1], there.y);
    b_columns[2] = select(none, b_columns[2], there.z);
    b_columns[3] = select(none, b_columns[3], there.w);
}

// Makes the tile of the matrix of this number, counted through all slices.
fn multiply(rounds: u32, lane: u32, matrix: u32) {
    // Row i of the tile (the lane's rows are 8 apart, in the order of `fetch`), this lane's four columns.
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
    for (var round = 0u; round < rounds; round += 1u) {
        fetch();
        add_to_sums(lane);
        let x = a_rows;
        let y = b_columns;
        r0 += y * subgroupBroadcast(x[0], 0u);
        r1 += y * subgroupBroadcast(x[0], 1u);
        r2 += y * subgroupBroadcast(x[0], 2u);
        r3 += y * subgroupBroadcast(x[0], 3u);
        r4 += y * subgroupBroadcast(x[0], 4u);
        r5 += y * subgroupBroadcast(x[0], 5u);
        r6 += y * subgroupBroadcast(x[0], 6u);
        r7 += y * subgroupBroadcast(x[0], 7u);
        if ROWS > 8u {
            r8 += y * subgroupBroadcast(x[1], 0u);
            r9 += y * subgroupBroadcast(x[1], 1u);
            r10 += y * subgroupBroadcast(x[1], 2u);
            r11 += y * subgroupBroadcast(x[1], 3u);
            r12 += y * subgroupBroadcast(x[1], 4u);
            r13 += y * subgroupBroadcast(x[1], 5u);
            r14 += y * subgroupBroadcast(x[1], 6u);
            r15 += y * subgroupBroadcast(x[1], 7u);
        }
        if ROWS > 16u {
            r16 += y * subgroupBroadcast(x[2], 0u);
            r17 += y * subgroupBroadcast(x[2], 1u);
            r18 += y * subgroupBroadcast(x[2], 2u);
            r19 += y * subgroupBroadcast(x[2], 3u);
            r20 += y * subgroupBroadcast(x[2], 4u);
            r21 += y * subgroupBroadcast(x[2], 5u);
            r22 += y * subgroupBroadcast(x[2], 6u);
            r23 += y * subgroupBroadcast(x[2], 7u);
            r24 += y * subgroupBroadcast(x[3], 0u);
            r25 += y * subgroupBroadcast(x[3], 1u);
            r26 += y * subgroupBroadcast(x[3], 2u);
            r27 += y * subgroupBroadcast(x[3], 3u);
            r28 += y * subgroupBroadcast(x[3], 4u);
            r29 += y * subgroupBroadcast(x[3], 5u);
            r30 += y * subgroupBroadcast(x[3], 6u);
            r31 += y * subgroupBroadcast(x[3], 7u);
        }
    }
    put_sums(lane, matrix);
    // The first four are stored and the others move up, again and again: an indexed array of them would be gathered
    // element by element, and takes four times as long to compile.
    for (var i = 0u; i < ROWS; i += 4u) {
        put_row(i % 8u, i / 8u, r0);
        put_row(i % 8u + 1u, i / 8u, r1);
        put_row(i % 8u + 2u, i / 8u, r2);
        put_row(i % 8u + 3u, i / 8u, r3);
        r0 = r4;
        r1 = r5;
        r2 = r6;
        r3 = r7;
        r4 = r8;
        r5 = r9;
        r6 = r10;
        r7 = r11;
        r8 = r12;
        r9 = r13;
        r10 = r14;
        r11 = r15;
        r12 = r16;
        r13 = r17;
        r14 = r18;
        r15 = r19;
        r16 = r20;
        r17 = r21;
        r18 = r22;
        r19 = r23;
        r20 = r24;
        r21 = r25;
        r22 = r26;
        r23 = r27;
        r24 = r28;
        r25 = r29;
        r26 = r30;
        r27 = r31;
    }
}
