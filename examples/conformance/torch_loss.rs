//! PyTorch's losses and attention, and ours.

use wgrad::functional::{AttentionOptions, ClassLoss, CtcOptions, Reduction};
use wgrad::{DType, Tensor};

use crate::call::{Arg, Call, Outputs, Row, one, unsupported};
use crate::judge::Unsupported;

/// What is made of the losses; `size_average` and `reduce` are the old names.
fn reduction(a: &Call) -> Result<Reduction, Unsupported> {
    if a.has("size_average") || a.has("reduce") {
        let (average, reduce) = (a.b("size_average", true)?, a.b("reduce", true)?);
        return Ok(match (reduce, average) {
            (false, _) => Reduction::None,
            (_, true) => Reduction::Mean,
            _ => Reduction::Sum,
        });
    }
    Ok(match &*a.s("reduction", "mean")? {
        "none" => Reduction::None,
        "mean" => Reduction::Mean,
        "sum" => Reduction::Sum,
        "batchmean" => Reduction::BatchMean,
        other => return Err(Unsupported(format!("reduction {other}"))),
    })
}

/// Two floats, or more, of one shape: PyTorch broadcasts them.
fn pair(a: &Call) -> Result<(Tensor, Tensor), Unsupported> {
    Ok((a.ft("input")?, a.ft("target")?))
}

fn class_loss(a: &Call, smoothing: bool) -> Result<ClassLoss, Unsupported> {
    let mut options = ClassLoss { weight: a.opt("weight")?, reduction: reduction(a)?, ..Default::default() };
    if let Some(index) = a.num("ignore_index")? {
        options.ignore_index = Some(index as i32);
    }
    if smoothing {
        options.label_smoothing = a.f("label_smoothing", 0.0)? as f32;
    }
    Ok(options)
}

/// `f` over a batch, which may be missing. Labels stay whole numbers.
fn over_classes(a: &Call, f: impl Fn(&Tensor, &Tensor, &ClassLoss) -> Tensor, smoothing: bool) -> Outputs {
    let (x, target) = (a.ft("input")?, a.t("target")?);
    let options = class_loss(a, smoothing)?;
    if x.rank() == 1 {
        let y = f(&x.unsqueeze(0), &target.unsqueeze(0), &options);
        return one(if options.reduction == Reduction::None { y.squeeze(0) } else { y });
    }
    one(f(&x, &target, &options))
}

const LOSS: &str = "input target size_average reduce reduction";

