// Scalar functions that WGSL has not, or has with fewer digits than training wants: its sin, asin and atan may be off
// by 2^-11, its tanh and sinh lose all digits near 0. Polynomials are those of Cephes, good to a few units in the last
// place. A fused kernel contains those functions of this file and of math.wgsl that it calls.

fn ordered(a: f32, b: f32) -> bool {
    return !is_nan(a) & !is_nan(b);
}

fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn is_negative(x: f32) -> bool {
    return bitcast<u32>(x) >> 31u == 1u;
}

fn with_sign(size: f32, sign: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(size) & 0x7fffffffu) | (bitcast<u32>(sign) & 0x80000000u));
}

fn exp2_accurate(x: f32) -> f32 {
    let within = clamp(x, -160.0, 140.0);
    let n = round(within);
    return select(exp_reduced((within - n) * 0.69314718, i32(n)), x, is_nan(x));
}

// e^x - 1, with all digits near 0: e^r - 1 = p, and 2^n e^r - 1 = 2^n p + (2^n - 1).
fn expm1_accurate(x: f32) -> f32 {
    if (x > 40.0 || is_nan(x)) {
        return exp_accurate(x);
    }
    let within = max(x, -40.0);
    let n = round(within * 1.44269504);
    let r = (within - n * 0.693359375) + n * 2.12194440e-4;
    var e = 1.9875691e-4;
    e = e * r + 1.3981999e-3;
    e = e * r + 8.3334519e-3;
    e = e * r + 4.1665796e-2;
    e = e * r + 1.6666667e-1;
    e = e * r + 0.5;
    let p = e * r * r + r;
    let scale = bitcast<f32>(u32(i32(n) + 127) << 23u);
    return select(scale * p + (scale - 1.0), p, n == 0.0);
}

// log(1 + x), with all digits near 0.
fn log1p_accurate(x: f32) -> f32 {
    if (x > -0.29 && x < 0.41) {
        return twice_artanh(x / (2.0 + x));
    }
    return ln(1.0 + x);
}

fn log2_accurate(x: f32) -> f32 {
    let parts = log_parts(x);
    return log_edges(x, parts.x + parts.y * 1.44269504);
}

fn log10_accurate(x: f32) -> f32 {
    let parts = log_parts(x);
    return log_edges(x, (parts.y * 0.43429448 + parts.x * 4.6050390e-6) + parts.x * 0.30102539);
}

// x = n pi/2 + r with |r| <= pi/4: r, and n modulo 4. Up to 65,536 right angles they are taken off in four parts, of
// which the first three have eight digits and so are exact times n. Beyond, x / (pi/2) is a product of whole numbers:
// the 24 digits of x times those 64 of 2/pi that decide what is left after the multiples of four right angles.
fn reduce_angle(x: f32) -> vec2<f32> {
    if (abs(x) < 100000.0) {
        let n = round(x * 0.63661977);
        let r = (((x - n * 1.5703125) - n * 0.0004825592041015625) - n * 1.2665987014770508e-6) - n * 9.92093629e-10;
        return vec2<f32>(r, f32(u32(i32(n)) & 3u));
    }
    var digits = array<u32, 7>(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u);
    let bits = bitcast<u32>(x);
    let mantissa = (bits & 0x007fffffu) | 0x00800000u;
    let skip = min(((bits >> 23u) & 255u) - 120u, 134u);
    let word = skip / 32u;
    let shift = skip % 32u;
    let high = (digits[word] << shift) | ((digits[word + 1u] >> 1u) >> (31u - shift));
    let low = (digits[word + 1u] << shift) | ((digits[word + 2u] >> 1u) >> (31u - shift));
    let upper = mantissa * high + multiply_high(mantissa, low);
    let turns = (upper << 2u) | ((mantissa * low) >> 30u);
    let n = (upper >> 30u) + (turns >> 31u);
    let r = f32(bitcast<i32>(turns)) * 3.6572951e-10;
    return vec2<f32>(select(r, -r, is_negative(x)), f32(select(n, 4u - (n & 3u), is_negative(x)) & 3u));
}

