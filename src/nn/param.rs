//! One trainable tensor, and the walk over all of a model.
//!
//! The walk is by visitor, so that a struct of layers costs nothing to walk and needs no table of its own; names are
//! put together on the way down, and are those of PyTorch.

use super::Buffer;
use crate::error::Result;
use crate::tensor::{Shape, Tensor};

/// A trainable tensor: a leaf that gradients are taken for.
#[derive(Debug)]
pub struct Param(Tensor);

impl Param {
    /// A parameter that starts at this value, which is computed now.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn new(value: Tensor) -> Result<Param> {
        value.into_leaf(true).map(Param)
    }

    /// The value.
    pub fn get(&self) -> &Tensor {
        &self.0
    }

    /// Takes over a value of the same shape and type, which is computed now if it has not been.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If shape or type differ.
    #[track_caller]
    pub fn set(&mut self, value: Tensor) -> Result<()> {
        assert!(
            value.meta() == self.0.meta(),
            "set: a parameter of {} {} cannot take {} {}",
            self.0.dtype(),
            self.0.shape(),
            value.dtype(),
            value.shape()
        );
        self.0 = value.into_leaf(self.0.is_tracked())?;
        Ok(())
    }

    /// Takes over what an optimizer made of its value, or records to make of it; gives what it was.
    pub(crate) fn replace(&mut self, made: Tensor) -> Tensor {
        std::mem::replace(&mut self.0, made)
    }

    /// Whether it is kept as it is: no gradient is computed for it, and no optimizer touches it.
    pub fn is_frozen(&self) -> bool {
        !self.0.is_tracked()
    }

    /// Freezes it, or makes it trainable again.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn freeze(&mut self, frozen: bool) -> Result<()> {
        self.0 = self.0.clone().into_leaf(!frozen)?;
        Ok(())
    }
}

/// What holds parameters and buffers: a layer, a model, a list or an option of them. Made by
/// [`parameters!`](crate::parameters).
///
/// A checkpoint is both walks: it saves what [`named_parameters`](Parameters::named_parameters) and
/// [`named_buffers`](Parameters::named_buffers) list, and restores it by [`Param::set`] in
/// [`params_mut`](Parameters::params_mut) and by [`Buffer::set`] in [`buffers`](Parameters::buffers).
pub trait Parameters: Send + Sync {
    /// Calls `visit` with the name and value of each parameter, always in the same order.
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param));

    /// The same, to change them.
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param));

    /// Calls `visit` with the name and value of each [`Buffer`]: state that is not trained. Buffers change by
    /// [`Buffer::set`], so there is no second walk to change them.
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer));

    /// All parameters by name.
    fn named_parameters(&self) -> Vec<(String, &Param)> {
        let mut all = Vec::new();
        self.params(&mut |name, param| all.push((name.to_string(), param)));
        all
    }

    /// All buffers by name.
    fn named_buffers(&self) -> Vec<(String, &Buffer)> {
        let mut all = Vec::new();
        self.buffers(&mut |name, buffer| all.push((name.to_string(), buffer)));
        all
    }

    /// The number of trainable and frozen numbers; buffers do not count, as in PyTorch.
    fn count_parameters(&self) -> usize {
        let mut count = 0;
        self.params(&mut |_, param| count += param.get().elements());
        count
    }

    /// Names and shapes of parameters and buffers, as a checkpoint lists them.
    fn state(&self) -> Vec<(String, Shape)> {
        let mut all = Vec::new();
        self.params(&mut |name, param| all.push((name.to_string(), param.get().shape().clone())));
        self.buffers(&mut |name, buffer| all.push((name.to_string(), buffer.get().shape().clone())));
        all
    }
}

