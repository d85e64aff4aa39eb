//! Street View House Numbers (Netzer et al., 2011): digits cut from pictures of house numbers, 32x32 pixels in colour.

use std::path::Path;

use super::{Dataset, Images, cifar, file, mat};
use crate::error::{Error, Result};

/// The pictures of one official file, `train_32x32.mat`, `test_32x32.mat` or `extra_32x32.mat`. There, pixels are
/// `[row, column, colour, picture]` with the row varying fastest, and the digit 0 has the label 10; here they are
/// `[picture, colour, row, column]`, and it is 0.
///
/// # Errors
/// [`Error::File`] if the file cannot be read or is another one.
pub fn read(path: impl AsRef<Path>) -> Result<Images> {
    let path = path.as_ref();
    let arrays = mat::read(path)?;
    let remedy = "Name train_32x32.mat, test_32x32.mat or extra_32x32.mat of SVHN";
    let of = |name: &str| arrays.iter().find(|a| a.name == name);
    let (Some(x), Some(y)) = (of("X"), of("y")) else {
        return Err(Error::file(path, "lacks the arrays X and y", remedy));
    };
    let &[32, 32, 3, count] = &x.dims[..] else {
        return Err(Error::file(path, format!("has pictures of {:?}, not [32, 32, 3, N]", x.dims), remedy));
    };
    if y.data.len() != count {
        return Err(Error::file(path, format!("has {} labels for {count} pictures", y.data.len()), remedy));
    }
    if let Some(i) = y.data.iter().position(|&label| !(1..=10).contains(&label)) {
        return Err(Error::file(path, format!("label {i} is {}, they are 1 to 10", y.data[i]), remedy));
    }
    let mut pixels = Vec::with_capacity(x.data.len());
    for picture in x.data.chunks_exact(32 * 32 * 3) {
        for colour in picture.chunks_exact(32 * 32) {
            pixels.extend((0..32 * 32).map(|at| f32::from(colour[at % 32 * 32 + at / 32]) / 255.0));
        }
    }
    let labels = y.data.iter().map(|&label| u32::from(label % 10)).collect();
    Ok(Images { pixels, labels, shape: [3, 32, 32], classes: 10 })
}

/// The training and the test set of a folder: the official `train_32x32.mat` and `test_32x32.mat`, or files in the
/// binary layout of CIFAR-10 with "train" and "test" in their names.
///
/// # Errors
/// [`Error::File`] if one of the two sets is missing, and for all that [`read`] and [`cifar::read`] refuse.
pub fn load(folder: impl AsRef<Path>) -> Result<Dataset> {
    let folder = folder.as_ref();
    let files = file::list(folder)?;
    let of = |name: &str| files.iter().find(|(file, _)| file == name).map(|(_, path)| path);
    match (of("train_32x32.mat"), of("test_32x32.mat")) {
        (Some(train), Some(test)) => {
            let (train, test) = (read(train)?, read(test)?);
            let source = format!(
                "SVHN from {}: {} pictures to train on, {} to test on",
                folder.display(),
                train.len(),
                test.len()
            );
            Ok(Dataset { name: "SVHN".into(), train, test, source })
        }
        (Some(_), None) => Err(Error::file(folder, "lacks test_32x32.mat", "Put it beside train_32x32.mat")),
        (None, Some(_)) => Err(Error::file(folder, "lacks train_32x32.mat", "Put it beside test_32x32.mat")),
        (None, None) => cifar::in_layout(folder, "SVHN"),
    }
}
