// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask nested`: the nested rig.
//!
//! A machine inside QEMU (`rig`) has a KVM of its own; in it an agent (`agent`) runs vmm-ref for
//! each case (`cases`), plays the person at the console (`driver`) and sends everything that
//! happens to the host (`record`), where it is judged (`interrupts`) and reported (`crate::run`).

pub mod agent;
pub mod bare;
pub mod cases;
pub mod driver;
pub mod image;
pub mod interrupts;
mod pty;
pub mod record;
pub mod rig;
mod typing;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{ensure, Result};

use crate::run::{self, Backend};
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// Run only this case; may be given more than once
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Show the names of the cases and what each of them shows
    #[arg(long)]
    list: bool,
    /// Show each guest's console while it runs
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the cases and reports them.
pub fn main(args: &Args) -> Result<ExitCode> {
    if args.list {
        for case in all()?.iter().filter_map(|name| cases::find(name)) {
            println!("{:30} {}", case.name, case.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let names = if args.cases.is_empty() { all()? } else { args.cases.clone() };
    for name in &names {
        ensure!(
            cases::find(name).is_some(),
            "no case is called {name:?}; `cargo xtask nested --list` shows them"
        );
    }
    let start = Instant::now();
    let outcomes = run::run(Backend::Nested, &names, args.verbose)?;
    let failed = outcomes.iter().filter(|outcome| !outcome.failures.is_empty()).count();
    ui::say(format!(
        "{} guests passed, {failed} failed, {}",
        outcomes.len() - failed,
        ui::since(start)
    ));
    ensure!(outcomes.len() == names.len(), "not every case was run");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names of all cases.
///
/// # Errors
/// If the bare-metal guests cannot be built.
pub fn all() -> Result<Vec<String>> {
    let mut names: Vec<String> = cases::all().into_iter().map(|case| case.name).collect();
    names.extend(bare::Bare::build()?.cases()?);
    Ok(names)
}
