//! Views: reshape, permute, broadcast, slice, flip, sliding windows. They move no data; each is a map from one strided
//! layout to another, and the kernels that read a view walk its strides. Only a map that strides cannot express is
//! copied.

use super::col2im::Col2im;
use super::im2col::Window;
use super::reduce::resolve_axis;
use crate::device::Shader;
use crate::error::{ShapeError, fit};
use crate::reference::view as reference;
use crate::reference::{Array, Real, View};
use crate::tensor::{
    Axis, Backward, DType, Input, Layout, LoweredDispatch, Lowering, Meta, NoGrad, Op, Sample, Shape, Tensor, Tolerance,
};

/// The same elements in row-major order under another shape.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reshape {
    /// The new shape.
    pub shape: Shape,
}

/// The axes in another order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Permute {
    /// Axis `a` of the result is axis `axes[a]` of the input.
    pub axes: Vec<usize>,
}

/// Axes of extent 1, and new leading axes, repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Broadcast {
    /// The new shape.
    pub shape: Shape,
}

/// Part of each axis, every `step`-th element; a negative step walks back from `start`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slice {
    /// First index per axis.
    pub starts: Vec<usize>,
    /// Number of elements per axis.
    pub extents: Vec<usize>,
    /// Distance per axis, not 0.
    pub steps: Vec<isize>,
}

/// Windows that slide along an axis, which counts them; what is in a window is a new last axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unfold {
    /// The axis.
    pub axis: usize,
    /// Elements per window.
    pub size: usize,
    /// Elements from one window to the next.
    pub step: usize,
}

/// The same value, through which no gradient flows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Detach;

/// The gradient of [`Slice`]: the input written into zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Embed {
    /// The shape of the result.
    pub shape: Shape,
    /// Where index 0 of the input goes, per axis.
    pub starts: Vec<usize>,
    /// Distance between neighbours, per axis.
    pub steps: Vec<isize>,
}

/// A view's reference is its layout, applied to the reference's own strides and written out.
fn written_out<T: Real>(x: &View<T>, map: impl Fn(&Layout) -> Option<Layout>) -> Vec<Array<T>> {
    let layout = Layout { shape: x.shape.into(), strides: x.strides.clone(), offset: x.offset };
    if let Some(l) = map(&layout) {
        return vec![reference::gather_strided(x, &l.shape, l.strides, l.offset)];
    }
    let dense = x.to_array();
    let l = map(&Layout::contiguous(x.shape, 0)).expect("a dense layout has every view");
    vec![reference::gather_strided(&dense.view(), &l.shape, l.strides, l.offset)]
}

macro_rules! view_op {
    ($ty:ident, $name:literal, |$op:ident, $layout:ident| $map:expr, |$iop:ident, $x:ident| $infer:expr, $backward:expr, $samples:expr) => {
        impl $ty {
            fn layout(&self, $layout: &Layout) -> Option<Layout> {
                let $op = self;
                $map
            }
        }
        impl Op for $ty {
            const NAME: &'static str = $name;
            fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
                let ($iop, $x) = (self, &inputs[0].shape);
                let shape: Result<Shape, String> = $infer;
                let shape = shape.map_err(|problem| ShapeError::new(stringify!($ty).to_lowercase(), problem))?;
                Ok(vec![Meta::new(shape, inputs[0].dtype)])
            }
            fn backward(&self) -> Backward<Self> {
                $backward
            }
            fn lower(&self) -> Lowering<Self> {
                Lowering::View(|op, layout| op.layout(layout))
            }
            fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
                written_out(&inputs[0], |layout| self.layout(layout))
            }
            fn samples() -> Vec<Sample<Self>> {
                $samples
            }
        }
    };
}

fn x234(seed: u64) -> Input {
    Input::uniform([2, 3, 4], -1.0, 1.0, seed)
}

