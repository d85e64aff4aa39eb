//! Normalisation: rows made to have mean 0 and variance 1, and the gradient of that, one kernel each way.
//!
//! Batch, layer, group, instance and root-mean-square norm differ in what a row is. Here the input is `[outer, rows,
//! inner]`, and row `r` is all numbers `[o, r, i]`: a channel of a batch (`outer` images), or, with `outer` 1, the last
//! axes of a tensor. The methods with the names users know are in `functional/norm.rs`.
//!
//! The gradient is an op of its own. Its rule is the derivative of the same gradient written in primitive ops, taken by
//! [`autodiff`]: no third formula was derived by hand, and derivatives of all orders are there.

mod split;

use crate::autodiff;
use crate::device::Shader;
use crate::error::ShapeError;
use crate::ops::softmax::readers_of;
pub use crate::reference::norm::Affine;
use crate::reference::{Array, Data, Real, View, norm as reference};
use crate::tensor::{
    Backward, Caps, DType, Input, Lower, LoweredDispatch, Lowering, Meta, Op, Sample, Tensor, Tolerance, Vjp,
};

/// Each row of `[outer, rows, inner]` made to have mean 0 and variance 1, times a weight, plus a bias.
///
/// Inputs: `x`; `running_mean, running_var, momentum` with `running`; `weight` unless [`Affine::None`]; `bias` with
/// `bias`. Outputs: `y`; `[2, rows]`, the mean and `1 / sqrt(variance + eps)` of each row; and with `running` the new
/// running statistics, `(1 - momentum) old + momentum new`, where the new variance is the unbiased one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Norm {
    /// The bits of eps.
    pub eps: u32,
    /// Whether the mean is taken off; if not, it counts as 0 (rms norm).
    pub center: bool,
    /// What the weight, and the bias if there is one, belong to.
    pub affine: Affine,
    /// Whether there is a bias; there is always one where they belong to rows.
    pub bias: bool,
    /// Whether running statistics are moved.
    pub running: bool,
}

/// The gradient of [`Norm`]: `x, stats, dy`, and `weight` unless [`Affine::None`], to `dx`, and unless [`Affine::None`]
/// the gradients of weight and bias.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NormGrad {
    /// Whether the mean was taken off.
    pub center: bool,
    /// What the weight belongs to.
    pub affine: Affine,
}

/// Rows longer than this are not for one workgroup; callers take the statistics by sums over axes instead.
pub(crate) const LONGEST_ROW: usize = 1 << 22;

const SHADER: Shader = Shader::new(
    "norm",
    concat!(
        include_str!("../../shaders/shared/flat.wgsl"),
        include_str!("../../shaders/shared/run.wgsl"),
        include_str!("../../shaders/shared/epilogue.wgsl"),
        include_str!("../../shaders/norm.wgsl")
    ),
);

crate::params! {
    struct NormParams { rows: u32, inner: u32, n: u32, chunk: u32, eps: f32 }
}

fn extents(op: &str, x: &Meta) -> Result<[usize; 3], ShapeError> {
    match (&x.shape[..], x.dtype) {
        (&[outer, rows, inner], DType::F32) => Ok([outer, rows, inner]),
        _ => Err(ShapeError::new(
            op,
            format!("the input is {} {}; it must be f32 [outer, rows, inner]", x.dtype, x.shape),
        )),
    }
}

/// An invocation for each row, or a workgroup.
fn over_rows(launch: LoweredDispatch, [outer, rows, inner]: [usize; 3], eps: f32, caps: Caps) -> LoweredDispatch {
    let n = outer * inner;
    let params = NormParams { rows: rows as u32, inner: inner as u32, n: n as u32, chunk: 0, eps };
    let launch = launch.params(&params);
    // llvmpipe leaves loops after 65,535 rounds, and a row takes three passes; barriers are dear there.
    let wide = match caps.software {
        true if n <= 64 => 1,
        true => (n / 16384).next_power_of_two().clamp(8, 256) as u32,
        false => readers_of(n),
    };
    // A row is read up to three times.
    let turns = 3 * n;
    if wide == 1 || caps.merges(rows, turns) {
        return launch.independent(turns).flat(rows, 64);
    }
    launch.constant("GROUP", 1u32).constant("WG", wide).flat(rows * wide as usize, wide)
}

