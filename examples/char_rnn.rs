//! A network that learns to write: with no option at all, an LSTM reads this crate's own sources and documents, and
//! after 1,000 steps, 40 seconds of a processor, it has a validation loss of 1.76 nats per character.
//!
//! `--data FILE` takes any text, `--data FOLDER` the one in it (tiny Shakespeare, say; the README has the losses
//! reached). At the end it writes a sample, and says what perplexity plain counts of words have on the same text.
//! `--show hello` learns one word by heart; `--show vanishing` measures how far back gradients reach. `--help` lists
//! the options.

mod common;

use clap::Parser;
use common::Session;
use wgrad::data::text::Text;
use wgrad::nn::{Init, Parameters};
use wgrad::optim::{Adam, Constant, CosineAnnealing, Schedule};
use wgrad::train::rnn::{
    CharModel, CharModelOptions, CharTask, Kind, Sampling, WordModel, gradient_by_distance, learn_by_heart, words_of,
};
use wgrad::train::{Event, Loop, Task};
use wgrad::{Device, Error, Result};

#[derive(Parser)]
#[command(about = "Trains a recurrent network to write text, character by character", args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    common: common::Options,
    /// The recurrent layer: rnn, lstm or gru
    #[arg(long, default_value = "lstm")]
    layer: String,
    /// Hidden units
    #[arg(long, default_value_t = 128)]
    hidden: usize,
    /// Recurrent layers on top of each other
    #[arg(long, default_value_t = 1)]
    layers: usize,
    /// Embed characters in so many numbers; 0 for one-hot vectors
    #[arg(long, default_value_t = 0)]
    embedding: usize,
    /// Drop outputs of the recurrent layers with this probability
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    /// Characters that gradients reach back
    #[arg(long, default_value_t = 50)]
    context: usize,
    /// Largest norm of a step's gradient
    #[arg(long, default_value_t = 5.0)]
    clip: f64,
    /// Let the learning rate fall to 0 along a cosine
    #[arg(long)]
    cosine: bool,
    /// Share of the text, from its end, to validate on
    #[arg(long, default_value_t = 0.1)]
    validation: f64,
    /// Validate every so many steps
    #[arg(long)]
    test_every: Option<u64>,
    /// What the sample begins with; without it the first line of the text kept for validation
    #[arg(long)]
    prompt: Option<String>,
    /// Characters of the sample
    #[arg(long, default_value_t = 400)]
    length: usize,
    /// Below 1 the sample is more careful, above 1 more daring; 0 always takes the likeliest character
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Draw only among so many likeliest characters; 0 for all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// A small experiment instead: hello, or vanishing
    #[arg(long)]
    show: Option<String>,
    /// Fail unless the validation loss is at most this many nats per character
    #[arg(long)]
    expect: Option<f64>,
}

/// Texts of this crate, for who brings none.
const OWN: &[&str] = &[
    include_str!("../README.md"),
    include_str!("../ARCHITECTURE.md"),
    include_str!("../src/lib.rs"),
    include_str!("../src/error.rs"),
    include_str!("../src/tensor/op.rs"),
    include_str!("../src/tensor/node.rs"),
    include_str!("../src/tensor/shape.rs"),
    include_str!("../src/autodiff/mod.rs"),
    include_str!("../src/plan/mod.rs"),
    include_str!("../src/plan/fuse.rs"),
    include_str!("../src/plan/trace.rs"),
    include_str!("../src/ops/softmax.rs"),
    include_str!("../src/ops/matmul.rs"),
    include_str!("../src/ops/pool2d.rs"),
    include_str!("../src/ops/rnn.rs"),
    include_str!("../src/ops/lstm.rs"),
    include_str!("../src/ops/gru.rs"),
    include_str!("../src/nn/mod.rs"),
    include_str!("../src/nn/param.rs"),
    include_str!("../src/nn/recurrent.rs"),
    include_str!("../src/functional/recurrent.rs"),
    include_str!("../src/data/text.rs"),
    include_str!("../src/train/rnn/model.rs"),
    include_str!("../src/train/rnn/words.rs"),
];

fn run(options: &Arguments) -> Result<()> {
    let common = &options.common;
    let device = Device::named(&common.device)?;
    let kind: Kind = options.layer.parse()?;
    match options.show.as_deref() {
        None => train(options, kind, &device),
        Some("hello") => {
            let learned = learn_by_heart("hello", kind, &device, common.seed)?;
            println!("after {} steps, loss {:.4}: h -> {}", learned.steps, learned.loss, learned.said);
            Ok(())
        }
        Some("vanishing") => vanishing(&device, common.seed),
        Some(other) => Err(Error::argument(format!("unknown experiment {other:?}"), "use hello or vanishing")),
    }
}

// ------------------------------------------------------------------------------------------------------ the training

