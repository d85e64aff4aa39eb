//! PyTorch's reductions, indexing and linear algebra, and ours.

use wgrad::functional::ScatterReduction;
use wgrad::{DType, Tensor};

use crate::call::{Arg, Call, Outputs, Row, all_axes, at, float, one, unsupported};
use crate::judge::Unsupported;

type Fold = fn(&Tensor, &[isize], bool) -> Tensor;

/// `f(x, axes, keep)`; no axes are all axes, and a number is a list of one.
pub fn fold(a: &Call, x: Tensor, f: Fold) -> Outputs {
    let axes = a.axes("dim")?.filter(|all| !all.is_empty()).unwrap_or_else(|| all_axes(&x));
    let keep = a.b("keepdim", false)?;
    a.ignore("dtype");
    a.dtype("dtype")?;
    if x.rank() == 0 {
        return one(f(&x.reshape([1]), &[0], false));
    }
    one(f(&x, &axes, keep))
}

fn keeping(x: &Tensor, axes: &[isize], keep: bool, f: fn(&Tensor, &[isize]) -> Tensor) -> Tensor {
    let y = f(x, axes);
    if !keep {
        return y;
    }
    let axes: Vec<usize> = axes.iter().map(|&a| at(x, a)).collect();
    let shape: Vec<usize> = x.shape().iter().enumerate().map(|(i, &n)| if axes.contains(&i) { 1 } else { n }).collect();
    y.reshape(shape)
}

fn sum(x: &Tensor, axes: &[isize], keep: bool) -> Tensor {
    let x = if x.dtype() == DType::Bool { x.cast(DType::I32) } else { x.clone() };
    if keep { x.sum_keep(axes) } else { x.sum(axes) }
}

/// The values along one axis with the positions that made them.
fn with_index(a: &Call, falling: bool) -> Outputs {
    let (x, y) = (a.t("input")?, a.get("dim"));
    if let Some(Arg::Tensor(_)) = y {
        let (x, y) = a.two("input", "dim")?;
        return one(if falling { x.maximum(&y) } else { x.minimum(&y) });
    }
    let (no_axes, one_axis) = (a.axis("dim")?, a.b("keepdim", false)?);
    match no_axes {
        None => one(if falling { x.max(&all_axes(&x)) } else { x.min(&all_axes(&x)) }),
        Some(_) if x.rank() == 0 => Ok(vec![x.clone(), Tensor::zeros(x.device(), x.shape()).cast(DType::U32)]),
        Some(axis) => {
            let (value, index) = if falling { x.max_with_index(axis) } else { x.min_with_index(axis) };
            let axis = at(&x, axis);
            let shape = |t: Tensor| if one_axis { t.unsqueeze(axis) } else { t };
            Ok(vec![shape(value), shape(index)])
        }
    }
}

/// Where `f` finds its element of `x`.
pub fn position_of(a: &Call, x: Tensor, f: fn(&Tensor, &[isize]) -> Tensor) -> Outputs {
    let keep = a.b("keepdim", false)?;
    match a.axis("dim")? {
        _ if x.rank() == 0 => one(Tensor::zeros(x.device(), x.shape()).cast(DType::U32)),
        Some(axis) => one(keeping(&x, &[axis], keep, f)),
        None => {
            let y = f(&x.reshape([x.elements()]), &[0]);
            one(if keep { y.reshape(vec![1; x.rank()]) } else { y })
        }
    }
}

fn correction(a: &Call) -> Result<f32, Unsupported> {
    // torch.var(x, dim, unbiased) and torch.var(x, dim, correction=) share a place.
    match a.get("unbiased") {
        Some(Arg::Bool(b)) => Ok(*b as u8 as f32),
        _ => Ok(a.f("correction", 1.0)? as f32),
    }
}

