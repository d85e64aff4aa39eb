//! A tensor set into a larger one that is filled with one value.

use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::reference::pad as reference;
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Backward, DType, Input, Layout, LoweredDispatch, Lowering, Meta, Op, Sample, Shape, Tensor, Tolerance, Vjp,
};

/// Elements of one value before and after each axis. Inputs: the tensor, and the value, of rank 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pad {
    /// How many before, per axis.
    pub before: Vec<usize>,
    /// How many behind, per axis.
    pub after: Vec<usize>,
}

const SHADER: Shader =
    Shader::new("pad", concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/pad.wgsl")));

/// Axes that the kernel walks, after those that are not padded were merged into the ones before.
const MOST_AXES: usize = 6;

crate::params! {
    struct PadParams {
        n: u32, offset: u32,
        extent1: u32, extent2: u32, extent3: u32, extent4: u32, extent5: u32,
        before0: u32, before1: u32, before2: u32, before3: u32, before4: u32, before5: u32,
        source0: u32, source1: u32, source2: u32, source3: u32, source4: u32, source5: u32,
        step0: i32, step1: i32, step2: i32, step3: i32, step4: i32, step5: i32,
    }
}

/// An axis of the kernel: extent of the result, elements before, extent of the input, and its step.
type Axis = (usize, usize, usize, isize);

impl Pad {
    fn padded(&self, x: &Shape) -> Shape {
        x.iter().zip(&self.before).zip(&self.after).map(|((n, b), a)| b + n + a).collect::<Vec<_>>().into()
    }

    /// The axes; one that is not padded, and lies in one run with the one before, multiplies it.
    fn merged(&self, x: &Layout) -> Vec<Axis> {
        let mut axes: Vec<Axis> = Vec::new();
        for (a, (&n, &step)) in x.shape.iter().zip(&x.strides).enumerate() {
            let whole = self.before[a] + self.after[a] == 0;
            match axes.last_mut() {
                _ if whole && n == 1 => {}
                Some(last) if whole && (last.3 == step * n as isize || last.2 == 1) => {
                    *last = (last.0 * n, last.1 * n, last.2 * n, step);
                }
                _ => axes.push((self.before[a] + n + self.after[a], self.before[a], n, step)),
            }
        }
        axes
    }

    fn vjp(&self, v: &Vjp) -> Vec<Option<Tensor>> {
        let (x, dy) = (&v.inputs[0], v.dy());
        if x.dtype() != DType::F32 {
            return vec![None, None];
        }
        let inside = dy.slice(&self.before, x.shape(), &vec![1; x.rank()]);
        // The value collects what is left: everything outside.
        let to_value = v.when(1, || &dy.sum_all() - &inside.sum_all());
        vec![v.when(0, || inside), to_value]
    }
}

impl Op for Pad {
    const NAME: &'static str = "pad";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (x, value) = (&inputs[0], &inputs[1]);
        if self.before.len() != x.shape.rank() || self.after.len() != x.shape.rank() {
            let problem = format!(
                "{} pairs for shape {}; give one, (before, after), per axis",
                self.before.len().max(self.after.len()),
                x.shape
            );
            return Err(ShapeError::new("pad", problem));
        }
        if value.dtype != x.dtype || value.shape.rank() != 0 {
            let problem = format!("the value is {} {}, it must be {} []", value.dtype, value.shape, x.dtype);
            return Err(ShapeError::new("pad", problem));
        }
        let axes = self.merged(&Layout::contiguous(x.shape.clone(), 0)).len();
        if axes > MOST_AXES {
            let problem = format!("{axes} separately padded axes of {}; at most {MOST_AXES} are supported", x.shape);
            return Err(ShapeError::new("pad", problem));
        }
        Ok(vec![Meta::new(self.padded(&x.shape), x.dtype)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| op.vjp(v))
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let (mut slot, mut layout) = cx.strided(0);
            let mut axes = op.merged(&layout);
            if axes.len() > MOST_AXES {
                (slot, layout) = (cx.input(0), Layout::contiguous(cx.meta(0).shape.clone(), 0));
                axes = op.merged(&layout);
            }
            while axes.len() < MOST_AXES {
                axes.insert(0, (1, 0, 1, 0));
            }
            let (e, b) = (|a: usize| axes[a].0 as u32, |a: usize| axes[a].1 as u32);
            let (s, d) = (|a: usize| axes[a].2 as u32, |a: usize| axes[a].3 as i32);
            let n = cx.output_meta(0).shape.elements();
            #[rustfmt::skip]
            let params = PadParams {
                n: n as u32, offset: layout.offset as u32,
                extent1: e(1), extent2: e(2), extent3: e(3), extent4: e(4), extent5: e(5),
                before0: b(0), before1: b(1), before2: b(2), before3: b(3), before4: b(4), before5: b(5),
                source0: s(0), source1: s(1), source2: s(2), source3: s(3), source4: s(4), source5: s(5),
                step0: d(0), step1: d(1), step2: d(2), step3: d(3), step4: d(4), step5: d(5),
            };
            let (value, y) = (cx.input(1), cx.output(0));
            let launch = LoweredDispatch::new(&SHADER, "forward").read(slot).read(value).write(y);
            cx.launch(launch.params(&params).flat(n, 64));
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::pad(&inputs[0], &inputs[1], &self.before, &self.after)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let pad = |pairs: &[(usize, usize)], x: Input, value: Input| {
            let (before, after) = pairs.iter().copied().unzip();
            Sample::new(Pad { before, after }, vec![x, value], Tolerance::Exact)
        };
        let values = |shape: &[usize], seed| Input::uniform(shape, -1.0, 1.0, seed);
        let fill = |value: f32| Input::floats([], &[value]);
        vec![
            pad(&[(2, 3)], values(&[5], 1), fill(0.0)),
            pad(&[(0, 0), (1, 0)], values(&[3, 5], 2), fill(7.0)),
            pad(&[(1, 2), (0, 0)], values(&[3, 5], 3).viewed(), fill(-1.5)),
            pad(&[(0, 0), (0, 0), (1, 1), (2, 2)], values(&[2, 3, 5, 7], 4), fill(0.0)),
            pad(&[(0, 0), (2, 1), (0, 0), (0, 0)], values(&[2, 3, 5, 7], 5).viewed(), fill(1.0)),
            pad(&[(1, 0), (0, 1), (1, 0), (0, 1), (1, 0), (0, 1)], values(&[2, 1, 2, 3, 1, 2], 6).viewed(), fill(2.0)),
            pad(&[(0, 0), (0, 0)], values(&[3, 5], 7), fill(0.0)),
            pad(&[(1, 1)], values(&[1], 8), fill(-0.0)),
            pad(&[], values(&[], 9), fill(3.0)),
            pad(&[(2, 0), (0, 0)], values(&[0, 3], 10), fill(4.0)),
            pad(&[(0, 0), (0, 0)], values(&[0, 3], 11), fill(4.0)),
            pad(&[(3, 4), (5, 6)], values(&[101, 257], 12), fill(0.5)),
            pad(&[(1, 1)], values(&[3], 13), fill(f32::NEG_INFINITY)).rough(),
            pad(&[(1, 2)], Input::below([3], 9, 14), Input::uints([], &[5])),
            pad(&[(1, 2)], Input::below([3], 9, 15).of(DType::I32), Input::uints([], &[5]).of(DType::I32)),
            pad(&[(1, 2)], Input::below([3], 2, 16).of(DType::Bool), Input::uints([], &[1]).of(DType::Bool)),
        ]
    }
}

impl Tensor {
    /// A larger tensor with this one inside: `padding` gives, for each axis from the first, how many elements of
    /// `value` come before and after. (PyTorch's `pad` counts axes from the last.)
    ///
    /// A tensor of whole numbers takes `value` toward 0, one of truth values takes whether it is not 0.
    ///
    /// # Panics
    /// If there is not one pair per axis.
    #[track_caller]
    pub fn pad(&self, padding: &[(usize, usize)], value: f32) -> Tensor {
        fit(self.try_pad(padding, value))
    }

    /// [`Tensor::pad`], with a mistake of shapes as an error.
    ///
    /// # Errors
    /// If there is not one pair per axis.
    #[track_caller]
    pub fn try_pad(&self, padding: &[(usize, usize)], value: f32) -> Result<Tensor, ShapeError> {
        let (before, after) = padding.iter().copied().unzip();
        let value = Tensor::scalar(self.device(), value).cast(self.dtype());
        Ok(Tensor::try_apply(Pad { before, after }, &[self, &value])?.swap_remove(0))
    }
}
