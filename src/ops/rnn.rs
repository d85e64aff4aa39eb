//! The plain recurrent layer over a whole sequence, and what all recurrent layers share.
//!
//! What a step takes from the input does not wait for the step before, so it is not here: one product for all steps
//! makes `x W_ih^T` before the sequence starts. What is left of a step is one product with the state and the cell: on
//! GPUs all steps are one launch where the weight is small (`sequence`), and one launch each, or two, where it is not
//! (`steps`). Backwards it is the same in reverse; the gradients of the weights are then one product over all steps
//! each, outside of the op. So the graph is as long for a thousand steps as for one.
//!
//! The gradient is an op of its own. Its rule is written in primitive ops, step by step: second derivatives are there,
//! at the price of a graph that grows with the sequence.

mod sequence;
mod steps;

pub(crate) use steps::{Steps, Way};

use crate::autodiff;
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, rnn as reference};
use crate::tensor::{Backward, DType, Input, LoweredDispatch, Lowering, Meta, Op, Sample, Shape, Tensor, Tolerance};

/// `h_t = f(x_t + b_ih + h_(t-1) W^T + b_hh)`, with f = tanh or relu.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rnn {
    /// Whether the last step comes first.
    pub reverse: bool,
    /// Whether f is relu.
    pub relu: bool,
}

/// The gradient of [`Rnn`], of its output, its weight, and that output's cotangent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RnnGrad {
    /// Whether the forward pass took the last step first.
    pub reverse: bool,
    /// Whether f is relu.
    pub relu: bool,
}

const SHADER: Shader = Shader::new(
    "rnn",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/rnn_cell.wgsl"),
        include_str!("../../shaders/rnn.wgsl"),
    ),
);
const FORWARD: Shader = Shader::new(
    "rnn_forward",
    concat!(
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/rnn_cell.wgsl"),
        include_str!("../../shaders/shared/recurrent.wgsl"),
        include_str!("../../shaders/shared/recurrent_forward.wgsl"),
        include_str!("../../shaders/rnn_forward.wgsl"),
    ),
);
const BACKWARD: Shader = Shader::new(
    "rnn_backward",
    concat!(
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/rnn_cell.wgsl"),
        include_str!("../../shaders/shared/recurrent.wgsl"),
        include_str!("../../shaders/shared/recurrent_backward.wgsl"),
        include_str!("../../shaders/rnn_backward.wgsl"),
    ),
);
const SEQUENCE: Shader = Shader::new(
    "rnn_sequence",
    concat!(
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/rnn_cell.wgsl"),
        include_str!("../../shaders/shared/sequence.wgsl"),
        include_str!("../../shaders/rnn_sequence.wgsl"),
    ),
);

/// Shape `[t, b, h]` of the states of a sequence whose inputs are x, W, b_ih, b_hh, and `states` initial states.
pub(crate) fn check_sequence(op: &str, gates: usize, states: usize, inputs: &[Meta]) -> Result<Shape, ShapeError> {
    let fail = |problem: String| Err(ShapeError::new(op, problem));
    if inputs.len() != 4 + states {
        return fail(format!("{} inputs; it takes x, W, b_ih, b_hh and {states} initial states", inputs.len()));
    }
    if let Some(other) = inputs.iter().find(|i| i.dtype != DType::F32) {
        return fail(format!("an input of type {}; all must be f32", other.dtype));
    }
    let (x, w) = (&inputs[0].shape, &inputs[1].shape);
    let h = if w.rank() == 2 { w[1] } else { 0 };
    if x.rank() != 3 || w.rank() != 2 || w[0] != gates * h || x[2] != gates * h {
        return fail(format!(
            "projected inputs {x} and weight {w}; they must be [t, b, {gates} h] and [{gates} h, h] (project the input with \
             W_ih first)"
        ));
    }
    if x[0] == 0 {
        return fail(format!("an input {x} of no steps; a sequence has at least one"));
    }
    let (bias, state) = (Shape::from([gates * h]), Shape::from([x[1], h]));
    for (what, input, shape) in [("b_ih", &inputs[2], &bias), ("b_hh", &inputs[3], &bias)] {
        if input.shape != *shape {
            return fail(format!("{what} is {}; with weight {w} it must be {shape}", input.shape));
        }
    }
    for (input, what) in inputs[4..].iter().zip(["h_0", "c_0"]) {
        if input.shape != state {
            return fail(format!("{what} is {}; with input {x} and weight {w} it must be {state}", input.shape));
        }
    }
    Ok([x[0], x[1], h].into())
}