fn train(options: &Arguments, kind: Kind, device: &Device) -> Result<()> {
    let common = &options.common;
    let (steps, rows) = (common.steps.unwrap_or(1000), common.batch.unwrap_or(50));
    let (whole, source) = match &common.data {
        Some(path) => {
            let (text, file) = Text::find(path)?;
            (text, file.display().to_string())
        }
        None => (OWN.join("\n"), "this crate's own sources and documents".into()),
    };
    let text = Text::new(&whole, options.validation)?;
    let form = CharModelOptions {
        kind,
        hidden: options.hidden,
        layers: options.layers,
        embedding: options.embedding,
        dropout: options.dropout,
    };
    let model = CharModel::new(&mut Init::new(device, common.seed), text.vocabulary.len(), &form)?;
    let rate = common.lr.unwrap_or(2e-3);
    let schedule: Box<dyn Schedule> = match options.cosine {
        true => Box::new(CosineAnnealing { initial: rate, lowest: 0.0, steps }),
        false => Box::new(Constant(rate)),
    };
    let optimizer = Adam::scheduled(schedule).clip_norm(options.clip);
    println!(
        "{} with {} parameters on {device}\n{source}: {} characters, {} of them different",
        options.layer,
        model.count_parameters(),
        whole.chars().count(),
        text.vocabulary.len()
    );
    let mut session = Session::start(&format!("{} on text", options.layer), common)?;
    let size = (rows, options.context);
    let mut task = CharTask::new(model, Box::new(optimizer), device, &text, size, common.seed)?;
    let prompt = match &options.prompt {
        Some(prompt) => prompt.clone(),
        None => {
            let held = if text.validation.is_empty() { &text.train } else { &text.validation };
            let line = text.vocabulary.decode(&held[..held.len().min(200)]);
            line.trim_start().lines().next().map_or(line.clone(), |first| format!("{first}\n"))
        }
    };
    // A character that the text does not have is found before the training, not after it.
    text.vocabulary.encode(&prompt)?;

    let mut run = Loop::new(steps).validate_every(options.test_every.unwrap_or((steps / 5).max(1)));
    run = run.setting("layer", &options.layer).setting("hidden", options.hidden).setting("layers", options.layers);
    run = run.setting("embedding", options.embedding).setting("dropout", options.dropout);
    run = run.setting("batch", rows).setting("context", options.context).setting("data", &source);
    let sampling = Sampling { temperature: options.temperature, top_k: options.top_k, seed: common.seed };
    let write = |model: &CharModel| sampling.continue_text(model, &text.vocabulary, &prompt, options.length);
    if let Some(summary) = session.summary.clone() {
        run = run.observe(move |event, progress, task: &mut CharTask| match event {
            Event::Validation(..) => summary.borrow_mut().text("sample", progress.step, &write(&task.model)?),
            _ => Ok(()),
        });
    }
    let outcome = session.equip(run, steps)?.run(&mut task)?;

    let sample = write(&task.model)?;
    println!("----\n{prompt}{sample}\n----");
    let validation = if outcome.validation.is_empty() { task.validate()? } else { outcome.validation.clone() };
    let figure = |name: &str| validation.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, v)| *v);
    let (loss, accuracy) = (figure("loss"), figure("accuracy"));
    println!(
        "validation: {loss:.4} nats per character, perplexity {:.3}, accuracy {:.4}, after {} steps in {:.0} s",
        loss.exp(),
        accuracy,
        outcome.steps,
        outcome.seconds
    );
    counts(&text)?;
    if session.path("").is_some() {
        session.report.borrow_mut().text("Sample", &format!("{prompt}{sample}"));
        session.save_report(&outcome, device, &[("layer", options.layer.clone()), ("data", source)])?;
    }
    match options.expect {
        Some(expected) if loss > expected || loss.is_nan() => Err(Error::argument(
            format!("the validation loss of {loss:.4} is above the expected {expected}"),
            "train for more steps, or expect less",
        )),
        _ => Ok(()),
    }
}

/// What models that only count words reach on the same text.
fn counts(text: &Text) -> Result<()> {
    let (train, validation) = (text.vocabulary.decode(&text.train), text.vocabulary.decode(&text.validation));
    let (train, held) = (words_of(&train), words_of(&validation));
    if train.is_empty() || held.is_empty() {
        return Ok(());
    }
    for (order, name) in ["unigrams", "bigrams", "trigrams", "quadrigrams"].iter().enumerate() {
        let model = WordModel::count(&train, order + 1)?;
        println!("{name} of words: perplexity {:.1}", model.perplexity(&held));
        if order == 3 {
            let unknown = held.iter().filter(|word| !model.knows(word)).count();
            println!(
                "of {} words; {:.1} % are unknown",
                model.vocabulary(),
                100.0 * unknown as f64 / held.len() as f64
            );
        }
    }
    Ok(())
}

fn vanishing(device: &Device, seed: u64) -> Result<()> {
    let (steps, hidden) = (61, 64);
    let layers = [
        ("rnn", Kind::Rnn, 0.0),
        ("gru", Kind::Gru, 0.0),
        ("lstm", Kind::Lstm, 0.0),
        ("lstm, f open", Kind::Lstm, 4.0),
    ];
    let mut columns = Vec::new();
    for (_, kind, forget) in layers {
        columns.push(gradient_by_distance(kind, steps, hidden, forget, device, seed)?);
    }
    println!("gradient of the last state with respect to an earlier input, relative to the last one's");
    println!("distance {}", layers.map(|(name, ..)| format!("{name:>14}")).concat());
    for distance in (0..steps).step_by(10) {
        println!("{distance:>8} {}", columns.iter().map(|c| format!("{:>14.3e}", c[distance])).collect::<String>());
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Arguments::parse()))
}
