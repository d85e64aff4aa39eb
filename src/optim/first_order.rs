//! What all optimizers share: groups of parameters, clipping, gradients that wait, and the step.

use super::loss_scale::{CHOICES, LossScaling, Scaler};
use super::replays::Ahead;
use super::slab::{Clip, Plan, Slab, Step, gradients, trainable};
use super::{Optimizer, OptimizerState, Schedule};
use crate::error::{Error, Result};
use crate::nn::{Param, Parameters};
use crate::ops::update::{HYPER, Update};
use crate::tensor::Tensor;

/// How one kind of optimizer turns its settings into the numbers of a step. Its formula is an [`Update`].
pub trait Rule: Send + Sync {
    /// The formula.
    fn update(&self) -> Update;

    /// The numbers of a step: L2 decay, share of the parameter that is taken off, and what the formula takes.
    fn numbers(&self, now: &Now) -> Vec<f64>;

    /// What a state starts at.
    fn initial(&self, _state: &str, _rate: f64) -> f64 {
        0.0
    }
}

/// The step that is about to be made.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Its number; the first is 1.
    pub step: u64,
    /// The learning rate.
    pub rate: f64,
    /// The momentum (the first beta), if the schedule moves it.
    pub momentum: Option<f64>,
}

/// An optimizer that follows the gradient by a rule: [`Sgd`](super::Sgd), [`Adam`](super::Adam) and the rest are this
/// with their rule.
pub struct FirstOrder<R> {
    pub(super) rule: R,
    schedule: Box<dyn Schedule>,
    /// Parameters with settings of their own.
    groups: Vec<(Matcher, FirstOrder<R>)>,
    maximize: bool,
    clip: Clip,
    norm: Option<Tensor>,
    scaler: Option<Scaler>,
    steps: u64,
    slab: Option<Slab>,
}

/// Whether a parameter of this name belongs to a group.
type Matcher = Box<dyn Fn(&str) -> bool + Send + Sync>;

impl<R: Rule> FirstOrder<R> {
    pub(super) fn of(rule: R, schedule: impl Schedule + 'static) -> Self {
        FirstOrder {
            rule,
            schedule: Box::new(schedule),
            groups: Vec::new(),
            maximize: false,
            clip: Clip::default(),
            norm: None,
            scaler: None,
            steps: 0,
            slab: None,
        }
    }

    /// With settings of their own for the parameters whose names start with `prefix`: rate, schedule, decay, and
    /// whatever else the rule has. The first group that fits counts.
    ///
    /// ```
    /// # use wgrad::optim::Adam;
    /// // A pretrained body moves slowly; no bias decays.
    /// let adam = Adam::new(1e-3)
    ///     .weight_decay(1e-2)
    ///     .group("body.", Adam::new(1e-5))
    ///     .group_where(|name| name.ends_with("bias"), Adam::new(1e-3));
    /// ```
    pub fn group(self, prefix: &str, settings: Self) -> Self {
        let prefix = prefix.to_string();
        self.group_where(move |name| name.starts_with(&prefix), settings)
    }

    /// [`FirstOrder::group`] for the parameters whose names fulfil a condition.
    pub fn group_where(mut self, fits: impl Fn(&str) -> bool + Send + Sync + 'static, settings: Self) -> Self {
        self.groups.push((Box::new(fits), settings));
        self
    }

    /// To make the loss larger instead.
    pub fn maximize(mut self) -> Self {
        self.maximize = true;
        self
    }

    /// With the gradients of all parameters scaled so that their norm, taken together, is at most `largest`, as
    /// `torch.nn.utils.clip_grad_norm_` does. It is computed on the device, in a constant number of launches;
    /// [`Optimizer::gradient_norm`] is the norm before.
    pub fn clip_norm(self, largest: f64) -> Self {
        self.clip_norm_of_order(largest, 2.0)
    }

    /// [`FirstOrder::clip_norm`] with the norm `(sum |g|^order)^(1 / order)`; of order infinity it is the largest
    /// `|g|`.
    ///
    /// # Panics
    /// If the order is not above 0.
    #[track_caller]
    pub fn clip_norm_of_order(mut self, largest: f64, order: f64) -> Self {
        assert!(order > 0.0, "clip_norm: a norm of order {order}; it must be above 0");
        self.clip.norm = Some((largest, order));
        self
    }

