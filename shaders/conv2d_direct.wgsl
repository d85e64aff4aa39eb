// Convolution and its two gradients where a group has few channels (depthwise convolution; one or a few results per
// window), from the patches of shared/patches.wgsl: tiles would be mostly empty there.
//
// `direct`: one invocation makes up to eight rows of four columns of C. Neighbours read neighbouring pixels; the
// weights are the same for all of a group. `direct_sum`, for the gradient of the weight, where C is small and the sums
// are long: one workgroup makes one row of four columns, its invocations side by side along the reduction; their sums
// are added as a tree.

@group(0) @binding(0) var<storage, read> a: array<f32>;

const WIDTH = 64u; // invocations of a workgroup

var<workgroup> sums: array<vec4<f32>, 64>;

// Row `i` of A; 0 beyond the last.
fn weight(at: i32, i: u32) -> f32 {
    if i < p.m { return a[u32(at + i32(i) * p.a_row)]; }
    return 0.0;
}

fn put(start: i32, i: u32, at: vec4<i32>, values: vec4<f32>) {
    if i < p.m {
        let row = start + i32(i) * p.c_row;
        put_one(row, at.x, values.x);
        put_one(row, at.y, values.y);
        put_one(row, at.z, values.z);
        put_one(row, at.w, values.w);
    }
}

@compute @workgroup_size(64)
fn direct(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (workgroup.z * grid.y + workgroup.y) * grid.x + workgroup.x;
    let blocks = (p.n + 4u * WIDTH - 1u) / (4u * WIDTH);
    if index >= blocks * p.groups * p.slices {
        return;
    }
    let column = index % blocks * 4u * WIDTH + local;
    let group = index / blocks % p.groups;
    let slice = index / blocks / p.groups;
    let first = min(slice * p.k_step, p.k);
    let end = min(first + p.k_step, p.k);
    let columns = columns_of(column, WIDTH, group);
    let a_start = p.a_base + i32(group) * p.a_group;

    var digits = digits_of_k(first);
    var r0 = vec4<f32>();
    var r1 = vec4<f32>();
    var r2 = vec4<f32>();
    var r3 = vec4<f32>();
    var r4 = vec4<f32>();
    var r5 = vec4<f32>();
    var r6 = vec4<f32>();
    var r7 = vec4<f32>();
    for (var k = first; k < end; k += 1u) {
        let x = pixels_at(columns, digits, true);
        let at = a_start + a_shift(digits);
        r0 += weight(at, 0u) * x;
        if p.m > 1u {
            r1 += weight(at, 1u) * x;
            r2 += weight(at, 2u) * x;
            r3 += weight(at, 3u) * x;
        }
        if p.m > 4u {
            r4 += weight(at, 4u) * x;
            r5 += weight(at, 5u) * x;
            r6 += weight(at, 6u) * x;
            r7 += weight(at, 7u) * x;
        }
        digits = sum_of_digits(digits, vec3<u32>(0u, 0u, 1u));
    }
    let start = p.c_base + i32(slice) * p.c_slice + i32(group) * p.c_group;
    let places = places_of(column, WIDTH);
    put(start, 0u, places, r0);
    put(start, 1u, places, r1);
    put(start, 2u, places, r2);
    put(start, 3u, places, r3);
    put(start, 4u, places, r4);
    put(start, 5u, places, r5);
    put(start, 6u, places, r6);
    put(start, 7u, places, r7);
}

@compute @workgroup_size(64)
fn direct_sum(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = (workgroup.z * grid.y + workgroup.y) * grid.x + workgroup.x;
    let quads = (p.n + 3u) / 4u;
    if index >= quads * p.m * p.groups * p.slices {
        return;
    }
    let column = index % quads * 4u;
    let row = index / quads % p.m;
    let group = index / quads / p.m % p.groups;
    let slice = index / quads / p.m / p.groups;
    let first = min(slice * p.k_step, p.k);
    let end = min(first + p.k_step, p.k);
    let columns = columns_of(column, 1u, group);
    let a_start = p.a_base + i32(group) * p.a_group;

    var digits = digits_of_k(first + local);
    let step = digits_of_k(WIDTH);
    var sum = vec4<f32>();
    for (var k = first + local; k < end; k += WIDTH) {
        sum += weight(a_start + a_shift(digits), row) * pixels_at(columns, digits, true);
        digits = sum_of_digits(digits, step);
    }
    sums[local] = sum;
    for (var width = WIDTH / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if local < width {
            sums[local] += sums[local + width];
        }
    }
    if local == 0u {
        let start = p.c_base + i32(slice) * p.c_slice + i32(group) * p.c_group;
        put(start, row, places_of(column, 1u), sums[0]);
    }
}
