//! A variational autoencoder of handwritten digits: on MNIST, `--epochs 20` reaches 105 nats on the test set (the
//! README has the figure), in a few minutes on two CPU cores.
//!
//! It writes into `--out` (`vae-out` unless told otherwise): test digits and what becomes of them, samples from the
//! prior, walks from one digit to another, and with `--latent 2` a map of the latent space.

mod common;

use clap::Parser;
use common::Session;
use wgrad::data::{Images, mnist};
use wgrad::nn::{Init, Parameters};
use wgrad::ops::Rng;
use wgrad::optim::{Adam, Row};
use wgrad::train::picture::Picture;
use wgrad::train::vae::{Vae, pictures_of};
use wgrad::train::{Loop, checkpoint};
use wgrad::{Device, Error, Result, Tensor};

#[derive(Parser)]
#[command(about = "Trains a variational autoencoder on handwritten digits", args_override_self = true)]
#[command(after_help = "Unless told otherwise: 5 epochs of batches of 100 images, at a rate of 1e-3.")]
struct Options {
    /// mlp (784-400-latent) or conv
    #[arg(long, default_value = "mlp")]
    model: String,
    /// Dimensions of the latent space
    #[arg(long, default_value_t = 20)]
    latent: usize,
    /// How many times to see every digit; --steps counts batches instead
    #[arg(long)]
    epochs: Option<u64>,
    #[command(flatten)]
    common: common::Options,
}

fn run(options: &mut Options) -> Result<()> {
    let common = &mut options.common;
    let out = common.out.get_or_insert_with(|| "vae-out".into()).clone();
    let device = Device::named(&common.device)?;
    let init = &mut Init::new(&device, common.seed);
    let model = match &*options.model {
        "mlp" => Vae::mlp(init, 784, 400, options.latent)?,
        "conv" => Vae::conv(init, options.latent)?,
        name => return Err(Error::argument(format!("unknown model {name:?}"), "use mlp or conv")),
    };
    let mut session = Session::start(&format!("{} VAE, latent {}", options.model, options.latent), common)?;
    let data = mnist::auto(common.data.as_deref())?;
    println!("{} parameters on {device}\n{}", model.count_parameters(), data.source);

    let (batch, rate) = (common.batch.unwrap_or(100), common.lr.unwrap_or(1e-3));
    let epoch = (data.train.len() as u64).div_ceil(batch as u64);
    let steps = common.steps.unwrap_or(options.epochs.unwrap_or(5) * epoch);
    let task = model.task(Box::new(Adam::new(rate)), &data.train, batch, common.seed)?;
    let mut task = task.validate_with(data.test.len(), pictures_of(&data.test));
    let run = Loop::new(steps).log_every(epoch).validate_every(epoch);
    let run = run.setting("model", &options.model).setting("latent", options.latent).setting("batch", batch);
    let run = run.setting("rate", rate).setting("data", &data.name);
    let run = session.watch(run, |model: &Vae, summary, step| {
        let samples = model.samples(&device, 64, &mut Rng::new(common.seed)).to_vec()?;
        summary.picture("samples", step, &Picture::grid(&samples, [64, 1, 28, 28], 8))
    });
    let outcome = session.equip(run, steps)?.run(&mut task)?;

    let figure = |name| outcome.validation(name).unwrap_or(f64::NAN);
    println!(
        "test -ELBO: {:.2} nats ({:.2} reconstruction, {:.2} KL) of {} images of {}, after {} steps",
        figure("loss"),
        figure("reconstruction"),
        figure("kl"),
        data.test.len(),
        data.name,
        outcome.steps
    );
    checkpoint::save_weights(out.join("weights.safetensors"), &task.model)?;
    for (name, picture) in pictures(&task.model, &device, &data.test, common.seed)? {
        picture.scaled(2).save(out.join(format!("{name}.png")))?;
        session.report.borrow_mut().pictures(&name, &[(String::new(), picture)], 2);
    }
    session.save_report(&outcome, &device, &[("model", options.model.clone()), ("data", data.source)])
}

/// What there is to see, by name.
fn pictures(model: &Vae, device: &Device, test: &Images, seed: u64) -> Result<Vec<(String, Picture)>> {
    let grid = |tensor: &Tensor, columns| -> Result<Picture> {
        let n = tensor.elements() / 784;
        Ok(Picture::grid(&tensor.to_vec()?, [n, 1, 28, 28], columns))
    };
    let fetch = |indices: &[usize]| pictures_of(test)(indices)?.upload(device);
    let some: Vec<usize> = (0..test.len().min(10)).collect();
    let originals = fetch(&some)?;
    let pairs = Tensor::concat(&[&originals, &model.reconstructions(&originals)], 0);
    let mut all = vec![
        ("reconstructions".to_string(), grid(&pairs, some.len())?),
        ("samples".to_string(), grid(&model.samples(device, 100, &mut Rng::new(seed)), 10)?),
    ];
    let walks = some.windows(2).map(|pair| model.interpolation(&fetch(&pair[..1])?, &fetch(&pair[1..])?, 10));
    let walks = walks.map(|walk| walk?.reshape([10, 784]).to_vec::<f32>()).collect::<Result<Vec<_>>>()?.concat();
    all.push(("interpolations".into(), Picture::grid(&walks, [walks.len() / 784, 1, 28, 28], 10)));
    if model.latent() == 2 {
        all.push(("manifold".into(), grid(&model.manifold(device, 20, 2.5)?, 20)?));
    }
    Ok(all)
}

fn main() -> std::process::ExitCode {
    common::exit(run(&mut Options::parse()))
}
