//! Tables of vectors beyond reading rows ([`Tensor::embedding`]): rows of bounded norm, and rows combined in bags.

use crate::functional::ScatterReduction;
use crate::tensor::{DType, Tensor};

/// How the rows of a bag are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Bag {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// The largest of each column.
    Max,
}

/// The options of [`Tensor::embedding_bag`]; the defaults are PyTorch's.
#[derive(Debug, Clone, Default)]
pub struct BagOptions {
    /// How the rows of a bag are combined.
    pub mode: Bag,
    /// For indices of one axis: where each bag starts, rising from 0; `u32` or `i32`, of one axis.
    pub offsets: Option<Tensor>,
    /// Whether the last offset is the number of indices, and starts no bag.
    pub include_last_offset: bool,
    /// A factor for each index; for sums only.
    pub weights: Option<Tensor>,
    /// An entry that counts as nothing.
    pub padding: Option<u32>,
    /// Whether gradients are divided, row by row, by how often the row was read.
    pub scale_grad_by_freq: bool,
}

impl Tensor {
    /// This table `[entries, width]` with the rows that `index` names brought down to a `p`-norm of `max_norm` where
    /// theirs is larger: what PyTorch's `max_norm` does to the weight before it reads. It records no gradient; give the
    /// result to the parameter, then read.
    ///
    /// # Panics
    /// If the table has not two axes.
    #[track_caller]
    pub fn embedding_renorm(&self, index: &Tensor, max_norm: f32, p: f32) -> Tensor {
        assert!(self.rank() == 2, "embedding_renorm: the table is {}; it must be [entries, width]", self.shape());
        let table = self.detach();
        let norm = table.norm_keep(&[1], p);
        // PyTorch's guard against a division by 0.
        let scaled = &table * &(max_norm / (&norm + 1e-7));
        let index = index.reshape(index.elements());
        let read = Tensor::full(self.device(), [self.shape()[0]], 0u32).index_fill(0, &index, 1u32);
        let large = norm.gt(max_norm).bitwise_and(&read.cast(DType::Bool).unsqueeze(1));
        Tensor::select(&large, &scaled, &table)
    }

    /// Rows of a table `[entries, width]`, combined in bags: each row of indices `[bags, n]` is one, or the parts of
    /// `[n]` that the offsets cut; the result is `[bags, width]`. A bag without entries gives zeros. PyTorch's
    /// `embedding_bag`.
    ///
    /// # Panics
    /// If the shapes do not fit, or there are weights but no sum.
    #[track_caller]
    pub fn embedding_bag(&self, index: &Tensor, options: &BagOptions) -> Tensor {
        let device = self.device();
        let (flat, n) = (index.reshape(index.elements()), index.elements());
        // The bag of each index.
        let (bags, bag) = match (&options.offsets, &index.shape()[..]) {
            (Some(offsets), [_]) if offsets.rank() == 1 => {
                let bags = offsets.elements().saturating_sub(usize::from(options.include_last_offset));
                let place = Tensor::iota(device, n, 0i32, 1i32);
                let behind = offsets.narrow(0, 0, bags).cast(DType::I32).searchsorted(&place, true);
                (bags, behind.sub(&Tensor::scalar(device, 1u32)))
            }
            (None, &[bags, each]) => {
                let rows = Tensor::iota(device, bags, 0u32, 1u32).unsqueeze(1);
                (bags, rows.broadcast_to([bags, each]).reshape(n))
            }
            (offsets, _) => panic!(
                "embedding_bag: indices {} with offsets {:?}; it takes [n] with offsets [bags], or [bags, n] without",
                index.shape(),
                offsets.as_ref().map(Tensor::shape)
            ),
        };
        let mut rows = match options.scale_grad_by_freq {
            true => self.embedding_by_frequency(&flat, options.padding),
            false => self.embedding(&flat, options.padding),
        };
        if let Some(weights) = &options.weights {
            assert!(
                options.mode == Bag::Sum && weights.shape() == index.shape(),
                "embedding_bag: weights {} for indices {}; they must have one shape, and the bags must be sums",
                weights.shape(),
                index.shape()
            );
            rows = &rows * &weights.reshape([n, 1]);
        }
        // What is padding goes to a bag that does not exist.
        let bag = match options.padding {
            Some(padding) => {
                let padding = flat.equal(&Tensor::scalar(device, padding).cast(flat.dtype()));
                Tensor::select(&padding, &Tensor::scalar(device, bags as u32), &bag)
            }
            None => bag,
        };
        let width = rows.shape()[1];
        let zeros = Tensor::zeros(device, [bags, width]);
        let how = match options.mode {
            Bag::Max => ScatterReduction::Max,
            _ => ScatterReduction::Sum,
        };
        let to = bag.unsqueeze(1).broadcast_to([n, width]);
        let y = zeros.scatter_reduce(0, &to, &rows, how, false);
        if options.mode != Bag::Mean {
            return y;
        }
        let count = bag.bincount(bags, None).cast(DType::F32).clamp_min(1.0);
        &y / &count.unsqueeze(1)
    }
}
