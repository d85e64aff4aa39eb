//! Recurrent layers and cells on weights in PyTorch's layout, with the input projected first, all steps at once; and
//! the rarer forms (projected states, peepholes, ONNX's older GRU) step by step in primitive ops.
//!
//! Everything here takes its weights as arguments: the layers of [`nn`](crate::nn) keep them, and weights in another
//! library's order need only be put in this one's before.

use crate::ops::rnn::{Steps, at, in_time};
use crate::tensor::{Shape, Tensor};

/// The weights of one layer in one direction. `g` is 1 for the plain layer, 4 for an LSTM (gates i f g o), 3 for a GRU
/// (r z n).
#[derive(Debug, Clone)]
pub struct RecurrentWeights {
    /// Of the input, `[g h, inputs]`.
    pub w_ih: Tensor,
    /// Of the state, `[g h, h]`; `[g h, p]` where an LSTM's state is projected to `p`.
    pub w_hh: Tensor,
    /// Added to the input's share, `[g h]`.
    pub b_ih: Option<Tensor>,
    /// Added to the state's share, `[g h]`.
    pub b_hh: Option<Tensor>,
    /// An LSTM's projection of its state, `[p, h]`.
    pub w_hr: Option<Tensor>,
}

impl RecurrentWeights {
    /// Weights without biases.
    pub fn new(w_ih: &Tensor, w_hh: &Tensor) -> Self {
        RecurrentWeights { w_ih: w_ih.clone(), w_hh: w_hh.clone(), b_ih: None, b_hh: None, w_hr: None }
    }

    /// With a bias of the input's share and one of the state's.
    pub fn biases(mut self, b_ih: &Tensor, b_hh: &Tensor) -> Self {
        (self.b_ih, self.b_hh) = (Some(b_ih.clone()), Some(b_hh.clone()));
        self
    }

    /// `[.., inputs]` to `[.., g h]`, one product for everything before the last axis.
    #[track_caller]
    fn project(&self, x: &Tensor) -> Tensor {
        assert!(
            x.rank() == 3 && self.w_ih.rank() == 2 && x.shape()[2] == self.w_ih.shape()[1],
            "recurrent: the input is {}, the weight of the input {}: they must be [t, b, inputs] and [g h, inputs]",
            x.shape(),
            self.w_ih.shape()
        );
        x.matmul(&self.w_ih.transpose(0, 1))
    }

    /// The two biases, zeros where there are none.
    fn both(&self) -> [Tensor; 2] {
        let width = self.w_hh.shape()[0];
        [&self.b_ih, &self.b_hh].map(|b| b.clone().unwrap_or_else(|| Tensor::zeros(self.w_hh.device(), width)))
    }

    /// A state of zeros for a batch of `x`.
    fn start(&self, x: &Tensor, width: usize) -> Tensor {
        Tensor::zeros(x.device(), [x.shape()[1], width])
    }
}

/// The state of the last step that was taken.
fn last(states: &Tensor, reverse: bool) -> Tensor {
    at(states, if reverse { 0 } else { states.shape()[0] - 1 })
}

