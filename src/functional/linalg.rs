//! Products of vectors and matrices in PyTorch's many names, and distances. All of it is matrix products and
//! elementwise functions; what is only elementwise is fused.

use crate::error::fit;
use crate::ops::reduce::resolve_axis;
use crate::tensor::Tensor;

/// That a tensor has this many axes.
#[track_caller]
fn expect_rank(op: &str, what: &str, t: &Tensor, rank: usize) {
    assert!(t.rank() == rank, "{op}: the {what} is {}; it must have {rank} axes", t.shape());
}

/// `beta input + alpha product`. With `beta = 0` the input is not read, so that its NaN does not come through.
#[track_caller]
fn blend(input: &Tensor, product: &Tensor, beta: f32, alpha: f32) -> Tensor {
    let scaled = |t: &Tensor, by: f32| if by == 1.0 { t.clone() } else { t * by };
    if beta == 0.0 {
        return scaled(product, alpha);
    }
    &scaled(input, beta) + &scaled(product, alpha)
}

impl Tensor {
    /// `[m, k] x [k, n]` to `[m, n]`.
    ///
    /// # Panics
    /// If an operand is no matrix, or the inner extents differ.
    #[track_caller]
    pub fn mm(&self, other: &Tensor) -> Tensor {
        expect_rank("mm", "left operand", self, 2);
        expect_rank("mm", "right operand", other, 2);
        self.matmul(other)
    }

    /// `[b, m, k] x [b, k, n]` to `[b, m, n]`.
    ///
    /// # Panics
    /// If an operand is no batch of matrices, or the extents do not fit.
    #[track_caller]
    pub fn bmm(&self, other: &Tensor) -> Tensor {
        expect_rank("bmm", "left operand", self, 3);
        expect_rank("bmm", "right operand", other, 3);
        assert!(
            self.shape()[0] == other.shape()[0],
            "bmm: {} x {}; both must have as many matrices",
            self.shape(),
            other.shape()
        );
        self.matmul(other)
    }

    /// A matrix `[m, k]` times a vector `[k]`.
    ///
    /// # Panics
    /// If the operands have other shapes.
    #[track_caller]
    pub fn mv(&self, vector: &Tensor) -> Tensor {
        expect_rank("mv", "matrix", self, 2);
        expect_rank("mv", "vector", vector, 1);
        self.matmul(vector)
    }

    /// The sum of the products of two vectors' elements; rank 0.
    ///
    /// # Panics
    /// If the operands are no vectors of one length.
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Tensor {
        expect_rank("dot", "left operand", self, 1);
        expect_rank("dot", "right operand", other, 1);
        self.matmul(other)
    }

    /// The sum of products over the last axes: `[.., k]` and `[..', k]` give `[.., ..']`. An operand of rank 0 scales.
    ///
    /// # Panics
    /// If the last extents differ.
    #[track_caller]
    pub fn inner(&self, other: &Tensor) -> Tensor {
        if self.rank() == 0 || other.rank() == 0 {
            return self * other;
        }
        self.tensordot(other, &[-1], &[-1])
    }

    /// All products of two vectors' elements: `[m]` and `[n]` give `[m, n]`. Also called `ger`.
    ///
    /// # Panics
    /// If an operand is no vector.
    #[track_caller]
    pub fn outer(&self, other: &Tensor) -> Tensor {
        expect_rank("outer", "left operand", self, 1);
        expect_rank("outer", "right operand", other, 1);
        &self.unsqueeze(1) * &other.unsqueeze(0)
    }

