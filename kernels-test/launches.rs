//! Every launch of every sample in the registry, and of a training step, planned for four kinds of adapter without
//! opening any.
//!
//! A kernel variant for a discrete GPU must not wait for a discrete GPU to be checked: what it binds, how large its
//! workgroups are and whether it translates to Metal's language can be read from its text.

use std::sync::{Arc, LazyLock, OnceLock};

use wgrad::Device;
use wgrad::nn::{Conv2d, Dropout, Flatten, Init, Linear, MaxPool2d, Module, Parameters, Pass, Relu, Sequential, Tanh};
use wgrad::ops::{Conv2dOptions, Padding, Pool2dOptions, REGISTRY};
use wgrad::ops::{conv2d, matmul};
use wgrad::selftest::halved;
use wgrad::tensor::{AnyLowering, Caps, Input, LoweredDispatch, Tensor};

use crate::registry::tensor;

/// A kind of adapter, and what a lowering is told about it.
pub struct Adapter {
    pub name: &'static str,
    pub caps: Caps,
}

/// WebGPU's default limits are the floor; a real GPU, with and without one subgroup size; and llvmpipe.
pub static ADAPTERS: [Adapter; 4] = [
    Adapter { name: "WebGPU defaults", caps: caps(false, 0, 128 << 20, 8, false, [16 << 10, 256]) },
    Adapter { name: "GPU, subgroups of 32", caps: caps(false, 32, (1 << 31) - 4, 32, true, [32 << 10, 1024]) },
    Adapter { name: "GPU, subgroups of several sizes", caps: caps(false, 0, (1 << 31) - 4, 32, false, [32 << 10, 0]) },
    Adapter { name: "software, subgroups of 8", caps: caps(true, 8, 128 << 20, 32, true, [32 << 10, 0]) },
];

/// GPUs on which a product or a convolution is made by each of the kernels there are for it, wherever it can serve;
/// with cooperative matrices of either size.
static VARIANTS: LazyLock<Vec<Adapter>> = LazyLock::new(|| {
    let names = || matmul::variant_names().chain(conv2d::variant_names());
    let gpu = Caps { merge: 0, ..ADAPTERS[1].caps };
    let on = |matrices| move |name| Adapter { name, caps: Caps { variant: Some(name), matrices, ..gpu } };
    let cooperative = names().filter(|name| name.contains("coop"));
    names().map(on(16)).chain(cooperative.map(on(8))).collect()
});

const fn caps(
    software: bool,
    subgroup: u32,
    max_binding: u64,
    max_bindings: u32,
    native_half: bool,
    [workgroup_memory, merge]: [u32; 2],
) -> Caps {
    Caps {
        software,
        subgroup,
        max_binding,
        max_bindings,
        native_half,
        variant: None,
        matrices: 0,
        workgroup_memory,
        merge,
    }
}

/// One launch and where it came from.
pub struct Launch {
    /// The op with its attributes, and its inputs.
    pub call: String,
    pub adapter: &'static Adapter,
    pub dispatch: LoweredDispatch,
}

/// What the registry's samples are planned as.
#[derive(Default)]
pub struct Lowered {
    pub launches: Vec<Launch>,
    /// Names of the entries of which some sample has kernels of its own.
    pub with_kernels: Vec<&'static str>,
}

/// All of them, made once.
pub fn all() -> &'static Lowered {
    static ALL: OnceLock<Lowered> = OnceLock::new();
    ALL.get_or_init(|| {
        let device = Device::cpu();
        let mut all = Lowered::default();
        for entry in REGISTRY {
            let samples = (entry.samples)();
            // Whatever reads floats also reads halves.
            let halves: Vec<_> = samples.iter().map(halved).collect();
            for sample in samples.into_iter().chain(halves) {
                let inputs: Vec<Tensor> = sample.inputs.iter().map(|input| tensor(&device, input)).collect();
                let call = format!("{:?} of {inputs:?}", sample.op);
                let outputs = Tensor::try_apply_any(Arc::clone(&sample.op), &inputs.iter().collect::<Vec<_>>());
                let outputs = outputs.unwrap_or_else(|e| panic!("{call}: {e}"));
                let outputs: Vec<&Tensor> = outputs.iter().collect();
                all.plan(&call, &outputs, &ADAPTERS);
                if entry.name == "matmul" || entry.name.starts_with("conv2d") {
                    all.plan(&call, &outputs, &VARIANTS);
                }
                let lowering = sample.op.lower();
                let own = matches!(lowering, AnyLowering::InPlace(..)) || lowering.kernel().is_some();
                if own && all.with_kernels.last() != Some(&entry.name) {
                    all.with_kernels.push(entry.name);
                }
            }
        }
        let step = training_step(&device);
        all.plan("a training step", &step.iter().collect::<Vec<_>>(), &ADAPTERS);
        all
    })
}

/// The loss of a small CNN and its gradients: what the planner fuses across ops stands in no sample.
fn training_step(device: &Device) -> Vec<Tensor> {
    let init = &mut Init::new(device, 0);
    let same = Conv2dOptions { padding: Padding::Same, ..Default::default() };
    let model = Sequential::new()
        .then(Conv2d::new(init, 1, 8, [5, 5], same).unwrap())
        .then(Relu)
        .then(MaxPool2d(Pool2dOptions::new([2, 2])))
        .then(Flatten)
        .then(Linear::new(init, 8 * 7 * 7, 32).unwrap())
        .then(Tanh)
        .then(Dropout::new(0.5))
        .then(Linear::new(init, 32, 10).unwrap());
    let pictures = tensor(device, &Input::uniform([3, 1, 14, 14], 0.0, 1.0, 1));
    let labels = tensor(device, &Input::below([3], 10, 2));
    let loss = model.forward(&pictures, &mut Pass::train(0)).cross_entropy(&labels);
    let params: Vec<&Tensor> = model.named_parameters().into_iter().map(|(_, param)| param.get()).collect();
    let mut results = wgrad::autodiff::grad(&loss, &params);
    results.push(loss);
    results
}

impl Lowered {
    fn plan(&mut self, call: &str, outputs: &[&Tensor], adapters: &'static [Adapter]) {
        for adapter in adapters {
            for dispatch in wgrad::plan::launches(outputs, adapter.caps) {
                self.launches.push(Launch { call: call.to_string(), adapter, dispatch });
            }
        }
    }
}
