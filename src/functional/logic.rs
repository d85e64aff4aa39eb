//! Questions and their combination: comparisons with a number, logic on any type, closeness.

use crate::tensor::{DType, Element, Tensor};

/// A tensor and a number of the host in one type: that of the tensor, or of the number where it can hold more.
fn beside<E: Element>(x: &Tensor, value: E) -> (Tensor, Tensor) {
    let reach = |dtype| match dtype {
        DType::Bool => 0,
        DType::U32 => 1,
        DType::I32 => 2,
        DType::F32 | DType::F16 => 3,
    };
    let number = Tensor::scalar(x.device(), value);
    let dtype = if reach(x.dtype()) < reach(E::DTYPE) { E::DTYPE } else { x.dtype() };
    (x.cast(dtype), number.cast(dtype))
}

macro_rules! compare_with_a_number {
    ($($method:ident $tensors:ident $sign:literal),*) => {
        impl Tensor { $(
            #[doc = concat!("Whether `x ", $sign, " value`; a `bool` tensor. Of tensors: [`Tensor::", stringify!($tensors), "`].")]
            ///
            /// A tensor of whole numbers beside a float is taken as floats.
            #[track_caller]
            pub fn $method<E: Element>(&self, value: E) -> Tensor {
                let (x, value) = beside(self, value);
                x.$tensors(&value)
            }
        )* }
    };
}

compare_with_a_number!(eq equal "==", ne not_equal "!=", lt less "<", le less_equal "<=", gt greater ">", ge greater_equal ">=");

impl Tensor {
    /// Whether both are true; anything but 0 is, NaN too.
    #[track_caller]
    pub fn logical_and(&self, other: &Tensor) -> Tensor {
        self.cast(DType::Bool).bitwise_and(&other.cast(DType::Bool))
    }

    /// Whether at least one is true; anything but 0 is, NaN too.
    #[track_caller]
    pub fn logical_or(&self, other: &Tensor) -> Tensor {
        self.cast(DType::Bool).bitwise_or(&other.cast(DType::Bool))
    }

    /// Whether one is true and one is not; anything but 0 is, NaN too.
    #[track_caller]
    pub fn logical_xor(&self, other: &Tensor) -> Tensor {
        self.cast(DType::Bool).bitwise_xor(&other.cast(DType::Bool))
    }

    /// Whether it is 0 or false.
    #[track_caller]
    pub fn logical_not(&self) -> Tensor {
        self.cast(DType::Bool).bitwise_not()
    }

    /// Whether |a - b| <= atol + rtol |b|, or both are equal, or, with `equal_nan`, both are NaN. PyTorch's defaults
    /// are 1e-5, 1e-8 and false.
    #[track_caller]
    pub fn isclose(&self, other: &Tensor, rtol: f32, atol: f32, equal_nan: bool) -> Tensor {
        let (a, b) = (self.cast(DType::F32), other.cast(DType::F32));
        let distance = (&a - &b).abs();
        let near = distance.isfinite().bitwise_and(&distance.less_equal(&(b.abs() * rtol + atol)));
        let close = near.bitwise_or(&a.equal(&b));
        if equal_nan { close.bitwise_or(&a.isnan().bitwise_and(&b.isnan())) } else { close }
    }

    /// `value` where `mask` holds, else x.
    ///
    /// # Panics
    /// If the mask is not `bool`, or does not broadcast to this tensor.
    #[track_caller]
    pub fn masked_fill<E: Element>(&self, mask: &Tensor, value: E) -> Tensor {
        Tensor::select(mask, &Tensor::scalar(self.device(), value).cast(self.dtype()), self)
    }

    /// x with NaN and the two infinities replaced.
    #[track_caller]
    pub fn nan_to_num_with(&self, nan: f32, posinf: f32, neginf: f32) -> Tensor {
        let x = self.masked_fill(&self.isposinf(), posinf).masked_fill(&self.isneginf(), neginf);
        x.masked_fill(&self.isnan(), nan)
    }

    /// x with NaN as 0, and the infinities as the largest numbers there are.
    #[track_caller]
    pub fn nan_to_num(&self) -> Tensor {
        self.nan_to_num_with(0.0, f32::MAX, f32::MIN)
    }
}
