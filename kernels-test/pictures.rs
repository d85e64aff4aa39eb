//! Files of small colour pictures: what is in them, and what is refused.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use wgrad::data::{Images, cifar, svhn};

/// Two records: label 3, all red 10, green 20, blue 30 but the first pixel of each; label 9, all zeros.
fn records() -> Vec<u8> {
    let mut bytes = vec![3u8];
    for colour in [10, 20, 30] {
        bytes.push(255);
        bytes.extend([colour; 1023]);
    }
    bytes.push(9);
    bytes.extend([0; 3072]);
    bytes
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn the_binary_layout_is_read_packed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "data_batch_1.bin", &records());
    write(folder.path(), "data_batch_2.bin", &records()[3073..]);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&records()).unwrap();
    write(folder.path(), "test_batch.bin.gz", &packed.finish().unwrap());
    let data = cifar::load(folder.path()).unwrap();
    assert_eq!((data.train.labels.as_slice(), data.test.labels.as_slice()), (&[3, 9, 9][..], &[3, 9][..]));
    assert_eq!(data.train.shape, [3, 32, 32]);
    let pixels = &data.test.pixels;
    assert_eq!((pixels[0], pixels[1], pixels[1024], pixels[1025]), (1.0, 10. / 255., 1.0, 20. / 255.));
    assert_eq!(data.train.class_counts(), [0, 0, 0, 1, 0, 0, 0, 0, 0, 2]);

    let fault = |name: &str, bytes: &[u8]| cifar::read([write(folder.path(), name, bytes)]).unwrap_err().to_string();
    assert!(fault("torn.bin", &records()[..5000]).contains("torn.bin: holds 5000 bytes"));
    assert!(fault("foreign.bin", &[77; 3073]).contains("label 0 is 77"));
    assert!(fault("torn.gz", &[0x1f, 0x8b, 8, 0]).contains("gzip"));
    let empty = tempfile::tempdir().unwrap();
    assert!(cifar::load(empty.path()).unwrap_err().to_string().contains("train"));
}

/// An element of a MATLAB file.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut all = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    all.extend(data);
    all.resize(if kind == 15 { all.len() } else { all.len().next_multiple_of(8) }, 0);
    all
}

fn array(name: &str, dims: &[i32], kind: u32, data: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| d.to_le_bytes()).collect();
    // A name of up to four letters stands in the small form.
    let mut small = [1u16.to_le_bytes(), (name.len() as u16).to_le_bytes()].concat();
    small.extend(name.as_bytes());
    small.resize(8, 0);
    let flags = element(6, &[9, 0, 0, 0, 0, 0, 0, 0]);
    element(14, &[flags, element(5, &dims), small, element(kind, data)].concat())
}

fn file(arrays: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![b' '; 124];
    bytes.extend([0, 1, b'I', b'M']);
    arrays.iter().for_each(|a| bytes.extend(a));
    bytes
}

/// Two pictures in MATLAB's order; in the first, the pixel of row 1, column 2, colour 0 is 200.
fn house_numbers() -> [Vec<u8>; 2] {
    let mut x = vec![5u8; 2 * 32 * 32 * 3];
    x[1 + 32 * 2] = 200;
    [array("X", &[32, 32, 3, 2], 2, &x), array("y", &[2, 1], 2, &[10, 7])]
}

#[test]
fn official_house_numbers_are_read_without_matlab() {
    let folder = tempfile::tempdir().unwrap();
    let [x, y] = house_numbers();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&x).unwrap();
    let packed = element(15, &packed.finish().unwrap());
    // Labels are doubles in some copies.
    let doubles = array("y", &[2, 1], 9, &[10f64.to_le_bytes(), 7f64.to_le_bytes()].concat());
    write(folder.path(), "train_32x32.mat", &file(&[packed, y.clone()]));
    write(folder.path(), "test_32x32.mat", &file(&[x.clone(), doubles]));
    let data = svhn::load(folder.path()).unwrap();
    for set in [&data.train, &data.test] {
        assert_eq!(set.labels, [0, 7]);
        assert_eq!(set.pixels[32 + 2], 200. / 255.);
        assert_eq!(set.pixels.iter().filter(|&&p| p == 5. / 255.).count(), 2 * 3072 - 1);
    }

    let fault = |bytes: &[u8]| svhn::read(write(folder.path(), "other.mat", bytes)).unwrap_err().to_string();
    assert!(fault(&file(std::slice::from_ref(&x))).contains("lacks the arrays X and y"));
    assert!(fault(&file(&[x.clone(), array("y", &[2, 1], 2, &[11, 7])])).contains("label 0 is 11"));
    assert!(fault(&file(&[x, y])[..3000]).contains("torn"));
    assert!(fault(b"MATLAB 7.3 MAT-file").contains("HDF5"));
    fs::remove_file(folder.path().join("test_32x32.mat")).unwrap();
    assert!(svhn::load(folder.path()).unwrap_err().to_string().contains("lacks test_32x32.mat"));
}

#[test]
fn means_are_taken_off_and_sets_split() {
    let pixels = (0..4 * 2 * 3).map(|i| i as f32).collect();
    let mut set = Images { pixels, labels: vec![0, 1, 1, 2], shape: [2, 1, 3], classes: 3 };
    set.subtract(&[1.0, 4.0]);
    assert_eq!(set.pixels[..6], [-1., 0., 1., -1., 0., 1.]);
    let (train, held) = set.split(1, 3);
    assert_eq!((train.len(), held.len()), (3, 1));
    let mut labels = [train.labels, held.labels].concat();
    labels.sort_unstable();
    assert_eq!(labels, set.labels);
}
