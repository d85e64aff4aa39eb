//! Normalisation under the names users know: each is a way to read a tensor as rows for the room `ops/norm.rs`.

use crate::error::ShapeError;
use crate::ops::Pool2dOptions;
use crate::ops::im2col::Padding;
use crate::ops::norm::{Affine, LONGEST_ROW, Norm};
use crate::tensor::Tensor;

/// What normalised rows are scaled and shifted by.
#[derive(Clone, Copy)]
struct Weights<'a> {
    affine: Affine,
    weight: Option<&'a Tensor>,
    bias: Option<&'a Tensor>,
}

impl<'a> Weights<'a> {
    const NONE: Weights<'static> = Weights { affine: Affine::None, weight: None, bias: None };

    fn of(affine: Affine, weight: Option<&'a Tensor>, bias: Option<&'a Tensor>) -> Self {
        match (weight, bias) {
            (None, None) => Weights::NONE,
            _ => Weights { affine, weight, bias },
        }
    }
}

/// `(x - mean) / sqrt(variance + eps)` of each row of `x`, which is `[outer, rows, inner]`; with `running`, the mean,
/// the variance and the momentum, also the moved statistics.
#[track_caller]
fn normalise(x: &Tensor, weights: Weights, eps: f32, center: bool, running: Option<[&Tensor; 3]>) -> Vec<Tensor> {
    let (rows, inner) = (x.shape()[1], x.shape()[2]);
    if x.shape()[0] * inner > LONGEST_ROW {
        return composed(x, weights, eps, center, running);
    }
    let Weights { affine, weight, bias } = weights;
    let of_weight = |value: f32| {
        let n = if affine == Affine::PerPlace { inner } else { rows };
        Tensor::full(x.device(), n, value)
    };
    let bias = match affine {
        Affine::None => None,
        Affine::PerRow => Some(bias.cloned().unwrap_or_else(|| of_weight(0.0))),
        Affine::PerPlace => bias.cloned(),
    };
    let weight = (affine != Affine::None).then(|| weight.cloned().unwrap_or_else(|| of_weight(1.0)));
    let op = Norm { eps: eps.to_bits(), center, affine, bias: bias.is_some(), running: running.is_some() };
    let mut inputs = vec![x];
    inputs.extend(running.iter().flatten());
    inputs.extend(&weight);
    inputs.extend(&bias);
    let mut outputs = Tensor::apply_all(op, &inputs);
    outputs.remove(1);
    outputs
}

/// The same in sums over axes, for rows that are too long for one workgroup.
#[track_caller]
fn composed(x: &Tensor, weights: Weights, eps: f32, center: bool, running: Option<[&Tensor; 3]>) -> Vec<Tensor> {
    let (rows, n) = (x.shape()[1], x.shape()[0] * x.shape()[2]);
    let mean = x.mean_keep(&[0, 2]);
    let away = if center { x - &mean } else { x.clone() };
    let variance = away.square().mean_keep(&[0, 2]);
    let per = |w: &Tensor| match weights.affine {
        Affine::PerRow => w.reshape([1, rows, 1]),
        _ => w.clone(),
    };
    let mut y = &away * &(&variance + eps).rsqrt();
    if let Some(weight) = weights.weight {
        y = &y * &per(weight);
    }
    if let Some(bias) = weights.bias {
        y = &y + &per(bias);
    }
    let mut outputs = vec![y];
    if let Some([old_mean, old_var, momentum]) = running {
        let unbiased = &variance.reshape([rows]) * (n as f32 / (n - 1) as f32);
        outputs.push(towards(old_mean, &mean.reshape([rows]), momentum));
        outputs.push(towards(old_var, &unbiased, momentum));
    }
    outputs
}

/// `(1 - momentum) old + momentum new`
fn towards(old: &Tensor, new: &Tensor, momentum: &Tensor) -> Tensor {
    &(old * &(1.0 - momentum)) + &(new * momentum)
}

#[track_caller]
fn fault(op: &str, problem: String) -> ! {
    panic!("{}", ShapeError::new(op, problem))
}

impl Tensor {
    /// `[n, c, ..]` as `[n, c, all the rest]`.
    #[track_caller]
    fn channels(&self, op: &str) -> Tensor {
        if self.rank() < 2 {
            fault(op, format!("the input is {}; it must have at least 2 axes, [batch, channels, ..]", self.shape()));
        }
        let shape = self.shape();
        self.reshape([shape[0], shape[1], shape[2..].iter().product()])
    }

