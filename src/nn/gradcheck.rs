//! Whether the gradients of a model's parameters are right.

use super::{Param, Parameters};
use crate::autodiff::{self, Gradcheck};
use crate::device::Device;
use crate::error::Result;
use crate::tensor::Tensor;

/// Compares the gradients of what `f` computes with the model, with respect to its trainable parameters, with slopes in
/// double precision, as [`autodiff::gradcheck`] does for plain tensors. `inputs` are moved to where `f` is to run. The
/// model is as it was afterwards. Every element is moved four times: check small models.
///
/// # Errors
/// [`crate::Error::Check`] names the parameter and the element that deviates most. Faults of the device.
///
/// ```
/// use wgrad::nn::{Init, Linear, Module, Pass, gradcheck};
/// use wgrad::{Device, Tensor};
///
/// let device = Device::cpu();
/// let mut layer = Linear::new(&mut Init::new(&device, 1), 3, 2)?;
/// let x = Tensor::from_slice(&device, &[0.3f32, -1.2, 2.0], [1, 3])?;
/// gradcheck(&mut layer, &[&x], |layer, x| layer.forward(&x[0], &mut Pass::eval()).tanh())?;
/// # Ok::<(), wgrad::Error>(())
/// ```
pub fn gradcheck<M: Parameters>(
    model: &mut M,
    inputs: &[&Tensor],
    f: impl Fn(&M, &[Tensor]) -> Tensor,
) -> Result<Gradcheck> {
    let trainable = |model: &M| -> Vec<(String, Tensor)> {
        let all = model.named_parameters().into_iter().filter(|(_, p)| !p.is_frozen());
        all.map(|(name, p)| (name, p.get().clone())).collect()
    };
    let kept: Vec<Tensor> = model.named_parameters().into_iter().map(|(_, p)| p.get().clone()).collect();
    let (names, params): (Vec<String>, Vec<Tensor>) = trainable(model).into_iter().unzip();
    let params: Vec<&Tensor> = params.iter().collect();
    let here: Vec<Tensor> = inputs.iter().map(|&x| x.clone()).collect();
    let gradients = {
        let y = f(model, &here);
        let found = autodiff::try_vjp(&[&y], &[&autodiff::weights_of(&y)?], &params);
        params.iter().zip(found).map(|(x, dx)| autodiff::gradient(x, dx)).collect::<Result<Vec<_>>>()
    };
    let reference = Device::reference();
    let there: Vec<Tensor> = inputs.iter().map(|x| x.to_device(&reference)).collect::<Result<_>>()?;
    set_all(model, |_, p| p.to_device(&reference)?.into_leaf(p.is_tracked()))?;
    let shared = std::cell::RefCell::new(&mut *model);
    let moved = |args: &[Tensor]| {
        let mut model = shared.borrow_mut();
        let mut next = args.iter();
        model.params_mut(&mut |_, p| {
            if !p.is_frozen() {
                // A leaf of its own: what is computed from it need not be remembered.
                let value = next.next().expect("one for each trainable parameter").clone();
                p.replace(value.into_leaf(true).expect("host memory"));
            }
        });
        f(&**model, &there)
    };
    let result = autodiff::compare(&reference, &names, &params, || gradients, &moved);
    let mut kept = kept.into_iter();
    set_all(model, |_, _| Ok(kept.next().expect("as many as before")))?;
    result
}

fn set_all<M: Parameters>(model: &mut M, mut value: impl FnMut(&str, &Tensor) -> Result<Tensor>) -> Result<()> {
    let mut result = Ok(());
    model.params_mut(&mut |name, p: &mut Param| match value(name, p.get()) {
        Ok(value) => _ = p.replace(value),
        Err(fault) => result = Err(fault),
    });
    result
}
