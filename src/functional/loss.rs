//! Losses, with PyTorch's names, defaults and reductions. Those on logits are safe at the extremes: no probability is
//! rounded to 0 before its logarithm is taken.
//!
//! A branch that is not taken is given harmless numbers before its function: its slope may be infinite there, and 0
//! times infinity is NaN.

use std::f32::consts::{PI, TAU};

use crate::error::{ShapeError, fit};
use crate::tensor::{DType, Tensor};

/// What is made of the losses of all elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reduction {
    /// They stay as they are.
    None,
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum, divided by the extent of the first axis.
    BatchMean,
}

impl Reduction {
    /// Reduces the losses of all elements.
    #[track_caller]
    pub fn of(self, losses: &Tensor) -> Tensor {
        match self {
            Reduction::None => losses.clone(),
            Reduction::Mean => losses.mean_all(),
            Reduction::Sum => losses.sum_all(),
            Reduction::BatchMean => &losses.sum_all() * (1.0 / losses.shape().first().copied().unwrap_or(1) as f32),
        }
    }

    /// Reduces losses that count by their shares: the mean is that of the shares.
    fn shared(self, losses: &Tensor, shares: &Tensor) -> Tensor {
        match self {
            Reduction::Mean => &losses.sum_all() / &shares.sum_all(),
            other => other.of(losses),
        }
    }
}

/// How [`Tensor::cross_entropy_with`] and [`Tensor::nll_loss`] count.
#[derive(Debug, Clone)]
pub struct ClassLoss {
    /// What a class counts, `[classes]`; 1 if absent.
    pub weight: Option<Tensor>,
    /// A label that does not count. -100 by default, as in PyTorch.
    pub ignore_index: Option<i32>,
    /// The share of each target that is spread over all classes. [`Tensor::nll_loss`] knows none.
    pub label_smoothing: f32,
    /// What is made of the losses of all rows.
    pub reduction: Reduction,
}

