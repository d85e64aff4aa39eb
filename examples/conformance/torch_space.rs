//! PyTorch's functions over three axes of space, and those that resample, and ours.

use wgrad::Tensor;
use wgrad::functional::{Conv3dOptions, GridMode, GridPadding, Interpolation, PadMode, Pool3dOptions};
use wgrad::ops::im2col::Window;

use crate::call::{Arg, Call, Outputs, Row, float, one, unsupported};
use crate::judge::Unsupported;

/// A batch of volumes, and whether it was one alone.
fn volumes(a: &Call) -> Result<(bool, Tensor), Unsupported> {
    let x = a.ft("input")?;
    match x.rank() {
        4 => Ok((true, x.unsqueeze(0))),
        5 => Ok((false, x)),
        rank => Err(Unsupported(format!("a volume of rank {rank}"))),
    }
}

fn back(alone: bool, y: Tensor) -> Tensor {
    if alone { y.squeeze(0) } else { y }
}

fn conv(a: &Call) -> Outputs {
    let (alone, mut x) = volumes(a)?;
    let weight = a.ft("weight")?;
    let bias = a.opt("bias")?.map(|b| float(&b));
    let (stride, dilation) = (a.pair::<3>("stride", 1)?, a.pair::<3>("dilation", 1)?);
    let padding = match a.get("padding") {
        Some(Arg::Text(t)) if t == "valid" => [0; 3],
        Some(Arg::Text(_)) => {
            // "same": what is odd goes to the end.
            let total: Vec<isize> = (0..3).map(|i| (dilation[i] * (weight.shape()[2 + i] - 1)) as isize).collect();
            let pads: Vec<isize> = total.iter().rev().flat_map(|t| [t / 2, t - t / 2]).collect();
            x = x.pad_mode(&pads, PadMode::Constant(0.0));
            [0; 3]
        }
        _ => a.pair::<3>("padding", 0)?,
    };
    if a.s("padding_mode", "zeros")? != "zeros" {
        return unsupported("padding_mode of volumes");
    }
    let options = Conv3dOptions { stride, padding, dilation, groups: a.i("groups", 1)? as usize };
    one(back(alone, x.conv3d(&weight, bias.as_ref(), &options)))
}

fn conv_transpose(a: &Call) -> Outputs {
    let (alone, x) = volumes(a)?;
    let bias = a.opt("bias")?.map(|b| float(&b));
    let options = Conv3dOptions {
        stride: a.pair::<3>("stride", 1)?,
        padding: a.pair::<3>("padding", 0)?,
        dilation: a.pair::<3>("dilation", 1)?,
        groups: a.i("groups", 1)? as usize,
    };
    let extra = a.pair::<3>("output_padding", 0)?;
    one(back(alone, x.conv_transpose3d(&a.ft("weight")?, bias.as_ref(), extra, &options)))
}

fn pool(a: &Call) -> Result<Pool3dOptions, Unsupported> {
    let mut options = Pool3dOptions::new(a.pair::<3>("kernel_size", 1)?);
    if a.ints("stride")?.is_some_and(|s| !s.is_empty()) {
        options.stride = a.pair::<3>("stride", 1)?;
    }
    options.padding = a.pair::<3>("padding", 0)?;
    options.ceil_mode = a.b("ceil_mode", false)?;
    Ok(options)
}

fn triple(a: &Call, x: &Tensor) -> Result<[usize; 3], Unsupported> {
    let wanted = a.ints("output_size")?.unwrap_or_default();
    let at = |i: usize| match wanted.get(i.min(wanted.len() - 1)) {
        Some(&i64::MIN) | None => x.shape()[2 + i],
        Some(&n) => n as usize,
    };
    Ok(std::array::from_fn(at))
}

