//! ONNX's convolutions, pooling, normalisation, recurrent layers, losses and optimizers, and ours.

use serde_json::Value;
use wgrad::functional::{ClassLoss, ConvTranspose2dOptions, RecurrentWeights, Reduction};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions};
use wgrad::{DType, Tensor};

use crate::call::all_axes;
use crate::judge::Unsupported;
use crate::onnx::{Node, Outputs, Row, one, pads, unsupported, whole};
use crate::onnx_space;
use crate::torch_nn::Batch;

/// The axes of space of the input, which must be one or two, and the input as images.
fn images(n: &Node) -> Result<(usize, Batch, Tensor), Unsupported> {
    let x = n.fx(0)?;
    match x.rank() {
        3 | 4 => {
            let axes = x.rank() - 2;
            let (batch, x) = Batch::of(&x, axes)?;
            Ok((axes, batch, x))
        }
        rank => Err(Unsupported(format!("{} axes of space", rank.saturating_sub(2)))),
    }
}

/// Numbers of height and width; of one axis, the height has `one_axis`.
fn sizes(n: &Node, name: &str, axes: usize, one_axis: usize, default: usize) -> [usize; 2] {
    match (n.ints(name).as_deref(), axes) {
        (Some([h, w]), _) => [*h as usize, *w as usize],
        (Some([w]), _) => [one_axis, *w as usize],
        (_, 1) => [one_axis, default],
        _ => [default; 2],
    }
}

fn padding(all: &[[i64; 2]]) -> Result<Padding, Unsupported> {
    if all.iter().flatten().any(|&p| p < 0) {
        return Err(Unsupported("negative pads".into()));
    }
    let p = |i: usize, k: usize| all[i][k] as usize;
    Ok(Padding::Explicit(match all.len() {
        1 => [0, 0, p(0, 0), p(0, 1)],
        _ => [p(0, 0), p(0, 1), p(1, 0), p(1, 1)],
    }))
}

fn as_images(weight: Tensor, axes: usize) -> Tensor {
    if axes == 1 { weight.unsqueeze(2) } else { weight }
}

fn conv(n: &Node) -> Outputs {
    if n.x(0)?.rank() == 5 {
        return onnx_space::conv(n);
    }
    let (axes, batch, x) = images(n)?;
    n.ignore("kernel_shape");
    let options = Conv2dOptions {
        stride: sizes(n, "strides", axes, 1, 1),
        padding: padding(&pads(n, axes)?)?,
        dilation: sizes(n, "dilations", axes, 1, 1),
        groups: n.i("group", 1) as usize,
    };
    one(batch.back(x.conv2d(&as_images(n.fx(1)?, axes), n.opt(2).as_ref(), &options)))
}

fn conv_transpose(n: &Node) -> Outputs {
    if n.x(0)?.rank() == 5 {
        return onnx_space::conv_transpose(n);
    }
    let (axes, batch, x) = images(n)?;
    n.ignore("kernel_shape output_shape");
    let mut cut = pads(n, axes)?;
    let stride = sizes(n, "strides", axes, 1, 1);
    let mut output_padding = sizes(n, "output_padding", axes, 0, 0);
    // A negative pad at the end makes the output that much longer.
    for (i, pad) in cut.iter_mut().enumerate() {
        if pad[1] < 0 {
            output_padding[i + 2 - axes] += (-pad[1]) as usize;
            pad[1] = 0;
        }
    }
    let options = ConvTranspose2dOptions {
        stride,
        padding: padding(&cut)?,
        output_padding,
        dilation: sizes(n, "dilations", axes, 1, 1),
        groups: n.i("group", 1) as usize,
    };
    one(batch.back(x.conv_transpose2d(&as_images(n.fx(1)?, axes), n.opt(2).as_ref(), &options)))
}

