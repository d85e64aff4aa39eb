//! Answers of PyTorch, kept as files in `fixtures/` beside the scripts that made them.

use std::fs;
use std::path::Path;

use serde_json::Value;
use wgrad::autodiff::try_vjp;
use wgrad::{Device, Tensor};

/// One call: its arguments that are no tensors, and its inputs as tracked leaves.
pub struct Case<'a> {
    pub op: &'a str,
    pub args: &'a Value,
    pub inputs: &'a [Tensor],
}

impl Case<'_> {
    /// A whole number among the arguments.
    pub fn size(&self, name: &str) -> usize {
        self.args[name].as_u64().unwrap_or_else(|| panic!("{}: no {name}", self.op)) as usize
    }

    pub fn number(&self, name: &str) -> f32 {
        self.args[name].as_f64().unwrap_or_else(|| panic!("{}: no {name}", self.op)) as f32
    }

    /// Two whole numbers; one stands for both.
    pub fn pair(&self, name: &str) -> [usize; 2] {
        match &self.args[name] {
            Value::Array(pair) => [0, 1].map(|i| pair[i].as_u64().expect("a whole number") as usize),
            _ => [self.size(name); 2],
        }
    }

    pub fn tensor(&self, name: &str) -> Tensor {
        read(self.inputs[0].device(), &self.args[name])
    }

    pub fn input(&self, i: usize) -> Option<&Tensor> {
        self.inputs.get(i)
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    let number = |v: &Value| v.as_str().map_or(v.as_f64(), |text| text.parse().ok()).unwrap_or(f64::NAN);
    value["values"].as_array().expect("values").iter().map(number).collect()
}

fn read(device: &Device, value: &Value) -> Tensor {
    let shape: Vec<usize> =
        value["shape"].as_array().expect("a shape").iter().map(|v| v.as_u64().unwrap() as usize).collect();
    let values: Vec<f32> = numbers(value).iter().map(|&v| v as f32).collect();
    Tensor::from_slice(device, &values, shape).unwrap()
}

/// Runs every case of a file and compares outputs and gradients with what PyTorch found, relative to the largest number
/// of each tensor.
pub fn check(file: &str, device: &Device, tolerance: f64, run: impl Fn(&Case) -> Vec<Tensor>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-test/fixtures").join(file);
    let cases: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(!cases.is_empty(), "{file} is empty");
    let mut faults = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let tensors = |name: &str| case[name].as_array().expect("a list").clone();
        let inputs: Vec<Tensor> = tensors("in").iter().map(|v| read(device, v).into_leaf(true).unwrap()).collect();
        let name = format!("case {number}, {} {}", case["op"], case["args"]);
        let got = run(&Case { op: case["op"].as_str().expect("a name"), args: &case["args"], inputs: &inputs });
        let wanted = tensors("out");
        assert_eq!(got.len(), wanted.len(), "{name}: number of outputs");
        for (k, (got, want)) in got.iter().zip(&wanted).enumerate() {
            compare(&format!("{name}, output {k}"), got, want, tolerance, &mut faults);
        }
        let float: Vec<usize> = (0..got.len()).filter(|&k| got[k].dtype() == wgrad::DType::F32).collect();
        let cots: Vec<Tensor> = tensors("cot").iter().map(|v| read(device, v)).collect();
        let outputs: Vec<&Tensor> = float.iter().map(|&k| &got[k]).collect();
        let found =
            try_vjp(&outputs, &float.iter().map(|&k| &cots[k]).collect::<Vec<_>>(), &inputs.iter().collect::<Vec<_>>());
        for (i, (found, want)) in found.iter().zip(tensors("grad")).enumerate() {
            match (found, want) {
                (_, Value::Null) => {}
                (Some(found), want) => compare(&format!("{name}, gradient {i}"), found, &want, tolerance, &mut faults),
                (None, _) => faults.push(format!("{name}: no gradient reaches input {i}")),
            }
        }
    }
    assert!(faults.is_empty(), "{} faults on {device}:\n{}", faults.len(), faults.join("\n"));
}

fn compare(what: &str, got: &Tensor, want: &Value, tolerance: f64, faults: &mut Vec<String>) {
    let shape: Vec<usize> =
        want["shape"].as_array().expect("a shape").iter().map(|v| v.as_u64().unwrap() as usize).collect();
    if got.shape()[..] != shape {
        faults.push(format!("{what}: shape {}, should be {shape:?}", got.shape()));
        return;
    }
    let got: Vec<f64> = match got.dtype() {
        wgrad::DType::F32 => got.to_vec::<f32>().unwrap().iter().map(|&v| v as f64).collect(),
        _ => got.cast(wgrad::DType::U32).to_vec::<u32>().unwrap().iter().map(|&v| v as f64).collect(),
    };
    let want = numbers(want);
    let largest = want.iter().filter(|w| w.is_finite()).fold(0f64, |m, w| m.max(w.abs()));
    let near = |g: f64, w: f64| g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance * largest.max(1e-3);
    if let Some(i) = got.iter().zip(&want).position(|(&g, &w)| !near(g, w)) {
        faults.push(format!("{what}: element {i} is {}, should be {}", got[i], want[i]));
    }
}
