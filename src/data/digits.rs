//! Digits drawn by this crate: pictures to train on with no file and no network.
//!
//! Why not random blobs or printed digits: a demo whose task any model solves shows nothing. These are drawn the way
//! people write: a digit is one of several shapes (a 7 with or without a bar, a 4 open or closed), its control points
//! wander, the paper is turned, slanted and bent, the pen is thick or thin and presses unevenly, and there is grain, a
//! stray stroke or a gap. A linear model gets 87 to 89 % of them, a small convolutional network 98 to 99 %, so there is
//! something to learn and something to see. They are not MNIST, and accuracies on them are not comparable.
//!
//! How a picture comes to be, top to bottom of `draw`: control points in a unit box (`SHAPES`) are moved, turned into
//! polylines (Catmull-Rom), bent by two slow waves, mapped to pixels by an affine map, and inked: each pixel takes the
//! distance to the nearest stroke and compares it with the pen's radius over a soft edge. Every picture has its own
//! generator, stream `i` of the seed, so the bytes do not depend on the number of threads.

use crate::data::{Dataset, Images};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use std::f32::consts::TAU;

/// Height and width of a picture, as in MNIST.
pub const SIZE: usize = 28;
/// The usual number of training pictures.
pub const TRAIN: usize = 12_000;
/// The usual number of test pictures.
pub const TEST: usize = 2_000;

/// Test pictures take their generators from here on, out of reach of any training set.
const TEST_STREAMS: u64 = 1 << 63;

/// A training set of `train` and a test set of `test` digits. The test set depends on `seed`, not on `train`.
pub fn dataset(train: usize, test: usize, seed: u64) -> Dataset {
    Dataset {
        name: "digits".into(),
        train: generate(train, seed),
        test: generate_from(test, seed, TEST_STREAMS),
        source: format!("built-in digits drawn by wgrad (seed {seed}, {train} to train, {test} to test; not MNIST)"),
    }
}

/// `n` digits `[n, 1, 28, 28]`, white on black; the classes take turns, so each has its tenth.
///
/// The same seed gives the same pictures on any number of threads, and a larger `n` only appends.
pub fn generate(n: usize, seed: u64) -> Images {
    generate_from(n, seed, 0)
}

fn generate_from(n: usize, seed: u64, first: u64) -> Images {
    let mut pixels = vec![0.0; n * SIZE * SIZE];
    pixels.par_chunks_mut(SIZE * SIZE).enumerate().for_each(|(i, picture)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(first + i as u64);
        draw(i % 10, &mut Draw(rng), picture);
    });
    Images { pixels, labels: (0..n).map(|i| (i % 10) as u32).collect(), shape: [1, SIZE, SIZE], classes: 10 }
}

/// A point `[x, y]`, y downwards.
type Point = [f32; 2];

/// One stroke of a shape through control points in the unit box.
struct Stroke {
    smooth: bool,
    points: &'static [Point],
}

const fn curve(points: &'static [Point]) -> Stroke {
    Stroke { smooth: true, points }
}

const fn line(points: &'static [Point]) -> Stroke {
    Stroke { smooth: false, points }
}

