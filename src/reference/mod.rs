//! The CPU path: what every op computes, in the text you would teach from.
//!
//! One file per op, generic over `f32` (the CPU device) and `f64` (the oracle that checks the GPU and the gradients).
//! No GPU, no tensor, no trick shared with the shaders: a mistake must not be made twice. Work is split over threads
//! in chunks whose size does not depend on the number of threads, so the same input gives the same bits.

pub mod adaptive_max;
pub mod binary_entropy;
pub mod cast;
pub mod col2im;
pub mod compare;
pub mod concat;
pub mod conv2d;
pub mod cross_entropy;
pub mod dynamic_update_slice;
pub mod elementwise;
pub mod gather;
pub mod gru;
pub mod im2col;
pub mod iota;
pub mod loss_scale;
pub mod lstm;
pub mod matmul;
pub mod norm;
pub mod pack;
pub mod pad;
pub mod pool2d;
pub mod random;
mod real;
pub(crate) mod recycle;
pub mod reduce;
pub mod resample2d;
pub mod rnn;
pub mod scan;
pub mod scatter;
pub(crate) mod simd;
pub mod softmax;
pub mod sort;
mod tile;
pub mod update;
pub mod view;

pub use real::Real;

use std::borrow::Cow;

/// The elements of an array. Truth values are unsigned 0 or 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Data<T> {
    /// Floating point.
    Float(Vec<T>),
    /// Signed.
    Int(Vec<i32>),
    /// Unsigned, and truth values.
    Uint(Vec<u32>),
}

impl<T: Real> Data<T> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
            Data::Uint(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A row-major array: what an op produces.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<T> {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: Data<T>,
}

impl<T: Real> Array<T> {
    /// An array of floats.
    pub fn floats(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Self {
        Self::new(shape, Data::Float(data))
    }

    /// An array of unsigned numbers or truth values.
    pub fn uints(shape: impl Into<Vec<usize>>, data: Vec<u32>) -> Self {
        Self::new(shape, Data::Uint(data))
    }

    /// An array of signed numbers.
    pub fn ints(shape: impl Into<Vec<usize>>, data: Vec<i32>) -> Self {
        Self::new(shape, Data::Int(data))
    }

    /// An array of any type.
    pub fn new(shape: impl Into<Vec<usize>>, data: Data<T>) -> Self {
        let shape = shape.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len(), "the data does not fill {shape:?}");
        Array { shape, data }
    }

    /// The whole array as a view.
    pub fn view(&self) -> View<'_, T> {
        View { shape: &self.shape, strides: strides_of(&self.shape), offset: 0, data: &self.data }
    }
}

/// A strided look at somebody's elements: what an op reads. Element `i` is at `offset + sum(i[a] * strides[a])`.
#[derive(Debug, Clone)]
pub struct View<'a, T> {
    /// Extent of each axis.
    pub shape: &'a [usize],
    /// Elements to step per axis.
    pub strides: Vec<isize>,
    /// Position of element 0.
    pub offset: usize,
    /// The elements of the whole buffer.
    pub data: &'a Data<T>,
}

impl<'a, T: Real> View<'a, T> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether element `i` in row-major order lies at `offset + i`.
    pub fn is_contiguous(&self) -> bool {
        let dense = strides_of(self.shape);
        self.is_empty() || (0..self.shape.len()).all(|a| self.shape[a] == 1 || self.strides[a] == dense[a])
    }

    /// The elements in row-major order as floats; borrowed where they already lie so.
    pub fn floats(&self) -> Cow<'a, [T]> {
        match self.data {
            Data::Float(v) => self.dense(v),
            other => panic!("a float operand holds {}", kind(other)),
        }
    }

    /// The elements in row-major order as unsigned numbers.
    pub fn uints(&self) -> Cow<'a, [u32]> {
        match self.data {
            Data::Uint(v) => self.dense(v),
            other => panic!("an unsigned operand holds {}", kind(other)),
        }
    }

    /// The elements in row-major order as signed numbers.
    pub fn ints(&self) -> Cow<'a, [i32]> {
        match self.data {
            Data::Int(v) => self.dense(v),
            other => panic!("a signed operand holds {}", kind(other)),
        }
    }

    /// The whole buffer as floats, for a reader that walks `offset` and `strides` itself.
    pub fn float_buffer(&self) -> &'a [T] {
        match self.data {
            Data::Float(v) => v,
            other => panic!("a float operand holds {}", kind(other)),
        }
    }

    /// A row-major copy, of the same type.
    pub fn to_array(&self) -> Array<T> {
        let data = match self.data {
            Data::Float(v) => Data::Float(self.dense(v).into_owned()),
            Data::Int(v) => Data::Int(self.dense(v).into_owned()),
            Data::Uint(v) => Data::Uint(self.dense(v).into_owned()),
        };
        Array::new(self.shape, data)
    }

    fn dense<E: Copy>(&self, all: &'a [E]) -> Cow<'a, [E]> {
        if self.is_contiguous() {
            return Cow::Borrowed(if self.is_empty() { &[] } else { &all[self.offset..self.offset + self.len()] });
        }
        let mut out = Vec::with_capacity(self.len());
        for_each_run(self.shape, &self.strides, self.offset, |at, len, step| match step {
            1 => out.extend_from_slice(&all[at as usize..at as usize + len]),
            _ => out.extend((0..len as isize).map(|i| all[(at + i * step) as usize])),
        });
        Cow::Owned(out)
    }
}

fn kind<T>(data: &Data<T>) -> &'static str {
    match data {
        Data::Float(_) => "floats",
        Data::Int(_) => "signed numbers",
        Data::Uint(_) => "unsigned numbers",
    }
}

/// Row-major strides of a shape.
pub fn strides_of(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1) as isize;
    }
    strides
}

/// Calls `f` with the position of every element of a strided view, in row-major order.
pub fn for_each_position(shape: &[usize], strides: &[isize], offset: usize, mut f: impl FnMut(usize)) {
    for_each_run(shape, strides, offset, |at, len, step| (0..len as isize).for_each(|i| f((at + i * step) as usize)));
}

/// Calls `f` with the position of the first element of every run along the last axis, its length and its step.
fn for_each_run(shape: &[usize], strides: &[isize], offset: usize, mut f: impl FnMut(isize, usize, isize)) {
    if shape.contains(&0) {
        return;
    }
    let Some((&inner, outer)) = shape.split_last() else {
        return f(offset as isize, 1, 1);
    };
    let step = strides[outer.len()];
    let mut index = vec![0; outer.len()];
    let mut at = offset as isize;
    loop {
        f(at, inner, step);
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            at -= strides[axis] * outer[axis] as isize;
            index[axis] = 0;
        }
    }
}
