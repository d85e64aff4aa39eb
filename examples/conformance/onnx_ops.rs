//! ONNX's operators on elements, shapes, axes and indices, and ours.

use wgrad::functional::ScatterReduction;
use wgrad::{DType, Tensor};

use crate::call::{all_axes, float, promote};
use crate::judge::Unsupported;
use crate::onnx::{Node, Outputs, Row, one, unsupported, whole};
use crate::torch_shape::{pad_with, parts, repeated, sliced};

fn unary(n: &Node, f: fn(&Tensor) -> Tensor) -> Outputs {
    one(f(&n.x(0)?))
}

fn binary(n: &Node, f: fn(&Tensor, &Tensor) -> Tensor) -> Outputs {
    let (x, y) = n.two()?;
    one(f(&x, &y))
}

/// Whole numbers with only the bits that the file's type has.
fn within_bits(n: &Node, y: Tensor) -> Outputs {
    one(match n.host(0)?.and_then(|h| h.bits) {
        Some((bits, false)) => y.bitwise_and(&Tensor::scalar(n.device, (1i32 << bits) - 1)),
        Some((bits, true)) => {
            let rest = Tensor::scalar(n.device, 32 - bits as i32);
            y.bitwise_left_shift(&rest).bitwise_right_shift(&rest)
        }
        None => y,
    })
}

/// The inputs folded from the left.
fn folded(n: &Node, f: fn(&Tensor, &Tensor) -> Tensor) -> Outputs {
    let all = n.all();
    let wide = all.iter().fold(all[0].clone(), |a, b| promote(&a, b).0);
    let mut all = all.iter().map(|x| promote(&wide, x).1);
    let first = all.next().ok_or(Unsupported("no inputs".into()))?;
    one(all.fold(first, |a, b| f(&a, &b)))
}

type Fold = fn(&Tensor, &[isize], bool) -> Tensor;

/// A reduction over the axes of an attribute or an input; none are all, unless the node says otherwise.
fn reduce(n: &Node, f: Fold) -> Outputs {
    let x = n.x(0)?;
    let axes = n.ints_of(1, "axes")?.unwrap_or_default();
    let (keep, nothing) = (n.i("keepdims", 1) != 0, n.i("noop_with_empty_axes", 0) != 0);
    // Whether or not there are axes to sum over, ReduceSumSquare and its like apply their function: over no axes.
    let axes: Vec<isize> = match (axes.is_empty(), nothing) {
        (true, true) => Vec::new(),
        (true, false) => all_axes(&x),
        _ => axes.iter().map(|&a| a as isize).collect(),
    };
    if x.rank() == 0 {
        return one(f(&x.reshape([1]), &[0], false));
    }
    one(f(&x, &axes, keep))
}

/// The largest or smallest; of nothing, the other end of the numbers.
fn extreme(n: &Node, largest: bool) -> Outputs {
    let x = n.x(0)?;
    let kind = x.dtype();
    if x.elements() == 0 {
        let sums = reduce(n, sum)?;
        let end = if largest { f32::NEG_INFINITY } else { f32::INFINITY };
        let all = Tensor::full(n.device, sums[0].shape(), end);
        return one(match kind {
            DType::F32 => all,
            DType::Bool => all.greater(&Tensor::zeros(n.device, all.shape())),
            _ => return unsupported("the end of whole numbers"),
        });
    }
    let y = reduce(
        n,
        match largest {
            true => |x, axes, keep| {
                let x = if x.dtype() == DType::Bool { x.cast(DType::U32) } else { x.clone() };
                if keep { x.max_keep(axes) } else { x.max(axes) }
            },
            false => |x, axes, keep| {
                let x = if x.dtype() == DType::Bool { x.cast(DType::U32) } else { x.clone() };
                if keep { x.min_keep(axes) } else { x.min(axes) }
            },
        },
    )?;
    one(if kind == DType::Bool { y[0].cast(DType::Bool) } else { y[0].clone() })
}

fn sum(x: &Tensor, axes: &[isize], keep: bool) -> Tensor {
    match (axes.is_empty(), keep) {
        (true, _) => x.clone(),
        (_, true) => x.sum_keep(axes),
        _ => x.sum(axes),
    }
}