/// The shapes of each digit. Points that are equal within a shape stay together when they are moved.
#[rustfmt::skip]
const SHAPES: [&[&[Stroke]]; 10] = [
    &[
        &[curve(&[[0.5, 0.0], [0.26, 0.14], [0.2, 0.5], [0.27, 0.87], [0.5, 1.0], [0.74, 0.86], [0.8, 0.5], [0.73, 0.13], [0.5, 0.0]])],
        &[curve(&[[0.66, 0.06], [0.36, 0.08], [0.15, 0.45], [0.25, 0.88], [0.55, 0.98], [0.82, 0.7], [0.8, 0.3], [0.56, 0.02], [0.44, 0.1]])],
    ],
    &[
        &[line(&[[0.5, 0.0], [0.5, 1.0]])],
        &[line(&[[0.28, 0.24], [0.52, 0.0], [0.52, 1.0]])],
        &[line(&[[0.3, 0.22], [0.52, 0.0], [0.52, 1.0]]), line(&[[0.26, 1.0], [0.52, 1.0], [0.78, 1.0]])],
    ],
    &[
        &[curve(&[[0.2, 0.25], [0.32, 0.06], [0.58, 0.0], [0.78, 0.2], [0.68, 0.5], [0.4, 0.8], [0.18, 1.0]]), line(&[[0.18, 1.0], [0.84, 1.0]])],
        &[curve(&[[0.22, 0.2], [0.45, 0.0], [0.75, 0.14], [0.7, 0.45], [0.45, 0.8], [0.22, 0.97], [0.15, 0.82], [0.32, 0.76], [0.55, 0.92], [0.86, 0.95]])],
        &[curve(&[[0.18, 0.18], [0.45, 0.02], [0.76, 0.2], [0.6, 0.55], [0.16, 1.0]]), curve(&[[0.16, 1.0], [0.42, 0.9], [0.64, 1.0], [0.86, 0.9]])],
    ],
    &[
        &[curve(&[[0.2, 0.12], [0.48, 0.0], [0.76, 0.2], [0.62, 0.42], [0.42, 0.48]]), curve(&[[0.42, 0.48], [0.7, 0.55], [0.82, 0.76], [0.55, 1.0], [0.18, 0.88]])],
        &[line(&[[0.2, 0.02], [0.78, 0.02], [0.45, 0.42]]), curve(&[[0.45, 0.42], [0.76, 0.52], [0.8, 0.8], [0.5, 1.0], [0.18, 0.9]])],
        &[curve(&[[0.2, 0.1], [0.5, 0.0], [0.74, 0.2], [0.46, 0.46], [0.78, 0.72], [0.5, 1.0], [0.18, 0.9]])],
    ],
    &[
        &[line(&[[0.3, 0.02], [0.16, 0.58], [0.86, 0.58]]), line(&[[0.66, 0.2], [0.62, 1.0]])],
        &[line(&[[0.64, 1.0], [0.64, 0.0], [0.14, 0.66], [0.88, 0.66]])],
        &[curve(&[[0.24, 0.03], [0.2, 0.36], [0.32, 0.53], [0.56, 0.5], [0.72, 0.4]]), line(&[[0.78, 0.03], [0.72, 0.4], [0.68, 1.0]])],
    ],
    &[
        &[line(&[[0.76, 0.02], [0.3, 0.02], [0.26, 0.44]]), curve(&[[0.26, 0.44], [0.55, 0.36], [0.8, 0.62], [0.62, 0.95], [0.18, 0.94]])],
        &[curve(&[[0.78, 0.04], [0.4, 0.06], [0.26, 0.3], [0.5, 0.46], [0.76, 0.66], [0.58, 0.97], [0.18, 0.92]])],
        &[line(&[[0.32, 0.06], [0.28, 0.45]]), curve(&[[0.28, 0.45], [0.56, 0.38], [0.78, 0.65], [0.58, 0.97], [0.2, 0.92]]), line(&[[0.34, 0.05], [0.84, 0.0]])],
    ],
    &[
        &[curve(&[[0.7, 0.02], [0.4, 0.2], [0.22, 0.6], [0.32, 0.93], [0.6, 0.98], [0.78, 0.76], [0.62, 0.54], [0.38, 0.58], [0.24, 0.76]])],
        &[curve(&[[0.45, 0.0], [0.28, 0.38], [0.2, 0.72], [0.42, 1.0], [0.74, 0.86], [0.68, 0.6], [0.42, 0.56], [0.22, 0.74]])],
    ],
    &[
        &[line(&[[0.16, 0.03], [0.82, 0.03], [0.4, 1.0]])],
        &[line(&[[0.16, 0.03], [0.82, 0.03], [0.42, 1.0]]), line(&[[0.34, 0.5], [0.8, 0.5]])],
        &[line(&[[0.18, 0.2], [0.18, 0.03], [0.82, 0.03]]), curve(&[[0.82, 0.03], [0.55, 0.45], [0.42, 1.0]])],
    ],
    &[
        &[curve(&[[0.5, 0.0], [0.26, 0.2], [0.5, 0.46], [0.78, 0.74], [0.5, 1.0], [0.22, 0.74], [0.5, 0.46], [0.74, 0.2], [0.5, 0.0]])],
        &[curve(&[[0.5, 0.0], [0.28, 0.22], [0.5, 0.45], [0.72, 0.22], [0.5, 0.0]]), curve(&[[0.5, 0.45], [0.22, 0.72], [0.5, 1.0], [0.78, 0.72], [0.5, 0.45]])],
    ],
    &[
        &[curve(&[[0.74, 0.2], [0.5, 0.0], [0.24, 0.22], [0.42, 0.48], [0.68, 0.38], [0.74, 0.2]]), line(&[[0.74, 0.2], [0.7, 1.0]])],
        &[curve(&[[0.74, 0.18], [0.48, 0.0], [0.22, 0.24], [0.44, 0.5], [0.7, 0.34], [0.74, 0.18]]), curve(&[[0.74, 0.18], [0.78, 0.6], [0.6, 0.96], [0.24, 0.92]])],
        &[curve(&[[0.74, 0.28], [0.5, 0.48], [0.24, 0.3], [0.4, 0.03], [0.7, 0.08], [0.76, 0.35], [0.64, 0.72], [0.42, 1.0]])],
    ],
];

