//! Everything that a run consists of, by name, in host memory: what a checkpoint holds and a resumed run starts from.
//!
//! A run continues bit for bit only if nothing is forgotten: weights, the optimizer's moments and step count, the
//! random counter, the place in the data. Each task puts its parts in and takes them out under names of its choice; the
//! names of weights are those of PyTorch.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::data::Batches;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::Parameters;
use crate::ops::Rng;
use crate::optim::{Optimizer, OptimizerState, ParameterState};
use crate::tensor::{DType, Meta, Shape, Tensor};

/// A tensor in host memory, row-major, a word per element; halves are widened.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Shape and type.
    pub meta: Meta,
    /// The bits of its elements.
    pub words: Vec<u32>,
}

impl Saved {
    /// Reads a tensor.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn of(tensor: &Tensor) -> Result<Saved> {
        let words = match tensor.dtype() {
            DType::F32 => bytemuck::cast_vec(tensor.to_vec::<f32>()?),
            DType::F16 => tensor.to_vec::<half::f16>()?.iter().map(|h| h.to_f32().to_bits()).collect(),
            DType::I32 => bytemuck::cast_vec(tensor.to_vec::<i32>()?),
            DType::U32 | DType::Bool => tensor.to_vec::<u32>()?,
        };
        Ok(Saved { meta: tensor.meta().clone(), words })
    }

    /// Puts it on a device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn on(&self, device: &Device) -> Result<Tensor> {
        let shape = &self.meta.shape;
        match self.meta.dtype {
            DType::F32 => Tensor::from_slice(device, bytemuck::cast_slice::<u32, f32>(&self.words), shape),
            DType::F16 => {
                let halves: Vec<half::f16> =
                    self.words.iter().map(|&w| half::f16::from_f32(f32::from_bits(w))).collect();
                Tensor::from_slice(device, &halves, shape)
            }
            DType::I32 => Tensor::from_slice(device, bytemuck::cast_slice::<u32, i32>(&self.words), shape),
            DType::U32 => Tensor::from_slice(device, &self.words, shape),
            DType::Bool => Ok(Tensor::from_slice(device, &self.words, shape)?.cast(DType::Bool)),
        }
    }
}

/// The parts of a run by name: tensors, and notes, which are short texts and numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Tensors by name; a model's are `NAME.PARAMETER`, or only `PARAMETER` where the name is empty.
    pub tensors: BTreeMap<String, Saved>,
    /// Everything else.
    pub notes: BTreeMap<String, String>,
    /// The file it was read from, for messages.
    pub(super) origin: Option<PathBuf>,
}

impl State {
    /// A state without parts.
    pub fn new() -> State {
        State::default()
    }

    /// The file it was read from.
    pub fn origin(&self) -> Option<&Path> {
        self.origin.as_deref()
    }