fn position(n: &Node, largest: bool) -> Outputs {
    let mut x = n.x(0)?;
    let axis = n.axis(&x, 0);
    let last = n.i("select_last_index", 0) != 0;
    if last {
        x = x.flip(axis);
    }
    let y = if largest { x.argmax(&[axis as isize]) } else { x.argmin(&[axis as isize]) };
    let mut y = whole(y);
    if last {
        y = Tensor::scalar(n.device, x.shape()[axis] as i32 - 1).sub(&y);
    }
    one(if n.i("keepdims", 1) != 0 { y.unsqueeze(axis) } else { y })
}

/// Before version 13 these took all axes from one on as one.
fn over_axis(n: &Node, f: fn(&Tensor, isize) -> Tensor) -> Outputs {
    let x = n.fx(0)?;
    let axis = n.axis(&x, if n.opset < 13 { 1 } else { -1 });
    if n.opset >= 13 {
        return one(f(&x, axis as isize));
    }
    let shape = x.shape().to_vec();
    let rows = shape[..axis].iter().product();
    let columns = shape[axis..].iter().product();
    one(f(&x.reshape([rows, columns]), 1).reshape(shape))
}

fn scan(n: &Node, f: fn(&Tensor, isize) -> Tensor, start: f32) -> Outputs {
    let x = n.x(0)?;
    let Some(axis) = n.host(1)?.map(|h| h.values[0] as i64) else { return unsupported("no axis") };
    let axis = (if axis < 0 { axis + x.rank() as i64 } else { axis }) as usize;
    let reverse = n.i("reverse", 0) != 0;
    let turned = |t: Tensor| if reverse { t.flip(axis) } else { t };
    let x = turned(x);
    let y = if n.i("exclusive", 0) != 0 {
        // Element k of those before it: a start, then all but the last.
        let extent = x.shape()[axis];
        let mut shape = x.shape().to_vec();
        shape[axis] = 1;
        let first = Tensor::full(n.device, shape, start);
        let first = if x.dtype() == DType::F32 { first } else { first.cast(x.dtype()) };
        f(&Tensor::concat(&[&first, &x.narrow(axis, 0, extent - 1)], axis as isize), axis as isize)
    } else {
        f(&x, axis as isize)
    };
    one(turned(y))
}

fn scatter(n: &Node) -> Outputs {
    let (x, src) = (n.x(0)?, n.x(2)?);
    let axis = n.axis(&x, 0);
    let index = n.index(1, x.shape()[axis])?;
    let axis = axis as isize;
    one(match reduction(n)? {
        None => x.scatter(axis, &index, &src),
        Some(ScatterReduction::Sum) => x.scatter_add(axis, &index, &src),
        Some(how) => x.scatter_reduce(axis, &index, &src, how, true),
    })
}

fn reduction(n: &Node) -> Result<Option<ScatterReduction>, Unsupported> {
    Ok(match &*n.s("reduction", "none") {
        "none" => None,
        "add" => Some(ScatterReduction::Sum),
        "mul" => Some(ScatterReduction::Prod),
        "max" => Some(ScatterReduction::Max),
        "min" => Some(ScatterReduction::Min),
        other => return Err(Unsupported(format!("reduction {other}"))),
    })
}

/// Input `k` as indices, as they are.
fn plain_index(n: &Node, k: usize) -> Result<Tensor, Unsupported> {
    let x = n.x(k)?;
    Ok(if x.dtype() == DType::I32 { x } else { x.cast(DType::I32) })
}

fn comparable(n: &Node, f: fn(&Tensor, &Tensor) -> Tensor) -> Outputs {
    let (x, y) = n.two()?;
    if x.dtype() == DType::Bool {
        return one(f(&x.cast(DType::I32), &y.cast(DType::I32)));
    }
    one(f(&x, &y))
}