fn pool(n: &Node, axes: usize) -> Result<Pool2dOptions, Unsupported> {
    let mut options = Pool2dOptions::new(sizes(n, "kernel_shape", axes, 1, 1));
    options.stride = sizes(n, "strides", axes, 1, 1);
    options.dilation = sizes(n, "dilations", axes, 1, 1);
    options.padding = padding(&pads(n, axes)?)?;
    options.ceil_mode = n.i("ceil_mode", 0) != 0;
    Ok(options)
}

/// Padding of more than half a window, put around the image first.
fn padded(x: &Tensor, options: &mut Pool2dOptions, value: f32) -> Tensor {
    let Padding::Explicit([top, bottom, left, right]) = options.padding else { return x.clone() };
    let span = |i: usize| (options.kernel[i] - 1) * options.dilation[i] + 1;
    if top.max(bottom) * 2 <= span(0) && left.max(right) * 2 <= span(1) {
        return x.clone();
    }
    options.padding = Padding::Valid;
    x.pad(&[(0, 0), (0, 0), (top, bottom), (left, right)], value)
}

fn max_pool(n: &Node) -> Outputs {
    if n.x(0)?.rank() == 5 {
        return onnx_space::max_pool(n);
    }
    let kind = n.x(0)?.dtype();
    let (axes, batch, x) = images(n)?;
    let mut options = pool(n, axes)?;
    let x = if n.outputs < 2 { padded(&x, &mut options, f32::NEG_INFINITY) } else { x };
    let (y, index) = x.max_pool2d_with_indices(&options);
    if n.outputs < 2 {
        n.ignore("storage_order");
        let y = batch.back(y);
        return one(if kind == DType::F32 { y } else { y.cast(kind) });
    }
    // ONNX counts through the whole tensor, ours through each image.
    let s = x.shape().to_vec();
    let (h, w) = (s[2] as i32, s[3] as i32);
    let index = whole(index);
    let number = |v: i32| Tensor::scalar(n.device, v);
    let within = match n.i("storage_order", 0) {
        0 => index,
        _ => {
            let row = index.floor_divide(&number(w));
            let column = index.sub(&row.mul(&number(w)));
            column.mul(&number(h)).add(&row)
        }
    };
    let planes: Vec<i32> = (0..(s[0] * s[1]) as i32).map(|p| p * h * w).collect();
    let planes = Tensor::from_slice(n.device, &planes, [s[0], s[1], 1, 1]).map_err(|e| Unsupported(e.to_string()))?;
    Ok(vec![batch.back(y), batch.back(within.add(&planes))])
}

fn avg_pool(n: &Node) -> Outputs {
    let dilated = n.ints("dilations").is_some_and(|d| d.iter().any(|&v| v != 1));
    if n.x(0)?.rank() == 5 || (dilated && n.x(0)?.rank() == 4) {
        return onnx_space::avg_pool(n);
    }
    let (axes, batch, x) = images(n)?;
    let mut options = pool(n, axes)?;
    options.count_include_pad = n.i("count_include_pad", 0) != 0;
    if options.dilation != [1, 1] {
        return unsupported("dilations");
    }
    let mut valid = options;
    let wide = padded(&x, &mut valid, 0.0);
    if valid.padding == options.padding {
        return one(batch.back(x.avg_pool2d(&options)));
    }
    let sums = wide.avg_pool2d(&valid);
    if options.count_include_pad {
        return one(batch.back(sums));
    }
    // The share of each window that lies on the image.
    let share = padded(&Tensor::ones(n.device, x.shape()), &mut options, 0.0).avg_pool2d(&valid);
    one(batch.back(sums.div(&share)))
}

fn all_of_space(x: &Tensor) -> Vec<isize> {
    (2..x.rank() as isize).collect()
}

