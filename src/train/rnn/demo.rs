//! Two small experiments: a network that learns one word by heart, and how far back gradients reach.

use super::{CharModel, CharModelOptions, Kind, Sampling};
use crate::autodiff;
use crate::data::text::Vocabulary;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::functional::RecurrentWeights;
use crate::nn::{Init, Pass};
use crate::optim::{Adam, Optimizer};
use crate::tensor::Tensor;

/// What [`learn_by_heart`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// Steps of training.
    pub steps: u64,
    /// The last loss, nats per character.
    pub loss: f32,
    /// What the network puts after the first character.
    pub said: String,
}

/// Trains a tiny network on one word, until after its first character it says the rest: each `l` of `hello` is followed
/// by another character, so it has to remember which one it read.
///
/// # Errors
/// [`Error::Argument`] if the word has fewer than two characters, or one only, or is not learned in 2,000 steps; a
/// fault of the device.
pub fn learn_by_heart(word: &str, kind: Kind, device: &Device, seed: u64) -> Result<Learned> {
    let vocabulary = Vocabulary::of(word);
    let numbers = vocabulary.encode(word)?;
    if numbers.len() < 2 || vocabulary.len() < 2 {
        return Err(Error::argument(format!("the word {word:?}"), "give one of at least two different characters"));
    }
    let options = CharModelOptions { kind, hidden: 16, ..Default::default() };
    let mut model = CharModel::new(&mut Init::new(device, seed), vocabulary.len(), &options)?;
    let mut optimizer = Adam::new(0.02);
    let last = numbers.len() - 1;
    let inputs = Tensor::from_slice(device, &numbers[..last], [last, 1])?;
    let targets = Tensor::from_slice(device, &numbers[1..], last)?;
    let rest: String = word.chars().skip(1).collect();
    let first: String = word.chars().take(1).collect();
    for _ in 0..100 {
        let mut loss = f32::NAN;
        for round in 0..20 {
            let (scores, _) = model.read(&inputs, &model.start(1), &mut Pass::eval());
            let value = scores.cross_entropy(&targets);
            optimizer.step(&mut model, &value)?;
            if round == 19 {
                loss = value.item()?;
            }
        }
        let sampling = Sampling { temperature: 0.0, ..Default::default() };
        let said = sampling.continue_text(&model, &vocabulary, &first, last)?;
        if said == rest && loss < 0.1 {
            return Ok(Learned { steps: optimizer.steps(), loss, said });
        }
    }
    Err(Error::argument(format!("the word {word:?} was not learned"), "try another seed or layer"))
}

/// How much the last state of an untrained layer still depends on what was read earlier: the norm of the gradient of
/// that state's sum with respect to the input `0, 1, 2, ..` steps before, as a share of that at distance 0. An LSTM's
/// forget gates get `forget` as their bias: they are what lets gradients pass.
///
/// # Errors
/// A fault of the device.
pub fn gradient_by_distance(
    kind: Kind,
    steps: usize,
    hidden: usize,
    forget: f32,
    device: &Device,
    seed: u64,
) -> Result<Vec<f64>> {
    let gates = match kind {
        Kind::Rnn => 1,
        Kind::Lstm => 4,
        Kind::Gru => 3,
    };
    let mut init = Init::new(device, seed);
    let bound = (1.0 / (hidden.max(1) as f64).sqrt()) as f32;
    let (w_ih, w_hh) = (init.uniform([gates * hidden, hidden], bound)?, init.uniform([gates * hidden, hidden], bound)?);
    let mut bias = vec![0f32; gates * hidden];
    if kind == Kind::Lstm {
        bias[hidden..2 * hidden].fill(forget);
    }
    let bias = Tensor::from_slice(device, &bias, bias.len())?;
    let zeros = Tensor::zeros(device, bias.shape());
    let weights = RecurrentWeights::new(w_ih.get(), w_hh.get()).biases(&bias, &zeros);
    let x = init.uniform([steps, 1, hidden], 1.0)?;
    let end = match kind {
        Kind::Rnn => x.get().rnn(&weights, None, false, false).1,
        Kind::Lstm => x.get().lstm(&weights, None, false).1[0].clone(),
        Kind::Gru => x.get().gru(&weights, None, false).1,
    };
    let slope = autodiff::grad(&end.sum_all(), &[x.get()]).swap_remove(0);
    let norms = slope.square().sum(&[1, 2]).sqrt().to_vec::<f32>()?;
    let at_end = norms.last().copied().unwrap_or(1.0) as f64;
    Ok(norms.iter().rev().map(|&n| n as f64 / at_end).collect())
}
