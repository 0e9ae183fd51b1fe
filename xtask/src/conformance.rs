// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `docs/conformance.md`: which tests show which behaviour, read off the tests' names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{bail, Context, Result};

use crate::{ui, workspace};

/// The behaviours' prefixes, as they stand in front of tests' names.
const PREFIXES: [&str; 7] = ["pic", "pit", "ioa", "lap", "rte", "evt", "all"];
/// Where tests are.
const TREES: [&str; 5] = ["crates", "vmm-ref", "tests", "fuzz/src", "xtask/src"];

/// Behaviour id ("PIC-7") to "package: test" lists.
type Shown = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[derive(clap::Args)]
pub struct Args {
    /// Change nothing; fail if the document is out of date
    #[arg(long)]
    check: bool,
}

/// Writes the document's last column, or checks it.
pub fn main(args: &Args) -> Result<ExitCode> {
    let path = workspace::root().join("docs/conformance.md");
    let text = fs::read_to_string(&path).context("cannot read docs/conformance.md")?;
    let shown = collect()?;
    let (new, missing) = rewrite(&text, &shown);
    if !missing.is_empty() {
        bail!("no test is named after {}: write one for each", missing.join(", "));
    }
    if args.check && new != text {
        bail!("docs/conformance.md is out of date: run `cargo xtask conformance` and commit it");
    }
    fs::write(&path, new)?;
    ui::say("every behaviour in docs/conformance.md has its tests");
    Ok(ExitCode::SUCCESS)
}

/// Fills the last column of each behaviour's row; the ids without a test come back too.
fn rewrite(text: &str, shown: &Shown) -> (String, Vec<String>) {
    let mut missing = Vec::new();
    let mut new = String::new();
    for line in text.lines() {
        match row(line) {
            Some((id, behaviour)) => match shown.get(id) {
                Some(tests) => new += &format!("| {id} | {behaviour} | {} |", list(tests)),
                None => {
                    missing.push(id.to_string());
                    new += line;
                }
            },
            None => new += line,
        }
        new.push('\n');
    }
    (new, missing)
}

/// The id and the behaviour of a table row. A bar inside a cell is written `\|`.
fn row(line: &str) -> Option<(&str, &str)> {
    let (id, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
    let prefix = id.split_once('-')?.0.to_lowercase();
    let behaviour = rest.rsplit_once(" | ")?.0;
    PREFIXES.contains(&prefix.as_str()).then_some((id, behaviour))
}

fn list(tests: &BTreeMap<String, Vec<String>>) -> String {
    let package =
        |(package, names): (&String, &Vec<String>)| format!("{package}: {}", names.join(", "));
    tests.iter().map(package).collect::<Vec<_>>().join("; ")
}

fn collect() -> Result<Shown> {
    let mut shown = Shown::new();
    for tree in TREES {
        for file in rust_files(&workspace::root().join(tree))? {
            let text = fs::read_to_string(&file)?;
            let package = package(&file);
            for name in text.lines().filter_map(test) {
                for id in ids(name) {
                    let names = shown.entry(id).or_default().entry(package.clone()).or_default();
                    names.push(format!("`{name}`"));
                }
            }
        }
    }
    for names in shown.values_mut().flat_map(BTreeMap::values_mut) {
        names.sort();
        names.dedup();
    }
    Ok(shown)
}

/// The name of the test that a line begins: a function, or a row `name: guest` of a macro that
/// makes functions.
fn test(line: &str) -> Option<&str> {
    let line = line.trim_start();
    match line.strip_prefix("fn ") {
        Some(function) => function.split_once('(').map(|(name, _)| name),
        None => line.split_once(": \"").map(|(name, _)| name),
    }
}

/// `pit_3_4_agree` shows PIT-3 and PIT-4, `evt_6_lap_8_nmi` EVT-6 and LAP-8.
fn ids(name: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut prefix = None;
    for word in name.split('_') {
        if PREFIXES.contains(&word) {
            prefix = Some(word.to_uppercase());
        } else if let (Some(prefix), 1..=2, Ok(number)) = (&prefix, word.len(), word.parse::<u8>())
        {
            ids.push(format!("{prefix}-{number}"));
        } else {
            break;
        }
    }
    ids
}

/// "legacy-pic" for a file below crates/legacy-pic, else the first folder.
fn package(file: &Path) -> String {
    let below = file.strip_prefix(workspace::root()).unwrap_or(file);
    let mut parts = below.iter().map(|part| part.to_string_lossy().into_owned());
    match parts.next() {
        Some(first) if first == "crates" => parts.next().unwrap_or_default(),
        Some(first) => first,
        None => String::new(),
    }
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(files) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_s_name_names_its_behaviours() {
        assert_eq!(ids("pic_7_edge_pulse"), ["PIC-7"]);
        assert_eq!(ids("pit_3_4_5_agree"), ["PIT-3", "PIT-4", "PIT-5"]);
        assert_eq!(ids("ioa_1_the_8_bits"), ["IOA-1"]);
        assert_eq!(ids("evt_6_lap_8_nmi"), ["EVT-6", "LAP-8"]);
        assert_eq!(ids("pick_7"), [""; 0]);
        assert_eq!(test("    fn lap_7_timer() {"), Some("lap_7_timer"));
        assert_eq!(test("    lap_7_timer: \"lapic_timer\", IoApic;"), Some("lap_7_timer"));
    }

    /// The manifests and crate roots below crates/.
    fn crates() -> Vec<(String, String)> {
        let folders = fs::read_dir(workspace::root().join("crates")).unwrap();
        let read = |folder: &Path, file| fs::read_to_string(folder.join(file)).unwrap();
        let both = |folder: PathBuf| (read(&folder, "Cargo.toml"), read(&folder, "src/lib.rs"));
        folders.map(|folder| both(folder.unwrap().path())).collect()
    }

    #[test]
    fn all_1_every_device_crate_is_no_std_and_forbids_unsafe_code() {
        // The software CPU is no device model: it reaches into guest memory.
        let is_device = |manifest: &str| !manifest.contains("name = \"soft-vcpu\"");
        for (_, root) in crates().iter().filter(|(manifest, _)| is_device(manifest)) {
            let attribute = |text: &str| root.lines().any(|line| line == text);
            assert!(attribute("#![no_std]") && attribute("#![forbid(unsafe_code)]"), "{root}");
        }
    }

    #[test]
    fn all_4_every_crate_denies_missing_documentation() {
        let workspace = fs::read_to_string(workspace::root().join("Cargo.toml")).unwrap();
        assert!(workspace.contains("\nmissing_docs = \"deny\"\n"));
        for (manifest, root) in crates() {
            assert!(manifest.contains("[lints]\nworkspace = true"), "{manifest}");
            assert!(!root.contains("allow(missing_docs)"), "{root}");
        }
    }

    #[test]
    fn a_row_gets_its_tests_and_a_behaviour_without_one_is_missed() {
        let tests = BTreeMap::from([("legacy-pic".into(), vec!["`pic_1_a`".into()])]);
        let shown = Shown::from([("PIC-1".into(), tests)]);
        let (text, missing) = rewrite("| PIC-1 | ports | old |\n| PIC-2 | words | |\n", &shown);
        assert_eq!(text, "| PIC-1 | ports | legacy-pic: `pic_1_a` |\n| PIC-2 | words | |\n");
        assert_eq!(missing, ["PIC-2"]);
    }
}
