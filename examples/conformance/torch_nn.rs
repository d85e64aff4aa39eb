//! PyTorch's convolutions, pooling and normalisation, and ours. What PyTorch takes without a batch, or along one axis,
//! is given the missing axes of extent 1.

use wgrad::Tensor;
use wgrad::functional::ConvTranspose2dOptions;
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};

use crate::call::{Arg, Call, Outputs, Row, float, one, unsupported};
use crate::judge::Unsupported;
use crate::torch_shape::pad_with;

/// One or two numbers as those of height and width; of one axis, the height is `one_axis`.
fn sizes(a: &Call, name: &str, axes: usize, default: i64, one_axis: usize) -> Result<[usize; 2], Unsupported> {
    match axes {
        2 => a.pair::<2>(name, default),
        _ => Ok([one_axis, a.pair::<1>(name, default)?[0]]),
    }
}

/// A batch of images, and how to get back from it.
pub struct Batch {
    axes: usize,
    alone: bool,
}

impl Batch {
    /// `x`, whose last `axes` axes are space, as `[n, c, h, w]`.
    pub fn of(x: &Tensor, axes: usize) -> Result<(Batch, Tensor), Unsupported> {
        let alone = x.rank() == axes + 1;
        if !alone && x.rank() != axes + 2 {
            return Err(Unsupported(format!("{axes} axes of space in {}", x.shape())));
        }
        let x = if alone { x.unsqueeze(0) } else { x.clone() };
        Ok((Batch { axes, alone }, if axes == 1 { x.unsqueeze(2) } else { x }))
    }

    /// The result as PyTorch has it.
    pub fn back(&self, y: Tensor) -> Tensor {
        let y = if self.axes == 1 { y.squeeze(2) } else { y };
        if self.alone { y.squeeze(0) } else { y }
    }
}

fn conv(a: &Call, axes: usize) -> Outputs {
    let (batch, x) = Batch::of(&a.ft("input")?, axes)?;
    let weight = a.ft("weight")?;
    let weight = if axes == 1 { weight.unsqueeze(2) } else { weight };
    let bias = a.opt("bias")?.map(|b| float(&b));
    let stride = sizes(a, "stride", axes, 1, 1)?;
    let dilation = sizes(a, "dilation", axes, 1, 1)?;
    let padding = match a.get("padding") {
        Some(Arg::Text(t)) if t == "valid" => Padding::Valid,
        Some(Arg::Text(t)) if t == "same" => Padding::Same,
        _ => {
            let [h, w] = sizes(a, "padding", axes, 0, 0)?;
            Padding::Explicit([h, h, w, w])
        }
    };
    let mode = a.s("padding_mode", "zeros")?;
    let groups = a.i("groups", 1)? as usize;
    let mut options = Conv2dOptions { stride, padding, dilation, groups };
    let mut x = x;
    if mode != "zeros" {
        let kernel = [weight.shape()[2], weight.shape()[3]];
        let [top, bottom, left, right] = padding.resolve([x.shape()[2], x.shape()[3]], kernel, stride, dilation);
        let pads = [[0, 0], [0, 0], [top as i64, bottom as i64], [left as i64, right as i64]];
        x = pad_with(&x, &pads, &mode, 0.0)?.swap_remove(0);
        options.padding = Padding::Valid;
    }
    one(batch.back(x.conv2d(&weight, bias.as_ref(), &options)))
}

fn conv_transpose(a: &Call, axes: usize) -> Outputs {
    let (batch, x) = Batch::of(&a.ft("input")?, axes)?;
    let weight = a.ft("weight")?;
    let weight = if axes == 1 { weight.unsqueeze(2) } else { weight };
    let bias = a.opt("bias")?.map(|b| float(&b));
    let [h, w] = sizes(a, "padding", axes, 0, 0)?;
    let options = ConvTranspose2dOptions {
        stride: sizes(a, "stride", axes, 1, 1)?,
        padding: Padding::Explicit([h, h, w, w]),
        output_padding: sizes(a, "output_padding", axes, 0, 0)?,
        dilation: sizes(a, "dilation", axes, 1, 1)?,
        groups: a.i("groups", 1)? as usize,
    };
    one(batch.back(x.conv_transpose2d(&weight, bias.as_ref(), &options)))
}

