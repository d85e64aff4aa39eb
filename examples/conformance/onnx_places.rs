//! ONNX's functions of places: grids, windows put back, masks, crops and caches; and ours.

use wgrad::functional::{GridMode, GridPadding, Interpolation};
use wgrad::ops::im2col::Window;
use wgrad::{DType, Tensor};

use crate::judge::Unsupported;
use crate::onnx::{Node, Outputs, Row, one, unsupported, whole};

fn fault(e: wgrad::Error) -> Unsupported {
    Unsupported(e.to_string())
}

fn places(n: &Node, values: &[u32], shape: impl Into<wgrad::Shape>) -> Result<Tensor, Unsupported> {
    Tensor::from_slice(n.device, values, shape).map_err(fault)
}

fn grid_sample(n: &Node) -> Outputs {
    let mode = match &*n.s("mode", "linear") {
        "linear" | "bilinear" => GridMode::Linear,
        "nearest" => GridMode::Nearest,
        "cubic" | "bicubic" => GridMode::Cubic,
        other => return unsupported(format!("mode {other}")),
    };
    let padding = match &*n.s("padding_mode", "zeros") {
        "zeros" => GridPadding::Zeros,
        "border" => GridPadding::Border,
        "reflection" => GridPadding::Reflection,
        other => return unsupported(format!("padding_mode {other}")),
    };
    one(n.fx(0)?.grid_sample(&n.fx(1)?, mode, padding, n.i("align_corners", 0) != 0))
}

fn affine_grid(n: &Node) -> Outputs {
    let Some(size) = n.host(1)?.map(|h| h.ints()) else { return unsupported("no size") };
    let size: Vec<usize> = size[2..].iter().map(|&v| v as usize).collect();
    one(n.fx(0)?.affine_grid(&size, n.i("align_corners", 0) != 0))
}

fn col2im(n: &Node) -> Outputs {
    let (Some(image), Some(block)) = (n.host(1)?.map(|h| h.ints()), n.host(2)?.map(|h| h.ints())) else {
        return unsupported("an input is missing");
    };
    let (&[h, w], &[kh, kw]) = (&image[..], &block[..]) else { return unsupported("other than two axes of space") };
    let pair = |name: &str| n.ints(name).map_or([1, 1], |v| [v[0] as usize, v[1] as usize]);
    let pads = n.ints("pads").unwrap_or(vec![0; 4]);
    let window = Window {
        kernel: [kh as usize, kw as usize],
        stride: pair("strides"),
        dilation: pair("dilations"),
        padding: [pads[0], pads[2], pads[1], pads[3]].map(|p| p as usize),
    };
    one(n.fx(0)?.col2im(&window, [h as usize, w as usize]))
}

fn max_unpool(n: &Node) -> Outputs {
    let (x, at) = (n.fx(0)?, n.x(1)?);
    let &[batch, channels, h, w] = &x.shape()[..] else { return unsupported("other than two axes of space") };
    let kernel = n.ints("kernel_shape").unwrap_or_default();
    let stride = n.ints("strides").unwrap_or(vec![1; 2]);
    let pads = n.ints("pads").unwrap_or(vec![0; 4]);
    let own = |i: usize, count: usize| ((count as i64 - 1) * stride[i] + kernel[i] - pads[i] - pads[i + 2]) as usize;
    let size = [own(0, h), own(1, w)];
    // Positions are counted through all planes.
    let plane = (size[0] * size[1]) as i32;
    let at = at.remainder(&Tensor::scalar(n.device, plane));
    let y = x.max_unpool2d(&at, size);
    let Some(wanted) = n.host(2)?.map(|h| h.ints()) else { return one(y) };
    if wanted[..2] != [batch as i64, channels as i64] {
        return unsupported(format!("output_shape {wanted:?}"));
    }
    let more = |i: usize| (0, (wanted[2 + i] as usize).saturating_sub(size[i]));
    one(y.pad(&[(0, 0), (0, 0), more(0), more(1)], 0.0))
}

fn compress(n: &Node) -> Outputs {
    let x = n.x(0)?;
    let chosen = n.x(1)?.nonzero().map_err(fault)?;
    let chosen = chosen.reshape(chosen.elements());
    match n.get("axis") {
        Some(_) => one(x.index_select(n.axis(&x, 0) as isize, &chosen)),
        None => one(x.take(&chosen)),
    }
}

