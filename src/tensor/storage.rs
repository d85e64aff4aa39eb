//! Where the elements of an evaluated tensor are.

use std::sync::Arc;

use super::{DType, Element};
use crate::device::{Buffer, Device, Kind};
use crate::error::Result;
use crate::reference::{Data, Real, recycle};

/// Memory of a device. Shared: a slab holds the parameters of a whole model.
#[derive(Debug, Clone)]
pub enum Storage {
    /// A buffer of a GPU.
    Gpu(Arc<Buffer>),
    /// Host memory of the CPU path.
    Cpu(Arc<Data<f32>>),
    /// Host memory of the oracle.
    Reference(Arc<Data<f64>>),
}

/// A dense value: elements of a storage from `offset` on.
#[derive(Debug, Clone)]
pub struct Value {
    /// The memory.
    pub storage: Storage,
    /// First element.
    pub offset: usize,
}

impl Storage {
    /// Puts host values on a device.
    pub fn upload<E: Element>(device: &Device, values: &[E]) -> Result<Storage> {
        Ok(match device.kind() {
            Kind::Gpu(gpu) => {
                let bytes: &[u8] = bytemuck::cast_slice(values);
                let mut whole_words = std::borrow::Cow::Borrowed(bytes);
                if !bytes.len().is_multiple_of(4) {
                    whole_words.to_mut().resize(bytes.len().next_multiple_of(4), 0);
                }
                Storage::Gpu(gpu.upload(&whole_words, "a tensor")?)
            }
            Kind::Cpu(_) => Storage::Cpu(Arc::new(host(values))),
            Kind::Reference(_) => Storage::Reference(Arc::new(host(values))),
        })
    }

    /// Which memory it is: equal for two handles of one.
    pub fn id(&self) -> usize {
        match self {
            Storage::Gpu(b) => Arc::as_ptr(b) as usize,
            Storage::Cpu(d) => Arc::as_ptr(d) as usize,
            Storage::Reference(d) => Arc::as_ptr(d) as usize,
        }
    }

    /// Lets go of a handle; the memory of the last one of the CPU path is used again.
    pub(super) fn give_back(self) {
        if let Storage::Cpu(data) = self
            && let Some(data) = Arc::into_inner(data)
        {
            recycle::give_back_data(data);
        }
    }

    /// How many handles there are.
    pub fn holders(&self) -> usize {
        match self {
            Storage::Gpu(b) => Arc::strong_count(b),
            Storage::Cpu(d) => Arc::strong_count(d),
            Storage::Reference(d) => Arc::strong_count(d),
        }
    }
}

fn host<E: Element, T: Real>(values: &[E]) -> Data<T> {
    match E::DTYPE {
        DType::F32 => floats(bytemuck::cast_slice(values), |v: f32| T::of(v as f64)),
        DType::F16 => floats(bytemuck::cast_slice(values), |v: half::f16| T::of(v.to_f64())),
        DType::I32 => Data::Int(bytemuck::cast_slice(values).to_vec()),
        DType::U32 | DType::Bool => Data::Uint(bytemuck::cast_slice(values).to_vec()),
    }
}

fn floats<E: Copy, T: Real>(values: &[E], of: impl Fn(E) -> T) -> Data<T> {
    let mut array = T::stale(values.len());
    array.iter_mut().zip(values).for_each(|(to, &v)| *to = of(v));
    Data::Float(array)
}
