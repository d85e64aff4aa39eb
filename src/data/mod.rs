//! Labelled pictures to train on, and the order in which a training run sees them.
//!
//! An example that needs a download before it can run is an example nobody runs. So there are always pictures:
//! [`mnist::auto`] takes the MNIST files of a folder if there are any, else of the cache, else fetches them (feature
//! `download`), and if all of that fails it draws its own digits ([`digits`]), which are of the same size and about as
//! hard. The one thing it never does is to guess: a folder that the user named is used or refused, every MNIST file
//! is checked against its pinned digest, and [`Dataset::source`] says in a sentence what the numbers were trained on.
//!
//! The order matters as much as the pictures. [`Batches`] derives the shuffle of every epoch from `(seed, epoch)`
//! alone, so step 1000 sees the same samples whether the run was started once or resumed ten times.
//!
//! ```
//! use wgrad::data::digits;
//!
//! let digits = digits::dataset(100, 20, 0);
//! let mut batches = digits.train.batches(32, 7)?;
//! for _step in 0..10 {
//!     let (pixels, labels) = digits.train.gather(batches.next_batch());
//!     assert_eq!((pixels.len(), labels.len()), (32 * 28 * 28, 32));
//! }
//! assert_eq!((batches.epoch(), batches.position()), (3, 20)); // 320 samples drawn: three epochs and 20 samples
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cifar;
pub mod digits;
pub mod fetch;
mod file;
pub mod idx;
pub mod mat;
pub mod mnist;
pub mod svhn;
pub mod text;

use crate::error::{Error, Result};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// Pictures with one class label each.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// All pictures one after the other, `[len, C, H, W]` row by row, 0 (black) to 1 (white).
    pub pixels: Vec<f32>,
    /// The class of each picture, `[len]`, each below `classes`.
    pub labels: Vec<u32>,
    /// `[C, H, W]` of one picture.
    pub shape: [usize; 3],
    /// How many classes there are; a set need not hold a sample of each.
    pub classes: usize,
}

impl Images {
    /// The number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no picture at all.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Copies the pictures at `indices`: pixels `[indices.len(), C, H, W]` and labels `[indices.len()]`.
    ///
    /// # Panics
    /// If an index is not below [`len`](Self::len).
    #[track_caller]
    pub fn gather(&self, indices: &[usize]) -> (Vec<f32>, Vec<u32>) {
        let size: usize = self.shape.iter().product();
        let mut pixels = Vec::with_capacity(indices.len() * size);
        let mut labels = Vec::with_capacity(indices.len());
        for &i in indices {
            assert!(i < self.len(), "gather: index {i} in a set of {} pictures", self.len());
            pixels.extend_from_slice(&self.pixels[i * size..(i + 1) * size]);
            labels.push(self.labels[i]);
        }
        (pixels, labels)
    }

    /// Mean and standard deviation of the pixels of each channel, over all pictures.
    pub fn channel_statistics(&self) -> (Vec<f32>, Vec<f32>) {
        let plane = (self.shape[1] * self.shape[2]).max(1);
        let count = (self.len() * plane).max(1) as f64;
        let (mut sums, mut squares) = (vec![0f64; self.shape[0]], vec![0f64; self.shape[0]]);
        for (i, plane) in self.pixels.chunks(plane).enumerate() {
            let c = i % self.shape[0];
            sums[c] += plane.iter().map(|&x| x as f64).sum::<f64>();
            squares[c] += plane.iter().map(|&x| x as f64 * x as f64).sum::<f64>();
        }
        let deviation = |(sum, square): (&f64, f64)| (square / count - (sum / count).powi(2)).max(0.0).sqrt() as f32;
        let deviations = sums.iter().zip(squares).map(deviation).collect();
        (sums.iter().map(|s| (s / count) as f32).collect(), deviations)
    }