fn affine_constant(affine: Affine) -> u32 {
    match affine {
        Affine::None => 0,
        Affine::PerRow => 1,
        Affine::PerPlace => 2,
    }
}

impl Norm {
    fn weight_at(&self) -> usize {
        if self.running { 4 } else { 1 }
    }

    fn arity(&self) -> usize {
        self.weight_at() + (self.affine != Affine::None) as usize + self.bias as usize
    }

    fn eps(&self) -> f32 {
        f32::from_bits(self.eps)
    }

    fn lower_with(&self, cx: &mut Lower) {
        let shape = extents(Self::NAME, cx.meta(0)).expect("inferred");
        let x = cx.input(0);
        let weight = if self.affine == Affine::None { x } else { cx.input(self.weight_at()) };
        let bias = if self.bias { cx.input(self.weight_at() + 1) } else { weight };
        let (y, stats) = (cx.output(0), cx.output(1));
        if let Some(cut) = split::Cut::of(shape, self.affine, cx.caps()) {
            let running = self.running.then(|| [cx.output(2), cx.output(3), cx.input(3)]);
            return cut.forward(self, [x, weight, bias], [y, stats], running, cx);
        }
        let entry = if self.running { "forward_running" } else { "forward" };
        let mut launch = LoweredDispatch::new(&SHADER, entry).read(x).read(weight).read(bias).finish(y).write(stats);
        if self.running {
            let (mean, var) = (cx.output(2), cx.output(3));
            launch = launch.write(mean).write(var).read(cx.input(3));
        }
        let launch = launch.constant("CENTER", self.center as u8).constant("WEIGHT", affine_constant(self.affine));
        cx.launch(over_rows(launch.constant("BIAS", self.bias as u8), shape, self.eps(), cx.caps()));
    }

    fn vjp(&self, v: &Vjp) -> Vec<Option<Tensor>> {
        let (x, stats) = (&v.inputs[0], &v.outputs[1]);
        let mut inputs = vec![x, stats, v.dy()];
        if self.affine != Affine::None {
            inputs.push(&v.inputs[self.weight_at()]);
        }
        let mut found = Tensor::apply_all(NormGrad { center: self.center, affine: self.affine }, &inputs).into_iter();
        let mut all = vec![found.next()];
        all.resize(self.weight_at(), None);
        all.extend(found.map(Some));
        all.truncate(self.arity());
        self.add_gradients_of_statistics(v, &mut all);
        all
    }

    /// What reaches the inputs by way of the other outputs, if anybody used them.
    fn add_gradients_of_statistics(&self, v: &Vjp, all: &mut [Option<Tensor>]) {
        if v.cotangents[1..].iter().all(Option::is_none) {
            return;
        }
        let (x, rows) = (&v.inputs[0], v.inputs[0].shape()[1]);
        let n = (x.elements() / rows.max(1)).max(1) as f32;
        let part = |t: &Tensor, k: usize| t.narrow(0, k, 1).reshape([rows]);
        let (mean, scale) = (part(&v.outputs[1], 0), part(&v.outputs[1], 1));
        let zero = || Tensor::zeros(x.device(), rows);
        let (mut to_mean, mut to_scale) = match &v.cotangents[1] {
            Some(c) => (part(c, 0), part(c, 1)),
            None => (zero(), zero()),
        };
        if self.running {
            let m = &v.inputs[3];
            let unbias = n / (n - 1.0).max(1.0);
            let mut to_momentum = Tensor::zeros(x.device(), rows);
            if let Some(c) = &v.cotangents[2] {
                to_mean = &to_mean + &(c * m);
                to_momentum = &to_momentum + &(c * &(&mean - &v.inputs[1]));
                all[1] = Some(c * &(1.0 - m));
            }
            if let Some(c) = &v.cotangents[3] {
                let square = &scale.square().reciprocal();
                to_scale = &to_scale - &(&(c * m) * &(&(&(square / &scale) * 2.0) * unbias));
                let unbiased = &(square - self.eps()) * unbias;
                to_momentum = &to_momentum + &(c * &(&unbiased - &v.inputs[2]));
                all[2] = Some(c * &(1.0 - m));
            }
            all[3] = Some(to_momentum.sum_all().reshape(m.shape()));
        }
        // scale = (variance + eps)^(-1/2), so its slope is -scale^3 / 2 by 2 (x - mean) / n.
        let cube = (&scale.square() * &scale).reshape([1, rows, 1]);
        let away = x - &mean.reshape([1, rows, 1]);
        let mut dx = &(&(&away * &cube) * &to_scale.reshape([1, rows, 1])) * (-1.0 / n);
        if self.center {
            dx = &dx + &(&to_mean * (1.0 / n)).reshape([1, rows, 1]);
        }
        all[0] = all[0].take().map(|sum| &sum + &dx);
    }
}

