//! Element types. All of them are four bytes wide on every device, so offsets are counted in elements everywhere.

use std::fmt;

/// The element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single precision (`f64` on the reference device, which is the oracle of the others).
    F32,
    /// Two's complement, wraps on overflow.
    I32,
    /// Unsigned, wraps on overflow. Labels and indices are of this type.
    U32,
    /// Truth values, stored as a `u32` that is 0 or 1 (WGSL cannot store `bool`).
    Bool,
}

impl DType {
    /// The name of the WGSL type that stores it.
    pub fn wgsl(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::I32 => "i32",
            DType::U32 | DType::Bool => "u32",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
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
impl Element for i32 {
    const DTYPE: DType = DType::I32;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
