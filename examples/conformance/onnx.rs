//! ONNX's cases: single nodes and small graphs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::{Map, Value};
use wgrad::{DType, Device, Result, Tensor};

use crate::Run;
use crate::call::{float, promote};
use crate::case::{Host, Tensors, index, list, number, tensors, text};
use crate::judge::{Allowed, Unsupported, Verdict, compare};
use crate::torch::panicked;
use crate::{onnx_attention, onnx_nn, onnx_ops, onnx_places};

/// What a row returns: the outputs, in order.
pub type Outputs = std::result::Result<Vec<Tensor>, Unsupported>;
/// A row of a table: the operators, and our call.
pub type Row = (&'static str, fn(&Node) -> Outputs);

const TABLES: &[&[Row]] = &[onnx_ops::ROWS, onnx_nn::ROWS, onnx_places::ROWS, onnx_attention::ROWS];

/// A node with its inputs.
pub struct Node<'a> {
    /// Where it runs.
    pub device: &'a Device,
    /// The version of the operator set.
    pub opset: i64,
    attributes: &'a Map<String, Value>,
    implicit: &'a Value,
    inputs: Vec<Option<(Tensor, Option<Host>)>>,
    /// How many outputs are asked for.
    pub outputs: usize,
    asked: RefCell<BTreeSet<String>>,
}

impl Node<'_> {
    /// An attribute, written or implied.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.asked.borrow_mut().insert(name.into());
        self.attributes.get(name).or_else(|| self.implicit.get(name)).filter(|v| !v.is_null())
    }

    /// Accepts attributes that change nothing here.
    pub fn ignore(&self, names: &str) {
        names.split(' ').for_each(|name| _ = self.get(name));
    }

    /// A number.
    pub fn f(&self, name: &str, default: f64) -> f64 {
        self.get(name).and_then(number).unwrap_or(default)
    }

    /// A whole number.
    pub fn i(&self, name: &str, default: i64) -> i64 {
        self.f(name, default as f64) as i64
    }

    /// A text.
    pub fn s(&self, name: &str, default: &str) -> String {
        self.get(name).and_then(Value::as_str).unwrap_or(default).into()
    }

    /// Whole numbers.
    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        let all = self.get(name)?.as_array()?;
        Some(all.iter().filter_map(number).map(|n| n as i64).collect())
    }

    /// Input `k`.
    pub fn x(&self, k: usize) -> std::result::Result<Tensor, Unsupported> {
        self.opt(k).ok_or_else(|| Unsupported(format!("no input {k}")))
    }

    /// Input `k`, if it is there.
    pub fn opt(&self, k: usize) -> Option<Tensor> {
        self.inputs.get(k)?.as_ref().map(|(t, _)| t.clone())
    }

    /// Input `k` as floats.
    pub fn fx(&self, k: usize) -> std::result::Result<Tensor, Unsupported> {
        Ok(float(&self.x(k)?))
    }

    /// All inputs.
    pub fn all(&self) -> Vec<Tensor> {
        self.inputs.iter().flatten().map(|(t, _)| t.clone()).collect()
    }

    /// Two operands of one type.
    pub fn two(&self) -> std::result::Result<(Tensor, Tensor), Unsupported> {
        let (x, mut y) = (self.x(0)?, self.x(1)?);
        // Before version 7 the second operand lay at an axis of the first, the last ones unless told.
        let old = self.i("broadcast", 0) != 0;
        if let (true, Some(axis)) = (old, self.get("axis").and_then(number)) {
            let behind = (x.rank() as i64 - axis as i64 - y.rank() as i64).max(0) as usize;
            y = y.reshape([y.shape().to_vec(), vec![1; behind]].concat());
        }
        Ok(promote(&x, &y))
    }

    /// The numbers of input `k`, which must come from the file: shapes and axes are part of a graph here.
    pub fn host(&self, k: usize) -> std::result::Result<Option<&Host>, Unsupported> {
        match self.inputs.get(k) {
            Some(Some((_, Some(host)))) => Ok(Some(host)),
            Some(Some((_, None))) => Err(Unsupported(format!("a computed input {k}"))),
            _ => Ok(None),
        }
    }

    /// Whole numbers of input `k`, or of an attribute in older versions.
    pub fn ints_of(&self, k: usize, attribute: &str) -> std::result::Result<Option<Vec<i64>>, Unsupported> {
        match self.host(k)? {
            Some(host) => Ok(Some(host.ints())),
            None => Ok(self.ints(attribute)),
        }
    }

    /// Input `k` as indices into an axis, negative ones counted from its end.
    pub fn index(&self, k: usize, extent: usize) -> std::result::Result<Tensor, Unsupported> {
        let Some(host) = self.host(k)? else { return Err(Unsupported(format!("no input {k}"))) };
        let wrapped = |&v: &f64| match if v < 0.0 { v + extent as f64 } else { v } {
            // What names no element stays outside.
            v if v < 0.0 => u32::MAX,
            v => v as u32,
        };
        let values: Vec<u32> = host.values.iter().map(wrapped).collect();
        Tensor::from_slice(self.device, &values, host.shape.clone()).map_err(|e| Unsupported(e.to_string()))
    }

    /// An axis counted from 0.
    pub fn axis(&self, x: &Tensor, default: i64) -> usize {
        let axis = self.i("axis", default);
        (if axis < 0 { axis + x.rank() as i64 } else { axis }) as usize
    }

    /// What the index says and no row asked for.
    fn ignored(&self) -> Option<String> {
        let asked = self.asked.borrow();
        self.attributes.iter().find(|(name, v)| !asked.contains(*name) && !v.is_null()).map(|(name, _)| name.clone())
    }
}