fn spread(a: &Call, root: bool, mean: bool) -> Outputs {
    let x = a.ft("input")?;
    let mut dims = a.axes("dim")?.filter(|d| !d.is_empty());
    let mut correction = correction(a)?;
    if let Some(Arg::Bool(b)) = a.get("dim") {
        // torch.var(x, unbiased)
        (dims, correction) = (None, *b as u8 as f32);
    }
    let keep = a.b("keepdim", false)?;
    let x = if x.rank() == 0 { x.reshape([1]) } else { x };
    let axes = dims.unwrap_or_else(|| all_axes(&x));
    let scalar = a.t("input")?.rank() == 0;
    let shape = |y: Tensor| if scalar { y.reshape(Vec::new()) } else { y };
    let y = match (root, keep) {
        (true, true) => x.std_keep(&axes, correction),
        (true, false) => x.std(&axes, correction),
        (false, true) => x.var_keep(&axes, correction),
        (false, false) => x.var(&axes, correction),
    };
    let mut all = vec![shape(y)];
    if mean {
        all.push(shape(if keep { x.mean_keep(&axes) } else { x.mean(&axes) }));
    }
    Ok(all)
}

fn norm(a: &Call) -> Outputs {
    let x = a.ft("input")?;
    let p = match a.get("p") {
        None => 2.0,
        Some(Arg::Text(t)) if t == "fro" => 2.0,
        Some(Arg::Number(p, _)) => *p,
        Some(other) => return unsupported(format!("p={other:?}")),
    };
    a.dtype("dtype")?;
    norm_of(&x, p, a.axes("dim")?, a.b("keepdim", false)?)
}

/// The norm over these axes; none are all.
pub fn norm_of(x: &Tensor, p: f64, axes: Option<Vec<isize>>, keep: bool) -> Outputs {
    let scalar = x.rank() == 0;
    let x = if scalar { x.reshape([1]) } else { x.clone() };
    let axes = axes.filter(|d| !d.is_empty()).unwrap_or_else(|| all_axes(&x));
    let y = if keep { x.norm_keep(&axes, p as f32) } else { x.norm(&axes, p as f32) };
    one(if scalar { y.reshape(Vec::new()) } else { y })
}

/// Runs `f` over one axis of a tensor that may have none.
pub fn along(x: &Tensor, axis: isize, f: impl Fn(&Tensor, isize) -> Vec<Tensor>) -> Outputs {
    if x.rank() == 0 {
        return Ok(f(&x.reshape([1]), 0).into_iter().map(|y| y.reshape(Vec::new())).collect());
    }
    Ok(f(x, axis))
}

fn scan(a: &Call, f: fn(&Tensor, isize) -> Tensor) -> Outputs {
    a.dtype("dtype")?;
    along(&a.t("input")?, a.axis("dim")?.unwrap_or(0), |x, axis| vec![f(x, axis)])
}

fn ordered(a: &Call) -> Outputs {
    a.ignore("stable");
    let falling = a.b("descending", false)?;
    along(&a.t("input")?, a.axis("dim")?.unwrap_or(-1), |x, axis| {
        let (values, places) = x.sort(axis, falling);
        vec![values, places]
    })
}

/// Values and places of one element per axis, kept as extent 1 or not.
fn picked(a: &Call, f: impl Fn(&Tensor, isize) -> (Tensor, Tensor)) -> Outputs {
    let x = a.t("input")?;
    let (axis, keep) = (a.axis("dim")?.unwrap_or(-1), a.b("keepdim", false)?);
    let both = |(v, i): (Tensor, Tensor)| vec![v, i];
    if x.rank() == 0 {
        return Ok(both(f(&x.reshape([1]), 0)));
    }
    let place = at(&x, axis);
    Ok(both(f(&x, axis)).into_iter().map(|t| if keep { t.unsqueeze(place) } else { t }).collect())
}

pub fn index_of(a: &Call, x: &Tensor, axis: isize, name: &str) -> Result<Tensor, Unsupported> {
    a.index(name, if x.rank() == 0 { 1 } else { x.shape()[at(x, axis)] })
}

/// Both as lists where they are numbers.
pub fn at_least_1(x: &Tensor) -> Tensor {
    if x.rank() == 0 { x.reshape([1]) } else { x.clone() }
}

pub fn as_before(y: Tensor, x: &Tensor) -> Outputs {
    one(if x.rank() == 0 { y.reshape(Vec::new()) } else { y })
}

