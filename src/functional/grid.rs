//! Images and volumes read at places that a tensor names: spatial transformers (Jaderberg et al. 2015).
//!
//! A place is read as a weighted sum of a few elements around it. Which they are has no slope, the weights have; so the
//! gradients, by the image and by the grid, are those of gathering, multiplying and adding. Beyond the image indices
//! name nothing, and what they gather is 0.

use crate::ops::gather::{Gather, Missing};
use crate::tensor::{DType, Tensor};

/// How a place between elements is read; PyTorch's `mode` of `grid_sample`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GridMode {
    /// Between its neighbours along each axis (`bilinear`; of volumes trilinear).
    Linear,
    /// The nearest element, halves to the even one (`nearest`). The grid has no slope.
    Nearest,
    /// Cubics through four neighbours along each axis (`bicubic`).
    Cubic,
}

/// What stands beyond the border; PyTorch's `padding_mode` of `grid_sample`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GridPadding {
    /// 0 (`zeros`).
    Zeros,
    /// The nearest element of the border (`border`).
    Border,
    /// The image, turned over at its border as often as needed (`reflection`).
    Reflection,
}

/// One axis of the image.
struct Line {
    extent: usize,
    padding: GridPadding,
    aligned: bool,
}

impl Line {
    /// A coordinate from -1 to 1 as a place between elements.
    fn place(&self, x: &Tensor) -> Tensor {
        let n = self.extent as f32;
        if self.aligned { (x + 1.0) * (0.5 * (n - 1.0)) } else { ((x + 1.0) * n - 1.0) * 0.5 }
    }

    /// A place brought inside.
    fn inside(&self, x: &Tensor) -> Tensor {
        let last = self.extent as f32 - 1.0;
        match self.padding {
            GridPadding::Zeros => x.clone(),
            GridPadding::Border => x.clamp(0.0, last),
            GridPadding::Reflection => {
                // Between the middles of the outermost elements, or between their outer edges.
                let (low, span) = if self.aligned { (0.0, last) } else { (-0.5, last + 1.0) };
                if span == 0.0 {
                    return x.zeros_like();
                }
                let far = (x - low).abs();
                let times = far.floor_divide(&Tensor::scalar(x.device(), span));
                let rest = &far - &(&times * span);
                let odd = times.remainder(&Tensor::scalar(x.device(), 2f32)).gt(0.5);
                (Tensor::select(&odd, &(span - &rest), &rest) + low).clamp(0.0, last)
            }
        }
    }

    /// The elements that a place is read from, as whole floats, and their weights.
    fn taps(&self, x: &Tensor, mode: GridMode) -> Vec<(Tensor, Option<Tensor>)> {
        let place = self.place(x);
        match mode {
            GridMode::Nearest => vec![(self.inside(&place).round(), None)],
            GridMode::Linear => {
                let place = self.inside(&place);
                let low = place.floor();
                let part = &place - &low;
                vec![(low.clone(), Some(1.0 - &part)), (low + 1.0, Some(part))]
            }
            GridMode::Cubic => {
                let low = place.floor();
                let part = &place - &low;
                // Not the place is brought inside but each of the four.
                let at = |k: f32| self.inside(&(&low + k)).round();
                vec![
                    (at(-1.0), Some(outer(&(&part + 1.0)))),
                    (at(0.0), Some(inner(&part))),
                    (at(1.0), Some(inner(&(1.0 - &part)))),
                    (at(2.0), Some(outer(&(2.0 - &part)))),
                ]
            }
        }
    }
}

/// The weight of an element up to 1 away (Keys 1981, with the coefficient -3/4).
fn inner(x: &Tensor) -> Tensor {
    &(x * 1.25 - 2.25) * &x.square() + 1.0
}

/// The weight of an element 1 to 2 away.
fn outer(x: &Tensor) -> Tensor {
    &(&(&(x * -0.75 + 3.75) * x) - 6.0) * x + 3.0
}

