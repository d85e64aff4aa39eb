//! What a classifier makes of a test set, class by class and picture by picture.

use wgrad::data::Images;
use wgrad::nn::{Module, Pass};
use wgrad::train::picture::Picture;
use wgrad::train::report::Report;
use wgrad::{Device, Error, Result, Tensor};

/// Guesses about a test set.
pub struct Verdict {
    classes: Vec<String>,
    /// How often a class (row) was taken for another (column).
    counts: Vec<Vec<u64>>,
    /// Class, guess, and the probability the guess was given, of the first pictures.
    first: Vec<(usize, usize, f32)>,
    wrong: Vec<(String, Picture)>,
}

/// Pictures shown of either kind.
const FIRST: usize = 10;
const WRONG: usize = 40;

impl Verdict {
    /// Asks the model about every picture. `means` were taken off their channels, and are put back for showing them.
    ///
    /// # Errors
    /// If the model answers with numbers that are not finite.
    pub fn of(
        model: &dyn Module,
        device: &Device,
        set: &Images,
        classes: Vec<String>,
        means: &[f32],
    ) -> Result<Verdict> {
        let [c, h, w] = set.shape;
        let counts = vec![vec![0u64; set.classes]; set.classes];
        let mut verdict = Verdict { classes, counts, first: Vec::new(), wrong: Vec::new() };
        for batch in (0..set.len()).collect::<Vec<_>>().chunks(250) {
            let (pixels, labels) = set.gather(batch);
            let images = Tensor::from_slice(device, &pixels, [batch.len(), c, h, w])?;
            let logits = model.forward(&images, &mut Pass::eval()).to_vec::<f32>()?;
            let strange = logits.iter().filter(|v| !v.is_finite()).count();
            if strange > 0 {
                let what = format!("{strange} of {} logits are no finite numbers", logits.len());
                return Err(Error::argument(what, "lower --lr; WGRAD_CHECK=nan names the first op that made one"));
            }
            for ((&i, &label), logits) in batch.iter().zip(&labels).zip(logits.chunks(set.classes)) {
                let (guess, best) =
                    logits.iter().enumerate().fold((0, logits[0]), |m, (k, &v)| if v > m.1 { (k, v) } else { m });
                verdict.counts[label as usize][guess] += 1;
                if verdict.first.len() < FIRST {
                    let total: f32 = logits.iter().map(|v| (v - best).exp()).sum();
                    verdict.first.push((label as usize, guess, 1.0 / total));
                }
                if label as usize != guess && verdict.wrong.len() < WRONG {
                    let mut one = Images { pixels: set.gather(&[i]).0, labels: vec![label], ..*set };
                    one.subtract(&means.iter().map(|m| -m).collect::<Vec<_>>());
                    let text = format!("{} taken for {}", verdict.classes[label as usize], verdict.classes[guess]);
                    verdict.wrong.push((text, Picture::grid(&one.pixels, [1, c, h, w], 1)));
                }
            }
        }
        Ok(verdict)
    }

    /// Pictures it was asked about, and those it got right.
    pub fn right(&self) -> (u64, u64) {
        let right = (0..self.counts.len()).map(|k| self.counts[k][k]).sum();
        (self.counts.iter().flatten().sum(), right)
    }

    /// The share it got right, in percent.
    pub fn accuracy(&self) -> f32 {
        let (all, right) = self.right();
        100.0 * right as f32 / all.max(1) as f32
    }

    /// Prints what was got right of each class, and some guesses.
    pub fn print(&self) {
        println!("right, of the test pictures of each class:");
        for (k, (name, row)) in self.classes.iter().zip(&self.counts).enumerate() {
            println!("  {name:12} {:5} of {:5}", row[k], row.iter().sum::<u64>());
        }
        println!("the first of them:");
        for &(label, guess, probability) in &self.first {
            let mark = if label == guess { "" } else { "  wrong" };
            let (label, guess) = (&self.classes[label], &self.classes[guess]);
            println!("  {label:12} taken for {guess:12} with {:5.1} %{mark}", 100.0 * probability);
        }
    }

    /// Adds the confusion matrix and wrong guesses; `pictures` is what they are called.
    pub fn add_to(&self, report: &mut Report, pictures: &str) {
        report.confusion("Confusion matrix", &self.counts);
        report.pictures(&format!("{pictures} it got wrong"), &self.wrong, 2);
    }
}
