//! Recurrent layers, stacked and in both directions, and single cells. Names of parameters, the order of gates and the
//! initialisation are PyTorch's.

use super::{Buffer, Dropout, Init, Module, Param, Parameters, Pass};
use crate::error::{Error, Result};
use crate::functional::RecurrentWeights;
use crate::tensor::Tensor;

/// The form of a recurrent layer.
#[derive(Debug, Clone)]
pub struct RecurrentOptions {
    /// Layers on top of each other.
    pub layers: usize,
    /// Whether each layer also reads the sequence backwards; its outputs are the two side by side.
    pub bidirectional: bool,
    /// Probability by which an output of each layer but the last is dropped, in training.
    pub dropout: f32,
    /// Whether inputs and outputs are `[b, t, ..]` instead of `[t, b, ..]`; states are `[layers, b, ..]` in any case.
    pub batch_first: bool,
    /// Whether there are biases.
    pub bias: bool,
    /// Extent that an LSTM projects its state h to, or 0.
    pub projection: usize,
}

impl Default for RecurrentOptions {
    fn default() -> Self {
        let (layers, bias) = (1, true);
        RecurrentOptions { layers, bidirectional: false, dropout: 0.0, batch_first: false, bias, projection: 0 }
    }
}

/// The parameters of one layer in one direction.
#[derive(Debug)]
struct Direction {
    weight_ih: Param,
    weight_hh: Param,
    biases: Option<[Param; 2]>,
    weight_hr: Option<Param>,
}

impl Direction {
    fn weights(&self, pass: &Pass) -> RecurrentWeights {
        let of = |p: &Param| pass.operand(p.get());
        let mut w = RecurrentWeights::new(&of(&self.weight_ih), &of(&self.weight_hh));
        if let Some([b_ih, b_hh]) = &self.biases {
            w = w.biases(&of(b_ih), &of(b_hh));
        }
        w.w_hr = pass.param(&self.weight_hr);
        w
    }
}

/// All layers and directions, layer by layer.
#[derive(Debug)]
struct Stack {
    directions: Vec<Direction>,
    options: RecurrentOptions,
}

impl Stack {
    fn new(init: &mut Init, gates: usize, inputs: usize, hidden: usize, options: &RecurrentOptions) -> Result<Stack> {
        let o = options.clone();
        let fault = |what: String, remedy: &str| Err(Error::argument(what, remedy));
        if hidden == 0 || o.layers == 0 {
            return fault(
                format!("{} recurrent layers of {hidden} units", o.layers),
                "there must be at least one of each",
            );
        }
        if !(0.0..1.0).contains(&o.dropout) {
            return fault(format!("a dropout of {}", o.dropout), "it must be from 0 to below 1");
        }
        if o.projection > 0 && (gates != 4 || o.projection >= hidden) {
            return fault(format!("a projection to {}", o.projection), "only an LSTM has one, to less than its units");
        }
        let outputs = if o.projection > 0 { o.projection } else { hidden };
        let both = 1 + o.bidirectional as usize;
        let bound = (1.0 / (hidden as f64).sqrt()) as f32;
        let mut directions = Vec::new();
        for layer in 0..o.layers {
            let inputs = if layer == 0 { inputs } else { both * outputs };
            for _ in 0..both {
                let mut draw = |shape: &[usize]| init.uniform(shape, bound);
                let (weight_ih, weight_hh) = (draw(&[gates * hidden, inputs])?, draw(&[gates * hidden, outputs])?);
                let biases = if o.bias { Some([draw(&[gates * hidden])?, draw(&[gates * hidden])?]) } else { None };
                let weight_hr = if o.projection > 0 { Some(draw(&[outputs, hidden])?) } else { None };
                directions.push(Direction { weight_ih, weight_hh, biases, weight_hr });
            }
        }
        Ok(Stack { directions, options: o })
    }

    /// What comes after the kind of parameter: "l0", "l0_reverse", "l1", ..
    fn suffix(&self, k: usize) -> String {
        let both = 1 + self.options.bidirectional as usize;
        format!("l{}{}", k / both, if k % both == 1 { "_reverse" } else { "" })
    }

