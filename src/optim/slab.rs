//! Parameters, gradients and state of an optimizer, each in one buffer, in one order.

use std::sync::{Arc, Weak};

use super::loss_scale::Scaler;
use super::state::ParameterState;
use crate::autodiff;
use crate::error::{Error, Result};
use crate::nn::{Param, Parameters, Recorded};
use crate::ops::loss_scale::LossScale;
use crate::ops::pack::Pack;
use crate::ops::update::{BLOCK, HYPER, Update};
use crate::ops::view::{Reshape, Slice};
use crate::plan::replay::note_given;
use crate::plan::{eval, eval_donating};
use crate::tensor::{DType, Meta, Node, NodeState, Shape, Storage, Tensor, Value};

/// The parameters of a model in one buffer, and what an optimizer remembers of each.
#[derive(Debug)]
pub(super) struct Slab {
    /// All parameters, one after the other at aligned places.
    whole: Tensor,
    /// Moments or momentum, of the same form.
    states: Vec<Tensor>,
    /// The group of each block of elements.
    groups: Tensor,
    /// Gradients of micro-batches that wait for a step.
    waiting: Option<Tensor>,
    update: Update,
    pack: Pack,
    /// Names and shapes of the parameters.
    members: Vec<(String, Shape)>,
    /// The parameters of a step that is recorded, as the model has them.
    handed: Vec<Weak<Node>>,
}

/// What a slab is made by.
pub(super) struct Plan<'a> {
    /// The rule that does the work of all groups.
    pub update: Update,
    /// The group of a parameter, by its name.
    pub group_of: &'a dyn Fn(&str) -> usize,
    /// What a state starts at in a group.
    pub initial: &'a dyn Fn(usize, &'static str) -> f64,
}

/// What happens to the gradients before the step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clip {
    /// The largest absolute value.
    pub value: Option<f64>,
    /// The largest norm, and which norm.
    pub norm: Option<(f64, f64)>,
}

/// What a step is made by.
pub(super) struct Step<'a> {
    pub clip: Clip,
    /// -1 to go up.
    pub sign: f32,
    /// A row of numbers for each group; with a scaler so many times over, for each count of skipped steps.
    pub hyper: &'a [f64],
    pub groups: usize,
    /// What scaled the gradients, if something did.
    pub scaler: Option<&'a mut Scaler>,
}

/// What a step makes, recorded.
struct Made {
    /// The parameters, then the states.
    updated: Vec<Tensor>,
    /// The norm of the gradients, if they are clipped by it.
    norm: Option<Tensor>,
    /// The next state of what scales the loss.
    next: Option<Tensor>,
}

/// The trainable parameters of a model.
pub(super) fn trainable(model: &dyn Parameters) -> Result<Vec<(String, &Param)>> {
    let named: Vec<(String, &Param)> = model.named_parameters().into_iter().filter(|(_, p)| !p.is_frozen()).collect();
    if named.is_empty() {
        return Err(Error::argument("the model has no trainable parameter", "unfreeze one, or do not train it"));
    }
    if let Some((name, param)) = named.iter().find(|(_, p)| p.get().dtype() != DType::F32) {
        let problem = format!("the parameter {name:?} is {}; small steps would be lost in it", param.get().dtype());
        return Err(Error::argument(problem, "keep parameters in f32 and compute in f16: Pass::mixed"));
    }
    Ok(named)
}

/// The gradient of the loss, times a scale, for each of these parameters.
#[track_caller]
pub(super) fn gradients(loss: &Tensor, named: &[(String, &Param)], scale: Option<Tensor>) -> Result<Vec<Tensor>> {
    assert!(loss.elements() == 1, "step: the loss has shape {}, it must be one number; take its mean", loss.shape());
    let params: Vec<&Tensor> = named.iter().map(|(_, p)| p.get()).collect();
    let seed = match scale {
        Some(scale) => scale.reshape(loss.shape()),
        None => Tensor::ones(loss.device(), loss.shape()),
    };
    let found = autodiff::try_vjp(&[loss], &[&seed], &params);
    let missing = |name: &str| {
        Error::argument(
            format!("the parameter {name:?} has no part in the loss, or the loss was released by an earlier step"),
            "freeze the parameter, or record the loss anew for each step",
        )
    };
    named.iter().zip(found).map(|((name, _), gradient)| gradient.ok_or_else(|| missing(name))).collect()
}

