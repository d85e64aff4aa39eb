//! Optimizers, clipping and schedules against PyTorch's trajectories.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use wgrad::nn::Param;
use wgrad::optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Anneal, Asgd, ConstantFactor, CosineAnnealing, CosineWarmRestarts, Cycle,
    Cyclic, Exponential, LinearFactor, MultiStep, NAdam, OneCycle, Optimizer, Polynomial, RAdam, ReduceOnPlateau,
    RmsProp, Rprop, Schedule, Sgd, StepDecay, clip_grad_norm, clip_grad_value,
};
use wgrad::{Device, Result, Tensor};

use crate::Run;
use crate::case::{Host, Tensors, index, list, number, numbers, tensors, text};
use crate::judge::{Allowed, Unsupported, Verdict, close};
use crate::torch::panicked;

type Judged = std::result::Result<Verdict, Unsupported>;

fn fault(e: wgrad::Error) -> Unsupported {
    Unsupported(format!("a fault of the device: {e}"))
}

/// Runs all cases of a folder.
///
/// # Errors
/// If the folder is torn.
pub fn run(folder: &Path, run: &mut Run) -> Result<()> {
    let index = index(folder)?;
    let problems = folder.join("problems.safetensors");
    let problems = if problems.exists() { tensors(&problems, None)? } else { Tensors::new() };
    let steps: Vec<usize> = numbers(&index, "steps").iter().map(|&s| s as usize).collect();
    let mut each = |kind: &str, with_file: bool, judge: &dyn Fn(&Device, &Value, &Tensors) -> Judged| -> Result<()> {
        for case in list(&index, kind) {
            let (name, op, scope) = (text(case, "name"), text(case, "op"), text(case, "scope"));
            if !run.wants(name, op) {
                continue;
            }
            let data = match with_file {
                true => tensors(&folder.join(format!("{name}.safetensors")), None)?,
                false => Tensors::new(),
            };
            let verdict = match catch_unwind(AssertUnwindSafe(|| judge(run.device, case, &data))) {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(Unsupported(why))) => Verdict::Unsupported(why),
                Err(panic) => panicked(&data, panic),
            };
            run.report.add("optim", scope, op, name, verdict);
        }
        Ok(())
    };
    each("optimizers", true, &|device, case, data| trajectory(device, case, data, &problems, &steps))?;
    each("clip", true, &clip)?;
    each("schedules", false, &|_, case, _| schedule(case))
}

/// The settings of a case, each of which must be asked for.
pub struct Settings<'a> {
    all: &'a Value,
    asked: std::cell::RefCell<Vec<String>>,
}

impl<'a> Settings<'a> {
    /// The fields of an object.
    pub fn of(all: &'a Value) -> Self {
        Settings { all, asked: Default::default() }
    }

    /// A field as the file has it.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.asked.borrow_mut().push(name.into());
        self.all.get(name).filter(|v| !v.is_null())
    }

    /// A number.
    pub fn f(&self, name: &str, default: f64) -> f64 {
        self.get(name).and_then(number).unwrap_or(default)
    }

    /// A truth value.
    pub fn b(&self, name: &str) -> bool {
        self.f(name, 0.0) != 0.0
    }

    /// Refuses what was not asked for.
    ///
    /// # Errors
    /// If there is such a field.
    pub fn done(&self) -> std::result::Result<(), Unsupported> {
        let asked = self.asked.borrow();
        let fields = self.all.as_object().into_iter().flatten();
        match fields.into_iter().find(|(name, v)| !asked.contains(name) && !v.is_null()) {
            Some((name, _)) => Err(Unsupported(name.clone())),
            None => Ok(()),
        }
    }
}