fn reverse_sequence(n: &Node) -> Outputs {
    let x = n.x(0)?;
    let (time, batch) = (n.i("time_axis", 0) as usize, n.i("batch_axis", 1) as usize);
    let Some(lengths) = n.host(1)?.map(|h| h.ints()) else { return unsupported("no lengths") };
    let (steps, mut shape) = (x.shape()[time], vec![1; x.rank()]);
    (shape[time], shape[batch]) = (steps, lengths.len());
    let place = |t: usize, b: usize| if (t as i64) < lengths[b] { lengths[b] as usize - 1 - t } else { t } as u32;
    let all: Vec<u32> = match time < batch {
        true => (0..steps).flat_map(|t| (0..lengths.len()).map(move |b| (t, b))).map(|(t, b)| place(t, b)).collect(),
        false => (0..lengths.len()).flat_map(|b| (0..steps).map(move |t| (t, b))).map(|(t, b)| place(t, b)).collect(),
    };
    one(x.take_along_dim(&places(n, &all, shape)?, time as isize))
}

fn center_crop_pad(n: &Node) -> Outputs {
    let mut x = n.x(0)?;
    let Some(sizes) = n.host(1)?.map(|h| h.ints()) else { return unsupported("no shape") };
    let axes = n.ints("axes").unwrap_or((0..x.rank() as i64).collect());
    for (&axis, &size) in axes.iter().zip(&sizes) {
        let axis = if axis < 0 { axis + x.rank() as i64 } else { axis } as usize;
        let (own, size) = (x.shape()[axis], size as usize);
        if size < own {
            x = x.narrow(axis, (own - size) / 2, size);
        } else if size > own {
            let mut sides = vec![(0, 0); x.rank()];
            sides[axis] = ((size - own) / 2, (size - own).div_ceil(2));
            x = x.pad(&sides, 0.0);
        }
    }
    one(x)
}

fn tensor_scatter(n: &Node) -> Outputs {
    let (cache, update) = (n.x(0)?, n.x(1)?);
    let axis = n.axis(&cache, -2);
    let starts = n.host(2)?.map_or(vec![0; cache.shape()[0]], |h| h.ints());
    let (slots, count) = (cache.shape()[axis] as i64, update.shape()[axis] as i64);
    let circular = n.s("mode", "linear") == "circular";
    let place = |s: i64| (if circular { s % slots } else { s }) as u32;
    let all: Vec<u32> = starts.iter().flat_map(|&s| (0..count).map(move |t| s + t)).map(place).collect();
    let mut shape = vec![1; cache.rank()];
    (shape[0], shape[axis]) = (starts.len(), count as usize);
    let at = places(n, &all, shape)?.broadcast_to(update.shape());
    one(cache.scatter(axis as isize, &at, &update))
}

/// Sizes, and scales where they are what is given, of all axes.
fn resized(n: &Node, x: &Tensor) -> Result<(Vec<usize>, Option<Vec<f64>>), Unsupported> {
    let all: Vec<i64> = (0..x.rank() as i64).collect();
    let axes = n.ints("axes").unwrap_or(all);
    let axes: Vec<usize> = axes.iter().map(|&a| if a < 0 { a + x.rank() as i64 } else { a } as usize).collect();
    let policy = n.s("keep_aspect_ratio_policy", "stretch");
    let (mut sizes, mut scales) = (x.shape().to_vec(), vec![1.0; x.rank()]);
    if let Some(given) = n.host(3)?.filter(|h| !h.values.is_empty()) {
        let ratio = |(&a, &v): (&usize, &f64)| v / x.shape()[a] as f64;
        let ratios = axes.iter().zip(&given.values).map(ratio);
        let same = match &*policy {
            "stretch" => None,
            "not_larger" => ratios.reduce(f64::min),
            "not_smaller" => ratios.reduce(f64::max),
            other => return Err(Unsupported(format!("keep_aspect_ratio_policy {other}"))),
        };
        for (&a, &v) in axes.iter().zip(&given.values) {
            sizes[a] = same.map_or(v, |s| (s * x.shape()[a] as f64).round()) as usize;
        }
        return Ok((sizes, None));
    }
    let Some(given) = n.host(if n.opset < 11 { 1 } else { 2 })? else { return Err(Unsupported("no scales".into())) };
    for (&a, &v) in axes.iter().zip(&given.values) {
        (sizes[a], scales[a]) = ((x.shape()[a] as f64 * v).floor() as usize, v);
    }
    Ok((sizes, Some(scales)))
}

