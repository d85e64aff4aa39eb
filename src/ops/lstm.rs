//! The LSTM over a whole sequence whose inputs are projected already: per step one product with the state and all four
//! gates, forward and backward; see [`super::rnn`] for how a sequence is cut into launches.
//!
//! Besides the states the op gives out its gates, for its gradient. Nobody else reads them, so their own cotangent
//! exists only in second derivatives; the rule then goes through the primitive ops, step by step.

use super::rnn::{
    AT_ONCE, IN_ONE, NEAR, STREAMED, Steps, Way, at, check_sequence, in_time, sequence_samples, weight_gradient,
    with_infinite_weight,
};
use crate::autodiff;
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, lstm as reference};
use crate::tensor::{Backward, DType, Input, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Tensor};

/// x `[t, b, 4h]`, W `[4h, h]`, b_ih and b_hh `[4h]`, h_0 and c_0 `[b, h]` to h and c `[t, b, h]` and the gates
/// `[t, b, 4h]` after their functions, in the order i f g o.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lstm {
    /// Whether the last step comes first.
    pub reverse: bool,
}

/// The gradient of [`Lstm`]: gates, c, c_0, W and the cotangents of h and c to the cotangents of the sums `[t, b, 4h]`
/// that go into the gates, of h_0, and of c_0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LstmGrad {
    /// Whether the forward pass took the last step first.
    pub reverse: bool,
}

const SHADER: Shader = Shader::new(
    "lstm",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/lstm_cell.wgsl"),
        include_str!("../../shaders/lstm.wgsl"),
    ),
);
const FORWARD: Shader = Shader::new(
    "lstm_forward",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/lstm_cell.wgsl"),
        include_str!("../../shaders/shared/recurrent.wgsl"),
        include_str!("../../shaders/shared/recurrent_forward.wgsl"),
        include_str!("../../shaders/lstm_forward.wgsl"),
    ),
);
const BACKWARD: Shader = Shader::new(
    "lstm_backward",
    concat!(
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/lstm_cell.wgsl"),
        include_str!("../../shaders/shared/recurrent.wgsl"),
        include_str!("../../shaders/shared/recurrent_backward.wgsl"),
        include_str!("../../shaders/lstm_backward.wgsl"),
    ),
);
const SEQUENCE: Shader = Shader::new(
    "lstm_sequence",
    concat!(
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/lstm_cell.wgsl"),
        include_str!("../../shaders/shared/sequence.wgsl"),
        include_str!("../../shaders/lstm_sequence.wgsl"),
    ),
);

/// The gates i f g o after their functions, of the sums `[b, 4h]` that go into them.
fn gates_of(sums: &Tensor, h: usize) -> [Tensor; 4] {
    let part = |k: usize| sums.narrow(1, k * h, h);
    [part(0).sigmoid(), part(1).sigmoid(), part(2).tanh(), part(3).sigmoid()]
}

/// One step in primitive ops, from the sums `[b, 4h]` that go into the gates and the state c: h, c and the gates.
fn step(sums: &Tensor, c: &Tensor) -> [Tensor; 3] {
    let [i, f, g, o] = gates_of(sums, c.shape()[1]);
    let c = &(&f * c) + &(&i * &g);
    [&o * &c.tanh(), c, Tensor::concat(&[&i, &f, &g, &o], 1)]
}

