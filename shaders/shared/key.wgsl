// Numbers as unsigned keys that sort as they do. Floats are compared among integers: their bits, with the order of the
// negative ones turned round, sort as they do, and no driver can lose NaN by assuming that there is none.

override TYPE: u32 = 0u;  // 0 f32, 1 i32, 2 u32

fn rising_key(bits: u32) -> u32 {
    if (TYPE == 2u) {
        return bits;
    }
    if (TYPE == 1u) {
        return bits ^ 0x80000000u;
    }
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return 0xffffffffu;  // NaN is above everything
    }
    let plain = select(bits, 0u, bits == 0x80000000u);  // -0 equals 0
    return select(plain | 0x80000000u, ~plain, plain >> 31u == 1u);
}

fn bits_of_key(rising: u32) -> u32 {
    if (TYPE == 2u) {
        return rising;
    }
    if (TYPE == 1u) {
        return rising ^ 0x80000000u;
    }
    return select(~rising, rising & 0x7fffffffu, rising >> 31u == 1u);
}

// The key by which the largest, or the smallest, is the one with the largest key; NaN wins both.
fn winning_key(bits: u32, smallest: bool) -> u32 {
    let rising = rising_key(bits);
    return select(rising, ~rising, smallest && !(TYPE == 0u && rising == 0xffffffffu));
}
