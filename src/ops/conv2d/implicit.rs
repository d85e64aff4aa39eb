//! Convolution without columns in memory: products whose second operand is the patches of an image, read where they
//! lie.
//!
//! What the numbers of `n` and `k` mean, and how the gradients are the same product, stands in
//! `shaders/shared/patches.wgsl`.

use super::sizes::Sizes;
use crate::device::Shader;
use crate::ops::matmul::{BROADCAST_TILE, Tile, add_slices, broadcast_rows, cooperative_tile, shader, slice_length};
use crate::tensor::{Caps, Lower, LoweredDispatch, Slot, SumWanted};

const TILED: Shader = shader!(
    "conv2d": "shared/epilogue" "shared/patches" "shared/tile" "shared/no_sums" "shared/rows" "conv2d_rows" "conv2d");
const TILED_SUMS: Shader = shader!(
    "conv2d": "shared/epilogue" "shared/patches" "shared/tile" "shared/sums" "shared/rows" "conv2d_rows" "conv2d");
/// The same where A is read in whole vec4s.
const VEC4: Shader =
    shader!("conv2d": "shared/epilogue" "shared/patches" "shared/tile" "shared/no_sums" "conv2d_rows_vec4" "conv2d");
const VEC4_SUMS: Shader =
    shader!("conv2d": "shared/epilogue" "shared/patches" "shared/tile" "shared/sums" "conv2d_rows_vec4" "conv2d");
const COOPERATIVE_8: Shader = shader!(
    "conv2d_coop": "shared/coop8" "shared/epilogue" "shared/patches" "shared/coop_tile" "shared/rows" "conv2d_coop");
const COOPERATIVE_16: Shader = shader!(
    "conv2d_coop": "shared/coop16" "shared/epilogue" "shared/patches" "shared/coop_tile" "shared/rows" "conv2d_coop");
macro_rules! broadcast {
    ($sums:literal $rows:literal) => {
        shader!("conv2d_subgroup": "shared/epilogue" "shared/patches" "shared/broadcast" $sums $rows "conv2d_subgroup")
    };
}
/// For subgroups of 8 in software, by whether A is read in whole vec4s.
const BROADCAST: [Shader; 2] =
    [broadcast!("shared/no_sums" "conv2d_subgroup_rows"), broadcast!("shared/no_sums" "conv2d_subgroup_rows_vec4")];
const BROADCAST_SUMS: [Shader; 2] = [
    broadcast!("shared/broadcast_sums" "conv2d_subgroup_rows"),
    broadcast!("shared/broadcast_sums" "conv2d_subgroup_rows_vec4"),
];
const DIRECT: Shader = shader!("conv2d_direct": "shared/epilogue" "shared/patches" "conv2d_direct");

crate::params! {
    struct ImplicitParams {
        m: u32, n: u32, k: u32, n1: u32, n2: u32, k1: u32, k2: u32,
        groups: u32, slices: u32, k_step: u32,
        a_base: i32, a_group: i32, a_row: i32, a_k0: i32, a_k1: i32, a_k2: i32,
        channels: u32, height: u32, width: u32,
        y_first: i32, x_first: i32, y_n: i32, x_n: i32, y_k: i32, x_k: i32,
        c_base: i32, c_slice: i32, c_group: i32, c_row: i32, c_n0: i32, c_n1: i32, c_n2: i32,
    }
}

/// Which kernel makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    Tiled(Tile),
    Direct,
    /// Tiles made by broadcasts, on a software rasteriser.
    Broadcast,
    /// Tiles of this many cooperative matrices a side, of halves.
    Cooperative(u32),
}

impl Kernel {
    /// Invocations of a workgroup.
    fn invocations(self, caps: Caps) -> u32 {
        match self {
            Kernel::Tiled(tile) => tile.invocations(),
            Kernel::Direct => 64,
            Kernel::Broadcast => 8,
            Kernel::Cooperative(matrices) => matrices * caps.subgroup,
        }
    }
}

/// A matrix whose columns (of `a`, the reduction; of `c`, `n`) are numbers of three digits: strides in elements.
struct Digits {
    base: usize,
    group: usize,
    row: usize,
    digits: [usize; 3],
}

