//! CIFAR-10, and whatever else lies in its binary layout: one label byte and 3,072 bytes of red, green and blue planes
//! of 32x32 pixels for each picture (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

use std::path::{Path, PathBuf};

use super::{Dataset, Images, file};
use crate::error::{Error, Result};

/// The classes, in the order of their labels.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

const RECORD: usize = 1 + 3 * 32 * 32;

/// The pictures of files in the binary layout, packed (.gz) or not, one file after the other.
///
/// # Errors
/// [`Error::File`] naming the file if it cannot be read, is no whole number of records, or holds a label above 9.
pub fn read<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Images> {
    let mut images = Images { pixels: Vec::new(), labels: Vec::new(), shape: [3, 32, 32], classes: 10 };
    for path in paths {
        let path = path.as_ref();
        let bytes = file::read(path, 1 << 31)?;
        if bytes.is_empty() || bytes.len() % RECORD != 0 {
            let problem =
                format!("holds {} bytes, no whole number of records of {RECORD}: it is torn or foreign", bytes.len());
            return Err(Error::file(path, problem, "Name a file in the binary layout of CIFAR-10"));
        }
        for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
            let (label, pixels) = (record[0], &record[1..]);
            if label > 9 {
                let problem = format!("label {i} is {label}, the classes are 0 to 9");
                return Err(Error::file(path, problem, "Name a file in the binary layout of CIFAR-10"));
            }
            images.labels.push(label.into());
            images.pixels.extend(pixels.iter().map(|&byte| f32::from(byte) / 255.0));
        }
    }
    Ok(images)
}

/// The training and the test set of a folder: the official `data_batch_1.bin` to `5` and `test_batch.bin`, or any files
/// in their layout with "train" and "test" in their names, there or in `cifar-10-batches-bin`.
///
/// # Errors
/// [`Error::File`] if one of the two sets is missing, and for all that [`read`] refuses.
pub fn load(folder: impl AsRef<Path>) -> Result<Dataset> {
    let folder = folder.as_ref();
    let inner = folder.join("cifar-10-batches-bin");
    let folder = if inner.is_dir() { inner } else { folder.to_path_buf() };
    in_layout(&folder, "CIFAR-10")
}

/// Files of this layout with "train" (or "data_batch") and "test" in their names.
pub(super) fn in_layout(folder: &Path, name: &str) -> Result<Dataset> {
    let files = file::list(folder)?;
    let of = |words: &[&str]| -> Vec<&PathBuf> {
        let binary = files.iter().filter(|(name, _)| name.ends_with(".bin") || name.ends_with(".bin.gz"));
        binary.filter(|(name, _)| words.iter().any(|w| name.contains(w))).map(|(_, path)| path).collect()
    };
    let (train, test) = (of(&["train", "data_batch"]), of(&["test"]));
    for (what, found) in [("train", &train), ("test", &test)] {
        if found.is_empty() {
            let problem = format!("holds no .bin file with {what:?} in its name");
            return Err(Error::file(folder, problem, format!("Put the {name} files there, packed (.gz) or not")));
        }
    }
    let (train, test) = (read(train)?, read(test)?);
    let source =
        format!("{name} from {}: {} pictures to train on, {} to test on", folder.display(), train.len(), test.len());
    Ok(Dataset { name: name.into(), train, test, source })
}
