//! Fetches a file from the first mirror that delivers the right bytes.
//!
//! A cache is trusted by everyone who comes later, so a file gets its name only when it is whole: the bytes go to a
//! temporary file beside the target, are written through to the disk, checked, and only then renamed. Whatever fails
//! on the way (the network, the content, a full disk), the temporary file is removed and the target is as it was.
//!
//! What talks to the network is a [`Transport`], one function wide, so that tests can play a mirror that lies, stalls
//! or hangs up. The real one, `Http`, exists with the feature `download`.

use crate::error::{Error, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Temporary files end so.
const PART: &str = ".part";

/// A temporary file that nobody has written to for so long belongs to a process that was killed.
const STALE: Duration = Duration::from_secs(3600);

/// The body of an answer.
pub struct Body {
    /// The bytes as they arrive.
    pub reader: Box<dyn Read>,
    /// How many bytes the other side announced, if it did.
    pub length: Option<u64>,
}

/// Something that can open a URL.
pub trait Transport {
    /// Opens `url` for reading.
    ///
    /// # Errors
    /// A few words for a person: no such host, status 404, timed out.
    fn open(&self, url: &str) -> std::result::Result<Body, String>;
}

/// How far a download is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The name of the file.
    pub file: &'a str,
    /// Bytes received so far; starts anew with each mirror.
    pub received: u64,
    /// Bytes announced by the mirror, if it told.
    pub total: Option<u64>,
}

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The name of the file, here and on the mirrors.
    pub file: &'a str,
    /// Addresses to which the name is appended, tried in this order.
    pub mirrors: &'a [&'a str],
    /// Refuse a body of more bytes than this.
    pub limit: u64,
}

/// Fetches `wanted` into `folder`, which is made if it is missing, and returns the path of the file.
///
/// `verify` is given the path of the temporary file and decides by its content; `progress` is called now and then.
///
/// # Errors
/// [`Error::Download`] with one line per mirror if none of them delivers what `verify` accepts; [`Error::File`] if the
/// file cannot be written (no rights, disk full). In both cases nothing new is left in `folder`.
pub fn fetch(
    transport: &dyn Transport,
    wanted: Wanted,
    folder: &Path,
    verify: &dyn Fn(&Path) -> Result<()>,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf> {
    let new_folder = !folder.exists();
    fs::create_dir_all(folder).map_err(|e| unwritable(folder, &e))?;
    let result = from_mirrors(transport, wanted, folder, verify, progress);
    if result.is_err() && new_folder {
        let _ = fs::remove_dir(folder); // Refuses to remove a folder that holds something.
    }
    result
}

fn from_mirrors(
    transport: &dyn Transport,
    wanted: Wanted,
    folder: &Path,
    verify: &dyn Fn(&Path) -> Result<()>,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf> {
    sweep(folder);
    let target = folder.join(wanted.file);
    let mut failures = Vec::new();
    for mirror in wanted.mirrors {
        let url = format!("{mirror}{}", wanted.file);
        let mut part = Part::create(folder, wanted.file)?;
        let received = match transport.open(&url) {
            Ok(body) => receive(body, &mut part.file, wanted, progress),
            Err(reason) => Err(Fault::Mirror(reason)),
        };
        match received {
            Ok(()) => {}
            Err(Fault::Disk(e)) => return Err(unwritable(&part.path, &e)),
            Err(Fault::Mirror(reason)) => {
                failures.push(format!("{url}: {reason}"));
                continue;
            }
        }
        part.file.sync_all().map_err(|e| unwritable(&part.path, &e))?;
        match verify(&part.path) {
            Ok(()) => return part.publish(target),
            // The path in the text is that of the temporary file, which nobody will find: the problem is enough.
            Err(Error::File { problem, .. }) => failures.push(format!("{url}: what came {problem}")),
            Err(other) => failures.push(format!("{url}: {other}")),
        }
    }
    Err(Error::Download {
        what: wanted.file.into(),
        problem: failures.join("\n"),
        remedy: format!("Check the network, or put the file into {} by hand", folder.display()),
    })
}

/// Who is to blame decides what to do next: try the next mirror, or give up.
enum Fault {
    Mirror(String),
    Disk(io::Error),
}

fn receive(
    mut body: Body,
    out: &mut dyn Write,
    wanted: Wanted,
    progress: &mut dyn FnMut(Progress),
) -> std::result::Result<(), Fault> {
    let mut chunk = vec![0; 1 << 16];
    let mut received = 0;
    loop {
        progress(Progress { file: wanted.file, received, total: body.length });
        let count = match body.reader.read(&mut chunk) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Fault::Mirror(format!("broke off after {received} bytes ({e})"))),
        };
        if count == 0 {
            break;
        }
        received += count as u64;
        if received > wanted.limit {
            return Err(Fault::Mirror(format!("sends more than the {} bytes that are plausible", wanted.limit)));
        }
        out.write_all(&chunk[..count]).map_err(Fault::Disk)?;
    }
    match body.length {
        Some(total) if total != received => Err(Fault::Mirror(format!("sent {received} bytes of {total}"))),
        _ => Ok(()),
    }
}

/// A temporary file that goes away unless it is published.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    fn create(folder: &Path, name: &str) -> Result<Self> {
        // Process and count make the name unique, so that two runs can fetch the same file at once.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{name}.{}.{count}{PART}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(|e| unwritable(&path, &e))?;
        Ok(Self { file, path })
    }

    fn publish(self, target: PathBuf) -> Result<PathBuf> {
        // On success the drop that follows finds nothing under the old name.
        fs::rename(&self.path, &target).map_err(|e| unwritable(&target, &e))?;
        Ok(target)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes temporary files of killed processes; best effort, since leaving one does no harm.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_part = name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(PART));
        let age = entry.metadata().and_then(|info| info.modified()).ok().and_then(|time| time.elapsed().ok());
        if is_part && age.is_some_and(|age| age > STALE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn unwritable(path: &Path, e: &io::Error) -> Error {
    Error::file(path, format!("cannot be written ({e})"), "Free some space or choose another folder")
}

/// The real network, by `ureq`.
#[cfg(feature = "download")]
pub struct Http {
    agent: ureq::Agent,
}

#[cfg(feature = "download")]
impl Http {
    /// Gives up if a connection takes 5 s, an answer 15 s, or one file 120 s. Honours the usual proxy variables.
    pub fn new() -> Self {
        let seconds = |s| Some(Duration::from_secs(s));
        let config = ureq::Agent::config_builder()
            .timeout_resolve(seconds(5))
            .timeout_connect(seconds(5))
            .timeout_recv_response(seconds(15))
            .timeout_global(seconds(120))
            .build();
        Self { agent: config.into() }
    }
}

#[cfg(feature = "download")]
impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "download")]
impl Transport for Http {
    fn open(&self, url: &str) -> std::result::Result<Body, String> {
        let body = self.agent.get(url).call().map_err(|e| e.to_string())?.into_body();
        let length = body.content_length();
        Ok(Body { reader: Box::new(body.into_reader()), length })
    }
}
