// In the place of shared/split_sums.wgsl where there is nothing but the product.

fn term(slice: u32, i: u32) -> f32 {
    return partial[slice * p.count + i];
}

fn put(i: u32, total: f32) {
    put_product(i, total);
}
