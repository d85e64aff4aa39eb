//! A table of vectors, one for each entry of a vocabulary.

use super::{Init, Param};
use crate::error::Result;
use crate::tensor::Tensor;

/// Row `i` of a table `[entries, width]` for each index `i`: `torch.nn.Embedding`.
///
/// It takes whole numbers, so it is no [`Module`](super::Module) of floats; the rest of a model is put behind it.
#[derive(Debug)]
pub struct Embedding {
    /// `[entries, width]`
    pub weight: Param,
    padding: Option<u32>,
}

crate::parameters!(Embedding { weight });

impl Embedding {
    /// A table with PyTorch's first values: normal, of variance 1.
    ///
    /// # Errors
    /// A fault of the device, such as out of memory.
    pub fn new(init: &mut Init, entries: usize, width: usize) -> Result<Embedding> {
        Ok(Embedding { weight: init.normal([entries, width], 1.0, f64::INFINITY)?, padding: None })
    }

    /// The same table with an entry that stands for nothing: its row is set to 0, and gets no gradient.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If there is no such entry.
    #[track_caller]
    pub fn padding(mut self, entry: u32) -> Result<Embedding> {
        let shape = self.weight.get().shape().clone();
        assert!((entry as usize) < shape[0], "padding: there is no entry {entry} of {}", shape[0]);
        let mut values = self.weight.get().to_vec::<f32>()?;
        values[entry as usize * shape[1]..][..shape[1]].fill(0.0);
        self.weight.set(Tensor::from_slice(self.weight.get().device(), &values, shape)?)?;
        Ok(Embedding { padding: Some(entry), ..self })
    }

    /// The rows of these indices, `u32` or `i32` of any shape: `[.., width]`. An index that names no entry gives NaN.
    #[track_caller]
    pub fn forward(&self, index: &Tensor) -> Tensor {
        self.weight.get().embedding(index, self.padding)
    }
}
