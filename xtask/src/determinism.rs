// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask determinism`: Debian booted twice on the virtual clock has to go exactly the same
//! way: the console, and every injected interrupt with its virtual time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{bail, ensure, Context, Result};

use crate::fetch;
use crate::guests::cases::{Step, CMDLINE};
use crate::guests::debian::{Guest, ONCE};
use crate::guests::driver::{self, Audience, Patience, PATIENCE};
use crate::guests::interrupts::Check;
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
    output: Output,
    /// A line for each injection.
    trace: PathBuf,
    /// The statistics' last line: virtual time, number of injections, their hash.
    summary: String,
}

/// What vmm-ref wrote.
#[derive(Default)]
struct Output {
    console: Vec<u8>,
    log: Vec<u8>,
}

impl Audience for Output {
    fn console(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.console.extend_from_slice(bytes);
        Ok(())
    }

    fn log(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.log.extend_from_slice(bytes);
        Ok(())
    }
}

fn twice(vmm: &Path, guest: &Guest, topology: &str, cpus: u32) -> Result<String> {
    let boot = |name| boot(vmm, guest, topology, cpus, name, &PATIENCE);
    let [first, second] = [boot("first")?, boot("second")?];
    let traces = [fs::read(&first.trace)?, fs::read(&second.trace)?];
    ensure!(!traces[0].is_empty(), "nothing was injected");
    if traces[0] != traces[1] {
        let mut lines = traces[0].split(|b| *b == b'\n').zip(traces[1].split(|b| *b == b'\n'));
        let line = lines.position(|(a, b)| a != b).map_or(0, |n| n + 1);
        bail!(
            "the traces part at line {line}: {} and {}",
            workspace::short(&first.trace),
            workspace::short(&second.trace)
        );
    }
    ensure!(first.summary == second.summary, "{:?} and {:?}", first.summary, second.summary);
    ensure!(first.output.console == second.output.console, "the consoles differ");
    Ok(first.summary)
}

/// What the guest says of itself on the way to its end. Nobody types: that would come at times of
/// its own.
fn script(cpus: u32) -> Vec<Step> {
    let texts = [&format!(", {cpus} CPUs online\n"), "ttyS0\n", "reboot: Power down\n"];
    texts.map(|text| Step::Wait(text.to_string())).to_vec()
}

fn boot(
    vmm: &Path,
    guest: &Guest,
    topology: &str,
    cpus: u32,
    name: &str,
    patience: &Patience,
) -> Result<Boot> {
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
        .arg(format!("topology={topology},clock=virtual,trace={}", trace.display()));
    let mut output = Output::default();
    let ending = driver::run_command(&script(cpus), command, patience, &mut output)?;
    fs::write(file("log"), &output.console)?;
    fs::write(file("vmm.log"), &output.log)?;
    let messages = String::from_utf8_lossy(&output.log).into_owned();
    if let Some(trouble) = ending.trouble {
        let last = [&output.console, &output.log].map(|bytes| process::last_lines(bytes, 12));
        bail!("{trouble}; {} ended with\n{}", workspace::short(&file("log")), last.join("\n"));
    }
    ensure!(ending.status == 0, "vmm-ref: exit status {}: {messages}", ending.status);
    let console = String::from_utf8_lossy(&output.console).replace('\r', "");
    Check::NoComplaints.on(&console).map_err(anyhow::Error::msg)?;
    let summary = messages.lines().find(|line| line.starts_with("virtual time"));
    let summary = summary.context("no line of the virtual time")?.to_string();
    Ok(Boot { output, trace, summary })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOOTED: &str = "vmm-ref guest: Linux 6.1, 4 CPUs online\n 4: 3 ttyS0\n\
                          [    1.3] reboot: Power down\n";

    /// How a boot is judged in which `shell` stands in for vmm-ref and its guest of four CPUs.
    fn judged(name: &str, shell: &str) -> Result<Boot> {
        use std::os::unix::fs::PermissionsExt;
        let vmm = workspace::directory("determinism-tests")?.join(name);
        fs::write(&vmm, format!("#!/bin/sh\necho 'virtual time 1 s' >&2\n{shell}\n"))?;
        fs::set_permissions(&vmm, fs::Permissions::from_mode(0o755))?;
        let guest = Guest { kernel: "/none".into(), initramfs: "/none".into() };
        let patience =
            Patience { silence: Duration::from_secs(1), total: Duration::from_secs(600) };
        boot(&vmm, &guest, "test", 4, name, &patience)
    }

    #[test]
    fn a_guest_that_came_up_and_powered_off_passes() {
        let boot = judged("good", &format!("echo '{BOOTED}'")).unwrap();
        assert_eq!(boot.summary, "virtual time 1 s");
    }

    #[test]
    fn a_boot_that_ends_early_or_never_or_lacks_cpus_does_not() {
        let panic = "[    0.9] Kernel panic - not syncing: no init\n[    0.9] Rebooting in 0 s";
        let lonely = BOOTED.replace("4 CPUs", "1 CPUs");
        let spurious = format!("[    0.2] spurious 8259A interrupt: IRQ7.\n{BOOTED}");
        for (name, shell, why) in [
            ("panic", format!("echo '{panic}'"), "ended before \", 4 CPUs online"),
            ("lonely", format!("echo '{lonely}'"), "ended before \", 4 CPUs online"),
            ("hanging", format!("echo '{BOOTED}'; exec sleep 1000"), "waiting for the end"),
            ("complaining", format!("echo '{spurious}'"), "the kernel complains"),
            ("failing", format!("echo '{BOOTED}'; exit 3"), "exit status 3"),
        ] {
            let error = judged(name, &shell).err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|text| text.contains(why)), "{name}: {error:?}");
        }
    }
}
