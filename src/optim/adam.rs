//! Adam and its kin: moments of the gradient, and what is made of them.

use std::sync::Mutex;

use super::first_order::{FirstOrder, Now, Rule, optimizer, settings};
use crate::ops::update::Update;

optimizer! {
    /// Adam as `torch.optim.Adam` has it.
    Adam = AdamRule AdamRule { moments: Moments::new(false), amsgrad: false };
    /// Adam with decay beside the step, as `torch.optim.AdamW` has it; the decay is 0.01 unless set.
    AdamW = AdamWRule AdamWRule { moments: Moments { weight_decay: 1e-2, ..Moments::new(true) }, amsgrad: false };
    /// Adam with Nesterov's look ahead, as `torch.optim.NAdam` has it.
    NAdam = NAdamRule NAdamRule { moments: Moments::new(false), momentum_decay: 4e-3, product: Mutex::new((0, 1.0)) };
    /// Adam whose first steps are rectified, as `torch.optim.RAdam` has it.
    RAdam = RAdamRule RAdamRule { moments: Moments::new(false) };
    /// Adam with the infinity norm, as `torch.optim.Adamax` has it. Its usual rate is 2e-3.
    Adamax = AdamaxRule AdamaxRule { moments: Moments::new(false) };
}

/// What they share.
#[derive(Debug, Clone)]
struct Moments {
    betas: (f64, f64),
    epsilon: f64,
    weight_decay: f64,
    decoupled: bool,
}

impl Moments {
    fn new(decoupled: bool) -> Moments {
        Moments { betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: 0.0, decoupled }
    }

    /// The betas of a step.
    fn betas(&self, now: &Now) -> (f64, f64) {
        (now.momentum.unwrap_or(self.betas.0), self.betas.1)
    }

    /// The row of [`Update::Adam`]: the step is `(x m + y g) / (root sqrt(v) + epsilon)`.
    fn numbers(&self, now: &Now, x: f64, y: f64, root: f64, epsilon: f64) -> Vec<f64> {
        let (b1, b2) = self.betas(now);
        let (l2, beside) = self.decays(now);
        vec![l2, beside, x, b1, 1.0 - b1, b2, 1.0 - b2, root, epsilon, y]
    }

    /// The two decays at the head of every row.
    fn decays(&self, now: &Now) -> (f64, f64) {
        if self.decoupled { (0.0, now.rate * self.weight_decay) } else { (self.weight_decay, 0.0) }
    }

    /// `1 - beta^t` of both betas.
    fn corrections(&self, now: &Now) -> (f64, f64) {
        let (b1, b2) = self.betas(now);
        (1.0 - b1.powf(now.step as f64), 1.0 - b2.powf(now.step as f64))
    }
}

macro_rules! moments {
    ($($rule:ident),*) => { $(
        impl FirstOrder<$rule> {
            /// With other decay rates of the moments than 0.9 and 0.999.
            pub fn betas(mut self, first: f64, second: f64) -> Self {
                self.rule.moments.betas = (first, second);
                self
            }

            /// With another number than 1e-8 that keeps the step finite where the second moment is zero.
            pub fn epsilon(mut self, epsilon: f64) -> Self {
                self.rule.moments.epsilon = epsilon;
                self
            }

            /// With decay: an L2 penalty, `decay p` added to the gradient; or beside the step, `rate decay p` taken
            /// off, if it is decoupled as in `AdamW`.
            pub fn weight_decay(mut self, decay: f64) -> Self {
                self.rule.moments.weight_decay = decay;
                self
            }
        }
    )* };
}

moments!(AdamRule, AdamWRule, NAdamRule, RAdamRule, AdamaxRule);

