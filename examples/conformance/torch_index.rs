//! PyTorch's indexing by tensors and masks, order and quantiles, and ours.

use wgrad::functional::{Bag, BagOptions, Between, ScatterReduction};
use wgrad::{DType, Tensor};

use crate::call::{Arg, Call, Outputs, Row, at, float, one, unsupported};
use crate::judge::Unsupported;
use crate::torch_reduce::{along, as_before, at_least_1, index_of};
use crate::torch_shape::{pick, sliced};

fn fault(e: wgrad::Error) -> Unsupported {
    Unsupported(e.to_string())
}

/// The index tensors that one entry of an index means: one, none for a whole axis, or of a mask one for each axis.
fn named(a: &Call, arg: &Arg) -> Result<Vec<Option<Tensor>>, Unsupported> {
    match arg {
        Arg::Nothing | Arg::Slice([None, None, None]) => Ok(vec![None]),
        Arg::Tensor(k) if a.tensors[*k].dtype() == DType::Bool => {
            let places = a.tensors[*k].nonzero().map_err(fault)?;
            Ok((0..places.shape()[1]).map(|i| Some(places.narrow(1, i, 1).squeeze(1))).collect())
        }
        Arg::Tensor(k) => Ok(vec![Some(a.tensors[*k].clone())]),
        Arg::List(_) => {
            let (mut shape, mut values) = (Vec::new(), Vec::new());
            nested(arg, 0, &mut shape, &mut values)?;
            Ok(vec![Some(Tensor::from_slice(a.device, &values, shape).map_err(fault)?)])
        }
        Arg::Number(n, true) => Ok(vec![Some(Tensor::scalar(a.device, *n as i32))]),
        other => Err(Unsupported(format!("an index of {other:?}"))),
    }
}

/// A list of lists of whole numbers.
fn nested(arg: &Arg, depth: usize, shape: &mut Vec<usize>, values: &mut Vec<i32>) -> Result<(), Unsupported> {
    match arg {
        Arg::Number(n, true) => values.push(*n as i32),
        Arg::List(all) => {
            if shape.len() == depth {
                shape.push(all.len());
            }
            for arg in all {
                nested(arg, depth + 1, shape, values)?;
            }
        }
        other => return Err(Unsupported(format!("an index of {other:?}"))),
    }
    Ok(())
}

/// `x[index]` with numbers, slices, `...`, `None`, tensors and lists.
fn item(a: &Call) -> Outputs {
    let mut x = a.t("input")?;
    let index = match a.get("index") {
        Some(Arg::List(all)) => all.clone(),
        Some(other) => vec![other.clone()],
        None => vec![Arg::Nothing],
    };
    let takes = |i: &Arg| match i {
        Arg::Tensor(k) if a.tensors[*k].dtype() == DType::Bool => a.tensors[*k].rank(),
        Arg::Number(..) | Arg::Slice(_) | Arg::List(_) | Arg::Tensor(_) => 1,
        _ => 0,
    };
    let skipped = x.rank().saturating_sub(index.iter().map(takes).sum());
    let joint = index.iter().any(|i| matches!(i, Arg::List(_) | Arg::Tensor(_)));
    // What each axis is named by; numbers are picked at once, unless there are tensors too.
    let mut all: Vec<Option<Tensor>> = Vec::new();
    for i in &index {
        let axis = all.len();
        match i {
            Arg::Number(n, true) if !joint => x = pick(&x, axis, *n as i64),
            Arg::Slice([start, stop, step]) => {
                x = sliced(&x, axis, *start, *stop, step.unwrap_or(1));
                all.push(None);
            }
            Arg::Ellipsis => all.resize(axis + skipped, None),
            Arg::Nothing => {
                x = x.unsqueeze(axis);
                all.push(None);
            }
            other => all.extend(named(a, other)?),
        }
    }
    one(if joint { x.index(&all.iter().map(Option::as_ref).collect::<Vec<_>>()) } else { x })
}

fn index_put(a: &Call) -> Outputs {
    let mut all = Vec::new();
    match a.get("indices") {
        Some(Arg::List(entries)) => {
            for arg in &entries.clone() {
                all.extend(named(a, arg)?);
            }
        }
        _ => return unsupported("no indices"),
    }
    let x = a.t("input")?;
    let all: Vec<Option<&Tensor>> = all.iter().map(Option::as_ref).collect();
    one(x.index_put(&all, &a.t("values")?.cast(x.dtype()), a.b("accumulate", false)?))
}

fn index_reduce(a: &Call) -> Outputs {
    let x = a.t("input")?;
    let axis = a.axis("dim")?.unwrap_or(0);
    let reduction = match &*a.s("reduce", "")? {
        "prod" => ScatterReduction::Prod,
        "mean" => ScatterReduction::Mean,
        "amax" => ScatterReduction::Max,
        "amin" => ScatterReduction::Min,
        other => return unsupported(format!("reduce={other}")),
    };
    let (index, wide) = (at_least_1(&index_of(a, &x, axis, "index")?), at_least_1(&x));
    let src = at_least_1(&a.t("source")?);
    as_before(wide.index_reduce(axis, &index, &src, reduction, a.b("include_self", true)?), &x)
}