view_op!(
    Reshape,
    "view_reshape",
    |op, layout| layout.reshape(&op.shape),
    |op, x| if op.shape.elements() == x.elements() {
        Ok(op.shape.clone())
    } else {
        Err(format!(
            "{x} holds {} elements and {} holds {}; they must be equal",
            x.elements(),
            op.shape,
            op.shape.elements()
        ))
    },
    Backward::Rule(|_, v| vec![Some(v.dy().reshape(v.inputs[0].shape()))]),
    vec![
        Sample::new(Reshape { shape: [4, 6].into() }, vec![x234(1)], Tolerance::Exact),
        Sample::new(Reshape { shape: [6, 2, 2].into() }, vec![x234(2).viewed()], Tolerance::Exact),
        Sample::new(Reshape { shape: [2, 3, 2, 2].into() }, vec![x234(2).viewed()], Tolerance::Exact),
        Sample::new(Reshape { shape: [].into() }, vec![Input::floats([1, 1], &[2.5])], Tolerance::Exact),
        Sample::new(Reshape { shape: [5, 0].into() }, vec![Input::floats([0, 3], &[])], Tolerance::Exact),
    ]
);

view_op!(
    Permute,
    "view_permute",
    |op, layout| Some(layout.permute(&op.axes)),
    |op, x| {
        let mut seen = vec![false; x.rank()];
        let fits = op.axes.len() == x.rank()
            && op.axes.iter().all(|&a| a < seen.len() && !std::mem::replace(&mut seen[a], true));
        if fits {
            Ok(op.axes.iter().map(|&a| x[a]).collect::<Vec<_>>().into())
        } else {
            Err(format!("axes {:?} are no order of the {} axes of {x}; name each once", op.axes, x.rank()))
        }
    },
    Backward::Rule(|op, v| {
        let mut inverse = vec![0; op.axes.len()];
        op.axes.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
        vec![Some(v.dy().permute(&inverse))]
    }),
    vec![
        Sample::new(Permute { axes: vec![2, 0, 1] }, vec![x234(1)], Tolerance::Exact),
        Sample::new(Permute { axes: vec![1, 0] }, vec![Input::uniform([37, 5], 0.0, 1.0, 1)], Tolerance::Exact),
        Sample::new(Permute { axes: vec![0, 2, 1] }, vec![x234(3).viewed()], Tolerance::Exact),
        Sample::new(Permute { axes: vec![0, 1] }, vec![Input::below([3, 2], 9, 1)], Tolerance::Exact),
    ]
);

view_op!(
    Broadcast,
    "view_broadcast",
    |op, layout| Some(layout.broadcast(&op.shape)),
    |op, x| match x.broadcast(&op.shape, "broadcast") {
        Ok(shape) if shape == op.shape => Ok(shape),
        _ => Err(format!("{x} does not broadcast to {}: each axis, from the last, must be equal or 1", op.shape)),
    },
    Backward::Rule(|_, v| {
        let (x, dy) = (v.inputs[0].shape(), v.dy());
        let lead = dy.rank() - x.rank();
        let axes: Vec<isize> =
            (0..dy.rank()).filter(|&a| a < lead || x[a - lead] != dy.shape()[a]).map(|a| a as isize).collect();
        vec![Some(dy.sum(&axes).reshape(x))]
    }),
    vec![
        Sample::new(Broadcast { shape: [5, 3, 7].into() }, vec![Input::uniform([3, 1], 0.0, 1.0, 1)], Tolerance::Exact),
        Sample::new(Broadcast { shape: [4].into() }, vec![Input::floats([], &[2.0])], Tolerance::Exact),
        Sample::new(
            Broadcast { shape: [0, 3].into() },
            vec![Input::floats([1, 3], &[1.0, 2.0, 3.0])],
            Tolerance::Exact
        ),
    ]
);

