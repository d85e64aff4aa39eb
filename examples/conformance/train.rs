//! Training curves: the losses of a model's first steps against PyTorch's, from the same weights and batches.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use wgrad::autodiff::grad;
use wgrad::nn::{Buffer, Param, Parameters};
use wgrad::{DType, Device, Error, Result, Tensor};

use crate::Run;
use crate::case::{Tensors, index, list, number, numbers, tensors, text};
use crate::judge::{Unsupported, Verdict};
use crate::optim::optimizer;
use crate::torch::panicked;

/// The parameters of a model by their names in the file.
struct Named(BTreeMap<String, Param>);

impl Parameters for Named {
    fn params<'a>(&'a self, visit: &mut dyn FnMut(&str, &'a Param)) {
        self.0.iter().for_each(|(name, p)| visit(name, p));
    }
    fn params_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&str, &'a mut Param)) {
        self.0.iter_mut().for_each(|(name, p)| visit(name, p));
    }
    fn buffers<'a>(&'a self, _: &mut dyn FnMut(&str, &'a Buffer)) {}
}

/// What a model reads.
struct Data(BTreeMap<String, Tensor>);

impl Data {
    /// Batch `s` of a tensor whose first axis counts batches, again from the first after the last.
    fn batch(&self, name: &str, s: usize) -> Tensor {
        let all = &self.0[name];
        all.narrow(0, s % all.shape()[0], 1).squeeze(0)
    }
}

/// The loss of step `s`.
type Model = fn(&Named, &Data, usize) -> Tensor;

/// The models, by the name of their file. The specification in the file says what each computes.
const MODELS: &[(&str, Model)] = &[("logreg_softmax784", |p, d, s| {
    let logits = &d.batch("x", s).matmul(p.0["w"].get()) + p.0["b"].get();
    logits.cross_entropy(&d.batch("y", s).cast(DType::U32))
})];

/// Runs all models of a folder.
///
/// # Errors
/// If the folder is torn.
pub fn run(folder: &Path, run: &mut Run) -> Result<()> {
    for name in list(&index(folder)?, "models").iter().filter_map(Value::as_str) {
        if !run.wants(name, name) {
            continue;
        }
        let path = folder.join(format!("{name}.json"));
        let torn = |problem: String| Error::file(&path, problem, "Copy the cases again");
        let file = std::fs::read(&path).map_err(|e| torn(format!("cannot be read: {e}")))?;
        let spec: Value = serde_json::from_slice(&file).map_err(|e| torn(format!("is no JSON: {e}")))?;
        let data = tensors(&folder.join(format!("{name}.safetensors")), None)?;
        for (k, case) in list(&spec, "runs").iter().enumerate() {
            let label = format!("{name}/{k}:{}", text(&case["opt"], "kind"));
            let verdict = match catch_unwind(AssertUnwindSafe(|| curve(run.device, name, case, &data))) {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(Unsupported(why))) => Verdict::Unsupported(why),
                Err(panic) => panicked(&data, panic),
            };
            run.report.add("train", "core", name, &label, verdict);
        }
    }
    Ok(())
}

fn curve(device: &Device, name: &str, case: &Value, data: &Tensors) -> std::result::Result<Verdict, Unsupported> {
    let fault = |e: Error| Unsupported(format!("a fault of the device: {e}"));
    let Some((_, model)) = MODELS.iter().find(|(n, _)| *n == name) else {
        return Err(Unsupported("no such model".into()));
    };
    if case.get("clip").is_some_and(|c| !c.is_null()) || case.get("carry").is_some_and(|c| c.as_bool() == Some(true)) {
        return Err(Unsupported("clip or carry".into()));
    }
    let opt = &case["opt"];
    let mut optimizer = optimizer(text(opt, "kind"), opt)?;
    let mut params = Named(BTreeMap::new());
    let mut inputs = Data(BTreeMap::new());
    for (key, host) in data {
        if let Some(name) = key.strip_prefix("param.") {
            params.0.insert(name.into(), Param::new(host.upload(device, false).map_err(fault)?).map_err(fault)?);
        } else if let Some(name) = key.strip_prefix("data.") {
            inputs.0.insert(name.into(), host.upload(device, false).map_err(fault)?);
        }
    }
    // The gradient of the first step.
    let names: Vec<String> = params.0.keys().cloned().collect();
    let first = model(&params, &inputs, 0);
    let leaves: Vec<&Tensor> = names.iter().map(|n| params.0[n].get()).collect();
    for (name, g) in names.iter().zip(grad(&first, &leaves)) {
        let norm = g.to_f64_vec().map_err(fault)?.iter().map(|v| v * v).sum::<f64>().sqrt();
        if let Some(want) = case["step0_grad_l2"].get(name).and_then(number)
            && (norm - want).abs() > 1e-4 * want
        {
            return Ok(Verdict::Failed(format!("the gradient of {name} has norm {norm:e}, expected {want:e}")));
        }
    }
    drop((leaves, first));
    let (want, allowed) = (numbers(case, "loss_f64"), numbers(case, "loss_tol"));
    let mut worst = 0f64;
    for (s, (want, allowed)) in want.iter().zip(&allowed).enumerate() {
        let loss = model(&params, &inputs, s);
        optimizer.step(&mut params, &loss).map_err(fault)?;
        let got = loss.item().map_err(fault)? as f64;
        let off = (got - want).abs() / allowed;
        if off.is_nan() || off > 1.0 {
            return Ok(Verdict::Failed(format!("the loss of step {s} is {got}, expected {want} ({off:.1} x allowed)")));
        }
        worst = worst.max(off);
    }
    for (name, p) in &params.0 {
        let norm = p.get().to_f64_vec().map_err(fault)?.iter().map(|v| v * v).sum::<f64>().sqrt();
        if let Some(want) = case["final_param_l2"].get(name).and_then(number)
            && (norm - want).abs() > 1e-3 * want
        {
            return Ok(Verdict::Failed(format!("at the end {name} has norm {norm:e}, expected {want:e}")));
        }
    }
    Ok(Verdict::Passed(worst))
}