    /// Batch normalisation with the statistics of this batch (Ioffe and Szegedy, 2015): each channel of `[n, c, ..]`
    /// made to have mean 0 and (biased) variance 1 over everything else, times `weight`, plus `bias`, both `[c]`.
    ///
    /// # Panics
    /// If the tensor has less than two axes, or a channel only one value.
    #[track_caller]
    pub fn batch_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Tensor {
        self.norm_of_batch(weight, bias, eps, None).swap_remove(0)
    }

    /// [`Tensor::batch_norm`], and the running statistics `[mean, variance]`, both `[c]`, moved by `momentum` towards
    /// those of this batch: `(1 - momentum) old + momentum new`, where the new variance is the unbiased one.
    ///
    /// # Panics
    /// As [`Tensor::batch_norm`].
    #[track_caller]
    pub fn batch_norm_running(
        &self,
        running: [&Tensor; 2],
        momentum: f32,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> (Tensor, [Tensor; 2]) {
        if self.elements() == 0 {
            return (self.norm_of_batch(weight, bias, eps, None).swap_remove(0), running.map(Tensor::clone));
        }
        let momentum = Tensor::scalar(self.device(), momentum);
        let running = [running[0], running[1], &momentum];
        let mut outputs = self.norm_of_batch(weight, bias, eps, Some(running));
        let (var, mean) = (outputs.swap_remove(2), outputs.swap_remove(1));
        (outputs.swap_remove(0), [mean, var])
    }

    #[track_caller]
    fn norm_of_batch(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
        running: Option<[&Tensor; 3]>,
    ) -> Vec<Tensor> {
        if self.rank() == 1 && self.elements() == 0 {
            // PyTorch takes an empty list for a batch without channels.
            return vec![self.clone()];
        }
        let x = self.channels("batch_norm");
        if x.shape()[0] * x.shape()[2] == 1 {
            let problem =
                format!("the input is {}; a channel needs more than one value to have a variance", self.shape());
            fault("batch_norm", problem);
        }
        let mut outputs = normalise(&x, Weights::of(Affine::PerRow, weight, bias), eps, true, running);
        outputs[0] = outputs[0].reshape(self.shape());
        outputs
    }

    /// Batch normalisation with given statistics `[mean, variance]`, both `[c]`: what a trained model does.
    ///
    /// # Panics
    /// If the tensor has less than two axes, or the statistics are not of its channels.
    #[track_caller]
    pub fn batch_norm_with(
        &self,
        [mean, var]: [&Tensor; 2],
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Tensor {
        if self.rank() == 1 && self.elements() == 0 {
            return self.clone();
        }
        if self.rank() < 2 {
            let problem = format!("the input is {}; it must have at least 2 axes, [batch, channels, ..]", self.shape());
            fault("batch_norm", problem);
        }
        let mut shape = vec![1; self.rank()];
        shape[1] = self.shape()[1];
        let per = |t: &Tensor| t.reshape(shape.clone());
        let mut scale = (var + eps).rsqrt();
        if let Some(weight) = weight {
            scale = &scale * weight;
        }
        let y = &(self - &per(mean)) * &per(&scale);
        match bias {
            Some(bias) => &y + &per(bias),
            None => y,
        }
    }

    /// Layer normalisation (Ba, Kiros and Hinton, 2016): the last `axes` axes together made to have mean 0 and variance
    /// 1, times `weight`, plus `bias`, both of the shape of those axes.
    ///
    /// # Panics
    /// If the tensor has not so many axes, or weight or bias have another shape.
    #[track_caller]
    pub fn layer_norm(&self, axes: usize, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Tensor {
        self.norm_of_last("layer_norm", axes, weight, bias, eps, true)
    }

    /// Root-mean-square normalisation (Zhang and Sennrich, 2019): [`Tensor::layer_norm`] without taking the mean off:
    /// `x / sqrt(mean(x^2) + eps)` times `weight`.
    ///
    /// # Panics
    /// If the tensor has not so many axes, or the weight has another shape.
    #[track_caller]
    pub fn rms_norm(&self, axes: usize, weight: Option<&Tensor>, eps: f32) -> Tensor {
        self.norm_of_last("rms_norm", axes, weight, None, eps, false)
    }

    #[track_caller]
    fn norm_of_last(
        &self,
        op: &str,
        axes: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
        center: bool,
    ) -> Tensor {
        if axes == 0 || axes > self.rank() {
            fault(op, format!("over the last {axes} axes of {}; it takes 1 to {}", self.shape(), self.rank()));
        }
        let normal = &self.shape()[self.rank() - axes..];
        for (what, given) in [("weight", weight), ("bias", bias)] {
            if let Some(given) = given.filter(|g| g.shape()[..] != *normal) {
                let problem =
                    format!("the {what} is {}, the input {}; {normal:?} would fit", given.shape(), self.shape());
                fault(op, problem);
            }
        }
        let n: usize = normal.iter().product();
        let rows = self.shape()[..self.rank() - axes].iter().product();
        let flat = |t: &Tensor| t.reshape([n]);
        let (weight, bias) = (weight.map(flat), bias.map(flat));
        let weights = Weights::of(Affine::PerPlace, weight.as_ref(), bias.as_ref());
        normalise(&self.reshape([1, rows, n]), weights, eps, center, None)[0].reshape(self.shape())
    }

    /// Group normalisation (Wu and He, 2018): the channels of `[n, c, ..]` in `groups` runs, each run of each image
    /// made to have mean 0 and variance 1, times `weight`, plus `bias`, both `[c]`.
    ///
    /// # Panics
    /// If the tensor has less than two axes, or `groups` does not divide its channels.
    #[track_caller]
    pub fn group_norm(&self, groups: usize, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Tensor {
        let x = self.channels("group_norm");
        let &[n, c, s] = &x.shape()[..] else { unreachable!("just made") };
        if groups == 0 || !c.is_multiple_of(groups) {
            fault(
                "group_norm",
                format!("{groups} groups of the {c} channels of {}; they must divide evenly", self.shape()),
            );
        }
        let rows = x.reshape([1, n * groups, c / groups * s]);
        let mut y = normalise(&rows, Weights::NONE, eps, true, None)[0].reshape([n, c, s]);
        if let Some(weight) = weight {
            y = &y * &weight.reshape([c, 1]);
        }
        if let Some(bias) = bias {
            y = &y + &bias.reshape([c, 1]);
        }
        y.reshape(self.shape())
    }

    /// Instance normalisation (Ulyanov, Vedaldi and Lempitsky, 2016): each channel of each image of `[n, c, ..]` made
    /// to have mean 0 and variance 1, times `weight`, plus `bias`, both `[c]`.
    ///
    /// # Panics
    /// If the tensor has less than three axes, or an image only one value.
    #[track_caller]
    pub fn instance_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Tensor {
        if self.rank() < 3 || self.shape()[2..].iter().product::<usize>() == 1 {
            let problem =
                format!("the input is {}; it must be [batch, channels, ..] with more than one value", self.shape());
            fault("instance_norm", problem);
        }
        self.group_norm(self.shape()[1], weight, bias, eps)
    }

    /// Local response normalisation (Krizhevsky, Sutskever and Hinton, 2012) as PyTorch has it:
    /// `x / (k + alpha / size * sum of x^2 over size neighbouring channels)^beta`. Of an even `size`, the larger half of
    /// the neighbours comes before.
    ///
    /// # Panics
    /// If the tensor has less than three axes, or `size` is 0.
    #[track_caller]
    pub fn local_response_norm(&self, size: usize, alpha: f32, beta: f32, k: f32) -> Tensor {
        assert!(size > 0, "local_response_norm: a size of 0; it must be at least 1");
        self.response_norm([size / 2, (size - 1) / 2], alpha, beta, k)
    }

    /// [`Tensor::local_response_norm`] as ONNX has it: of an even `size`, the larger half of the neighbours comes
    /// behind.
    ///
    /// # Panics
    /// As [`Tensor::local_response_norm`].
    #[track_caller]
    pub fn local_response_norm_onnx(&self, size: usize, alpha: f32, beta: f32, k: f32) -> Tensor {
        assert!(size > 0, "local_response_norm: a size of 0; it must be at least 1");
        self.response_norm([(size - 1) / 2, size / 2], alpha, beta, k)
    }

    #[track_caller]
    fn response_norm(&self, [before, behind]: [usize; 2], alpha: f32, beta: f32, k: f32) -> Tensor {
        if self.rank() < 3 {
            let problem = format!("the input is {}; it must be [batch, channels, ..]", self.shape());
            fault("local_response_norm", problem);
        }
        if self.elements() == 0 {
            return self.clone();
        }
        let x = self.channels("local_response_norm");
        let planes = x.square().unsqueeze(1);
        let options = Pool2dOptions {
            stride: [1, 1],
            padding: Padding::Explicit([before, behind, 0, 0]),
            ..Pool2dOptions::new([before + behind + 1, 1])
        };
        let base = &(&planes.avg_pool2d(&options).squeeze(1) * alpha) + k;
        let power = match beta {
            1.0 => base,
            0.5 => base.sqrt(),
            0.75 => &base.sqrt() * &base.sqrt().sqrt(),
            _ => base.pow(&Tensor::scalar(self.device(), beta)),
        };
        (&x / &power).reshape(self.shape())
    }
}