    /// With each number of the gradients held within `-largest` and `largest`; before the norm is taken, if both are
    /// asked for.
    pub fn clip_value(mut self, largest: f64) -> Self {
        self.clip.value = Some(largest);
        self
    }

    /// With the loss multiplied by a scale that finds itself, so that gradients in half precision neither vanish nor
    /// overflow (`torch.amp.GradScaler`): for models that compute in a [`mixed`](crate::nn::Pass::mixed) pass. Clipping
    /// and norms are those of the gradients without the scale. A step with a gradient that is not finite is skipped:
    /// parameters and state stay as they are, and it does not count in what depends on the number of steps, but for the
    /// schedule of the rate.
    ///
    /// ```
    /// # use wgrad::nn::{Init, Linear, Module, Pass};
    /// # use wgrad::optim::{Adam, LossScaling, Optimizer};
    /// # use wgrad::{Device, Tensor};
    /// # let device = Device::cpu();
    /// # let mut model = Linear::new(&mut Init::new(&device, 0), 3, 2)?;
    /// # let (x, labels) = (Tensor::ones(&device, [4, 3]), Tensor::full(&device, [4], 1u32));
    /// let mut optimizer = Adam::new(1e-3).loss_scaling(LossScaling::default());
    /// let mut pass = Pass::train(42).mixed();
    /// let loss = model.forward(&x, &mut pass).cross_entropy(&labels);
    /// optimizer.step(&mut model, &loss)?;
    /// assert_eq!(optimizer.loss_scale().unwrap().item()?, 65536.0);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn loss_scaling(mut self, settings: LossScaling) -> Self {
        self.scaler = Some(Scaler::new(settings));
        self
    }

    /// These settings, then those of the groups.
    fn settings(&self) -> impl Iterator<Item = &FirstOrder<R>> {
        std::iter::once(self).chain(self.groups.iter().map(|(_, settings)| settings))
    }

    /// Brings the parameters into a slab, unless they are in it; with a state, into a new one that starts there.
    fn prepare(&mut self, named: &[(String, &Param)], from: Option<&OptimizerState>) -> Result<()> {
        let mut slab = self.slab.take();
        let settings: Vec<&FirstOrder<R>> = self.settings().collect();
        let plan = Plan {
            update: self.update(),
            group_of: &|name| self.groups.iter().position(|(fits, _)| fits(name)).map_or(0, |i| i + 1),
            initial: &|group, state| settings[group].rule.initial(state, settings[group].schedule.rate(self.steps)),
        };
        let made = match from {
            Some(state) => Slab::gather(named, &plan, &state.tensors).map(|new| slab = Some(new)),
            None => Slab::of(&mut slab, named, &plan),
        };
        self.slab = slab;
        made
    }

    /// The formula that does the work of all groups.
    fn update(&self) -> Update {
        let rules = self.settings().map(|settings| settings.rule.update());
        rules.reduce(|a, b| if b.states().len() > a.states().len() { b.join(a) } else { a.join(b) }).expect("one group")
    }

    /// Takes the next step, or records it, by `take`, which gives the norm of the gradients.
    fn run(&mut self, take: impl FnOnce(&mut Slab, Step) -> Result<Option<Tensor>>) -> Result<()> {
        let hyper = self.hyper(self.steps);
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let groups = self.groups.len() + 1;
        let slab = self.slab.as_mut().expect("it was prepared");
        let step = Step { clip: self.clip, sign, hyper: &hyper, groups, scaler: self.scaler.as_mut() };
        self.norm = take(slab, step)?;
        self.steps += 1;
        Ok(())
    }

    /// The numbers of the step after `done` others: a row for each group; with a scaler so many times over, for each
    /// count of skipped steps.
    fn hyper(&self, done: u64) -> Vec<f64> {
        let Some(scaler) = &self.scaler else { return self.numbers(done, 0) };
        // The numbers of early steps first: a rule may build on those of the step before.
        let skipped = scaler.known()..scaler.known() + CHOICES;
        let mut choices: Vec<Vec<f64>> = skipped.rev().map(|skipped| self.numbers(done, skipped)).collect();
        choices.reverse();
        choices.concat()
    }

    /// The numbers of the step after `done` others, a row for each group, if so many of them were skipped.
    fn numbers(&self, done: u64, skipped: u64) -> Vec<f64> {
        let step = (done + 1).saturating_sub(skipped).max(1);
        let mut rows = Vec::new();
        for FirstOrder { rule, schedule, .. } in self.settings() {
            let now = Now { step, rate: schedule.rate(done), momentum: schedule.momentum(done) };
            let mut row = rule.numbers(&now);
            row.resize(HYPER, 0.0);
            rows.append(&mut row);
        }
        rows
    }

    /// The gradient of the loss, scaled if it is to be.
    #[track_caller]
    fn gradients(&mut self, loss: &Tensor, named: &[(String, &Param)]) -> Result<Vec<Tensor>> {
        let scale = self.scaler.as_mut().map(|scaler| scaler.scale(loss.device())).transpose()?;
        gradients(loss, named, scale)
    }
}

