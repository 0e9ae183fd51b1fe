// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rig's machine: QEMU emulating a PC with SVM, on which Debian's own kvm-amd runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::record::{self, Kind, Record};
use crate::fetch::Packages;
use crate::guests::run::Reporter;
use crate::{process, qemu, ui, workspace};

/// Two CPUs: with one, the emulated SVM often takes an interrupt between STI and HLT.
const CPUS: &str = "2";
/// Both on one thread. With a thread for each, QEMU 7.2 sometimes goes wrong around a #VMEXIT:
/// the machine's kernel faults right behind VMRUN, with its guest's GS base, or the guest ends in
/// a triple fault. That is not slower either: the emulated CPUs wait for each other a lot.
const ACCELERATOR: &str = "tcg,thread=single";
/// Without XSAVE: QEMU's SVM does not intercept XSETBV, so that a guest's would go past KVM, which
/// then tells the guest wrong sizes (and the machine would run with the guest's XCR0).
const CPU: &str = "max,-xsave";
/// Holds one guest of 512 MiB beside its files.
const MEMORY: &str = "1536M";
/// Kernel messages on the first serial port; nothing that slows an emulated machine down and
/// serves nobody here.
const CMDLINE: &str = "console=ttyS0 panic=-1 mitigations=off nokaslr no_timer_check \
                       cryptomgr.notests random.trust_cpu=on rdinit=/xtask -- rig-agent";
/// Neither a kernel message nor a record for so long means that the machine hangs.
const SILENCE: Duration = Duration::from_secs(600);

/// What comes from the machine.
enum Event {
    /// A line of its console.
    Line(String),
    /// A message of the agent, or the fault that ended the channel.
    Record(Result<Record>),
}

/// Boots the machine once and runs the cases in it.
pub fn run(packages: &Packages, initramfs: &Path, reporter: &mut Reporter) -> Result<()> {
    let start = Instant::now();
    let mut command = command(packages, initramfs)?;
    ui::say("booting a machine with AMD-V inside QEMU (emulated, so this works anywhere)");
    let mut machine = Machine::start(&mut command)?;
    let result = follow(&machine.events, start, reporter);
    let status = machine.stop();
    let log = workspace::directory("nested")?.join("machine.log");
    result.with_context(|| {
        let log = workspace::short(&log);
        format!("the rig failed (QEMU: {status}); its console is in {log}")
    })
}

fn command(packages: &Packages, initramfs: &Path) -> Result<Command> {
    let mut command = qemu::command(packages)?;
    command
        .args(["-accel", ACCELERATOR, "-machine", "q35", "-cpu", CPU])
        .args(["-smp", CPUS, "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
        // The console to our pipe for errors, the records to the one for output.
        .args(["-chardev", "file,id=console,path=/dev/stderr", "-serial", "chardev:console"])
        .args(["-chardev", "file,id=records,path=/dev/stdout", "-serial", "chardev:records"])
        .arg("-kernel")
        .arg(packages.kernel()?)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(CMDLINE);
    Ok(command)
}

fn follow(events: &Receiver<Event>, start: Instant, reporter: &mut Reporter) -> Result<()> {
    let mut ready = false;
    loop {
        let record = match events.recv_timeout(SILENCE) {
            Ok(Event::Record(record)) => record?,
            Ok(Event::Line(line)) => {
                if !ready {
                    ui::progress(format!("[{}] {line}", ui::since(start)));
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {
                bail!("the machine has said nothing for {}", ui::duration(SILENCE))
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the machine stopped"),
        };
        match record.kind {
            Kind::Ready => {
                ready = true;
                let text = String::from_utf8_lossy(&record.bytes).into_owned();
                ui::detail(format!("{text} of its clock, {} of ours", ui::since(start)));
            }
            Kind::Done if record.bytes.is_empty() => return Ok(()),
            Kind::Done => bail!("{}", String::from_utf8_lossy(&record.bytes)),
            _ => reporter.record(&record)?,
        }
    }
}

/// A running QEMU and the threads that read what it writes.
struct Machine {
    child: Child,
    events: Receiver<Event>,
}

impl Machine {
    fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process::end_with_us(command).spawn().context("cannot run QEMU")?;
        let (sender, events) = channel();
        let log = workspace::directory("nested")?.join("machine.log");
        let log = std::fs::File::create(&log)?;
        let console = child.stderr.take().context("no console")?;
        let records = child.stdout.take().context("no records")?;
        let lines = sender.clone();
        std::thread::spawn(move || read_console(console, log, &lines));
        std::thread::spawn(move || read_records(records, &sender));
        Ok(Self { child, events })
    }

    /// The agent has powered it off, or something failed: either way it is over.
    fn stop(&mut self) -> String {
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.to_string();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        "ended by us".into()
    }
}

fn read_console(console: impl Read, mut log: impl Write, events: &Sender<Event>) {
    let mut console = BufReader::new(console);
    let mut line = Vec::new();
    while console.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let _ = log.write_all(&line);
        let text = String::from_utf8_lossy(&line).trim_end().to_string();
        if events.send(Event::Line(text)).is_err() {
            return;
        }
        line.clear();
    }
}

fn read_records(records: impl Read, events: &Sender<Event>) {
    let mut records = BufReader::new(records);
    while let Some(record) = record::read(&mut records).transpose() {
        let fault = record.is_err();
        if events.send(Event::Record(record)).is_err() || fault {
            return;
        }
    }
}