/// The norm of order `p` of all elements, and what they must be multiplied by so that it is at most `largest`.
pub(super) fn norm_and_scale(gradients: &Tensor, largest: f64, p: f64) -> (Tensor, Tensor) {
    let norm = match p {
        1.0 => gradients.abs().sum_all(),
        2.0 => gradients.square().sum_all().sqrt(),
        f64::INFINITY => gradients.abs().max(&(0..gradients.rank() as isize).collect::<Vec<_>>()),
        p => {
            let device = gradients.device();
            let power = |x: f64| Tensor::scalar(device, x as f32);
            gradients.abs().pow(&power(p)).sum_all().pow(&power(1.0 / p))
        }
    };
    let one = Tensor::scalar(gradients.device(), 1f32);
    let scale = (largest as f32 / &(&norm + 1e-6)).minimum(&one);
    (norm, scale)
}

impl Slab {
    /// The slab of these parameters: the one there is, or a new one that goes on with what the old one remembers of
    /// parameters of the same name and shape.
    pub fn of(slab: &mut Option<Slab>, named: &[(String, &Param)], plan: &Plan) -> Result<()> {
        if !slab.as_ref().is_some_and(|mine| mine.holds(named)) {
            let remembered = slab.as_ref().map_or(Ok(Vec::new()), Slab::remembered)?;
            let mut new = Slab::gather(named, plan, &remembered)?;
            new.waiting = slab.take().filter(|old| old.pack == new.pack).and_then(|old| old.waiting);
            *slab = Some(new);
        }
        Ok(())
    }

    /// Moves parameters into one buffer.
    pub fn gather(named: &[(String, &Param)], plan: &Plan, remembered: &[ParameterState]) -> Result<Slab> {
        let params: Vec<&Tensor> = named.iter().map(|(_, p)| p.get()).collect();
        let pack = Pack::of_sizes(params.iter().map(|p| p.elements()));
        let device = params[0].device();
        let mut states = Vec::new();
        for state in plan.update.states() {
            let mut parts = Vec::new();
            let mut fresh = 0;
            for (name, param) in named {
                let shape = param.get().shape();
                let known = remembered
                    .iter()
                    .find(|r| r.parameter == *name && r.name == *state && r.value.shape() == shape)
                    .map(|r| r.value.clone());
                let initial = (plan.initial)((plan.group_of)(name), state);
                fresh += (known.is_none() && initial == 0.0) as usize;
                parts.push(known.unwrap_or_else(|| Tensor::full(device, shape, initial as f32)));
            }
            let whole = match fresh == parts.len() {
                true => Tensor::zeros(device, pack.len),
                false => Tensor::apply(pack.clone(), &parts.iter().collect::<Vec<_>>()),
            };
            states.push(whole.into_leaf(false)?);
        }
        let mut groups = vec![0u32; pack.len / BLOCK];
        for (k, (name, _)) in named.iter().enumerate() {
            let end = pack.offsets.get(k + 1).copied().unwrap_or(pack.len);
            groups[pack.offsets[k] / BLOCK..end / BLOCK].fill((plan.group_of)(name) as u32);
        }
        let groups = Tensor::from_slice(device, &groups, groups.len())?;
        let members = named.iter().map(|(name, p)| (name.clone(), p.get().shape().clone())).collect();

        let whole = Tensor::apply(pack.clone(), &params).into_leaf(false)?;
        let Value { storage, .. } = whole.materialized()?;
        for (param, &offset) in params.iter().zip(&pack.offsets) {
            if let Value { storage: Storage::Gpu(buffer), offset: 0 } = param.materialized()? {
                buffer.retire();
            }
            param.rebase(storage.clone(), offset);
        }
        Ok(Slab { whole, states, groups, waiting: None, update: plan.update, pack, members, handed: Vec::new() })
    }

    /// Adds gradients to those that wait for a step.
    pub fn accumulate(&mut self, model: &dyn Parameters, gradients: Vec<Tensor>, loss: &Tensor) -> Result<()> {
        let sum = self.packed(gradients);
        let recorded = Recorded::take(model);
        let mut roots = vec![&sum, loss];
        roots.extend(&recorded.values);
        eval(&roots)?;
        loss.release_history();
        self.waiting = Some(sum.into_leaf(false)?);
        Ok(())
    }