view_op!(
    Slice,
    "view_slice",
    |op, layout| Some(layout.slice(&op.starts, &op.extents, &op.steps)),
    |op, x| {
        let fits = |a: usize| {
            let last = op.starts[a] as isize + op.steps[a] * (op.extents[a] as isize - 1);
            op.steps[a] != 0 && (op.extents[a] == 0 || (op.starts[a] < x[a] && (0..x[a] as isize).contains(&last)))
        };
        if op.starts.len() == x.rank() && (0..x.rank()).all(fits) {
            Ok(op.extents.as_slice().into())
        } else {
            Err(format!(
                "starts {:?} with {:?} elements at steps {:?} leave {x}; stay inside each axis, with steps that are not 0",
                op.starts, op.extents, op.steps
            ))
        }
    },
    Backward::Rule(|op, v| {
        let embed = Embed { shape: v.inputs[0].shape().clone(), starts: op.starts.clone(), steps: op.steps.clone() };
        vec![Some(Tensor::apply(embed, &[v.dy()]))]
    }),
    vec![
        Sample::new(
            Slice { starts: vec![0, 1, 2], extents: vec![2, 2, 1], steps: vec![1, 1, 1] },
            vec![x234(1)],
            Tolerance::Exact
        ),
        Sample::new(
            Slice { starts: vec![1, 2, 0], extents: vec![2, 3, 2], steps: vec![-1, -1, 2] },
            vec![x234(2)],
            Tolerance::Exact
        ),
        Sample::new(
            Slice { starts: vec![3], extents: vec![0], steps: vec![1] },
            vec![Input::uniform([7], 0.0, 1.0, 1)],
            Tolerance::Exact
        ),
        Sample::new(
            Slice { starts: vec![1, 0], extents: vec![3, 7], steps: vec![2, 1] },
            vec![Input::uniform([7, 7], 0.0, 1.0, 1).viewed()],
            Tolerance::Exact
        ),
    ]
);

view_op!(
    Unfold,
    "view_unfold",
    |op, layout| {
        let mut view = layout.clone();
        let (mut shape, stride) = (view.shape.to_vec(), view.strides[op.axis]);
        shape[op.axis] = (shape[op.axis] - op.size) / op.step + 1;
        shape.push(op.size);
        view.strides[op.axis] = stride * op.step as isize;
        view.strides.push(stride);
        Some(Layout { shape: shape.into(), ..view })
    },
    |op, x| match x.get(op.axis) {
        Some(&n) if (1..=n).contains(&op.size) && op.step > 0 => {
            let mut shape = x.to_vec();
            shape[op.axis] = (n - op.size) / op.step + 1;
            shape.push(op.size);
            Ok(shape.into())
        }
        _ => Err(format!(
            "windows of {} elements, {} apart, along axis {} of {x}; both must be at least 1, and a window must fit",
            op.size, op.step, op.axis
        )),
    },
    Backward::Rule(|op, v| vec![Some(op.fold(v.dy(), v.inputs[0].shape()))]),
    vec![
        Sample::new(Unfold { axis: 1, size: 2, step: 1 }, vec![x234(1)], Tolerance::Exact),
        Sample::new(Unfold { axis: 0, size: 3, step: 2 }, vec![Input::uniform([8], 0.0, 1.0, 2)], Tolerance::Exact),
        Sample::new(
            Unfold { axis: 0, size: 2, step: 3 },
            vec![Input::uniform([7, 3], 0.0, 1.0, 3).viewed()],
            Tolerance::Exact
        ),
        Sample::new(Unfold { axis: 1, size: 7, step: 1 }, vec![Input::uniform([5, 7], 0.0, 1.0, 4)], Tolerance::Exact),
        Sample::new(Unfold { axis: 1, size: 2, step: 1 }, vec![Input::uniform([0, 3], 0.0, 1.0, 5)], Tolerance::Exact),
    ]
);

