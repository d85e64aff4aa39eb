//! What a program takes on with this crate: every dependency is compiled, trusted and updated by its users.

use std::collections::BTreeSet;
use std::process::Command;

const MAX_CRATES: usize = 100;

#[test]
fn the_library_stays_light() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let listed = Command::new(cargo)
        .args(["tree", "-e", "normal", "--prefix", "none", "--format", "{p}", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(listed.status.success(), "cargo tree: {}", String::from_utf8_lossy(&listed.stderr));
    let text = String::from_utf8(listed.stdout).unwrap();
    // Name and version; " (*)" marks what was listed before, " (/path)" the crate itself.
    let crates: BTreeSet<&str> =
        text.lines().map(|l| l.split(" (").next().unwrap()).filter(|l| !l.is_empty()).collect();
    println!("{} crates in `cargo tree -e normal`, this one included", crates.len());
    assert!(crates.iter().any(|c| c.starts_with("wgpu ")), "not the tree of this crate:\n{text}");
    assert!(crates.len() <= MAX_CRATES, "{} crates, of {MAX_CRATES}:\n{crates:#?}", crates.len());
}
