//! MNIST: 60,000 + 10,000 handwritten digits, 28x28, found on disk, fetched, or replaced, but never mistaken.
//!
//! The four files travel under many names and hands: packed and unpacked, renamed by browsers, with Fashion-MNIST
//! under the very same names. An accuracy means something only if the bytes are the right ones, so each file is
//! checked against the SHA-256 of its uncompressed content (recompressed files pass, other content does not).
//!
//! Where [`auto`] looks, in this order:
//!
//! 1. the folder given by the caller, or else by the variable `WGRAD_DATA`: used, or an error; no fallback;
//! 2. the cache, `wgrad` in `$XDG_CACHE_HOME`, `~/.cache` or (Windows) `%LOCALAPPDATA%`;
//! 3. with the feature `download` and without `WGRAD_OFFLINE=1`: the mirrors, into the cache;
//! 4. the built-in [`digits`], with the reason in [`Dataset::source`].
//!
//! In each folder the files may lie directly, in `mnist/`, or in `MNIST/raw/` (torchvision's place).

use crate::data::fetch::{Progress, Transport, Wanted, fetch};
use crate::data::{Dataset, digits, idx};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// One file of a [`Set`] and how to recognise it.
#[derive(Debug, Clone, Copy)]
pub struct Pinned {
    /// The usual name without `.gz`; on the mirrors it is packed and has it.
    pub name: &'static str,
    /// Uncompressed length in bytes.
    pub bytes: u64,
    /// SHA-256 of the uncompressed content, lower-case hex.
    pub sha256: &'static str,
}

/// A data set of four IDX files with pinned content.
#[derive(Debug, Clone, Copy)]
pub struct Set {
    /// What it is called.
    pub name: &'static str,
    /// Addresses to which a file name (with `.gz`) is appended.
    pub mirrors: &'static [&'static str],
    /// Training pictures, training labels, test pictures, test labels.
    pub files: [Pinned; 4],
    /// The number of classes.
    pub classes: usize,
}