fn pool(a: &Call, axes: usize) -> Result<Pool2dOptions, Unsupported> {
    let kernel = sizes(a, "kernel_size", axes, 1, 1)?;
    let mut options = Pool2dOptions::new(kernel);
    if a.ints("stride")?.is_some_and(|s| !s.is_empty()) {
        options.stride = sizes(a, "stride", axes, 1, 1)?;
    }
    let [h, w] = sizes(a, "padding", axes, 0, 0)?;
    options.padding = Padding::Explicit([h, h, w, w]);
    options.ceil_mode = a.b("ceil_mode", false)?;
    Ok(options)
}

fn max_pool(a: &Call, axes: usize) -> Outputs {
    let (batch, x) = Batch::of(&a.ft("input")?, axes)?;
    let mut options = pool(a, axes)?;
    options.dilation = sizes(a, "dilation", axes, 1, 1)?;
    let (y, index) = x.max_pool2d_with_indices(&options);
    let mut all = vec![batch.back(y)];
    if a.b("return_indices", false)? {
        all.push(batch.back(index));
    }
    Ok(all)
}

fn avg_pool(a: &Call, axes: usize) -> Outputs {
    let (batch, x) = Batch::of(&a.ft("input")?, axes)?;
    let mut options = pool(a, axes)?;
    options.count_include_pad = a.b("count_include_pad", true)?;
    // A divisor may be negative there.
    let divisor = a.num("divisor_override")?;
    options.divisor_override = divisor.map(|_| 1);
    let y = x.avg_pool2d(&options);
    one(batch.back(divisor.map_or(y.clone(), |d| &y / d as f32)))
}

fn lp_pool(a: &Call, axes: usize) -> Outputs {
    let (batch, x) = Batch::of(&a.ft("input")?, axes)?;
    let p = a.f("norm_type", 2.0)? as f32;
    one(batch.back(x.lp_pool2d(p, &pool(a, axes)?)))
}

/// The sizes of an adaptive pool; None keeps the input's.
fn adaptive(a: &Call, x: &Tensor, axes: usize) -> Result<[usize; 2], Unsupported> {
    let own = [x.shape()[2], x.shape()[3]];
    let wanted = a.ints("output_size")?.unwrap_or_default();
    let at = |i: usize, n: i64| if n == i64::MIN { own[i] } else { n as usize };
    Ok(match (axes, &wanted[..]) {
        (1, [n]) => [1, at(1, *n)],
        (2, [n]) => [at(0, *n), at(1, *n)],
        (2, [h, w]) => [at(0, *h), at(1, *w)],
        _ => return Err(Unsupported(format!("output_size {wanted:?}"))),
    })
}

fn adaptive_avg(a: &Call, axes: usize) -> Outputs {
    let (batch, x) = Batch::of(&a.ft("input")?, axes)?;
    let size = adaptive(a, &x, axes)?;
    one(batch.back(x.adaptive_avg_pool2d(size)))
}

fn adaptive_max(a: &Call, axes: usize) -> Outputs {
    let (batch, x) = Batch::of(&a.ft("input")?, axes)?;
    let size = adaptive(a, &x, axes)?;
    if a.b("return_indices", false)? {
        let (y, index) = x.adaptive_max_pool2d_with_indices(size);
        return Ok(vec![batch.back(y), batch.back(index)]);
    }
    one(batch.back(x.adaptive_max_pool2d(size)))
}