/// The optimizer of PyTorch's name with PyTorch's settings.
///
/// # Errors
/// If there is none.
pub fn optimizer(op: &str, hyper: &Value) -> std::result::Result<Box<dyn Optimizer>, Unsupported> {
    let h = Settings::of(hyper);
    for switch in ["foreach", "capturable", "differentiable", "fused", "kind"] {
        h.get(switch);
    }
    let (maximize, decay, eps) =
        (h.b("maximize"), h.f("weight_decay", if op == "AdamW" { 0.01 } else { 0.0 }), h.get("eps").and_then(number));
    let lr = |default: f64| h.f("lr", default);
    let betas = || {
        let b = numbers(hyper, "betas");
        h.get("betas");
        if b.len() == 2 { (b[0], b[1]) } else { (0.9, 0.999) }
    };
    macro_rules! finish {
        ($optimizer:expr) => {{
            let optimizer = $optimizer;
            h.done()?;
            if maximize { Box::new(optimizer.maximize()) } else { Box::new(optimizer) }
        }};
    }
    Ok(match op {
        "SGD" => {
            let (momentum, dampening, nesterov) = (h.f("momentum", 0.0), h.f("dampening", 0.0), h.b("nesterov"));
            let sgd = Sgd::new(lr(1e-3)).momentum(momentum).dampening(dampening).weight_decay(decay);
            finish!(if nesterov { sgd.nesterov() } else { sgd })
        }
        "Adagrad" => {
            let (falling, start) = (h.f("lr_decay", 0.0), h.f("initial_accumulator_value", 0.0));
            let adagrad = Adagrad::new(lr(1e-2)).rate_decay(falling).initial_sum(start).weight_decay(decay);
            finish!(adagrad.epsilon(eps.unwrap_or(1e-10)))
        }
        "Adadelta" => {
            finish!(Adadelta::new(lr(1.0)).rho(h.f("rho", 0.9)).epsilon(eps.unwrap_or(1e-6)).weight_decay(decay))
        }
        "RMSprop" => {
            let rms =
                RmsProp::new(lr(1e-2)).alpha(h.f("alpha", 0.99)).momentum(h.f("momentum", 0.0)).weight_decay(decay);
            let rms = rms.epsilon(eps.unwrap_or(1e-8));
            finish!(if h.b("centered") { rms.centered() } else { rms })
        }
        "Adam" if !h.b("decoupled_weight_decay") => {
            let ((b1, b2), amsgrad) = (betas(), h.b("amsgrad"));
            let adam = Adam::new(lr(1e-3)).betas(b1, b2).epsilon(eps.unwrap_or(1e-8)).weight_decay(decay);
            finish!(if amsgrad { adam.amsgrad() } else { adam })
        }
        "AdamW" | "Adam" => {
            h.get("decoupled_weight_decay");
            let ((b1, b2), amsgrad) = (betas(), h.b("amsgrad"));
            let adam = AdamW::new(lr(1e-3)).betas(b1, b2).epsilon(eps.unwrap_or(1e-8)).weight_decay(decay);
            finish!(if amsgrad { adam.amsgrad() } else { adam })
        }
        "NAdam" => {
            let ((b1, b2), beside) = (betas(), h.b("decoupled_weight_decay"));
            let nadam = NAdam::new(lr(2e-3)).betas(b1, b2).epsilon(eps.unwrap_or(1e-8)).weight_decay(decay);
            let nadam = nadam.momentum_decay(h.f("momentum_decay", 4e-3));
            finish!(if beside { nadam.decoupled() } else { nadam })
        }
        "RAdam" => {
            let ((b1, b2), beside) = (betas(), h.b("decoupled_weight_decay"));
            let radam = RAdam::new(lr(1e-3)).betas(b1, b2).epsilon(eps.unwrap_or(1e-8)).weight_decay(decay);
            finish!(if beside { radam.decoupled() } else { radam })
        }
        "Adamax" => {
            let (b1, b2) = betas();
            finish!(Adamax::new(lr(2e-3)).betas(b1, b2).epsilon(eps.unwrap_or(1e-8)).weight_decay(decay))
        }
        "ASGD" => {
            let (lambd, alpha, t0) = (h.f("lambd", 1e-4), h.f("alpha", 0.75), h.f("t0", 1e6));
            if (lambd, alpha) != (1e-4, 0.75) || t0 != 1e6 {
                return Err(Unsupported("lambd, alpha or t0".into()));
            }
            finish!(Asgd::new(lr(1e-2)).weight_decay(decay))
        }
        "Rprop" => {
            let (etas, sizes) = (numbers(hyper, "etas"), numbers(hyper, "step_sizes"));
            h.get("etas");
            h.get("step_sizes");
            let mut rprop = Rprop::new(lr(1e-2));
            if let [down, up] = etas[..] {
                rprop = rprop.factors(down, up);
            }
            if let [low, high] = sizes[..] {
                rprop = rprop.sizes(low, high);
            }
            finish!(rprop)
        }
        _ => return Err(Unsupported("no such optimizer".into())),
    })
}

