//! The loop: it counts, averages, validates, stops, and goes on bit for bit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use wgrad::nn::{Module, Parameters};
use wgrad::optim::{Adam, Host, Optimizer};
use wgrad::train::checkpoint::{self, Checkpoints};
use wgrad::train::{CsvLog, Event, Figures, Goal, JsonLog, Loop, State, Supervised, Task, Window};
use wgrad::{Device, Result, Tensor};

use super::{Unforeseen, pictures, task};
use crate::registry::under_test;

/// Losses of a run of `steps`, read after each.
fn losses(device: &Device, steps: u64, from: Option<State>, folder: Option<&std::path::Path>) -> Vec<u64> {
    let set = pictures();
    let mut all = Vec::new();
    let mut run = Loop::new(steps).log_every(1).setting("batch", 16).observe(|event, _, _| {
        if let Event::Train(figures) = event {
            all.push(figures[0].1.to_bits());
        }
        Ok(())
    });
    if let Some(state) = from {
        run = run.resume(state);
    }
    if let Some(folder) = folder {
        run = run.checkpoints(Checkpoints::new(folder).unwrap());
    }
    run.run(&mut task(device, &set)).unwrap();
    drop(run);
    all
}

#[test]
fn a_resumed_run_continues_bit_for_bit() {
    for device in [Device::cpu(), under_test()] {
        let folder = tempfile::tempdir().unwrap();
        let whole = losses(&device, 10, None, None);
        let first = losses(&device, 5, None, Some(folder.path()));
        let second = losses(&device, 10, Some(checkpoint::latest(folder.path()).unwrap()), None);
        assert_eq!(whole.len(), 10);
        assert_eq!(whole, [first, second].concat(), "on {device}");
    }
}

#[test]
fn a_run_of_replayed_steps_is_the_run_of_ordinary_ones_to_the_bit() {
    for device in [under_test(), crate::merge::device(true, false)] {
        let set = pictures();
        let run = |optimizer: Box<dyn Optimizer>, replayed: bool| {
            let folder = tempfile::tempdir().unwrap();
            let model = super::mlp(&device, 1);
            let task = Supervised::classifier(model, optimizer, &set, 16, 5).unwrap();
            let mut task = task.validate_on(&set);
            let mut told = Vec::new();
            let mut steps = Vec::new();
            let mut run = Loop::new(47)
                .log_every(10)
                .validate_every(25)
                .checkpoints(Checkpoints::new(folder.path()).unwrap().every(19))
                .observe(|event, progress, _| {
                    match event {
                        Event::Train(figures) => told.push((progress.step, figures.to_vec())),
                        Event::Validation(figures, _) => told.push((progress.step, figures.to_vec())),
                        Event::Step => steps.push(progress.step),
                        Event::Saved(_) => told.push((progress.step, Vec::new())),
                        Event::End => {}
                    }
                    Ok(())
                });
            let before = device.counters();
            run.run(&mut task).unwrap();
            drop(run);
            assert_eq!(steps, (1..=47).collect::<Vec<u64>>());
            assert_eq!(task.replayed().is_ok(), replayed, "{:?} on {device}", task.replayed());
            let weights: Vec<Vec<f32>> =
                task.model.named_parameters().iter().map(|(_, p)| p.get().to_vec().unwrap()).collect();
            (told, weights, task.pass.rng, device.counters().since(&before).submissions)
        };
        let adam = || Adam::new(1e-2).clip_norm(0.5);
        let (replayed, ordinary) = (run(Box::new(adam()), true), run(Box::new(Unforeseen(adam())), false));
        assert_eq!(replayed.0, ordinary.0, "on {device}");
        assert_eq!((replayed.1, replayed.2), (ordinary.1, ordinary.2), "on {device}");
        assert!(replayed.3 < ordinary.3, "{} submissions, {} of ordinary steps", replayed.3, ordinary.3);
    }
}