impl Default for ClassLoss {
    fn default() -> Self {
        ClassLoss { weight: None, ignore_index: Some(-100), label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

/// Labels of a loss over classes.
struct Labels {
    /// With class 0 in place of what is ignored.
    labels: Tensor,
    /// Which count; all if absent.
    counted: Option<Tensor>,
    /// What each counts; 1 if absent.
    shares: Option<Tensor>,
}

impl Labels {
    #[track_caller]
    fn new(labels: &Tensor, options: &ClassLoss) -> Labels {
        let ignore = match (options.ignore_index, labels.dtype()) {
            (Some(label), DType::I32) => Some(Tensor::scalar(labels.device(), label)),
            (Some(label), DType::U32) if label >= 0 => Some(Tensor::scalar(labels.device(), label as u32)),
            _ => None,
        };
        let counted = ignore.map(|label| labels.not_equal(&label));
        let zero = Tensor::scalar(labels.device(), 0u32).cast(labels.dtype());
        let labels = counted.as_ref().map_or_else(|| labels.clone(), |c| Tensor::select(c, labels, &zero));
        let shares = match (&options.weight, &counted) {
            (None, counted) => counted.as_ref().map(|c| c.cast(DType::F32)),
            (Some(weight), None) => Some(weight.index_select(0, &labels)),
            (Some(weight), Some(counted)) => Some(where_or_zero(counted, &weight.index_select(0, &labels))),
        };
        Labels { labels, counted, shares }
    }

    /// The losses of all rows, each times its share.
    fn weighted(&self, losses: &Tensor) -> Tensor {
        let losses = self.shares.as_ref().map_or_else(|| losses.clone(), |shares| losses * shares);
        self.masked(&losses)
    }

    fn masked(&self, losses: &Tensor) -> Tensor {
        self.counted.as_ref().map_or_else(|| losses.clone(), |counted| where_or_zero(counted, losses))
    }

    fn reduce(&self, losses: &Tensor, reduction: Reduction) -> Tensor {
        match &self.shares {
            Some(shares) => reduction.shared(losses, shares),
            None => reduction.of(losses),
        }
    }
}

/// The axis of the classes.
fn class_axis(x: &Tensor) -> usize {
    (x.rank() > 1) as usize
}

/// A number for each class, in a form that broadcasts to the logits.
#[track_caller]
fn along_classes(weight: &Tensor, x: &Tensor, op: &str) -> Tensor {
    let axis = class_axis(x);
    if weight.rank() != 1 || weight.elements() != x.shape()[axis] {
        let problem =
            format!("a weight of shape {} for logits {}: it takes one for each class", weight.shape(), x.shape());
        fit::<()>(Err(ShapeError::new(op, problem)));
    }
    let mut shape = vec![1; x.rank()];
    shape[axis] = weight.elements();
    weight.reshape(shape)
}

fn where_or_zero(mask: &Tensor, x: &Tensor) -> Tensor {
    Tensor::select(mask, x, &Tensor::scalar(x.device(), 0f32))
}

fn weighted(losses: &Tensor, weight: Option<&Tensor>) -> Tensor {
    weight.map_or_else(|| losses.clone(), |weight| losses * weight)
}

impl Tensor {
    /// The cross-entropy of these logits `[n, classes, ..]` with class weights, a label that does not count, label
    /// smoothing, and a choice of reduction: PyTorch's `cross_entropy`, of which [`Tensor::cross_entropy`] is the plain
    /// form. Targets are labels, `u32` or `i32` `[n, ..]`, or probabilities, `f32` of the shape of the logits.
    ///
    /// With labels the mean is that of the rows that count, by their weights; with probabilities it is that of all
    /// rows. A label that names no class and is not ignored makes the loss NaN.
    ///
    /// # Panics
    /// If the shapes or types do not fit.
    #[track_caller]
    pub fn cross_entropy_with(&self, targets: &Tensor, options: &ClassLoss) -> Tensor {
        let weight = options.weight.as_ref().map(|w| along_classes(w, self, "cross_entropy"));
        let smoothing = options.label_smoothing;
        let classes = self.shape().get(class_axis(self)).copied().unwrap_or(0);
        if targets.dtype().is_float() {
            let mut targets = targets.clone();
            if smoothing > 0.0 {
                targets = &(&targets * (1.0 - smoothing)) + smoothing / classes as f32;
            }
            return options.reduction.of(&self.cross_entropy_none(&weighted(&targets, weight.as_ref())));
        }
        let labels = Labels::new(targets, options);
        let mut losses = labels.weighted(&self.cross_entropy_none(&labels.labels));
        if smoothing > 0.0 {
            let each = Tensor::scalar(self.device(), smoothing / classes as f32);
            let spread = weighted(&each, weight.as_ref()).broadcast_to(self.shape());
            let spread = labels.masked(&self.cross_entropy_none(&spread));
            losses = &(&losses * (1.0 - smoothing)) + &spread;
        }
        labels.reduce(&losses, options.reduction)
    }

    /// The negative of each row's logarithm of the probability of its label: PyTorch's `nll_loss` of log-probabilities
    /// `[n, classes, ..]` and labels `[n, ..]`. What [`Tensor::cross_entropy_with`] says holds here.
    ///
    /// # Panics
    /// If the shapes or types do not fit.
    #[track_caller]
    pub fn nll_loss(&self, targets: &Tensor, options: &ClassLoss) -> Tensor {
        let axis = class_axis(self);
        if let Some(weight) = &options.weight {
            along_classes(weight, self, "nll_loss");
        }
        let labels = Labels::new(targets, options);
        let chosen = self.gather(axis as isize, &labels.labels.unsqueeze(axis)).squeeze(axis);
        labels.reduce(&labels.weighted(&chosen.neg()), options.reduction)
    }

    /// `-(t ln p + (1 - t) ln(1 - p))` of probabilities, each logarithm at least -100: PyTorch's
    /// `binary_cross_entropy`. Of logits: [`Tensor::binary_cross_entropy_with_logits`], which loses no digits.
    #[track_caller]
    pub fn binary_cross_entropy(&self, target: &Tensor, weight: Option<&Tensor>, reduction: Reduction) -> Tensor {
        let losses = self.binary_entropy(target);
        reduction.of(&weighted(&losses, weight))
    }

    /// `-(w t ln s(x) + (1 - t) ln(1 - s(x)))` of logits, where `s` is the sigmoid and `w` the weight of what is
    /// positive (1 if absent): PyTorch's `binary_cross_entropy_with_logits`. Both weights broadcast.
    #[track_caller]
    pub fn binary_cross_entropy_with_logits(
        &self,
        target: &Tensor,
        weight: Option<&Tensor>,
        pos_weight: Option<&Tensor>,
        reduction: Reduction,
    ) -> Tensor {
        let miss = self.logsigmoid().neg();
        let miss = pos_weight.map_or_else(|| miss.clone(), |w| &miss * &(&(&(w - 1.0) * target) + 1.0));
        let losses = &(&(1.0 - target) * self) + &miss;
        reduction.of(&weighted(&losses, weight))
    }

    /// `(x - t)^2`
    #[track_caller]
    pub fn mse_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        reduction.of(&(self - target).square())
    }

    /// `|x - t|`
    #[track_caller]
    pub fn l1_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        reduction.of(&(self - target).abs())
    }

    /// `d^2 / (2 beta)` where `d = |x - t|` is below `beta`, else `d - beta / 2`. PyTorch's default is 1.
    #[track_caller]
    pub fn smooth_l1_loss(&self, target: &Tensor, beta: f32, reduction: Reduction) -> Tensor {
        if beta == 0.0 {
            return self.l1_loss(target, reduction);
        }
        let d = (self - target).abs();
        let near = d.lt(beta);
        // An infinite distance is none of the curve's: its slope there would be 0 times infinity.
        let curved = &d.masked_fill(&near.bitwise_not(), 0.0).square() * (0.5 / beta);
        reduction.of(&Tensor::select(&near, &curved, &(&d - 0.5 * beta)))
    }

    /// `d^2 / 2` where `d = |x - t|` is at most `delta`, else `delta (d - delta / 2)`. PyTorch's default is 1.
    #[track_caller]
    pub fn huber_loss(&self, target: &Tensor, delta: f32, reduction: Reduction) -> Tensor {
        let d = (self - target).abs();
        let near = d.le(delta);
        let curved = &d.masked_fill(&near.bitwise_not(), 0.0).square() * 0.5;
        reduction.of(&Tensor::select(&near, &curved, &(&(&d - 0.5 * delta) * delta)))
    }

    /// The divergence of log-probabilities from target probabilities, `t (ln t - x)`, or from their logarithms,
    /// `e^t (t - x)`, if `log_target`: PyTorch's `kl_div`. Mathematics wants [`Reduction::BatchMean`].
    #[track_caller]
    pub fn kl_div(&self, target: &Tensor, log_target: bool, reduction: Reduction) -> Tensor {
        reduction.of(&match log_target {
            true => &target.exp() * &(target - self),
            false => &target.xlogy(target) - &(target * self),
        })
    }

    /// The divergence of normal distributions of this mean and logarithm of the variance from the standard one,
    /// `(mean^2 + e^v - 1 - v) / 2`: the latent loss of a variational autoencoder (Kingma and Welling 2014).
    #[track_caller]
    pub fn gaussian_kl(&self, log_variance: &Tensor, reduction: Reduction) -> Tensor {
        let spread = &(&log_variance.exp() - log_variance) - 1.0;
        reduction.of(&(&(&self.square() + &spread) * 0.5))
    }

    /// `(ln v + (x - t)^2 / v) / 2` with the variance `v`, which broadcasts, held above `eps`; with `full`, the
    /// constant `ln(2 pi) / 2` too: PyTorch's `gaussian_nll_loss`. Its default for `eps` is 1e-6.
    #[track_caller]
    pub fn gaussian_nll_loss(
        &self,
        target: &Tensor,
        variance: &Tensor,
        full: bool,
        eps: f32,
        reduction: Reduction,
    ) -> Tensor {
        // One number less than the target has: PyTorch takes it for the last axis.
        let variance =
            match variance.rank() + 1 == self.rank() && self.shape()[..variance.rank()] == variance.shape()[..] {
                true if variance.shape() != self.shape() => variance.unsqueeze(variance.rank()),
                _ => variance.clone(),
            };
        // The slope is that of the variance itself, also where it is held.
        let held = &variance + &(&variance.clamp_min(eps) - &variance).detach();
        let losses = &(&held.ln() + &(&(self - target).square() / &held)) * 0.5;
        reduction.of(&if full { &losses + 0.5 * TAU.ln() } else { losses })
    }

    /// `e^x - t x` if `log_input`, else `x - t ln(x + eps)`; with `full`, Stirling's approximation of `ln t!` where `t`
    /// is above 1: PyTorch's `poisson_nll_loss`. Its default for `eps` is 1e-8.
    #[track_caller]
    pub fn poisson_nll_loss(
        &self,
        target: &Tensor,
        log_input: bool,
        full: bool,
        eps: f32,
        reduction: Reduction,
    ) -> Tensor {
        let losses = match log_input {
            true => &self.exp() - &(target * self),
            false => self - &(target * &(self + eps).ln()),
        };
        if !full {
            return reduction.of(&losses);
        }
        let many = target.gt(1f32);
        let stirling = &(&(target * &target.ln()) - target) + &(&(target * (2.0 * PI)).ln() * 0.5);
        reduction.of(&(&losses + &where_or_zero(&many, &stirling)))
    }

    /// `max(0, 1 - t x)` with targets -1 and 1: the loss of a support vector machine.
    #[track_caller]
    pub fn hinge_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        reduction.of(&(1.0 - &(target * self)).clamp_min(0.0))
    }

