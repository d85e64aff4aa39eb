//! The data room: reading, finding and fetching pictures. (The order of batches and the drawn digits are tested where
//! they are written, in `src/data`.)
//!
//! Files are written here byte by byte, mirrors are played here, so every bad input has its test and none needs the
//! network. The real MNIST is read only where `WGRAD_DATA` names it.

use flate2::{Compression, write::GzEncoder};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wgrad::data::fetch::{Body, Transport, Wanted, fetch};
use wgrad::data::mnist::{Pinned, Places, Set};
use wgrad::data::{Images, digits, idx, mnist};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The bytes of an IDX file whose header says `dims`.
fn idx_bytes(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| bytes.extend(dim.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// Asserts that `result` is an error whose text holds all of `parts`.
#[track_caller]
fn refused<T>(result: Result<T, impl std::fmt::Display>, parts: &[&str]) {
    let text = result.err().expect("an error").to_string();
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

// IDX

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn idx_is_read_plain_and_packed_whatever_its_name() {
    let dir = folder();
    let bytes = idx_bytes(&[2, 1, 3], &[1, 2, 3, 4, 5, 255]);
    for (name, content) in [("plain.gz", bytes.clone()), ("packed", gzip(&bytes, 6)), ("stored", gzip(&bytes, 0))] {
        let read = idx::read(write(&dir, name, &content)).unwrap();
        assert_eq!((read.dims.as_slice(), read.data.as_slice()), (&[2, 1, 3][..], &[1, 2, 3, 4, 5, 255][..]));
        // sha256sum of these 22 bytes.
        assert_eq!(read.sha256(), "bce44e6b99fe16567fba7f29293b2a441e980df1a95ea79c49a26e47855c3d1f");
    }
}

#[test]
fn a_torn_file_is_refused_at_every_length() {
    let dir = folder();
    let bytes = idx_bytes(&[2, 2, 2], &[9; 8]);
    for content in [bytes.clone(), gzip(&bytes, 9)] {
        assert!(idx::read(write(&dir, "whole", &content)).is_ok());
        for length in 0..content.len() {
            let path = write(&dir, "torn-images", &content[..length]);
            refused(idx::read(&path), &["torn-images", "Delete the file and get it again"]);
        }
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let dir = folder();
    let mut bytes = idx_bytes(&[3], &[1, 2, 3, 4]);
    refused(idx::read(write(&dir, "long", &bytes)), &["long", "after the 3"]);
    refused(idx::read(write(&dir, "long.gz", &gzip(&bytes, 6))), &["long.gz", "after the 3"]);
    bytes.pop();
    let mut packed = gzip(&bytes, 6);
    packed.extend(b"tail");
    refused(idx::read(write(&dir, "tail.gz", &packed)), &["tail.gz"]);
}

#[test]
fn foreign_files_are_refused() {
    let dir = folder();
    refused(idx::read(write(&dir, "page", b"<!DOCTYPE html><html>")), &["page", "not an IDX file", "3c 21 44 4f"]);
    refused(idx::read(write(&dir, "floats", &[0, 0, 0xd, 1, 0, 0, 0, 0])), &["floats", "kind not read here"]);
    refused(idx::read(write(&dir, "scalar", &[0, 0, 8, 0])), &["scalar"]);
    refused(idx::read(dir.path().join("absent")), &["absent", "cannot be read"]);
    refused(idx::read(dir.path()), &["is not a file"]);
}

#[test]
fn sizes_beyond_the_file_are_refused_before_memory_is_asked_for() {
    let dir = folder();
    // 4 GiB, 2^64 and 2^128 bytes claimed by files of some 20 bytes.
    for dims in [&[u32::MAX][..], &[1 << 31, 1 << 31, 4], &[u32::MAX; 4]] {
        let bytes = idx_bytes(dims, &[0; 4]);
        refused(idx::read(write(&dir, "huge", &bytes)), &["huge", "claims"]);
        refused(idx::read(write(&dir, "huge.gz", &gzip(&bytes, 6))), &["huge.gz", "claims"]);
    }
    // A packed file may hold a thousand times its length: then the claim must be kept.
    refused(idx::read(write(&dir, "short.gz", &gzip(&idx_bytes(&[9000], &[0; 4]), 6))), &["torn: 4 bytes of 9000"]);
    // And the most compressible one that there is passes.
    let zeros = gzip(&idx_bytes(&[10_000_000], &vec![0; 10_000_000]), 9);
    assert_eq!(idx::read(write(&dir, "zeros.gz", &zeros)).unwrap().data.len(), 10_000_000);
}

#[test]
fn a_flipped_bit_in_a_packed_file_is_noticed() {
    let dir = folder();
    let data: Vec<u8> = (0..500u32).map(|i| (i * i % 251) as u8).collect();
    let bytes = idx_bytes(&[500], &data);
    let packed = gzip(&bytes, 6);
    for at in [20, packed.len() / 2, packed.len() - 6, packed.len() - 1] {
        let mut broken = packed.clone();
        broken[at] ^= 4;
        refused(idx::read(write(&dir, "broken.gz", &broken)), &["broken.gz", "Delete the file"]);
    }
}

#[test]
fn pictures_and_labels_are_joined_and_scaled() {
    let dir = folder();
    let images = write(&dir, "images", &idx_bytes(&[2, 1, 2], &[0, 51, 102, 255]));
    let labels = write(&dir, "labels", &idx_bytes(&[2], &[3, 0]));
    let set = idx::read_images(images, labels, 4).unwrap();
    assert_eq!((set.shape, set.classes, set.len(), set.is_empty()), ([1, 1, 2], 4, 2, false));
    assert_eq!(set.labels, [3, 0]);
    for (got, expected) in set.pixels.iter().zip([0.0, 0.2, 0.4, 1.0]) {
        assert!((got - expected).abs() < 1e-7, "{got} is not {expected}");
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let dir = folder();
    let images = write(&dir, "images", &idx_bytes(&[2, 1, 1], &[0, 1]));
    let labels = write(&dir, "labels", &idx_bytes(&[2], &[1, 0]));
    let three = write(&dir, "three", &idx_bytes(&[3], &[1, 0, 1]));
    let wrong = write(&dir, "wrong", &idx_bytes(&[2], &[1, 7]));
    assert!(idx::read_images(&images, &labels, 2).is_ok());
    refused(idx::read_images(&images, &three, 2), &["three", "3 labels for the 2 pictures", "images"]);
    refused(idx::read_images(&images, &wrong, 7), &["wrong", "label 1 is 7", "0 to 6"]);
    refused(idx::read_images(&images, &labels, 0), &["labels", "label 0 is 1"]);
    refused(idx::read_images(&labels, &images, 2), &["labels", "[2]", "swapped"]);
    refused(idx::read_images(&images, &images, 2), &["images", "[2, 1, 1]", "swapped"]);
}

// Finding a set

/// A set of three training and two test pictures with the right digests, and the unpacked bytes of its files.
fn toy_set() -> (Set, [Vec<u8>; 4]) {
    let contents = [
        idx_bytes(&[3, 1, 2], &[1, 2, 3, 4, 5, 6]),
        idx_bytes(&[3], &[0, 1, 1]),
        idx_bytes(&[2, 1, 2], &[7, 8, 9, 10]),
        idx_bytes(&[2], &[1, 0]),
    ];
    // sha256sum of the bytes above.
    let file = |name, at: usize, sha256| Pinned { name, bytes: contents[at].len() as u64, sha256 };
    let files = [
        file("train-images-idx3-ubyte", 0, "d0b84243d680f892241d09ba09617701edaf5937a66688b399b263616c20c6f0"),
        file("train-labels-idx1-ubyte", 1, "2c3e790344a10f73d6eeb7d28548fca47cb14dd05eb979d0611d62ea5ab3ef43"),
        file("t10k-images-idx3-ubyte", 2, "b9c8f74e0e31121afceda2aa5cd2d06ab200eac485f19c84fa9ef67743231f47"),
        file("t10k-labels-idx1-ubyte", 3, "5c66aba3a762e749fce01733b324ea216dc02bd55e9854993e97fdb137383831"),
    ];
    (Set { name: "Toy", mirrors: &["a://first/", "b://second/"], files, classes: 2 }, contents)
}

fn fill(folder: &Path, name: impl Fn(&str) -> String, pack: bool) {
    fs::create_dir_all(folder).unwrap();
    let (set, contents) = toy_set();
    for (file, bytes) in set.files.iter().zip(contents) {
        fs::write(folder.join(name(file.name)), if pack { gzip(&bytes, 1) } else { bytes }).unwrap();
    }
}

#[test]
fn a_set_is_found_under_its_usual_names_and_places() {
    let (set, _) = toy_set();
    for parts in [&[][..], &["mnist"], &["MNIST", "raw"]] {
        for dotted in [false, true] {
            for pack in [false, true] {
                let dir = folder();
                let rename = |name: &str| {
                    let name = if dotted { name.replace("-idx", ".idx") } else { name.to_string() };
                    if pack { name + ".gz" } else { name }
                };
                let place = parts.iter().fold(dir.path().to_path_buf(), |path, part| path.join(part));
                fill(&place, rename, pack);
                let loaded = set.load(dir.path()).unwrap();
                assert_eq!((loaded.train.labels, loaded.test.labels), (vec![0, 1, 1], vec![1, 0]));
                assert_eq!(loaded.train.shape, [1, 1, 2]);
                assert_eq!(loaded.source, format!("Toy from {}", place.display()));
            }
        }
    }
}

#[test]
fn a_stray_file_does_not_hide_a_whole_set_below_it() {
    let dir = folder();
    fill(&dir.path().join("mnist"), str::to_string, false);
    write(&dir, "train-labels-idx1-ubyte", b"stray");
    assert!(toy_set().0.load(dir.path()).is_ok());
}

#[test]
fn missing_and_incomplete_folders_are_refused() {
    let (set, dir) = (toy_set().0, folder());
    refused(set.load(dir.path().join("nowhere")), &["nowhere", "does not exist"]);
    refused(set.load(dir.path()), &["holds no Toy file", "train-images-idx3-ubyte", "Put the four"]);
    fill(dir.path(), str::to_string, false);
    let images = dir.path().join("t10k-images-idx3-ubyte");
    fs::remove_file(&images).unwrap();
    refused(set.load(dir.path()), &["lacks t10k-images-idx3-ubyte."]);
    refused(set.load(dir.path().join("train-labels-idx1-ubyte")), &["is not a folder"]);
    refused(mnist::load(dir.path()), &["lacks t10k-images-idx3-ubyte."]);
}

#[test]
fn other_content_under_the_right_name_is_refused_with_both_digests() {
    let (set, dir) = (toy_set().0, folder());
    fill(dir.path(), str::to_string, false);
    write(&dir, "t10k-labels-idx1-ubyte", &idx_bytes(&[2], &[0, 0]));
    refused(
        set.load(dir.path()),
        &[
            "t10k-labels-idx1-ubyte",
            set.files[3].sha256,
            "05b849cc1389f8c687a7dbabe98872e94ec65cde7f86102032f9fe273534bd79",
            "Fashion-MNIST",
        ],
    );
}

#[test]
fn a_named_folder_is_used_or_refused_and_never_replaced() {
    let (set, dir) = (toy_set().0, folder());
    let cache = dir.path().join("cache");
    fill(&cache, str::to_string, false);
    let named =
        |name: &str| Places { explicit: Some(dir.path().join(name)), cache: Some(cache.clone()), offline: false };
    let mirror = Mirror::honest();
    refused(named("absent").find(&set), &["absent"]);
    refused(named("absent").auto(&set, Some(&mirror), &mut |_| {}), &["absent", "does not exist"]);
    assert!(mirror.asked.borrow().is_empty());
    fill(&dir.path().join("here"), str::to_string, true);
    assert_eq!(named("here").auto(&set, None, &mut |_| {}).unwrap().name, "Toy");
    refused(mnist::find(Some(&dir.path().join("absent"))), &["absent"]);
    refused(mnist::auto(Some(&dir.path().join("absent"))), &["absent"]);
}

#[test]
fn a_cache_is_used_if_whole_passed_over_if_not_and_named_if_damaged() {
    let (set, dir) = (toy_set().0, folder());
    let places = Places { cache: Some(dir.path().join("cache")), ..Places::default() };
    assert!(places.find(&set).unwrap().is_none());
    assert!(Places::default().find(&set).unwrap().is_none());
    let mnist = dir.path().join("cache").join("mnist");
    fill(&mnist, str::to_string, false);
    assert_eq!(places.find(&set).unwrap().unwrap().train.len(), 3);
    fs::write(mnist.join("train-labels-idx1-ubyte"), b"damaged").unwrap();
    refused(places.find(&set), &["train-labels-idx1-ubyte"]);
    fs::remove_file(mnist.join("train-labels-idx1-ubyte")).unwrap();
    assert!(places.find(&set).unwrap().is_none());
}

// Fetching

type Answer = dyn Fn(&str) -> Result<Body, String>;

/// A mirror that gives the answer of `answer(url)`, and notes who was asked for.
struct Mirror {
    answer: Box<Answer>,
    asked: RefCell<Vec<String>>,
}

impl Transport for Mirror {
    fn open(&self, url: &str) -> Result<Body, String> {
        self.asked.borrow_mut().push(url.to_string());
        (self.answer)(url)
    }
}

impl Mirror {
    fn new(answer: impl Fn(&str) -> Result<Body, String> + 'static) -> Self {
        Self { answer: Box::new(answer), asked: RefCell::default() }
    }

    /// Serves the toy set.
    fn honest() -> Self {
        Self::new(|url| Ok(whole(toy_file(url))))
    }
}

fn toy_file(url: &str) -> Vec<u8> {
    let (set, contents) = toy_set();
    let at = set.files.iter().position(|file| url.ends_with(&format!("{}.gz", file.name))).expect("a file of the set");
    gzip(&contents[at], 6)
}

fn whole(bytes: Vec<u8>) -> Body {
    let length = Some(bytes.len() as u64);
    Body { reader: Box::new(io::Cursor::new(bytes)), length }
}

/// A connection that breaks after what came before.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset"))
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_download_fills_the_cache_and_the_next_run_needs_no_network() {
    let (set, dir) = (toy_set().0, folder());
    let cache = dir.path().join("deep").join("cache");
    let places = Places { cache: Some(cache.clone()), ..Places::default() };
    let mirror = Mirror::honest();
    let mut seen = Vec::new();
    let loaded =
        places.auto(&set, Some(&mirror), &mut |p| seen.push((p.file.to_string(), p.received, p.total))).unwrap();
    assert_eq!((loaded.name.as_str(), loaded.train.len(), loaded.test.len()), ("Toy", 3, 2));
    assert!(loaded.source.contains("downloaded"), "{}", loaded.source);
    let expected = set.files.map(|file| format!("{}.gz", file.name));
    assert_eq!(HashSet::from_iter(entries(&cache.join("mnist"))), HashSet::from(expected));
    assert_eq!(mirror.asked.borrow().len(), 4, "one request a file, first mirror only");
    let size = toy_file("train-images-idx3-ubyte.gz").len() as u64;
    assert!(seen.contains(&("train-images-idx3-ubyte.gz".into(), size, Some(size))), "{seen:?}");

    let dead = Mirror::new(|_| Err("no network".into()));
    assert_eq!(places.auto(&set, Some(&dead), &mut |_| {}).unwrap().name, "Toy");
    assert!(dead.asked.borrow().is_empty());
}

#[test]
fn a_bad_mirror_is_passed_over_for_a_good_one() {
    let (set, dir) = (toy_set().0, folder());
    let mirror =
        Mirror::new(|url| if url.starts_with("a:") { Err("status 404".into()) } else { Ok(whole(toy_file(url))) });
    assert!(set.download(dir.path(), &mirror, &mut |_| {}).is_ok());
    assert_eq!(mirror.asked.borrow().len(), 8);
}

#[test]
fn failing_mirrors_leave_nothing_behind_and_say_why() {
    type Bad = fn(&str) -> Result<Body, String>;
    let cases: [(Bad, &str); 7] = [
        (|_| Err("no such host".into()), "no such host"),
        (|url| Ok(whole(toy_file(url)[..20].to_vec())), "torn"),
        (|url| Ok(Body { length: Some(999), ..whole(toy_file(url)) }), "of 999"),
        (|_| Ok(whole(b"<html>Log in to the hotel</html>".to_vec())), "not an IDX file"),
        (|_| Ok(whole(gzip(&idx_bytes(&[1, 1, 1], &[0]), 6))), "not the original"),
        (
            |url| Ok(Body { reader: Box::new(io::Cursor::new(toy_file(url)).chain(Broken)), length: None }),
            "connection reset",
        ),
        (|_| Ok(Body { reader: Box::new(io::repeat(7)), length: None }), "plausible"),
    ];
    for (answer, reason) in cases {
        let (set, dir) = (toy_set().0, folder());
        let result = set.download(dir.path().join("cache"), &Mirror::new(answer), &mut |_| {});
        refused(result, &["train-images-idx3-ubyte.gz", "a://first/", "b://second/", reason, "by hand"]);
        let mnist = dir.path().join("cache").join("mnist");
        assert!(!mnist.exists(), "{reason}: {:?}", entries(&mnist));
    }
}

#[test]
fn a_failed_download_falls_back_to_the_digits_with_the_reason() {
    let (set, dir) = (toy_set().0, folder());
    let places = Places { cache: Some(dir.path().to_path_buf()), ..Places::default() };
    let dead = Mirror::new(|_| Err("no route to host".into()));
    let drawn = places.auto(&set, Some(&dead), &mut |_| {}).unwrap();
    assert_eq!((drawn.name.as_str(), drawn.train.len(), drawn.test.len()), ("digits", digits::TRAIN, digits::TEST));
    assert!(drawn.source.contains("built-in") && drawn.source.contains("no route to host"), "{}", drawn.source);
    assert_eq!(dead.asked.borrow().len(), 2, "the first file on both mirrors, then no more");
}

#[test]
fn offline_asks_nobody() {
    let (set, dir) = (toy_set().0, folder());
    let places = Places { cache: Some(dir.path().to_path_buf()), offline: true, explicit: None };
    let mirror = Mirror::honest();
    let drawn = places.auto(&set, Some(&mirror), &mut |_| {}).unwrap();
    assert!(drawn.source.contains("WGRAD_OFFLINE"), "{}", drawn.source);
    assert!(mirror.asked.borrow().is_empty());
}

#[test]
fn a_damaged_cache_is_mended_and_the_good_files_kept() {
    let (set, dir) = (toy_set().0, folder());
    let mnist = dir.path().join("mnist");
    fill(&mnist, str::to_string, false);
    fs::write(mnist.join("train-labels-idx1-ubyte"), b"damaged").unwrap();
    let mirror = Mirror::honest();
    let places = Places { cache: Some(dir.path().to_path_buf()), ..Places::default() };
    assert_eq!(places.auto(&set, Some(&mirror), &mut |_| {}).unwrap().train.labels, [0, 1, 1]);
    assert_eq!(*mirror.asked.borrow(), ["a://first/train-labels-idx1-ubyte.gz"]);
}

fn fetch_toy(folder: &Path, transport: &dyn Transport) -> Result<PathBuf, String> {
    let wanted = Wanted { file: "x", mirrors: &["m://"], limit: 100 };
    fetch(transport, wanted, folder, &|path| idx::read(path).map(drop), &mut |_| {}).map_err(|e| e.to_string())
}

#[test]
fn an_older_file_stays_as_it_was_when_the_download_fails() {
    let dir = folder();
    write(&dir, "x", b"old");
    refused(fetch_toy(dir.path(), &Mirror::new(|_| Ok(whole(b"rubbish".to_vec())))), &["not an IDX file"]);
    assert_eq!(entries(dir.path()), ["x"]);
    assert_eq!(fs::read(dir.path().join("x")).unwrap(), b"old");
    fetch_toy(dir.path(), &Mirror::new(|_| Ok(whole(idx_bytes(&[1], &[5]))))).unwrap();
    assert_eq!(fs::read(dir.path().join("x")).unwrap(), idx_bytes(&[1], &[5]));
}

#[test]
fn a_target_that_cannot_be_written_is_named_and_left_clean() {
    let dir = folder();
    let good = || Mirror::new(|_| Ok(whole(idx_bytes(&[1], &[5]))));
    let file = write(&dir, "file", b"");
    refused(fetch_toy(&file.join("sub"), &good()), &["sub", "cannot be written", "Free some space"]);
    // A folder under the name of the file: only the rename fails.
    let taken = dir.path().join("taken");
    fs::create_dir_all(taken.join("x").join("full")).unwrap();
    refused(fetch_toy(&taken, &good()), &["cannot be written"]);
    assert_eq!(entries(&taken), ["x"]);
}

/// A full disk, played by a limit on the size of the files that a process may write.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_behind() {
    const CHILD: &str = "WGRAD_TEST_FULL_DISK";
    if let Some(target) = std::env::var_os(CHILD) {
        let long = idx_bytes(&[60_000], &[1; 60_000]);
        let wanted = Wanted { file: "x", mirrors: &["m://"], limit: 1 << 20 };
        let mirror = Mirror::new(move |_| Ok(whole(long.clone())));
        let result = fetch(&mirror, wanted, Path::new(&target), &|_| Ok(()), &mut |_| {});
        refused(result, &["cannot be written", "Free some space"]);
        assert_eq!(mirror.asked.borrow().len(), 1);
        return;
    }
    let dir = folder();
    // `ulimit -f` counts blocks of 512 bytes or of 1 KiB; the signal is ignored so that the write itself fails.
    let child = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["a_full_disk_leaves_nothing_behind", "--test-threads=1"])
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "the full disk was not reported: {said}");
    assert!(entries(dir.path()).is_empty(), "{:?}", entries(dir.path()));
}

#[test]
fn what_a_killed_run_left_is_swept_and_what_a_living_one_writes_is_not() {
    let dir = folder();
    let old = write(&dir, ".x.1.0.part", b"old");
    write(&dir, ".x.2.0.part", b"new");
    let two_hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    fs::File::options().write(true).open(old).unwrap().set_modified(two_hours_ago).unwrap();
    fetch_toy(dir.path(), &Mirror::new(|_| Ok(whole(idx_bytes(&[1], &[5]))))).unwrap();
    assert_eq!(entries(dir.path()), [".x.2.0.part", "x"]);
}

/// The real transport against a server of our own on this machine. In the crate itself the tests have the feature on.
mod http {
    use super::*;
    use std::net::TcpListener;
    use wgrad::data::fetch::Http;

    /// Serves `answer` to each connection and returns the address.
    fn serve(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                    request.push(byte[0]);
                }
                let _ = stream.write_all(&answer);
            }
        });
        address
    }

    fn answer(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n").into_bytes();
        bytes.extend(body);
        bytes
    }

    fn fetch_from(mirrors: &[&str], folder: &Path) -> Result<PathBuf, String> {
        let wanted = Wanted { file: "x", mirrors, limit: 1000 };
        fetch(&Http::new(), wanted, folder, &|path| idx::read(path).map(drop), &mut |_| {}).map_err(|e| e.to_string())
    }

    #[test]
    fn a_good_mirror_after_a_missing_a_short_and_a_dead_one() {
        let body = idx_bytes(&[3], &[1, 2, 3]);
        let missing = serve(answer("404 Not Found", 4, b"none"));
        let short = serve(answer("200 OK", 500, &body));
        let good = serve(answer("200 OK", body.len(), &body));
        // Bound and dropped: nobody listens there.
        let dead = format!("http://{}/", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let dir = folder();
        let path = fetch_from(&[&missing, &short, &dead, &good], dir.path()).unwrap();
        assert_eq!(fs::read(path).unwrap(), body);
        assert_eq!(entries(dir.path()), ["x"]);

        let dir = folder();
        refused(fetch_from(&[&missing, &short, &dead], dir.path()), &[&missing, "404", &short, "broke off", &dead]);
        assert!(entries(dir.path()).is_empty());
    }

    #[test]
    fn an_endless_or_foreign_answer_is_cut_off() {
        let endless = serve([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), vec![7; 1 << 20]].concat());
        let foreign = serve(b"220 mail.example ESMTP\r\n".to_vec());
        let dir = folder();
        refused(fetch_from(&[&endless, &foreign], dir.path()), &["more than the 1000 bytes", &foreign]);
        assert!(entries(dir.path()).is_empty());
    }
}