// The upper half of a product.
fn multiply_high(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let middle = ah * bl + ((al * bl) >> 16u);
    return ah * bh + (middle >> 16u) + (((middle & 0xffffu) + al * bh) >> 16u);
}

fn sin_reduced(r: f32) -> f32 {
    let s = r * r;
    return ((-1.9515295891e-4 * s + 8.3321608736e-3) * s - 1.6666654611e-1) * s * r + r;
}

fn cos_reduced(r: f32) -> f32 {
    let s = r * r;
    return ((2.443315711e-5 * s - 1.388731625e-3) * s + 4.166664568e-2) * s * s - 0.5 * s + 1.0;
}

fn sin_accurate(x: f32) -> f32 {
    if (!is_finite(x)) {
        return nan_like(x);
    }
    let angle = reduce_angle(x);
    let n = u32(angle.y);
    let value = select(sin_reduced(angle.x), cos_reduced(angle.x), (n & 1u) == 1u);
    return select(value, -value, n >= 2u);
}

fn cos_accurate(x: f32) -> f32 {
    if (!is_finite(x)) {
        return nan_like(x);
    }
    let angle = reduce_angle(x);
    let n = u32(angle.y);
    let value = select(cos_reduced(angle.x), sin_reduced(angle.x), (n & 1u) == 1u);
    return select(value, -value, n == 1u || n == 2u);
}

fn tan_accurate(x: f32) -> f32 {
    if (!is_finite(x)) {
        return nan_like(x);
    }
    let angle = reduce_angle(x);
    let s = sin_reduced(angle.x);
    let c = cos_reduced(angle.x);
    return select(s / c, -c / s, (u32(angle.y) & 1u) == 1u);
}

// For |x| <= 1/2.
fn asin_reduced(x: f32) -> f32 {
    let s = x * x;
    var p = 4.2163199048e-2;
    p = p * s + 2.4181311049e-2;
    p = p * s + 4.5470025998e-2;
    p = p * s + 7.4953002686e-2;
    p = p * s + 1.6666752422e-1;
    return p * s * x + x;
}

fn asin_accurate(x: f32) -> f32 {
    let a = abs(x);
    if (a > 1.0 || is_nan(x)) {
        return nan_like(x);
    }
    if (a <= 0.5) {
        return asin_reduced(x);
    }
    return with_sign(1.57079633 - 2.0 * asin_reduced(sqrt(0.5 * (1.0 - a))), x);
}

fn acos_accurate(x: f32) -> f32 {
    let a = abs(x);
    if (a > 1.0 || is_nan(x)) {
        return nan_like(x);
    }
    if (a <= 0.5) {
        return 1.57079633 - asin_reduced(x);
    }
    let half = 2.0 * asin_reduced(sqrt(0.5 * (1.0 - a)));
    return select(half, 3.14159265 - half, x < 0.0);
}

fn atan_accurate(x: f32) -> f32 {
    if (is_nan(x)) {
        return x;
    }
    let a = abs(x);
    var r = a;
    var base = 0.0;
    if (a > 2.41421356) {
        r = -1.0 / a;
        base = 1.57079633;
    } else if (a > 0.41421356) {
        r = (a - 1.0) / (a + 1.0);
        base = 0.78539816;
    }
    let s = r * r;
    var p = 8.05374449538e-2;
    p = p * s - 1.38776856032e-1;
    p = p * s + 1.99777106478e-1;
    p = p * s - 3.33329491539e-1;
    return with_sign(base + (p * s * r + r), x);
}

// The angle of the point (x, y).
fn atan2_accurate(y: f32, x: f32) -> f32 {
    if (!ordered(y, x)) {
        return nan_like(x);
    }
    let across = abs(x);
    let up = abs(y);
    let large = max(across, up);
    var slope = quotient(min(across, up), large);
    if (is_infinite(large)) {
        slope = select(0.0, 1.0, is_infinite(x) && is_infinite(y));
    } else if (large == 0.0) {
        slope = 0.0;
    }
    var angle = atan_accurate(slope);
    angle = select(angle, 1.57079633 - angle, up > across);
    angle = select(angle, 3.14159265 - angle, is_negative(x));
    return with_sign(angle, y);
}

