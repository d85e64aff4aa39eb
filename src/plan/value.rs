//! Values in and out of a device's memory.

use std::sync::Arc;

use crate::device::{Device, Gpu, Kind};
use crate::error::{Error, Result};
use crate::reference::{Data, Real};
use crate::tensor::{Caps, DType, Element, NodeState, Storage, Tensor, VARIANTS, Value};

/// What lowerings may assume of an adapter.
///
/// # Errors
/// If the wanted variant of a kernel has a name that there is not, or that the adapter cannot run.
pub fn caps_of(gpu: &Gpu) -> Result<Caps> {
    let caps = Caps {
        software: gpu.wants_software_variants(),
        subgroup: gpu.subgroup_size(),
        max_binding: gpu.limits().max_storage_buffer_binding_size,
        max_bindings: gpu.limits().max_storage_buffers_per_shader_stage,
        variant: None,
        native_half: gpu.has_native_half(),
        matrices: gpu.matrix_size(),
        workgroup_memory: gpu.limits().max_compute_workgroup_storage_size,
        merge: gpu.merged_invocations(),
    };
    let Some(wanted) = gpu.wanted_variant() else { return Ok(caps) };
    let serving = || VARIANTS.iter().filter(|(_, serves)| serves(&caps)).map(|&(name, _)| name);
    if let Some(variant) = serving().find(|&name| name == wanted) {
        return Ok(Caps { variant: Some(variant), ..caps });
    }
    let known = VARIANTS.iter().any(|&(name, _)| name == wanted);
    let fault = if known { "cannot be run on this adapter" } else { "is the name of no variant of a kernel" };
    let remedy = format!("use one of {}, or on or off (WGRAD_TUNE)", serving().collect::<Vec<_>>().join(", "));
    Err(Error::argument(format!("{wanted:?} {fault}"), remedy))
}

#[track_caller]
pub(super) fn check_type<E: Element>(tensor: &Tensor) {
    let fits = E::DTYPE == tensor.dtype() || (E::DTYPE == DType::U32 && tensor.dtype() == DType::Bool);
    assert!(fits, "the tensor holds {}, not {}; cast it first", tensor.dtype(), E::DTYPE);
}

fn scalar_bits(tensor: &Tensor) -> Option<u32> {
    match &*tensor.node.state() {
        NodeState::Scalar(bits) => Some(*bits),
        _ => None,
    }
}

fn value_of(tensor: &Tensor) -> Result<Value> {
    match &*tensor.node.state() {
        NodeState::Ready { values, .. } => Ok(values[tensor.output].clone()),
        NodeState::Given => panic!("the tensor made at {} was taken over by an optimizer's update", tensor.node.at),
        _ => Err(Error::Gpu("a tensor has no value after its evaluation".into())),
    }
}

