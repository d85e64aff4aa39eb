// Where the largest pixel of each bin of a plane is: x is [planes, h, w], positions [planes, out_h, out_w], row * w +
// column.
//
// Bin o of an axis of n pixels and m bins runs from floor(o n / m) to ceil((o + 1) n / m), so bins may share pixels. Of
// equals the first counts; a NaN counts as larger than any number, and of several the last is named.

struct Params {
    count: u32, h: u32, w: u32, out_h: u32, out_w: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> positions: array<u32>;

@compute @workgroup_size(WG)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if (i >= p.count) {
        return;
    }
    let ox = i % p.out_w;
    let oy = i / p.out_w % p.out_h;
    let plane = i / p.out_w / p.out_h * p.h * p.w;
    let end_y = ((oy + 1u) * p.h + p.out_h - 1u) / p.out_h;
    let end_x = ((ox + 1u) * p.w + p.out_w - 1u) / p.out_w;
    let first_x = ox * p.w / p.out_w;
    var position = oy * p.h / p.out_h * p.w + first_x;
    var best = x[plane + position];
    var best_is_nan = is_nan(best);
    for (var py = oy * p.h / p.out_h; py < end_y; py += 1u) {
        for (var px = first_x; px < end_x; px += 1u) {
            let v = x[plane + py * p.w + px];
            let nan = is_nan(v);
            if (nan || (!best_is_nan && v > best)) {
                best = v;
                best_is_nan = nan;
                position = py * p.w + px;
            }
        }
    }
    positions[i] = position;
}
