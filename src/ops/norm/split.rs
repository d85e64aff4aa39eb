//! Few long rows on a real GPU: a workgroup for each would leave most of it idle, so rows are cut into chunks.

use super::{Affine, Norm, NormGrad, affine_constant};
use crate::device::Shader;
use crate::tensor::{Caps, Lower, LoweredDispatch, Slot};

const SHADER: Shader = Shader::new(
    "norm_split",
    concat!(
        include_str!("../../../shaders/shared/run.wgsl"),
        include_str!("../../../shaders/shared/epilogue.wgsl"),
        include_str!("../../../shaders/norm_split.wgsl")
    ),
);

crate::params! {
    struct SplitParams { rows: u32, inner: u32, n: u32, chunk: u32, chunks: u32, eps: f32 }
}

/// Invocations of a workgroup.
const GROUP: u32 = 256;
/// Shorter rows are read by one workgroup: a pass over them takes as long as a launch.
const LONG: usize = 8192;
/// With this many rows every processor has one.
const MANY: usize = 256;
/// No chunk is shorter, or reading it would cost less than waiting for its sum.
const SHORTEST: usize = 2048;

/// How the rows of an input are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    shape: [usize; 3],
    chunk: usize,
    chunks: usize,
}

impl Cut {
    /// Rows in chunks, if that is worth two more launches. Weights that differ within a row are not served.
    pub fn of(shape: [usize; 3], affine: Affine, caps: Caps) -> Option<Cut> {
        let [outer, rows, inner] = shape;
        let n = outer * inner;
        if caps.software || affine == Affine::PerPlace || n < LONG || rows >= MANY || rows == 0 {
            return None;
        }
        let chunk = n.div_ceil((2 * MANY / rows).clamp(1, n / SHORTEST));
        Some(Cut { shape, chunk, chunks: n.div_ceil(chunk) })
    }

    fn launch(self, launch: LoweredDispatch, workgroups: usize, eps: f32, cx: &mut Lower) {
        let [outer, rows, inner] = self.shape;
        let params = SplitParams {
            rows: rows as u32,
            inner: inner as u32,
            n: (outer * inner) as u32,
            chunk: self.chunk as u32,
            chunks: self.chunks as u32,
            eps,
        };
        cx.launch(launch.params(&params).flat(workgroups * GROUP as usize, GROUP));
    }

    /// Two numbers for each chunk of each row.
    fn parts(self, cx: &mut Lower) -> Slot {
        cx.temp(2 * self.shape[1] * self.chunks)
    }

    /// What [`Norm`](super::Norm) computes; `running` are the running mean and variance, and the momentum.
    pub fn forward(
        self,
        op: &Norm,
        [x, weight, bias]: [Slot; 3],
        [y, stats]: [Slot; 2],
        running: Option<[Slot; 3]>,
        cx: &mut Lower,
    ) {
        let (rows, center) = (self.shape[1], op.center as u8);
        let parts = self.parts(cx);
        let launch = LoweredDispatch::new(&SHADER, "chunk_statistics").constant("CENTER", center).read(x).write(parts);
        self.launch(launch, rows * self.chunks, op.eps(), cx);
        let entry = if running.is_some() { "merge_statistics_running" } else { "merge_statistics" };
        let mut launch = LoweredDispatch::new(&SHADER, entry).constant("CENTER", center).read(parts).write(stats);
        if let Some([mean, var, momentum]) = running {
            launch = launch.write(mean).write(var).read(momentum);
        }
        self.launch(launch, rows, op.eps(), cx);
        let launch = LoweredDispatch::new(&SHADER, "apply").constant("WEIGHT", affine_constant(op.affine));
        let launch = launch.constant("BIAS", op.bias as u8).read(x).read(stats).read(weight).read(bias).finish(y);
        self.launch(launch, rows * self.chunks, op.eps(), cx);
    }

    /// What [`NormGrad`](super::NormGrad) computes; `sums` are the gradients of weight and bias.
    pub fn gradient(self, op: &NormGrad, [x, stats, dy, weight]: [Slot; 4], dx: Slot, sums: [Slot; 2], cx: &mut Lower) {
        let rows = self.shape[1];
        let parts = self.parts(cx);
        let launch = LoweredDispatch::new(&SHADER, "chunk_sums").read(x).read(stats).read(dy).write(parts);
        self.launch(launch, rows * self.chunks, 0.0, cx);
        let launch = LoweredDispatch::new(&SHADER, "merge_sums").read(parts).write(sums[0]).write(sums[1]);
        self.launch(launch, rows, 0.0, cx);
        let launch = LoweredDispatch::new(&SHADER, "apply_gradient").constant("CENTER", op.center as u8);
        let launch = launch.constant("WEIGHT", affine_constant(op.affine)).read(x).read(stats).read(dy);
        let launch = launch.read(weight).read(sums[0]).read(sums[1]).finish(dx);
        self.launch(launch, rows * self.chunks, 0.0, cx);
    }
}
