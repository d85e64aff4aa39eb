//! The steps of the optimizers, each in one launch over all parameters of a model, with the rules of `torch.optim` (the
//! formulas stand in `src/reference/update.rs`).
//!
//! What may change from step to step is an input: a row of [`HYPER`] numbers for each group of parameters. A row is the
//! L2 decay, the share of the parameter that is taken off beside the step, then:
//!
//! | rule | numbers |
//! | ---- | ------- |
//! | `Sgd` | rate |
//! | `Momentum` | rate, momentum, 1 - dampening, shares of the gradient and of the buffer in the step |
//! | `Adagrad` | rate, epsilon |
//! | `Adadelta` | rate, rho, 1 - rho, epsilon |
//! | `RmsProp` | rate, alpha, 1 - alpha, epsilon, momentum, 1 if centered |
//! | `Adam` | factor of the first moment, beta1, 1 - beta1, beta2, 1 - beta2, factor of the second moment's root, epsilon, factor of the gradient, 1 if amsgrad |
//! | `Adamax` | rate, beta1, 1 - beta1, beta2, epsilon |
//! | `Asgd` | rate, mu |
//! | `Rprop` | shrinking factor, growing factor, smallest step, largest step |
//!
//! A rule with more states also does the work of the same rule with fewer, for the groups whose numbers say so.

use crate::device::Shader;
use crate::error::ShapeError;
use crate::reference::{Array, Data, Real, View, update as reference};
use crate::tensor::{
    Backward, DType, InPlace, Input, LoweredDispatch, Lowering, Meta, NoGrad, Op, Overwrite, Sample, Tensor, Tolerance,
};

pub use crate::reference::update::{BLOCK, HYPER};

/// One step: inputs are the parameters, the states, the gradient, its scale, the numbers of each group, and the group
/// of each [`BLOCK`] elements; outputs are parameters and states.
///
/// The scale is one number, or two as [`LossScale`](super::loss_scale::LossScale) makes them: then the second is the
/// row at which the numbers of the first group are, or -1 for a step that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Update {
    /// Gradient descent.
    Sgd,
    /// Gradient descent with momentum, also Nesterov's.
    Momentum,
    /// Adagrad (Duchi et al. 2011).
    Adagrad,
    /// Adadelta (Zeiler 2012).
    Adadelta,
    /// RMSprop (Tieleman and Hinton 2012).
    RmsProp {
        /// Whether the running mean of the gradient is kept (Graves 2013).
        centered: bool,
        /// Whether there is a momentum buffer.
        momentum: bool,
    },
    /// Adam (Kingma and Ba 2015), and AdamW, NAdam and RAdam, which differ in their numbers.
    Adam {
        /// Whether the largest second moment is kept (Reddi et al. 2018).
        amsgrad: bool,
    },
    /// Adamax (Kingma and Ba 2015, section 7).
    Adamax,
    /// Averaged descent (Polyak and Juditsky 1992).
    Asgd,
    /// Resilient propagation (Riedmiller and Braun 1993).
    Rprop,
}

const SHADER: Shader = Shader::new(
    "update",
    concat!(include_str!("../../shaders/shared/flat.wgsl"), include_str!("../../shaders/update.wgsl")),
);

crate::params! { struct Count { n: u32 } }

/// Parameters from which on a GPU has enough to do though each invocation updates several.
const LARGE: usize = 1 << 20;

/// Output and input of the parameters and of up to three states.
const IN_PLACE: [(usize, usize); 4] = [(0, 0), (1, 1), (2, 2), (3, 3)];

impl Update {
    /// PyTorch's names of the states.
    pub fn states(self) -> &'static [&'static str] {
        match self {
            Update::Sgd => &[],
            Update::Momentum => &["momentum_buffer"],
            Update::Adagrad => &["sum"],
            Update::Adadelta => &["square_avg", "acc_delta"],
            Update::RmsProp { centered: false, momentum: false } => &["square_avg"],
            Update::RmsProp { centered: false, momentum: true } => &["square_avg", "momentum_buffer"],
            Update::RmsProp { centered: true, momentum: false } => &["square_avg", "grad_avg"],
            Update::RmsProp { centered: true, momentum: true } => &["square_avg", "grad_avg", "momentum_buffer"],
            Update::Adam { amsgrad: false } => &["exp_avg", "exp_avg_sq"],
            Update::Adam { amsgrad: true } => &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
            Update::Adamax => &["exp_avg", "exp_inf"],
            Update::Asgd => &["ax"],
            Update::Rprop => &["prev", "step_size"],
        }
    }

    /// The rule that does the work of both; they must be the same but for their states.
    pub(crate) fn join(self, other: Update) -> Update {
        match (self, other) {
            (Update::Sgd, Update::Momentum) => Update::Momentum,
            (Update::RmsProp { centered: a, momentum: b }, Update::RmsProp { centered: c, momentum: d }) => {
                Update::RmsProp { centered: a || c, momentum: b || d }
            }
            (Update::Adam { amsgrad: a }, Update::Adam { amsgrad: b }) => Update::Adam { amsgrad: a || b },
            _ => self,
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Update::Sgd => "sgd",
            Update::Momentum => "momentum",
            Update::Adagrad => "adagrad",
            Update::Adadelta => "adadelta",
            Update::RmsProp { centered: false, momentum: false } => "rmsprop",
            Update::RmsProp { centered: false, momentum: true } => "rmsprop_momentum",
            Update::RmsProp { centered: true, momentum: false } => "rmsprop_centered",
            Update::RmsProp { centered: true, momentum: true } => "rmsprop_centered_momentum",
            Update::Adam { amsgrad: false } => "adam",
            Update::Adam { amsgrad: true } => "amsgrad",
            Update::Adamax => "adamax",
            Update::Asgd => "asgd",
            Update::Rprop => "rprop",
        }
    }
}

