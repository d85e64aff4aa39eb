//! The network: characters as one-hot vectors or embedded, recurrent layers, and a linear layer that scores what may
//! come next.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::nn::{
    Buffer, Dropout, Embedding, Gru, Init, Linear, Lstm, Module, Param, Parameters, Pass, RecurrentOptions, Rnn,
};
use crate::tensor::{DType, Tensor};

/// Which recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// The plain one, with tanh.
    Rnn,
    /// [`Lstm`].
    #[default]
    Lstm,
    /// [`Gru`].
    Gru,
}

impl Kind {
    /// States that a layer carries from step to step.
    pub fn states(self) -> usize {
        1 + (self == Kind::Lstm) as usize
    }
}

impl FromStr for Kind {
    type Err = Error;
    fn from_str(name: &str) -> Result<Kind> {
        match name {
            "rnn" => Ok(Kind::Rnn),
            "lstm" => Ok(Kind::Lstm),
            "gru" => Ok(Kind::Gru),
            _ => Err(Error::argument(format!("unknown recurrent layer {name:?}"), "use rnn, lstm or gru")),
        }
    }
}

/// The form of a [`CharModel`].
#[derive(Debug, Clone, PartialEq)]
pub struct CharModelOptions {
    /// The recurrent layer.
    pub kind: Kind,
    /// Its hidden units.
    pub hidden: usize,
    /// How many are on top of each other.
    pub layers: usize,
    /// Extent that characters are embedded in; 0 for one-hot vectors.
    pub embedding: usize,
    /// Probability by which outputs of the recurrent layers are dropped, in training.
    pub dropout: f32,
}

impl Default for CharModelOptions {
    fn default() -> Self {
        CharModelOptions { kind: Kind::Lstm, hidden: 128, layers: 1, embedding: 0, dropout: 0.0 }
    }
}

/// The layers of one kind.
#[derive(Debug)]
enum Layers {
    Rnn(Rnn),
    Lstm(Lstm),
    Gru(Gru),
}

impl Parameters for Layers {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        match self {
            Layers::Rnn(l) => l.params(visit),
            Layers::Lstm(l) => l.params(visit),
            Layers::Gru(l) => l.params(visit),
        }
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        match self {
            Layers::Rnn(l) => l.params_mut(visit),
            Layers::Lstm(l) => l.params_mut(visit),
            Layers::Gru(l) => l.params_mut(visit),
        }
    }
    fn buffers<'a>(&'a self, _: &mut dyn FnMut(&str, &'a Buffer)) {}
}

/// A network that reads characters and scores the next.
#[derive(Debug)]
pub struct CharModel {
    embedding: Option<Embedding>,
    layers: Layers,
    dropout: Dropout,
    out: Linear,
    /// The number of each character, to compare with.
    each: Tensor,
    options: CharModelOptions,
}

crate::parameters!(CharModel { embedding, layers, out });

impl CharModel {
    /// A network for a vocabulary of so many characters, with PyTorch's initialisation.
    ///
    /// # Errors
    /// [`Error::Argument`] for options that make no sense; a fault of the device.
    pub fn new(init: &mut Init, characters: usize, options: &CharModelOptions) -> Result<CharModel> {
        let o = options.clone();
        let embedding = match o.embedding {
            0 => None,
            width => Some(Embedding::new(init, characters, width)?),
        };
        let width = if o.embedding == 0 { characters } else { o.embedding };
        let form = RecurrentOptions { layers: o.layers, dropout: o.dropout, ..Default::default() };
        let layers = match o.kind {
            Kind::Rnn => Layers::Rnn(Rnn::new(init, width, o.hidden, &form)?),
            Kind::Lstm => Layers::Lstm(Lstm::new(init, width, o.hidden, &form)?),
            Kind::Gru => Layers::Gru(Gru::new(init, width, o.hidden, &form)?),
        };
        let out = Linear::new(init, o.hidden, characters)?;
        let numbers: Vec<u32> = (0..characters as u32).collect();
        let each = Tensor::from_slice(init.device(), &numbers, characters)?;
        Ok(CharModel { embedding, layers, dropout: Dropout::new(o.dropout), out, each, options: o })
    }

    /// Its form.
    pub fn options(&self) -> &CharModelOptions {
        &self.options
    }

    /// The number of characters it knows.
    pub fn characters(&self) -> usize {
        self.each.elements()
    }

    /// The state before anything was read, for a batch of `rows`: zeros `[layers, rows, hidden]`, one or two of them.
    pub fn start(&self, rows: usize) -> Vec<Tensor> {
        let shape = [self.options.layers, rows, self.options.hidden];
        (0..self.options.kind.states()).map(|_| Tensor::zeros(self.out.weight.get().device(), shape)).collect()
    }

    /// Reads characters `[steps, rows]` from a state, and gives the scores of what comes next, `[steps * rows,
    /// characters]`, and the state after them.
    ///
    /// # Panics
    /// If the state is not one of this model for so many rows.
    #[track_caller]
    pub fn read(&self, characters: &Tensor, state: &[Tensor], pass: &mut Pass) -> (Tensor, Vec<Tensor>) {
        assert!(
            characters.rank() == 2 && state.len() == self.options.kind.states(),
            "read: characters of shape {} and {} states; they must be [steps, rows], and {} states",
            characters.shape(),
            state.len(),
            self.options.kind.states()
        );
        let x = match &self.embedding {
            Some(table) => table.forward(characters),
            None => characters.unsqueeze(2).equal(&self.each).cast(DType::F32),
        };
        let (y, state) = match &self.layers {
            Layers::Rnn(l) => {
                let (y, h) = l.forward_from(&x, Some(&state[0]), pass);
                (y, vec![h])
            }
            Layers::Gru(l) => {
                let (y, h) = l.forward_from(&x, Some(&state[0]), pass);
                (y, vec![h])
            }
            Layers::Lstm(l) => {
                let (y, state) = l.forward_from(&x, Some([&state[0], &state[1]]), pass);
                (y, state.into())
            }
        };
        let y = y.reshape([characters.elements(), self.options.hidden]);
        (self.out.forward(&self.dropout.forward(&y, pass), pass), state)
    }
}