/// `c[m, n] = sum over k of a[m, k] P[k, n]`, for each group.
struct Product {
    m: usize,
    /// Extents of the digits.
    n: [usize; 3],
    k: [usize; 3],
    a: Digits,
    /// The images that `P` is made of, all groups.
    channels: usize,
    size: [usize; 2],
    /// The pixel at digits 0, and pixels per digit of `n` and of `k`: down and across.
    first: [isize; 2],
    n_pixels: [isize; 2],
    k_pixels: [isize; 2],
    c: Digits,
    /// The first digit of `k` is an image and that of `n` a channel, not the other way round.
    sum_over_images: bool,
}

/// The most elements (64 MiB) of partial sums.
const MOST_PARTIAL: usize = 16 << 20;

impl Product {
    fn terms(&self) -> usize {
        self.k.iter().product()
    }

    fn columns(&self) -> usize {
        self.n.iter().product()
    }

    /// Whether four depths in a row of A, from a multiple of four on, are one vec4 of it.
    fn rows_in_vec4s(&self) -> bool {
        let [k0, k1, k2] = self.k;
        let [s0, s1, s2] = self.a.digits;
        // What of the digits lies side by side, from the last one on, and the strides of the others.
        let (run, others) = if s1 != k2 {
            (k2, [s0, s1])
        } else if s0 != k1 * k2 {
            (k1 * k2, [s0, 0])
        } else {
            (k0 * k1 * k2, [0, 0])
        };
        let all = [run, self.a.base, self.a.group, self.a.row, others[0], others[1]];
        s2 == 1 && all.iter().all(|n| n.is_multiple_of(4))
    }

    /// Workgroups for one slice.
    fn workgroups(&self, groups: usize, kernel: Kernel, caps: Caps) -> usize {
        let square = |extent: usize| self.m.div_ceil(extent) * self.columns().div_ceil(extent);
        let each = match kernel {
            Kernel::Tiled(tile) => {
                let (down, across) = tile.over(self.m, self.columns());
                down * across
            }
            Kernel::Cooperative(matrices) => square((matrices * caps.matrices) as usize),
            Kernel::Broadcast => self.m.div_ceil(broadcast_rows(self.m)) * self.columns().div_ceil(BROADCAST_TILE),
            Kernel::Direct if self.sum_over_images => self.m * self.columns().div_ceil(4),
            Kernel::Direct => self.columns().div_ceil(256),
        };
        each * groups
    }

    /// `sums`: where the sums of the rows of `a` go, slice by slice, if the kernel is to make them too.
    fn launch(
        &self,
        (groups, slices): (usize, usize),
        kernel: Kernel,
        at: [Slot; 3],
        sums: Option<Slot>,
        cx: &mut Lower,
    ) {
        let [a, pixels, c] = at;
        let [_, n1, n2] = self.n.map(|e| e as u32);
        let [_, k1, k2] = self.k.map(|e| e.max(1) as u32);
        let params = ImplicitParams {
            m: self.m as u32,
            n: self.columns() as u32,
            k: self.terms() as u32,
            n1,
            n2,
            k1,
            k2,
            groups: groups as u32,
            slices: slices as u32,
            k_step: self.terms().div_ceil(slices).next_multiple_of(32) as u32,
            a_base: self.a.base as i32,
            a_group: self.a.group as i32,
            a_row: self.a.row as i32,
            a_k0: self.a.digits[0] as i32,
            a_k1: self.a.digits[1] as i32,
            a_k2: self.a.digits[2] as i32,
            channels: self.channels as u32,
            height: self.size[0] as u32,
            width: self.size[1] as u32,
            y_first: self.first[0] as i32,
            x_first: self.first[1] as i32,
            y_n: self.n_pixels[0] as i32,
            x_n: self.n_pixels[1] as i32,
            y_k: self.k_pixels[0] as i32,
            x_k: self.k_pixels[1] as i32,
            c_base: self.c.base as i32,
            c_slice: (c.len / slices) as i32,
            c_group: self.c.group as i32,
            c_row: self.c.row as i32,
            c_n0: self.c.digits[0] as i32,
            c_n1: self.c.digits[1] as i32,
            c_n2: self.c.digits[2] as i32,
        };
        let (caps, invocations) = (cx.caps(), kernel.invocations(cx.caps()));
        let launch = match kernel {
            Kernel::Tiled(tile) => {
                let text = match (self.rows_in_vec4s() && !a.half, sums.is_some()) {
                    (false, false) => TILED,
                    (false, true) => TILED_SUMS,
                    (true, false) => VEC4,
                    (true, true) => VEC4_SUMS,
                };
                tile.constants(LoweredDispatch::new(&text, "implicit"))
            }
            Kernel::Broadcast => {
                let texts = if sums.is_some() { &BROADCAST_SUMS } else { &BROADCAST };
                let text = &texts[(self.rows_in_vec4s() && !a.half) as usize];
                LoweredDispatch::new(text, "broadcast").constant("ROWS", broadcast_rows(self.m) as u32)
            }
            Kernel::Direct if self.sum_over_images => LoweredDispatch::new(&DIRECT, "direct_sum"),
            Kernel::Direct => LoweredDispatch::new(&DIRECT, "direct"),
            Kernel::Cooperative(matrices) => {
                let text = if caps.matrices == 8 { COOPERATIVE_8 } else { COOPERATIVE_16 };
                cooperative_tile(LoweredDispatch::new(&text, "cooperative"), matrices, [false; 2], caps)
            }
        };
        let launch = launch.constant("SUM_OVER_IMAGES", self.sum_over_images as u8);
        let launch = launch.read(a).read(pixels).params(&params);
        let launch = if slices > 1 { launch.write(c) } else { launch.finish(c) };
        let launch = sums.into_iter().fold(launch, LoweredDispatch::write);
        let workgroups = self.workgroups(groups, kernel, caps) * slices;
        cx.launch(launch.flat(workgroups * invocations as usize, invocations));
    }
}