/// `interpolate` and `Upsample`: by sizes or by scales.
fn interpolate(a: &Call, mode: &str, aligned: bool) -> Outputs {
    let x = a.ft("input")?;
    let aligned = a.b("align_corners", aligned)?;
    if a.b("antialias", false)? {
        return unsupported("antialias");
    }
    let mode = a.s("mode", mode)?;
    let rule = match (&*mode, aligned) {
        ("nearest", _) => Interpolation::Nearest,
        ("nearest-exact", _) => Interpolation::NearestExact,
        ("linear" | "bilinear" | "trilinear", false) => Interpolation::Linear,
        ("linear" | "bilinear" | "trilinear", true) => Interpolation::LinearAligned,
        ("bicubic", false) => Interpolation::Cubic,
        ("bicubic", true) => Interpolation::CubicAligned,
        ("area", _) => Interpolation::Area,
        _ => return unsupported(format!("mode {mode}")),
    };
    if !matches!(x.rank(), 3..=5) {
        return unsupported(format!("{} axes of space", x.rank() - 2));
    }
    let axes = x.rank() - 2;
    let spread = |all: Vec<f64>| if all.len() == axes { all } else { vec![all[0]; axes] };
    if let Some(size) = a.sizes("size")? {
        let size: Vec<usize> = spread(size.iter().map(|&n| n as f64).collect()).iter().map(|&n| n as usize).collect();
        return one(x.interpolate_to(&size, rule));
    }
    let scales: Vec<f64> = match a.get("scale_factor") {
        Some(Arg::Number(n, _)) => vec![*n],
        Some(Arg::List(all)) => {
            all.iter().filter_map(|s| if let Arg::Number(n, _) = s { Some(*n) } else { None }).collect()
        }
        _ => return unsupported("neither size nor scale_factor"),
    };
    let scales = spread(scales);
    if a.b("recompute_scale_factor", false)? {
        let size: Vec<usize> =
            x.shape()[2..].iter().zip(&scales).map(|(&n, s)| (n as f64 * s).floor() as usize).collect();
        return one(x.interpolate_to(&size, rule));
    }
    one(x.interpolate_by(&scales, rule))
}

/// The way back from a pooling that told positions; without a size, the one that the window came from.
fn unpool(a: &Call, axes: usize) -> Outputs {
    let (x, index) = (a.ft("input")?, a.t("indices")?);
    let lead = x.rank().saturating_sub(axes);
    let sizes = |name: &str, default: Vec<i64>| -> Result<Vec<i64>, Unsupported> {
        let given = a.ints(name)?.filter(|all| !all.is_empty()).unwrap_or(default);
        Ok(if given.len() == 1 { vec![given[0]; axes] } else { given })
    };
    let kernel = sizes("kernel_size", vec![1])?;
    let (stride, padding) = (sizes("stride", kernel.clone())?, sizes("padding", vec![0])?);
    let own = |i: usize| (x.shape()[lead + i] as i64 - 1) * stride[i] + kernel[i] - 2 * padding[i];
    let size = a.ints("output_size")?.unwrap_or_else(|| (0..axes).map(own).collect());
    let size: Vec<usize> = size[size.len() - axes..].iter().map(|&n| n as usize).collect();
    let alone = lead == 1;
    let batch = |t: &Tensor| if alone { t.unsqueeze(0) } else { t.clone() };
    let (x, index) = (batch(&x), batch(&index));
    one(back(
        alone,
        match size[..] {
            [n] => x.max_unpool1d(&index, n),
            [h, w] => x.max_unpool2d(&index, [h, w]),
            _ => x.max_unpool3d(&index, [size[0], size[1], size[2]]),
        },
    ))
}

const UNPOOL: &str = "input indices kernel_size stride padding output_size";
const INTERPOLATE: &str = "input size scale_factor mode align_corners recompute_scale_factor antialias";

