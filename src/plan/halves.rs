//! Kernels that read and store halves.
//!
//! A kernel is written for single precision, and stays that: where an input is stored in half precision, the planner
//! changes the text of its loads. `x[i]` becomes `x_widened(i)`, a function of its own that reads the half and gives
//! what `x[i]` would have given. So every kernel reads halves where they lie, and none knows of them.
//!
//! Where the adapter has 16-bit floats, a kernel whose result is only read as halves is likewise made to round where it
//! stores. Packed halves it cannot store, since two of them share a word.

use std::borrow::Cow;

use super::wgsl;
use crate::device::Shader;
use crate::tensor::LoweredDispatch;

/// The text of a launch whose shader widens what it reads of slots of halves.
///
/// # Panics
/// If a shader reads such an input in a way that cannot be changed by its text; the tests plan every op with halves.
pub(super) fn read_widened(launch: &LoweredDispatch, native: bool) -> Shader {
    let halves = launch.bindings.iter().enumerate().filter(|(_, bind)| bind.slot.half && !bind.write);
    let mut text = Cow::Borrowed(&*launch.shader.source);
    for (binding, _) in halves {
        text = Cow::Owned(widened(&text, binding, native).unwrap_or_else(|| {
            panic!("{}/{}: binding {binding} cannot be read as halves", launch.shader.name, launch.entry)
        }));
    }
    let source = match text {
        Cow::Borrowed(_) => return launch.shader.clone(),
        Cow::Owned(text) if native => format!("{ENABLE}{text}"),
        Cow::Owned(text) => format!("{text}\n{}\n", wgsl::shared("half_of")),
    };
    Shader { name: launch.shader.name.clone(), source: Cow::Owned(source) }
}

/// The text of a launch whose shader rounds what it stores into slots of halves; `None` if it cannot, for its form or
/// because it reads there what it stored: sums stay in single precision. For adapters with 16-bit floats.
pub(super) fn store_rounded(launch: &LoweredDispatch) -> Option<Shader> {
    let mut text = Cow::Borrowed(&*launch.shader.source);
    for (binding, _) in launch.bindings.iter().enumerate().filter(|(_, bind)| bind.slot.half && bind.write) {
        text = Cow::Owned(rounded(&text, binding, !accumulates(launch))?);
    }
    let Cow::Owned(mut text) = text else { return Some(launch.shader.clone()) };
    for function in ["rounded_to_half4", "rounded_to_half"] {
        if text.contains(&format!("{function}(")) && !text.contains(&format!("fn {function}(")) {
            text = format!("{text}\n{}\n", wgsl::shared(function));
        }
    }
    if !text.starts_with(ENABLE) {
        text.insert_str(0, ENABLE);
    }
    Some(Shader { name: launch.shader.name.clone(), source: Cow::Owned(text) })
}

/// What the text of a module begins with if it has 16-bit floats.
pub(super) const ENABLE: &str = "enable f16;\n\n";

/// Whether a launch adds to what it finds, or may: kernels that can say so by a parameter of that name.
fn accumulates(launch: &LoweredDispatch) -> bool {
    match launch.fields.iter().find(|(name, _)| *name == "accumulate") {
        Some(&(_, at)) => launch.params[at..at + 4] != [0; 4],
        None => true,
    }
}

/// The text with every variable that may be written at this binding stored as 16-bit floats. `idle_reads`: what it
/// reads there it does not use.
fn rounded(text: &str, binding: usize, idle_reads: bool) -> Option<String> {
    let head = format!("@group(0) @binding({binding}) var<storage, read_write> ");
    let mut out = text.to_string();
    let mut found = false;
    for declaration in text.lines().filter_map(|line| line.strip_prefix(&head)) {
        let (name, rest) = declaration.split_once(": array<")?;
        let (element, _) = rest.split_once(">;")?;
        let (half, round, read) = match element {
            "f32" => ("f16", "f16(rounded_to_half(", "f32"),
            "vec4<f32>" => ("vec4<f16>", "vec4<f16>(rounded_to_half4(", "vec4<f32>"),
            // Bits of single floats.
            "u32" => ("f16", "f16(rounded_to_half(bitcast<f32>(", ""),
            _ => return None,
        };
        let close = ")".repeat(round.matches('(').count());
        out = uses(&out, name, |index, value| match value {
            Some(value) => Some(format!("{name}[{index}] = {round}{value}{close}")),
            None if idle_reads && !read.is_empty() => Some(format!("{read}({name}[{index}])")),
            None => None,
        })?;
        let (line, new) = (format!("{head}{name}: array<{element}>;"), format!("{head}{name}: array<{half}>;"));
        out = out.replacen(&line, &new, 1);
        found = true;
    }
    found.then_some(out)
}

