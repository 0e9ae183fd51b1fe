// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask determinism`: Debian booted twice on the virtual clock has to go exactly the same
//! way: the console, and every injected interrupt with its virtual time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{ensure, Context, Result};

use crate::fetch;
use crate::guests::cases::CMDLINE;
use crate::guests::debian::{Guest, ONCE};
use crate::guests::run::build_vmm;
use crate::{process, ui, workspace};

/// The machines: topology and CPUs.
pub const MACHINES: [(&str, u32); 3] = [("pic", 1), ("ioapic", 1), ("ioapic", 4)];

/// Boots each machine twice.
pub fn main() -> Result<ExitCode> {
    let failed = run()?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The number of machines that went two ways.
pub fn run() -> Result<usize> {
    let guest = Guest::build(&fetch::packages()?)?;
    let vmm = build_vmm()?;
    let mut failed = 0;
    for (topology, cpus) in MACHINES {
        ui::say(format!("virtual clock, {topology}, CPUs: {cpus}"));
        let start = Instant::now();
        match twice(&vmm, &guest, topology, cpus) {
            Ok(trace) => ui::detail(format!("ok, twice {trace}, {}", ui::since(start))),
            Err(error) => {
                failed += 1;
                ui::detail(format!("FAILED: {error:#}"));
            }
        }
    }
    Ok(failed)
}

/// What one boot left.
struct Boot {
    console: Vec<u8>,
    /// A line for each injection.
    trace: PathBuf,
    /// The statistics' last line: virtual time, number of injections, their hash.
    summary: String,
}

fn twice(vmm: &Path, guest: &Guest, topology: &str, cpus: u32) -> Result<String> {
    let boots =
        [boot(vmm, guest, topology, cpus, "first")?, boot(vmm, guest, topology, cpus, "second")?];
    let [first, second] = &boots;
    let traces = [fs::read(&first.trace)?, fs::read(&second.trace)?];
    ensure!(!traces[0].is_empty(), "nothing was injected");
    if traces[0] != traces[1] {
        let mut lines = traces[0].split(|b| *b == b'\n').zip(traces[1].split(|b| *b == b'\n'));
        let line = lines.position(|(a, b)| a != b).map_or(0, |n| n + 1);
        anyhow::bail!(
            "the traces part at line {line}: {} and {}",
            workspace::short(&first.trace),
            workspace::short(&second.trace)
        );
    }
    ensure!(first.summary == second.summary, "{:?} and {:?}", first.summary, second.summary);
    ensure!(first.console == second.console, "the consoles differ");
    Ok(first.summary.clone())
}

fn boot(vmm: &Path, guest: &Guest, topology: &str, cpus: u32, name: &str) -> Result<Boot> {
    let directory = workspace::directory("determinism")?;
    let file = |suffix: &str| directory.join(format!("{topology}-{cpus}-{name}.{suffix}"));
    let trace = file("trace");
    let mut command = Command::new(vmm);
    command
        .args(["--backend", "soft", "--no-reboot", "--stats", "--serial", "tty", "--kernel"])
        .arg(&guest.kernel)
        .arg("--initramfs")
        .arg(&guest.initramfs)
        .args(["--cmdline", &format!("{CMDLINE} {ONCE}"), "--memory", "size=512M"])
        .args(["--cpus", &format!("boot={cpus}"), "--platform"])
        .arg(format!("topology={topology},clock=virtual,trace={}", trace.display()))
        .stdin(Stdio::null());
    let output = process::end_with_us(&mut command).output().context("cannot run vmm-ref")?;
    fs::write(file("log"), &output.stdout)?;
    fs::write(file("vmm.log"), &output.stderr)?;
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "vmm-ref: {}: {messages}", output.status);
    let summary = messages.lines().find(|line| line.starts_with("virtual time"));
    let summary = summary.context("no line of the virtual time")?.to_string();
    Ok(Boot { console: output.stdout, trace, summary })
}