fn sinh_accurate(x: f32) -> f32 {
    let a = abs(x);
    // The sign goes in as a factor: put onto the result it makes Mesa 26.2's llvmpipe return other numbers altogether.
    let side = with_sign(0.5, x);
    if (a > 20.0) {
        let half = exp_accurate(0.5 * a);
        return side * half * half;
    }
    let e = expm1_accurate(a);
    return select(side * (e + e / (e + 1.0)), x, is_nan(x));
}

fn cosh_accurate(x: f32) -> f32 {
    let a = abs(x);
    if (a > 20.0) {
        let half = exp_accurate(0.5 * a);
        return 0.5 * half * half;
    }
    let e = exp_accurate(a);
    return 0.5 * (e + 1.0 / e);
}

fn asinh_accurate(x: f32) -> f32 {
    let a = abs(x);
    if (a > 10000.0 || is_nan(x)) {
        return select(with_sign(ln(a) + 0.69314718, x), x, is_nan(x));
    }
    return with_sign(log1p_accurate(a + a * a / (1.0 + sqrt(a * a + 1.0))), x);
}

fn acosh_accurate(x: f32) -> f32 {
    if (x < 1.0 || is_nan(x)) {
        return nan_like(x);
    }
    if (x > 10000.0) {
        return ln(x) + 0.69314718;
    }
    let t = x - 1.0;
    return log1p_accurate(t + sqrt(t * (t + 2.0)));
}

fn atanh_accurate(x: f32) -> f32 {
    let a = abs(x);
    if (a > 1.0 || is_nan(x)) {
        return nan_like(x);
    }
    if (a == 1.0) {
        return with_sign(infinity_like(x), x);
    }
    return with_sign(0.5 * log1p_accurate(2.0 * a / (1.0 - a)), x);
}

// For |x| < 1.
fn erf_reduced(x: f32) -> f32 {
    let s = x * x;
    var p = 7.853861353e-5;
    p = p * s - 8.010193625e-4;
    p = p * s + 5.188327686e-3;
    p = p * s - 2.685381193e-2;
    p = p * s + 1.128358515e-1;
    p = p * s - 3.761262582e-1;
    p = p * s + 1.128379166;
    return x * p;
}

// For a >= 1. e^-a^2 in two factors: a is cut, so that the square of the first part is exact.
fn erfc_reduced(a: f32) -> f32 {
    let q = 1.0 / a;
    let s = q * q;
    var p = 0.0;
    if (a < 2.0) {
        p = 2.326819970e-2;
        p = p * s - 1.387039389e-1;
        p = p * s + 3.687424675e-1;
        p = p * s - 5.824733027e-1;
        p = p * s + 6.210004622e-1;
        p = p * s - 4.944515323e-1;
        p = p * s + 3.404879938e-1;
        p = p * s - 2.741127028e-1;
        p = p * s + 5.638259427e-1;
    } else {
        p = -1.047766400e+1;
        p = p * s + 1.297719955e+1;
        p = p * s - 7.495518718;
        p = p * s + 2.921019019;
        p = p * s - 1.015265279;
        p = p * s + 4.218463358e-1;
        p = p * s - 2.820767440e-1;
        p = p * s + 5.641895068e-1;
    }
    let within = min(a, 15.0);
    let cut = bitcast<f32>(bitcast<u32>(within) & 0xfffff000u);
    return exp_accurate(-cut * cut) * exp_accurate((cut - within) * (cut + within)) * q * p;
}

fn erf_accurate(x: f32) -> f32 {
    let a = abs(x);
    if (a < 1.0 || is_nan(x)) {
        return erf_reduced(x);
    }
    return with_sign(1.0 - erfc_reduced(a), x);
}

fn erfc_accurate(x: f32) -> f32 {
    let a = abs(x);
    if (a < 1.0 || is_nan(x)) {
        return 1.0 - erf_reduced(x);
    }
    let tail = erfc_reduced(a);
    return select(tail, 2.0 - tail, x < 0.0);
}

