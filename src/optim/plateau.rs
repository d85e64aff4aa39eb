//! A rate that falls when training stops making progress.

use std::sync::{Arc, Mutex, MutexGuard};

use super::Schedule;

/// A rate that falls by a factor when a metric has stopped getting better. PyTorch's `ReduceLROnPlateau`.
///
/// Give the optimizer a clone, and each new value of the metric to [`ReduceOnPlateau::observe`]:
///
/// ```
/// use wgrad::optim::{Optimizer, ReduceOnPlateau, Sgd};
///
/// let plateau = ReduceOnPlateau::new(0.1).patience(1);
/// let sgd = Sgd::scheduled(plateau.clone());
/// for loss in [1.0, 0.9, 0.9, 0.9] {
///     plateau.observe(loss); // after each epoch, say
/// }
/// assert!((sgd.rate() - 0.01).abs() < 1e-12);
/// ```
#[derive(Debug, Clone)]
pub struct ReduceOnPlateau {
    rise: bool,
    factor: f64,
    patience: u64,
    threshold: f64,
    absolute: bool,
    cooldown: u64,
    lowest: f64,
    epsilon: f64,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Debug, Clone, Copy)]
struct Progress {
    rate: f64,
    best: f64,
    bad: u64,
    cooling: u64,
}

impl ReduceOnPlateau {
    /// Starts at `rate`, with PyTorch's defaults: a metric that should fall, a factor of 0.1, a patience of 10, a
    /// threshold of 1e-4 of the best, no cooldown, no lowest rate.
    pub fn new(rate: f64) -> ReduceOnPlateau {
        let progress = Progress { rate, best: f64::INFINITY, bad: 0, cooling: 0 };
        ReduceOnPlateau {
            rise: false,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            absolute: false,
            cooldown: 0,
            lowest: 0.0,
            epsilon: 1e-8,
            progress: Arc::new(Mutex::new(progress)),
        }
    }

    /// For a metric that should rise, such as an accuracy.
    pub fn rising(mut self) -> Self {
        self.rise = true;
        self.progress().best = f64::NEG_INFINITY;
        self
    }

    /// With another factor than 0.1.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// With so many values that are no better before the rate falls.
    pub fn patience(mut self, patience: u64) -> Self {
        self.patience = patience;
        self
    }

    /// With another share of the best value that counts as better.
    pub fn threshold(mut self, threshold: f64) -> Self {
        (self.threshold, self.absolute) = (threshold, false);
        self
    }

    /// With a difference from the best value that counts as better.
    pub fn absolute_threshold(mut self, threshold: f64) -> Self {
        (self.threshold, self.absolute) = (threshold, true);
        self
    }

    /// With so many values after a fall that do not count.
    pub fn cooldown(mut self, cooldown: u64) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// With a rate below which it does not fall.
    pub fn lowest(mut self, lowest: f64) -> Self {
        self.lowest = lowest;
        self
    }

    /// With another smallest fall that is made than 1e-8.
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// Takes the next value of the metric.
    pub fn observe(&self, metric: f64) {
        let mut now = self.progress();
        let better = match (self.rise, self.absolute) {
            (false, false) => metric < now.best * (1.0 - self.threshold),
            (false, true) => metric < now.best - self.threshold,
            (true, false) => metric > now.best * (1.0 + self.threshold),
            (true, true) => metric > now.best + self.threshold,
        };
        if better {
            (now.best, now.bad) = (metric, 0);
        } else {
            now.bad += 1;
        }
        if now.cooling > 0 {
            now.cooling -= 1;
            now.bad = 0;
        }
        if now.bad > self.patience {
            let reduced = (now.rate * self.factor).max(self.lowest);
            if now.rate - reduced > self.epsilon {
                now.rate = reduced;
            }
            (now.cooling, now.bad) = (self.cooldown, 0);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Schedule for ReduceOnPlateau {
    fn rate(&self, _: u64) -> f64 {
        self.progress().rate
    }
    fn state(&self) -> Vec<(String, f64)> {
        let now = self.progress();
        let numbers =
            [("rate", now.rate), ("best", now.best), ("bad", now.bad as f64), ("cooling", now.cooling as f64)];
        numbers.map(|(name, x)| (name.to_string(), x)).to_vec()
    }
    fn load_state(&self, state: &[(String, f64)]) {
        let mut now = self.progress();
        for (name, x) in state {
            match &**name {
                "rate" => now.rate = *x,
                "best" => now.best = *x,
                "bad" => now.bad = *x as u64,
                "cooling" => now.cooling = *x as u64,
                _ => {}
            }
        }
    }
}
