//! Pictures that are never quite the same: what a small training set is made larger by.
//!
//! They are layers, so they run on the device and draw from the pass: a run that is resumed draws what it would have
//! drawn, and an evaluation sees the pictures as they are. CIFAR's usual pair is [`RandomCrop`] by 4 and a flip of
//! every second picture (He et al., 2015, section 4.2).

use super::{Module, Pass};
use crate::tensor::{DType, Tensor};

/// In training, cuts a window of the same size out of each picture `[N, C, H, W]` after `padding` zeros were put around
/// it: the picture is shifted by up to so many pixels each way. It is torchvision's `RandomCrop(size, padding)`.
#[derive(Debug, Clone, Copy)]
pub struct RandomCrop {
    /// Rows and columns of zeros on each side.
    pub padding: usize,
}

/// In training, mirrors each picture `[N, C, H, W]` left to right with probability `p`.
#[derive(Debug, Clone, Copy)]
pub struct RandomHorizontalFlip {
    /// The probability, 0 to 1.
    pub p: f32,
}

crate::parameters!(RandomCrop {});
crate::parameters!(RandomHorizontalFlip {});

#[track_caller]
fn assert_pictures(what: &str, x: &Tensor) {
    assert!(x.rank() == 4, "{what}: an input of shape {}; it must be [N, C, H, W]", x.shape());
}

impl Module for RandomCrop {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        assert_pictures("random_crop", x);
        if !pass.training || self.padding == 0 {
            return x.clone();
        }
        let sides = (self.padding, self.padding);
        let padded = x.pad(&[(0, 0), (0, 0), sides, sides], 0.0);
        let mut window = |x: &Tensor, axis: usize, extent: usize| {
            let places = (2 * self.padding + 1) as f32;
            let first = Tensor::uniform(x.device(), [x.shape()[0], 1, 1, 1], &mut pass.rng) * places;
            let mut shape = [1; 4];
            shape[axis] = extent;
            let index = &first.cast(DType::U32) + &Tensor::iota(x.device(), extent, 0u32, 1).reshape(shape);
            x.take_along_dim(&index, axis as isize)
        };
        let rows = window(&padded, 2, x.shape()[2]);
        window(&rows, 3, x.shape()[3])
    }
}

impl Module for RandomHorizontalFlip {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        assert_pictures("random_horizontal_flip", x);
        if !pass.training || self.p == 0.0 {
            return x.clone();
        }
        let chosen = Tensor::bernoulli(x.device(), [x.shape()[0], 1, 1, 1], self.p, &mut pass.rng);
        Tensor::select(&chosen, &x.flip(3usize), x)
    }
}