// The real thing

/// Label counts of the original MNIST, as everybody publishes them.
#[test]
fn the_original_mnist_is_read_if_this_machine_has_it() {
    let Some(folder) = std::env::var_os("WGRAD_DATA").filter(|folder| !folder.is_empty()) else {
        println!("skipped: WGRAD_DATA is not set");
        return;
    };
    let set = mnist::load(&folder).unwrap();
    let counts = |images: &Images| {
        (0..10).map(|class| images.labels.iter().filter(|&&label| label == class).count()).collect::<Vec<_>>()
    };
    assert_eq!(counts(&set.train), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    assert_eq!(counts(&set.test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    assert_eq!((set.train.shape, set.test.shape), ([1, 28, 28], [1, 28, 28]));
    // The mean and deviation that every MNIST tutorial normalises with.
    let count = set.train.pixels.len() as f64;
    let mean = set.train.pixels.iter().map(|&p| f64::from(p)).sum::<f64>() / count;
    let square = set.train.pixels.iter().map(|&p| f64::from(p).powi(2)).sum::<f64>() / count;
    assert!((mean - 0.1307).abs() < 1e-4 && ((square - mean * mean).sqrt() - 0.3081).abs() < 1e-4);
    assert_eq!(mnist::auto(Some(Path::new(&folder))).unwrap().name, "MNIST");
}
