//! What an op's lowering may ask for and produce: slots of memory that have no address yet, and launches over them.

use std::borrow::Cow;

use super::{Layout, Meta};
use crate::device::{ALIGN, Shader};

/// A buffer of a plan before it has memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Virtual(pub u32);

/// A dense range of a virtual buffer, in elements; it starts at a multiple of 256 bytes, so it can be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The buffer.
    pub buffer: Virtual,
    /// First element.
    pub offset: usize,
    /// Number of elements.
    pub len: usize,
    /// Whether they are halves, two in a word. A kernel binds them for reading like any floats: the planner makes its
    /// text widen what it reads.
    pub half: bool,
}

impl Slot {
    /// Its first byte, and how many bytes it takes: whole words.
    pub fn bytes(&self) -> (u64, u64) {
        ((self.offset * self.width()) as u64, (self.len * self.width()).next_multiple_of(4) as u64)
    }

    /// The range of it that can be bound for `len` elements from `first` on, and where in that they begin.
    pub fn narrowed(self, first: usize, len: usize) -> (Slot, usize) {
        let aligned = ALIGN as usize / self.width();
        let begin = first / aligned * aligned;
        (Slot { offset: self.offset + begin, len: first + len - begin, ..self }, first - begin)
    }

    /// Bytes of an element.
    fn width(&self) -> usize {
        if self.half { 2 } else { 4 }
    }
}

/// One binding of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// What is bound.
    pub slot: Slot,
    /// Whether the kernel writes it.
    pub write: bool,
}

/// What the adapter can do, for choosing between variants of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// A software rasteriser: loads are dear, barriers dearer, lanes few.
    pub software: bool,
    /// The one subgroup size of the adapter, or 0.
    pub subgroup: u32,
    /// The longest binding, in bytes.
    pub max_binding: u64,
    /// Storage buffers a kernel may bind.
    pub max_bindings: u32,
    /// The variant of a kernel to take wherever it can serve, by name: for tests and measurements.
    pub variant: Option<&'static str>,
    /// Whether kernels may store 16-bit floats; if not, halves are packed by hand.
    pub native_half: bool,
    /// Rows and columns of the cooperative matrices that kernels may use, halves in and singles out; 0: none.
    pub matrices: u32,
    /// Bytes of memory that a workgroup may share.
    pub workgroup_memory: u32,
    /// Invocations of the one workgroup in which small launches that follow each other are merged; 0: none are.
    pub merge: u32,
}

/// What a large GPU does with a launch that waits for the one before, some 5 us, in turns of a loop of one workgroup,
/// each of which loads and computes a little: 25 ns. A launch that takes no more of them is merged with its neighbours.
pub(crate) const TURNS_OF_A_LAUNCH: usize = 200;
/// The same for what an invocation takes besides its loop: the time until its first loads are there.
const TURNS_AROUND: usize = 8;
/// What a software rasteriser does in such turns, of 64 invocations and some 0.1 us each, while it hands a launch to its
/// threads.
const TURNS_OF_A_SOFTWARE_LAUNCH: usize = 600;

/// Whether an adapter can run a variant of a kernel.
pub type Serves = fn(&Caps) -> bool;

/// The variants of kernels among which an op may choose ([`Caps::variant`]), and which adapters can run them.
pub const VARIANTS: [(&str, Serves); 22] = [
    ("plain", |_| true),
    ("along_k", |_| true),
    ("broadcast", Caps::can_broadcast),
    ("tile32", |_| true),
    ("tile32x64", |_| true),
    ("tile64", |_| true),
    ("tile128", Caps::has_large_tiles),
    ("tile32_vec4", |_| true),
    ("tile32x64_vec4", |_| true),
    ("tile64_vec4", |_| true),
    ("tile128_vec4", Caps::has_large_tiles),
    ("cooperative4", Caps::has_matrices),
    ("cooperative8", Caps::has_matrices),
    ("columns", |_| true),
    ("direct", |_| true),
    ("implicit_broadcast", Caps::can_broadcast),
    ("implicit32", |_| true),
    ("implicit32x64", |_| true),
    ("implicit64", |_| true),
    ("implicit128", Caps::has_large_tiles),
    ("implicit_coop4", Caps::has_matrices),
    ("implicit_coop8", Caps::has_matrices),
];

impl Caps {
    /// Whether kernels of subgroups of 8 can run.
    pub fn can_broadcast(&self) -> bool {
        self.subgroup == 8
    }

    /// Whether kernels of the largest tiles can run, which take 32 KiB of workgroup memory.
    pub fn has_large_tiles(&self) -> bool {
        self.workgroup_memory >= 32 << 10
    }

    /// Whether kernels of cooperative matrices can run.
    pub fn has_matrices(&self) -> bool {
        self.matrices != 0
    }

