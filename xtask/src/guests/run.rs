// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Runs guests, on this machine or in the nested rig, and reports each of them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use clap::ValueEnum;

use super::bare::Bare;
use super::cases::{self, Case};
use super::debian::Guest;
use super::driver::{self, Audience, Ending, Files};
use super::interrupts::Check;
use crate::fetch::{self, Packages};
use crate::nested::image::{self, Programs};
use crate::nested::record::{Kind, Record};
use crate::nested::rig;
use crate::{process, ui, workspace};

/// Where guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// Where vmm-ref's `--backend auto` runs them on this machine
    Auto,
    /// On vmm-ref's software CPU
    Soft,
    /// On this machine's KVM
    Kvm,
    /// On the KVM of a machine inside QEMU
    Nested,
}

/// Runs cases; each is judged and reported as soon as it has ended.
pub fn run(place: Place, names: &[String], show: bool) -> Result<Vec<Outcome>> {
    let packages = match place {
        Place::Nested => fetch::packages_with_qemu()?,
        Place::Auto | Place::Soft | Place::Kvm => fetch::packages()?,
    };
    let guest = Guest::build(&packages)?;
    let bare = Bare::build()?;
    let mut reporter = Reporter::new(place, show)?;
    if place == Place::Nested {
        let programs = Programs::build()?;
        let image = |left: &[String]| image::build(&packages, &guest, &programs, &bare, left);
        run_nested(&packages, image, names, &mut reporter)?;
        return Ok(reporter.outcomes);
    }
    let files = Files {
        vmm: &build_vmm()?,
        kernel: &guest.kernel,
        initramfs: &guest.initramfs,
        bare: &bare.directory,
        backend: place.name(),
        cmdline: "",
    };
    for name in names {
        let case = cases::find(name).with_context(|| format!("no case {name}"))?;
        reporter.start(name)?;
        let ending = driver::run(&case, &files, &mut reporter)?;
        reporter.end(&ending)?;
    }
    Ok(reporter.outcomes)
}

/// Builds vmm-ref for this machine.
pub fn build_vmm() -> Result<PathBuf> {
    ui::say("building vmm-ref");
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()).args([
        "build",
        "--locked",
        "--release",
        "--package",
        "vmm-ref",
    ]);
    let status = process::end_with_us(&mut cargo).status().context("cannot run cargo")?;
    ensure!(status.success(), "cannot build vmm-ref (cargo: {status})");
    Ok(workspace::target().join("release/vmm-ref"))
}

impl Place {
    /// Its name on the command line, on vmm-ref's (for all but the rig), and of the directory of
    /// its guests' consoles.
    pub fn name(self) -> &'static str {
        match self {
            Place::Auto => "auto",
            Place::Soft => "soft",
            Place::Kvm => "kvm",
            Place::Nested => "nested",
        }
    }
}

/// Machines that are booted at the most.
const MACHINES: usize = 3;

/// Runs the cases in the rig. A machine that is lost under them is replaced: vmm-ref is an
/// ordinary process there and cannot bring its kernel down, so that what was lost is the rig's
/// own fault. It is said, its console is kept, and the interrupted case runs again from the start.
fn run_nested(
    packages: &Packages,
    image: impl Fn(&[String]) -> Result<PathBuf>,
    names: &[String],
    reporter: &mut Reporter,
) -> Result<()> {
    let mut left = names.to_vec();
    for spare in (0..MACHINES).rev() {
        let done = reporter.outcomes.len();
        let Err(error) = rig::run(packages, &image(&left)?, reporter) else { return Ok(()) };
        let began = reporter.current.take().is_some() || reporter.outcomes.len() > done;
        if spare == 0 || !began {
            return Err(error);
        }
        let directory = workspace::directory("nested")?;
        let lost = directory.join(format!("machine-lost-{}.log", MACHINES - spare));
        fs::copy(directory.join("machine.log"), &lost)?;
        left.retain(|name| reporter.outcomes.iter().all(|outcome| outcome.name != *name));
        ui::say(format!(
            "{:#}; kept as {}; booting another for the {} guests left",
            error,
            workspace::short(&lost),
            left.len()
        ));
    }
    Ok(())
}

/// How a case went.
pub struct Outcome {
    /// The case.
    pub name: String,
    /// What was not as it should be; empty if it passed.
    pub failures: Vec<String>,
}

/// Keeps each guest's console, judges it at the end, and says how it went.
pub struct Reporter {
    directory: PathBuf,
    /// Whether consoles are shown while they grow.
    show: bool,
    current: Option<Current>,
    /// What has been judged.
    pub outcomes: Vec<Outcome>,
}