fn batch_norm(n: &Node) -> Outputs {
    let x = n.fx(0)?;
    let (scale, bias, mean, var) = (n.fx(1)?, n.fx(2)?, n.fx(3)?, n.fx(4)?);
    let eps = n.f("epsilon", 1e-5) as f32;
    n.ignore("spatial consumed_inputs is_test");
    let momentum = n.f("momentum", 0.9);
    if n.i("training_mode", 0) == 0 {
        return one(x.batch_norm_with([&mean, &var], Some(&scale), Some(&bias), eps));
    }
    let y = x.batch_norm(Some(&scale), Some(&bias), eps);
    // ONNX moves towards the biased variance.
    let axes: Vec<isize> = (0..x.rank() as isize).filter(|&a| a != 1).collect();
    let mixed = |old: &Tensor, new: &Tensor| &(old * momentum as f32) + &(new * (1.0 - momentum) as f32);
    let (mean, var) = (mixed(&mean, &x.mean(&axes)), mixed(&var, &x.var(&axes, 0.0)));
    Ok(vec![y, mean, var])
}

fn layer_norm(n: &Node) -> Outputs {
    let x = n.fx(0)?;
    let axis = n.axis(&x, -1);
    let eps = n.f("epsilon", 1e-5) as f32;
    n.ignore("stash_type");
    let (scale, bias) = (n.fx(1)?, n.opt(2));
    let tail = &x.shape()[axis..];
    let y = if scale.shape()[..] == tail[..] {
        x.layer_norm(x.rank() - axis, Some(&scale), bias.as_ref(), eps)
    } else {
        let y = x.layer_norm(x.rank() - axis, None, None, eps).mul(&scale);
        bias.map_or(y.clone(), |b| y.add(&b))
    };
    let axes: Vec<isize> = (axis as isize..x.rank() as isize).collect();
    let mean = x.mean_keep(&axes);
    let spread = (&x.var_keep(&axes, 0.0) + eps).rsqrt();
    Ok(vec![y, mean, spread])
}

fn rms_norm(n: &Node) -> Outputs {
    let x = n.fx(0)?;
    let axis = n.axis(&x, -1);
    let eps = n.f("epsilon", 1e-5) as f32;
    n.ignore("stash_type");
    one(x.rms_norm(x.rank() - axis, None, eps).mul(&n.fx(1)?))
}

fn group_norm(n: &Node) -> Outputs {
    let x = n.fx(0)?;
    let groups = n.i("num_groups", 1) as usize;
    n.ignore("stash_type");
    let (scale, bias) = (n.fx(1)?, n.fx(2)?);
    let per_group = n.opset < 21;
    let channels = x.shape()[1];
    // Before version 21 scale and bias are those of groups.
    let spread = |t: Tensor| match per_group && t.elements() != channels {
        true => t.unsqueeze(1).broadcast_to([groups, channels / groups]).reshape([channels]),
        false => t,
    };
    one(x.group_norm(groups, Some(&spread(scale)), Some(&spread(bias)), n.f("epsilon", 1e-5) as f32))
}

/// Rows of gates in another order: our gate `k` is ONNX's `order[k]`.
fn gates(t: &Tensor, axis: usize, hidden: usize, order: &[usize]) -> Tensor {
    let parts: Vec<Tensor> = order.iter().map(|&k| t.narrow(axis, k * hidden, hidden)).collect();
    Tensor::concat(&parts.iter().collect::<Vec<_>>(), axis as isize)
}