fn embedding_bag(a: &Call) -> Outputs {
    let weight = a.ft("weight")?;
    let rows = weight.shape()[0] as i64;
    let index = a.index("input", rows as usize)?;
    let options = BagOptions {
        mode: match &*a.s("mode", "mean")? {
            "sum" => Bag::Sum,
            "mean" => Bag::Mean,
            "max" => Bag::Max,
            other => return unsupported(format!("mode {other}")),
        },
        offsets: a.opt("offsets")?,
        include_last_offset: a.b("include_last_offset", false)?,
        weights: a.opt("per_sample_weights")?,
        padding: a.num("padding_idx")?.map(|p| if p < 0.0 { p as i64 + rows } else { p as i64 } as u32),
        scale_grad_by_freq: a.b("scale_grad_by_freq", false)?,
    };
    a.ignore("sparse");
    let weight = bounded(a, weight, &index)?;
    one(weight.embedding_bag(&index, &options))
}

/// The weight with `max_norm` applied to the rows that are read, which it is also given back as.
fn bounded(a: &Call, weight: Tensor, index: &Tensor) -> Result<Tensor, Unsupported> {
    let norm = a.f("norm_type", 2.0)? as f32;
    let Some(max_norm) = a.num("max_norm")? else { return Ok(weight) };
    let table = weight.embedding_renorm(index, max_norm as f32, norm);
    if let Some(Arg::Tensor(k)) = a.get("weight") {
        a.after.borrow_mut().insert(k.to_string(), table.clone());
    }
    // The values are those of the bounded table, the slope goes to the weight.
    Ok(&weight - &(&weight - &table).detach())
}

/// Quantiles along an axis, of one or several `q`, which then are the first axis.
fn quantile(a: &Call, without_nan: bool) -> Outputs {
    let x = a.ft("input")?;
    let between = match &*a.s("interpolation", "linear")? {
        "linear" => Between::Linear,
        "lower" => Between::Lower,
        "higher" => Between::Higher,
        "midpoint" => Between::Midpoint,
        "nearest" => Between::Nearest,
        other => return unsupported(format!("interpolation {other}")),
    };
    let (dim, keep) = (a.axis("dim")?, a.b("keepdim", false)?);
    let (wide, axis) = match dim {
        Some(axis) => (x.clone(), axis),
        None => (x.reshape([x.elements()]), 0),
    };
    let q = a.ft("q")?;
    let y = if without_nan { wide.nanquantiles(&q, axis, between) } else { wide.quantiles(&q, axis, between) };
    one(match dim {
        _ if !keep || x.rank() == 0 => y,
        Some(axis) => y.unsqueeze(q.rank() + at(&x, axis)),
        None => y.reshape([&q.shape()[..], &vec![1; x.rank()]].concat()),
    })
}

fn searched(a: &Call, sorted: &str, values: &str) -> Outputs {
    a.ignore("out_int32");
    let right = a.b("right", false)? || a.s("side", "left")? == "right";
    let (mut sorted, values) = (a.ft(sorted)?, a.ft(values)?);
    if let Some(order) = a.opt("sorter")? {
        sorted = sorted.gather(-1, &order);
    }
    if sorted.rank() > 1 && sorted.elements() == 0 {
        sorted = sorted.reshape([0]);
    }
    one(sorted.searchsorted(&values, right).cast(DType::I32))
}