fn batch_norm(a: &Call) -> Outputs {
    let x = a.ft("input")?;
    let (weight, bias) = (a.opt("weight")?, a.opt("bias")?);
    let (mean, var) = (a.opt("running_mean")?, a.opt("running_var")?);
    let training = a.b("training", false)?;
    let (momentum, eps) = (a.f("momentum", 0.1)? as f32, a.f("eps", 1e-5)? as f32);
    match (mean, var, training) {
        (Some(mean), Some(var), false) => one(x.batch_norm_with([&mean, &var], weight.as_ref(), bias.as_ref(), eps)),
        (None, None, true) => one(x.batch_norm(weight.as_ref(), bias.as_ref(), eps)),
        (Some(mean), Some(var), true) => {
            let (mean, var) = (mean.detach(), var.detach());
            let (y, [mean, var]) = x.batch_norm_running([&mean, &var], momentum, weight.as_ref(), bias.as_ref(), eps);
            let mut after = a.after.borrow_mut();
            for (name, value) in [("running_mean", mean), ("running_var", var)] {
                after.insert(name.into(), value.clone());
                if let Some(Arg::Tensor(k)) = a.get(name) {
                    after.insert(k.to_string(), value);
                }
            }
            one(y)
        }
        _ => unsupported("one of two statistics"),
    }
}

fn tail_axes(a: &Call) -> Result<usize, Unsupported> {
    Ok(a.ints("normalized_shape")?.map_or(1, |s| s.len()))
}

