//! The GRU over a whole sequence whose inputs are projected already, in the form of PyTorch and cuDNN: the reset gate
//! scales what the state contributes after its product with the weight, bias included. See [`super::rnn`] for how a
//! sequence is cut into launches, and [`super::lstm`] for what happens to gates.

use super::rnn::{
    AT_ONCE, IN_ONE, NEAR, STREAMED, Steps, Way, at, check_sequence, in_time, sequence_samples, weight_gradient,
    with_infinite_weight,
};
use crate::autodiff;
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Real, View, gru as reference};
use crate::tensor::{Backward, DType, Input, LoweredDispatch, Lowering, Meta, Op, Sample, Tensor};

/// x `[t, b, 3h]`, W `[3h, h]`, b_ih and b_hh `[3h]`, h_0 `[b, h]` to h `[t, b, h]` and `r z n m` `[t, b, 4h]`: the
/// gates after their functions, in the order r z n, and what the state gave to n before it was scaled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gru {
    /// Whether the last step comes first.
    pub reverse: bool,
}

/// The gradient of [`Gru`]: gates, h, h_0, W and the cotangent of h to the cotangents of `x + b_ih`, of
/// `h_(t-1) W^T + b_hh`, both `[t, b, 3h]`, and of h_0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GruGrad {
    /// Whether the forward pass took the last step first.
    pub reverse: bool,
}

const SHADER: Shader = Shader::new(
    "gru",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/gru_cell.wgsl"),
        include_str!("../../shaders/gru.wgsl"),
    ),
);
const FORWARD: Shader = Shader::new(
    "gru_forward",
    concat!(
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/gru_cell.wgsl"),
        include_str!("../../shaders/shared/recurrent.wgsl"),
        include_str!("../../shaders/shared/recurrent_forward.wgsl"),
        include_str!("../../shaders/gru_forward.wgsl"),
    ),
);
const BACKWARD: Shader = Shader::new(
    "gru_backward",
    concat!(
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/step.wgsl"),
        include_str!("../../shaders/shared/gru_cell.wgsl"),
        include_str!("../../shaders/shared/recurrent.wgsl"),
        include_str!("../../shaders/shared/recurrent_backward.wgsl"),
        include_str!("../../shaders/gru_backward.wgsl"),
    ),
);
const SEQUENCE: Shader = Shader::new(
    "gru_sequence",
    concat!(
        include_str!("../../shaders/shared/math.wgsl"),
        include_str!("../../shaders/shared/gru_cell.wgsl"),
        include_str!("../../shaders/shared/sequence.wgsl"),
        include_str!("../../shaders/gru_sequence.wgsl"),
    ),
);

/// One step in primitive ops, from `x + b_ih` and `h W^T + b_hh`, both `[b, 3h]`, and the state: h, and `r z n m`.
fn step(x: &Tensor, s: &Tensor, before: &Tensor) -> [Tensor; 2] {
    let h = before.shape()[1];
    let part = |x: &Tensor, k: usize| x.narrow(1, k * h, h);
    let sum = |k: usize| &part(x, k) + &part(s, k);
    let (r, z, m) = (sum(0).sigmoid(), sum(1).sigmoid(), part(s, 2));
    let n = (&part(x, 2) + &(&r * &m)).tanh();
    let now = &n + &(&z * &(before - &n));
    [now, Tensor::concat(&[&r, &z, &n, &m], 1)]
}

impl Op for Gru {
    const NAME: &'static str = "gru";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let states = check_sequence("gru", 3, 1, inputs)?;
        let gates = [states[0], states[1], 4 * states[2]];
        Ok(vec![Meta::new(states, DType::F32), Meta::new(gates, DType::F32)])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            if v.cotangents[1].is_some() {
                return autodiff::rule_of(v, |inputs| {
                    let (x, w) = (&inputs[0] + &inputs[2], inputs[1].transpose(0, 1));
                    let mut h = inputs[4].clone();
                    let mut steps: [Vec<(usize, Tensor)>; 2] = Default::default();
                    for t in Steps::of(v.outputs[0].shape(), op.reverse).in_order() {
                        let found = step(&at(&x, t), &(&h.matmul(&w) + &inputs[3]), &h);
                        h = found[0].clone();
                        steps.iter_mut().zip(found).for_each(|(all, x)| all.push((t, x)));
                    }
                    steps.into_iter().map(in_time).collect()
                });
            }
            let (w, h0, hs, gates) = (&v.inputs[1], &v.inputs[4], &v.outputs[0], &v.outputs[1]);
            let found = Tensor::apply_all(GruGrad { reverse: op.reverse }, &[gates, hs, h0, w, v.dy()]);
            let (dx, ds) = (&found[0], &found[1]);
            vec![
                Some(dx.clone()),
                v.when(1, || weight_gradient(ds, hs, h0, op.reverse)),
                v.when(2, || dx.sum(&[0, 1])),
                v.when(3, || ds.sum(&[0, 1])),
                Some(found[2].clone()),
            ]
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let [x, w, b_ih, b_hh, h0] = [0, 1, 2, 3, 4].map(|i| cx.input(i));
            let (hs, gates) = (cx.output(0), cx.output(1));
            let steps = Steps::of(&cx.output_meta(0).shape, op.reverse);
            if let Some(sequence) = steps.sequence(cx.caps(), w, 3, Way::Forward) {
                let w = sequence.weight(cx, w);
                let launch = LoweredDispatch::new(&SEQUENCE, "forward").read(w).read(x).read(b_ih).read(b_hh).read(h0);
                return sequence.launch(cx, &launch.write(gates).write(hs));
            }
            if let Some(tile) = steps.tile(cx.caps(), w, 3, Way::Forward) {
                let launch = LoweredDispatch::new(&FORWARD, "forward").constant("PARTS", 3u32).read(x).read(w);
                let launch = launch.read(b_ih).read(b_hh).read(h0).write(gates).write(hs);
                return steps.at_once(cx, tile, Way::Forward, &launch);
            }
            steps.forward(cx, [w, h0, hs], 3, |s| {
                let launch = LoweredDispatch::new(&SHADER, "forward").read(x).read(s).read(b_ih).read(b_hh).read(h0);
                launch.write(gates).write(hs)
            });
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        reference::forward(inputs, self.reverse)
    }

    fn samples() -> Vec<Sample<Self>> {
        sequence_samples(3, 1, |reverse| Gru { reverse })
    }
}