/// The loss of a step.
type Loss = Box<dyn Fn(&[Param], usize) -> Tensor>;

/// Fifty steps on a problem of the format.
fn trajectory(device: &Device, case: &Value, data: &Tensors, problems: &Tensors, steps: &[usize]) -> Judged {
    let problem = text(case, "problem");
    let mut optimizer = optimizer(text(case, "op"), &case["hyper"])?;
    let need = |key: &str| problems.get(key).ok_or_else(|| Unsupported(format!("no problem {key}")));
    let up = |key: &str| need(key)?.upload(device, false).map_err(fault);
    let param = |key: &str| Param::new(up(key)?).map_err(fault);
    let (mut params, loss): (Vec<Param>, Loss) = match problem {
        "quad" => {
            let (a, b) = (up("quad.A")?, up("quad.b")?);
            let n = b.elements();
            let loss = move |p: &[Param], _| {
                let x = p[0].get();
                let curved = x.reshape([1, n]).matmul(&a).matmul(&x.reshape([n, 1])).sum_all();
                &(&curved * 0.5) - &(&b * x).sum_all()
            };
            (vec![param("quad.x0")?], Box::new(loss))
        }
        "logi" => {
            let (x, y) = (up("logi.X")?, up("logi.y")?);
            let n = y.elements();
            let loss = move |p: &[Param], _| {
                let w = p[0].get();
                let z = &x.matmul(&w.reshape([w.elements(), 1])).reshape([n]) + p[1].get();
                // max(z, 0) - z y + ln(1 + e^-|z|)
                let log = (&z.abs().neg().exp() + 1.0).ln();
                (&(&z.relu() - &(&z * &y)) + &log).mean_all()
            };
            (vec![param("logi.w0")?, param("logi.c0")?], Box::new(loss))
        }
        "gseq" => {
            let g = up("gseq.g")?;
            let loss = move |p: &[Param], s: usize| (&g.narrow(0, s, 1).squeeze(0) * p[0].get()).sum_all();
            (vec![param("gseq.x0")?], Box::new(loss))
        }
        other => return Err(Unsupported(format!("no problem {other}"))),
    };
    let mut worst = 0f64;
    let mut check = |key: &str, got: &[f64]| -> std::result::Result<(), String> {
        let Some(want) = data.get(key) else { return Ok(()) };
        let own = case.get("f32_relerr").and_then(|e| e.get(key)).and_then(number).unwrap_or(0.0);
        worst = worst.max(close(key, got, want, Allowed::OfLargest((20.0 * own).max(1e-5)))?);
        Ok(())
    };
    let last = steps.iter().copied().max().unwrap_or(50);
    let mut losses = Vec::new();
    let verdict = (|| -> std::result::Result<(), String> {
        let text = |e: wgrad::Error| e.to_string();
        for step in 1..=last {
            let value = loss(&params, step - 1);
            optimizer.step(&mut params, &value).map_err(text)?;
            losses.push(value.item().map_err(text)? as f64);
            if steps.contains(&step) {
                let mut all = Vec::new();
                for p in &params {
                    all.extend(p.get().to_f64_vec().map_err(text)?);
                }
                check(&format!("p.{step}"), &all)?;
            }
        }
        if problem != "gseq" {
            losses.push(loss(&params, last).item().map_err(text)? as f64);
        }
        let wanted = data.get("loss").map_or(0, |h| h.values.len());
        if losses.len() >= wanted { check("loss", &losses[..wanted]) } else { Ok(()) }
    })();
    Ok(verdict.map_or_else(Verdict::Failed, |()| Verdict::Passed(worst)))
}