impl Unfold {
    /// The gradient: windows summed back where they came from, as columns of images that are one pixel wide windows
    /// tall.
    fn fold(&self, dy: &Tensor, x: &Shape) -> Tensor {
        let (before, after): (usize, usize) = (x[..self.axis].iter().product(), x[self.axis + 1..].iter().product());
        let count = dy.shape()[self.axis];
        let columns = dy.reshape([before, count, after, self.size]).permute(&[0, 3, 1, 2]);
        let window = Window { kernel: [self.size, 1], stride: [self.step, 1], padding: [0; 4], dilation: [1, 1] };
        if x.elements() == 0 {
            return Tensor::zeros(dy.device(), x);
        }
        let op = Col2im { window, size: [x[self.axis], after] };
        Tensor::apply(op, &[&columns.reshape([before, self.size, count * after])]).reshape(x)
    }
}

view_op!(
    Detach,
    "view_detach",
    |op, layout| {
        let Detach = op;
        Some(layout.clone())
    },
    |op, x| {
        let Detach = op;
        Ok(x.clone())
    },
    Backward::None(NoGrad::Stop),
    vec![Sample::new(Detach, vec![x234(1)], Tolerance::Exact)]
);

const SHADER: Shader = Shader::new(
    "view",
    concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/view.wgsl")),
);

/// Axes an [`Embed`] may have, after neighbours that are not cut were merged.
const MOST_AXES: usize = 6;

crate::params! {
    struct EmbedParams {
        n: u32,
        extent0: u32, extent1: u32, extent2: u32, extent3: u32, extent4: u32, extent5: u32,
        source0: u32, source1: u32, source2: u32, source3: u32, source4: u32, source5: u32,
        start0: i32, start1: i32, start2: i32, start3: i32, start4: i32, start5: i32,
        step0: i32, step1: i32, step2: i32, step3: i32, step4: i32, step5: i32,
    }
}

impl Embed {
    /// Extent, source extent, start and step per axis; whole axes are merged into the one before.
    fn merged(&self, x: &Shape) -> Vec<(usize, usize, i32, i32)> {
        let mut axes: Vec<(usize, usize, i32, i32)> = Vec::new();
        for a in 0..x.rank() {
            let whole = x[a] == self.shape[a] && self.steps[a] == 1 && self.starts[a] == 0;
            match axes.last_mut() {
                // An axis taken whole continues the one before, whose places it multiplies.
                Some(last) if whole && last.3 == 1 => {
                    last.0 *= x[a];
                    last.1 *= x[a];
                    last.2 *= x[a] as i32;
                }
                _ => axes.push((self.shape[a], x[a], self.starts[a] as i32, self.steps[a] as i32)),
            }
        }
        axes
    }
}