    /// Records what a step makes.
    fn made(&self, gradients: Vec<Tensor>, step: &mut Step) -> Result<Made> {
        let Step { clip, sign, hyper, groups, scaler } = step;
        let (clip, sign, groups) = (*clip, *sign, *groups);
        let device = self.whole.device().clone();
        let loss_scale = scaler.as_mut().map(|scaler| scaler.scale(&device)).transpose()?;
        let mut whole = self.packed(gradients);
        // Clipped gradients are finite, so they are looked at before.
        let mut found = loss_scale.as_ref().map(|_| whole.sum_all());
        if let Some(value) = clip.value {
            whole = match &loss_scale {
                Some(scale) => whole.minimum(&(scale * value as f32)).maximum(&(scale * -value as f32)),
                None => whole.clamp(-value as f32, value as f32),
            };
        }
        let mut scale = Tensor::scalar(&device, sign);
        let mut norm = None;
        if let Some((largest, p)) = clip.norm {
            let unscaled = match &loss_scale {
                Some(scale) => &whole / scale,
                None => whole.clone(),
            };
            let (length, share) = norm_and_scale(&unscaled, largest, p);
            if clip.value.is_none() {
                found = found.map(|_| length.clone());
            }
            scale = &share * &scale;
            norm = Some(length);
        }
        drop(loss_scale);
        let mut next = None;
        if let (Some(scaler), Some(found)) = (scaler, found) {
            let settings = Tensor::from_f64_slice(&device, &scaler.settings(groups), 6)?;
            note_given(&settings);
            let inputs = [scaler.state(&device)?, &found.reshape([1]), &scale.reshape([1]), &settings];
            let mut decided = Tensor::apply_all(LossScale, &inputs);
            scale = decided.swap_remove(1);
            next = decided.pop();
        }
        let hyper = Tensor::from_f64_slice(&device, hyper, [hyper.len() / HYPER, HYPER])?;
        note_given(&hyper);
        let mut inputs = vec![&self.whole];
        inputs.extend(&self.states);
        inputs.extend([&whole, &scale, &hyper, &self.groups]);
        Ok(Made { updated: Tensor::apply_all(self.update, &inputs), norm, next })
    }

    /// Runs one step, and computes `figures` with it, the loss among them. Gives the norm of the gradients if they are
    /// clipped by it.
    pub fn step(
        &mut self,
        model: &mut dyn Parameters,
        gradients: Vec<Tensor>,
        figures: &[&Tensor],
        mut step: Step,
    ) -> Result<Option<Tensor>> {
        let Made { updated, norm, next } = self.made(gradients, &mut step)?;
        let (device, mut scaler) = (self.whole.device().clone(), step.scaler);
        let recorded = Recorded::take(model);
        let named = trainable(model)?;
        let mut donors: Vec<&Tensor> = named.iter().map(|(_, p)| p.get()).collect();
        donors.push(&self.whole);
        donors.extend(&self.states);
        donors.extend(&recorded.before);
        if let Some(scaler) = &mut scaler {
            donors.push(scaler.state(&device)?);
        }
        // What reads parameters as they were comes before what overwrites them.
        let mut roots: Vec<&Tensor> = figures.to_vec();
        roots.extend(&updated);
        roots.extend(&recorded.values);
        roots.extend(&norm);
        roots.extend(&next);
        eval_donating(&roots, &donors)?;
        figures.iter().for_each(|figure| figure.release_history());
        self.waiting = None;

        if let (Some(scaler), Some(next)) = (scaler, next) {
            scaler.replace(Tensor::leaf(&device, next.meta().clone(), next.materialized()?, false));
        }
        let mut leaves = Vec::with_capacity(updated.len());
        for tensor in updated {
            let value = tensor.materialized()?;
            leaves.push(Tensor::leaf(tensor.device(), tensor.meta().clone(), value, false));
        }
        self.states = leaves.split_off(1);
        self.whole = leaves.swap_remove(0);
        let Value { storage, .. } = self.whole.materialized()?;
        let mut offsets = self.pack.offsets.iter();
        model.params_mut(&mut |_, param| {
            if param.is_frozen() {
                return;
            }
            if let Some(&offset) = offsets.next() {
                let value = Value { storage: storage.clone(), offset };
                let meta = param.get().meta().clone();
                param.replace(Tensor::leaf(&device, meta, value, true));
            }
        });
        Ok(norm)
    }