/// A whole recurrent layer: `run` takes input, weights, state `[h, c]`, peepholes, and whether it runs backwards.
fn recurrent(
    n: &Node,
    order: &[usize],
    states: usize,
    run: impl Fn(&Tensor, &RecurrentWeights, &[Tensor], Option<[Tensor; 3]>, bool) -> (Tensor, Vec<Tensor>),
) -> Outputs {
    let batch_first = n.i("layout", 0) != 0;
    let x = n.fx(0)?;
    let x = if batch_first { x.transpose(0, 1) } else { x };
    let (t, b) = (x.shape()[0], x.shape()[1]);
    let (w, r) = (n.fx(1)?, n.fx(2)?);
    let hidden = n.i("hidden_size", r.shape()[2] as i64) as usize;
    if let Some(lengths) = n.host(4)?
        && lengths.values.iter().any(|&l| l as usize != t)
    {
        return unsupported("sequences of different lengths");
    }
    if n.get("clip").is_some() {
        return unsupported("clip");
    }
    let direction = n.s("direction", "forward");
    let count = w.shape()[0];
    let bias = n.opt(3);
    let initial: Vec<Option<Tensor>> = (0..states).map(|k| n.opt(5 + k)).collect();
    let peepholes = if states == 2 { n.opt(7) } else { None };
    let pick = |t: &Tensor, d: usize| t.narrow(0, d, 1).squeeze(0);
    let (mut ys, mut ends) = (Vec::new(), vec![Vec::new(); states]);
    for d in 0..count {
        let mut weights =
            RecurrentWeights::new(&gates(&pick(&w, d), 0, hidden, order), &gates(&pick(&r, d), 0, hidden, order));
        if let Some(bias) = &bias {
            let all = pick(bias, d);
            let half = all.elements() / 2;
            let of = |k: usize| gates(&all.narrow(0, k * half, half), 0, hidden, order);
            weights = weights.biases(&of(0), &of(1));
        }
        let zeros = || Tensor::zeros(n.device, [b, hidden]);
        let start: Vec<Tensor> = initial
            .iter()
            .map(|h| match h {
                Some(h) if batch_first => pick(&h.transpose(0, 1), d),
                Some(h) => pick(h, d),
                None => zeros(),
            })
            .collect();
        // ONNX has the peepholes of gates i, o, f; ours go i, f, o.
        let peepholes = peepholes.as_ref().map(|p| {
            let p = pick(p, d);
            [0, 2, 1].map(|k| p.narrow(0, k * hidden, hidden))
        });
        let reverse = direction == "reverse" || d == 1;
        let (y, last) = run(&x, &weights, &start, peepholes, reverse);
        ys.push(y);
        ends.iter_mut().zip(last).for_each(|(all, h)| all.push(h));
    }
    // [t, directions, b, h], and [directions, b, h].
    let y = Tensor::stack(&ys.iter().collect::<Vec<_>>(), 1);
    let mut all = vec![if batch_first { y.permute(&[2, 0, 1, 3]) } else { y }];
    for end in ends {
        let h = Tensor::stack(&end.iter().collect::<Vec<_>>(), 0);
        all.push(if batch_first { h.transpose(0, 1) } else { h });
    }
    Ok(all)
}

fn activations(n: &Node, usual: &[&str]) -> Result<Vec<String>, Unsupported> {
    let given: Vec<String> = match n.get("activations").and_then(Value::as_array) {
        Some(all) => all.iter().filter_map(Value::as_str).map(String::from).collect(),
        None => usual.iter().map(|s| s.to_string()).collect(),
    };
    n.ignore("activation_alpha activation_beta");
    Ok(given)
}

fn rnn(n: &Node) -> Outputs {
    let f = activations(n, &["Tanh"])?;
    let relu = match f.first().map(String::as_str) {
        Some("Relu") => true,
        Some("Tanh") => false,
        other => return unsupported(format!("activation {other:?}")),
    };
    recurrent(n, &[0], 1, |x, w, h, _, reverse| {
        let (y, h) = x.rnn(w, Some(&h[0]), relu, reverse);
        (y, vec![h])
    })
}

fn lstm(n: &Node) -> Outputs {
    let f = activations(n, &["Sigmoid", "Tanh", "Tanh"])?;
    if f.chunks(3).any(|f| f != ["Sigmoid", "Tanh", "Tanh"]) || n.i("input_forget", 0) != 0 {
        return unsupported("activations or input_forget");
    }
    // ONNX has gates i, o, f, c; ours are i, f, g, o.
    recurrent(n, &[0, 2, 3, 1], 2, |x, w, s, peepholes, reverse| {
        let (y, last) = match &peepholes {
            Some([i, f, o]) => x.lstm_peephole(w, Some([&s[0], &s[1]]), [i, f, o], reverse),
            None => x.lstm(w, Some([&s[0], &s[1]]), reverse),
        };
        (y, last.to_vec())
    })
}

