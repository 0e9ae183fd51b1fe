// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask boot`: Debian to a shell line and /proc/interrupts, in both topologies.

use std::process::ExitCode;

use anyhow::{ensure, Result};
use clap::ValueEnum;

use crate::guests::run::{self, Place};
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The interrupt controllers of the machine
    #[arg(long, value_enum, default_value_t = Topology::Both)]
    topology: Topology,
    /// How many CPUs a machine with an IOAPIC has
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=32))]
    cpus: u32,
    /// Where to run
    #[arg(long, value_enum, default_value_t = Place::Auto)]
    on: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Topology {
    /// 8259A pair and 8254, one CPU
    Pic,
    /// IOAPIC and LAPICs as well
    Ioapic,
    /// One after the other
    Both,
}

/// Boots the guests and shows their consoles.
pub fn main(args: &Args) -> Result<ExitCode> {
    let mut names = Vec::new();
    if args.topology != Topology::Ioapic {
        names.push("boot-pic-1".to_string());
    }
    if args.topology != Topology::Pic {
        names.push(format!("boot-ioapic-{}", args.cpus));
    }
    let outcomes = run::run(args.on, &names, true)?;
    ensure!(outcomes.len() == names.len(), "not every guest was booted");
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| !outcome.failures.is_empty())
        .map(|outcome| outcome.name.as_str())
        .collect();
    if failed.is_empty() {
        ui::say("booted to a shell, counted interrupts, powered off");
        Ok(ExitCode::SUCCESS)
    } else {
        ui::say(format!("not as it should be: {}", failed.join(", ")));
        Ok(ExitCode::FAILURE)
    }
}