impl Op for Lstm {
    const NAME: &'static str = "lstm";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let states = check_sequence("lstm", 4, 2, inputs)?;
        let meta = Meta::new(states, DType::F32);
        Ok(vec![meta.clone(), meta, inputs[0].clone()])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            if v.cotangents[2].is_some() {
                return autodiff::rule_of(v, |inputs| {
                    let (x, w) = (&inputs[0], inputs[1].transpose(0, 1));
                    let bias = &inputs[2] + &inputs[3];
                    let (mut h, mut c) = (inputs[4].clone(), inputs[5].clone());
                    let mut steps: [Vec<(usize, Tensor)>; 3] = Default::default();
                    for t in Steps::of(v.outputs[0].shape(), op.reverse).in_order() {
                        let sums = &(&at(x, t) + &h.matmul(&w)) + &bias;
                        let found = step(&sums, &c);
                        (h, c) = (found[0].clone(), found[1].clone());
                        steps.iter_mut().zip(found).for_each(|(all, x)| all.push((t, x)));
                    }
                    steps.into_iter().map(in_time).collect()
                });
            }
            let (w, h0, c0) = (&v.inputs[1], &v.inputs[4], &v.inputs[5]);
            let (hs, cs, gates) = (&v.outputs[0], &v.outputs[1], &v.outputs[2]);
            let dcs = v.cotangents[1].clone().unwrap_or_else(|| Tensor::zeros(cs.device(), cs.shape()));
            let grad = LstmGrad { reverse: op.reverse };
            let found = Tensor::apply_all(grad, &[gates, cs, c0, w, v.dy(), &dcs]);
            let da = &found[0];
            let bias = (v.needed[2] || v.needed[3]).then(|| da.sum(&[0, 1]));
            vec![
                Some(da.clone()),
                v.when(1, || weight_gradient(da, hs, h0, op.reverse)),
                bias.clone(),
                bias,
                Some(found[1].clone()),
                Some(found[2].clone()),
            ]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let [x, w, b_ih, b_hh, h0, c0] = [0, 1, 2, 3, 4, 5].map(|i| cx.input(i));
            let [hs, cs, gates] = [0, 1, 2].map(|k| cx.output(k));
            let steps = Steps::of(&cx.output_meta(0).shape, op.reverse);
            let biases = |cx: &mut Lower| {
                let bias = cx.temp(b_ih.len);
                let sum = LoweredDispatch::new(&FORWARD, "biases").read(b_ih).read(b_hh).write(bias);
                cx.launch(sum.params(&steps.step(0)).independent(1).flat(bias.len, 64));
                bias
            };
            if let Some(sequence) = steps.sequence(cx.caps(), w, 4, Way::Forward) {
                let w = sequence.weight(cx, w);
                let bias = biases(cx);
                let launch = LoweredDispatch::new(&SEQUENCE, "forward").read(w).read(x).read(bias).read(h0).read(c0);
                return sequence.launch(cx, &launch.write(gates).write(cs).write(hs));
            }
            if let Some(tile) = steps.tile(cx.caps(), w, 4, Way::Forward) {
                let bias = biases(cx);
                let launch = LoweredDispatch::new(&FORWARD, "forward").read(x).read(w).read(bias).read(h0).read(c0);
                return steps.at_once(cx, tile, Way::Forward, &launch.write(gates).write(cs).write(hs));
            }
            steps.forward(cx, [w, h0, hs], 4, |s| {
                let launch = LoweredDispatch::new(&SHADER, "forward").read(x).read(s).read(b_ih).read(b_hh).read(c0);
                launch.write(gates).write(cs).write(hs)
            });
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        reference::forward(inputs, self.reverse)
    }

    fn samples() -> Vec<Sample<Self>> {
        sequence_samples(4, 2, |reverse| Lstm { reverse })
    }
}

