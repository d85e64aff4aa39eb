//! Runs conformance cases that other libraries made through the public interface of this one: forward and gradients, on
//! any device, per op passed, failed (with the worst element) or unsupported.
//!
//! `cargo run --release --example conformance -- FOLDER [--device cpu]`, where the folder has `onnx/`, `torch/`,
//! `optim/` and `train/` or is one of these. The tables that map foreign names to ours are the other files of this
//! folder. The exit code is not zero if anything fails.

mod attention;
mod call;
mod case;
mod judge;
mod modules;
mod onnx;
mod onnx_attention;
mod onnx_nn;
mod onnx_ops;
mod onnx_places;
mod onnx_space;
mod optim;
mod recurrent;
mod torch;
mod torch_index;
mod torch_linalg;
mod torch_loss;
mod torch_masked;
mod torch_math;
mod torch_nn;
mod torch_reduce;
mod torch_shape;
mod torch_space;
mod train;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use judge::Report;
use wgrad::{Device, Error, Result};

#[derive(Parser)]
#[command(about = "Runs conformance cases and says which ops pass")]
struct Options {
    /// The folder of cases
    folder: PathBuf,
    /// auto, gpu, software, cpu or reference
    #[arg(long, default_value = "auto")]
    device: String,
    /// Only cases whose name or op contains this
    #[arg(long)]
    only: Option<String>,
    /// Write the report to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What a suite of cases needs.
pub struct Run<'a> {
    /// Where it runs.
    pub device: &'a Device,
    /// Only cases whose name or op contains this.
    pub only: Option<&'a str>,
    /// Where the verdicts go.
    pub report: Report,
}

impl Run<'_> {
    /// Whether a case is asked for.
    pub fn wants(&self, name: &str, op: &str) -> bool {
        self.only.is_none_or(|only| name.contains(only) || op == only)
    }
}

/// Runs the cases of a folder.
type Suite = fn(&Path, &mut Run) -> Result<()>;

fn run(options: &Options) -> Result<usize> {
    let device = Device::named(&options.device)?;
    let mut run = Run { device: &device, only: options.only.as_deref(), report: Report::default() };
    // What panics is a failed case, reported as one.
    std::panic::set_hook(Box::new(|_| {}));
    let suites: [(&str, Suite); 4] =
        [("onnx", onnx::run), ("torch", torch::run), ("optim", optim::run), ("train", train::run)];
    let inside = options.folder.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let mut found = false;
    for (name, suite) in suites {
        let folder = if inside == name { options.folder.clone() } else { options.folder.join(name) };
        if folder.join("index.json").exists() {
            found = true;
            suite(&folder, &mut run)?;
        }
    }
    let _ = std::panic::take_hook();
    if !found {
        let remedy = "Name a folder with onnx/, torch/, optim/ or train/ in it, each with an index.json";
        return Err(Error::file(&options.folder, "has no cases", remedy));
    }
    run.report.print();
    println!("on {device}");
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", run.report.json(&device.to_string()));
        std::fs::write(path, text)
            .map_err(|e| Error::file(path, format!("cannot be written: {e}"), "Name a file in a folder that can be"))?;
    }
    Ok(run.report.failures())
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}
