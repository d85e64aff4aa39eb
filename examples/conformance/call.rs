//! One call: foreign arguments bound to the names of the foreign signature.
//!
//! A row of a mapping table names the parameters of the foreign function in order. What a case passes is bound to them,
//! by position or by keyword; the row's code asks for each by name. What was passed and not asked for makes the case
//! unsupported, so a row that forgets an argument cannot give a right answer to another question.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wgrad::{DType, Device, Tensor};

use crate::case::{Host, number};
use crate::judge::Unsupported;

/// What a row returns: the outputs, in order.
pub type Outputs = Result<Vec<Tensor>, Unsupported>;
/// The code of a row.
pub type Code = fn(&Call) -> Outputs;
/// A row of a table: the foreign names, the parameters of the foreign function in order, and our call.
pub type Row = (&'static str, &'static str, Code);

/// An argument.
#[derive(Debug, Clone)]
pub enum Arg {
    /// The tensor of this number.
    Tensor(usize),
    /// `None`.
    Nothing,
    /// A number, and whether it is whole.
    Number(f64, bool),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// A list or tuple.
    List(Vec<Arg>),
    /// `start:stop:step`
    Slice([Option<i64>; 3]),
    /// `...`
    Ellipsis,
    /// An element type.
    Dtype(String),
}

impl Arg {
    /// The argument that the index describes.
    pub fn of(value: &Value) -> Arg {
        match value {
            Value::Null => Arg::Nothing,
            Value::Bool(b) => Arg::Bool(*b),
            Value::Number(n) => Arg::Number(n.as_f64().unwrap_or(f64::NAN), n.is_i64() || n.is_u64()),
            Value::String(s) => number(value).map_or(Arg::Text(s.clone()), |n| Arg::Number(n, false)),
            Value::Array(all) => Arg::List(all.iter().map(Arg::of).collect()),
            Value::Object(o) => {
                let index = |v: &Value| v.as_i64();
                if let Some(k) = o.get("$t").and_then(Value::as_u64) {
                    Arg::Tensor(k as usize)
                } else if let Some(all) = o.get("$tuple").and_then(Value::as_array) {
                    Arg::List(all.iter().map(Arg::of).collect())
                } else if let Some(s) = o.get("$slice").and_then(Value::as_array) {
                    Arg::Slice([0, 1, 2].map(|i| s.get(i).and_then(index)))
                } else if let Some(name) = o.get("$dtype").and_then(Value::as_str) {
                    Arg::Dtype(name.trim_start_matches("torch.").into())
                } else if o.contains_key("$ellipsis") {
                    Arg::Ellipsis
                } else {
                    Arg::Text(value.to_string())
                }
            }
        }
    }
}

/// A call with its arguments bound.
pub struct Call<'a> {
    /// Where it runs.
    pub device: &'a Device,
    /// The tensors that arguments refer to.
    pub tensors: &'a [Tensor],
    /// The same as the file has them.
    pub hosts: &'a [Host],
    args: BTreeMap<String, Arg>,
    asked: RefCell<BTreeSet<String>>,
    /// What the call writes besides its outputs, by the name of its "after" key.
    pub after: RefCell<BTreeMap<String, Tensor>>,
}

fn no<T>(why: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported(why.into()))
}

