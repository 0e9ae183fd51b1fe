// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Copies the bare-metal guests to a directory, with a list of how to run them.
//!
//! `cargo run -p integration --bin build-guests -- OUTDIR` writes `OUTDIR/NAME.elf` and
//! `OUTDIR/guests.txt`, one line for each run: name, topology, CPUs, separated by spaces. A run is
//! good if `vmm-ref --kernel NAME.elf --platform topology=TOPOLOGY,testdev=on --cpus boot=CPUS`
//! ends with status 33.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use integration::guests::GUESTS;

fn main() -> Result<()> {
    let out = env::args_os().nth(1).context("usage: build-guests OUTDIR")?;
    let out = PathBuf::from(out);
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut list = String::new();
    for guest in GUESTS {
        let to = out.join(guest.name).with_extension("elf");
        fs::copy(guest.elf(), &to).with_context(|| format!("cannot write {}", to.display()))?;
        for topology in guest.topologies {
            writeln!(list, "{} {topology} {}", guest.name, guest.cpus)?;
        }
    }
    let to = out.join("guests.txt");
    fs::write(&to, list).with_context(|| format!("cannot write {}", to.display()))
}