/// Draws one `digit` into `picture`, `[28, 28]`, with everything about it taken from `rng`.
fn draw(digit: usize, rng: &mut Draw, picture: &mut [f32]) {
    let shape = SHAPES[digit][rng.below(SHAPES[digit].len())];
    let wobble = rng.between(0.015, 0.055);
    let place = Placement::random(rng);
    let radius = rng.between(0.75, 1.75);
    let soft = rng.between(0.9, 1.7);
    let pressure = [rng.between(0.0, 0.3), rng.between(0.0, TAU), rng.between(2.0, 9.0)];

    let mut moved: Vec<(Point, Point)> = Vec::new();
    for stroke in shape {
        let points: Vec<Point> = stroke.points.iter().map(|&point| rng.moved(point, wobble, &mut moved)).collect();
        let path: Vec<Point> = polyline(&points, stroke.smooth).into_iter().map(|point| place.map(point)).collect();
        for (i, ends) in path.windows(2).enumerate() {
            let swing = 1.0 + pressure[0] * (pressure[1] + pressure[2] * i as f32 / path.len() as f32).sin();
            ink(picture, ends[0], ends[1], radius * swing, soft, 1.0);
        }
    }
    if rng.chance(0.15) {
        gap(rng, picture);
    }
    if rng.chance(0.3) {
        stray(rng, picture);
    }

    let paper = if rng.chance(0.5) { 0.0 } else { rng.between(0.0, 0.15) };
    let white = rng.between(0.55, 1.0);
    let grain = if rng.chance(0.35) { 0.0 } else { rng.between(0.0, 0.16) };
    for pixel in picture {
        let value = paper + (white - paper) * *pixel + grain * rng.bell();
        *pixel = (value.clamp(0.0, 1.0) * 255.0).round() / 255.0;
    }
}

/// How the unit box lies in the picture: bent by slow waves, then turned, slanted, scaled and shifted.
struct Placement {
    waves: [[f32; 3]; 2],
    matrix: [[f32; 2]; 2],
    shift: Point,
}

impl Placement {
    fn random(rng: &mut Draw) -> Self {
        // Amplitude (in boxes), waves per box, phase; one along each axis.
        let waves = [(); 2].map(|()| [rng.between(0.0, 0.05), rng.between(0.5, 1.6), rng.between(0.0, TAU)]);
        let height = rng.between(15.5, 21.5);
        let width = height * rng.between(0.7, 1.15);
        let (sin, cos) = rng.between(-0.26, 0.26).sin_cos();
        let slant = rng.between(-0.3, 0.2);
        let matrix = [[cos * width, (cos * -slant - sin) * height], [sin * width, (sin * -slant + cos) * height]];
        let middle = SIZE as f32 / 2.0;
        let shift = [middle + rng.between(-2.2, 2.2), middle + rng.between(-2.0, 2.0)];
        Self { waves, matrix, shift }
    }

    /// From the unit box to pixels; pixel `i` has its centre at `i + 0.5`.
    fn map(&self, [x, y]: Point) -> Point {
        let wave = |[size, rate, phase]: [f32; 3], at: f32| size * (TAU * rate * at + phase).sin();
        let (x, y) = (x - 0.5 + wave(self.waves[0], y), y - 0.5 + wave(self.waves[1], x));
        let [a, b] = self.matrix;
        [a[0] * x + a[1] * y + self.shift[0], b[0] * x + b[1] * y + self.shift[1]]
    }
}