/// What `call` computes with other values in place of a model's parameters, in their order:
/// `torch.func.functional_call`. They need not be computed yet. The model has its own again afterwards.
///
/// ```
/// # use wgrad::nn::{Init, Linear, Module, Pass, functional_call};
/// # use wgrad::{Device, Tensor};
/// # let device = Device::cpu();
/// let mut layer = Linear::new(&mut Init::new(&device, 0), 2, 1)?;
/// let weights = [Tensor::ones(&device, [1, 2]), Tensor::full(&device, [1], 0.5f32)];
/// let x = Tensor::from_slice(&device, &[3f32, 4.0], [1, 2])?;
/// let y = functional_call(&mut layer, &weights, |layer| layer.forward(&x, &mut Pass::eval()));
/// assert_eq!(y.item()?, 7.5);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Panics
/// If there are more or fewer values than parameters, or shape or type of one differ.
#[track_caller]
pub fn functional_call<M: Parameters + ?Sized, R>(model: &mut M, values: &[Tensor], call: impl FnOnce(&M) -> R) -> R {
    let own: Vec<Tensor> = model.named_parameters().into_iter().map(|(_, param)| param.get().clone()).collect();
    assert!(own.len() == values.len(), "functional_call: {} values for {} parameters", values.len(), own.len());
    for (own, value) in own.iter().zip(values) {
        assert!(
            own.meta() == value.meta(),
            "functional_call: {} {} for a parameter of {} {}",
            value.dtype(),
            value.shape(),
            own.dtype(),
            own.shape()
        );
    }
    exchange(model, values.to_vec());
    let result = call(model);
    exchange(model, own);
    result
}

fn exchange<M: Parameters + ?Sized>(model: &mut M, values: Vec<Tensor>) {
    let mut values = values.into_iter();
    model.params_mut(&mut |_, param| values.by_ref().take(1).for_each(|value| _ = param.replace(value)));
}

/// Implements [`Parameters`](crate::nn::Parameters) for a struct by the list of those of its fields that hold some.
#[macro_export]
macro_rules! parameters {
    ($model:ident { $($field:ident),* $(,)? }) => {
        impl $crate::nn::Parameters for $model {
            #[allow(unused_variables, reason = "a layer may have no parameters")]
            fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a $crate::nn::Param)) {
                $($crate::nn::Parameters::params(&self.$field, &mut |name, param| {
                    visit(&$crate::nn::Param::join(stringify!($field), name), param)
                });)*
            }
            #[allow(unused_variables, reason = "a layer may have no parameters")]
            fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut $crate::nn::Param)) {
                $($crate::nn::Parameters::params_mut(&mut self.$field, &mut |name, param| {
                    visit(&$crate::nn::Param::join(stringify!($field), name), param)
                });)*
            }
            #[allow(unused_variables, reason = "a layer may have no buffers")]
            fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a $crate::nn::Buffer)) {
                $($crate::nn::Parameters::buffers(&self.$field, &mut |name, buffer| {
                    visit(&$crate::nn::Param::join(stringify!($field), name), buffer)
                });)*
            }
        }
    };
}

impl Param {
    /// The name of what `field` calls `name`; a parameter itself has none.
    #[doc(hidden)]
    pub fn join(field: &str, name: &str) -> String {
        if name.is_empty() { field.to_string() } else { format!("{field}.{name}") }
    }
}

impl Parameters for Param {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        visit("", self);
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        visit("", self);
    }
    fn buffers<'a>(&'a self, _: &mut dyn FnMut(&str, &'a Buffer)) {}
}

impl<P: Parameters> Parameters for Option<P> {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        self.iter().for_each(|p| p.params(visit));
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        self.iter_mut().for_each(|p| p.params_mut(visit));
    }
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
        self.iter().for_each(|p| p.buffers(visit));
    }
}

impl<P: Parameters + ?Sized> Parameters for Box<P> {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        (**self).params(visit);
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        (**self).params_mut(visit);
    }
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
        (**self).buffers(visit);
    }
}

/// Named by position: "0.weight", "1.weight".
impl<P: Parameters> Parameters for Vec<P> {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        for (i, p) in self.iter().enumerate() {
            p.params(&mut |name, param| visit(&Param::join(&i.to_string(), name), param));
        }
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        for (i, p) in self.iter_mut().enumerate() {
            p.params_mut(&mut |name, param| visit(&Param::join(&i.to_string(), name), param));
        }
    }
    fn buffers<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Buffer)) {
        for (i, p) in self.iter().enumerate() {
            p.buffers(&mut |name, buffer| visit(&Param::join(&i.to_string(), name), buffer));
        }
    }
}
