//! Many rounds of steps of several optimizers: recorded once, replayed from then on ([`Rounds`]).

use super::Row;
use super::program::{Learners, Program};
use super::replays::{Figures, Replays};
use crate::error::Result;
use crate::nn::Pass;

/// [`Steps`](super::Steps) of several optimizers: a round is a step of each, or some of each, as one program, which is
/// replayed on GPUs where it can be. What is frozen, and when rounds are replayed, is as there.
///
/// ```
/// use wgrad::nn::{Init, Linear, Module, Parameters, Pass};
/// use wgrad::optim::{Adam, Learners, Optimizer, Program, Rounds, Sgd};
/// use wgrad::{Device, Tensor};
///
/// /// The first follows the data, the second follows the first.
/// struct Pair {
///     networks: Vec<Linear>,
///     optimizers: (Adam, Sgd),
/// }
/// # impl Learners for Pair {
/// #     fn model(&self) -> &dyn Parameters { &self.networks }
/// #     fn optimizers(&mut self, visit: &mut dyn FnMut(&mut dyn Optimizer, &mut dyn Parameters)) {
/// #         visit(&mut self.optimizers.0, &mut self.networks[0]);
/// #         visit(&mut self.optimizers.1, &mut self.networks[1]);
/// #     }
/// # }
/// # let device = Device::auto()?;
/// # let init = &mut Init::new(&device, 0);
/// # let networks = vec![Linear::new(init, 2, 1)?, Linear::new(init, 2, 1)?];
/// let pair = Pair { networks, optimizers: (Adam::new(0.05), Sgd::new(0.1)) };
/// let x = Tensor::from_slice(&device, &[0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [4, 2])?;
/// let y = Tensor::from_slice(&device, &[1f32, 3.0, 0.0, 2.0], [4, 1])?;
/// let record = |pair: &mut Pair, _: &(), program: &mut Program, pass: &mut Pass| {
///     let loss = (&pair.networks[0].forward(&x, pass) - &y).square().mean_all();
///     program.step(&mut pair.optimizers.0, &mut pair.networks[0], &loss)?;
///     // The first as it is after its step.
///     let goal = pair.networks[0].forward(&x, pass).detach();
///     let behind = (&pair.networks[1].forward(&x, pass) - &goal).square().mean_all();
///     program.step(&mut pair.optimizers.1, &mut pair.networks[1], &behind)?;
///     Ok(vec![("loss", loss), ("behind", behind)])
/// };
/// let mut rounds = Rounds::new(pair, Pass::train(0), record);
/// for (name, figure) in rounds.run(400, || Ok(()))? {
///     assert!(figure.item()? < 0.01, "{name}");
/// }
/// # Ok::<(), wgrad::Error>(())
/// ```
pub struct Rounds<L, F> {
    learners: L,
    pass: Pass,
    record: F,
    replays: Replays,
}

impl<L: Learners, F> Rounds<L, F> {
    /// Rounds of these. `record` records the steps of one with [`Program::step`] and gives its figures, which are not
    /// computed yet; the row that the round was given it has as tensors.
    ///
    /// A figure that reads parameters as they are before a step stands before the losses of later steps: else that step
    /// copies them first, and rounds are not replayed.
    pub fn new<T>(learners: L, pass: Pass, record: F) -> Self
    where
        F: Fn(&mut L, &T, &mut Program, &mut Pass) -> Result<Figures>,
    {
        Rounds { learners, pass, record, replays: Replays::new() }
    }

    /// Takes so many rounds, each with what `next` gives for it, and gives the figures of the last, which are computed.
    /// A round whose numbers are more or fewer than those of the others is an ordinary one.
    ///
    /// # Errors
    /// As [`Optimizer::step`](super::Optimizer::step); what `next` and `record` report. The rounds before the fault are
    /// done.
    ///
    /// # Panics
    /// If `rounds` is 0.
    #[track_caller]
    pub fn run<R: Row>(&mut self, rounds: usize, mut next: impl FnMut() -> Result<R>) -> Result<Figures>
    where
        F: Fn(&mut L, &R::Tensors, &mut Program, &mut Pass) -> Result<Figures>,
    {
        assert!(rounds > 0, "run: 0 rounds have no figures");
        let Rounds { learners, pass, record, replays } = self;
        let made = replays.take_together((learners, pass), (rounds, false), &mut next, record)?;
        Ok(made.into_iter().next_back().expect("a round was taken"))
    }

    /// The same, with every round recorded anew: to find out what a replay changes, or for a `record` that does more
    /// than record.
    pub fn one_by_one(self) -> Self {
        Rounds { replays: Replays::none("each round is recorded anew, as was asked for"), ..self }
    }

    /// Whether the next rounds are replayed; if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn replayed(&self) -> std::result::Result<(), &'static str> {
        self.replays.replayed()
    }

    /// What learns.
    pub fn learners(&self) -> &L {
        &self.learners
    }

    /// What learns and the pass, to change them. What was noted of the rounds is forgotten: the next two are ordinary.
    pub fn parts_mut(&mut self) -> (&mut L, &mut Pass) {
        self.replays.forget();
        (&mut self.learners, &mut self.pass)
    }

    /// What learns and the pass, to go on otherwise.
    pub fn into_parts(self) -> (L, Pass) {
        (self.learners, self.pass)
    }
}
