//! Folders of cases as files have them: an index and a file of tensors for each case.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use wgrad::{DType, Device, Error, Result, Tensor};

/// A tensor of a file.
#[derive(Debug, Clone)]
pub struct Host {
    /// Extent of each axis.
    pub shape: Vec<usize>,
    /// The numbers, whole where the file has integers.
    pub values: Vec<f64>,
    /// What they are on a device.
    pub dtype: DType,
    /// How many bits the file's type has, where it is a small one, and whether one of them is a sign.
    pub bits: Option<(u32, bool)>,
}

/// The tensors of a case, by key.
pub type Tensors = BTreeMap<String, Host>;

/// The index of a folder.
///
/// # Errors
/// If it is missing or no JSON.
pub fn index(folder: &Path) -> Result<Value> {
    let path = folder.join("index.json");
    let text = std::fs::read(&path)
        .map_err(|e| Error::file(&path, format!("cannot be read: {e}"), "Name a folder of conformance cases"))?;
    serde_json::from_slice(&text).map_err(|e| Error::file(&path, format!("is no JSON: {e}"), "Copy the cases again"))
}

/// The tensors of one file. `dtypes` has the types that the file stores as integers.
///
/// # Errors
/// If it is missing or torn.
pub fn tensors(path: &Path, dtypes: Option<&Map<String, Value>>) -> Result<Tensors> {
    let torn = |problem: String| Error::file(path, problem, "Copy the cases again");
    let bytes = std::fs::read(path).map_err(|e| torn(format!("cannot be read: {e}")))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| torn(format!("is no safetensors file: {e}")))?;
    let mut all = Tensors::new();
    for (name, view) in file.tensors() {
        let words = view.data().chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
        let said = dtypes.and_then(|d| d.get(&name)).and_then(Value::as_str).unwrap_or("");
        let (values, dtype): (Vec<f64>, DType) = match view.dtype() {
            Dtype::F32 => (words.map(|w| f32::from_le_bytes(w) as f64).collect(), DType::F32),
            Dtype::I32 if said == "bool" => (words.map(|w| i32::from_le_bytes(w) as f64).collect(), DType::Bool),
            Dtype::I32 => (words.map(|w| i32::from_le_bytes(w) as f64).collect(), DType::I32),
            Dtype::I64 => {
                let longs = view.data().chunks_exact(8);
                let long = |c: &[u8]| i64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]);
                (longs.map(|c| long(c) as f64).collect(), DType::I32)
            }
            other => return Err(torn(format!("{name} holds {other:?}, not F32, I32 or I64"))),
        };
        let small = [("uint8", (8, false)), ("uint16", (16, false)), ("int8", (8, true)), ("int16", (16, true))];
        let bits = small.iter().find(|(name, _)| *name == said).map(|(_, bits)| *bits);
        all.insert(name, Host { bits, shape: view.shape().to_vec(), values, dtype });
    }
    Ok(all)
}

impl Host {
    /// On a device; a tracked leaf if gradients are wanted.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn upload(&self, device: &Device, tracked: bool) -> Result<Tensor> {
        let shape = self.shape.clone();
        match self.dtype {
            DType::F32 => Tensor::from_f64_slice(device, &self.values, shape)?.into_leaf(tracked),
            DType::Bool => {
                let words: Vec<u32> = self.values.iter().map(|&v| (v != 0.0) as u32).collect();
                Tensor::from_slice(device, &words, shape)?.cast(DType::Bool).into_leaf(false)
            }
            _ => Tensor::from_slice(device, &self.values.iter().map(|&v| v as i32).collect::<Vec<_>>(), shape),
        }
    }

    /// Whether it holds floats.
    pub fn is_float(&self) -> bool {
        self.dtype == DType::F32
    }

    /// The numbers as integers.
    pub fn ints(&self) -> Vec<i64> {
        self.values.iter().map(|&v| v as i64).collect()
    }
}

/// A number of the index, where "inf", "-inf" and "nan" stand for what JSON does not have.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::Bool(b) => Some(*b as u8 as f64),
        Value::String(s) => match s.as_str() {
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            "nan" => Some(f64::NAN),
            _ => None,
        },
        _ => None,
    }
}

/// A text field of an object, or "".
pub fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or("")
}

/// A list field of an object, or none.
pub fn list<'a>(object: &'a Value, key: &str) -> &'a [Value] {
    object.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A list of numbers.
pub fn numbers(object: &Value, key: &str) -> Vec<f64> {
    list(object, key).iter().filter_map(number).collect()
}
