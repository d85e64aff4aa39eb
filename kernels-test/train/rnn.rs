//! Language models: what a text is cut into, the same losses on every device and in PyTorch, and what is said of bad
//! input.

use std::path::Path;
use std::process::Command;

use wgrad::data::text::{Strips, Text, Vocabulary};
use wgrad::nn::{Init, Parameters};
use wgrad::optim::Adam;
use wgrad::tensor::Input;
use wgrad::train::checkpoint::{self, Checkpoints};
use wgrad::train::rnn::{
    CharModel, CharModelOptions, CharTask, Kind, Sampling, WordModel, gradient_by_distance, learn_by_heart, words_of,
};
use wgrad::train::{Event, Loop, State, Task};
use wgrad::{Device, Result};

use super::Unforeseen;
use crate::registry::{tensor, under_test};

#[test]
fn rows_of_a_batch_go_down_their_strips() -> Result<()> {
    // 0..=12 in 2 rows: strips 0..6 and 6..12, each with the first of the next as its last target.
    let mut strips = Strips::new((0..13).collect(), 2, 4)?;
    let first = strips.next_window();
    assert_eq!(first.inputs, [0, 6, 1, 7, 2, 8, 3, 9]);
    assert_eq!(first.targets, [1, 7, 2, 8, 3, 9, 4, 10]);
    assert!(first.fresh && strips.round() == 1, "what is left is too short for a second window");
    assert_eq!(strips.next_window(), first);
    let whole: Vec<_> = strips.once().collect();
    assert_eq!(
        (whole.len(), &whole[1].inputs[..], &whole[1].targets[..]),
        (2, &[4, 10, 5, 11][..], &[5, 11, 6, 12][..])
    );
    assert!(!whole[1].fresh);
    Ok(())
}

#[test]
fn a_vocabulary_is_the_characters_that_occur() -> Result<()> {
    let vocabulary = Vocabulary::of("hello, wörld");
    assert_eq!(vocabulary.characters(), " ,dehlorwö");
    assert_eq!(vocabulary.decode(&vocabulary.encode("wörld hello")?), "wörld hello");
    let fault = vocabulary.encode("hexe").unwrap_err().to_string();
    assert!(fault.contains("'x'") && fault.contains("place 2") && fault.contains("dehlorwö"), "{fault}");
    let text = Text::new("abcdefghij", 0.3)?;
    assert_eq!((text.train.len(), text.validation, text.vocabulary.len()), (7, vec![7, 8, 9], 10));
    Ok(())
}

#[test]
fn what_is_no_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for (bytes, wanted) in
        [(&b""[..], "is empty"), (b"ab\0c", "byte 2 is 0"), (b"abc\xff", "byte 3 begins no character")]
    {
        let fault = Text::read(&file("t", bytes)).unwrap_err().to_string();
        assert!(fault.contains(wanted), "{fault}");
    }
    assert!(Text::find(folder.path()).unwrap_err().to_string().contains("no text file"));
    let path = file("a.txt", b"\xef\xbb\xbftext");
    assert_eq!(Text::find(folder.path()).unwrap(), ("text".to_string(), path));
    file("b.txt", b"more");
    assert!(Text::find(folder.path()).unwrap_err().to_string().contains("2 text files"));
    assert!(Text::read(&folder.path().join("none")).unwrap_err().to_string().contains("cannot be read"));

    assert!(Text::new("", 0.1).unwrap_err().to_string().contains("empty"));
    assert!(Text::new("aaaa", 0.1).unwrap_err().to_string().contains("repeats one character"));
    assert!(Text::new("ab", 1.0).is_err() && Text::new("ab", f64::NAN).is_err());
    let fault = Strips::new(vec![0; 100], 10, 10).unwrap_err().to_string();
    assert!(fault.contains("100 characters") && fault.contains("at least 101"), "{fault}");
    assert!(Strips::new(vec![0; 100], 0, 10).is_err() && Strips::new(vec![0; 100], 10, 0).is_err());
}