/// The rows.
pub const ROWS: &[Row] = &[
    ("nn.functional.conv1d", "input weight bias stride padding dilation groups padding_mode", |a| conv(a, 1)),
    ("nn.functional.conv2d", "input weight bias stride padding dilation groups padding_mode", |a| conv(a, 2)),
    ("nn.functional.conv_transpose1d", "input weight bias stride padding output_padding groups dilation", |a| {
        conv_transpose(a, 1)
    }),
    ("nn.functional.conv_transpose2d", "input weight bias stride padding output_padding groups dilation", |a| {
        conv_transpose(a, 2)
    }),
    ("nn.functional.max_pool1d", "input kernel_size stride padding dilation ceil_mode return_indices", |a| {
        max_pool(a, 1)
    }),
    ("nn.functional.max_pool2d", "input kernel_size stride padding dilation ceil_mode return_indices", |a| {
        max_pool(a, 2)
    }),
    ("nn.functional.avg_pool1d", "input kernel_size stride padding ceil_mode count_include_pad", |a| avg_pool(a, 1)),
    (
        "nn.functional.avg_pool2d",
        "input kernel_size stride padding ceil_mode count_include_pad divisor_override",
        |a| avg_pool(a, 2),
    ),
    ("nn.functional.lp_pool1d", "input norm_type kernel_size stride ceil_mode", |a| lp_pool(a, 1)),
    ("nn.functional.lp_pool2d", "input norm_type kernel_size stride ceil_mode", |a| lp_pool(a, 2)),
    ("nn.functional.adaptive_avg_pool1d", "input output_size", |a| adaptive_avg(a, 1)),
    ("nn.functional.adaptive_avg_pool2d", "input output_size", |a| adaptive_avg(a, 2)),
    ("nn.functional.adaptive_max_pool1d", "input output_size return_indices", |a| adaptive_max(a, 1)),
    ("nn.functional.adaptive_max_pool2d", "input output_size return_indices", |a| adaptive_max(a, 2)),
    (
        "nn.functional.batch_norm nn.functional.batch_norm.without_cudnn",
        "input running_mean running_var weight bias training momentum eps",
        batch_norm,
    ),
    ("nn.functional.layer_norm", "input normalized_shape weight bias eps", |a| {
        let (weight, bias) = (a.opt("weight")?, a.opt("bias")?);
        one(a.ft("input")?.layer_norm(tail_axes(a)?, weight.as_ref(), bias.as_ref(), a.f("eps", 1e-5)? as f32))
    }),
    ("native_layer_norm", "input normalized_shape weight bias eps", |a| {
        // PyTorch lets no gradient into the statistics.
        let (x, weight, bias) = (a.ft("input")?, a.opt("weight")?, a.opt("bias")?);
        let (tail, eps) = (tail_axes(a)?, a.f("eps", 1e-5)? as f32);
        let axes: Vec<isize> = (x.rank() as isize - tail as isize..x.rank() as isize).collect();
        let spread = (&x.var_keep(&axes, 0.0) + eps).rsqrt().detach();
        Ok(vec![x.layer_norm(tail, weight.as_ref(), bias.as_ref(), eps), x.mean_keep(&axes).detach(), spread])
    }),
    ("nn.functional.rms_norm", "input normalized_shape weight eps", |a| {
        let eps = a.f("eps", f32::EPSILON as f64)? as f32;
        one(a.ft("input")?.rms_norm(tail_axes(a)?, a.opt("weight")?.as_ref(), eps))
    }),
    ("nn.functional.group_norm", "input num_groups weight bias eps", |a| {
        let (weight, bias) = (a.opt("weight")?, a.opt("bias")?);
        let (groups, eps) = (a.i("num_groups", 1)? as usize, a.f("eps", 1e-5)? as f32);
        one(a.ft("input")?.group_norm(groups, weight.as_ref(), bias.as_ref(), eps))
    }),
    ("native_group_norm", "input weight bias N C HxW group eps", |a| {
        let (x, groups, eps) = (a.ft("input")?, a.i("group", 1)? as usize, a.f("eps", 1e-5)? as f32);
        let n = a.i("N", 1)? as usize;
        a.ignore("C HxW");
        let rows = x.reshape([n, groups, x.elements() / (n * groups).max(1)]);
        let y = x.group_norm(groups, a.opt("weight")?.as_ref(), a.opt("bias")?.as_ref(), eps);
        Ok(vec![y, rows.mean(&[2]), (rows.var(&[2], 0.0) + eps).rsqrt()])
    }),
    ("nn.functional.instance_norm", "input running_mean running_var weight bias use_input_stats momentum eps", |a| {
        let (weight, bias, eps) = (a.opt("weight")?, a.opt("bias")?, a.f("eps", 1e-5)? as f32);
        if a.b("use_input_stats", true)? {
            let x = a.ft("input")?;
            if let (Some(mean), Some(var)) = (a.opt("running_mean")?, a.opt("running_var")?) {
                // Towards the mean over the batch of each instance's statistics.
                let momentum = a.f("momentum", 0.1)? as f32;
                let axes: Vec<isize> = (2..x.rank() as isize).collect();
                let mixed =
                    |old: &Tensor, new: &Tensor| &(&old.detach() * (1.0 - momentum)) + &(&new.detach() * momentum);
                let mut after = a.after.borrow_mut();
                for (name, value) in [
                    ("running_mean", mixed(&mean, &x.mean(&axes).mean(&[0]))),
                    ("running_var", mixed(&var, &x.var(&axes, 1.0).mean(&[0]))),
                ] {
                    after.insert(name.into(), value.clone());
                    if let Some(Arg::Tensor(k)) = a.get(name) {
                        after.insert(k.to_string(), value);
                    }
                }
            }
            a.ignore("running_var momentum");
            return one(a.ft("input")?.instance_norm(weight.as_ref(), bias.as_ref(), eps));
        }
        a.ignore("momentum");
        let (mean, var) = (a.ft("running_mean")?, a.ft("running_var")?);
        one(a.ft("input")?.batch_norm_with([&mean, &var], weight.as_ref(), bias.as_ref(), eps))
    }),
    ("nn.functional.local_response_norm", "input size alpha beta k", |a| {
        let (alpha, beta, k) = (a.f("alpha", 1e-4)?, a.f("beta", 0.75)?, a.f("k", 1.0)?);
        one(a.ft("input")?.local_response_norm(a.i("size", 1)? as usize, alpha as f32, beta as f32, k as f32))
    }),
    ("nn.functional.normalize", "input p dim eps", |a| {
        let x = a.ft("input")?;
        let axis = a.axis("dim")?.unwrap_or(1);
        if x.rank() == 0 {
            let y = x.reshape([1]);
            let norm = y.norm_keep(&[0], a.f("p", 2.0)? as f32);
            return one(y.div(&norm.clamp_min(a.f("eps", 1e-12)? as f32)).reshape(Vec::new()));
        }
        let norm = x.norm_keep(&[axis], a.f("p", 2.0)? as f32);
        one(x.div(&norm.clamp_min(a.f("eps", 1e-12)? as f32)))
    }),
];
