// Matrix products C = sum over k_outer of A B on matrix units: the tiles of shared/coop_tile.wgsl over halves.
//
// A and B lie in whole vec4s, as matmul_vec4.wgsl has it, and are staged in the order in which they lie; C may lie
// anyhow.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

var<private> a_start: i32;
var<private> b_start: i32;

fn quad_of_a(i: u32) -> vec4<f16> {
    let line = row_first + a_line + i * a_step.x;
    let k = k_now + a_depth + i * a_step.y;
    if line >= p.m || k >= k_end {
        return vec4<f16>();
    }
    let at = a_start + outer_now * p.a_k_outer + i32(line) * p.a_row + i32(k) * p.a_col;
    return vec4<f16>(a[u32(at) / 4u]);
}

fn quad_of_b(i: u32) -> vec4<f16> {
    let line = column_first + b_line + i * b_step.x;
    let k = k_now + b_depth + i * b_step.y;
    if line >= p.n || k >= k_end {
        return vec4<f16>();
    }
    let at = b_start + outer_now * p.b_k_outer + i32(line) * p.b_col + i32(k) * p.b_row;
    return vec4<f16>(b[u32(at) / 4u]);
}

fn fetch() {
    a_next[0] = quad_of_a(0u);
    a_next[1] = quad_of_a(1u);
    b_next[0] = quad_of_b(0u);
    b_next[1] = quad_of_b(1u);
    if FOUR {
        a_next[2] = quad_of_a(2u);
        a_next[3] = quad_of_a(3u);
        b_next[2] = quad_of_b(2u);
        b_next[3] = quad_of_b(3u);
    }
    next_round();
}

// Stores an element of the tile.
fn put(row: u32, column: u32, value: f32) {
    let y = row_first + row;
    let x = column_first + column;
    if y < p.m && x < p.n {
        let at = u32(c_start + i32(y) * p.c_row + i32(x) * p.c_col);
        var sum = value;
        if p.accumulate != 0u { sum += c[at]; }
        c[at] = epilogue(sum, at);
    }
}

@compute @workgroup_size(THREADS)
fn cooperative(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let index = (group.z * grid.y + group.y) * grid.x + group.x;
    if index >= p.groups {
        return;
    }
    let here = locate(index);
    a_start = here.a_start;
    b_start = here.b_start;
    find_quads(local);
    multiply(here.rounds, subgroup, lane);
}