    /// How many pictures there are of each class, `[classes]`.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        self.labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// Takes a number off each channel: the means of the training set, off all sets.
    ///
    /// # Panics
    /// If there is not one number for each channel.
    #[track_caller]
    pub fn subtract(&mut self, means: &[f32]) {
        let [c, h, w] = self.shape;
        assert!(means.len() == c, "subtract: {} means for {c} channels", means.len());
        for (plane, pixels) in self.pixels.chunks_exact_mut((h * w).max(1)).enumerate() {
            pixels.iter_mut().for_each(|p| *p -= means[plane % c]);
        }
    }

    /// The same pictures with `factor` times fewer pixels each way, each the mean of those it stands for: for a quick
    /// look at what takes long.
    ///
    /// # Panics
    /// If height and width are no multiples of `factor`.
    #[track_caller]
    pub fn shrunk(&self, factor: usize) -> Images {
        let [c, h, w] = self.shape;
        assert!(factor > 0 && h % factor == 0 && w % factor == 0, "shrunk: pictures of {h}x{w} by {factor}");
        let shape = [c, h / factor, w / factor];
        let mut pixels = vec![0.0; self.pixels.len() / (factor * factor)];
        let share = 1.0 / (factor * factor) as f32;
        for (i, pixel) in self.pixels.iter().enumerate() {
            let (row, column) = (i / w / factor, i % w / factor);
            pixels[row * shape[2] + column] += pixel * share;
        }
        Images { pixels, labels: self.labels.clone(), shape, ..*self }
    }

    /// The pictures in two parts, the second of `held_out` pictures drawn by `seed`: to train on and to validate on.
    ///
    /// # Panics
    /// If `held_out` is more than there are.
    #[track_caller]
    pub fn split(&self, held_out: usize, seed: u64) -> (Images, Images) {
        let (train, held) = split(self.len(), held_out, seed);
        let part = |indices: &[usize]| {
            let (pixels, labels) = self.gather(indices);
            Images { pixels, labels, ..*self }
        };
        (part(&train), part(&held))
    }

    /// An endless supply of shuffled batches of `batch` indices; see [`Batches`].
    ///
    /// # Errors
    /// [`Error::Argument`] if `batch` is zero or over `u32::MAX`, or if the set is empty.
    pub fn batches(&self, batch: usize, seed: u64) -> Result<Batches> {
        Batches::new(self.len(), batch, seed)
    }
}

/// A training and a test set, and where they came from.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// A short name, e.g. "MNIST".
    pub name: String,
    /// What to train on.
    pub train: Images,
    /// What to judge by; shares no sample with `train`.
    pub test: Images,
    /// A sentence for a person: where the pictures came from and, if they are a substitute, why.
    pub source: String,
}

/// Endless batches of sample indices, shuffled anew every epoch.
///
/// The epochs are laid end to end and cut into batches, so every batch is full, every epoch holds every sample exactly
/// once, and a batch may begin in one epoch and end in the next (or, if it is larger than the set, further on).
#[derive(Debug, Clone)]
pub struct Batches {
    batch: usize,
    seed: u64,
    /// Samples handed out since step 0. A product of two `u64`, so it cannot overflow.
    drawn: u128,
    /// The shuffle of `shuffled`, a permutation of all indices.
    order: Vec<usize>,
    /// The epoch that `order` belongs to.
    shuffled: u64,
    out: Vec<usize>,
}

impl Batches {
    /// Batches of `batch` indices below `len`, in an order that `seed` determines.
    ///
    /// # Errors
    /// [`Error::Argument`] if `batch` is zero or over `u32::MAX`, or if `len` is zero.
    pub fn new(len: usize, batch: usize, seed: u64) -> Result<Self> {
        if batch == 0 || u32::try_from(batch).is_err() {
            return Err(Error::argument(format!("batch size {batch}"), "use at least 1 and at most 4294967295"));
        }
        if len == 0 {
            return Err(Error::argument("batches of an empty set", "load at least one sample first"));
        }
        let order = shuffle(len, seed, 0);
        Ok(Self { batch, seed, drawn: 0, order, shuffled: 0, out: Vec::new() })
    }