fn apply(op: &str, node: &Node) -> Outputs {
    let Some((_, code)) = TABLES.iter().copied().flatten().find(|(names, _)| names.split(' ').any(|n| n == op)) else {
        return Err(Unsupported("no such op".into()));
    };
    let outputs = code(node)?;
    match node.ignored() {
        Some(name) => Err(Unsupported(format!("attribute {name}"))),
        None => Ok(outputs),
    }
}

/// Runs all cases of a folder.
///
/// # Errors
/// If the folder is torn.
pub fn run(folder: &Path, run: &mut Run) -> Result<()> {
    let index = index(folder)?;
    for case in list(&index, "cases") {
        let (name, op, scope) = (text(case, "name"), text(case, "op"), text(case, "scope"));
        if !run.wants(name, op) {
            continue;
        }
        let data = tensors(&folder.join(format!("{name}.safetensors")), case.get("dtypes").and_then(Value::as_object))?;
        let verdict = match catch_unwind(AssertUnwindSafe(|| judge(run.device, case, op, &data))) {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(Unsupported(why))) => Verdict::Unsupported(why),
            Err(panic) => panicked(&data, panic),
        };
        run.report.add("onnx", scope, op, name, verdict);
    }
    Ok(())
}

fn judge(device: &Device, case: &Value, op: &str, data: &Tensors) -> std::result::Result<Verdict, Unsupported> {
    let got = if case.get("graph").and_then(Value::as_bool) == Some(true) {
        graph(device, case, data)?
    } else {
        let inputs = list(case, "inputs")
            .iter()
            .map(|input| uploaded(device, input, data))
            .collect::<std::result::Result<_, _>>()?;
        let none = Map::new();
        let domain = text(case, "domain");
        let versions = case.get("opset").and_then(Value::as_object);
        let node = Node {
            device,
            opset: versions.and_then(|v| v.get(domain).or(v.get("ai.onnx"))).and_then(Value::as_i64).unwrap_or(99),
            attributes: case.get("attributes").and_then(Value::as_object).unwrap_or(&none),
            implicit: &case["implicit"],
            inputs,
            outputs: list(case, "outputs").len(),
            asked: RefCell::default(),
        };
        apply(op, &node)?
    };
    let random = op == "Dropout" && text(case, "scope") == "extended";
    let wanted = list(case, "outputs");
    let (rtol, atol) = (case.get("rtol").and_then(number).unwrap_or(1e-3), 1e-6);
    let shown: Vec<&Tensor> = got.iter().take(wanted.len()).collect();
    wgrad::eval(&shown).map_err(|e| Unsupported(format!("a fault of the device: {e}")))?;
    let mut worst = 0f64;
    let mut faults = Vec::new();
    for (k, out) in wanted.iter().enumerate() {
        let Some(want) = out.get("key").and_then(Value::as_str).and_then(|key| data.get(key)) else { continue };
        let Some(got) = got.get(k) else { return Err(Unsupported(format!("output {k}"))) };
        if random {
            return Err(Unsupported("random numbers".into()));
        }
        match compare(&format!("out.{k}"), got, want, Allowed::Mixed(rtol, atol)) {
            Ok(off) => worst = worst.max(off),
            Err(why) => faults.push(why),
        }
    }
    Ok(if faults.is_empty() { Verdict::Passed(worst) } else { Verdict::Failed(faults.join("; ")) })
}

type Input = Option<(Tensor, Option<Host>)>;