/// The case that is running.
struct Current {
    case: Case,
    console: Vec<u8>,
    log: Vec<u8>,
    files: [File; 2],
}

impl Reporter {
    fn new(place: Place, show: bool) -> Result<Self> {
        let directory = workspace::directory(place.name())?;
        Ok(Self { directory, show, current: None, outcomes: Vec::new() })
    }

    /// Takes what the rig's agent sent.
    pub fn record(&mut self, record: &Record) -> Result<()> {
        match record.kind {
            Kind::Start => self.start(&record.case),
            Kind::Console => Ok(self.console(&record.bytes)?),
            Kind::Log => Ok(self.log(&record.bytes)?),
            Kind::End => self.end(&Ending::from_text(&String::from_utf8_lossy(&record.bytes))?),
            Kind::Ready | Kind::Done => Ok(()),
        }
    }

    fn start(&mut self, name: &str) -> Result<()> {
        let case = cases::find(name).with_context(|| format!("no case is called {name}"))?;
        ui::say(format!("{name}: {}", case.about));
        let create = |suffix: &str| {
            let path = self.directory.join(format!("{name}.{suffix}"));
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))
        };
        let files = [create("log")?, create("vmm.log")?];
        self.current = Some(Current { case, console: Vec::new(), log: Vec::new(), files });
        Ok(())
    }

    fn end(&mut self, ending: &Ending) -> Result<()> {
        let current = self.current.take().context("the end of a case that did not start")?;
        let failures = judge(&current, ending);
        let name = current.case.name.clone();
        let time = ui::duration(Duration::from_millis(ending.milliseconds));
        if self.show {
            println!();
        }
        if failures.is_empty() {
            ui::detail(format!("ok, exit status {}, {time}", ending.status));
        } else {
            ui::detail(format!("FAILED, exit status {}, {time}", ending.status));
            self.explain(&current, &failures);
        }
        self.outcomes.push(Outcome { name, failures });
        Ok(())
    }

    /// Says what was wrong and how both outputs ended: on a CI machine this is all that stays.
    fn explain(&self, current: &Current, failures: &[String]) {
        for failure in failures {
            ui::detail(format!("  {failure}"));
        }
        let outputs = [
            ("its console", "log", &current.console),
            ("vmm-ref's messages", "vmm.log", &current.log),
        ];
        for (what, suffix, bytes) in outputs.into_iter().filter(|output| !output.2.is_empty()) {
            let path = self.directory.join(format!("{}.{suffix}", current.case.name));
            ui::detail(format!("  {what} ({}) ended with:", workspace::short(&path)));
            for line in process::last_lines(bytes, 12).lines() {
                let plain: String = line.chars().filter(|char| !char.is_control()).collect();
                ui::detail(format!("    {plain}"));
            }
        }
    }
}

impl Audience for Reporter {
    fn console(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.files[0].write_all(bytes)?;
        current.console.extend(bytes.iter().filter(|&&byte| byte != b'\r'));
        if self.show {
            io::stdout().write_all(bytes)?;
            io::stdout().flush()?;
        } else {
            let text = String::from_utf8_lossy(bytes).into_owned();
            if let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) {
                ui::progress(format!("    {line}"));
            }
        }
        Ok(())
    }

    fn log(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.files[1].write_all(bytes)?;
        current.log.extend_from_slice(bytes);
        if self.show {
            io::stderr().write_all(bytes)?;
        }
        Ok(())
    }
}

/// Everything about an ended case that is not as it should be.
fn judge(current: &Current, ending: &Ending) -> Vec<String> {
    let Current { case, console, log, .. } = current;
    let console = String::from_utf8_lossy(console);
    let log = String::from_utf8_lossy(log).to_lowercase();
    // Without the whole script there is no use in looking for what it would have shown.
    let mut failures = match &ending.trouble {
        Some(trouble) => {
            let complaint = Check::NoComplaints.on(&console).err();
            [trouble.clone()].into_iter().chain(complaint).collect()
        }
        None => case.checks.iter().filter_map(|check| check.on(&console).err()).collect::<Vec<_>>(),
    };
    // What a bare-metal guest says of a check that failed.
    let failed = console.lines().filter(|line| line.starts_with("FAIL "));
    failures.extend(failed.map(str::to_string));
    if ending.status != case.exit {
        failures.push(format!("exit status {}, not {}", ending.status, case.exit));
    }
    let missing = case.log.iter().filter(|text| !log.contains(*text));
    failures.extend(missing.map(|text| format!("vmm-ref does not say {text:?}")));
    failures
}