// The x of which erf is this (Giles's approximation for single precision).
fn erfinv_accurate(x: f32) -> f32 {
    let a = abs(x);
    if (a > 1.0 || is_nan(x)) {
        return nan_like(x);
    }
    if (a == 1.0) {
        return with_sign(infinity_like(x), x);
    }
    var w = -log1p_accurate(-x * x);
    if (a > 0.5) {
        w = -ln((1.0 - a) * (1.0 + a));
    }
    var p = 0.0;
    if (w < 5.0) {
        w = w - 2.5;
        p = 2.81022636e-8;
        p = p * w + 3.43273939e-7;
        p = p * w - 3.5233877e-6;
        p = p * w - 4.39150654e-6;
        p = p * w + 2.1858087e-4;
        p = p * w - 1.25372503e-3;
        p = p * w - 4.17768164e-3;
        p = p * w + 2.46640727e-1;
        p = p * w + 1.50140941;
    } else {
        w = sqrt(w) - 3.0;
        p = -2.00214257e-4;
        p = p * w + 1.00950558e-4;
        p = p * w + 1.34934322e-3;
        p = p * w - 3.67342844e-3;
        p = p * w + 5.73950773e-3;
        p = p * w - 7.6224613e-3;
        p = p * w + 9.43887047e-3;
        p = p * w + 1.00167406;
        p = p * w + 2.83297682;
    }
    return p * x;
}

// sqrt(a^2 + b^2), where the squares may be too large.
fn hypotenuse(a: f32, b: f32) -> f32 {
    if (is_infinite(a) || is_infinite(b)) {
        return infinity_like(a);
    }
    if (!ordered(a, b)) {
        return nan_like(a);
    }
    let large = max(abs(a), abs(b));
    let ratio = quotient(min(abs(a), abs(b)), select(large, 1.0, large == 0.0));
    return large * sqrt(1.0 + ratio * ratio);
}

fn log_add_exp(a: f32, b: f32) -> f32 {
    if (!ordered(a, b)) {
        return nan_like(a);
    }
    let large = max(a, b);
    if (is_infinite(large) || is_infinite(a) || is_infinite(b)) {
        return large;
    }
    return large + log1p_accurate(exp_accurate(-abs(a - b)));
}

// x log y, and 0 where x is 0.
fn x_log_y(x: f32, y: f32) -> f32 {
    if (is_nan(y)) {
        return y;
    }
    return select(x * ln(y), 0.0, x == 0.0);
}

// a - b trunc(a / b), exactly: long division of the significands, a digit per round.
fn fmod_exact(a: f32, b: f32) -> f32 {
    let sign = bitcast<u32>(a) & 0x80000000u;
    let x = bitcast<u32>(a) & 0x7fffffffu;
    let y = bitcast<u32>(b) & 0x7fffffffu;
    if (y == 0u || y > 0x7f800000u || x >= 0x7f800000u) {
        return nan_like(a);
    }
    if (x < y) {
        return a;
    }
    let up = countLeadingZeros(y) - 8u;
    let divisor = select((y & 0x007fffffu) | 0x00800000u, y << (up & 31u), y < 0x00800000u);
    let lowest = select(i32(y >> 23u), 1 - i32(up), y < 0x00800000u);
    let shift = countLeadingZeros(x) - 8u;
    var rest = select((x & 0x007fffffu) | 0x00800000u, x << (shift & 31u), x < 0x00800000u);
    for (var e = select(i32(x >> 23u), 1 - i32(shift), x < 0x00800000u); e > lowest; e--) {
        rest = select(rest, rest - divisor, rest >= divisor) << 1u;
    }
    rest = select(rest, rest - divisor, rest >= divisor);
    if (rest == 0u) {
        return bitcast<f32>(sign);
    }
    let gap = countLeadingZeros(rest) - 8u;
    let e = lowest - i32(gap);
    rest = rest << gap;
    let bits = select(rest >> u32(max(1 - e, 0)), (rest & 0x007fffffu) | (u32(max(e, 0)) << 23u), e > 0);
    return bitcast<f32>(bits | sign);
}

