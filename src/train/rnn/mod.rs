//! Language models: networks that read a text character by character and learn what comes next.
//!
//! ```
//! use wgrad::data::text::Text;
//! use wgrad::nn::Init;
//! use wgrad::optim::Adam;
//! use wgrad::train::Loop;
//! use wgrad::train::rnn::{CharModel, CharModelOptions, CharTask, Sampling};
//! use wgrad::Device;
//!
//! let device = Device::cpu();
//! let text = Text::new(&"the cat sat on the mat. ".repeat(40), 0.1)?;
//! let options = CharModelOptions { hidden: 32, ..Default::default() };
//! let model = CharModel::new(&mut Init::new(&device, 1), text.vocabulary.len(), &options)?;
//! let optimizer = Adam::new(0.02).clip_norm(5.0);
//! let mut task = CharTask::new(model, Box::new(optimizer), &device, &text, (4, 20), 1)?;
//! let outcome = Loop::new(60).validate_every(60).run(&mut task)?;
//! assert!(outcome.validation("loss").unwrap() < 1.0);
//! let sampling = Sampling { temperature: 0.5, ..Default::default() };
//! let sample = sampling.continue_text(&task.model, &text.vocabulary, "the ", 20)?;
//! assert_eq!(sample.chars().count(), 20);
//! # Ok::<(), wgrad::Error>(())
//! ```

mod demo;
mod model;
mod sample;
mod task;
mod words;

pub use demo::{Learned, gradient_by_distance, learn_by_heart};
pub use model::{CharModel, CharModelOptions, Kind};
pub use sample::Sampling;
pub use task::CharTask;
pub use words::{WordModel, words_of};
