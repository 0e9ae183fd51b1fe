// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask`: what a person types more than once.
//!
//! `boot` boots Debian with this project's interrupt controllers, `test` runs everything,
//! `guests` boots single guests on any backend, `fetch` gets the Debian packages that they need
//! ahead of time.

mod boot;
mod boot_times;
mod conformance;
mod cpio;
mod determinism;
mod fetch;
mod guests;
mod nested;
mod process;
mod qemu;
mod test;
mod ui;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot Debian to a shell line and /proc/interrupts, on the best backend of this machine
    Boot(boot::Args),
    /// Boot Debian on the software CPU and on QEMU's, and compare the times
    BootTimes(boot_times::Args),
    /// Run everything: format, lints, builds, tests, documentation, models, and the guests on
    /// the software CPU and on nested KVM, and twice on the virtual clock
    Test(test::Args),
    /// Boot guests under vmm-ref and look at what they did: on the software CPU, on KVM, or on a
    /// full KVM inside a QEMU machine
    Guests(guests::Args),
    /// Write the tests of each behaviour into docs/conformance.md
    Conformance(conformance::Args),
    /// Boot Debian twice on the virtual clock: both must go exactly the same way
    Determinism,
    /// Get the Debian kernel, busybox and QEMU into target/ (without root)
    Fetch,
    /// Process 1 of the nested rig's machine; not for use by hand
    #[command(hide = true)]
    RigAgent,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Boot(args) => boot::main(&args),
        Command::BootTimes(args) => boot_times::main(&args),
        Command::Test(args) => test::main(&args),
        Command::Guests(args) => guests::main(&args),
        Command::Conformance(args) => conformance::main(&args),
        Command::Determinism => determinism::main(),
        Command::Fetch => fetch::main(),
        Command::RigAgent => nested::agent::main(),
    }
}