    /// `x` where the target is 1, `max(0, margin - x)` where it is -1: PyTorch's `hinge_embedding_loss`. Its default
    /// margin is 1.
    #[track_caller]
    pub fn hinge_embedding_loss(&self, target: &Tensor, margin: f32, reduction: Reduction) -> Tensor {
        let far = where_or_zero(&target.ne(1f32), &(margin - self).clamp_min(0.0));
        reduction.of(&(&far + &where_or_zero(&target.ne(-1f32), self)))
    }

    /// `max(0, margin - t (x - other))` with targets -1 and 1. PyTorch's default margin is 0.
    #[track_caller]
    pub fn margin_ranking_loss(&self, other: &Tensor, target: &Tensor, margin: f32, reduction: Reduction) -> Tensor {
        reduction.of(&(margin - &(target * &(self - other))).clamp_min(0.0))
    }

    /// `ln(1 + e^(-t x))` with targets -1 and 1.
    #[track_caller]
    pub fn soft_margin_loss(&self, target: &Tensor, reduction: Reduction) -> Tensor {
        reduction.of(&(target * self).logsigmoid().neg())
    }

    /// `sum max(0, margin - x[label] + x[i])^p / classes` over all other classes `i`, with the weight of the label's
    /// class, of `[n, classes]` or `[classes]`: PyTorch's `multi_margin_loss`. Its defaults are a margin of 1 and `p =
    /// 1`.
    ///
    /// # Panics
    /// If `p` is neither 1 nor 2, or the shapes do not fit.
    #[track_caller]
    pub fn multi_margin_loss(
        &self,
        labels: &Tensor,
        p: f32,
        margin: f32,
        weight: Option<&Tensor>,
        reduction: Reduction,
    ) -> Tensor {
        assert!(p == 1.0 || p == 2.0, "multi_margin_loss: p = {p}; it must be 1 or 2");
        let axis = class_axis(self);
        let classes = self.shape()[axis];
        let chosen = self.gather(axis as isize, &labels.unsqueeze(axis));
        let over = (margin - &(&chosen - self)).clamp_min(0.0);
        let over = if p == 1.0 { over } else { over.square() };
        // What the label's own class adds is the margin, exactly.
        let own = if p == 1.0 { margin.max(0.0) } else { margin.max(0.0).powi(2) };
        let losses = &(&over.sum(&[axis as isize]) - own) * (1.0 / classes as f32);
        reduction.of(&match weight {
            Some(weight) => &losses * &weight.index_select(0, labels),
            None => losses,
        })
    }

