//! One HTML file that says what a run was and what came of it, with every picture in it: it can be mailed, and opened
//! in ten years.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::picture::Picture;
use super::{Event, Outcome, Progress};
use crate::error::{Error, Result};

/// A line of a chart: its name and its points.
pub type Line = (String, Vec<(f64, f64)>);

/// A report in the making: sections in the order in which they are added.
#[derive(Debug, Clone, Default)]
pub struct Report {
    title: String,
    body: String,
    /// Figures by name, then by split, as the events of a run told them.
    curves: Vec<(String, Vec<Line>)>,
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}\
h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid #ddd}table{border-collapse:collapse}\
td,th{padding:.2em .7em;text-align:left;border-bottom:1px solid #eee}table.m td,table.m th{text-align:right}\
img{image-rendering:pixelated;max-width:100%}figure{display:inline-block;margin:.3em;text-align:center;font-size:.85em}\
svg{max-width:100%;height:auto}pre{background:#f6f6f6;padding:1em;overflow-x:auto}";

const COLOURS: [&str; 6] = ["#1f6fb4", "#d9602b", "#2e8b57", "#8a4fbf", "#b8860b", "#555555"];

impl Report {
    /// An empty report.
    pub fn new(title: &str) -> Report {
        Report { title: title.into(), ..Report::default() }
    }

    /// Notes the figures of a run's event, for [`Report::curves`].
    pub fn record(&mut self, event: &Event, progress: &Progress) {
        let (split, figures) = match event {
            Event::Train(figures) => ("training", figures),
            Event::Validation(figures, _) => ("validation", figures),
            _ => return,
        };
        for (name, value) in *figures {
            let lines = entry(&mut self.curves, name);
            entry(lines, split).push((progress.step as f64, *value));
        }
    }

    /// A chart of each figure that was recorded, by step.
    pub fn curves(&mut self) -> &mut Report {
        for (name, lines) in std::mem::take(&mut self.curves) {
            self.chart(&name, "step", &lines);
        }
        self
    }

    /// How the run ended.
    pub fn outcome(&mut self, outcome: &Outcome) -> &mut Report {
        let per_step = 1e3 * outcome.seconds / outcome.steps.max(1) as f64;
        let mut rows = vec![
            ("steps".to_string(), outcome.steps.to_string()),
            ("time".to_string(), format!("{:.1} s, {per_step:.2} ms per step", outcome.seconds)),
        ];
        let figure = |(name, value): &(String, f64), split: &str| (format!("{split} {name}"), format!("{value:.5}"));
        rows.extend(outcome.figures.iter().map(|f| figure(f, "training")));
        rows.extend(outcome.validation.iter().map(|f| figure(f, "validation")));
        if let Some((step, value)) = outcome.best {
            rows.push(("best validation".into(), format!("{value:.5} at step {step}")));
        }
        self.table("Outcome", &rows)
    }

    /// Names and values: settings, device, seed, digest.
    pub fn table(&mut self, title: &str, rows: &[(String, String)]) -> &mut Report {
        self.heading(title);
        self.body += "<table>";
        for (name, value) in rows {
            let _ = write!(self.body, "<tr><th>{}</th><td>{}</td></tr>", escaped(name), escaped(value));
        }
        self.body += "</table>\n";
        self
    }

    /// How often class `row` was taken for class `column`; the right ones stand on the diagonal.
    ///
    /// # Panics
    /// If the matrix is not square.
    #[track_caller]
    pub fn confusion(&mut self, title: &str, counts: &[Vec<u64>]) -> &mut Report {
        assert!(counts.iter().all(|row| row.len() == counts.len()), "confusion: the matrix is not square");
        self.heading(title);
        self.body += "<p>Rows are the labels, columns the answers.</p><table class=m><tr><th></th>";
        (0..counts.len()).for_each(|c| self.body += &format!("<th>{c}</th>"));
        self.body += "<th>right</th></tr>";
        for (r, row) in counts.iter().enumerate() {
            let all: u64 = row.iter().sum();
            let share = |n: u64| n as f64 / all.max(1) as f64;
            let _ = write!(self.body, "<tr><th>{r}</th>");
            for (c, &n) in row.iter().enumerate() {
                let hue = if r == c { "46,139,87" } else { "217,96,43" };
                // Mistakes are few: show a twentieth in full colour.
                let depth = if r == c { 0.6 * share(n) } else { (20.0 * share(n)).min(0.9) };
                let _ = write!(self.body, "<td style=\"background:rgba({hue},{depth:.2})\">{n}</td>");
            }
            let _ = write!(self.body, "<td>{:.2} %</td></tr>", 100.0 * share(row[r]));
        }
        self.body += "</table>\n";
        self
    }

    /// Pictures with a caption each, shown `factor` times as large.
    pub fn pictures(&mut self, title: &str, pictures: &[(String, Picture)], factor: usize) -> &mut Report {
        self.heading(title);
        for (caption, picture) in pictures {
            let _ = writeln!(
                self.body,
                "<figure><img width={} height={} alt=\"\" src=\"data:image/png;base64,{}\"><figcaption>{}</figcaption></figure>",
                picture.width() * factor,
                picture.height() * factor,
                BASE64_STANDARD.encode(picture.png()),
                escaped(caption),
            );
        }
        self
    }

    /// A chart of lines over a common axis.
    pub fn chart(&mut self, title: &str, axis: &str, lines: &[Line]) -> &mut Report {
        self.heading(title);
        self.body += &chart(axis, lines);
        self
    }

    /// A text as it is, e.g. a sample of a language model.
    pub fn text(&mut self, title: &str, text: &str) -> &mut Report {
        self.heading(title);
        let _ = writeln!(self.body, "<pre>{}</pre>", escaped(text));
        self
    }

    /// The page.
    pub fn html(&self) -> String {
        let title = escaped(&self.title);
        format!(
            "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title}</h1>\n{}</html>\n",
            self.body
        )
    }

    /// Writes the page.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        std::fs::write(path.as_ref(), self.html()).map_err(|e| {
            Error::file(path.as_ref(), format!("cannot be written: {e}"), "Name a file in a folder that can be written")
        })
    }

    fn heading(&mut self, title: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(title));
    }
}

