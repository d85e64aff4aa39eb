//! One stem finds the room: the registry and the four folders hold the same names, and no file outgrows its room.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use wgrad::ops::REGISTRY;

use crate::launches;
use crate::layers::rust_files;
use crate::shaders::files;

/// Files in the folders of rooms that are none, and what they are.
const NOT_ROOMS: &[(&str, &str)] = &[
    ("src/ops/mod.rs", "the registry"),
    ("src/reference/mod.rs", "arrays and views"),
    ("src/reference/real.rs", "f32 and f64"),
    ("src/reference/recycle.rs", "memory used again"),
    ("src/reference/simd.rs", "loops for the widest vectors"),
    ("src/reference/tile.rs", "products with a left operand that is never written out"),
    ("kernels-test/ops/mod.rs", "a list of modules"),
];

/// Rooms that launch, and have no shader of their own name, and why.
const NO_SHADER: &[(&str, &str)] = &[];

const MAX_LINES: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// The rooms: files and folders of `src/ops`.
fn stems() -> BTreeSet<String> {
    fs::read_dir(root().join("src/ops"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".rs").to_string())
        .filter(|stem| !NOT_ROOMS.iter().any(|(path, _)| *path == format!("src/ops/{stem}.rs")))
        .collect()
}

/// The room of a name: `NAME`, or the longest `STEM` where the name is `STEM_suffix`.
fn room<'a>(name: &str, stems: &'a BTreeSet<String>) -> Option<&'a str> {
    let fits = |stem: &&String| name == stem.as_str() || name.starts_with(&format!("{stem}_"));
    stems.iter().filter(fits).max_by_key(|stem| stem.len()).map(String::as_str)
}

#[test]
fn every_op_has_its_room_and_every_room_its_op() {
    assert!(!REGISTRY.is_empty(), "the registry is empty: nothing was checked");
    let stems = stems();
    let mut failures = BTreeSet::new();
    let mut used = BTreeSet::new();
    let mut names = BTreeSet::new();
    for entry in REGISTRY {
        if !names.insert(entry.name) {
            failures.insert(format!("{}: in the registry twice", entry.name));
        }
        let Some(stem) = room(entry.name, &stems) else {
            failures.insert(format!("{}: no src/ops/{0}.rs, and no file of which the name is a prefix", entry.name));
            continue;
        };
        used.insert(stem);
        let mut wanted = vec![format!("src/reference/{stem}.rs"), format!("kernels-test/ops/{stem}.rs")];
        let launches = launches::all().with_kernels.contains(&entry.name);
        if launches && !NO_SHADER.iter().any(|(other, _)| *other == stem) {
            wanted.push(format!("shaders/{stem}.wgsl"));
        }
        failures.extend(wanted.iter().filter(|path| !exists(path)).map(|path| format!("{stem}: no {path}")));
    }
    failures.extend(
        stems.iter().filter(|s| !used.contains(s.as_str())).map(|s| format!("src/ops/{s}.rs: not in the registry")),
    );

    // A file that no list names is not compiled, and its tests never fail.
    let listed = fs::read_to_string(root().join("kernels-test/ops/mod.rs")).unwrap();
    for stem in stems.iter().filter(|stem| exists(&format!("kernels-test/ops/{stem}.rs"))) {
        if !listed.contains(&format!("mod {stem};")) {
            failures.insert(format!("kernels-test/ops/{stem}.rs: not in the list of modules, so it is not run"));
        }
    }

    for folder in ["src/reference", "kernels-test/ops"] {
        for path in rust_files(&root().join(folder)) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            let stem = name[folder.len() + 1..].split(['/', '.']).next().unwrap();
            if !stems.contains(stem) && !NOT_ROOMS.iter().any(|(path, _)| *path == name) {
                failures.insert(format!("{name}: no op has this stem"));
            }
        }
    }
    for name in files("").keys() {
        if room(name.trim_end_matches(".wgsl"), &stems).is_none() {
            failures.insert(format!("shaders/{name}: no op has this stem"));
        }
    }
    for (path, what) in NOT_ROOMS {
        if !exists(path) {
            failures.insert(format!("{path} ({what}): an exception for a file that does not exist"));
        }
    }
    for (stem, why) in NO_SHADER {
        if !stems.contains(*stem) || exists(&format!("shaders/{stem}.wgsl")) {
            failures.insert(format!("{stem}: an exception that is none any more ({why})"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn no_file_outgrows_its_room() {
    let mut failures = Vec::new();
    let mut counted = 0;
    let mut count = |name: &str, text: &str| {
        counted += 1;
        let lines = text.lines().count();
        if lines > MAX_LINES {
            failures.push(format!("{name}: {lines} lines of {MAX_LINES}; could it be two rooms with better names?"));
        }
    };
    for folder in ["src", "kernels-test", "examples", "benches"] {
        for path in rust_files(&root().join(folder)) {
            count(&path.strip_prefix(root()).unwrap().to_string_lossy(), &fs::read_to_string(&path).unwrap());
        }
    }
    for folder in ["", "shared"] {
        for (name, text) in files(folder) {
            count(&format!("shaders/{folder}/{name}"), &text);
        }
    }
    assert!(counted > 20, "found only {counted} files");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
