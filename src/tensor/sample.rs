//! Samples: small inputs that call an op, written once and read by the kernel test, the gradient check and the bench.

use super::{DType, Layout, Meta, Shape};
use crate::reference::cast::half;

/// One call of an op.
#[derive(Debug, Clone)]
pub struct Sample<O> {
    /// The op with its attributes.
    pub op: O,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// How far the GPU may be from the f64 reference.
    pub tolerance: Tolerance,
    /// Whether the gradient check may use it: false at kinks and ties, where the slope does not exist.
    pub smooth: bool,
}

/// How far a GPU result may be from the f64 reference, and why that far. `u` is 2^-24.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// The same bits: copies, selections, integers.
    Exact,
    /// Relative to the element, plus the smallest normal number.
    Relative(f64),
    /// Relative to the largest element of the output.
    OfLargest(f64),
    /// A sum of `n` products of these inputs: `8u(|a||b| + sqrt(n)|ref|)`, with `|a||b|` bounded by the largest row
    /// norms.
    Dot(usize),
}

/// One input of a sample: its values by rule, so that a sample costs nothing until it is used.
#[derive(Debug, Clone)]
pub struct Input {
    /// Shape and type.
    pub meta: Meta,
    /// The values, row-major; integers and truth values as whole numbers.
    pub values: Vec<f64>,
    /// Present the input as this view of a larger buffer (a transposed or sliced operand), not as a contiguous one.
    pub as_view: bool,
}

impl Input {
    /// Uniform in `[low, high)`, by a fixed hash of `seed` and position, rounded to f32.
    pub fn uniform(shape: impl Into<Shape>, low: f64, high: f64, seed: u64) -> Self {
        let shape = shape.into();
        let values = (0..shape.elements() as u64)
            .map(|i| {
                let bits = splitmix64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ splitmix64(i)) >> 40;
                ((low + (high - low) * bits as f64 / (1u64 << 24) as f64) as f32) as f64
            })
            .collect();
        Input { meta: Meta::new(shape, DType::F32), values, as_view: false }
    }

    /// These values.
    pub fn floats(shape: impl Into<Shape>, values: &[f32]) -> Self {
        let values = values.iter().map(|&v| v as f64).collect();
        Input { meta: Meta::new(shape, DType::F32), values, as_view: false }.checked()
    }

    /// These `u32` values.
    pub fn uints(shape: impl Into<Shape>, values: &[u32]) -> Self {
        let values = values.iter().map(|&v| v as f64).collect();
        Input { meta: Meta::new(shape, DType::U32), values, as_view: false }.checked()
    }

    /// Whole numbers in `[0, n)` by a fixed hash.
    pub fn below(shape: impl Into<Shape>, n: u32, seed: u64) -> Self {
        let mut input = Self::uniform(shape, 0.0, n as f64, seed);
        input.values.iter_mut().for_each(|v| *v = v.floor().min((n - 1) as f64));
        input.meta.dtype = DType::U32;
        input
    }

    /// The same numbers under another type; as halves, rounded to such.
    pub fn of(mut self, dtype: DType) -> Self {
        self.meta.dtype = dtype;
        if dtype == DType::F16 {
            self.values.iter_mut().for_each(|v| *v = half(*v));
        }
        self
    }

    /// Present it as a view with its last two axes stored the other way round, inside a larger buffer.
    pub fn viewed(mut self) -> Self {
        self.as_view = true;
        self
    }

    /// Distinct values no closer than 1/n to each other, shuffled: for max, argmax and pooling, away from ties.
    pub fn distinct(shape: impl Into<Shape>, seed: u64) -> Self {
        let mut input = Self::uniform(shape, 0.0, 1.0, seed);
        let n = input.values.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| input.values[a].total_cmp(&input.values[b]).then(a.cmp(&b)));
        for (rank, &i) in order.iter().enumerate() {
            input.values[i] = ((2.0 * rank as f64 + 1.0) / n as f64 - 1.0) as f32 as f64;
        }
        input
    }

    /// The layout of the stored buffer and its length, when `as_view` is set: the last two axes swapped, five elements
    /// in.
    pub fn view_layout(&self) -> (Layout, usize) {
        let rank = self.meta.shape.rank();
        let mut axes: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            axes.swap(rank - 2, rank - 1);
        }
        let stored: Shape = axes.iter().map(|&a| self.meta.shape[a]).collect::<Vec<_>>().into();
        (Layout::contiguous(stored, 5).permute(&axes), self.values.len() + 12)
    }

    fn checked(self) -> Self {
        assert_eq!(self.meta.shape.elements(), self.values.len(), "a sample's values do not fill {}", self.meta.shape);
        self
    }
}

impl<O> Sample<O> {
    /// A call with the given tolerance, usable by the gradient check.
    pub fn new(op: O, inputs: Vec<Input>, tolerance: Tolerance) -> Self {
        Sample { op, inputs, tolerance, smooth: true }
    }

    /// A call at a kink, a tie or an extreme, where the numerical slope says nothing.
    pub fn rough(mut self) -> Self {
        self.smooth = false;
        self
    }

    /// The same call of another op.
    pub fn map<P>(self, f: impl FnOnce(O) -> P) -> Sample<P> {
        Sample { op: f(self.op), inputs: self.inputs, tolerance: self.tolerance, smooth: self.smooth }
    }
}

fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