fn clip(device: &Device, case: &Value, data: &Tensors) -> Judged {
    let inputs: Vec<&Host> = (0..).map_while(|k| data.get(&format!("in.{k}"))).collect();
    let gradients: Vec<Tensor> =
        inputs.iter().map(|h| h.upload(device, false)).collect::<Result<_>>().map_err(fault)?;
    let (clipped, norm) = match text(case, "op") {
        "clip_grad_norm" => {
            let order = case.get("norm_type").and_then(number).unwrap_or(2.0);
            let largest = case.get("max_norm").and_then(number).unwrap_or(1.0);
            let (clipped, norm) = clip_grad_norm(&gradients, largest, order);
            (clipped, Some(norm))
        }
        "clip_grad_value" => {
            let value = case.get("clip_value").or(case.get("max_value")).and_then(number);
            (clip_grad_value(&gradients, value.ok_or(Unsupported("no clip_value".into()))?), None)
        }
        _ => return Err(Unsupported("no such clipping".into())),
    };
    let mut worst = 0f64;
    for (k, got) in clipped.iter().enumerate() {
        let Some(want) = data.get(&format!("out.{k}")) else { continue };
        match close(&format!("out.{k}"), &got.to_f64_vec().map_err(fault)?, want, Allowed::OfLargest(1e-5)) {
            Ok(off) => worst = worst.max(off),
            Err(why) => return Ok(Verdict::Failed(why)),
        }
    }
    if let (Some(norm), Some(want)) = (norm, data.get("total_norm")) {
        match close("total_norm", &norm.to_f64_vec().map_err(fault)?, want, Allowed::OfLargest(1e-5)) {
            Ok(off) => worst = worst.max(off),
            Err(why) => return Ok(Verdict::Failed(why)),
        }
    }
    Ok(Verdict::Passed(worst))
}

/// The schedule of PyTorch's name.
fn scheduled(op: &str, rate: f64, s: &Settings) -> std::result::Result<Box<dyn Schedule>, Unsupported> {
    let whole = |name: &str, default: f64| s.f(name, default) as u64;
    s.get("last_epoch");
    Ok(match op {
        "StepLR" => Box::new(StepDecay { initial: rate, size: whole("step_size", 1.0), gamma: s.f("gamma", 0.1) }),
        "MultiStepLR" => {
            let at = s.get("milestones").and_then(Value::as_array).cloned().unwrap_or_default();
            let milestones = at.iter().filter_map(number).map(|n| n as u64).collect();
            Box::new(MultiStep { initial: rate, milestones, gamma: s.f("gamma", 0.1) })
        }
        "ExponentialLR" => Box::new(Exponential { initial: rate, gamma: s.f("gamma", 0.1) }),
        "PolynomialLR" => {
            Box::new(Polynomial { initial: rate, steps: whole("total_iters", 5.0), power: s.f("power", 1.0) })
        }
        "ConstantLR" => {
            Box::new(ConstantFactor { rate, factor: s.f("factor", 1.0 / 3.0), steps: whole("total_iters", 5.0) })
        }
        "LinearLR" => {
            let (start, end) = (s.f("start_factor", 1.0 / 3.0), s.f("end_factor", 1.0));
            Box::new(LinearFactor { rate, start, end, steps: whole("total_iters", 5.0) })
        }
        "CosineAnnealingLR" => {
            Box::new(CosineAnnealing { initial: rate, lowest: s.f("eta_min", 0.0), steps: whole("T_max", 1.0) })
        }
        "CosineAnnealingWarmRestarts" => {
            let (lowest, steps, stretch) = (s.f("eta_min", 0.0), whole("T_0", 1.0), whole("T_mult", 1.0));
            Box::new(CosineWarmRestarts { initial: rate, lowest, steps, stretch })
        }
        "OneCycleLR" => {
            let steps = match s.get("total_steps").and_then(number) {
                Some(steps) => steps as u64,
                None => whole("epochs", 1.0) * whole("steps_per_epoch", 1.0),
            };
            let mut cycle = OneCycle::new(s.f("max_lr", rate), steps);
            cycle.rising = s.f("pct_start", 0.3);
            let linear = s.get("anneal_strategy").and_then(Value::as_str) == Some("linear");
            cycle.anneal = if linear { Anneal::Linear } else { Anneal::Cosine };
            cycle.start_divisor = s.f("div_factor", 25.0);
            cycle.end_divisor = s.f("final_div_factor", 1e4);
            cycle.three_phases = s.b("three_phase");
            let (low, high) = (s.f("base_momentum", 0.85), s.f("max_momentum", 0.95));
            cycle.momentum = (s.f("cycle_momentum", 1.0) != 0.0).then_some((low, high));
            Box::new(cycle)
        }
        "CyclicLR" => {
            let mut cycle = Cyclic::new(s.f("base_lr", rate), s.f("max_lr", rate));
            cycle.up = whole("step_size_up", 2000.0);
            cycle.down = whole("step_size_down", cycle.up as f64);
            cycle.cycle = match s.get("mode").and_then(Value::as_str).unwrap_or("triangular") {
                "triangular" => Cycle::Triangular,
                "triangular2" => Cycle::Triangular2,
                "exp_range" => Cycle::Exponential(s.f("gamma", 1.0)),
                other => return Err(Unsupported(format!("mode {other}"))),
            };
            let (low, high) = (s.f("base_momentum", 0.8), s.f("max_momentum", 0.9));
            cycle.momentum = (s.f("cycle_momentum", 1.0) != 0.0).then_some((low, high));
            Box::new(cycle)
        }
        _ => return Err(Unsupported("no such schedule".into())),
    })
}