impl Tensor {
    /// The plain recurrent layer: x `[t, b, inputs]` and the initial state `[b, h]` (zeros if `None`) to the state
    /// after each step, `[t, b, h]`, and the last. `h_t = f(x_t W_ih^T + b_ih + h_(t-1) W_hh^T + b_hh)`, f = tanh or
    /// relu; with `reverse` the last step comes first.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn rnn(&self, w: &RecurrentWeights, h0: Option<&Tensor>, relu: bool, reverse: bool) -> (Tensor, Tensor) {
        let (x, [b_ih, b_hh]) = (w.project(self), w.both());
        let h0 = h0.cloned().unwrap_or_else(|| w.start(self, w.w_hh.shape()[1]));
        let hs = x.rnn_scan(&w.w_hh, [&b_ih, &b_hh], &h0, relu, reverse);
        let end = last(&hs, reverse);
        (hs, end)
    }

    /// An LSTM: x `[t, b, inputs]` and the initial `[h, c]`, `[b, h]` each (zeros if `None`), to h after each step,
    /// `[t, b, h]`, and the last `[h, c]`. With `reverse` the last step comes first.
    ///
    /// With `w_hr` the state h is projected after each step, `[b, p]` (Sak et al. 2014), as `proj_size` of PyTorch;
    /// that form is recorded step by step.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn lstm(&self, w: &RecurrentWeights, state: Option<[&Tensor; 2]>, reverse: bool) -> (Tensor, [Tensor; 2]) {
        if w.w_hr.is_some() {
            return self.lstm_by_steps(w, state, None, reverse);
        }
        let (x, [b_ih, b_hh]) = (w.project(self), w.both());
        let zero = || w.start(self, w.w_hh.shape()[1]);
        let [h0, c0] = state.map_or_else(|| [zero(), zero()], |s| s.map(Tensor::clone));
        let (hs, cs) = x.lstm_scan(&w.w_hh, [&b_ih, &b_hh], [&h0, &c0], reverse);
        let end = [last(&hs, reverse), last(&cs, reverse)];
        (hs, end)
    }

    /// An LSTM whose gates i, f and o also look at the cell, each unit at its own: `peepholes` are their weights, `[h]`
    /// each; i and f see the cell before the step, o the one after (Gers and Schmidhuber 2000). Recorded step by step.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn lstm_peephole(
        &self,
        w: &RecurrentWeights,
        state: Option<[&Tensor; 2]>,
        peepholes: [&Tensor; 3],
        reverse: bool,
    ) -> (Tensor, [Tensor; 2]) {
        self.lstm_by_steps(w, state, Some(peepholes), reverse)
    }

    #[track_caller]
    fn lstm_by_steps(
        &self,
        w: &RecurrentWeights,
        state: Option<[&Tensor; 2]>,
        peepholes: Option<[&Tensor; 3]>,
        reverse: bool,
    ) -> (Tensor, [Tensor; 2]) {
        let (x, [b_ih, b_hh]) = (w.project(self), w.both());
        let (units, outputs) = (w.w_hh.shape()[0] / 4, w.w_hh.shape()[1]);
        let (mut h, mut c) = match state {
            Some([h, c]) => (h.clone(), c.clone()),
            None => (w.start(self, outputs), w.start(self, units)),
        };
        let (turned, bias) = (w.w_hh.transpose(0, 1), &b_ih + &b_hh);
        let mut steps = Vec::new();
        for t in order(&x, reverse) {
            let sums = &(&at(&x, t) + &h.matmul(&turned)) + &bias;
            let part = |k: usize| sums.narrow(1, k * units, units);
            let seen = |sum: Tensor, k: usize, c: &Tensor| match peepholes {
                Some(p) => &sum + &(p[k] * c),
                None => sum,
            };
            let (i, f) = (seen(part(0), 0, &c).sigmoid(), seen(part(1), 1, &c).sigmoid());
            c = &(&f * &c) + &(&i * &part(2).tanh());
            h = &seen(part(3), 2, &c).sigmoid() * &c.tanh();
            if let Some(w_hr) = &w.w_hr {
                h = h.matmul(&w_hr.transpose(0, 1));
            }
            steps.push((t, h.clone()));
        }
        (in_time(steps), [h, c])
    }

    /// A GRU: x `[t, b, inputs]` and the initial state `[b, h]` (zeros if `None`) to the state after each step, `[t, b,
    /// h]`, and the last. The reset gate scales what the state contributes after its product, bias included, as in
    /// PyTorch, cuDNN, and ONNX with `linear_before_reset`. With `reverse` the last step comes first.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn gru(&self, w: &RecurrentWeights, h0: Option<&Tensor>, reverse: bool) -> (Tensor, Tensor) {
        let (x, [b_ih, b_hh]) = (w.project(self), w.both());
        let h0 = h0.cloned().unwrap_or_else(|| w.start(self, w.w_hh.shape()[1]));
        let hs = x.gru_scan(&w.w_hh, [&b_ih, &b_hh], &h0, reverse);
        let end = last(&hs, reverse);
        (hs, end)
    }

    /// A GRU whose reset gate scales the state before its product, as Cho et al. 2014 and ONNX without
    /// `linear_before_reset` have it; else as [`Tensor::gru`]. Recorded step by step.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn gru_reset_first(&self, w: &RecurrentWeights, h0: Option<&Tensor>, reverse: bool) -> (Tensor, Tensor) {
        let (x, [b_ih, b_hh]) = (w.project(self), w.both());
        let units = w.w_hh.shape()[1];
        let mut h = h0.cloned().unwrap_or_else(|| w.start(self, units));
        let rows = |k: usize, n: usize| w.w_hh.narrow(0, k * units, n * units).transpose(0, 1);
        let (for_gates, for_new, bias) = (rows(0, 2), rows(2, 1), &b_ih + &b_hh);
        let mut steps = Vec::new();
        for t in order(&x, reverse) {
            let given = &at(&x, t) + &bias;
            let gates = (&given.narrow(1, 0, 2 * units) + &h.matmul(&for_gates)).sigmoid();
            let (r, z) = (gates.narrow(1, 0, units), gates.narrow(1, units, units));
            let n = (&given.narrow(1, 2 * units, units) + &(&r * &h).matmul(&for_new)).tanh();
            h = &n + &(&z * &(&h - &n));
            steps.push((t, h.clone()));
        }
        (in_time(steps), h)
    }

    /// One step of the plain recurrent layer: x `[b, inputs]` and the state `[b, h]` to the next state.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn rnn_cell(&self, w: &RecurrentWeights, h: &Tensor, relu: bool) -> Tensor {
        self.unsqueeze(0).rnn(w, Some(h), relu, false).1
    }

    /// One step of an LSTM: x `[b, inputs]` and `[h, c]`, `[b, h]` each, to the next `[h, c]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn lstm_cell(&self, w: &RecurrentWeights, state: [&Tensor; 2]) -> [Tensor; 2] {
        self.unsqueeze(0).lstm(w, Some(state), false).1
    }

    /// One step of a GRU: x `[b, inputs]` and the state `[b, h]` to the next state.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn gru_cell(&self, w: &RecurrentWeights, h: &Tensor) -> Tensor {
        self.unsqueeze(0).gru(w, Some(h), false).1
    }
}

/// The numbers of the steps of `[t, b, ..]`, in the order in which they are taken.
fn order(x: &Tensor, reverse: bool) -> Vec<usize> {
    let shape = x.shape();
    assert!(shape[0] > 0, "recurrent: an input {shape} of no steps; a sequence has at least one");
    Steps::of(&Shape::from(&shape[..]), reverse).in_order()
}