/// The element that is nearest to each place of an axis, by ONNX's rules; ours has but the two of PyTorch.
fn nearest(way: &str, rounding: &str, [from, to]: [usize; 2], scale: f64) -> Result<Vec<u32>, Unsupported> {
    let place = |o: usize| {
        let o = o as f64;
        Ok(match way {
            "half_pixel" => (o + 0.5) / scale - 0.5,
            "asymmetric" => o / scale,
            "align_corners" if to == 1 => 0.0,
            "align_corners" => o * (from as f64 - 1.0) / (to as f64 - 1.0),
            other => return Err(Unsupported(format!("nearest {other}"))),
        })
    };
    let round = |p: f64| match rounding {
        "floor" => p.floor(),
        "ceil" => p.ceil(),
        "round_prefer_ceil" => (p + 0.5).floor(),
        _ => (p - 0.5).ceil(),
    };
    (0..to).map(|o| Ok(round(place(o)?).clamp(0.0, from as f64 - 1.0) as u32)).collect()
}

fn resize(n: &Node) -> Outputs {
    let x = n.fx(0)?;
    let mode = n.s("mode", "nearest");
    let way = n.s("coordinate_transformation_mode", "half_pixel");
    let rounding = n.s("nearest_mode", "round_prefer_floor");
    n.ignore("extrapolation_value");
    if n.i("exclude_outside", 0) != 0 || n.i("antialias", 0) != 0 {
        return unsupported("exclude_outside or antialias");
    }
    let old = n.opset < 11 || n.get("height_scale").is_some();
    let (sizes, scales) = resized(n, &x)?;
    if mode == "nearest" && !old {
        n.ignore("cubic_coeff_a");
        let mut y = x.clone();
        for (a, &to) in sizes.iter().enumerate().filter(|(a, to)| **to != x.shape()[*a]) {
            let from = x.shape()[a];
            let scale = scales.as_ref().map_or(to as f64 / from as f64, |s| s[a]);
            let at = nearest(&way, &rounding, [from, to], scale)?;
            let at = Tensor::from_slice(n.device, &at, to).map_err(|e| Unsupported(e.to_string()))?;
            y = y.index_select(a as isize, &at);
        }
        return one(y);
    }
    let rule = match (&*mode, &*way) {
        ("nearest", _) => Interpolation::Nearest,
        ("linear" | "bilinear", "half_pixel") if !old => Interpolation::Linear,
        ("linear" | "bilinear", "align_corners") if !old => Interpolation::LinearAligned,
        ("cubic", "half_pixel") => Interpolation::Cubic,
        ("cubic", "align_corners") => Interpolation::CubicAligned,
        _ => return unsupported(format!("{mode} {way} {rounding}")),
    };
    if n.f("cubic_coeff_a", -0.75) != -0.75 {
        return unsupported("another cubic_coeff_a");
    }
    let whole = |s: &Vec<f64>| (2..x.rank()).all(|a| (s[a] * x.shape()[a] as f64).fract() == 0.0);
    if way == "align_corners" && scales.as_ref().is_some_and(|s| !whole(s)) {
        return unsupported("corners of a fraction of a pixel");
    }
    if !matches!(x.rank(), 3..=5) || sizes[..2] != x.shape()[..2] {
        return unsupported("other axes of space");
    }
    one(match scales {
        Some(scales) => x.interpolate_by(&scales[2..], rule),
        None => x.interpolate_to(&sizes[2..], rule),
    })
}

/// The rows.
pub const ROWS: &[Row] = &[
    ("Resize Upsample", resize),
    ("GridSample", grid_sample),
    ("AffineGrid", affine_grid),
    ("Col2Im", col2im),
    ("MaxUnpool", max_unpool),
    ("Compress", compress),
    ("ReverseSequence", reverse_sequence),
    ("CenterCropPad", center_crop_pad),
    ("TensorScatter", tensor_scatter),
    ("NonZero", |n| one(whole(n.x(0)?.nonzero().map_err(fault)?.transpose(0, 1)))),
    ("SwiGLU", |n| {
        let (a, b) = (n.fx(0)?, n.fx(1)?);
        one(&(&a * &(&a * n.f("alpha", 1.0) as f32).sigmoid()) * &b)
    }),
    ("Range", |n| {
        n.ignore("stash_type");
        let one_of = |k: usize| Ok::<_, Unsupported>(n.host(k)?.map_or(0.0, |h| h.values[0]));
        one(Tensor::arange(n.device, one_of(0)?, one_of(1)?, one_of(2)?).cast(n.x(0)?.dtype()))
    }),
    ("EyeLike", |n| {
        let x = n.x(0)?;
        let dtype = match n.i("dtype", 0) {
            0 => x.dtype(),
            1 | 11 => DType::F32,
            6 | 7 => DType::I32,
            9 => DType::Bool,
            other => return unsupported(format!("dtype {other}")),
        };
        let k = n.i("k", 0) as isize;
        one(Tensor::ones(n.device, x.shape()).tril(k).triu(k).cast(dtype))
    }),
];
