// Indices come from data: one that names no element must not become an address.

// The element that a raw index names among n, or n where it names none. Signed ones count from the end below 0.
fn resolve_index(raw: u32, n: u32, signed: u32) -> u32 {
    let from_end = signed == 1u && raw >= 0x80000000u;
    return min(select(raw, raw + n, from_end), n);
}
