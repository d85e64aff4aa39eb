//! Pictures for people: tensors as PNG files, grids of samples, films as GIF.

use std::path::Path;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, ImageEncoder, RgbaImage};

use crate::env::draw::Canvas;
use crate::error::{Error, Result};

/// A picture of bytes, grey or RGB, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl From<Canvas> for Picture {
    fn from(canvas: Canvas) -> Picture {
        Picture { width: canvas.width, height: canvas.height, channels: 3, pixels: canvas.pixels }
    }
}

/// The grey between and around the pictures of a grid.
const GAP: u8 = 96;

impl Picture {
    /// Black, with 1 channel (grey) or 3 (RGB).
    ///
    /// # Panics
    /// If `channels` is neither.
    #[track_caller]
    pub fn new(width: usize, height: usize, channels: usize) -> Picture {
        assert!(channels == 1 || channels == 3, "picture: {channels} channels; use 1 (grey) or 3 (RGB)");
        Picture { width, height, channels, pixels: vec![0; width * height * channels] }
    }

    /// `[n, c, h, w]` floats, 0 black to 1 white, as a grid of so many columns, row by row.
    ///
    /// # Panics
    /// If the values do not fill the shape, there is nothing to show, or `c` is neither 1 nor 3.
    #[track_caller]
    pub fn grid(values: &[f32], shape: [usize; 4], columns: usize) -> Picture {
        let [n, c, h, w] = shape;
        assert!(values.len() == n * c * h * w, "grid: {} values do not fill {shape:?}", values.len());
        assert!(n > 0 && columns > 0, "grid: no picture, or no column to put it in");
        let (columns, rows) = (columns.min(n), n.div_ceil(columns));
        let mut all = Picture::new(columns * (w + 1) + 1, rows * (h + 1) + 1, c);
        all.pixels.fill(GAP);
        for i in 0..n {
            let (left, top) = (1 + i % columns * (w + 1), 1 + i / columns * (h + 1));
            for (channel, y, x) in (0..c).flat_map(|k| (0..h).flat_map(move |y| (0..w).map(move |x| (k, y, x)))) {
                let value = values[((i * c + channel) * h + y) * w + x];
                all.pixels[((top + y) * all.width + left + x) * c + channel] = byte(value);
            }
        }
        all
    }

    /// The same, each picture stretched so that its least value is black and its greatest white: for filters.
    ///
    /// # Panics
    /// As [`Picture::grid`].
    #[track_caller]
    pub fn stretched_grid(values: &[f32], shape: [usize; 4], columns: usize) -> Picture {
        let size = shape[1..].iter().product::<usize>().max(1);
        let stretched: Vec<f32> = values
            .chunks(size)
            .flat_map(|one| {
                let (low, high) =
                    one.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
                one.iter().map(move |v| if high > low { (v - low) / (high - low) } else { 0.5 })
            })
            .collect();
        Picture::grid(&stretched, shape, columns)
    }

    /// Each pixel as a square of `factor` by `factor`.
    pub fn scaled(&self, factor: usize) -> Picture {
        let mut large = Picture::new(self.width * factor, self.height * factor, self.channels);
        for y in 0..large.height {
            for x in 0..large.width {
                large.set(x, y, self.at(x / factor, y / factor).to_vec().as_slice());
            }
        }
        large
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// 1 or 3.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The bytes of one pixel.
    ///
    /// # Panics
    /// If it is outside.
    #[track_caller]
    pub fn at(&self, x: usize, y: usize) -> &[u8] {
        assert!(x < self.width && y < self.height, "at: ({x}, {y}) of {} by {}", self.width, self.height);
        &self.pixels[(y * self.width + x) * self.channels..][..self.channels]
    }

    /// Sets one pixel; outside of the picture nothing happens, so that shapes may stand out of it.
    ///
    /// # Panics
    /// If `colour` does not have a byte per channel.
    #[track_caller]
    pub fn set(&mut self, x: usize, y: usize, colour: &[u8]) {
        assert!(colour.len() == self.channels, "set: {} bytes for {} channels", colour.len(), self.channels);
        if x < self.width && y < self.height {
            self.pixels[(y * self.width + x) * self.channels..][..self.channels].copy_from_slice(colour);
        }
    }

    /// Fills a rectangle, as far as it is inside.
    pub fn fill(&mut self, [left, top, width, height]: [usize; 4], colour: &[u8]) {
        for y in top..(top + height).min(self.height) {
            for x in left..(left + width).min(self.width) {
                self.set(x, y, colour);
            }
        }
    }

    /// A PNG file's bytes.
    pub fn png(&self) -> Vec<u8> {
        let colour = if self.channels == 1 { image::ExtendedColorType::L8 } else { image::ExtendedColorType::Rgb8 };
        let mut bytes = Vec::new();
        let (width, height) = (self.width as u32, self.height as u32);
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(&self.pixels, width, height, colour)
            .expect("the pixels fill the picture, and memory takes all that is written");
        bytes
    }

    /// Writes a PNG file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write(path.as_ref(), &self.png())
    }

    fn rgba(&self) -> RgbaImage {
        RgbaImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let p = self.at(x as usize, y as usize);
            if self.channels == 1 { [p[0], p[0], p[0], 255].into() } else { [p[0], p[1], p[2], 255].into() }
        })
    }
}

/// Writes a film of pictures of one size as an endless GIF, each shown for so many milliseconds.
///
/// # Errors
/// If it cannot be written.
///
/// # Panics
/// If the sizes differ.
#[track_caller]
pub fn save_gif(path: impl AsRef<Path>, frames: &[Picture], milliseconds: u32) -> Result<()> {
    let path = path.as_ref();
    let same = frames.iter().all(|f| (f.width, f.height) == (frames[0].width, frames[0].height));
    assert!(same, "save_gif: the frames differ in size");
    let fault = |e: image::ImageError| Error::file(path, format!("cannot be made: {e}"), "Make the frames smaller");
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, 10);
    encoder.set_repeat(Repeat::Infinite).map_err(fault)?;
    for frame in frames {
        let delay = Delay::from_numer_denom_ms(milliseconds, 1);
        encoder.encode_frame(Frame::from_parts(frame.rgba(), 0, 0, delay)).map_err(fault)?;
    }
    drop(encoder);
    write(path, &bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| {
        Error::file(path, format!("cannot be written: {e}"), "Name a file in a folder that can be written")
    })
}

fn byte(value: f32) -> u8 {
    // NaN becomes black.
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}