    /// The indices of the next batch, `[batch]`.
    pub fn next_batch(&mut self) -> &[usize] {
        self.out.clear();
        while self.out.len() < self.batch {
            let epoch = self.epoch();
            if epoch != self.shuffled {
                self.order = shuffle(self.order.len(), self.seed, epoch);
                self.shuffled = epoch;
            }
            let rest = &self.order[self.position()..];
            let take = rest.len().min(self.batch - self.out.len());
            self.out.extend_from_slice(&rest[..take]);
            self.drawn += take as u128;
        }
        &self.out
    }

    /// The epoch that the next sample belongs to, counted from 0.
    pub fn epoch(&self) -> u64 {
        (self.drawn / self.order.len() as u128) as u64
    }

    /// How many samples of the current [`epoch`](Self::epoch) were handed out already; below the size of the set.
    pub fn position(&self) -> usize {
        (self.drawn % self.order.len() as u128) as usize
    }

    /// How many batches were handed out since step 0.
    pub fn step(&self) -> u64 {
        (self.drawn / self.batch as u128) as u64
    }

    /// Goes on as if `step` batches had been handed out, forwards or backwards. Costs one shuffle at most, whatever
    /// the distance, so a resumed run sees the order that the uninterrupted one would have seen.
    pub fn resume_at(&mut self, step: u64) {
        self.drawn = u128::from(step) * self.batch as u128;
    }
}

/// The indices below `len` in two parts, the second of `held_out`, drawn by `seed`: to train on and to validate on.
///
/// # Panics
/// If `held_out` is more than `len`.
#[track_caller]
pub fn split(len: usize, held_out: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    assert!(held_out <= len, "split: {held_out} of {len} samples cannot be held out");
    // A stream that no epoch reaches, so that the split says nothing about the order of the batches.
    let mut train = shuffle(len, seed, u64::MAX);
    let held = train.split_off(len - held_out);
    (train, held)
}