impl Tensor {
    /// Images `[n, c, h, w]` at the places of a grid `[n, out_h, out_w, 2]`, which gives `[n, c, out_h, out_w]`; or
    /// volumes `[n, c, d, h, w]` at those of `[n, out_d, out_h, out_w, 3]`. A place is (x, y) or (x, y, z): from -1 to
    /// 1 across the width, height and depth, where these are the middles of the outermost elements if `align_corners`,
    /// else their outer edges. PyTorch's `grid_sample`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn grid_sample(&self, grid: &Tensor, mode: GridMode, padding: GridPadding, align_corners: bool) -> Tensor {
        let (x, g) = (self.shape(), grid.shape());
        let axes = x.len().saturating_sub(2);
        assert!(
            matches!(axes, 2 | 3) && g.len() == x.len() && g[0] == x[0] && g[axes + 1] == axes,
            "grid_sample: {x} at {g}; it takes [n, c, h, w] with [n, out_h, out_w, 2], or [n, c, d, h, w] with \
             [n, out_d, out_h, out_w, 3]"
        );
        let (n, c) = (x[0], x[1]);
        let number = |v: f32| Tensor::scalar(self.device(), v);
        // Each combination of one element along each axis: its row-major index, where it lies inside, and its weight.
        let inside = Tensor::full(self.device(), [1], 1u32).cast(DType::Bool);
        let mut taps = vec![(Tensor::scalar(self.device(), 0i32), inside, None::<Tensor>)];
        for axis in 0..axes {
            let line = Line { extent: x[2 + axis], padding, aligned: align_corners };
            let along = line.taps(&grid.index_axis(-1, (axes - 1 - axis) as isize), mode);
            let (last, extent) = (line.extent as f32 - 1.0, Tensor::scalar(self.device(), line.extent as i32));
            let join = |(index, inside, weight): &(Tensor, Tensor, Option<Tensor>)| {
                let each = along.iter().map(|(at, own)| {
                    let here = at.ge(0.0).bitwise_and(&at.le(last));
                    let at = Tensor::select(&here, at, &number(0.0)).cast(DType::I32);
                    let weight = match (weight, own) {
                        (Some(a), Some(b)) => Some(a * b),
                        (a, b) => a.clone().or(b.clone()),
                    };
                    (index.mul(&extent).add(&at), inside.bitwise_and(&here), weight)
                });
                each.collect::<Vec<_>>()
            };
            taps = taps.iter().flat_map(join).collect();
        }
        let places = g[1..=axes].iter().product::<usize>();
        let flat = self.reshape([n, c, x[2..].iter().product()]);
        let read = |(index, inside, weight): &(Tensor, Tensor, Option<Tensor>)| {
            let at = Tensor::select(inside, index, &Tensor::scalar(self.device(), i32::MAX));
            let at = at.reshape([n, 1, places]).broadcast_to([n, c, places]);
            let y = Tensor::apply(Gather { axis: 2, missing: Missing::Zero }, &[&flat, &at]);
            weight.as_ref().map_or(y.clone(), |w| &y * &w.reshape([n, 1, places]))
        };
        let sum = taps.iter().map(read).reduce(|a, b| a + b).expect("there is at least one element to read");
        sum.reshape([&x[..2], &g[1..=axes]].concat())
    }

    /// The grid of [`Tensor::grid_sample`] that maps by matrices `[n, 2, 3]` to `[n, h, w, 2]`, or `[n, 3, 4]` to
    /// `[n, d, h, w, 3]`: each place (x, y, 1) or (x, y, z, 1) of an image of `size` times the matrix. PyTorch's
    /// `affine_grid`.
    ///
    /// # Panics
    /// If the matrices do not fit the size.
    #[track_caller]
    pub fn affine_grid(&self, size: &[usize], align_corners: bool) -> Tensor {
        let axes = size.len();
        assert!(
            matches!(axes, 2 | 3) && self.rank() == 3 && self.shape()[1..] == [axes, axes + 1],
            "affine_grid: matrices {} for the size {size:?}; [n, 2, 3] fits two sizes and [n, 3, 4] three",
            self.shape()
        );
        let device = self.device();
        let line = |n: usize| match (align_corners, n) {
            (true, 1) => Tensor::zeros(device, [1]),
            (true, _) => Tensor::linspace(device, -1.0, 1.0, n),
            (false, _) => Tensor::linspace(device, 1.0 / n as f32 - 1.0, 1.0 - 1.0 / n as f32, n),
        };
        let spread = |axis: usize| {
            let mut own = vec![1; axes];
            own[axis] = size[axis];
            line(size[axis]).reshape(own).broadcast_to(size)
        };
        let mut all: Vec<Tensor> = (0..axes).rev().map(spread).collect();
        all.push(Tensor::ones(device, size));
        let base = Tensor::stack(&all.iter().collect::<Vec<_>>(), -1).reshape([size.iter().product(), axes + 1]);
        base.matmul(&self.transpose(1, 2)).reshape([&[self.shape()[0]], size, &[axes]].concat())
    }
}