#[test]
fn four_quarters_of_a_batch_are_the_batch() {
    let (device, set) = (Device::cpu(), pictures());
    let weights = |batch, parts| {
        let model = super::mlp(&device, 1);
        let sgd = Box::new(wgrad::optim::Sgd::new(0.5));
        // Without dropout, whose draws would differ.
        let judge = |model: &wgrad::nn::Sequential, (x, y): &(Tensor, Tensor), _: &mut wgrad::nn::Pass| {
            vec![("loss", model.forward(x, &mut wgrad::nn::Pass::eval()).cross_entropy(y))]
        };
        let fetch = |indices: &[usize]| {
            let (pixels, labels) = set.gather(indices);
            let n = indices.len();
            Ok((Host::new(pixels, [n, 784]), Host::from(labels)))
        };
        let mut task = Supervised::new(model, sgd, (set.len(), batch, 5), fetch, judge).unwrap().accumulate(parts);
        let loss = Loop::new(3).run(&mut task).unwrap().figure("loss").unwrap();
        (loss, task.model.named_parameters()[0].1.get().to_vec::<f32>().unwrap())
    };
    let (whole, parts) = (weights(20, 1), weights(5, 4));
    assert!((whole.0 - parts.0).abs() < 1e-5, "losses {} and {}", whole.0, parts.0);
    assert!(whole.1.iter().zip(&parts.1).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn the_checkpoint_of_another_optimizer_is_refused() {
    let (device, set, folder) = (Device::cpu(), pictures(), tempfile::tempdir().unwrap());
    Loop::new(2).checkpoints(Checkpoints::new(folder.path()).unwrap()).run(&mut task(&device, &set)).unwrap();
    let state = checkpoint::latest(folder.path()).unwrap();
    let sgd = Box::new(wgrad::optim::Sgd::new(0.1).momentum(0.9));
    let mut other = Supervised::classifier(super::mlp(&device, 1), sgd, &set, 16, 5).unwrap();
    let error = Loop::new(4).resume(state).run(&mut other).unwrap_err().to_string();
    assert!(error.contains("step-000000002"), "{error}");
}

/// A task whose losses are given, and whose validation is the step.
struct Given {
    device: Device,
    losses: Vec<f32>,
    step: usize,
}

impl Task for Given {
    fn step(&mut self) -> Result<Figures> {
        let loss = Tensor::from_slice(&self.device, &[self.losses[self.step]], [])?;
        self.step += 1;
        Ok(vec![("loss", loss)])
    }
    fn validate(&mut self) -> Result<Vec<(String, f64)>> {
        Ok(vec![("loss".into(), f64::from(self.losses[self.step - 1]))])
    }
    fn save(&self, state: &mut State) -> Result<()> {
        state.put_note("step", self.step);
        Ok(())
    }
    fn load(&mut self, state: &State) -> Result<()> {
        self.step = state.note("step")?;
        Ok(())
    }
}

fn given(losses: &[f32]) -> Given {
    Given { device: Device::cpu(), losses: losses.to_vec(), step: 0 }
}

#[test]
fn figures_are_means_since_the_last_reading() {
    let values: Vec<f32> = (1..=50).map(|i| i as f32).collect();
    let mut read = Vec::new();
    let mut run = Loop::new(50).log_every(20).observe(|event, progress, _| {
        if let Event::Train(figures) = event {
            read.push((progress.step, figures[0].1));
        }
        Ok(())
    });
    let outcome = run.run(&mut given(&values)).unwrap();
    drop(run);
    assert_eq!(read, [(20, 10.5), (40, 30.5), (50, 45.5)]);
    assert_eq!(outcome.figure("loss"), Some(45.5));
}

#[test]
fn a_window_weighs_by_the_size_of_the_batch() {
    let device = Device::cpu();
    let mut window = Window::new();
    for (weight, value) in [(3.0, 1f32), (1.0, 5.0)] {
        window.add(0, weight, &vec![("loss", Tensor::from_slice(&device, &[value], [1]).unwrap())]).unwrap();
    }
    assert_eq!(window.read().unwrap(), [("loss".to_string(), 2.0)]);
    assert!(window.is_empty() && window.read().unwrap().is_empty());
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_names_its_step() {
    // The square of 1e30 is infinite.
    for bad in [f32::NAN, f32::INFINITY, 1e30, -1e30] {
        let mut values = [1f32; 30];
        values[16] = bad;
        let error = Loop::new(30).log_every(10).run(&mut given(&values)).unwrap_err().to_string();
        assert!(error.contains("step 17") && error.contains("learning rate"), "{error}");
    }
}

#[test]
fn a_ruined_run_does_not_push_out_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let saved = || checkpoint::latest(folder.path()).unwrap().note::<u64>("loop.step").unwrap();
    let checkpoints = || Checkpoints::new(folder.path()).unwrap().every(2).keep(1);
    let mut values = [1f32; 30];
    values[16] = f32::NAN;
    // The figures are read only after 30 steps, and it would save thrice until then.
    let error = Loop::new(30).log_every(30).checkpoints(checkpoints()).run(&mut given(&values)).unwrap_err();
    assert!(error.to_string().contains("step 17"), "{error}");
    assert_eq!(saved(), 16);
    // A step may ruin the weights with a loss that is sound: the loss is that of the weights before.
    let (device, set, folder) = (Device::cpu(), pictures(), tempfile::tempdir().unwrap());
    let checkpoints = Checkpoints::new(folder.path()).unwrap();
    let sgd = Box::new(wgrad::optim::Sgd::new(f64::from(f32::MAX)));
    let mut task = Supervised::classifier(super::mlp(&device, 1), sgd, &set, 16, 5).unwrap();
    task.model.params_mut(&mut |_, param| {
        let large = param.get() * 1e3;
        param.set(large).unwrap();
    });
    let error = Loop::new(1).checkpoints(checkpoints).run(&mut task).unwrap_err().to_string();
    assert!(error.contains("bias") && error.contains("not saved"), "{error}");
    assert!(checkpoint::latest(folder.path()).is_err(), "nothing was written");
}

#[test]
fn it_stops_when_the_validation_grows_stale() {
    let values = [5f32, 4., 3., 3.5, 2., 2.5, 2.6, 2.7, 1., 1.];
    let mut run = Loop::new(10).validate_every(1).patience(3);
    let outcome = run.run(&mut given(&values)).unwrap();
    assert!(outcome.stale && !outcome.stopped);
    assert_eq!((outcome.steps, outcome.best), (8, Some((5, 2.0))));
    let mut run = Loop::new(10).validate_every(1).patience(3).goal(Goal::Most("loss".into()));
    assert_eq!(run.run(&mut given(&values)).unwrap().best, Some((1, 5.0)));
}

#[test]
fn it_stops_when_asked_and_leaves_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let mut run = Loop::new(100)
        .stop_when(flag)
        .observe(move |_, progress, _| {
            seen.fetch_or(progress.step == 7, Relaxed);
            Ok(())
        })
        .checkpoints(Checkpoints::new(folder.path()).unwrap());
    let outcome = run.run(&mut given(&[1.0; 100])).unwrap();
    assert!(outcome.stopped);
    assert_eq!(outcome.steps, 7);
    assert_eq!(checkpoint::latest(folder.path()).unwrap().note::<u64>("loop.step").unwrap(), 7);
}

#[test]
fn the_best_and_the_patience_survive_a_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let values = [5f32, 2., 3., 3., 3., 3.];
    let run = |steps| Loop::new(steps).validate_every(1).patience(3);
    run(3).checkpoints(Checkpoints::new(folder.path()).unwrap()).run(&mut given(&values)).unwrap();
    let state = checkpoint::latest(folder.path()).unwrap();
    let outcome = run(6).resume(state).run(&mut given(&values)).unwrap();
    assert_eq!((outcome.steps, outcome.best, outcome.stale), (5, Some((2, 2.0)), true));
    let outcome = run(3).resume(checkpoint::latest(folder.path()).unwrap()).run(&mut given(&values)).unwrap();
    assert_eq!((outcome.steps, outcome.validation("loss")), (3, Some(3.0)), "nothing left to do, but to judge");
}

