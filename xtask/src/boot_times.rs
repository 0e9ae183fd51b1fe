// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! `cargo xtask boot-times`: the software CPU beside QEMU's TCG, booting the same kernel and
//! initramfs to a shell and powering off.

use std::io;
use std::process::{Command, ExitCode};

use anyhow::{ensure, Context, Result};

use crate::fetch::{self, Packages};
use crate::guests::cases::{self, Step};
use crate::guests::debian::Guest;
use crate::guests::driver::{self, Audience, Files};
use crate::guests::run::build_vmm;
use crate::{qemu, ui, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// How often each of them boots; they take turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// CPUs of the guest
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    cpus: u32,
}

/// One boot: seconds of wall time, and of the processor's.
type Times = (f64, f64);

/// Boots, and prints the median of each.
pub fn main(args: &Args) -> Result<ExitCode> {
    let packages = fetch::packages_with_qemu()?;
    let guest = Guest::build(&packages)?;
    let vmm = build_vmm()?;
    let files = Files {
        vmm: &vmm,
        kernel: &guest.kernel,
        initramfs: &guest.initramfs,
        bare: &workspace::directory("bare")?,
        backend: "soft",
        cmdline: "",
    };
    let name = format!("boot-ioapic-{}", args.cpus);
    let case = cases::find(&name).with_context(|| format!("no case {name}"))?;
    let mut soft = Vec::new();
    let mut tcg = Vec::new();
    for round in 1..=args.rounds {
        ui::say(format!("round {round} of {}", args.rounds));
        let mut command = Command::new(files.vmm);
        command.args(case.arguments(&files));
        soft.push(measure("soft-vcpu", command)?);
        tcg.push(measure("QEMU TCG", qemu_command(&packages, &guest, args.cpus)?)?);
    }
    println!("{:12} {:>10} {:>10}", "median of", "wall", "processor");
    let mut medians = Vec::new();
    for (name, times) in [("soft-vcpu", soft), ("QEMU TCG", tcg)] {
        let (walls, processors) = times.into_iter().unzip();
        let (wall, processor) = (median(walls), median(processors));
        println!("{name:12} {wall:>9.2}s {processor:>9.2}s");
        medians.push(processor);
    }
    println!("ratio of processor time: {:.2}", medians[0] / medians[1]);
    Ok(ExitCode::SUCCESS)
}

/// The middle one, or the mean of the middle two; there is at least one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

fn qemu_command(packages: &Packages, guest: &Guest, cpus: u32) -> Result<Command> {
    let mut command = qemu::command(packages)?;
    command
        .args(["-accel", "tcg", "-cpu", "max", "-m", "512", "-smp", &cpus.to_string()])
        .args(["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel"])
        .arg(&guest.kernel)
        .arg("-initrd")
        .arg(&guest.initramfs)
        .args(["-append", cases::CMDLINE]);
    Ok(command)
}

/// One boot, to the shell and off.
fn measure(name: &str, command: Command) -> Result<Times> {
    let script = [Step::Shell, Step::Type("poweroff -f")];
    let before = children();
    let ending = driver::run_command(&script, command, &driver::PATIENCE, &mut Quiet)?;
    let processor = children() - before;
    if let Some(trouble) = ending.trouble {
        anyhow::bail!("{name}: {trouble}");
    }
    ensure!(ending.status == 0, "{name}: exit status {}", ending.status);
    let wall = ending.milliseconds as f64 / 1000.0;
    ui::detail(format!("{name}: {wall:.2} s, {processor:.2} s of processor time"));
    Ok((wall, processor))
}

/// Processor time of all children that have ended, in seconds.
fn children() -> f64 {
    // SAFETY: an all-zero rusage is a valid value, and getrusage only fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Nobody watches.
struct Quiet;

impl Audience for Quiet {
    fn console(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn log(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_times() {
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 9.0, 1.0, 2.0]), 3.0);
    }
}
