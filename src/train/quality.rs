//! How good samples are, as numbers: a generator may have collapsed onto a few digits that look right one by one.
//!
//! The Fréchet distance (Heusel et al., 2017) compares how features of samples and of real pictures are distributed,
//! both taken for normal distributions:
//!
//! ```text
//! |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))
//! ```
//!
//! The features are those of a network of our own, so the distances compare runs of this crate, not papers.

/// Mean and covariance of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    mean: Vec<f64>,
    /// Row by row.
    covariance: Vec<f64>,
}

impl Moments {
    /// Of features `[n, width]`, row by row.
    ///
    /// # Panics
    /// If there are fewer than two rows, or the last is not whole.
    #[track_caller]
    pub fn of(features: &[f32], width: usize) -> Moments {
        let n = features.len() / width.max(1);
        assert!(
            width > 0 && n >= 2 && n * width == features.len(),
            "moments: {} numbers as rows of {width}",
            features.len()
        );
        let mut mean = vec![0.0; width];
        for row in features.chunks(width) {
            row.iter().zip(&mut mean).for_each(|(&x, m)| *m += f64::from(x) / n as f64);
        }
        let mut covariance = vec![0.0; width * width];
        let mut centred = vec![0.0; width];
        for row in features.chunks(width) {
            centred.iter_mut().zip(row.iter().zip(&mean)).for_each(|(c, (&x, m))| *c = f64::from(x) - m);
            for (i, &a) in centred.iter().enumerate() {
                let line = &mut covariance[i * width..][..width];
                line.iter_mut().zip(&centred).for_each(|(c, &b)| *c += a * b / (n - 1) as f64);
            }
        }
        Moments { mean, covariance }
    }

    /// The Fréchet distance: 0 for equal moments, in the square of the features' unit.
    ///
    /// # Panics
    /// If the features differ in width.
    #[track_caller]
    pub fn distance(&self, other: &Moments) -> f64 {
        let n = self.mean.len();
        assert!(n == other.mean.len(), "distance: features of width {n} and {}", other.mean.len());
        let apart: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let trace = |m: &[f64]| (0..n).map(|i| m[i * n + i]).sum::<f64>();
        // The trace of (C1 C2)^(1/2) is that of (R C2 R)^(1/2) with R = C1^(1/2), which is symmetric.
        let root = symmetric_root(&self.covariance, n);
        let inner = product(&product(&root, &other.covariance, n), &root, n);
        let (values, _) = eigen(inner, n);
        let shared: f64 = values.iter().map(|v| v.max(0.0).sqrt()).sum();
        (apart + trace(&self.covariance) + trace(&other.covariance) - 2.0 * shared).max(0.0)
    }
}

/// How often each class occurs.
pub fn histogram(classes: &[u32], count: usize) -> Vec<usize> {
    let mut all = vec![0; count];
    classes.iter().for_each(|&c| all[c as usize] += 1);
    all
}

/// The index of the row of `rows` that is nearest to each of `points`, both of this width.
pub fn nearest(points: &[f32], rows: &[f32], width: usize) -> Vec<usize> {
    use rayon::prelude::*;
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>();
    let closest = |point: &[f32]| {
        let distances = rows.chunks(width).map(|row| far(point, row)).enumerate();
        distances.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(i, _)| i)
    };
    points.par_chunks(width).map(closest).collect()
}

fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let mut c = vec![0.0; n * n];
    for i in 0..n {
        for k in 0..n {
            let x = a[i * n + k];
            c[i * n..][..n].iter_mut().zip(&b[k * n..][..n]).for_each(|(c, b)| *c += x * b);
        }
    }
    c
}

/// The square root of a symmetric matrix without negative eigenvalues.
fn symmetric_root(a: &[f64], n: usize) -> Vec<f64> {
    let (values, vectors) = eigen(a.to_vec(), n);
    let mut root = vec![0.0; n * n];
    for (k, value) in values.iter().enumerate() {
        let size = value.max(0.0).sqrt();
        for i in 0..n {
            for j in 0..n {
                root[i * n + j] += size * vectors[i * n + k] * vectors[j * n + k];
            }
        }
    }
    root
}

/// Eigenvalues of a symmetric matrix, and its eigenvectors as columns, by Jacobi's rotations: each makes one element
/// off the diagonal zero.
fn eigen(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors: Vec<f64> = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
    let scale: f64 = a.iter().map(|x| x * x).sum();
    for _sweep in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i * n + j].powi(2)).sum();
        if off <= 1e-26 * scale {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let apq = a[p * n + q];
                if apq.abs() <= 1e-300 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                let turn =
                    |m: &mut [f64], i: usize, j: usize| (m[i], m[j]) = (c * m[i] - s * m[j], s * m[i] + c * m[j]);
                (0..n).for_each(|k| turn(&mut a, k * n + p, k * n + q));
                (0..n).for_each(|k| turn(&mut a, p * n + k, q * n + k));
                (0..n).for_each(|k| turn(&mut vectors, k * n + p, k * n + q));
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), vectors)
}
