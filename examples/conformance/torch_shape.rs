//! PyTorch's functions of shape and order, and ours.

use wgrad::functional::PadMode;
use wgrad::{DType, Tensor};

use crate::call::{Arg, Call, Outputs, Row, at, one, promote, unsupported};
use crate::judge::Unsupported;

/// A shape with one -1 made whole.
pub fn whole(shape: &[i64], elements: usize) -> Vec<usize> {
    let known: i64 = shape.iter().filter(|&&n| n >= 0).product();
    let free = if known == 0 { 0 } else { elements / known as usize };
    shape.iter().map(|&n| if n < 0 { free } else { n as usize }).collect()
}

/// Elements `start..stop` by `step` of an axis, as Python's slices have it.
pub fn sliced(x: &Tensor, axis: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> Tensor {
    let n = x.shape()[axis] as i64;
    let clip = |v: i64, low: i64, high: i64| (if v < 0 { v + n } else { v }).clamp(low, high);
    let (start, stop) = if step > 0 {
        (start.map_or(0, |v| clip(v, 0, n)), stop.map_or(n, |v| clip(v, 0, n)))
    } else {
        (start.map_or(n - 1, |v| clip(v, -1, n - 1)), stop.map_or(-1, |v| clip(v, -1, n - 1)))
    };
    let count = if step > 0 { (stop - start + step - 1) / step } else { (start - stop - step - 1) / -step }.max(0);
    let (mut starts, mut extents, mut steps) = (vec![0; x.rank()], x.shape().to_vec(), vec![1isize; x.rank()]);
    starts[axis] = if count == 0 { 0 } else { start as usize };
    extents[axis] = count as usize;
    steps[axis] = step as isize;
    x.slice(&starts, &extents, &steps)
}

/// Elements `start..end` of an axis.
pub fn part(x: &Tensor, axis: usize, start: usize, end: usize) -> Tensor {
    x.narrow(axis, start, end - start)
}

/// Consecutive parts of these sizes.
pub fn parts(x: &Tensor, axis: usize, sizes: &[usize]) -> Vec<Tensor> {
    let mut start = 0;
    let mut cut = |&n: &usize| {
        start += n;
        x.narrow(axis, start - n, n)
    };
    sizes.iter().map(&mut cut).collect()
}

fn resized(x: &Tensor, shape: Vec<usize>) -> Tensor {
    if x.shape()[..] == shape[..] { x.clone() } else { x.reshape(shape) }
}

/// With the axes in another order; negative ones count from the end.
pub fn ordered(x: &Tensor, axes: &[i64]) -> Tensor {
    x.permute(&axes.iter().map(|&a| at(x, a as isize)).collect::<Vec<_>>())
}

/// Axis `from` moved to place `to`.
fn moved(x: &Tensor, from: &[i64], to: &[i64]) -> Tensor {
    let from: Vec<usize> = from.iter().map(|&a| at(x, a as isize)).collect();
    let to: Vec<usize> = to.iter().map(|&a| at(x, a as isize)).collect();
    let mut rest = (0..x.rank()).filter(|a| !from.contains(a));
    let order: Vec<usize> = (0..x.rank())
        .map(|place| match to.iter().position(|&t| t == place) {
            Some(k) => from[k],
            None => rest.next().expect("as many places as axes"),
        })
        .collect();
    x.permute(&order)
}

/// Repeated along each axis, with new leading axes as needed.
pub fn repeated(x: &Tensor, times: &[usize]) -> Tensor {
    let lead = times.len().saturating_sub(x.rank());
    let mut shape = vec![1; lead];
    shape.extend_from_slice(x.shape());
    let times: Vec<usize> = [vec![1; shape.len() - times.len()], times.to_vec()].concat();
    let paired: Vec<usize> = shape.iter().flat_map(|&n| [1, n]).collect();
    let wide: Vec<usize> = shape.iter().zip(&times).flat_map(|(&n, &t)| [t, n]).collect();
    let full: Vec<usize> = shape.iter().zip(&times).map(|(n, t)| n * t).collect();
    x.reshape(paired).broadcast_to(wide).reshape(full)
}

/// At least `rank` axes.
fn atleast(x: &Tensor, rank: usize) -> Tensor {
    let s = x.shape();
    match (rank, s.len()) {
        (r, n) if n >= r => x.clone(),
        (1, _) => x.reshape([1]),
        (2, 0) => x.reshape([1, 1]),
        (2, _) => x.reshape([1, s[0]]),
        (_, 0) => x.reshape([1, 1, 1]),
        (_, 1) => x.reshape([1, s[0], 1]),
        _ => x.reshape([s[0], s[1], 1]),
    }
}

fn joined(all: &[Tensor], axis: isize) -> Outputs {
    let wide = all.iter().fold(all[0].clone(), |a, b| promote(&a, b).0);
    let mut all: Vec<Tensor> = all.iter().map(|x| promote(&wide, x).1).collect();
    // PyTorch lets empty lists of one axis join anything.
    let odd = |x: &Tensor| x.rank() == 1 && x.elements() == 0;
    if all.iter().any(|x| !odd(x)) {
        all.retain(|x| !odd(x) || all_one(x));
    }
    let rank = all.iter().map(|x| x.rank()).max().unwrap_or(1);
    all.retain(|x| x.rank() == rank);
    one(Tensor::concat(&all.iter().collect::<Vec<_>>(), axis))
}

fn all_one(x: &Tensor) -> bool {
    x.rank() == 1
}

/// Boundaries of `n` parts, the first ones larger by one.
fn even(extent: usize, n: usize) -> Vec<usize> {
    (0..n).map(|k| extent / n + usize::from(k < extent % n)).collect()
}

fn cut_at(x: &Tensor, axis: usize, at: &[i64]) -> Vec<Tensor> {
    let n = x.shape()[axis] as i64;
    let ends: Vec<i64> = at.iter().map(|&v| (if v < 0 { v + n } else { v }).clamp(0, n)).chain([n]).collect();
    let starts = [0].into_iter().chain(ends.clone());
    starts.zip(&ends).map(|(s, &e)| part(x, axis, s as usize, e.max(s) as usize)).collect()
}

fn tensor_split(a: &Call, axis: usize, what: &str) -> Outputs {
    let x = a.t("input")?;
    match a.get(what) {
        Some(Arg::Number(n, _)) => Ok(parts(&x, axis, &even(x.shape()[axis], *n as usize))),
        Some(Arg::Tensor(k)) if a.hosts[*k].shape.is_empty() => {
            Ok(parts(&x, axis, &even(x.shape()[axis], a.hosts[*k].values[0] as usize)))
        }
        _ => Ok(cut_at(&x, axis, &a.ints(what)?.unwrap_or_default())),
    }
}

fn swap(a: &Call) -> Outputs {
    let x = a.t("input")?;
    let (i, j) = (a.axis("dim0")?.unwrap_or(0), a.axis("dim1")?.unwrap_or(1));
    if x.rank() == 0 {
        return one(x);
    }
    one(x.transpose(at(&x, i), at(&x, j)))
}

fn flipped(x: &Tensor, axes: &[usize]) -> Tensor {
    axes.iter().fold(x.clone(), |x, &a| x.flip(a))
}

fn turned90(x: &Tensor, k: i64, a: usize, b: usize) -> Tensor {
    match k.rem_euclid(4) {
        0 => x.clone(),
        1 => x.flip(b).transpose(a, b),
        2 => flipped(x, &[a, b]),
        _ => x.transpose(a, b).flip(b),
    }
}

pub fn pick(x: &Tensor, axis: usize, index: i64) -> Tensor {
    let i = if index < 0 { index + x.shape()[axis] as i64 } else { index } as usize;
    x.narrow(axis, i, 1).squeeze(axis)
}

/// `x` with `src` in the place of what `part` cuts out of it.
fn put(x: &Tensor, src: &Tensor, part: impl Fn(&Tensor) -> Tensor) -> Outputs {
    let n = x.elements();
    let fault = |e: wgrad::Error| Unsupported(e.to_string());
    let places: Vec<u32> = (0..n as u32).collect();
    let places = Tensor::from_slice(x.device(), &places, x.shape()).map_err(fault)?;
    let places = part(&places);
    let src = src.cast(x.dtype()).broadcast_to(places.shape());
    let count = places.elements();
    one(x.reshape([n]).scatter(0, &places.reshape([count]), &src.reshape([count])).reshape(x.shape()))
}

fn view(a: &Call, name: &str) -> Outputs {
    let x = a.t("input")?;
    let shape = a.ints(name)?.unwrap_or_default();
    one(resized(&x, whole(&shape, x.elements())))
}

fn expand(a: &Call, name: &str) -> Outputs {
    let x = a.t("input")?;
    let to = a.ints(name)?.unwrap_or_default();
    let lead = to.len() - x.rank();
    let shape: Vec<usize> =
        to.iter().enumerate().map(|(i, &n)| if n < 0 { x.shape()[i - lead] } else { n as usize }).collect();
    one(x.broadcast_to(shape))
}

fn padded(a: &Call, mode: &str) -> Outputs {
    let x = a.t("input")?;
    let mode = a.s("mode", mode)?;
    let value = a.f("value", 0.0)?;
    let pairs = a.ints("pad")?.unwrap_or_default();
    // PyTorch starts with the last axis; negative numbers cut off.
    let mut pads = vec![[0i64; 2]; x.rank()];
    for (k, pair) in pairs.chunks(2).enumerate() {
        pads[x.rank() - 1 - k] = [pair[0], pair[1]];
    }
    pad_with(&x, &pads, &mode, value)
}

/// Pads each axis; negative numbers cut off.
pub fn pad_with(x: &Tensor, pads: &[[i64; 2]], mode: &str, value: f64) -> Outputs {
    let mode = match mode {
        "constant" => PadMode::Constant(value as f32),
        "reflect" => PadMode::Reflect,
        "replicate" | "edge" => PadMode::Replicate,
        "circular" | "wrap" => PadMode::Circular,
        other => return unsupported(format!("mode {other}")),
    };
    let from_last: Vec<isize> = pads.iter().rev().flat_map(|p| [p[0] as isize, p[1] as isize]).collect();
    one(x.pad_mode(&from_last, mode))
}

fn band(a: &Call, f: fn(&Tensor, isize) -> Tensor) -> Outputs {
    one(f(&a.t("input")?, a.i("diagonal", 0)? as isize))
}

fn same_shape(a: &Call, value: f64) -> Outputs {
    a.ignore("dtype layout device requires_grad memory_format pin_memory");
    let x = a.t("input")?;
    let dtype = a.dtype("dtype")?.unwrap_or(x.dtype());
    let y = Tensor::full(x.device(), x.shape(), value as f32);
    one(if dtype == DType::F32 { y } else { y.cast(dtype) })
}

fn stacked(all: Vec<Tensor>, axis: isize) -> Result<Vec<Tensor>, Unsupported> {
    one(Tensor::stack(&all.iter().collect::<Vec<_>>(), axis))
}

fn grid(all: &[Tensor], xy: bool) -> Vec<Tensor> {
    let all: Vec<Tensor> = all.iter().map(|x| atleast(x, 1)).collect();
    let mut shape: Vec<usize> = all.iter().map(|x| x.elements()).collect();
    let swap = xy && all.len() >= 2;
    if swap {
        shape.swap(0, 1);
    }
    let place = |k: usize| if swap && k < 2 { 1 - k } else { k };
    let spread = |(k, x): (usize, &Tensor)| {
        let mut own = vec![1; shape.len()];
        own[place(k)] = x.elements();
        x.reshape(own).broadcast_to(shape.clone())
    };
    all.iter().enumerate().map(spread).collect()
}

/// The rows.
pub const ROWS: &[Row] = &[
    ("reshape", "input shape", |a| view(a, "shape")),
    ("view view_copy", "input size dtype", |a| view(a, "size")),
    ("reshape_as view_as", "input other", |a| one(resized(&a.t("input")?, a.t("other")?.shape().to_vec()))),
    ("clone contiguous alias_copy detach nn.functional.identity", "input memory_format", |a| one(a.t("input")?)),
    ("ravel", "input", |a| one(a.t("input")?.reshape([a.t("input")?.elements()]))),
    ("flatten", "input start_dim end_dim", |a| {
        let x = a.t("input")?;
        let (s, e) = (at(&x, a.axis("start_dim")?.unwrap_or(0)), at(&x, a.axis("end_dim")?.unwrap_or(-1)));
        if x.rank() == 0 {
            return one(x.reshape([1]));
        }
        let shape = [&x.shape()[..s], &[x.shape()[s..=e].iter().product()], &x.shape()[e + 1..]].concat();
        one(resized(&x, shape))
    }),
    ("unflatten", "input dim sizes", |a| {
        let x = a.t("input")?;
        let axis = at(&x, a.axis("dim")?.unwrap_or(0));
        let sizes = whole(&a.ints("sizes")?.unwrap_or_default(), x.shape()[axis]);
        one(x.reshape([&x.shape()[..axis], &sizes[..], &x.shape()[axis + 1..]].concat()))
    }),
    ("squeeze squeeze.multiple squeeze_copy", "input dim", |a| {
        let x = a.t("input")?;
        let axes = a.ints("dim")?;
        let wanted = |i: usize| axes.as_ref().is_none_or(|all| all.iter().any(|&d| at(&x, d as isize) == i));
        let kept = |&(i, n): &(usize, &usize)| *n != 1 || !wanted(i);
        let shape: Vec<usize> = x.shape().iter().enumerate().filter(kept).map(|(_, &n)| n).collect();
        one(resized(&x, shape))
    }),
    ("unsqueeze unsqueeze_copy", "input dim", |a| {
        let x = a.t("input")?;
        let d = a.axis("dim")?.unwrap_or(0);
        one(x.unsqueeze(if d < 0 { (d + x.rank() as isize + 1) as usize } else { d as usize }))
    }),
    ("expand expand_copy", "input *size", |a| expand(a, "size")),
    ("broadcast_to", "input size", |a| expand(a, "size")),
    ("expand_as", "input other", |a| one(a.t("input")?.broadcast_to(a.t("other")?.shape()))),
    ("permute permute_copy", "input *dims", |a| one(ordered(&a.t("input")?, &a.ints("dims")?.unwrap_or_default()))),
    ("transpose transpose_copy swapaxes swapdims", "input dim0 dim1", swap),
    ("t t_copy T", "input", |a| {
        let x = a.t("input")?;
        one(x.permute(&(0..x.rank()).rev().collect::<Vec<_>>()))
    }),
    ("mT mH H adjoint", "input", |a| {
        let x = a.t("input")?;
        one(if x.rank() < 2 { x } else { x.transpose(x.rank() - 2, x.rank() - 1) })
    }),
    ("movedim moveaxis", "input source destination", |a| {
        let (from, to) = (a.ints("source")?.unwrap_or_default(), a.ints("destination")?.unwrap_or_default());
        one(moved(&a.t("input")?, &from, &to))
    }),
    ("flip", "input *dims", |a| {
        let x = a.t("input")?;
        let axes: Vec<usize> = a.ints("dims")?.unwrap_or_default().iter().map(|&d| at(&x, d as isize)).collect();
        one(if x.rank() == 0 { x } else { flipped(&x, &axes) })
    }),
    ("fliplr", "input", |a| one(a.t("input")?.flip(1))),
    ("flipud", "input", |a| one(a.t("input")?.flip(0))),
    ("rot90", "input k dims", |a| {
        let x = a.t("input")?;
        let dims = a.ints("dims")?.unwrap_or(vec![0, 1]);
        one(turned90(&x, a.i("k", 1)?, at(&x, dims[0] as isize), at(&x, dims[1] as isize)))
    }),
    ("roll", "input shifts dims", |a| {
        let x = a.t("input")?;
        let shifts = a.ints("shifts")?.unwrap_or_default();
        match a.ints("dims")? {
            Some(dims) if !dims.is_empty() => {
                let whole = |all: &[i64]| all.iter().map(|&n| n as isize).collect::<Vec<_>>();
                one(if x.rank() == 0 { x } else { x.roll(&whole(&shifts), &whole(&dims)) })
            }
            _ => {
                let shape = x.shape().to_vec();
                let flat = x.reshape([x.elements()]);
                one(flat.roll(&[shifts[0] as isize], &[0]).reshape(shape))
            }
        }
    }),
    ("repeat", "input *repeats", |a| one(repeated(&a.t("input")?, &a.sizes("repeats")?.unwrap_or_default()))),
    ("tile", "input *dims", |a| one(repeated(&a.t("input")?, &a.sizes("dims")?.unwrap_or_default()))),
    ("cat concat concatenate", "tensors dim", |a| joined(&a.list("tensors")?, a.axis("dim")?.unwrap_or(0))),
    ("stack", "tensors dim", |a| stacked(a.list("tensors")?, a.axis("dim")?.unwrap_or(0))),
    ("hstack", "tensors", |a| {
        let all: Vec<Tensor> = a.list("tensors")?.iter().map(|x| atleast(x, 1)).collect();
        joined(&all, if all[0].rank() == 1 { 0 } else { 1 })
    }),
    ("vstack", "tensors", |a| joined(&a.list("tensors")?.iter().map(|x| atleast(x, 2)).collect::<Vec<_>>(), 0)),
    ("dstack", "tensors", |a| joined(&a.list("tensors")?.iter().map(|x| atleast(x, 3)).collect::<Vec<_>>(), 2)),
    ("column_stack", "tensors", |a| {
        let column = |x: &Tensor| if x.rank() < 2 { x.reshape([x.elements(), 1]) } else { x.clone() };
        joined(&a.list("tensors")?.iter().map(column).collect::<Vec<_>>(), 1)
    }),
    ("atleast_1d", "*tensors", |a| Ok(a.list("tensors")?.iter().map(|x| atleast(x, 1)).collect())),
    ("atleast_2d", "*tensors", |a| Ok(a.list("tensors")?.iter().map(|x| atleast(x, 2)).collect())),
    ("atleast_3d", "*tensors", |a| Ok(a.list("tensors")?.iter().map(|x| atleast(x, 3)).collect())),
    ("meshgrid.variadic_tensors meshgrid.list_of_tensors meshgrid", "*tensors indexing", |a| {
        Ok(grid(&a.list("tensors")?, a.s("indexing", "ij")? == "xy"))
    }),
    ("chunk", "input chunks dim", |a| {
        let x = a.t("input")?;
        let axis = at(&x, a.axis("dim")?.unwrap_or(0));
        let (n, chunks) = (x.shape()[axis], a.i("chunks", 1)? as usize);
        let size = n.div_ceil(chunks).max(1);
        let sizes: Vec<usize> = (0..n.div_ceil(size).max(1)).map(|k| size.min(n - k * size)).collect();
        Ok(parts(&x, axis, &sizes))
    }),
    (
        "split split.list_args split_with_sizes split_with_sizes_copy split_copy unsafe_split",
        "input split_size dim split_sizes",
        |a| {
            let x = a.t("input")?;
            let axis = at(&x, a.axis("dim")?.unwrap_or(0));
            let n = x.shape()[axis];
            let name = if a.has("split_sizes") { "split_sizes" } else { "split_size" };
            let sizes = match a.get(name) {
                Some(Arg::Number(size, _)) => {
                    let size = (*size as usize).max(1);
                    (0..n.div_ceil(size).max(1)).map(|k| size.min(n - k * size)).collect()
                }
                _ => a.sizes(name)?.unwrap_or_default(),
            };
            Ok(parts(&x, axis, &sizes))
        },
    ),
    ("tensor_split", "input indices_or_sections dim", |a| {
        let x = a.t("input")?;
        tensor_split(a, at(&x, a.axis("dim")?.unwrap_or(0)), "indices_or_sections")
    }),
    ("hsplit", "input indices_or_sections", |a| {
        let axis = usize::from(a.t("input")?.rank() > 1);
        tensor_split(a, axis, "indices_or_sections")
    }),
    ("vsplit", "input indices_or_sections", |a| tensor_split(a, 0, "indices_or_sections")),
    ("dsplit", "input indices_or_sections", |a| tensor_split(a, 2, "indices_or_sections")),
    ("unbind unbind_copy", "input dim", |a| {
        let x = a.t("input")?;
        let axis = at(&x, a.axis("dim")?.unwrap_or(0));
        Ok((0..x.shape()[axis] as i64).map(|i| pick(&x, axis, i)).collect())
    }),
    ("select select_copy", "input dim index", |a| {
        let x = a.t("input")?;
        one(pick(&x, at(&x, a.axis("dim")?.unwrap_or(0)), a.i("index", 0)?))
    }),
    ("narrow narrow_copy", "input dim start length", |a| {
        let x = a.t("input")?;
        let axis = at(&x, a.axis("dim")?.unwrap_or(0));
        let start = a.i("start", 0)?;
        let start = if start < 0 { start + x.shape()[axis] as i64 } else { start } as usize;
        one(x.narrow(axis, start, a.i("length", 0)? as usize))
    }),
    ("slice", "input dim start end step", |a| {
        let x = a.t("input")?;
        let (start, end) = (a.num("start")?.map(|v| v as i64), a.num("end")?.map(|v| v as i64));
        one(sliced(&x, at(&x, a.axis("dim")?.unwrap_or(0)), start, end, a.i("step", 1)?))
    }),
    ("select_scatter", "input src dim index", |a| {
        let x = a.t("input")?;
        let (axis, index) = (at(&x, a.axis("dim")?.unwrap_or(0)), a.i("index", 0)?);
        put(&x, &a.t("src")?, |t| pick(t, axis, index))
    }),
    ("slice_scatter", "input src dim start end step", |a| {
        let x = a.t("input")?;
        let (start, end) = (a.num("start")?.map(|v| v as i64), a.num("end")?.map(|v| v as i64));
        let (axis, step) = (at(&x, a.axis("dim")?.unwrap_or(0)), a.i("step", 1)?);
        put(&x, &a.t("src")?, |t| sliced(t, axis, start, end, step))
    }),
    ("diagonal_scatter", "input src offset dim1 dim2", |a| {
        let (i, j) = (a.axis("dim1")?.unwrap_or(0), a.axis("dim2")?.unwrap_or(1));
        let offset = a.i("offset", 0)? as isize;
        put(&a.t("input")?, &a.t("src")?, |t| t.diagonal(offset, i, j))
    }),
    ("block_diag", "*tensors", |a| {
        let all: Vec<Tensor> = a.list("tensors")?.iter().map(|x| atleast(x, 2)).collect();
        let width: usize = all.iter().map(|x| x.shape()[1]).sum();
        let mut left = 0;
        let rows: Vec<Tensor> = all
            .iter()
            .map(|x| {
                left += x.shape()[1];
                x.pad(&[(0, 0), (left - x.shape()[1], width - left)], 0.0)
            })
            .collect();
        one(Tensor::concat(&rows.iter().collect::<Vec<_>>(), 0))
    }),
    ("tril", "input diagonal", |a| band(a, Tensor::tril)),
    ("triu", "input diagonal", |a| band(a, Tensor::triu)),
    ("diagonal diagonal_copy", "input offset dim1 dim2", |a| {
        let x = a.t("input")?;
        let (i, j) = (a.axis("dim1")?.unwrap_or(0), a.axis("dim2")?.unwrap_or(1));
        one(x.diagonal(a.i("offset", 0)? as isize, i, j))
    }),
    ("trace", "input", |a| one(a.t("input")?.trace())),
    ("diag", "input diagonal", |a| one(a.t("input")?.diag(a.i("diagonal", 0)? as isize))),
    ("diagflat", "input offset", |a| {
        let x = a.t("input")?;
        one(x.reshape([x.elements()]).diag(a.i("offset", 0)? as isize))
    }),
    ("diag_embed", "input offset dim1 dim2", |a| {
        let (i, j) = (a.axis("dim1")?.unwrap_or(-2), a.axis("dim2")?.unwrap_or(-1));
        one(a.t("input")?.diag_embed(a.i("offset", 0)? as isize, i, j))
    }),
    ("unfold unfold_copy", "input dimension size step", |a| {
        let x = a.t("input")?;
        let (size, step) = (a.i("size", 1)? as usize, a.i("step", 1)? as usize);
        if x.rank() == 0 {
            a.ignore("dimension");
            return one(x.reshape([1]));
        }
        one(x.unfold(a.axis("dimension")?.unwrap_or(0), size, step))
    }),
    ("nn.functional.pad.constant nn.functional.pad", "input pad mode value", |a| padded(a, "constant")),
    ("constant_pad_nd", "input pad value mode", |a| padded(a, "constant")),
    ("nn.functional.pad.reflect", "input pad mode value", |a| padded(a, "reflect")),
    ("nn.functional.pad.replicate nn.functional.pad.replicate_negative", "input pad mode value", |a| {
        padded(a, "replicate")
    }),
    ("nn.functional.pad.circular", "input pad mode value", |a| padded(a, "circular")),
    ("ones_like", "input dtype layout device requires_grad memory_format pin_memory", |a| same_shape(a, 1.0)),
    ("zeros_like zero_ zero", "input dtype layout device requires_grad memory_format pin_memory", |a| {
        same_shape(a, 0.0)
    }),
    ("full_like", "input fill_value dtype layout device requires_grad memory_format pin_memory", |a| {
        let value = a.f("fill_value", 0.0)?;
        same_shape(a, value)
    }),
    ("fill fill_", "input value", |a| {
        let x = a.t("input")?;
        one(a.t("value")?.cast(x.dtype()).broadcast_to(x.shape()))
    }),
    ("nn.functional.pixel_shuffle", "input upscale_factor", |a| {
        let (x, r) = (a.t("input")?, a.i("upscale_factor", 1)? as usize);
        let (lead, [c, h, w]) = image(&x);
        let y = x.reshape([lead, c / (r * r), r, r, h, w]).permute(&[0, 1, 4, 2, 5, 3]);
        one(y.reshape([&x.shape()[..x.rank() - 3], &[c / (r * r), h * r, w * r]].concat()))
    }),
    ("nn.functional.pixel_unshuffle", "input downscale_factor", |a| {
        let (x, r) = (a.t("input")?, a.i("downscale_factor", 1)? as usize);
        let (lead, [c, h, w]) = image(&x);
        let y = x.reshape([lead, c, h / r, r, w / r, r]).permute(&[0, 1, 3, 5, 2, 4]);
        one(y.reshape([&x.shape()[..x.rank() - 3], &[c * r * r, h / r, w / r]].concat()))
    }),
    ("diff", "input n dim prepend append", |a| {
        let mut x = a.t("input")?;
        let axis = at(&x, a.axis("dim")?.unwrap_or(-1));
        // PyTorch adds nothing where it takes no difference.
        if a.i("n", 1)? == 0 {
            a.ignore("prepend append");
            return one(x);
        }
        let ends = [a.opt("prepend")?, Some(x.clone()), a.opt("append")?];
        let all: Vec<Tensor> = ends.into_iter().flatten().collect();
        x = Tensor::concat(&all.iter().collect::<Vec<_>>(), axis as isize);
        for _ in 0..a.i("n", 1)? {
            let n = x.shape()[axis];
            x = if n == 0 { x } else { part(&x, axis, 1, n).sub(&part(&x, axis, 0, n - 1)) };
        }
        one(x)
    }),
];

/// The product of the leading axes, and the last three.
fn image(x: &Tensor) -> (usize, [usize; 3]) {
    let s = x.shape();
    let r = s.len();
    (s[..r - 3].iter().product(), [s[r - 3], s[r - 2], s[r - 1]])
}
