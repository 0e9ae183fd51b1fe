// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask guests`: guests that have to boot, on any backend.
//!
//! A case (`cases`) says how vmm-ref is called, what a person at the console does and what must
//! show; it is played by `driver`, judged by `interrupts`, and reported by `run`.

pub mod bare;
pub mod cases;
pub mod debian;
pub mod driver;
pub mod interrupts;
mod pty;
pub mod run;
mod typing;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{ensure, Result};

use crate::ui;
use run::Place;

#[derive(clap::Args)]
pub struct Args {
    /// Where to run them
    #[arg(long, value_enum, default_value_t = Place::Soft)]
    on: Place,
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
            "no case is called {name:?}; `cargo xtask guests --list` shows them"
        );
    }
    let start = Instant::now();
    let outcomes = run::run(args.on, &names, args.verbose)?;
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