/// The gradient of the weight: one product over all steps and rows of the cotangent `[t, b, gates h]` of the sums with
/// the states `[b, h]` they were made from.
pub(crate) fn weight_gradient(d: &Tensor, hs: &Tensor, h0: &Tensor, reverse: bool) -> Tensor {
    let (t, b, h) = (hs.shape()[0], hs.shape()[1], hs.shape()[2]);
    let start = h0.unsqueeze(0);
    let before = match (t, reverse) {
        (1, _) => start,
        (_, false) => Tensor::concat(&[&start, &hs.narrow(0, 0, t - 1)], 0),
        (_, true) => Tensor::concat(&[&hs.narrow(0, 1, t - 1), &start], 0),
    };
    d.reshape([t * b, d.shape()[2]]).transpose(0, 1).matmul(&before.reshape([t * b, h]))
}

/// Step `t` of `[t, b, n]`, as `[b, n]`.
pub(crate) fn at(x: &Tensor, t: usize) -> Tensor {
    x.narrow(0, t, 1).squeeze(0)
}

/// Steps that were made in any order, side by side.
pub(crate) fn in_time(mut steps: Vec<(usize, Tensor)>) -> Tensor {
    steps.sort_by_key(|(t, _)| *t);
    Tensor::stack(&steps.iter().map(|(_, x)| x).collect::<Vec<_>>(), 0)
}

impl Op for Rnn {
    const NAME: &'static str = "rnn";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        Ok(vec![Meta::new(check_sequence("rnn", 1, 1, inputs)?, DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let (w, h0, hs) = (&v.inputs[1], &v.inputs[4], &v.outputs[0]);
            let grad = RnnGrad { reverse: op.reverse, relu: op.relu };
            let found = Tensor::apply_all(grad, &[hs, w, v.dy()]);
            let (da, dh0) = (&found[0], &found[1]);
            let bias = (v.needed[2] || v.needed[3]).then(|| da.sum(&[0, 1]));
            vec![
                Some(da.clone()),
                v.when(1, || weight_gradient(da, hs, h0, op.reverse)),
                bias.clone(),
                bias,
                Some(dh0.clone()),
            ]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let [x, w, b_ih, b_hh, h0] = [0, 1, 2, 3, 4].map(|i| cx.input(i));
            let hs = cx.output(0);
            let steps = Steps::of(&cx.output_meta(0).shape, op.reverse);
            let launch = |shader: &Shader| LoweredDispatch::new(shader, "forward").constant("RELU", op.relu as u32);
            if let Some(sequence) = steps.sequence(cx.caps(), w, 1, Way::Forward) {
                let w = sequence.weight(cx, w);
                let launch = launch(&SEQUENCE).read(w).read(x).read(b_ih).read(b_hh).read(h0).write(hs);
                return sequence.launch(cx, &launch);
            }
            if let Some(tile) = steps.tile(cx.caps(), w, 1, Way::Forward) {
                let launch = launch(&FORWARD).read(x).read(w).read(b_ih).read(b_hh).read(h0).write(hs);
                return steps.at_once(cx, tile, Way::Forward, &launch);
            }
            steps.forward(cx, [w, h0, hs], 1, |s| {
                let launch = launch(&SHADER);
                launch.read(x).read(s).read(b_ih).read(b_hh).write(hs)
            });
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        reference::forward(inputs, self.reverse, self.relu)
    }

    fn samples() -> Vec<Sample<Self>> {
        let mut all = sequence_samples(1, 1, |reverse| Rnn { reverse, relu: false });
        // Far from the kink: every sum is positive, or every sum is negative.
        for (seed, low) in [(40, 0.1), (41, -1.0)] {
            let inputs = vec![
                Input::uniform([3, 2, 4], low, low + 0.9, seed),
                Input::uniform([4, 4], 0.0, 0.4, seed + 10),
                Input::uniform([4], low.min(0.0), low.max(0.0), seed + 20),
                Input::uniform([4], low.min(0.0), low.max(0.0), seed + 30),
                Input::uniform([2, 4], 0.0, 0.2, seed + 40),
            ];
            let sample = Sample::new(Rnn { reverse: false, relu: true }, inputs, NEAR);
            all.push(if low > 0.0 { sample } else { sample.rough() });
        }
        // More units than other layers have in one launch.
        for (h, relu) in [(80, true), (128, false)] {
            let inputs = [&[2, 3, h][..], &[h, h], &[h], &[h], &[3, h]];
            let inputs = inputs.map(|shape| Input::uniform(shape, -0.5, 0.5, 91 + shape.len() as u64)).to_vec();
            all.push(Sample::new(Rnn { reverse: relu, relu }, inputs, NEAR).rough());
        }
        all
    }
}

