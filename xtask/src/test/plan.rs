// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The steps of `cargo xtask test` that are calls of cargo.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace;

/// One call of cargo.
pub struct Step {
    /// What it shows.
    pub name: String,
    /// What follows `cargo`.
    pub arguments: Vec<String>,
    /// Variables beside the inherited ones.
    pub environment: Vec<(&'static str, &'static str)>,
    /// How its success is counted.
    pub measure: Measure,
}

/// How a step's success is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// By its exit status, as one check.
    Status,
    /// By the tests it runs; none at all is a failure.
    Tests,
}

/// The crates whose atomics are model-checked, and where the models are.
const LOOM: [(&str, &str); 4] = [
    ("irq-routing", "--lib loom"),
    ("lapic-emulation", "--lib loom"),
    ("soft-vcpu", "--lib loom"),
    ("vcpu-events", "--test loom"),
];
/// Switches of threads that are not forced: where bugs are (see loom's documentation). Without a
/// bound the models of one crate take minutes.
const LOOM_PREEMPTIONS: &str = "3";

impl Step {
    fn new(name: impl Into<String>, arguments: &str) -> Self {
        Self {
            name: name.into(),
            arguments: arguments.split(' ').map(str::to_string).collect(),
            environment: Vec::new(),
            measure: Measure::Status,
        }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    fn counting_tests(mut self) -> Self {
        self.measure = Measure::Tests;
        self
    }

    /// The command, to be typed again by a person.
    pub fn command_line(&self) -> String {
        let environment =
            self.environment.iter().map(|(name, value)| format!("{name}=\"{value}\" "));
        format!("{}cargo {}", environment.collect::<String>(), self.arguments.join(" "))
    }

    /// The name as that of a file.
    pub fn file_name(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        self.name.chars().map(plain).collect()
    }
}

/// All steps in order: the quick ones first.
pub fn steps() -> Result<Vec<Step>> {
    let mut steps = vec![
        Step::new("format", "fmt --all -- --check"),
        Step::new(
            "lints, all features",
            "clippy --locked --workspace --all-features --all-targets -- -D warnings",
        ),
        Step::new("behaviours have tests", "xtask conformance --check"),
    ];
    for package in packages()? {
        let build = format!("clippy --locked --package {} --no-default-features", package.name);
        steps.push(Step::new(
            format!("build {} plain", package.name),
            &format!("{build} -- -D warnings"),
        ));
        for feature in &package.features {
            steps.push(Step::new(
                format!("build {} with {feature}", package.name),
                &format!("{build} --features {feature} -- -D warnings"),
            ));
        }
    }
    steps.push(
        Step::new("tests", "test --locked --workspace --all-features --no-fail-fast")
            .counting_tests(),
    );
    steps.push(
        Step::new("documentation", "doc --locked --workspace --all-features --no-deps")
            .with("RUSTDOCFLAGS", "-D warnings"),
    );
    for (name, models) in LOOM {
        let target = workspace::target().join("loom");
        let test = format!("test --locked --release --package {name} {models} --target-dir");
        let mut step = Step::new(format!("interleavings of {name}"), &test)
            .with("RUSTFLAGS", "--cfg loom")
            .with("LOOM_MAX_PREEMPTIONS", LOOM_PREEMPTIONS)
            .counting_tests();
        step.arguments.push(workspace::short(&target));
        steps.push(step);
    }
    let fuzz = workspace::target().join("fuzz");
    let mut replay = Step::new(
        "fuzz corpora and samples",
        "test --locked --manifest-path fuzz/Cargo.toml --target-dir",
    )
    .counting_tests();
    replay.arguments.push(workspace::short(&fuzz));
    steps.push(replay);
    Ok(steps)
}

/// A package of the workspace and its features.
struct Package {
    name: String,
    features: Vec<String>,
}

/// The library crates, in the order of their names, and vmm-ref.
fn packages() -> Result<Vec<Package>> {
    let crates = workspace::root().join("crates");
    let mut manifests: Vec<PathBuf> = fs::read_dir(&crates)
        .with_context(|| format!("cannot read {}", crates.display()))?
        .flatten()
        .map(|entry| entry.path().join("Cargo.toml"))
        .collect();
    manifests.sort();
    manifests.push(workspace::root().join("vmm-ref/Cargo.toml"));
    manifests
        .iter()
        .map(|manifest| {
            let text = fs::read_to_string(manifest)
                .with_context(|| format!("cannot read {}", manifest.display()))?;
            let name = keys(&text, "[package]")
                .find_map(|(key, value)| {
                    (key == "name").then(|| value.trim_matches('"').to_string())
                })
                .with_context(|| format!("{} has no name", manifest.display()))?;
            let features = keys(&text, "[features]")
                .map(|(key, _)| key.to_string())
                .filter(|feature| feature != "default")
                .collect();
            Ok(Package { name, features })
        })
        .collect()
}

/// The `key = value` lines of one section of a manifest.
fn keys<'a>(manifest: &'a str, section: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    manifest
        .lines()
        .skip_while(move |line| line.trim() != section)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_alphanumeric()))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_read_from_the_manifest() {
        let manifest = "[package]\nname = \"x\"\n\n[features]\ndefault = []\n# kernel's\n\
                        kvm = [\"dep:a\"]\nvm-device = [\n  \"dep:b\",\n]\n\n[lints]\nworkspace = true\n";
        let found: Vec<&str> = keys(manifest, "[features]").map(|(key, _)| key).collect();
        assert_eq!(found, ["default", "kvm", "vm-device"]);
    }

    #[test]
    fn every_crate_is_built_plain_and_the_models_are_run() {
        let steps = steps().unwrap();
        for name in ["irq-routing", "legacy-pic", "legacy-pit", "ioapic", "lapic-emulation"] {
            let plain = format!("build {name} plain");
            assert!(steps.iter().any(|step| step.name == plain), "{plain}");
            let kvm = format!("build {name} with kvm");
            assert!(steps.iter().any(|step| step.name == kvm), "{kvm}");
        }
        for (name, _) in LOOM {
            let step = steps.iter().find(|step| step.name == format!("interleavings of {name}"));
            assert!(step.is_some_and(|step| step.command_line().starts_with("RUSTFLAGS=")));
        }
    }

    #[test]
    fn a_step_can_be_typed_again() {
        let step = Step::new("a b", "doc --no-deps").with("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(step.command_line(), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps");
        assert_eq!(step.file_name(), "a-b");
    }
}