/// The elements of host memory as such of type `E`; doubles are rounded to single.
fn from_host<E: Element, T: Real>(data: &Data<T>, offset: usize, len: usize) -> Vec<E> {
    let range = offset..offset + len;
    match data {
        Data::Float(v) if E::DTYPE == DType::F16 => {
            let halves: Vec<half::f16> = v[range].iter().map(|x| half::f16::from_f64(x.f64())).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
        Data::Float(v) => {
            let single: Vec<f32> = v[range].iter().map(|x| x.f64() as f32).collect();
            bytemuck::cast_slice(&single).to_vec()
        }
        Data::Int(v) => bytemuck::cast_slice(&v[range]).to_vec(),
        Data::Uint(v) => bytemuck::cast_slice(&v[range]).to_vec(),
    }
}

/// The words of a buffer that hold some of its elements: halves may begin and end within one.
struct Words {
    first: u64,
    bytes: u64,
    before: usize,
    wanted: usize,
}

impl Words {
    fn of(dtype: DType, offset: usize, len: usize) -> Words {
        let (start, wanted) = (offset * dtype.bytes(), len * dtype.bytes());
        let before = start % 4;
        let bytes = (before + wanted).next_multiple_of(4) as u64;
        Words { first: (start - before) as u64, bytes, before, wanted }
    }

    fn elements<E: Element>(&self, bytes: &[u8]) -> Vec<E> {
        bytemuck::pod_collect_to_vec(&bytes[self.before..][..self.wanted])
    }
}

pub(super) fn read<E: Element>(tensor: &Tensor) -> Result<Vec<E>> {
    if let Some(bits) = scalar_bits(tensor) {
        return Ok(bytemuck::cast_slice(&[bits]).to_vec());
    }
    let Value { storage, offset } = value_of(tensor)?;
    let len = tensor.elements();
    match (&storage, tensor.device().kind()) {
        (Storage::Gpu(buffer), Kind::Gpu(gpu)) => {
            let words = Words::of(tensor.dtype(), offset, len);
            Ok(words.elements(&gpu.read(buffer, words.first, words.bytes)?.wait()?))
        }
        (Storage::Cpu(data), _) => Ok(from_host(data, offset, len)),
        (Storage::Reference(data), _) => Ok(from_host(data, offset, len)),
        _ => unreachable!("a tensor's storage is of its device"),
    }
}

pub(super) fn read_async<E: Element>(tensor: &Tensor) -> Result<impl Future<Output = Result<Vec<E>>> + use<E>> {
    enum Pending<E> {
        Here(Vec<E>),
        Coming(crate::device::Readback, Words),
    }
    let len = tensor.elements();
    let pending = if let Some(bits) = scalar_bits(tensor) {
        Pending::Here(bytemuck::cast_slice(&[bits]).to_vec())
    } else {
        let Value { storage, offset } = value_of(tensor)?;
        match (&storage, tensor.device().kind()) {
            (Storage::Gpu(buffer), Kind::Gpu(gpu)) => {
                let words = Words::of(tensor.dtype(), offset, len);
                Pending::Coming(gpu.read(buffer, words.first, words.bytes)?, words)
            }
            (Storage::Cpu(data), _) => Pending::Here(from_host(data, offset, len)),
            (Storage::Reference(data), _) => Pending::Here(from_host(data, offset, len)),
            _ => unreachable!("a tensor's storage is of its device"),
        }
    };
    Ok(async move {
        match pending {
            Pending::Here(values) => Ok(values),
            Pending::Coming(readback, words) => Ok(words.elements(&readback.bytes().await?)),
        }
    })
}

pub(super) fn scalar_storage(tensor: &Tensor) -> Result<Storage> {
    let bits = scalar_bits(tensor).expect("the caller saw a scalar");
    match tensor.dtype() {
        DType::F32 => Storage::upload(tensor.device(), &[f32::from_bits(bits)]),
        DType::F16 => unreachable!("a number of the host is a word"),
        DType::I32 => Storage::upload(tensor.device(), &[bits as i32]),
        _ => Storage::upload(tensor.device(), &[bits]),
    }
}

pub(super) fn to_device(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    if tensor.device().same(device) {
        return Ok(tensor.clone());
    }
    let shape = tensor.shape().clone();
    match tensor.dtype() {
        DType::F32 => Tensor::from_slice(device, &tensor.to_vec::<f32>()?, shape),
        DType::F16 => Tensor::from_slice(device, &tensor.to_vec::<half::f16>()?, shape),
        DType::I32 => Tensor::from_slice(device, &tensor.to_vec::<i32>()?, shape),
        DType::U32 => Tensor::from_slice(device, &tensor.to_vec::<u32>()?, shape),
        DType::Bool => {
            let storage = Storage::upload(device, &tensor.to_vec::<u32>()?)?;
            Ok(Tensor::leaf(device, tensor.meta().clone(), Value { storage, offset: 0 }, false))
        }
    }
}

impl Tensor {
    /// Float values in double precision: what the reference device computed, or the single-precision values widened.
    ///
    /// # Errors
    /// A fault of the device.
    #[track_caller]
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        if self.dtype() == DType::F16 {
            return Ok(self.to_vec::<half::f16>()?.into_iter().map(f64::from).collect());
        }
        check_type::<f32>(self);
        super::eval(&[self])?;
        if scalar_bits(self).is_none()
            && let Value { storage: Storage::Reference(data), offset } = value_of(self)?
            && let Data::Float(v) = &*data
        {
            return Ok(v[offset..offset + self.elements()].to_vec());
        }
        Ok(self.to_vec::<f32>()?.into_iter().map(f64::from).collect())
    }

    /// A tensor of doubles on the reference device, which keeps them; other devices round to single.
    ///
    /// # Errors
    /// A fault of the device.
    #[track_caller]
    pub fn from_f64_slice(device: &Device, values: &[f64], shape: impl Into<crate::Shape>) -> Result<Tensor> {
        if !matches!(device.kind(), Kind::Reference(_)) {
            let single: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            return Tensor::from_slice(device, &single, shape);
        }
        let shape = shape.into();
        assert!(
            shape.elements() == values.len(),
            "from_f64_slice: {} values do not fill shape {shape}, which holds {}",
            values.len(),
            shape.elements()
        );
        let storage = Storage::Reference(Arc::new(Data::Float(values.to_vec())));
        Ok(Tensor::leaf(device, crate::tensor::Meta::new(shape, DType::F32), Value { storage, offset: 0 }, false))
    }
}