/// A permutation of `0..len` that depends on nothing but the arguments (Fisher-Yates over ChaCha8, stream `epoch`).
fn shuffle(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch);
    let mut order: Vec<usize> = (0..len).collect();
    for i in (1..len).rev() {
        // The high half of a 64x64-bit product: written out because the order must not change with a version of
        // `rand`. Its bias is below len / 2^64.
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        order.swap(i, j as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy(len: usize) -> Images {
        let pixels = (0..len * 4).map(|i| i as f32).collect();
        Images { pixels, labels: (0..len as u32).map(|i| i % 3).collect(), shape: [1, 2, 2], classes: 3 }
    }

    #[test]
    fn gather_copies_pictures_and_labels_in_the_order_asked_for() {
        let (pixels, labels) = toy(5).gather(&[4, 0, 4]);
        assert_eq!(pixels, [16.0, 17.0, 18.0, 19.0, 0.0, 1.0, 2.0, 3.0, 16.0, 17.0, 18.0, 19.0]);
        assert_eq!(labels, [1, 0, 1]);
        assert_eq!(toy(5).gather(&[]), (vec![], vec![]));
    }

    #[test]
    fn shrunk_pictures_are_means_of_blocks() {
        let pixels = (0..2 * 2 * 4 * 6).map(|i| i as f32).collect();
        let set = Images { pixels, labels: vec![1, 0], shape: [2, 4, 6], classes: 3 };
        let small = set.shrunk(2);
        assert_eq!((small.shape, small.labels, small.classes), ([2, 2, 3], vec![1, 0], 3));
        // The first block is 0, 1, 6, 7; the next begins two columns on; a plane has 24 pixels.
        assert_eq!(small.pixels[..6], [3.5, 5.5, 7.5, 15.5, 17.5, 19.5]);
        assert_eq!(small.pixels[18..], [75.5, 77.5, 79.5, 87.5, 89.5, 91.5]);
    }

    #[test]
    #[should_panic(expected = "index 5 in a set of 5")]
    fn gather_names_an_index_out_of_range() {
        toy(5).gather(&[5]);
    }

    #[test]
    fn every_epoch_holds_every_sample_once_whatever_the_batch_size() {
        for (len, batch) in [(10, 3), (10, 10), (10, 1), (7, 16), (1, 5), (100, 7)] {
            let mut batches = toy(len).batches(batch, 3).unwrap();
            let mut drawn = Vec::new();
            while drawn.len() < 6 * len {
                let next = batches.next_batch();
                assert_eq!(next.len(), batch);
                drawn.extend_from_slice(next);
            }
            for (epoch, indices) in drawn.chunks_exact(len).enumerate() {
                let mut sorted = indices.to_vec();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..len).collect::<Vec<_>>(), "epoch {epoch} of {len} samples by {batch}");
            }
        }
    }

    #[test]
    fn epochs_and_seeds_are_shuffled_differently_and_the_same_seed_alike() {
        let epochs = |seed| {
            let mut batches = toy(50).batches(50, seed).unwrap();
            [batches.next_batch().to_vec(), batches.next_batch().to_vec()]
        };
        let [first, second] = epochs(1);
        assert_ne!(first, second);
        assert_ne!(first, (0..50).collect::<Vec<_>>());
        assert_ne!(first, epochs(2)[0]);
        assert_eq!([first, second], epochs(1));
    }

    #[test]
    fn a_shuffle_prefers_no_place() {
        // Chi-squared over where sample 0 lands: 9 degrees of freedom, 0.999 quantile 27.9.
        let mut batches = Batches::new(10, 10, 5).unwrap();
        let mut counts = [0f64; 10];
        for _ in 0..5000 {
            counts[batches.next_batch().iter().position(|&i| i == 0).unwrap()] += 1.0;
        }
        let chi: f64 = counts.iter().map(|count| (count - 500.0).powi(2) / 500.0).sum();
        assert!(chi < 27.9, "chi squared {chi} of {counts:?}");
    }

    #[test]
    fn a_resumed_run_sees_the_order_of_the_uninterrupted_one() {
        for batch in [3, 10, 25] {
            let all: Vec<Vec<usize>> = {
                let mut batches = toy(10).batches(batch, 9).unwrap();
                (0..40).map(|_| batches.next_batch().to_vec()).collect()
            };
            for step in [0, 1, 3, 4, 33, 39] {
                let mut batches = toy(10).batches(batch, 9).unwrap();
                batches.next_batch();
                batches.resume_at(step);
                assert_eq!(batches.step(), step);
                assert_eq!(batches.epoch(), step * batch as u64 / 10);
                assert_eq!(batches.position(), (step as usize * batch) % 10);
                for (at, expected) in all.iter().enumerate().skip(step as usize) {
                    assert_eq!(batches.next_batch(), expected, "step {at} after resuming at {step} by {batch}");
                }
            }
        }
    }

    #[test]
    fn a_step_from_a_torn_checkpoint_does_not_overflow() {
        let mut batches = toy(3).batches(u32::MAX as usize, 0).unwrap();
        batches.resume_at(u64::MAX);
        assert_eq!(batches.step(), u64::MAX);
        let mut batches = toy(3).batches(2, 0).unwrap();
        batches.resume_at(u64::MAX);
        assert_eq!(batches.next_batch().len(), 2);
    }

    #[track_caller]
    fn refused(result: Result<Batches>, part: &str) {
        let text = result.expect_err("an error").to_string();
        assert!(text.contains(part), "no {part:?} in: {text}");
    }

    #[test]
    fn zero_batches_and_empty_sets_are_refused() {
        refused(toy(5).batches(0, 0), "batch size 0: use at least 1");
        refused(toy(0).batches(4, 0), "empty set");
        assert!(toy(0).is_empty());
        if let Ok(huge) = usize::try_from(1u64 << 40) {
            refused(toy(5).batches(huge, 0), "batch size 1099511627776");
        }
    }
}
