//! PyTorch's cases: functions and modules, forward and gradients.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use wgrad::autodiff::try_vjp;
use wgrad::{DType, Result, Tensor};

use crate::Run;
use crate::call::{Arg, Call, Outputs, Row};
use crate::case::{Host, Tensors, index, list, number, tensors, text};
use crate::judge::{Allowed, Unsupported, Verdict, compare};
use crate::torch_math::Simple;
use crate::{
    modules, recurrent, torch_index, torch_linalg, torch_loss, torch_masked, torch_math, torch_nn, torch_reduce,
    torch_shape, torch_space,
};

/// The tables, in the order they are searched.
const TABLES: &[&[Row]] = &[
    torch_math::ROWS,
    torch_shape::ROWS,
    torch_reduce::ROWS,
    torch_index::ROWS,
    torch_linalg::ROWS,
    torch_masked::ROWS,
    torch_nn::ROWS,
    torch_loss::ROWS,
    torch_space::ROWS,
];

/// Functions whose built-in form on a GPU is good to 1e-4 only, as the format allows.
const ROUGH: &[&str] =
    &["sin", "cos", "tan", "pow", "tanh", "sinh", "cosh", "atan", "asin", "acos", "atan2", "gelu", "mish"];

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
        let verdict = catch_unwind(AssertUnwindSafe(|| judge(run, case, op, &data)));
        let verdict = match verdict {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(Unsupported(why))) => Verdict::Unsupported(why),
            Err(panic) => panicked(&data, panic),
        };
        run.report.add("torch", scope, op, name, verdict);
    }
    Ok(())
}

/// A panic is a failure, except where it says that an op does not take the type of an input.
pub fn panicked(data: &Tensors, panic: Box<dyn std::any::Any + Send>) -> Verdict {
    let text = match panic.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => panic.downcast_ref::<&str>().unwrap_or(&"?").to_string(),
    };
    let whole = data.iter().any(|(key, host)| key.starts_with("in.") && !host.is_float());
    if whole && text.contains("cast") {
        return Verdict::Unsupported(text);
    }
    Verdict::Failed(format!("panicked: {text}"))
}

/// The tensors `PREFIX0`, `PREFIX1`, ... of a case.
fn numbered<'a>(data: &'a Tensors, prefix: &str) -> Vec<&'a Host> {
    (0..).map_while(|k| data.get(&format!("{prefix}{k}"))).collect()
}

fn keywords(case: &Value, key: &str) -> Vec<(String, Arg)> {
    let object = case.get(key).and_then(Value::as_object);
    object.into_iter().flatten().map(|(name, value)| (name.clone(), Arg::of(value))).collect()
}

fn judge(run: &Run, case: &Value, op: &str, data: &Tensors) -> std::result::Result<Verdict, Unsupported> {
    let device = run.device;
    let fault = |e: wgrad::Error| Unsupported(format!("a fault of the device: {e}"));
    let mut hosts: Vec<Host> = numbered(data, "in.").into_iter().cloned().collect();
    let mut inputs: Vec<Tensor> =
        hosts.iter().map(|h| h.upload(device, h.is_float())).collect::<Result<_>>().map_err(fault)?;
    let own = inputs.len();
    // In brackets a list is one index, a tuple several.
    let arg = |v: &Value| if op == "__getitem__" && v.is_array() { Arg::List(vec![Arg::of(v)]) } else { Arg::of(v) };
    let positional: Vec<Arg> = list(case, "args").iter().map(arg).collect();
    let keywords = keywords(case, "kwargs");
    if !text(case, "family").starts_with("module") {
        let done = call(device, op, &inputs, &hosts, &positional, &keywords)?;
        return check(case, op, data, &inputs, &BTreeMap::new(), done);
    }
    // Tensors of the constructor, parameters and buffers are numbered after the inputs.
    let mut params = BTreeMap::new();
    let mut named = BTreeMap::new();
    let mut constructed = Vec::new();
    for (key, host) in data {
        let mut put = |host: &Host, tracked| -> std::result::Result<Tensor, Unsupported> {
            let tensor = host.upload(device, tracked).map_err(fault)?;
            hosts.push(host.clone());
            inputs.push(tensor.clone());
            Ok(tensor)
        };
        if let Some(name) = key.strip_prefix("param.") {
            params.insert(name.to_string(), put(host, true)?);
            named.insert(name.to_string(), inputs.len() - 1);
        } else if let Some(name) = key.strip_prefix("buf.") {
            put(host, false)?;
            named.insert(name.to_string(), inputs.len() - 1);
        } else if key.starts_with("ctor.") {
            put(host, false)?;
            constructed.push(inputs.len() - 1);
        }
    }
    let module = Module {
        device,
        inputs: &inputs,
        hosts: &hosts,
        named: &named,
        constructed: &constructed,
        training: case.get("training").and_then(Value::as_bool).unwrap_or(true),
        steps: case.get("steps").and_then(Value::as_u64).unwrap_or(1) as usize,
    };
    let ctor: Vec<Arg> = list(case, "ctor_args").iter().map(Arg::of).collect();
    let ctor_keywords = self::keywords(case, "ctor_kwargs");
    let done = module.run(op, &ctor, &ctor_keywords, &positional, &keywords)?;
    check(case, op, data, &inputs[..own], &params, done)
}

