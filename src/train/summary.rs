//! Event files that TensorBoard reads: scalars, histograms, pictures, texts.
//!
//! An event file is a row of records, each a length, a checksum of the length, a message, and a checksum of the
//! message. The messages are protocol buffers; of their definitions in TensorFlow (`event.proto`, `summary.proto`,
//! `tensor.proto`) only the fields that are written here are repeated, under the numbers they have there.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::{Event, Progress};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

#[derive(Clone, PartialEq, Message)]
struct EventRecord {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Values>,
}

/// `Summary` of TensorFlow.
#[derive(Clone, PartialEq, Message)]
struct Values {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
    #[prost(message, optional, tag = "5")]
    histogram: Option<Histogram>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<Text>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

/// A `TensorProto` of one string.
#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TextShape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct TextShape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<TextDim>,
}

#[derive(Clone, PartialEq, Message)]
struct TextDim {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
}

/// TensorFlow's number for a tensor of strings.
const DT_STRING: i32 = 7;

/// An event file.
#[derive(Debug)]
pub struct Summary {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Summary {
    /// A new event file in a folder, which is made if need be. Several in one folder are one run to TensorBoard, so a
    /// resumed run writes into the folder of the first.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(folder: impl AsRef<Path>) -> Result<Summary> {
        let folder = folder.as_ref();
        let fault = |e: std::io::Error| {
            Error::file(folder, format!("cannot take an event file: {e}"), "Name a folder that can be written")
        };
        std::fs::create_dir_all(folder).map_err(fault)?;
        // TensorBoard reads files in the order of their names; the process keeps two of one second apart.
        let seconds = now() as u64;
        let name = (0..).map(|k| format!("events.out.tfevents.{seconds:010}.wgrad.{}.{k}", std::process::id()));
        let path = name.map(|name| folder.join(name)).find(|path| !path.exists()).expect("there is a free name");
        let mut summary = Summary { file: BufWriter::new(File::create(&path).map_err(fault)?), path };
        let first = EventRecord { wall_time: now(), file_version: Some("brain.Event:2".into()), ..Default::default() };
        summary.append(&first)?;
        Ok(summary)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A number.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> Result<()> {
        self.value(step, Value { tag: tag.into(), simple_value: Some(value as f32), ..Default::default() })
    }

    /// How the finite values of a float tensor are distributed: weights, gradients, logits. Reads the tensor.
    ///
    /// # Errors
    /// If the file cannot be written; a fault of the device.
    #[track_caller]
    pub fn histogram(&mut self, tag: &str, step: u64, values: &Tensor) -> Result<()> {
        let histogram = histogram(&values.to_vec::<f32>()?);
        self.value(step, Value { tag: tag.into(), histogram: Some(histogram), ..Default::default() })
    }

    /// A text; TensorBoard shows it as Markdown.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<()> {
        let shape = Some(TextShape { dim: vec![TextDim { size: 1 }] });
        let tensor = Some(Text { dtype: DT_STRING, shape, string_val: vec![text.as_bytes().to_vec()] });
        let metadata = Some(Metadata { plugin_data: Some(PluginData { plugin_name: "text".into() }) });
        self.value(step, Value { tag: tag.into(), tensor, metadata, ..Default::default() })
    }

    /// A picture.
    ///
    /// # Errors
    /// If the file cannot be written.
    #[cfg(feature = "report")]
    pub fn picture(&mut self, tag: &str, step: u64, picture: &super::picture::Picture) -> Result<()> {
        let image = Some(Image {
            height: picture.height() as i32,
            width: picture.width() as i32,
            colorspace: picture.channels() as i32,
            encoded: picture.png(),
        });
        self.value(step, Value { tag: tag.into(), image, ..Default::default() })
    }

    /// The figures of an event of a run, as `train/loss` and `validation/loss`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn record(&mut self, event: &Event, progress: &Progress) -> Result<()> {
        let (split, figures) = match event {
            Event::Train(figures) => ("train", figures),
            Event::Validation(figures, _) => ("validation", figures),
            _ => return Ok(()),
        };
        let value = |(name, value): &(String, f64)| Value {
            tag: format!("{split}/{name}"),
            simple_value: Some(*value as f32),
            ..Default::default()
        };
        let values = Values { value: figures.iter().map(value).collect() };
        self.append(&EventRecord {
            wall_time: now(),
            step: progress.step as i64,
            file_version: None,
            summary: Some(values),
        })
    }

    fn value(&mut self, step: u64, value: Value) -> Result<()> {
        let summary = Some(Values { value: vec![value] });
        self.append(&EventRecord { wall_time: now(), step: step as i64, file_version: None, summary })
    }

    /// Appends one record and hands it to the system, so that TensorBoard sees a run while it goes on.
    fn append(&mut self, event: &EventRecord) -> Result<()> {
        let message = event.encode_to_vec();
        let length = (message.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(message.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&message);
        record.extend(masked_crc(&message).to_le_bytes());
        self.file.write_all(&record).and_then(|()| self.file.flush()).map_err(|e| {
            Error::file(&self.path, format!("cannot be written: {e}"), "Free some space, or leave out TensorBoard")
        })
    }
}

/// The checksum of TFRecord files: CRC-32C, turned and shifted so that the checksum of a checksum is none of the common
/// values.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// 30 buckets of equal width from the least to the greatest finite value.
fn histogram(values: &[f32]) -> Histogram {
    const BUCKETS: usize = 30;
    let finite: Vec<f64> = values.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)).collect();
    let min = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let max = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if finite.is_empty() {
        return Histogram { bucket_limit: vec![0.0], bucket: vec![0.0], ..Default::default() };
    }
    let width = (max - min) / BUCKETS as f64;
    let mut bucket = vec![0.0; BUCKETS];
    for v in &finite {
        // All equal: no width, the first bucket.
        let at = if width > 0.0 { ((v - min) / width) as usize } else { 0 };
        bucket[at.min(BUCKETS - 1)] += 1.0;
    }
    let limit = |i: usize| if i + 1 == BUCKETS { max } else { min + width * (i + 1) as f64 };
    Histogram {
        min,
        max,
        num: finite.len() as f64,
        sum: finite.iter().sum(),
        sum_squares: finite.iter().map(|v| v * v).sum(),
        bucket_limit: (0..BUCKETS).map(limit).collect(),
        bucket,
    }
}
