// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guests that have to boot, as data: how vmm-ref is called, what is typed, what must show.

use std::ffi::OsString;

use super::driver::Files;
use super::interrupts::Check;

/// One guest.
pub struct Case {
    /// Its name on the command line and in reports.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: &'static str,
    /// What boots.
    pub kernel: Kernel,
    /// `--platform topology=`.
    pub topology: &'static str,
    /// `--cpus boot=`.
    pub cpus: u32,
    /// What follows on vmm-ref's command line.
    pub options: Vec<&'static str>,
    /// What follows on the kernel's command line.
    pub cmdline: &'static str,
    /// What the person at the console does.
    pub script: Vec<Step>,
    /// What must be true of the console's text.
    pub checks: Vec<Check>,
    /// vmm-ref's exit status.
    pub exit: i32,
    /// What must be in vmm-ref's log.
    pub log: Vec<&'static str>,
}

/// What a machine boots.
#[derive(Clone, PartialEq, Eq)]
pub enum Kernel {
    /// Debian's kernel with a shell.
    Debian,
    /// A bare-metal guest of tests/guests, by its name.
    Bare(String),
}

/// One action at the console.
#[derive(Clone)]
pub enum Step {
    /// Waits for the guest's shell.
    Shell,
    /// Waits for some text.
    Wait(String),
    /// Types a line.
    Type(&'static str),
    /// Types a command and waits until it ended well; the checks find its output by the label.
    Run {
        /// Starts a section of the console.
        label: &'static str,
        /// One line for the guest's shell.
        command: String,
    },
    /// Types 64 KiB and waits until they came back, `window` bytes at a time.
    Echo {
        /// Who sends them back.
        reader: Echo,
        /// How many bytes may be on the way.
        window: usize,
    },
    /// Sends a signal to vmm-ref.
    #[allow(dead_code)] // For guests that never end by themselves.
    Signal(i32),
}

/// Who echoes what is typed.
#[derive(Clone, Copy)]
pub enum Echo {
    /// The terminal driver, out of the receive interrupt.
    Terminal,
    /// A program that reads and writes.
    Program,
}

/// For every kernel: messages on the serial line, and no waiting after a panic.
pub const CMDLINE: &str = "console=ttyS0 panic=-1";
/// Exit status of a bare-metal guest whose checks all passed (tests/src/guests.rs).
const BARE_PASSED: i32 = 33;

impl Case {
    /// vmm-ref's arguments.
    pub fn arguments(&self, files: &Files) -> Vec<OsString> {
        let mut arguments = match &self.kernel {
            Kernel::Debian => self.debian(files),
            Kernel::Bare(name) => {
                let elf = files.bare.join(name).with_extension("elf");
                let platform = format!("topology={},testdev=on", self.topology);
                vec!["--kernel".into(), elf.into(), "--platform".into(), platform.into()]
            }
        };
        arguments.extend(["--backend".into(), files.backend.into()]);
        arguments.extend(["--cpus".into(), format!("boot={}", self.cpus).into()]);
        arguments.extend(["--serial", "tty", "--console", "off"].map(Into::into));
        arguments.extend(self.options.iter().map(Into::into));
        arguments
    }

    fn debian(&self, files: &Files) -> Vec<OsString> {
        let words = [CMDLINE, self.cmdline, files.cmdline];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let platform = format!("topology={}", self.topology);
        vec![
            "--kernel".into(),
            files.kernel.into(),
            "--initramfs".into(),
            files.initramfs.into(),
            "--cmdline".into(),
            words.join(" ").into(),
            "--memory".into(),
            "size=512M".into(),
            "--platform".into(),
            platform.into(),
        ]
    }

    /// A bare-metal guest, which judges itself.
    fn bare(case: &str, guest: &str, topology: &'static str, cpus: u32) -> Self {
        Self {
            name: case.to_string(),
            about: "a bare-metal guest",
            kernel: Kernel::Bare(guest.to_string()),
            topology,
            cpus,
            options: vec!["--no-reboot"],
            cmdline: "",
            script: Vec::new(),
            checks: Vec::new(),
            exit: BARE_PASSED,
            log: Vec::new(),
        }
    }

    /// A boot to the shell, `/proc/interrupts` twice with some work between, and power off.
    fn boot(name: &str, about: &'static str, topology: &'static str, cpus: u32) -> Self {
        let script = vec![
            Step::Shell,
            run("before", "cat /proc/interrupts"),
            run("work", &work()),
            run("after", "cat /proc/interrupts"),
            run("complaints", "! dmesg | grep -iE 'spurious|lost|nobody cared|APIC error'"),
            Step::Type("poweroff -f"),
        ];
        let mut checks = vec![Check::NoComplaints, Check::Online(cpus), Check::Grows("ttyS0")];
        if topology == "pic" {
            checks.extend([
                Check::Row("0", "XT-PIC"),
                Check::Grows("0"),
                Check::Row("4", "XT-PIC"),
                Check::NoChip("IO-APIC"),
                Check::Silent("LOC"),
            ]);
        } else {
            checks.extend([
                Check::Row("0", "IO-APIC"),
                Check::Row("4", "IO-APIC"),
                Check::NoChip("XT-PIC"),
                Check::GrowsOnEachCpu("LOC"),
            ]);
        }
        Self {
            name: name.to_string(),
            about,
            kernel: Kernel::Debian,
            topology,
            cpus,
            options: vec!["--no-reboot"],
            cmdline: "",
            script,
            checks,
            exit: 0,
            log: Vec::new(),
        }
    }

