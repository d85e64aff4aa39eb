// Pooling over windows of images [planes, h, w]: the largest pixel, the mean pixel, and their gradients.
//
// One invocation per element of the result. The gradients are gathers: each pixel finds the windows that cover it, so
// no two invocations write the same place and the order of every sum is fixed. The largest pixel travels with its
// position (row * width + column, NOWHERE for a window without pixels), which is all that its gradient needs.

struct Params {
    count: u32, // elements of the result
    h: u32,
    w: u32,
    out_h: u32,
    out_w: u32,
    kh: u32,
    kw: u32,
    stride_h: u32,
    stride_w: u32,
    top: u32,
    bottom: u32,
    left: u32,
    right: u32,
    dilation_h: u32,
    dilation_w: u32,
    count_padding: u32,
    divisor: u32, // of every mean; 0: the pixels of its window
    lowest: f32, // -inf, which WGSL cannot write as a constant
}

const NOWHERE = 0xffffffffu;

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>; // pixels, or a cotangent
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read_write> plain_y: array<f32>; // of the kernels without positions
@group(0) @binding(2) var<storage, read_write> new_positions: array<u32>;

// The first pixel on or after `start` in steps of `step` that is not negative, counted in steps.
fn first_tap(start: i32, step: u32) -> u32 {
    return (u32(max(-start, 0)) + step - 1u) / step;
}

// The first window that reaches to pixel `at` (counted with the padding before it), and one past the last that starts
// before or on it.
fn first_window(at: u32, span: u32, stride: u32) -> u32 {
    return (max(at + 1u, span) - span + stride - 1u) / stride;
}

fn end_window(at: u32, stride: u32, windows: u32) -> u32 {
    return min(at / stride + 1u, windows);
}

// By how many pixels of an axis window `o` divides its sum.
fn divisor(o: u32, kernel: u32, stride: u32, before: u32, size: u32, after: u32) -> u32 {
    let start = o * stride;
    let low = select(before, 0u, p.count_padding != 0u);
    let high = select(before + size, before + size + after, p.count_padding != 0u);
    let first = max(start, low);
    return max(min(start + kernel, high), first + 1u) - first;
}

@compute @workgroup_size(WG)
fn max_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count {
        return;
    }
    let plane = i / p.out_w / p.out_h * p.h * p.w;
    let y0 = i32(i / p.out_w % p.out_h * p.stride_h) - i32(p.top);
    let x0 = i32(i % p.out_w * p.stride_w) - i32(p.left);
    var best = p.lowest;
    var best_is_nan = false;
    var position = NOWHERE;
    for (var ky = first_tap(y0, p.dilation_h); ky < p.kh; ky += 1u) {
        let py = u32(y0 + i32(ky * p.dilation_h));
        if py >= p.h {
            break;
        }
        for (var kx = first_tap(x0, p.dilation_w); kx < p.kw; kx += 1u) {
            let px = u32(x0 + i32(kx * p.dilation_w));
            if px >= p.w {
                break;
            }
            let here = py * p.w + px;
            let v = x[plane + here];
            let nan = is_nan(v);
            if nan || position == NOWHERE || (!best_is_nan && v > best) {
                best = v;
                best_is_nan = nan;
                position = here;
            }
        }
    }
    plain_y[i] = epilogue(best, i);
    new_positions[i] = position;
}

@compute @workgroup_size(WG)
fn max_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count {
        return;
    }
    let here = i % (p.h * p.w);
    let plane = i / (p.h * p.w) * p.out_h * p.out_w;
    let py = here / p.w + p.top;
    let px = here % p.w + p.left;
    let first_x = first_window(px, (p.kw - 1u) * p.dilation_w + 1u, p.stride_w);
    let end_x = end_window(px, p.stride_w, p.out_w);
    let end_y = end_window(py, p.stride_h, p.out_h);
    var sum = 0.0;
    for (var oy = first_window(py, (p.kh - 1u) * p.dilation_h + 1u, p.stride_h); oy < end_y; oy += 1u) {
        for (var ox = first_x; ox < end_x; ox += 1u) {
            let window = plane + oy * p.out_w + ox;
            if positions[window] == here {
                sum += x[window];
            }
        }
    }
    y[i] = epilogue(sum, i);
}

@compute @workgroup_size(WG)
fn max_gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count {
        return;
    }
    let position = positions[i];
    var value = 0.0;
    if position != NOWHERE {
        value = x[i / p.out_w / p.out_h * p.h * p.w + position];
    }
    y[i] = epilogue(value, i);
}

@compute @workgroup_size(WG)
fn avg_forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count {
        return;
    }
    let plane = i / p.out_w / p.out_h * p.h * p.w;
    let oy = i / p.out_w % p.out_h;
    let ox = i % p.out_w;
    let y0 = i32(oy * p.stride_h) - i32(p.top);
    let x0 = i32(ox * p.stride_w) - i32(p.left);
    let end_y = u32(max(min(y0 + i32(p.kh), i32(p.h)), 0));
    let end_x = u32(max(min(x0 + i32(p.kw), i32(p.w)), 0));
    var sum = 0.0;
    for (var py = u32(max(y0, 0)); py < end_y; py += 1u) {
        for (var px = u32(max(x0, 0)); px < end_x; px += 1u) {
            sum += x[plane + py * p.w + px];
        }
    }
    let rows = divisor(oy, p.kh, p.stride_h, p.top, p.h, p.bottom);
    let columns = divisor(ox, p.kw, p.stride_w, p.left, p.w, p.right);
    plain_y[i] = epilogue(sum / f32(select(rows * columns, p.divisor, p.divisor != 0u)), i);
}

@compute @workgroup_size(WG)
fn avg_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_index(group, grid, local);
    if i >= p.count {
        return;
    }
    let plane = i / p.w / p.h * p.out_h * p.out_w;
    let py = i / p.w % p.h + p.top;
    let px = i % p.w + p.left;
    let first_x = first_window(px, p.kw, p.stride_w);
    let end_x = end_window(px, p.stride_w, p.out_w);
    let end_y = end_window(py, p.stride_h, p.out_h);
    var sum = 0.0;
    for (var oy = first_window(py, p.kh, p.stride_h); oy < end_y; oy += 1u) {
        let rows = divisor(oy, p.kh, p.stride_h, p.top, p.h, p.bottom);
        for (var ox = first_x; ox < end_x; ox += 1u) {
            let columns = divisor(ox, p.kw, p.stride_w, p.left, p.w, p.right);
            sum += x[plane + oy * p.out_w + ox] / f32(select(rows * columns, p.divisor, p.divisor != 0u));
        }
    }
    plain_y[i] = epilogue(sum, i);
}
