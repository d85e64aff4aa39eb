//! Event files, read by a reader of our own that knows the format of protocol buffers and nothing of the writer's
//! types.

use std::collections::BTreeMap;

use wgrad::train::picture::Picture;
use wgrad::train::summary::Summary;
use wgrad::train::{Event, Progress};
use wgrad::{Device, Tensor};

/// CRC-32C bit by bit, from its polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    !crc
}

fn masked(bytes: &[u8]) -> u32 {
    let crc = crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A field of a message: a number by its bits, or bytes.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Bits(u64),
    Bytes(Vec<u8>),
}

impl Field {
    fn bits(&self) -> u64 {
        match self {
            Field::Bits(bits) => *bits,
            Field::Bytes(bytes) => panic!("{bytes:?} is no number"),
        }
    }
    fn bytes(&self) -> &[u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            Field::Bits(bits) => panic!("{bits} are no bytes"),
        }
    }
    fn doubles(&self) -> Vec<f64> {
        self.bytes().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

type Fields = BTreeMap<u64, Vec<Field>>;

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Fields {
    let mut all = Fields::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let mut take = |n: usize| {
            let (head, tail) = bytes.split_at(n);
            bytes = tail;
            head.to_vec()
        };
        let field = match key & 7 {
            1 => Field::Bits(u64::from_le_bytes(take(8).try_into().unwrap())),
            5 => Field::Bits(u32::from_le_bytes(take(4).try_into().unwrap()).into()),
            2 => {
                let len = varint(&mut bytes) as usize;
                let (head, tail) = bytes.split_at(len);
                bytes = tail;
                Field::Bytes(head.to_vec())
            }
            0 => Field::Bits(varint(&mut bytes)),
            other => panic!("wire type {other}"),
        };
        all.entry(key >> 3).or_default().push(field);
    }
    all
}

/// The events of a file, every checksum verified.
fn events(path: &std::path::Path) -> Vec<Fields> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[..];
    let mut all = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let len = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(word(8), masked(&rest[..8]), "checksum of a length");
        assert_eq!(word(12 + len), masked(&rest[12..12 + len]), "checksum of a record");
        all.push(fields(&rest[12..12 + len]));
        rest = &rest[16 + len..];
    }
    all
}

/// Step and values of an event.
fn values(event: &Fields) -> (u64, Vec<Fields>) {
    let summary = fields(event[&5][0].bytes());
    // A number that is 0 is not written.
    (event.get(&2).map_or(0, |f| f[0].bits()), summary[&1].iter().map(|v| fields(v.bytes())).collect())
}

#[test]
fn an_independent_reader_finds_what_was_written() {
    // The check value of CRC-32C, from the standard.
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    let folder = tempfile::tempdir().unwrap();
    let mut summary = Summary::create(folder.path().join("run")).unwrap();
    let figures = [("loss".to_string(), 0.5), ("accuracy".to_string(), 0.75)];
    summary.record(&Event::Train(&figures), &Progress { step: 300, of: 400, per_second: 1.0 }).unwrap();
    summary.scalar("rate", 7, 1e-3).unwrap();
    let device = Device::cpu();
    let weights: Vec<f32> = (0..=60).map(|i| i as f32 / 10.0).chain([f32::NAN]).collect();
    summary.histogram("weights", 8, &Tensor::from_slice(&device, &weights, [62]).unwrap()).unwrap();
    summary.text("note", 9, "**bold** & more").unwrap();
    let picture = Picture::grid(&[0.0, 1.0, 0.5, 0.25], [1, 1, 2, 2], 1);
    summary.picture("samples", 10, &picture).unwrap();

    let name = summary.path().file_name().unwrap().to_string_lossy().into_owned();
    assert!(name.starts_with("events.out.tfevents."), "{name}");
    let events = events(summary.path());
    assert_eq!(events.len(), 6);
    assert_eq!(events[0][&3][0].bytes(), b"brain.Event:2");
    assert!(f64::from_bits(events[0][&1][0].bits()) > 1.7e9, "a wall time of this century");

    let (step, found) = values(&events[1]);
    let scalars: Vec<(String, f32)> = found
        .iter()
        .map(|v| (String::from_utf8(v[&1][0].bytes().to_vec()).unwrap(), f32::from_bits(v[&2][0].bits() as u32)))
        .collect();
    assert_eq!((step, scalars), (300, vec![("train/loss".into(), 0.5), ("train/accuracy".into(), 0.75)]));
    let (step, found) = values(&events[2]);
    assert_eq!((step, found[0][&1][0].bytes(), f32::from_bits(found[0][&2][0].bits() as u32)), (7, &b"rate"[..], 1e-3));

    let histogram = fields(values(&events[3]).1[0][&5][0].bytes());
    let number = |tag: u64| f64::from_bits(histogram[&tag][0].bits());
    assert_eq!((number(2), number(3)), (6.0f32 as f64, 61.0));
    assert!((number(4) - 183.0).abs() < 1e-4, "the sum is {}", number(4));
    let (limits, counts) = (histogram[&6][0].doubles(), histogram[&7][0].doubles());
    assert_eq!((limits.len(), counts.len(), counts.iter().sum::<f64>()), (30, 30, 61.0));
    assert!(limits.is_sorted() && limits[29] == 6.0f32 as f64);

    let text = &values(&events[4]).1[0];
    let tensor = fields(text[&8][0].bytes());
    assert_eq!((tensor[&1][0].bits(), tensor[&8][0].bytes()), (7, &b"**bold** & more"[..]));
    assert_eq!(fields(fields(text[&9][0].bytes())[&1][0].bytes())[&1][0].bytes(), b"text");

    let image = fields(values(&events[5]).1[0][&4][0].bytes());
    assert_eq!([1, 2, 3].map(|tag| image[&tag][0].bits()), [4, 4, 1]);
    assert!(image[&4][0].bytes().starts_with(b"\x89PNG\r\n"));
}

#[test]
fn two_summaries_of_one_second_are_two_files_and_a_bad_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Summary::create(folder.path()).unwrap(), Summary::create(folder.path()).unwrap());
    assert_ne!(a.path(), b.path());
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let error = Summary::create(folder.path().join("file")).unwrap_err().to_string();
    assert!(error.contains("file") && error.contains("Name a folder"), "{error}");
}

#[test]
fn a_histogram_of_nothing_and_of_one_value_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut summary = Summary::create(folder.path()).unwrap();
    let device = Device::cpu();
    for values in [&[][..], &[2.5f32; 4][..], &[f32::INFINITY][..]] {
        summary.histogram("h", 0, &Tensor::from_slice(&device, values, [values.len()]).unwrap()).unwrap();
    }
    let counts: Vec<f64> = events(summary.path())[1..]
        .iter()
        .map(|e| fields(values(e).1[0][&5][0].bytes())[&7][0].doubles().iter().sum())
        .collect();
    assert_eq!(counts, [0.0, 4.0, 0.0]);
}
