//! Reads IDX, the file format of MNIST, and believes nothing in it.
//!
//! Why strict: the usual reader takes the sizes of the header, allocates, and reads what is there. A download that
//! stopped early, an HTML error page under the right name or labels of another set then show up as a crash, or not at
//! all, as a model that does not learn. Here a size is compared with what the file can hold before memory is asked for,
//! the content must end where the header says, and labels must be classes.
//!
//! The format: `00 00 08 D`, then `D` sizes as big-endian `u32`, then the product of the sizes in bytes. A file may be
//! gzipped as a whole, which is told by its first two bytes (`1f 8b`), not by its name: browsers unpack or rename.

use crate::data::Images;
use crate::error::{Error, Result};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const REMEDY: &str = "Delete the file and get it again";

/// Deflate turns one byte into at most 1032, so a gzipped file cannot hold more than this many times its length.
const MOST_INFLATED: u64 = 1032;

/// An array of bytes from an IDX file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// The sizes, outermost first: `[N]` for labels, `[N, H, W]` for pictures.
    pub dims: Vec<u32>,
    /// `dims` multiplied, that many bytes, row by row.
    pub data: Vec<u8>,
}

impl Idx {
    /// The SHA-256 of the uncompressed file in lower-case hex: the same whether and how the file was compressed.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        hash.update([0, 0, 8, self.dims.len() as u8]);
        for dim in &self.dims {
            hash.update(dim.to_be_bytes());
        }
        hash.update(&self.data);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Reads an IDX file of unsigned bytes with one to four dimensions, plain or gzipped.
///
/// # Errors
/// [`Error::File`] naming the file if it cannot be read, is not IDX, is torn, has bytes after its end, claims more than
/// it can hold, or is a broken gzip stream.
pub fn read(path: impl AsRef<Path>) -> Result<Idx> {
    let path = path.as_ref();
    let bad = |problem: String| Error::file(path, problem, REMEDY);
    let unreadable = |e: io::Error| Error::file(path, format!("cannot be read ({e})"), "Check the path and its rights");
    let info = std::fs::metadata(path).map_err(unreadable)?;
    if !info.is_file() {
        return Err(Error::file(path, "is not a file", "Name an IDX file"));
    }
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let gzipped = io::BufRead::fill_buf(&mut file).map_err(unreadable)?.starts_with(&[0x1f, 0x8b]);
    let mut content: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let broken = |e: io::Error| match (gzipped, e.kind()) {
        (_, io::ErrorKind::UnexpectedEof) => bad("ends too early (torn)".into()),
        (true, io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => bad(format!("corrupt gzip stream ({e})")),
        _ => unreadable(e),
    };

    let mut word = [0; 4];
    content.read_exact(&mut word).map_err(broken)?;
    let count = match word {
        [0, 0, 8, count @ 1..=4] => count,
        [0, 0, 8 | 9 | 0xb..=0xe, _] => {
            return Err(bad(format!("is IDX of a kind not read here ({})", hex(&word))));
        }
        _ => return Err(bad(format!("is not an IDX file (begins with {}, not 00 00 08 01..04)", hex(&word)))),
    };
    let mut dims = Vec::new();
    for _ in 0..count {
        content.read_exact(&mut word).map_err(broken)?;
        dims.push(u32::from_be_bytes(word));
    }

    let header = 4 + 4 * u64::from(count);
    let size = dims.iter().try_fold(1u64, |size, &dim| size.checked_mul(u64::from(dim)));
    let room = if gzipped { info.len().saturating_mul(MOST_INFLATED) } else { info.len() }.saturating_sub(header);
    let size = size.filter(|&size| size <= room).ok_or_else(|| {
        bad(format!("is torn or foreign: its header claims {dims:?} bytes, at most {room} can follow in this file"))
    })?;
    let mut data = Vec::new();
    usize::try_from(size).ok().and_then(|size| data.try_reserve_exact(size).ok()).ok_or_else(|| {
        Error::file(path, format!("holds {size} bytes, more than there is memory"), "Use a machine with more memory")
    })?;
    content.by_ref().take(size).read_to_end(&mut data).map_err(broken)?;
    if data.len() as u64 != size {
        return Err(bad(format!("is torn: {} bytes of {size} follow the header", data.len())));
    }
    // The read past the end is also what makes the decoder compare the checksum.
    match content.read(&mut word).map_err(broken)? {
        0 => Ok(Idx { dims, data }),
        _ => Err(bad(format!("has bytes after the {size} that its header {dims:?} announces"))),
    }
}

/// Reads a file of grey pictures `[N, H, W]` and a file of their labels `[N]`, each below `classes`.
///
/// The pictures have the shape `[1, H, W]` and are scaled from 0..=255 to 0..=1.
///
/// # Errors
/// [`Error::File`] for everything that [`read`] refuses, for other dimensions, for counts that differ, and for a label
/// that is not below `classes`.
pub fn read_images(images: impl AsRef<Path>, labels: impl AsRef<Path>, classes: usize) -> Result<Images> {
    let (images, labels) = (images.as_ref(), labels.as_ref());
    pair(images, read(images)?, labels, read(labels)?, classes)
}

/// Joins what was read from the files `images` and `labels`; they are named in errors.
pub(crate) fn pair(images: &Path, pixels: Idx, labels: &Path, classes_of: Idx, classes: usize) -> Result<Images> {
    let &[count, height, width] = pixels.dims.as_slice() else {
        let remedy = "Name a file of grey pictures (three dimensions); are images and labels swapped?";
        return Err(Error::file(images, format!("has the dimensions {:?}, not [N, H, W]", pixels.dims), remedy));
    };
    let &[labelled] = classes_of.dims.as_slice() else {
        let remedy = "Name a file of labels (one dimension); are images and labels swapped?";
        return Err(Error::file(labels, format!("has the dimensions {:?}, not [N]", classes_of.dims), remedy));
    };
    if labelled != count {
        let problem = format!("holds {labelled} labels for the {count} pictures of {}", images.display());
        return Err(Error::file(labels, problem, "Use the two files of one set"));
    }
    if let Some(i) = classes_of.data.iter().position(|&label| usize::from(label) >= classes) {
        let problem =
            format!("label {i} is {}, the classes are 0 to {}", classes_of.data[i], classes.saturating_sub(1));
        return Err(Error::file(
            labels,
            problem,
            "Use the label file of this set, or give the right number of classes",
        ));
    }
    Ok(Images {
        pixels: pixels.data.iter().map(|&byte| f32::from(byte) / 255.0).collect(),
        labels: classes_of.data.iter().map(|&label| u32::from(label)).collect(),
        shape: [1, height as usize, width as usize],
        classes,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}
