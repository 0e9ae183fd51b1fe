// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random instruction sequences on this processor and on `soft-vcpu`, compared: the long run of
//! what `tests/native.rs` samples.
//!
//!     cargo run --release -p integration --bin native-check -- [CASES [SEED]]

use std::process::ExitCode;

use anyhow::{Context, Result};
use integration::native::Native;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |what: &str, default: u64| match arguments.next() {
        Some(text) => text.parse().with_context(|| format!("{what} {text:?} is no number")),
        None => Ok(default),
    };
    let cases = number("CASES", 1_000_000)?;
    let seed = number("SEED", 1)?;
    let mut native = Native::new()?;
    let report = native.run(seed, cases, |done| {
        if done % 100_000 == 0 {
            eprintln!("{done} of {cases}");
        }
    });
    for (mnemonic, cases) in &report.differences {
        for (case, difference) in cases {
            println!("{mnemonic}:\n{case}\n{difference}");
        }
    }
    println!(
        "seed {seed}: {} cases, {} with an exception, {} mnemonics, {} with differences",
        report.cases,
        report.exceptions,
        report.mnemonics.len(),
        report.differences.len()
    );
    for (mnemonic, count) in &report.mnemonics {
        println!("{mnemonic} {count}");
    }
    Ok(report.differences.is_empty())
}