/// The text with every variable that may be read at this binding stored as halves; `None` if there is none of a form
/// that is known.
fn widened(text: &str, binding: usize, native: bool) -> Option<String> {
    let head = format!("@group(0) @binding({binding}) var<storage, read> ");
    let mut out = text.to_string();
    let mut found = false;
    for declaration in text.lines().filter_map(|line| line.strip_prefix(&head)) {
        let (name, rest) = declaration.split_once(": array<")?;
        let (element, _) = rest.split_once(">;")?;
        // What another entry point binds here may be of a type that no half is read as.
        let Some((stored, load)) = form(name, element, native) else { continue };
        let line = format!("{head}{name}: array<{element}>;");
        let function =
            format!("{head}{name}: array<{stored}>;\n\nfn {name}_widened(i: u32) -> {element} {{\n    {load}\n}}");
        out = uses(&out, name, |index, value| match value {
            None => Some(format!("{name}_widened(u32({index}))")),
            Some(_) => None,
        })?
        .replacen(&line, &function, 1);
        found = true;
    }
    found.then_some(out)
}

/// How an array of `element`s is stored as halves, and the statement that gives element `i` of it. Words stand for the
/// bits of single floats: kernels that move or sort numbers of any type see them so.
fn form(name: &str, element: &str, native: bool) -> Option<(&'static str, String)> {
    let one = match native {
        true => format!("f32({name}[i])"),
        false => format!("half_of({name}[i / 2u], i)"),
    };
    let stored = if native { "f16" } else { "u32" };
    Some(match (element, native) {
        ("f32", _) => (stored, format!("return {one};")),
        ("u32", _) => (stored, format!("return bitcast<u32>({one});")),
        ("vec4<f32>", true) => ("vec4<f16>", format!("return vec4<f32>({name}[i]);")),
        ("vec4<f32>", false) => {
            ("vec2<u32>", format!("return vec4<f32>(unpack2x16float({name}[i].x), unpack2x16float({name}[i].y));"))
        }
        _ => return None,
    })
}

/// The text with every `name[index]`, and every `name[index] = value`, as `change` has it; `None` if `change` refuses
/// one, or if the array is used in another way.
pub(super) fn uses(text: &str, name: &str, change: impl Fn(&str, Option<&str>) -> Option<String>) -> Option<String> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len() + 256);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            c if in_word(c) => rest.find(|c| !in_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(end);
        rest = after;
        // The member of a struct may have the same name, and so may a local variable.
        if word != name || out.ends_with('.') || !(after.starts_with('[') || out.ends_with('&')) {
            out.push_str(word);
            continue;
        }
        let close = closing(after)?;
        // An index may read the array too.
        let index = uses(&after[1..close], name, &change as &dyn Fn(&str, Option<&str>) -> Option<String>)?;
        let behind = after[close + 1..].trim_start();
        match behind.strip_prefix('=').filter(|value| !value.starts_with('=')) {
            Some(value) => {
                let (value, next) = value.split_once(';')?;
                let value = uses(value.trim(), name, &change as &dyn Fn(&str, Option<&str>) -> Option<String>)?;
                out.push_str(&change(&index, Some(&value))?);
                out.push(';');
                rest = next;
            }
            None => {
                out.push_str(&change(&index, None)?);
                rest = &after[close + 1..];
            }
        }
    }
    Some(out)
}

/// Where the bracket closes that a text opens with; `None` if it opens with none.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then_some(at);
        }
    }
    None
}
