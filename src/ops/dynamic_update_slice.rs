//! A slice of a tensor written over at a place that the device says: `jax.lax.dynamic_update_slice` along one axis.
//!
//! Where nobody else holds the tensor, only the slice is written, however large the rest is: what a ring of past
//! experience, a cache of keys and values, or state that a program keeps in one place needs. The place is a tensor, so
//! every step of a loop that writes further on is the same plan. What would lie outside is left out (as of a scatter;
//! JAX would move the slice inside), so that a place beyond the end says that nothing is to be written.

use super::gather::{Cut, Gather, Missing};
use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::ops::reduce::resolve_axis;
use crate::reference::{Array, Real, View, dynamic_update_slice as reference};
use crate::tensor::{
    Backward, DType, InPlace, Input, Lower, LoweredDispatch, Lowering, Meta, Op, Overwrite, Sample, Tensor, Tolerance,
    Vjp,
};

/// `x` with `src` from element `start` on along an axis. Inputs: `x`, `src`, whose other axes are those of `x`, and
/// `start`, one `u32`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DynamicUpdateSlice {
    /// The axis.
    pub axis: usize,
}

const SHADER: Shader = Shader::new(
    "dynamic_update_slice",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/prologue.wgsl"),
        include_str!("../../shaders/dynamic_update_slice.wgsl"),
    ),
);

crate::params! {
    struct SliceParams {
        count: u32, n: u32, k: u32, inner: u32,
        x_offset: u32, x_outer: i32, x_along: i32, x_inner: i32,
    }
}

impl DynamicUpdateSlice {
    fn lower(&self, cx: &mut Lower) {
        let (count, y) = (cx.meta(1).shape.elements(), cx.output(0));
        if count == 0 || y.len == 0 {
            return;
        }
        let (src, start) = (Cut::of(cx, 1, self.axis), cx.input(2));
        let params = SliceParams {
            count: count as u32,
            n: cx.meta(0).shape[self.axis] as u32,
            k: src.n as u32,
            inner: src.inner as u32,
            x_offset: src.offset as u32,
            x_outer: src.steps[0],
            x_along: src.steps[1],
            x_inner: src.steps[2],
        };
        let launch = LoweredDispatch::new(&SHADER, "write").write(y).load(src.slot).read(start);
        cx.launch(launch.params(&params).independent(2).flat(count, 64));
    }

    fn vjp(&self, v: &Vjp) -> Vec<Option<Tensor>> {
        let (x, src, start, dy) = (&v.inputs[0], &v.inputs[1], &v.inputs[2], v.dy());
        if x.dtype() != DType::F32 {
            return vec![None; 3];
        }
        let (device, axis) = (x.device(), self.axis);
        let dx = || Tensor::apply(self.clone(), &[dy, &Tensor::zeros(device, src.shape()), start]);
        let dsrc = || {
            // A place beyond the end stays there, and does not wrap round.
            let first = start.reshape([]).minimum(&Tensor::scalar(device, x.shape()[axis] as u32));
            let mut line = vec![1; x.rank()];
            line[axis] = src.shape()[axis];
            let at = (&Tensor::iota(device, src.shape()[axis], 0u32, 1u32) + &first).reshape(line);
            Tensor::apply(Gather { axis, missing: Missing::Zero }, &[dy, &at.broadcast_to(src.shape())])
        };
        vec![v.when(0, dx), v.when(1, dsrc), None]
    }
}

