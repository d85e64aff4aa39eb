//! PyTorch's norms, distances, statistics and integrals, functions made of no tensors, and ours.

use wgrad::{DType, Tensor};

use crate::call::{Arg, Call, Outputs, Row, at, one, unsupported};
use crate::judge::Unsupported;
use crate::torch_reduce::norm_of;

/// `linalg.matrix_norm`: of the matrices in two axes.
fn matrix_norm(x: &Tensor, ord: Option<&Arg>, axes: [isize; 2], keep: bool) -> Outputs {
    let [rows, columns] = axes.map(|a| at(x, a) as isize);
    let folded = |sums: isize, best: isize, largest: bool| {
        let sums = x.abs().sum_keep(&[sums]);
        if x.shape()[best as usize] == 0 {
            return sums.sum_keep(&[best]);
        }
        if largest { sums.max_keep(&[best]) } else { sums.min_keep(&[best]) }
    };
    let y = match ord {
        None => x.norm_keep(&[rows, columns], 2.0),
        Some(Arg::Text(t)) if t == "fro" => x.norm_keep(&[rows, columns], 2.0),
        Some(Arg::Number(p, _)) if p.abs() == 1.0 => folded(rows, columns, *p > 0.0),
        Some(Arg::Number(p, _)) if p.is_infinite() => folded(columns, rows, *p > 0.0),
        Some(other) => return unsupported(format!("ord={other:?}")),
    };
    if keep {
        return one(y);
    }
    let kept = (0..x.rank()).filter(|&i| i as isize != rows && i as isize != columns);
    one(y.reshape(kept.map(|i| x.shape()[i]).collect::<Vec<_>>()))
}

fn pair_of_axes(a: &Call, name: &str) -> Result<[isize; 2], Unsupported> {
    match a.axes(name)?.as_deref() {
        None => Ok([-2, -1]),
        Some(&[i, j]) => Ok([i, j]),
        Some(other) => Err(Unsupported(format!("{name} of {other:?}"))),
    }
}

/// `linalg.norm`: of vectors or of matrices.
fn linalg_norm(a: &Call) -> Outputs {
    let x = a.ft("input")?;
    a.dtype("dtype")?;
    let (ord, keep) = (a.get("ord").cloned(), a.b("keepdim", false)?);
    match a.axes("dim")? {
        Some(axes) if axes.len() == 2 && ord.is_some() => matrix_norm(&x, ord.as_ref(), [axes[0], axes[1]], keep),
        None if x.rank() == 2 && ord.is_some() => matrix_norm(&x, ord.as_ref(), [0, 1], keep),
        dims => {
            let p = match &ord {
                None => 2.0,
                Some(Arg::Number(p, _)) => *p,
                Some(other) => return unsupported(format!("ord={other:?}")),
            };
            norm_of(&x, p, dims, keep)
        }
    }
}

fn trapezoid(a: &Call, f: fn(&Tensor, Option<&Tensor>, f32, isize) -> Tensor) -> Outputs {
    let (y, x) = (a.ft("y")?, a.opt("x")?);
    one(f(&y, x.as_ref(), a.f("dx", 1.0)? as f32, a.axis("dim")?.unwrap_or(-1)))
}

fn covariance(a: &Call) -> Outputs {
    let x = a.ft("input")?;
    let wide = if x.rank() < 2 { x.reshape([1, x.elements()]) } else { x.clone() };
    let line = |w: Option<Tensor>| w.map(|w| w.reshape([w.elements()]));
    let (times, weights) = (line(a.opt("fweights")?), line(a.opt("aweights")?));
    let y = wide.cov(a.f("correction", 1.0)? as f32, times.as_ref(), weights.as_ref());
    // PyTorch drops the axes of one variable.
    one(if y.elements() == 1 { y.reshape(Vec::new()) } else { y })
}

