//! A canvas just large enough to show what an agent does: rectangles, thick lines, RGB bytes.

/// A picture, row-major RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// `[height, width, 3]`
    pub pixels: Vec<u8>,
}

impl Canvas {
    /// One colour.
    pub fn new(width: usize, height: usize, color: [u8; 3]) -> Canvas {
        Canvas { width, height, pixels: color.repeat(width * height) }
    }

    fn set(&mut self, x: usize, y: usize, color: [u8; 3]) {
        let at = 3 * (y * self.width + x);
        self.pixels[at..at + 3].copy_from_slice(&color);
    }

    /// A filled rectangle; what lies outside is cut off.
    pub fn rect(&mut self, corner: [f64; 2], size: [f64; 2], color: [u8; 3]) {
        let range = |at: f64, long: f64, limit: usize| {
            let low = at.round().clamp(0.0, limit as f64) as usize;
            low..(at + long).round().clamp(0.0, limit as f64) as usize
        };
        for y in range(corner[1], size[1], self.height) {
            for x in range(corner[0], size[0], self.width) {
                self.set(x, y, color);
            }
        }
    }

    /// A line of some thickness: every pixel nearer to it than half of that.
    pub fn line(&mut self, from: [f64; 2], to: [f64; 2], thickness: f64, color: [u8; 3]) {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = (dx * dx + dy * dy).max(1e-12);
        for y in 0..self.height {
            for x in 0..self.width {
                let (px, py) = (x as f64 + 0.5 - from[0], y as f64 + 0.5 - from[1]);
                let along = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                let (ox, oy) = (px - along * dx, py - along * dy);
                if ox * ox + oy * oy <= thickness * thickness / 4.0 {
                    self.set(x, y, color);
                }
            }
        }
    }
}
