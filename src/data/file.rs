//! Reads whole files, packed or not, and says what is wrong with them.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// The content of a file; a gzipped one, which is told by its first two bytes, is unpacked. `limit` bounds what is
/// unpacked.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let unreadable =
        |e: std::io::Error| Error::file(path, format!("cannot be read ({e})"), "Check the path and its rights");
    let packed = std::fs::read(path).map_err(unreadable)?;
    if !packed.starts_with(&[0x1f, 0x8b]) {
        return Ok(packed);
    }
    let mut content = Vec::new();
    let remedy = "Delete the file and get it again";
    MultiGzDecoder::new(&packed[..])
        .take(limit + 1)
        .read_to_end(&mut content)
        .map_err(|e| Error::file(path, format!("corrupt or torn gzip stream ({e})"), remedy))?;
    if content.len() as u64 > limit {
        return Err(Error::file(path, format!("holds more than {limit} bytes"), remedy));
    }
    Ok(content)
}

/// The files of a folder by name, in order.
pub(super) fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let unreadable = |e: std::io::Error| {
        Error::file(folder, format!("cannot be read ({e})"), "Name a folder that holds the data set")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file()
            && let Some(name) = path.file_name()
        {
            files.push((name.to_string_lossy().into_owned(), path));
        }
    }
    files.sort();
    Ok(files)
}
