//! Counts of words as a language model: what a recurrent network has to beat.
//!
//! The probability of a word after the last few is the share it had there in the text it was counted on, smoothed with
//! the share after one word less, down to single words and then to all words alike (Witten and Bell 1991): the more
//! different words followed a history, the less its counts are trusted for what else may follow.

use std::collections::HashMap;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::error::{Error, Result};

/// Words, numbers, single marks and line ends of a text.
pub fn words_of(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        let inside = c.is_alphanumeric() || c == '\'';
        match (start, inside) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                words.push(&text[from..at]);
                start = None;
            }
            _ => {}
        }
        if !inside && (c == '\n' || !c.is_whitespace()) {
            words.push(&text[at..at + c.len_utf8()]);
        }
    }
    if let Some(from) = start {
        words.push(&text[from..]);
    }
    words
}

/// What followed one history.
#[derive(Debug, Default)]
struct Followers {
    total: u64,
    counts: HashMap<u32, u64>,
}

/// An n-gram model of words.
#[derive(Debug)]
pub struct WordModel {
    words: Vec<String>,
    numbers: HashMap<String, u32>,
    /// By history, from no word to `order - 1`.
    followers: Vec<HashMap<Vec<u32>, Followers>>,
}

impl WordModel {
    /// Counts words after histories of up to `order - 1` words: 1 for a unigram, 4 for a quadrigram model.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are no words or the order is 0.
    pub fn count(words: &[&str], order: usize) -> Result<WordModel> {
        if words.is_empty() || order == 0 {
            let what = format!("a model of order {order} of {} words", words.len());
            return Err(Error::argument(what, "give a text with words in it, and an order from 1"));
        }
        let mut model = WordModel { words: Vec::new(), numbers: HashMap::new(), followers: Vec::new() };
        let numbered: Vec<u32> = words.iter().map(|word| model.number_or_new(word)).collect();
        for n in 0..order {
            let mut all: HashMap<Vec<u32>, Followers> = HashMap::new();
            for window in numbered.windows(n + 1) {
                let followers = all.entry(window[..n].to_vec()).or_default();
                followers.total += 1;
                *followers.counts.entry(window[n]).or_default() += 1;
            }
            model.followers.push(all);
        }
        Ok(model)
    }

    fn number_or_new(&mut self, word: &str) -> u32 {
        if let Some(&number) = self.numbers.get(word) {
            return number;
        }
        let number = self.words.len() as u32;
        self.numbers.insert(word.to_string(), number);
        self.words.push(word.to_string());
        number
    }

    /// The number of different words it knows.
    pub fn vocabulary(&self) -> usize {
        self.words.len()
    }

    /// The probability of a word after others; unknown words are all one word, which no count is for.
    pub fn probability(&self, history: &[&str], word: &str) -> f64 {
        let number = |word: &str| self.numbers.get(word).copied().unwrap_or(u32::MAX);
        let history: Vec<u32> = history.iter().map(|w| number(w)).collect();
        self.of_numbers(&history, number(word))
    }

    fn of_numbers(&self, history: &[u32], word: u32) -> f64 {
        let mut p = 1.0 / (self.words.len() + 1) as f64;
        for (n, all) in self.followers.iter().enumerate().take(history.len() + 1) {
            let Some(followers) = all.get(&history[history.len() - n..]) else { break };
            let count = followers.counts.get(&word).copied().unwrap_or(0) as f64;
            let kinds = followers.counts.len() as f64;
            p = (count + kinds * p) / (followers.total as f64 + kinds);
        }
        p
    }

    /// Whether the word was in the text it was counted on.
    pub fn knows(&self, word: &str) -> bool {
        self.numbers.contains_key(word)
    }

    /// e to the mean surprise per word: as if each were drawn from so many equally likely ones. An unknown word costs
    /// its being unknown, and not its letters, so the figure flatters where many are.
    pub fn perplexity(&self, words: &[&str]) -> f64 {
        let longest = self.followers.len() - 1;
        let surprise = |i: usize| -self.probability(&words[i.saturating_sub(longest)..i], words[i]).ln();
        ((0..words.len()).map(surprise).sum::<f64>() / words.len().max(1) as f64).exp()
    }

    /// Words drawn one after the other, each from what followed the longest history of the last ones that is known.
    pub fn sample(&self, length: usize, seed: u64) -> Vec<&str> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut drawn: Vec<u32> = Vec::new();
        for _ in 0..length {
            let longest = drawn.len().min(self.followers.len() - 1);
            let known = (0..=longest).rev().find_map(|n| self.followers[n].get(&drawn[drawn.len() - n..]));
            let Some(followers) = known else { break };
            let mut counts: Vec<_> = followers.counts.iter().collect();
            counts.sort();
            let mut left = rng.next_u64() % followers.total;
            for (&word, &count) in counts {
                if left < count {
                    drawn.push(word);
                    break;
                }
                left -= count;
            }
        }
        drawn.into_iter().map(|n| self.words[n as usize].as_str()).collect()
    }
}