#[test]
fn a_resumption_with_other_settings_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |steps, rate: &str| Loop::new(steps).setting("rate", rate);
    run(4, "0.1").checkpoints(Checkpoints::new(folder.path()).unwrap()).run(&mut given(&[1.0; 9])).unwrap();
    let state = || checkpoint::latest(folder.path()).unwrap();
    let error = run(9, "0.2").resume(state()).run(&mut given(&[1.0; 9])).unwrap_err().to_string();
    assert!(error.contains("rate 0.1") && error.contains("rate 0.2") && error.contains("step-000000004"), "{error}");
    let error = run(3, "0.1").resume(state()).run(&mut given(&[1.0; 9])).unwrap_err().to_string();
    assert!(error.contains("step 4"), "{error}");
    assert_eq!(run(9, "0.1").resume(state()).run(&mut given(&[1.0; 9])).unwrap().steps, 9);
}

#[test]
fn validation_samples_are_kept_out_of_the_training() {
    let (train, held) = wgrad::data::split(50, 20, 3);
    let mut all = [train.clone(), held.clone()].concat();
    all.sort_unstable();
    assert_eq!((train.len(), held.len(), all), (30, 20, (0..50).collect()));
    let (device, set) = (Device::cpu(), pictures());
    let mut task = task(&device, &set).hold_out(20).unwrap();
    let outcome = Loop::new(3).validate_every(3).run(&mut task).unwrap();
    assert!(outcome.validation("loss").unwrap().is_finite());
    for count in [0, 60] {
        let error = super::task(&device, &set).hold_out(count).err().unwrap().to_string();
        assert!(error.contains(&count.to_string()), "{error}");
    }
}

