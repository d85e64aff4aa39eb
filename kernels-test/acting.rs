//! The examples of reinforcement learning as a user meets them: the published tables, a run that is resumed, bad
//! options.

use std::process::{Command, Output};

use crate::cli::example;

fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(example(name)).env_remove("WGRAD_DEVICE").args(arguments).output().unwrap()
}

fn text_of(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn the_grid_is_printed_as_in_the_book() {
    let text = text_of("gridworld", &["--device", "cpu"]);
    for row in ["   3.3   8.8   4.4   5.3   1.5", "  -1.9  -1.3  -1.2  -1.4  -2.0", "  22.0  24.4  22.0  19.4  17.5"] {
        assert!(text.lines().any(|line| line == row), "{row} is not in\n{text}");
    }
}

#[test]
fn a_table_holds_the_pole_up() {
    for method in ["q", "sarsa"] {
        let text = text_of("q_table", &["--method", method]);
        let line = text.lines().last().unwrap();
        let mean: f64 = line.split(' ').nth(2).unwrap().parse().unwrap();
        assert!(mean >= 195.0, "{method}: {line}");
    }
    assert!(text_of("q_table", &["--task", "cliff", "--lr", "0.5"]).contains("13 steps"));
}

#[test]
fn bandits_leave_a_plot_of_their_regret() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let text = text_of("bandits", &["--device", "cpu", "--runs", "50", "--steps", "40", "--out", folder]);
    assert!(["greedy", "epsilon 0.1", "UCB", "Thompson"].iter().all(|name| text.contains(name)), "{text}");
    let report = std::fs::read_to_string(out.path().join("report.html")).unwrap();
    assert!(report.contains("<h2>Regret</h2>") && report.contains("<svg"));
}

#[test]
fn tables_leave_plots_and_a_film() {
    for (task, files) in
        [("cartpole", &["report.html", "policy.gif"][..]), ("cliff", &["report.html"]), ("walk", &["report.html"])]
    {
        let out = tempfile::tempdir().unwrap();
        text_of("q_table", &["--task", task, "--steps", "60", "--out", out.path().to_str().unwrap()]);
        for name in files {
            assert!(out.path().join(name).metadata().unwrap().len() > 1000, "{task}: {name}");
        }
        assert!(std::fs::read_to_string(out.path().join("report.html")).unwrap().contains("mean of 100"), "{task}");
    }
}

#[test]
fn a_run_is_resumed_and_leaves_a_report_and_a_film() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let whole = tempfile::tempdir().unwrap();
    let options = ["--device", "cpu", "--tests", "5", "--limit", "50", "--test-every", "20", "--memory", "2000"];
    let last = |text: String| text.lines().find(|l| l.starts_with("mean return")).unwrap().to_string();
    let go = |more: &[&str]| last(text_of("dqn", &[&options[..], more].concat()));
    go(&["--steps", "30", "--out", folder]);
    let resumed = go(&["--steps", "60", "--out", folder, "--resume"]);
    let straight = go(&["--steps", "60", "--out", whole.path().to_str().unwrap()]);
    let what = |line: &str| line.rsplit_once(", ").unwrap().0.to_string(); // all but the seconds
    assert_eq!(what(&resumed), what(&straight));
    for name in ["report.html", "policy.gif", "log.csv"] {
        assert!(out.path().join(name).metadata().unwrap().len() > 100, "{name}");
    }
}

#[test]
fn bad_options_are_named_with_what_would_do() {
    let cases: [(&str, &[&str], &[&str]); 21] = [
        ("dqn", &["--task", "chess"], &["chess", "cartpole or pong"]),
        ("dqn", &["--task", "pong", "--network", "tiny"], &["tiny", "small or full"]),
        ("dqn", &["--cost", "cubed"], &["cubed", "squared or huber"]),
        ("dqn", &["--lanes", "0"], &["--lanes 0", "at least 1"]),
        ("dqn", &["--memory", "5", "--batch", "2"], &["memory of 5 frames", "at least 3 frames"]),
        ("dqn", &["--discount", "1.5"], &["--discount 1.5", "0 to 1"]),
        ("dqn", &["--out", "/dev/null/x"], &["/dev/null/x"]),
        ("dqn", &["--limit", "0"], &["--limit 0", "500 (v1)"]),
        ("dqn", &["--lr", "nan"], &["--lr NaN", "above 0"]),
        ("dqn", &["--batch", "600", "--memory", "500"], &["--batch 600 with --memory 500"]),
        ("dqn", &["--target-every", "0"], &["--target-every 0", "at least 1"]),
        ("dqn", &["--test-every", "0"], &["--test-every 0", "at least 1"]),
        ("dqn", &["--task", "pong", "--opponent=-1"], &["--opponent -1", "0 or more"]),
        ("bandits", &["--runs", "0"], &["--runs 0", "at least 1"]),
        ("bandits", &["--runs", "1000000000000"], &["--runs 1000000000000", "at most"]),
        ("bandits", &["--runs", "1", "--out", "/dev/null/x"], &["/dev/null/x"]),
        ("gridworld", &["--discount", "nan"], &["--discount NaN", "0 to 1"]),
        ("gridworld", &["--grid", "six"], &["six", "five or four"]),
        ("gridworld", &["--tolerance", "0"], &["--tolerance 0", "above 0"]),
        ("q_table", &["--epsilon", "2"], &["--epsilon 2", "0 to 1"]),
        ("q_table", &["--steps", "0"], &["--steps 0", "at least 1"]),
    ];
    for (name, arguments, wanted) in cases {
        let output = run(name, arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !text.contains("panicked"), "{name} {arguments:?}: {text}");
        assert!(wanted.iter().all(|w| text.contains(w)), "{name} {arguments:?}: {text}");
        // Graphics drivers write "error:" lines of their own.
        let ours = |l: &&str| l.starts_with("error:") && wanted.iter().any(|w| l.contains(w));
        assert_eq!(text.lines().filter(ours).count(), 1, "{name} {arguments:?}: {text}");
    }
}