impl Op for DynamicUpdateSlice {
    const NAME: &'static str = "dynamic_update_slice";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let (x, src, start) = (&inputs[0], &inputs[1], &inputs[2]);
        let rank = x.shape.rank();
        let equal = |a: usize| a == self.axis || x.shape[a] == src.shape[a];
        if self.axis >= rank || src.shape.rank() != rank || !(0..rank).all(equal) || src.dtype != x.dtype {
            let problem = format!(
                "{} {} into {} {} along axis {}; type and all other axes must be equal",
                src.dtype, src.shape, x.dtype, x.shape, self.axis
            );
            return Err(ShapeError::new("dynamic_update_slice", problem));
        }
        if start.dtype != DType::U32 || start.shape.elements() != 1 {
            let problem = format!("the start is {} {}; it must be one u32", start.dtype, start.shape);
            return Err(ShapeError::new("dynamic_update_slice", problem));
        }
        Ok(vec![x.clone()])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| op.vjp(v))
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::InPlace(|op, cx| op.lower(cx), &[(0, 0)], Some(InPlace { run: Self::overwrite, parts: false }))
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let mut whole = inputs[0].to_array();
        reference::write(&mut whole.data, inputs[0].shape, self.axis, &inputs[1], &inputs[2]);
        vec![whole]
    }
    fn samples() -> Vec<Sample<Self>> {
        let at = |axis: usize, x: Input, src: Input, start: u32| {
            let inputs = vec![x, src, Input::uints([], &[start])];
            Sample::new(DynamicUpdateSlice { axis }, inputs, Tolerance::Exact)
        };
        let values = |shape: &[usize], seed| Input::uniform(shape, -1.0, 1.0, seed);
        let mut of_one_axis = at(0, values(&[5], 24), values(&[2], 25), 3);
        of_one_axis.inputs[2] = Input::uints([1], &[3]);
        vec![
            at(0, values(&[7], 1), values(&[3], 2), 2),
            at(0, values(&[7, 5], 3), values(&[2, 5], 4), 5),
            at(1, values(&[3, 7, 5], 5), values(&[3, 2, 5], 6), 4),
            at(2, values(&[3, 5, 7], 7).viewed(), values(&[3, 5, 4], 8).viewed(), 1),
            at(1, values(&[5, 1031], 9), values(&[5, 257], 10), 600),
            at(0, values(&[7, 3], 11), values(&[4, 3], 12), 5), // the last two rows lie outside
            at(0, values(&[7, 3], 13), values(&[4, 3], 14), 7),
            at(0, values(&[7], 15), values(&[4], 16), u32::MAX), // and do not come round
            at(0, values(&[3], 17), values(&[5], 18), 1),
            at(0, values(&[1], 19), values(&[1], 20), 0),
            at(0, values(&[4, 2], 21), values(&[0, 2], 22), 1),
            at(0, values(&[0, 2], 23), values(&[1, 2], 24), 0),
            of_one_axis,
            at(1, Input::below([3, 5], 100, 26), Input::below([3, 2], 100, 27), 2),
            at(1, Input::below([3, 5], 9, 28).of(DType::I32), Input::below([3, 2], 9, 29).of(DType::I32), 2),
            at(0, Input::below([5], 2, 30).of(DType::Bool), Input::below([2], 2, 31).of(DType::Bool), 2),
        ]
    }
}

impl DynamicUpdateSlice {
    fn overwrite(&self, Overwrite { elements, shape, others, .. }: Overwrite) {
        reference::write(&mut elements[0], shape, self.axis, &others[0], &others[1]);
    }
}

impl Tensor {
    /// This tensor with `src` in place of what is at `start`, `start + 1`, .. along `axis`; `start` is one `u32` of the
    /// device, and what would lie beyond the end is left out. Recorded as the next value of a
    /// [`Buffer`](crate::nn::Buffer), it writes over the value before.
    ///
    /// ```
    /// # use wgrad::{Device, Tensor};
    /// # let device = Device::cpu();
    /// let x = Tensor::from_slice(&device, &[0f32, 1.0, 2.0, 3.0], 4)?;
    /// let src = Tensor::from_slice(&device, &[7f32, 8.0], 2)?;
    /// let at = |start: u32| x.dynamic_update_slice(0, &src, &Tensor::scalar(&device, start)).to_vec::<f32>();
    /// assert_eq!(at(1)?, [0.0, 7.0, 8.0, 3.0]);
    /// assert_eq!(at(3)?, [0.0, 1.0, 2.0, 7.0]);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the axis does not exist, or shapes or types do not fit.
    #[track_caller]
    pub fn dynamic_update_slice(&self, axis: isize, src: &Tensor, start: &Tensor) -> Tensor {
        let axis = fit(resolve_axis("dynamic_update_slice", axis, self.rank()));
        Tensor::apply(DynamicUpdateSlice { axis }, &[self, src, start])
    }
}
