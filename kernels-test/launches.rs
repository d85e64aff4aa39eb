//! Every launch of every sample in the registry, lowered for four kinds of adapter without opening any.
//!
//! A kernel variant for a discrete GPU must not wait for a discrete GPU to be checked: what it binds, how large its
//! workgroups are and whether it translates to Metal's language can be read from its text.

use std::sync::OnceLock;

use wgrad::ops::REGISTRY;
use wgrad::tensor::{AnyLowering, Caps, Input, Layout, Lower, LoweredDispatch, Meta, Scalar, Slot, Store, Virtual};

/// A kind of adapter, and what a lowering is told about it.
pub struct Adapter {
    pub name: &'static str,
    pub caps: Caps,
}

/// WebGPU's default limits are the floor; a real GPU, with and without one subgroup size; and llvmpipe.
pub static ADAPTERS: [Adapter; 4] = [
    Adapter { name: "WebGPU defaults", caps: caps(false, 0, 128 << 20, 8) },
    Adapter { name: "GPU, subgroups of 32", caps: caps(false, 32, (1 << 31) - 4, 32) },
    Adapter { name: "GPU, subgroups of several sizes", caps: caps(false, 0, (1 << 31) - 4, 32) },
    Adapter { name: "software, subgroups of 8", caps: caps(true, 8, 128 << 20, 32) },
];

const fn caps(software: bool, subgroup: u32, max_binding: u64, max_bindings: u32) -> Caps {
    Caps { software, subgroup, max_binding, max_bindings }
}

/// One launch and where it came from.
pub struct Launch {
    /// The op with its attributes, and the shapes of its inputs.
    pub call: String,
    pub adapter: &'static Adapter,
    pub dispatch: LoweredDispatch,
}

/// The expression of one elementwise sample, and the types it is used with.
pub struct Expression {
    pub call: String,
    pub scalar: Scalar,
    pub inputs: Vec<Meta>,
    pub output: Meta,
}

/// What the samples of the registry lower to.
#[derive(Default)]
pub struct Lowered {
    pub launches: Vec<Launch>,
    pub expressions: Vec<Expression>,
    /// Names of the entries of which some sample lowers to kernels of its own.
    pub with_kernels: Vec<&'static str>,
}

/// All of them, made once.
pub fn all() -> &'static Lowered {
    static ALL: OnceLock<Lowered> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = Lowered::default();
        for entry in REGISTRY {
            for sample in (entry.samples)() {
                let inputs: Vec<Meta> = sample.inputs.iter().map(|i| i.meta.clone()).collect();
                let shapes: Vec<String> = inputs.iter().map(|m| format!("{} {}", m.dtype, m.shape)).collect();
                let call = format!("{:?} of {}", sample.op, shapes.join(", "));
                let outputs = sample.op.infer(&inputs).unwrap_or_else(|e| panic!("{call}: {e}"));
                let (lower, pairs) = match sample.op.lower() {
                    AnyLowering::View(_) | AnyLowering::Pack(_) => continue,
                    AnyLowering::Elementwise(scalar) => {
                        let scalar = scalar(&inputs);
                        let output = outputs[0].clone();
                        all.expressions.push(Expression { call, scalar, inputs, output });
                        continue;
                    }
                    AnyLowering::Kernel(lower) => (lower, &[][..]),
                    AnyLowering::InPlace(lower, pairs) => (lower, pairs),
                };
                if all.with_kernels.last() != Some(&entry.name) {
                    all.with_kernels.push(entry.name);
                }
                for adapter in &ADAPTERS {
                    let mut memory = Memory::new(&sample.inputs, &outputs, pairs);
                    lower(&mut Lower::new(&mut memory, &inputs, &outputs, adapter.caps));
                    all.launches.extend(memory.launches.into_iter().map(|dispatch| Launch {
                        call: call.clone(),
                        adapter,
                        dispatch,
                    }));
                }
            }
        }
        all
    })
}

/// A planner that gives every value a buffer of its own. An output that is computed in place has its input's.
struct Memory<'a> {
    inputs: &'a [Input],
    outputs: &'a [Meta],
    pairs: &'a [(usize, usize)],
    buffers: u32,
    launches: Vec<LoweredDispatch>,
}

impl<'a> Memory<'a> {
    fn new(inputs: &'a [Input], outputs: &'a [Meta], pairs: &'a [(usize, usize)]) -> Self {
        Memory { inputs, outputs, pairs, buffers: (inputs.len() + outputs.len()) as u32, launches: Vec::new() }
    }
}

impl Store for Memory<'_> {
    fn dense(&mut self, i: usize) -> Slot {
        Slot { buffer: Virtual(i as u32), offset: 0, len: self.inputs[i].meta.shape.elements() }
    }

    fn strided(&mut self, i: usize) -> (Slot, Layout) {
        let input = &self.inputs[i];
        if input.as_view {
            let (layout, len) = input.view_layout();
            return (Slot { buffer: Virtual(i as u32), offset: 0, len }, layout);
        }
        (self.dense(i), Layout::contiguous(input.meta.shape.clone(), 0))
    }

    fn temp(&mut self, elements: usize) -> Slot {
        self.buffers += 1;
        Slot { buffer: Virtual(self.buffers - 1), offset: 0, len: elements }
    }

    fn output(&mut self, k: usize) -> Slot {
        let buffer = match self.pairs.iter().find(|&&(output, _)| output == k) {
            Some(&(_, input)) => input,
            None => self.inputs.len() + k,
        };
        Slot { buffer: Virtual(buffer as u32), offset: 0, len: self.outputs[k].shape.elements() }
    }

    fn push(&mut self, launch: LoweredDispatch) {
        self.launches.push(launch);
    }
}