impl Op for Update {
    const NAME: &'static str = "update";
    fn infer(&self, inputs: &[Meta]) -> Result<Vec<Meta>, ShapeError> {
        let count = self.states().len();
        let n = inputs.first().map_or(0, |p| p.shape.elements());
        let fits = inputs.len() == count + 5
            && inputs[..count + 2].iter().all(|m| m == &inputs[0] && m.dtype == DType::F32)
            && matches!(inputs[count + 2].shape.elements(), 1 | 2)
            && inputs[count + 3].shape.last() == Some(&HYPER)
            && inputs[count + 4] == Meta::new(n.div_ceil(BLOCK), DType::U32);
        if !fits {
            let shapes: Vec<String> = inputs.iter().map(|m| format!("{} {}", m.dtype, m.shape)).collect();
            let problem = format!(
                "{self:?} takes f32 parameters, {count} states and a gradient of one shape, a scale of one or two numbers, \
                 f32 [groups, {HYPER}] and u32 [{}], not {}",
                n.div_ceil(BLOCK),
                shapes.join(", ")
            );
            return Err(ShapeError::new("update", problem));
        }
        Ok(vec![inputs[0].clone(); count + 1])
    }
    fn backward(&self) -> Backward<Self> {
        Backward::None(NoGrad::Update)
    }
    fn lower(&self) -> Lowering<Self> {
        Lowering::InPlace(
            |op, cx| {
                let count = op.states().len();
                let p = cx.output(0);
                let mut launch = LoweredDispatch::new(&SHADER, op.entry()).write(p);
                for i in count + 1..count + 5 {
                    launch = launch.read(cx.input(i));
                }
                for k in 1..=count {
                    launch = launch.write(cx.output(k));
                }
                // On llvmpipe every load is dear: with 16 a step of Adam takes 0.4 of the time. A GPU must have enough
                // to do.
                let (software, large) = (cx.caps().software, p.len >= LARGE);
                let each = if software { 16 } else { 1 + 3 * large as usize };
                let guarded = cx.meta(count + 2).shape.elements() == 2;
                let launch = launch.constant("GUARDED", guarded as u32);
                let launch = launch.constant("EACH", each as u32).params(&Count { n: p.len as u32 });
                cx.launch(launch.independent(8 * each).flat(p.len.div_ceil(BLOCK) * BLOCK / each, 64));
            },
            &IN_PLACE[..self.states().len() + 1],
            Some(InPlace { run: Self::overwrite, parts: true }),
        )
    }
    fn reference<T: Real>(&self, inputs: &[View<T>]) -> Vec<Array<T>> {
        let (slabs, others) = inputs.split_at(self.states().len() + 1);
        let mut slabs: Vec<Data<T>> = slabs.iter().map(reference::copy).collect();
        self.step(reference::Step { slabs: &mut slabs, others, parts: &[0] });
        slabs.into_iter().map(|data| Array::new(inputs[0].shape, data)).collect()
    }
    fn samples() -> Vec<Sample<Self>> {
        /// Two groups: decays, then what the rule takes, the second group's twice the first's where it is a rate.
        fn call(op: Update, n: usize, numbers: &[f32]) -> Sample<Update> {
            let x = |low, seed| Input::uniform([n], low, 1.0, seed);
            let mut hyper = [0.0; 2 * HYPER];
            for (row, decay) in hyper.chunks_mut(HYPER).zip([0.0, 0.01]) {
                row[..2].fill(decay);
                row[2..2 + numbers.len()].copy_from_slice(numbers);
            }
            hyper[HYPER + 2] *= 2.0;
            // Second moments above the squares of the first, as they are.
            let mut inputs = vec![x(-1.0, 1)];
            inputs.extend((0..op.states().len() as u64).map(|k| x(if k == 1 { 1e-2 } else { 1e-3 }, 2 + k)));
            if matches!(op, Update::RmsProp { centered: true, .. }) {
                inputs[1] = Input::uniform([n], 1.0, 2.0, 9);
            }
            inputs.extend([x(-1.0, 5), Input::floats([1], &[0.7]), Input::floats([2, HYPER], &hyper)]);
            inputs.push(Input::below([n.div_ceil(BLOCK)], 2, 6));
            Sample::new(op, inputs, Tolerance::OfLargest(2e-6))
        }
        /// The same with a scale of two numbers.
        fn guarded(mut sample: Sample<Update>, row: f32) -> Sample<Update> {
            let at = sample.op.states().len() + 2;
            sample.inputs[at] = Input::floats([2], &[0.7, row]);
            // A row of zeros before those of the groups, so that row 1 is theirs.
            let mut values = vec![0.0; HYPER];
            values.append(&mut sample.inputs[at + 1].values);
            let hyper: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
            sample.inputs[at + 1] = Input::floats([3, HYPER], &hyper);
            sample
        }
        let rms = |centered, momentum| Update::RmsProp { centered, momentum };
        let rms_numbers = |centered| [0.01, 0.9, 0.1, 1e-8, 0.9, centered];
        let adam = [0.01, 0.9, 0.1, 0.999, 0.001, 3.0, 1e-8, 0.002, 1.0];
        vec![
            call(Update::Sgd, 131, &[0.1]),
            call(Update::Sgd, 0, &[0.1]),
            call(Update::Momentum, 131, &[0.1, 0.9, 0.7, 1.0, 0.9]),
            call(Update::Adagrad, 131, &[0.1, 1e-10]),
            call(Update::Adadelta, 131, &[1.0, 0.9, 0.1, 1e-6]),
            call(rms(false, false), 131, &rms_numbers(0.0)),
            call(rms(false, true), 131, &rms_numbers(0.0)),
            call(rms(true, false), 131, &rms_numbers(1.0)),
            call(rms(true, true), 131, &rms_numbers(1.0)),
            call(Update::Adam { amsgrad: false }, 131, &adam),
            call(Update::Adam { amsgrad: false }, 1, &adam),
            call(Update::Adam { amsgrad: true }, 131, &adam),
            call(Update::Adamax, 131, &[0.01, 0.9, 0.1, 0.999, 1e-8]),
            call(Update::Asgd, 131, &[0.1, 0.3]),
            call(Update::Rprop, 131, &[0.5, 1.2, 1e-6, 50.0]).rough(),
            guarded(call(Update::Momentum, 131, &[0.1, 0.9, 0.7, 1.0, 0.9]), 1.0),
            guarded(call(Update::Adam { amsgrad: true }, 131, &adam), 1.0),
            Sample { tolerance: Tolerance::Exact, ..guarded(call(Update::Adam { amsgrad: false }, 131, &adam), -1.0) },
        ]
    }
}

