// Scalar functions whose built-in forms are too loose to train with, or drop NaN. Drivers may assume that no NaN or
// infinity occurs and fold `x != x` to false, so NaN is told by its bits.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// A quiet NaN that the compiler cannot see through.
fn nan_like(x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(x) & 0u) | 0x7fc00000u);
}

// Infinity, likewise.
fn infinity_like(x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(x) & 0u) | 0x7f800000u);
}

fn maximum(a: f32, b: f32) -> f32 {
    return select(select(max(a, b), b, is_nan(b)), a, is_nan(a));
}

fn minimum(a: f32, b: f32) -> f32 {
    return select(select(min(a, b), b, is_nan(b)), a, is_nan(a));
}

// 0 for what is below it, and NaN for NaN: one comparison of bits takes all from just below -0 to -infinity. Drivers
// make a maximum of a comparison of floats, and that drops NaN.
fn relu(x: f32) -> f32 {
    return select(x, 0.0, bitcast<u32>(x) - 0x80000001u < 0x7f800000u);
}

// a / b. GPUs multiply by a reciprocal, which is too small for them where b is beyond 2^126.
fn quotient(a: f32, b: f32) -> f32 {
    let scale = select(1.0, 0.0625, abs(b) > 4.2535296e37);
    return (a * scale) / (b * scale);
}

// e^x = 2^n e^r with |r| <= ln(2) / 2, and a polynomial for e^r (Cephes' expf): good to 2 units in the last place,
// where built-in exp is allowed, and on some drivers has, errors of 3 + 2|x| of them. In training such an error is the
// same for every element of a gradient, so it is not averaged out.
fn exp_accurate(x: f32) -> f32 {
    let within = clamp(x, -150.0, 130.0);
    let n = round(within * 1.44269504);
    let r = (within - n * 0.693359375) + n * 2.12194440e-4;
    return select(exp_reduced(r, i32(n)), x, is_nan(x));
}

// e^r 2^n. The power of two in two factors, neither of which over- or underflows by itself.
fn exp_reduced(r: f32, n: i32) -> f32 {
    var e = 1.9875691e-4;
    e = e * r + 1.3981999e-3;
    e = e * r + 8.3334519e-3;
    e = e * r + 4.1665796e-2;
    e = e * r + 1.6666667e-1;
    e = e * r + 0.5;
    e = e * r * r + r + 1.0;
    let half = n >> 1u;
    return e * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(n - half + 127) << 23u);
}

// Built-in tanh has an absolute error near 0 (relative 2e-2 on some drivers) and overflows for large arguments on
// others. Near 0 the Taylor series to x^9 is exact to f32; elsewhere 1 - 2/(e^2|x| + 1).
fn tanh_accurate(x: f32) -> f32 {
    let a = abs(x);
    let s = x * x;
    let series = x * (1.0 + s * (-0.33333333 + s * (0.13333334 + s * (-0.053968254 + s * 0.021869488))));
    let far = 1.0 - 2.0 / (exp_accurate(2.0 * min(a, 10.0)) + 1.0);
    return select(select(select(far, -far, x < 0.0), series, a < 0.25), x, is_nan(x));
}

fn sigmoid(x: f32) -> f32 {
    let e = exp_accurate(-abs(x));
    return select(1.0 / (1.0 + e), e / (1.0 + e), x < 0.0);
}

// Natural logarithm by x = m 2^e with m in [sqrt(1/2), sqrt(2)): built-in log loses all digits near 1 on some drivers.
fn ln(x: f32) -> f32 {
    let parts = log_parts(x);
    return log_edges(x, (parts.y - parts.x * 2.12194440e-4) + parts.x * 0.693359375);
}

// e and log m. Subnormal numbers are scaled up first.
fn log_parts(x: f32) -> vec2<f32> {
    let small = x < 1.17549435e-38;
    let bits = bitcast<u32>(select(x, x * 16777216.0, small));
    var e = i32(bits >> 23u) - 127 - select(0, 24, small);
    var m = bitcast<f32>((bits & 0x007fffffu) | 0x3f800000u);
    if (m > 1.41421356) {
        m = 0.5 * m;
        e = e + 1;
    }
    return vec2<f32>(f32(e), twice_artanh((m - 1.0) / (m + 1.0)));
}

// log((1 + r) / (1 - r)) for |r| < 0.18.
fn twice_artanh(r: f32) -> f32 {
    let s = r * r;
    return 2.0 * r * (1.0 + s * (0.33333333 + s * (0.2 + s * (0.14285715 + s * 0.11111111))));
}

// The logarithm's value at 0, at infinity, below 0 and for NaN.
fn log_edges(x: f32, value: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if ((bits & 0x7fffffffu) == 0u) {
        return -infinity_like(x);
    }
    if ((bits >> 31u) == 1u || is_nan(x)) {
        return nan_like(x);
    }
    return select(value, x, bits == 0x7f800000u);
}

// x^y as IEEE 754 has it: 1 for y = 0 and for x = 1, a sign for odd whole y, NaN for other powers of negative numbers.
fn power(x: f32, y: f32) -> f32 {
    if (y == 0.0 || x == 1.0) {
        return 1.0;
    }
    if (is_nan(x) || is_nan(y)) {
        return nan_like(x);
    }
    let whole = floor(y) == y;
    let odd = whole && floor(0.5 * y) * 2.0 != y && abs(y) < 16777216.0;
    if (x < 0.0 && !whole && (bitcast<u32>(x) != 0xff800000u)) {
        return nan_like(x);
    }
    // Built-in pow is not defined at 0, and drivers leave out infinities.
    let infinity = infinity_like(x);
    let base = bitcast<u32>(x) & 0x7fffffffu;
    let exponent = bitcast<u32>(y);
    var size = 0.0;
    if (base == 0u || base == 0x7f800000u) {
        size = select(0.0, infinity, (base == 0u) == (exponent >> 31u == 1u));
    } else if ((exponent & 0x7fffffffu) == 0x7f800000u) {
        let grows = (base > 0x3f800000u) == (exponent >> 31u == 0u);
        size = select(select(0.0, infinity, grows), 1.0, base == 0x3f800000u);
    } else {
        size = pow(abs(x), y);
    }
    return select(size, -size, odd && (bitcast<u32>(x) >> 31u) == 1u);
}