/// What a sum over a few steps loses, relative to the largest state.
pub(crate) const NEAR: Tolerance = Tolerance::OfLargest(1e-5);

/// Sequences `[t, b, h]` that GPUs take in one launch, or in two: rows of one to four in a workgroup, and one to four
/// blocks in an invocation, up to the most hidden units of an LSTM.
pub(crate) const IN_ONE: [[usize; 3]; 7] =
    [[1, 1, 4], [3, 5, 36], [2, 3, 48], [2, 131, 64], [2, 301, 12], [2, 515, 60], [3, 129, 50]];

/// The same of layers with several gates, whose weight does not all stay in registers.
pub(crate) const STREAMED: [[usize; 3]; 4] = [[4, 1, 72], [4, 2, 90], [4, 5, 100], [5, 3, 128]];

/// Sequences whose steps GPUs take in one launch each: for each way to cut them, with parts of a tile at every edge.
pub(crate) const AT_ONCE: [[usize; 3]; 4] = [[3, 37, 132], [2, 9, 260], [2, 125, 132], [2, 237, 132]];

/// Sequences for the kernel of a layer with so many gates and initial states; the first two are also for the gradient
/// check.
pub(crate) fn sequence_samples<O>(gates: usize, states: usize, op: impl Fn(bool) -> O) -> Vec<Sample<O>> {
    let sample = |[t, b, h]: [usize; 3], reverse: bool, range: f64, seed: u64| {
        let wide = gates * h;
        let shapes: [&[usize]; 4] = [&[t, b, wide], &[wide, h], &[wide], &[wide]];
        let state = [b, h];
        let all = shapes.into_iter().chain(std::iter::repeat_n(&state[..], states));
        let bound = |i: usize| if i == 0 { range } else { 1.0 };
        let inputs = all.enumerate().map(|(i, s)| Input::uniform(s, -bound(i), bound(i), seed + i as u64)).collect();
        Sample::new(op(reverse), inputs, NEAR)
    };
    let viewed = |mut sample: Sample<O>| {
        sample.inputs = sample.inputs.into_iter().map(Input::viewed).collect();
        sample
    };
    // What is no number spreads through its row of the batch, and stays in it.
    let odd = [2, 4].map(|h| {
        let mut odd = sample([2, 3, h], false, 1.0, 71).rough();
        let row = gates * h;
        odd.inputs[0].values[0] = f64::NAN;
        odd.inputs[0].values[row] = f64::INFINITY;
        odd.inputs[0].values[row + 1] = f64::NEG_INFINITY;
        odd
    });
    let on_gpus = IN_ONE.into_iter().chain(AT_ONCE).chain(STREAMED.into_iter().filter(|_| gates > 1));
    let on_gpus = on_gpus.map(|size| sample(size, size[0] % 2 == 1, 1.0, 81).rough());
    let mut all = vec![
        sample([2, 3, 2], false, 1.0, 1),
        viewed(sample([2, 2, 3], true, 1.0, 11)),
        sample([5, 3, 7], false, 1.0, 21).rough(),
        sample([1, 1, 1], false, 1.0, 31).rough(),
        sample([2, 37, 19], true, 1.0, 41).rough(),
        sample([3, 2, 4], false, 90.0, 51).rough(), // gates that are shut or open
        sample([2, 0, 3], false, 1.0, 61).rough(),
    ];
    all.extend(odd.into_iter().chain(on_gpus));
    all
}

/// A sequence backward whose weight, that input, is infinite in one place: it spreads from the second step that is
/// taken.
pub(crate) fn with_infinite_weight<O>(mut sample: Sample<O>, weight: usize) -> Sample<O> {
    sample.inputs[weight].values[1] = f64::INFINITY;
    sample.rough()
}