    /// Runs a sequence. `states` are `[layers, b, ..]`, and so are those that come back; `run` is one layer in one
    /// direction.
    #[track_caller]
    fn forward<const N: usize>(
        &self,
        x: &Tensor,
        states: Option<[&Tensor; N]>,
        pass: &mut Pass,
        run: impl Fn(&Tensor, &RecurrentWeights, Option<[&Tensor; N]>, bool) -> (Tensor, [Tensor; N]),
    ) -> (Tensor, [Tensor; N]) {
        let o = &self.options;
        let single = x.rank() == 2;
        assert!(
            single || x.rank() == 3,
            "recurrent: an input of shape {}; it must be [t, b, inputs], [b, t, inputs] with batch_first, or [t, inputs]",
            x.shape()
        );
        let mut x = match (single, o.batch_first) {
            (true, _) => x.unsqueeze(1),
            (false, true) => x.transpose(0, 1),
            (false, false) => x.clone(),
        };
        x = pass.operand(&x);
        let states = states.map(|s| s.map(|s| pass.operand(&if single { s.unsqueeze(1) } else { s.clone() })));
        for state in states.iter().flatten() {
            assert!(
                state.rank() == 3 && state.shape()[0] == self.directions.len(),
                "recurrent: an initial state of shape {} for {} layers and directions; it must be [{1}, b, ..]",
                state.shape(),
                self.directions.len()
            );
        }
        let both = 1 + o.bidirectional as usize;
        let mut ends: [Vec<Tensor>; N] = [const { Vec::new() }; N];
        for (layer, directions) in self.directions.chunks(both).enumerate() {
            let mut outputs = Vec::new();
            for (d, direction) in directions.iter().enumerate() {
                let of_layer = |s: &Tensor| s.narrow(0, layer * both + d, 1).squeeze(0);
                let state = states.as_ref().map(|s| s.each_ref().map(of_layer));
                let state = state.as_ref().map(|s| s.each_ref());
                let (output, end) = run(&x, &direction.weights(pass), state, d == 1);
                outputs.push(output);
                ends.iter_mut().zip(end).for_each(|(all, end)| all.push(end));
            }
            x = if both == 1 { outputs.swap_remove(0) } else { Tensor::concat(&[&outputs[0], &outputs[1]], 2) };
            if layer + 1 < o.layers && o.dropout > 0.0 {
                x = Dropout::new(o.dropout).forward(&x, pass);
            }
        }
        let y = match (single, o.batch_first) {
            (true, _) => x.squeeze(1),
            (false, true) => x.transpose(0, 1),
            (false, false) => x,
        };
        let ends = ends.map(|all| {
            let end = match &all[..] {
                [only] => only.unsqueeze(0),
                _ => Tensor::stack(&all.iter().collect::<Vec<_>>(), 0),
            };
            if single { end.squeeze(1) } else { end }
        });
        (y, ends)
    }
}

impl Parameters for Stack {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        for (k, direction) in self.directions.iter().enumerate() {
            let suffix = self.suffix(k);
            visit(&format!("weight_ih_{suffix}"), &direction.weight_ih);
            visit(&format!("weight_hh_{suffix}"), &direction.weight_hh);
            if let Some([b_ih, b_hh]) = &direction.biases {
                visit(&format!("bias_ih_{suffix}"), b_ih);
                visit(&format!("bias_hh_{suffix}"), b_hh);
            }
            if let Some(weight_hr) = &direction.weight_hr {
                visit(&format!("weight_hr_{suffix}"), weight_hr);
            }
        }
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        let suffixes: Vec<String> = (0..self.directions.len()).map(|k| self.suffix(k)).collect();
        for (direction, suffix) in self.directions.iter_mut().zip(suffixes) {
            visit(&format!("weight_ih_{suffix}"), &mut direction.weight_ih);
            visit(&format!("weight_hh_{suffix}"), &mut direction.weight_hh);
            if let Some([b_ih, b_hh]) = &mut direction.biases {
                visit(&format!("bias_ih_{suffix}"), b_ih);
                visit(&format!("bias_hh_{suffix}"), b_hh);
            }
            if let Some(weight_hr) = &mut direction.weight_hr {
                visit(&format!("weight_hr_{suffix}"), weight_hr);
            }
        }
    }
    fn buffers<'a>(&'a self, _: &mut dyn FnMut(&str, &'a Buffer)) {}
}

/// A parameter visitor of a layer that is nothing but a stack.
macro_rules! stacked {
    ($layer:ident) => {
        impl Parameters for $layer {
            fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
                self.stack.params(visit);
            }
            fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
                self.stack.params_mut(visit);
            }
            fn buffers<'a>(&'a self, _: &mut dyn FnMut(&str, &'a Buffer)) {}
        }
    };
}

