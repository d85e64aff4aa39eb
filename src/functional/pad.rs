//! Padding as `torch.nn.functional.pad` has it: pairs from the last axis on, negative ones cut off, and four ways to
//! fill.

use super::shape::refuse;
use crate::tensor::Tensor;

/// What stands around a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PadMode {
    /// One number.
    Constant(f32),
    /// The tensor mirrored at its border elements, which are not repeated.
    Reflect,
    /// The border elements.
    Replicate,
    /// The tensor again: what goes out on one side comes in on the other.
    Circular,
}

impl Tensor {
    /// A tensor with more on its sides: `padding` is (before, after) of the last axis, then (before, after) of the one
    /// before it, and so on, as in `torch.nn.functional.pad`. Negative numbers cut off. [`Tensor::pad`] counts axes
    /// from the first.
    ///
    /// # Panics
    /// If there are more pairs than axes, or half a pair; if more is cut off than there is, or more is mirrored or
    /// repeated.
    #[track_caller]
    pub fn pad_mode(&self, padding: &[isize], mode: PadMode) -> Tensor {
        if !padding.len().is_multiple_of(2) || padding.len() / 2 > self.rank() {
            let problem = format!("{padding:?} for shape {}; give (before, after) for at most each axis", self.shape());
            refuse("pad", problem);
        }
        let mut x = self.clone();
        let mut constant = vec![(0, 0); self.rank()];
        for (i, pair) in padding.chunks(2).enumerate() {
            let axis = self.rank() - 1 - i;
            let (cut_before, cut_after) = ((-pair[0]).max(0) as usize, (-pair[1]).max(0) as usize);
            let (before, after) = (pair[0].max(0) as usize, pair[1].max(0) as usize);
            let n = x.shape()[axis];
            if matches!(mode, PadMode::Replicate | PadMode::Reflect) {
                // PyTorch counts from the border of the whole axis, so what one side cuts off the other still repeats.
                let y = x.wrapped(axis, before, after, mode);
                let Some(left) = y.shape()[axis].checked_sub(cut_before + cut_after) else {
                    refuse("pad", format!("{pair:?} cuts off more than axis {axis} of {} has", self.shape()))
                };
                x = y.narrow(axis, cut_before, left);
                continue;
            }
            if cut_before + cut_after > n {
                refuse("pad", format!("{pair:?} cuts off more than axis {axis} of {} has", self.shape()));
            }
            x = x.narrow(axis, cut_before, n - cut_before - cut_after);
            match mode {
                PadMode::Constant(_) => constant[axis] = (before, after),
                _ => x = x.wrapped(axis, before, after, mode),
            }
        }
        match mode {
            PadMode::Constant(value) if constant.iter().any(|&pair| pair != (0, 0)) => x.pad(&constant, value),
            _ => x,
        }
    }

    /// One axis padded with its own elements.
    #[track_caller]
    fn wrapped(&self, axis: usize, before: usize, after: usize, mode: PadMode) -> Tensor {
        if before + after == 0 {
            return self.clone();
        }
        let n = self.shape()[axis];
        let most = match mode {
            PadMode::Reflect => n.saturating_sub(1),
            PadMode::Circular => n,
            _ if n > 0 => usize::MAX,
            _ => 0,
        };
        if before.max(after) > most {
            let problem =
                format!("({before}, {after}) around axis {axis} of {}: {mode:?} has at most {most}", self.shape());
            refuse("pad", problem);
        }
        let repeat = |at: usize, times: usize| {
            let mut shape = self.shape().to_vec();
            shape[axis] = times;
            self.narrow(axis, at, 1).broadcast_to(shape)
        };
        let (start, end) = match mode {
            PadMode::Reflect => {
                (self.narrow(axis, 1, before).flip(axis), self.narrow(axis, n - 1 - after, after).flip(axis))
            }
            PadMode::Constant(_) => unreachable!("a number is no element"),
            PadMode::Replicate => (repeat(0, before), repeat(n - 1, after)),
            PadMode::Circular => (self.narrow(axis, n - before, before), self.narrow(axis, 0, after)),
        };
        let parts: Vec<&Tensor> = [&start, self, &end].into_iter().filter(|part| part.shape()[axis] > 0).collect();
        Tensor::concat(&parts, axis as isize)
    }
}