impl<R: Rule> Optimizer for FirstOrder<R> {
    #[track_caller]
    fn step(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        self.step_with_figures(model, loss, &[])
    }

    #[track_caller]
    fn step_with_figures(&mut self, model: &mut dyn Parameters, loss: &Tensor, figures: &[&Tensor]) -> Result<()> {
        let named = trainable(model)?;
        let gradients = self.gradients(loss, &named)?;
        self.prepare(&named, None)?;
        self.run(|slab, step| slab.step(model, gradients, &[&[loss], figures].concat(), step))
    }

    #[track_caller]
    fn step_with_gradients(&mut self, model: &mut dyn Parameters, gradients: &[Tensor]) -> Result<()> {
        let named = trainable(model)?;
        assert!(
            gradients.len() == named.len(),
            "step_with_gradients: {} gradients for {} trainable parameters",
            gradients.len(),
            named.len()
        );
        for ((name, param), gradient) in named.iter().zip(gradients) {
            assert!(
                param.get().meta() == gradient.meta(),
                "step_with_gradients: the parameter {name:?} is {} {}, its gradient {} {}",
                param.get().dtype(),
                param.get().shape(),
                gradient.dtype(),
                gradient.shape()
            );
        }
        self.prepare(&named, None)?;
        let mut gradients = gradients.to_vec();
        if let Some(scaler) = &mut self.scaler {
            // As those that may wait from micro-batches are.
            let scale = scaler.scale(gradients[0].device())?;
            gradients.iter_mut().for_each(|g| *g = &*g * &scale);
        }
        self.run(|slab, step| slab.step(model, gradients, &[], step))
    }

    #[track_caller]
    fn accumulate(&mut self, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        let named = trainable(model)?;
        let gradients = self.gradients(loss, &named)?;
        self.prepare(&named, None)?;
        self.slab.as_mut().expect("it was prepared").accumulate(model, gradients, loss)
    }

    #[track_caller]
    fn record_step(&mut self, model: &mut dyn Parameters, loss: &Tensor, before: &mut Vec<Tensor>) -> Result<()> {
        let named = trainable(model)?;
        let gradients = self.gradients(loss, &named)?;
        self.prepare(&named, None)?;
        self.run(|slab, step| slab.record(model, gradients, step, before))
    }

    fn gradient_norm(&self) -> Option<&Tensor> {
        self.norm.as_ref()
    }

