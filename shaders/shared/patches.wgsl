// Convolution and its two gradients as matrix products whose second operand is not stored: the patches of an image,
// read where they lie, as they are needed.
//
// All three are C[m, n] = sum over k of A[m, k] P[k, n], where P is the patches of an image, and n and k are numbers of
// three digits each: (image, row, column) of a window and (channel, row, column) of a tap. Element (k, n) of P is pixel
//     y = y_first + n1 y_n + k1 y_k,    x = x_first + n2 x_n + k2 x_k
// of one channel of one image, and 0 outside of it.
//   forward      A weight, P patches of the input:    n a window, k a tap; y_n is the stride, y_k the dilation
//   input grad   A weight, P patches of dy:           n a pixel, k a tap, taken backwards: y_k is negative. With a
//                stride, one launch per residue of the pixel by it, over the taps that meet that residue
//   weight grad  A dy,     P patches of the input:    n a tap, k a window (SUM_OVER_IMAGES)
// Slices of the reduction write to copies of C that another kernel adds up. A is binding 0; how it is read is the
// business of the file that includes this one.

override SUM_OVER_IMAGES: bool = false;

struct Params {
    m: u32,
    n: u32,
    k: u32,
    n1: u32,
    n2: u32,
    k1: u32,
    k2: u32,
    groups: u32,
    slices: u32,
    k_step: u32,
    a_base: i32,
    a_group: i32,
    a_row: i32,
    a_k0: i32,
    a_k1: i32,
    a_k2: i32,
    channels: u32,
    height: u32,
    width: u32,
    y_first: i32,
    x_first: i32,
    y_n: i32,
    x_n: i32,
    y_k: i32,
    x_k: i32,
    c_base: i32,
    c_slice: i32,
    c_group: i32,
    c_row: i32,
    c_n0: i32,
    c_n1: i32,
    c_n2: i32,
}

var<immediate> p: Params;

@group(0) @binding(1) var<storage, read> pixels: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

// Four columns of P: the pixel under tap 0 of each.
struct Columns {
    at: vec4<i32>,
    y: vec4<i32>,
    x: vec4<i32>,
}

fn digits_of_k(k: u32) -> vec3<u32> {
    return vec3<u32>(k / (p.k1 * p.k2), k / p.k2 % p.k1, k % p.k2);
}

// The digits of a sum, from the digits of its terms.
fn sum_of_digits(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
    var sum = a + b;
    if sum.z >= p.k2 {
        sum.z -= p.k2;
        sum.y += 1u;
    }
    if sum.y >= p.k1 {
        sum.y -= p.k1;
        sum.x += 1u;
    }
    return sum;
}

fn plane() -> i32 {
    return i32(p.height * p.width);
}

// Elements from one image to the next, and from one channel to the next; which of them is a digit of n and which of k.
fn n0_stride() -> i32 {
    return select(i32(p.channels) * plane(), plane(), SUM_OVER_IMAGES);
}

fn k0_stride() -> i32 {
    return select(plane(), i32(p.channels) * plane(), SUM_OVER_IMAGES);
}

// Columns n, n + step, ... of P, for one group. Beyond the last column every tap is outside.
fn columns_of(n: u32, step: u32, group: u32) -> Columns {
    let all = vec4<u32>(n) + step * vec4<u32>(0u, 1u, 2u, 3u);
    let n0 = vec4<i32>(all / (p.n1 * p.n2));
    let n1 = vec4<i32>(all / p.n2 % p.n1);
    let n2 = vec4<i32>(all % p.n2);
    let y = p.y_first + n1 * p.y_n;
    let x = p.x_first + n2 * p.x_n;
    let start = i32(group * (p.channels / p.groups)) * plane();
    let outside = vec4<i32>(-1073741824);
    return Columns(start + n0 * n0_stride() + y * i32(p.width) + x, select(outside, y, all < vec4<u32>(p.n)), x);
}

// Row k of P at these columns; 0 if it is not `there`.
fn pixels_at(columns: Columns, k: vec3<u32>, there: bool) -> vec4<f32> {
    let down = i32(k.y) * p.y_k;
    let across = i32(k.z) * p.x_k;
    let rows = vec4<u32>(columns.y + down) < vec4<u32>(select(0u, p.height, there));
    let inside = rows & (vec4<u32>(columns.x + across) < vec4<u32>(p.width));
    let at = columns.at + (i32(k.x) * k0_stride() + down * i32(p.width) + across);
    var quad = vec4<f32>();
    if inside.x { quad.x = pixels[u32(at.x)]; }
    if inside.y { quad.y = pixels[u32(at.y)]; }
    if inside.z { quad.z = pixels[u32(at.z)]; }
    if inside.w { quad.w = pixels[u32(at.w)]; }
    return quad;
}

fn a_shift(k: vec3<u32>) -> i32 {
    return i32(k.x) * p.a_k0 + i32(k.y) * p.a_k1 + i32(k.z) * p.a_k2;
}

// Where columns n, n + step, ... of C lie, from the start of a row; -1 beyond the last.
fn places_of(n: u32, step: u32) -> vec4<i32> {
    let all = vec4<u32>(n) + step * vec4<u32>(0u, 1u, 2u, 3u);
    let rest = vec4<i32>(all % (p.n1 * p.n2));
    var at = vec4<i32>(all / (p.n1 * p.n2)) * p.c_n0;
    if p.c_n1 == i32(p.n2) * p.c_n2 {
        at += rest * p.c_n2;
    } else {
        at += rest / i32(p.n2) * p.c_n1 + rest % i32(p.n2) * p.c_n2;
    }
    return select(vec4<i32>(-1), at, all < vec4<u32>(p.n));
}

// Stores an element of C; `column` is negative beyond the edge.
fn put_one(row: i32, column: i32, value: f32) {
    if column >= 0 {
        let at = u32(row + column);
        c[at] = epilogue(value, at);
    }
}