impl Op for Embed {
    const NAME: &'static str = "view_embed";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let slice = Slice { starts: self.starts.clone(), extents: inputs[0].shape.to_vec(), steps: self.steps.clone() };
        slice.infer(&[Meta::new(self.shape.clone(), DType::F32)])?;
        let axes = self.merged(&inputs[0].shape).len();
        if axes > MOST_AXES {
            let problem = format!("{axes} separately cut axes of {}; at most {MOST_AXES} are supported", self.shape);
            return Err(ShapeError::new("embed", problem));
        }
        Ok(vec![Meta::new(self.shape.clone(), inputs[0].dtype)])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            let extents = v.inputs[0].shape().to_vec();
            let slice = Slice { starts: op.starts.clone(), extents, steps: op.steps.clone() };
            vec![Some(Tensor::apply(slice, &[v.dy()]))]
        })
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let mut axes = op.merged(&cx.meta(0).shape);
            while axes.len() < MOST_AXES {
                axes.insert(0, (1, 1, 0, 1));
            }
            let (e, s, b, d) =
                (|a: usize| axes[a].0 as u32, |a: usize| axes[a].1 as u32, |a: usize| axes[a].2, |a: usize| axes[a].3);
            let n = op.shape.elements();
            let params = EmbedParams {
                n: n as u32,
                extent0: e(0),
                extent1: e(1),
                extent2: e(2),
                extent3: e(3),
                extent4: e(4),
                extent5: e(5),
                source0: s(0),
                source1: s(1),
                source2: s(2),
                source3: s(3),
                source4: s(4),
                source5: s(5),
                start0: b(0),
                start1: b(1),
                start2: b(2),
                start3: b(3),
                start4: b(4),
                start5: b(5),
                step0: d(0),
                step1: d(1),
                step2: d(2),
                step3: d(3),
                step4: d(4),
                step5: d(5),
            };
            let (x, y) = (cx.input(0), cx.output(0));
            cx.launch(LoweredDispatch::new(&SHADER, "embed").read(x).write(y).params(&params).flat(n, 64));
        })
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        vec![reference::embed(&inputs[0], &self.shape, &self.starts, &self.steps)]
    }
    fn samples() -> Vec<Sample<Self>> {
        let embed = |shape: &[usize], starts: &[usize], steps: &[isize], x: Input| {
            let op = Embed { shape: shape.into(), starts: starts.to_vec(), steps: steps.to_vec() };
            Sample::new(op, vec![x], Tolerance::Exact)
        };
        vec![
            embed(&[5, 7], &[1, 2], &[1, 1], Input::uniform([3, 4], -1.0, 1.0, 1)),
            embed(&[5, 7], &[3, 6], &[-1, -2], Input::uniform([3, 4], -1.0, 1.0, 2)),
            embed(&[3, 5, 7, 2], &[0, 1, 0, 0], &[1, 2, 1, 1], Input::uniform([3, 2, 7, 2], -1.0, 1.0, 3).viewed()),
            embed(&[4], &[0], &[1], Input::floats([0], &[])),
            embed(&[1, 1], &[0, 0], &[1, 1], Input::floats([1, 1], &[3.0])),
            embed(&[9], &[0], &[4], Input::below([3], 9, 4)),
            embed(&[9], &[0], &[4], Input::below([3], 9, 5).of(DType::I32)),
        ]
    }
}

