// Scalar functions whose built-in forms are too loose to train with, or drop NaN. Drivers may assume that no NaN or
// infinity occurs and fold `x != x` to false, so NaN is told by its bits.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// A quiet NaN that the compiler cannot see through.
fn nan_like(x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(x) & 0u) | 0x7fc00000u);
}

fn maximum(a: f32, b: f32) -> f32 {
    return select(select(max(a, b), b, is_nan(b)), a, is_nan(a));
}

fn minimum(a: f32, b: f32) -> f32 {
    return select(select(min(a, b), b, is_nan(b)), a, is_nan(a));
}

// e^x = 2^n e^r with |r| <= ln(2) / 2, and a polynomial for e^r (Cephes' expf): good to 2 units in the last place, where
// built-in exp is allowed, and on some drivers has, errors of 3 + 2|x| of them. In training such an error is the same for
// every element of a gradient, so it is not averaged out.
fn exp_accurate(x: f32) -> f32 {
    let within = clamp(x, -150.0, 130.0);
    let n = round(within * 1.44269504);
    let r = (within - n * 0.693359375) + n * 2.12194440e-4;
    var e = 1.9875691e-4;
    e = e * r + 1.3981999e-3;
    e = e * r + 8.3334519e-3;
    e = e * r + 4.1665796e-2;
    e = e * r + 1.6666667e-1;
    e = e * r + 0.5;
    e = e * r * r + r + 1.0;
    // In two factors, neither of which over- or underflows by itself.
    let half = i32(n) >> 1u;
    let value = e * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(i32(n) - half + 127) << 23u);
    return select(value, x, is_nan(x));
}

// Built-in tanh has an absolute error near 0 (relative 2e-2 on some drivers) and overflows for large arguments on
// others. Near 0 the Taylor series to x^9 is exact to f32; elsewhere 1 - 2/(e^2|x| + 1).
fn tanh_accurate(x: f32) -> f32 {
    let a = abs(x);
    let s = x * x;
    let series = x * (1.0 + s * (-0.33333333 + s * (0.13333334 + s * (-0.053968254 + s * 0.021869488))));
    let far = 1.0 - 2.0 / (exp_accurate(2.0 * min(a, 10.0)) + 1.0);
    return select(select(far, -far, x < 0.0), series, a < 0.25);
}

fn sigmoid(x: f32) -> f32 {
    let e = exp_accurate(-abs(x));
    return select(1.0 / (1.0 + e), e / (1.0 + e), x < 0.0);
}

// Natural logarithm by x = m 2^e with m in [sqrt(1/2), sqrt(2)), and log m = 2 artanh((m - 1) / (m + 1)): built-in log
// loses all digits near 1 on some drivers. Subnormal numbers are scaled up first.
fn ln(x: f32) -> f32 {
    let small = x < 1.17549435e-38;
    let bits = bitcast<u32>(select(x, x * 16777216.0, small));
    var e = i32(bits >> 23u) - 127 - select(0, 24, small);
    var m = bitcast<f32>((bits & 0x007fffffu) | 0x3f800000u);
    if (m > 1.41421356) {
        m = 0.5 * m;
        e = e + 1;
    }
    let r = (m - 1.0) / (m + 1.0);
    let s = r * r;
    let log_m = 2.0 * r * (1.0 + s * (0.33333333 + s * (0.2 + s * (0.14285715 + s * 0.11111111))));
    let value = f32(e) * 0.69314718 + log_m;
    let special = bitcast<u32>(x);
    if ((special & 0x7fffffffu) == 0u) {
        return log(0.0 * x);
    }
    if ((special >> 31u) == 1u || is_nan(x)) {
        return nan_like(x);
    }
    return select(value, x, special == 0x7f800000u);
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
    let odd = whole && floor(0.5 * y) * 2.0 != y;
    if (x < 0.0 && !whole) {
        return nan_like(x);
    }
    // Built-in pow is not defined at 0.
    let infinity = bitcast<f32>((bitcast<u32>(x) & 0u) | 0x7f800000u);
    let size = select(pow(abs(x), y), select(0.0, infinity, y < 0.0), x == 0.0);
    return select(size, -size, odd && (bitcast<u32>(x) >> 31u) == 1u);
}
