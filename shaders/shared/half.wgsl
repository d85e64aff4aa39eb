// Numbers of half precision: 5 bits of exponent, 10 of fraction.

// The nearest number of half precision, ties to even, infinity from 65520 on. Done in whole numbers, since WGSL leaves
// open how its own conversions round; what comes out of here they convert exactly.
fn rounded_to_half(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let sign = bits & 0x80000000u;
    let size = bits ^ sign;
    // Below 2^-14 the halves are the multiples of 2^-24.
    let digits = (size & 0x7fffffu) | 0x800000u;
    let lost = clamp(126u - min(size >> 23u, 126u), 1u, 25u);
    let kept = digits >> lost;
    let rest = digits - (kept << lost);
    let tie = 1u << (lost - 1u);
    let up = rest > tie || (rest == tie && (kept & 1u) == 1u);
    let small = bitcast<u32>(f32(kept + u32(up)) * 5.9604645e-8);
    let normal = (size + 0xfffu + ((size >> 13u) & 1u)) & 0xffffe000u;
    let finite = select(normal, select(small, 0u, size < 0x32800000u), size < 0x38800000u);
    let large = select(0x7f800000u, size, size > 0x7f800000u);
    return bitcast<f32>(sign | select(finite, large, size >= 0x477ff000u));
}

fn rounded_to_half4(v: vec4<f32>) -> vec4<f32> {
    return vec4(rounded_to_half(v.x), rounded_to_half(v.y), rounded_to_half(v.z), rounded_to_half(v.w));
}

// The bits of a number that is one of half precision. `pack2x16float` need not know infinity, and SwiftShader's makes
// NaN of it.
fn half_bits(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    let small = u32(abs(x) * 16777216.0);
    let finite = select((size - 0x38000000u) >> 13u, small, size < 0x38800000u);
    let large = select(0x7c00u, 0x7e00u, size > 0x7f800000u);
    return ((bits >> 16u) & 0x8000u) | select(finite, large, size >= 0x47800000u);
}

// Half i of an array of them, from the word that holds it: two lie in a word.
fn half_of(word: u32, i: u32) -> f32 {
    let pair = unpack2x16float(word);
    return select(pair.x, pair.y, (i & 1u) == 1u);
}
