//! Deep Q-learning: a cart-pole held up by a network 4-60-2, or a game like Pong learned from its pixels.
//!
//! With no option it solves `CartPole-v1` (a mean return of at least 475 of 500 over 100 greedy episodes), and with
//! `--limit 200` `CartPole-v0` (195 of 200), in seconds on a CPU. `--task pong --network full` beats the scripted
//! opponent; without `--network` a network with a fiftieth of the work does, by less. A run ends when a validation is
//! good enough, at the latest after `--steps`, and goes back to the weights that did best in a validation; the figure
//! it prints is of episodes that no validation saw. With `--on-device` the carts and the memory are on the device of
//! the network, and whole rounds are replayed there.

mod common;

use clap::Parser;
use common::Session;
use wgrad::env::cartpole::Carts;
use wgrad::env::pong::{PongOptions, SIZE};
use wgrad::env::{CartPole, Env, Pong, cartpole, observation_shape};
use wgrad::nn::{Init, Parameters, Sequential};
use wgrad::ops::Rng;
use wgrad::optim::Adam;
use wgrad::train::dqn::{
    Agent, AgentOptions, Cost, DeviceAgent, Dqn, DqnOptions, Epsilon, Keep, Replay, Scale, Size, conv, evaluate, mlp,
};
use wgrad::train::picture::{Picture, save_gif};
use wgrad::train::{Goal, Loop, Outcome, Task};
use wgrad::{Device, Error, Result, Shape, Tensor};

#[derive(Parser)]
#[command(about = "Learns to act by deep Q-learning", args_override_self = true)]
struct Options {
    #[command(flatten)]
    common: common::Options,
    /// cartpole or pong
    #[arg(long, default_value = "cartpole")]
    task: String,
    /// Steps after which an episode of the cart-pole ends: 200 is v0, 500 is v1
    #[arg(long, default_value_t = 500)]
    limit: usize,
    /// The network for pong: small, or full (that of Mnih et al., 2015)
    #[arg(long, default_value = "small")]
    network: String,
    /// Keep the carts and the memory on the device of the network, where whole rounds are replayed
    #[arg(long)]
    on_device: bool,
    /// Let the slow network choose the next action as well, as the first DQN did
    #[arg(long)]
    single: bool,
    /// Learn the value of a state and the advantages of its actions apart
    #[arg(long)]
    dueling: bool,
    /// The cost of an error: squared or huber; without it squared for the cart-pole, huber for pong
    #[arg(long)]
    cost: Option<String>,
    /// What a reward is worth a step later
    #[arg(long, default_value_t = 0.99)]
    discount: f32,
    /// Environments played side by side
    #[arg(long)]
    lanes: Option<usize>,
    /// Frames to remember
    #[arg(long)]
    memory: Option<usize>,
    /// Steps of learning between two copies to the slow network; each lets the values look a step (--ahead) further
    #[arg(long)]
    target_every: Option<u64>,
    /// Steps of which the rewards are taken as they came
    #[arg(long)]
    ahead: Option<usize>,
    /// Steps of learning per step of all environments
    #[arg(long, default_value_t = 1)]
    updates: usize,
    /// Steps played over which the chance of a random action falls from 1 to 0.05
    #[arg(long)]
    explore: Option<u64>,
    /// Validate every so many steps; the run ends when a validation is good enough
    #[arg(long)]
    test_every: Option<u64>,
    /// Episodes of the final test
    #[arg(long)]
    tests: Option<usize>,
    /// Play so many carts at once with what was learned, as one tensor program on the device
    #[arg(long, default_value_t = 0)]
    carts: usize,
    /// How fast pong's opponent moves, in pixels per frame; the agent moves 2
    #[arg(long, default_value_t = 1.1)]
    opponent: f64,
    /// Fail unless the mean return of the final test reaches this
    #[arg(long)]
    expect: Option<f32>,
}

/// What the tasks differ in.
struct Setup<E> {
    make: Box<dyn Fn(u64) -> E>,
    /// The same on the device, if it is to be played there.
    carts: Option<Carts>,
    stack: usize,
    keep: Keep,
    cost: Cost,
    steps: u64,
    batch: usize,
    rate: f64,
    lanes: usize,
    memory: usize,
    warmup: u64,
    target_every: u64,
    explore: u64,
    ahead: usize,
    test_every: u64,
    validations: usize,
    tests: usize,
    enough: f64,
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    common::exit(match &*options.task {
        "cartpole" => cart_pole(&options),
        "pong" => pong(&options),
        name => Err(Error::argument(format!("unknown task {name:?}"), "use cartpole or pong")),
    })
}

