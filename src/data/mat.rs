//! Reads arrays of numbers from MATLAB files of version 5, the form of the official SVHN, without MATLAB.
//!
//! The format ("MAT-File Format", The MathWorks): 128 bytes of header, then elements of a type, a size and data. An
//! element of type 15 is another one, compressed; one of type 14 an array: its flags, extents, name and numbers, each
//! an element.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::file;
use crate::error::{Error, Result};

/// An array of whole numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Its name in the file.
    pub name: String,
    /// Its extents; the first varies fastest.
    pub dims: Vec<usize>,
    /// Its numbers, in MATLAB's order: 0 to 255.
    pub data: Vec<u8>,
}

/// More than this is no file of pictures.
const LIMIT: u64 = 4 << 30;
const REMEDY: &str = "Name a MATLAB file of version 5, such as train_32x32.mat of SVHN";

/// The arrays of numbers from 0 to 255 in a file; others are passed over.
///
/// # Errors
/// [`Error::File`] naming the file if it cannot be read, is of another version, or is torn.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Array>> {
    let path = path.as_ref();
    let bytes = file::read(path, LIMIT)?;
    let bad = |problem: &str| Error::file(path, problem, REMEDY);
    if bytes.len() < 128 || &bytes[126..128] != b"IM" {
        let version_7 = bytes.starts_with(b"MATLAB 7.3");
        return Err(bad(if version_7 { "is of version 7.3 (HDF5)" } else { "is no MATLAB file of version 5" }));
    }
    let mut arrays = Vec::new();
    let mut rest = &bytes[128..];
    while !rest.is_empty() {
        let (kind, data, after) = element(rest).ok_or_else(|| bad("is torn"))?;
        let unpacked;
        let array = match kind {
            15 => {
                let mut content = Vec::new();
                let read = ZlibDecoder::new(data).take(LIMIT).read_to_end(&mut content);
                read.map_err(|e| bad(&format!("corrupt or torn ({e})")))?;
                unpacked = content;
                element(&unpacked).ok_or_else(|| bad("is torn"))?
            }
            _ => (kind, data, after),
        };
        if array.0 == 14 {
            arrays.extend(matrix(array.1).ok_or_else(|| bad("holds a torn array"))?);
        }
        rest = after;
    }
    Ok(arrays)
}

/// Type and data of the first element, and what follows it. Small ones keep type, size and data in eight bytes.
fn element(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let first = word(0)?;
    if first >> 16 != 0 {
        let size = (first >> 16) as usize;
        return Some((first & 0xffff, bytes.get(4..4 + size.min(4))?, bytes.get(8..)?));
    }
    let size = word(4)? as usize;
    let data = bytes.get(8..8usize.checked_add(size)?)?;
    // All but compressed elements are filled up to eight bytes; the last may end without.
    let end = if first == 15 { 8 + size } else { 8 + size.next_multiple_of(8) };
    Some((first, data, bytes.get(end.min(bytes.len())..)?))
}

/// The array in an element of type 14: `Some(None)` if it holds other things than small whole numbers.
fn matrix(bytes: &[u8]) -> Option<Option<Array>> {
    let (_, _flags, rest) = element(bytes)?;
    let (kind, dims, rest) = element(rest)?;
    let (_, name, rest) = element(rest)?;
    if kind != 5 {
        return None;
    }
    let dims: Vec<usize> = dims
        .chunks_exact(4)
        .map(|d| usize::try_from(i32::from_le_bytes([d[0], d[1], d[2], d[3]])).ok())
        .collect::<Option<_>>()?;
    let Some((kind, values, _)) = element(rest) else { return Some(None) };
    let width = match kind {
        1 | 2 => 1,
        3 | 4 => 2,
        5 | 6 => 4,
        9 => 8,
        _ => return Some(None),
    };
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    if values.len() != count.checked_mul(width)? {
        return None;
    }
    let small = |v: &[u8]| match (kind, v) {
        (9, _) => {
            let value = f64::from_le_bytes(v.try_into().ok()?);
            (value.fract() == 0.0 && (0.0..=255.0).contains(&value)).then_some(value as u8)
        }
        (_, [low, high @ ..]) => (high.iter().all(|&b| b == 0) && (kind % 2 == 0 || *low < 128)).then_some(*low),
        _ => None,
    };
    let data: Option<Vec<u8>> = values.chunks_exact(width).map(small).collect();
    Some(data.map(|data| Array { name: String::from_utf8_lossy(name).into_owned(), dims, data }))
}