fn gru(n: &Node) -> Outputs {
    let f = activations(n, &["Sigmoid", "Tanh"])?;
    if f.chunks(2).any(|f| f != ["Sigmoid", "Tanh"]) {
        return unsupported("activations");
    }
    let after = n.i("linear_before_reset", 0) != 0;
    // ONNX has gates z, r, h; ours are r, z, n.
    recurrent(n, &[1, 0, 2], 1, |x, w, h, _, reverse| {
        let (y, h) = if after { x.gru(w, Some(&h[0]), reverse) } else { x.gru_reset_first(w, Some(&h[0]), reverse) };
        (y, vec![h])
    })
}

fn class_loss(n: &Node) -> Result<ClassLoss, Unsupported> {
    let reduction = match &*n.s("reduction", "mean") {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        other => return Err(Unsupported(format!("reduction {other}"))),
    };
    let ignore_index = n.get("ignore_index").and_then(crate::case::number).map(|v| v as i32);
    Ok(ClassLoss { weight: n.opt(2), ignore_index, label_smoothing: 0.0, reduction })
}

/// The tensors of a training step: rate, count, then all X, all G and the states.
fn step(n: &Node, states: usize, f: impl Fn(&Tensor, &Tensor, &[Tensor], f32, f64) -> Vec<Tensor>) -> Outputs {
    let (Some(rate), Some(count)) = (n.host(0)?, n.host(1)?) else { return unsupported("no rate") };
    let (rate, count) = (rate.values[0] as f32, count.values[0]);
    let all = n.all()[2..].to_vec();
    let k = all.len() / (2 + states);
    let mut made: Vec<Vec<Tensor>> = Vec::new();
    for i in 0..k {
        let own: Vec<Tensor> = (0..states).map(|s| all[(2 + s) * k + i].clone()).collect();
        made.push(f(&all[i], &all[k + i], &own, rate, count));
    }
    Ok((0..=states).flat_map(|part| made.iter().map(move |m| m[part].clone())).collect())
}

fn momentum(n: &Node) -> Outputs {
    let (alpha, beta, decay) = (n.f("alpha", 0.9) as f32, n.f("beta", 1.0) as f32, n.f("norm_coefficient", 0.0) as f32);
    let nesterov = n.s("mode", "standard") == "nesterov";
    step(n, 1, |x, g, v, rate, count| {
        let g = g.add(&(x * decay));
        let beta = if count == 0.0 { 1.0 } else { beta };
        let v = &(&v[0] * alpha) + &(&g * beta);
        let way = if nesterov { &g + &(&v * alpha) } else { v.clone() };
        vec![x.sub(&(&way * rate)), v]
    })
}

fn adagrad(n: &Node) -> Outputs {
    let (falling, eps, decay) =
        (n.f("decay_factor", 0.0), n.f("epsilon", 1e-6) as f32, n.f("norm_coefficient", 0.0) as f32);
    step(n, 1, |x, g, h, rate, count| {
        let g = g.add(&(x * decay));
        let h = h[0].add(&g.square());
        let rate = rate / (1.0 + count * falling) as f32;
        vec![x.sub(&(&g.div(&(&h.sqrt() + eps)) * rate)), h]
    })
}

fn adam(n: &Node) -> Outputs {
    let (alpha, beta, eps) = (n.f("alpha", 0.9), n.f("beta", 0.999), n.f("epsilon", 1e-6) as f32);
    let (decay, after) = (n.f("norm_coefficient", 0.0) as f32, n.f("norm_coefficient_post", 0.0) as f32);
    step(n, 2, |x, g, s, rate, count| {
        let g = g.add(&(x * decay));
        let v = &(&s[0] * alpha as f32) + &(&g * (1.0 - alpha) as f32);
        let h = &(&s[1] * beta as f32) + &(&g.square() * (1.0 - beta) as f32);
        let rate = match count > 0.0 {
            true => rate as f64 * (1.0 - beta.powf(count)).sqrt() / (1.0 - alpha.powf(count)),
            false => rate as f64,
        };
        let new = x.sub(&(&v.div(&(&h.sqrt() + eps)) * rate as f32));
        vec![&new * (1.0 - after), v, h]
    })
}

