//! What the examples share besides the networks: a progress bar, Ctrl-C, a log, and the choice of an optimizer.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use indicatif::{ProgressBar, ProgressStyle};
use wgrad::optim::{Adam, Constant, InverseTime, Optimizer, Schedule, Sgd};
use wgrad::{Error, Result, Tensor};

/// The optimizer and its rate.
#[derive(clap::Args)]
pub struct OptimizerOptions {
    /// adam, sgd, momentum or nesterov
    #[arg(long, default_value = "adam")]
    optimizer: String,
    /// Learning rate; without it 1e-3 with adam and 0.1 with the rest
    #[arg(long)]
    lr: Option<f64>,
    /// Divide the rate by 1 + decay * step (Robbins and Monro)
    #[arg(long, default_value_t = 0.0)]
    decay: f64,
}

impl OptimizerOptions {
    /// # Errors
    /// If the optimizer is unknown.
    pub fn build(&self) -> Result<Box<dyn Optimizer>> {
        let rate = self.lr.unwrap_or(if self.optimizer == "adam" { 1e-3 } else { 0.1 });
        let schedule: Box<dyn Schedule> = match self.decay {
            0.0 => Box::new(Constant(rate)),
            decay => Box::new(InverseTime { initial: rate, decay }),
        };
        match &*self.optimizer {
            "adam" => Ok(Box::new(Adam::scheduled(schedule))),
            "sgd" => Ok(Box::new(Sgd::scheduled(schedule))),
            "momentum" => Ok(Box::new(Sgd::scheduled(schedule).momentum(0.9))),
            "nesterov" => Ok(Box::new(Sgd::scheduled(schedule).momentum(0.9).nesterov())),
            name => Err(Error::argument(format!("unknown optimizer {name:?}"), "use adam, sgd, momentum or nesterov")),
        }
    }
}

/// Steps, loss, steps per second and time left; plain lines where the output is not a terminal.
pub struct Bar {
    bar: ProgressBar,
    steps: u64,
    done: u64,
    plain: bool,
    begun: std::time::Instant,
}

impl Bar {
    /// A bar for so many steps.
    pub fn new(steps: u64) -> Bar {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {per_sec}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let plain = !std::io::stderr().is_terminal();
        Bar { bar, steps, done: 0, plain, begun: std::time::Instant::now() }
    }

    /// One step further. The loss is only read now and then: reading waits for the device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn advance(&mut self, loss: &Tensor) -> Result<()> {
        self.done += 1;
        self.bar.inc(1);
        if self.plain {
            let every = (self.steps / 10).max(1);
            if self.done.is_multiple_of(every) {
                let rate = self.done as f64 / self.begun.elapsed().as_secs_f64();
                let left = (self.steps - self.done) as f64 / rate;
                println!("step {}: loss {:.4}, {rate:.1} steps/s, {left:.0} s left", self.done, loss.item()?);
            }
        } else if self.done.is_multiple_of(20) || self.done == 1 {
            self.bar.set_message(format!("loss {:.4}", loss.item()?));
        }
        Ok(())
    }

    /// A line above the bar.
    pub fn say(&self, line: String) {
        if self.plain { println!("{line}") } else { self.bar.println(line) }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        let seconds = self.begun.elapsed().as_secs_f64();
        println!("{} steps in {seconds:.1} s, {:.1} ms each", self.done, 1e3 * seconds / self.done.max(1) as f64);
    }
}

/// Ctrl-C asks for a clean end, Enter for a test.
pub struct Interrupt {
    stop: Arc<AtomicBool>,
    test: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts to listen. A second Ctrl-C ends the program at once.
    pub fn listen() -> Interrupt {
        let (stop, test) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&stop);
        let set = ctrlc::set_handler(move || {
            if flag.swap(true, Relaxed) {
                std::process::exit(130);
            }
        });
        if let Err(e) = set {
            eprintln!("Ctrl-C will end the program at once: {e}");
        }
        if std::io::stdin().is_terminal() {
            let flag = Arc::clone(&test);
            std::thread::spawn(move || {
                while std::io::stdin().read_line(&mut String::new()).is_ok_and(|n| n > 0) {
                    flag.store(true, Relaxed);
                }
            });
        }
        Interrupt { stop, test }
    }

    /// Whether Ctrl-C was pressed.
    pub fn wants_stop(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Whether Enter was pressed since the last call.
    pub fn wants_test(&self) -> bool {
        self.test.swap(false, Relaxed)
    }
}

/// The loss of every step, as CSV, if a file was named.
pub struct Log(Option<(PathBuf, BufWriter<File>)>);

impl Log {
    /// # Errors
    /// If the file cannot be made.
    pub fn create(path: Option<&Path>) -> Result<Log> {
        let Some(path) = path else { return Ok(Log(None)) };
        let file = File::create(path).map_err(|e| {
            Error::file(path, format!("cannot be made: {e}"), "Name a file in a folder that can be written")
        })?;
        let mut log = Log(Some((path.to_path_buf(), BufWriter::new(file))));
        log.line("step,loss")?;
        Ok(log)
    }

    /// # Errors
    /// A fault of the device, or a full disk.
    pub fn write(&mut self, step: u64, loss: &Tensor) -> Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        self.line(&format!("{step},{}", loss.item()?))
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        writeln!(file, "{line}")
            .and_then(|()| file.flush())
            .map_err(|e| Error::file(path, format!("cannot be written: {e}"), "Free some space, or leave out --log"))
    }
}

/// # Errors
/// If the accuracy stayed below what was expected.
pub fn expect(reached: f32, expected: Option<f32>) -> Result<()> {
    match expected {
        Some(expected) if reached < expected => Err(Error::argument(
            format!("the accuracy of {reached:.2} % is below the expected {expected:.2} %"),
            "train for more steps, or expect less",
        )),
        _ => Ok(()),
    }
}

/// The exit code of a program that ended so; a fault is printed on one line.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::FAILURE
        }
    }
}