macro_rules! adam {
    ($($rule:ident),*) => { $(
        /// The rule of the optimizer of this name.
        #[derive(Debug, Clone)]
        pub struct $rule {
            moments: Moments,
            amsgrad: bool,
        }

        impl FirstOrder<$rule> {
            /// With the largest second moment so far in place of the last (Reddi et al. 2018).
            pub fn amsgrad(mut self) -> Self {
                self.rule.amsgrad = true;
                self
            }
        }

        impl Rule for $rule {
            fn update(&self) -> Update {
                Update::Adam { amsgrad: self.amsgrad }
            }
            fn numbers(&self, now: &Now) -> Vec<f64> {
                let (c1, c2) = self.moments.corrections(now);
                let mut row = self.moments.numbers(now, now.rate / c1, 0.0, 1.0 / c2.sqrt(), self.moments.epsilon);
                row.push(self.amsgrad as u8 as f64);
                row
            }
        }
    )* };
}

adam!(AdamRule, AdamWRule);

macro_rules! decoupled {
    ($($rule:ident),*) => { $(
        impl FirstOrder<$rule> {
            /// With the decay beside the step, as in AdamW (PyTorch's `decoupled_weight_decay`).
            pub fn decoupled(mut self) -> Self {
                self.rule.moments.decoupled = true;
                self
            }
        }
    )* };
}

decoupled!(NAdamRule, RAdamRule);

/// The rule of [`NAdam`].
#[derive(Debug)]
pub struct NAdamRule {
    moments: Moments,
    momentum_decay: f64,
    /// The product of the momenta of all steps up to one, and that step.
    product: Mutex<(u64, f64)>,
}

settings!(NAdamRule {
    /// With another fall of the momentum than 4e-3.
    momentum_decay;
});

impl Rule for NAdamRule {
    fn update(&self) -> Update {
        Update::Adam { amsgrad: false }
    }
    fn numbers(&self, now: &Now) -> Vec<f64> {
        let (b1, _) = self.moments.betas(now);
        let mu = |step: u64| b1 * (1.0 - 0.5 * 0.96f64.powf(step as f64 * self.momentum_decay));
        let mut product = self.product.lock().unwrap_or_else(|e| e.into_inner());
        if product.0 + 1 != now.step {
            *product = (now.step - 1, (1..now.step).map(mu).product());
        }
        *product = (now.step, product.1 * mu(now.step));
        let (so_far, next) = (product.1, mu(now.step + 1));
        let x = now.rate * next / (1.0 - so_far * next);
        let y = now.rate * (1.0 - mu(now.step)) / (1.0 - so_far);
        let (_, c2) = self.moments.corrections(now);
        self.moments.numbers(now, x, y, 1.0 / c2.sqrt(), self.moments.epsilon)
    }
}

/// The rule of [`RAdam`].
#[derive(Debug, Clone)]
pub struct RAdamRule {
    moments: Moments,
}

impl Rule for RAdamRule {
    fn update(&self) -> Update {
        Update::Adam { amsgrad: false }
    }
    fn numbers(&self, now: &Now) -> Vec<f64> {
        let (c1, c2) = self.moments.corrections(now);
        let longest = 2.0 / (1.0 - self.moments.betas.1) - 1.0;
        let t = now.step as f64;
        let length = longest - 2.0 * t * (1.0 - c2) / c2;
        if length <= 5.0 {
            // Too few steps to know a variance: the step is the first moment.
            return self.moments.numbers(now, now.rate / c1, 0.0, 0.0, 1.0);
        }
        let rectified =
            ((length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)).sqrt();
        self.moments.numbers(now, now.rate / c1 * c2.sqrt() * rectified, 0.0, 1.0, self.moments.epsilon)
    }
}

/// The rule of [`Adamax`].
#[derive(Debug, Clone)]
pub struct AdamaxRule {
    moments: Moments,
}

impl Rule for AdamaxRule {
    fn update(&self) -> Update {
        Update::Adamax
    }
    fn numbers(&self, now: &Now) -> Vec<f64> {
        let (b1, b2) = self.moments.betas(now);
        let (l2, beside) = self.moments.decays(now);
        let (c1, _) = self.moments.corrections(now);
        vec![l2, beside, now.rate / c1, b1, 1.0 - b1, b2, self.moments.epsilon]
    }
}