impl Op for LstmGrad {
    const NAME: &'static str = "lstm_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (gates, cs, c0) = (&inputs[0].shape, &inputs[1].shape, &inputs[2].shape);
        let fits = cs.rank() == 3
            && **gates == [cs[0], cs[1], 4 * cs[2]]
            && **c0 == cs[1..]
            && *inputs[3].shape == [4 * cs[2], cs[2]]
            && inputs[4].shape == *cs
            && inputs[5].shape == *cs;
        if !fits {
            let problem = format!("gates {gates} and states {cs}; they must be [t, b, 4h] and [t, b, h]");
            return Err(ShapeError::new("lstm_grad", problem));
        }
        Ok(vec![inputs[0].clone(), inputs[2].clone(), inputs[2].clone()])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            autodiff::rule_of(v, |inputs| {
                let [gates, cs, c0, w, dhs, dcs] = [0, 1, 2, 3, 4, 5].map(|i| &inputs[i]);
                let h = c0.shape()[1];
                let order = Steps::of(cs.shape(), op.reverse).in_order();
                let mut carried: Option<(Tensor, Tensor)> = None;
                let mut steps = Vec::new();
                for (place, &t) in order.iter().enumerate().rev() {
                    let all = at(gates, t);
                    let [i, f, g, o] = [0, 1, 2, 3].map(|k| all.narrow(1, k * h, h));
                    let before = if place == 0 { c0.clone() } else { at(cs, order[place - 1]) };
                    let (mut dh, mut dc) = (at(dhs, t), at(dcs, t));
                    if let Some((h, c)) = &carried {
                        (dh, dc) = (&dh + h, &dc + c);
                    }
                    let tanh_c = at(cs, t).tanh();
                    let dc = &dc + &(&(&dh * &o) * &(1.0 - &tanh_c.square()));
                    let shut = |gate: &Tensor, d: Tensor| &(&d * gate) * &(1.0 - gate);
                    let (di, df) = (shut(&i, &dc * &g), shut(&f, &dc * &before));
                    let (dg, d_o) = (&(&dc * &i) * &(1.0 - &g.square()), shut(&o, &dh * &tanh_c));
                    let da = Tensor::concat(&[&di, &df, &dg, &d_o], 1);
                    carried = Some((da.matmul(w), &dc * &f));
                    steps.push((t, da));
                }
                let (dh0, dc0) = carried.expect("a sequence has a step");
                vec![in_time(steps), dh0, dc0]
            })
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let [gates, cs, c0, w, dhs, dcs] = [0, 1, 2, 3, 4, 5].map(|i| cx.input(i));
            // The states' cotangents are carried from step to step where they will be given out.
            let [da, dh, dc] = [0, 1, 2].map(|k| cx.output(k));
            let steps = Steps::of(&cx.meta(1).shape, op.reverse);
            if let Some(sequence) = steps.sequence(cx.caps(), w, 4, Way::Backward) {
                let launch =
                    LoweredDispatch::new(&SEQUENCE, "backward").read(sequence.weight(cx, w)).read(gates).read(cs);
                sequence.launch(cx, &launch.read(c0).read(dhs).read(dcs).write(da).write(dc));
                return steps.product_of_first(cx, [da, w, dh], 4, false);
            }
            let read = |shader, last| {
                let launch = LoweredDispatch::new(shader, "backward").read(gates).read(cs).read(c0).read(dhs).read(dcs);
                launch.read(last).write(da).write(dc)
            };
            match steps.tile(cx.caps(), w, 4, Way::Backward) {
                Some(tile) => steps.backward_at_once(cx, tile, &read(&BACKWARD, w), [da, w, dh], 4, false),
                None => steps.backward(cx, &read(&SHADER, dh), [da, w, dh], 4, false),
            }
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        reference::backward(inputs, self.reverse)
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |[t, b, h]: [usize; 3], reverse: bool, seed| {
            let state = |shape: &[usize], seed| Input::uniform(shape, -0.9, 0.9, seed);
            let inputs = vec![
                Input::uniform([t, b, 4 * h], 0.1, 0.9, seed),
                state(&[t, b, h], seed + 1),
                state(&[b, h], seed + 2),
                state(&[4 * h, h], seed + 3),
                state(&[t, b, h], seed + 4),
                state(&[t, b, h], seed + 5),
            ];
            Sample::new(LstmGrad { reverse }, inputs, NEAR)
        };
        let mut all = vec![
            sample([2, 3, 2], false, 1),
            sample([2, 1, 3], true, 11),
            sample([5, 3, 7], false, 21).rough(),
            sample([1, 1, 1], true, 31).rough(),
            sample([2, 37, 19], false, 41).rough(),
            sample([2, 0, 3], false, 51).rough(),
        ];
        let on_gpus = IN_ONE.into_iter().chain(STREAMED).chain(AT_ONCE);
        all.extend(on_gpus.map(|size| sample(size, size[0] % 2 == 1, 61).rough()));
        all.push(with_infinite_weight(sample([2, 3, 4], false, 71), 3));
        all
    }
}

impl Tensor {
    /// An LSTM over a sequence whose inputs are projected already: x `[t, b, 4h]`, `w_hh` `[4h, h]`, biases `[4h]` and
    /// the initial states h and c, `[b, h]`, give h and c after each step, `[t, b, h]`. Gates are in the order i f g o;
    /// with `reverse` the last step comes first. [`Tensor::lstm`] projects too.
    ///
    /// # Panics
    /// If the shapes do not fit or there is no step.
    #[track_caller]
    pub fn lstm_scan(
        &self,
        w_hh: &Tensor,
        biases: [&Tensor; 2],
        state: [&Tensor; 2],
        reverse: bool,
    ) -> (Tensor, Tensor) {
        let mut all = Tensor::apply_all(Lstm { reverse }, &[self, w_hh, biases[0], biases[1], state[0], state[1]]);
        let cs = all.swap_remove(1);
        (all.swap_remove(0), cs)
    }
}