    /// `sum max(0, 1 - x[j] + x[i]) / classes` over the classes `j` that a row of labels names and all `i` that it does
    /// not, of `[n, classes]` or `[classes]`: PyTorch's `multilabel_margin_loss`. Labels are `i32` of the shape of the
    /// scores; a row's end at the first that is below 0.
    ///
    /// # Panics
    /// If the shapes or types do not fit.
    #[track_caller]
    pub fn multilabel_margin_loss(&self, labels: &Tensor, reduction: Reduction) -> Tensor {
        let axis = class_axis(self);
        let classes = self.shape()[axis];
        let zero = Tensor::scalar(labels.device(), 0i32);
        let ended = labels.less(&zero).cast(DType::F32).cumsum(axis as isize).gt(0f32);
        let named = 1.0 - &ended.cast(DType::F32);
        let labels = Tensor::select(&ended, &zero, labels);
        // Along the last two axes: what is named, and all classes.
        let hits = labels.one_hot(classes).cast(DType::F32);
        let others = 1.0 - &(&hits * &named.unsqueeze(axis + 1)).max_keep(&[axis as isize]);
        let chosen = self.gather(axis as isize, &labels).unsqueeze(axis + 1);
        let over = (1.0 - &(&chosen - &self.unsqueeze(axis))).clamp_min(0.0);
        let counted = &(&over * &named.unsqueeze(axis + 1)) * &others;
        reduction.of(&(&counted.sum(&[axis as isize, axis as isize + 1]) * (1.0 / classes as f32)))
    }

