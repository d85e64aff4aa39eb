// The patches of images as columns: x is [images, channels, h, w], cols is [images, channels, kh, kw, windows].
//
// One invocation copies all taps of one window of one channel: the divisions that find its place are then paid once for
// kh * kw elements, and neighbours write neighbouring elements. `windows_first` and `windows` select a run of the
// windows of an image, so that the columns of a large image can be made piece by piece; `image_first` does the same for
// images.

struct Params {
    count: u32, // invocations: images * channels * windows
    channels: u32,
    h: u32,
    w: u32,
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
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> cols: array<f32>;

@compute @workgroup_size(WG)
fn gather_patches(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count {
        return;
    }
    let plane = i / p.windows; // image and channel, counted from image_first
    let column = i % p.windows;
    let window = p.windows_first + column;
    let y0 = i32(window / p.out_w * p.stride_h) - i32(p.top);
    let x0 = i32(window % p.out_w * p.stride_w) - i32(p.left);
    let source = (p.image_first * p.channels + plane) * p.h * p.w;
    var place = plane * p.kh * p.kw * p.windows + column;
    for (var ky = 0u; ky < p.kh; ky += 1u) {
        let py = y0 + i32(ky * p.dilation_h);
        for (var kx = 0u; kx < p.kw; kx += 1u) {
            let px = x0 + i32(kx * p.dilation_w);
            var value = 0.0;
            if py >= 0 && py < i32(p.h) && px >= 0 && px < i32(p.w) {
                value = x[source + u32(py) * p.w + u32(px)];
            }
            cols[place] = value;
            place += p.windows;
        }
    }
}
