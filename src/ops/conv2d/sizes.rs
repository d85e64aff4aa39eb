//! The sizes of a convolution, the choice of algorithm, and the way over columns: patches written out and multiplied.

use std::ops::Range;

use super::implicit::Kernel;
use super::{Conv2d, Conv2dInputGrad, Conv2dWeightGrad};
use crate::error::ShapeError;
use crate::ops::im2col::{Patches, Window, windows_over};
use crate::ops::matmul::{Gemm, Matrix, TILE_32, TILE_32X64, TILE_64, TILE_128, tile_for};
use crate::tensor::{Caps, Lower, Op, Slot};

/// How a convolution is computed on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The columns are the image as it lies in memory: one product.
    Identity,
    /// The columns are written out, and then multiplied.
    Columns,
    /// A product that reads the patches where they lie.
    Implicit(Kernel),
}

impl Algorithm {
    /// All but [`Algorithm::Identity`], which is always best.
    pub const ALL: [Algorithm; 9] = [
        Algorithm::Columns,
        Algorithm::Implicit(Kernel::Direct),
        Algorithm::Implicit(Kernel::Broadcast),
        Algorithm::Implicit(Kernel::Tiled(TILE_32)),
        Algorithm::Implicit(Kernel::Tiled(TILE_32X64)),
        Algorithm::Implicit(Kernel::Tiled(TILE_64)),
        Algorithm::Implicit(Kernel::Tiled(TILE_128)),
        Algorithm::Implicit(Kernel::Cooperative(4)),
        Algorithm::Implicit(Kernel::Cooperative(8)),
    ];

    /// Its name in [`Caps::variant`], in tables of measurements and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Identity => "identity",
            Algorithm::Columns => "columns",
            Algorithm::Implicit(Kernel::Direct) => "direct",
            Algorithm::Implicit(Kernel::Broadcast) => "implicit_broadcast",
            Algorithm::Implicit(Kernel::Tiled(TILE_32)) => "implicit32",
            Algorithm::Implicit(Kernel::Tiled(TILE_32X64)) => "implicit32x64",
            Algorithm::Implicit(Kernel::Tiled(TILE_64)) => "implicit64",
            Algorithm::Implicit(Kernel::Tiled(_)) => "implicit128",
            Algorithm::Implicit(Kernel::Cooperative(4)) => "implicit_coop4",
            Algorithm::Implicit(Kernel::Cooperative(_)) => "implicit_coop8",
        }
    }
}

/// A convolution or one of its gradients, as a product of this many rows and columns for each group.
#[derive(Debug, Clone, Copy)]
struct Extent {
    rows: usize,
    columns: usize,
    /// Terms of each sum.
    terms: usize,
    /// Products of which it is made: one for each residue of a pixel by the stride, of the gradient of the input.
    products: usize,
    /// Its columns are few and its sums long.
    sum_over_images: bool,
    /// Both operands are stored as halves.
    halves: bool,
}

/// With this many windows in an image, little of its last tile is empty.
const WHOLE_TILES: usize = 256;
/// With fewer rows than this a tile is mostly empty.
const FEW_ROWS: usize = 8;

/// The sizes of one convolution, and where its operands lie.
pub(super) struct Sizes {
    pub window: Window,
    pub groups: usize,
    pub images: usize,
    pub channels: usize,
    pub size: [usize; 2],
    pub outs: usize,
    pub out: [usize; 2],
}

/// Columns are made for as many images as fit this many elements (64 MiB) at a time.
const MOST_COLUMNS: usize = 16 << 20;

impl Sizes {
    pub fn new(op: &str, conv: &Conv2d, x: [usize; 4], outs: usize, kernel: [usize; 2]) -> Result<Self, ShapeError> {
        let [images, channels, h, w] = x;
        let window = conv.window(kernel);
        if conv.groups == 0 || !channels.is_multiple_of(conv.groups) || !outs.is_multiple_of(conv.groups) {
            let problem = format!(
                "{} groups of {channels} input and {outs} output channels; the number of groups must divide both",
                conv.groups
            );
            return Err(ShapeError::new(op, problem));
        }
        let out = windows_over(op, &window, [h, w])?;
        Ok(Sizes { window, groups: conv.groups, images, channels, size: [h, w], outs, out })
    }

