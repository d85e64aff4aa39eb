//! Diagonals: a diagonal of a row-major matrix of `m` columns is every `m + 1`-th element, so it is a view, and writing
//! one into zeros is the gradient of that view.

use super::shape::{axes_of, refuse};
use crate::ops::view::Embed;
use crate::tensor::Tensor;

/// First element and length of a diagonal of `n` by `m`, counted from the main one to the right.
fn place(n: usize, m: usize, offset: isize) -> (usize, usize) {
    let (down, right) = ((-offset).max(0) as usize, offset.max(0) as usize);
    match n.saturating_sub(down).min(m.saturating_sub(right)) {
        0 => (0, 0),
        len => (down * m + right, len),
    }
}

impl Tensor {
    /// The diagonal of two axes, counted from the main one to the right, as a new last axis in place of them.
    #[track_caller]
    pub fn diagonal(&self, offset: isize, first: isize, second: isize) -> Tensor {
        let rank = self.rank();
        let [a, b] = axes_of("diagonal", &[first, second], rank)[..] else { unreachable!("two axes in, two out") };
        let mut axes: Vec<usize> = (0..rank).filter(|&axis| axis != a && axis != b).collect();
        axes.extend([a, b]);
        let (n, m) = (self.shape()[a], self.shape()[b]);
        let (start, len) = place(n, m, offset);
        let mut shape: Vec<usize> = axes[..rank - 2].iter().map(|&axis| self.shape()[axis]).collect();
        shape.push(n * m);
        let flat = self.permute(&axes).reshape(shape.as_slice());
        let (mut starts, mut steps) = (vec![0; rank - 1], vec![1; rank - 1]);
        (starts[rank - 2], shape[rank - 2], steps[rank - 2]) = (start, len, m as isize + 1);
        flat.slice(&starts, &shape, &steps)
    }

    /// Matrices that are zero but for a diagonal, which is the last axis of this tensor, counted from the main one to
    /// the right. Rows and columns become axes `first` and `second` of the result.
    #[track_caller]
    pub fn diag_embed(&self, offset: isize, first: isize, second: isize) -> Tensor {
        let rank = self.rank();
        let Some((&k, outer)) = self.shape().split_last() else {
            refuse("diag_embed", "a value of rank 0 is no diagonal".to_string())
        };
        let [a, b] = axes_of("diag_embed", &[first, second], rank + 1)[..] else {
            unreachable!("two axes in, two out")
        };
        let n = k + offset.unsigned_abs();
        let (start, _) = place(n, n, offset);
        let (mut shape, mut starts, mut steps) = (outer.to_vec(), vec![0; rank], vec![1; rank]);
        shape.push(n * n);
        (starts[rank - 1], steps[rank - 1]) = (start, n as isize + 1);
        let op = Embed { shape: shape.as_slice().into(), starts, steps };
        let flat = Tensor::apply(op, &[self]);
        shape.pop();
        shape.extend([n, n]);
        flat.reshape(shape).movedim(&[-2, -1], &[a as isize, b as isize])
    }

    /// The diagonal of a matrix, or the matrix with a row as its diagonal, counted from the main one to the right.
    #[track_caller]
    pub fn diag(&self, offset: isize) -> Tensor {
        match self.rank() {
            1 => self.diag_embed(offset, 0, 1),
            2 => self.diagonal(offset, 0, 1),
            _ => refuse("diag", format!("{} is neither row nor matrix; see diagonal and diag_embed", self.shape())),
        }
    }

    /// The sum of the main diagonal of a matrix.
    #[track_caller]
    pub fn trace(&self) -> Tensor {
        if self.rank() != 2 {
            refuse("trace", format!("{} is no matrix", self.shape()));
        }
        self.diagonal(0, 0, 1).sum_all()
    }
}