/// The rows.
pub const ROWS: &[Row] = &[
    ("Conv", conv),
    ("ConvTranspose", conv_transpose),
    ("MaxPool", max_pool),
    ("AveragePool", avg_pool),
    ("LpPool", |n| {
        let dilated = n.ints("dilations").is_some_and(|d| d.iter().any(|&v| v != 1));
        if n.x(0)?.rank() == 5 || (dilated && n.x(0)?.rank() == 4) {
            return onnx_space::lp_pool(n);
        }
        let (axes, batch, x) = images(n)?;
        let mut options = pool(n, axes)?;
        if options.dilation != [1, 1] {
            return unsupported("dilations");
        }
        let Padding::Explicit([top, bottom, left, right]) = options.padding else { return unsupported("padding") };
        options.padding = Padding::Valid;
        // ONNX takes |x|, and pads with zeros.
        let x = x.abs().pad(&[(0, 0), (0, 0), (top, bottom), (left, right)], 0.0);
        one(batch.back(x.lp_pool2d(n.f("p", 2.0) as f32, &options)))
    }),
    ("GlobalAveragePool", |n| one(n.fx(0)?.mean_keep(&all_of_space(&n.fx(0)?)))),
    ("GlobalMaxPool", |n| one(n.fx(0)?.max_keep(&all_of_space(&n.fx(0)?)))),
    ("GlobalLpPool", |n| one(n.fx(0)?.norm_keep(&all_of_space(&n.fx(0)?), n.f("p", 2.0) as f32))),
    ("BatchNormalization", batch_norm),
    ("InstanceNormalization", |n| {
        one(n.fx(0)?.instance_norm(Some(&n.fx(1)?), Some(&n.fx(2)?), n.f("epsilon", 1e-5) as f32))
    }),
    ("LayerNormalization", layer_norm),
    ("RMSNormalization", rms_norm),
    ("GroupNormalization", group_norm),
    ("LRN", |n| {
        let (alpha, beta, bias) = (n.f("alpha", 1e-4), n.f("beta", 0.75), n.f("bias", 1.0));
        one(n.fx(0)?.local_response_norm_onnx(n.i("size", 1) as usize, alpha as f32, beta as f32, bias as f32))
    }),
    ("MeanVarianceNormalization", |n| {
        let x = n.fx(0)?;
        let axes: Vec<isize> = match n.ints("axes") {
            Some(axes) => axes.iter().map(|&a| a as isize).collect(),
            None => all_axes(&x).into_iter().filter(|&a| a != 1).collect(),
        };
        let centred = x.sub(&x.mean_keep(&axes));
        one(centred.div(&(&centred.square().mean_keep(&axes).sqrt() + 1e-9)))
    }),
    ("Dropout", |n| {
        n.ignore("seed is_test consumed_inputs");
        let ratio = match n.host(1)? {
            Some(host) => host.values[0],
            None => n.f("ratio", 0.5),
        };
        let training = n.host(2)?.is_some_and(|h| h.values[0] != 0.0);
        if training && ratio != 0.0 {
            return unsupported("random numbers");
        }
        let x = n.x(0)?;
        let kept = Tensor::full(n.device, x.shape(), 1u32).cast(DType::Bool);
        Ok(vec![x, kept])
    }),
    ("RNN", rnn),
    ("LSTM", lstm),
    ("GRU", gru),
    ("NegativeLogLikelihoodLoss", |n| one(n.fx(0)?.nll_loss(&n.x(1)?, &class_loss(n)?))),
    ("SoftmaxCrossEntropyLoss", |n| {
        let x = n.fx(0)?;
        Ok(vec![x.cross_entropy_with(&n.x(1)?, &class_loss(n)?), x.log_softmax(1)])
    }),
    ("Momentum", momentum),
    ("Adagrad", adagrad),
    ("Adam", adam),
];
