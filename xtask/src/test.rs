// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask test`: everything.
use std::process::ExitCode;
#[derive(clap::Args)]
pub struct Args {}
pub fn main(_: &Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not yet")
}
