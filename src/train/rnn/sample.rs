//! Text that a network makes up: each character drawn by the scores it gave, and read as the next.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use super::CharModel;
use crate::data::text::Vocabulary;
use crate::error::{Error, Result};
use crate::nn::{Parameters, Pass};
use crate::tensor::Tensor;

/// How characters are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What scores are divided by: below 1 likely characters become likelier, above 1 less likely. 0 takes the
    /// likeliest.
    pub temperature: f32,
    /// Draw only among so many likeliest characters; 0 for all.
    pub top_k: usize,
    /// Seed of the draws: the same seed, network and beginning give the same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { temperature: 1.0, top_k: 0, seed: 42 }
    }
}

impl Sampling {
    /// The `length` characters that a network puts after a beginning.
    ///
    /// # Errors
    /// [`Error::Argument`] if the beginning is empty or holds a character the network has never seen, the temperature
    /// is negative, or the network's scores are not finite; a fault of the device.
    pub fn continue_text(
        &self,
        model: &CharModel,
        vocabulary: &Vocabulary,
        begin: &str,
        length: usize,
    ) -> Result<String> {
        if begin.is_empty() {
            return Err(Error::argument("a beginning of no characters", "give at least one character to begin with"));
        }
        if !(0.0..=f32::MAX).contains(&self.temperature) {
            return Err(Error::argument(format!("a temperature of {}", self.temperature), "use 0 or more"));
        }
        if vocabulary.len() != model.characters() {
            return Err(Error::argument(
                format!("a vocabulary of {} characters for a network of {}", vocabulary.len(), model.characters()),
                "use the vocabulary the network was trained with",
            ));
        }
        let mut read = vocabulary.encode(begin)?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut state = model.start(1);
        let mut pass = Pass::eval();
        let mut drawn = Vec::with_capacity(length);
        let device = model.named_parameters()[0].1.get().device().clone();
        while drawn.len() < length {
            let characters = Tensor::from_slice(&device, &read, [read.len(), 1])?;
            let (scores, after) = model.read(&characters, &state, &mut pass);
            let scores = scores.narrow(0, read.len() - 1, 1).to_vec::<f32>()?;
            state = after.into_iter().map(|s| s.into_leaf(false)).collect::<Result<_>>()?;
            let next = self.draw(&scores, &mut rng)?;
            drawn.push(next);
            read = vec![next];
        }
        Ok(vocabulary.decode(&drawn))
    }

    /// One character by its score.
    fn draw(&self, scores: &[f32], rng: &mut ChaCha8Rng) -> Result<u32> {
        if let Some(score) = scores.iter().find(|s| !s.is_finite()) {
            return Err(Error::argument(
                format!("a score of {score}"),
                "the network is broken; train it at a lower rate",
            ));
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // Equal scores keep their order, so that a seed means the same on every machine.
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
        if self.temperature == 0.0 {
            return Ok(order[0] as u32);
        }
        let weight = |i: usize| (((scores[i] - scores[order[0]]) / self.temperature) as f64).exp();
        let total: f64 = order.iter().map(|&i| weight(i)).sum();
        let unit = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut left = unit * total;
        for &i in &order {
            left -= weight(i);
            if left < 0.0 {
                return Ok(i as u32);
            }
        }
        Ok(order[order.len() - 1] as u32)
    }
}