/// A module of a case: its parameters and buffers are numbered tensors.
struct Module<'a> {
    device: &'a wgrad::Device,
    inputs: &'a [Tensor],
    hosts: &'a [Host],
    named: &'a BTreeMap<String, usize>,
    constructed: &'a [usize],
    training: bool,
    steps: usize,
}

impl Module<'_> {
    fn run(
        &self,
        op: &str,
        ctor: &[Arg],
        ctor_keywords: &[(String, Arg)],
        positional: &[Arg],
        keywords: &[(String, Arg)],
    ) -> std::result::Result<Done, Unsupported> {
        if op == "nn.Sequential" {
            return self.sequential(ctor, positional);
        }
        let params = |name: &str| self.named.get(name).map(|&k| self.inputs[k].clone());
        if let Some(layer) = recurrent::layer(op) {
            let call = Call::bind(self.device, self.inputs, self.hosts, layer.signature, ctor, ctor_keywords)?;
            let forward = Call::bind(self.device, self.inputs, self.hosts, layer.forward, positional, keywords)?;
            let (outputs, params) = recurrent::run(&layer, &call, &forward, &params)?;
            return match call.ignored().or(forward.ignored()) {
                Some(name) => Err(Unsupported(format!("argument {name}"))),
                None => Ok(Done { outputs, params, ..Done::default() }),
            };
        }
        self.function(op, "", ctor, ctor_keywords, positional, keywords)
    }

    /// A class as a call of the function it applies; its parameters and buffers are under `prefix`.
    fn function(
        &self,
        op: &str,
        prefix: &str,
        ctor: &[Arg],
        ctor_keywords: &[(String, Arg)],
        positional: &[Arg],
        keywords: &[(String, Arg)],
    ) -> std::result::Result<Done, Unsupported> {
        let Some((_, signature, function, shown)) = modules::class(op) else {
            return Err(Unsupported("no such module".into()));
        };
        let names: Vec<&str> = signature.split_whitespace().collect();
        let mut all: Vec<(String, Arg)> = keywords.to_vec();
        let given = ctor.iter().zip(&names).map(|(arg, name)| (name.to_string(), arg.clone()));
        for (name, arg) in given.chain(ctor_keywords.iter().cloned()) {
            if shown.split(' ').any(|s| s == name) {
                continue;
            }
            // Tensors of the constructor are numbered on their own.
            let arg = match arg {
                Arg::Tensor(k) => Arg::Tensor(self.constructed[k]),
                other => other,
            };
            all.push((name, arg));
        }
        for (name, &k) in self.named {
            if let Some(name) = name.strip_prefix(prefix)
                && !name.contains('.')
                && name != "num_batches_tracked"
            {
                all.push((name.to_string(), Arg::Tensor(k)));
            }
        }
        let has = |name: &str| all.iter().any(|(n, _)| n == name);
        match op {
            op if op.contains("BatchNorm") => {
                let running = has("running_mean");
                all.push(("training".into(), Arg::Bool(self.training || !running)));
                if !self.training {
                    all.retain(|(n, _)| n != "momentum");
                }
                return self.repeated(function, positional, all, prefix);
            }
            op if op.contains("InstanceNorm") => {
                let own = self.training || !has("running_mean");
                all.push(("use_input_stats".into(), Arg::Bool(own)));
                // A sequence, image or volume by itself has no batch.
                let axes = op.chars().rev().nth(1).and_then(|c| c.to_digit(10)).unwrap_or(2) as usize;
                let Some(&Arg::Tensor(k)) = positional.first() else { return Err(Unsupported("no input".into())) };
                if self.inputs[k].rank() == axes + 1 {
                    let mut inputs = self.inputs.to_vec();
                    inputs[k] = inputs[k].unsqueeze(0);
                    let here = Module { inputs: &inputs, ..*self };
                    let mut done = here.repeated(function, positional, all, prefix)?;
                    done.outputs[0] = done.outputs[0].squeeze(0);
                    return Ok(done);
                }
                return self.repeated(function, positional, all, prefix);
            }
            op if op.contains("Dropout") => all.push(("training".into(), Arg::Bool(self.training))),
            // One number pads all sides.
            op if op.contains("Pad") => {
                let axes = op.chars().rev().nth(1).and_then(|c| c.to_digit(10)).unwrap_or(2) as usize;
                for (_, arg) in all.iter_mut().filter(|(name, arg)| name == "pad" && matches!(arg, Arg::Number(..))) {
                    *arg = Arg::List(vec![arg.clone(); 2 * axes]);
                }
            }
            "nn.Flatten" if !has("start_dim") => all.push(("start_dim".into(), Arg::Number(1.0, true))),
            "nn.Softmax2d" => all.push(("dim".into(), Arg::Number(-3.0, true))),
            "nn.Upsample" | "nn.UpsamplingNearest2d" if !has("mode") => {
                all.push(("mode".into(), Arg::Text("nearest".into())));
            }
            "nn.Embedding" | "nn.Bilinear" => {
                // The table comes first in the function; the input is an argument like the others.
                let names: &[&str] = if op == "nn.Embedding" { &["input"] } else { &["input1", "input2"] };
                for (arg, name) in positional.iter().zip(names) {
                    all.push((name.to_string(), arg.clone()));
                }
                return call(self.device, function, self.inputs, self.hosts, &[], &all);
            }
            _ => {}
        }
        call(self.device, function, self.inputs, self.hosts, positional, &all)
    }

    /// A normalisation, called as often as the case wants; running statistics go from call to call.
    fn repeated(
        &self,
        function: &str,
        positional: &[Arg],
        mut all: Vec<(String, Arg)>,
        prefix: &str,
    ) -> std::result::Result<Done, Unsupported> {
        let mut inputs = self.inputs.to_vec();
        let cumulative = all.iter().any(|(n, a)| n == "momentum" && matches!(a, Arg::Nothing));
        all.retain(|(n, _)| !(cumulative && n == "momentum"));
        let counted = self.named.get(&format!("{prefix}num_batches_tracked"));
        let before = counted.map_or(0.0, |&k| self.hosts[k].values[0]);
        let mut done = None;
        for s in 1..=self.steps {
            let mut now = all.clone();
            if cumulative && self.training {
                now.push(("momentum".into(), Arg::Number(1.0 / (before + s as f64), false)));
            }
            let own = inputs[0].clone();
            if s < self.steps {
                inputs[0] = &(&own * (1.0 + 0.5 * s as f32)) + 0.25 * s as f32;
            }
            let this = call(self.device, function, &inputs, self.hosts, positional, &now)?;
            inputs[0] = own;
            for name in ["running_mean", "running_var"] {
                if let (Some(value), Some(&k)) = (this.after.get(name), self.named.get(&format!("{prefix}{name}"))) {
                    inputs[k] = value.clone();
                }
            }
            done = Some(this);
        }
        done.ok_or(Unsupported("no step".into()))
    }

    /// Layers in a row, each `[class, args, kwargs]`.
    fn sequential(&self, layers: &[Arg], positional: &[Arg]) -> std::result::Result<Done, Unsupported> {
        let (Some(Arg::Tensor(k)), true) = (positional.first(), self.steps == 1) else {
            return Err(Unsupported("an input that is no tensor".into()));
        };
        let mut x = self.inputs[*k].clone();
        let mut after = BTreeMap::new();
        for (i, layer) in layers.iter().enumerate() {
            let Arg::List(parts) = layer else { return Err(Unsupported(format!("a layer {layer:?}"))) };
            let (Some(Arg::Text(class)), Some(Arg::List(args))) = (parts.first(), parts.get(1)) else {
                return Err(Unsupported(format!("a layer {layer:?}")));
            };
            let keywords = match parts.get(2) {
                Some(Arg::Text(json)) => {
                    let value: Value = serde_json::from_str(json).unwrap_or(Value::Null);
                    value.as_object().into_iter().flatten().map(|(n, v)| (n.clone(), Arg::of(v))).collect()
                }
                _ => Vec::new(),
            };
            let mut inputs = self.inputs.to_vec();
            inputs[*k] = x;
            let here = Module { inputs: &inputs, ..*self };
            let done =
                here.function(&format!("nn.{class}"), &format!("{i}."), args, &keywords, &[Arg::Tensor(*k)], &[])?;
            x = done.outputs.into_iter().next().ok_or(Unsupported("no output".into()))?;
            after.extend(done.after.into_iter().map(|(name, value)| (format!("{i}.{name}"), value)));
        }
        Ok(Done { outputs: vec![x], after, ..Done::default() })
    }
}