// a - b floor(a / b): the remainder with the sign of b.
fn floor_mod(a: f32, b: f32) -> f32 {
    let rest = fmod_exact(a, b);
    return select(rest, rest + b, rest != 0.0 && is_negative(rest) != is_negative(b));
}

// a / b where that is a whole number. Below 2^23 rounding it makes it exact; above, where a GPU may miss the last
// digit, what is left of a says by how much. That is exact, fused or not, by parts of 12 digits, whose products have no
// more than 24.
fn whole_quotient(a: f32, b: f32) -> f32 {
    let q = quotient(a, b);
    let q_high = bitcast<f32>(bitcast<u32>(q) & 0xfffff000u);
    let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
    let q_low = q - q_high;
    let b_low = b - b_high;
    let left = (((a - q_high * b_high) - q_high * b_low) - q_low * b_high) - q_low * b_low;
    return select(q, q + left / b, abs(q) >= 8388608.0 && !is_infinite(q));
}

// floor(a / b) as if a / b were not rounded.
fn floor_div(a: f32, b: f32) -> f32 {
    if (b == 0.0) {
        return a / b;
    }
    let rest = fmod_exact(a, b);
    var turns = whole_quotient(a - rest, b);
    turns = select(turns, turns - 1.0, rest != 0.0 && is_negative(rest) != is_negative(b));
    let whole = floor(turns);
    return select(select(whole, whole + 1.0, turns - whole > 0.5), with_sign(0.0, a * b), turns == 0.0);
}

// A float toward 0, at most the largest and at least the smallest number there is; NaN is 0.
fn whole_i32(x: f32) -> i32 {
    let value = select(i32(clamp(x, -2147483648.0, 2147483520.0)), 2147483647, x >= 2147483648.0);
    return select(value, 0, is_nan(x));
}

fn whole_u32(x: f32) -> u32 {
    let value = select(u32(clamp(x, 0.0, 4294967040.0)), 4294967295u, x >= 4294967296.0);
    return select(value, 0u, is_nan(x));
}

// Quotients and rests of whole numbers as WGSL has them: a / 0 is a, a % 0 is 0, and the smallest number divided by -1
// is itself. They are written out because a trusted adapter compiles them without that: NVIDIA's a / 0 is -1 then.
fn divisor_i32(a: i32, b: i32) -> i32 {
    return select(b, 1, b == 0 || (b == -1 && bitcast<u32>(a) == 0x80000000u));
}

fn quotient_i32(a: i32, b: i32) -> i32 {
    return a / divisor_i32(a, b);
}

fn rest_i32(a: i32, b: i32) -> i32 {
    return a % divisor_i32(a, b);
}

fn quotient_u32(a: u32, b: u32) -> u32 {
    return a / select(b, 1u, b == 0u);
}

fn rest_u32(a: u32, b: u32) -> u32 {
    return a % select(b, 1u, b == 0u);
}

fn floor_div_i32(a: i32, b: i32) -> i32 {
    let quotient = quotient_i32(a, b);
    return select(quotient, quotient - 1, b != 0 && rest_i32(a, b) != 0 && (a < 0) != (b < 0));
}

fn floor_mod_i32(a: i32, b: i32) -> i32 {
    let rest = rest_i32(a, b);
    return select(rest, rest + b, rest != 0 && (rest < 0) != (b < 0));
}

fn power_u32(a: u32, b: u32) -> u32 {
    var result = 1u;
    var base = a;
    var rest = b;
    for (; rest != 0u; rest = rest >> 1u) {
        result = select(result, result * base, (rest & 1u) == 1u);
        base = base * base;
    }
    return result;
}

// 1 / a^-b is 0 for whole numbers, but for those of size 1.
fn power_i32(a: i32, b: i32) -> i32 {
    if (b < 0) {
        return select(select(0, select(1, -1, (b & 1) == 1), a == -1), 1, a == 1);
    }
    return bitcast<i32>(power_u32(bitcast<u32>(a), u32(b)));
}