fn cart_pole(options: &Options) -> Result<()> {
    let limit = options.limit;
    if limit == 0 {
        return Err(Error::argument("--limit 0", "use 200 (v0) or 500 (v1)"));
    }
    let setup = Setup {
        make: Box::new(move |seed| CartPole::new(limit, seed)),
        carts: options.on_device.then_some(Carts { limit }),
        stack: 1,
        keep: Keep::Floats,
        cost: Cost::Squared,
        steps: 40_000,
        batch: 128,
        rate: 1e-3,
        lanes: 4,
        memory: 50_000,
        warmup: 1000,
        // A value learns of what is n copies away. The cart needs some 100 steps to leave the track, and a run a
        // hundred copies or more to see it coming.
        target_every: 50,
        explore: 10_000,
        ahead: 1,
        test_every: 250,
        validations: 100,
        tests: 100,
        enough: 0.99 * limit as f64,
    };
    let dueling = options.dueling;
    let network = |init: &mut Init| {
        Ok(Sequential::new().then(Scale::new(init, &cartpole::SCALE)?).then(mlp(init, 4, 60, 2, dueling)?))
    };
    let agent = train(options, setup, network)?;
    if options.carts > 0 {
        let begun = std::time::Instant::now();
        let starts = cartpole::starts(agent.device(), options.carts, &mut Rng::new(options.common.seed))?;
        let returns = cartpole::play(&starts, limit, |carts| agent.values(carts).argmax(&[1]))?.to_vec::<f32>()?;
        let mean = returns.iter().map(|&r| f64::from(r)).sum::<f64>() / returns.len() as f64;
        println!("mean return {mean:.2} of {} carts at once, {:.1} s", options.carts, begun.elapsed().as_secs_f64());
    }
    println!("\nQ of upright carts at rest in the middle, but for the pole:");
    println!("{:>8} {:>9} {:>9}   push", "angle", "Q(left)", "Q(right)");
    for degrees in [-10, -5, -2, 0, 2, 5, 10] {
        let state = [0.0, 0.0, f64::from(degrees).to_radians() as f32, 0.0];
        let q = agent.values(&Tensor::from_slice(agent.device(), &state, [1, 4])?).to_vec::<f32>()?;
        println!("{degrees:>4} deg {:9.2} {:9.2}   {}", q[0], q[1], if q[1] > q[0] { "right" } else { "left" });
    }
    Ok(())
}

fn pong(options: &Options) -> Result<()> {
    let size = match &*options.network {
        "small" => Size::Small,
        "full" => Size::Full,
        name => return Err(Error::argument(format!("unknown network {name:?}"), "use small or full")),
    };
    if !(options.opponent.is_finite() && options.opponent >= 0.0) {
        return Err(Error::argument(format!("--opponent {}", options.opponent), "use pixels per frame, 0 or more"));
    }
    if options.on_device {
        return Err(Error::argument("--on-device with --task pong", "only the cart-pole is a tensor program"));
    }
    let game = PongOptions { opponent: options.opponent, ..PongOptions::default() };
    let setup = Setup {
        make: Box::new(move |seed| Pong::new(game, seed)),
        carts: None,
        stack: 4,
        keep: Keep::Bytes,
        cost: Cost::Huber,
        steps: 30_000,
        batch: 32,
        // The large one is Mnih's; a fiftieth of it bears, and needs, larger steps.
        rate: if size == Size::Full { 3e-4 } else { 1e-3 },
        lanes: 8,
        memory: 40_000,
        warmup: 2000,
        target_every: 300,
        explore: 24_000,
        ahead: 3,
        test_every: 1000,
        validations: 20,
        tests: 50,
        enough: 3.0,
    };
    let (shape, dueling) = (Shape::from([4, SIZE, SIZE]), options.dueling);
    train(options, setup, |init| conv(init, &shape, size, 3, dueling)).map(drop)
}

// ------------------------------------------------------------------------------------------------------ the training