    /// Records one step: parameters and state are from here on what it makes, not computed yet. `before` takes the
    /// values that may be overwritten, with the last handles on them.
    pub fn record(
        &mut self,
        model: &mut dyn Parameters,
        gradients: Vec<Tensor>,
        mut step: Step,
        before: &mut Vec<Tensor>,
    ) -> Result<Option<Tensor>> {
        let Made { mut updated, norm, next } = self.made(gradients, &mut step)?;
        self.waiting = None;
        let states = updated.split_off(1);
        let mut old = std::mem::replace(&mut self.states, states);
        old.push(std::mem::replace(&mut self.whole, updated.swap_remove(0)));
        if let (Some(scaler), Some(next)) = (step.scaler, next) {
            // A node of its own: the other output of the op that makes it is nobody's.
            old.extend(scaler.replace(Tensor::apply(Reshape { shape: next.shape().clone() }, &[&next])));
        }
        let mut offsets = self.pack.offsets.iter();
        self.handed.clear();
        model.params_mut(&mut |_, param| {
            if param.is_frozen() {
                return;
            }
            if let Some(&offset) = offsets.next() {
                let (shape, elements) = (param.get().shape().clone(), param.get().elements());
                let part = Slice { starts: vec![offset], extents: vec![elements], steps: vec![1] };
                let part = Tensor::apply(Reshape { shape }, &[&Tensor::apply(part, &[&self.whole])]).into_tracked();
                self.handed.push(Arc::downgrade(&part.node));
                old.push(param.replace(part));
            }
        });
        // What an earlier step of the same program made is not in memory.
        before.extend(old.into_iter().filter(|tensor| place(tensor).is_some()));
        Ok(norm)
    }

    /// What is remembered of each parameter, where it lies.
    pub fn remembered(&self) -> Result<Vec<ParameterState>> {
        let mut all = Vec::new();
        for ((parameter, shape), &offset) in self.members.iter().zip(&self.pack.offsets) {
            for (whole, name) in self.states.iter().zip(self.update.states()) {
                let value = Value { storage: whole.materialized()?.storage, offset };
                let value = Tensor::leaf(whole.device(), Meta::new(shape, DType::F32), value, false);
                all.push(ParameterState { parameter: parameter.clone(), name: (*name).to_string(), value });
            }
        }
        Ok(all)
    }

    /// Handles on what a step overwrites besides the parameters.
    pub fn overwritten(&self) -> impl Iterator<Item = Tensor> {
        std::iter::once(&self.whole).chain(&self.states).cloned()
    }

    /// Whether gradients wait for a step.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.is_some()
    }

    /// Gradients, and those that wait, in one buffer. It takes them, so that only the graph holds them from here on.
    fn packed(&self, gradients: Vec<Tensor>) -> Tensor {
        let new = Tensor::apply(self.pack.clone(), &gradients.iter().collect::<Vec<_>>());
        match &self.waiting {
            Some(waiting) => waiting + &new,
            None => new,
        }
    }

    /// Whether these are the parameters in this slab, in this order.
    fn holds(&self, named: &[(String, &Param)]) -> bool {
        let lies = |(param, place_of): (&Param, usize)| match place(&self.whole) {
            Some((storage, _)) => place(param.get()) == Some((storage, self.pack.offsets[place_of])),
            // Recorded by a step before in the same program.
            None => std::ptr::eq(self.handed[place_of].as_ptr(), Arc::as_ptr(&param.get().node)),
        };
        named.len() == self.pack.offsets.len() && named.iter().enumerate().all(|(k, (_, param))| lies((param, k)))
    }
}

/// Storage and first element of an evaluated tensor.
fn place(tensor: &Tensor) -> Option<(usize, usize)> {
    match &*tensor.node.state() {
        NodeState::Ready { values, .. } => Some((values[tensor.output].storage.id(), values[tensor.output].offset)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::nn::{Init, Linear, Module, Pass};
    use crate::optim::{Adam, Optimizer};
    use crate::reference::Data;

    /// Where the elements under a tensor of the CPU path lie.
    fn address(tensor: &Tensor) -> *const f32 {
        match tensor.materialized().unwrap().storage {
            Storage::Cpu(data) => match &*data {
                Data::Float(elements) => elements.as_ptr(),
                _ => panic!("a parameter holds floats"),
            },
            _ => panic!("a tensor of the CPU path"),
        }
    }

    #[test]
    fn a_step_on_the_cpu_path_writes_over_memory_that_nobody_holds() {
        let device = Device::cpu();
        let mut model = Linear::new(&mut Init::new(&device, 1), 70, 30).unwrap();
        let mut adam = Adam::new(0.1);
        let mut step = |model: &mut Linear| {
            let x = Tensor::ones(&device, [2, 70]);
            let loss = model.forward(&x, &mut Pass::eval()).square().mean_all();
            adam.step(model, &loss).unwrap();
            let moment = adam.state().unwrap().tensors.swap_remove(0).value;
            [address(model.weight.get()), address(&moment)]
        };
        let first = step(&mut model);
        assert_eq!(step(&mut model), first);
        let held = model.weight.get().clone();
        let values: Vec<f32> = held.to_vec().unwrap();
        assert_ne!(step(&mut model)[0], first[0]);
        assert!(held.to_vec::<f32>().unwrap() == values && model.weight.get().to_vec::<f32>().unwrap() != values);
    }
}