fn small(device: &Device, kind: Kind, text: &Text, (rows, steps): (usize, usize), dropout: f32) -> CharTask {
    let options = CharModelOptions { kind, hidden: 24, layers: 2, dropout, ..Default::default() };
    let model = CharModel::new(&mut Init::new(device, 3), text.vocabulary.len(), &options).unwrap();
    CharTask::new(model, Box::new(Adam::new(0.03).clip_norm(0.5)), device, text, (rows, steps), 4).unwrap()
}

/// The losses of so many steps.
fn losses(task: &mut CharTask, steps: usize) -> Vec<f64> {
    (0..steps).map(|_| task.step().unwrap()[0].1.item().unwrap() as f64).collect()
}

fn worst(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(g, w)| (g / w - 1.0).abs()).fold(0.0, f64::max)
}

#[test]
fn pytorch_has_the_same_losses() {
    let fixture: serde_json::Value = serde_json::from_str(include_str!("../fixtures/lstm_curve.json")).unwrap();
    let want: Vec<f64> = fixture["losses"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let text = Text::new(fixture["text"].as_str().unwrap(), 0.0).unwrap();
    assert_eq!((fixture["hidden"].as_u64(), fixture["layers"].as_u64(), want.len()), (Some(24), Some(2), 20));
    for (device, tolerance) in [(Device::reference(), 1e-6), (Device::cpu(), 1e-5)] {
        let mut task = small(&device, Kind::Lstm, &text, (4, 10), 0.0);
        let mut k = 0;
        task.model.params_mut(&mut |_, param| {
            let bound = 24f64.powf(-0.5);
            let value = tensor(&device, &Input::uniform(param.get().shape().clone(), -bound, bound, 100 + k));
            param.set(value).unwrap();
            k += 1;
        });
        let off = worst(&losses(&mut task, 20), &want);
        assert!(off < tolerance, "on {device}: off by {off:e}");
    }
}

#[test]
fn the_gpu_learns_as_the_cpu_path_does() {
    let text = Text::new(&"to be, or not to be: that is the question. ".repeat(6), 0.1).unwrap();
    let (gpu, cpu) = (under_test(), Device::cpu());
    for kind in [Kind::Rnn, Kind::Lstm, Kind::Gru] {
        let run = |device: &Device| losses(&mut small(device, kind, &text, (3, 8), 0.2), 20);
        let (on_gpu, on_cpu) = (run(&gpu), run(&cpu));
        let off = worst(&on_gpu, &on_cpu);
        assert!(off < 1e-4, "{kind:?}: off by {off:e}");
        assert!(on_cpu[19] < on_cpu[0], "{kind:?} learns nothing: {on_cpu:?}");
    }
}

/// The state is handed on in one memory from step to step, and begins anew with each round.
#[test]
fn replayed_steps_are_the_ordinary_ones_to_the_bit() {
    let text = Text::new(&"to be, or not to be: that is the question. ".repeat(8), 0.1).unwrap();
    for device in [under_test(), crate::merge::device(true, false)] {
        for kind in [Kind::Rnn, Kind::Lstm, Kind::Gru] {
            let run = |replayed: bool| {
                let mut task = small(&device, kind, &text, (3, 8), 0.2);
                if !replayed {
                    task.optimizer = Box::new(Unforeseen(Adam::new(0.03).clip_norm(0.5)));
                }
                assert_eq!(task.round(), 12);
                let mut told = Vec::new();
                let mut run = Loop::new(32).log_every(1000).observe(|event, progress, _| {
                    if let Event::Train(figures) = event {
                        told.push((progress.step, figures.to_vec()));
                    }
                    Ok(())
                });
                run.run(&mut task).unwrap();
                drop(run);
                assert_eq!(task.replayed().is_ok(), replayed, "{kind:?} on {device}: {:?}", task.replayed());
                let mut state = State::new();
                task.save(&mut state).unwrap();
                (told, state)
            };
            let (replayed, ordinary) = (run(true), run(false));
            assert_eq!(replayed.0, ordinary.0, "{kind:?} on {device}");
            for (name, saved) in &ordinary.1.tensors {
                assert_eq!(replayed.1.tensors[name].words, saved.words, "{name} of {kind:?} on {device}");
            }
        }
    }
}

#[test]
fn a_resumed_run_reads_on_where_it_stopped() {
    let device = Device::cpu();
    let text = Text::new(&"abcd efgh. ".repeat(20), 0.1).unwrap();
    let run = |steps: u64, from: Option<State>, folder: Option<&Path>| {
        let mut all = Vec::new();
        let mut run = Loop::new(steps).log_every(1).observe(|event, _, _| {
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
        run.run(&mut small(&device, Kind::Lstm, &text, (2, 7), 0.3)).unwrap();
        drop(run);
        all
    };
    let folder = tempfile::tempdir().unwrap();
    let whole = run(10, None, None);
    let first = run(5, None, Some(folder.path()));
    let second = run(10, Some(checkpoint::latest(folder.path()).unwrap()), None);
    assert_eq!(whole, [first, second].concat());
}

#[test]
fn embedded_characters_are_learned_too() -> Result<()> {
    let device = Device::cpu();
    let text = Text::new(&"the cat sat on the mat. ".repeat(30), 0.1)?;
    let options = CharModelOptions { kind: Kind::Gru, hidden: 32, embedding: 8, ..Default::default() };
    let model = CharModel::new(&mut Init::new(&device, 1), text.vocabulary.len(), &options)?;
    let mut task = CharTask::new(model, Box::new(Adam::new(0.02)), &device, &text, (4, 20), 1)?;
    let outcome = Loop::new(80).validate_every(80).run(&mut task)?;
    let (loss, accuracy) = (outcome.validation("loss").unwrap(), outcome.validation("accuracy").unwrap());
    assert!(loss < 0.6 && accuracy > 0.8, "loss {loss}, accuracy {accuracy}");
    Ok(())
}

#[test]
fn hello_is_learned_by_heart() -> Result<()> {
    for kind in [Kind::Rnn, Kind::Lstm, Kind::Gru] {
        let learned = learn_by_heart("hello", kind, &Device::cpu(), 1)?;
        assert_eq!(learned.said, "ello", "{kind:?}");
        assert!(learned.loss < 0.1, "{kind:?}: {learned:?}");
    }
    assert!(learn_by_heart("aaa", Kind::Rnn, &Device::cpu(), 1).is_err());
    Ok(())
}

#[test]
fn an_open_forget_gate_lets_gradients_pass() -> Result<()> {
    let device = Device::cpu();
    let reach = |kind, forget| gradient_by_distance(kind, 41, 32, forget, &device, 5);
    let (rnn, shut, open) = (reach(Kind::Rnn, 0.0)?, reach(Kind::Lstm, 0.0)?, reach(Kind::Lstm, 4.0)?);
    assert_eq!((rnn.len(), rnn[0], open[0]), (41, 1.0, 1.0));
    assert!(rnn[40] < 1e-6 && shut[40] < 1e-6, "rnn {:e}, lstm {:e}", rnn[40], shut[40]);
    assert!(open[40] > 0.1, "with the forget gates open {:e}", open[40]);
    Ok(())
}

#[test]
fn a_sample_is_made_by_its_seed() -> Result<()> {
    let device = Device::cpu();
    let text = Text::new(&"one two three four five. ".repeat(10), 0.1)?;
    let task = small(&device, Kind::Gru, &text, (2, 10), 0.0);
    let write = |sampling: Sampling, begin: &str| sampling.continue_text(&task.model, &text.vocabulary, begin, 30);
    let drawn = write(Sampling::default(), "one ")?;
    assert_eq!((write(Sampling::default(), "one ")?, drawn.chars().count()), (drawn.clone(), 30));
    assert_ne!(write(Sampling { seed: 7, ..Default::default() }, "one ")?, drawn);
    let likeliest = write(Sampling { temperature: 0.0, ..Default::default() }, "one ")?;
    assert_eq!(write(Sampling { top_k: 1, ..Default::default() }, "one ")?, likeliest);
    assert!(write(Sampling::default(), "one?").unwrap_err().to_string().contains("'?'"));
    assert!(write(Sampling::default(), "").is_err());
    assert!(write(Sampling { temperature: -1.0, ..Default::default() }, "one").is_err());
    assert!(write(Sampling { temperature: f32::NAN, ..Default::default() }, "one").is_err());
    Ok(())
}

#[test]
fn counts_of_words_are_probabilities() -> Result<()> {
    assert_eq!(words_of("It's 5 o'clock,\nhe said."), ["It's", "5", "o'clock", ",", "\n", "he", "said", "."]);
    let words = ["a", "b", "a", "c", "a", "b"];
    let unigrams = WordModel::count(&words, 1)?;
    // 3 of 6 are a, 3 kinds: (3 + 3 / 4) / 9, where 4 is the three words and the unknown one.
    assert!((unigrams.probability(&[], "a") - 3.75 / 9.0).abs() < 1e-12);
    let bigrams = WordModel::count(&words, 2)?;
    // After a: b twice, c once; two kinds.
    let b = (2.0 + 3.0 / 4.0) / 9.0;
    assert!((bigrams.probability(&["a"], "b") - (2.0 + 2.0 * b) / 5.0).abs() < 1e-12);
    for history in [&[][..], &["a"], &["c"], &["x"], &["b", "a"]] {
        for model in [&unigrams, &bigrams] {
            let total: f64 = ["a", "b", "c", "unknown"].iter().map(|w| model.probability(history, w)).sum();
            assert!((total - 1.0).abs() < 1e-12, "after {history:?}: {total}");
        }
    }
    assert!(bigrams.perplexity(&words) < unigrams.perplexity(&words));
    let single = -(unigrams.probability(&[], "a").ln() + unigrams.probability(&[], "x").ln()) / 2.0;
    assert!((unigrams.perplexity(&["a", "x"]) - single.exp()).abs() < 1e-9);
    assert_eq!(bigrams.sample(20, 1), bigrams.sample(20, 1));
    assert!(bigrams.sample(50, 1).windows(2).all(|w| w[0] != "b" || w[1] == "a"));
    assert!(WordModel::count(&[], 2).is_err() && WordModel::count(&words, 0).is_err());
    Ok(())
}

#[test]
fn the_example_says_what_is_wrong() {
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().and_then(Path::parent).unwrap().join("examples").join("char_rnn");
    let example = example.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(example.exists(), "{} is not built; run all tests", example.display());
    let run = |arguments: &[&str]| {
        let common = ["--device", "cpu", "--steps", "2", "--hidden", "8", "--batch", "4", "--length", "9"];
        Command::new(&example).args(common).args(arguments).output().unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_string_lossy().into_owned()
    };
    let (empty, binary, short) = (file("empty", b""), file("binary", b"\x7fELF\0\0"), file("short", b"too short"));
    let cases: [(&[&str], &str); 9] = [
        (&["--data", &empty], "is empty"),
        (&["--data", &binary], "is no text"),
        (&["--data", &short], "8 characters"),
        (&["--data", "/no/such/file"], "/no/such/file"),
        (&["--prompt", "\u{4e00}"], "never seen"),
        (&["--layer", "transformer"], "lstm"),
        (&["--hidden", "0"], "0 units"),
        (&["--show", "magic"], "vanishing"),
        (&["--expect", "0.1"], "above the expected"),
    ];
    for (arguments, wanted) in cases {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(wanted), "{arguments:?}: {text}");
        assert!(!text.contains("panicked") && text.matches("error:").count() == 1, "{arguments:?}: {text}");
    }
    let output = run(&["--show", "vanishing"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.lines().count() == 9, "{text}");
}
