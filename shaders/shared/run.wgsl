// Walks along a row that is x[o, row, i] for all o and i: numbers k, a stride apart, and where each lies. `p` has rows
// and inner, the extent of i.

// Where a number of a row lies. Steps are added up, so that no number costs a division.
struct Place {
    k: u32,     // which number of the row
    inner: u32, // its place in its run of the row
    at: u32,    // its place in x
}

fn place_of(row: u32, k: u32) -> Place {
    let o = k / p.inner;
    let inner = k - o * p.inner;
    return Place(k, inner, (o * p.rows + row) * p.inner + inner);
}

// With runs = stride / inner, and what is left of the stride.
fn next(before: Place, stride: u32, runs: u32, rest: u32) -> Place {
    var to = before;
    to.k += stride;
    to.inner += rest;
    to.at += runs * p.rows * p.inner + rest;
    if (to.inner >= p.inner) {
        to.inner -= p.inner;
        to.at += (p.rows - 1u) * p.inner;
    }
    return to;
}
