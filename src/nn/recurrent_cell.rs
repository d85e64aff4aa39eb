//! Single steps of recurrent layers, for models that decide on their next input as they go.

use super::{Init, Param};
use crate::error::Result;
use crate::functional::RecurrentWeights;
use crate::tensor::Tensor;

/// Parameters of a cell, by PyTorch's names.
macro_rules! cell {
    ($(#[$doc:meta])* $cell:ident, $gates:literal { $($field:ident: $ty:ty = $value:expr),* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $cell {
            /// `[g h, inputs]`
            pub weight_ih: Param,
            /// `[g h, h]`
            pub weight_hh: Param,
            /// `[g h]`
            pub bias_ih: Option<Param>,
            /// `[g h]`
            pub bias_hh: Option<Param>,
            $($field: $ty,)*
        }

        crate::parameters!($cell { weight_ih, weight_hh, bias_ih, bias_hh });

        impl $cell {
            /// A cell of `hidden` units, drawn uniformly up to `1 / sqrt(hidden)`.
            ///
            /// # Errors
            /// A fault of the device, such as out of memory.
            pub fn new(init: &mut Init, inputs: usize, hidden: usize) -> Result<$cell> {
                let bound = if hidden == 0 { 0.0 } else { (1.0 / (hidden as f64).sqrt()) as f32 };
                let wide = $gates * hidden;
                Ok($cell {
                    weight_ih: init.uniform([wide, inputs], bound)?,
                    weight_hh: init.uniform([wide, hidden], bound)?,
                    bias_ih: Some(init.uniform(wide, bound)?),
                    bias_hh: Some(init.uniform(wide, bound)?),
                    $($field: $value,)*
                })
            }

            /// The same cell without its biases.
            pub fn without_bias(mut self) -> $cell {
                (self.bias_ih, self.bias_hh) = (None, None);
                self
            }

            fn weights(&self) -> RecurrentWeights {
                let value = |p: &Option<Param>| p.as_ref().map(|p| p.get().clone());
                RecurrentWeights {
                    b_ih: value(&self.bias_ih),
                    b_hh: value(&self.bias_hh),
                    ..RecurrentWeights::new(self.weight_ih.get(), self.weight_hh.get())
                }
            }

            /// A state of zeros for an input `[b, inputs]` or `[inputs]`.
            fn start(&self, x: &Tensor) -> Tensor {
                let mut shape = x.shape().to_vec();
                if let Some(width) = shape.last_mut() {
                    *width = self.weight_hh.get().shape()[1];
                }
                Tensor::zeros(x.device(), shape)
            }
        }
    };
}

cell!(
    /// One step of [`Rnn`](super::Rnn).
    RnnCell, 1 { relu: bool = false }
);
cell!(
    /// One step of [`Lstm`](super::Lstm).
    LstmCell, 4 {}
);
cell!(
    /// One step of [`Gru`](super::Gru).
    GruCell, 3 {}
);

/// An input or a state `[n]` as a batch of one.
fn batched(x: &Tensor) -> Tensor {
    if x.rank() == 1 { x.unsqueeze(0) } else { x.clone() }
}

/// A result in the rank of the input.
fn like(x: &Tensor, y: Tensor) -> Tensor {
    if x.rank() == 1 { y.squeeze(0) } else { y }
}

impl RnnCell {
    /// The same cell with relu instead of tanh.
    pub fn relu(mut self) -> RnnCell {
        self.relu = true;
        self
    }

    /// The next state `[b, h]`, of an input `[b, inputs]` and the state before (zeros if `None`). An input `[inputs]`
    /// is a batch of one.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn step(&self, x: &Tensor, state: Option<&Tensor>) -> Tensor {
        let h = state.cloned().unwrap_or_else(|| self.start(x));
        like(x, batched(x).rnn_cell(&self.weights(), &batched(&h), self.relu))
    }
}

impl LstmCell {
    /// The next `[h, c]`, `[b, h]` each, of an input `[b, inputs]` and those before (zeros if `None`). An input
    /// `[inputs]` is a batch of one.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn step(&self, x: &Tensor, state: Option<[&Tensor; 2]>) -> [Tensor; 2] {
        let [h, c] = state.map_or_else(|| [self.start(x), self.start(x)], |s| s.map(Tensor::clone));
        batched(x).lstm_cell(&self.weights(), [&batched(&h), &batched(&c)]).map(|y| like(x, y))
    }
}

impl GruCell {
    /// The next state `[b, h]`, of an input `[b, inputs]` and the state before (zeros if `None`). An input `[inputs]`
    /// is a batch of one.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn step(&self, x: &Tensor, state: Option<&Tensor>) -> Tensor {
        let h = state.cloned().unwrap_or_else(|| self.start(x));
        like(x, batched(x).gru_cell(&self.weights(), &batched(&h)))
    }
}