    /// Adds the parameters and buffers of a model.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn put_model(&mut self, name: &str, model: &dyn Parameters) -> Result<()> {
        for (key, param) in model.named_parameters() {
            self.tensors.insert(under(name, &key), Saved::of(param.get())?);
        }
        for (key, buffer) in model.named_buffers() {
            self.tensors.insert(under(name, &key), Saved::of(&buffer.get())?);
        }
        Ok(())
    }

    /// Adds what an optimizer remembers.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn put_optimizer(&mut self, name: &str, optimizer: &dyn Optimizer) -> Result<()> {
        let OptimizerState { steps, tensors, numbers } = optimizer.state()?;
        self.put_note(&format!("{name}.steps"), steps);
        for ParameterState { parameter, name: what, value } in tensors {
            self.put_tensor(&format!("{name}.{parameter}.{what}"), &value)?;
        }
        for (number, value) in numbers {
            self.put_note(&format!("{name}.number.{number}"), value.to_bits());
        }
        Ok(())
    }

    /// Gives an optimizer what the one of the same name remembered. The model's weights come first.
    ///
    /// # Errors
    /// If it was not saved, or is that of an optimizer of another kind; a fault of the device.
    pub fn optimizer(&self, name: &str, optimizer: &mut dyn Optimizer, model: &mut dyn Parameters) -> Result<()> {
        let mut state = OptimizerState { steps: self.note(&format!("{name}.steps"))?, ..OptimizerState::default() };
        let part = self.part(name);
        let Some(device) = model.named_parameters().first().map(|(_, p)| p.get().device().clone()) else {
            return Err(self.fault("is of a model without parameters", "Use the program it was saved by"));
        };
        for (key, saved) in &part.tensors {
            if let Some((parameter, name)) = key.rsplit_once('.') {
                let value = saved.on(&device)?;
                state.tensors.push(ParameterState { parameter: parameter.into(), name: name.into(), value });
            }
        }
        for key in part.notes.keys() {
            if let Some(number) = key.strip_prefix("number.") {
                state.numbers.push((number.into(), f64::from_bits(part.note(key)?)));
            }
        }
        optimizer.load_state(model, &state).map_err(|fault| match fault {
            Error::Argument { what, remedy } => self.fault(what, remedy),
            fault => fault,
        })
    }

    /// Sets the parameters and buffers of a model to those of the same names. All of them must be here, in the same
    /// shapes, and none besides; otherwise the model stays as it was.
    ///
    /// # Errors
    /// If names or shapes differ, with what differs; a fault of the device.
    pub fn model(&self, name: &str, model: &mut dyn Parameters) -> Result<()> {
        let state = self.part(name);
        let wanted = model.state();
        let lacks: Vec<&str> =
            wanted.iter().map(|(key, _)| key.as_str()).filter(|key| !state.tensors.contains_key(*key)).collect();
        let left: Vec<&str> =
            state.tensors.keys().map(String::as_str).filter(|key| !wanted.iter().any(|(w, _)| w == key)).collect();
        if !lacks.is_empty() || !left.is_empty() {
            let mut problem = String::from("holds the weights of another model:");
            for (what, names) in [("lacks", &lacks), ("has besides", &left)] {
                if !names.is_empty() {
                    problem += &format!(" it {what} {};", few(names));
                }
            }
            return Err(self.fault(problem.trim_end_matches(';'), "Use the model it was saved from"));
        }
        state.fill("", model).map(drop)
    }

    /// Sets those parameters and buffers of a model that have their name here, as for transfer learning, and returns
    /// the names of the others, which stay as they were. Weights that the model has no place for are left alone.
    ///
    /// # Errors
    /// If a shape differs: nothing is changed then. A fault of the device.
    pub fn fill(&self, name: &str, model: &mut dyn Parameters) -> Result<Vec<String>> {
        let state = self.part(name);
        let places = model.named_parameters().into_iter().map(|(key, p)| (key, p.get().meta().clone()));
        let places = places.chain(model.named_buffers().into_iter().map(|(key, b)| (key, b.get().meta().clone())));
        for (key, meta) in places {
            if let Some(saved) = state.tensors.get(&key).filter(|saved| saved.meta != meta) {
                let (found, wanted) = (&saved.meta, &meta);
                let problem = format!(
                    "{key:?} is {} {} in it and {} {} in the model",
                    found.dtype, found.shape, wanted.dtype, wanted.shape
                );
                return Err(self.fault(problem, "Use the model it was saved from, or load only the layers that fit"));
            }
        }
        let mut others = Vec::new();
        let mut result = Ok(());
        let mut missing = |key: &str| others.push(key.to_string());
        model.params_mut(&mut |key, param| match state.tensors.get(key) {
            Some(saved) if result.is_ok() => {
                result = saved.on(param.get().device()).and_then(|value| param.set(value));
            }
            Some(_) => {}
            None => missing(key),
        });
        model.buffers(&mut |key, buffer| match state.tensors.get(key) {
            Some(saved) if result.is_ok() => {
                result = saved.on(buffer.get().device()).and_then(|value| buffer.set(value));
            }
            Some(_) => {}
            None => missing(key),
        });
        result.map(|()| others)
    }

    /// What stands under a name: `"features"` gives `features.0.weight` as `0.weight`. An empty name gives all.
    pub fn part(&self, name: &str) -> State {
        let inner = |key: &str| match name {
            "" => Some(key.to_string()),
            _ => key.strip_prefix(name)?.strip_prefix('.').map(str::to_string),
        };
        State {
            tensors: self.tensors.iter().filter_map(|(k, v)| Some((inner(k)?, v.clone()))).collect(),
            notes: self.notes.iter().filter_map(|(k, v)| Some((inner(k)?, v.clone()))).collect(),
            origin: self.origin.clone(),
        }
    }

    /// Only the tensors whose name `wanted` accepts, e.g. all but those of the head.
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> State {
        let tensors = self.tensors.iter().filter(|(k, _)| wanted(k)).map(|(k, v)| (k.clone(), v.clone())).collect();
        State { tensors, notes: self.notes.clone(), origin: self.origin.clone() }
    }

    /// SHA-256, in hexadecimal, of the names, types, shapes and elements of all tensors: two runs with the same digest
    /// ended with the same weights, to the bit.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (name, Saved { meta, words }) in &self.tensors {
            hash.update(format!("{name} {} {}\n", meta.dtype, meta.shape));
            words.iter().for_each(|word| hash.update(word.to_le_bytes()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The name of a tensor with an element that is NaN or infinite, if there is one.
    pub fn not_finite(&self) -> Option<&str> {
        let finite = |saved: &Saved| saved.words.iter().all(|&word| f32::from_bits(word).is_finite());
        let float = |saved: &Saved| matches!(saved.meta.dtype, DType::F32 | DType::F16);
        self.tensors.iter().find(|(_, saved)| float(saved) && !finite(saved)).map(|(name, _)| name.as_str())
    }

    /// Adds one tensor.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn put_tensor(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        self.tensors.insert(name.into(), Saved::of(tensor)?);
        Ok(())
    }

    /// The tensor of this name and shape, on a device.
    ///
    /// # Errors
    /// If there is none, or one of another shape; a fault of the device.
    pub fn tensor(&self, name: &str, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        let Some(saved) = self.tensors.get(name) else {
            return Err(self.fault(format!("lacks the tensor {name:?}"), "Use the program it was saved by"));
        };
        if saved.meta.shape != shape {
            let found = &saved.meta.shape;
            let problem = format!("the tensor {name:?} is {found} in it and {shape} in this program");
            return Err(self.fault(problem, "Use the settings it was saved with"));
        }
        saved.on(device)
    }

    /// Adds a short text or a number. Floats are written so that they read back to the bit.
    pub fn put_note(&mut self, name: &str, value: impl Display) {
        self.notes.insert(name.into(), value.to_string());
    }

    /// The note of this name.
    ///
    /// # Errors
    /// If there is none, or it is not of this type.
    pub fn note<T: FromStr>(&self, name: &str) -> Result<T> {
        let Some(text) = self.notes.get(name) else {
            return Err(self.fault(format!("lacks the note {name:?}"), "Use the program it was saved by"));
        };
        text.parse().map_err(|_| {
            self.fault(
                format!("the note {name:?} is {text:?}"),
                "The file is damaged or of another program; use another",
            )
        })
    }

    /// Adds a generator's seed and counter.
    pub fn put_rng(&mut self, name: &str, rng: &Rng) {
        self.put_note(&format!("{name}.seed"), rng.seed());
        self.put_note(&format!("{name}.counter"), rng.counter());
    }

    /// A generator that goes on where the saved one stood.
    ///
    /// # Errors
    /// If it was not saved.
    pub fn rng(&self, name: &str) -> Result<Rng> {
        let mut rng = Rng::new(self.note(&format!("{name}.seed"))?);
        rng.set_counter(self.note(&format!("{name}.counter"))?);
        Ok(rng)
    }

    /// Adds the place in an order of batches. The order itself follows from the seed.
    pub fn put_batches(&mut self, name: &str, batches: &Batches) {
        self.put_note(&format!("{name}.step"), batches.step());
    }

    /// Moves batches to the saved place.
    ///
    /// # Errors
    /// If it was not saved.
    pub fn batches(&self, name: &str, batches: &mut Batches) -> Result<()> {
        batches.resume_at(self.note(&format!("{name}.step"))?);
        Ok(())
    }

    /// Something is wrong with this state: names its file, if it has one.
    pub fn fault(&self, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        match &self.origin {
            Some(path) => Error::file(path, problem, remedy),
            None => Error::argument(format!("a saved state: {}", problem.into()), remedy),
        }
    }
}

/// The name of what `name` calls `key`.
fn under(name: &str, key: &str) -> String {
    if name.is_empty() { key.into() } else { format!("{name}.{key}") }
}

/// The first few of some names.
fn few(names: &[&str]) -> String {
    let shown = names.iter().take(4).map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > 4 { format!("{shown} and {} more", names.len() - 4) } else { shown }
}
