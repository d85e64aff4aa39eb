//! Parameters, gradients and state of an optimizer, each in one buffer, in one order.

use crate::autodiff;
use crate::error::{Error, Result};
use crate::nn::{Param, Parameters};
use crate::ops::pack::Pack;
use crate::plan::eval_donating;
use crate::tensor::{NodeState, Op, Storage, Tensor, Value};

/// The parameters of a model in one buffer, and what an optimizer remembers of each.
#[derive(Debug)]
pub(super) struct Slab {
    /// All parameters, one after the other at aligned places.
    whole: Tensor,
    /// Moments or momentum, of the same form.
    states: Vec<Tensor>,
    pack: Pack,
}

impl Slab {
    /// Runs one step: `op` takes the slab, the states, the gradients and `hyper`, and gives slab and states.
    #[track_caller]
    pub fn step<O: Op>(
        slab: &mut Option<Slab>,
        states: usize,
        model: &mut dyn Parameters,
        loss: &Tensor,
        op: O,
        hyper: &[f32],
    ) -> Result<()> {
        let named: Vec<(String, &Param)> =
            model.named_parameters().into_iter().filter(|(_, p)| !p.is_frozen()).collect();
        if named.is_empty() {
            return Err(Error::argument("the model has no trainable parameter", "unfreeze one, or do not train it"));
        }
        let params: Vec<&Tensor> = named.iter().map(|(_, p)| p.get()).collect();
        let mine = match slab.take() {
            Some(mine) if mine.holds(&params) => slab.insert(mine),
            old => slab.insert(Slab::gather(&params, states, old)?),
        };
        let gradients = mine.gradients(loss, &named, &params)?;
        let hyper = Tensor::from_slice(loss.device(), hyper, hyper.len())?;
        let mut inputs = vec![&mine.whole];
        inputs.extend(&mine.states);
        inputs.extend([&gradients, &hyper]);
        let updated = Tensor::apply_all(op, &inputs);
        // From here on only the graph holds these.
        drop((gradients, hyper));
        let mut roots: Vec<&Tensor> = updated.iter().collect();
        roots.push(loss);
        let mut donors = params;
        donors.push(&mine.whole);
        donors.extend(&mine.states);
        eval_donating(&roots, &donors)?;
        loss.release_history();

        let mut leaves = Vec::with_capacity(updated.len());
        for tensor in updated {
            let value = tensor.materialized()?;
            leaves.push(Tensor::leaf(tensor.device(), tensor.meta().clone(), value, false));
        }
        mine.states = leaves.split_off(1);
        mine.whole = leaves.swap_remove(0);
        let Value { storage, .. } = mine.whole.materialized()?;
        let mut offsets = mine.pack.offsets.iter();
        model.params_mut(&mut |_, param| {
            if param.is_frozen() {
                return;
            }
            if let Some(&offset) = offsets.next() {
                let value = Value { storage: storage.clone(), offset };
                let meta = param.get().meta().clone();
                param.replace(Tensor::leaf(loss.device(), meta, value, true));
            }
        });
        Ok(())
    }

    /// Moves parameters into one buffer. The state of an earlier slab goes on if it has the same form.
    fn gather(params: &[&Tensor], states: usize, old: Option<Slab>) -> Result<Slab> {
        let pack = Pack::of_sizes(params.iter().map(|p| p.elements()));
        let device = params[0].device();
        let packed = Tensor::apply(pack.clone(), params);
        let whole = packed.into_leaf(false)?;
        let Value { storage, .. } = whole.materialized()?;
        for (param, &offset) in params.iter().zip(&pack.offsets) {
            if let Value { storage: Storage::Gpu(buffer), offset: 0 } = param.materialized()? {
                buffer.retire();
            }
            param.rebase(storage.clone(), offset);
        }
        let states = match old {
            Some(old) if old.pack == pack => old.states,
            _ => (0..states).map(|_| Tensor::zeros(device, pack.len).into_leaf(false)).collect::<Result<_>>()?,
        };
        Ok(Slab { whole, states, pack })
    }

    /// Whether these are the parameters in this slab, in this order.
    fn holds(&self, params: &[&Tensor]) -> bool {
        let Some((storage, _)) = place(&self.whole) else { return false };
        params.len() == self.pack.offsets.len()
            && params.iter().zip(&self.pack.offsets).all(|(p, &offset)| place(p) == Some((storage, offset)))
    }

    fn gradients(&self, loss: &Tensor, named: &[(String, &Param)], params: &[&Tensor]) -> Result<Tensor> {
        assert!(
            loss.elements() == 1,
            "step: the loss has shape {}, it must be one number; take its mean",
            loss.shape()
        );
        let found = autodiff::try_vjp(&[loss], &[&Tensor::ones(loss.device(), loss.shape())], params);
        let mut gradients = Vec::with_capacity(found.len());
        for ((name, _), gradient) in named.iter().zip(found) {
            gradients.push(gradient.ok_or_else(|| {
                Error::argument(
                    format!(
                        "the parameter {name:?} has no part in the loss, or the loss was released by an earlier step"
                    ),
                    "freeze the parameter, or record the loss anew for each step",
                )
            })?);
        }
        Ok(Tensor::apply(self.pack.clone(), &gradients.iter().collect::<Vec<_>>()))
    }
}

/// Storage and first element of an evaluated tensor.
fn place(tensor: &Tensor) -> Option<(usize, usize)> {
    match &*tensor.node.state() {
        NodeState::Ready { values, .. } => Some((values[tensor.output].storage.id(), values[tensor.output].offset)),
        _ => None,
    }
}
