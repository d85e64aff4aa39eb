//! Bellman's equation on Sutton and Barto's 5 x 5 grid: the value of wandering about, and of the best policy, as the
//! book prints them: 3.3 8.8 4.4 5.3 1.5 and 22.0 24.4 22.0 19.4 17.5 in the first rows.

mod common;

use clap::Parser;
use wgrad::env::gridworld::Mdp;
use wgrad::train::planning::{
    Solution, bellman_equation, equiprobable, policy_evaluation, policy_iteration, value_iteration,
};
use wgrad::{Device, Error, Result, Tensor};

#[derive(Parser)]
#[command(about = "Plans in a grid: policy evaluation, policy iteration, value iteration")]
struct Options {
    /// five (examples 3.5 and 3.8) or four (example 4.1)
    #[arg(long, default_value = "five")]
    grid: String,
    /// What a reward is worth a step later; without it the book's
    #[arg(long)]
    discount: Option<f32>,
    /// Stop when no value moves by more than this
    #[arg(long, default_value_t = 1e-5)]
    tolerance: f32,
    /// auto, gpu, software, cpu or reference
    #[arg(long, default_value = "auto")]
    device: String,
}

fn run(options: &Options) -> Result<()> {
    let device = Device::named(&options.device)?;
    let (mut mdp, side) = match &*options.grid {
        "five" => (Mdp::five_by_five(&device)?, 5),
        "four" => (Mdp::four_by_four(&device)?, 4),
        name => return Err(Error::argument(format!("unknown grid {name:?}"), "use five or four")),
    };
    if let Some(discount) = options.discount {
        if !(0.0..=1.0).contains(&discount) {
            return Err(Error::argument(format!("--discount {discount}"), "use a number from 0 to 1"));
        }
        mdp.discount = discount;
    }
    if options.tolerance.is_nan() || options.tolerance <= 0.0 {
        return Err(Error::argument(
            format!("--tolerance {}", options.tolerance),
            "use a number above 0, such as 1e-5",
        ));
    }
    println!("on {device}, discount {}\n", mdp.discount);

    let wander = equiprobable(&mdp);
    let (values, sweeps) = policy_evaluation(&mdp, &wander, options.tolerance)?;
    println!("every direction with equal chance, {sweeps} sweeps of policy evaluation:");
    table(&values, side)?;
    match bellman_equation(&mdp, &wander) {
        Ok(exact) => {
            let found = values.to_f64_vec()?;
            let worst = found.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            println!("the linear equations solved directly differ from it by at most {worst:.1e}\n");
        }
        Err(fault) => println!("the linear equations: {fault}\n"),
    }

    let Solution { values, policies, sweeps, .. } = policy_iteration(&mdp, options.tolerance)?;
    println!("the best policy, after {policies} policies and {sweeps} sweeps of policy iteration:");
    table(&values, side)?;
    let Solution { values, policy, sweeps, .. } = value_iteration(&mdp, options.tolerance)?;
    println!("the same by {sweeps} sweeps of value iteration, and where to go:");
    table(&values, side)?;
    for row in policy.to_vec::<f32>()?.chunks(4 * side) {
        // North, south, west, east.
        let arrows = |cell: &[f32]| {
            ["^", "v", "<", ">"].iter().zip(cell).filter(|(_, p)| **p > 0.0).map(|(a, _)| *a).collect::<String>()
        };
        println!("{}", row.chunks(4).map(|cell| format!("{:>6}", arrows(cell))).collect::<String>());
    }
    Ok(())
}

fn table(values: &Tensor, side: usize) -> Result<()> {
    for row in values.to_vec::<f32>()?.chunks(side) {
        println!("{}", row.iter().map(|v| format!("{v:6.1}").replace("-0.0", " 0.0")).collect::<String>());
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Options::parse()))
}