    /// Whether a launch is small enough to be merged with its neighbours: by its invocations and the turns of their
    /// longest loop. A lowering that has the choice gives it a kernel then whose invocations are
    /// [independent](LoweredDispatch::independent).
    pub fn merges(&self, invocations: usize, turns: usize) -> bool {
        let most = if self.software { TURNS_OF_A_SOFTWARE_LAUNCH } else { TURNS_OF_A_LAUNCH };
        self.merge > 0 && self.turns(invocations, turns) <= most
    }

    /// How many turns one workgroup takes for a launch that is merged.
    pub(crate) fn turns(&self, invocations: usize, turns: usize) -> usize {
        invocations.div_ceil(self.merge as usize) * (TURNS_AROUND + turns)
    }
}

/// How many invocations a launch needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoweredWork {
    /// At least this many in a row, in workgroups of this size; folded over y and z beyond 65,535 workgroups, so the
    /// kernel forms its index from `workgroup_id` and `num_workgroups` (see `shaders/shared/flat.wgsl`).
    Flat(usize, u32),
    /// These workgroups.
    Groups([usize; 3]),
}

impl LoweredWork {
    /// Workgroups per dimension, folded where one dimension does not hold them.
    pub(crate) fn grid(&self) -> [u32; 3] {
        const MOST: usize = 65_535;
        match *self {
            LoweredWork::Groups(g) => g.map(|n| n as u32),
            LoweredWork::Flat(n, size) => {
                let groups = n.div_ceil(size as usize);
                let z = groups.div_ceil(MOST * MOST);
                let y = groups.div_ceil(z).div_ceil(MOST);
                [groups.div_ceil(y * z) as u32, y as u32, z as u32]
            }
        }
    }
}

/// One launch before it has pipeline and memory.
#[derive(Debug, Clone, PartialEq)]
pub struct LoweredDispatch {
    /// The text.
    pub shader: Shader,
    /// Its entry point.
    pub entry: &'static str,
    /// Values of its `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Binding `k` of group 0.
    pub bindings: Vec<Bind>,
    /// The bytes of its `Params`.
    pub params: Vec<u8>,
    /// Name and offset of each field of `Params`, as Rust lays it out; a test holds it against the shader's.
    pub fields: Cow<'static, [(&'static str, usize)]>,
    /// Its extent.
    pub work: LoweredWork,
    /// The binding it stores through `epilogue`; see [`LoweredDispatch::finish`].
    pub finish: Option<usize>,
    /// The binding it loads through `load`; see [`LoweredDispatch::load`].
    pub load: Option<usize>,
    /// The turns of its longest loop, if its invocations are independent; see [`LoweredDispatch::independent`].
    pub turns: Option<usize>,
}

/// A struct of kernel parameters: at most 128 bytes of `u32`, `i32` and `f32`. Made by [`params!`](crate::params).
pub trait Params: bytemuck::Pod {
    /// Name and offset of each field.
    const FIELDS: &'static [(&'static str, usize)];
}

/// Declares a struct of kernel parameters whose fields match the `Params` of a shader, in order.
#[macro_export]
macro_rules! params {
    ($(#[$attr:meta])* $vis:vis struct $name:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        $(#[$attr])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, ::bytemuck::Pod, ::bytemuck::Zeroable)]
        $vis struct $name { $($field: $ty),* }
        impl $crate::tensor::Params for $name {
            const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), ::std::mem::offset_of!($name, $field))),*];
        }
    };
}

impl LoweredDispatch {
    /// A launch of `entry` in `shader`.
    pub fn new(shader: &Shader, entry: &'static str) -> Self {
        LoweredDispatch {
            shader: shader.clone(),
            entry,
            constants: Vec::new(),
            bindings: Vec::new(),
            params: Vec::new(),
            fields: Cow::Borrowed(&[]),
            work: LoweredWork::Groups([0; 3]),
            finish: None,
            load: None,
            turns: None,
        }
    }

    /// Sets an `override` constant.
    pub fn constant(mut self, name: &'static str, value: impl Into<f64>) -> Self {
        self.constants.push((name, value.into()));
        self
    }

    /// Binds the next binding number for reading.
    pub fn read(mut self, slot: Slot) -> Self {
        self.bindings.push(Bind { slot, write: false });
        self
    }

    /// Binds the next binding number for reading and writing.
    pub fn write(mut self, slot: Slot) -> Self {
        self.bindings.push(Bind { slot, write: true });
        self
    }

    /// [`LoweredDispatch::write`] for an `f32` output of an op that the kernel stores through `epilogue(value, i)` of
    /// `shaders/shared/epilogue.wgsl`, `i` being the row-major index of the element in the output: once each, as `y[i]
    /// = epilogue(value, i)`, when its value is final. The planner puts elementwise work behind it there. Of an
    /// output's launches none may read it after, and all that finish some of its elements say so.
    pub fn finish(mut self, slot: Slot) -> Self {
        self.finish = Some(self.bindings.len());
        self.write(slot)
    }