impl Op for GruGrad {
    const NAME: &'static str = "gru_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (gates, hs, h0) = (&inputs[0].shape, &inputs[1].shape, &inputs[2].shape);
        let fits = hs.rank() == 3
            && **gates == [hs[0], hs[1], 4 * hs[2]]
            && **h0 == hs[1..]
            && *inputs[3].shape == [3 * hs[2], hs[2]]
            && inputs[4].shape == *hs;
        if !fits {
            let problem = format!("gates {gates} and states {hs}; they must be [t, b, 4h] and [t, b, h]");
            return Err(ShapeError::new("gru_grad", problem));
        }
        let wide = Meta::new([hs[0], hs[1], 3 * hs[2]], DType::F32);
        Ok(vec![wide.clone(), wide, inputs[2].clone()])
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            autodiff::rule_of(v, |inputs| {
                let [gates, hs, h0, w, dhs] = [0, 1, 2, 3, 4].map(|i| &inputs[i]);
                let h = h0.shape()[1];
                let order = Steps::of(hs.shape(), op.reverse).in_order();
                let mut carried: Option<Tensor> = None;
                let (mut into_x, mut into_s) = (Vec::new(), Vec::new());
                for (place, &t) in order.iter().enumerate().rev() {
                    let all = at(gates, t);
                    let [r, z, n, m] = [0, 1, 2, 3].map(|k| all.narrow(1, k * h, h));
                    let before = if place == 0 { h0.clone() } else { at(hs, order[place - 1]) };
                    let given = at(dhs, t);
                    let d = carried.map_or(given.clone(), |c| &given + &c);
                    let shut = |gate: &Tensor, d: Tensor| &(&d * gate) * &(1.0 - gate);
                    let dn = &(&d * &(1.0 - &z)) * &(1.0 - &n.square());
                    let (dr, dz) = (shut(&r, &dn * &m), shut(&z, &d * &(&before - &n)));
                    let ds = Tensor::concat(&[&dr, &dz, &(&dn * &r)], 1);
                    carried = Some(&(&d * &z) + &ds.matmul(w));
                    into_x.push((t, Tensor::concat(&[&dr, &dz, &dn], 1)));
                    into_s.push((t, ds));
                }
                vec![in_time(into_x), in_time(into_s), carried.expect("a sequence has a step")]
            })
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let [gates, hs, h0, w, dhs] = [0, 1, 2, 3, 4].map(|i| cx.input(i));
            // The state's cotangent is carried from step to step where it will be given out.
            let [dx, ds, dh] = [0, 1, 2].map(|k| cx.output(k));
            let steps = Steps::of(&cx.meta(1).shape, op.reverse);
            let read = |shader| LoweredDispatch::new(shader, "backward").read(gates).read(hs).read(h0).read(dhs);
            let write = |launch: LoweredDispatch| launch.write(dh).write(dx).write(ds);
            if let Some(sequence) = steps.sequence(cx.caps(), w, 3, Way::Backward) {
                let w = sequence.weight(cx, w);
                let launch =
                    LoweredDispatch::new(&SEQUENCE, "backward").read(w).read(gates).read(hs).read(h0).read(dhs);
                return sequence.launch(cx, &write(launch));
            }
            match steps.tile(cx.caps(), w, 3, Way::Backward) {
                Some(tile) => {
                    let launch = write(read(&BACKWARD).read(w)).constant("GATES", 3u32);
                    steps.backward_at_once(cx, tile, &launch, [ds, w, dh], 3, true);
                }
                None => steps.backward(cx, &write(read(&SHADER)), [ds, w, dh], 3, true),
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
                state(&[3 * h, h], seed + 3),
                state(&[t, b, h], seed + 4),
            ];
            Sample::new(GruGrad { reverse }, inputs, NEAR)
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
    /// A GRU over a sequence whose inputs are projected already: x `[t, b, 3h]`, `w_hh` `[3h, h]`, biases `[3h]` (of
    /// the input, of the state) and `h0` `[b, h]` give the state after each step, `[t, b, h]`. Gates are in the order r
    /// z n; with `reverse` the last step comes first. [`Tensor::gru`] projects too.
    ///
    /// # Panics
    /// If the shapes do not fit or there is no step.
    #[track_caller]
    pub fn gru_scan(&self, w_hh: &Tensor, biases: [&Tensor; 2], h0: &Tensor, reverse: bool) -> Tensor {
        Tensor::apply_all(Gru { reverse }, &[self, w_hh, biases[0], biases[1], h0]).swap_remove(0)
    }
}
