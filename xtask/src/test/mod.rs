// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask test`: everything that has to hold, one step after another.
//!
//! A step that fails does not stop the others. What a step needs and does not find is a failure
//! with a sentence, never a reason to leave it out.

mod plan;
mod prerequisites;
mod tally;

use std::fs::File;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result};

use self::plan::{Measure, Step};
use self::tally::Tally;
use crate::guests::run::{self, Place};
use crate::{determinism, fetch, guests, process, ui, workspace};

/// Where the guests run: on the software CPU, and on a full KVM.
const GUESTS: [(&str, Place); 2] =
    [("guests on soft", Place::Soft), ("guests on nested KVM", Place::Nested)];

const DETERMINISM: &str = "the virtual clock, twice";

#[derive(clap::Args)]
pub struct Args {
    /// Show the steps
    #[arg(long)]
    list: bool,
}

/// Runs every step, then sums up.
pub fn main(args: &Args) -> Result<ExitCode> {
    let steps = plan::steps()?;
    if args.list {
        for step in &steps {
            println!("{:28} {}", step.name, step.command_line());
        }
        for (name, place) in GUESTS {
            println!("{name:28} cargo xtask guests --on {}", place.name());
        }
        println!("{DETERMINISM:28} cargo xtask determinism");
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    let mut total = Tally::default();
    let mut failed = Vec::new();
    let mut note = |name: &str, tally: Tally| {
        if tally.failed > 0 {
            failed.push(name.to_string());
        }
        total.add(tally);
    };
    note("prerequisites", prerequisites::check());
    let count = steps.len() + GUESTS.len() + 1;
    for (index, step) in steps.iter().enumerate() {
        let place = format!("[{}/{count}]", index + 1);
        note(&step.name, run_step(step, &place)?);
    }
    for (index, (name, place)) in (steps.len()..).zip(GUESTS) {
        ui::say(format!("[{}/{count}] {name}", index + 1));
        note(name, run_guests(place));
    }
    ui::say(format!("[{count}/{count}] {DETERMINISM}"));
    note(DETERMINISM, run_determinism());

    ui::say(format!("done in {}", ui::since(start)));
    for name in &failed {
        ui::detail(format!("FAILED: {name}"));
    }
    println!("{total}");
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one command; its output goes to a file, and to the screen if it fails.
fn run_step(step: &Step, place: &str) -> Result<Tally> {
    let start = Instant::now();
    ui::say(format!("{place} {}", step.name));
    let path = workspace::directory("test")?.join(format!("{}.log", step.file_name()));
    let mut log =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut tally = Tally::default();
    let mut last = Vec::new();
    let status = process::lines(&mut step.command(), |line| {
        let _ = writeln!(log, "{line}");
        tally.read(line);
        ui::progress(format!("    [{}] {line}", ui::since(start)));
        last.extend_from_slice(line.as_bytes());
        last.push(b'\n');
    })?;
    match step.measure {
        Measure::Status => tally = Tally::one(status.success()),
        // A command that fails without a failed test did not get to run them all; one that
        // succeeds without any test did not do what it is here for.
        Measure::Tests => {
            if tally.passed + tally.failed == 0 {
                last.extend_from_slice(b"no test was run\n");
                tally.failed += 1;
            } else if !status.success() && tally.failed == 0 {
                tally.failed += 1;
            }
        }
    }
    if tally.failed == 0 {
        let what =
            if step.measure == Measure::Tests { format!("{tally}, ") } else { "ok, ".into() };
        ui::detail(format!("{what}{}", ui::since(start)));
    } else {
        ui::detail(format!("FAILED ({status}), {}: {}", ui::since(start), step.command_line()));
        for line in process::last_lines(&last, 40).lines() {
            ui::detail(format!("  {line}"));
        }
        ui::detail(format!("  all of it: {}", workspace::short(&path)));
    }
    Ok(tally)
}

/// All guests in one place, each of which counts as a test.
fn run_guests(place: Place) -> Tally {
    let run = || {
        fetch::packages()?;
        let names = guests::all()?;
        let outcomes = run::run(place, &names, false)?;
        let passed = outcomes.iter().filter(|outcome| outcome.failures.is_empty()).count();
        Ok(Tally { passed, failed: names.len() - passed, ignored: 0 })
    };
    run().unwrap_or_else(|error: anyhow::Error| {
        ui::detail(format!("FAILED: {error:#}"));
        Tally { passed: 0, failed: 1, ignored: 0 }
    })
}

/// Each machine that boots twice counts as a test.
fn run_determinism() -> Tally {
    let machines = determinism::MACHINES.len();
    let failed = determinism::run().unwrap_or_else(|error| {
        ui::detail(format!("FAILED: {error:#}"));
        machines
    });
    Tally { passed: machines - failed, failed, ignored: 0 }
}

impl Step {
    fn command(&self) -> Command {
        let mut command = Command::new(workspace::cargo());
        command.current_dir(workspace::root()).args(&self.arguments).envs(self.environment.clone());
        // What cargo sets for xtask itself is not for the crates under test.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            command.env_remove(name);
        }
        command
    }
}
