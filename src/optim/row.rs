//! What a step is given by the host: a batch, or the indices of one.

use crate::device::Device;
use crate::error::Result;
use crate::tensor::{Element, Shape, Tensor};

/// Numbers of the host and the shape they fill, row-major: a tensor that is not on a device yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Host<E> {
    values: Vec<E>,
    shape: Shape,
}

impl<E: Element> Host<E> {
    /// Numbers that fill a shape.
    ///
    /// # Panics
    /// If they do not.
    #[track_caller]
    pub fn new(values: Vec<E>, shape: impl Into<Shape>) -> Host<E> {
        let shape = shape.into();
        assert!(
            shape.elements() == values.len(),
            "Host: {} values do not fill shape {shape}, which holds {}",
            values.len(),
            shape.elements()
        );
        Host { values, shape }
    }
}

/// A vector has one axis.
impl<E: Element> From<Vec<E>> for Host<E> {
    fn from(values: Vec<E>) -> Host<E> {
        let shape = [values.len()].into();
        Host { values, shape }
    }
}

/// What a step is given: numbers of the host, several of them as a tuple, or nothing. An ordinary step uploads them; of
/// steps that are replayed all are sent together.
pub trait Row {
    /// The same on a device.
    type Tensors;

    /// Uploads the numbers.
    ///
    /// # Errors
    /// A fault of the device.
    fn upload(&self, device: &Device) -> Result<Self::Tensors>;

    /// Calls `visit` with each tensor.
    fn tensors(on: &Self::Tensors, visit: &mut dyn FnMut(&Tensor));

    /// Calls `visit` with the bytes of each, in the same order.
    fn bytes(&self, visit: &mut dyn FnMut(&[u8]));
}

impl Row for () {
    type Tensors = ();

    fn upload(&self, _: &Device) -> Result<()> {
        Ok(())
    }
    fn tensors(_: &(), _: &mut dyn FnMut(&Tensor)) {}
    fn bytes(&self, _: &mut dyn FnMut(&[u8])) {}
}

impl<E: Element> Row for Host<E> {
    type Tensors = Tensor;

    fn upload(&self, device: &Device) -> Result<Tensor> {
        Tensor::from_slice(device, &self.values, &self.shape)
    }
    fn tensors(on: &Tensor, visit: &mut dyn FnMut(&Tensor)) {
        visit(on);
    }
    fn bytes(&self, visit: &mut dyn FnMut(&[u8])) {
        visit(bytemuck::cast_slice(&self.values));
    }
}

macro_rules! tuple {
    ($($name:ident $at:tt)*) => {
        impl<$($name: Row),*> Row for ($($name,)*) {
            type Tensors = ($($name::Tensors,)*);

            fn upload(&self, device: &Device) -> Result<Self::Tensors> {
                Ok(($(self.$at.upload(device)?,)*))
            }
            fn tensors(on: &Self::Tensors, visit: &mut dyn FnMut(&Tensor)) {
                $($name::tensors(&on.$at, visit);)*
            }
            fn bytes(&self, visit: &mut dyn FnMut(&[u8])) {
                $(self.$at.bytes(visit);)*
            }
        }
    };
}
tuple!(A 0 B 1);
tuple!(A 0 B 1 C 2);
tuple!(A 0 B 1 C 2 D 3);
tuple!(A 0 B 1 C 2 D 3 E 4);