impl Op for RnnGrad {
    const NAME: &'static str = "rnn_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let shape = &inputs[0].shape;
        let h = shape.last().copied().unwrap_or(0);
        if shape.rank() != 3 || *inputs[1].shape != [h, h] || inputs[2].shape != *shape {
            let problem = format!("states {shape}, weight {}, cotangent {}", inputs[1].shape, inputs[2].shape);
            return Err(ShapeError::new("rnn_grad", problem + "; they must be [t, b, h], [h, h] and [t, b, h]"));
        }
        Ok(vec![inputs[0].clone(), Meta::new([shape[1], h], DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            autodiff::rule_of(v, |inputs| {
                let (hs, w, dhs) = (&inputs[0], &inputs[1], &inputs[2]);
                let mut carried: Option<Tensor> = None;
                let mut steps = Vec::new();
                for t in Steps::of(hs.shape(), op.reverse).in_order().into_iter().rev() {
                    let (y, dy) = (at(hs, t), at(dhs, t));
                    let d = carried.map_or(dy.clone(), |c| &dy + &c);
                    let zero = Tensor::scalar(y.device(), 0f32);
                    let slope = if op.relu { y.greater(&zero).cast(DType::F32) } else { 1.0 - &y.square() };
                    let da = &d * &slope;
                    carried = Some(da.matmul(w));
                    steps.push((t, da));
                }
                vec![in_time(steps), carried.expect("a sequence has a step")]
            })
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let [hs, w, dhs] = [0, 1, 2].map(|i| cx.input(i));
            let (da, dh) = (cx.output(0), cx.output(1));
            let steps = Steps::of(&cx.meta(0).shape, op.reverse);
            let launch = |shader: &Shader| LoweredDispatch::new(shader, "backward").constant("RELU", op.relu as u32);
            if let Some(sequence) = steps.sequence(cx.caps(), w, 1, Way::Backward) {
                let w = sequence.weight(cx, w);
                return sequence.launch(cx, &launch(&SEQUENCE).read(w).read(hs).read(dhs).write(da).write(dh));
            }
            let launch = |shader, last| launch(shader).read(hs).read(dhs).read(last).write(da);
            match steps.tile(cx.caps(), w, 1, Way::Backward) {
                Some(tile) => {
                    let launch = launch(&BACKWARD, w).constant("GATES", 1u32);
                    steps.backward_at_once(cx, tile, &launch, [da, w, dh], 1, false);
                }
                None => steps.backward(cx, &launch(&SHADER, dh), [da, w, dh], 1, false),
            }
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        reference::backward(inputs, self.reverse, self.relu)
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |[t, b, h]: [usize; 3], reverse: bool, relu: bool, seed| {
            let low = if relu { 0.1 } else { -0.9 };
            let state = |seed, low| Input::uniform([t, b, h], low, 0.9, seed);
            let inputs = vec![state(seed, low), Input::uniform([h, h], -1.0, 1.0, seed + 1), state(seed + 2, -0.9)];
            Sample::new(RnnGrad { reverse, relu }, inputs, NEAR)
        };
        let mut all = vec![
            sample([2, 3, 2], false, false, 1),
            sample([2, 2, 3], true, true, 5),
            sample([5, 3, 7], false, false, 9).rough(),
            sample([1, 1, 1], true, false, 13).rough(),
            sample([2, 37, 19], false, true, 17).rough(),
            sample([2, 0, 3], false, false, 21).rough(),
        ];
        // With those of more units than other layers have in one launch.
        let on_gpus = IN_ONE.into_iter().chain(AT_ONCE).chain([[2, 3, 80], [3, 2, 128]]);
        all.extend(on_gpus.map(|size| sample(size, size[0] % 2 == 1, size[1] % 4 == 1, 25).rough()));
        all.push(with_infinite_weight(sample([2, 3, 4], false, false, 31), 1));
        all
    }
}

impl Tensor {
    /// A plain recurrent layer over a sequence whose inputs are projected already: x `[t, b, h]`, `w_hh` `[h, h]`,
    /// biases `[h]` and `h0` `[b, h]` give the state after each step, `[t, b, h]`.
    ///
    /// `h_t = f(x_t + b_ih + h_(t-1) w_hh^T + b_hh)`, f = tanh or relu; with `reverse` the last step comes first.
    /// [`Tensor::rnn`] projects too.
    ///
    /// # Panics
    /// If the shapes do not fit or there is no step.
    #[track_caller]
    pub fn rnn_scan(&self, w_hh: &Tensor, biases: [&Tensor; 2], h0: &Tensor, relu: bool, reverse: bool) -> Tensor {
        Tensor::apply(Rnn { reverse, relu }, &[self, w_hh, biases[0], biases[1], h0])
    }
}
