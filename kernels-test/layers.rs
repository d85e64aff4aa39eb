//! Each layer uses only what stands below it. A module that reaches up is where a design starts to rot, and the
//! compiler does not mind; so this reads every path into the crate, in code and in the test modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. Modules on one line are neighbours: they may use each other, but not in a circle.
const LAYERS: &[&[&str]] = &[
    &["error"],
    &["device"],
    &["reference"],
    &["tensor"],
    &["plan"],
    &["autodiff"],
    &["ops"],
    &["functional", "selftest"],
    &["nn", "optim", "data", "env"],
    &["train"],
];

#[test]
fn no_use_points_upward_and_none_in_a_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = read(&src.join("lib.rs"));
    let reexports = reexports(&root);
    let mut failures = BTreeSet::new();
    let mut neighbours: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut seen = 0;
    for path in rust_files(&src) {
        let inside: Vec<String> =
            path.strip_prefix(&src).unwrap().iter().map(|p| p.to_string_lossy().replace(".rs", "")).collect();
        if inside == ["lib"] {
            continue;
        }
        let Some((from, from_name)) = level(&inside[0]) else {
            failures.insert(format!("src/{}: on no layer; say in LAYERS what it may use", inside[0]));
            continue;
        };
        let depth = inside.len() - usize::from(inside.last().is_some_and(|l| l == "mod"));
        for name in roots(&read(&path), depth) {
            // `crate::Tensor` is what lib.rs says it is.
            let target = reexports.get(&name).unwrap_or(&name);
            let Some((to, to_name)) = level(target) else {
                failures.insert(format!("{}: `crate::{name}` is on no layer", inside.join("/")));
                continue;
            };
            seen += 1;
            if to > from {
                failures.insert(format!("src/{}.rs uses {to_name}, which stands above {from_name}", inside.join("/")));
            } else if to == from && to_name != from_name {
                neighbours.entry(from_name).or_default().insert(to_name);
            }
        }
    }
    assert!(seen > 20, "found only {seen} paths into the crate: the reader is broken");
    if let Some(circle) = circle(&neighbours) {
        failures.insert(format!("a circle: {}", circle.join(" -> ")));
    }
    assert!(failures.is_empty(), "{}", failures.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_reader_sees_every_form_of_path() {
    let text = r#"
        //! Not [`crate::comment`].
        use crate::a::{B, C};
        use crate::{d, e::{F, crate_g}, h as i};
        use super::super::plan::K; // leads out of a file two modules deep
        use super::super::Sibling;
        use super::sibling;
        const S: &str = "crate::string";
        const R: &str = r"crate::raw";
        fn f<'a>(x: &'a crate::l::M) -> char { $crate::n::o!(); crate::params! { struct P {} } '"' }
        /* crate::block */ mod tests { use crate::p; }
    "#;
    let found: Vec<String> = roots(text, 2).into_iter().collect();
    assert_eq!(found, ["a", "d", "e", "h", "l", "n", "p", "plan"]);
    let root = "pub mod a;\n\npub use device::Device; // c\npub use tensor::{\n    DType, Shape, Tensor,\n};";
    assert_eq!(reexports(root).get("Shape").map(String::as_str), Some("tensor"));
    let edges = BTreeMap::from([("a", BTreeSet::from(["b"])), ("b", BTreeSet::from(["c", "a"]))]);
    assert!(circle(&edges).is_some());
    assert!(circle(&BTreeMap::from([("a", BTreeSet::from(["b"]))])).is_none());
}

fn level(module: &str) -> Option<(usize, &'static str)> {
    LAYERS.iter().enumerate().find_map(|(i, names)| names.iter().find(|&&n| n == module).map(|&n| (i, n)))
}

/// Every `.rs` file under a folder.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Which module each name that lib.rs re-exports comes from.
fn reexports(root: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let code = code_only(root);
    for path in code.split(';').filter_map(|statement| statement.trim().strip_prefix("pub use ")) {
        let (module, items) = path.split_once("::").unwrap_or((path, ""));
        for item in items.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|i| !i.is_empty()) {
            names.insert(item.to_string(), module.to_string());
        }
    }
    names
}

/// The first names of all paths that start at the root of the crate, in the text of a file `depth` modules deep.
fn roots(text: &str, depth: usize) -> BTreeSet<String> {
    let text = code_only(text);
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_none_or(|c| !c.is_alphanumeric() && c != '_') {
            found.extend(heads(&text[at + "crate::".len()..]));
        }
    }
    let out = "super::".repeat(depth);
    for (at, _) in text.match_indices(&out) {
        // From an inline module the same path ends one level lower, at a sibling: only names of layers count.
        found.extend(heads(&text[at + out.len()..]).into_iter().filter(|name| level(name).is_some()));
    }
    found.retain(|name| name != "super");
    found
}

/// The first name of a path, or of each path in braces. The name of a macro is none.
fn heads(path: &str) -> Vec<String> {
    let Some(list) = path.strip_prefix('{') else {
        let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let is_macro = path[name.len()..].starts_with('!') && !path[name.len()..].starts_with("!=");
        return if name.is_empty() || is_macro { Vec::new() } else { vec![name] };
    };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.extend(heads(list[start..i].trim()));
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// The text without comments, and with empty strings and characters.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let hashes = rest[1..].chars().take_while(|&h| h == '#').count();
        let after_word = code.ends_with(|p: char| p.is_alphanumeric() || p == '_');
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
        } else if c == 'r' && !after_word && rest[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = &rest[2 + hashes..];
            rest = body.find(&close).map_or("", |end| &body[end + close.len()..]);
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|d| {
                let ends = d == '"' && !escaped;
                escaped = d == '\\' && !escaped;
                ends
            });
            rest = end.map_or("", |end| &rest[end + 2..]);
        } else if c == '\'' {
            // A character or a lifetime: only the first closes.
            let mut body = rest[1..].chars();
            let first = body.next();
            let literal = if first == Some('\\') {
                rest[2..].find('\'').filter(|&e| e > 0).map(|e| e + 2)
            } else {
                (body.next() == Some('\'')).then(|| 1 + first.map_or(0, char::len_utf8))
            };
            rest = literal.map_or(&rest[1..], |end| &rest[end + 1..]);
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

/// A circle in a graph, if it has one.
fn circle<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    fn walk<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, path: &mut Vec<&'a str>) -> bool {
        let last = path[path.len() - 1];
        edges.get(last).into_iter().flatten().any(|&next| {
            let closes = path.contains(&next);
            path.push(next);
            closes || walk(edges, path) || path.pop().is_none()
        })
    }
    edges.keys().find_map(|&start| {
        let mut path = vec![start];
        walk(edges, &mut path).then_some(path)
    })
}