fn entry<'a, V: Default>(all: &'a mut Vec<(String, V)>, name: &str) -> &'a mut V {
    let at = all.iter().position(|(n, _)| n == name).unwrap_or_else(|| {
        all.push((name.to_string(), V::default()));
        all.len() - 1
    });
    &mut all[at].1
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A chart as SVG: one line per colour, four ticks an axis.
fn chart(axis: &str, lines: &[Line]) -> String {
    const SIZE: (f64, f64) = (720.0, 300.0);
    let (left, right, top, bottom) = (64.0, SIZE.0 - 12.0, 12.0, SIZE.1 - 34.0);
    let points = || lines.iter().flat_map(|(_, points)| points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let (x_range, y_range) = (range(points().map(|p| p.0)), range(points().map(|p| p.1)));
    let along = |v: f64, (low, high): (f64, f64), a: f64, b: f64| a + (v - low) / (high - low) * (b - a);
    let at = |&(x, y): &(f64, f64)| (along(x, x_range, left, right), along(y, y_range, bottom, top));
    let mut svg =
        format!("<svg viewBox=\"0 0 {} {}\" width={} role=img font-size=12 fill=none>", SIZE.0, SIZE.1, SIZE.0);
    for k in 0..5 {
        let part = f64::from(k) / 4.0;
        let (x, y) = (left + part * (right - left), bottom + part * (top - bottom));
        let value = |(low, high): (f64, f64)| low + part * (high - low);
        let _ = write!(
            svg,
            "<path d=\"M{left} {y:.1}H{right}\" stroke=#eee /><text x={} y={:.1} text-anchor=end fill=#555>{}</text>\
             <text x={x:.1} y={} text-anchor=middle fill=#555>{}</text>",
            left - 6.0,
            y + 4.0,
            tick(value(y_range)),
            bottom + 16.0,
            tick(value(x_range)),
        );
    }
    let _ = write!(svg, "<text x={right} y={} text-anchor=end fill=#555>{}</text>", SIZE.1 - 4.0, escaped(axis));
    for (k, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[k % COLOURS.len()];
        let mut path = String::new();
        for point in points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let (x, y) = at(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        let legend = left + 8.0 + 130.0 * k as f64;
        let _ = write!(
            svg,
            "<path d=\"{path}\" stroke=\"{colour}\" stroke-width=1.6 /><path d=\"M{legend} {0}h16\" stroke=\"{colour}\" \
             stroke-width=3 /><text x={1} y={2} fill=#222>{3}</text>",
            SIZE.1 - 8.0,
            legend + 22.0,
            SIZE.1 - 4.0,
            escaped(name),
        );
    }
    svg + "</svg>\n"
}

/// The range of some numbers, never empty.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    match high - low {
        span if span > 0.0 => (low, high),
        _ if low.is_finite() => (low - 0.5, low + 0.5),
        _ => (0.0, 1.0),
    }
}

fn tick(value: f64) -> String {
    let size = value.abs();
    if size >= 1e4 && size.fract() == 0.0 || size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 1.0 || value == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}