impl Op for Norm {
    const NAME: &'static str = "norm";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let [_, rows, inner] = extents(Self::NAME, &inputs[0])?;
        if inputs.len() != self.arity() {
            let problem = format!("{} inputs; {} would fit", inputs.len(), self.arity());
            return Err(ShapeError::new(Self::NAME, problem));
        }
        let per_row = Meta::new([rows], DType::F32);
        let weight = match self.affine {
            Affine::PerPlace => Meta::new([inner], DType::F32),
            _ => per_row.clone(),
        };
        let mut wanted = vec![("the weight or bias", weight); self.arity() - 1];
        if self.running {
            wanted[..2].fill(("a running statistic", per_row.clone()));
            wanted[2] = ("the momentum", Meta::new([], DType::F32));
        }
        for ((what, want), got) in wanted.iter().zip(&inputs[1..]) {
            if want != got {
                let problem = format!("{what} is {} {}; {} {} would fit", got.dtype, got.shape, want.dtype, want.shape);
                return Err(ShapeError::new(Self::NAME, problem));
            }
        }
        let mut outputs = vec![inputs[0].clone(), Meta::new([2, rows], DType::F32)];
        if self.running {
            outputs.extend([per_row.clone(), per_row]);
        }
        Ok(outputs)
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| op.vjp(v))
    }

    fn lower(&self) -> Lowering<Self> {
        match self.running {
            false => Lowering::Kernel(Norm::lower_with),
            true => Lowering::InPlace(Norm::lower_with, &[(2, 1), (3, 2)], None),
        }
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let eps = self.eps() as f64;
        let weight = inputs.get(self.weight_at()).filter(|_| self.affine != Affine::None);
        let bias = inputs.get(self.weight_at() + 1);
        let (y, stats, variances) = reference::forward(&inputs[0], weight, bias, self.affine, self.center, eps);
        let mut outputs = vec![y, stats];
        if self.running {
            let n = inputs[0].shape[0] * inputs[0].shape[2];
            let statistics = [&inputs[1], &inputs[2], &inputs[3]];
            outputs.extend(reference::running(&outputs[1], &variances, n, statistics));
        }
        outputs
    }

    fn samples() -> Vec<Sample<Self>> {
        let mut samples: Vec<_> = cases()
            .into_iter()
            .enumerate()
            .map(|(i, (shape, center, affine, bias, running))| {
                let op = Norm { eps: 1e-5f32.to_bits(), center, affine, bias, running };
                let rows = Input::uniform([shape[1]], 0.5, 1.5, 3);
                let mut inputs = vec![Input::uniform(shape, -1.0, 2.0, i as u64)];
                if running {
                    inputs.extend([rows.clone(), rows.clone(), Input::floats([], &[0.1])]);
                }
                let weight = if affine == Affine::PerPlace { Input::uniform([shape[2]], 0.5, 1.5, 4) } else { rows };
                inputs.resize(op.arity(), weight);
                Sample::new(op, inputs, Tolerance::OfLargest(4e-6))
            })
            .collect();
        let mut viewed = samples[1].clone();
        viewed.inputs[0].as_view = true;
        samples.push(viewed);
        // A row of equal numbers, one with a large mean, one with a NaN.
        let odd = [7e4, 7e4, 7e4, 7e4, 7e4, 1e4, 10001.0, 10002.0, 10003.0, 10004.0, 1.0, f32::NAN, 1.0, 2.0, 3.0];
        let op = Norm { eps: 1e-5f32.to_bits(), center: true, affine: Affine::None, bias: false, running: false };
        samples.push(Sample::new(op, vec![Input::floats([1, 3, 5], &odd)], Tolerance::Relative(1e-5)).rough());
        samples
    }
}

