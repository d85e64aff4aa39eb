// Random numbers by counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
// 2011). Element i of draw d is lane i % 4 of the block with counter (i / 4, d, 0, 0) under the key of the seed, so any
// element can be made anywhere, in any order, and the CPU makes the same bits.
//
//   seed_lo, seed_hi, counter: one number each        y: n elements, as bits
//
// Normal numbers are made of two words by the transform of Box and Muller, z = sqrt(-2 ln u) (cos, sin)(2 pi v),
// entirely in whole numbers: drivers may contract, reorder and approximate float arithmetic, and would not agree on the
// last bits. A comment Qk says that the number stands for itself / 2^k. The error against the exact transform of the
// same words is below 4e-7; results are multiples of 2^-21, at most 6.67 in size, so they are exact as f32.

override KIND: u32 = 0u;  // 0 bits, 1 uniform in [0, 1), 2 normal

struct Params {
    n: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> seed_lo: array<u32>;
@group(0) @binding(1) var<storage, read> seed_hi: array<u32>;
@group(0) @binding(2) var<storage, read> counter: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

// The upper half of the 64-bit product, by halves of 16 bits.
fn mul_high(a: u32, b: u32) -> u32 {
    let al = a & 0xffffu;
    let ah = a >> 16u;
    let bl = b & 0xffffu;
    let bh = b >> 16u;
    let t = ah * bl + ((al * bl) >> 16u);
    let s = al * bh + (t & 0xffffu);
    return ah * bh + (t >> 16u) + (s >> 16u);
}

fn philox(block: u32) -> vec4<u32> {
    var c = vec4<u32>(block, counter[0], 0u, 0u);
    var k0 = seed_lo[0];
    var k1 = seed_hi[0];
    for (var round = 0u; round < 10u; round += 1u) {
        c = vec4<u32>(
            mul_high(0xcd9e8d57u, c.z) ^ c.y ^ k0,
            0xcd9e8d57u * c.z,
            mul_high(0xd2511f53u, c.x) ^ c.w ^ k1,
            0xd2511f53u * c.x,
        );
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return c;
}

// sqrt(-2 ln u), Q25, of the u = (word | 1) / 2^32.
fn radius(word: u32) -> u32 {
    // u = m 2^-e with m in [1/2, 1), and m raised by 5/4 or 3/2 into [3/4, 1): -2 ln u is a sum of three terms, of
    // which two are multiples of constants.
    let odd = word | 1u;
    let e = countLeadingZeros(odd);
    var m = odd << e;          // Q32
    var whole = e * 0x058b90c0u;  // 2 ln 2, Q26
    if (m < 0x9999999au) {
        m += m >> 1u;
        whole += 0x033e647eu;  // 2 ln 3/2
    } else if (m < 0xc0000000u) {
        m += m >> 2u;
        whole += 0x01c8ff7cu;  // 2 ln 5/4
    }
    // -2 ln(1 - t) = t P(t) for t = 1 - m in (0, 1/4]: small t keep all their digits.
    let t = ~m + 1u;           // Q32
    var c = 0x2ab3d51du;       // Q30
    c = 0x055ffec1u + mul_high(c, t);
    c = 0x184da1abu + mul_high(c, t);
    c = 0x193c1dceu + mul_high(c, t);
    c = 0x2006204bu + mul_high(c, t);
    c = 0x2aaa78c9u + mul_high(c, t);
    c = 0x40000099u + mul_high(c, t);
    c = 0x80000000u + mul_high(c, t);
    // The sum, Q58 in two words, and its root digit by digit.
    let high = mul_high(c, t);
    var near = ((c * t) >> 4u) | (high << 28u);
    var far = (high >> 4u) + whole;
    var root = 0u;
    var rest = 0u;
    for (var digit = 0u; digit < 28u; digit += 1u) {
        rest = (rest << 2u) | (far >> 30u);
        far = (far << 2u) | (near >> 30u);
        near = near << 2u;
        let trial = (root << 2u) | 1u;
        root = root << 1u;
        if (rest >= trial) {
            rest -= trial;
            root |= 1u;
        }
    }
    return root;
}

// sin(pi/2 x), Q31, of x in (0, 1), Q32.
fn sine(x: u32) -> u32 {
    let s = mul_high(x, x);
    var c = 0x00001ccau;       // Q31
    c = 0x00054050u - mul_high(c, s);
    c = 0x00996897u - mul_high(c, s);
    c = 0x0a335e03u - mul_high(c, s);
    c = 0x52aef394u - mul_high(c, s);
    c = 0xc90fdaa2u - mul_high(c, s);
    return mul_high(x, c);
}

// r times s, rounded to Q21, with a sign, as a float.
fn normal(r: u32, s: u32, negative: bool) -> u32 {
    let size = i32((mul_high(r << 4u, s) + 64u) >> 7u);
    return bitcast<u32>(f32(select(size, -size, negative)) * 4.76837158203125e-07);
}

// Two normal numbers of two words.
fn normal_pair(a: u32, b: u32) -> vec2<u32> {
    let r = radius(a);
    // The angle is the middle of one of 2^32 equal parts: the quadrant, and x in (0, 1) of it.
    let quadrant = b >> 30u;
    let x = (b << 2u) | 2u;
    let along = sine(~x + 1u);
    let across = sine(x);
    let turned = (quadrant & 1u) == 1u;
    return vec2<u32>(
        normal(r, select(along, across, turned), quadrant == 1u || quadrant == 2u),
        normal(r, select(across, along, turned), quadrant >= 2u),
    );
}

fn store(i: u32, bits: u32) {
    if (KIND == 0u) {
        y[i] = bits;
    } else {
        y[i] = bitcast<u32>(epilogue(bitcast<f32>(bits), i));
    }
}

@compute @workgroup_size(WG)
fn draw(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let block = flat_index(group, groups, local);
    if (block >= (p.n + 3u) / 4u) {
        return;
    }
    let words = philox(block);
    var out = words;
    if (KIND == 1u) {
        // Whole numbers below 2^24 are exact as f32.
        out = bitcast<vec4<u32>>(vec4<f32>(words >> vec4<u32>(8u)) * 5.9604644775390625e-08);
    }
    if (KIND == 2u) {
        out = vec4<u32>(normal_pair(words.x, words.y), normal_pair(words.z, words.w));
    }
    let i = 4u * block;
    store(i, out.x);
    if (i + 1u < p.n) {
        store(i + 1u, out.y);
    }
    if (i + 2u < p.n) {
        store(i + 2u, out.z);
    }
    if (i + 3u < p.n) {
        store(i + 3u, out.w);
    }
}