/// The rows.
pub const ROWS: &[Row] = &[
    ("__getitem__", "input index", item),
    ("index_put", "input indices values accumulate", index_put),
    ("put", "input index source accumulate", |a| {
        let x = a.t("input")?;
        one(x.put(&a.t("index")?, &a.t("source")?, a.b("accumulate", false)?))
    }),
    ("nonzero argwhere", "input as_tuple", |a| {
        let (x, apart) = (a.t("input")?, a.b("as_tuple", false)?);
        // A number has one place on its only axis then.
        let y = if apart { at_least_1(&x) } else { x }.nonzero().map_err(fault)?;
        if apart { Ok(y.unbind(1)) } else { one(y) }
    }),
    ("masked_select", "input mask", |a| one(a.t("input")?.masked_select(&a.t("mask")?).map_err(fault)?)),
    ("masked_scatter", "input mask source", |a| one(a.t("input")?.masked_scatter(&a.t("mask")?, &a.t("source")?))),
    (
        "index_reduce.amax index_reduce.amin index_reduce.mean index_reduce.prod index_reduce",
        INDEX_REDUCE,
        index_reduce,
    ),
    // The sample calls `embedding(idx, weight)`, weight first.
    ("nn.functional.embedding", "weight input padding_idx max_norm norm_type scale_grad_by_freq sparse", |a| {
        a.ignore("sparse");
        let weight = a.ft("weight")?;
        let rows = weight.shape()[0] as i64;
        let padding = a.num("padding_idx")?.map(|p| if p < 0.0 { p as i64 + rows } else { p as i64 } as u32);
        let index = a.index("input", rows as usize)?;
        let weight = bounded(a, weight, &index)?;
        one(match a.b("scale_grad_by_freq", false)? {
            true => weight.embedding_by_frequency(&index, padding),
            false => weight.embedding(&index, padding),
        })
    }),
    (
        "nn.functional.embedding_bag",
        "weight input offsets max_norm norm_type scale_grad_by_freq mode sparse per_sample_weights include_last_offset \
         padding_idx",
        embedding_bag,
    ),
    ("quantile", "input q dim keepdim interpolation", |a| quantile(a, false)),
    ("nanquantile", "input q dim keepdim interpolation", |a| quantile(a, true)),
    ("nanmedian", "input dim keepdim", |a| {
        let (x, keep) = (a.t("input")?, a.b("keepdim", false)?);
        let Some(axis) = a.axis("dim")? else { return one(x.reshape([x.elements()]).nanmedian(0).0) };
        let place = at(&x, axis);
        let back = |t: Tensor| if keep && x.rank() > 0 { t.unsqueeze(place) } else { t };
        along(&x, axis, |x, axis| <[Tensor; 2]>::from(x.nanmedian(axis)).map(back).to_vec())
    }),
    ("mode", "input dim keepdim", |a| {
        let (x, keep) = (a.t("input")?, a.b("keepdim", false)?);
        let axis = a.axis("dim")?.unwrap_or(-1);
        let place = at(&x, axis);
        let back = |t: Tensor| if keep && x.rank() > 0 { t.unsqueeze(place) } else { t };
        along(&x, axis, |x, axis| <[Tensor; 2]>::from(x.mode(axis)).map(back).to_vec())
    }),
    ("searchsorted", "sorted_sequence input out_int32 right side sorter", |a| searched(a, "sorted_sequence", "input")),
    ("bucketize", "input boundaries out_int32 right", |a| searched(a, "boundaries", "input")),
    ("histc", "input bins min max", |a| {
        let (x, bins) = (a.ft("input")?, a.i("bins", 100)? as usize);
        let (mut low, mut high) = (a.f("min", 0.0)? as f32, a.f("max", 0.0)? as f32);
        if low == high && x.elements() > 0 {
            let values = x.to_vec::<f32>().map_err(fault)?;
            (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        }
        if low == high {
            (low, high) = (low - 1.0, high + 1.0);
        }
        one(x.histc(bins, low, high).cast(DType::F32))
    }),
    ("isin", "elements test_elements assume_unique invert", |a| {
        a.ignore("assume_unique");
        let (x, y) = (a.t("elements")?, a.t("test_elements")?);
        let y = y.cast(x.dtype()).reshape([y.elements()]);
        let found = x.unsqueeze(x.rank()).equal(&y).any(&[-1]);
        one(if a.b("invert", false)? { found.logical_not() } else { found })
    }),
    ("combinations", "input r with_replacement", |a| {
        let (x, r) = (a.t("input")?, a.i("r", 2)? as usize);
        let again = a.b("with_replacement", false)?;
        let mut all: Vec<Vec<u32>> = vec![Vec::new()];
        for _ in 0..r {
            let more = |c: &Vec<u32>| {
                let first = c.last().map_or(0, |&l| if again { l } else { l + 1 });
                (first..x.elements() as u32).map(|i| [c.clone(), vec![i]].concat()).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(more).collect();
        }
        let (count, flat) = (all.len(), all.concat());
        if r == 0 {
            return unsupported("no elements");
        }
        one(x.take(&Tensor::from_slice(a.device, &flat, [count, r]).map_err(fault)?))
    }),
    ("cartesian_prod", "*tensors", |a| {
        let all = a.list("tensors")?;
        let grid = Tensor::meshgrid(&all.iter().collect::<Vec<_>>(), false);
        let flat: Vec<Tensor> = grid.iter().map(|t| t.reshape([t.elements()])).collect();
        one(if flat.len() == 1 { all[0].clone() } else { Tensor::stack(&flat.iter().collect::<Vec<_>>(), 1) })
    }),
    ("broadcast_tensors", "*tensors", |a| {
        Ok(Tensor::broadcast_tensors(&a.list("tensors")?.iter().collect::<Vec<_>>()))
    }),
    ("allclose equal", "input other rtol atol equal_nan", |a| {
        let (x, y) = (a.ft("input")?, a.ft("other")?);
        let (rtol, atol) = (a.f("rtol", 1e-5)? as f32, a.f("atol", 1e-8)? as f32);
        let near = x.isclose(&y, rtol, atol, a.b("equal_nan", false)?);
        one(near.reshape([near.elements()]).all(&[0]))
    }),
    ("bincount", "input weights minlength", |a| {
        let Some(host) = a.host("input") else { return unsupported("no numbers") };
        let most = host.values.iter().fold(-1.0, |m: f64, &v| m.max(v)) as i64 + 1;
        let bins = most.max(a.i("minlength", 0)?) as usize;
        let weights = a.opt("weights")?.map(|w| float(&w));
        let count = a.index("input", 0)?.bincount(bins, weights.as_ref());
        one(if weights.is_some() { count } else { count.cast(DType::I32) })
    }),
];

const INDEX_REDUCE: &str = "input dim index source reduce include_self";