/// Launches products that together fill `c`, over slices of the reduction where the largest would not fill the device.
/// `sum`: the sum of the rows of `a`, of one product, made besides where the kernel can.
fn launch_all(
    products: &[Product],
    groups: usize,
    kernel: Kernel,
    [a, pixels, c]: [Slot; 3],
    sum: Option<SumWanted>,
    cx: &mut Lower,
) {
    if c.len == 0 {
        return;
    }
    let terms = products.iter().map(Product::terms).max().unwrap_or(0);
    let workgroups = products.iter().map(|p| p.workgroups(groups, kernel, cx.caps())).max().unwrap_or(0);
    let invocations = kernel.invocations(cx.caps()) as usize;
    let most = MOST_PARTIAL.min((cx.caps().max_binding / 4) as usize) / c.len;
    let slices = terms.div_ceil(slice_length(terms, c.len, [workgroups, invocations], cx.caps())).min(most).max(1);
    let sum = sum.filter(|_| matches!(kernel, Kernel::Tiled(_) | Kernel::Broadcast)).map(|sum| cx.make_sum(sum));
    let mut place = |whole: Slot| if slices > 1 { cx.temp(slices * whole.len) } else { whole };
    let (target, sums) = (place(c), sum.map(place));
    for product in products {
        product.launch((groups, slices), kernel, [a, pixels, target], sums, cx);
    }
    if slices > 1 {
        add_slices(target, slices, c, sums.zip(sum), cx);
    }
}

impl Sizes {
    /// Strides of the weight of a group as a matrix of its output channels by its taps.
    fn weight_digits(&self) -> Digits {
        let [kh, kw] = self.window.kernel;
        Digits { base: 0, group: self.group() * self.depth(), row: self.depth(), digits: [kh * kw, kw, 1] }
    }

    /// Strides of the result of a group as a matrix of its output channels by all windows of all images.
    fn result_digits(&self) -> Digits {
        let p = self.windows();
        Digits { base: 0, group: self.group() * p, row: p, digits: [self.result(), self.out[1], 1] }
    }

    fn taps(&self) -> [usize; 3] {
        let [kh, kw] = self.window.kernel;
        [self.channels / self.groups, kh, kw]
    }

    fn all_windows(&self) -> [usize; 3] {
        [self.images, self.out[0], self.out[1]]
    }

    fn corner(&self) -> [isize; 2] {
        let [top, _, left, _] = self.window.padding;
        [-(top as isize), -(left as isize)]
    }