impl Update {
    fn step<T: Real>(self, step: reference::Step<T>) {
        match self {
            Update::Sgd => reference::sgd(step),
            Update::Momentum => reference::momentum(step),
            Update::Adagrad => reference::adagrad(step),
            Update::Adadelta => reference::adadelta(step),
            Update::RmsProp { centered, momentum } => reference::rmsprop(step, centered, momentum),
            Update::Adam { amsgrad } => reference::adam(step, amsgrad),
            Update::Adamax => reference::adamax(step),
            Update::Asgd => reference::asgd(step),
            Update::Rprop => reference::rprop(step),
        }
    }

    fn overwrite(&self, Overwrite { elements, others, parts, .. }: Overwrite) {
        self.step(reference::Step { slabs: elements, others, parts });
    }

    /// One step of one tensor by numbers of one's own: parameter, states and gradient have one shape, `numbers` is a
    /// row as the head of this file lists it. Gives the parameter and the states.
    ///
    /// # Errors
    /// A fault of the device.
    ///
    /// # Panics
    /// If the shapes differ, or if there are not as many states as [`Update::states`] names.
    #[track_caller]
    pub fn apply(
        self,
        parameter: &Tensor,
        states: &[&Tensor],
        gradient: &Tensor,
        numbers: &[f32],
    ) -> crate::Result<Vec<Tensor>> {
        let device = parameter.device();
        let mut row = numbers.to_vec();
        row.resize(HYPER, 0.0);
        let hyper = Tensor::from_slice(device, &row, [1, HYPER])?;
        let scale = Tensor::ones(device, [1]);
        let groups = Tensor::full(device, [parameter.elements().div_ceil(BLOCK)], 0u32);
        let mut inputs = vec![parameter];
        inputs.extend(states);
        inputs.extend([gradient, &scale, &hyper, &groups]);
        Ok(Tensor::apply_all(self, &inputs))
    }
}