/// Beside the change that a step of plain descent makes, which is the rate times the gradient.
#[test]
fn gradients_to_look_at_are_those_of_the_first_samples_and_leave_no_trace() {
    let (device, set) = (Device::cpu(), pictures());
    let plain = |rate| {
        let net = wgrad::nn::Sequential::new().then(wgrad::nn::Flatten);
        let net = net.then(wgrad::nn::Linear::new(&mut wgrad::nn::Init::new(&device, 1), 784, 10).unwrap());
        // One batch holds all samples: their order does not matter.
        Supervised::classifier(net, Box::new(wgrad::optim::Sgd::new(rate)), &set, set.len(), 5).unwrap()
    };
    let weights = |task: &Supervised<_, _>| -> Vec<f32> {
        let model: &wgrad::nn::Sequential = &task.model;
        model.named_parameters().into_iter().flat_map(|(_, p)| p.get().to_vec::<f32>().unwrap()).collect()
    };
    let mut task = plain(0.5);
    let before = weights(&task);
    let slopes = task.gradients().unwrap();
    assert_eq!(slopes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["1.weight", "1.bias"]);
    let slopes: Vec<f32> = slopes.into_iter().flat_map(|(_, s)| s.to_vec::<f32>().unwrap()).collect();
    Loop::new(1).run(&mut task).unwrap();
    let after = weights(&task);
    for ((after, before), slope) in after.iter().zip(&before).zip(&slopes) {
        assert!((after - (before - 0.5 * slope)).abs() < 1e-6, "{after} from {before} by {slope}");
    }
    let mut other = plain(0.5);
    Loop::new(1).run(&mut other).unwrap();
    assert_eq!(weights(&other), after, "asking changed the run");
}

#[test]
fn a_digest_is_of_names_shapes_and_bits() {
    let device = Device::cpu();
    let of = |name: &str, values: &[f32], shape: &[usize]| {
        let mut state = State::new();
        state.put_tensor(name, &Tensor::from_slice(&device, values, shape).unwrap()).unwrap();
        state.digest()
    };
    let one = of("a", &[1.0, 0.0], &[2]);
    assert_eq!(one.len(), 64);
    assert_eq!(one, of("a", &[1.0, 0.0], &[2]));
    for other in [of("b", &[1.0, 0.0], &[2]), of("a", &[1.0, 0.0], &[2, 1]), of("a", &[1.0, -0.0], &[2])] {
        assert_ne!(one, other);
    }
}

#[test]
fn logs_hold_every_figure_once_across_a_resumption() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, json) = (folder.path().join("log.csv"), folder.path().join("log.jsonl"));
    let write = |resume: Option<u64>, steps: std::ops::RangeInclusive<u64>| {
        let (mut c, mut j) = (CsvLog::create(&csv, resume).unwrap(), JsonLog::create(&json, resume).unwrap());
        for step in steps {
            let progress = wgrad::train::Progress { step, of: 9, per_second: 1.0 };
            let figures = [("loss".to_string(), step as f64 / 2.0), ("gap".to_string(), f64::NAN)];
            for event in [Event::Train(&figures[..1]), Event::Validation(&figures, true), Event::Step] {
                c.record(&event, &progress).unwrap();
                j.record(&event, &progress).unwrap();
            }
        }
    };
    write(None, 1..=3);
    write(Some(2), 3..=4);
    let text = std::fs::read_to_string(&csv).unwrap();
    let steps: Vec<&str> = text.lines().map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(steps, ["step", "1", "1", "1", "2", "2", "2", "3", "3", "3", "4", "4", "4"]);
    assert!(text.contains("\n3,validation,loss,1.5\n"), "{text}");
    let text = std::fs::read_to_string(&json).unwrap();
    let objects: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(objects.len(), 8);
    assert_eq!(objects[5]["loss"], 1.5);
    assert!(objects[5]["gap"].is_null() && objects[5]["split"] == "validation" && objects[5]["step"] == 3);
    assert!(CsvLog::create("/no/such/folder/log.csv", None).unwrap_err().to_string().contains("/no/such/folder"));
}
