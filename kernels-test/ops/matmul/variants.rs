//! Every kernel that makes products, on the software adapter, against sums in double precision: sizes that fill tiles
//! and sizes that do not, operands as they lie and transposed, batches, and reductions that are cut into slices.

use wgrad::device::{Device, GpuOptions};
use wgrad::ops::matmul::variant_names;
use wgrad::selftest::{self, noise};
use wgrad::{Result, Tensor};

/// A stack of matrices, and how its last two axes are stored.
struct Operand {
    values: Vec<f64>,
    shape: [usize; 3],
}

impl Operand {
    fn new(shape: [usize; 3], seed: u64) -> Self {
        Operand { values: noise(shape.iter().product(), seed), shape }
    }

    /// As a tensor that is stored the other way round if `turned`.
    fn tensor(&self, device: &Device, turned: bool) -> Result<Tensor> {
        let [batch, rows, columns] = self.shape;
        if !turned {
            return Tensor::from_f64_slice(device, &self.values, self.shape);
        }
        let places = (0..batch).flat_map(|i| (0..columns).flat_map(move |c| (0..rows).map(move |r| (i, r, c))));
        let stored: Vec<f64> = places.map(|(i, r, c)| self.values[(i * rows + r) * columns + c]).collect();
        Ok(Tensor::from_f64_slice(device, &stored, [batch, columns, rows])?.transpose(1, 2))
    }
}

/// The product in double precision, and how far a sum in single precision may be from it (see `Tolerance::Dot`).
fn product(a: &Operand, b: &Operand) -> Vec<(f64, f64)> {
    let ([batch, m, k], n) = (a.shape, b.shape[2]);
    let mut all = Vec::new();
    for (i, row, column) in (0..batch).flat_map(|i| (0..m).flat_map(move |r| (0..n).map(move |c| (i, r, c)))) {
        let terms = (0..k).map(|l| (a.values[(i * m + row) * k + l], b.values[(i * k + l) * n + column]));
        let (mut sum, mut aa, mut bb) = (0.0, 0.0, 0.0);
        terms.for_each(|(x, y)| (sum, aa, bb) = (sum + x * y, aa + x * x, bb + y * y));
        let tolerance = 8.0 * f32::EPSILON as f64 / 2.0 * ((aa * bb).sqrt() + (k as f64).sqrt() * f64::abs(sum));
        all.push((sum, tolerance));
    }
    all
}

#[test]
fn every_variant_makes_every_product() -> Result<()> {
    // Batch, rows, columns, depth.
    let sizes = [
        [1, 132, 260, 40], // whole vec4s, several tiles, none of the last ones full
        [1, 300, 36, 8],   // more than one band of tiles
        [1, 131, 67, 37],  // primes
        [3, 36, 44, 20],   // a batch
        [1, 8, 12, 1100],  // slices, in whole vec4s
        [2, 5, 3, 1201],   // slices of prime length, few rows and columns
        [1, 70, 13, 1030], // lines of more than eight columns, and of rows
        [1, 11, 70, 520],
        [1, 1, 64, 129],
        [1, 1, 1, 1],
    ];
    let mut faults = Vec::new();
    // Those of cooperative matrices take halves.
    let eights = crate::registry::broadcasts();
    let serves = |name: &&str| !name.starts_with("cooperative") && (*name != "broadcast" || eights);
    // On a software rasteriser the kernel that is for it reads textures too.
    let kinds = |name| [true, false].into_iter().take(1 + usize::from(name == "broadcast")).map(move |gpu| (name, gpu));
    for (name, gpu_variants) in variant_names().filter(serves).flat_map(kinds) {
        let options = GpuOptions { gpu_variants, variant: Some(name), ..crate::registry::adapter() };
        let device = Device::gpu(&options)?;
        for [batch, m, n, k] in sizes {
            let (a, b) = (Operand::new([batch, m, k], 1), Operand::new([batch, k, n], 2));
            let want = product(&a, &b);
            for (a_turned, b_turned) in [(false, false), (false, true), (true, false), (true, true)] {
                let c = a.tensor(&device, a_turned)?.matmul(&b.tensor(&device, b_turned)?).to_vec::<f32>()?;
                let off =
                    c.iter().zip(&want).position(|(&c, &(want, t))| (c as f64 - want).abs() > t || !c.is_finite());
                if let Some(i) = off {
                    let (c, want) = (c[i], want[i].0);
                    faults.push(format!(
                        "{name}, {batch} x {m} x {n} x {k}, {a_turned}, {b_turned}: {c} for {want} at {i}"
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Only newer drivers have cooperative matrices (llvmpipe's from Mesa 25.3 on): on others there is nothing to test but
/// what the kernel's text says, which `shaders.rs` does.
#[test]
fn cooperative_matrices_make_every_product_of_halves() -> Result<()> {
    let options = crate::registry::adapter();
    match selftest::cooperative(&options)? {
        Some(faults) => assert!(faults.is_empty(), "{}", faults.join("\n")),
        None => eprintln!("{}: no cooperative matrices", Device::gpu(&options)?),
    }
    Ok(())
}