    /// `y` of `x` and `weight`.
    pub fn implicit_forward(&self, kernel: Kernel, [x, weight, y]: [Slot; 3], cx: &mut Lower) {
        let product = Product {
            m: self.group(),
            n: self.all_windows(),
            k: self.taps(),
            a: self.weight_digits(),
            channels: self.channels,
            size: self.size,
            first: self.corner(),
            n_pixels: self.window.stride.map(|s| s as isize),
            k_pixels: self.window.dilation.map(|d| d as isize),
            c: self.result_digits(),
            sum_over_images: false,
        };
        launch_all(&[product], self.groups, kernel, [weight, x, y], None, cx);
    }

    /// `dx` of `dy` and `weight`: one product for each residue of a pixel by the stride.
    pub fn implicit_input_grad(&self, kernel: Kernel, [dy, weight, dx]: [Slot; 3], cx: &mut Lower) {
        let [kh, kw] = self.window.kernel;
        let [h, w] = self.size;
        let [top, _, left, _] = self.window.padding;
        let (stride, dilation) = (self.window.stride, self.window.dilation);
        let axis = |i: usize, padding: usize| {
            (0..stride[i].min(self.size[i]))
                .map(move |r| Residue::of(r, self.size[i], self.window.kernel[i], stride[i], dilation[i], padding))
        };
        let mut products = Vec::new();
        for down in axis(0, top) {
            for across in axis(1, left) {
                products.push(Product {
                    m: self.channels / self.groups,
                    n: [self.images, down.pixels, across.pixels],
                    k: [self.group(), down.taps, across.taps],
                    a: Digits {
                        base: down.tap * kw + across.tap,
                        group: self.group() * self.depth(),
                        row: kh * kw,
                        digits: [self.depth(), down.tap_step * kw, across.tap_step],
                    },
                    channels: self.outs,
                    size: self.out,
                    first: [down.first, across.first],
                    n_pixels: [1, 1],
                    k_pixels: [-down.back, -across.back],
                    c: Digits {
                        base: down.pixel * w + across.pixel,
                        group: self.channels / self.groups * h * w,
                        row: h * w,
                        digits: [self.image(), stride[0] * w, stride[1]],
                    },
                    sum_over_images: false,
                });
            }
        }
        launch_all(&products, self.groups, kernel, [weight, dy, dx], None, cx);
    }

    /// `dw` of `x` and `dy`, and the sum of `dy` over all but its channels, if it is wanted.
    pub fn implicit_weight_grad(&self, kernel: Kernel, at: [Slot; 3], sum: Option<SumWanted>, cx: &mut Lower) {
        let [x, dy, dw] = at;
        let product = Product {
            m: self.group(),
            n: self.taps(),
            k: self.all_windows(),
            a: self.result_digits(),
            channels: self.channels,
            size: self.size,
            first: self.corner(),
            n_pixels: self.window.dilation.map(|d| d as isize),
            k_pixels: self.window.stride.map(|s| s as isize),
            c: self.weight_digits(),
            sum_over_images: true,
        };
        launch_all(&[product], self.groups, kernel, [dy, x, dw], sum, cx);
    }
}

/// Along one axis: the pixels of one residue by the stride, and the taps that meet them. Tap `t` of window `o` is at
/// pixel `o * stride + t * dilation - padding`.
struct Residue {
    /// The first pixel, and how many there are.
    pixel: usize,
    pixels: usize,
    /// The first tap that meets them, from one to the next, and how many there are.
    tap: usize,
    tap_step: usize,
    taps: usize,
    /// The window whose first tap meets the first pixel, and windows back from one tap to the next.
    first: isize,
    back: isize,
}

impl Residue {
    fn of(pixel: usize, size: usize, kernel: usize, stride: usize, dilation: usize, padding: usize) -> Self {
        let common = gcd(stride, dilation);
        let tap_step = stride / common;
        let offset = |tap: usize| (pixel + padding) as isize - (tap * dilation) as isize;
        let tap = (0..tap_step.min(kernel)).find(|&tap| offset(tap) % stride as isize == 0);
        let taps = tap.map_or(0, |tap| (kernel - tap).div_ceil(tap_step));
        let tap = tap.unwrap_or(0);
        Residue {
            pixel,
            pixels: (size - pixel).div_ceil(stride),
            tap,
            tap_step,
            taps,
            first: offset(tap).div_euclid(stride as isize),
            back: (dilation / common) as isize,
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
