//! Tensors of known content: like others, in a row, on the diagonal.

use super::shape::refuse;
use crate::device::Device;
use crate::ops::view::Embed;
use crate::tensor::{DType, Element, Tensor};

impl Tensor {
    /// One number in the shape and type of this tensor.
    #[track_caller]
    pub fn full_like<E: Element>(&self, value: E) -> Tensor {
        Tensor::scalar(self.device(), value).cast(self.dtype()).broadcast_to(self.shape())
    }

    /// Zeros in the shape and type of this tensor.
    #[track_caller]
    pub fn zeros_like(&self) -> Tensor {
        self.number_like(0).broadcast_to(self.shape())
    }

    /// Ones in the shape and type of this tensor.
    #[track_caller]
    pub fn ones_like(&self) -> Tensor {
        self.number_like(1).broadcast_to(self.shape())
    }

    /// A small number of this tensor's type.
    fn number_like(&self, value: u8) -> Tensor {
        match self.dtype() {
            DType::F32 => Tensor::scalar(self.device(), value as f32),
            DType::I32 => Tensor::scalar(self.device(), value as i32),
            other => Tensor::scalar(self.device(), value as u32).cast(other),
        }
    }

    /// From `start` on in steps of `step`, without `end`. [`Tensor::iota`] counts, and has other types. How many there
    /// are is told in double precision, so that from 0.1 to 1.1 there is one.
    ///
    /// # Panics
    /// If the step is 0 or leads away from the end.
    #[track_caller]
    pub fn arange(device: &Device, start: f64, end: f64, step: f64) -> Tensor {
        let n = ((end - start) / step).ceil();
        if !n.is_finite() || (n < 0.0) {
            refuse("arange", format!("steps of {step} do not lead from {start} to {end}"));
        }
        Tensor::iota(device, n as usize, start as f32, step as f32)
    }

    /// `n` numbers from `start` to `end`, both included.
    #[track_caller]
    pub fn linspace(device: &Device, start: f32, end: f32, n: usize) -> Tensor {
        let step = ((end as f64 - start as f64) / n.saturating_sub(1).max(1) as f64) as f32;
        let near = Tensor::iota(device, n.div_ceil(2), start, step);
        // The second half from the end, so that both ends are exact.
        let far = Tensor::iota(device, n / 2, end, -step).flip(0);
        Tensor::concat(&[&near, &far], 0)
    }

    /// `n` powers of `base`, whose exponents go from `start` to `end`, both included.
    #[track_caller]
    pub fn logspace(device: &Device, start: f32, end: f32, n: usize, base: f32) -> Tensor {
        Tensor::scalar(device, base).pow(&Tensor::linspace(device, start, end, n))
    }

    /// Ones on the diagonal of an `n` by `m` matrix of zeros.
    #[track_caller]
    pub fn eye(device: &Device, n: usize, m: usize) -> Tensor {
        let op = Embed { shape: [n * m].into(), starts: vec![0], steps: vec![m as isize + 1] };
        Tensor::apply(op, &[&Tensor::ones(device, [n.min(m)])]).reshape([n, m])
    }

    /// Whether element `[i, j]` of the last two axes has `j - i <= diagonal`.
    pub(super) fn lower_triangle(&self, op: &str, diagonal: isize) -> Tensor {
        let &[.., n, m] = &self.shape()[..] else {
            refuse(op, format!("{} has no rows and columns; it takes at least two axes", self.shape()))
        };
        let last = Tensor::iota(self.device(), n, diagonal as i32, 1i32).unsqueeze(1);
        last.greater_equal(&Tensor::iota(self.device(), m, 0i32, 1i32))
    }

    /// Rows and columns of the last two axes up to a diagonal, counted from the main one to the right; zeros above it.
    #[track_caller]
    pub fn tril(&self, diagonal: isize) -> Tensor {
        Tensor::select(&self.lower_triangle("tril", diagonal), self, &self.number_like(0))
    }

    /// Rows and columns of the last two axes from a diagonal on, counted from the main one to the right; zeros below
    /// it.
    #[track_caller]
    pub fn triu(&self, diagonal: isize) -> Tensor {
        Tensor::select(&self.lower_triangle("triu", diagonal - 1), &self.number_like(0), self)
    }
}