/// Shape, centre, affine, bias, running.
fn cases() -> Vec<([usize; 3], bool, Affine, bool, bool)> {
    use Affine::{None, PerPlace, PerRow};
    vec![
        ([1, 5, 7], true, None, false, false),
        ([3, 4, 6], true, PerRow, true, false),
        ([3, 4, 6], true, PerRow, true, true),
        ([5, 3, 37], true, PerRow, true, true), // longer than a workgroup's first turn
        ([131, 3, 1], true, PerRow, true, true), // numbers far apart
        ([1, 9, 67], true, PerPlace, true, false),
        ([1, 9, 67], true, PerPlace, false, false),
        ([1, 3, 1009], false, PerPlace, false, false),
        ([1, 6, 5], false, None, false, false),
        ([2, 3, 11], true, None, false, true),
        ([67, 2, 131], true, PerRow, true, true), // long rows: cut into chunks on a GPU
        ([67, 2, 131], true, None, false, false),
        ([1, 3, 8209], false, PerRow, false, false),
        ([0, 3, 4], true, PerRow, true, false),
        ([1, 0, 4], true, PerPlace, true, false),
        ([1, 4, 0], true, PerPlace, true, false),
    ]
}

/// What [`NormGrad`] computes, in primitive ops.
fn composed(op: &NormGrad, [x, stats, dy]: [&Tensor; 3], weight: Option<&Tensor>) -> Vec<Tensor> {
    let rows = x.shape()[1];
    let part = |k: usize| stats.narrow(0, k, 1).reshape([1, rows, 1]);
    let (mean, scale) = (part(0), part(1));
    let h = &(x - &mean) * &scale;
    let axes = [0, 2];
    let g = match (weight, op.affine) {
        (Some(w), Affine::PerRow) => dy * &w.reshape([1, rows, 1]),
        (Some(w), Affine::PerPlace) => dy * w,
        _ => dy.clone(),
    };
    let mut dx = &g - &(&h * &(&g * &h).mean_keep(&axes));
    if op.center {
        dx = &dx - &g.mean_keep(&axes);
    }
    let mut all = vec![&dx * &scale];
    let kept: &[isize] = match op.affine {
        Affine::None => return all,
        Affine::PerRow => &[0, 2],
        Affine::PerPlace => &[0, 1],
    };
    all.extend([(dy * &h).sum(kept), dy.sum(kept)]);
    all
}

