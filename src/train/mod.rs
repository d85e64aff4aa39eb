//! Training: one loop for every kind of model, what it saves and tells on the way, and the model families themselves.
//!
//! The five families differ in what a step is (a loss of a batch, two losses that fight, an episode of a game) and in
//! nothing else. So a [`Task`] is whatever can do a step, and the [`Loop`] does the rest for all of them: it counts,
//! averages figures on the device and reads them every so many steps, validates, stops early or when asked, saves and
//! resumes. [`Supervised`] is the task of a model, a loss and batches.
//!
//! ```
//! use wgrad::data::digits;
//! use wgrad::nn::{Flatten, Init, Linear, Sequential};
//! use wgrad::optim::Adam;
//! use wgrad::train::{Loop, Supervised};
//! use wgrad::Device;
//!
//! let device = Device::cpu();
//! let digits = digits::dataset(500, 100, 0);
//! let model = Sequential::new().then(Flatten).then(Linear::new(&mut Init::new(&device, 1), 784, 10)?);
//! let task = Supervised::classifier(model, Box::new(Adam::new(1e-2)), &digits.train, 50, 1)?;
//! let mut task = task.validate_on(&digits.test);
//! let outcome = Loop::new(60).log_every(20).validate_every(30).run(&mut task)?;
//! assert!(outcome.figure("loss").unwrap() < 1.5);
//! assert!(outcome.validation("accuracy").unwrap() > 0.5);
//! # Ok::<(), wgrad::Error>(())
//! ```

pub mod bandits;
pub mod cnn;
pub mod dqn;
pub mod gan;
mod log;
pub mod planning;
pub mod quality;
mod run;
mod state;
mod supervised;
pub mod tabular;
pub mod vae;
mod window;

pub mod rnn;

#[cfg(feature = "checkpoint")]
pub mod checkpoint;
#[cfg(feature = "report")]
pub mod picture;
#[cfg(feature = "report")]
pub mod report;
#[cfg(feature = "tensorboard")]
pub mod summary;

pub use log::{CsvLog, JsonLog};
pub use run::{Event, Goal, Loop, Outcome, Progress, Task};
pub use state::{Saved, State};
pub use supervised::{Labelled, Supervised};
pub use window::{Figures, Window};