fn train<E: Env>(
    options: &Options,
    setup: Setup<E>,
    network: impl Fn(&mut Init) -> Result<Sequential>,
) -> Result<Dqn<Sequential>> {
    let common = &options.common;
    let device = Device::named(&common.device)?;
    let (steps, batch) = (common.steps.unwrap_or(setup.steps), common.batch.unwrap_or(setup.batch));
    let (lanes, memory) = (options.lanes.unwrap_or(setup.lanes), options.memory.unwrap_or(setup.memory));
    let (tests, ahead) = (options.tests.unwrap_or(setup.tests), options.ahead.unwrap_or(setup.ahead));
    let target_every = options.target_every.unwrap_or(setup.target_every);
    let test_every = options.test_every.unwrap_or(setup.test_every);
    let counts = [
        ("batch", batch),
        ("lanes", lanes),
        ("tests", tests),
        ("ahead", ahead),
        ("updates", options.updates),
        ("target-every", target_every as usize),
        ("test-every", test_every as usize),
    ];
    for (name, count) in counts {
        if count == 0 {
            return Err(Error::argument(format!("--{name} 0"), "use at least 1"));
        }
    }
    if batch > memory {
        return Err(Error::argument(
            format!("--batch {batch} with --memory {memory}"),
            "a batch is drawn from the memory: use a smaller one, or remember more",
        ));
    }
    if !(0.0..=1.0).contains(&options.discount) {
        return Err(Error::argument(format!("--discount {}", options.discount), "use a number from 0 to 1"));
    }
    let rate = common.lr.unwrap_or(setup.rate);
    if !(rate.is_finite() && rate > 0.0) {
        return Err(Error::argument(format!("--lr {rate}"), "use a number above 0, such as 1e-3"));
    }
    let cost = match options.cost.as_deref() {
        None => setup.cost,
        Some("squared") => Cost::Squared,
        Some("huber") => Cost::Huber,
        Some(name) => return Err(Error::argument(format!("unknown cost {name:?}"), "use squared or huber")),
    };
    // A run may be over long before `--steps`, and its returns are to be plotted all the same.
    let common = &common::Options { log_every: common.log_every.or(Some(test_every)), ..common.clone() };
    let mut session = Session::start(&format!("Deep Q-learning, {}", options.task), common)?;

    let mut init = Init::new(&device, common.seed);
    let (online, target) = (network(&mut init)?, network(&mut init)?);
    println!("{} with {} parameters on {device}", options.task, online.count_parameters());
    let rules = DqnOptions { double: !options.single, cost, target_every };
    let dqn = Dqn::new(online, target, Box::new(Adam::new(rate)), rules)?;
    // Seeds of practice, of validation and of the test never meet.
    let many =
        |first: u64, count: usize| (0..count as u64).map(|k| (setup.make)((common.seed << 32) + first + k)).collect();
    let envs: Vec<E> = many(0, lanes);
    let shape = observation_shape(&envs[0].frame(), setup.stack);
    let habits = AgentOptions {
        batch,
        discount: options.discount,
        ahead,
        warmup: setup.warmup,
        updates: options.updates,
        epsilon: Epsilon { from: 1.0, to: 0.05, over: options.explore.unwrap_or(setup.explore) },
        seed: common.seed,
    };
    let Options { limit, opponent, network, .. } = options;
    let settings = format!("{rules:?} {habits:?} {rate} {lanes} {memory} {limit} {opponent} {network}");
    let task = if options.on_device { "cartpole on the device" } else { &*options.task };
    let run = Run { steps, enough: setup.enough, test_every, task, settings };
    let (dqn, played, outcome) = match setup.carts {
        Some(carts) => {
            let mut agent = DeviceAgent::new(dqn, carts, lanes, memory, habits)?.validate_in(setup.validations);
            let outcome = run.of(&mut agent, &mut session)?;
            match agent.replayed() {
                Ok(()) => println!("steps were replayed"),
                Err(why) => println!("each step was recorded anew: {why}"),
            }
            agent.restore_best()?;
            let played = agent.played();
            (agent.into_dqn()?, played, outcome)
        }
        None => {
            let replay = Replay::new(memory, lanes, &shape, setup.stack, setup.keep, common.seed)?;
            let agent = Agent::new(dqn, envs, setup.stack, replay, habits);
            let mut agent = agent.validate_in(|| many(1 << 30, setup.validations));
            let outcome = run.of(&mut agent, &mut session)?;
            agent.restore_best()?;
            let played = agent.steps();
            (agent.dqn, played, outcome)
        }
    };

    let returns = evaluate(&dqn, many(1 << 31, tests), setup.stack)?;
    let mean = returns.iter().sum::<f32>() / returns.len() as f32;
    let least = returns.iter().copied().fold(f32::INFINITY, f32::min);
    println!(
        "mean return {mean:.2} over {tests} greedy episodes (the least {least}), after {played} steps played and {} of learning, {:.1} s",
        dqn.steps(),
        outcome.seconds
    );
    if let Some(path) = session.path("policy.gif") {
        save_gif(&path, &film(&dqn, (setup.make)(common.seed), setup.stack)?, 40)?;
        println!("film: {}", path.display());
        report(&session, &outcome, &device, mean)?;
    }
    match options.expect {
        Some(expected) if mean < expected => Err(Error::argument(
            format!("the mean return of {mean:.2} is below the expected {expected:.2}"),
            "train for more steps, or expect less",
        )),
        _ => Ok(dqn),
    }
}

/// How an agent is trained, whichever it is.
struct Run<'a> {
    steps: u64,
    enough: f64,
    test_every: u64,
    task: &'a str,
    settings: String,
}

impl Run<'_> {
    fn of<T: Task>(&self, agent: &mut T, session: &mut Session) -> Result<Outcome> {
        let run = Loop::new(self.steps).goal(Goal::Most("return".into())).enough(self.enough);
        let run = run.validate_every(self.test_every);
        let run = run.setting("task", self.task).setting("options", &self.settings);
        session.equip(run, self.steps)?.run(agent)
    }
}

fn report(session: &Session, outcome: &Outcome, device: &Device, mean: f32) -> Result<()> {
    session.save_report(outcome, device, &[("mean return of the test", format!("{mean:.2}"))])
}

/// One greedy episode, every other picture of it.
fn film<E: Env>(dqn: &Dqn<Sequential>, env: E, stack: usize) -> Result<Vec<Picture>> {
    let mut pictures = vec![Picture::from(env.draw())];
    let mut lanes = wgrad::env::Lanes::new(vec![env], stack, &mut ());
    for step in 0..600 {
        if step % 2 == 0 {
            pictures.push(lanes.env(0).draw().into());
        }
        let action = dqn.act(lanes.observations(), &lanes.shape())?;
        if !lanes.step(&action, &mut ()).is_empty() {
            break;
        }
    }
    Ok(pictures)
}