fn schedule(case: &Value) -> Judged {
    let (op, rate) = (text(case, "op"), case.get("base_lr").and_then(number).unwrap_or(0.1));
    let kwargs = Settings::of(&case["kwargs"]);
    let values = numbers(case, "values");
    let rates: Vec<(f64, Option<f64>)> = if op == "ReduceLROnPlateau" {
        let mut plateau = ReduceOnPlateau::new(rate)
            .factor(kwargs.f("factor", 0.1))
            .patience(kwargs.f("patience", 10.0) as u64)
            .cooldown(kwargs.f("cooldown", 0.0) as u64)
            .lowest(kwargs.f("min_lr", 0.0))
            .epsilon(kwargs.f("eps", 1e-8));
        let threshold = kwargs.f("threshold", 1e-4);
        plateau = match kwargs.get("threshold_mode").and_then(Value::as_str) {
            Some("abs") => plateau.absolute_threshold(threshold),
            _ => plateau.threshold(threshold),
        };
        if kwargs.get("mode").and_then(Value::as_str) == Some("max") {
            plateau = plateau.rising();
        }
        let own = kwargs.get("metrics").is_some();
        let metrics = if own { numbers(&case["kwargs"], "metrics") } else { numbers(case, "metrics") };
        if metrics.is_empty() {
            return Err(Unsupported("no metrics".into()));
        }
        let each = |t: usize| {
            let now = (plateau.rate(t as u64), None);
            metrics.get(t).into_iter().for_each(|&m| plateau.observe(m));
            now
        };
        (0..values.len()).map(each).collect()
    } else {
        let schedule = scheduled(op, rate, &kwargs)?;
        (0..values.len() as u64).map(|t| (schedule.rate(t), schedule.momentum(t))).collect()
    };
    kwargs.done()?;
    let mut worst = 0f64;
    for (t, (&(got, _), &want)) in rates.iter().zip(&values).enumerate() {
        let off = (got - want).abs() / (1e-6 * want.abs() + 1e-12);
        if off.is_nan() || off > 1.0 {
            return Ok(Verdict::Failed(format!("the rate of step {t} is {got:e}, expected {want:e}")));
        }
        worst = worst.max(off);
    }
    for (t, (&(_, got), &want)) in rates.iter().zip(&numbers(case, "momentum")).enumerate() {
        match got {
            Some(got) if (got - want).abs() <= 1e-6 => {}
            _ => return Ok(Verdict::Failed(format!("the momentum of step {t} is {got:?}, expected {want}"))),
        }
    }
    Ok(Verdict::Passed(worst))
}