    /// `beta input + alpha (a x b)` of matrices; the input broadcasts.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn addmm(&self, a: &Tensor, b: &Tensor, beta: f32, alpha: f32) -> Tensor {
        blend(self, &a.mm(b), beta, alpha)
    }

    /// `beta input + alpha (matrix x vector)`; the input broadcasts.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn addmv(&self, matrix: &Tensor, vector: &Tensor, beta: f32, alpha: f32) -> Tensor {
        blend(self, &matrix.mv(vector), beta, alpha)
    }

    /// `beta input + alpha (a outer b)`; the input broadcasts.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn addr(&self, a: &Tensor, b: &Tensor, beta: f32, alpha: f32) -> Tensor {
        blend(self, &a.outer(b), beta, alpha)
    }

    /// `beta input + alpha (a x b)` for a batch of matrices; the input broadcasts.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn baddbmm(&self, a: &Tensor, b: &Tensor, beta: f32, alpha: f32) -> Tensor {
        blend(self, &a.bmm(b), beta, alpha)
    }

    /// `beta input + alpha` times the sum of the products of a batch of matrices; the input broadcasts.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn addbmm(&self, a: &Tensor, b: &Tensor, beta: f32, alpha: f32) -> Tensor {
        expect_rank("addbmm", "left operand", a, 3);
        expect_rank("addbmm", "right operand", b, 3);
        // One product with a sum over matrices and columns.
        blend(self, &a.tensordot(b, &[0, 2], &[0, 1]), beta, alpha)
    }

    /// The sum of products over pairs of axes, one of each tensor; the others follow each other. An extent of 1
    /// stretches.
    ///
    /// # Panics
    /// If an axis does not exist or is named twice, or a pair has two extents.
    #[track_caller]
    pub fn tensordot(&self, other: &Tensor, axes: &[isize], other_axes: &[isize]) -> Tensor {
        let (a, b) = (Summed::of(self, axes), Summed::of(other, other_axes));
        // What stretches to meet an extent has one factor for all of it: the other side is summed first.
        let stretched = |t: &Tensor, own: &[usize], u: &Tensor, others: &[usize]| -> Tensor {
            let stretches = |&(&i, &j): &(&usize, &usize)| t.shape()[i] != 1 && u.shape()[j] == 1;
            let long: Vec<isize> = own.iter().zip(others).filter(stretches).map(|(&i, _)| i as isize).collect();
            if long.is_empty() { t.clone() } else { t.sum_keep(&long) }
        };
        let (x, y) = (stretched(self, &a.summed, other, &b.summed), stretched(other, &b.summed, self, &a.summed));
        if x.shape() != self.shape() || y.shape() != other.shape() {
            return x.tensordot(&y, axes, other_axes);
        }
        assert!(
            a.summed.len() == b.summed.len()
                && a.summed.iter().zip(&b.summed).all(|(&i, &j)| self.shape()[i] == other.shape()[j]),
            "tensordot: axes {axes:?} of {} with axes {other_axes:?} of {}; their extents must be equal in pairs",
            self.shape(),
            other.shape()
        );
        let k: usize = a.summed.iter().map(|&i| self.shape()[i]).product();
        let extent = |t: &Tensor, axes: &[usize]| axes.iter().map(|&i| t.shape()[i]).collect::<Vec<_>>();
        let (rows, columns) = (extent(self, &a.free), extent(other, &b.free));
        let left = self.permute(&[&a.free[..], &a.summed].concat()).reshape([rows.iter().product(), k]);
        let right = other.permute(&[&b.summed[..], &b.free].concat()).reshape([k, columns.iter().product()]);
        left.matmul(&right).reshape([rows, columns].concat())
    }

    /// [`Tensor::tensordot`] over the last `n` axes of this tensor and the first `n` of the other.
    ///
    /// # Panics
    /// If there are not that many, or their extents differ.
    #[track_caller]
    pub fn tensordot_last(&self, other: &Tensor, n: usize) -> Tensor {
        let axes: Vec<isize> = (0..n as isize).map(|i| i - n as isize).collect();
        self.tensordot(other, &axes, &(0..n as isize).collect::<Vec<_>>())
    }

    /// The Kronecker product: each element of this tensor times the whole other.
    #[track_caller]
    pub fn kron(&self, other: &Tensor) -> Tensor {
        let rank = self.rank().max(other.rank());
        let padded = |t: &Tensor| [vec![1; rank - t.rank()], t.shape().to_vec()].concat();
        let (a, b) = (padded(self), padded(other));
        let spread = |extents: &[usize], first: bool| -> Vec<usize> {
            extents.iter().flat_map(|&n| if first { [n, 1] } else { [1, n] }).collect()
        };
        let product = &self.reshape(spread(&a, true)) * &other.reshape(spread(&b, false));
        product.reshape(a.iter().zip(&b).map(|(m, n)| m * n).collect::<Vec<_>>())
    }

    /// `x W^T + b` for a weight `[out, in]` and a bias `[out]`: `[.., in]` to `[.., out]`.
    ///
    /// # Panics
    /// If the last axis is not the weight's.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        assert!(
            (1..=2).contains(&weight.rank()) && self.shape().last() == weight.shape().last(),
            "linear: the input is {}, the weight {}; their last axes must be equal",
            self.shape(),
            weight.shape()
        );
        let y = if weight.rank() == 1 { self.matmul(weight) } else { self.matmul(&weight.transpose(0, 1)) };
        bias.map_or(y.clone(), |bias| &y + bias)
    }

    /// `x1 W x2 + b` for each pair of rows, for a weight `[out, in1, in2]` and a bias `[out]`: PyTorch's `bilinear`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn bilinear(&self, other: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        expect_rank("bilinear", "weight", weight, 3);
        let y = Tensor::einsum("...i,oij,...j->...o", &[self, weight, other]);
        bias.map_or(y.clone(), |bias| &y + bias)
    }

    /// `alpha A B + beta C`, with `A` and `B` transposed first where asked (ONNX's `Gemm`, BLAS's `sgemm`); `C`
    /// broadcasts.
    ///
    /// # Panics
    /// If an operand is no matrix, or the shapes do not fit.
    #[track_caller]
    pub fn gemm(a: &Tensor, b: &Tensor, c: Option<&Tensor>, [alpha, beta]: [f32; 2], transposed: [bool; 2]) -> Tensor {
        expect_rank("gemm", "left operand", a, 2);
        expect_rank("gemm", "right operand", b, 2);
        let turned = |t: &Tensor, turn: bool| if turn { t.transpose(0, 1) } else { t.clone() };
        let product = turned(a, transposed[0]).matmul(&turned(b, transposed[1]));
        match c {
            Some(c) => blend(c, &product, beta, alpha),
            None => blend(&product, &product, 0.0, alpha),
        }
    }

    /// The product of several matrices, in the order that takes the fewest multiplications. The first may be a row and
    /// the last a column, of rank 1.
    ///
    /// # Panics
    /// If there are none, or the shapes do not fit.
    #[track_caller]
    pub fn multi_dot(matrices: &[&Tensor]) -> Tensor {
        let n = matrices.len();
        assert!(n > 0, "multi_dot: there is nothing to multiply");
        if n < 3 {
            return if n == 1 { matrices[0].clone() } else { matrices[0].matmul(matrices[1]) };
        }
        let rows = |i: usize| if matrices[i].rank() == 1 && i == 0 { 1 } else { matrices[i].shape()[0] as u64 };
        let columns = |i: usize| matrices[i].shape().get(1).map_or(1, |&c| c as u64);
        // cost[i][j]: of the product of matrices i to j, and behind which of them it is cut.
        let mut cost = vec![vec![(0u64, 0usize); n]; n];
        for length in 1..n {
            for i in 0..n - length {
                let j = i + length;
                let at = |cut: usize| cost[i][cut].0 + cost[cut + 1][j].0 + rows(i) * rows(cut + 1) * columns(j);
                cost[i][j] = (i..j).map(|cut| (at(cut), cut)).min().expect("there is at least one cut");
            }
        }
        #[track_caller]
        fn product(matrices: &[&Tensor], cost: &[Vec<(u64, usize)>], i: usize, j: usize) -> Tensor {
            if i == j {
                return matrices[i].clone();
            }
            let cut = cost[i][j].1;
            product(matrices, cost, i, cut).matmul(&product(matrices, cost, cut + 1, j))
        }
        product(matrices, &cost, 0, n - 1)
    }

    /// The matrix times itself, `n` times over; the identity for 0. Leading axes are batches.
    ///
    /// # Panics
    /// If the last two extents differ.
    #[track_caller]
    pub fn matrix_power(&self, n: u32) -> Tensor {
        let rank = self.rank();
        assert!(
            rank >= 2 && self.shape()[rank - 1] == self.shape()[rank - 2],
            "matrix_power: {} is no square matrix",
            self.shape()
        );
        let (mut result, mut square): (Option<Tensor>, _) = (None, self.clone());
        for bit in 0..u32::BITS - n.leading_zeros() {
            if bit > 0 {
                square = square.matmul(&square);
            }
            if n >> bit & 1 == 1 {
                result = Some(result.map_or(square.clone(), |r| r.matmul(&square)));
            }
        }
        result.unwrap_or_else(|| {
            let k = self.shape()[rank - 1];
            let rows = Tensor::full(self.device(), [k], 1u32).cumsum_exclusive(0);
            rows.one_hot(k).cast(self.dtype()).broadcast_to(self.shape())
        })
    }

    /// The cosine of the angle between two tensors along `axis`, which is gone; both broadcast. Lengths below `eps`
    /// count as `eps`; PyTorch's default is 1e-8.
    ///
    /// # Panics
    /// If the axis does not exist, or the shapes do not broadcast.
    #[track_caller]
    pub fn cosine_similarity(&self, other: &Tensor, axis: isize, eps: f32) -> Tensor {
        let shape = fit(self.shape().broadcast(other.shape(), "cosine_similarity"));
        let unit = |t: &Tensor| {
            let t = t.broadcast_to(&shape);
            &t / &t.norm_keep(&[axis], 2.0).clamp_min(eps)
        };
        (&unit(self) * &unit(other)).sum(&[axis])
    }

    /// The `p`-norm along the last axis of the difference, to which `eps` is added so that its slope exists. PyTorch's
    /// defaults are `p = 2` and 1e-6.
    ///
    /// # Panics
    /// If the shapes do not broadcast.
    #[track_caller]
    pub fn pairwise_distance(&self, other: &Tensor, p: f32, eps: f32) -> Tensor {
        (&(self - other) + eps).norm(&[-1], p)
    }

    /// The distances by `p`-norm between all rows of two tensors: `[.., m, k]` and `[.., n, k]` give `[.., m, n]`. From
    /// the differences themselves, which loses no digits where rows are close.
    ///
    /// # Panics
    /// If an operand has fewer than two axes, or the shapes do not fit.
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f32) -> Tensor {
        assert!(
            self.rank() >= 2 && other.rank() >= 2 && self.shape().last() == other.shape().last(),
            "cdist: {} and {}; each needs two axes, and the last ones must be equal",
            self.shape(),
            other.shape()
        );
        (&self.unsqueeze(self.rank() - 1) - &other.unsqueeze(other.rank() - 2)).norm(&[-1], p)
    }

    /// Vandermonde matrices of the vectors along the last axis: `[.., m]` gives `[.., m, n]`, each row the powers 0 to
    /// n - 1.
    #[track_caller]
    pub fn vander(&self, n: usize) -> Tensor {
        let x = self.unsqueeze(self.rank());
        let ones = x.ones_like();
        let powers = n.saturating_sub(1);
        let all = Tensor::concat(&[&ones, &x.broadcast_to([&self.shape()[..], &[powers]].concat())], -1);
        all.narrow(self.rank(), 0, n).cumprod(-1)
    }

    /// The cross product of vectors of three numbers along `axis`; both broadcast.
    ///
    /// # Panics
    /// If the shapes do not broadcast, or the axis has not three places.
    #[track_caller]
    pub fn cross(&self, other: &Tensor, axis: isize) -> Tensor {
        let shape = fit(self.shape().broadcast(other.shape(), "cross"));
        let along = fit(resolve_axis("cross", axis, shape.len()));
        assert!(shape[along] == 3, "cross: axis {along} of {shape}; it must have three places");
        let turned = |t: &Tensor, by: isize| t.broadcast_to(&shape).roll(&[by], &[along as isize]);
        turned(self, -1) * turned(other, -2) - turned(self, -2) * turned(other, -1)
    }

    /// Slices along `axis` with their `p`-norm brought down to `max_norm` where it is larger: PyTorch's `renorm`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn renorm(&self, p: f32, axis: isize, max_norm: f32) -> Tensor {
        let along = fit(resolve_axis("renorm", axis, self.rank()));
        let others: Vec<isize> = (0..self.rank() as isize).filter(|&a| a != along as isize).collect();
        let norm = self.norm_keep(&others, p);
        // PyTorch's guard against a division by 0.
        Tensor::select(&norm.gt(max_norm), &(self * &(max_norm / (&norm + 1e-7))), self)
    }

    /// The covariance between variables, the rows of a matrix `[variables, observations]`: `[variables, variables]`.
    /// Observations may have frequencies, whole numbers, and importances, both `[observations]`. `correction` is 1 in
    /// PyTorch's `cov`.
    ///
    /// # Panics
    /// If the tensor is no matrix, or the weights do not fit.
    #[track_caller]
    pub fn cov(&self, correction: f32, frequencies: Option<&Tensor>, importances: Option<&Tensor>) -> Tensor {
        expect_rank("cov", "input", self, 2);
        let ones = Tensor::ones(self.device(), [self.shape()[1]]);
        let float = |w: Option<&Tensor>| w.map_or(ones.clone(), |w| w.cast(crate::DType::F32));
        let (times, weights) = (float(frequencies), float(importances));
        let each = &times * &weights;
        let total = each.sum_keep(&[0]);
        let distance = self - &(&(self * &each).sum_keep(&[1]) / &total);
        let freedom = match importances {
            Some(_) => &total - &(&(&each * &weights).sum_keep(&[0]) / &total) * correction,
            None => total - correction,
        };
        (&distance * &each).matmul(&distance.transpose(0, 1)) / freedom.clamp_min(0.0)
    }

    /// The correlations between variables, the rows of a matrix `[variables, observations]`, from -1 to 1.
    ///
    /// # Panics
    /// If the tensor is no matrix.
    #[track_caller]
    pub fn corrcoef(&self) -> Tensor {
        let c = self.cov(1.0, None, None);
        let deviation = c.diagonal(0, 0, 1).sqrt();
        (&(&c / &deviation.unsqueeze(1)) / &deviation.unsqueeze(0)).clamp(-1.0, 1.0)
    }
}

/// Axes that are summed over, in the order given, and the others.
struct Summed {
    summed: Vec<usize>,
    free: Vec<usize>,
}

impl Summed {
    #[track_caller]
    fn of(t: &Tensor, axes: &[isize]) -> Summed {
        let summed: Vec<usize> = axes.iter().map(|&a| fit(resolve_axis("tensordot", a, t.rank()))).collect();
        let free: Vec<usize> = (0..t.rank()).filter(|a| !summed.contains(a)).collect();
        assert!(free.len() + summed.len() == t.rank(), "tensordot: an axis of {axes:?} is named twice");
        Summed { summed, free }
    }
}