/// What a call made, and what it wrote besides.
#[derive(Default)]
pub struct Done {
    /// The outputs, in order.
    pub outputs: Vec<Tensor>,
    /// What it wrote besides, by the name of its "after" key.
    pub after: BTreeMap<String, Tensor>,
    /// The parameters of a module that has its own.
    params: BTreeMap<String, Tensor>,
}

fn simple(table: &[Simple], op: &str) -> Option<fn(&Tensor) -> Tensor> {
    table.iter().find(|(names, _)| names.split(' ').any(|n| n == op)).map(|&(_, f)| f)
}

/// Calls a function by its foreign name.
pub fn call(
    device: &wgrad::Device,
    op: &str,
    inputs: &[Tensor],
    hosts: &[Host],
    positional: &[Arg],
    keywords: &[(String, Arg)],
) -> std::result::Result<Done, Unsupported> {
    let bind = |signature: &str| Call::bind(device, inputs, hosts, signature, positional, keywords);
    let finish = |call: &Call, outputs: Outputs| {
        let outputs = outputs?;
        if let Some(name) = call.ignored() {
            return Err(Unsupported(format!("argument {name}")));
        }
        Ok(Done { outputs, after: call.after.take(), ..Done::default() })
    };
    if let Some(f) = simple(torch_math::UNARY, op) {
        let call = bind("input inplace")?;
        call.ignore("inplace");
        let y = f(&call.ft("input")?);
        return finish(&call, Ok(vec![y]));
    }
    if let Some(f) = simple(torch_math::OF_ANY, op) {
        let call = bind("input inplace")?;
        call.ignore("inplace");
        let y = f(&call.t("input")?);
        return finish(&call, Ok(vec![y]));
    }
    let row = TABLES.iter().copied().flatten().find(|(names, _, _)| names.split(' ').any(|n| n == op));
    let Some((_, signature, code)) = row else {
        return Err(Unsupported("no such op".into()));
    };
    let call = bind(signature)?;
    let outputs = code(&call);
    finish(&call, outputs)
}

