//! PyTorch's `masked.*` functions as ours: what the mask leaves out counts as the number that changes nothing, 0 in a
//! sum.

use wgrad::{DType, Tensor};

use crate::call::{Call, Outputs, Row, all_axes, at, one};
use crate::judge::Unsupported;
use crate::torch_reduce::{along, fold, norm_of, position_of};

/// The input, with `other` where the mask is false.
fn filled(a: &Call, other: f32) -> Result<Tensor, Unsupported> {
    filled_by(a, "input", "mask", other)
}

fn filled_by(a: &Call, input: &str, mask: &str, other: f32) -> Result<Tensor, Unsupported> {
    let x = a.ft(input)?;
    Ok(match a.opt(mask)? {
        Some(mask) => x.masked_fill(&mask.broadcast_to(x.shape()).logical_not(), other),
        None => x,
    })
}

/// How many elements count, in the shape of a sum that keeps its axes.
fn count(a: &Call, x: &Tensor, axes: &[isize]) -> Result<Tensor, Unsupported> {
    Ok(match a.opt("mask")? {
        Some(mask) => mask.cast(DType::F32).broadcast_to(x.shape()).sum_keep(axes),
        None => Tensor::ones(x.device(), x.shape()).sum_keep(axes),
    })
}

fn axes(a: &Call, x: &Tensor) -> Result<Vec<isize>, Unsupported> {
    Ok(a.axes("dim")?.filter(|d| !d.is_empty()).unwrap_or_else(|| all_axes(x)))
}

/// A result that has kept its axes, without them if that is wanted.
fn shaped(a: &Call, y: Tensor, axes: &[isize]) -> Outputs {
    a.dtype("dtype")?;
    if a.b("keepdim", false)? {
        return one(y);
    }
    let gone: Vec<usize> = axes.iter().map(|&d| at(&y, d)).collect();
    one(y.reshape((0..y.rank()).filter(|i| !gone.contains(i)).map(|i| y.shape()[i]).collect::<Vec<_>>()))
}

fn mean(a: &Call) -> Outputs {
    let x = filled(a, 0.0)?;
    let axes = axes(a, &x)?;
    let y = x.sum_keep(&axes).div(&count(a, &x, &axes)?);
    shaped(a, y, &axes)
}

fn spread(a: &Call, root: bool) -> Outputs {
    let x = filled(a, 0.0)?;
    let axes = axes(a, &x)?;
    let correction = if a.has("unbiased") { a.f("unbiased", 1.0)? } else { a.f("correction", 1.0)? };
    let n = count(a, &x, &axes)?;
    let apart = x.sub(&x.sum_keep(&axes).div(&n));
    let apart = match a.opt("mask")? {
        Some(mask) => apart.masked_fill(&mask.broadcast_to(x.shape()).logical_not(), 0.0),
        None => apart,
    };
    let y = apart.square().sum_keep(&axes).div(&(n - correction as f32).relu());
    shaped(a, if root { y.sqrt() } else { y }, &axes)
}

/// PyTorch gives positions in the type of the input.
fn position_as_number(a: &Call, other: f32, f: fn(&Tensor, &[isize]) -> Tensor) -> Outputs {
    one(position_of(a, filled(a, other)?, f)?.swap_remove(0).cast(DType::F32))
}

/// A function along one axis.
fn line(a: &Call, other: f32, f: fn(&Tensor, isize) -> Tensor) -> Outputs {
    a.dtype("dtype")?;
    along(&filled(a, other)?, a.axis("dim")?.unwrap_or(-1), |x, axis| vec![f(x, axis)])
}

const FOLD: &str = "input dim keepdim dtype mask";
const LINE: &str = "input dim dtype mask";

/// The rows.
pub const ROWS: &[Row] = &[
    ("masked.sum", FOLD, |a| fold(a, filled(a, 0.0)?, |x, d, k| if k { x.sum_keep(d) } else { x.sum(d) })),
    ("masked.prod", FOLD, |a| fold(a, filled(a, 1.0)?, |x, d, k| if k { x.prod_keep(d) } else { x.prod(d) })),
    ("masked.amax", FOLD, |a| {
        fold(a, filled(a, f32::NEG_INFINITY)?, |x, d, k| if k { x.max_keep(d) } else { x.max(d) })
    }),
    ("masked.amin", FOLD, |a| fold(a, filled(a, f32::INFINITY)?, |x, d, k| if k { x.min_keep(d) } else { x.min(d) })),
    ("masked.logsumexp", FOLD, |a| {
        fold(a, filled(a, f32::NEG_INFINITY)?, |x, d, k| if k { x.logsumexp_keep(d) } else { x.logsumexp(d) })
    }),
    ("masked.mean", FOLD, mean),
    ("masked.var", "input dim unbiased keepdim correction dtype mask", |a| spread(a, false)),
    ("masked.std", "input dim unbiased keepdim correction dtype mask", |a| spread(a, true)),
    ("masked.argmax", FOLD, |a| {
        a.dtype("dtype")?;
        position_as_number(a, f32::NEG_INFINITY, Tensor::argmax)
    }),
    ("masked.argmin", FOLD, |a| {
        a.dtype("dtype")?;
        position_as_number(a, f32::INFINITY, Tensor::argmin)
    }),
    ("masked.median", FOLD, |a| {
        let keep = a.b("keepdim", false)?;
        a.dtype("dtype")?;
        along(&filled(a, f32::NAN)?, a.axis("dim")?.unwrap_or(-1), |x, axis| {
            let (y, _) = x.nanmedian(axis);
            vec![if keep { y.unsqueeze(at(x, axis)) } else { y }]
        })
    }),
    ("masked.norm", "input ord dim keepdim dtype mask", |a| {
        a.dtype("dtype")?;
        let p = a.f("ord", 2.0)?;
        let x = filled(a, if p == f64::NEG_INFINITY { f32::INFINITY } else { 0.0 })?;
        norm_of(&x, p, a.axes("dim")?, a.b("keepdim", false)?)
    }),
    ("masked.normalize", "input ord dim eps dtype mask", |a| {
        a.dtype("dtype")?;
        let (p, eps) = (a.f("ord", 2.0)?, a.f("eps", 1e-12)? as f32);
        let other = if p == f64::NEG_INFINITY { f32::INFINITY } else { 0.0 };
        let (x, measured) = (filled(a, 0.0)?, filled(a, other)?);
        let norm = norm_of(&measured, p, a.axes("dim")?, true)?.swap_remove(0);
        one(x.div(&norm.clamp_min(eps)))
    }),
    ("masked.cumsum", LINE, |a| line(a, 0.0, Tensor::cumsum)),
    ("masked.cumprod", LINE, |a| line(a, 1.0, Tensor::cumprod)),
    ("masked.softmax", LINE, |a| line(a, f32::NEG_INFINITY, Tensor::softmax)),
    ("masked.log_softmax", LINE, |a| line(a, f32::NEG_INFINITY, Tensor::log_softmax)),
    ("masked.softmin", LINE, |a| line(a, f32::INFINITY, |x, axis| x.neg().softmax(axis))),
    ("masked.logaddexp", "input other dtype input_mask other_mask", |a| {
        a.dtype("dtype")?;
        let low = f32::NEG_INFINITY;
        one(filled_by(a, "input", "input_mask", low)?.logaddexp(&filled_by(a, "other", "other_mask", low)?))
    }),
];