fn scatter(a: &Call, how: &str) -> Outputs {
    let x = a.t("input")?;
    let axis = a.axis("dim")?.unwrap_or(0);
    let index = at_least_1(&index_of(a, &x, axis, "index")?);
    let name = if a.has("src") { "src" } else { "value" };
    let src = a.t(name)?.cast(x.dtype());
    let mut src = at_least_1(&src);
    let wide = at_least_1(&x);
    if name == "value" || (a.host("src").is_none()) {
        src = src.broadcast_to(index.shape());
    }
    // Only the part of the source under the index counts.
    for (i, &n) in index.shape().iter().enumerate() {
        src = if src.shape()[i] == n { src } else { src.narrow(i, 0, n) };
    }
    if index.elements() == 0 {
        return one(x);
    }
    let include = a.b("include_self", true)?;
    let y = match how {
        "" => wide.scatter(axis, &index, &src),
        "add" => wide.scatter_add(axis, &index, &src),
        how => {
            let reduction = match how {
                "sum" => ScatterReduction::Sum,
                "prod" => ScatterReduction::Prod,
                "mean" => ScatterReduction::Mean,
                "amax" => ScatterReduction::Max,
                "amin" => ScatterReduction::Min,
                other => return unsupported(format!("reduce={other}")),
            };
            wide.scatter_reduce(axis, &index, &src, reduction, include)
        }
    };
    as_before(y, &x)
}

/// A list of slices put at places of an axis.
fn index_put(a: &Call, f: impl Fn(&Tensor, isize, &Tensor, &Tensor) -> Tensor) -> Outputs {
    let x = a.t("input")?;
    let axis = a.axis("dim")?.unwrap_or(0);
    let index = at_least_1(&index_of(a, &x, axis, "index")?);
    let wide = at_least_1(&x);
    let mut shape = wide.shape().to_vec();
    shape[at(&wide, axis)] = index.elements();
    let src = a.t("source")?.cast(x.dtype()).reshape(shape);
    as_before(f(&wide, axis, &index, &src), &x)
}

fn product(a: &Call, x: &str, y: &str) -> Result<Tensor, Unsupported> {
    Ok(a.ft(x)?.matmul(&a.ft(y)?))
}

/// `beta input + alpha product`, where a beta of 0 leaves the input out, NaN or not.
fn added(a: &Call, product: Tensor) -> Outputs {
    let (alpha, beta) = (a.f("alpha", 1.0)? as f32, a.f("beta", 1.0)? as f32);
    let product = if alpha == 1.0 { product } else { &product * alpha };
    let input = a.ft("input")?;
    one(match beta {
        0.0 => product,
        1.0 => input.add(&product),
        beta => (&input * beta).add(&product),
    })
}