/// One number in a shape, in a type that is asked for.
fn filled(a: &Call, size: &str, value: f64, like: DType) -> Outputs {
    a.ignore("layout device requires_grad pin_memory");
    let dtype = a.dtype("dtype")?.unwrap_or(like);
    one(Tensor::full(a.device, a.sizes(size)?.unwrap_or_default(), value as f32).cast(dtype))
}

/// The rows.
pub const ROWS: &[Row] = &[
    ("linalg.vector_norm", "input ord dim keepdim dtype", |a| {
        a.dtype("dtype")?;
        norm_of(&a.ft("input")?, a.f("ord", 2.0)?, a.axes("dim")?, a.b("keepdim", false)?)
    }),
    ("linalg.norm linalg.norm.subgradients_at_zero", "input ord dim keepdim dtype", linalg_norm),
    ("linalg.matrix_norm", "input ord dim keepdim dtype", |a| {
        a.dtype("dtype")?;
        let ord = a.get("ord").cloned();
        matrix_norm(&a.ft("input")?, ord.as_ref(), pair_of_axes(a, "dim")?, a.b("keepdim", false)?)
    }),
    ("linalg.vecdot", "x y dim", |a| one((a.ft("x")? * a.ft("y")?).sum(&[a.axis("dim")?.unwrap_or(-1)]))),
    ("linalg.multi_dot", "tensors", |a| one(Tensor::multi_dot(&a.list("tensors")?.iter().collect::<Vec<_>>()))),
    ("linalg.matrix_power matrix_power", "input n", |a| match a.i("n", 0)? {
        n if n < 0 => unsupported("an inverse"),
        n => one(a.ft("input")?.matrix_power(n as u32)),
    }),
    ("linalg.diagonal", "input offset dim1 dim2", |a| {
        let (i, j) = (a.axis("dim1")?.unwrap_or(-2), a.axis("dim2")?.unwrap_or(-1));
        one(a.t("input")?.diagonal(a.i("offset", 0)? as isize, i, j))
    }),
    ("cross linalg.cross", "input other dim", |a| {
        let (x, y) = a.two("input", "other")?;
        let axis = a.axis("dim")?.unwrap_or(-1);
        one(x.cross(&y, axis))
    }),
    ("cdist", "x1 x2 p compute_mode", |a| {
        a.ignore("compute_mode");
        one(a.ft("x1")?.cdist(&a.ft("x2")?, a.f("p", 2.0)? as f32))
    }),
    ("renorm", "input p dim maxnorm", |a| {
        one(a.ft("input")?.renorm(a.f("p", 2.0)? as f32, a.axis("dim")?.unwrap_or(0), a.f("maxnorm", 1.0)? as f32))
    }),
    ("cov", "input correction fweights aweights", covariance),
    ("corrcoef", "input", |a| {
        let x = a.ft("input")?;
        match x.rank() {
            0 | 1 => one(x.reshape([1, x.elements()]).corrcoef().reshape(Vec::new())),
            _ if x.shape()[0] == 1 => one(x.corrcoef().reshape(Vec::new())),
            _ => one(x.corrcoef()),
        }
    }),
    ("trapezoid trapz", "y x dx dim", |a| trapezoid(a, Tensor::trapezoid)),
    ("cumulative_trapezoid", "y x dx dim", |a| trapezoid(a, Tensor::cumulative_trapezoid)),
    (
        "mvlgamma special.multigammaln mvlgamma.mvlgamma_p_1 mvlgamma.mvlgamma_p_3 mvlgamma.mvlgamma_p_5",
        "input p",
        |a| {
            let (x, p) = (a.ft("input")?, a.i("p", 1)?);
            let constant = (p * (p - 1)) as f64 / 4.0 * std::f64::consts::PI.ln();
            let sum = (1..p).fold(x.lgamma(), |sum, j| sum + (&x - j as f32 / 2.0).lgamma());
            one(sum + constant as f32)
        },
    ),
    ("linalg.vander", "x N", |a| {
        let x = a.ft("x")?;
        let x = if x.rank() == 0 { x.reshape([1]) } else { x };
        let n = a.i("N", *x.shape().last().unwrap_or(&1) as i64)? as usize;
        one(x.vander(n))
    }),
    ("ldexp", "input other", |a| one(a.ft("input")?.ldexp(&a.t("other")?))),
    ("nn.functional.channel_shuffle", "input groups", |a| {
        one(a.ft("input")?.channel_shuffle(a.i("groups", 1)? as usize))
    }),
    // ------------------------------------------------------------------------------------------------ of no tensor
    ("zeros", "size dtype layout device requires_grad pin_memory", |a| filled(a, "size", 0.0, DType::F32)),
    ("ones", "size dtype layout device requires_grad pin_memory", |a| filled(a, "size", 1.0, DType::F32)),
    ("full", "size fill_value dtype layout device requires_grad pin_memory", |a| {
        let value = a.f("fill_value", 0.0)?;
        filled(
            a,
            "size",
            value,
            if matches!(a.get("fill_value"), Some(Arg::Number(_, true))) { DType::I32 } else { DType::F32 },
        )
    }),
    ("new_zeros", "input size dtype layout device requires_grad pin_memory", |a| {
        filled(a, "size", 0.0, a.t("input")?.dtype())
    }),
    ("new_ones", "input size dtype layout device requires_grad pin_memory", |a| {
        filled(a, "size", 1.0, a.t("input")?.dtype())
    }),
    ("new_full", "input size fill_value dtype layout device requires_grad pin_memory", |a| {
        let value = a.f("fill_value", 0.0)?;
        filled(a, "size", value, a.t("input")?.dtype())
    }),
    ("scalar_tensor", "value dtype layout device requires_grad pin_memory", |a| {
        let value = a.f("value", 0.0)?;
        filled(a, "size", value, DType::F32)
    }),
    ("eye", "n m dtype layout device requires_grad pin_memory", |a| {
        a.ignore("layout device requires_grad pin_memory");
        let n = a.i("n", 0)?;
        let y = Tensor::eye(a.device, n as usize, a.i("m", n)? as usize);
        one(y.cast(a.dtype("dtype")?.unwrap_or(DType::F32)))
    }),
    ("arange", "start end step dtype layout device requires_grad pin_memory", |a| {
        let (start, end) = match a.has("end") {
            true => (a.f("start", 0.0)?, a.f("end", 0.0)?),
            false => (0.0, a.f("start", 0.0)?),
        };
        let is_whole = |name: &str| !matches!(a.get(name), Some(Arg::Number(_, false)));
        let (step, whole) = (a.f("step", 1.0)?, ["start", "end", "step"].iter().all(|n| is_whole(n)));
        a.ignore("layout device requires_grad pin_memory");
        let dtype = a.dtype("dtype")?.unwrap_or(if whole { DType::I32 } else { DType::F32 });
        one(Tensor::arange(a.device, start, end, step).cast(dtype))
    }),
    ("linspace linspace.tensor_overload", "start end steps dtype layout device requires_grad pin_memory", |a| {
        let (start, end, n) = (a.f("start", 0.0)?, a.f("end", 0.0)?, a.i("steps", 100)? as usize);
        a.ignore("layout device requires_grad pin_memory");
        let y = Tensor::linspace(a.device, start as f32, end as f32, n);
        one(y.cast(a.dtype("dtype")?.unwrap_or(DType::F32)))
    }),
    ("logspace logspace.tensor_overload", "start end steps base dtype layout device requires_grad pin_memory", |a| {
        let (start, end, n) = (a.f("start", 0.0)?, a.f("end", 0.0)?, a.i("steps", 100)? as usize);
        let base = a.f("base", 10.0)? as f32;
        a.ignore("layout device requires_grad pin_memory");
        let y = Tensor::logspace(a.device, start as f32, end as f32, n, base);
        one(y.cast(a.dtype("dtype")?.unwrap_or(DType::F32)))
    }),
    ("conj conj_physical real resolve_conj resolve_neg", "input", |a| one(a.t("input")?)),
];
