//! What a person at the terminal sees and can press.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use indicatif::{ProgressBar, ProgressStyle};
use wgrad::train::{Event, Progress};

/// Steps, figures, steps per second and time left; about ten plain lines where the output is not a terminal.
pub struct Bar {
    bar: ProgressBar,
    plain: bool,
    /// Tenths of the run that were told.
    told: u64,
    first: u64,
    begun: std::time::Instant,
}

impl Bar {
    /// A bar for so many steps, the first of which were done before.
    pub fn new(steps: u64, done: u64) -> Bar {
        let bar = ProgressBar::new(steps).with_position(done);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}  {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.reset_eta();
        let told = 10 * done / steps.max(1);
        Bar { bar, plain: !std::io::stderr().is_terminal(), told, first: done, begun: std::time::Instant::now() }
    }

    /// Shows an event of the run.
    pub fn show(&mut self, event: &Event, progress: &Progress) {
        let Progress { step, of, per_second } = *progress;
        match event {
            Event::Step => self.bar.inc(1),
            Event::Train(figures) if self.plain => {
                if 10 * step / of.max(1) > self.told {
                    self.told = 10 * step / of.max(1);
                    let left = (of - step) as f64 / per_second;
                    println!("step {step}: {}, {per_second:.1} steps/s, {left:.0} s left", list(figures));
                }
            }
            Event::Train(figures) => self.bar.set_message(format!("{}  {per_second:.1}/s", list(figures))),
            Event::Validation(figures, best) => {
                self.say(format!("step {step}: validation {}{}", list(figures), if *best { ", the best" } else { "" }));
            }
            Event::Saved(_) => {}
            Event::End => {
                self.bar.finish_and_clear();
                let (steps, seconds) = (step - self.first, self.begun.elapsed().as_secs_f64());
                println!("{steps} steps in {seconds:.1} s, {:.1} ms each", 1e3 * seconds / steps.max(1) as f64);
            }
        }
    }

    /// A line above the bar.
    pub fn say(&self, line: String) {
        if self.plain { println!("{line}") } else { self.bar.println(line) }
    }
}

/// Figures in one line.
pub fn list(figures: &[(String, f64)]) -> String {
    figures.iter().map(|(name, value)| format!("{name} {value:.4}")).collect::<Vec<_>>().join(", ")
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

    /// True from the first Ctrl-C on.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether Enter was pressed since the last call.
    pub fn wants_test(&self) -> bool {
        self.test.swap(false, Relaxed)
    }
}