    fn cmdline(mut self, cmdline: &'static str) -> Self {
        self.cmdline = cmdline;
        self
    }

    fn checks(mut self, checks: &[Check]) -> Self {
        self.checks = checks.to_vec();
        self
    }

    fn script(mut self, script: &[Step]) -> Self {
        self.script = script.to_vec();
        self
    }
}

/// All cases, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut smp = Case::boot("ioapic-4", "four CPUs, all online and interrupted", "ioapic", 4);
    smp.checks.extend([Check::OnEachCpu("RES"), Check::OnEachCpu("CAL")]);

    let mut reboot =
        Case::boot("reboot", "a guest that resets the machine boots again", "ioapic", 1)
            .script(&[Step::Shell, Step::Type("reboot -f"), Step::Shell, Step::Type("poweroff -f")])
            .checks(&[Check::NoComplaints]);
    reboot.options = Vec::new();

    let mut triple = Case::boot("triple-fault", "a triple fault is reported", "ioapic", 1)
        .cmdline("reboot=t")
        .script(&[Step::Shell, Step::Type("reboot -f")])
        .checks(&[Check::NoComplaints]);
    triple.exit = 1;
    triple.log = vec!["triple fault"];

    vec![
        Case::boot("pic", "8259A pair and 8254 only: no APIC anywhere", "pic", 1),
        Case::boot("ioapic-1", "IOAPIC and LAPIC, one CPU", "ioapic", 1),
        smp,
        Case::boot("maxcpus-0", "the guest gives up SMP, and with it the IOAPIC", "ioapic", 2)
            .cmdline("maxcpus=0")
            .checks(&[
                Check::NoComplaints,
                Check::Online(1),
                Check::Row("4", "XT-PIC"),
                Check::Grows("ttyS0"),
            ]),
        Case::boot("noapic", "the guest prefers the PIC to the IOAPIC", "ioapic", 1)
            .cmdline("noapic")
            .checks(&[Check::NoComplaints, Check::Row("4", "XT-PIC"), Check::Grows("ttyS0")]),
        Case::boot(
            "nolapic-timer",
            "the guest's clock is the PIT, through the IOAPIC",
            "ioapic",
            1,
        )
        .cmdline("nolapic_timer")
        .checks(&[Check::NoComplaints, Check::Row("0", "IO-APIC"), Check::Grows("0")]),
        Case::boot("typing-pic", "64 KiB typed, echoed by the PIC's interrupts", "pic", 1)
            .script(&typing(Echo::Terminal, 1024))
            .checks(&[Check::NoComplaints]),
        Case::boot("typing-ioapic", "64 KiB typed, echoed by the IOAPIC's interrupts", "ioapic", 2)
            .script(&typing(Echo::Program, super::typing::TOTAL))
            .checks(&[Check::NoComplaints]),
        reboot,
        Case::boot(
            "reset-i8042",
            "with --no-reboot a reset by keyboard controller ends it",
            "pic",
            1,
        )
        .cmdline("reboot=k")
        .script(&[Step::Shell, Step::Type("reboot -f")])
        .checks(&[Check::NoComplaints]),
        triple,
    ]
}

fn topology(name: &str) -> Option<&'static str> {
    ["pic", "ioapic"].into_iter().find(|known| *known == name)
}

/// A case by its name. `boot-<topology>-<cpus>` is a plain boot of that machine,
/// `bare-<guest>-<topology>-<cpus>` a bare-metal guest on it.
pub fn find(name: &str) -> Option<Case> {
    if let Some(case) = all().into_iter().find(|case| case.name == name) {
        return Some(case);
    }
    if let Some(rest) = name.strip_prefix("bare-") {
        let (rest, cpus) = rest.rsplit_once('-')?;
        let (guest, topology) = rest.rsplit_once('-')?;
        return Some(Case::bare(name, guest, self::topology(topology)?, cpus.parse().ok()?));
    }
    let (topology, cpus) = name.strip_prefix("boot-")?.split_once('-')?;
    let topology = self::topology(topology)?;
    let about = match topology {
        "pic" => "Debian on 8259A pair and 8254",
        _ => "Debian on IOAPIC and local APICs",
    };
    Some(Case::boot(name, about, topology, cpus.parse().ok()?))
}

fn run(label: &'static str, command: &str) -> Step {
    Step::Run { label, command: command.to_string() }
}

fn typing(reader: Echo, window: usize) -> Vec<Step> {
    vec![Step::Shell, Step::Echo { reader, window }, Step::Type("poweroff -f")]
}

/// Keeps each CPU busy across some timer ticks, then lets it sleep.
fn work() -> String {
    let busy = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done";
    format!("for c in $(seq $(nproc)); do taskset -c $((c-1)) sh -c '{busy}' & done; wait; sleep 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: Vec<String> = all().into_iter().map(|case| case.name).collect();
        for name in &names {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
            assert!(find(name).is_some());
            assert!(!name.contains(char::is_whitespace), "{name:?} cannot be in a record");
        }
    }

    #[test]
    fn plain_boots_are_found_by_topology_and_cpus() {
        let case = find("boot-ioapic-3").unwrap();
        assert_eq!((case.topology, case.cpus), ("ioapic", 3));
        for wrong in ["boot-elcr-1", "boot-pic", "boot-pic-x", "no"] {
            assert!(find(wrong).is_none(), "{wrong}");
        }
    }
}