/// The rows.
pub const ROWS: &[Row] = &[
    (
        "nn.functional.cross_entropy",
        "input target weight size_average ignore_index reduce reduction label_smoothing",
        |a| over_classes(a, |x, t, o| x.cross_entropy_with(t, o), true),
    ),
    ("nn.functional.nll_loss", "input target weight size_average ignore_index reduce reduction", |a| {
        over_classes(a, |x, t, o| x.nll_loss(t, o), false)
    }),
    ("nn.functional.binary_cross_entropy", "input target weight size_average reduce reduction", |a| {
        let (x, t) = pair(a)?;
        one(x.binary_cross_entropy(&t, a.opt("weight")?.as_ref(), reduction(a)?))
    }),
    (
        "nn.functional.binary_cross_entropy_with_logits",
        "input target weight size_average reduce reduction pos_weight",
        |a| {
            let (x, t) = pair(a)?;
            let (weight, positive) = (a.opt("weight")?, a.opt("pos_weight")?);
            one(x.binary_cross_entropy_with_logits(&t, weight.as_ref(), positive.as_ref(), reduction(a)?))
        },
    ),
    ("nn.functional.mse_loss", "input target size_average reduce reduction weight", |a| {
        let (x, t) = pair(a)?;
        one(x.mse_loss(&t, reduction(a)?))
    }),
    ("nn.functional.l1_loss", "input target size_average reduce reduction weight", |a| {
        let (x, t) = pair(a)?;
        one(x.l1_loss(&t, reduction(a)?))
    }),
    ("nn.functional.smooth_l1_loss", "input target size_average reduce reduction beta", |a| {
        let (x, t) = pair(a)?;
        one(x.smooth_l1_loss(&t, a.f("beta", 1.0)? as f32, reduction(a)?))
    }),
    ("nn.functional.huber_loss", "input target reduction delta weight", |a| {
        let (x, t) = pair(a)?;
        one(x.huber_loss(&t, a.f("delta", 1.0)? as f32, reduction(a)?))
    }),
    ("nn.functional.kl_div", "input target size_average reduce reduction log_target", |a| {
        let (x, t) = pair(a)?;
        one(x.kl_div(&t, a.b("log_target", false)?, reduction(a)?))
    }),
    ("nn.functional.soft_margin_loss", LOSS, |a| {
        let (x, t) = pair(a)?;
        one(x.soft_margin_loss(&t, reduction(a)?))
    }),
    ("nn.functional.hinge_embedding_loss", "input target margin size_average reduce reduction", |a| {
        let (x, t) = pair(a)?;
        one(x.hinge_embedding_loss(&t, a.f("margin", 1.0)? as f32, reduction(a)?))
    }),
    ("nn.functional.margin_ranking_loss", "input1 input2 target margin size_average reduce reduction", |a| {
        let (x, y, t) = (a.ft("input1")?, a.ft("input2")?, a.ft("target")?);
        one(x.margin_ranking_loss(&y, &t, a.f("margin", 0.0)? as f32, reduction(a)?))
    }),
    ("nn.functional.cosine_embedding_loss", "input1 input2 target margin size_average reduce reduction", |a| {
        let (x, y, t) = (a.ft("input1")?, a.ft("input2")?, a.ft("target")?);
        one(x.cosine_embedding_loss(&y, &t, a.f("margin", 0.0)? as f32, reduction(a)?))
    }),
    (
        "nn.functional.triplet_margin_loss",
        "anchor positive negative margin p eps swap size_average reduce reduction",
        |a| {
            let (x, y, z) = (a.ft("anchor")?, a.ft("positive")?, a.ft("negative")?);
            let (margin, p, eps) = (a.f("margin", 1.0)? as f32, a.f("p", 2.0)? as f32, a.f("eps", 1e-6)? as f32);
            one(x.triplet_margin_loss(&y, &z, margin, p, eps, a.b("swap", false)?, reduction(a)?))
        },
    ),
    ("nn.functional.ctc_loss", "log_probs targets input_lengths target_lengths blank reduction zero_infinity", |a| {
        let (x, t) = (a.ft("log_probs")?, a.t("targets")?);
        let lengths = |name: &str| -> Result<Tensor, Unsupported> {
            let all: Vec<i32> = a.ints(name)?.unwrap_or_default().iter().map(|&n| n as i32).collect();
            Tensor::from_slice(a.device, &all, all.len()).map_err(|e| Unsupported(e.to_string()))
        };
        let (own, labels) = (lengths("input_lengths")?, lengths("target_lengths")?);
        let options = CtcOptions {
            blank: a.i("blank", 0)? as u32,
            reduction: reduction(a)?,
            zero_infinity: a.b("zero_infinity", false)?,
        };
        let alone = x.rank() == 2;
        let x = if alone { x.unsqueeze(1) } else { x };
        let y = x.ctc_loss(&t, &own, &labels, &options);
        one(if alone && y.rank() == 1 { y.squeeze(0) } else { y })
    }),
    ("nn.functional.multilabel_margin_loss", LOSS, |a| {
        let (x, t) = (a.ft("input")?, a.t("target")?.cast(DType::I32));
        let line = |t: Tensor| if t.rank() == 0 { t.reshape([1]) } else { t };
        one(line(x).multilabel_margin_loss(&line(t), reduction(a)?))
    }),
    (
        "nn.functional.linear_cross_entropy",
        "input linear_weight target linear_bias weight reduction ignore_index label_smoothing chunking_method",
        |a| {
            a.ignore("chunking_method");
            let (x, w) = (a.ft("input")?, a.ft("linear_weight")?);
            // A weight of [classes, d1, .., width] gives logits [batch, classes, d1, ..].
            let (wide, width) = (&w.shape()[..w.rank() - 1], w.shape()[w.rank() - 1]);
            let all = wide.iter().product::<usize>();
            let bias = a.opt("linear_bias")?.map(|b| b.reshape([all]));
            let logits = x.linear(&w.reshape([all, width]), bias.as_ref());
            let logits = logits.reshape([&x.shape()[..x.rank() - 1], wide].concat());
            let target = a.t("target")?;
            one(logits.cross_entropy_with(&target, &class_loss(a, true)?))
        },
    ),
    ("nn.functional.pairwise_distance", "x1 x2 p eps keepdim", |a| {
        let (p, eps) = (a.f("p", 2.0)? as f32, a.f("eps", 1e-6)? as f32);
        let y = a.ft("x1")?.pairwise_distance(&a.ft("x2")?, p, eps);
        one(if a.b("keepdim", false)? { y.unsqueeze(y.rank()) } else { y })
    }),
    ("nn.functional.poisson_nll_loss", "input target log_input full size_average eps reduce reduction", |a| {
        let (x, t) = pair(a)?;
        let (log, full, eps) = (a.b("log_input", true)?, a.b("full", false)?, a.f("eps", 1e-8)? as f32);
        one(x.poisson_nll_loss(&t, log, full, eps, reduction(a)?))
    }),
    ("nn.functional.gaussian_nll_loss", "input target var full eps reduction", |a| {
        let (x, t) = pair(a)?;
        let (full, eps) = (a.b("full", false)?, a.f("eps", 1e-6)? as f32);
        one(x.gaussian_nll_loss(&t, &a.ft("var")?, full, eps, reduction(a)?))
    }),
    ("nn.functional.multilabel_soft_margin_loss", "input target weight size_average reduce reduction", |a| {
        let (x, t) = pair(a)?;
        one(x.multilabel_soft_margin_loss(&t, a.opt("weight")?.as_ref(), reduction(a)?))
    }),
    ("nn.functional.multi_margin_loss", "input target p margin weight size_average reduce reduction", |a| {
        let (x, t) = (a.ft("input")?, a.t("target")?);
        let (p, margin) = (a.f("p", 1.0)? as f32, a.f("margin", 1.0)? as f32);
        let weight = a.opt("weight")?;
        // One row may come alone, a single score too; its label then may have an axis or not.
        let (alone, shape) = (x.rank() < 2, t.shape().clone());
        let (x, t) = if alone { (x.reshape([1, x.elements()]), t.reshape([1])) } else { (x, t) };
        let reduction = reduction(a)?;
        let y = x.multi_margin_loss(&t.cast(DType::U32), p, margin, weight.as_ref(), reduction);
        one(if alone && reduction == Reduction::None { y.reshape(shape) } else { y })
    }),
    (
        "nn.functional.scaled_dot_product_attention",
        "query key value attn_mask dropout_p is_causal scale enable_gqa",
        |a| {
            if a.f("dropout_p", 0.0)? != 0.0 {
                return unsupported("random numbers");
            }
            let mask = match a.get("attn_mask") {
                Some(Arg::Tensor(_)) => Some(a.t("attn_mask")?),
                _ => None,
            };
            let scale = a.num("scale")?.map(|s| s as f32);
            let options = AttentionOptions {
                mask,
                causal: a.b("is_causal", false)?,
                scale,
                grouped: a.b("enable_gqa", false)?,
                ..Default::default()
            };
            one(a.ft("query")?.scaled_dot_product_attention(&a.ft("key")?, &a.ft("value")?, &options))
        },
    ),
];
