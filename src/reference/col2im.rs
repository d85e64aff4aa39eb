//! Columns of patches summed back onto an image (PyTorch's `fold`): the transpose of `im2col`.

use rayon::prelude::*;

use super::im2col::{Window, Windows};
use super::{Array, Real, View};

/// `[n, c * kh * kw, oh * ow]` to `[n, c, h, w]`.
pub fn col2im<T: Real>(cols: &View<T>, win: &Window, [h, w]: [usize; 2]) -> Array<T> {
    let &[n, rows, columns] = cols.shape else { unreachable!("columns have three axes") };
    let [oh, ow] = win.output([h, w]).expect("inferred");
    let c = rows / win.taps();
    let mut out = T::zeros(n * c * h * w);
    if !out.is_empty() && columns > 0 {
        let mut cols = cols.floats().into_owned();
        let windows = Windows { window: win, image: [h, w], width: ow, rows: 0..oh };
        out.par_chunks_mut(c * h * w)
            .zip(cols.par_chunks_mut(rows * columns))
            .for_each(|(x, cols)| windows.scatter(cols, columns, x));
    }
    Array::floats([n, c, h, w], out)
}
