//! Element types. Offsets are counted in elements everywhere; only where memory is asked for and bound does it matter
//! how wide they are ([`DType::bytes`]).
//!
//! Half precision is a form of storage: whoever reads a half widens it, and all arithmetic is in single precision. The
//! CPU path and the reference keep halves as wider floats whose values are halves.

use std::fmt;

/// The element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision (`f64` on the reference device, which is the oracle of the others).
    F32,
    /// IEEE half precision: 11 digits, numbers up to 65504, rounded to nearest, ties to even. On a GPU two of them
    /// share a word.
    F16,
    /// Two's complement, wraps on overflow.
    I32,
    /// Unsigned, wraps on overflow. Labels and indices are of this type.
    U32,
    /// Truth values, stored as a `u32` that is 0 or 1 (WGSL cannot store `bool`).
    Bool,
}

impl DType {
    /// The name of the WGSL type that an expression of it has; truth values are words where they are stored.
    pub fn wgsl(self) -> &'static str {
        match self {
            DType::F32 | DType::F16 => "f32",
            DType::I32 => "i32",
            DType::U32 | DType::Bool => "u32",
        }
    }

    /// Bytes that an element takes on a GPU.
    pub fn bytes(self) -> usize {
        if self == DType::F16 { 2 } else { 4 }
    }

    /// Whether it has fractions, and so may have gradients.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::Bool => "bool",
        })
    }
}

/// A Rust type whose values can be put into and read out of a tensor.
pub trait Element: bytemuck::Pod + fmt::Debug + PartialEq {
    /// The tensor type it fills. A `u32` also reads a [`DType::Bool`] tensor, as 0 and 1.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}
impl Element for i32 {
    const DTYPE: DType = DType::I32;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