impl Tensor {
    /// The same elements in row-major order under another shape.
    ///
    /// # Panics
    /// If the shapes hold different numbers of elements.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if shape == *self.shape() { self.clone() } else { Tensor::apply(Reshape { shape }, &[self]) }
    }

    /// The same value under a node of its own: derivatives with respect to it stop here.
    #[track_caller]
    pub(crate) fn alias(&self) -> Tensor {
        Tensor::apply(Reshape { shape: self.shape().clone() }, &[self])
    }

    /// All axes from `first` on merged into one: `[n, c, h, w].flatten(1)` is `[n, c h w]`.
    #[track_caller]
    pub fn flatten(&self, first: impl Axis) -> Tensor {
        let first = fit(resolve_axis("flatten", first.signed(), self.rank()));
        let mut shape = self.shape()[..first].to_vec();
        shape.push(self.shape()[first..].iter().product());
        self.reshape(shape)
    }

    /// The axes in another order: axis `a` of the result is axis `axes[a]` of this.
    #[track_caller]
    pub fn permute(&self, axes: &[usize]) -> Tensor {
        Tensor::apply(Permute { axes: axes.to_vec() }, &[self])
    }

    /// Two axes swapped; a view. Negative axes count from the end, here and below.
    #[track_caller]
    pub fn transpose(&self, a: impl Axis, b: impl Axis) -> Tensor {
        let rank = self.rank();
        let (a, b) = (resolve_axis("transpose", a.signed(), rank), resolve_axis("transpose", b.signed(), rank));
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(fit(a), fit(b));
        self.permute(&axes)
    }

    /// Repeats axes of extent 1, and new leading axes, to `shape`; a view.
    ///
    /// # Panics
    /// If an axis is neither equal nor 1.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if shape == *self.shape() { self.clone() } else { Tensor::apply(Broadcast { shape }, &[self]) }
    }

    /// Every `steps[a]`-th element of each axis from `starts[a]`, `extents[a]` of them; a negative step walks back.
    #[track_caller]
    pub fn slice(&self, starts: &[usize], extents: &[usize], steps: &[isize]) -> Tensor {
        let op = Slice { starts: starts.to_vec(), extents: extents.to_vec(), steps: steps.to_vec() };
        assert!(
            op.extents.len() == op.starts.len() && op.steps.len() == op.starts.len(),
            "slice: {} starts, {} extents and {} steps; give one of each per axis of {}",
            op.starts.len(),
            op.extents.len(),
            op.steps.len(),
            self.shape()
        );
        Tensor::apply(op, &[self])
    }

    /// `len` neighbours of one axis, from `start`; a view.
    #[track_caller]
    pub fn narrow(&self, axis: impl Axis, start: usize, len: usize) -> Tensor {
        let rank = self.rank();
        let axis = fit(resolve_axis("narrow", axis.signed(), rank));
        let (mut starts, mut extents) = (vec![0; rank], self.shape().to_vec());
        (starts[axis], extents[axis]) = (start, len);
        self.slice(&starts, &extents, &vec![1; rank])
    }

    /// One axis backwards; a view.
    #[track_caller]
    pub fn flip(&self, axis: impl Axis) -> Tensor {
        let rank = self.rank();
        let axis = fit(resolve_axis("flip", axis.signed(), rank));
        let (mut starts, mut steps) = (vec![0; rank], vec![1; rank]);
        (starts[axis], steps[axis]) = (self.shape()[axis].saturating_sub(1), -1);
        self.slice(&starts, self.shape(), &steps)
    }

    /// Windows of `size` elements that slide along an axis, `step` elements apart: the axis becomes their number, and
    /// what is in them a new last axis. `[2, 7].unfold(1, 3, 2)` is `[2, 3, 3]`. A view.
    ///
    /// # Panics
    /// If the axis does not exist, or no window fits.
    #[track_caller]
    pub fn unfold(&self, axis: impl Axis, size: usize, step: usize) -> Tensor {
        let axis = fit(resolve_axis("unfold", axis.signed(), self.rank()));
        Tensor::apply(Unfold { axis, size, step }, &[self])
    }

    /// A new axis of extent 1 before axis `axis`, or behind the last with -1.
    #[track_caller]
    pub fn unsqueeze(&self, axis: impl Axis) -> Tensor {
        let mut shape = self.shape().to_vec();
        shape.insert(fit(resolve_axis("unsqueeze", axis.signed(), self.rank() + 1)), 1);
        self.reshape(shape)
    }

    /// Without axis `axis`, whose extent must be 1.
    #[track_caller]
    pub fn squeeze(&self, axis: impl Axis) -> Tensor {
        let mut shape = self.shape().to_vec();
        let axis = fit(resolve_axis("squeeze", axis.signed(), self.rank()));
        assert!(shape[axis] == 1, "squeeze: axis {axis} of shape {} is not 1", self.shape());
        shape.remove(axis);
        self.reshape(shape)
    }

    /// The same value as a tensor that gradients do not flow through.
    #[track_caller]
    pub fn detach(&self) -> Tensor {
        Tensor::apply(Detach, &[self])
    }

    /// A tensor that repeats one number; it takes no memory until a kernel needs it dense.
    #[track_caller]
    pub fn full<E: crate::tensor::Element>(device: &crate::Device, shape: impl Into<Shape>, value: E) -> Tensor {
        Tensor::scalar(device, value).broadcast_to(shape)
    }

    /// Zeros, `f32`.
    #[track_caller]
    pub fn zeros(device: &crate::Device, shape: impl Into<Shape>) -> Tensor {
        Tensor::full(device, shape, 0f32)
    }

    /// Ones, `f32`.
    #[track_caller]
    pub fn ones(device: &crate::Device, shape: impl Into<Shape>) -> Tensor {
        Tensor::full(device, shape, 1f32)
    }
}
