// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask boot`: Debian to a shell line and /proc/interrupts, in both topologies.

use std::fs::{self, OpenOptions};
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
    /// Where to run, if not on the best backend of this machine
    #[arg(long, value_enum)]
    on: Option<Place>,
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
    let place = match args.on {
        Some(place) => place,
        None => {
            let (place, why) = best_place();
            ui::say(why);
            place
        }
    };
    let mut names = Vec::new();
    if args.topology != Topology::Ioapic {
        names.push("boot-pic-1".to_string());
    }
    if args.topology != Topology::Pic {
        names.push(format!("boot-ioapic-{}", args.cpus));
    }
    let outcomes = run::run(place, &names, true)?;
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

/// Where Debian boots on this machine, and the reason in a line: as vmm-ref's `--backend auto`.
fn best_place() -> (Place, String) {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let opens = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    let opens = opens.map(|_| ()).map_err(|error| error.to_string());
    choose(virtualization(&cpuinfo), opens)
}

fn choose(feature: Option<&str>, kvm: Result<(), String>) -> (Place, String) {
    match (feature, kvm) {
        (Some(name), Ok(())) => (
            Place::Kvm,
            format!("running on this machine's KVM: /dev/kvm opens and the CPU has {name}"),
        ),
        (Some(name), Err(error)) => (
            Place::Soft,
            format!("running on the software CPU: the CPU has {name}, but /dev/kvm: {error}"),
        ),
        (None, _) => (
            Place::Soft,
            "running on the software CPU: this machine's offers neither VT-x nor AMD-V".to_string(),
        ),
    }
}

/// The CPU's virtualization extension, by the name people know.
fn virtualization(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    flags.split_whitespace().find_map(|flag| match flag {
        "vmx" => Some("VT-x"),
        "svm" => Some("AMD-V"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backend_follows_the_machine() {
        assert_eq!(choose(Some("VT-x"), Ok(())).0, Place::Kvm);
        assert_eq!(choose(Some("VT-x"), Err("Permission denied".into())).0, Place::Soft);
        assert_eq!(choose(None, Ok(())).0, Place::Soft);
    }

    #[test]
    fn flags_are_read_as_words() {
        assert_eq!(virtualization("flags\t\t: fpu vmx sse"), Some("VT-x"));
        assert_eq!(virtualization("flags\t\t: fpu svm_lock"), None);
        assert_eq!(virtualization(""), None);
    }
}