impl<'a> Call<'a> {
    /// Binds arguments to a signature: names separated by blanks, `*name` for one that takes the rest.
    ///
    /// # Errors
    /// If there are more arguments than the signature has, or keywords that it has not.
    pub fn bind(
        device: &'a Device,
        tensors: &'a [Tensor],
        hosts: &'a [Host],
        signature: &str,
        positional: &[Arg],
        keywords: &[(String, Arg)],
    ) -> Result<Call<'a>, Unsupported> {
        let names: Vec<&str> = signature.split_whitespace().collect();
        let mut args = BTreeMap::new();
        for (i, arg) in positional.iter().enumerate() {
            match names.get(i) {
                Some(name) if name.starts_with('*') => {
                    args.insert(name[1..].to_string(), Arg::List(positional[i..].to_vec()));
                    break;
                }
                Some(name) => _ = args.insert(name.to_string(), arg.clone()),
                None => return no(format!("more than {} arguments", names.len())),
            }
        }
        for (name, arg) in keywords {
            if !names.iter().any(|n| n.trim_start_matches('*') == name) {
                if matches!(arg, Arg::Nothing) {
                    continue;
                }
                return no(format!("argument {name}"));
            }
            args.insert(name.clone(), arg.clone());
        }
        let (asked, after) = Default::default();
        Ok(Call { device, tensors, hosts, args, asked, after })
    }

    /// What was passed and never asked for.
    pub fn ignored(&self) -> Option<String> {
        let asked = self.asked.borrow();
        self.args
            .iter()
            .find(|(name, arg)| !asked.contains(*name) && !matches!(arg, Arg::Nothing))
            .map(|(n, _)| n.clone())
    }

    /// An argument, `None` if it was not passed or is None.
    pub fn get(&self, name: &str) -> Option<&Arg> {
        self.asked.borrow_mut().insert(name.to_string());
        self.args.get(name).filter(|a| !matches!(a, Arg::Nothing))
    }

    /// Whether it was passed and is not None.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Accepts an argument that changes nothing here.
    pub fn ignore(&self, names: &str) {
        names.split_whitespace().for_each(|name| _ = self.get(name));
    }

    /// A tensor; a number becomes one of rank 0.
    pub fn t(&self, name: &str) -> Result<Tensor, Unsupported> {
        match self.get(name) {
            Some(arg) => self.tensor(arg, name),
            None => no(format!("no {name}")),
        }
    }

    /// A tensor, if it was passed.
    pub fn opt(&self, name: &str) -> Result<Option<Tensor>, Unsupported> {
        self.get(name).map(|arg| self.tensor(arg, name)).transpose()
    }

    /// The tensor that an argument means.
    pub fn tensor(&self, arg: &Arg, name: &str) -> Result<Tensor, Unsupported> {
        match arg {
            Arg::Tensor(k) => Ok(self.tensors[*k].clone()),
            Arg::Number(n, true) => Ok(Tensor::scalar(self.device, *n as i32)),
            Arg::Number(n, false) => Ok(Tensor::scalar(self.device, *n as f32)),
            Arg::Bool(b) => Ok(Tensor::scalar(self.device, *b as u32).cast(DType::Bool)),
            other => no(format!("{name} as {other:?}")),
        }
    }

    /// A float tensor.
    pub fn ft(&self, name: &str) -> Result<Tensor, Unsupported> {
        Ok(float(&self.t(name)?))
    }

    /// A list of tensors.
    pub fn list(&self, name: &str) -> Result<Vec<Tensor>, Unsupported> {
        match self.get(name) {
            Some(Arg::List(all)) => match &all[..] {
                // Variadic functions take a list as well.
                [Arg::List(all)] => all.iter().map(|a| self.tensor(a, name)).collect(),
                all => all.iter().map(|a| self.tensor(a, name)).collect(),
            },
            Some(Arg::Tensor(k)) => Ok(vec![self.tensors[*k].clone()]),
            _ => no(format!("{name} is no list")),
        }
    }

    /// A number, if it was passed.
    pub fn num(&self, name: &str) -> Result<Option<f64>, Unsupported> {
        match self.get(name) {
            None => Ok(None),
            Some(Arg::Number(n, _)) => Ok(Some(*n)),
            Some(Arg::Bool(b)) => Ok(Some(*b as u8 as f64)),
            Some(Arg::Tensor(k)) if self.hosts[*k].values.len() == 1 => Ok(Some(self.hosts[*k].values[0])),
            Some(other) => no(format!("{name} as {other:?}")),
        }
    }

    /// A number, or what it is if not passed.
    pub fn f(&self, name: &str, default: f64) -> Result<f64, Unsupported> {
        Ok(self.num(name)?.unwrap_or(default))
    }

    /// A whole number, or what it is if not passed.
    pub fn i(&self, name: &str, default: i64) -> Result<i64, Unsupported> {
        Ok(self.num(name)?.map_or(default, |n| n as i64))
    }

    /// A truth value, or what it is if not passed.
    pub fn b(&self, name: &str, default: bool) -> Result<bool, Unsupported> {
        Ok(self.num(name)?.map_or(default, |n| n != 0.0))
    }

    /// A text, or what it is if not passed.
    pub fn s(&self, name: &str, default: &str) -> Result<String, Unsupported> {
        match self.get(name) {
            None => Ok(default.into()),
            Some(Arg::Text(s)) => Ok(s.clone()),
            Some(other) => no(format!("{name} as {other:?}")),
        }
    }

    /// Whole numbers, if they were passed; one number counts as a list.
    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Unsupported> {
        let one = |arg: &Arg| match arg {
            Arg::Number(n, _) => Ok(*n as i64),
            Arg::Bool(b) => Ok(*b as i64),
            Arg::Nothing => Ok(i64::MIN),
            other => no(format!("{name} of {other:?}")),
        };
        match self.get(name) {
            None => Ok(None),
            Some(Arg::List(all)) => match &all[..] {
                [Arg::List(all)] => all.iter().map(one).collect::<Result<_, _>>().map(Some),
                all => all.iter().map(one).collect::<Result<_, _>>().map(Some),
            },
            Some(Arg::Tensor(k)) if !self.hosts[*k].is_float() => Ok(Some(self.hosts[*k].ints())),
            Some(arg) => Ok(Some(vec![one(arg)?])),
        }
    }

    /// Sizes, if they were passed.
    pub fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>, Unsupported> {
        Ok(self.ints(name)?.map(|v| v.into_iter().map(|n| n.max(0) as usize).collect()))
    }

    /// One or `N` whole numbers.
    pub fn pair<const N: usize>(&self, name: &str, default: i64) -> Result<[usize; N], Unsupported> {
        match self.ints(name)?.as_deref() {
            None | Some([]) => Ok([default as usize; N]),
            Some([n]) => Ok([*n as usize; N]),
            Some(all) if all.len() == N => Ok(std::array::from_fn(|i| all[i] as usize)),
            Some(all) => no(format!("{name} of {} numbers", all.len())),
        }
    }

    /// Axes, if they were passed.
    pub fn axes(&self, name: &str) -> Result<Option<Vec<isize>>, Unsupported> {
        Ok(self.ints(name)?.map(|v| v.into_iter().map(|n| n as isize).collect()))
    }

    /// One axis, if it was passed.
    pub fn axis(&self, name: &str) -> Result<Option<isize>, Unsupported> {
        Ok(self.num(name)?.map(|n| n as isize))
    }

    /// The numbers of an index tensor, negative ones counted from the end of an axis of this extent.
    pub fn index(&self, name: &str, extent: usize) -> Result<Tensor, Unsupported> {
        let host = match self.get(name) {
            Some(Arg::Tensor(k)) => &self.hosts[*k],
            Some(other) => return no(format!("{name} as {other:?}")),
            None => return no(format!("no {name}")),
        };
        if host.dtype != DType::I32 {
            return no(format!("{name} of {}", host.dtype));
        }
        let wrapped = |&v: &f64| (if v < 0.0 { v + extent as f64 } else { v }) as u32;
        let values: Vec<u32> = host.values.iter().map(wrapped).collect();
        Tensor::from_slice(self.device, &values, host.shape.clone()).map_err(|e| Unsupported(e.to_string()))
    }

    /// The tensor of the file behind an argument.
    pub fn host(&self, name: &str) -> Option<&Host> {
        match self.get(name) {
            Some(Arg::Tensor(k)) => Some(&self.hosts[*k]),
            _ => None,
        }
    }

    /// Two operands of one type, by PyTorch's promotion: a Python number does not widen a tensor of its kind.
    pub fn two(&self, a: &str, b: &str) -> Result<(Tensor, Tensor), Unsupported> {
        let (x, y) = (self.t(a)?, self.t(b)?);
        Ok(promote(&x, &y))
    }

    /// Refuses an element type other than the usual ones.
    pub fn dtype(&self, name: &str) -> Result<Option<DType>, Unsupported> {
        match self.get(name) {
            None => Ok(None),
            Some(Arg::Dtype(d)) => match d.as_str() {
                "float32" | "float64" | "float" | "double" => Ok(Some(DType::F32)),
                "int32" | "int64" | "int" | "long" => Ok(Some(DType::I32)),
                "bool" => Ok(Some(DType::Bool)),
                other => no(format!("dtype {other}")),
            },
            Some(other) => no(format!("{name} as {other:?}")),
        }
    }
}