fn uploaded(device: &Device, input: &Value, data: &Tensors) -> std::result::Result<Input, Unsupported> {
    let Some(host) = input.get("key").and_then(Value::as_str).and_then(|key| data.get(key)) else { return Ok(None) };
    let tensor = host.upload(device, host.is_float()).map_err(|e| Unsupported(e.to_string()))?;
    Ok(Some((tensor, Some(host.clone()))))
}

/// A model of several nodes: values go by their names.
fn graph(device: &Device, case: &Value, data: &Tensors) -> Outputs {
    let mut values: BTreeMap<String, (Tensor, Option<Host>)> = BTreeMap::new();
    for input in list(case, "inputs").iter().chain(list(case, "initializers")) {
        if let Some(value) = uploaded(device, input, data)? {
            values.insert(text(input, "name").into(), value);
        }
    }
    let (none, nothing) = (Map::new(), Value::Null);
    let versions = case.get("opset").and_then(Value::as_object);
    for node in list(case, "nodes") {
        let op = if text(node, "op").is_empty() { text(node, "op_type") } else { text(node, "op") };
        let names = |key: &str| -> Vec<String> {
            list(node, key).iter().map(|n| n.as_str().unwrap_or(text(n, "name")).to_string()).collect()
        };
        let outputs = names("outputs");
        let attributes = node.get("attributes").and_then(Value::as_object).unwrap_or(&none);
        let made = if op == "Gradient" {
            gradient(attributes, &names("inputs"), &values)?
        } else {
            let context = Node {
                device,
                opset: versions.and_then(|v| v.get("ai.onnx")).and_then(Value::as_i64).unwrap_or(99),
                attributes,
                implicit: node.get("implicit").unwrap_or(&nothing),
                inputs: names("inputs").iter().map(|n| values.get(n).cloned()).collect(),
                outputs: outputs.len(),
                asked: RefCell::default(),
            };
            apply(op, &context)?
        };
        values.extend(outputs.into_iter().zip(made.into_iter().map(|t| (t, None))));
    }
    let find = |out: &Value| {
        let name = text(out, "name");
        values.get(name).map(|(t, _)| t.clone()).ok_or_else(|| Unsupported(format!("no value {name}")))
    };
    list(case, "outputs").iter().map(find).collect()
}

/// ONNX's Gradient node: dy/dx for the names in `xs`, where `y` was computed before.
fn gradient(
    attributes: &Map<String, Value>,
    inputs: &[String],
    values: &BTreeMap<String, (Tensor, Option<Host>)>,
) -> Outputs {
    let y = attributes.get("y").and_then(Value::as_str).and_then(|y| values.get(y));
    let Some((y, _)) = y else { return Err(Unsupported("no y".into())) };
    let xs = attributes.get("xs").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<String> = match xs.is_empty() {
        true => inputs.to_vec(),
        false => xs.iter().filter_map(Value::as_str).map(String::from).collect(),
    };
    let wrt: Option<Vec<&Tensor>> = names.iter().map(|n| values.get(n).map(|(t, _)| t)).collect();
    let Some(wrt) = wrt else { return Err(Unsupported("no xs".into())) };
    let seed = Tensor::ones(y.device(), y.shape());
    let found = wgrad::autodiff::try_vjp(&[y], &[&seed], &wrt);
    Ok(found.into_iter().zip(wrt).map(|(g, x)| g.unwrap_or_else(|| Tensor::zeros(x.device(), x.shape()))).collect())
}

/// Pads at begin and end of each axis of space, as the attributes or the resolved form say.
pub fn pads(node: &Node, axes: usize) -> std::result::Result<Vec<[i64; 2]>, Unsupported> {
    let auto = node.s("auto_pad", "NOTSET");
    let all = match node.ints("pads_resolved") {
        Some(pads) => pads,
        None if auto == "VALID" => vec![0; 2 * axes],
        None if auto == "NOTSET" || auto.is_empty() => node.ints("pads").unwrap_or(vec![0; 2 * axes]),
        None => return Err(Unsupported(format!("auto_pad {auto} without pads_resolved"))),
    };
    node.ignore("pads");
    if all.len() != 2 * axes {
        return Err(Unsupported(format!("pads {all:?} of {axes} axes")));
    }
    Ok((0..axes).map(|i| [all[i], all[i + axes]]).collect())
}

/// One output.
pub fn one(y: Tensor) -> Outputs {
    Ok(vec![y])
}

/// What is not there.
pub fn unsupported(why: impl Into<String>) -> Outputs {
    Err(Unsupported(why.into()))
}

/// A result as whole numbers, as ONNX's int64.
pub fn whole(y: Tensor) -> Tensor {
    y.cast(DType::I32)
}
