//! The loss of sequences whose alignment is not known (Graves et al. 2006).

use crate::functional::Reduction;
use crate::tensor::{DType, Tensor};

/// The options of [`Tensor::ctc_loss`]; the defaults are PyTorch's.
#[derive(Debug, Clone, Copy, Default)]
pub struct CtcOptions {
    /// The class that stands for no label.
    pub blank: u32,
    /// What is made of the sequences' losses. The mean is that of each loss divided by its number of labels.
    pub reduction: Reduction,
    /// Whether a sequence that is too short for its labels counts as 0 instead of as infinite.
    pub zero_infinity: bool,
}

/// The logarithm of no probability, in place of -inf: its differences are numbers, so slopes are too.
const NEVER: f32 = -1e30;

impl Tensor {
    /// The negative logarithm of the probability that these log-probabilities `[steps, n, classes]` spell the labels,
    /// over all ways to repeat labels and to put blanks between them: PyTorch's `ctc_loss`. Labels are `[n, longest]`,
    /// or `[sum]` one sequence behind the other; lengths are `[n]`. All are whole numbers.
    ///
    /// The gradient supposes, as PyTorch's does, that the probabilities of a step add up to 1, as
    /// [`Tensor::log_softmax`] makes them.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn ctc_loss(&self, labels: &Tensor, lengths: &Tensor, label_lengths: &Tensor, options: &CtcOptions) -> Tensor {
        let (device, shape) = (self.device(), self.shape());
        assert!(
            shape.len() == 3
                && shape[0] > 0
                && lengths.shape()[..] == shape[1..2]
                && label_lengths.shape()[..] == shape[1..2]
                && (labels.rank() == 1 || (labels.rank() == 2 && labels.shape()[0] == shape[1])),
            "ctc_loss: log-probabilities {shape} with labels {}, lengths {} and label lengths {}; they must be \
             [steps, n, classes], [n, longest] or [sum], [n] and [n]",
            labels.shape(),
            lengths.shape(),
            label_lengths.shape()
        );
        let (steps, n) = (shape[0], shape[1]);
        let count = |k: usize| Tensor::iota(device, k, 0i32, 1i32);
        let blank = Tensor::scalar(device, options.blank as i32);
        let never = Tensor::scalar(device, NEVER);
        let (lengths, own) = (lengths.cast(DType::I32).unsqueeze(1), label_lengths.cast(DType::I32).unsqueeze(1));
        let labels = match labels.rank() {
            1 => labels.take(&own.cumsum_exclusive(0).add(&count(labels.elements()))),
            _ => labels.clone(),
        };
        let longest = labels.shape()[1];
        let labels = Tensor::select(&count(longest).less(&own), &labels.cast(DType::I32), &blank);
        // Blanks before, between and behind: what each place of a path stands for.
        let pairs = Tensor::stack(&[&blank.broadcast_to([n, longest]), &labels], 2).reshape([n, 2 * longest]);
        let path = Tensor::concat(&[&pairs, &blank.broadcast_to([n, 1])], 1);
        let places = 2 * longest + 1;
        let heard = self.gather(2, &path.broadcast_to([steps, n, places]));
        // A blank may be left out between two labels that differ.
        let before = |x: &Tensor, k: usize, value: f32| {
            let k = k.min(places);
            x.narrow(1, 0, places - k).pad(&[(0, 0), (k, 0)], value)
        };
        let skips = path.not_equal(&before(&path, 2, 0.0));
        let skips = skips.bitwise_and(&count(places).ge(2i32));
        let at = |step: usize| heard.narrow(0, step, 1).squeeze(0);
        let mut paths = Tensor::select(&count(places).lt(2i32), &at(0), &never);
        for step in 1..steps {
            let two = Tensor::select(&skips, &before(&paths, 2, NEVER), &never);
            let next = paths.logaddexp(&before(&paths, 1, NEVER)).logaddexp(&two) + at(step);
            paths = Tensor::select(&lengths.gt(step as i32), &next, &paths);
        }
        // A path ends at the last label or at the blank behind it.
        let end = own.add(&own);
        let last = paths.gather(1, &end.sub(&Tensor::scalar(device, 1i32)).maximum(&Tensor::scalar(device, 0i32)));
        let last = Tensor::select(&own.gt(0i32), &last, &never);
        let loss = paths.gather(1, &end).logaddexp(&last).squeeze(1).neg();
        // 0, with the slope of a softmax's logits.
        let counted = count(steps).unsqueeze(1).less(&lengths.squeeze(1));
        let all = (self.exp().sum(&[2]) * counted.cast(DType::F32)).sum(&[0]);
        let loss = &loss + &(&all - &all.detach());
        let impossible = Tensor::scalar(device, if options.zero_infinity { 0.0 } else { f32::INFINITY });
        let loss = Tensor::select(&loss.gt(-0.1 * NEVER), &impossible, &loss);
        match options.reduction {
            Reduction::Mean => (&loss / &own.squeeze(1).cast(DType::F32).clamp_min(1.0)).mean_all(),
            other => other.of(&loss),
        }
    }
}
