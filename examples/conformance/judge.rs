//! Verdicts: what was got against what is wanted, and the tally per op.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wgrad::{DType, Tensor};

use crate::case::Host;

/// Why a case was not run: an op, an argument or a type that the library does not have. Never a wrong call.
#[derive(Debug)]
pub struct Unsupported(pub String);

/// How a case ended.
#[derive(Debug)]
pub enum Verdict {
    /// Everything is within its tolerance; the largest deviation as a part of what is allowed.
    Passed(f64),
    /// The worst element.
    Failed(String),
    /// What is missing.
    Unsupported(String),
}

/// How far a value may be off.
#[derive(Debug, Clone, Copy)]
pub enum Allowed {
    /// This part of the largest wanted value.
    OfLargest(f64),
    /// This part of each wanted value, and this part of the largest.
    Mixed(f64, f64),
}

/// Compares one output. The largest deviation as a part of what is allowed, or what is wrong.
pub fn compare(key: &str, got: &Tensor, want: &Host, allowed: Allowed) -> Result<f64, String> {
    if got.shape()[..] != want.shape[..] {
        return Err(format!("{key} has shape {}, expected {:?}", got.shape(), want.shape));
    }
    if (got.dtype() == DType::F32) != want.is_float() {
        return Err(format!("{key} holds {}, expected {}", got.dtype(), want.dtype));
    }
    let values = match got.dtype() {
        DType::F32 => got.to_f64_vec(),
        DType::I32 => got.to_vec::<i32>().map(|v| v.into_iter().map(f64::from).collect()),
        _ => got.to_vec::<u32>().map(|v| v.into_iter().map(f64::from).collect()),
    };
    close(key, &values.map_err(|e| e.to_string())?, want, allowed)
}

/// The same of numbers.
pub fn close(key: &str, got: &[f64], want: &Host, allowed: Allowed) -> Result<f64, String> {
    if got.len() != want.values.len() {
        return Err(format!("{key} has {} elements, expected {}", got.len(), want.values.len()));
    }
    let largest = want.values.iter().filter(|w| w.is_finite()).fold(0f64, |m, w| m.max(w.abs()));
    let mut worst = 0f64;
    let mut fault = None;
    for (i, (&g, &w)) in got.iter().zip(&want.values).enumerate() {
        if g == w || (g.is_nan() && w.is_nan()) {
            continue;
        }
        let limit = match allowed {
            _ if !want.is_float() => 0.0,
            Allowed::OfLargest(r) => r * largest + 1e-7,
            Allowed::Mixed(r, of_largest) => r * w.abs() + (of_largest * largest).max(1e-7),
        };
        let off = if g.is_finite() && w.is_finite() { (g - w).abs() / limit } else { f64::INFINITY };
        if off > worst {
            worst = off;
            if off > 1.0 {
                fault = Some(format!(
                    "{key}[{i}] of {:?} is {g:e}, expected {w:e} ({off:.1} x allowed {limit:.1e})",
                    want.shape
                ));
            }
        }
    }
    fault.map_or(Ok(worst), Err)
}

/// The verdicts of one op in one scope.
#[derive(Debug, Default)]
struct Row {
    passed: usize,
    worst: f64,
    failed: Vec<String>,
    unsupported: usize,
    reasons: BTreeSet<String>,
}

/// All verdicts.
#[derive(Debug, Default)]
pub struct Report {
    /// By suite, scope and op.
    rows: BTreeMap<(String, String, String), Row>,
}

impl Report {
    /// Adds a verdict.
    pub fn add(&mut self, suite: &str, scope: &str, op: &str, case: &str, verdict: Verdict) {
        let row = self.rows.entry((suite.into(), scope.into(), op.into())).or_default();
        match verdict {
            Verdict::Passed(worst) => {
                row.passed += 1;
                row.worst = row.worst.max(worst);
            }
            Verdict::Failed(why) => row.failed.push(format!("{case}: {why}")),
            Verdict::Unsupported(why) => {
                row.unsupported += 1;
                row.reasons.insert(why);
            }
        }
    }

    /// The number of failed cases.
    pub fn failures(&self) -> usize {
        self.rows.values().map(|r| r.failed.len()).sum()
    }

    /// The number of cases.
    pub fn cases(&self) -> usize {
        self.rows.values().map(|r| r.passed + r.failed.len() + r.unsupported).sum()
    }

    /// A table per suite and scope, then the sums.
    pub fn print(&self) {
        let mut last = None;
        for ((suite, scope, op), row) in &self.rows {
            if last != Some((suite, scope)) {
                println!("\n{suite}, {scope}{:>34}  passed  failed  unsupported   worst/allowed", "");
                last = Some((suite, scope));
            }
            let worst = if row.passed > 0 { format!("{:.2}", row.worst) } else { String::from("-") };
            println!("  {op:<46}{:>8}{:>8}{:>13}{worst:>16}", row.passed, row.failed.len(), row.unsupported);
            row.failed.iter().for_each(|f| println!("      FAILED {f}"));
            row.reasons.iter().for_each(|r| println!("      unsupported: {r}"));
        }
        println!();
        let mut sums: BTreeMap<(&String, &String), [usize; 3]> = BTreeMap::new();
        for ((suite, scope, _), row) in &self.rows {
            let sum = sums.entry((suite, scope)).or_default();
            *sum = [sum[0] + row.passed, sum[1] + row.failed.len(), sum[2] + row.unsupported];
        }
        for ((suite, scope), [passed, failed, unsupported]) in sums {
            println!("{suite:<8}{scope:<10} passed {passed}, failed {failed}, unsupported {unsupported}");
        }
    }

    /// The same for machines.
    pub fn json(&self, device: &str) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|((suite, scope, op), r)| {
                json!({"suite": suite, "scope": scope, "op": op, "passed": r.passed, "failed": r.failed.len(),
                       "unsupported": r.unsupported, "worst_over_allowed": r.worst, "failures": r.failed,
                       "reasons": r.reasons})
            })
            .collect();
        json!({"device": device, "cases": self.cases(), "failures": self.failures(), "ops": rows})
    }
}
