// Matrix products for tiny and skinny matrices: one invocation per element of C, no workgroup memory.
//
// With one or a few rows (or columns) a tile would be mostly empty. Neighbouring invocations make neighbouring columns,
// so the loads of B are coalesced where its columns lie side by side, and those of A are the same for all. What the
// parameters mean stands in matmul.wgsl; here a tile is one element.

override WG: u32 = 64u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(WG)
fn plain(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = ((group.z * grid.y + group.y) * grid.x + group.x) * WG + local;
    if index >= p.groups {
        return;
    }
    let part = part_of(index);
    let row = i32(part.tile / p.tiles_n);
    let column = i32(part.tile % p.tiles_n);
    let a_start = part.a_start + row * p.a_row;
    let b_start = part.b_start + column * p.b_col;

    var sum = 0.0;
    for (var o = part.k_outer_first; o < part.k_outer_end; o += 1u) {
        var at_a = a_start + i32(o) * p.a_k_outer + i32(part.k_first) * p.a_col;
        var at_b = b_start + i32(o) * p.b_k_outer + i32(part.k_first) * p.b_row;
        for (var l = part.k_first; l < part.k_end; l += 1u) {
            sum += a[u32(at_a)] * b[u32(at_b)];
            at_a += p.a_col;
            at_b += p.b_row;
        }
    }

    let at = u32(part.c_start + row * p.c_row + column * p.c_col);
    if p.accumulate != 0u { sum += c[at]; }
    c[at] = epilogue(sum, at);
}
