//! Steps of several optimizers that are one program: each loss may build on what the steps before it make of the
//! parameters, and nothing is computed until all are recorded.
//!
//! A game between networks takes turns: a discriminator and then, through the discriminator as it is after its step, a
//! generator; a critic and then an actor. Step by step that is a program for each, which computes again what the others
//! had. As one program the planner sees all of it, a pass that two losses share is run once, and a round is one
//! submission.

use super::Optimizer;
use super::replays::Figures;
use crate::error::Result;
use crate::nn::{Parameters, Recorded};
use crate::plan::eval_donating;
use crate::tensor::Tensor;

/// Models, and the optimizers that train them.
///
/// ```
/// use wgrad::nn::{Parameters, Sequential};
/// use wgrad::optim::{Learners, Optimizer};
///
/// struct ActorCritic {
///     networks: Networks,
///     actor: Box<dyn Optimizer>,
///     critic: Box<dyn Optimizer>,
/// }
/// struct Networks {
///     actor: Sequential,
///     critic: Sequential,
/// }
/// wgrad::parameters!(Networks { actor, critic });
///
/// impl Learners for ActorCritic {
///     fn model(&self) -> &dyn Parameters {
///         &self.networks
///     }
///     fn optimizers(&mut self, visit: &mut dyn FnMut(&mut dyn Optimizer, &mut dyn Parameters)) {
///         visit(&mut self.actor, &mut self.networks.actor);
///         visit(&mut self.critic, &mut self.networks.critic);
///     }
/// }
/// ```
pub trait Learners {
    /// All models together, those without an optimizer included.
    fn model(&self) -> &dyn Parameters;

    /// Calls `visit` with each optimizer and the model that it trains, always in the same order.
    fn optimizers(&mut self, visit: &mut dyn FnMut(&mut dyn Optimizer, &mut dyn Parameters));
}

/// The steps of a program, while they are recorded.
#[derive(Default)]
pub struct Program {
    /// Which optimizers took a step, in order; `None` of one that does not say what its next steps are.
    stepped: Vec<Option<usize>>,
    losses: Vec<Tensor>,
    /// The last handles on what may be overwritten.
    before: Vec<Tensor>,
}

/// What tells an optimizer from others while it stays where it is.
pub(super) fn place_of(optimizer: &mut dyn Optimizer) -> Option<usize> {
    optimizer.ahead().map(|ahead| std::ptr::from_mut(ahead).addr())
}

impl Program {
    /// [`Optimizer::step`] of one of the [`Learners`], recorded: from here on the model's parameters are those after
    /// it, and are computed with the rest of the program. An optimizer may take several steps.
    ///
    /// # Errors
    /// As [`Optimizer::step`].
    ///
    /// # Panics
    /// If `loss` is not one number.
    #[track_caller]
    pub fn step(&mut self, optimizer: &mut dyn Optimizer, model: &mut dyn Parameters, loss: &Tensor) -> Result<()> {
        self.note(optimizer);
        optimizer.record_step(model, loss, &mut self.before)?;
        self.losses.push(loss.clone());
        Ok(())
    }

    /// Notes that an optimizer takes a step.
    pub(super) fn note(&mut self, optimizer: &mut dyn Optimizer) {
        self.stepped.push(place_of(optimizer));
    }

    /// Computes what was recorded in one evaluation: the steps, the state of all models, and `figures`, whose history
    /// is released. Gives which optimizers took a step.
    pub(super) fn compute(self, learners: &mut dyn Learners, figures: &Figures) -> Result<Vec<Option<usize>>> {
        let Program { stepped, losses, mut before } = self;
        if losses.is_empty() {
            return Ok(stepped);
        }
        let mut made = Vec::new();
        learners.optimizers(&mut |optimizer, model| {
            made.extend(optimizer.gradient_norm().cloned());
            made.extend(optimizer.ahead().into_iter().flat_map(|ahead| ahead.overwritten(model)));
        });
        let recorded = Recorded::take(learners.model());
        before.extend(recorded.before);
        // What reads parameters as they were comes before what overwrites them.
        let first = figures.iter().map(|(_, figure)| figure).chain(&losses);
        let roots: Vec<&Tensor> = first.chain(&made).chain(&recorded.values).collect();
        eval_donating(&roots, &before.iter().collect::<Vec<_>>())?;
        roots.into_iter().for_each(Tensor::release_history);
        Ok(stepped)
    }
}
