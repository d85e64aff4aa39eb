//! Which arm to pull: four strategies on the ten-armed testbed, 2,000 bandits at once as one tensor program.
//!
//! With no option, Sutton and Barto's figures 2.2 and 2.4: after 1,000 rounds epsilon 0.1 has found the best arm in
//! about 80 % of the runs and gets about 1.4 a round, greedy about 1. `--out FOLDER` writes the curves, regret
//! included, as report.html.

mod common;

use clap::Parser;
use wgrad::env::bandits::Testbed;
use wgrad::ops::Rng;
use wgrad::train::bandits::{Curves, Strategy, play};
use wgrad::train::report::{Line, Report};
use wgrad::{Device, Error, Result};

#[derive(Parser)]
#[command(about = "Plays many ten-armed bandits with four strategies")]
struct Options {
    /// Bandits played at once
    #[arg(long, default_value_t = 2000)]
    runs: usize,
    /// Arms of a bandit
    #[arg(long, default_value_t = 10)]
    arms: usize,
    /// Rounds
    #[arg(long, default_value_t = 1000)]
    steps: usize,
    /// Seed of the arms and the rewards
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// auto, gpu, software, cpu or reference
    #[arg(long, default_value = "auto")]
    device: String,
    /// Folder for the report
    #[arg(long)]
    out: Option<std::path::PathBuf>,
}

/// 512 MB per tensor; a round holds a dozen.
const MOST_ARMS: usize = 1 << 27;

const STRATEGIES: [(&str, Strategy); 5] = [
    ("greedy", Strategy::Greedy),
    ("epsilon 0.01", Strategy::EpsilonGreedy(0.01)),
    ("epsilon 0.1", Strategy::EpsilonGreedy(0.1)),
    ("UCB c = 2", Strategy::UpperConfidence(2.0)),
    ("Thompson", Strategy::Thompson),
];

fn run(options: &Options) -> Result<()> {
    let &Options { runs, arms, steps, seed, .. } = options;
    if runs == 0 || arms == 0 || steps == 0 {
        return Err(Error::argument(format!("--runs {runs} --arms {arms} --steps {steps}"), "use at least 1 of each"));
    }
    if runs.saturating_mul(arms) > MOST_ARMS {
        return Err(Error::argument(
            format!("--runs {runs} --arms {arms}"),
            format!("use at most {MOST_ARMS} arms in all: every number kept of them takes four bytes"),
        ));
    }
    if let Some(out) = &options.out {
        common::make_folder(out)?;
    }
    let device = Device::named(&options.device)?;
    let begun = std::time::Instant::now();
    // Every strategy plays the same bandits.
    let testbed = Testbed::new(&device, runs, arms, &mut Rng::new(seed))?;
    println!("{runs} bandits of {arms} arms on {device}\n");
    println!("mean of the last tenth of {steps} rounds:");
    println!("{:14} {:>8} {:>10} {:>14}", "strategy", "reward", "best arm", "regret in all");
    let mut all: Vec<(&str, Curves)> = Vec::new();
    for (k, (name, strategy)) in STRATEGIES.into_iter().enumerate() {
        let curves = play(&testbed, strategy, steps, &mut Rng::new(seed.wrapping_add(1 + k as u64)))?;
        let mean = |values: &[f32]| {
            let last = &values[values.len() - values.len().div_ceil(10)..];
            last.iter().sum::<f32>() / last.len() as f32
        };
        let (reward, best) = (mean(&curves.reward), 100.0 * mean(&curves.best));
        println!("{name:14} {reward:8.3} {best:8.1} % {:14.1}", curves.regret[steps - 1]);
        all.push((name, curves));
    }
    println!("\n{:.1} s", begun.elapsed().as_secs_f64());

    let Some(out) = &options.out else { return Ok(()) };
    let mut report = Report::new(&format!("{runs} bandits of {arms} arms, seed {seed}, on {device}"));
    let mut chart = |title: &str, values: fn(&Curves) -> &Vec<f32>| {
        let points = |curves| values(curves).iter().enumerate().map(|(t, &v)| (t as f64 + 1.0, f64::from(v))).collect();
        let lines: Vec<Line> = all.iter().map(|(name, curves)| (name.to_string(), points(curves))).collect();
        report.chart(title, "round", &lines);
    };
    chart("Mean reward", |c| &c.reward);
    chart("Share of runs that pull their best arm", |c| &c.best);
    chart("Regret", |c| &c.regret);
    let path = out.join("report.html");
    report.save(&path)?;
    println!("report: {}", path.display());
    Ok(())
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Options::parse()))
}