    /// [`LoweredDispatch::read`] for an input `x: array<u32>` that the kernel loads through `load(i)` of
    /// `shaders/shared/prologue.wgsl` alone, each element about once. The planner puts elementwise work before it
    /// there.
    pub fn load(mut self, slot: Slot) -> Self {
        self.load = Some(self.bindings.len());
        self.read(slot)
    }

    /// Says that no invocation needs another of its workgroup (no barrier, no workgroup memory, no subgroup operation),
    /// that each finds what it has to do by `flat_index` and ends at once if that is nothing, and how many turns its
    /// longest loop takes. Such a launch may run as part of another, in workgroups of any size `WG`.
    pub fn independent(mut self, turns: usize) -> Self {
        self.turns = Some(turns);
        self
    }

    /// Sets the parameters.
    pub fn params<P: Params>(mut self, params: &P) -> Self {
        self.params = bytemuck::bytes_of(params).to_vec();
        self.fields = Cow::Borrowed(P::FIELDS);
        self
    }

    /// At least `invocations` in a row, in workgroups of `size`.
    pub fn flat(mut self, invocations: usize, size: u32) -> Self {
        self.work = LoweredWork::Flat(invocations, size);
        self
    }

    /// Exactly these workgroups, at most 65,535 per dimension.
    pub fn groups(mut self, x: usize, y: usize, z: usize) -> Self {
        self.work = LoweredWork::Groups([x, y, z]);
        self
    }
}

/// A sum that somebody wants of an input of a lowering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumWanted(pub(crate) usize);

/// What the planner does for a lowering.
pub trait Store {
    /// Input `i` as a dense slot: its own memory, or a copy if it is a strided or unaligned view.
    fn dense(&mut self, i: usize) -> Slot;
    /// Input `i` where it lies: the slot of its whole buffer, and its layout in elements from the slot's start.
    fn strided(&mut self, i: usize) -> (Slot, Layout);
    /// Scratch memory, its content undefined.
    fn temp(&mut self, elements: usize) -> Slot;
    /// Puts output `k` where it is bound to be: inside another value's buffer, for a pack, or its own.
    fn output(&mut self, k: usize) -> Slot;
    /// The sum of input `i` over these axes, if the plan has it as a step of its own.
    fn sum_wanted(&self, i: usize, axes: &[usize]) -> Option<SumWanted>;
    /// Where that sum belongs; it is a step of its own no more.
    fn make_sum(&mut self, sum: SumWanted) -> Slot;
    /// Appends a launch.
    fn push(&mut self, launch: LoweredDispatch);
}

/// The context of one op's lowering.
pub struct Lower<'a> {
    store: &'a mut dyn Store,
    inputs: &'a [Meta],
    outputs: &'a [Meta],
    caps: Caps,
}

impl<'a> Lower<'a> {
    /// A context over a planner's store.
    pub fn new(store: &'a mut dyn Store, inputs: &'a [Meta], outputs: &'a [Meta], caps: Caps) -> Self {
        Lower { store, inputs, outputs, caps }
    }

    /// Shape and type of input `i`.
    pub fn meta(&self, i: usize) -> &'a Meta {
        &self.inputs[i]
    }

    /// How many inputs there are.
    pub fn arity(&self) -> usize {
        self.inputs.len()
    }

    /// Shape and type of output `k`.
    pub fn output_meta(&self, k: usize) -> &'a Meta {
        &self.outputs[k]
    }

    /// What the adapter can do.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// Input `i`, dense and row-major; copied first if it is a strided view.
    pub fn input(&mut self, i: usize) -> Slot {
        self.store.dense(i)
    }

    /// Input `i` where it lies, for kernels that take strides: its buffer and the layout inside it.
    pub fn strided(&mut self, i: usize) -> (Slot, Layout) {
        self.store.strided(i)
    }

    /// The memory of output `k`, dense and row-major. In an [in-place](super::Lowering::InPlace) lowering it holds the
    /// paired input's content.
    pub fn output(&mut self, k: usize) -> Slot {
        self.store.output(k)
    }

    /// Scratch memory for this op, its content undefined.
    pub fn temp(&mut self, elements: usize) -> Slot {
        self.store.temp(elements)
    }

    /// Whether the program sums input `i` over these axes, rising, in a step of its own: a lowering that loads each
    /// element of it anyhow may [make](Lower::make_sum) the sum beside its outputs.
    pub fn sum_wanted(&self, i: usize, axes: &[usize]) -> Option<SumWanted> {
        self.store.sum_wanted(i, axes)
    }

    /// The memory of a sum, dense over the axes that are left. Who asks for it must fill it.
    pub fn make_sum(&mut self, sum: SumWanted) -> Slot {
        self.store.make_sum(sum)
    }

    /// Appends a launch. One with no work is dropped.
    pub fn launch(&mut self, launch: LoweredDispatch) {
        let work = match launch.work {
            LoweredWork::Flat(n, _) => n,
            LoweredWork::Groups(g) => g.iter().product(),
        };
        if work > 0 {
            self.store.push(launch);
        }
    }
}