/// The rows.
pub const ROWS: &[Row] = &[
    ("sum", "input dim keepdim dtype", |a| fold(a, a.t("input")?, sum)),
    ("mean", "input dim keepdim dtype", |a| {
        fold(a, a.ft("input")?, |x, axes, keep| if keep { x.mean_keep(axes) } else { x.mean(axes) })
    }),
    ("amax", "input dim keepdim", |a| {
        fold(a, a.t("input")?, |x, axes, keep| if keep { x.max_keep(axes) } else { x.max(axes) })
    }),
    ("amin", "input dim keepdim", |a| {
        fold(a, a.t("input")?, |x, axes, keep| if keep { x.min_keep(axes) } else { x.min(axes) })
    }),
    ("aminmax", "input dim keepdim", |a| {
        let low = fold(a, a.t("input")?, |x, axes, keep| if keep { x.min_keep(axes) } else { x.min(axes) })?;
        let high = fold(a, a.t("input")?, |x, axes, keep| if keep { x.max_keep(axes) } else { x.max(axes) })?;
        Ok([low, high].concat())
    }),
    ("prod", "input dim keepdim dtype", |a| {
        fold(a, a.t("input")?, |x, axes, keep| if keep { x.prod_keep(axes) } else { x.prod(axes) })
    }),
    ("logsumexp special.logsumexp", "input dim keepdim", |a| {
        fold(a, a.ft("input")?, |x, axes, keep| if keep { x.logsumexp_keep(axes) } else { x.logsumexp(axes) })
    }),
    ("all", "input dim keepdim", |a| {
        fold(a, a.t("input")?.cast(DType::Bool), |x, axes, keep| if keep { x.all_keep(axes) } else { x.all(axes) })
    }),
    ("any", "input dim keepdim", |a| {
        fold(a, a.t("input")?.cast(DType::Bool), |x, axes, keep| if keep { x.any_keep(axes) } else { x.any(axes) })
    }),
    ("count_nonzero", "input dim keepdim", |a| {
        fold(a, a.t("input")?, |x, axes, keep| if keep { x.count_nonzero_keep(axes) } else { x.count_nonzero(axes) })
    }),
    ("nansum", "input dim keepdim dtype", |a| {
        fold(a, a.ft("input")?, |x, axes, keep| if keep { x.nansum_keep(axes) } else { x.nansum(axes) })
    }),
    ("nanmean", "input dim keepdim dtype", |a| {
        fold(a, a.ft("input")?, |x, axes, keep| if keep { x.nanmean_keep(axes) } else { x.nanmean(axes) })
    }),
    ("var var.unbiased", "input dim unbiased keepdim correction", |a| spread(a, false, false)),
    ("std std.unbiased", "input dim unbiased keepdim correction", |a| spread(a, true, false)),
    ("var_mean var_mean.unbiased", "input dim unbiased keepdim correction", |a| spread(a, false, true)),
    ("std_mean std_mean.unbiased", "input dim unbiased keepdim correction", |a| spread(a, true, true)),
    ("norm norm.fro norm.inf", "input p dim keepdim dtype", norm),
    ("dist", "input other p", |a| {
        let (x, y) = (a.ft("input")?, a.ft("other")?);
        let d = x.sub(&y);
        let n = d.elements();
        one(d.reshape([n]).norm(&[0], a.f("p", 2.0)? as f32))
    }),
    ("max max.binary max.reduction_no_dim max.reduction_with_dim", "input dim keepdim", |a| with_index(a, true)),
    ("min min.binary min.reduction_no_dim min.reduction_with_dim", "input dim keepdim", |a| with_index(a, false)),
    ("argmax", "input dim keepdim", |a| position_of(a, a.t("input")?, Tensor::argmax)),
    ("argmin", "input dim keepdim", |a| position_of(a, a.t("input")?, Tensor::argmin)),
    ("cumsum", "input dim dtype", |a| scan(a, Tensor::cumsum)),
    ("cumprod", "input dim dtype", |a| scan(a, Tensor::cumprod)),
    ("logcumsumexp", "input dim", |a| scan(a, Tensor::logcumsumexp)),
    ("cummax", "input dim", |a| {
        along(&a.t("input")?, a.axis("dim")?.unwrap_or(0), |x, axis| <[Tensor; 2]>::from(x.cummax(axis)).to_vec())
    }),
    ("cummin", "input dim", |a| {
        along(&a.t("input")?, a.axis("dim")?.unwrap_or(0), |x, axis| <[Tensor; 2]>::from(x.cummin(axis)).to_vec())
    }),
    ("softmax softmax.with_dtype special.softmax nn.functional.softmax", "input dim dtype _stacklevel", |a| {
        a.ignore("_stacklevel");
        a.dtype("dtype")?;
        along(&a.ft("input")?, a.axis("dim")?.unwrap_or(-1), |x, axis| vec![x.softmax(axis)])
    }),
    (
        "log_softmax log_softmax.with_dtype special.log_softmax nn.functional.log_softmax",
        "input dim dtype _stacklevel",
        |a| {
            a.ignore("_stacklevel");
            a.dtype("dtype")?;
            along(&a.ft("input")?, a.axis("dim")?.unwrap_or(-1), |x, axis| vec![x.log_softmax(axis)])
        },
    ),
    ("nn.functional.softmin nn.functional.softmin.with_dtype", "input dim dtype _stacklevel", |a| {
        a.ignore("_stacklevel");
        a.dtype("dtype")?;
        along(&a.ft("input")?, a.axis("dim")?.unwrap_or(-1), |x, axis| vec![x.neg().softmax(axis)])
    }),
    // ------------------------------------------------------------------------------------------ order and indexing
    ("sort", "input dim descending stable", ordered),
    ("msort", "input", |a| along(&a.t("input")?, 0, |x, axis| vec![x.sort(axis, false).0])),
    ("argsort", "input dim descending stable", |a| Ok(vec![ordered(a)?.swap_remove(1)])),
    ("topk", "input k dim largest sorted", |a| {
        a.ignore("sorted");
        let (k, largest) = (a.i("k", 1)? as usize, a.b("largest", true)?);
        if a.t("input")?.rank() == 0 && k == 0 {
            return unsupported("no element of a number");
        }
        along(&a.t("input")?, a.axis("dim")?.unwrap_or(-1), |x, axis| {
            <[Tensor; 2]>::from(x.topk(k, axis, largest)).to_vec()
        })
    }),
    ("kthvalue", "input k dim keepdim", |a| {
        let k = a.i("k", 1)? as usize;
        picked(a, |x, axis| x.kthvalue(k, axis))
    }),
    ("median", "input dim keepdim", |a| {
        if !a.has("dim") {
            let x = a.t("input")?;
            return one(x.reshape([x.elements()]).median(0).0);
        }
        picked(a, |x, axis| x.median(axis))
    }),
    ("gather", "input dim index sparse_grad", |a| {
        a.ignore("sparse_grad");
        let x = a.t("input")?;
        let axis = a.axis("dim")?.unwrap_or(0);
        let index = index_of(a, &x, axis, "index")?;
        if index.elements() == 0 {
            return one(Tensor::zeros(x.device(), index.shape()));
        }
        let y = at_least_1(&x).gather(axis, &at_least_1(&index));
        as_before(y, &index)
    }),
    ("take_along_dim", "input indices dim", |a| {
        let x = a.t("input")?;
        let Some(axis) = a.axis("dim")? else {
            let index = a.index("indices", x.elements())?;
            return one(x.reshape([x.elements()]).gather(0, &index.reshape([index.elements()])));
        };
        let index = index_of(a, &x, axis, "indices")?;
        one(x.take_along_dim(&index, axis))
    }),
    ("take", "input index", |a| {
        let x = a.t("input")?;
        one(x.take(&a.index("index", x.elements())?))
    }),
    ("index_select", "input dim index", |a| {
        let x = a.t("input")?;
        let axis = a.axis("dim")?.unwrap_or(0);
        let index = at_least_1(&index_of(a, &x, axis, "index")?);
        let y = at_least_1(&x).index_select(axis, &index);
        as_before(y, &x)
    }),
    ("scatter", "input dim index src value reduce", |a| {
        let how = match &*a.s("reduce", "")? {
            "" => "",
            "add" => "add",
            "multiply" => "prod",
            other => return unsupported(format!("reduce={other}")),
        };
        scatter(a, how)
    }),
    ("scatter_add", "input dim index src", |a| scatter(a, "add")),
    (
        "scatter_reduce scatter_reduce.sum scatter_reduce.mean scatter_reduce.amax scatter_reduce.amin scatter_reduce.prod",
        "input dim index src reduce include_self",
        |a| {
            let how = a.s("reduce", "")?;
            scatter(a, &how)
        },
    ),
    ("index_add", "input dim index source alpha", |a| {
        let alpha = a.f("alpha", 1.0)? as f32;
        index_put(a, |x, axis, index, src| x.index_add(axis, index, src, alpha))
    }),
    ("index_copy", "input dim index source", |a| index_put(a, Tensor::index_copy)),
    // The value may be a tensor that has a gradient, so it is copied in.
    ("index_fill", "input dim index value", |a| {
        let x = a.t("input")?;
        let axis = a.axis("dim")?.unwrap_or(0);
        let index = at_least_1(&index_of(a, &x, axis, "index")?);
        let wide = at_least_1(&x);
        let mut shape = wide.shape().to_vec();
        shape[at(&wide, axis)] = index.elements();
        let src = a.t("value")?.cast(x.dtype()).broadcast_to(shape);
        as_before(wide.index_copy(axis, &index, &src), &x)
    }),
    ("nn.functional.one_hot", "input num_classes", |a| {
        let given = a.i("num_classes", -1)?;
        let Some(host) = a.host("input") else { return unsupported("no labels") };
        let most = host.values.iter().fold(-1.0, |m: f64, &v| m.max(v)) as i64;
        let classes = if given < 0 { most + 1 } else { given } as usize;
        one(a.index("input", classes)?.one_hot(classes).cast(DType::I32))
    }),
    ("repeat_interleave", "input repeats dim output_size", |a| {
        a.ignore("output_size");
        let x = a.t("input")?;
        let (x, axis) = match a.axis("dim")? {
            Some(axis) => (x.clone(), at(&x, axis)),
            None => (x.reshape([x.elements()]), 0),
        };
        let times = a.ints("repeats")?.unwrap_or_default();
        let x = at_least_1(&x);
        let each = |i: usize| if times.len() == 1 { times[0] } else { times[i] };
        let index: Vec<u32> = (0..x.shape()[axis]).flat_map(|i| vec![i as u32; each(i) as usize]).collect();
        let index = Tensor::from_slice(x.device(), &index, index.len()).map_err(|e| Unsupported(e.to_string()))?;
        one(x.index_select(axis as isize, &index))
    }),
    // -------------------------------------------------------------------------------------------- linear algebra
    ("matmul mm bmm __matmul__ bmm.triton_optimized", "input other", |a| one(product(a, "input", "other")?)),
    ("__rmatmul__", "input other", |a| one(product(a, "other", "input")?)),
    ("mv", "input vec", |a| one(product(a, "input", "vec")?)),
    ("dot vdot", "input other", |a| one(product(a, "input", "other")?)),
    ("inner", "input other", |a| one(a.ft("input")?.inner(&a.ft("other")?))),
    ("outer ger", "input vec2", |a| one(a.ft("input")?.outer(&a.ft("vec2")?))),
    ("kron", "input other", |a| {
        let (x, y) = a.two("input", "other")?;
        one(x.kron(&y))
    }),
    ("addmm addmm.decomposed", "input mat1 mat2 beta alpha", |a| added(a, product(a, "mat1", "mat2")?)),
    ("addmv", "input mat vec beta alpha", |a| added(a, product(a, "mat", "vec")?)),
    ("baddbmm", "input batch1 batch2 beta alpha", |a| added(a, product(a, "batch1", "batch2")?)),
    ("addbmm", "input batch1 batch2 beta alpha", |a| added(a, product(a, "batch1", "batch2")?.sum(&[0]))),
    ("addr", "input vec1 vec2 beta alpha", |a| {
        let (x, y) = (a.ft("vec1")?, a.ft("vec2")?);
        added(a, x.unsqueeze(1).mul(&y.unsqueeze(0)))
    }),
    // The sample calls `einsum(operands, equation)`.
    ("einsum", "operands equation", |a| {
        let all: Vec<Tensor> = a.list("operands")?.iter().map(float).collect();
        one(Tensor::einsum(&a.s("equation", "")?, &all.iter().collect::<Vec<_>>()))
    }),
    ("tensordot", "input other dims", |a| {
        let (x, y) = (a.ft("input")?, a.ft("other")?);
        let (p, q) = match a.get("dims") {
            Some(Arg::List(all)) if all.len() == 2 && matches!(all[0], Arg::List(_)) => {
                let numbers = |arg: &Arg| match arg {
                    Arg::List(all) => {
                        all.iter().map(|n| if let Arg::Number(n, _) = n { *n as isize } else { 0 }).collect()
                    }
                    _ => Vec::new(),
                };
                (numbers(&all[0]), numbers(&all[1]))
            }
            _ => {
                let n = a.i("dims", 2)? as isize;
                ((x.rank() as isize - n..x.rank() as isize).collect::<Vec<_>>(), (0..n).collect())
            }
        };
        one(x.tensordot(&y, &p, &q))
    }),
    ("nn.functional.linear", "input weight bias", |a| {
        one(a.ft("input")?.linear(&a.ft("weight")?, a.opt("bias")?.map(|b| float(&b)).as_ref()))
    }),
    ("nn.functional.bilinear", "input1 input2 weight bias", |a| {
        let bias = a.opt("bias")?;
        one(a.ft("input1")?.bilinear(&a.ft("input2")?, &a.ft("weight")?, bias.as_ref()))
    }),
    ("nn.functional.cosine_similarity", "x1 x2 dim eps", |a| {
        let (axis, eps) = (a.axis("dim")?.unwrap_or(1), a.f("eps", 1e-8)? as f32);
        let (x, y) = (a.ft("x1")?, a.ft("x2")?);
        if x.rank() == 0 && y.rank() == 0 {
            return one(x.reshape([1]).cosine_similarity(&y.reshape([1]), 0, eps));
        }
        one(x.cosine_similarity(&y, axis, eps))
    }),
    ("sum_to_size", "input *size", |a| {
        let x = a.t("input")?;
        let to = a.sizes("size")?.unwrap_or_default();
        let lead = x.rank() - to.len();
        let axes: Vec<isize> = (0..x.rank())
            .filter(|&i| i < lead || (to[i - lead] == 1 && x.shape()[i] != 1))
            .map(|i| i as isize)
            .collect();
        one(if axes.is_empty() { x } else { sum(&x, &axes, true).reshape(to) })
    }),
];
