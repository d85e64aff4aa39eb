// Sums that lie slice by slice beside the partial products of matmul_split.wgsl, and are added up with them.

@group(0) @binding(2) var<storage, read> partial_sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> totals: array<f32>;

// Term `i` of a slice, the sums being those behind the product.
fn term(slice: u32, i: u32) -> f32 {
    if i < p.count {
        return partial[slice * p.count + i];
    }
    return partial_sums[slice * p.sums + i - p.count];
}

fn put(i: u32, total: f32) {
    if i < p.count {
        put_product(i, total);
    } else {
        totals[i - p.count] = total;
    }
}