    /// The mean over the classes, the last axis, of `-(t ln s(x) + (1 - t) ln(1 - s(x)))` with the classes' weights:
    /// PyTorch's `multilabel_soft_margin_loss`.
    #[track_caller]
    pub fn multilabel_soft_margin_loss(
        &self,
        target: &Tensor,
        weight: Option<&Tensor>,
        reduction: Reduction,
    ) -> Tensor {
        let losses = self.binary_cross_entropy_with_logits(target, weight, None, Reduction::None);
        reduction.of(&losses.mean(&[-1]))
    }

    /// `1 - cos` of two vectors along the last axis where the target is 1, `max(0, cos - margin)` where it is -1:
    /// PyTorch's `cosine_embedding_loss`. Its default margin is 0.
    #[track_caller]
    pub fn cosine_embedding_loss(&self, other: &Tensor, target: &Tensor, margin: f32, reduction: Reduction) -> Tensor {
        let dot = |a: &Tensor, b: &Tensor| (a * b).sum(&[-1]);
        let size = |x: &Tensor| &dot(x, x) + 1e-12;
        let cosine = &dot(self, other) / &(&size(self) * &size(other)).sqrt();
        let near = where_or_zero(&target.eq(1f32), &(1.0 - &cosine));
        reduction.of(&(&near + &where_or_zero(&target.eq(-1f32), &(&cosine - margin).clamp_min(0.0))))
    }

    /// `max(0, margin + d(anchor, positive) - d(anchor, negative))` by [`Tensor::pairwise_distance`]; with `swap`, the
    /// smaller of the negative's distances from anchor and positive. PyTorch's defaults are a margin of 1, `p = 2`,
    /// 1e-6.
    #[track_caller]
    #[expect(clippy::too_many_arguments, reason = "PyTorch's arguments")]
    pub fn triplet_margin_loss(
        &self,
        positive: &Tensor,
        negative: &Tensor,
        margin: f32,
        p: f32,
        eps: f32,
        swap: bool,
        reduction: Reduction,
    ) -> Tensor {
        let near = self.pairwise_distance(positive, p, eps);
        let mut far = self.pairwise_distance(negative, p, eps);
        if swap {
            far = far.minimum(&positive.pairwise_distance(negative, p, eps));
        }
        reduction.of(&(&(&near - &far) + margin).clamp_min(0.0))
    }

    /// `e^-x / sum e^-x` along `axis`: [`Tensor::softmax`] of the negative.
    ///
    /// # Panics
    /// If the axis does not exist or the tensor is not `f32`.
    #[track_caller]
    pub fn softmin(&self, axis: isize) -> Tensor {
        self.neg().softmax(axis)
    }
}