/// Compares outputs, gradients, and what was written besides.
fn check(
    case: &Value,
    op: &str,
    data: &Tensors,
    inputs: &[Tensor],
    params: &BTreeMap<String, Tensor>,
    done: Done,
) -> std::result::Result<Verdict, Unsupported> {
    let wanted = numbered(data, "out.");
    if done.outputs.len() < wanted.len() {
        return Err(Unsupported(format!("{} outputs of {}", done.outputs.len(), wanted.len())));
    }
    let outputs = &done.outputs[..wanted.len()];
    for (k, (got, want)) in outputs.iter().zip(&wanted).enumerate() {
        if got.shape()[..] != want.shape[..] {
            return Ok(Verdict::Failed(format!("out.{k} has shape {}, expected {:?}", got.shape(), want.shape)));
        }
    }
    let params = if done.params.is_empty() { params } else { &done.params };
    // The gradients are recorded before anything is computed, and computed with the outputs.
    let seeds: Vec<(usize, &Host)> = (0..outputs.len())
        .filter(|&k| outputs[k].dtype() == DType::F32)
        .filter_map(|k| data.get(&format!("cot.{k}")).map(|c| (k, c)))
        .collect();
    let fault = |e: wgrad::Error| Unsupported(format!("a fault of the device: {e}"));
    let mut gradients: Vec<(String, Option<Tensor>)> = Vec::new();
    if !seeds.is_empty() {
        let device = outputs[0].device();
        let cotangents: Vec<Tensor> =
            seeds.iter().map(|(_, c)| c.upload(device, false)).collect::<Result<_>>().map_err(fault)?;
        let ys: Vec<&Tensor> = seeds.iter().map(|&(k, _)| &outputs[k]).collect();
        let floats = inputs.iter().enumerate().filter(|(_, x)| x.dtype() == DType::F32);
        let named = floats.map(|(k, x)| (format!("grad.{k}"), x));
        let wrt: Vec<(String, &Tensor)> = named.chain(params.iter().map(|(n, p)| (format!("gparam.{n}"), p))).collect();
        let found =
            try_vjp(&ys, &cotangents.iter().collect::<Vec<_>>(), &wrt.iter().map(|(_, x)| *x).collect::<Vec<_>>());
        gradients = wrt.into_iter().map(|(key, _)| key).zip(found).collect();
    }
    let ill: Vec<&str> = list(case, "ill_conditioned").iter().filter_map(Value::as_str).collect();
    let allowed = |key: &str| {
        let own = case.get("f32_relerr").and_then(|e| e.get(key)).and_then(number).unwrap_or(0.0);
        let rough = ROUGH.iter().any(|r| op.contains(r)) && outputs[0].device().as_gpu().is_some();
        Allowed::OfLargest((20.0 * own).max(if rough { 1e-4 } else { 1e-5 }))
    };
    let results = outputs.iter().chain(gradients.iter().filter_map(|(_, g)| g.as_ref())).chain(done.after.values());
    wgrad::eval(&results.collect::<Vec<_>>()).map_err(fault)?;

    let mut worst = 0f64;
    let mut faults = Vec::new();
    let mut verdict = |key: &str, got: &Tensor, want: &Host| {
        if !ill.contains(&key) {
            match compare(key, got, want, allowed(key)) {
                Ok(off) => worst = worst.max(off),
                Err(fault) => faults.push(fault),
            }
        }
    };
    for (k, (got, want)) in outputs.iter().zip(&wanted).enumerate() {
        verdict(&format!("out.{k}"), got, want);
    }
    for (key, got) in &gradients {
        if let Some(want) = data.get(key) {
            // What the outputs do not depend on has a gradient of zeros.
            let zeros = || Tensor::zeros(outputs[0].device(), want.shape.clone());
            verdict(key, &got.clone().unwrap_or_else(zeros), want);
        }
    }
    let mut missing = None;
    for (key, want) in data.iter().filter(|(key, _)| key.starts_with("after.")) {
        match done.after.get(&key["after.".len()..]) {
            Some(got) => verdict(key, got, want),
            None if key.ends_with("num_batches_tracked") => {}
            // A buffer that the module only reads.
            None if data.get(&key.replacen("after.", "buf.", 1)).is_some_and(|b| b.values == want.values) => {}
            None => missing = Some(key.clone()),
        }
    }
    if !faults.is_empty() {
        return Ok(Verdict::Failed(faults.join("; ")));
    }
    match missing {
        Some(key) => Err(Unsupported(format!("{key} is not given back"))),
        None => Ok(Verdict::Passed(worst)),
    }
}