/// Floats as they are, whole numbers and truth values converted.
pub fn float(x: &Tensor) -> Tensor {
    if x.dtype() == DType::F32 { x.clone() } else { x.cast(DType::F32) }
}

/// Both of the wider type.
pub fn promote(x: &Tensor, y: &Tensor) -> (Tensor, Tensor) {
    let rank = |t: &Tensor| match t.dtype() {
        DType::Bool => 0,
        DType::U32 => 1,
        DType::I32 => 2,
        DType::F16 => 3,
        DType::F32 => 4,
    };
    let wide = if rank(x) >= rank(y) { x.dtype() } else { y.dtype() };
    let to = |t: &Tensor| if t.dtype() == wide { t.clone() } else { t.cast(wide) };
    (to(x), to(y))
}

/// One output.
pub fn one(y: Tensor) -> Outputs {
    Ok(vec![y])
}

/// What is not there.
pub fn unsupported(why: impl Into<String>) -> Outputs {
    no(why)
}

/// An axis counted from 0.
pub fn at(x: &Tensor, axis: isize) -> usize {
    if axis < 0 { (axis + x.rank().max(1) as isize) as usize } else { axis as usize }
}

/// All axes.
pub fn all_axes(x: &Tensor) -> Vec<isize> {
    (0..x.rank() as isize).collect()
}