    /// Windows per image.
    pub fn windows(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Elements of one image.
    pub fn image(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// Elements of the result of one image.
    pub fn result(&self) -> usize {
        self.outs * self.windows()
    }

    /// Rows of the columns of one image, over all groups.
    fn rows(&self) -> usize {
        self.channels * self.window.taps()
    }

    /// Rows of the columns of one group.
    pub fn depth(&self) -> usize {
        self.rows() / self.groups
    }

    /// Output channels of one group.
    pub fn group(&self) -> usize {
        self.outs / self.groups
    }

    /// Whether the columns are the image as it lies in memory.
    fn in_place(&self) -> bool {
        let Window { kernel, stride, padding, dilation } = self.window;
        let one_tap = kernel == [1, 1] && stride == [1, 1];
        let one_window = kernel == self.size && dilation == [1, 1];
        padding == [0; 4] && (one_tap || one_window)
    }

    /// The choice of algorithm.
    fn algorithm(&self, extent: Extent, caps: Caps) -> Algorithm {
        // A tile of a product lies within one image, one of an implicit product across images: small maps fill only
        // that.
        let fills = caps.software || self.images == 1 || self.windows() == 1 || self.windows() >= WHOLE_TILES;
        if self.in_place() && fills {
            return Algorithm::Identity;
        }
        // `direct` keeps its rows in registers; that of the sums has one row to a workgroup.
        let direct = extent.sum_over_images || extent.rows <= FEW_ROWS;
        let admits = |a: &Algorithm| match a {
            Algorithm::Implicit(Kernel::Direct) => direct,
            Algorithm::Implicit(Kernel::Broadcast) => caps.can_broadcast(),
            Algorithm::Implicit(Kernel::Cooperative(_)) => extent.halves && caps.has_matrices(),
            Algorithm::Implicit(Kernel::Tiled(TILE_128)) => caps.has_large_tiles(),
            _ => true,
        };
        if let Some(wanted) = caps.variant
            && let Some(found) = Algorithm::ALL.into_iter().filter(admits).find(|a| a.name() == wanted)
        {
            return found;
        }
        if caps.software {
            // Without broadcasts divisions and branches per pixel cost more there than columns do.
            let broadcast = Algorithm::Implicit(Kernel::Broadcast);
            return if caps.can_broadcast() { broadcast } else { Algorithm::Columns };
        }
        // A product for each residue is a launch for each, one after another: on an H200, with tiles half as deep,
        // columns took 0.16 to 0.9 of the time of seven such gradients, and 1.05 of an eighth.
        if extent.products > 1 && self.images * self.rows() * self.windows() <= MOST_COLUMNS {
            return Algorithm::Columns;
        }
        // Cooperative matrices only where they were measured to be faster: their loads are one element at a time.
        Algorithm::Implicit(match extent {
            Extent { rows, .. } if rows < FEW_ROWS => Kernel::Direct,
            Extent { rows, columns, terms, .. } => Kernel::Tiled(tile_for([rows, columns, terms], self.groups, caps)),
        })
    }

    /// Runs of images and of their windows whose columns fit the memory for them.
    fn chunks(&self, cx: &Lower) -> Vec<(Range<usize>, Range<usize>)> {
        let (n, p) = (self.images, self.windows());
        let most = MOST_COLUMNS.min((cx.caps().max_binding / 4) as usize);
        let each = (self.rows() * p).max(1);
        if self.in_place() {
            return vec![(0..n, 0..p)];
        }
        if each <= most {
            let run = most / each;
            return (0..n).step_by(run).map(|i| (i..(i + run).min(n), 0..p)).collect();
        }
        let run = (most / self.rows()).max(1);
        let windows = (0..p).step_by(run).map(|q| q..(q + run).min(p));
        (0..n).flat_map(|i| windows.clone().map(move |q| (i..i + 1, q))).collect()
    }

    /// Memory for the columns of the largest of `chunks`, or the images themselves.
    fn columns(&self, cx: &mut Lower, images: Slot) -> Slot {
        if self.in_place() {
            return images;
        }
        let largest = self.chunks(cx).iter().map(|(i, q)| i.len() * q.len()).max().unwrap_or(0);
        cx.temp(largest * self.rows())
    }

    fn patches(&self, images: &Range<usize>, windows: &Range<usize>) -> Patches<'_> {
        Patches {
            window: &self.window,
            channels: self.channels,
            size: self.size,
            out: self.out,
            images: images.clone(),
            windows: windows.clone(),
        }
    }

    /// The weight of each group as a matrix of `group()` rows.
    fn weight(&self, slot: Slot) -> Matrix {
        let depth = self.depth() as isize;
        let inner = self.group() as isize * depth;
        Matrix { slot, base: 0, outer: 0, inner, k_outer: 0, row: depth, col: 1 }
    }

    /// The columns of each image and group as a matrix of `depth()` rows.
    fn cols(&self, slot: Slot, windows: usize) -> Matrix {
        let (image, group) = ((self.rows() * windows) as isize, (self.depth() * windows) as isize);
        Matrix { slot, base: 0, outer: image, inner: group, k_outer: image, row: windows as isize, col: 1 }
    }

    /// The result of each image and group as a matrix of `group()` rows.
    fn y(&self, slot: Slot, images: &Range<usize>, windows: &Range<usize>) -> Matrix {
        let (image, p) = (self.result() as isize, self.windows() as isize);
        let base = images.start * self.result() + windows.start;
        Matrix { slot, base, outer: image, inner: self.group() as isize * p, k_outer: image, row: p, col: 1 }
    }

    /// `c = a b` for each image and group, where `c` is `m` by the windows. With one window per image the columns of
    /// all images stand side by side, and make one wide product instead of many thin ones.
    fn product(&self, [m, k]: [usize; 2], images: usize, windows: usize, [a, b, c]: [Matrix; 3]) -> Gemm {
        let one_product = windows == 1 && images > 1;
        let wide = |x: Matrix| Matrix { outer: 0, col: x.outer, ..x };
        let (b, c) = if one_product { (wide(b), wide(c)) } else { (b, c) };
        let (n, outer) = if one_product { (images, 1) } else { (windows, images) };
        Gemm { m, n, k, batch: [outer, self.groups], k_outer: 1, a, b, c, accumulate: false, finish: false, sum: None }
    }
}

fn transposed(x: Matrix) -> Matrix {
    Matrix { row: x.col, col: x.row, ..x }
}

/// Writes zeros: a product of which the sum is empty.
fn zeros(cx: &mut Lower, slot: Slot) {
    let c = Matrix { slot, base: 0, outer: 0, inner: 0, k_outer: 0, row: slot.len as isize, col: 1 };
    let [m, k] = [1, 0];
    Gemm { m, n: slot.len, k, batch: [1, 1], k_outer: 1, a: c, b: c, c, accumulate: false, finish: true, sum: None }
        .launch(cx);
}

fn axes(cx: &Lower, i: usize) -> [usize; 4] {
    let &[a, b, c, d] = &cx.meta(i).shape[..] else { unreachable!("inferred") };
    [a, b, c, d]
}

pub(super) fn lower_forward(op: &Conv2d, cx: &mut Lower) {
    let [outs, _, kh, kw] = axes(cx, 1);
    let s = Sizes::new(Conv2d::NAME, op, axes(cx, 0), outs, [kh, kw]).expect("inferred");
    let y = cx.output(0);
    if s.depth() * s.image() == 0 {
        return zeros(cx, y);
    }
    let (x, weight) = (cx.input(0), cx.input(1));
    let extent = Extent {
        rows: s.group(),
        columns: s.images * s.windows(),
        terms: s.depth(),
        products: 1,
        sum_over_images: false,
        halves: x.half && weight.half,
    };
    if let Algorithm::Implicit(kernel) = s.algorithm(extent, cx.caps()) {
        return s.implicit_forward(kernel, [x, weight, y], cx);
    }
    let cols = s.columns(cx, x);
    for (images, windows) in s.chunks(cx) {
        if !s.in_place() {
            s.patches(&images, &windows).gather(cx, x, cols);
        }
        let matrices = [s.weight(weight), s.cols(cols, windows.len()), s.y(y, &images, &windows)];
        let product = s.product([s.group(), s.depth()], images.len(), windows.len(), matrices);
        Gemm { finish: true, ..product }.launch(cx);
    }
}

pub(super) fn lower_input_grad(op: &Conv2dInputGrad, cx: &mut Lower) {
    let ([images, outs, ..], [_, per_group, kh, kw]) = (axes(cx, 0), axes(cx, 1));
    let shape = [images, per_group * op.conv.groups, op.size[0], op.size[1]];
    let s = Sizes::new(Conv2dInputGrad::NAME, &op.conv, shape, outs, [kh, kw]).expect("inferred");
    let dx = cx.output(0);
    if s.result() == 0 {
        return zeros(cx, dx);
    }
    let (dy, weight) = (cx.input(0), cx.input(1));
    let pixels = s.size[0].div_ceil(s.window.stride[0]) * s.size[1].div_ceil(s.window.stride[1]);
    let products = s.window.stride[0].min(s.size[0]) * s.window.stride[1].min(s.size[1]);
    let extent = Extent {
        rows: s.channels / s.groups,
        columns: s.images * pixels,
        terms: (s.group() * kh * kw).div_ceil(products),
        products,
        sum_over_images: false,
        halves: dy.half && weight.half,
    };
    if let Algorithm::Implicit(kernel) = s.algorithm(extent, cx.caps()) {
        return s.implicit_input_grad(kernel, [dy, weight, dx], cx);
    }
    let cols = s.columns(cx, dx);
    for (images, windows) in s.chunks(cx) {
        let matrices = [transposed(s.weight(weight)), s.y(dy, &images, &windows), s.cols(cols, windows.len())];
        let product = s.product([s.depth(), s.group()], images.len(), windows.len(), matrices);
        Gemm { finish: s.in_place(), ..product }.launch(cx);
        if !s.in_place() {
            s.patches(&images, &windows).scatter(cx, cols, dx, windows.start > 0);
        }
    }
}

pub(super) fn lower_weight_grad(op: &Conv2dWeightGrad, cx: &mut Lower) {
    let outs = axes(cx, 1)[1];
    let s = Sizes::new(Conv2dWeightGrad::NAME, &op.conv, axes(cx, 0), outs, op.kernel).expect("inferred");
    let dw = cx.output(0);
    if s.images * s.image() * s.result() == 0 {
        return zeros(cx, dw);
    }
    let (x, dy) = (cx.input(0), cx.input(1));
    let extent = Extent {
        rows: s.group(),
        columns: s.depth(),
        terms: s.images * s.windows(),
        products: 1,
        sum_over_images: true,
        halves: x.half && dy.half,
    };
    // The gradient of a bias reads the same.
    let sum = cx.sum_wanted(1, &[0, 2, 3]);
    if let Algorithm::Implicit(kernel) = s.algorithm(extent, cx.caps()) {
        return s.implicit_weight_grad(kernel, [x, dy, dw], sum, cx);
    }
    let cols = s.columns(cx, x);
    let chunks = s.chunks(cx);
    let count = chunks.len();
    for (i, (images, windows)) in chunks.into_iter().enumerate() {
        if !s.in_place() {
            s.patches(&images, &windows).gather(cx, x, cols);
        }
        Gemm {
            m: s.group(),
            n: s.depth(),
            k: windows.len(),
            batch: [1, s.groups],
            k_outer: images.len(),
            a: s.y(dy, &images, &windows),
            b: transposed(s.cols(cols, windows.len())),
            c: s.weight(dw),
            accumulate: i > 0,
            finish: i + 1 == count,
            sum: sum.filter(|_| count == 1),
        }
        .launch(cx);
    }
}