/// The plain recurrent layer of Elman: `h_t = f(x_t W_ih^T + b_ih + h_(t-1) W_hh^T + b_hh)`, f = tanh unless told
/// otherwise.
///
/// As a [`Module`] it starts from zeros and gives the state after each step, `[t, b, h]`, twice as wide where it reads
/// in both directions. An input `[t, inputs]` is a batch of one.
#[derive(Debug)]
pub struct Rnn {
    stack: Stack,
    relu: bool,
}

stacked!(Rnn);

impl Rnn {
    /// Layers of `hidden` units, drawn uniformly up to `1 / sqrt(hidden)`.
    ///
    /// # Errors
    /// [`Error::Argument`] for options that make no sense; a fault of the device.
    pub fn new(init: &mut Init, inputs: usize, hidden: usize, options: &RecurrentOptions) -> Result<Rnn> {
        Ok(Rnn { stack: Stack::new(init, 1, inputs, hidden, options)?, relu: false })
    }

    /// The same with f = relu.
    pub fn relu(mut self) -> Rnn {
        self.relu = true;
        self
    }

    /// Runs a sequence from a state `[layers, b, h]` (one per layer and direction), and gives the outputs and the last
    /// state.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, state: Option<&Tensor>, pass: &mut Pass) -> (Tensor, Tensor) {
        let (y, [h]) = self.stack.forward(x, state.map(|h| [h]), pass, |x, w, state, reverse| {
            let (y, h) = x.rnn(w, state.map(|[h]| h), self.relu, reverse);
            (y, [h])
        });
        (y, h)
    }
}

impl Module for Rnn {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        self.forward_from(x, None, pass).0
    }
}

/// The LSTM (Hochreiter and Schmidhuber 1997); see [`Rnn`] for shapes and [`Tensor::lstm`] for what it computes.
#[derive(Debug)]
pub struct Lstm {
    stack: Stack,
}

stacked!(Lstm);

impl Lstm {
    /// Layers of `hidden` units, drawn uniformly up to `1 / sqrt(hidden)`.
    ///
    /// # Errors
    /// [`Error::Argument`] for options that make no sense; a fault of the device.
    pub fn new(init: &mut Init, inputs: usize, hidden: usize, options: &RecurrentOptions) -> Result<Lstm> {
        Ok(Lstm { stack: Stack::new(init, 4, inputs, hidden, options)? })
    }

    /// Runs a sequence from states `[h, c]`, `[layers, b, h]` each (one per layer and direction), and gives the outputs
    /// and the last states.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, state: Option<[&Tensor; 2]>, pass: &mut Pass) -> (Tensor, [Tensor; 2]) {
        self.stack.forward(x, state, pass, |x, w, state, reverse| x.lstm(w, state, reverse))
    }
}

impl Module for Lstm {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        self.forward_from(x, None, pass).0
    }
}

/// The GRU (Cho et al. 2014), in the form of PyTorch; see [`Rnn`] for shapes and [`Tensor::gru`] for what it computes.
#[derive(Debug)]
pub struct Gru {
    stack: Stack,
}

stacked!(Gru);

impl Gru {
    /// Layers of `hidden` units, drawn uniformly up to `1 / sqrt(hidden)`.
    ///
    /// # Errors
    /// [`Error::Argument`] for options that make no sense; a fault of the device.
    pub fn new(init: &mut Init, inputs: usize, hidden: usize, options: &RecurrentOptions) -> Result<Gru> {
        Ok(Gru { stack: Stack::new(init, 3, inputs, hidden, options)? })
    }

    /// Runs a sequence from a state `[layers, b, h]` (one per layer and direction), and gives the outputs and the last
    /// state.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, state: Option<&Tensor>, pass: &mut Pass) -> (Tensor, Tensor) {
        let (y, [h]) = self.stack.forward(x, state.map(|h| [h]), pass, |x, w, state, reverse| {
            let (y, h) = x.gru(w, state.map(|[h]| h), reverse);
            (y, [h])
        });
        (y, h)
    }
}

impl Module for Gru {
    #[track_caller]
    fn forward(&self, x: &Tensor, pass: &mut Pass) -> Tensor {
        self.forward_from(x, None, pass).0
    }
}
