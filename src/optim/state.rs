//! What an optimizer remembers, for a checkpoint.

use crate::tensor::Tensor;

/// All that an optimizer needs to go on as if it had never stopped, but for its settings.
#[derive(Debug, Clone, Default)]
pub struct OptimizerState {
    /// Steps done.
    pub steps: u64,
    /// Moments and momentum of each trainable parameter; none before the first step. The tensors show the memory as it
    /// is now: a later step leaves them as they are.
    pub tensors: Vec<ParameterState>,
    /// Numbers that a schedule remembers beyond the count of steps: of [`ReduceOnPlateau`](super::ReduceOnPlateau).
    pub numbers: Vec<(String, f64)>,
}

/// One tensor that an optimizer remembers of one parameter.
#[derive(Debug, Clone)]
pub struct ParameterState {
    /// The parameter's name in the model: "conv1.weight".
    pub parameter: String,
    /// PyTorch's name of the state: "exp_avg", "momentum_buffer".
    pub name: String,
    /// Its value, in the shape of the parameter.
    pub value: Tensor,
}