/// The rows.
pub const ROWS: &[Row] = &[
    ("Abs", |n| unary(n, Tensor::abs)),
    ("Neg", |n| unary(n, Tensor::neg)),
    ("Sign", |n| unary(n, Tensor::sign)),
    ("Exp", |n| unary(n, Tensor::exp)),
    ("Log", |n| unary(n, Tensor::ln)),
    ("Sqrt", |n| unary(n, Tensor::sqrt)),
    ("Reciprocal", |n| unary(n, Tensor::reciprocal)),
    ("Sin", |n| unary(n, Tensor::sin)),
    ("Cos", |n| unary(n, Tensor::cos)),
    ("Tan", |n| unary(n, Tensor::tan)),
    ("Asin", |n| unary(n, Tensor::asin)),
    ("Acos", |n| unary(n, Tensor::acos)),
    ("Atan", |n| unary(n, Tensor::atan)),
    ("Sinh", |n| unary(n, Tensor::sinh)),
    ("Cosh", |n| unary(n, Tensor::cosh)),
    ("Tanh", |n| unary(n, Tensor::tanh)),
    ("Asinh", |n| unary(n, Tensor::asinh)),
    ("Acosh", |n| unary(n, Tensor::acosh)),
    ("Atanh", |n| unary(n, Tensor::atanh)),
    ("Erf", |n| unary(n, Tensor::erf)),
    ("Sigmoid", |n| unary(n, Tensor::sigmoid)),
    ("Relu", |n| unary(n, Tensor::relu)),
    ("Floor", |n| unary(n, Tensor::floor)),
    ("Ceil", |n| unary(n, Tensor::ceil)),
    ("Round", |n| unary(n, Tensor::round)),
    ("Softsign", |n| unary(n, Tensor::softsign)),
    ("HardSwish", |n| unary(n, Tensor::hardswish)),
    ("Mish", |n| unary(n, Tensor::mish)),
    ("IsNaN", |n| unary(n, Tensor::isnan)),
    ("Not", |n| unary(n, Tensor::logical_not)),
    ("Identity", |n| one(n.x(0)?)),
    ("IsInf", |n| {
        let x = n.fx(0)?;
        one(match (n.i("detect_positive", 1) != 0, n.i("detect_negative", 1) != 0) {
            (true, true) => x.isinf(),
            (true, false) => x.isposinf(),
            (false, true) => x.isneginf(),
            _ => x.isinf().logical_and(&x.isnan()),
        })
    }),
    ("Elu", |n| one(n.fx(0)?.elu(n.f("alpha", 1.0) as f32))),
    ("Celu", |n| one(n.fx(0)?.celu(n.f("alpha", 1.0) as f32))),
    ("Selu", |n| {
        let (alpha, gamma) = (n.f("alpha", 1.673_263_192_176_818_8), n.f("gamma", 1.050_701_022_148_132_3));
        one(&n.fx(0)?.elu(alpha as f32) * gamma as f32)
    }),
    ("LeakyRelu", |n| one(n.fx(0)?.leaky_relu(n.f("alpha", 0.01) as f32))),
    ("ThresholdedRelu", |n| one(n.fx(0)?.threshold(n.f("alpha", 1.0) as f32, 0.0))),
    // ONNX's slopes broadcast to the last axes.
    ("PRelu", |n| {
        let (x, slope) = (n.fx(0)?, n.fx(1)?);
        if n.opset < 7 {
            return one(x.prelu(&slope));
        }
        let zero = Tensor::scalar(n.device, 0f32);
        one(Tensor::select(&x.less(&zero), &x.mul(&slope), &x))
    }),
    ("HardSigmoid", |n| {
        let (alpha, beta) = (n.f("alpha", 0.2) as f32, n.f("beta", 0.5) as f32);
        one((&(&n.fx(0)? * alpha) + beta).clamp(0.0, 1.0))
    }),
    ("Softplus", |n| one(n.fx(0)?.softplus(1.0, f32::INFINITY))),
    ("Gelu", |n| match &*n.s("approximate", "none") {
        "tanh" => one(n.fx(0)?.gelu_tanh()),
        _ => one(n.fx(0)?.gelu()),
    }),
    ("Swish", |n| {
        let x = n.fx(0)?;
        one(x.mul(&(&x * n.f("alpha", 1.0) as f32).sigmoid()))
    }),
    ("Shrink", |n| {
        let (x, lambda, bias) = (n.fx(0)?, n.f("lambd", 0.5) as f32, n.f("bias", 0.0) as f32);
        let number = |v: f32| Tensor::scalar(n.device, v);
        let inner = Tensor::select(&x.greater(&number(lambda)), &(&x - bias), &number(0.0));
        one(Tensor::select(&x.less(&number(-lambda)), &(&x + bias), &inner))
    }),
    ("Clip", |n| {
        let x = n.x(0)?;
        n.ignore("min max");
        let bound = |k: usize, name: &str| match n.opt(k) {
            Some(t) => Some(t),
            None => n.get(name).and_then(crate::case::number).map(|v| Tensor::scalar(n.device, v as f32)),
        };
        one(x.clamp_by(bound(1, "min").as_ref(), bound(2, "max").as_ref()))
    }),
    ("Binarizer", |n| {
        let over = n.fx(0)?.greater(&Tensor::scalar(n.device, n.f("threshold", 0.0) as f32));
        one(over.cast(DType::F32))
    }),
    ("Add", |n| binary(n, Tensor::add)),
    ("Sub", |n| binary(n, Tensor::sub)),
    ("Mul", |n| binary(n, Tensor::mul)),
    ("Div", |n| binary(n, Tensor::div)),
    ("Mod", |n| binary(n, if n.i("fmod", 0) != 0 { Tensor::fmod } else { Tensor::remainder })),
    ("Pow", |n| {
        let kind = n.x(0)?.dtype();
        let (a, b) = n.two()?;
        let power = a.pow(&b);
        one(if kind == power.dtype() { power } else { power.cast(kind) })
    }),
    ("And", |n| binary(n, Tensor::logical_and)),
    ("Or", |n| binary(n, Tensor::logical_or)),
    ("Xor", |n| binary(n, Tensor::logical_xor)),
    ("Equal", |n| comparable(n, Tensor::equal)),
    ("Greater", |n| comparable(n, Tensor::greater)),
    ("GreaterOrEqual", |n| comparable(n, Tensor::greater_equal)),
    ("Less", |n| comparable(n, Tensor::less)),
    ("LessOrEqual", |n| comparable(n, Tensor::less_equal)),
    ("BitwiseAnd", |n| binary(n, Tensor::bitwise_and)),
    ("BitwiseOr", |n| binary(n, Tensor::bitwise_or)),
    ("BitwiseXor", |n| binary(n, Tensor::bitwise_xor)),
    ("BitwiseNot", |n| within_bits(n, n.x(0)?.bitwise_not())),
    ("BitShift", |n| {
        let (x, by) = n.two()?;
        let left = n.s("direction", "") == "LEFT";
        within_bits(n, if left { x.bitwise_left_shift(&by) } else { x.bitwise_right_shift(&by) })
    }),
    ("Sum", |n| folded(n, Tensor::add)),
    ("Max", |n| folded(n, Tensor::maximum)),
    ("Min", |n| folded(n, Tensor::minimum)),
    ("Mean", |n| Ok(vec![&folded(n, Tensor::add)?[0] * (1.0 / n.all().len() as f32)])),
    ("Where", |n| {
        let (x, y) = promote(&n.x(1)?, &n.x(2)?);
        one(Tensor::select(&n.x(0)?, &x, &y))
    }),
    ("Cast CastLike", |n| {
        n.ignore("saturate");
        match n.i("to", 1) {
            1 | 11 => one(float(&n.x(0)?)),
            6 | 7 => one(n.x(0)?.cast(DType::I32)),
            9 => one(n.x(0)?.cast(DType::Bool)),
            other => unsupported(format!("a cast to type {other}")),
        }
    }),
    // -------------------------------------------------------------------------------------------------- reductions
    ("ReduceSum", |n| reduce(n, sum)),
    ("ReduceMean", |n| {
        reduce(n, |x, axes, keep| match (axes.is_empty(), keep) {
            (true, _) => x.clone(),
            (_, true) => x.mean_keep(axes),
            _ => x.mean(axes),
        })
    }),
    ("ReduceMax", |n| extreme(n, true)),
    ("ReduceMin", |n| extreme(n, false)),
    ("ReduceProd", |n| reduce(n, |x, axes, keep| if keep { x.prod_keep(axes) } else { x.prod(axes) })),
    ("ReduceL1", |n| reduce(n, |x, axes, keep| sum(&x.abs(), axes, keep))),
    ("ReduceL2", |n| reduce(n, |x, axes, keep| sum(&x.square(), axes, keep).sqrt())),
    ("ReduceSumSquare", |n| reduce(n, |x, axes, keep| sum(&x.square(), axes, keep))),
    ("ReduceLogSum", |n| reduce(n, |x, axes, keep| sum(x, axes, keep).ln())),
    ("ReduceLogSumExp", |n| {
        reduce(n, |x, axes, keep| match (axes.is_empty(), keep) {
            (true, _) => x.clone(),
            (_, true) => x.logsumexp_keep(axes),
            _ => x.logsumexp(axes),
        })
    }),
    ("ArgMax", |n| position(n, true)),
    ("ArgMin", |n| position(n, false)),
    ("CumSum", |n| scan(n, Tensor::cumsum, 0.0)),
    ("CumProd", |n| scan(n, Tensor::cumprod, 1.0)),
    ("Softmax", |n| over_axis(n, Tensor::softmax)),
    ("LogSoftmax", |n| over_axis(n, Tensor::log_softmax)),
    ("Hardmax", |n| {
        over_axis(n, |x, axis| {
            let (extent, axis) = (x.shape()[axis as usize], axis as usize);
            let rank = x.rank();
            let hot = x.argmax(&[axis as isize]).one_hot(extent);
            let mut order: Vec<usize> = (0..rank - 1).collect();
            order.insert(axis, rank - 1);
            hot.permute(&order).cast(DType::F32)
        })
    }),
    ("LpNormalization", |n| {
        let x = n.fx(0)?;
        let axis = n.axis(&x, -1) as isize;
        let norm = x.norm_keep(&[axis], n.f("p", 2.0) as f32);
        let zero = Tensor::scalar(n.device, 0f32);
        one(Tensor::select(&norm.equal(&zero), &zero, &x.div(&norm)))
    }),
    // ------------------------------------------------------------------------------------------------------ shapes
    ("Reshape", |n| {
        let x = n.x(0)?;
        let zero = n.i("allowzero", 0) != 0;
        let to = n.ints_of(1, "shape")?.unwrap_or_default();
        let to: Vec<i64> =
            to.iter().enumerate().map(|(i, &v)| if v == 0 && !zero { x.shape()[i] as i64 } else { v }).collect();
        one(x.reshape(crate::torch_shape::whole(&to, x.elements())))
    }),
    ("Flatten", |n| {
        let x = n.x(0)?;
        let axis = n.axis(&x, 1);
        let (rows, columns) = (x.shape()[..axis].iter().product(), x.shape()[axis..].iter().product());
        one(x.reshape([rows, columns]))
    }),
    ("Squeeze", |n| {
        let x = n.x(0)?;
        let axes = n.ints_of(1, "axes")?;
        let at = |a: i64| (if a < 0 { a + x.rank() as i64 } else { a }) as usize;
        let gone = |i: usize| match &axes {
            Some(axes) => axes.iter().any(|&a| at(a) == i),
            None => x.shape()[i] == 1,
        };
        let shape: Vec<usize> = (0..x.rank()).filter(|&i| !gone(i)).map(|i| x.shape()[i]).collect();
        one(x.reshape(shape))
    }),
    ("Unsqueeze", |n| {
        let x = n.x(0)?;
        let axes = n.ints_of(1, "axes")?.unwrap_or_default();
        let rank = x.rank() + axes.len();
        let new: Vec<usize> = axes.iter().map(|&a| (if a < 0 { a + rank as i64 } else { a }) as usize).collect();
        let mut old = x.shape().iter();
        let shape: Vec<usize> =
            (0..rank).map(|i| if new.contains(&i) { 1 } else { *old.next().expect("as many as before") }).collect();
        one(x.reshape(shape))
    }),
    ("Transpose", |n| {
        let x = n.x(0)?;
        let perm = n.ints("perm").unwrap_or_else(|| (0..x.rank() as i64).rev().collect());
        one(x.permute(&perm.iter().map(|&a| a as usize).collect::<Vec<_>>()))
    }),
    ("Expand", |n| {
        let x = n.x(0)?;
        let to: Vec<usize> = n.ints_of(1, "shape")?.unwrap_or_default().iter().map(|&v| v as usize).collect();
        let shape = x.shape().broadcast(&to.into(), "Expand").map_err(|e| Unsupported(e.to_string()))?;
        one(x.broadcast_to(shape))
    }),
    ("Tile", |n| {
        let times: Vec<usize> = n.ints_of(1, "repeats")?.unwrap_or_default().iter().map(|&v| v as usize).collect();
        one(repeated(&n.x(0)?, &times))
    }),
    ("Concat", |n| {
        let all = n.all();
        one(Tensor::concat(&all.iter().collect::<Vec<_>>(), n.i("axis", 1) as isize))
    }),
    ("Split", |n| {
        let x = n.x(0)?;
        let axis = n.axis(&x, 0);
        let extent = x.shape()[axis];
        let count = n.i("num_outputs", n.outputs as i64) as usize;
        let sizes: Vec<usize> = match n.ints_of(1, "split")? {
            Some(sizes) => sizes.iter().map(|&v| v as usize).collect(),
            None => {
                let size = extent.div_ceil(count);
                (0..count).map(|k| size.min(extent.saturating_sub(k * size))).collect()
            }
        };
        Ok(parts(&x, axis, &sizes))
    }),
    ("Slice", |n| {
        let mut x = n.x(0)?;
        let starts = n.ints_of(1, "starts")?.unwrap_or_default();
        let ends = n.ints_of(2, "ends")?.unwrap_or_default();
        let axes = n.ints_of(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = n.ints_of(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        for (i, &axis) in axes.iter().enumerate() {
            let axis = (if axis < 0 { axis + x.rank() as i64 } else { axis }) as usize;
            // Going backwards, an end far below zero is past the first element.
            let (extent, end) = (x.shape()[axis] as i64, ends[i]);
            let stop = if steps[i] < 0 && end < -extent { None } else { Some(end) };
            x = sliced(&x, axis, Some(starts[i]), stop, steps[i]);
        }
        one(x)
    }),
    ("Pad", |n| {
        let x = n.x(0)?;
        let all = match n.ints_of(1, "pads")? {
            Some(all) => all,
            None => n.ints("paddings").unwrap_or_default(),
        };
        let value = match n.host(2)? {
            Some(host) => host.values[0],
            None => n.f("value", 0.0),
        };
        let axes = match n.host(3)? {
            Some(host) => host.ints(),
            None => (0..x.rank() as i64).collect(),
        };
        let mut pads = vec![[0i64; 2]; x.rank()];
        for (i, &axis) in axes.iter().enumerate() {
            let axis = (if axis < 0 { axis + x.rank() as i64 } else { axis }) as usize;
            pads[axis] = [all[i], all[i + axes.len()]];
        }
        let kind = x.dtype();
        let y = pad_with(&float(&x), &pads, &n.s("mode", "constant"), value).map_err(|e| Unsupported(e.0))?;
        one(if kind == DType::F32 { y[0].clone() } else { y[0].cast(kind) })
    }),
    ("DepthToSpace", |n| {
        let (x, b) = (n.x(0)?, n.i("blocksize", 1) as usize);
        let s = x.shape().to_vec();
        let (c, h, w) = (s[1] / (b * b), s[2], s[3]);
        let y = match &*n.s("mode", "DCR") {
            "CRD" => x.reshape([s[0], c, b, b, h, w]).permute(&[0, 1, 4, 2, 5, 3]),
            _ => x.reshape([s[0], b, b, c, h, w]).permute(&[0, 3, 4, 1, 5, 2]),
        };
        one(y.reshape([s[0], c, h * b, w * b]))
    }),
    ("SpaceToDepth", |n| {
        let (x, b) = (n.x(0)?, n.i("blocksize", 1) as usize);
        let s = x.shape().to_vec();
        let (h, w) = (s[2] / b, s[3] / b);
        let blocks = x.reshape([s[0], s[1], h, b, w, b]);
        let y = match &*n.s("mode", "DCR") {
            "CRD" => blocks.permute(&[0, 1, 3, 5, 2, 4]),
            _ => blocks.permute(&[0, 3, 5, 1, 2, 4]),
        };
        one(y.reshape([s[0], s[1] * b * b, h, w]))
    }),
    ("Trilu", |n| {
        let diagonal = n.host(1)?.map_or(0, |h| h.values[0] as isize);
        let x = n.x(0)?;
        one(if n.i("upper", 1) != 0 { x.triu(diagonal) } else { x.tril(diagonal) })
    }),
    ("Shape", |n| {
        let x = n.x(0)?;
        let rank = x.rank() as i64;
        let at = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
        let (start, end) = (at(n.i("start", 0)), at(n.i("end", rank)));
        let shape: Vec<i32> = x.shape()[start..end.max(start)].iter().map(|&v| v as i32).collect();
        one(Tensor::from_slice(n.device, &shape, shape.len()).map_err(|e| Unsupported(e.to_string()))?)
    }),
    ("Size", |n| one(Tensor::scalar(n.device, n.x(0)?.elements() as i32))),
    // ---------------------------------------------------------------------------------------------------- indexing
    ("Gather", |n| {
        let x = n.x(0)?;
        let axis = n.axis(&x, 0);
        one(x.index_select(axis as isize, &n.index(1, x.shape()[axis])?))
    }),
    ("GatherElements", |n| {
        let x = n.x(0)?;
        let axis = n.axis(&x, 0);
        one(x.gather(axis as isize, &n.index(1, x.shape()[axis])?))
    }),
    ("GatherND", |n| one(n.x(0)?.gather_nd(&plain_index(n, 1)?, n.i("batch_dims", 0) as usize))),
    ("Scatter ScatterElements", scatter),
    ("ScatterND", |n| {
        let how = reduction(n)?;
        one(n.x(0)?.scatter_nd(&plain_index(n, 1)?, &n.x(2)?, how))
    }),
    ("OneHot", |n| {
        let (Some(index), Some(depth), Some(values)) = (n.host(0)?, n.host(1)?, n.host(2)?) else {
            return unsupported("an input is missing");
        };
        let depth = depth.values[0] as usize;
        let rank = index.shape.len() as i64 + 1;
        let axis = n.i("axis", -1);
        let axis = (if axis < 0 { axis + rank } else { axis }) as usize;
        let hot = n.index(0, depth)?.one_hot(depth);
        let mut order: Vec<usize> = (0..rank as usize - 1).collect();
        order.insert(axis, rank as usize - 1);
        let hot = hot.permute(&order).cast(DType::Bool);
        let number = |v: f64| Tensor::scalar(n.device, v as f32).cast(values.dtype);
        one(Tensor::select(&hot, &number(values.values[1]), &number(values.values[0])))
    }),
    ("TopK", |n| {
        let x = n.x(0)?;
        n.ignore("sorted");
        let k = match n.host(1)? {
            Some(host) => host.values[0] as usize,
            None => n.i("k", 1) as usize,
        };
        let axis = n.axis(&x, -1);
        let (values, places) = x.topk(k, axis as isize, n.i("largest", 1) != 0);
        Ok(vec![values, whole(places)])
    }),
    // ---------------------------------------------------------------------------------------------- linear algebra
    ("MatMul", |n| one(n.fx(0)?.matmul(&n.fx(1)?))),
    ("Gemm", |n| {
        let factors = [n.f("alpha", 1.0) as f32, n.f("beta", 1.0) as f32];
        let turned = [n.i("transA", 0) != 0, n.i("transB", 0) != 0];
        n.ignore("broadcast");
        one(Tensor::gemm(&n.fx(0)?, &n.fx(1)?, n.opt(2).as_ref(), factors, turned))
    }),
    ("Einsum", |n| {
        let all: Vec<Tensor> = n.all().iter().map(float).collect();
        one(Tensor::einsum(&n.s("equation", ""), &all.iter().collect::<Vec<_>>()))
    }),
];