impl Op for NormGrad {
    const NAME: &'static str = "norm_grad";

    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let [outer, rows, inner] = extents(Self::NAME, &inputs[0])?;
        let weights = match self.affine {
            Affine::None => None,
            Affine::PerRow => Some(Meta::new([rows], DType::F32)),
            Affine::PerPlace => Some(Meta::new([inner], DType::F32)),
        };
        let mut wanted = vec![inputs[0].clone(), Meta::new([2, rows], DType::F32), inputs[0].clone()];
        wanted.extend(weights.clone());
        if inputs != wanted || (self.affine == Affine::PerPlace && outer != 1) {
            let given: Vec<_> = inputs.iter().map(|m| m.shape.to_string()).collect();
            let fits: Vec<_> = wanted.iter().map(|m| m.shape.to_string()).collect();
            let problem = format!("the inputs are {}; f32 {} would fit", given.join(", "), fits.join(", "));
            return Err(ShapeError::new(Self::NAME, problem));
        }
        let mut outputs = vec![inputs[0].clone()];
        outputs.extend(weights.iter().cloned().chain(weights.clone()));
        Ok(outputs)
    }

    fn backward(&self) -> Backward<Self> {
        Backward::Rule(|op, v| {
            // Through handles of their own, so that a derivative stops at the inputs, however they depend on each
            // other.
            let own: Vec<Tensor> = v.inputs.iter().map(Tensor::alias).collect();
            let outputs = composed(op, [&own[0], &own[1], &own[2]], own.get(3));
            let pairs = outputs.iter().zip(v.cotangents).filter_map(|(y, c)| Some((y, c.as_ref()?)));
            let (outputs, cotangents): (Vec<_>, Vec<_>) = pairs.unzip();
            autodiff::try_vjp(&outputs, &cotangents, &own.iter().collect::<Vec<_>>())
        })
    }

    fn lower(&self) -> Lowering<Self> {
        Lowering::Kernel(|op, cx| {
            let shape = extents(Self::NAME, cx.meta(0)).expect("inferred");
            let (x, stats, dy) = (cx.input(0), cx.input(1), cx.input(2));
            let weight = if op.affine == Affine::None { x } else { cx.input(3) };
            if let Some(cut) = split::Cut::of(shape, op.affine, cx.caps()) {
                let dx = cx.output(0);
                let sums = match op.affine {
                    Affine::PerRow => [cx.output(1), cx.output(2)],
                    _ => [(); 2].map(|()| cx.temp(shape[1])),
                };
                return cut.gradient(op, [x, stats, dy, weight], dx, sums, cx);
            }
            let entry = if op.affine == Affine::PerRow { "grad_rows" } else { "grad" };
            let launch = LoweredDispatch::new(&SHADER, entry).read(x).read(stats).read(dy).read(weight);
            let mut launch = launch.finish(cx.output(0));
            if op.affine == Affine::PerRow {
                launch = launch.write(cx.output(1)).write(cx.output(2));
            }
            let launch = launch.constant("CENTER", op.center as u8).constant("WEIGHT", affine_constant(op.affine));
            cx.launch(over_rows(launch, shape, 0.0, cx.caps()));
            if op.affine != Affine::PerPlace {
                return;
            }
            let [_, rows, inner] = shape;
            let chunk = if cx.caps().software { rows.div_ceil(256).max(256) } else { rows.div_ceil(64).max(64) };
            let chunks = rows.div_ceil(chunk).max(1);
            let outputs = [cx.output(1), cx.output(2)];
            let parts = if chunks == 1 { outputs } else { [(); 2].map(|()| cx.temp(chunks * inner)) };
            let params = |n: usize| NormParams {
                rows: rows as u32,
                inner: inner as u32,
                n: n as u32,
                chunk: chunk as u32,
                eps: 0.0,
            };
            let columns = LoweredDispatch::new(&SHADER, "grad_columns").read(x).read(stats).read(dy);
            let columns = columns.write(parts[0]).write(parts[1]).params(&params(chunks * inner));
            cx.launch(columns.flat(chunks * inner, 64));
            if chunks > 1 {
                for (part, output) in parts.into_iter().zip(outputs) {
                    let sum = LoweredDispatch::new(&SHADER, "sum_chunks").read(part).write(output);
                    cx.launch(sum.params(&params(chunks * inner)).flat(inner, 64));
                }
            }
        })
    }

    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let [dx, dw, db] = reference::grad(&inputs[0], &inputs[1], &inputs[2], inputs.get(3), self.affine, self.center);
        if self.affine == Affine::None { vec![dx] } else { vec![dx, dw, db] }
    }

    fn samples() -> Vec<Sample<Self>> {
        let sample = |(i, (shape, center, affine)): (usize, ([usize; 3], bool, Affine))| {
            let x = Input::uniform(shape, -1.0, 2.0, i as u64);
            let array = Array::<f64>::floats(shape, x.values.clone());
            let (_, stats, _) = reference::forward(&array.view(), None, None, Affine::None, center, 1e-5);
            let Data::Float(stats) = stats.data else { unreachable!("statistics are floats") };
            let stats: Vec<f32> = stats.iter().map(|&v| v as f32).collect();
            let mut inputs = vec![x, Input::floats([2, shape[1]], &stats), Input::uniform(shape, -1.0, 1.0, 50)];
            match affine {
                Affine::None => {}
                Affine::PerRow => inputs.push(Input::uniform([shape[1]], 0.5, 1.5, 4)),
                Affine::PerPlace => inputs.push(Input::uniform([shape[2]], 0.5, 1.5, 4)),
            }
            Sample::new(NormGrad { center, affine }, inputs, Tolerance::OfLargest(4e-6))
        };
        let mut kinds: Vec<_> =
            cases().into_iter().map(|(shape, center, affine, ..)| (shape, center, affine)).collect();
        kinds.push(([1, 613, 5], true, Affine::PerPlace)); // several chunks of rows
        kinds.dedup();
        let mut samples: Vec<_> = kinds.into_iter().enumerate().map(sample).collect();
        let mut viewed = samples[1].clone();
        viewed.inputs.iter_mut().for_each(|i| i.as_view = i.meta.shape.rank() == 3);
        samples.push(viewed);
        samples
    }
}