/// The rows.
pub const ROWS: &[Row] = &[
    ("nn.functional.conv3d", "input weight bias stride padding dilation groups padding_mode", conv),
    (
        "nn.functional.conv_transpose3d",
        "input weight bias stride padding output_padding groups dilation",
        conv_transpose,
    ),
    ("nn.functional.max_pool3d", "input kernel_size stride padding dilation ceil_mode return_indices", |a| {
        let (alone, x) = volumes(a)?;
        let mut options = pool(a)?;
        options.dilation = a.pair::<3>("dilation", 1)?;
        let (y, index) = x.max_pool3d_with_indices(&options);
        let mut all = vec![back(alone, y)];
        if a.b("return_indices", false)? {
            all.push(back(alone, index));
        }
        Ok(all)
    }),
    (
        "nn.functional.avg_pool3d",
        "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
        |a| {
            let (alone, x) = volumes(a)?;
            let mut options = pool(a)?;
            options.count_include_pad = a.b("count_include_pad", true)?;
            // A divisor may be negative there.
            let divisor = a.num("divisor_override")?;
            options.divisor_override = divisor.map(|_| 1);
            let y = x.avg_pool3d(&options);
            one(back(alone, divisor.map_or(y.clone(), |d| &y / d as f32)))
        },
    ),
    ("nn.functional.lp_pool3d", "input norm_type kernel_size stride ceil_mode", |a| {
        let (alone, x) = volumes(a)?;
        one(back(alone, x.lp_pool3d(a.f("norm_type", 2.0)? as f32, &pool(a)?)))
    }),
    ("nn.functional.adaptive_avg_pool3d", "input output_size", |a| {
        let (alone, x) = volumes(a)?;
        let size = triple(a, &x)?;
        one(back(alone, x.adaptive_avg_pool3d(size)))
    }),
    ("nn.functional.adaptive_max_pool3d", "input output_size return_indices", |a| {
        let (alone, x) = volumes(a)?;
        let size = triple(a, &x)?;
        let (y, index) = x.adaptive_max_pool3d_with_indices(size);
        let mut all = vec![back(alone, y)];
        if a.b("return_indices", false)? {
            all.push(back(alone, index));
        }
        Ok(all)
    }),
    ("nn.functional.interpolate", INTERPOLATE, |a| interpolate(a, "nearest", false)),
    ("nn.functional.interpolate.nearest nn.functional.upsample_nearest", INTERPOLATE, |a| {
        interpolate(a, "nearest", false)
    }),
    ("nn.functional.interpolate.nearest-exact", INTERPOLATE, |a| interpolate(a, "nearest-exact", false)),
    ("nn.functional.interpolate.linear", INTERPOLATE, |a| interpolate(a, "linear", false)),
    ("nn.functional.upsample_bilinear", INTERPOLATE, |a| interpolate(a, "bilinear", true)),
    (
        "nn.functional.interpolate.bilinear nn.functional.interpolate.trilinear nn.functional.interpolate.area \
         nn.functional.interpolate.bicubic",
        INTERPOLATE,
        |a| interpolate(a, "bilinear", false),
    ),
    ("nn.functional.grid_sample", "input grid mode padding_mode align_corners", |a| {
        let mode = match &*a.s("mode", "bilinear")? {
            "bilinear" => GridMode::Linear,
            "nearest" => GridMode::Nearest,
            "bicubic" => GridMode::Cubic,
            other => return unsupported(format!("mode {other}")),
        };
        let padding = match &*a.s("padding_mode", "zeros")? {
            "zeros" => GridPadding::Zeros,
            "border" => GridPadding::Border,
            "reflection" => GridPadding::Reflection,
            other => return unsupported(format!("padding_mode {other}")),
        };
        one(a.ft("input")?.grid_sample(&a.ft("grid")?, mode, padding, a.b("align_corners", false)?))
    }),
    ("grid_sampler_2d grid_sampler_3d", "input grid interpolation_mode padding_mode align_corners", |a| {
        let modes = [GridMode::Linear, GridMode::Nearest, GridMode::Cubic];
        let paddings = [GridPadding::Zeros, GridPadding::Border, GridPadding::Reflection];
        let (mode, padding) = (a.i("interpolation_mode", 0)? as usize, a.i("padding_mode", 0)? as usize);
        let aligned = a.b("align_corners", false)?;
        one(a.ft("input")?.grid_sample(&a.ft("grid")?, modes[mode], paddings[padding], aligned))
    }),
    ("nn.functional.max_unpool1d nn.functional.max_unpool1d.grad", UNPOOL, |a| unpool(a, 1)),
    ("nn.functional.max_unpool2d nn.functional.max_unpool2d.grad", UNPOOL, |a| unpool(a, 2)),
    ("nn.functional.max_unpool3d nn.functional.max_unpool3d.grad", UNPOOL, |a| unpool(a, 3)),
    ("nn.functional.unfold", "input kernel_size dilation padding stride", |a| {
        let x = a.ft("input")?;
        let alone = x.rank() == 3;
        let x = if alone { x.unsqueeze(0) } else { x };
        let [h, w] = a.pair::<2>("padding", 0)?;
        let (kernel, stride) = (a.pair::<2>("kernel_size", 1)?, a.pair::<2>("stride", 1)?);
        let window = Window { kernel, stride, padding: [h, h, w, w], dilation: a.pair::<2>("dilation", 1)? };
        let y = x.im2col(&window);
        let y = if y.rank() == 4 { y.flatten_axes(2, 3) } else { y };
        one(back(alone, y))
    }),
];