/// The points of a stroke with, if it is smooth, six steps of a Catmull-Rom spline between each two.
fn polyline(points: &[Point], smooth: bool) -> Vec<Point> {
    const STEPS: usize = 6;
    if !smooth {
        return points.to_vec();
    }
    let last = points.len() - 1;
    let closed = points[0] == points[last];
    let mut path = vec![points[0]];
    for i in 0..last {
        let before = if i > 0 { points[i - 1] } else { points[if closed { last - 1 } else { 0 }] };
        let after = if i + 1 < last { points[i + 2] } else { points[if closed { 1 } else { last }] };
        for step in 1..=STEPS {
            let t = step as f32 / STEPS as f32;
            path.push([0, 1].map(|axis| {
                let [p0, p1, p2, p3] = [before, points[i], points[i + 1], after].map(|point| point[axis]);
                let (linear, square) = (p2 - p0, 2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3);
                0.5 * (2.0 * p1 + t * (linear + t * (square + t * (3.0 * (p1 - p2) + p3 - p0))))
            }));
        }
    }
    path
}

/// Inks the pixels around the segment from `a` to `b`: full inside `radius`, nothing outside, `soft` pixels between.
fn ink(picture: &mut [f32], a: Point, b: Point, radius: f32, soft: f32, level: f32) {
    let reach = radius + soft;
    let span = |axis: usize| {
        let low = (a[axis].min(b[axis]) - reach).floor().clamp(0.0, SIZE as f32) as usize;
        let high = (a[axis].max(b[axis]) + reach).ceil().clamp(0.0, SIZE as f32) as usize;
        low..high
    };
    let [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    let length = (dx * dx + dy * dy).max(1e-12);
    for row in span(1) {
        for column in span(0) {
            let [px, py] = [column as f32 + 0.5 - a[0], row as f32 + 0.5 - a[1]];
            let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
            let distance = (px - along * dx).hypot(py - along * dy);
            let covered = ((radius - distance) / soft + 0.5).clamp(0.0, 1.0);
            let pixel = &mut picture[row * SIZE + column];
            *pixel = pixel.max(level * covered);
        }
    }
}

/// Wipes a short narrow bar, as of a pen that skips: short, since a long one along a 1 would take all of it.
fn gap(rng: &mut Draw, picture: &mut [f32]) {
    let middle = [rng.between(8.0, 20.0), rng.between(6.0, 22.0)];
    let (sin, cos) = rng.between(0.0, TAU).sin_cos();
    let (half, keep) = (rng.between(0.5, 1.1), rng.between(0.0, 0.4));
    for (i, pixel) in picture.iter_mut().enumerate() {
        let [x, y] = [(i % SIZE) as f32 + 0.5 - middle[0], (i / SIZE) as f32 + 0.5 - middle[1]];
        if (x * cos + y * sin).abs() < half && (y * cos - x * sin).abs() < 4.0 {
            *pixel *= keep;
        }
    }
}

/// Adds a short stroke that belongs to no digit, mostly near the border.
fn stray(rng: &mut Draw, picture: &mut [f32]) {
    let (sin, cos) = rng.between(0.0, TAU).sin_cos();
    let out = rng.between(9.0, 14.5);
    let from = [14.0 + out * cos, 14.0 + out * sin];
    let (sin, cos) = rng.between(0.0, TAU).sin_cos();
    let length = rng.between(1.5, 6.0);
    let to = [from[0] + length * cos, from[1] + length * sin];
    ink(picture, from, to, rng.between(0.5, 1.2), 1.0, rng.between(0.3, 1.0));
}

/// The draws of one picture. Written out on the raw 32-bit stream, so that a version of `rand` cannot change them.
struct Draw(ChaCha8Rng);

impl Draw {
    /// Uniform in 0..1.
    fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// Roughly normal, mean 0 and variance 1: the sum of the four bytes of one draw.
    fn bell(&mut self) -> f32 {
        let sum: u32 = self.0.next_u32().to_le_bytes().iter().map(|&byte| u32::from(byte)).sum();
        (sum as f32 - 510.0) / 147.8
    }

    /// Moves a control point by about `wobble`, the same way each time it occurs in `moved`.
    fn moved(&mut self, point: Point, wobble: f32, moved: &mut Vec<(Point, Point)>) -> Point {
        if let Some(&(_, to)) = moved.iter().find(|&&(from, _)| from == point) {
            return to;
        }
        let to = [point[0] + wobble * self.bell(), point[1] + wobble * self.bell()];
        moved.push((point, to));
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn digits_are_the_same_on_any_number_of_threads() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| generate(300, 11))
        };
        let one = on(1);
        assert_eq!(one, on(4));
        assert_ne!(one.pixels, generate(300, 12).pixels);
        assert_eq!(one.pixels[..100 * 784], generate(100, 11).pixels, "a larger set only appends");
    }

    #[test]
    fn digits_have_the_form_of_mnist_and_no_two_alike() {
        let set = dataset(500, 200, 3);
        for (images, count) in [(&set.train, 500), (&set.test, 200)] {
            assert_eq!((images.len(), images.shape, images.classes), (count, [1, 28, 28], 10));
            assert_eq!(images.pixels.len(), count * 784);
            // White on black, in steps of 1/255.
            assert!(images.pixels.iter().all(|&p| (0.0..=1.0).contains(&p) && ((p * 255.0).round() / 255.0 == p)));
            for class in 0..10 {
                assert_eq!(images.labels.iter().filter(|&&label| label == class).count(), count / 10);
            }
            for picture in images.pixels.chunks(784) {
                let bright = picture.iter().filter(|&&pixel| pixel > 0.3).count();
                assert!((15..450).contains(&bright), "{bright} bright pixels");
            }
        }
        let all: HashSet<Vec<u32>> = [&set.train, &set.test]
            .iter()
            .flat_map(|images| images.pixels.chunks(784).map(|picture| picture.iter().map(|p| p.to_bits()).collect()))
            .collect();
        assert_eq!(all.len(), 700, "train and test share no picture");
        assert_eq!(set.test, dataset(10, 200, 3).test, "the test set does not depend on the training set");
        assert!(generate(0, 0).is_empty());
    }

    /// A demo whose task a linear model solves shows nothing, and neither does one that nobody can solve.
    #[test]
    fn a_linear_model_gets_most_of_the_digits_but_not_all() {
        let set = dataset(5000, 1000, 0);
        let mut weights = vec![0f32; 10 * 785];
        let mut batches = set.train.batches(20, 0).unwrap();
        while batches.epoch() < 5 {
            let rate = 0.1 / (1.0 + batches.epoch() as f32) / 20.0;
            let (pixels, labels) = set.train.gather(batches.next_batch());
            let errors: Vec<[f32; 10]> = pixels
                .chunks(784)
                .zip(&labels)
                .map(|(picture, &label)| {
                    let powers = scores(&weights, picture).map(f32::exp);
                    let sum: f32 = powers.iter().sum();
                    std::array::from_fn(|class| powers[class] / sum - f32::from(u8::from(class as u32 == label)))
                })
                .collect();
            for (picture, error) in pixels.chunks(784).zip(&errors) {
                for (row, error) in weights.chunks_mut(785).zip(error) {
                    row[784] -= rate * error;
                    row.iter_mut().zip(picture).for_each(|(weight, pixel)| *weight -= rate * error * pixel);
                }
            }
        }
        let right = set.test.pixels.chunks(784).zip(&set.test.labels).filter(|(picture, label)| {
            let scores = scores(&weights, picture);
            (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b])) == Some(**label as usize)
        });
        let accuracy = right.count() as f32 / 1000.0;
        println!("linear accuracy {accuracy}");
        assert!((0.70..0.95).contains(&accuracy), "linear accuracy {accuracy}");
    }

    fn scores(weights: &[f32], picture: &[f32]) -> [f32; 10] {
        std::array::from_fn(|class| {
            let row = &weights[class * 785..(class + 1) * 785];
            row[784] + row.iter().zip(picture).map(|(weight, pixel)| weight * pixel).sum::<f32>()
        })
    }
}