    fn loss_scale(&self) -> Option<Tensor> {
        self.scaler.as_ref()?.current()
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn rate(&self) -> f64 {
        self.schedule.rate(self.steps)
    }

    fn state(&self) -> Result<OptimizerState> {
        let tensors = self.slab.as_ref().map_or(Ok(Vec::new()), Slab::remembered)?;
        let numbers = self.settings().enumerate().flat_map(|(i, settings)| {
            settings.schedule.state().into_iter().map(move |(name, x)| (format!("schedule.{i}.{name}"), x))
        });
        let mut numbers: Vec<(String, f64)> = numbers.collect();
        if let Some(scaler) = &self.scaler {
            numbers.extend(scaler.numbers()?);
        }
        Ok(OptimizerState { steps: self.steps, tensors, numbers })
    }

    fn load_state(&mut self, model: &mut dyn Parameters, state: &OptimizerState) -> Result<()> {
        let named = trainable(model)?;
        let states = self.update().states();
        let refuse = |what: String| {
            Err(Error::argument(what, "load the state of this kind of optimizer for a model of this form, or none"))
        };
        for known in &state.tensors {
            let Some((_, param)) = named.iter().find(|(name, _)| *name == known.parameter) else {
                return refuse(format!("the state is of a parameter {:?}, which this model lacks", known.parameter));
            };
            if !states.contains(&&*known.name) {
                return refuse(format!("the state holds {:?}, of which this optimizer knows nothing", known.name));
            }
            if param.get().meta() != known.value.meta() {
                let (want, have) = (param.get().shape(), known.value.shape());
                return refuse(format!("{} of {} is {have}, the parameter {want}", known.name, known.parameter));
            }
        }
        let missing = named.iter().flat_map(|(name, _)| states.iter().map(move |state| (name, state)));
        for (name, kind) in missing.filter(|_| state.steps > 0) {
            if !state.tensors.iter().any(|known| known.parameter == *name && known.name == **kind) {
                return refuse(format!("the state lacks {kind} of the parameter {name:?}"));
            }
        }
        if let Some(scaler) = &mut self.scaler {
            scaler.load(named[0].1.get().device(), &state.numbers)?;
        }
        self.steps = state.steps;
        for (i, settings) in self.settings().enumerate() {
            let prefix = format!("schedule.{i}.");
            let mine = state.numbers.iter().filter_map(|(name, x)| Some((name.strip_prefix(&prefix)?.to_string(), *x)));
            settings.schedule.load_state(&mine.collect::<Vec<_>>());
        }
        self.norm = None;
        self.prepare(&named, Some(state))
    }

    fn ahead(&mut self) -> Option<&mut dyn Ahead> {
        Some(self)
    }
}

impl<R: Rule> Ahead for FirstOrder<R> {
    fn given(&self, ahead: u64) -> Vec<Vec<f64>> {
        let settings = self.scaler.as_ref().map(|scaler| scaler.settings(self.groups.len() + 1).to_vec());
        settings.into_iter().chain([self.hyper(self.steps + ahead)]).collect()
    }

    fn overwritten(&self, model: &dyn Parameters) -> Vec<Tensor> {
        let Some(slab) = &self.slab else { return Vec::new() };
        let mut all: Vec<Tensor> = slab.overwritten().collect();
        model.params(&mut |_, param| all.extend((!param.is_frozen()).then(|| param.get().clone())));
        all.extend(self.scaler.as_ref().and_then(|scaler| scaler.held().cloned()));
        all
    }

    fn goes_on(&self) -> bool {
        self.slab.as_ref().is_some_and(|slab| !slab.is_waited_for())
    }

    fn taken(&mut self, steps: u64) {
        self.steps += steps;
    }

    fn set_gradient_norm(&mut self, norm: Option<Tensor>) {
        self.norm = norm;
    }
}

/// A rule and its groups at the settings that every optimizer of the field has.
macro_rules! optimizer {
    ($($(#[$doc:meta])* $name:ident = $rule:ident $start:expr;)*) => { $(
        $(#[$doc])*
        pub type $name = $crate::optim::FirstOrder<$rule>;

        impl $name {
            /// At a constant rate, with PyTorch's defaults.
            pub fn new(rate: f64) -> Self {
                Self::scheduled($crate::optim::Constant(rate))
            }

            /// At a rate that changes from step to step.
            pub fn scheduled(schedule: impl $crate::optim::Schedule + 'static) -> Self {
                $crate::optim::FirstOrder::of($start, schedule)
            }
        }
    )* };
}
pub(super) use optimizer;

/// Methods that set fields of the rule.
macro_rules! settings {
    ($rule:ident { $($(#[$doc:meta])* $method:ident;)* }) => {
        impl $crate::optim::FirstOrder<$rule> { $(
            $(#[$doc])*
            pub fn $method(mut self, $method: f64) -> Self {
                self.rule.$method = $method;
                self
            }
        )* }
    };
}
pub(super) use settings;
