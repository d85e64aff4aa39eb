// Matrix products with few rows or few columns, whose large operand lies along the reduction: one workgroup makes a
// line of up to eight elements of C, its invocations side by side along the reduction.
//
// The large operand is then read once (once for every eight), by neighbours side by side; the small one comes from the
// cache. If the columns are few (FEW_ROWS off) the workgroup has one row of A and up to eight columns of B, else one
// column of B and up to eight rows of A. The sums of the invocations are added as a tree, in a fixed order. What the
// parameters mean stands in gemm.wgsl; here a tile is one such line.

override FEW_ROWS: bool = false;
override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

var<workgroup> low: array<vec4<f32>, WG>;
var<workgroup> high: array<vec4<f32>, WG>;

fn long(at: i32) -> f32 {
    if FEW_ROWS {
        return b[u32(at)];
    }
    return a[u32(at)];
}

fn short(at: i32, step: i32, i: u32, count: u32) -> f32 {
    if i >= count {
        return 0.0;
    }
    if FEW_ROWS {
        return a[u32(at + step * i32(i))];
    }
    return b[u32(at + step * i32(i))];
}

@compute @workgroup_size(WG)
fn along_k(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (group.z * grid.y + group.y) * grid.x + group.x;
    if index >= p.groups {
        return;
    }
    let part = part_of(index);
    let all = select(p.n, p.m, FEW_ROWS);
    let parts = (all + 7u) / 8u;
    let line = i32(part.tile / parts);
    let eight = 8u * (part.tile % parts);
    let count = min(8u, all - eight);
    let long_start = select(part.a_start + line * p.a_row, part.b_start + line * p.b_col, FEW_ROWS);
    let long_k = select(p.a_col, p.b_row, FEW_ROWS);
    let long_outer = select(p.a_k_outer, p.b_k_outer, FEW_ROWS);
    let short_step = select(p.b_col, p.a_row, FEW_ROWS);
    let short_start = select(part.b_start, part.a_start, FEW_ROWS) + i32(eight) * short_step;
    let short_k = select(p.b_row, p.a_col, FEW_ROWS);
    let short_outer = select(p.b_k_outer, p.a_k_outer, FEW_ROWS);

    var first = vec4<f32>();
    var second = vec4<f32>();
    for (var o = part.k_outer_first; o < part.k_outer_end; o += 1u) {
        for (var k = part.k_first + local; k < part.k_end; k += WG) {
            let x = long(long_start + i32(o) * long_outer + i32(k) * long_k);
            let at = short_start + i32(o) * short_outer + i32(k) * short_k;
            first.x += x * short(at, short_step, 0u, count);
            first.y += x * short(at, short_step, 1u, count);
            first.z += x * short(at, short_step, 2u, count);
            first.w += x * short(at, short_step, 3u, count);
            if count > 4u {
                second.x += x * short(at, short_step, 4u, count);
                second.y += x * short(at, short_step, 5u, count);
                second.z += x * short(at, short_step, 6u, count);
                second.w += x * short(at, short_step, 7u, count);
            }
        }
    }
    low[local] = first;
    high[local] = second;
    for (var width = WG / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if local < width {
            low[local] += low[local + width];
            high[local] += high[local + width];
        }
    }
    workgroupBarrier();
    if local < count {
        let along = select(p.c_row, p.c_col, FEW_ROWS);
        let across = select(p.c_col, p.c_row, FEW_ROWS);
        let at = u32(part.c_start + line * along + i32(eight + local) * across);
        var sum = low[0][local % 4u];
        if local >= 4u { sum = high[0][local % 4u]; }
        if p.accumulate != 0u { sum += c[at]; }
        c[at] = epilogue(sum, at);
    }
}