/// The original MNIST (LeCun, Cortes, Burges).
pub const MNIST: Set = Set {
    name: "MNIST",
    mirrors: &["https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"],
    files: [
        Pinned {
            name: "train-images-idx3-ubyte",
            bytes: 47_040_016,
            sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        },
        Pinned {
            name: "train-labels-idx1-ubyte",
            bytes: 60_008,
            sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        },
        Pinned {
            name: "t10k-images-idx3-ubyte",
            bytes: 7_840_016,
            sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        },
        Pinned {
            name: "t10k-labels-idx1-ubyte",
            bytes: 10_008,
            sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ],
    classes: 10,
};

/// Loads MNIST from `folder`.
///
/// # Errors
/// [`Error::File`] naming the folder or the file if one is missing, unreadable, or not the original.
pub fn load(folder: impl AsRef<Path>) -> Result<Dataset> {
    MNIST.load(folder)
}

/// Looks for MNIST on this machine: in `data`, or else in `WGRAD_DATA`, or else in the cache. `None` if nothing is
/// named and the cache does not hold it.
///
/// # Errors
/// [`Error::File`] if a folder was named and MNIST is not in it whole, or if the cache holds damaged files.
pub fn find(data: Option<&Path>) -> Result<Option<Dataset>> {
    Places::from_env(data).find(&MNIST)
}

/// MNIST if it can be had, else the built-in digits: see the order at the top of this module. May take as long as a
/// download of 11 MB; [`Places::auto`] is the same with a say in the download.
///
/// # Errors
/// [`Error::File`] if a folder was named (by `data` or `WGRAD_DATA`) and MNIST is not in it whole.
pub fn auto(data: Option<&Path>) -> Result<Dataset> {
    let places = Places::from_env(data);
    #[cfg(feature = "download")]
    let transport = Some(crate::data::fetch::Http::new());
    #[cfg(feature = "download")]
    let transport = transport.as_ref().map(|http| http as &dyn Transport);
    #[cfg(not(feature = "download"))]
    let transport = None;
    places.auto(&MNIST, transport, &mut |_| {})
}

/// Fetches what `cache` lacks of MNIST into `cache/mnist` and loads it.
///
/// # Errors
/// [`Error::Download`] if no mirror delivers, [`Error::File`] if the folder cannot be written.
#[cfg(feature = "download")]
pub fn download(cache: impl AsRef<Path>, progress: &mut dyn FnMut(Progress)) -> Result<Dataset> {
    MNIST.download(cache, &crate::data::fetch::Http::new(), progress)
}

impl Set {
    /// Loads the set from `folder`, `folder/mnist` or `folder/MNIST/raw`.
    ///
    /// # Errors
    /// [`Error::File`] naming the folder or the file if one is missing, unreadable, or of other content than pinned.
    pub fn load(&self, folder: impl AsRef<Path>) -> Result<Dataset> {
        let folder = folder.as_ref();
        let name = self.name;
        if !folder.is_dir() {
            let problem = if folder.exists() { "is not a folder" } else { "does not exist" };
            return Err(Error::file(
                folder,
                problem,
                format!("Name, or set WGRAD_DATA to, a folder with the four {name} files"),
            ));
        }
        let candidates = places_in(folder).map(|place| {
            let found = self.files.map(|file| locate(&place, file.name));
            (place, found)
        });
        // Fullest first: a stray file in one place must not hide a whole set in the next.
        let (place, found) =
            candidates.into_iter().rev().max_by_key(|(_, found)| found.iter().flatten().count()).expect("three places");
        let missing: Vec<_> =
            self.files.iter().zip(&found).filter(|(_, at)| at.is_none()).map(|(f, _)| f.name).collect();
        let [Some(a), Some(b), Some(c), Some(d)] = found else {
            let names = missing.join(", ");
            let remedy = format!("Put the four {name} files there, packed (.gz) or not");
            return match missing.len() {
                4 => Err(Error::file(
                    folder,
                    format!("holds no {name} file ({names}), nor do mnist/ and MNIST/raw/"),
                    remedy,
                )),
                _ => Err(Error::file(place, format!("lacks {names}"), remedy)),
            };
        };
        let half = |[images, labels]: [PathBuf; 2], at: usize| {
            let pixels = self.files[at].read(&images)?;
            let classes = self.files[at + 1].read(&labels)?;
            idx::pair(&images, pixels, &labels, classes, self.classes)
        };
        let (train, test) = (half([a, b], 0)?, half([c, d], 2)?);
        Ok(Dataset { name: name.into(), train, test, source: format!("{name} from {}", place.display()) })
    }

    /// Fetches what `cache` lacks of the set into `cache/mnist` and loads it.
    ///
    /// Files that are there and right are kept, damaged ones replaced; a broken download is taken up at the file
    /// where it stopped.
    ///
    /// # Errors
    /// [`Error::Download`] if no mirror delivers a file, [`Error::File`] if the folder cannot be written.
    pub fn download(
        &self,
        cache: impl AsRef<Path>,
        transport: &dyn Transport,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Dataset> {
        let folder = cache.as_ref().join("mnist");
        for pinned in &self.files {
            if locate(&folder, pinned.name).is_some_and(|path| pinned.read(&path).is_ok()) {
                continue;
            }
            // A damaged file under another of its names would be found before the new one.
            for stale in names(pinned.name).map(|name| folder.join(name)) {
                if stale.is_file() {
                    let refuse =
                        |e| Error::file(&stale, format!("is damaged and cannot be removed ({e})"), "Remove it");
                    std::fs::remove_file(&stale).map_err(refuse)?;
                }
            }
            let file = format!("{}.gz", pinned.name);
            // A mirror may unpack on the way, hence not the packed length.
            let wanted = Wanted { file: &file, mirrors: self.mirrors, limit: pinned.bytes + (1 << 16) };
            fetch(transport, wanted, &folder, &|path| pinned.read(path).map(drop), progress)?;
        }
        let mut set = self.load(&folder)?;
        set.source = format!("{}, downloaded to {}", self.name, folder.display());
        Ok(set)
    }
}

impl Pinned {
    /// Reads the file at `path` if its content is this one.
    fn read(&self, path: &Path) -> Result<idx::Idx> {
        let content = idx::read(path)?;
        let digest = content.sha256();
        if digest != self.sha256 {
            return Err(Error::file(
                path,
                format!("is not the original {}: SHA-256 unpacked is {digest}, expected {}", self.name, self.sha256),
                "Delete it and get the original (other sets, such as Fashion-MNIST, use the same file names)",
            ));
        }
        Ok(content)
    }
}

/// Where to look for a set.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// A folder that somebody named: it is this one or an error.
    pub explicit: Option<PathBuf>,
    /// The folder of downloads, if the system has a place for it; it need not exist.
    pub cache: Option<PathBuf>,
    /// Do not touch the network.
    pub offline: bool,
}

impl Places {
    /// The places of this process: `data` or else `WGRAD_DATA`, the cache folder, and offline if `WGRAD_OFFLINE` is set
    /// to anything but `0`.
    pub fn from_env(data: Option<&Path>) -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            explicit: data.map(Path::to_path_buf).or_else(|| var("WGRAD_DATA").map(PathBuf::from)),
            cache: crate::device::cache_folder(),
            offline: var("WGRAD_OFFLINE").is_some_and(|value| value != "0"),
        }
    }

    /// Looks for `set` in the named folder, or else in the cache; `None` if nothing is named and the cache does not
    /// hold all four files.
    ///
    /// # Errors
    /// [`Error::File`] if the named folder does not hold the set whole, or if the cache holds damaged files.
    pub fn find(&self, set: &Set) -> Result<Option<Dataset>> {
        if let Some(folder) = &self.explicit {
            return set.load(folder).map(Some);
        }
        let Some(cache) = &self.cache else { return Ok(None) };
        let whole = |place: PathBuf| set.files.iter().all(|file| locate(&place, file.name).is_some());
        if places_in(cache).into_iter().any(whole) { set.load(cache).map(Some) } else { Ok(None) }
    }

    /// `set` if it can be had, else the built-in digits with the reason in their `source`. Without a `transport`
    /// nothing is fetched.
    ///
    /// # Errors
    /// [`Error::File`] if a folder is named and does not hold the set whole: nothing else is tried then.
    pub fn auto(
        &self,
        set: &Set,
        transport: Option<&dyn Transport>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Dataset> {
        let mut reasons = Vec::new();
        match self.find(set) {
            Ok(Some(found)) => return Ok(found),
            Err(fault) if self.explicit.is_some() => return Err(fault),
            Err(fault) => reasons.push(fault.to_string()),
            Ok(None) => reasons.push(match &self.cache {
                Some(cache) => format!("no {} in {}", set.name, cache.display()),
                None => "no cache folder".into(),
            }),
        }
        match (transport, &self.cache) {
            _ if self.offline => reasons.push("WGRAD_OFFLINE is set".into()),
            (None, _) => reasons.push("downloads are not built in (feature `download`)".into()),
            (_, None) => {}
            (Some(transport), Some(cache)) => match set.download(cache, transport, progress) {
                Ok(set) => return Ok(set),
                Err(fault) => reasons.push(fault.to_string().replace('\n', "; ")),
            },
        }
        let mut set = digits::dataset(digits::TRAIN, digits::TEST, 0);
        set.source = format!("{}, because: {}", set.source, reasons.join("; "));
        Ok(set)
    }
}

/// The folders in `folder` in which the files may lie.
fn places_in(folder: &Path) -> [PathBuf; 3] {
    [folder.to_path_buf(), folder.join("mnist"), folder.join("MNIST").join("raw")]
}

/// The names under which the file usually called `name` may lie: `-idx3-` is `.idx3-` in some copies.
fn names(name: &str) -> [String; 4] {
    let dotted = name.replace("-idx", ".idx");
    [name.to_string(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")]
}

fn locate(folder: &Path, name: &str) -> Option<PathBuf> {
    names(name).into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}
