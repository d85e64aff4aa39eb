// Columns of patches summed back onto the images they came from: cols is [images, channels, kh, kw, windows], x is
// [images, channels, h, w].
//
// A gather: one invocation per pixel finds the windows that cover it, so no two write the same place, no atomics are
// needed, and the order of the sum is fixed. `windows_first` and `windows` say which run of the windows of an image the
// columns hold; with `accumulate` the sum is added to what x holds from the runs before.

struct Params {
    count: u32, // invocations: images * channels * h * w
    channels: u32,
    h: u32,
    w: u32,
    out_h: u32,
    out_w: u32,
    kh: u32,
    kw: u32,
    stride_h: u32,
    stride_w: u32,
    top: u32,
    left: u32,
    dilation_h: u32,
    dilation_w: u32,
    image_first: u32,
    windows_first: u32,
    windows: u32,
    accumulate: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> cols: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(WG)
fn sum_patches(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count {
        return;
    }
    let py = i / p.w % p.h;
    let px = i % p.w;
    let plane = i / p.w / p.h; // image and channel, counted from image_first
    let source = plane * p.kh * p.kw * p.windows;
    var sum = 0.0;
    for (var ky = 0u; ky < p.kh; ky += 1u) {
        // The window whose tap ky is at this row starts at oy * stride_h - top = py - ky * dilation_h.
        let ty = py + p.top - ky * p.dilation_h;
        let oy = ty / p.stride_h;
        // Below 0, ty has wrapped round to a huge number, and oy may still be in range: test ty itself.
        if py + p.top < ky * p.dilation_h || oy >= p.out_h || oy * p.stride_h != ty {
            continue;
        }
        for (var kx = 0u; kx < p.kw; kx += 1u) {
            let tx = px + p.left - kx * p.dilation_w;
            let ox = tx / p.stride_w;
            let window = oy * p.out_w + ox - p.windows_first;
            if px + p.left >= kx * p.dilation_w && ox < p.out_w && ox * p.stride_w == tx && window < p.windows {
                sum += cols[source + (ky * p.kw + kx) * p.windows + window];
            }
        }
    }
    let place = p.image_first * p.channels * p.h * p.w + i;
    if p.accumulate != 0u { sum += x[place]; }
    x[place] = epilogue(sum, place);
}
