//! Random numbers by counter: the same seed gives the same bits on every device, in any order of evaluation.
//!
//! A generator that keeps its state on the device would make a run depend on how its launches are ordered. Here the
//! state is two numbers of the host, the seed and how many draws were made; both are inputs of the op, so that every
//! step of a training loop is the same plan, and a resumed run continues bit for bit.

use crate::Device;
use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::random::{self as reference, Stream};
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, DType, Input, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Shape, Tensor, Tolerance,
};

/// How random numbers are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Distribution {
    /// Random words; `u32`.
    Bits,
    /// Uniform in [0, 1), multiples of 2^-24.
    Uniform,
    /// Normal, mean 0 and variance 1, at most 6.67 in size.
    Normal,
}

/// Random numbers. Inputs: lower and upper word of the seed, and the number of the draw, three `u32` of rank 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Random {
    /// The shape of the result.
    pub shape: Shape,
    /// How the numbers are distributed.
    pub distribution: Distribution,
}

const SHADER: Shader = Shader::new(
    "random",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/epilogue.wgsl"),
        include_str!("../../shaders/random.wgsl")
    ),
);

crate::params! {
    struct RandomParams { n: u32 }
}

impl Op for Random {
    const NAME: &'static str = "random";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        if let Some(bad) = inputs.iter().find(|i| i.dtype != DType::U32 || i.shape.rank() != 0) {
            let problem = format!("a word of the seed or the counter is {} {}, not u32 []", bad.dtype, bad.shape);
            return Err(ShapeError::new("random", problem));
        }
        let dtype = if self.distribution == Distribution::Bits { DType::U32 } else { DType::F32 };
        Ok(vec![Meta::new(self.shape.clone(), dtype)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Source)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let n = op.shape.elements();
            let (lo, hi, counter, y) = (cx.input(0), cx.input(1), cx.input(2), cx.output(0));
            cx.launch(
                LoweredDispatch::new(&SHADER, "draw")
                    .constant("KIND", op.distribution as u32)
                    .read(lo)
                    .read(hi)
                    .read(counter)
                    .finish(y)
                    .params(&RandomParams { n: n as u32 })
                    .independent(16)
                    .flat(n.div_ceil(4), 64),
            );
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let word = |i: usize| inputs[i].uints()[0];
        let stream = Stream { key: [word(0), word(1)], draw: word(2) };
        vec![match self.distribution {
            Distribution::Bits => Array::uints(&*self.shape, reference::bits(stream, self.shape.elements())),
            Distribution::Uniform => reference::uniform(stream, &self.shape),
            Distribution::Normal => reference::normal(stream, &self.shape),
        }]
    }
    fn samples() -> Vec<Sample<Self>> {
        let mut all = Vec::new();
        for distribution in [Distribution::Bits, Distribution::Uniform, Distribution::Normal] {
            let cases: [(&[usize], u64, u32); 8] = [
                (&[4], 0, 0),
                (&[1], 1, 0),
                (&[0, 3], 2, 0),
                (&[], 3, u32::MAX),
                (&[7, 13], 0x0123_4567_89AB_CDEF, 1),
                (&[1021], u64::MAX, 77),
                (&[3, 11, 5], 1 << 32, 2),
                (&[70_001], 42, 3),
            ];
            for (shape, seed, counter) in cases {
                let input = |word: u32| Input::uints([], &[word]);
                let inputs = vec![input(seed as u32), input((seed >> 32) as u32), input(counter)];
                all.push(Sample::new(Random { shape: shape.into(), distribution }, inputs, Tolerance::Exact));
            }
        }
        all
    }
}

/// A seed and how many draws were made from it: the whole state of a program's randomness. Save both to resume.
///
/// Draws are independent of each other, however many numbers each of them makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rng {
    seed: u64,
    counter: u32,
}

impl Rng {
    /// A generator that has made no draw.
    pub fn new(seed: u64) -> Rng {
        Rng { seed, counter: 0 }
    }

    /// The seed. After 2^32 draws it is another one.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of the next draw.
    pub fn counter(&self) -> u32 {
        self.counter
    }

    /// Continues with draw `counter`.
    pub fn set_counter(&mut self, counter: u32) {
        self.counter = counter;
    }

    /// `n` random words, made on the host: one draw, the same words as the device would make.
    pub fn words(&mut self, n: usize) -> Vec<u32> {
        let (seed, draw) = self.draw();
        reference::bits(Stream { key: [seed as u32, (seed >> 32) as u32], draw }, n)
    }

    /// Seed and number of a draw, which is then used up.
    fn draw(&mut self) -> (u64, u32) {
        let draw = (self.seed, self.counter);
        self.counter = self.counter.wrapping_add(1);
        if self.counter == 0 {
            self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        }
        draw
    }

    #[track_caller]
    fn tensor(&mut self, device: &Device, shape: Shape, distribution: Distribution) -> Tensor {
        let (seed, counter) = self.draw();
        let words = [seed as u32, (seed >> 32) as u32, counter].map(|word| Tensor::scalar(device, word));
        Tensor::apply(Random { shape, distribution }, &[&words[0], &words[1], &words[2]])
    }
}

impl Tensor {
    /// Uniform numbers in [0, 1); one draw.
    #[track_caller]
    pub fn uniform(device: &Device, shape: impl Into<Shape>, rng: &mut Rng) -> Tensor {
        rng.tensor(device, shape.into(), Distribution::Uniform)
    }

    /// Normal numbers of mean 0 and variance 1; one draw.
    #[track_caller]
    pub fn normal(device: &Device, shape: impl Into<Shape>, rng: &mut Rng) -> Tensor {
        rng.tensor(device, shape.into(), Distribution::Normal)
    }

    /// Random words; one draw.
    #[track_caller]
    pub fn random_bits(device: &Device, shape: impl Into<Shape>, rng: &mut Rng) -> Tensor {
        rng.tensor(device, shape.into(), Distribution::Bits)
    }

    /// Truth values that hold with probability `p`; one draw. The probability may change from step to step.
    ///
    /// # Panics
    /// If `p` is not in 0..=1.
    #[track_caller]
    pub fn bernoulli(device: &Device, shape: impl Into<Shape>, p: f32, rng: &mut Rng) -> Tensor {
        assert_probability("bernoulli", p);
        Tensor::uniform(device, shape, rng).less(&Tensor::scalar(device, p))
    }

    /// Truth values of this shape, each of which holds with the probability that stands in its place; one draw.
    #[track_caller]
    pub fn bernoulli_like(&self, rng: &mut Rng) -> Tensor {
        Tensor::uniform(self.device(), self.shape(), rng).less(self)
    }

    /// Each element set to 0 with probability `p`, the others divided by `1 - p` so that the mean stays (Srivastava et
    /// al., 2014, in the inverted form). With `p = 0` it is the tensor itself, and nothing is drawn.
    ///
    /// # Panics
    /// If `p` is not in 0..=1.
    #[track_caller]
    pub fn dropout(&self, p: f32, rng: &mut Rng) -> Tensor {
        assert_probability("dropout", p);
        if p == 0.0 {
            return self.clone();
        }
        let device = self.device();
        let keep = Tensor::uniform(device, self.shape(), rng).greater_equal(&Tensor::scalar(device, p));
        let scale = if p == 1.0 { 0.0 } else { 1.0 / (1.0 - p) };
        Tensor::select(&keep, &(self * scale), &Tensor::scalar(device, 0f32))
    }
}

#[track_caller]
fn assert_probability(op: &str, p: f32) {
    assert!((0.0..=1.0).contains(&p), "{op}: the probability is {p}; it must be in 0..=1");
}
