//! The fully connected layer.

use super::weighted::weighted;
use super::{Init, Param, Pass};
use crate::error::Result;
use crate::tensor::Tensor;

/// `y = x W^T + b` over the last axis, `[.., inputs]` to `[.., outputs]`.
#[derive(Debug)]
pub struct Linear {
    /// `[outputs, inputs]`
    pub weight: Param,
    /// `[outputs]`
    pub bias: Option<Param>,
}

crate::parameters!(Linear { weight, bias });

impl Linear {
    /// A layer with PyTorch's default initialisation.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn new(init: &mut Init, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = init.weight([outputs, inputs])?;
        let bias = init.bias(outputs, inputs)?;
        Ok(Linear { weight, bias: Some(bias) })
    }

    /// The same layer without its bias.
    pub fn without_bias(mut self) -> Linear {
        self.bias = None;
        self
    }
}

weighted!(Linear, 0);

impl Linear {
    #[track_caller]
    fn apply(&self, weight: &Tensor, x: &Tensor, pass: &mut Pass) -> Tensor {
        let (x, weight) = (&pass.operand(x), pass.operand(weight));
        let (outputs, inputs) = (weight.shape()[0], weight.shape()[1]);
        assert!(
            x.shape().last() == Some(&inputs),
            "linear: the input is {}, the weight {}: the input's last axis must be {inputs} (flatten pictures first)",
            x.shape(),
            weight.shape(),
        );
        // One product of two matrices, whatever stands before the last axis.
        let rows = x.shape()[..x.rank() - 1].iter().product();
        let y = x.reshape([rows, inputs]).matmul(&weight.transpose(0, 1));
        let y = match pass.param(&self.bias) {
            Some(bias) => &y + &bias,
            None => y,
        };
        let mut shape = x.shape().to_vec();
        shape[x.rank() - 1] = outputs;
        y.reshape(shape)
    }
}
